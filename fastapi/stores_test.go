package fastapi

import (
	"context"
	"testing"
	"time"

	"penstock/engine"
)

// onStores runs a test on the fake store, which is the specification, and on a real one.
func onStores(t *testing.T, run func(*testing.T, *harness)) {
	t.Run("store=fake", func(t *testing.T) { run(t, newHarness(t)) })
	t.Run("store=real", func(t *testing.T) {
		store := newRealStore(t)
		run(t, newHarness(t, func(o *Options) { o.Store = store }))
	})
}

func newRealStore(t *testing.T, adjust ...func(*engine.Options)) *engine.Store {
	t.Helper()
	opts := engine.Options{
		Drives: []string{t.TempDir()}, Parity: -1, Memory: engine.MinMemory, Format: true,
		JournalSegment: engine.MinJournalSegment, BulkSegment: engine.MinBulkSegment,
	}
	for _, f := range adjust {
		f(&opts)
	}
	store, err := engine.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := store.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return store
}
