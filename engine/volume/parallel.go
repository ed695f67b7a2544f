package volume

import (
	"sync/atomic"
	"time"
)

// patience is how many times longer than Options.Timeout is waited when more drives than parity can replace do
// not answer. Then it is not they: the machine was stopped or is starved, or all of them share what is. To give them all
// up would turn a pause into an outage.
const patience = 6

// parallel runs f for each of some members of s, each on a goroutine of its own, and returns what they
// return. It does not wait longer than Options.Timeout, nor for a member that fails meanwhile, because a
// drive that hangs may hang for ever: those left behind have ErrTimeout, and what they bring in the end
// is given to late, unless that is nil.
func parallel[T any](s *Set, members []*member, f func(i int) (T, error), late func(T)) ([]T, []error) {
	type result struct {
		i     int
		value T
		err   error
	}
	n := len(members)
	results := make(chan result, n) // Room for all, so that nobody who is late blocks.
	for i := range n {
		go func() {
			value, err := f(i)
			results <- result{i, value, err}
		}()
	}
	values, errs, done := make([]T, n), make([]error, n), make([]bool, n)
	left := n
	giveUp := func(unless func(m *member) bool) {
		for i := range done {
			if !done[i] && (unless == nil || !unless(members[i])) {
				errs[i], done[i] = ErrTimeout, true
				left--
			}
		}
	}
	timer := time.NewTimer(s.opts.Timeout)
	defer timer.Stop()
	back := 0
	for waited := 1; left > 0; {
		failure := s.NextFailure()
		giveUp(func(m *member) bool { return m == nil || !m.failed() })
		if left == 0 {
			break
		}
		select {
		case r := <-results:
			if back++; !done[r.i] {
				values[r.i], errs[r.i], done[r.i] = r.value, r.err, true
				left--
			} else if late != nil {
				late(r.value)
			}
		case <-failure:
		case <-timer.C:
			if _, m := s.Geometry(); left > m && waited < patience {
				waited++
				timer.Reset(s.opts.Timeout)
				continue
			}
			giveUp(nil)
		}
	}
	if late != nil && back < n {
		go func() {
			for range n - back {
				late((<-results).value)
			}
		}()
	}
	return values, errs
}

// waitProgress waits for a result as long as tick moves: it gives up with ErrTimeout when it has not
// moved for a whole limit.
func waitProgress(result <-chan error, tick *atomic.Int64, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for last := tick.Load(); ; {
		select {
		case err := <-result:
			return err
		case <-timer.C:
			now := tick.Load()
			if now == last {
				return ErrTimeout
			}
			last = now
			timer.Reset(limit)
		}
	}
}
