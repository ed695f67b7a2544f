package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"penstock/engine/drive"
)

// errIndexDrive: the drive that the index lies on has failed as a drive of volumes.
var errIndexDrive = errors.New("the drive of the index has failed")

// errIndexMoves: the drive that the index lies on is being drained.
var errIndexMoves = errors.New("the drive of the index is being drained")

// supervise runs the recycler and compaction, and replaces the base when it has failed, until ctx ends.
//
// The index is a view of the journal, so losing it costs time and nothing else: the newest checkpoint on another drive is restored
// there, or, if there is none that can be used, an index is made anew, and the journal is replayed behind it, as at a start. Until then
// requests that need the index are told to come back later; uploads and downloads under way go on and
// find the new base in its place when they next need one.
func (c *cell) supervise(ctx context.Context) {
	for {
		b := c.base.Load()
		recycling, stop := context.WithCancel(ctx)
		stopped := make(chan struct{})
		go func() { // Ends with recycling.
			defer close(stopped)
			var both sync.WaitGroup
			defer both.Wait()
			both.Go(func() { newCompactor(b).run(recycling) })
			newRecycler(b).run(recycling)
		}()
		err := c.watchBase(ctx, b)
		stop()
		select {
		case <-stopped:
		case <-time.After(c.limits.create): // It hangs with the index, and will find its base ended.
		}
		if err == nil {
			return
		}
		c.failover(ctx, b, err)
		if ctx.Err() != nil {
			return
		}
	}
}

// watchBase returns why the base is to be replaced, or nil when ctx ends.
func (c *cell) watchBase(ctx context.Context, b *base) error {
	poll := time.NewTicker(c.limits.poll)
	defer poll.Stop()
	var complained time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.index.Failed():
			return b.index.Err()
		case <-poll.C:
		}
		if err := b.journal.Err(); err != nil {
			return err
		}
		switch d := b.place.drive; {
		case d == nil:
		case c.driveError(d) != nil:
			return fmt.Errorf("%w: %w", errIndexDrive, c.driveError(d))
		case c.drives.get(d.ID()) != d:
			return fmt.Errorf("%w: it was away for a while", errIndexDrive)
		case c.set.Draining(d.ID()):
			if err := c.moveIndex(ctx, b); err == nil {
				return errIndexMoves
			} else if time.Since(complained) > complainEvery {
				complained = time.Now()
				c.log.Warn("the index cannot be moved off a drive that is being drained now", "index", b.place.dir, "error", err)
			}
		}
	}
}

// driveError returns why a drive has failed, or nil.
func (c *cell) driveError(d drive.Drive) error {
	if d == nil || c.set.Healthy(d.ID()) {
		return nil
	}
	for _, status := range c.set.Drives() {
		if status.ID == d.ID() {
			return status.Err
		}
	}
	return nil
}

// failover replaces a base, trying until it succeeds or ctx ends.
func (c *cell) failover(ctx context.Context, old *base, cause error) {
	began := time.Now()
	if errors.Is(cause, errIndexMoves) {
		c.log.Info("the index moves; requests wait until it has", "index", old.place.dir)
		c.moving.Store(true)
		defer c.moving.Store(false)
	} else {
		c.log.Error("the index is replaced; requests must come back later until it is", "index", old.place.dir, "cause", cause)
		c.stats.failovers.Add(1)
	}
	if errors.Is(cause, errIndexDrive) {
		if _, answers := errors.AsType[syscall.Errno](cause); answers {
			// Perhaps the index can still be read: then what follows need not replay much.
			c.lastCheckpoint(ctx, old)
		}
	}
	c.endBase(ctx, old)
	old.over = true
	spoilt := old.place.dir
	if errors.Is(cause, syscall.ENOSPC) {
		spoilt = "" // It is sound, but for what it could not write.
	}
	if d := old.place.drive; d != nil && !errors.Is(cause, errIndexMoves) {
		c.shunned[d.ID()] = true
	}
	for delay := c.limits.retry; ; delay = min(2*delay, maxRetry) {
		b, err := c.replaceBase(ctx, spoilt)
		if err == nil {
			c.log.Info("the index has been replaced", "index", b.place.dir, "took", time.Since(began).Round(time.Millisecond).String())
			return
		}
		if ctx.Err() != nil {
			return
		}
		c.log.Error("the index cannot be replaced now", "error", err, "next", delay.String())
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return
		}
	}
}

// maxRetry bounds the time between attempts to replace an index: when space or a drive is back, so is the cell soon.
const maxRetry = 10 * time.Second

// lastCheckpoint copies the index while it still answers.
func (c *cell) lastCheckpoint(ctx context.Context, b *base) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.stall)
	defer cancel()
	done := make(chan error, 1)
	go func() { // Perhaps it hangs with the index: then it is left behind.
		if err := b.enter(); err != nil {
			done <- err
			return
		}
		defer b.leave()
		copies, err := b.checkpoint(ctx)
		if copies == 0 && err == nil {
			err = errors.New("there is no other drive")
		}
		done <- err
	}()
	err := error(nil)
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.log.Warn("the index was not copied before it is given up", "error", err)
	}
}

// endBase ends a base that has failed. What hangs with it is left behind, and closed when it hangs no more; but no write to
// the journal is under way when this returns, for the next one begins where this one ended.
func (c *cell) endBase(ctx context.Context, b *base) {
	if !c.background.enter() {
		return
	}
	b.replaced.Store(true)
	ctx, cancel := context.WithTimeout(ctx, c.limits.create)
	journalGone, closed := make(chan struct{}), make(chan struct{})
	go func() { // Ends when nothing hangs.
		defer c.background.leave()
		defer close(closed)
		shut, done := context.WithTimeout(ctx, c.limits.create/2)
		if b.gate.shut(shut) != nil {
			b.abandon()
		}
		done()
		_ = b.journal.Close(ctx) // Why it has failed was logged.
		cancel()
		close(journalGone)
		_ = b.end(context.Background())
		_ = b.index.Close() // It has failed, too.
	}()
	<-ctx.Done()
	select {
	case <-journalGone:
		select {
		case <-closed:
		case <-time.After(c.limits.create):
		}
	case <-time.After(c.limits.write + time.Second): // Until then it has given up the drives that hang.
		c.log.Warn("the index hangs and is left behind", "index", b.place.dir)
	}
}

// replaceBase puts a new base in the place of one that has ended.
func (c *cell) replaceBase(ctx context.Context, spoilt string) (*base, error) {
	b, err := c.recover(ctx, false, spoilt)
	if err != nil {
		return nil, err
	}
	if c.recovered != nil {
		err = c.recovered(b)
	}
	if err == nil {
		err = c.sweep(ctx, b)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("new index in %s: %w", b.place.dir, err), b.close(ctx))
	}
	c.base.Store(b)
	return b, nil
}
