package engine

import (
	"errors"
	"fmt"
	"slices"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// stripeAt is a live stripe of a bulk volume.
type stripeAt struct {
	vol    *volume.Volume
	ext    meta.Extent
	layout erasure.Layout
}

// newStripeAt describes an extent, which is refused if it cannot be one of the volume.
func newStripeAt(vol *volume.Volume, ext meta.Extent) (stripeAt, error) {
	s := stripeAt{vol: vol, ext: ext, layout: erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len}}
	if err := s.layout.Check(); err != nil {
		return s, fmt.Errorf("volume %s, offset %d: %w", volume.Name(vol.ID()), ext.Off, err)
	}
	if len(ext.Units) != s.layout.UnitCount() || ext.Off < vol.Start() || ext.Off+s.layout.ColumnLen() > vol.Capacity() {
		return s, fmt.Errorf("volume %s, offset %d: %d checksums for %d units, %d bytes of each drive: %w",
			volume.Name(vol.ID()), ext.Off, len(ext.Units), s.layout.UnitCount(), s.layout.ColumnLen(), errCorrupt)
	}
	return s, nil
}

// columns are some rows of a stripe in memory, shard by shard as the drives have them.
type columns struct {
	stripeAt
	firstRow, rows int
	buf            *ioring.Buf
	column         [erasure.MaxShards][]byte // nil where there is none.
}

// newColumns takes memory for the columns of some shards.
func (s stripeAt) newColumns(get getBuf, shards erasure.Set, firstRow, rows int) (*columns, error) {
	n := int(s.layout.RunOf(0, firstRow, rows).Len)
	buf, err := get(n * shards.Count())
	if err != nil {
		return nil, err
	}
	cs := &columns{stripeAt: s, firstRow: firstRow, rows: rows, buf: buf}
	mem := buf.Bytes()
	for shard := range shards.All() {
		cs.column[shard], mem = mem[:n:n], mem[n:]
	}
	return cs, nil
}

func (cs *columns) release() { cs.buf.Release() }

// run returns the run of a shard.
func (cs *columns) run(shard int) erasure.Run {
	return cs.layout.RunOf(shard, cs.firstRow, cs.rows)
}

// unit returns a unit's memory.
func (cs *columns) unit(u erasure.Unit) []byte {
	off := u.ColumnOff - int64(cs.firstRow)*erasure.UnitLen
	return cs.column[u.Shard][off : off+int64(u.Width) : off+int64(u.Width)]
}

// sound reports whether the unit of a shard in a row is what was written.
func (cs *columns) sound(row, shard int) bool {
	u := cs.layout.UnitAt(row, shard)
	return erasure.Checksum(cs.unit(u)[:u.SumLen()]) == cs.ext.Units[u.Index]
}

// readColumns fills the columns of shards from their segments. It returns those that could not be read, and those among them whose drive has not
// answered.
func (c *cell) readColumns(cs *columns, shards erasure.Set, lastResort bool) (bad, silent erasure.Set) {
	runs := make([]erasure.Run, 0, shards.Count())
	for shard := range shards.All() {
		runs = append(runs, cs.run(shard))
	}
	cs.buf.Retain() // The attempt's.
	a := c.startAttempt(cs.vol, cs.ext.Off, cs.buf, runs, lastResort, func(run erasure.Run) [][]byte {
		return [][]byte{cs.column[run.Shard]}
	})
	bad = a.finishPatiently()
	for i, run := range runs {
		if op := &a.ops[i]; op.File == nil || !op.Over() {
			silent = silent.With(run.Shard)
		}
	}
	a.buf.Release()
	return bad, silent
}

// examine reads the columns of some shards, and returns those that could not be read and, row by row, which units are wrong. Of those not
// read, late did not answer in time or were not asked, because their drives are not well: nothing is known of what is on them.
func (c *cell) examine(cs *columns, shards erasure.Set) (unread, late erasure.Set, wrong []erasure.Set) {
	unread, late = c.readColumns(cs, shards, false)
	wrong = make([]erasure.Set, cs.rows)
	for row := range cs.rows {
		for shard := range (shards &^ unread).All() {
			if !cs.sound(cs.firstRow+row, shard) {
				wrong[row] = wrong[row].With(shard)
				c.noteCorrupt(cs.vol, shard, cs.ext.Off+cs.layout.UnitAt(cs.firstRow+row, shard).ColumnOff)
			}
		}
	}
	return unread, late, wrong
}

