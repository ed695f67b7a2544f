package engine

import (
	"sync/atomic"
	"time"
)

// opWait waits, with one wake, for a number of operations that complete on other goroutines.
type opWait struct {
	left atomic.Int32
	ch   chan struct{} // Closed when nothing is left.
}

func newOpWait(n int) *opWait {
	w := &opWait{ch: make(chan struct{})}
	w.left.Store(int32(n))
	if n == 0 {
		close(w.ch)
	}
	return w
}

func (w *opWait) done() {
	if w.left.Add(-1) == 0 {
		close(w.ch)
	}
}

// pending returns how many operations are left.
func (w *opWait) pending() int { return int(w.left.Load()) }

// waitSteps is into how many steps the time of a wait is divided. A process that was stopped, or that nobody gave a CPU, finds all
// timers expired when it goes on, before it has looked at what has come in meanwhile. So only one step counts as waited then.
const waitSteps = 8

// wait returns when nothing is left, or after the time given, and reports which.
func (w *opWait) wait(limit time.Duration) bool {
	select {
	case <-w.ch:
		return true
	default:
	}
	timer := time.NewTimer(limit / waitSteps)
	defer timer.Stop()
	for step := 1; ; step++ {
		select {
		case <-w.ch:
			return true
		case <-timer.C:
		}
		if step == waitSteps {
			return false
		}
		timer.Reset(limit / waitSteps)
	}
}
