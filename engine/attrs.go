package engine

import (
	"context"
	"slices"
)

// UpdateObjectAttrs gives a version of an object the attributes that change returns for what it is now, by one record: no byte moves, and
// its time and ETag stay. No other write to the key comes between. An error of change is the cause of a KindPrecondition; with
// attributes as they were nothing is done. Those of a lock must stay as they are. change must not call the store.
func (s *Store) UpdateObjectAttrs(ctx context.Context, name, key string, version VersionID, change func(*ObjectInfo) ([]Attr, error)) (ObjectInfo, error) {
	const op = "UpdateObjectAttrs"
	return s.updateAttrs(ctx, op, name, key, version, func(_ *bucket, o *ObjectInfo) ([]Attr, error) {
		attrs, err := change(o)
		if err != nil {
			return nil, refusedError{err}
		}
		if !slices.Equal(lockAttrs(attrs), lockAttrs(o.Attrs)) {
			return nil, errLockAttrs
		}
		return attrs, nil
	})
}

func lockAttrs(attrs []Attr) []Attr {
	return slices.DeleteFunc(slices.Clone(attrs), func(a Attr) bool { return !isLockAttr(a) })
}

// updateAttrs is UpdateObjectAttrs for attributes of every kind. Only a refusedError of change is the caller's.
func (s *Store) updateAttrs(ctx context.Context, op, name, key string, version VersionID, change func(*bucket, *ObjectInfo) ([]Attr, error)) (ObjectInfo, error) {
	b, err := s.bucketOf(op, name)
	if err != nil {
		return ObjectInfo{}, err
	}
	c := s.cellOf(b, key)
	if err := b.enter(op); err != nil {
		return ObjectInfo{}, err
	}
	defer b.leave()
	unlock, err := c.locks.lock(ctx, lockName(b.id, key))
	if err != nil {
		return ObjectInfo{}, storeError(op, name, key, err)
	}
	defer unlock()
	base, err := c.enter()
	if err != nil {
		return ObjectInfo{}, storeError(op, name, key, err)
	}
	defer base.leave()
	object, err := b.lookup(op, base, key, version)
	if err != nil {
		return ObjectInfo{}, err
	}
	info := b.infoOf(&object)
	attrs, err := change(b, &info)
	if err != nil {
		return ObjectInfo{}, checkError(op, name, key, err)
	}
	if slices.Equal(attrs, object.Attrs) {
		return info, nil
	}
	if err := c.checkGrowth(object.Attrs, attrs); err != nil {
		return ObjectInfo{}, storeError(op, name, key, err)
	}
	object.Attrs = slices.Clone(attrs)
	// The record names the blobs that the version has, as a copy onto itself would.
	if err := base.commitObject(b.id, &object, nil, s.look(b, changeAttrs, key, &object, s.now())); err != nil {
		return ObjectInfo{}, storeError(op, name, key, err)
	}
	return b.infoOf(&object), nil
}
