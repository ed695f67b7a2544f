package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/meta"
)

// Verify reads and verifies all that the store held when it was called, while it serves, and changes nothing. What it says of drives and
// volumes may be a little older or newer. progress, if it is not nil, is called now and then. An error means that not everything was
// looked at.
func (s *Store) Verify(ctx context.Context, progress func(VerifyProgress)) (VerifyReport, error) {
	began := time.Now()
	var out VerifyReport
	for _, c := range s.cells {
		report, err := c.verify(ctx, progress)
		out.merge(&report)
		if err != nil {
			return out, storeError("Verify", "", "", err)
		}
	}
	out.Took = time.Since(began)
	return out, nil
}

// verify verifies a cell. Clients go first.
func (c *cell) verify(ctx context.Context, progress func(VerifyProgress)) (VerifyReport, error) {
	b, err := c.enter()
	if err != nil {
		return VerifyReport{}, err
	}
	h := &handle{} // Only its identity matters: should the base end, it closes the view.
	view := b.hold(h)
	journals := b.journal.Volumes()
	b.leave()
	defer b.drop(h)
	pace := newPacer(0, &c.front)
	v := &verifier{
		cell: c.id, set: c.set, limit: c.limits.read, workers: 2, rows: 4, progress: progress,
		pause: func(n int64, took time.Duration) error { return pace.pause(ctx, n, took) },
		still: c.stillLive,
		hold: func() func() {
			generation := c.generations.enter()
			return func() { c.generations.leave(generation) }
		},
		spare: func(vol *volume.Volume) bool {
			return vol.Pins() > 0 || vol.Class() == volume.Bulk && c.bulk.isOpen(vol.ID()) || vol.Class() == volume.Journal && vol.Epoch() == c.set.Epoch()
		},
		within: func(f func(*meta.View) error) error {
			if err := b.enter(); err != nil {
				return err
			}
			defer b.leave()
			if b.view(h) == nil {
				return errDown
			}
			return f(view)
		},
	}
	v.drives()
	v.ledger(c)
	err = c.census(ctx, b, v)
	if err == nil {
		err = v.journals(ctx, c, b.journal, journals)
	}
	if err == nil {
		ids := make(map[meta.VolumeID]bool)
		for _, info := range journals {
			ids[info.ID] = true
		}
		err = v.volumes(ctx, ids)
	}
	return v.out, err
}

// ledger notes what the heal ledger knows: it is to be empty when all is well.
func (v *verifier) ledger(c *cell) {
	for _, m := range c.ledger.all() {
		v.add(problemMissing, 1, "the heal ledger has shard %d of volume %s: %v", m.Shard, volume.Name(m.Volume), m.Causes)
	}
}

// stillLive reports whether a stripe that was live is so now; for offset 0, whether the volume holds anything.
func (c *cell) stillLive(id meta.VolumeID, off int64) bool {
	b, err := c.enter()
	if err != nil {
		return true // To be told once too often is better.
	}
	defer b.leave()
	if off == 0 {
		usage, err := b.index.VolumeUsage(id)
		return err != nil || usage.Live > 0
	}
	_, found, err := b.index.BlobAt(id, off)
	return err != nil || found
}

// census takes the census of a base's index. That may take long, and nobody is to wait for it: it is given up when the base ends.
func (c *cell) census(ctx context.Context, b *base, v *verifier) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // Ends with ctx.
		poll := time.NewTicker(replacePoll)
		defer poll.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-b.index.Failed():
				cancel(errDown)
			case <-poll.C:
				if b.gate.isShut() {
					cancel(errDown)
				}
			}
		}
	}()
	if err := v.census(ctx); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return nil
}

