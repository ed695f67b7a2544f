package fastapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"
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
	clock        time.Time // Moves on by a millisecond with every write.

	calls    int                        // Of every method but Ready.
	fail     func(op, key string) error // Injected failures.
	before   func(op string)            // Runs before the operation, without the lock.
	notReady error
	open     int // Handles and bodies not closed.
}

type fakeBucket struct {
	info    engine.BucketInfo
	objects map[string]*fakeObject
}

type fakeObject struct {
	info engine.ObjectInfo
	data []byte
}

type fakeUpload struct {
	info   engine.UploadInfo
	bucket string
	seq    int
	parts  map[int]*fakePart
}

type fakePart struct {
	info engine.PartInfo
	data []byte
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

// stored returns an object, or nil.
func (s *fakeStore) stored(bucket, key string) *fakeObject {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[bucket].objects[key]
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

func (s *fakeStore) object(bucket, key string) (*fakeObject, error) {
	b, err := s.bucket(bucket)
	if err != nil {
		return nil, err
	}
	o := b.objects[key]
	if o == nil {
		return nil, kindError(engine.KindNoSuchObject, bucket, key)
	}
	return o, nil
}

func (s *fakeStore) CreateBucket(_ context.Context, name string, attrs []engine.Attr) error {
	defer s.mu.Unlock()
	if err := s.enter("CreateBucket", ""); err != nil {
		return err
	}
	if s.buckets[name] != nil {
		return kindError(engine.KindBucketExists, name, "")
	}
	s.buckets[name] = &fakeBucket{engine.BucketInfo{Name: name, Created: s.now(), Attrs: attrs}, map[string]*fakeObject{}}
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

// receive reads a body as the engine does: to its end, in large pieces, and no further than its announced size.
func receive(body io.Reader, o engine.PutOptions) ([]byte, engine.Final, error) {
	src := body
	if o.Size >= 0 {
		src = io.LimitReader(body, o.Size)
	}
	data, err := io.ReadAll(src)
	if err != nil {
		return nil, engine.Final{}, causeError(engine.KindBody, "", "", err)
	}
	if o.Size >= 0 && int64(len(data)) != o.Size {
		return nil, engine.Final{}, kindError(engine.KindIncompleteBody, "", "")
	}
	final, err := o.Finish(engine.Sums{Size: int64(len(data)), CRC64NVME: engine.CRC64NVME(data), HasCRC: true})
	if err != nil {
		return nil, engine.Final{}, causeError(engine.KindBody, "", "", err)
	}
	return data, final, nil
}

func joined(a, b []engine.Attr) []engine.Attr { return append(slices.Clone(a), b...) }

func (s *fakeStore) Put(_ context.Context, bucket, key string, body io.Reader, o engine.PutOptions) (engine.ObjectInfo, error) {
	if err := s.first("Put", key, func() error { _, err := s.bucket(bucket); return err }); err != nil {
		return engine.ObjectInfo{}, err
	}
	data, final, err := receive(body, o)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	info := engine.ObjectInfo{Key: key, Size: int64(len(data)), ETag: final.ETag, Attrs: joined(o.Attrs, final.Attrs)}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commit(bucket, key, info, data, o.Check)
}

// commit stores an object if the check allows it. The lock is held.
func (s *fakeStore) commit(bucket, key string, info engine.ObjectInfo, data []byte, check engine.Check) (engine.ObjectInfo, error) {
	b, err := s.bucket(bucket)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	if err := runFakeCheck(check, b.objects[key]); err != nil {
		return engine.ObjectInfo{}, causeError(engine.KindPrecondition, bucket, key, err)
	}
	info.Modified = s.now()
	b.objects[key] = &fakeObject{info, data}
	return info, nil
}

func runFakeCheck(check engine.Check, current *fakeObject) error {
	if check == nil {
		return nil
	}
	if current == nil {
		return check(nil)
	}
	return check(&current.info)
}

func (s *fakeStore) Open(_ context.Context, bucket, key string) (engine.Handle, error) {
	defer s.mu.Unlock()
	if err := s.enter("Open", key); err != nil {
		return nil, err
	}
	o, err := s.object(bucket, key)
	if err != nil {
		return nil, err
	}
	s.open++
	return &fakeHandle{store: s, object: o}, nil
}

type fakeHandle struct {
	store  *fakeStore
	object *fakeObject
	closed bool
}

func (h *fakeHandle) Info() *engine.ObjectInfo { return &h.object.info }

func (h *fakeHandle) Body(_ context.Context, off, n int64) (engine.Body, error) {
	defer h.store.mu.Unlock()
	if err := h.store.enter("Body", h.object.info.Key); err != nil {
		return nil, err
	}
	if off < 0 || n < 0 || off+n > h.object.info.Size {
		panic(fmt.Sprintf("Body(%d, %d) of an object of %d bytes", off, n, h.object.info.Size))
	}
	h.store.open++
	return &fakeBody{store: h.store, key: h.object.info.Key, rest: h.object.data[off : off+n]}, nil
}

func (h *fakeHandle) Close() { closeOnce(h.store, &h.closed) }

func closeOnce(s *fakeStore, closed *bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *closed {
		panic("closed twice")
	}
	*closed = true
	s.open--
}

type fakeBody struct {
	store  *fakeStore
	key    string
	rest   []byte
	closed bool
}

func (b *fakeBody) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// WriteTo writes pieces of 256 KiB, and asks before each whether to fail.
func (b *fakeBody) WriteTo(w io.Writer) (total int64, err error) {
	for len(b.rest) > 0 {
		if err := b.store.first("WriteTo", b.key, func() error { return nil }); err != nil {
			return total, err
		}
		n, err := w.Write(b.rest[:min(len(b.rest), 256<<10)])
		total += int64(n)
		b.rest = b.rest[n:]
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (b *fakeBody) Close() error {
	closeOnce(b.store, &b.closed)
	return nil
}

func (s *fakeStore) Head(_ context.Context, bucket, key string) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("Head", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	o, err := s.object(bucket, key)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	return o.info, nil
}

func (s *fakeStore) Delete(_ context.Context, bucket, key string, check engine.Check) error {
	defer s.mu.Unlock()
	if err := s.enter("Delete", key); err != nil {
		return err
	}
	b, err := s.bucket(bucket)
	if err != nil {
		return err
	}
	if err := runFakeCheck(check, b.objects[key]); err != nil {
		return causeError(engine.KindPrecondition, bucket, key, err)
	}
	delete(b.objects, key)
	return nil
}

func (s *fakeStore) Copy(_ context.Context, srcBucket, srcKey, bucket, key string, o engine.CopyOptions) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("Copy", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	src, err := s.object(srcBucket, srcKey)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	final, err := o.Source(&src.info)
	if err != nil {
		return engine.ObjectInfo{}, causeError(engine.KindPrecondition, srcBucket, srcKey, err)
	}
	info := engine.ObjectInfo{Key: key, Size: src.info.Size, ETag: final.ETag, Attrs: final.Attrs, Parts: src.info.Parts}
	if o.Rehash != nil {
		o.Rehash.Write(src.data)
		more, err := o.Finish(engine.Sums{Size: info.Size, CRC64NVME: engine.CRC64NVME(src.data), HasCRC: true})
		if err != nil {
			return engine.ObjectInfo{}, causeError(engine.KindBody, bucket, key, err)
		}
		info.Attrs = joined(info.Attrs, more.Attrs)
	}
	return s.commit(bucket, key, info, src.data, o.Check)
}

func (s *fakeStore) List(_ context.Context, bucket string, o engine.ListOptions) (page engine.ListPage, err error) {
	defer s.mu.Unlock()
	if err := s.enter("List", ""); err != nil {
		return page, err
	}
	b, err := s.bucket(bucket)
	if err != nil {
		return page, err
	}
	lastPrefix := ""
	for _, key := range sortedKeys(b.objects) {
		if !strings.HasPrefix(key, o.Prefix) || key <= o.After || o.SkipPrefix && strings.HasPrefix(key, o.After) {
			continue
		}
		prefix := ""
		if i := strings.Index(key[len(o.Prefix):], o.Delimiter); o.Delimiter != "" && i >= 0 {
			prefix = key[:len(o.Prefix)+i+len(o.Delimiter)]
			if prefix == lastPrefix {
				continue
			}
		}
		if len(page.Objects)+len(page.Prefixes) == o.Max {
			page.Truncated = true
			break
		}
		if prefix != "" {
			page.Prefixes = append(page.Prefixes, prefix)
			lastPrefix = prefix
			page.NextAfter, page.NextIsPrefix = prefix, true
			continue
		}
		info := b.objects[key].info
		info.Parts = nil
		page.Objects = append(page.Objects, info)
		page.NextAfter, page.NextIsPrefix = key, false
	}
	return page, nil
}

func (s *fakeStore) CreateUpload(_ context.Context, bucket, key string, attrs []engine.Attr) (string, error) {
	defer s.mu.Unlock()
	if err := s.enter("CreateUpload", key); err != nil {
		return "", err
	}
	if _, err := s.bucket(bucket); err != nil {
		return "", err
	}
	s.nextID++
	id := fmt.Sprintf("upload-%04d", s.nextID)
	s.uploads[id] = &fakeUpload{engine.UploadInfo{ID: id, Key: key, Initiated: s.now(), Attrs: attrs}, bucket, s.nextID, map[int]*fakePart{}}
	return id, nil
}

func (s *fakeStore) upload(bucket, key, id string) (*fakeUpload, error) {
	if _, err := s.bucket(bucket); err != nil {
		return nil, err
	}
	u := s.uploads[id]
	if u == nil || u.bucket != bucket || u.info.Key != key {
		return nil, kindError(engine.KindNoSuchUpload, bucket, key)
	}
	return u, nil
}

func (s *fakeStore) Upload(_ context.Context, bucket, key, id string) (engine.UploadInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("Upload", key); err != nil {
		return engine.UploadInfo{}, err
	}
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return engine.UploadInfo{}, err
	}
	return u.info, nil
}

func (s *fakeStore) PutPart(_ context.Context, bucket, key, id string, number int, body io.Reader, o engine.PutOptions) (engine.PartInfo, error) {
	if err := s.first("PutPart", key, func() error { _, err := s.upload(bucket, key, id); return err }); err != nil {
		return engine.PartInfo{}, err
	}
	data, final, err := receive(body, o)
	if err != nil {
		return engine.PartInfo{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addPart(bucket, key, id, number, data, final)
}

func (s *fakeStore) addPart(bucket, key, id string, number int, data []byte, final engine.Final) (engine.PartInfo, error) {
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return engine.PartInfo{}, err
	}
	info := engine.PartInfo{Number: number, Size: int64(len(data)), ETag: final.ETag, Modified: s.now(), Attrs: final.Attrs}
	u.parts[number] = &fakePart{info, data}
	return info, nil
}

func (s *fakeStore) CopyPart(_ context.Context, srcBucket, srcKey, bucket, key, id string, number int, o engine.CopyPartOptions) (engine.PartInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("CopyPart", key); err != nil {
		return engine.PartInfo{}, err
	}
	src, err := s.object(srcBucket, srcKey)
	if err != nil {
		return engine.PartInfo{}, err
	}
	if err := o.Source(&src.info); err != nil {
		return engine.PartInfo{}, causeError(engine.KindPrecondition, srcBucket, srcKey, err)
	}
	n := o.Len
	if n < 0 {
		n = src.info.Size - o.Off
	}
	if o.Off+n > src.info.Size {
		return engine.PartInfo{}, kindError(engine.KindInvalidRange, srcBucket, srcKey)
	}
	data := src.data[o.Off : o.Off+n]
	if o.Hash != nil {
		s.hashedCopies++
		o.Hash.Write(data)
	}
	final, err := o.Finish(engine.Sums{Size: n, CRC64NVME: engine.CRC64NVME(data), HasCRC: true})
	if err != nil {
		return engine.PartInfo{}, causeError(engine.KindBody, bucket, key, err)
	}
	return s.addPart(bucket, key, id, number, data, final)
}

func (s *fakeStore) CompleteUpload(_ context.Context, bucket, key, id string, o engine.CompleteOptions) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("CompleteUpload", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	info := engine.ObjectInfo{Key: key}
	var data []byte
	var parts []engine.PartInfo
	for i, want := range o.Parts {
		if i > 0 && want.Number <= o.Parts[i-1].Number {
			return engine.ObjectInfo{}, kindError(engine.KindInvalidPartOrder, bucket, key)
		}
		p := u.parts[want.Number]
		if p == nil || p.info.ETag != want.ETag {
			return engine.ObjectInfo{}, kindError(engine.KindInvalidPart, bucket, key)
		}
		if i < len(o.Parts)-1 && p.info.Size < engine.MinPartLen {
			return engine.ObjectInfo{}, kindError(engine.KindPartTooSmall, bucket, key)
		}
		data = append(data, p.data...)
		parts = append(parts, p.info)
	}
	final, err := o.Finish(parts, u.info.Attrs)
	if err != nil {
		return engine.ObjectInfo{}, causeError(engine.KindBody, bucket, key, err)
	}
	info.Size, info.ETag, info.Attrs = int64(len(data)), final.ETag, joined(u.info.Attrs, final.Attrs)
	for _, p := range parts {
		info.Parts = append(info.Parts, engine.PartInfo{Number: p.Number, Size: p.Size, Attrs: p.Attrs})
	}
	out, err := s.commit(bucket, key, info, data, o.Check)
	if err == nil {
		delete(s.uploads, id)
	}
	return out, err
}

func (s *fakeStore) AbortUpload(_ context.Context, bucket, key, id string) error {
	defer s.mu.Unlock()
	if err := s.enter("AbortUpload", key); err != nil {
		return err
	}
	if _, err := s.upload(bucket, key, id); err != nil {
		return err
	}
	delete(s.uploads, id)
	return nil
}

func (s *fakeStore) ListParts(_ context.Context, bucket, key, id string, after, max int) (page engine.PartPage, err error) {
	defer s.mu.Unlock()
	if err := s.enter("ListParts", key); err != nil {
		return page, err
	}
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return page, err
	}
	page.Upload = u.info
	numbers := make([]int, 0, len(u.parts))
	for n := range u.parts {
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	for _, n := range numbers {
		if n <= after {
			continue
		}
		if len(page.Parts) == max {
			page.Truncated = true
			break
		}
		page.Parts = append(page.Parts, u.parts[n].info)
		page.Next = n
	}
	return page, nil
}

func (s *fakeStore) ListUploads(_ context.Context, bucket string, o engine.UploadListOptions) (page engine.UploadPage, err error) {
	defer s.mu.Unlock()
	if err := s.enter("ListUploads", ""); err != nil {
		return page, err
	}
	if _, err := s.bucket(bucket); err != nil {
		return page, err
	}
	if o.IDMarker != "" && !strings.HasPrefix(o.IDMarker, "upload-") {
		return page, causeError(engine.KindNoSuchUpload, bucket, "", errors.New("bad marker"))
	}
	var all []*fakeUpload
	for _, u := range s.uploads {
		if u.bucket == bucket && strings.HasPrefix(u.info.Key, o.Prefix) {
			all = append(all, u)
		}
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].info.Key != all[j].info.Key {
			return all[i].info.Key < all[j].info.Key
		}
		return all[i].seq < all[j].seq
	})
	lastPrefix := ""
	for _, u := range all {
		if u.info.Key < o.KeyMarker || u.info.Key == o.KeyMarker && (o.IDMarker == "" || u.info.ID <= o.IDMarker) {
			continue
		}
		if i := strings.Index(u.info.Key[len(o.Prefix):], o.Delimiter); o.Delimiter != "" && i >= 0 {
			prefix := u.info.Key[:len(o.Prefix)+i+len(o.Delimiter)]
			if prefix == lastPrefix || prefix <= o.KeyMarker {
				continue
			}
			if len(page.Uploads)+len(page.Prefixes) == o.Max {
				page.Truncated = true
				break
			}
			lastPrefix = prefix
			page.Prefixes = append(page.Prefixes, prefix)
			page.NextKey, page.NextID = prefix, ""
			continue
		}
		if len(page.Uploads)+len(page.Prefixes) == o.Max {
			page.Truncated = true
			break
		}
		page.Uploads = append(page.Uploads, u.info)
		page.NextKey, page.NextID = u.info.Key, u.info.ID
	}
	return page, nil
}

func (s *fakeStore) Ready(context.Context) error { return s.notReady }
