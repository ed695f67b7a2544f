package engine

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"penstock/meta"
)

// uploadGates keep the completion or abortion of an upload apart from the arrival of its parts, which do not exclude each
// other. A gate exists while somebody uses it. It is held across the commit.
type uploadGates struct {
	mu    sync.Mutex // Guards gates and the count in each.
	gates map[meta.UploadID]*uploadGate
}

type uploadGate struct {
	sync.RWMutex
	count int
}

func (g *uploadGates) acquire(id meta.UploadID) *uploadGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.gates[id]
	if gate == nil {
		gate = &uploadGate{}
		g.gates[id] = gate
	}
	gate.count++
	return gate
}

func (g *uploadGates) release(id meta.UploadID, gate *uploadGate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gate.count--; gate.count == 0 {
		delete(g.gates, id)
	}
}

// shared excludes the upload's completion until the returned function is called.
func (g *uploadGates) shared(id meta.UploadID) (unlock func()) {
	gate := g.acquire(id)
	gate.RLock()
	return func() { gate.RUnlock(); g.release(id, gate) }
}

// tryShared is shared if nobody completes or aborts the upload just now.
func (g *uploadGates) tryShared(id meta.UploadID) (unlock func(), ok bool) {
	gate := g.acquire(id)
	if !gate.TryRLock() {
		g.release(id, gate)
		return nil, false
	}
	return func() { gate.RUnlock(); g.release(id, gate) }, true
}

// exclusive excludes everything else that concerns the upload.
func (g *uploadGates) exclusive(id meta.UploadID) (unlock func()) {
	gate := g.acquire(id)
	gate.Lock()
	return func() { gate.Unlock(); g.release(id, gate) }
}

