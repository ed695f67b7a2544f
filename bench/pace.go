package bench

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A pacer deals out the numbers of requests, and when each is due. Without a rate they are due at once.
type pacer struct {
	next  atomic.Uint64
	limit uint64 // Numbers below it are dealt out; 0 = all.

	begun    time.Time
	interval float64     // Nanoseconds between two requests; 0 = no rate.
	due      chan uint64 // Numbers whose time has come.
}

// backlog bounds how many requests are kept waiting for a worker. Past it, the pacer waits, and their due times stay what they were.
const backlog = 1 << 16

func newPacer(rate float64, limit uint64) *pacer {
	p := &pacer{limit: limit}
	if rate > 0 {
		p.interval = float64(time.Second) / rate
		p.due = make(chan uint64, backlog)
	}
	return p
}

// take returns the next number and, with a rate, when it was due. ok is false when there is none left or ctx is done.
func (p *pacer) take(ctx context.Context) (n uint64, due time.Time, ok bool) {
	if p.interval == 0 {
		n = p.next.Add(1) - 1
		return n, time.Time{}, (p.limit == 0 || n < p.limit) && ctx.Err() == nil
	}
	select {
	case n, ok = <-p.due:
		return n, p.dueAt(n), ok
	case <-ctx.Done():
		return 0, time.Time{}, false
	}
}

func (p *pacer) dueAt(n uint64) time.Time {
	return p.begun.Add(time.Duration(float64(n) * p.interval))
}

// waiting is how many requests are due and have no worker yet.
func (p *pacer) waiting() int { return len(p.due) }

// pace makes numbers due in time, until ctx is done or none is left.
func (p *pacer) pace(ctx context.Context) {
	defer close(p.due)
	for n := uint64(0); p.limit == 0 || n < p.limit; n++ {
		sleepUntil(ctx, p.dueAt(n))
		select {
		case p.due <- n:
		case <-ctx.Done():
			return
		}
	}
}

// sleepUntil sleeps in the kernel: timers of the runtime are up to a millisecond late on an idle machine, and that would be in every latency.
func sleepUntil(ctx context.Context, t time.Time) {
	for ctx.Err() == nil {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		// A long sleep comes in pieces, so that the end of a run is noticed.
		ts := unix.NsecToTimespec(int64(min(left, 100*time.Millisecond)))
		unix.Nanosleep(&ts, nil) // EINTR is a short sleep; the loop goes on.
	}
}
