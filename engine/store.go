package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
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
	closed  atomic.Bool

	names *keyLocks // Orders the creation and deletion of each bucket.

	mu      sync.RWMutex // Guards buckets.
	buckets map[string]*bucket

	revisions atomic.Uint64 // Of buckets.

	lockTime *lockTime
	looked   atomic.Int64 // The latest time that looks were due by, in milliseconds.

	tasks sync.WaitGroup // The store's own goroutines.
	stop  func()         // Ends them; nil before there are any.

	small sync.Map // Names of the small files that were asked for: true.
}

// bucket is a live bucket.
type bucket struct {
	id    meta.BucketID
	name  string
	state atomic.Pointer[bucketState] // As it is now; what it points to never changes.

	// gate is held for reading by every write to the bucket until it is acknowledged, and for writing by the bucket's deletion, so that an
	// empty bucket stays empty until it is gone, and by a change of its attributes, so that every write comes either before it or
	// after. It is held across I/O.
	gate    sync.RWMutex
	deleted bool // Guarded by gate.

	reserved reserved // Of its quota.
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
		return &Error{Op: op, Bucket: b.name, Kind: KindNoSuchBucket}
	}
	return nil
}

func (b *bucket) leave() { b.gate.RUnlock() }

// checkKey refuses keys that the store does not take.
func checkKey(op string, b *bucket, key string) error {
	if key == "" || len(key) > MaxKeyLen {
		return &Error{Op: op, Bucket: b.name, Key: key, Kind: KindTooLarge, Err: errKeyLen}
	}
	return nil
}

var errKeyLen = errors.New("a key has 1 to 1,024 bytes")

// CreateBucket makes a bucket. If it exists the error is KindBucketExists.
func (s *Store) CreateBucket(ctx context.Context, name string, attrs []Attr) error {
	const op = "CreateBucket"
	if name == "" || len(name) > meta.MaxNameLen {
		return storeError(op, name, "", errNameLen)
	}
	if err := checkBucketAttrs(nil, attrs); err != nil {
		return storeError(op, name, "", err)
	}
	unlock, err := s.names.lock(ctx, name)
	if err != nil {
		return storeError(op, name, "", err)
	}
	defer unlock()
	if _, err := s.bucketOf(op, name); err == nil {
		return &Error{Op: op, Bucket: name, Kind: KindBucketExists}
	}
	c := s.cells[0]
	if err := c.checkFull(); err != nil {
		return storeError(op, name, "", err)
	}
	record := meta.Bucket{ID: meta.BucketID(c.nextBlob()), Name: name, Created: s.now().UTC().Truncate(time.Millisecond), Attrs: attrs}
	if err := c.commit(&meta.PutBucket{Bucket: record}); err != nil {
		return storeError(op, name, "", err)
	}
	s.mu.Lock()
	s.buckets[name] = s.newBucket(record)
	s.mu.Unlock()
	return nil
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
	if b.deleted {
		return &Error{Op: op, Bucket: name, Kind: KindNoSuchBucket}
	}
	// Were a cell's base replaced after the look at it, what is in the next one might not be what was seen.
	bases := make([]*base, len(s.cells))
	for i, c := range s.cells {
		empty, base, err := c.isEmpty(b.id)
		if err != nil {
			return storeError(op, name, "", err)
		}
		if !empty {
			return &Error{Op: op, Bucket: name, Kind: KindBucketNotEmpty}
		}
		bases[i] = base
	}
	for _, c := range s.cells {
		if err := c.abortAll(ctx, b.id); err != nil {
			return storeError(op, name, "", err)
		}
	}
	for _, base := range bases {
		if err := base.enter(); err != nil {
			return storeError(op, name, "", err)
		}
		defer base.leave()
	}
	if err := bases[0].commit(&meta.DeleteBucket{ID: b.id}); err != nil {
		return storeError(op, name, "", err)
	}
	b.deleted = true
	s.mu.Lock()
	delete(s.buckets, name)
	s.mu.Unlock()
	return nil
}

// isEmpty reports whether the cell holds no version of an object of a bucket, according to the base that it returns.
func (c *cell) isEmpty(bucket meta.BucketID) (bool, *base, error) {
	b, err := c.enter()
	if err != nil {
		return false, nil, err
	}
	defer b.leave()
	empty, err := b.index.BucketEmpty(bucket)
	return empty, b, err
}

