package engine

import (
	"sync/atomic"
	"time"

	"penstock/engine/drive"
)

// hedger decides when a read that other shards can stand in for stops waiting for its drive.
//
// It waits for a multiple of what the drive's own slow reads took lately, so that a fast drive that stumbles costs its clients
// milliseconds, and a slow one is not asked for what it cannot do. A hedged read reads more than an ordinary one. In a store that is
// overloaded every read is late, and hedging them all would double the load: so only one read in hedgeShare may be,
// but for those whose drive has stopped altogether, to which nobody turns any more until it answers.
//
// One serves a cell: the reads of stripes, and through it those of the journal.
type hedger struct {
	limits *limits
	credit atomic.Int64 // In reads that came back in time; hedgeShare of them pay for a hedge.
}

const (
	// hedgeFactor times the 99th percentile is far outside of what a drive does when it is well.
	hedgeFactor = 4

	// hedgeShare: one read in so many may be hedged. That bounds the load that hedging adds to a fifth with 4+2, where a hedge reads four
	// units in place of one.
	hedgeShare = 20

	// hedgeBurst is how many hedges may follow each other at once: a stumble of a drive concerns all that it has in its queue.
	hedgeBurst = 64
)

func newHedger(l *limits) *hedger {
	h := &hedger{limits: l}
	h.credit.Store(hedgeBurst * hedgeShare)
	return h
}

// After returns how long a read waits for a drive before it may be hedged.
func (h *hedger) After(w *drive.Watch) time.Duration {
	slow := w.SlowRead()
	if slow == 0 {
		return h.limits.hedge
	}
	return min(max(hedgeFactor*slow, h.limits.hedgeLeast), h.limits.hedge)
}

// Step is how long a read waits that may not be hedged yet, before it asks again.
func (h *hedger) Step() time.Duration { return max(h.limits.hedge/4, h.limits.hedgeLeast) }

// Answered notes a read that came back in time.
func (h *hedger) Answered() {
	if h.credit.Load() < hedgeBurst*hedgeShare { // Almost always full, and then not written to.
		h.credit.Add(1)
	}
}

// May reports whether a read that is late may be hedged now, and takes the credit for it.
func (h *hedger) May(w *drive.Watch) bool { return w.Avoid() || h.take() }

func (h *hedger) take() bool {
	for {
		credit := h.credit.Load()
		if credit < hedgeShare {
			return false
		}
		if h.credit.CompareAndSwap(credit, credit-hedgeShare) {
			return true
		}
	}
}
