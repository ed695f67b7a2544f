package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

const (
	// hedgeAfter is when a read that could be reconstructed instead stops waiting for a drive.
	hedgeAfter = 300 * time.Millisecond

	// readTimeout is how long a read waits for a drive when there is nothing left to reconstruct from.
	readTimeout = 10 * time.Second
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
// that was given up on may still be written to by its drive, so that memory is never looked at again.
type stripeRead struct {
	c      *cell
	vol    *volume.Volume
	ext    meta.Extent
	layout erasure.Layout
	off, n int64 // Object bytes wanted, from the extent's start.
	first  *attempt
}

// attempt is one group of drive reads into one buffer.
type attempt struct {
	vol  *volume.Volume
	buf  *ioring.Buf
	runs []erasure.Run
	ops  []drive.Op
	seen []atomic.Bool // Set when the op of that index has completed.
	wait *opWait
}

// getBuf takes arena memory for a read: waiting for it, or returning errNoBuffer at once.
type getBuf func(n int) (*ioring.Buf, error)

// startStripe begins to read object bytes [off, off+n) of an extent, which must lie in it.
func (c *cell) startStripe(get getBuf, ext meta.Extent, off, n int64) (*stripeRead, error) {
	vol := c.set.Get(ext.Volume)
	if vol == nil {
		return nil, fmt.Errorf("volume %x: no drive holds a segment of it: %w", ext.Volume, errUnreadable)
	}
	s := &stripeRead{
		c: c, vol: vol, ext: ext, off: off, n: n,
		layout: erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len},
	}
	if err := s.layout.Check(); err != nil {
		return nil, err
	}
	if len(ext.Units) != s.layout.UnitCount() {
		return nil, fmt.Errorf("volume %x, offset %d: %d checksums for %d units: %w", ext.Volume, ext.Off, len(ext.Units), s.layout.UnitCount(), errCorrupt)
	}
	var runs []erasure.Run
	for run := range s.layout.Runs(off, n) {
		if vol.Shard(run.Shard) == nil {
			return s, nil // Degraded from the start; finish reads the rows.
		}
		runs = append(runs, run)
	}
	start, length := s.layout.Cover(off, n)
	buf, err := get(int(length))
	if err != nil {
		return nil, err
	}
	s.first = startAttempt(vol, ext.Off, buf, runs, func(run erasure.Run) [][]byte {
		return s.layout.AppendVec(nil, run, buf.Bytes(), start)
	})
	return s, nil
}

// startAttempt submits one read per run. The caller keeps its reference to buf; each op holds one of its own.
func startAttempt(vol *volume.Volume, off int64, buf *ioring.Buf, runs []erasure.Run, vec func(erasure.Run) [][]byte) *attempt {
	a := &attempt{
		vol: vol, buf: buf, runs: runs,
		ops:  make([]drive.Op, len(runs)),
		seen: make([]atomic.Bool, len(runs)),
		wait: newOpWait(len(runs)),
	}
	submit := make([]*drive.Op, 0, len(runs))
	for i, run := range runs {
		file := vol.Shard(run.Shard)
		if file == nil {
			a.ops[i].Err = errUnreadable
			a.seen[i].Store(true)
			a.wait.skip()
			continue
		}
		buf.Retain()
		a.ops[i] = drive.Op{
			Kind: drive.Read, File: file, Off: off + run.Off, Bufs: vec(run),
			Done: func(*drive.Op) {
				a.seen[i].Store(true)
				buf.Release()
				a.wait.done()
			},
		}
		submit = append(submit, &a.ops[i])
	}
	drive.Submit(submit)
	return a
}

// failed returns the shards that did not answer, or answered with an error.
func (a *attempt) failed() (bad erasure.Set) {
	for i, run := range a.runs {
		if !a.seen[i].Load() || a.ops[i].Err != nil || a.ops[i].N != int(run.Len) {
			bad = bad.With(run.Shard)
		}
	}
	return bad
}

