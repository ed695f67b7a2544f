package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"penstock/ioring"
)

// quota is the part of the arena that one kind of request may hold, so that a thousand uploads from slow clients, which fill theirs and
// queue for it, do not stand before the reads in the queue for memory, nor slow readers before the uploads, nor either of
// them before what is small.
type quota struct {
	arena   *ioring.Arena
	bytes   *semaphore.Weighted       // Served in order of arrival.
	waiting atomic.Int32              // Who waits now.
	refused atomic.Pointer[time.Time] // When somebody last waited in vain; nil for never.
}

// crowdedFor is how long after a refusal the quota counts as crowded: clients who were refused come back within a second or two.
const crowdedFor = 3 * time.Second

// crowded reports whether somebody was refused lately because of what others hold.
func (q *quota) crowded() bool {
	t := q.refused.Load()
	return t != nil && time.Since(*t) < crowdedFor
}

// wanted reports whether somebody waits for what others hold, or was refused lately.
func (q *quota) wanted() bool { return q.waiting.Load() > 0 || q.crowded() }

// refuse takes note that somebody waited in vain.
func (q *quota) refuse() {
	now := time.Now()
	q.refused.Store(&now)
}

// Shares of the arena, in sixteenths. Bodies that fit a record are held for a batch's time, so an eighth is thousands a second.
const (
	smallShare  = 2
	uploadShare = 7
	readShare   = 7

	// healShare comes on top of these: what goes on in the background holds memory for the time of one read and one write, so nobody waits
	// long for it.
	healShare = 2
)

func newQuota(arena *ioring.Arena, share int64) *quota {
	return &quota{arena: arena, bytes: semaphore.NewWeighted(arena.Stats().Size / 16 * share)}
}

// get takes arena memory within the quota, waiting until ctx ends.
func (q *quota) get(ctx context.Context, n int) (*ioring.Buf, error) {
	if buf := q.tryGet(n); buf != nil {
		return buf, nil
	}
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	if err := q.bytes.Acquire(ctx, int64(n)); err != nil {
		q.refuse()
		return nil, fmt.Errorf("%d bytes: %w: %w", n, ioring.ErrArenaFull, err)
	}
	buf, err := q.arena.Get(ctx, n)
	if err != nil {
		q.refuse()
		q.bytes.Release(int64(n))
		return nil, err
	}
	buf.OnFree(func() { q.bytes.Release(int64(n)) })
	return buf, nil
}

// tryGet takes arena memory within the quota if there is some at once, and returns nil otherwise.
func (q *quota) tryGet(n int) *ioring.Buf {
	if !q.bytes.TryAcquire(int64(n)) {
		return nil
	}
	buf := q.arena.TryGet(n)
	if buf == nil {
		q.bytes.Release(int64(n))
		return nil
	}
	buf.OnFree(func() { q.bytes.Release(int64(n)) })
	return buf
}

// try is tryGet as a getBuf: without memory the error is errNoBuffer.
func (q *quota) try(n int) (*ioring.Buf, error) {
	if buf := q.tryGet(n); buf != nil {
		return buf, nil
	}
	return nil, errNoBuffer
}
