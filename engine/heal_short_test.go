package engine

import (
	"context"
	"slices"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/meta"
)

// TestHealShort cuts the segments of one drive short. What is missing of them has no place there any more: they are replaced, and the
// drive, which did nothing wrong, stays in use.
func TestHealShort(t *testing.T) {
	drives := memDrives(4, 0)
	opts := testOptions(t, 1).tuned(soon).tuned(func(c *cell) { c.limits.hedge = time.Minute })
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives) // Now all volumes so far are sealed.
	c := s.cells[0]
	c.cache = newBlobCache(0)
	cut := 0
	for n, vol := range c.set.Volumes() {
		if vol.Epoch() == c.set.Epoch() {
			continue
		}
		i := slices.Index(vol.Drives(), drives[2].ID())
		length := vol.Start() // Nothing but the header is left, or half.
		if n%2 == 0 {
			length = max(length, vol.Shard(i).Size()/2/drive.BlockLen*drive.BlockLen)
		}
		if err := vol.Shard(i).Resize(length); err != nil {
			t.Fatal(err)
		}
		c.ledger.note(vol.ID(), i, meta.CauseRot, everything(vol)...)
		cut++
	}
	checkAll(t, s, testBucket, objects)
	if status := healed(t, s); status.Moved == 0 || int(status.Moved) > cut {
		t.Errorf("%d segments were replaced of %d that were cut short", status.Moved, cut)
	}
	if info := s.Info(); slices.ContainsFunc(info.Drives, func(d DriveInfo) bool { return d.State != "ok" }) {
		t.Errorf("a drive was given up: %+v", info.Drives)
	}
	closeStore(t, s)
	for i := range drives {
		if i == 2 {
			continue
		}
		rest := slices.Delete(slices.Clone(drives), i, i+1)
		reopen(rest)
		s = mustOpen(t, opts, rest)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
}

// TestHealNothingLeft looks at a journal volume whose segments are all out of reach: that is an answer, not the end of the process.
func TestHealNothingLeft(t *testing.T) {
	drives := memDrives(3, 0)
	s := mustOpen(t, testOptions(t, 1), drives)
	mustBucket(t, s, testBucket)
	fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, testOptions(t, 1), drives)
	c := s.cells[0]
	b := c.base.Load()
	for _, info := range b.journal.Volumes() {
		if info.Open {
			continue
		}
		read := 0
		if err := b.journal.Blocks(t.Context(), info, 0, 0, func(journal.Blocks) error { read++; return nil }); err != nil || read == 0 {
			t.Fatalf("without a shard that is always read: %d batches, %v", read, err)
		}
		vol := c.set.Get(info.ID)
		for _, d := range drives {
			c.set.FailDrive(d.ID(), drive.ErrClosed)
		}
		err := c.walk(context.WithoutCancel(t.Context()), c.healer.pace, vol, 0, 0, func(journal.Blocks) (int64, error) {
			t.Error("a batch was read from drives that have failed")
			return 0, nil
		})
		if err == nil {
			t.Error("a volume that cannot be read was walked to its end")
		}
		break
	}
	s.Close(t.Context()) // It says that drives have failed.
}
