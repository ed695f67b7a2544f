package meta

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Limits that the formats enforce.
const (
	MaxKeyLen  = 1024  // Bytes of a key.
	MaxNameLen = 255   // Bytes of a bucket's or a config value's name.
	MaxParts   = 10000 // Parts of an object, and the highest part number.
	minRefLen  = 3     // Bytes that a reference takes at least.
	minPartLen = 3     // Bytes that a part of an object takes at least.
)

// An object's body is the same in the record that puts it and in the index, so applying a put copies bytes.
// What listings show comes first; a listing never looks at the rest.
//
//	uvarint version, twice, and 1 more for a delete marker | time modified | uvarint size | str etag | attrs | refs | parts
//	refs:  uvarint count, then for each: varint blob id less the one before | uvarint offset | uvarint length
//	parts: uvarint count, then for each: uvarint number | uvarint size | attrs
//
// Reference lengths add up to the size, and so do those of parts where there are any. Part numbers ascend. A delete marker has neither,
// and never version 0: what is deleted in a bucket without versions is gone.

func appendObject(dst []byte, o *Object) []byte {
	// What cannot be parsed must never reach the journal: it would be there for ever, and stop every replay.
	if n := len(o.Key); n == 0 || n > MaxKeyLen {
		bug("object key of %d bytes", len(o.Key))
	}
	if refsLen(o.Blobs) != o.Size {
		bug("blobs of object %q add up to %d, not %d", o.Key, refsLen(o.Blobs), o.Size)
	}
	var partsLen int64
	dst = appendVersion(dst, o)
	dst = appendTime(dst, o.Modified)
	dst = binary.AppendUvarint(dst, uint64(o.Size))
	dst = appendStr(dst, o.ETag)
	dst = appendAttrs(dst, o.Attrs)
	dst = appendRefs(dst, o.Blobs)
	dst = binary.AppendUvarint(dst, uint64(len(o.Parts)))
	for i := range o.Parts {
		p := &o.Parts[i]
		if p.Number < 1 || p.Number > MaxParts || i > 0 && p.Number <= o.Parts[i-1].Number {
			bug("part %d of object %q", p.Number, o.Key)
		}
		partsLen += p.Size
		dst = binary.AppendUvarint(dst, uint64(p.Number))
		dst = binary.AppendUvarint(dst, uint64(p.Size))
		dst = appendAttrs(dst, p.Attrs)
	}
	if len(o.Parts) > 0 && partsLen != o.Size {
		bug("parts of object %q add up to %d, not %d", o.Key, partsLen, o.Size)
	}
	return dst
}

func appendVersion(dst []byte, o *Object) []byte {
	v := uint64(o.Version) << 1
	if o.Marker {
		v++
	}
	if o.Version > maxVersion || o.Marker && (o.Version == NullVersion || o.Size != 0 || len(o.Parts) > 0) {
		bug("version %#x of object %q, marker %v, %d bytes", uint64(o.Version), o.Key, o.Marker, o.Size)
	}
	return binary.AppendUvarint(dst, v)
}

func (r *reader) version() (v VersionID, marker bool) {
	u := r.uvarint()
	if u == 1 {
		r.fail()
	}
	return VersionID(u >> 1), u&1 != 0
}

// bug panics: only a bug of the caller makes a record that breaks the rules of its format.
func bug(format string, args ...any) { panic("meta: " + fmt.Sprintf(format, args...)) }

func refsLen(refs []BlobRef) (n int64) {
	for _, ref := range refs {
		if ref.Off < 0 || ref.Len <= 0 || ref.Off > math.MaxInt64-ref.Len {
			bug("reference %+v", ref)
		}
		n += ref.Len
	}
	return n
}

func appendRefs(dst []byte, refs []BlobRef) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(refs)))
	var last BlobID
	for _, ref := range refs {
		dst = binary.AppendVarint(dst, int64(ref.Blob-last))
		dst = binary.AppendUvarint(dst, uint64(ref.Off))
		dst = binary.AppendUvarint(dst, uint64(ref.Len))
		last = ref.Blob
	}
	return dst
}

// refs walks encoded references without allocating. It is a copyable cursor.
type refs struct {
	r    reader
	left int
	last BlobID
}

func (r *reader) refs() refs {
	n := r.count(minRefLen)
	return refs{r: *r, left: n}
}

// next returns the next reference; ok is false at the end and on malformed input, which leaves r.bad set.
func (c *refs) next() (ref BlobRef, ok bool) {
	if c.left == 0 {
		return BlobRef{}, false
	}
	c.left--
	c.last += BlobID(c.r.varint())
	ref = BlobRef{Blob: c.last, Off: c.r.size(), Len: c.r.size()}
	if ref.Len == 0 || ref.Off > math.MaxInt64-ref.Len {
		c.r.fail()
		return BlobRef{}, false
	}
	return ref, true
}

// skipRefs passes over references whose lengths must add up to size, and returns a cursor at the first.
func (r *reader) skipRefs(size int64) refs {
	start := r.refs()
	c := start
	for {
		ref, ok := c.next()
		if !ok {
			break
		}
		size -= ref.Len
		if size < 0 {
			c.r.fail()
		}
	}
	*r = c.r
	if size != 0 {
		r.fail()
	}
	return start
}

