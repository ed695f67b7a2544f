package engine

import (
	"context"
	"time"
)

// compactPace paces compaction: like other work in the background, but for two cases. On full drives nothing slows it down, because
// requests wait for the space. When somebody has asked for it, requests go first, and there is no other limit.
type compactPace struct {
	*pacer
	c      *cell
	began  time.Time // When the work since the last pause began.
	bytes  int64     // Of that work.
	paused func()    // For tests: called at each pause. nil for none.
}

// leastWork is how long compaction works before it is worth looking whether it must pause.
const leastWork = time.Millisecond

func newCompactPace(c *cell) compactPace {
	rate := c.opts.CompactRate
	if rate == 0 {
		rate = DefaultCompactRate
	}
	return compactPace{pacer: newPacer(rate, &c.front), c: c}
}

// begin is called before the first piece of work.
func (p *compactPace) begin() { p.began, p.bytes = time.Now(), 0 }

// pause is called after each piece of work of n bytes.
func (p *compactPace) pause(ctx context.Context, n int64) error {
	if p.paused != nil {
		p.paused()
	}
	p.bytes += n
	worked := time.Since(p.began)
	if worked < leastWork || p.c.full.Load() {
		return ctx.Err()
	}
	if p.c.hurried() {
		p.bytes = 0
	}
	err := p.pacer.pause(ctx, p.bytes, worked)
	p.begin()
	return err
}
