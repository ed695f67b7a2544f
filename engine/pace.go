package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pacer holds work in the background to a bandwidth and lets clients go first: while they have anything for the drives to do, it leaves
// them most of the time. One pacer may serve several goroutines; each calls pause after a piece of work.
type pacer struct {
	front *atomic.Int64 // Counts what clients have the drives do.

	mu   sync.Mutex // Guards the fields below.
	rate int64      // Bytes a second; 0 means no limit.
	free time.Time  // When the bandwidth used so far is paid for.
	seen int64      // Of front.
	busy time.Time  // When front last moved.
}

const (
	// frontIdle is how long clients must have been quiet for the background to go at full speed.
	frontIdle = 100 * time.Millisecond
	// frontShare is how much of its time a goroutine in the background stands aside while they are not: three quarters.
	frontShare = 3
	// maxAside bounds how long it does so at a time, lest one slow read stops it for long.
	maxAside = time.Second
)

func newPacer(rate int64, front *atomic.Int64) *pacer { return &pacer{rate: rate, front: front} }

func (p *pacer) setRate(rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
}

// pause waits until the next piece of work may begin, after one that moved n bytes and took so long. It returns ctx's error if that ends first.
func (p *pacer) pause(ctx context.Context, n int64, took time.Duration) error {
	if d := p.delay(time.Now(), n, took); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// delay is how long to wait.
func (p *pacer) delay(now time.Time, n int64, took time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if front := p.front.Load(); front != p.seen {
		p.seen, p.busy = front, now
	}
	var d time.Duration
	if now.Sub(p.busy) < frontIdle {
		d = min(frontShare*took, maxAside)
	}
	if p.rate > 0 {
		if p.free.Before(now) {
			p.free = now
		}
		p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
		d = max(d, p.free.Sub(now))
	}
	return d
}
