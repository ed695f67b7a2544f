//go:build linux

package ioring

import (
	"sync"
	"sync/atomic"
)

// gate counts the Ops that were accepted and have not come back, bounds them, and shuts.
type gate struct {
	limit   int64
	pending atomic.Int64
	shut    atomic.Bool
	waiters atomic.Int32

	mu    sync.Mutex // Guards nothing but the sleep on moved.
	moved sync.Cond  // pending fell or the gate shut.
}

func (g *gate) init(limit int) {
	g.limit = int64(limit)
	g.moved.L = &g.mu
}

// enter counts n Ops in, or waits until it may. A group enters whole as soon as there is any room, so
// that one larger than the limit enters too; the excess is at most one group for each caller. It
// reports false, having counted nothing, when the gate is shut.
func (g *gate) enter(n int) bool {
	for !g.shut.Load() {
		pending := g.pending.Load()
		if pending >= g.limit {
			g.wait()
			continue
		}
		if !g.pending.CompareAndSwap(pending, pending+int64(n)) {
			continue
		}
		// Whoever shuts the gate looks at pending after; whoever enters looks at shut after. So either
		// this sees the gate shut, or the other sees the Ops and waits for them.
		if g.shut.Load() {
			g.leave(n)
			return false
		}
		return true
	}
	return false
}

// enterAlone counts one Op in if there is no other.
func (g *gate) enterAlone() bool {
	if g.shut.Load() || !g.pending.CompareAndSwap(0, 1) {
		return false
	}
	if g.shut.Load() {
		g.leave(1)
		return false
	}
	return true
}

// leave counts n Ops out.
func (g *gate) leave(n int) {
	g.pending.Add(-int64(n))
	if g.waiters.Load() > 0 {
		g.stir()
	}
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiters.Add(1) // Before the condition is read again: leave reads them in the other order.
	defer g.waiters.Add(-1)
	for g.pending.Load() >= g.limit && !g.shut.Load() {
		g.moved.Wait()
	}
}

// close shuts the gate and reports whether this call did.
func (g *gate) close() bool {
	if g.shut.Swap(true) {
		return false
	}
	g.stir()
	return true
}

func (g *gate) stir() {
	g.mu.Lock()
	g.moved.Broadcast()
	g.mu.Unlock()
}
