package engine

import (
	"context"
	"errors"
	"time"

	"penstock/engine/volume"
	"penstock/meta"
)

// balancer evens out how full the drives are, after drives have joined: new volumes go where there is most room, and what is there already
// it moves, one shard at a time, at the pace of healing, when nothing is missing and no drive is being drained. It begins when the fullest drive is
// fuller than the emptiest by more than a set share of what a drive can hold, and ends at a quarter of that, so that it is not at work all the time.
type balancer struct {
	c      *cell
	active bool
	tried  map[meta.VolumeID]bool // Whose shard could not be moved in this round.
}

// DefaultBalanceSpread is the difference in use of two drives, as a share of what a drive can hold, at which balancing begins.
const DefaultBalanceSpread = 0.10

// balanceEnd is the part of that at which it ends.
const balanceEnd = 0.25

// run balances until ctx ends.
func (b *balancer) run(ctx context.Context) {
	spread := b.c.opts.BalanceSpread
	if spread == 0 {
		spread = DefaultBalanceSpread
	}
	if spread < 0 {
		return
	}
	ticker := time.NewTicker(b.c.limits.balance)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		b.round(ctx, spread)
	}
}

// round moves what can be moved now.
func (b *balancer) round(ctx context.Context, spread float64) {
	b.tried = make(map[meta.VolumeID]bool)
	if is := b.c.set.Spread(); !b.active && is > spread {
		b.active = true
		b.c.log.Info("the drives are not equally full: shards move until they are", "spread", is)
	}
	for b.active && b.undisturbed(ctx) {
		move, ok := b.c.set.Uneven(spread*balanceEnd, func(v *volume.Volume) bool { return !b.tried[v.ID()] })
		if !ok {
			if len(b.tried) == 0 {
				b.active = false
				b.c.log.Info("the drives are as equally full as they can be", "spread", b.c.set.Spread())
			}
			return
		}
		b.move(ctx, move)
	}
}

// undisturbed reports whether nothing more urgent has to move.
func (b *balancer) undisturbed(ctx context.Context) bool {
	if ctx.Err() != nil || b.c.full.Load() {
		return false
	}
	if missing, _, _ := b.c.ledger.counts(); missing > 0 {
		return false
	}
	for _, d := range b.c.set.Drives() {
		if d.Draining || d.State != volume.DriveOK {
			return false
		}
	}
	return true
}

// move makes one move. A volume whose shard cannot be moved now is left out for the rest of the round.
func (b *balancer) move(ctx context.Context, move volume.Move) {
	c, id := b.c, move.Volume.ID()
	b.tried[id] = true
	if !c.healer.claim(id) {
		return
	}
	defer c.healer.release(id)
	err := c.moveShard(ctx, move.Volume, move.Shard, move.To)
	switch {
	case err == nil && move.Volume.Drives()[move.Shard] == move.To:
		delete(b.tried, id) // Another of its shards may be worth moving.
		c.stats.balancedLen.Add(move.Len)
	case err == nil, errors.Is(err, errWaiting), errors.Is(err, volume.ErrFreed), errors.Is(err, volume.ErrNoTarget), errors.Is(err, volume.ErrMoving), ctx.Err() != nil:
	default:
		c.log.Warn("a shard cannot be moved to an emptier drive now", "volume", volume.Name(id), "error", err)
	}
}
