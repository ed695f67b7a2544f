package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"penstock/meta"
)

// Rules are followed by looking at the keys for which something may be due, and at no others (look.go). What is due is done under the
// key's lock, by the same records that a client's request makes, and a lock of a version holds here as it does there. Then the key is
// looked at again when the next thing is due.
//
// When a bucket is given rules, or others, the looks for what is in it already are planned (plan.go).

const (
	lookBatch   = 256 // Looks settled together: each batch is one write to the index.
	lookWorkers = 8   // Keys tended at once, so that what is done about them shares batches of the journal.
	tendRecords = 64  // Records of one key at a time, lest a client waits for its lock.
	tendPage    = 256 // Versions read at a time.
	looksMost   = time.Minute
	looksLeast  = 100 * time.Millisecond
)

// followRules does what the rules of all buckets ask for until ctx ends.
func (s *Store) followRules(ctx context.Context) {
	// Often enough for what is due at midnight to be done soon after, and for a day made short by a test to be noticed.
	ticker := time.NewTicker(max(looksLeast, min(looksMost, s.opts.day()/20)))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.followOnce(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// followed counts what following the rules did.
type followed struct{ planned, looked, done, failed int }

// followOnce does what is due now.
func (s *Store) followOnce(ctx context.Context) (total followed) {
	now := s.rulesTime()
	s.looked.Store(now.UnixMilli())
	for _, c := range s.cells {
		f := &follower{s: s, c: c, now: now, buckets: s.ruled(), pace: newPacer(0, &c.front)}
		err := f.run(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("rules were not followed to the end; it goes on in a while", "cell", c.id, "error", err)
		}
		if f.done > 0 || f.failed > 0 {
			s.log.Info("rules followed", "cell", c.id, "looked at", f.looked, "removed or expired", f.done, "failed", f.failed)
		}
		total.planned, total.looked, total.done, total.failed = total.planned+f.planned, total.looked+f.looked, total.done+f.done, total.failed+f.failed
	}
	return total
}

// rulesTime is the time that rules go by. A clock that has jumped ahead must not expire everything at once, see lockTime.
func (s *Store) rulesTime() time.Time {
	now, believed := s.now(), s.lockTime.now()
	if believed.Before(now) {
		return believed
	}
	return now
}

// ruled returns the buckets that have rules.
func (s *Store) ruled() map[meta.BucketID]*bucket {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := map[meta.BucketID]*bucket{}
	for _, b := range s.buckets {
		if b.state.Load().rules != nil {
			found[b.id] = b
		}
	}
	return found
}

// follower follows rules in a cell once.
type follower struct {
	s       *Store
	c       *cell
	now     time.Time
	buckets map[meta.BucketID]*bucket
	pace    *pacer

	mu sync.Mutex // Guards the fields below.
	followed
	settled, next []meta.Look
	warned        bool
}

func (f *follower) run(ctx context.Context) error {
	for _, b := range f.buckets {
		if err := f.plan(ctx, b); err != nil {
			return err
		}
	}
	var after *meta.Look
	for {
		began := time.Now()
		due, err := f.due(after)
		if err != nil || len(due) == 0 {
			return err
		}
		failed := f.failed
		if err := f.tendAll(ctx, due); err != nil {
			return err
		}
		if f.failed-failed == len(due) {
			return nil // Nothing can be done now: the drives are full, or the index is being replaced.
		}
		after = &due[len(due)-1]
		if err := f.pace.pause(ctx, 0, time.Since(began)); err != nil {
			return err
		}
	}
}

func (f *follower) due(after *meta.Look) ([]meta.Look, error) {
	b, err := f.c.enter()
	if err != nil {
		return nil, err
	}
	defer b.leave()
	return b.index.DueLooks(after, f.now, lookBatch)
}

// tendAll tends some keys and settles their looks.
func (f *follower) tendAll(ctx context.Context, due []meta.Look) error {
	f.c.awaitTight(ctx)
	f.settled, f.next = f.settled[:0], f.next[:0]
	work := make(chan *meta.Look)
	var workers sync.WaitGroup
	for range min(lookWorkers, len(due)) {
		workers.Go(func() {
			for l := range work {
				f.tend(ctx, l)
			}
		})
	}
	for i := range due {
		work <- &due[i]
	}
	close(work)
	workers.Wait()
	b, err := f.c.enter()
	if err != nil {
		return err
	}
	defer b.leave()
	return b.index.SettleLooks(f.settled, f.next)
}

// tend does what is due to the key of a look. What fails is looked at again next time.
func (f *follower) tend(ctx context.Context, l *meta.Look) {
	var next time.Time
	var n int
	var err error
	if b := f.buckets[l.Bucket]; ctx.Err() != nil {
		err = ctx.Err()
	} else if b != nil { // It has rules, and is still there.
		next, n, err = f.s.tend(ctx, f.c, b, l.Key, f.now)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked++
	f.done += n
	if err != nil {
		f.failed++
		if !f.warned && ctx.Err() == nil {
			f.warned = true
			f.s.log.LogAttrs(ctx, slog.LevelWarn, "a key was not tended; it will be again", slog.String("key", l.Key), slog.Any("error", err))
		}
		return
	}
	f.settled = append(f.settled, *l)
	if !next.IsZero() {
		f.next = append(f.next, meta.Look{Bucket: l.Bucket, Key: l.Key, At: next})
	}
}

// tend does what is due to a key, and returns when it is to be looked at again, zero for never.
func (s *Store) tend(ctx context.Context, c *cell, b *bucket, key string, now time.Time) (next time.Time, done int, err error) {
	next, done, err = s.abortDue(ctx, c, b, key, now)
	for err == nil {
		var at time.Time
		var n int
		at, n, err = s.removeDue(ctx, c, b, key, now)
		if done += n; n == 0 {
			return earlier(next, at), done, err
		}
		// What was done may make more due: a delete marker may be all that is left.
	}
	return next, done, err
}

// earlier returns the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// abortDue aborts the uploads of a key that are due.
func (s *Store) abortDue(ctx context.Context, c *cell, b *bucket, key string, now time.Time) (next time.Time, done int, err error) {
	rules := b.state.Load().rules
	if rules.Abort(key, now, s.opts.day()).Action == 0 {
		return next, 0, nil
	}
	o := meta.UploadListOptions{Prefix: key, Max: 16}
	for {
		page, err := c.listUploads(b.id, o)
		if err != nil {
			return next, done, err
		}
		for i := range page.Uploads {
			u := &page.Uploads[i]
			if u.Key != key {
				return next, done, nil // Those of the key itself come first.
			}
			if d := rules.Abort(key, u.Initiated, s.opts.day()); d.At.After(now) {
				next = earlier(next, d.At)
				continue
			}
			err := s.AbortUpload(ctx, b.name, key, formatUploadID(u.ID))
			switch KindOf(err) {
			case KindNoSuchUpload, KindNoSuchBucket:
			default:
				if err != nil {
					return next, done, err
				}
				done++
			}
		}
		if !page.Truncated {
			return next, done, nil
		}
		o.KeyMarker, o.After, o.AfterPrefix = page.NextKey, page.Next, page.NextAfterPrefix
	}
}

// removeDue expires and removes the versions of a key that are due, or some of them: it is called until it has done nothing.
func (s *Store) removeDue(ctx context.Context, c *cell, b *bucket, key string, now time.Time) (next time.Time, done int, err error) {
	const op = "Lifecycle"
	if err := b.enter(op); err != nil {
		if KindOf(err) == KindNoSuchBucket {
			return next, 0, nil
		}
		return next, 0, err
	}
	defer b.leave()
	unlock, err := c.locks.lock(ctx, lockName(b.id, key))
	if err != nil {
		return next, 0, err
	}
	defer unlock()
	base, err := c.enter()
	if err != nil {
		return next, 0, err
	}
	defer base.leave()
	rules := b.state.Load().rules
	if rules == nil {
		return next, 0, nil
	}
	var records []meta.Record
	err = base.eachVersion(b, key, func(o *meta.Object, p place) bool {
		d := rules.version(o, p, s.opts.day())
		if d.Action == 0 {
			return true
		}
		if d.At.After(now) {
			next = earlier(next, d.At)
			return true
		}
		record, again := s.dueRecord(c, b, o, d.Action, now)
		if record != nil {
			records = append(records, record)
		}
		next = earlier(next, again)
		return len(records) < tendRecords
	})
	if err != nil || len(records) == 0 {
		return next, 0, err
	}
	return next, len(records), base.commitAll(nil, records...)
}

// eachVersion calls f for each version of a key, the newest first, until it returns false. The caller has entered b and holds the key's lock.
func (b *base) eachVersion(bucket *bucket, key string, f func(*meta.Object, place) bool) error {
	var p place
	for before := CurrentVersion; ; {
		page, err := b.index.ListKey(bucket.id, key, before, tendPage)
		if err != nil {
			return err
		}
		p.only = before == CurrentVersion && len(page.Versions) == 1 && !page.Truncated
		for i := range page.Versions {
			o := &page.Versions[i].Object
			if !f(o, p) {
				return nil
			}
			p.index, p.since = p.index+1, o.Modified
		}
		if !page.Truncated {
			return nil
		}
		before = page.NextBefore
	}
}

// dueRecord returns the record for a version whose time has come, or, where a lock holds it, nil and when to try again. The caller has entered
// b and holds the key's lock.
func (s *Store) dueRecord(c *cell, b *bucket, o *meta.Object, action Action, now time.Time) (meta.Record, time.Time) {
	if action == ActionExpire && b.versioned() {
		return &meta.PutObject{Bucket: b.id, Object: meta.Object{
			Key: o.Key, Version: b.nextVersion(c), Marker: true, Modified: s.now().UTC().Truncate(time.Millisecond),
		}}, time.Time{}
	}
	if err := s.checkUnlocked(b, o, false); err != nil {
		lock, err := LockOf(o.Attrs)
		again := now.Add(1) // So that it is after midnight, if it is midnight.
		switch {
		case err != nil:
		case lock.Hold == LegalHoldOn:
			return nil, time.Time{} // Whoever lifts it makes a look.
		case lock.Until.After(now):
			again = lock.Until
		}
		return nil, dueAfter(again, 0, s.opts.day())
	}
	return &meta.DeleteObject{Bucket: b.id, Key: o.Key, Version: o.Version}, time.Time{}
}
