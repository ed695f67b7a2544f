package engine

import (
	"context"
	"fmt"
	"time"

	"penstock/engine/volume"
	"penstock/meta"
)

const (
	// recyclePoll is how often the recycler looks at volumes that something still holds back.
	recyclePoll = 200 * time.Millisecond

	// checkpointEvery is how often the index is copied to other drives while it changes. It bounds the replay after
	// the loss of the index's drive.
	checkpointEvery = 10 * time.Minute
)

// recycler frees volumes that hold nothing live, and keeps checkpoints recent. One goroutine runs it and owns its fields.
//
// A dead volume is out of reach when (invariant: nothing may still need a segment that is recycled)
//   - no new stripe can go to it, and no write that went to it awaits its record: it is closed and unpinned;
//   - the index, then looked at, counts no live byte in it;
//   - every reader that may have found it in the index has gone;
//   - the flushed index and every checkpoint know that it is dead, so that no restart begins from a state that refers to it;
//   - for a journal volume with tombstones: no older journal volume is left that could hold what they kill.
type recycler struct {
	c    *cell
	dead map[meta.VolumeID]deadVolume
}

type deadVolume struct {
	lsn        meta.LSN // Index states from here on know that it is dead.
	generation uint64   // Readers up to this one may still use it.
}

// run works until ctx ends.
func (r *recycler) run(ctx context.Context) {
	poll := time.NewTicker(recyclePoll)
	defer poll.Stop()
	lastCheckpoint, lastLSN := time.Now(), r.c.index.Position().LSN
	r.dead = make(map[meta.VolumeID]deadVolume)
	look := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.c.deaths:
			look = true
			continue // Deaths come in groups: look at the next tick.
		case <-poll.C:
		}
		if look || len(r.dead) > 0 {
			look = false
			needCheckpoint, err := r.round(ctx)
			if err != nil && ctx.Err() == nil {
				r.c.log.Warn("dead volumes cannot be freed now", "error", err)
			}
			if needCheckpoint {
				lastCheckpoint = time.Time{}
			}
		}
		if lsn := r.c.index.Position().LSN; lsn != lastLSN && time.Since(lastCheckpoint) > checkpointEvery {
			oldest, err := r.c.checkpoint(ctx)
			if err != nil && ctx.Err() == nil {
				r.c.log.Warn("the index was not copied to every drive it should be on", "error", err)
			}
			if oldest != 0 {
				r.c.oldestCheckpoint = oldest
			}
			lastCheckpoint, lastLSN = time.Now(), lsn
		}
	}
}

// round looks at every volume once and frees those out of reach. It reports whether a newer checkpoint would free more.
func (r *recycler) round(ctx context.Context) (needCheckpoint bool, err error) {
	if err := r.find(); err != nil {
		return false, err
	}
	var free []*volume.Volume
	var journals []meta.VolumeID
	needFlush := false
	flushed, err := r.c.index.FlushedPosition()
	if err != nil {
		return false, err
	}
	for id, dead := range r.dead {
		vol := r.c.set.Get(id)
		if vol == nil {
			delete(r.dead, id)
			continue
		}
		switch {
		case !r.c.generations.passed(dead.generation):
		case flushed.LSN < dead.lsn:
			needFlush = true
		case r.c.oldestCheckpoint != 0 && r.c.oldestCheckpoint < dead.lsn:
			needCheckpoint = true
		default:
			free = append(free, vol)
			if vol.Class() == volume.Journal {
				journals = append(journals, id)
			}
		}
	}
	if needFlush {
		if err := r.c.index.Flush(ctx); err != nil {
			return needCheckpoint, err
		}
	}
	if len(journals) > 0 {
		// Before the segments go: a rebuild must not look for them.
		if err := r.c.freeJournals(ctx, journals); err != nil {
			return needCheckpoint, err
		}
	}
	for _, vol := range free {
		delete(r.dead, vol.ID())
		if err := r.c.set.Free(vol); err != nil {
			return needCheckpoint, fmt.Errorf("volume %x: %w", vol.ID(), err)
		}
		r.c.stats.volumesFreed.Add(1)
	}
	return needCheckpoint, nil
}

// find enters the volumes that have become dead.
func (r *recycler) find() error {
	open := make(map[meta.VolumeID]bool) // Journal volumes still in use, by whether batches may come.
	var oldest meta.VolumeID
	position := r.c.index.Position()
	for _, v := range r.c.journal.Volumes() {
		open[v.ID] = v.Open || v.EndLSN > position.LSN
		if oldest == 0 || v.ID < oldest {
			oldest = v.ID
		}
	}
	for _, vol := range r.c.set.Volumes() {
		id := vol.ID()
		if _, known := r.dead[id]; known {
			continue
		}
		isOpen, inJournal := open[id]
		if vol.Class() == volume.Bulk && r.c.bulk.isOpen(id) || isOpen {
			continue
		}
		if vol.Class() == volume.Journal && !inJournal && vol.Epoch() == r.c.set.Epoch() {
			continue // The journal is about to open it, or to give it up itself.
		}
		// Pins before usage: a write unpins only after its record is applied.
		if vol.Pins() > 0 {
			continue
		}
		live, tombstones, err := r.c.index.VolumeUsage(id)
		if err != nil {
			return err
		}
		if live > 0 || tombstones > 0 && inJournal && id != oldest {
			continue
		}
		r.dead[id] = deadVolume{lsn: r.c.index.Position().LSN, generation: r.c.generations.advance()}
	}
	return nil
}

// freeJournals records that journal volumes are gone.
func (c *cell) freeJournals(ctx context.Context, ids []meta.VolumeID) error {
	if err := c.commit(ctx, &meta.JournalFreed{Volumes: ids}); err != nil {
		return err
	}
	c.journal.Freed(ids...)
	return nil
}
