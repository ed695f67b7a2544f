package engine

import (
	"context"
	"errors"
	"io"

	"penstock/erasure"
	"penstock/meta"
)

// copyTries bounds how often a copy starts over because its source was replaced under it.
const copyTries = 3

var errSourceChanged = errors.New("the source kept changing")

// Copy makes a key reference the bytes of a version of another. Within a cell no byte moves; between cells they are written again.
func (s *Store) Copy(ctx context.Context, srcBucket, srcKey string, version VersionID, bucket, key string, o CopyOptions) (ObjectInfo, error) {
	const op = "Copy"
	src, err := s.bucketOf(op, srcBucket)
	if err != nil {
		return ObjectInfo{}, err
	}
	dst, err := s.bucketOf(op, bucket)
	if err != nil {
		return ObjectInfo{}, err
	}
	if err := checkKey(op, dst, key); err != nil {
		return ObjectInfo{}, err
	}
	from, to := s.cellOf(src, srcKey), s.cellOf(dst, key)
	for range copyTries {
		object, done, err := s.tryCopy(ctx, from, src, srcKey, version, to, dst, key, o)
		if err != nil {
			return ObjectInfo{}, err
		}
		if done {
			return dst.infoOf(object), nil
		}
	}
	return ObjectInfo{}, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindConflict, Err: errSourceChanged}
}

// tryCopy copies the source as it is now. done is false if it changed before the copy could be ordered after it.
func (s *Store) tryCopy(ctx context.Context, from *cell, src *bucket, srcKey string, version VersionID, to *cell, dst *bucket, key string, o CopyOptions) (_ *meta.Object, done bool, err error) {
	const op = "Copy"
	source, err := from.object(op, src, srcKey, version)
	if err != nil {
		return nil, false, err
	}
	info := src.infoOf(&source)
	final, err := o.Source(&info)
	if err != nil {
		return nil, false, &Error{Op: op, Bucket: src.name, Key: srcKey, Kind: KindPrecondition, Err: err}
	}
	object := &meta.Object{
		Key: key, Size: source.Size, ETag: final.ETag, Attrs: final.Attrs,
		Blobs: source.Blobs, Parts: source.Parts,
	}
	if from != to {
		return s.copyBytes(ctx, from, src, srcKey, version, source.LSN, to, dst, object, o)
	}
	room, err := s.reserveObject(dst, to, key, source.Size)
	if err != nil {
		return nil, false, storeError(op, dst.name, key, err)
	}
	defer room.release()
	if o.Rehash != nil {
		sums, err := from.rehash(ctx, src, srcKey, version, source.LSN, o.Rehash, 0, -1)
		if err == errSourceChanged {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, storeError(op, src.name, srcKey, err)
		}
		more, err := o.Finish(sums)
		if err != nil {
			return nil, false, &Error{Op: op, Bucket: dst.name, Key: key, Kind: KindBody, Err: err}
		}
		object.Attrs = joinAttrs(object.Attrs, more.Attrs)
		if more.ETag != "" {
			object.ETag = more.ETag
		}
	}
	err = room.within(func() (err error) {
		done, err = s.commitCopy(ctx, src, srcKey, version, source.LSN, to, dst, object, o.Check, &room)
		return err
	})
	return object, done, storeError(op, dst.name, key, err)
}

// commitCopy puts an object that references the blobs of another one, if that is still as the record of that LSN put it.
func (s *Store) commitCopy(ctx context.Context, src *bucket, srcKey string, version VersionID, lsn meta.LSN, to *cell, dst *bucket, object *meta.Object, check Check, room *reservation) (done bool, err error) {
	const op = "Copy"
	if err := dst.enter(op); err != nil {
		return false, err
	}
	defer dst.leave()
	defer func() { room.done(err) }()
	// The source's lock keeps its blobs referenced until the copy references them too.
	unlock, err := to.locks.lockBoth(ctx, lockName(src.id, srcKey), lockName(dst.id, object.Key))
	if err != nil {
		return false, err
	}
	defer unlock()
	b, err := to.enter()
	if err != nil {
		return false, err
	}
	defer b.leave()
	if same, err := b.stillThere(src, srcKey, version, lsn); err != nil || !same {
		return false, storeError(op, src.name, srcKey, err)
	}
	if err := s.commitLocked(ctx, op, b, dst, object, check, nil, room); err != nil {
		return false, err
	}
	return true, nil
}

