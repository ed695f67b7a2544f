package meta

import (
	"encoding/binary"
	"fmt"
)

// Kind tells records apart.
type Kind uint8

// The kinds of record. Numbers are on drives for ever: append only.
const (
	KindPutBucket Kind = iota + 1
	KindDeleteBucket
	KindPutBlobs
	KindPutObject
	KindDeleteObject
	KindCreateUpload
	KindPutPart
	KindAbortUpload
	KindCompleteUpload
	KindDropBlobs
	KindConfig
	KindJournalStart
	KindJournalFreed
	KindRelocate
	KindMissing
	KindLook
	endKinds
)

var kindNames = [endKinds]string{
	"unknown", "put bucket", "delete bucket", "put blobs", "put object", "delete object", "create upload", "put part",
	"abort upload", "complete upload", "drop blobs", "config", "journal start", "journal freed", "relocate", "missing", "look",
}

func (k Kind) String() string {
	if k < endKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// recordVersion is the format version of every kind of record so far.
const recordVersion = 1

// Record is one change to the store, as the journal keeps it. Every record begins with its kind and format version:
//
//	u8 kind | u8 version | …
//
// and what follows is drawn at each type.
type Record interface {
	Kind() Kind
	// AppendTo appends the record's encoding.
	AppendTo(dst []byte) []byte
}

// PutBucket creates a bucket or changes its attributes. An id keeps its name for ever.
//
//	bucket body
type PutBucket struct{ Bucket Bucket }

// DeleteBucket removes a bucket that holds neither objects nor uploads.
//
//	uvarint bucket
type DeleteBucket struct{ ID BucketID }

// PutBlobs makes blobs known that nothing references so far. Relocated, it carries the blobs along that outlived
// what they were put with: a relocated record must not name anything that has gone, as a rebuild might bring it back
// once the tombstone has been freed.
//
//	blobs | inline
//	blobs: uvarint count, then for each: uvarint blob | blob body
type PutBlobs struct {
	Blobs  []Blob
	Inline *Inline
}

// Inline is a blob whose bytes are in the record that puts it.
type Inline struct {
	ID   BlobID
	Sum  uint64 // CRC64NVME of Data.
	Data []byte // At least one byte.
}

// PutObject puts an object version. It may bring blobs along: in bulk volumes, and one inside the record.
//
//	uvarint bucket | str key | object body | blobs | inline
//	inline: u8 0, or u8 1 | uvarint blob | u64 CRC64NVME | uvarint length | bytes to the end of the record
type PutObject struct {
	Bucket BucketID
	Object Object // Its LSN is not in the record: it is the record's own.
	Blobs  []Blob
	Inline *Inline
}

// DeleteObject removes an object version, a delete marker perhaps; with an even one the null version. It is a tombstone.
//
//	uvarint bucket | str key | uvarint version
type DeleteObject struct {
	Bucket  BucketID
	Key     string
	Version VersionID
}

// CreateUpload begins a multipart upload.
//
//	upload body
type CreateUpload struct{ Upload Upload }

// PutPart puts a part of an upload, replacing an earlier one of its number. It may bring blobs along like PutObject.
//
//	16 bytes upload | part body | blobs | inline
type PutPart struct {
	Upload UploadID
	Part   UploadPart
	Blobs  []Blob
	Inline *Inline
}

// AbortUpload removes an upload and its parts. It is a tombstone.
//
//	16 bytes upload
type AbortUpload struct{ Upload UploadID }

// CompleteUpload puts the object that an upload's parts make up, and removes the upload and all parts.
// It is a tombstone of the upload as well.
//
//	16 bytes upload | uvarint bucket | str key | object body
type CompleteUpload struct {
	Upload UploadID
	Bucket BucketID
	Object Object
}

// DropBlobs removes those of the named blobs that nothing references. A rebuild drops such blobs
// anyway, so unlike other removals it is no tombstone.
//
//	uvarint count | uvarint blob …
type DropBlobs struct{ IDs []BlobID }

// Config sets a named value, or removes it when Value is empty; removing is a tombstone.
//
//	str name | str value
type Config struct{ Name, Value string }

// JournalVolume is a journal volume that is still needed, and where it ends.
type JournalVolume struct {
	ID        VolumeID
	LastBatch uint64 // Number of its last batch.
	End       int64  // Offset after that batch.
	EndLSN    LSN    // Last LSN in it.
}

// JournalStart opens a journal volume. It lists every other journal volume still needed. The newest one holds.
//
//	uvarint count, then for each: uvarint volume | uvarint last batch | uvarint end | uvarint end LSN
type JournalStart struct{ Volumes []JournalVolume }

// Relocate says where the bytes of blobs are now that compaction has written them again. It names all extents of each blob, those that
// stayed included, so the newest record of a blob is all it takes to find it. It brings no blob back: one that has gone stays gone.
//
//	blobs
type Relocate struct{ Blobs []Blob }

// JournalFreed says that volumes without live bytes are gone; their tombstones are forgotten.
//
//	uvarint count | uvarint volume …
type JournalFreed struct{ Volumes []VolumeID }

func (*PutBucket) Kind() Kind      { return KindPutBucket }
func (*DeleteBucket) Kind() Kind   { return KindDeleteBucket }
func (*PutBlobs) Kind() Kind       { return KindPutBlobs }
func (*PutObject) Kind() Kind      { return KindPutObject }
func (*DeleteObject) Kind() Kind   { return KindDeleteObject }
func (*CreateUpload) Kind() Kind   { return KindCreateUpload }
func (*PutPart) Kind() Kind        { return KindPutPart }
func (*AbortUpload) Kind() Kind    { return KindAbortUpload }
func (*CompleteUpload) Kind() Kind { return KindCompleteUpload }
func (*DropBlobs) Kind() Kind      { return KindDropBlobs }
func (*Config) Kind() Kind         { return KindConfig }
func (*JournalStart) Kind() Kind   { return KindJournalStart }
func (*JournalFreed) Kind() Kind   { return KindJournalFreed }
func (*Relocate) Kind() Kind       { return KindRelocate }

// FramedLen returns what a record of n bytes takes in a journal: 16 bytes of framing, and padding to a multiple of 8. The journal
// package draws both. The index counts space in framed bytes, lest small records look smaller than they are.
func FramedLen(n int) int { return frameLen + (n+frameAlign-1)&^(frameAlign-1) }

const (
	frameLen   = 16
	frameAlign = 8
)

func begin(dst []byte, k Kind) []byte { return append(dst, byte(k), recordVersion) }

func (r *PutBucket) AppendTo(dst []byte) []byte {
	return appendBucket(begin(dst, KindPutBucket), &r.Bucket)
}

func (r *DeleteBucket) AppendTo(dst []byte) []byte {
	return binary.AppendUvarint(begin(dst, KindDeleteBucket), uint64(r.ID))
}

func (r *PutBlobs) AppendTo(dst []byte) []byte {
	inlineLen := 0
	if r.Inline != nil {
		inlineLen = len(r.Inline.Data)
	}
	dst = appendInline(appendBlobs(begin(dst, KindPutBlobs), r.Blobs), r.Inline, inlineLen)
	if r.Inline != nil {
		dst = append(dst, r.Inline.Data...)
	}
	return dst
}

// AppendTo appends the record, inline bytes included.
func (r *PutObject) AppendTo(dst []byte) []byte {
	if r.Inline == nil {
		return r.AppendHeader(dst, 0)
	}
	return append(r.AppendHeader(dst, len(r.Inline.Data)), r.Inline.Data...)
}

// AppendHeader appends all of the record but its inline bytes, of which inlineLen must follow. It serves
// callers that have the bytes where they will be written from.
func (r *PutObject) AppendHeader(dst []byte, inlineLen int) []byte {
	dst = begin(dst, KindPutObject)
	dst = binary.AppendUvarint(dst, uint64(r.Bucket))
	dst = appendStr(dst, r.Object.Key)
	dst = appendObject(dst, &r.Object)
	dst = appendBlobs(dst, r.Blobs)
	return appendInline(dst, r.Inline, inlineLen)
}

func (r *DeleteObject) AppendTo(dst []byte) []byte {
	dst = begin(dst, KindDeleteObject)
	if n := len(r.Key); n == 0 || n > MaxKeyLen {
		bug("object key of %d bytes", len(r.Key))
	}
	if r.Version > maxVersion {
		bug("version %#x of object %q", uint64(r.Version), r.Key)
	}
	dst = binary.AppendUvarint(dst, uint64(r.Bucket))
	dst = appendStr(dst, r.Key)
	return binary.AppendUvarint(dst, uint64(r.Version))
}

func (r *CreateUpload) AppendTo(dst []byte) []byte {
	return appendUpload(begin(dst, KindCreateUpload), &r.Upload)
}

// AppendTo appends the record, inline bytes included.
func (r *PutPart) AppendTo(dst []byte) []byte {
	if r.Inline == nil {
		return r.AppendHeader(dst, 0)
	}
	return append(r.AppendHeader(dst, len(r.Inline.Data)), r.Inline.Data...)
}

// AppendHeader is like that of PutObject.
func (r *PutPart) AppendHeader(dst []byte, inlineLen int) []byte {
	dst = begin(dst, KindPutPart)
	dst = append(dst, r.Upload[:]...)
	dst = appendUploadPart(dst, &r.Part)
	dst = appendBlobs(dst, r.Blobs)
	return appendInline(dst, r.Inline, inlineLen)
}

func (r *AbortUpload) AppendTo(dst []byte) []byte {
	return append(begin(dst, KindAbortUpload), r.Upload[:]...)
}

func (r *CompleteUpload) AppendTo(dst []byte) []byte {
	dst = begin(dst, KindCompleteUpload)
	dst = append(dst, r.Upload[:]...)
	dst = binary.AppendUvarint(dst, uint64(r.Bucket))
	dst = appendStr(dst, r.Object.Key)
	return appendObject(dst, &r.Object)
}

func (r *DropBlobs) AppendTo(dst []byte) []byte { return appendIDs(begin(dst, KindDropBlobs), r.IDs) }

func (r *Config) AppendTo(dst []byte) []byte {
	if n := len(r.Name); n == 0 || n > MaxNameLen {
		bug("config name of %d bytes", len(r.Name))
	}
	return appendStr(appendStr(begin(dst, KindConfig), r.Name), r.Value)
}

func (r *JournalStart) AppendTo(dst []byte) []byte {
	return appendJournalVolumes(begin(dst, KindJournalStart), r.Volumes)
}

func (r *Relocate) AppendTo(dst []byte) []byte { return appendBlobs(begin(dst, KindRelocate), r.Blobs) }

func (r *JournalFreed) AppendTo(dst []byte) []byte {
	return appendIDs(begin(dst, KindJournalFreed), r.Volumes)
}

func appendBlobs(dst []byte, blobs []Blob) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(blobs)))
	for i := range blobs {
		var sum int64
		for _, e := range blobs[i].Extents {
			if e.Inline || e.Len <= 0 || e.Off < 0 {
				bug("extent %+v of blob %#x", e, uint64(blobs[i].ID))
			}
			sum += e.Len
		}
		if sum == 0 || sum != blobs[i].Size {
			bug("extents of blob %#x add up to %d, not %d", uint64(blobs[i].ID), sum, blobs[i].Size)
		}
		dst = binary.AppendUvarint(dst, uint64(blobs[i].ID))
		dst = appendBlob(dst, blobs[i].Size, blobs[i].Extents)
	}
	return dst
}

func appendInline(dst []byte, in *Inline, inlineLen int) []byte {
	if in == nil {
		return append(dst, 0)
	}
	if inlineLen <= 0 {
		bug("inline blob %#x is empty", uint64(in.ID))
	}
	dst = append(dst, 1)
	dst = binary.AppendUvarint(dst, uint64(in.ID))
	dst = binary.LittleEndian.AppendUint64(dst, in.Sum)
	return binary.AppendUvarint(dst, uint64(inlineLen))
}

func appendIDs[T ~uint64](dst []byte, ids []T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return dst
}

func appendJournalVolumes(dst []byte, volumes []JournalVolume) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(volumes)))
	for _, v := range volumes {
		dst = binary.AppendUvarint(dst, uint64(v.ID))
		dst = binary.AppendUvarint(dst, v.LastBatch)
		dst = binary.AppendUvarint(dst, uint64(v.End))
		dst = binary.AppendUvarint(dst, uint64(v.EndLSN))
	}
	return dst
}
