//go:build linux

package ioring

import "testing"

// Ops run on their callers' threads while the queue is quiet, stop when it fills, and only start again
// once it has been quiet for a while.
func TestDirectOnlyWhenQuiet(t *testing.T) {
	var g gate
	g.init(100)
	direct := func(want bool, when string) {
		t.Helper()
		got := g.enterDirect()
		if got {
			defer g.leave(1)
		}
		if got != want {
			t.Errorf("%s: enterDirect() = %t, want %t", when, got, want)
		}
	}
	direct(true, "nothing yet")
	g.enter(1)
	direct(true, "one other")
	g.enter(1)
	direct(false, "two others")
	g.leave(2)
	direct(true, "a moment of two is no crowd")
	g.enter(6)
	direct(false, "a group")
	g.leave(6)
	direct(true, "after a group that was alone")
	g.enter(2)
	g.enter(1)
	g.leave(3)
	direct(false, "just after a crowd")
	for range quietEnough {
		direct(false, "soon after a crowd")
		g.enter(1)
		g.leave(1)
	}
	direct(true, "long after a crowd")
	g.close()
	direct(false, "closed")
}
