package engine

import (
	"context"
	"io"
	"slices"
	"time"

	"penstock/meta"
)

// Limits of the store, the same as those of Amazon S3.
const (
	MaxKeyLen      = 1024    // Bytes of a key.
	MaxPutLen      = 5 << 30 // Bytes of one Put or part.
	MaxObjectLen   = 5 << 40 // Bytes of a completed multipart object.
	MaxPartNumber  = 10000   // Parts are numbered 1 to this.
	MinPartLen     = 5 << 20 // Bytes of every part but the last.
	MaxListEntries = 1000    // Entries of one listing page.
)

// Attr is an attribute of an object, upload or bucket: name and value are the protocol's, kept as given and never interpreted here.
type Attr = meta.Attr

// BucketInfo describes a bucket. Callers must not change its slice.
type BucketInfo struct {
	Name    string
	Created time.Time
	Attrs   []Attr
	// Revision is another one after each change of the bucket, and for each bucket of the name; it lasts as long as the process. What
	// was made of the attributes can be kept as long as it is the same.
	Revision uint64
}

// Attr returns the value of the attribute of that name, or "".
func (b *BucketInfo) Attr(name string) string { return attrOf(b.Attrs, name) }

func attrOf(attrs []Attr, name string) string {
	for i := range attrs {
		if attrs[i].Name == name {
			return attrs[i].Value
		}
	}
	return ""
}

// WithAttr returns attrs with the one of that name set, or removed if value is "".
func WithAttr(attrs []Attr, name, value string) []Attr {
	attrs = slices.DeleteFunc(slices.Clone(attrs), func(a Attr) bool { return a.Name == name })
	if value != "" {
		attrs = append(attrs, Attr{Name: name, Value: value})
	}
	return attrs
}

// PartInfo describes a received or completed part.
type PartInfo struct {
	Number   int
	Size     int64
	ETag     string
	Modified time.Time // Zero for the parts of a completed object.
	Attrs    []Attr
}

// ObjectInfo describes a version of an object. Callers must not change its slices.
type ObjectInfo struct {
	Key       string
	Version   VersionID // NullVersion for the one without an ID.
	Versioned bool      // The bucket has or had versioning, so that versions mean something.
	Current   bool      // In listings of versions: the newest of its key.
	Marker    bool      // A delete marker; it has no bytes.
	Size      int64
	ETag      string
	Modified  time.Time
	Attrs     []Attr
	Parts     []PartInfo // Of an object completed from parts; empty in listings.
}

// Attr returns the value of the attribute of that name, or "".
func (o *ObjectInfo) Attr(name string) string { return attrOf(o.Attrs, name) }

// Sums is what the store itself knows of a body once the last byte is in.
type Sums struct {
	Size      int64
	CRC64NVME uint64
	HasCRC    bool // False when the bytes were copied by reference and their checksum cannot be derived from what is stored.
}

// Final is what the protocol wants kept with a body once it has judged it.
type Final struct {
	ETag  string
	Attrs []Attr // Added after the attributes given at the start.
}

// Check sees the object a write would replace, or nil when there is none, at the instant before the write is
// ordered: no other write to the key comes between. An error refuses the write and comes back as the cause of a KindPrecondition.
type Check func(current *ObjectInfo) error

// PutOptions are the options of Put and PutPart.
type PutOptions struct {
	Size  int64  // Bytes of the body, or -1 when unknown. A body of another length is KindIncompleteBody.
	Attrs []Attr // Stored with the object (PutPart: with the part).
	Check Check  // Put only; nil means unconditional.
	// Finish runs after the last byte is read and before anything is committed. If it fails the object
	// never existed and its error is the cause of a KindBody. It must be set.
	Finish func(Sums) (Final, error)
}

// CopyOptions are the options of Copy.
type CopyOptions struct {
	// Source sees the source object before anything is done and decides what the copy carries: attributes and ETag.
	// Its error is the cause of a KindPrecondition. It must be set.
	Source func(src *ObjectInfo) (Final, error)
	Check  Check // On the destination; nil means unconditional.
	// Rehash, when set, asks that the bytes be read through this writer before the copy is committed;
	// Finish then gives the final attributes. It serves a copy that must carry a checksum the source lacks.
	Rehash io.Writer
	Finish func(Sums) (Final, error)
}

