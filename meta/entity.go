package meta

import "time"

// BucketID, BlobID and VolumeID are never reused: epoch in the upper half, a sequence in the lower.
type (
	BucketID uint64
	BlobID   uint64
	VolumeID uint64
	LSN      uint64
)

// UploadID names a multipart upload. It is random, so that it cannot be guessed.
type UploadID [16]byte

// VersionID orders the versions of a key: of two, the higher is the newer one, and the highest is current. An odd one names its version
// for ever. Even ones are of null versions, the states without an ID: a key has at most one, wherever it stands among the others.
type VersionID uint64

// NullVersion is the version of every object in a bucket that has never been versioned; it is the oldest of its key. To a reader or a
// removal it means the null version, whatever its place.
const NullVersion VersionID = 0

// CurrentVersion asks for the newest version of a key, if that is not a delete marker.
const CurrentVersion = ^VersionID(0)

// IsNull reports whether v is of a null version.
func (v VersionID) IsNull() bool { return v&1 == 0 }

// same reports whether v and w name the same version of a key.
func (v VersionID) same(w VersionID) bool { return v == w || v.IsNull() && w.IsNull() }

// maxVersion is the highest that a body can hold.
const maxVersion = 1<<63 - 1

// Attr is one attribute of an object as the protocol names it. The index keeps it as given.
type Attr struct {
	Name, Value string
}

// Bucket is a namespace of keys.
type Bucket struct {
	ID      BucketID
	Name    string
	Created time.Time // Millisecond precision.
	Attrs   []Attr
}

// BlobRef is a slice of a blob's bytes.
type BlobRef struct {
	Blob BlobID
	Off  int64 // First byte within the blob.
	Len  int64 // Bytes; never 0.
}

// Part says how one part of a multipart object lies in it; parts follow each other in the object.
type Part struct {
	Number int   // 1 to 10,000.
	Size   int64 // Bytes.
	Attrs  []Attr
}

// Object is one version of a key.
type Object struct {
	Key      string
	Version  VersionID
	Marker   bool // A delete marker: as of this version the key is deleted. It has no bytes.
	LSN      LSN  // Origin LSN of the record that put it.
	Modified time.Time
	Size     int64 // Bytes.
	ETag     string
	Attrs    []Attr
	Blobs    []BlobRef // The object's bytes, in order; their lengths add up to Size.
	Parts    []Part    // Set when the object was completed from a multipart upload.
}

// RecordLoc is where the journal keeps a record's bytes: in the payload of one data shard of one batch.
type RecordLoc struct {
	Volume VolumeID
	Batch  int64  // Offset of the batch in the volume's segments.
	Shard  uint8  // Data shard that holds the record.
	Off    uint32 // Of the record's first byte in that shard's payload.
	Len    uint32 // Bytes, without framing and padding.
}

// Extent is a run of a blob's bytes in one volume.
// A bulk extent is one stripe; an inline extent lies inside a journal record.
type Extent struct {
	Volume VolumeID
	Len    int64 // Object bytes.
	// Bulk: Off is the stripe's offset in every segment of the volume, and Units holds the CRC64NVME of each unit,
	// row by row, the k data units of a row before its m parity units.
	Off   int64
	Units []uint64
	// Inline: At is where the bytes are (Len of them), Sum their CRC64NVME.
	Inline bool
	At     RecordLoc
	Sum    uint64
}

// Blob is an immutable run of object bytes.
type Blob struct {
	ID      BlobID
	LSN     LSN
	Size    int64
	Extents []Extent
}

// Upload is a multipart upload in progress.
type Upload struct {
	ID        UploadID
	Bucket    BucketID
	Key       string
	Initiated time.Time
	Attrs     []Attr
}

// UploadPart is a part that has been received.
type UploadPart struct {
	Number   int
	Modified time.Time
	Size     int64
	ETag     string
	Attrs    []Attr
	Blobs    []BlobRef
}

// Position says which prefix of the journal an index state reflects.
type Position struct {
	Volume VolumeID // Journal volume of the last batch applied.
	Batch  uint64   // Its number in that volume; 0 = none of it yet.
	Next   int64    // Offset of the batch that follows it.
	LSN    LSN      // Last LSN applied.
	Chain  uint64   // CRC64 of that batch's common header, which its successor must name.
}