func (r *reader) refList(size int64) []BlobRef {
	c := r.skipRefs(size)
	if r.bad || c.left == 0 {
		return nil
	}
	list := make([]BlobRef, 0, c.left)
	for {
		ref, ok := c.next()
		if !ok {
			return list
		}
		list = append(list, ref)
	}
}

// objectHead is what applying a put needs to know of an object's body.
type objectHead struct {
	version VersionID
	marker  bool
	size    int64
	refs    refs
}

// skipObject passes over an object's body, checking all of it.
func (r *reader) skipObject() (h objectHead) {
	h.version, h.marker = r.version()
	r.varint()
	h.size = r.size()
	r.str()
	r.skipAttrs()
	h.refs = r.skipRefs(h.size)
	var last, sum int64
	n := r.count(minPartLen)
	for range n {
		number := r.size()
		if number <= last || number > MaxParts {
			r.fail()
		}
		last = number
		sum += r.size()
		if sum < 0 || sum > h.size {
			r.fail()
		}
		r.skipAttrs()
	}
	if n > 0 && sum != h.size || h.marker && (n > 0 || h.size > 0) {
		r.fail()
	}
	return h
}

// listing reads the fields that listings show into o, taking room for its attributes from pool.
func (r *reader) listing(o *Object, pool *[]Attr) {
	o.Version, o.Marker = r.version()
	o.Modified = r.time()
	o.Size = r.size()
	o.ETag = r.str()
	if n := r.count(2); n > 0 {
		p := *pool
		if cap(p)-len(p) < n {
			p = make([]Attr, 0, max(n, cap(p)))
		}
		start := len(p)
		p = r.attrsInto(p, n)
		o.Attrs = p[start:len(p):len(p)]
		*pool = p
	}
}

// object reads an object's body into o.
func (r *reader) object(o *Object) {
	var pool []Attr
	r.listing(o, &pool)
	o.Blobs = r.refList(o.Size)
	o.Parts = r.parts()
}

func (r *reader) parts() []Part {
	n := r.count(minPartLen)
	if n == 0 {
		return nil
	}
	parts := make([]Part, 0, n)
	for range n {
		parts = append(parts, Part{Number: int(r.size()), Size: r.size(), Attrs: r.attrs()})
	}
	return parts
}

// A received part's body:
//
//	uvarint number | time modified | uvarint size | str etag | attrs | refs

func appendUploadPart(dst []byte, p *UploadPart) []byte {
	if p.Number < 1 || p.Number > MaxParts {
		bug("part %d", p.Number)
	}
	if refsLen(p.Blobs) != p.Size {
		bug("blobs of part %d add up to %d, not %d", p.Number, refsLen(p.Blobs), p.Size)
	}
	dst = binary.AppendUvarint(dst, uint64(p.Number))
	dst = appendTime(dst, p.Modified)
	dst = binary.AppendUvarint(dst, uint64(p.Size))
	dst = appendStr(dst, p.ETag)
	dst = appendAttrs(dst, p.Attrs)
	return appendRefs(dst, p.Blobs)
}

func (r *reader) partNumber() int {
	n := r.uvarint()
	if n == 0 || n > MaxParts {
		r.fail()
	}
	return int(n)
}

// partHead is what applying a put needs to know of a part's body.
type partHead struct {
	number int
	size   int64
	refs   refs
}

func (r *reader) skipUploadPart() (h partHead) {
	h.number = r.partNumber()
	r.varint()
	h.size = r.size()
	r.str()
	r.skipAttrs()
	h.refs = r.skipRefs(h.size)
	return h
}

func (r *reader) uploadPart(p *UploadPart) {
	p.Number = r.partNumber()
	p.Modified = r.time()
	p.Size = r.size()
	p.ETag = r.str()
	p.Attrs = r.attrs()
	p.Blobs = r.refList(p.Size)
}

// A bucket's body, in its record and under its name in the index:
//
//	uvarint id | str name | time created | attrs

func appendBucket(dst []byte, b *Bucket) []byte {
	if n := len(b.Name); n == 0 || n > MaxNameLen {
		bug("bucket name of %d bytes", len(b.Name))
	}
	dst = binary.AppendUvarint(dst, uint64(b.ID))
	dst = appendStr(dst, b.Name)
	dst = appendTime(dst, b.Created)
	return appendAttrs(dst, b.Attrs)
}

func (r *reader) bucket() Bucket {
	return Bucket{ID: BucketID(r.uvarint()), Name: r.strMax(MaxNameLen), Created: r.time(), Attrs: r.attrs()}
}

// An upload's body, in its record and under its id in the index:
//
//	16 bytes id | uvarint bucket | str key | time initiated | attrs

func appendUpload(dst []byte, u *Upload) []byte {
	if n := len(u.Key); n == 0 || n > MaxKeyLen {
		bug("upload key of %d bytes", len(u.Key))
	}
	dst = append(dst, u.ID[:]...)
	dst = binary.AppendUvarint(dst, uint64(u.Bucket))
	dst = appendStr(dst, u.Key)
	dst = appendTime(dst, u.Initiated)
	return appendAttrs(dst, u.Attrs)
}

// uploadBucket reads the bucket from an upload's entry in the index.
func (r *reader) uploadBucket() BucketID {
	r.held()
	r.uploadID()
	return BucketID(r.uvarint())
}

func (r *reader) upload() Upload {
	return Upload{
		ID: r.uploadID(), Bucket: BucketID(r.uvarint()), Key: r.strMax(MaxKeyLen), Initiated: r.time(), Attrs: r.attrs(),
	}
}
