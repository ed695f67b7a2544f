package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"penstock/engine/drive"
)

// TestBalance adds two empty drives to four that are half full: shards move until all six are about equally full, while clients
// work, and then nothing moves any more. Whichever two of the drives are lost afterwards, all is read.
func TestBalance(t *testing.T) {
	const size = 96 << 20
	rng := newRNG(t)
	first := memDrivesOf(identities(4), drive.MemOptions{Queue: drive.NewMemQueue(0), Size: size})
	shelf := newShelf(first, "/new/a", "/new/b")
	shelf.size = size
	opts := testOptions(t, 2).tuned(soon).tuned(func(c *cell) { c.limits.balance = 10 * time.Millisecond })
	opts.BulkSegment = 2 << 20
	paths := memPaths(first)
	store := openShelf(t, opts, shelf, paths...)
	mustBucket(t, store, testBucket)
	mustBucket(t, store, loadBucket)
	objects := fill(t, store, testBucket, "x/")
	for i := range 56 {
		key := fmt.Sprintf("large/%d", i)
		objects[key] = payload(uint64(i), 1<<20)
		mustPut(t, store, testBucket, key, objects[key])
	}
	c := store.cells[0]
	if spread := c.set.Spread(); spread > DefaultBalanceSpread {
		t.Fatalf("the drives differ by %.2f before one has joined", spread)
	}

	stop := clients(t, store, rng)
	for _, path := range []string{"/new/a", "/new/b"} {
		if _, err := store.AddDrive(t.Context(), path, false); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "shards have moved to the new drives", func() bool {
		return store.Stats().BalancedLen > 0 && c.set.Spread() <= DefaultBalanceSpread
	})
	stop()
	eventually(t, "the drives are as equally full as they can be", func() bool {
		_, more := c.set.Uneven(DefaultBalanceSpread*balanceEnd, nil)
		return !more
	})
	moved := store.Stats().BalancedLen
	if least := uint64(2 * size / 10); moved < least {
		t.Errorf("%d bytes have moved, of which two drives cannot have become as full as others: want %d at least", moved, least)
	}
	checkAll(t, store, testBucket, objects)
	closeStore(t, store)

	paths = append(paths, "/new/a", "/new/b")
	for _, gone := range [][2]int{{0, 4}, {4, 5}, {1, 5}} {
		left := slices.Clone(paths)
		left = slices.Delete(left, gone[1], gone[1]+1)
		left = slices.Delete(left, gone[0], gone[0]+1)
		store = openShelf(t, opts, shelf, left...)
		checkAll(t, store, testBucket, objects)
		closeStore(t, store)
	}
}

// TestBalanceYields has nothing move while a shard is missing or a drive is being drained, or when it is switched off.
func TestBalanceYields(t *testing.T) {
	store := mustOpen(t, testOptions(t, 1), memDrives(4, 0))
	c := store.cells[0]
	b := &balancer{c: c}
	if !b.undisturbed(t.Context()) {
		t.Error("nothing is the matter, and shards may not move")
	}
	if _, err := store.DrainDrive(t.Context(), store.Info().Drives[0].ID, false); err != nil {
		t.Fatal(err)
	}
	if b.undisturbed(t.Context()) {
		t.Error("shards may move while a drive is being drained")
	}
	closeStore(t, store)

	opts := testOptions(t, 1)
	opts.BalanceSpread = -1
	store = mustOpen(t, opts, memDrives(2, 0))
	(&balancer{c: store.cells[0]}).run(t.Context()) // Returns.
	closeStore(t, store)
}
