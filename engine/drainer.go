package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/meta"
)

// drainer empties drives that are to leave: it closes the volumes that are being written there, has the index move, and moves every shard to
// a drive that its volume does not use yet, at the pace of healing. That a drive is being drained lasts in the roster; how far it is,
// the volumes say. So it goes on after a restart where it was.
//
// A volume that is on all drives that are left has nowhere to move its shard to. It waits until another drive comes, or until what lives in it has
// been written again elsewhere, by compaction; see crowded.
type drainer struct {
	c    *cell
	wake chan struct{} // Of capacity 1.

	mu    sync.Mutex // Guards the fields below.
	marks map[drive.ID]*drainMark
}

// drainMark is what is known of a drive that is being drained.
type drainMark struct {
	cancel   context.CancelFunc // Ends the moves under way.
	moved    int                // Shards, since start, and their bytes.
	movedLen int64
	stuck    map[meta.VolumeID]bool // Volumes whose shard no drive can take now.
	err      error                  // Why some other shard could not be moved when that was last tried.
}

// drainJobs is how many shards are moved side by side.
const drainJobs = 2

func newDrainer(c *cell) *drainer {
	return &drainer{c: c, wake: make(chan struct{}, 1), marks: make(map[drive.ID]*drainMark)}
}

func (d *drainer) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run drains until ctx ends.
func (d *drainer) run(ctx context.Context) {
	ticker := time.NewTicker(d.c.limits.heal)
	defer ticker.Stop()
	for {
		for _, status := range d.c.set.Drives() {
			switch {
			case status.State == volume.DriveOK && status.Draining:
				d.drain(ctx, status.ID)
			case !status.Draining:
				d.forget(status.ID)
			}
			if status.Leaving && ctx.Err() == nil {
				d.letGo(ctx, status)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-d.wake:
		}
	}
}

// letGo removes a drive that is to leave once it holds nothing.
func (d *drainer) letGo(ctx context.Context, status volume.DriveStatus) {
	if shards, others := d.c.set.Holds(status.ID); shards+others > 0 || d.c.indexOn(status.ID) {
		return
	}
	d.c.lifecycle.Lock()
	defer d.c.lifecycle.Unlock()
	if _, err := d.c.remove(ctx, status.ID, false); err != nil && !errors.Is(err, volume.ErrOccupied) {
		d.c.log.Warn("a drive that is empty cannot be removed now", "drive", status.Path, "id", status.ID.String(), "error", err)
	}
}

func (d *drainer) mark(id drive.ID) *drainMark {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.marks[id]
	if m == nil {
		m = &drainMark{stuck: make(map[meta.VolumeID]bool)}
		d.marks[id] = m
	}
	return m
}

// forget ends the draining of a drive.
func (d *drainer) forget(id drive.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.marks[id]; m != nil {
		if m.cancel != nil {
			m.cancel()
		}
		delete(d.marks, id)
	}
}

// crowded reports whether a volume has a shard that is to leave its drive, or that was on a drive which was removed, and no other drive can take
// it: the volume is on all of them. Compaction writes what lives in it again, on the drives that stay.
func (c *cell) crowded(vol *volume.Volume) bool {
	return c.drainer.stuck(vol.ID()) || c.healer.homeless(vol)
}

// anyCrowded reports whether there is such a volume.
func (c *cell) anyCrowded() bool {
	if c.drainer.waiting() {
		return true
	}
	for _, id := range c.healer.held() {
		if vol := c.set.Get(id); vol != nil && c.healer.homeless(vol) {
			return true
		}
	}
	return false
}

// stuck reports whether a volume keeps a drive from being emptied.
func (d *drainer) stuck(id meta.VolumeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.marks {
		if m.stuck[id] {
			return true
		}
	}
	return false
}

// waiting reports whether any volume does.
func (d *drainer) waiting() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.marks {
		if len(m.stuck) > 0 {
			return true
		}
	}
	return false
}

// homeless reports whether a volume cannot be healed because the place of a lost shard was on a drive that has left, and no drive is free for it.
func (h *healer) homeless(vol *volume.Volume) bool {
	h.mu.Lock()
	later := h.later[vol.ID()]
	h.mu.Unlock()
	if !errors.Is(later.err, volume.ErrNoTarget) {
		return false
	}
	known := h.c.set.Roster().Known
	for i, id := range vol.Drives() {
		if vol.Shard(i) == nil && !slices.Contains(known, id) {
			return true
		}
	}
	return false
}

