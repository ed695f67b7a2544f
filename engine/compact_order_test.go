package engine

import (
	"context"
	"errors"
	"testing"

	"penstock/engine/volume"
)

// waste leaves a volume on the drives of which most is dead, and returns what lives in it.
func waste(t *testing.T, s *Store) map[string][]byte {
	t.Helper()
	objects := map[string][]byte{}
	for _, key := range []string{"0", "1", "2", "3", "4", "5"} {
		objects[key] = payload(uint64(key[0]), 1<<20)
		mustPut(t, s, testBucket, key, objects[key])
	}
	for _, key := range []string{"1", "2", "3", "4", "5"} {
		must(t, deleteKey(t.Context(), s, testBucket, key))
		delete(objects, key)
	}
	c := s.cells[0]
	c.bulk.mu.Lock()
	open := c.bulk.vol
	c.bulk.mu.Unlock()
	c.bulk.retire(open)
	return objects
}

// TestCompactOrder has everything compacted: the order is there until it was carried out, and the recycler hurries until what was
// moved is free, for which a reader must end.
func TestCompactOrder(t *testing.T) {
	s := mustOpen(t, quiet(testOptions(t, -1)), memDrives(4, 0))
	defer func() { closeStore(t, s) }()
	mustBucket(t, s, testBucket)
	objects := waste(t, s)
	h, err := s.Open(t.Context(), testBucket, "0", CurrentVersion)
	must(t, err)
	k := s.cells[0].compaction
	s.StartCompaction()
	if !k.hurry.Load() {
		t.Error("somebody waits for space, and nobody hurries")
	}
	eventually(t, "what is worthwhile was moved", func() bool {
		status := s.CompactStatus()
		return !status.Asked && status.Waiting > 0
	})
	if status := s.CompactStatus(); status.AskedErr != nil || status.Extents == 0 || !k.hurry.Load() {
		t.Errorf("with a reader: %+v, hurry %v", status, k.hurry.Load())
	}
	h.Close()
	eventually(t, "the volumes are free", func() bool { return s.CompactStatus().Waiting == 0 && !k.hurry.Load() })
	checkAll(t, s, testBucket, objects)
}

// TestCompactOrderStopped takes orders back, with the context of Compact and with StopCompaction: there is none when that was seen to.
func TestCompactOrderStopped(t *testing.T) {
	s := mustOpen(t, quiet(testOptions(t, -1)), memDrives(4, 0))
	defer func() { closeStore(t, s) }()
	mustBucket(t, s, testBucket)
	objects := waste(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Compact(ctx); KindOf(err) != KindCanceled {
		t.Errorf("Compact without time: %v", err)
	}
	eventually(t, "that is over", func() bool { return !s.CompactStatus().Asked })
	s.StartCompaction()
	s.StopCompaction()
	eventually(t, "that is over, too", func() bool { return !s.CompactStatus().Asked })
	must(t, s.Compact(t.Context()))
	checkAll(t, s, testBucket, objects)
}

// TestCompactOrderClosed closes the store while somebody waits for compaction, which waits for a reader.
func TestCompactOrderClosed(t *testing.T) {
	s := mustOpen(t, quiet(testOptions(t, -1)), memDrives(4, 0))
	mustBucket(t, s, testBucket)
	waste(t, s)
	h, err := s.Open(t.Context(), testBucket, "0", CurrentVersion)
	must(t, err)
	compacted := make(chan error)
	go func() { compacted <- s.Compact(context.WithoutCancel(t.Context())) }()
	eventually(t, "the volume is empty, but read", func() bool { return s.CompactStatus().Waiting > 0 })
	closed := make(chan struct{})
	go func() { defer close(closed); closeStore(t, s) }() // It waits for the reader.
	if err := <-compacted; !errors.Is(err, volume.ErrClosed) {
		t.Errorf("Compact when the store closes: %v", err)
	}
	h.Close()
	<-closed
}

// TestCompactOrderOutlivesBase ends the base in the middle of an order: the next one carries it out.
func TestCompactOrderOutlivesBase(t *testing.T) {
	s := mustOpen(t, quiet(testOptions(t, -1)).tuned(still), memDrives(4, 0))
	defer func() { closeStore(t, s) }()
	mustBucket(t, s, testBucket)
	objects := waste(t, s)
	k := newCompactor(s.cells[0].base.Load())
	k.compaction = newCompaction() // Which the store's own compactor does not know.
	o := k.start()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	k.serve(over)
	if !o.open() || k.start() != o {
		t.Fatal("the order ended with the base")
	}
	k.serve(t.Context())
	if o.open() || o.err != nil || k.status().Extents == 0 {
		t.Errorf("the next base: open %v, %v, %+v", o.open(), o.err, k.status())
	}
	checkAll(t, s, testBucket, objects)
}
