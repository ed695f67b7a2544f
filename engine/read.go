package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

var (
	// errCorrupt: the drives answered, and no combination of what they answered verifies.
	errCorrupt = errors.New("no combination of shards verifies")
	// errUnreadable: too few drives answered.
	errUnreadable = errors.New("too few shards can be read")
	// errNoBuffer: there is no memory to read ahead with.
	errNoBuffer = errors.New("no buffer at hand")
)

// window is a run of verified bytes ready to be handed out. release gives its memory back.
type window struct {
	bytes []byte
	buf   *ioring.Buf // nil when the bytes belong to the cache.
}

func (w window) release() {
	if w.buf != nil {
		w.buf.Release()
	}
}

// stripeRead reads a range of one stripe. start submits the drive reads; finish waits, verifies and, where it must, reconstructs.
//
// A healthy read takes only the units that the range touches. If a drive is known to be missing, or a unit turns out unreadable or wrong, the
// rows concerned are read in full width from k of the other shards. Every attempt has a buffer of its own: a read
// that was given up on may still be written to by its drive, so that memory is never looked at again. And no attempt
// waits for memory while another's is held, or many of them would wait for each other.
type stripeRead struct {
	c      *cell
	vol    *volume.Volume
	ext    meta.Extent
	layout erasure.Layout
	off, n int64 // Object bytes wanted, from the extent's start.
	first  *attempt
}

// getBuf takes arena memory for a read: waiting for it, or returning errNoBuffer at once.
type getBuf func(n int) (*ioring.Buf, error)

// waitUpTo waits for memory of a quota as long as that.
func waitUpTo(ctx context.Context, q *quota, limit time.Duration) getBuf {
	return func(n int) (*ioring.Buf, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return q.get(ctx, n)
	}
}

// startStripe begins to read object bytes [off, off+n) of an extent, which must lie in it.
func (c *cell) startStripe(get getBuf, ext meta.Extent, off, n int64) (*stripeRead, error) {
	vol := c.set.Get(ext.Volume)
	if vol == nil {
		return nil, fmt.Errorf("volume %s: no drive holds a segment of it: %w", volume.Name(ext.Volume), errUnreadable)
	}
	s := &stripeRead{
		c: c, vol: vol, ext: ext, off: off, n: n,
		layout: erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len},
	}
	if err := s.layout.Check(); err != nil {
		return nil, err
	}
	if len(ext.Units) != s.layout.UnitCount() {
		return nil, fmt.Errorf("volume %s, offset %d: %d checksums for %d units: %w",
			volume.Name(ext.Volume), ext.Off, len(ext.Units), s.layout.UnitCount(), errCorrupt)
	}
	var runs []erasure.Run
	for run := range s.layout.Runs(off, n) {
		if !c.readable(vol, run.Shard) {
			return s, nil // Degraded from the start; finish reads the rows.
		}
		runs = append(runs, run)
	}
	start, length := s.layout.Cover(off, n)
	buf, err := get(int(length))
	if err != nil {
		return nil, err
	}
	s.first = c.startAttempt(vol, ext.Off, buf, runs, false, func(run erasure.Run) [][]byte {
		return s.layout.AppendVec(nil, run, buf.Bytes(), start)
	})
	return s, nil
}

// finish returns verified bytes: all of the range, or its beginning and a stripeRead for the rest.
func (s *stripeRead) finish(get getBuf) (w window, rest *stripeRead, err error) {
	var bad erasure.Set
	if a := s.first; a != nil {
		s.first = nil
		if s.vol.M() > 0 {
			bad = a.finish()
		} else {
			bad = a.finishPatiently()
		}
		start, _ := s.layout.Cover(s.off, s.n)
		mem := a.buf.Bytes()
		for u := range s.layout.Units(s.off, s.n) {
			if bad.Has(u.Shard) {
				continue
			}
			if erasure.Checksum(mem[u.ObjectOff-start:][:u.DataLen]) != s.ext.Units[u.Index] {
				s.c.noteCorrupt(s.vol, u.Shard, s.ext.Off+u.ColumnOff)
				bad = bad.With(u.Shard)
			}
		}
		if bad == 0 {
			if u, ok := s.loneUnit(); ok {
				s.c.cache.put(unitKey(&s.ext, u.Index), mem[u.ObjectOff-start:][:u.DataLen])
			}
			from := s.off - start
			return window{bytes: mem[from : from+s.n : from+s.n], buf: a.buf}, nil, nil
		}
		a.buf.Release()
	}
	s.c.stats.degradedReads.Add(1)
	return s.reconstruct(get, bad)
}

