package engine

import (
	"testing"
	"time"
)

// TestNarrow writes while no more drives are left than there is parity. When the others are back, any of them may go again.
func TestNarrow(t *testing.T) {
	for _, c := range []struct {
		drives, parity, left int
	}{{2, -1, 1}, {4, -1, 2}, {3, 2, 1}} {
		drives := memDrives(c.drives, 0)
		opts := testOptions(t, c.parity).tuned(soon).tuned(func(c *cell) { c.limits.compact = 20 * time.Millisecond })
		s := mustOpen(t, opts, drives)
		mustBucket(t, s, testBucket)
		objects := fill(t, s, testBucket, "x/")
		_, parity := s.cells[0].set.Geometry()
		closeStore(t, s)

		reopen(drives[:c.left])
		s = mustOpen(t, opts, drives[:c.left])
		for key, b := range fill(t, s, testBucket, "y/") {
			objects[key] = b
		}
		closeStore(t, s)

		reopen(drives)
		s = mustOpen(t, opts, drives)
		for key, b := range fill(t, s, testBucket, "z/") { // What is open again is not narrow, and is not taken for it.
			objects[key] = b
		}
		eventually(t, "no volume has less parity than it should", func() bool {
			for _, vol := range s.cells[0].set.Volumes() {
				if vol.M() < parity {
					return false
				}
			}
			return true
		})
		healed(t, s)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)

		for first := range drives { // Any that are as many as there were left, which leaves out as many as there is parity.
			rest := append(drives[first:len(drives):len(drives)], drives[:first]...)[:c.drives-parity]
			reopen(rest)
			s = mustOpen(t, opts, rest)
			checkAll(t, s, testBucket, objects)
			closeStore(t, s)
		}
	}
}