// finish returns the verified bytes.
func (s *stripeRead) finish(ctx context.Context) (window, error) {
	var bad erasure.Set
	if a := s.first; a != nil {
		s.first = nil
		limit := hedgeAfter
		if s.vol.M() == 0 {
			limit = readTimeout
		}
		a.wait.wait(limit)
		bad = a.failed()
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
			from := s.off - start
			return window{bytes: mem[from : from+s.n : from+s.n], buf: a.buf}, nil
		}
		a.buf.Release()
	}
	s.c.stats.degradedReads.Add(1)
	return s.reconstruct(ctx, bad)
}

// close gives the read up. The drives keep the buffer until they are done with it.
func (s *stripeRead) close() {
	if s.first != nil {
		s.first.buf.Release()
		s.first = nil
	}
}

// reconstruct reads the rows of the range from other shards than those suspected: all rows together first, because one
// lost drive is the usual case, then row by row, because then each row may do without m shards of its own.
func (s *stripeRead) reconstruct(ctx context.Context, suspect erasure.Set) (window, error) {
	firstRow, lastRow := s.rows()
	buf, err := s.c.arena.Get(ctx, s.rowBytes(firstRow, lastRow-firstRow+1))
	if err != nil {
		return window{}, err
	}
	base := s.layout.UnitAt(firstRow, 0).ObjectOff
	err = s.readRows(ctx, buf.Bytes(), firstRow, lastRow-firstRow+1, suspect)
	if err != nil && lastRow > firstRow {
		for row := firstRow; row <= lastRow; row++ {
			at := s.layout.UnitAt(row, 0).ObjectOff - base
			if err = s.readRows(ctx, buf.Bytes()[at:], row, 1, 0); err != nil {
				break
			}
		}
	}
	if err != nil {
		buf.Release()
		return window{}, err
	}
	from := s.off - base
	return window{bytes: buf.Bytes()[from : from+s.n : from+s.n], buf: buf}, nil
}

// rows returns the first and last row of the range.
func (s *stripeRead) rows() (first, last int) {
	rowLen := int64(s.layout.K) * erasure.UnitLen
	return int(s.off / rowLen), int((s.off + s.n - 1) / rowLen)
}

// rowBytes is the length of the data run of count rows from first on.
func (s *stripeRead) rowBytes(first, count int) int {
	last := first + count - 1
	return ((count-1)*erasure.UnitLen + s.layout.RowWidth(last)) * s.layout.K
}

// readRows fills dst with the verified data units of count rows. It hedges first, and is patient if that was not enough: a busy
// machine is not a broken one.
func (s *stripeRead) readRows(ctx context.Context, dst []byte, firstRow, count int, suspect erasure.Set) error {
	err := s.readRowsWithin(ctx, dst, firstRow, count, suspect, hedgeAfter)
	if errors.Is(err, errUnreadable) {
		err = s.readRowsWithin(ctx, dst, firstRow, count, 0, readTimeout)
	}
	return err
}

// readRowsWithin reads k shards in full and reconstructs the rest, giving each group of reads the time limit. It leaves
// suspects out first, and tries them when the others do not suffice.
func (s *stripeRead) readRowsWithin(ctx context.Context, dst []byte, firstRow, count int, suspect erasure.Set, limit time.Duration) error {
	n := s.layout.K + s.layout.M
	var bad, answered erasure.Set // bad: left out from now on; answered: those among them whose drive did answer.
	for shard := range n {
		if s.vol.Shard(shard) == nil {
			bad = bad.With(shard)
		}
	}
	suspect &^= bad
	for {
		var use erasure.Set
		for shard := 0; shard < n && use.Count() < s.layout.K; shard++ {
			if !bad.Has(shard) && !suspect.Has(shard) {
				use = use.With(shard)
			}
		}
		if use.Count() < s.layout.K {
			if suspect != 0 {
				suspect = 0 // A suspect may still be right in these rows.
				continue
			}
			cause := errUnreadable
			if (bad &^ answered).Count() <= s.layout.M {
				cause = errCorrupt
			}
			return fmt.Errorf("volume %x, offset %d, row %d: %w", s.ext.Volume, s.ext.Off, firstRow, cause)
		}
		newBad, wrong, err := s.tryRows(ctx, dst, firstRow, count, use, limit)
		if err != nil || newBad == 0 {
			return err
		}
		bad |= newBad
		answered |= wrong
	}
}

