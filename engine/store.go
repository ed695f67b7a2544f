package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"penstock/meta"
)

// Store is an open object store. Its methods may be called from any goroutine.
type Store struct {
	opts  Options
	log   *slog.Logger
	now   func() time.Time
	cells []*cell // At least one. Cell 0 also keeps the buckets.

	minPart int64 // MinPartLen, but for tests of what does not depend on it.

	names *keyLocks // Orders the creation and deletion of each bucket.

	mu      sync.RWMutex // Guards buckets.
	buckets map[string]*bucket
}

// bucket is a live bucket.
type bucket struct {
	id   meta.BucketID
	info BucketInfo

	// gate is held for reading by every write to the bucket until it is acknowledged, and for writing by the bucket's deletion, so that an
	// empty bucket stays empty until it is gone. It is held across I/O.
	gate    sync.RWMutex
	deleted bool // Guarded by gate.
}

// cellOf returns the cell that a key hashes to.
func (s *Store) cellOf(b *bucket, key string) *cell {
	if len(s.cells) == 1 {
		return s.cells[0]
	}
	return s.cells[xxh3.HashStringSeed(key, uint64(b.id))%uint64(len(s.cells))]
}

// bucketOf returns the bucket of that name.
func (s *Store) bucketOf(op, name string) (*bucket, error) {
	s.mu.RLock()
	b := s.buckets[name]
	s.mu.RUnlock()
	if b == nil {
		return nil, &Error{Op: op, Bucket: name, Kind: KindNoSuchBucket}
	}
	return b, nil
}

// enter takes the bucket's gate for a write. leave must follow.
func (b *bucket) enter(op string) error {
	b.gate.RLock()
	if b.deleted {
		b.gate.RUnlock()
		return &Error{Op: op, Bucket: b.info.Name, Kind: KindNoSuchBucket}
	}
	return nil
}

func (b *bucket) leave() { b.gate.RUnlock() }

// checkKey refuses keys that the store does not take.
func checkKey(op string, b *bucket, key string) error {
	if key == "" || len(key) > MaxKeyLen {
		return &Error{Op: op, Bucket: b.info.Name, Key: key, Kind: KindTooLarge, Err: errKeyLen}
	}
	return nil
}

var errKeyLen = errors.New("a key has 1 to 1,024 bytes")

// CreateBucket makes a bucket. If it exists the error is KindBucketExists.
func (s *Store) CreateBucket(ctx context.Context, name string, attrs []Attr) error {
	const op = "CreateBucket"
	unlock, err := s.names.lock(ctx, name)
	if err != nil {
		return storeError(op, name, "", err)
	}
	defer unlock()
	if _, err := s.bucketOf(op, name); err == nil {
		return &Error{Op: op, Bucket: name, Kind: KindBucketExists}
	}
	c := s.cells[0]
	record := meta.Bucket{ID: meta.BucketID(c.nextBlob()), Name: name, Created: s.now().UTC().Truncate(time.Millisecond), Attrs: attrs}
	if err := c.commit(ctx, &meta.PutBucket{Bucket: record}); err != nil {
		return storeError(op, name, "", err)
	}
	s.mu.Lock()
	s.buckets[name] = newBucket(record)
	s.mu.Unlock()
	return nil
}

func newBucket(b meta.Bucket) *bucket {
	return &bucket{id: b.ID, info: BucketInfo{Name: b.Name, Created: b.Created, Attrs: b.Attrs}}
}

// DeleteBucket removes an empty bucket, and with it the uploads that are still in progress in it.
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	const op = "DeleteBucket"
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
	for _, c := range s.cells {
		page, err := c.index.ListObjects(b.id, meta.ListOptions{Max: 1})
		if err != nil {
			return storeError(op, name, "", err)
		}
		if len(page.Objects) > 0 {
			return &Error{Op: op, Bucket: name, Kind: KindBucketNotEmpty}
		}
	}
	for _, c := range s.cells {
		if err := c.abortAll(ctx, b.id); err != nil {
			return storeError(op, name, "", err)
		}
	}
	if err := s.cells[0].commit(ctx, &meta.DeleteBucket{ID: b.id}); err != nil {
		return storeError(op, name, "", err)
	}
	b.deleted = true
	s.mu.Lock()
	delete(s.buckets, name)
	s.mu.Unlock()
	return nil
}

// Bucket describes a bucket.
func (s *Store) Bucket(_ context.Context, name string) (BucketInfo, error) {
	b, err := s.bucketOf("Bucket", name)
	if err != nil {
		return BucketInfo{}, err
	}
	return b.info, nil
}

// Head describes an object.
func (s *Store) Head(_ context.Context, bucket, key string) (ObjectInfo, error) {
	const op = "Head"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return ObjectInfo{}, err
	}
	object, found, err := s.cellOf(b, key).index.GetObject(b.id, key, meta.NullVersion)
	if err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	if !found {
		return ObjectInfo{}, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindNoSuchObject}
	}
	return objectInfo(&object), nil
}

