package fastapi

import (
	"context"
	"slices"
	"time"

	"penstock/engine"
)

// lockNew gives attributes of a new object the lock that the bucket demands.
func (b *fakeBucket) lockNew(attrs []engine.Attr) ([]engine.Attr, error) {
	config, locks, err := engine.LockConfigOf(b.info.Attrs)
	lock, lockErr := engine.LockOf(attrs)
	switch {
	case err != nil || lockErr != nil:
		return nil, kindError(engine.KindLocked, b.info.Name, "")
	case !locks && lock != (engine.Lock{}):
		return nil, kindError(engine.KindNoLock, b.info.Name, "")
	case locks && lock.Mode == "" && config.Mode != "":
		lock.Mode, lock.Until = config.Mode, time.Now().AddDate(config.Years, 0, config.Days)
		return lock.Attrs(attrs), nil
	}
	return attrs, nil
}

// removable reports whether a version may be removed.
func (o *fakeObject) removable(bypass bool) bool {
	lock, err := engine.LockOf(o.info.Attrs)
	if err != nil || lock.Hold == engine.LegalHoldOn {
		return false
	}
	return lock.Mode == "" || time.Now().After(lock.Until) || lock.Mode == engine.LockGovernance && bypass
}

func (s *fakeStore) SetLock(_ context.Context, bucket, key string, version engine.VersionID, bypass bool, change func(engine.Lock) (engine.Lock, error)) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("SetLock", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	o, err := s.object(bucket, key, version)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	b := s.buckets[bucket]
	if b.info.Attr(engine.AttrObjectLock) == "" {
		return engine.ObjectInfo{}, kindError(engine.KindNoLock, bucket, key)
	}
	old, err := engine.LockOf(o.info.Attrs)
	if err != nil {
		return engine.ObjectInfo{}, kindError(engine.KindLocked, bucket, key)
	}
	next, err := change(old)
	if err != nil {
		return engine.ObjectInfo{}, causeError(engine.KindPrecondition, bucket, key, err)
	}
	longer := next.Mode == old.Mode && !next.Until.Before(old.Until)
	if old.Mode != "" && time.Now().Before(old.Until) && !longer && !(bypass && old.Mode == engine.LockGovernance) {
		return engine.ObjectInfo{}, kindError(engine.KindLocked, bucket, key)
	}
	changed := &fakeObject{o.info, o.data}
	changed.info.Attrs = next.Attrs(o.info.Attrs)
	all := b.objects[key]
	all[slices.Index(all, o)] = changed
	return changed.info, nil
}
