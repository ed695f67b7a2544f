package engine

import (
	"bytes"
	"testing"

	"penstock/engine/drive"
)

// TestUnitCache reads a page of a large object twice: the second time no drive is asked, and the bytes are the same. Pages beside it,
// in other units, are not taken for it.
func TestUnitCache(t *testing.T) {
	plan := drive.NewPlan(1)
	s := mustOpen(t, testOptions(t, -1), plan.WrapAll(memDrives(6, 0)))
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	b := payload(5, 1<<20)
	mustPut(t, s, testBucket, "large", b)
	page := func(off, n int64, wantReads int) {
		t.Helper()
		before := plan.Count(drive.ID{}, drive.OnRead)
		got, err := getRange(t.Context(), s, testBucket, "large", off, n)
		if err != nil || !bytes.Equal(got, b[off:off+n]) {
			t.Fatalf("%d bytes at %d: got %d, %v", n, off, len(got), err)
		}
		if reads := plan.Count(drive.ID{}, drive.OnRead) - before; reads != wantReads {
			t.Errorf("%d bytes at %d: %d drive reads, want %d", n, off, reads, wantReads)
		}
	}
	page(70_000, 4096, 1)
	page(70_000, 4096, 0)
	page(65536, 65536, 0)   // All of the unit.
	page(65535, 10, 2)      // It and the one before: read anew.
	page(131072, 4096, 1)   // The next one.
	page(0, 100, 1)         // The first one.
	page(131072+10, 100, 0) // The next one again.
}
