package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// lockedVersion is what the specification knows of a version: its lock, as the history has it.
type lockedVersion struct {
	id   VersionID
	lock Lock
}

// TestLockHistory plays random histories of writes, locks, removals, restarts, rebuilds of the index and a clock that is set, against lists of what
// must be there. The store may never remove what is locked nor shorten a lock, and must do whatever else it is told.
func TestLockHistory(t *testing.T) {
	rng := newRNG(t)
	l := newLocker(t, LockConfig{})
	keys := []string{"a", "b/c", "d"}
	want := map[string][]lockedVersion{}
	now := l.clock.now() // The time of locks: the clock is only ever set back, or on by less than is believed at once.
	for i := range 400 {
		key := keys[rng.IntN(len(keys))]
		all := want[key]
		switch op := rng.IntN(20); {
		case op < 5 || len(all) == 0:
			lock := randomLock(rng, now)
			want[key] = append(all, lockedVersion{l.put(key, lock).Version, lock})
		case op < 10:
			j, bypass := rng.IntN(len(all)), rng.IntN(2) == 0
			v := all[j]
			kept := v.lock.Hold == LegalHoldOn || now.Before(v.lock.Until) && (v.lock.Mode == LockCompliance || !bypass)
			got := l.remove(key, v.id, bypass)
			if (got == "locked") != kept || !kept && got != "" {
				t.Fatalf("step %d: remove %s at %v, bypass %v: %q", i, v.lock, now, bypass, got)
			}
			if !kept {
				want[key] = append(all[:j:j], all[j+1:]...)
			}
		case op < 15:
			j, bypass := rng.IntN(len(all)), rng.IntN(2) == 0
			v, next := &all[j], randomLock(rng, now)
			runs := now.Before(v.lock.Until)
			longer := next.Mode == v.lock.Mode && !next.Until.Before(v.lock.Until)
			kept := runs && !longer && (v.lock.Mode == LockCompliance || !bypass)
			got := l.set(key, v.id, bypass, next)
			if (got == "locked") != kept || !kept && got != "" {
				t.Fatalf("step %d: %v becomes %v at %v, bypass %v: %q", i, v.lock, next, now, bypass, got)
			}
			if !kept {
				v.lock = next
			}
		case op < 17:
			d := time.Duration(rng.IntN(40)) * time.Minute
			l.clock.pass(d)
			now = now.Add(d)
		case op < 18:
			l.s.lockTime.now() // So that the clock is seen before it is set.
			l.clock.set(-time.Duration(rng.IntN(400)) * day)
		case op < 19:
			l.restart()
		default:
			l.s = restart(t, l.s, l.opts, l.drives, true)
			l.clock.drive(t, l.s)
		}
	}
	for _, key := range keys {
		versions := versionsOf(t, l.s, key)
		if len(versions) != len(want[key]) {
			t.Errorf("%s has %d versions, want %d", key, len(versions), len(want[key]))
			continue
		}
		for i, v := range want[key] {
			got := versions[len(versions)-1-i]
			if lock, err := LockOf(got.Attrs); err != nil || got.Version != v.id || lockText(lock) != lockText(v.lock) {
				t.Errorf("%s, version %d: %v, %v, want %v", key, got.Version, lock, err, v.lock)
			}
		}
	}
}

func lockText(l Lock) string {
	return fmt.Sprintf("%q until %v, hold %q", l.Mode, l.Until.UTC(), l.Hold)
}

func randomLock(rng *rand.Rand, now time.Time) (l Lock) {
	if mode := rng.IntN(3); mode > 0 {
		l.Mode = []string{LockGovernance, LockCompliance}[mode-1]
		l.Until = now.Add(time.Duration(1+rng.IntN(180)) * time.Minute)
	}
	l.Hold = []string{"", "", LegalHoldOff, LegalHoldOn}[rng.IntN(4)]
	return l
}
