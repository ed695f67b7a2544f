package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// lockTime is the time that locks go by. The system's clock can be set, and may be wrong: set back, it must not make a lock shorter,
// and a jump ahead must not end locks that have years to go. So this time never goes back, over restarts either, for which it is kept in
// the journal. And what the clock is ahead of it by more than goes by while a process runs, or is started again, it does
// not believe before the clock has kept to it for a day: somebody who reads the log has that long to set it right.
type lockTime struct {
	log  *slog.Logger
	wall func() time.Time
	mono func() time.Duration // Goes by at the same pace whatever is done to the clock.

	used atomic.Bool // Some bucket has a lock.

	mu     sync.Mutex // Guards the fields below.
	time   time.Time  // The time at:
	at     time.Duration
	ahead  time.Duration // How far the clock is ahead if that is not believed yet, 0 if it is.
	since  time.Duration // When it was first seen to be.
	warned time.Duration // When that was logged last.
}

const (
	lockSlack      = time.Hour      // A restart, or a clock that is set right, takes less.
	lockProbation  = 24 * time.Hour // How long the clock must keep to a jump.
	lockWarnEvery  = time.Hour
	lockTimeEvery  = 5 * time.Minute // How often the time is written to the journal while there are locks.
	lockTimeConfig = storeConfig + "lock-time"
)

func newLockTime(wall func() time.Time, log *slog.Logger) *lockTime {
	start := time.Now()
	return &lockTime{log: log, wall: wall, mono: func() time.Duration { return time.Since(start) }}
}

func (t *lockTime) use() { t.used.Store(true) }

// start sets the time to what was kept of it, "" for nothing.
func (t *lockTime) start(kept string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.time, t.at, t.ahead = t.wall(), t.mono(), 0
	if kept == "" {
		return nil
	}
	ms, err := strconv.ParseInt(kept, 10, 64)
	if err != nil {
		return fmt.Errorf("the time of locks %q: %w", kept, errCorrupt)
	}
	t.time = time.UnixMilli(ms)
	t.step()
	return nil
}

// now returns the time that decides whether a lock has ended.
func (t *lockTime) now() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.step()
}

// latest returns the time that a new lock is counted from: the clock's, too, if that is ahead.
func (t *lockTime) latest() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.step()
	if wall := t.wall(); wall.After(now) {
		return wall
	}
	return now
}

// step moves the time on. t.mu is held.
func (t *lockTime) step() time.Time {
	mono := t.mono()
	t.time, t.at = t.time.Add(mono-t.at), mono
	ahead := t.wall().Sub(t.time)
	switch {
	case ahead <= 0:
		t.ahead = 0
	case ahead <= lockSlack:
		t.time, t.ahead = t.time.Add(ahead), 0
	case t.ahead == 0 || (ahead-t.ahead).Abs() > lockSlack: // Another jump: it has another day to keep to it.
		t.ahead, t.since = ahead, mono
		t.warn("the clock has jumped ahead: until it has kept to that for a day, locks go by the time before")
	case mono-t.since >= lockProbation:
		t.log.Warn("the clock is believed: it has kept for a day to the time that it jumped ahead to", "ahead", ahead)
		t.time, t.ahead = t.time.Add(ahead), 0
	case mono-t.warned >= lockWarnEvery:
		t.warn("the clock is still ahead of the time of locks")
	}
	return t.time
}

func (t *lockTime) warn(message string) {
	t.warned = t.mono()
	if t.used.Load() {
		t.log.Warn(message, "ahead", t.ahead, "clock", t.wall().UTC(), "time of locks", t.time.UTC())
	}
}

// keepLockTime writes the time to the journal from time to time, if there is any lock, until ctx ends.
func (s *Store) keepLockTime(ctx context.Context) {
	ticker := time.NewTicker(lockTimeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.saveLockTime()
		case <-ctx.Done():
			return
		}
	}
}

// saveLockTime writes the time to the journal, if there is any lock.
func (s *Store) saveLockTime() {
	if !s.lockTime.used.Load() {
		return
	}
	if err := s.setConfig(context.Background(), lockTimeConfig, strconv.FormatInt(s.lockTime.now().UnixMilli(), 10)); err != nil {
		s.log.Warn("the time of locks was not kept", "error", err)
	}
}