// loneUnit returns the unit that the range lies in, if it is one.
func (s *stripeRead) loneUnit() (erasure.Unit, bool) { return loneUnit(s.layout, s.off, s.n) }

func loneUnit(l erasure.Layout, off, n int64) (erasure.Unit, bool) {
	for u := range l.Units(off, n) {
		return u, off+n <= u.ObjectOff+int64(u.DataLen)
	}
	return erasure.Unit{}, false
}

// cachedUnit returns a range of an extent that lies in one unit, if the cache has it.
func (c *cell) cachedUnit(ext *meta.Extent, off, n int64) ([]byte, bool) {
	vol := c.set.Get(ext.Volume)
	if vol == nil || n > erasure.UnitLen {
		return nil, false
	}
	layout := erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len}
	if layout.Check() != nil {
		return nil, false // The read says what is wrong.
	}
	u, ok := loneUnit(layout, off, n)
	if !ok {
		return nil, false
	}
	bytes, ok := c.cache.get(unitKey(ext, u.Index))
	if !ok || len(bytes) != u.DataLen {
		return nil, false
	}
	from := off - u.ObjectOff
	return bytes[from : from+n : from+n], true
}

// close gives the read up. The drives keep the buffer until they are done with it.
func (s *stripeRead) close() {
	if s.first != nil {
		s.first.giveUp()
		s.first = nil
	}
}

// reconstruct reads the rows of the range from other shards than those suspected: all rows together first, because one
// lost drive is the usual case, then one row alone, because each row may do without m shards of its own, or because there is little memory.
func (s *stripeRead) reconstruct(get getBuf, suspect erasure.Set) (w window, rest *stripeRead, err error) {
	first, last := s.rows()
	if first == last {
		w, err = s.readRows(get, first, 1, suspect)
		return w, nil, err
	}
	w, err = s.readRows(s.c.readMemory.try, first, last-first+1, suspect)
	switch {
	case errors.Is(err, errUnreadable), errors.Is(err, errCorrupt):
		suspect = 0
	case err != errNoBuffer:
		return w, nil, err
	}
	// The rest of the range is read when this is handed out, so that it does not wait for memory either.
	rest = &stripeRead{c: s.c, vol: s.vol, ext: s.ext, layout: s.layout, off: s.layout.UnitAt(first+1, 0).ObjectOff}
	rest.n = s.off + s.n - rest.off
	s.n -= rest.n
	w, err = s.readRows(get, first, 1, suspect)
	return w, rest, err
}

// rows returns the first and last row of the range.
func (s *stripeRead) rows() (first, last int) {
	rowLen := int64(s.layout.K) * erasure.UnitLen
	return int(s.off / rowLen), int((s.off + s.n - 1) / rowLen)
}

// readRows returns the range, which lies in count rows. It hedges first, and is patient if that was not enough, because a busy
// machine is not a broken one; then it also asks drives that have failed.
func (s *stripeRead) readRows(get getBuf, firstRow, count int, suspect erasure.Set) (window, error) {
	r := rowsRead{stripeRead: s, get: get, firstRow: firstRow, count: count}
	w, err := r.run(suspect)
	if errors.Is(err, errUnreadable) || errors.Is(err, errCorrupt) && s.anyFailed() {
		r.lastResort = true
		w, err = r.run(0)
	}
	return w, err
}

// anyFailed reports whether a drive that has failed has a shard of the stripe: it is asked last.
func (s *stripeRead) anyFailed() bool {
	for shard := range s.vol.N() {
		if s.vol.Shard(shard) == nil && s.vol.LastResort(shard) != nil {
			return true
		}
	}
	return false
}

// rowsRead reads k shards of some rows in full and reconstructs the rest.
type rowsRead struct {
	*stripeRead
	get             getBuf
	firstRow, count int
	lastResort      bool // Drives that have failed are asked as well, and all are waited for.
}

// run leaves suspects out first, and tries them when the others do not suffice.
func (r *rowsRead) run(suspect erasure.Set) (window, error) {
	n := r.layout.K + r.layout.M
	var bad, answered erasure.Set // bad: left out from now on; answered: those among them whose drive did answer.
	for shard := range n {
		if r.c.shardFile(r.vol, shard, r.lastResort) == nil {
			bad = bad.With(shard)
		}
	}
	suspect &^= bad
	for {
		var use erasure.Set
		for shard := 0; shard < n && use.Count() < r.layout.K; shard++ {
			if !bad.Has(shard) && !suspect.Has(shard) {
				use = use.With(shard)
			}
		}
		if use.Count() < r.layout.K {
			if suspect != 0 {
				suspect = 0 // A suspect may still be right in these rows.
				continue
			}
			cause := errUnreadable
			if (bad &^ answered).Count() <= r.layout.M {
				cause = errCorrupt
			}
			return window{}, fmt.Errorf("volume %s, offset %d, row %d: %w", volume.Name(r.ext.Volume), r.ext.Off, r.firstRow, cause)
		}
		w, newBad, wrong, err := r.try(use)
		if err != nil || newBad == 0 {
			return w, err
		}
		bad |= newBad
		answered |= wrong
	}
}

