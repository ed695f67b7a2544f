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
	return w
}

func (w *opWait) done() {
	if w.left.Add(-1) == 0 {
		close(w.ch)
	}
}

// skip counts an operation that was never started.
func (w *opWait) skip() { w.done() }

// wait returns when nothing is left, or after the time given, and reports which.
func (w *opWait) wait(limit time.Duration) bool {
	select {
	case <-w.ch:
		return true
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.ch:
		return true
	case <-timer.C:
		return false
	}
}