// restore makes the columns of the shards in want from k others, all of them verified, and verifies what comes out. Drives that have failed
// are asked only if there are no others. If the rows cannot all be made of the same shards, the error is errUnreadable or errCorrupt.
func (c *cell) restore(get getBuf, s stripeAt, firstRow, rows int, want erasure.Set) (*columns, error) {
	var bad, answered erasure.Set // bad: left out from now on; answered: those among them whose drive did answer.
	for {
		use, lastResort := c.sources(s, want|bad)
		if use.Count() < s.layout.K {
			cause := errUnreadable
			if use.Count()+answered.Count() >= s.layout.K {
				cause = errCorrupt
			}
			return nil, fmt.Errorf("volume %s, offset %d, rows from %d: %w", volume.Name(s.ext.Volume), s.ext.Off, firstRow, cause)
		}
		cs, newBad, wrong, err := c.tryRestore(get, s, firstRow, rows, want, use, lastResort)
		if err != nil || newBad == 0 {
			return cs, err
		}
		bad |= newBad
		answered |= wrong
	}
}

// sources chooses up to k shards to read, and says whether drives that have failed are among them.
func (c *cell) sources(s stripeAt, but erasure.Set) (use erasure.Set, lastResort bool) {
	for _, failed := range []bool{false, true} {
		for shard := 0; shard < s.layout.K+s.layout.M && use.Count() < s.layout.K; shard++ {
			if !but.Has(shard) && !use.Has(shard) && c.shardFile(s.vol, shard, failed) != nil {
				use = use.With(shard)
				lastResort = failed
			}
		}
	}
	return use, lastResort
}

// tryRestore is one attempt with exactly k shards.
func (c *cell) tryRestore(get getBuf, s stripeAt, firstRow, rows int, want, use erasure.Set, lastResort bool) (made *columns, bad, answered erasure.Set, err error) {
	cs, err := s.newColumns(get, use|want, firstRow, rows)
	if err != nil {
		return nil, 0, 0, err
	}
	kept := false
	defer func() {
		if !kept {
			cs.release()
		}
	}()
	bad, silent := c.readColumns(cs, use, lastResort)
	answered = bad &^ silent
	for row := firstRow; row < firstRow+rows; row++ {
		for shard := range (use &^ bad).All() {
			if !cs.sound(row, shard) {
				c.noteCorrupt(s.vol, shard, s.ext.Off+s.layout.UnitAt(row, shard).ColumnOff)
				bad, answered = bad.With(shard), answered.With(shard)
			}
		}
	}
	if bad != 0 {
		return nil, bad, answered, nil
	}
	for row := firstRow; row < firstRow+rows; row++ {
		var units [erasure.MaxShards][]byte
		for shard := range use.All() {
			units[shard] = cs.unit(s.layout.UnitAt(row, shard))
		}
		for shard := range want.All() {
			units[shard] = cs.unit(s.layout.UnitAt(row, shard))[:0]
		}
		if err := s.layout.ReconstructRow(s.vol.Code(), row, units[:s.layout.K+s.layout.M], want); err != nil {
			return nil, 0, 0, err
		}
		for shard := range want.All() {
			if !cs.sound(row, shard) {
				// Its sources verified, so the sums in the index and the shards disagree among themselves.
				return nil, 0, 0, fmt.Errorf("volume %s, offset %d, row %d, shard %d: reconstruction does not verify: %w",
					volume.Name(s.ext.Volume), s.ext.Off, row, shard, errCorrupt)
			}
		}
	}
	kept = true
	return cs, 0, 0, nil
}

// writeColumns writes columns to segments and waits until they are durable. A drive that does not take its own, or hangs, is given up.
func (c *cell) writeColumns(cs *columns, into map[int]drive.File) error {
	ops := make([]*drive.Op, 0, len(into))
	over := make(map[*drive.Op]chan struct{}, len(into))
	wait := newOpWait(len(into))
	for shard, file := range into {
		done := make(chan struct{})
		cs.buf.Retain() // Until the drive has let go, even if we do not wait that long.
		op := &drive.Op{
			Kind: drive.Write, File: file, Off: cs.ext.Off + cs.run(shard).Off, Bufs: [][]byte{cs.column[shard]},
			Done: func(*drive.Op) {
				close(done)
				cs.buf.Release()
				wait.done()
			},
		}
		ops, over[op] = append(ops, op), done
	}
	drive.Submit(slices.Clone(ops))
	wait.wait(c.limits.write)
	var errs []error
	for _, op := range ops {
		err := error(nil)
		select {
		case <-over[op]:
			err = op.Err
		default:
			err = fmt.Errorf("write of %d bytes not finished after %v", op.Len(), c.limits.write)
		}
		if err != nil {
			c.set.FailDrive(op.File.Drive().ID(), err)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
