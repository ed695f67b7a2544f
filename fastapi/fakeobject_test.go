package fastapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"penstock/engine"
)

type fakeObject struct {
	info engine.ObjectInfo
	data []byte
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
	if err := runFakeCheck(check, b.current(key)); err != nil {
		return engine.ObjectInfo{}, causeError(engine.KindPrecondition, bucket, key, err)
	}
	if info.Attrs, err = b.lockNew(info.Attrs); err != nil {
		return engine.ObjectInfo{}, err
	}
	info.Modified = s.now()
	return s.put(b, info, data), nil
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

func (s *fakeStore) Open(_ context.Context, bucket, key string, version engine.VersionID) (engine.Handle, error) {
	defer s.mu.Unlock()
	if err := s.enter("Open", key); err != nil {
		return nil, err
	}
	o, err := s.object(bucket, key, version)
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

// WriteTo writes pieces of 256 KiB, and asks before each whether to fail. A client that is slow is left with a few bytes, as
// by the engine.
func (b *fakeBody) WriteTo(w io.Writer) (total int64, err error) {
	for len(b.rest) > 0 {
		if err := b.store.first("WriteTo", b.key, func() error { return nil }); err != nil {
			return total, err
		}
		piece := b.rest[:min(len(b.rest), 256<<10)]
		var n int
		var err error
		if keeping, ok := w.(engine.KeepingWriter); ok {
			lent := bytes.Clone(piece)
			users := 1
			done := func() {
				if users--; users == 0 {
					clear(lent) // As memory that others use then.
				}
			}
			n, err = keeping.TryKeep(lent, b.store.crowded.Load, func() func() {
				users++
				b.store.kept.Add(1)
				return func() { done(); b.store.kept.Add(-1) }
			})
			done()
			if err == nil && n < len(piece) {
				b.store.parked.Add(1)
				var more int
				more, err = w.Write(bytes.Clone(piece[n:min(n+4096, len(piece))]))
				n += more
			}
		} else {
			n, err = w.Write(piece)
		}
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

func (s *fakeStore) Head(_ context.Context, bucket, key string, version engine.VersionID) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("Head", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	o, err := s.object(bucket, key, version)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	return o.info, nil
}

func (s *fakeStore) UpdateObjectAttrs(_ context.Context, bucket, key string, version engine.VersionID, change func(*engine.ObjectInfo) ([]engine.Attr, error)) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("UpdateObjectAttrs", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	o, err := s.object(bucket, key, version)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	attrs, err := change(&o.info)
	if err != nil {
		return engine.ObjectInfo{}, causeError(engine.KindPrecondition, bucket, key, err)
	}
	changed := &fakeObject{o.info, o.data} // Handles that are open keep what they have.
	changed.info.Attrs = attrs
	all := s.buckets[bucket].objects[key]
	all[slices.Index(all, o)] = changed
	return changed.info, nil
}

func (s *fakeStore) Copy(_ context.Context, srcBucket, srcKey string, srcVersion engine.VersionID, bucket, key string, o engine.CopyOptions) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("Copy", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	src, err := s.object(srcBucket, srcKey, srcVersion)
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
		if b.current(key) == nil || !strings.HasPrefix(key, o.Prefix) || key <= o.After || o.SkipPrefix && strings.HasPrefix(key, o.After) {
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
		info := b.current(key).info
		info.Parts = nil
		page.Objects = append(page.Objects, info)
		page.NextAfter, page.NextIsPrefix = key, false
	}
	return page, nil
}