// Open holds an object open for reading.
func (s *Store) Open(_ context.Context, bucket, key string) (Handle, error) {
	const op = "Open"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return nil, err
	}
	h, err := s.cellOf(b, key).open(b.id, key)
	if err != nil {
		return nil, storeError(op, bucket, key, err)
	}
	if h == nil {
		return nil, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindNoSuchObject}
	}
	return h, nil
}

// Put stores a body as an object, replacing what the key named.
func (s *Store) Put(ctx context.Context, bucket, key string, body io.Reader, o PutOptions) (ObjectInfo, error) {
	const op = "Put"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return ObjectInfo{}, err
	}
	if err := checkKey(op, b, key); err != nil {
		return ObjectInfo{}, err
	}
	c := s.cellOf(b, key)
	r, err := c.receive(ctx, body, o.Size)
	if err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	final, err := o.Finish(r.sums)
	if err != nil {
		c.forget(r)
		return ObjectInfo{}, storeError(op, bucket, key, bodyError{err})
	}
	object := meta.Object{
		Key: key, Size: r.sums.Size, ETag: final.ETag,
		Attrs: joinAttrs(o.Attrs, final.Attrs),
	}
	if err := s.putObject(ctx, op, b, c, &object, o.Check, r); err != nil {
		return ObjectInfo{}, err
	}
	return objectInfo(&object), nil
}

// Delete removes the object, if there is one.
func (s *Store) Delete(ctx context.Context, bucket, key string, check Check) error {
	const op = "Delete"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return err
	}
	c := s.cellOf(b, key)
	if err := b.enter(op); err != nil {
		return err
	}
	defer b.leave()
	unlock, err := c.locks.lock(ctx, lockName(b.id, key))
	if err != nil {
		return storeError(op, bucket, key, err)
	}
	defer unlock()
	object, found, err := c.index.GetObject(b.id, key, meta.NullVersion)
	if err != nil {
		return storeError(op, bucket, key, err)
	}
	if check != nil {
		if err := runCheck(check, &object, found); err != nil {
			return &Error{Op: op, Bucket: bucket, Key: key, Kind: KindPrecondition, Err: err}
		}
	}
	if !found {
		return nil
	}
	if err := c.commit(ctx, &meta.DeleteObject{Bucket: b.id, Key: key, Version: meta.NullVersion}); err != nil {
		return storeError(op, bucket, key, err)
	}
	return nil
}

// putObject commits an object: under the key's lock it runs the check and appends the record. It takes over what was
// received, whatever happens; r is nil when the object only references blobs that the caller keeps alive.
func (s *Store) putObject(ctx context.Context, op string, b *bucket, c *cell, object *meta.Object, check Check, r *received) error {
	err := s.tryPutObject(ctx, op, b, c, object, check, r)
	if r == nil {
		return err
	}
	if err == nil || KindOf(err) == KindUnknownOutcome {
		r.release()
	} else {
		c.forget(r)
	}
	return err
}

func (s *Store) tryPutObject(ctx context.Context, op string, b *bucket, c *cell, object *meta.Object, check Check, r *received) error {
	if err := b.enter(op); err != nil {
		return err
	}
	defer b.leave()
	unlock, err := c.locks.lock(ctx, lockName(b.id, object.Key))
	if err != nil {
		return storeError(op, b.info.Name, object.Key, err)
	}
	defer unlock()
	return s.commitLocked(ctx, op, b, c, object, check, r)
}

// commitLocked is putObject for a caller that holds the bucket's gate and the key's lock.
func (s *Store) commitLocked(ctx context.Context, op string, b *bucket, c *cell, object *meta.Object, check Check, r *received) error {
	if check != nil {
		current, found, err := c.index.GetObject(b.id, object.Key, meta.NullVersion)
		if err != nil {
			return storeError(op, b.info.Name, object.Key, err)
		}
		if err := runCheck(check, &current, found); err != nil {
			return &Error{Op: op, Bucket: b.info.Name, Key: object.Key, Kind: KindPrecondition, Err: err}
		}
	}
	object.Modified = s.now().UTC().Truncate(time.Millisecond)
	if err := c.commitObject(ctx, b.id, object, r); err != nil {
		return storeError(op, b.info.Name, object.Key, err)
	}
	return nil
}

func runCheck(check Check, object *meta.Object, found bool) error {
	if !found {
		return check(nil)
	}
	info := objectInfo(object)
	return check(&info)
}

func lockName(b meta.BucketID, key string) string {
	var id [8]byte
	for i := range id {
		id[i] = byte(b >> (8 * i))
	}
	return string(id[:]) + key
}

func joinAttrs(a, b []Attr) []Attr {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	return append(append(make([]Attr, 0, len(a)+len(b)), a...), b...)
}

// storeError gives err its kind. An Error passes as it is.
func storeError(op, bucket, key string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Op: op, Bucket: bucket, Key: key, Kind: kindOfCause(err), Err: cause(err)}
}

// cause unwraps what the caller itself gave.
func cause(err error) error {
	if b, ok := errors.AsType[bodyError](err); ok {
		return b.err
	}
	return err
}