// journals verifies every block of the journal volumes, and that each blob in a record of theirs is where the index says.
func (v *verifier) journals(ctx context.Context, c *cell, j *journal.Journal, infos []journal.VolumeInfo) error {
	v.begin("journals")
	want := make(map[meta.VolumeID]int64) // Blobs in the records of each volume, by the index.
	err := v.within(func(view *meta.View) error {
		return view.Blobs(func(b meta.Blob) bool {
			for _, e := range b.Extents {
				if e.Inline {
					want[e.Volume]++
				}
			}
			return ctx.Err() == nil
		})
	})
	if err != nil {
		return err
	}
	for _, info := range infos {
		found, err := v.journal(ctx, c, j, info)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		gone := !slices.ContainsFunc(c.base.Load().journal.Volumes(), func(now journal.VolumeInfo) bool { return now.ID == info.ID })
		expected := want[info.ID]
		delete(want, info.ID)
		switch {
		case gone: // It was freed: nothing in it is needed any more.
		case errors.Is(err, journal.ErrDamaged):
			v.add(problemLost, 1, "%v", err)
		case err != nil:
			return err
		case found != expected:
			v.add(problemCorrupt, 1, "journal volume %s has %d of the %d blobs that the index looks for in its records", volume.Name(info.ID), found, expected)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		v.add(problemLost, want[id], "the index looks for blobs in the records of journal volume %s, which the journal does not have", volume.Name(id))
	}
	return nil
}

// journal verifies one journal volume as far as it was written when the verification began. It returns how many blobs the index has that are where it
// says.
func (v *verifier) journal(ctx context.Context, c *cell, j *journal.Journal, info journal.VolumeInfo) (found int64, err error) {
	vol := c.set.Get(info.ID)
	if vol == nil {
		return 0, fmt.Errorf("%w: no drive holds a segment of journal volume %s", journal.ErrDamaged, volume.Name(info.ID))
	}
	var all erasure.Set
	for i := range vol.N() {
		all = all.With(i)
	}
	// One at a time holds memory and waits for more.
	select {
	case c.healer.walking <- struct{}{}:
		defer func() { <-c.healer.walking }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer v.hold()()
	began, bytes := time.Now(), int64(0)
	err = j.Blocks(ctx, info, 0, all, func(b journal.Blocks) error {
		v.out.Batches++
		v.out.Records += uint64(len(b.Records()))
		v.out.Blocks += uint64(b.Written().Count())
		if wrong := b.Wrong(); wrong != 0 {
			v.add(problemCorrupt, int64(wrong.Count()), "journal volume %s, batch at %d: blocks of shards %v are not what was written",
				volume.Name(info.ID), b.Off(), slices.Collect(wrong.All()))
		}
		n, err := v.inline(b.Records())
		if err != nil {
			return err
		}
		found += n
		read := int64(0)
		for shard := range (b.Written() &^ b.Missing()).All() {
			read += b.BlockLen(shard)
		}
		v.tell(read)
		if bytes += read; bytes < copyLen {
			return nil
		}
		err = v.pause(bytes, time.Since(began))
		began, bytes = time.Now(), 0
		return err
	})
	return found, err
}

// inline returns how many of the records bring a blob that the index finds in just that record.
func (v *verifier) inline(records []journal.Record) (found int64, err error) {
	err = v.within(func(view *meta.View) error {
		for i := range records {
			rec, err := meta.Parse(records[i].Payload)
			if err != nil {
				return err
			}
			var in *meta.Inline
			switch rec := rec.(type) {
			case *meta.PutObject:
				in = rec.Inline
			case *meta.PutPart:
				in = rec.Inline
			case *meta.PutBlobs:
				in = rec.Inline
			}
			if in == nil {
				continue
			}
			blob, there, err := view.GetBlob(in.ID)
			if err != nil {
				return err
			}
			off, _, err := meta.InlineOff(records[i].Payload)
			if err != nil {
				return err
			}
			loc := records[i].Loc
			at := meta.RecordLoc{Volume: loc.Volume, Batch: loc.Batch, Shard: loc.Shard, Off: loc.Off + uint32(off), Len: uint32(len(in.Data))}
			if !there || len(blob.Extents) != 1 || !blob.Extents[0].Inline || blob.Extents[0].At != at {
				continue // It has gone, or there is a newer copy.
			}
			found++
			if sum := erasure.Checksum(in.Data); sum != in.Sum || sum != blob.Extents[0].Sum {
				v.add(problemCorrupt, 1, "blob %#x in record %+v has checksum %#x, the record says %#x and the index %#x", uint64(in.ID), loc, sum, in.Sum, blob.Extents[0].Sum)
			}
		}
		return nil
	})
	return found, err
}