// try is one attempt with exactly k shards. It returns the shards among them that failed or did not verify, and among
// those the ones whose drive did answer. Data units are read to where they belong, parity units behind all of these.
func (r *rowsRead) try(use erasure.Set) (w window, bad, answered erasure.Set, err error) {
	k := r.layout.K
	columnLen := int(r.layout.RunOf(0, r.firstRow, r.count).Len)
	parity := use &^ (erasure.Set(1)<<uint(k) - 1)
	buf, err := r.get(columnLen * (k + parity.Count()))
	if err != nil {
		return window{}, 0, 0, err
	}
	kept := false
	defer func() {
		if !kept {
			buf.Release()
		}
	}()
	base := r.layout.UnitAt(r.firstRow, 0).ObjectOff
	data, columns := buf.Bytes()[:columnLen*k], buf.Bytes()[columnLen*k:]
	var column [erasure.MaxShards][]byte // Of parity shards.
	for shard := range parity.All() {
		column[shard], columns = columns[:columnLen:columnLen], columns[columnLen:]
	}
	unit := func(u erasure.Unit) []byte {
		if u.Shard < k {
			return data[u.ObjectOff-base:][:u.Width:u.Width]
		}
		return column[u.Shard][u.ColumnOff-int64(r.firstRow)*erasure.UnitLen:][:u.Width:u.Width]
	}

	runs := make([]erasure.Run, 0, k)
	for shard := range use.All() {
		runs = append(runs, r.layout.RunOf(shard, r.firstRow, r.count))
	}
	a := r.c.startAttempt(r.vol, r.ext.Off, buf, runs, r.lastResort, func(run erasure.Run) [][]byte {
		if run.Shard >= k {
			return [][]byte{column[run.Shard]}
		}
		return r.layout.AppendVec(nil, run, data, base)
	})
	if r.lastResort {
		bad = a.finishPatiently()
	} else {
		bad = a.finish()
	}
	last := r.firstRow + r.count - 1
	for row := r.firstRow; row <= last; row++ {
		for shard := range (use &^ bad).All() {
			u := r.layout.UnitAt(row, shard)
			if erasure.Checksum(unit(u)[:u.SumLen()]) != r.ext.Units[u.Index] {
				r.c.noteCorrupt(r.vol, shard, r.ext.Off+u.ColumnOff)
				bad, answered = bad.With(shard), answered.With(shard)
			}
		}
	}
	if bad != 0 {
		return window{}, bad, answered, nil
	}
	for row := r.firstRow; row <= last; row++ {
		if err := r.decodeRow(row, use, unit); err != nil {
			return window{}, 0, 0, err
		}
	}
	kept = true
	from := r.off - base
	return window{bytes: data[from : from+r.n : from+r.n], buf: buf}, 0, 0, nil
}

// decodeRow reconstructs the data units of a row that were not read, and verifies them.
func (r *rowsRead) decodeRow(row int, use erasure.Set, unit func(erasure.Unit) []byte) error {
	n := r.layout.K + r.layout.M
	var units [erasure.MaxShards][]byte
	var want erasure.Set
	for shard := range n {
		switch u := r.layout.UnitAt(row, shard); {
		case use.Has(shard):
			units[shard] = unit(u)
		case shard < r.layout.K:
			units[shard] = unit(u)[:0]
			want = want.With(shard)
		}
	}
	if want == 0 {
		return nil
	}
	if err := r.layout.ReconstructRow(r.vol.Code(), row, units[:n], want); err != nil {
		return err
	}
	for shard := range want.All() {
		u := r.layout.UnitAt(row, shard)
		if erasure.Checksum(unit(u)[:u.DataLen]) != r.ext.Units[u.Index] {
			// Its sources verified, so the sums in the index and the shards disagree among themselves.
			return fmt.Errorf("volume %s, offset %d, row %d, shard %d: reconstruction does not verify: %w",
				volume.Name(r.ext.Volume), r.ext.Off, row, shard, errCorrupt)
		}
	}
	return nil
}