func formatUploadID(id meta.UploadID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func parseUploadID(s string) (id meta.UploadID, ok bool) {
	if base64.RawURLEncoding.DecodedLen(len(s)) != len(id) {
		return id, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(id[:], []byte(s))
	return id, err == nil && n == len(id)
}

// CreateUpload begins a multipart upload and returns its ID. attrs become the object's.
func (s *Store) CreateUpload(ctx context.Context, bucket, key string, attrs []Attr) (string, error) {
	const op = "CreateUpload"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return "", err
	}
	if err := checkKey(op, b, key); err != nil {
		return "", err
	}
	if err := checkAttrs(attrs); err != nil {
		return "", storeError(op, bucket, key, err)
	}
	c := s.cellOf(b, key)
	if err := c.checkFull(); err != nil {
		return "", storeError(op, bucket, key, err)
	}
	if err := b.enter(op); err != nil {
		return "", err
	}
	defer b.leave()
	if _, err := b.checkNewLock(attrs); err != nil {
		return "", storeError(op, bucket, key, err)
	}
	upload := meta.Upload{Bucket: b.id, Key: key, Initiated: s.now().UTC().Truncate(time.Millisecond), Attrs: attrs}
	rand.Read(upload.ID[:]) // Never fails: crypto/rand ends the process instead.
	if err := c.commitAll(s.look(b, changeUpload, key, nil, upload.Initiated), &meta.CreateUpload{Upload: upload}); err != nil {
		return "", storeError(op, bucket, key, err)
	}
	return formatUploadID(upload.ID), nil
}

// Upload describes an upload in progress.
func (s *Store) Upload(_ context.Context, bucket, key, id string) (UploadInfo, error) {
	_, _, upload, err := s.findUpload("Upload", bucket, key, id)
	if err != nil {
		return UploadInfo{}, err
	}
	return uploadInfo(&upload), nil
}

// findUpload finds an upload by what a client says of it.
func (s *Store) findUpload(op, bucketName, key, id string) (*bucket, *cell, meta.Upload, error) {
	b, err := s.bucketOf(op, bucketName)
	if err != nil {
		return nil, nil, meta.Upload{}, err
	}
	c := s.cellOf(b, key)
	none := &Error{Op: op, Bucket: bucketName, Key: key, Kind: KindNoSuchUpload}
	uploadID, ok := parseUploadID(id)
	if !ok {
		return nil, nil, meta.Upload{}, none
	}
	upload, found, err := c.upload(uploadID)
	if err != nil {
		return nil, nil, meta.Upload{}, storeError(op, bucketName, key, err)
	}
	if !found || upload.Bucket != b.id || upload.Key != key {
		return nil, nil, meta.Upload{}, none
	}
	return b, c, upload, nil
}

func (c *cell) upload(id meta.UploadID) (meta.Upload, bool, error) {
	b, err := c.enter()
	if err != nil {
		return meta.Upload{}, false, err
	}
	defer b.leave()
	return b.index.GetUpload(id)
}

// PutPart stores a body as a part of an upload, replacing a former part of that number.
func (s *Store) PutPart(ctx context.Context, bucket, key, id string, number int, body io.Reader, o PutOptions) (PartInfo, error) {
	const op = "PutPart"
	b, c, upload, err := s.findUpload(op, bucket, key, id)
	if err != nil {
		return PartInfo{}, err
	}
	if err := checkPartNumber(op, bucket, key, number); err != nil {
		return PartInfo{}, err
	}
	room, err := s.reservePart(b, c, upload.ID, number, o.Size)
	if err != nil {
		return PartInfo{}, storeError(op, bucket, key, err)
	}
	defer room.release()
	r, err := c.receive(ctx, body, o.Size)
	if err != nil {
		return PartInfo{}, storeError(op, bucket, key, err)
	}
	final, err := o.Finish(r.sums)
	if err != nil {
		c.forget(r)
		return PartInfo{}, storeError(op, bucket, key, bodyError{err})
	}
	part := meta.UploadPart{Number: number, Size: r.sums.Size, ETag: final.ETag, Attrs: joinAttrs(o.Attrs, final.Attrs)}
	err = s.putPart(ctx, op, b, key, c, upload.ID, &part, r, &room)
	c.settle(r, err)
	if err != nil {
		return PartInfo{}, err
	}
	return partInfo(&part), nil
}

func checkPartNumber(op, bucket, key string, number int) error {
	if number < 1 || number > MaxPartNumber {
		return &Error{Op: op, Bucket: bucket, Key: key, Kind: KindInvalidPart, Err: fmt.Errorf("part number %d is not in 1 to %d", number, MaxPartNumber)}
	}
	return nil
}

// putPart commits a part if its upload is still there. The caller keeps r, and what the part references, alive.
func (s *Store) putPart(ctx context.Context, op string, b *bucket, key string, c *cell, id meta.UploadID, part *meta.UploadPart, r *received, room *reservation) error {
	err := room.within(func() error { return s.tryPutPart(ctx, op, b, key, c, id, part, r, room) })
	return storeError(op, b.name, key, err)
}

func (s *Store) tryPutPart(ctx context.Context, op string, b *bucket, key string, c *cell, id meta.UploadID, part *meta.UploadPart, r *received, room *reservation) (err error) {
	if err := b.enter(op); err != nil {
		return err
	}
	defer b.leave()
	defer func() { room.done(err) }()
	defer c.uploads.shared(id)()
	settled, err := s.coverPart(ctx, b, c, id, part, room)
	if err != nil {
		return err
	}
	defer settled()
	base, err := c.enter()
	if err != nil {
		return err
	}
	defer base.leave()
	return s.putPartLocked(ctx, op, b.name, key, base, id, part, r)
}

// putPartLocked is putPart for a caller that holds the upload's gate and has entered b. The upload's gate comes before any key's lock.
func (s *Store) putPartLocked(ctx context.Context, op, bucket, key string, b *base, id meta.UploadID, part *meta.UploadPart, r *received) error {
	if _, found, err := b.index.GetUpload(id); err != nil {
		return storeError(op, bucket, key, err)
	} else if !found {
		return &Error{Op: op, Bucket: bucket, Key: key, Kind: KindNoSuchUpload}
	}
	part.Modified = s.now().UTC().Truncate(time.Millisecond)
	if err := b.commitPart(id, part, r); err != nil {
		return storeError(op, bucket, key, err)
	}
	return nil
}

// CompleteUpload makes the named parts the object, by one record and without touching their bytes. Parts not named are dropped.
func (s *Store) CompleteUpload(ctx context.Context, bucket, key, id string, o CompleteOptions) (ObjectInfo, error) {
	const op = "CompleteUpload"
	b, c, upload, err := s.findUpload(op, bucket, key, id)
	if err != nil {
		return ObjectInfo{}, err
	}
	fail := func(kind Kind, err error) (ObjectInfo, error) {
		return ObjectInfo{}, &Error{Op: op, Bucket: bucket, Key: key, Kind: kind, Err: err}
	}
	for i := 1; i < len(o.Parts); i++ { // Before anything else is said of the parts, as Amazon has it.
		if o.Parts[i].Number <= o.Parts[i-1].Number {
			return fail(KindInvalidPartOrder, fmt.Errorf("part %d after part %d", o.Parts[i].Number, o.Parts[i-1].Number))
		}
	}
	if len(o.Parts) == 0 {
		return fail(KindInvalidPart, errors.New("no part named"))
	}
	if err := b.enter(op); err != nil {
		return ObjectInfo{}, err
	}
	defer b.leave()
	defer c.uploads.exclusive(upload.ID)()
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
	object, infos, kind, err := s.assemble(base, &upload, o.Parts)
	if err != nil {
		if kind == KindInternal {
			return ObjectInfo{}, storeError(op, bucket, key, err)
		}
		return fail(kind, err)
	}
	final, err := o.Finish(infos, upload.Attrs)
	if err != nil {
		return fail(KindBody, err)
	}
	object.ETag = final.ETag
	object.Attrs = joinAttrs(upload.Attrs, final.Attrs)
	if err := checkAttrs(object.Attrs); err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	if err := base.check(b, key, o.Check); err != nil {
		return ObjectInfo{}, checkError(op, bucket, key, err)
	}
	object.Version = b.nextVersion(c)
	if err := s.lockNew(b, &object); err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	object.Modified = s.now().UTC().Truncate(time.Millisecond)
	look := s.look(b, changePut, key, &object, object.Modified)
	if err := base.commitAll(look, &meta.CompleteUpload{Upload: upload.ID, Bucket: b.id, Object: object}); err != nil {
		return ObjectInfo{}, storeError(op, bucket, key, err)
	}
	return b.infoOf(&object), nil
}

// assemble makes the object of the parts named. An error of KindInternal is one of the store, the others are the caller's.
func (s *Store) assemble(b *base, upload *meta.Upload, parts []CompletePart) (object meta.Object, infos []PartInfo, kind Kind, err error) {
	if _, found, err := b.index.GetUpload(upload.ID); err != nil {
		return object, nil, KindInternal, err
	} else if !found {
		return object, nil, KindNoSuchUpload, errors.New("it was completed or aborted meanwhile")
	}
	var small error // Said once every part is known to be there, as Amazon has it.
	object.Key = upload.Key
	object.Parts = make([]meta.Part, 0, min(len(parts), MaxPartNumber))
	for i, want := range parts {
		part, found, err := b.index.GetPart(upload.ID, want.Number)
		if err != nil {
			return object, nil, KindInternal, err
		}
		if !found || part.ETag != want.ETag {
			return object, nil, KindInvalidPart, fmt.Errorf("part %d", want.Number)
		}
		if part.Size < s.minPart && i < len(parts)-1 && small == nil {
			small = fmt.Errorf("part %d has %d bytes of at least %d", part.Number, part.Size, s.minPart)
		}
		if object.Size += part.Size; object.Size > MaxObjectLen {
			return object, nil, KindTooLarge, fmt.Errorf("more than %d bytes", int64(MaxObjectLen))
		}
		object.Blobs = append(object.Blobs, part.Blobs...)
		object.Parts = append(object.Parts, meta.Part{Number: part.Number, Size: part.Size, Attrs: part.Attrs})
		infos = append(infos, partInfo(&part))
	}
	if small != nil {
		return object, nil, KindPartTooSmall, small
	}
	return object, infos, KindInternal, nil
}

// AbortUpload drops an upload and its parts.
func (s *Store) AbortUpload(ctx context.Context, bucket, key, id string) error {
	const op = "AbortUpload"
	b, c, upload, err := s.findUpload(op, bucket, key, id)
	if err != nil {
		return err
	}
	c.awaitTight(ctx)
	if err := b.enter(op); err != nil {
		return err
	}
	defer b.leave()
	defer c.uploads.exclusive(upload.ID)()
	base, err := c.enter()
	if err != nil {
		return storeError(op, bucket, key, err)
	}
	defer base.leave()
	if _, found, err := base.index.GetUpload(upload.ID); err != nil {
		return storeError(op, bucket, key, err)
	} else if !found {
		return &Error{Op: op, Bucket: bucket, Key: key, Kind: KindNoSuchUpload}
	}
	if err := base.commit(&meta.AbortUpload{Upload: upload.ID}); err != nil {
		return storeError(op, bucket, key, err)
	}
	return nil
}

// abortAll drops every upload of a bucket whose gate the caller holds for writing.
func (c *cell) abortAll(ctx context.Context, bucket meta.BucketID) error {
	for {
		page, err := c.listUploads(bucket, meta.UploadListOptions{Max: MaxListEntries})
		if err != nil {
			return err
		}
		for i := range page.Uploads {
			id := page.Uploads[i].ID
			unlock := c.uploads.exclusive(id)
			err := c.commit(&meta.AbortUpload{Upload: id})
			unlock()
			if err != nil {
				return err
			}
		}
		if !page.Truncated {
			return nil
		}
	}
}

// ListParts returns the parts received so far with numbers above after.
func (s *Store) ListParts(_ context.Context, bucket, key, id string, after, max int) (PartPage, error) {
	const op = "ListParts"
	_, c, upload, err := s.findUpload(op, bucket, key, id)
	if err != nil {
		return PartPage{}, err
	}
	page := PartPage{Upload: uploadInfo(&upload)}
	if max <= 0 {
		return page, nil
	}
	base, err := c.enter()
	if err != nil {
		return PartPage{}, storeError(op, bucket, key, err)
	}
	defer base.leave()
	parts, more, err := base.index.ListParts(upload.ID, after, min(max, MaxListEntries))
	if err != nil {
		return PartPage{}, storeError(op, bucket, key, err)
	}
	// Had it ended before the parts were looked at, they would be gone, and the list of no parts a wrong answer.
	if _, found, err := base.index.GetUpload(upload.ID); err != nil || !found {
		if err != nil {
			return PartPage{}, storeError(op, bucket, key, err)
		}
		return PartPage{}, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindNoSuchUpload}
	}
	page.Truncated, page.Parts = more, make([]PartInfo, len(parts))
	for i := range parts {
		page.Parts[i] = partInfo(&parts[i])
		page.Next = parts[i].Number
	}
	return page, nil
}

func partInfo(p *meta.UploadPart) PartInfo {
	return PartInfo{Number: p.Number, Size: p.Size, ETag: p.ETag, Modified: p.Modified, Attrs: p.Attrs}
}

func uploadInfo(u *meta.Upload) UploadInfo {
	return UploadInfo{ID: formatUploadID(u.ID), Key: u.Key, Initiated: u.Initiated, Attrs: u.Attrs}
}
