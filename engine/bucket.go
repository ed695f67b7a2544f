package engine

import (
	"context"
	"fmt"
	"slices"

	"penstock/meta"
)

// maxBucketAttrsLen bounds a bucket's attributes, names and values together. They hold whole configurations, such as a policy or a
// thousand lifecycle rules, and still fit a record.
const maxBucketAttrsLen = 1 << 20

// UpdateBucket gives a bucket the attributes that change returns for what the bucket is now. Changes of one bucket come one after
// another, and between writes to its objects: what ends before a change is acknowledged saw the bucket as it was, and what begins
// after it sees it as it is. An error of change is the cause of a KindPrecondition; with attributes as they were nothing is done.
// change must not call the store.
func (s *Store) UpdateBucket(ctx context.Context, name string, change func(BucketInfo) ([]Attr, error)) error {
	const op = "UpdateBucket"
	unlock, err := s.names.lock(ctx, name)
	if err != nil {
		return storeError(op, name, "", err)
	}
	defer unlock()
	b, err := s.bucketOf(op, name)
	if err != nil {
		return err
	}
	b.gate.Lock()
	defer b.gate.Unlock()
	if b.deleted {
		return &Error{Op: op, Bucket: name, Kind: KindNoSuchBucket}
	}
	base, err := s.cells[0].enter()
	if err != nil {
		return storeError(op, name, "", err)
	}
	defer base.leave()
	// What the process knows of the bucket may be older than this base, should an update's outcome have been unknown.
	record, found, err := base.index.GetBucket(name)
	if err != nil || !found || record.ID != b.id {
		if err == nil {
			err = errDown // The base was replaced just now, and what it has is not known yet.
		}
		return storeError(op, name, "", err)
	}
	attrs, err := change(BucketInfo{Name: name, Created: record.Created, Attrs: record.Attrs, Revision: b.state.Load().info.Revision})
	if err != nil {
		return &Error{Op: op, Bucket: name, Kind: KindPrecondition, Err: err}
	}
	if slices.Equal(attrs, record.Attrs) {
		return nil
	}
	if err := checkBucketAttrs(record.Attrs, attrs); err != nil {
		return storeError(op, name, "", err)
	}
	if err := base.c.checkGrowth(record.Attrs, attrs); err != nil {
		return storeError(op, name, "", err)
	}
	record.Attrs = slices.Clone(attrs)
	if err := base.commit(&meta.PutBucket{Bucket: record}); err != nil {
		return storeError(op, name, "", err)
	}
	s.describe(b, record)
	return nil
}

// bucketState is a bucket as it is between two changes.
type bucketState struct {
	info       BucketInfo
	versioning string // Of the attributes, as every write asks for it.
	quota      int64  // The most bytes it may hold, or 0.
	locks      bool   // It has a lock:
	lock       LockConfig
	lockErr    error // Its lock cannot be read.
	rules      *Rules
}

func (s *Store) newBucket(record meta.Bucket) *bucket {
	b := &bucket{id: record.ID, name: record.Name}
	s.describe(b, record)
	return b
}

// describe makes known what the index has of a bucket.
func (s *Store) describe(b *bucket, record meta.Bucket) {
	if old := b.state.Load(); old != nil && slices.Equal(old.info.Attrs, record.Attrs) {
		return
	}
	state := &bucketState{
		info:       BucketInfo{Name: record.Name, Created: record.Created, Attrs: record.Attrs, Revision: s.revisions.Add(1)},
		versioning: attrOf(record.Attrs, AttrVersioning),
	}
	state.quota = state.info.Quota()
	state.lock, state.locks, state.lockErr = LockConfigOf(record.Attrs)
	if state.locks {
		s.lockTime.use()
	}
	var err error
	if state.rules, err = RulesOf(record.Attrs); err != nil {
		s.log.Error("the rules of a bucket cannot be read, so none of them is followed", "bucket", record.Name, "error", err)
	}
	b.state.Store(state)
}

// checkBucketAttrs refuses attributes that a bucket of the old ones cannot have.
func checkBucketAttrs(old, attrs []Attr) error {
	if err := checkVersioning(old, attrs); err != nil {
		return err
	}
	if err := checkLock(old, attrs); err != nil {
		return err
	}
	if _, err := parseQuota(attrOf(attrs, AttrQuota)); err != nil {
		return err
	}
	if _, err := RulesOf(attrs); err != nil {
		return err
	}
	if n := attrsLen(attrs); n > maxBucketAttrsLen {
		return fmt.Errorf("%d bytes of attributes, %d allowed: %w", n, maxBucketAttrsLen, errAttrs)
	}
	return nil
}

// checkGrowth refuses longer attributes when there is no room but the reserve, which is for removals.
func (c *cell) checkGrowth(old, now []Attr) error {
	if attrsLen(now) <= attrsLen(old) {
		return nil
	}
	return c.checkFull()
}

func attrsLen(attrs []Attr) (n int) {
	for i := range attrs {
		n += len(attrs[i].Name) + len(attrs[i].Value)
	}
	return n
}
