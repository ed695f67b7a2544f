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

	// quiet counts the latest groups that found the queue all but idle, up to quietEnough.
	quiet atomic.Int32

	mu    sync.Mutex // Guards nothing but the sleep on moved.
	moved sync.Cond  // pending fell or the gate shut.
}

// One Op runs on its caller's thread when there are at most directMost with it. One caller and two are
// served in half the time and at half the CPU that the ring takes; at four both ways cost the same (the
// table is in the package comment).
const directMost = 2

// quietEnough is how many groups in a row must have found so few before one runs directly. Of many callers
// some find nothing pending by chance, whenever a batch has just been delivered. Running those directly
// takes the ring its batches: at 8 callers 25 µs of CPU for a 4 KiB read in place of 11, at 64 callers 9.4
// in place of 4.3.
const quietEnough = 16

func (g *gate) init(limit int) {
	g.limit = int64(limit)
	g.quiet.Store(quietEnough)
	g.moved.L = &g.mu
}

// enter counts n Ops in, or waits until it may. A group enters whole as soon as there is any room, so
// that one larger than the limit enters too; the excess is at most one group. It reports false, having
// counted nothing, when the gate is shut.
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
		g.notice(pending < directMost)
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

// enterDirect counts in one Op that is to run on its caller's thread, if there are few others and lately
// were.
func (g *gate) enterDirect() bool {
	if g.shut.Load() || g.quiet.Load() < quietEnough {
		return false
	}
	pending := g.pending.Load()
	if pending >= min(directMost, g.limit) || !g.pending.CompareAndSwap(pending, pending+1) {
		return false
	}
	if g.shut.Load() {
		g.leave(1)
		return false
	}
	return true
}

// notice takes note of what a group found. Lost updates do not matter.
func (g *gate) notice(quiet bool) {
	switch n := g.quiet.Load(); {
	case !quiet && n > 0:
		g.quiet.Store(0)
	case quiet && n < quietEnough:
		g.quiet.Store(n + 1)
	}
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
