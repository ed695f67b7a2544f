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

// TestHealClone gives a store an old copy of one of its drives back: of before the start that finished what the one before had left
// unfinished. What the copy lacks of that is known, though the drive was never away.
func TestHealClone(t *testing.T) {
	opts := testOptions(t, 1).tuned(soon)
	domain := drive.NewDomain(identities(4), 0, drive.DomainOptions{})
	s := mustOpen(t, opts, domain.Drives())
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	tail := s.cells[0].base.Load().journal.Position()
	i := slices.Index(s.cells[0].set.Get(tail.Volume).Drives(), domain.Drives()[2].ID())
	seg := s.cells[0].set.Get(tail.Volume).Shard(i).Seg()
	copied := domain.Cut(drive.Choice{}).Drives()[2]
	closeStore(t, s)

	// The last batch is missing on it, as if power had failed while it was written.
	f, err := copied.Open(seg)
	if err != nil {
		t.Fatal(err)
	}
	last, block := int64(0), drive.Aligned(drive.BlockLen)
	for off := f.Size() - drive.BlockLen; off > 0 && last == 0; off -= drive.BlockLen {
		if err := drive.Do(t.Context(), &drive.Op{Kind: drive.Read, File: f, Off: off, Bufs: [][]byte{block}}); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(block, func(b byte) bool { return b != 0 }) {
			last = off
		}
	}
	want := slices.Clone(block)
	clear(block)
	if err := drive.Do(t.Context(), &drive.Op{Kind: drive.Write, File: f, Off: last, Bufs: [][]byte{block}}); err != nil {
		t.Fatal(err)
	}

	drives := domain.Drives()
	for range 2 { // Starts that the copy does not know of.
		reopen(drives)
		s = mustOpen(t, opts, drives)
		objects["x/more"] = payload(7, 5_000)
		mustPut(t, s, testBucket, "x/more", objects["x/more"])
		closeStore(t, s)
	}
	drives[2] = copied
	reopen(drives)
	s = mustOpen(t, opts, drives)
	defer closeStore(t, s)
	checkAll(t, s, testBucket, objects)
	eventually(t, "the last batch is on the copy as well", func() bool {
		err := drive.Do(t.Context(), &drive.Op{Kind: drive.Read, File: f, Off: last, Bufs: [][]byte{block}})
		return err == nil && slices.Equal(block, want)
	})
	healed(t, s)
}
