package meta_test

import (
	"math/rand/v2"
	"testing"
)

// TestCensus takes the census of many histories: it counts what there is, and finds nothing wrong. That it would find it is seen in the
// internal test, which spoils entries.
func TestCensus(t *testing.T) {
	for seed := range uint64(4) {
		h := newHistory(rand.New(rand.NewPCG(seed, 77)))
		x := newIndex(t)
		for range 40 {
			for range 20 {
				h.step()
			}
			b := h.cut()
			if _, err := x.Apply(b.pos, b.recs); err != nil {
				t.Fatal(err)
			}
		}
		view := x.View()
		got, err := view.Census(t.Context(), func(what string) { t.Error(what) })
		mustNot(t, err)
		mustNot(t, view.Close())
		equal(t, "buckets", got.Buckets, int64(len(h.buckets)))
		equal(t, "uploads", got.Uploads, int64(len(h.uploads)))
		equal(t, "blobs", got.Blobs, int64(len(h.blobs)))
		equal(t, "unreferenced", got.Unreferenced, int64(len(h.unreferenced())))
		if got.Versions == 0 || got.Markers == 0 || got.Inline == 0 || got.Extents == 0 || got.Bytes == 0 {
			t.Errorf("seed %d: %+v counts nothing of some kind", seed, got)
		}
	}
}
