package engine

import (
	"context"
	"slices"
)

// UpdateObjectAttrs gives a version of an object the attributes that change returns for what it is now, by one record: no byte moves, and
// its time and ETag stay. No other write to the key comes between. An error of change is the cause of a KindPrecondition; with
// attributes as they were nothing is done. change must not call the store.
func (s *Store) UpdateObjectAttrs(ctx context.Context, bucket, key string, version VersionID, change func(*ObjectInfo) ([]Attr, error)) (ObjectInfo, error) {
	const op = "UpdateObjectAttrs"
	b, err := s.bucketOf(op, bucket)
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
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	defer unlock()
	base, err := c.enter()
	if err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	defer base.leave()
	object, err := b.lookup(op, base, key, version)
	if err != nil {
		return ObjectInfo{}, err
	}
	info := b.infoOf(&object)
	attrs, err := change(&info)
	if err != nil {
		return ObjectInfo{}, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindPrecondition, Err: err}
	}
	if slices.Equal(attrs, object.Attrs) {
		return info, nil
	}
	if err := c.checkGrowth(object.Attrs, attrs); err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	object.Attrs = slices.Clone(attrs)
	// The record names the blobs that the version has, as a copy onto itself would.
	if err := base.commitObject(b.id, &object, nil); err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	return b.infoOf(&object), nil
}
