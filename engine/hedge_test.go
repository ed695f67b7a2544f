package engine

import (
	"testing"
	"time"

	"penstock/engine/drive"
)

// TestHedgerCredit: one read in hedgeShare may be hedged, and some at once, but never more.
func TestHedgerCredit(t *testing.T) {
	limits := defaultLimits
	h := newHedger(&limits)
	var w drive.Watch
	takes := func() (n int) {
		for h.May(&w) {
			n++
		}
		return n
	}
	if n := takes(); n != hedgeBurst {
		t.Errorf("%d hedges at once, want %d", n, hedgeBurst)
	}
	for range 10 * hedgeShare {
		h.Answered()
	}
	if n := takes(); n != 10 {
		t.Errorf("%d hedges for %d reads, want 10", n, 10*hedgeShare)
	}
	for range 10 * hedgeBurst * hedgeShare {
		h.Answered()
	}
	if n := takes(); n != hedgeBurst {
		t.Errorf("%d hedges saved up, want %d", n, hedgeBurst)
	}
	w.SetStalled()
	if !h.May(&w) || !h.May(&w) {
		t.Error("a read waits for a drive that has stopped")
	}
	if got := h.After(&w); got != limits.hedge {
		t.Errorf("a drive that nothing is known of is given %v, want %v", got, limits.hedge)
	}
}

// TestHedgedReads: what a drive that has become slow holds up is reconstructed from the others, as long as there is credit. Without, it is waited
// for, and answers.
func TestHedgedReads(t *testing.T) {
	s, plan, holder, want := newStalled(t, func(c *cell) { c.limits.hedge = 20 * time.Millisecond })
	defer closeStore(t, s)
	c := s.cells[0]
	plan.Add(drive.Rule{On: drive.OnRead, Drive: holder.ID(), Times: -1, Do: drive.Delay, Delay: 150 * time.Millisecond})
	c.hedger.credit.Store(0)
	mustGet(t, s, testBucket, "large", want)
	if n := s.Stats(); n.HedgedReads != 0 || n.DegradedReads != 0 {
		t.Errorf("%d hedged and %d degraded reads without credit", n.HedgedReads, n.DegradedReads)
	}
	c.hedger.credit.Store(hedgeShare)
	mustGet(t, s, testBucket, "large", want)
	if n := s.Stats(); n.HedgedReads != 1 || n.DegradedReads != 1 {
		t.Errorf("%d hedged and %d degraded reads with credit for one", n.HedgedReads, n.DegradedReads)
	}
	if !c.set.Healthy(holder.ID()) {
		t.Error("a drive that is only slow was given up")
	}
	eventually(t, "no read is overdue", func() bool { return overdue(s) == 0 })
}

// TestHedgedRecords is the same for objects in the journal.
func TestHedgedRecords(t *testing.T) {
	s, plan, _, want := newStalled(t, func(c *cell) { c.limits.hedge = 20 * time.Millisecond })
	defer closeStore(t, s)
	c := s.cells[0]
	plan.Add(drive.Rule{On: drive.OnRead, Times: 1, Do: drive.Delay, Delay: 150 * time.Millisecond})
	c.hedger.credit.Store(0)
	mustGet(t, s, testBucket, "small", want[:5000])
	if n := s.Stats().DegradedReads; n != 0 {
		t.Errorf("%d degraded reads without credit", n)
	}
	plan.Add(drive.Rule{On: drive.OnRead, Times: 1, Do: drive.Delay, Delay: 150 * time.Millisecond})
	c.hedger.credit.Store(hedgeShare)
	mustGet(t, s, testBucket, "small", want[:5000])
	if n := s.Stats().DegradedReads; n != 1 {
		t.Errorf("%d degraded reads with credit for one", n)
	}
	eventually(t, "no read is overdue", func() bool { return overdue(s) == 0 })
}