// held returns the volumes that cannot be healed now.
func (h *healer) held() []meta.VolumeID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.later))
}

// shardAt is a shard of a volume.
type shardAt struct {
	vol   *volume.Volume
	shard int
}

// shardsOn returns the shards whose place is on a drive.
func (c *cell) shardsOn(id drive.ID) (list []shardAt) {
	for _, vol := range c.set.Volumes() {
		if i := slices.Index(vol.Drives(), id); i >= 0 {
			list = append(list, shardAt{vol, i})
		}
	}
	return list
}

// drain moves what is on a drive now, as far as it can be moved now.
func (d *drainer) drain(ctx context.Context, id drive.ID) {
	c, mark := d.c, d.mark(id)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shards := c.shardsOn(id)
	d.mu.Lock()
	mark.cancel = cancel
	maps.DeleteFunc(mark.stuck, func(vol meta.VolumeID, _ bool) bool { // Those that have gone.
		return !slices.ContainsFunc(shards, func(s shardAt) bool { return s.vol.ID() == vol })
	})
	d.mu.Unlock()
	for _, s := range shards {
		c.bulk.retire(s.vol)
		c.cold.retire(s.vol)
		c.leaveJournal(s.vol)
	}
	jobs := make(chan shardAt)
	var workers sync.WaitGroup
	var failed error
	for range drainJobs {
		workers.Go(func() {
			for s := range jobs {
				if err := d.move(ctx, mark, s, id); err != nil {
					d.mu.Lock()
					failed = err
					d.mu.Unlock()
				}
			}
		})
	}
	for _, s := range shards {
		if ctx.Err() != nil || !c.set.Draining(id) {
			break
		}
		jobs <- s
	}
	close(jobs)
	workers.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if failed != nil && ctx.Err() == nil && (mark.err == nil || mark.err.Error() != failed.Error()) {
		c.log.Warn("a shard cannot be moved off a drive now", "id", id.String(), "error", failed)
	}
	mark.err = failed
}

// move moves one shard off a drive. What has to wait is tried again in the next round.
func (d *drainer) move(ctx context.Context, mark *drainMark, s shardAt, from drive.ID) error {
	c, id := d.c, s.vol.ID()
	f := s.vol.Shard(s.shard)
	if f == nil || !c.healer.claim(id) {
		return nil // Nothing is there, so it is healed; or it is being healed now.
	}
	defer c.healer.release(id)
	size := f.Size()
	err := c.moveShard(ctx, s.vol, s.shard, drive.ID{})
	moved := err == nil && !slices.Contains(s.vol.Drives(), from)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(mark.stuck, id)
	switch {
	case moved:
		mark.moved++
		mark.movedLen += size
	case errors.Is(err, volume.ErrNoTarget):
		mark.stuck[id] = true
		return nil
	case err == nil, errors.Is(err, errWaiting), errors.Is(err, volume.ErrFreed), ctx.Err() != nil:
		return nil
	}
	return err
}

// leaveJournal has the journal go on elsewhere if it is in this volume.
func (c *cell) leaveJournal(vol *volume.Volume) {
	if vol.Class() != volume.Journal {
		return
	}
	if b, err := c.enter(); err == nil {
		b.journal.Leave(vol.ID())
		b.leave()
	}
}

// indexOn reports whether the index is on a drive.
func (c *cell) indexOn(id drive.ID) bool {
	b := c.base.Load()
	return b != nil && b.place.id() == id
}

// drainState says how far a drive is.
func (d *drainer) state(info *DriveInfo, id drive.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.marks[id]
	if m == nil {
		return
	}
	info.Moved, info.MovedLen, info.Stuck = m.moved, m.movedLen, len(m.stuck)
	switch {
	case len(m.stuck) > 0:
		info.Reason = fmt.Sprintf("%d of its volumes are on all drives that are left: add a drive, or wait until what lives in them is written again", len(m.stuck))
	case m.err != nil:
		info.Reason = m.err.Error()
	}
}
