package fastapi

import (
	"context"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock/engine"
)

// fakeStore is the specification of Store, in maps.
type fakeStore struct {
	hashedCopies int // Part copies that wanted to see the bytes. Guarded by mu.
	mu           sync.Mutex
	buckets      map[string]*fakeBucket
	uploads      map[string]*fakeUpload
	nextID       int
	revision     uint64    // Of buckets, all together.
	clock        time.Time // Moves on by a millisecond with every write.

	calls    int                        // Of every method but Ready.
	fail     func(op, key string) error // Injected failures.
	before   func(op string)            // Runs before the operation, without the lock.
	notReady error
	crowded  atomic.Bool
	kept     atomic.Int64 // Pieces that the network has.
	parked   atomic.Int64 // Times that a slow reader was left waiting without memory.
	open     int          // Handles and bodies not closed.

	compacting bool // Compaction was asked for. Guarded by mu.
}

type fakeBucket struct {
	info    engine.BucketInfo
	objects map[string][]*fakeObject // The versions of each key, the newest first.
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		buckets: map[string]*fakeBucket{}, uploads: map[string]*fakeUpload{},
		clock: time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC),
	}
}

func (s *fakeStore) enter(op, key string) error {
	s.mu.Lock()
	if before := s.before; before != nil {
		func() {
			s.mu.Unlock()
			defer s.mu.Lock() // Also when it panics: the caller unlocks.
			before(op)
		}()
	}
	s.calls++
	if s.fail != nil {
		return s.fail(op, key)
	}
	return nil
}

func (s *fakeStore) setFail(f func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

func (s *fakeStore) setBefore(f func(op string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *fakeStore) callCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// callCount counts the calls of a store by operation, but for Bucket: what a bucket is decides who may do what in it.
type callCount struct {
	mu   sync.Mutex
	made map[string]int
}

func newCallCount(s *fakeStore) *callCount {
	c := &callCount{made: map[string]int{}}
	s.setBefore(func(op string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if op != "Bucket" {
			c.made[op]++
		}
	})
	return c
}

// take returns the calls since the last time.
func (c *callCount) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.made
	c.made = map[string]int{}
	return made
}

// setBucketAttrs gives a bucket attributes behind everybody's back.
func (s *fakeStore) setBucketAttrs(name string, attrs []engine.Attr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	b := s.buckets[name]
	b.info.Attrs, b.info.Revision = attrs, s.revision
}

// stored returns an object, or nil.
func (s *fakeStore) stored(bucket, key string) *fakeObject {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[bucket].current(key)
}

// keys returns the keys of a bucket.
func (s *fakeStore) keys(bucket string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedKeys(s.buckets[bucket].objects)
}

// first enters and leaves again, for operations that go on without the lock.
func (s *fakeStore) first(op, key string, check func() error) error {
	defer s.mu.Unlock()
	if err := s.enter(op, key); err != nil {
		return err
	}
	return check()
}

func (s *fakeStore) now() time.Time {
	s.clock = s.clock.Add(time.Millisecond)
	return s.clock
}

func kindError(kind engine.Kind, bucket, key string) error {
	return &engine.Error{Op: "Fake", Bucket: bucket, Key: key, Kind: kind}
}

func causeError(kind engine.Kind, bucket, key string, err error) error {
	return &engine.Error{Op: "Fake", Bucket: bucket, Key: key, Kind: kind, Err: err}
}

func (s *fakeStore) bucket(name string) (*fakeBucket, error) {
	b := s.buckets[name]
	if b == nil {
		return nil, kindError(engine.KindNoSuchBucket, name, "")
	}
	return b, nil
}

func (s *fakeStore) CreateBucket(_ context.Context, name string, attrs []engine.Attr) error {
	defer s.mu.Unlock()
	if err := s.enter("CreateBucket", ""); err != nil {
		return err
	}
	if s.buckets[name] != nil {
		return kindError(engine.KindBucketExists, name, "")
	}
	s.revision++
	s.buckets[name] = &fakeBucket{engine.BucketInfo{Name: name, Created: s.now(), Attrs: attrs, Revision: s.revision}, map[string][]*fakeObject{}}
	return nil
}

func (s *fakeStore) DeleteBucket(_ context.Context, name string) error {
	defer s.mu.Unlock()
	if err := s.enter("DeleteBucket", ""); err != nil {
		return err
	}
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	if len(b.objects) > 0 {
		return kindError(engine.KindBucketNotEmpty, name, "")
	}
	delete(s.buckets, name)
	return nil
}

func (s *fakeStore) Bucket(_ context.Context, name string) (engine.BucketInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("Bucket", ""); err != nil {
		return engine.BucketInfo{}, err
	}
	b, err := s.bucket(name)
	if err != nil {
		return engine.BucketInfo{}, err
	}
	return b.info, nil
}

func (s *fakeStore) UpdateBucket(_ context.Context, name string, change func(engine.BucketInfo) ([]engine.Attr, error)) error {
	defer s.mu.Unlock()
	if err := s.enter("UpdateBucket", ""); err != nil {
		return err
	}
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	attrs, err := change(b.info)
	if err != nil {
		return causeError(engine.KindPrecondition, name, "", err)
	}
	b.info.Attrs = attrs
	s.revision++
	b.info.Revision = s.revision
	return nil
}

func (s *fakeStore) ListBuckets(_ context.Context, prefix, after string, max int) (page engine.BucketPage, err error) {
	defer s.mu.Unlock()
	if err := s.enter("ListBuckets", ""); err != nil {
		return page, err
	}
	for _, name := range sortedKeys(s.buckets) {
		if !strings.HasPrefix(name, prefix) || name <= after {
			continue
		}
		if len(page.Buckets) == max {
			page.Truncated = true
			break
		}
		page.Buckets = append(page.Buckets, s.buckets[name].info)
		page.Next = name
	}
	return page, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (s *fakeStore) Ready(context.Context) error { return s.notReady }

func (s *fakeStore) Crowded() bool { return s.crowded.Load() }
