package engine

import (
	"testing"
	"time"

	"penstock/engine/drive"
)

// TestCloseDuringFailover closes a store whose index has failed and cannot be replaced: the only drive is gone.
func TestCloseDuringFailover(t *testing.T) {
	plan := drive.NewPlan(1)
	drives := memDrives(1, 0)
	s := mustOpen(t, testOptions(t, 0).tuned(func(c *cell) { c.limits.retry = time.Hour }), plan.WrapAll(drives))
	mustBucket(t, s, testBucket)
	plan.Add(drive.Rule{On: drive.OnWrite, Drive: drives[0].ID(), Times: -1})
	if _, err := putBytes(t.Context(), s, testBucket, "k", payload(1, 1000), nil); err == nil {
		t.Fatal("a write succeeded on a drive that fails all of them")
	}
	for s.cells[0].stats.failovers.Load() == 0 { // The supervisor polls; it tells nobody.
		time.Sleep(time.Millisecond)
	}
	closeStore(t, s)
}