// CopyPartOptions are the options of CopyPart.
type CopyPartOptions struct {
	Off, Len int64 // Range of the source; Len -1 means to its end.
	Source   func(src *ObjectInfo) error
	// Hash receives the range's bytes, for the part's ETag; a whole-source copy reads them too.
	Hash   io.Writer
	Finish func(Sums) (Final, error)
}

// CompletePart names a part in a completion.
type CompletePart struct {
	Number int
	ETag   string // Without quotes; compared for equality.
}

// CompleteOptions are the options of CompleteUpload.
type CompleteOptions struct {
	Parts []CompletePart
	Check Check
	// Finish sees the parts that will make up the object, in order, and the attributes given when the upload was created.
	// Its error is the cause of a KindBody. It must be set.
	Finish func(parts []PartInfo, attrs []Attr) (Final, error)
}

// UploadInfo describes a multipart upload in progress.
type UploadInfo struct {
	ID        string
	Key       string
	Initiated time.Time
	Attrs     []Attr
}

// ListOptions select a page of a bucket's objects.
type ListOptions struct {
	Prefix    string
	Delimiter string // Keys that have it after Prefix are rolled up to one prefix.
	After     string // Only keys after this one, exclusive.
	// SkipPrefix says that After is a rolled-up prefix that a former page returned: skip every key below it.
	SkipPrefix bool
	Max        int // At most this many objects and prefixes together, 0 to MaxListEntries.
}

// ListPage is a page of a listing, objects and prefixes each in byte order.
type ListPage struct {
	Objects   []ObjectInfo
	Prefixes  []string
	Truncated bool
	// NextAfter and NextIsPrefix continue the listing: the page's last entry, and whether it was a prefix.
	NextAfter    string
	NextIsPrefix bool
}

// UploadListOptions select a page of a bucket's uploads.
type UploadListOptions struct {
	Prefix, Delimiter   string
	KeyMarker, IDMarker string
	Max                 int
}

// UploadPage is a page of uploads, ordered by key, then by time of initiation.
type UploadPage struct {
	Uploads   []UploadInfo
	Prefixes  []string
	Truncated bool
	NextKey   string
	NextID    string
}

// PartPage is a page of an upload's parts.
type PartPage struct {
	Upload    UploadInfo
	Parts     []PartInfo
	Truncated bool
	Next      int // Part number to continue after.
}

// BucketPage is a page of buckets in name order.
type BucketPage struct {
	Buckets   []BucketInfo
	Truncated bool
	Next      string // Name to continue after.
}

// Handle is one version of an object held open: whatever happens to the key, its bytes stay readable until Close.
type Handle interface {
	Info() *ObjectInfo
	// Body prepares the bytes [off, off+n). It returns once the first of them are read and verified, so that a failure
	// can still be told apart from a success by the protocol's status. One Body at a time.
	Body(ctx context.Context, off, n int64) (Body, error)
	Close()
}

// Body is a run of verified bytes. Every byte it hands out has matched its checksum. Use Read or WriteTo, not both.
type Body interface {
	io.Reader
	io.WriterTo // Writes large pieces straight from the buffers that the drives filled. Better: to a PatientWriter.
	io.Closer   // Ends it early, too; buffers go back once the drives are done with them.
}

// KeepingWriter is a PatientWriter that may need what it was given for longer than the call, because a network card reads it from there.
type KeepingWriter interface {
	PatientWriter
	// TryKeep is TryWrite. If it needs some of p for longer, it calls keep, and what that returned once it does not any more.
	TryKeep(p []byte, wanted func() bool, keep func() (done func())) (int, error)
}

// PatientWriter is a writer whose reader may be slow. A body that is written to one does not hold memory that others want
// while it waits.
type PatientWriter interface {
	io.Writer
	// TryWrite writes like Write. But when the reader has taken nothing for a while it asks wanted, and stops where it is, without
	// an error, if the memory of p is.
	TryWrite(p []byte, wanted func() bool) (int, error)
}
