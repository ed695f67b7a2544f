package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// healSteps is how many pieces of one volume are on their way at once, so that drives read while others write.
const healSteps = 4

// copyLen is how much is copied at once where nobody knows what the bytes mean.
const copyLen = 1 << 20

// piece is work on part of a bulk volume: some rows of a live stripe, or a stretch of dead space.
type piece struct {
	stripe         *stripeAt // nil for dead space.
	firstRow, rows int
	off, n         int64 // Of dead space.
}

// extentRef is where a live stripe begins, and whose it is.
type extentRef struct {
	off  int64
	blob meta.BlobID
}

// liveStripes returns where live stripes of a bulk volume begin, in order. Those that are written later are in other volumes.
func (c *cell) liveStripes(vol *volume.Volume) (refs []extentRef, err error) {
	b, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer b.leave()
	err = b.index.VolumeExtents(vol.ID(), func(off int64, blob meta.BlobID) bool {
		refs = append(refs, extentRef{off, blob})
		return true
	})
	return refs, err
}

// stripeOf looks a live stripe up. It is not found when it has died or was moved meanwhile.
func (c *cell) stripeOf(vol *volume.Volume, ref extentRef) (s stripeAt, found bool, err error) {
	b, err := c.enter()
	if err != nil {
		return s, false, err
	}
	blob, found, err := b.index.GetBlob(ref.blob)
	b.leave()
	if err != nil || !found {
		return s, false, err
	}
	i := slices.IndexFunc(blob.Extents, func(e meta.Extent) bool { return !e.Inline && e.Volume == vol.ID() && e.Off == ref.off })
	if i < 0 {
		return s, false, nil
	}
	s, err = newStripeAt(vol, blob.Extents[i])
	return s, err == nil, err
}