// tryRows is one attempt at readRows with exactly k shards. It returns the shards among them that failed or did not verify, and
// among those the ones whose drive did answer.
func (s *stripeRead) tryRows(ctx context.Context, dst []byte, firstRow, count int, use erasure.Set, limit time.Duration) (bad, answered erasure.Set, err error) {
	n := s.layout.K + s.layout.M
	runLen := int(s.layout.RunOf(0, firstRow, count).Len)
	buf, err := s.c.arena.Get(ctx, runLen*s.layout.K)
	if err != nil {
		return 0, 0, err
	}
	defer buf.Release()
	mem := buf.Bytes()
	runs := make([]erasure.Run, 0, s.layout.K)
	column := make(map[int][]byte, s.layout.K) // By shard: its run of rows.
	for shard := range use.All() {
		i := len(runs)
		runs = append(runs, s.layout.RunOf(shard, firstRow, count))
		column[shard] = mem[i*runLen : (i+1)*runLen : (i+1)*runLen]
	}
	a := startAttempt(s.vol, s.ext.Off, buf, runs, func(run erasure.Run) [][]byte { return [][]byte{column[run.Shard]} })
	a.wait.wait(limit)
	bad = a.failed()
	base := s.layout.UnitAt(firstRow, 0).ObjectOff
	for row := firstRow; row < firstRow+count; row++ {
		for shard := range use.All() {
			u := s.layout.UnitAt(row, shard)
			if bad.Has(shard) {
				continue
			}
			unit := column[shard][u.ColumnOff-int64(firstRow)*erasure.UnitLen:][:u.Width]
			if erasure.Checksum(unit[:u.SumLen()]) != s.ext.Units[u.Index] {
				s.c.noteCorrupt(s.vol, shard, s.ext.Off+u.ColumnOff)
				bad, answered = bad.With(shard), answered.With(shard)
			}
		}
	}
	if bad != 0 {
		return bad, answered, nil
	}
	for row := firstRow; row < firstRow+count; row++ {
		var units [erasure.MaxShards][]byte
		var want erasure.Set
		for shard := range n {
			u := s.layout.UnitAt(row, shard)
			at := u.ColumnOff - int64(firstRow)*erasure.UnitLen
			if use.Has(shard) {
				units[shard] = column[shard][at:][:u.Width]
			} else if shard < s.layout.K {
				to := dst[u.ObjectOff-base:]
				units[shard] = to[:0:u.Width]
				want = want.With(shard)
			}
		}
		if want != 0 {
			if err := s.layout.ReconstructRow(s.vol.Code(), row, units[:n], want); err != nil {
				return 0, 0, err
			}
		}
		for shard := range s.layout.K {
			u := s.layout.UnitAt(row, shard)
			to := dst[u.ObjectOff-base:][:u.Width]
			if use.Has(shard) {
				copy(to, units[shard])
			} else if erasure.Checksum(to[:u.DataLen]) != s.ext.Units[u.Index] {
				// Its sources verified, so the sums in the index and the shards disagree among themselves.
				return 0, 0, fmt.Errorf("volume %x, offset %d, row %d, shard %d: reconstruction does not verify: %w", s.ext.Volume, s.ext.Off, row, shard, errCorrupt)
			}
		}
	}
	return 0, 0, nil
}

// noteCorrupt counts and logs bytes that a drive returned and that are not what was written.
func (c *cell) noteCorrupt(vol *volume.Volume, shard int, off int64) {
	c.stats.corruptUnits.Add(1)
	where := "a missing drive"
	if file := vol.Shard(shard); file != nil {
		where = fmt.Sprintf("drive %s, segment %08d", file.Drive().Path(), file.Seg())
	}
	c.log.Warn("a unit does not match its checksum", "volume", fmt.Sprintf("%x", vol.ID()), "shard", shard, "where", where, "offset", off)
}