// stillThere reports whether a key's version is as the record of that LSN put it. The caller has entered b and holds the key's lock.
func (b *base) stillThere(bucket *bucket, key string, version VersionID, lsn meta.LSN) (bool, error) {
	object, found, err := b.index.GetObjectHead(bucket.id, key, version)
	return found && object.LSN == lsn, err
}

// object looks a version of a key up.
func (c *cell) object(op string, b *bucket, key string, version VersionID) (meta.Object, error) {
	base, err := c.enter()
	if err != nil {
		return meta.Object{}, storeError(op, b.name, key, err)
	}
	defer base.leave()
	return b.lookup(op, base, key, version)
}

// copyBytes writes the source's bytes again in another cell.
func (s *Store) copyBytes(ctx context.Context, from *cell, src *bucket, srcKey string, version VersionID, lsn meta.LSN, to *cell, dst *bucket, object *meta.Object, o CopyOptions) (*meta.Object, bool, error) {
	const op = "Copy"
	room, err := s.reserveObject(dst, to, object.Key, object.Size)
	if err != nil {
		return nil, false, storeError(op, dst.name, object.Key, err)
	}
	defer room.release()
	r, err := from.transfer(ctx, src, srcKey, version, lsn, to, 0, object.Size, o.Rehash)
	if err == errSourceChanged {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, storeError(op, src.name, srcKey, err)
	}
	if o.Rehash != nil {
		more, err := o.Finish(r.sums)
		if err != nil {
			to.forget(r)
			return nil, false, &Error{Op: op, Bucket: dst.name, Key: object.Key, Kind: KindBody, Err: err}
		}
		object.Attrs = joinAttrs(object.Attrs, more.Attrs)
		if more.ETag != "" {
			object.ETag = more.ETag
		}
	}
	object.Blobs = nil
	if err := s.putObject(ctx, op, dst, to, object, o.Check, r, &room); err != nil {
		return nil, false, err
	}
	return object, true, nil
}