// Bucket describes a bucket.
func (s *Store) Bucket(_ context.Context, name string) (BucketInfo, error) {
	b, err := s.bucketOf("Bucket", name)
	if err != nil {
		return BucketInfo{}, err
	}
	return b.state.Load().info, nil
}

// Head describes a version of an object.
func (s *Store) Head(_ context.Context, bucket, key string, version VersionID) (ObjectInfo, error) {
	const op = "Head"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return ObjectInfo{}, err
	}
	object, err := s.cellOf(b, key).object(op, b, key, version)
	if err != nil {
		return ObjectInfo{}, err
	}
	return b.infoOf(&object), nil
}

// Open holds a version of an object open for reading.
func (s *Store) Open(_ context.Context, bucket, key string, version VersionID) (Handle, error) {
	const op = "Open"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return nil, err
	}
	h, err := s.cellOf(b, key).open(op, b, key, version)
	if err != nil {
		return nil, storeError(op, bucket, key, err)
	}
	return h, nil
}

// Put stores a body as an object, replacing what the key named or, with versioning, as another version of it.
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
	room, err := s.reserveObject(b, c, key, o.Size)
	if err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	defer room.release()
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
	if err := s.putObject(ctx, op, b, c, &object, o.Check, r, &room); err != nil {
		return ObjectInfo{}, err
	}
	return b.infoOf(&object), nil
}

// putObject commits an object: under the key's lock it runs the check and appends the record. It takes over what was
// received, whatever happens.
func (s *Store) putObject(ctx context.Context, op string, b *bucket, c *cell, object *meta.Object, check Check, r *received, room *reservation) error {
	err := room.within(func() error { return s.tryPutObject(ctx, op, b, c, object, check, r, room) })
	c.settle(r, err)
	return storeError(op, b.name, object.Key, err)
}

func (s *Store) tryPutObject(ctx context.Context, op string, b *bucket, c *cell, object *meta.Object, check Check, r *received, room *reservation) (err error) {
	if err := b.enter(op); err != nil {
		return err
	}
	defer b.leave()
	defer func() { room.done(err) }()
	unlock, err := c.locks.lock(ctx, lockName(b.id, object.Key))
	if err != nil {
		return storeError(op, b.name, object.Key, err)
	}
	defer unlock()
	base, err := c.enter()
	if err != nil {
		return storeError(op, b.name, object.Key, err)
	}
	defer base.leave()
	return s.commitLocked(ctx, op, base, b, object, check, r, room)
}

// commitLocked is putObject for a caller that holds the bucket's gate and the key's lock and has entered base. r is nil when the object only
// references blobs that the caller keeps alive. After an unsureError nothing was done, and the caller is to seek more room.
func (s *Store) commitLocked(ctx context.Context, op string, base *base, b *bucket, object *meta.Object, check Check, r *received, room *reservation) error {
	if err := base.check(b, object.Key, check); err != nil {
		return checkError(op, b.name, object.Key, err)
	}
	if err := b.coverObject(base, object, room); err != nil {
		return err
	}
	object.Version = b.nextVersion(base.c)
	if err := s.lockNew(b, object); err != nil {
		return storeError(op, b.name, object.Key, err)
	}
	object.Modified = s.now().UTC().Truncate(time.Millisecond)
	if err := base.commitObject(b.id, object, r, s.look(b, changePut, object.Key, object, object.Modified)); err != nil {
		return storeError(op, b.name, object.Key, err)
	}
	return nil
}

// check runs the caller's check on what the key names now. The caller has entered b and holds the key's lock.
func (b *base) check(bucket *bucket, key string, check Check) error {
	if check == nil {
		return nil
	}
	object, found, err := b.index.GetObject(bucket.id, key, CurrentVersion)
	if err != nil {
		return err
	}
	if !found {
		err = check(nil)
	} else {
		info := bucket.infoOf(&object)
		err = check(&info)
	}
	if err != nil {
		return refusedError{err}
	}
	return nil
}

// refusedError marks the refusal of the caller's check.
type refusedError struct{ err error }

func (e refusedError) Error() string { return e.err.Error() }

// checkError gives an error of base.check its kind.
func checkError(op, bucket, key string, err error) error {
	if refused, ok := err.(refusedError); ok {
		return &Error{Op: op, Bucket: bucket, Key: key, Kind: KindPrecondition, Err: refused.err}
	}
	return storeError(op, bucket, key, err)
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

// storeError gives err its kind. An Error passes as it is, and so does nil.
func storeError(op, bucket, key string, err error) error {
	if err == nil {
		return nil
	}
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
