package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/engine/volume"
	"penstock/meta"
)

// isOpen reports whether new stripes may still go to a bulk volume.
func (c *cell) isOpen(id meta.VolumeID) bool { return c.bulk.isOpen(id) || c.cold.isOpen(id) }

// recycler frees volumes that hold nothing live, and keeps checkpoints recent. One goroutine runs it and owns its fields. It serves one base.
//
// A dead volume is out of reach when (invariant: nothing may still need a segment that is recycled)
//   - no new stripe can go to it, and no write that went to it awaits its record: it is closed and unpinned;
//   - the index, then looked at, counts no live byte in it;
//   - every reader that may have found it in the index has gone;
//   - the flushed index and every checkpoint know that it is dead, so that no restart begins from a state that refers to it;
//   - for a journal volume with tombstones: no older journal volume is left that could hold what they kill, or compaction has
//     written those that are needed again.
type recycler struct {
	c *cell
	b *base

	dead  map[meta.VolumeID]deadVolume
	trims map[meta.VolumeID]trimmed
	look  bool      // Some volume may have died since the last look at all of them.
	again time.Time // When to look at all volumes in any case.

	replayed       uint64    // Bytes of records when the index was last flushed so that a start has little to do.
	flushed        time.Time // When the index was last flushed for the sake of dead volumes.
	checkpointed   time.Time // When it was last copied, or that was last tried.
	checkpointLSN  meta.LSN  // Of the last checkpoint.
	oldest         meta.LSN  // LSN that every checkpoint has at least; 0 when there is none.
	wantCheckpoint bool      // A newer one would free space.
	complained     time.Time // When a failure was last logged.
}

type deadVolume struct {
	lsn        meta.LSN // Index states from here on know that it is dead.
	generation uint64   // Readers up to this one may still use it.
}

func newRecycler(b *base) *recycler {
	oldest := b.c.oldestCheckpoint()
	return &recycler{
		c: b.c, b: b, dead: make(map[meta.VolumeID]deadVolume), trims: make(map[meta.VolumeID]trimmed), look: true,
		checkpointed: time.Now(), checkpointLSN: oldest, oldest: oldest,
	}
}

// run works until ctx ends.
func (r *recycler) run(ctx context.Context) {
	poll := time.NewTicker(r.c.limits.poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.c.deaths:
			r.look = true
			continue // Deaths come in groups: look at the next tick.
		case <-poll.C:
		}
		r.c.lookAtRoom(r.b)
		if err := r.round(ctx); err != nil {
			r.complain(ctx, "dead volumes cannot be freed now", err)
		}
		if err := r.boundReplay(ctx); err != nil {
			r.complain(ctx, "the index cannot be flushed, so that a start has more to do", err)
		}
		if r.checkpointDue() {
			if err := r.checkpoint(ctx); err != nil {
				r.complain(ctx, "the index was not copied to every drive it should be on", err)
			}
		}
	}
}

// complainEvery bounds how often the recycler logs what it will try again.
const complainEvery = time.Minute

func (r *recycler) complain(ctx context.Context, what string, err error) {
	if ctx.Err() == nil && time.Since(r.complained) > complainEvery {
		r.complained = time.Now()
		r.c.log.Warn(what, "error", err)
	}
}

// round frees the volumes that are out of reach.
func (r *recycler) round(ctx context.Context) error {
	if r.look || time.Now().After(r.again) {
		r.look, r.again = false, time.Now().Add(r.c.limits.look)
		if err := r.find(); err != nil {
			return err
		}
		if err := r.trim(); err != nil {
			return err
		}
	}
	r.wantCheckpoint = false
	if len(r.dead) == 0 {
		return nil
	}
	free, needFlush, err := r.outOfReach()
	if err != nil {
		return err
	}
	if err := r.free(ctx, free); err != nil {
		return err
	}
	if needFlush && (r.c.hurried() || time.Since(r.flushed) >= r.c.limits.flush) {
		r.flushed = time.Now()
		return r.flush(ctx)
	}
	return nil
}