// eachPiece calls do, on so many goroutines, with the rows of all live stripes that meet one of the ranges, at most maxRows of them at a time, and,
// if dead is positive, with all the space between and behind them up to that offset. It ends early at the first error.
func (c *cell) eachPiece(ctx context.Context, vol *volume.Volume, ranges []meta.Range, maxRows int, dead int64, steps int, do func(context.Context, piece) error) error {
	refs, err := c.liveStripes(vol)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan piece)
	var workers sync.WaitGroup
	for range steps {
		workers.Go(func() {
			for p := range work {
				if ctx.Err() == nil {
					if err := do(ctx, p); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	hand := func(p piece) {
		select {
		case work <- p:
		case <-ctx.Done():
		}
	}
	space := func(from, to int64) {
		for ; from < min(to, dead) && ctx.Err() == nil; from += copyLen {
			hand(piece{off: from, n: min(copyLen, min(to, dead)-from)})
		}
	}
	end := vol.Start()
	for _, ref := range refs {
		s, found, err := c.stripeOf(vol, ref)
		if err != nil {
			cancel(err)
		}
		if ctx.Err() != nil {
			break
		}
		if !found {
			continue
		}
		space(end, ref.off)
		end = ref.off + s.layout.ColumnLen()
		for row := 0; row < s.layout.Rows(); row += maxRows {
			p := piece{stripe: &s, firstRow: row, rows: min(maxRows, s.layout.Rows()-row)}
			run := s.layout.RunOf(0, row, p.rows)
			if meets(ranges, s.ext.Off+run.Off, run.Len) {
				hand(p)
			}
		}
	}
	space(end, dead)
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

// meets reports whether one of the ranges has bytes of a stretch.
func meets(ranges []meta.Range, off, n int64) bool {
	return slices.ContainsFunc(ranges, func(r meta.Range) bool { return r.Off < off+n && off < r.End() })
}

// everything is the range of a whole volume.
func everything(vol *volume.Volume) []meta.Range {
	return []meta.Range{{Off: vol.Start(), Len: vol.Capacity() - vol.Start()}}
}

// inPieces does something with some rows, first all at once if there is memory for that, then one by one: each row may be short of other shards.
// It goes on with the next row when one is beyond repair, and returns the rows that are.
func inPieces(ctx context.Context, c *cell, p piece, do func(get getBuf, firstRow, rows int) error) (beyond []int, err error) {
	if p.rows > 1 {
		err := do(c.healMemory.try, p.firstRow, p.rows)
		if err != errNoBuffer && !errors.Is(err, errCorrupt) && !errors.Is(err, errUnreadable) {
			return nil, err
		}
	}
	for row := p.firstRow; row < p.firstRow+p.rows; row++ {
		err := do(waitUpTo(ctx, c.healMemory, c.limits.read), row, 1)
		switch {
		case errors.Is(err, errCorrupt):
			beyond = append(beyond, row)
		case err != nil:
			return nil, err
		}
	}
	return beyond, nil
}

// fill writes to new segments of a volume what they must hold. Where a segment is there already what it holds is carried over, dead space
// included, for those who still read it; the rest, and what does not verify, is made of other shards. holes are what no
// combination of shards yields.
func (c *cell) fill(ctx context.Context, h *healer, vol *volume.Volume, moves []*volume.Replacement) (holes []meta.Range, err error) {
	if vol.Class() == volume.Journal {
		return nil, c.fillJournal(ctx, h, vol, moves)
	}
	f := &bulkFill{c: c, into: make(map[int]drive.File), from: make(map[int]drive.File)}
	dead := int64(0)
	for _, r := range moves {
		f.into[r.Shard()] = r.File()
		if old := vol.Shard(r.Shard()); old != nil {
			f.from[r.Shard()] = old
			f.there = f.there.With(r.Shard())
			dead = max(dead, min(old.Size(), r.File().Size()))
		} else {
			f.lost = f.lost.With(r.Shard())
		}
	}
	err = c.eachPiece(ctx, vol, everything(vol), erasure.MaxRows, dead, healSteps, func(ctx context.Context, p piece) error {
		began := time.Now()
		n, err := f.piece(ctx, p)
		if err != nil {
			return err
		}
		c.stats.healedLen.Add(n)
		return h.pace.pause(ctx, n, time.Since(began))
	})
	return f.holes, err
}

// bulkFill fills segments of a bulk volume.
type bulkFill struct {
	c           *cell
	into        map[int]drive.File
	from        map[int]drive.File
	there, lost erasure.Set // Of the shards in into: those in from, and the others.

	mu    sync.Mutex // Guards holes.
	holes []meta.Range
}

// piece fills one piece and returns how many bytes it wrote.
func (f *bulkFill) piece(ctx context.Context, p piece) (n int64, err error) {
	if p.stripe == nil {
		return f.copyDead(ctx, p)
	}
	beyond, err := inPieces(ctx, f.c, p, func(get getBuf, firstRow, rows int) error {
		written, err := f.rows(get, *p.stripe, firstRow, rows)
		n += written
		return err
	})
	for _, row := range beyond {
		run := p.stripe.layout.RunOf(0, row, 1)
		f.c.log.Error("a row of a stripe is beyond repair", "volume", volume.Name(p.stripe.ext.Volume), "offset", p.stripe.ext.Off, "row", row)
		f.mu.Lock()
		f.holes = addRange(f.holes, meta.Range{Off: p.stripe.ext.Off + run.Off, Len: run.Len})
		f.mu.Unlock()
	}
	return n, err
}

// rows fills some rows of a stripe.
func (f *bulkFill) rows(get getBuf, s stripeAt, firstRow, rows int) (n int64, err error) {
	want := f.lost
	if f.there != 0 {
		cs, err := s.newColumns(get, f.there, firstRow, rows)
		if err != nil {
			return 0, err
		}
		bad, _, wrong := f.c.examine(cs, f.there)
		for _, w := range wrong {
			bad |= w
		}
		want |= bad
		err = f.write(cs, f.there&^bad)
		cs.release()
		if err != nil {
			return 0, err
		}
		n += cs.run(0).Len * int64((f.there &^ bad).Count())
	}
	if want == 0 {
		return n, nil
	}
	cs, err := f.c.restore(get, s, firstRow, rows, want)
	if err != nil {
		return n, err
	}
	defer cs.release()
	return n + cs.run(0).Len*int64(want.Count()), f.write(cs, want)
}

func (f *bulkFill) write(cs *columns, shards erasure.Set) error {
	into := make(map[int]drive.File, shards.Count())
	for shard := range shards.All() {
		into[shard] = f.into[shard]
	}
	return f.c.writeColumns(cs, into)
}

// copyDead copies dead space. What cannot be read nobody needs: it is left out.
func (f *bulkFill) copyDead(ctx context.Context, p piece) (n int64, err error) {
	for shard, old := range f.from {
		to := f.into[shard]
		length := min(p.n, old.Size()-p.off, to.Size()-p.off)
		if length <= 0 {
			continue
		}
		buf, err := waitUpTo(ctx, f.c.healMemory, f.c.limits.read)(int(length))
		if err != nil {
			return n, err
		}
		err = f.c.carry(drive.Read, old, p.off, buf, f.c.limits.read)
		if err == nil {
			if err = f.c.carry(drive.Write, to, p.off, buf, f.c.limits.write); err != nil {
				buf.Release()
				f.c.set.FailDrive(to.Drive().ID(), err)
				return n, err
			}
			n += length
		}
		buf.Release()
	}
	return n, nil
}

// carry carries out one operation on all of a buffer, of which the drive has a reference of its own.
func (c *cell) carry(kind drive.Kind, file drive.File, off int64, buf *ioring.Buf, limit time.Duration) error {
	wait := newOpWait(1)
	buf.Retain()
	op := &drive.Op{Kind: kind, File: file, Off: off, Bufs: [][]byte{buf.Bytes()}, Done: func(*drive.Op) {
		buf.Release()
		wait.done()
	}}
	file.Queue().Submit(op)
	if !wait.wait(limit) {
		return fmt.Errorf("%v of %d bytes on %s not finished after %v", kind, len(buf.Bytes()), file.Drive().Path(), limit)
	}
	return op.Err
}

// mendRanges writes again what is wrong in ranges of a shard.
func (c *cell) mendRanges(ctx context.Context, h *healer, vol *volume.Volume, shard int, ranges []meta.Range) error {
	if len(ranges) == 0 {
		return nil
	}
	if meets(ranges, 0, vol.Start()) {
		if err := c.mendHeader(ctx, vol, shard); err != nil {
			return err
		}
	}
	if vol.Class() == volume.Journal {
		return c.mendJournal(ctx, h, vol, shard, ranges)
	}
	var mu sync.Mutex
	var errs []error
	err := c.eachPiece(ctx, vol, ranges, 1, 0, healSteps, func(ctx context.Context, p piece) error {
		began := time.Now()
		n, err := c.mendRow(ctx, *p.stripe, p.firstRow, shard)
		if errors.Is(err, errCorrupt) { // The others may yet be mended.
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			return nil
		}
		if err != nil {
			return err
		}
		c.stats.mendedLen.Add(n)
		return h.pace.pause(ctx, n, time.Since(began))
	})
	if err == nil && len(errs) > 0 {
		err = fmt.Errorf("%d rows are beyond repair, the first: %w", len(errs), errs[0])
	}
	return err
}

// mendHeader writes the header of a segment again if it is wrong.
func (c *cell) mendHeader(ctx context.Context, vol *volume.Volume, shard int) error {
	if file := vol.Shard(shard); file != nil && file.Size() < vol.Start() {
		return fmt.Errorf("header of shard %d of volume %s, %d bytes: %w", shard, volume.Name(vol.ID()), file.Size(), errShort)
	}
	wrong, err := c.set.HeaderWrong(ctx, vol, shard)
	if err == nil && !wrong {
		return nil
	}
	if err := c.set.MendHeader(vol, shard); err != nil {
		return err
	}
	c.stats.mendedLen.Add(vol.Start())
	if wrong, err = c.set.HeaderWrong(ctx, vol, shard); err != nil || wrong {
		return fmt.Errorf("header of shard %d of volume %s: %w", shard, volume.Name(vol.ID()), errStubborn)
	}
	return nil
}

// mendRow looks at one unit, and writes it again if it is wrong.
func (c *cell) mendRow(ctx context.Context, s stripeAt, row, shard int) (n int64, err error) {
	get := waitUpTo(ctx, c.healMemory, c.limits.read)
	sound, err := c.look(get, s, row, shard)
	if err != nil || sound {
		return 0, err
	}
	cs, err := c.restore(get, s, row, 1, erasure.SetOf(shard))
	if err != nil {
		return 0, err
	}
	run := cs.run(shard)
	n = run.Len
	switch file := s.vol.Shard(shard); {
	case file == nil:
		err = fmt.Errorf("shard %d of volume %s: %w", shard, volume.Name(s.vol.ID()), errUnreadable)
	case file.Size() < s.ext.Off+run.Off+run.Len:
		err = fmt.Errorf("shard %d of volume %s, %d bytes: %w", shard, volume.Name(s.vol.ID()), file.Size(), errShort)
	default:
		err = c.writeColumns(cs, map[int]drive.File{shard: file})
	}
	cs.release()
	if err != nil {
		return 0, err
	}
	if sound, err = c.look(get, s, row, shard); err == nil && !sound {
		err = fmt.Errorf("shard %d of volume %s, offset %d: %w", shard, volume.Name(s.vol.ID()), s.ext.Off, errStubborn)
	}
	return n, err
}

// look reports whether one unit is what was written.
func (c *cell) look(get getBuf, s stripeAt, row, shard int) (bool, error) {
	cs, err := s.newColumns(get, erasure.SetOf(shard), row, 1)
	if err != nil {
		return false, err
	}
	defer cs.release()
	bad, _ := c.readColumns(cs, erasure.SetOf(shard), false)
	return bad == 0 && cs.sound(row, shard), nil
}