// transfer reads a range of an object of this cell, which must still be as the record of that LSN put it, into another cell.
func (c *cell) transfer(ctx context.Context, src *bucket, key string, version VersionID, lsn meta.LSN, to *cell, off, n int64, hash io.Writer) (*received, error) {
	h, err := c.openSame(src, key, version, lsn)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	body, err := h.Body(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var reader io.Reader = body
	if hash != nil {
		reader = io.TeeReader(body, hash)
	}
	return to.receive(ctx, reader, n)
}

// openSame opens a version as the record of that LSN put it, or says that the source changed.
func (c *cell) openSame(b *bucket, key string, version VersionID, lsn meta.LSN) (*handle, error) {
	h, err := c.open("Open", b, key, version)
	if err != nil {
		switch KindOf(err) {
		case KindNoSuchObject, KindNoSuchVersion, KindDeleteMarker:
			return nil, errSourceChanged
		}
		return nil, err
	}
	if h.lsn != lsn {
		h.Close()
		return nil, errSourceChanged
	}
	return h, nil
}

// rehash feeds a range of the object, which must still be as the record of that LSN put it, to w. n -1 means to the end.
func (c *cell) rehash(ctx context.Context, b *bucket, key string, version VersionID, lsn meta.LSN, w io.Writer, off, n int64) (Sums, error) {
	h, err := c.openSame(b, key, version, lsn)
	if err != nil {
		return Sums{}, err
	}
	defer h.Close()
	if n < 0 {
		n = h.info.Size - off
	}
	body, err := h.Body(ctx, off, n)
	if err != nil {
		return Sums{}, err
	}
	defer body.Close()
	sum := &summer{w: w}
	if _, err := body.WriteTo(sum); err != nil {
		return Sums{}, err
	}
	return Sums{Size: n, CRC64NVME: sum.crc, HasCRC: true}, nil
}

// summer passes bytes on and keeps their checksum.
type summer struct {
	w   io.Writer
	crc uint64
}

func (s *summer) Write(p []byte) (int, error) {
	s.crc = erasure.Update(s.crc, p)
	return s.w.Write(p)
}

// CopyPart makes a range of an object a part of an upload. Within a cell no byte moves.
func (s *Store) CopyPart(ctx context.Context, srcBucket, srcKey string, version VersionID, bucket, key, id string, number int, o CopyPartOptions) (PartInfo, error) {
	const op = "CopyPart"
	src, err := s.bucketOf(op, srcBucket)
	if err != nil {
		return PartInfo{}, err
	}
	dst, to, upload, err := s.findUpload(op, bucket, key, id)
	if err != nil {
		return PartInfo{}, err
	}
	if err := checkPartNumber(op, bucket, key, number); err != nil {
		return PartInfo{}, err
	}
	from := s.cellOf(src, srcKey)
	for range copyTries {
		part, done, err := s.tryCopyPart(ctx, from, src, srcKey, version, to, dst, key, upload.ID, number, o)
		if err != nil {
			return PartInfo{}, err
		}
		if done {
			return partInfo(part), nil
		}
	}
	return PartInfo{}, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindConflict, Err: errSourceChanged}
}

func (s *Store) tryCopyPart(ctx context.Context, from *cell, src *bucket, srcKey string, version VersionID, to *cell, dst *bucket, key string, id meta.UploadID, number int, o CopyPartOptions) (_ *meta.UploadPart, done bool, err error) {
	const op = "CopyPart"
	bucket := dst.name
	source, err := from.object(op, src, srcKey, version)
	if err != nil {
		return nil, false, err
	}
	info := src.infoOf(&source)
	if err := o.Source(&info); err != nil {
		return nil, false, &Error{Op: op, Bucket: src.name, Key: srcKey, Kind: KindPrecondition, Err: err}
	}
	n := o.Len
	if n < 0 {
		n = source.Size - o.Off
	}
	if o.Off < 0 || n < 0 || o.Off > source.Size-n {
		return nil, false, &Error{Op: op, Bucket: src.name, Key: srcKey, Kind: KindInvalidRange, Err: errRange}
	}
	if n > MaxPutLen {
		return nil, false, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindTooLarge, Err: errTooLarge}
	}
	room, err := s.reservePart(dst, to, id, number, n)
	if err != nil {
		return nil, false, storeError(op, bucket, key, err)
	}
	defer room.release()
	finish := func(sums Sums) (*meta.UploadPart, error) {
		final, err := o.Finish(sums)
		if err != nil {
			return nil, &Error{Op: op, Bucket: bucket, Key: key, Kind: KindBody, Err: err}
		}
		return &meta.UploadPart{Number: number, Size: n, ETag: final.ETag, Attrs: final.Attrs}, nil
	}
	if from != to {
		r, err := from.transfer(ctx, src, srcKey, version, source.LSN, to, o.Off, n, o.Hash)
		if err == errSourceChanged {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, storeError(op, src.name, srcKey, err)
		}
		part, err := finish(r.sums)
		if err == nil {
			err = s.putPart(ctx, op, dst, key, to, id, part, r, &room)
		}
		to.settle(r, err)
		return part, err == nil, err
	}
	refs := sliceRefs(source.Blobs, o.Off, n)
	sums := Sums{Size: n}
	if o.Hash != nil {
		sums, err = from.rehash(ctx, src, srcKey, version, source.LSN, o.Hash, o.Off, n)
		if err == errSourceChanged {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, storeError(op, src.name, srcKey, err)
		}
	} else if crc, ok := from.refsSum(refs); ok {
		sums.CRC64NVME, sums.HasCRC = crc, true
	}
	part, err := finish(sums)
	if err != nil {
		return nil, false, err
	}
	part.Blobs = refs
	err = room.within(func() (err error) {
		done, err = s.commitPartCopy(ctx, src, srcKey, version, source.LSN, to, dst, key, id, part, &room)
		return err
	})
	return part, done, storeError(op, bucket, key, err)
}