// find enters the volumes that have become dead.
func (r *recycler) find() error {
	if err := r.b.enter(); err != nil {
		return err
	}
	defer r.b.leave()
	position := r.b.index.Position()
	journals := make(map[meta.VolumeID]bool) // Of the journal, by whether the volume is still in use.
	oldest := meta.VolumeID(0)
	for _, v := range r.b.journal.Volumes() {
		journals[v.ID] = v.Open || v.EndLSN > position.LSN || v.ID == position.Volume
		if oldest == 0 || v.ID < oldest {
			oldest = v.ID
		}
	}
	for _, vol := range r.c.set.Volumes() {
		id := vol.ID()
		if _, known := r.dead[id]; known {
			continue
		}
		inUse, inJournal := journals[id]
		_, unfreed := r.c.unfreed.Load(id)
		switch {
		case vol.Class() == volume.Bulk && r.c.isOpen(id), inUse:
			continue
		case vol.Class() == volume.Journal && !inJournal && vol.Epoch() == r.c.set.Epoch() && !unfreed:
			continue // The journal is about to open it, or to give it up itself.
		case vol.Pins() > 0: // Pins before usage: a write unpins only after its record is applied.
			r.look = true
			continue
		}
		used, err := r.b.index.VolumeUsage(id)
		if err != nil {
			return err
		}
		if used.Live > 0 || used.Tombstones > 0 && inJournal && id != oldest && !r.c.compaction.isMoved(id) {
			continue
		}
		r.dead[id] = deadVolume{lsn: r.b.index.Position().LSN, generation: r.c.generations.advance()}
	}
	return nil
}

// outOfReach returns the dead volumes that nothing may still need, and notes what holds back the others.
func (r *recycler) outOfReach() (free []*volume.Volume, needFlush bool, err error) {
	if err := r.b.enter(); err != nil {
		return nil, false, err
	}
	defer r.b.leave()
	flushed, err := r.b.index.FlushedPosition()
	if err != nil {
		return nil, false, err
	}
	for id, dead := range r.dead {
		vol := r.c.set.Get(id)
		switch {
		case vol == nil:
			delete(r.dead, id)
		case vol.Pins() > 0 || !r.c.generations.passed(dead.generation): // Pinned again: a shard is being moved.
		case flushed.LSN < dead.lsn:
			needFlush = true
		case r.oldest != 0 && r.oldest < dead.lsn:
			r.wantCheckpoint = true
		default:
			free = append(free, vol)
		}
	}
	return free, needFlush, nil
}

func (r *recycler) flush(ctx context.Context) error {
	if err := r.b.enter(); err != nil {
		return err
	}
	defer r.b.leave()
	return r.b.index.Flush(ctx)
}

// free gives the segments of dead volumes up to be used again.
func (r *recycler) free(ctx context.Context, volumes []*volume.Volume) error {
	var journals []meta.VolumeID
	for _, vol := range volumes {
		if vol.Class() == volume.Journal {
			journals = append(journals, vol.ID())
		}
	}
	if len(journals) > 0 {
		// Before the segments go: a rebuild must not look for them.
		if err := r.freeJournals(ctx, journals); err != nil {
			return err
		}
	}
	for _, vol := range volumes {
		switch err := r.c.set.Free(vol); {
		case errors.Is(err, volume.ErrPinned):
			continue // A shard is being moved: next time.
		case err != nil && !errors.Is(err, volume.ErrFreed):
			return fmt.Errorf("volume %s: %w", volume.Name(vol.ID()), err)
		}
		r.c.unfreed.Delete(vol.ID())
		delete(r.dead, vol.ID())
		delete(r.trims, vol.ID())
		r.c.compaction.forget(vol.ID())
		r.c.stats.volumesFreed.Add(1)
		if vol.Class() == volume.Journal {
			r.look = true // Another one may be the oldest now.
		}
	}
	r.c.lookAtRoom(r.b)
	return nil
}

// freeJournals records that journal volumes are gone.
func (r *recycler) freeJournals(ctx context.Context, ids []meta.VolumeID) error {
	if err := r.b.enter(); err != nil {
		return err
	}
	defer r.b.leave()
	if err := r.b.commit(&meta.JournalFreed{Volumes: ids}); err != nil {
		return err
	}
	for _, id := range ids {
		r.c.unfreed.Store(id, true)
	}
	r.b.journal.Freed(ids...)
	return nil
}

// checkpointDue reports whether the index is to be copied to other drives now.
func (r *recycler) checkpointDue() bool {
	age := time.Since(r.checkpointed)
	switch {
	case r.wantCheckpoint && r.c.hurried():
		return age > r.c.limits.flush
	case r.wantCheckpoint:
		return age > r.c.limits.soonest
	}
	return age > r.c.limits.checkpoint && r.b.index.Position().LSN != r.checkpointLSN
}

func (r *recycler) checkpoint(ctx context.Context) error {
	if err := r.b.enter(); err != nil {
		return err
	}
	defer r.b.leave()
	r.checkpointed = time.Now()
	lsn := r.b.index.Position().LSN
	copies, err := r.b.checkpoint(ctx)
	if copies == 0 && r.c.full.Load() && ctx.Err() == nil {
		// There is no room for one, and the old ones keep room from being given back. They only save time, and the journals hold everything.
		r.c.removeCheckpoints(lsn + 1)
	}
	r.checkpointLSN, r.oldest = lsn, r.c.oldestCheckpoint()
	return err
}
