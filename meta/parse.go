package meta

import "fmt"

// open reads the two bytes every record begins with.
func openRecord(src []byte) (Kind, reader, error) {
	if len(src) < 2 {
		return 0, reader{}, fmt.Errorf("%w: record of %d bytes", ErrCorrupt, len(src))
	}
	k := Kind(src[0])
	if k == 0 || k >= endKinds {
		return k, reader{}, fmt.Errorf("%w: %v", ErrUnknownRecord, k)
	}
	if src[1] != recordVersion {
		return k, reader{}, fmt.Errorf("%w: %v of version %d", ErrUnknownRecord, k, src[1])
	}
	return k, view(src[2:]), nil
}

func malformed(k Kind) error { return fmt.Errorf("%w: malformed %v record", ErrCorrupt, k) }

// Parse parses a record. Strings and inline bytes of the result share memory with src.
func Parse(src []byte) (Record, error) {
	k, r, err := openRecord(src)
	if err != nil {
		return nil, err
	}
	var rec Record
	switch k {
	case KindPutBucket:
		rec = &PutBucket{r.bucket()}
	case KindDeleteBucket:
		rec = &DeleteBucket{BucketID(r.uvarint())}
	case KindPutBlobs, KindPutObject, KindPutPart, KindCompleteUpload, KindRelocate:
		var p put
		if err := p.parse(src); err != nil {
			return nil, err
		}
		return p.record(src), nil
	case KindDeleteObject:
		rec = r.deleteObject()
	case KindCreateUpload:
		rec = &CreateUpload{r.upload()}
	case KindAbortUpload:
		rec = &AbortUpload{r.uploadID()}
	case KindDropBlobs:
		rec = &DropBlobs{readIDs[BlobID](&r)}
	case KindConfig:
		rec = &Config{Name: r.strMax(MaxNameLen), Value: r.str()}
	case KindMissing:
		rec = r.missing()
	case KindLook:
		rec = r.look()
	case KindJournalStart:
		rec = &JournalStart{r.journalVolumes()}
	case KindJournalFreed:
		rec = &JournalFreed{readIDs[VolumeID](&r)}
	}
	if !r.done() {
		return nil, malformed(k)
	}
	return rec, nil
}

// InlineOff returns where in an encoded record its inline bytes begin, so that their place on the drive can be told;
// ok is false for a record without inline bytes.
func InlineOff(src []byte) (off int, ok bool, err error) {
	var p put
	switch k, _, err := openRecord(src); {
	case err != nil:
		return 0, false, err
	case k != KindPutObject && k != KindPutPart && k != KindPutBlobs:
		return 0, false, nil
	}
	if err := p.parse(src); err != nil {
		return 0, false, err
	}
	return len(src) - p.inline.len, p.inline.len > 0, nil
}

func (r *reader) deleteObject() *DeleteObject {
	return &DeleteObject{Bucket: BucketID(r.uvarint()), Key: r.strMax(MaxKeyLen), Version: VersionID(r.size())}
}

func readIDs[T ~uint64](r *reader) []T {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	ids := make([]T, n)
	for i := range ids {
		ids[i] = T(r.uvarint())
	}
	return ids
}

func (r *reader) journalVolumes() []JournalVolume {
	n := r.count(4)
	if n == 0 {
		return nil
	}
	volumes := make([]JournalVolume, n)
	for i := range volumes {
		volumes[i] = JournalVolume{
			ID: VolumeID(r.uvarint()), LastBatch: r.uvarint(), End: r.size(), EndLSN: LSN(r.uvarint()),
		}
	}
	return volumes
}

// put is a record that puts entities with blobs (blobs, an object, a part, a completed upload) or moves blobs, taken apart
// as far as the index needs and no further. Its strings share memory with the record.
type put struct {
	kind   Kind
	upload UploadID
	bucket BucketID
	key    string
	body   string     // Object or part body; its head is below.
	object objectHead // Of an object.
	part   partHead   // Of a part.
	blobs  []putBlob
	inline putInline
	share  int64 // Bytes of the record that are the object's or part's own: all that no blob accounts for, framing included.
}

