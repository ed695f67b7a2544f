package engine

import (
	"context"
	"fmt"
	"time"

	"penstock/engine/volume"
	"penstock/meta"
)

// Room on the drives runs out in three steps. Up to the reserve it is for everybody. Of the reserve, deletes may use all but the last
// journal volume, and compaction everything: deletes give nothing back until compaction has moved what lies between what they removed.

// lookAtRoom keeps the cell's knowledge of its room. The recycler calls it.
func (c *cell) lookAtRoom(b *base) {
	full := c.set.Full(volume.Bulk)
	if was := c.full.Swap(full); full != was {
		total, free := c.set.Space()
		if full {
			c.log.Warn("the drives are full: nothing new is taken until something is deleted or a drive is added", "bytes", total, "free", free)
		} else {
			c.log.Info("the drives have room again", "bytes", total, "free", free)
		}
	}
	c.tight.Store(c.set.Full(volume.Journal) && b.journalHalfFull())
}

// journalHalfFull reports whether more than half of the open journal volume has been written.
func (b *base) journalHalfFull() bool {
	infos := b.journal.Volumes()
	if len(infos) == 0 || !infos[len(infos)-1].Open {
		return true
	}
	open := infos[len(infos)-1]
	vol := b.c.set.Get(open.ID)
	return vol == nil || open.End > vol.Capacity()/2
}

// hurried reports whether space is wanted now rather than cheaply: the drives are full, or somebody has asked for it.
func (c *cell) hurried() bool {
	return c.full.Load() || c.compaction.hurry.Load() || c.anyCrowded()
}

// checkFull refuses what would take room when there is none left but the reserve.
func (c *cell) checkFull() error {
	if c.full.Load() {
		return fmt.Errorf("cell %d: %w", c.id, volume.ErrFull)
	}
	return nil
}

// checkTight refuses a record when the last journal volume is at stake, unless it gives space back or tells of damage.
func (b *base) checkTight(k meta.Kind) error {
	switch k {
	case meta.KindJournalFreed, meta.KindDropBlobs, meta.KindMissing:
		return nil
	}
	if b.c.tight.Load() {
		return fmt.Errorf("cell %d: %w", b.c.id, volume.ErrFull)
	}
	return nil
}

// awaitTight waits, as long as a client may be kept waiting, until compaction has made room for removals. The caller holds no lock.
func (c *cell) awaitTight(ctx context.Context) {
	for waited := time.Duration(0); c.tight.Load() && waited < admissionWait; waited += replacePoll {
		select {
		case <-ctx.Done():
			return
		case <-time.After(replacePoll):
		}
	}
}