// commitPartCopy puts a part that references blobs of an object, if that is still as the record of that LSN put it. Both are in cell to.
func (s *Store) commitPartCopy(ctx context.Context, src *bucket, srcKey string, version VersionID, lsn meta.LSN, to *cell, dst *bucket, key string, id meta.UploadID, part *meta.UploadPart, room *reservation) (done bool, err error) {
	const op = "CopyPart"
	if err := dst.enter(op); err != nil {
		return false, err
	}
	defer dst.leave()
	defer func() { room.done(err) }()
	defer to.uploads.shared(id)()
	settled, err := s.coverPart(ctx, dst, to, id, part, room)
	if err != nil {
		return false, err
	}
	defer settled()
	unlock, err := to.locks.lock(ctx, lockName(src.id, srcKey))
	if err != nil {
		return false, err
	}
	defer unlock()
	b, err := to.enter()
	if err != nil {
		return false, err
	}
	defer b.leave()
	if same, err := b.stillThere(src, srcKey, version, lsn); err != nil || !same {
		return false, storeError(op, src.name, srcKey, err)
	}
	if err := s.putPartLocked(ctx, op, dst.name, key, b, id, part, nil); err != nil {
		return false, err
	}
	return true, nil
}

// sliceRefs returns the references that make up bytes [off, off+n) of those given.
func sliceRefs(refs []meta.BlobRef, off, n int64) []meta.BlobRef {
	var out []meta.BlobRef
	for _, ref := range refs {
		if n == 0 {
			break
		}
		if off >= ref.Len {
			off -= ref.Len
			continue
		}
		take := min(ref.Len-off, n)
		out = append(out, meta.BlobRef{Blob: ref.Blob, Off: ref.Off + off, Len: take})
		off = 0
		n -= take
	}
	return out
}

// refsSum composes the checksum of a run of bytes from what the index has, without reading them. That works where the run begins and
// ends at units, as the parts of most copies do.
func (c *cell) refsSum(refs []meta.BlobRef) (sum uint64, ok bool) {
	b, err := c.enter()
	if err != nil {
		return 0, false
	}
	defer b.leave()
	for _, ref := range refs {
		blob, found, err := b.index.GetBlob(ref.Blob)
		if err != nil || !found {
			return 0, false
		}
		off, left := ref.Off, ref.Len
		for _, ext := range blob.Extents {
			if left == 0 {
				break
			}
			if off >= ext.Len {
				off -= ext.Len
				continue
			}
			n := min(ext.Len-off, left)
			crc, ok := c.extentRangeSum(ext, off, n)
			if !ok {
				return 0, false
			}
			sum = erasure.Combine(sum, crc, n)
			off, left = 0, left-n
		}
	}
	return sum, true
}

// extentRangeSum is the checksum of bytes [off, off+n) of an extent, if units begin and end there.
func (c *cell) extentRangeSum(ext meta.Extent, off, n int64) (sum uint64, ok bool) {
	if ext.Inline {
		return ext.Sum, off == 0 && n == ext.Len
	}
	vol := c.set.Get(ext.Volume)
	if vol == nil {
		return 0, false
	}
	layout := erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len}
	for u := range layout.Units(off, n) {
		if u.ObjectOff < off || u.ObjectOff+int64(u.DataLen) > off+n {
			return 0, false
		}
		sum = erasure.Combine(sum, ext.Units[u.Index], int64(u.DataLen))
	}
	return sum, true
}