// putBlob is a bulk blob within a record.
type putBlob struct {
	id    BlobID
	body  string
	size  int64
	share int64 // Bytes that name it in the record.
}

// putInline is the inline blob of a record; its len is 0 when there is none.
type putInline struct {
	id    BlobID
	sum   uint64
	len   int
	share int64 // Its bytes and those that describe them.
}

// parse takes src apart into p, checking all of it. It reuses p's memory.
func (p *put) parse(src []byte) error {
	k, r, err := openRecord(src)
	if err != nil {
		return err
	}
	*p = put{kind: k, blobs: p.blobs[:0]}
	switch k {
	case KindPutBlobs, KindRelocate:
	case KindPutObject:
		p.parseObject(&r)
	case KindCompleteUpload:
		p.upload = r.uploadID()
		p.parseObject(&r)
	case KindPutPart:
		p.upload = r.uploadID()
		from := r.s
		p.part = r.skipUploadPart()
		p.body = from[:len(from)-len(r.s)]
	}
	p.share = int64(FramedLen(len(src)))
	if k != KindCompleteUpload {
		p.parseBlobs(&r)
	}
	if k != KindCompleteUpload && k != KindRelocate {
		p.parseInline(&r)
	}
	if !r.done() {
		return malformed(k)
	}
	return nil
}

func (p *put) parseObject(r *reader) {
	p.bucket = BucketID(r.uvarint())
	p.key = r.strMax(MaxKeyLen)
	from := r.s
	p.object = r.skipObject()
	p.body = from[:len(from)-len(r.s)]
}

func (p *put) parseBlobs(r *reader) {
	for range r.count(1 + minBlobLen) {
		from := len(r.s)
		b := putBlob{id: BlobID(r.uvarint())}
		body := r.s
		b.size = r.skipBulkBlob()
		b.body = body[:len(body)-len(r.s)]
		b.share = int64(from - len(r.s))
		p.share -= b.share
		p.blobs = append(p.blobs, b)
	}
}

func (p *put) parseInline(r *reader) {
	switch r.byte() {
	case 0:
	case 1:
		from := len(r.s)
		p.inline.id = BlobID(r.uvarint())
		p.inline.sum = r.u64()
		n := r.uvarint()
		if n == 0 || n != uint64(len(r.s)) {
			r.fail()
			return
		}
		p.inline.len = len(r.s)
		r.s = ""
		p.inline.share = int64(from)
		p.share -= p.inline.share
	default:
		r.fail()
	}
}

// record decodes p in full; src is what it was parsed from.
func (p *put) record(src []byte) Record {
	var blobs []Blob
	for _, b := range p.blobs {
		blob := Blob{ID: b.id}
		r := reader{s: b.body}
		r.blob(&blob)
		blobs = append(blobs, blob)
	}
	var inline *Inline
	if p.inline.len > 0 {
		inline = &Inline{ID: p.inline.id, Sum: p.inline.sum, Data: src[len(src)-p.inline.len:]}
	}
	r := reader{s: p.body}
	switch p.kind {
	case KindPutBlobs:
		return &PutBlobs{blobs, inline}
	case KindRelocate:
		return &Relocate{blobs}
	case KindPutPart:
		rec := &PutPart{Upload: p.upload, Blobs: blobs, Inline: inline}
		r.uploadPart(&rec.Part)
		return rec
	case KindCompleteUpload:
		rec := &CompleteUpload{Upload: p.upload, Bucket: p.bucket, Object: Object{Key: p.key}}
		r.object(&rec.Object)
		return rec
	default:
		rec := &PutObject{Bucket: p.bucket, Object: Object{Key: p.key}, Blobs: blobs, Inline: inline}
		r.object(&rec.Object)
		return rec
	}
}
