package engine

import (
	"context"
	"hash/maphash"
	"sync"
)

// keyLocks orders the writes to each key. A lock exists only while somebody holds or awaits it.
type keyLocks struct {
	seed   maphash.Seed
	shards [64]keyLockShard // Enough that 128 writers rarely meet on a shard's mutex.
}

type keyLockShard struct {
	mu    sync.Mutex // Guards locks and the count of each lock in it.
	locks map[string]*keyLock
	_     [40]byte // A shard to a cache line.
}

// keyLock is held by whoever took the token out of ch.
type keyLock struct {
	ch    chan struct{}
	count int // Holders and waiters.
}

func newKeyLocks() *keyLocks {
	l := &keyLocks{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].locks = make(map[string]*keyLock)
	}
	return l
}

// lock waits for the key and returns its unlock function, or ctx's error. The lock is held across I/O: that is its
// purpose, and why it is one per key and waits on ctx too.
func (l *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	shard := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	shard.mu.Lock()
	k := shard.locks[key]
	if k == nil {
		k = &keyLock{ch: make(chan struct{}, 1)}
		k.ch <- struct{}{}
		shard.locks[key] = k
	}
	k.count++
	shard.mu.Unlock()

	select {
	case <-k.ch:
		return func() {
			k.ch <- struct{}{}
			shard.leave(key, k)
		}, nil
	case <-ctx.Done():
		shard.leave(key, k)
		return nil, ctx.Err()
	}
}

// tryLock takes the key if nobody holds or awaits it.
func (l *keyLocks) tryLock(key string) (unlock func(), ok bool) {
	shard := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.locks[key] != nil {
		return nil, false
	}
	k := &keyLock{ch: make(chan struct{}, 1), count: 1}
	shard.locks[key] = k
	return func() {
		k.ch <- struct{}{}
		shard.leave(key, k)
	}, true
}

// lockBoth locks two keys, which may be the same, in an order that all callers share.
func (l *keyLocks) lockBoth(ctx context.Context, a, b string) (unlock func(), err error) {
	if a == b {
		return l.lock(ctx, a)
	}
	if a > b {
		a, b = b, a
	}
	unlockA, err := l.lock(ctx, a)
	if err != nil {
		return nil, err
	}
	unlockB, err := l.lock(ctx, b)
	if err != nil {
		unlockA()
		return nil, err
	}
	return func() { unlockB(); unlockA() }, nil
}

func (s *keyLockShard) leave(key string, k *keyLock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.count--; k.count == 0 {
		delete(s.locks, key)
	}
}
