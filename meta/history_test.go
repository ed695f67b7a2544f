package meta_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/meta"
)

// newRNG returns a source that SEED=n makes repeat.
func newRNG(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func openMem(t testing.TB, fs meta.FS, create bool) *meta.Index {
	t.Helper()
	x, err := meta.Open(meta.Options{FS: fs, Dir: "index", Create: create, MemTableBytes: 256 << 10, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// newIndex returns an index that flushes now and then. More often would test no more, and test builds of Pebble
// take long over each table they look into.
func newIndex(t testing.TB) *meta.Index {
	t.Helper()
	x, err := meta.Open(meta.Options{FS: vfs.NewMem(), Dir: "index", Create: true, MemTableBytes: 1 << 20})
	mustNot(t, err)
	t.Cleanup(func() { mustNot(t, x.Close()) })
	return x
}

func mustNot(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// batch is what one Apply gets.
type batch struct {
	pos  meta.Position
	recs []meta.Applied
}

// history makes random but possible journals, as a store would write them, and knows what must come of them: it is the model.
type history struct {
	rng     *rand.Rand
	alpha   string // Keys are made of these bytes.
	keys    int    // About this many different keys.
	lsn     meta.LSN
	volume  meta.VolumeID // The open journal volume.
	batchNo uint64
	pending []meta.Applied
	log     []meta.Applied // Every record so far.
	nextID  uint64

	buckets map[meta.BucketID]*meta.Bucket
	objects map[meta.BucketID]map[string]versions
	// What puts and deletes of a bucket's keys do; like the store, it never goes back to unversioned.
	versioning map[meta.BucketID]versioning
	uploads    map[meta.UploadID]*meta.Upload
	parts      map[meta.UploadID]map[int]*meta.UploadPart
	blobs      map[meta.BlobID]*meta.Blob
	refs       map[meta.BlobID]int
	config     map[string]string
	missing    map[[2]uint64]*meta.Missing // By volume and shard.
	// Which records hold them.
	partLSN    map[meta.UploadID]map[int]meta.LSN
	bucketLSN  map[meta.BucketID]meta.LSN
	configLSN  map[string]meta.LSN
	missingLSN map[[2]uint64]meta.LSN

	start   meta.JournalStart
	ended   []meta.JournalVolume
	bulk    meta.VolumeID
	bulkOff int64

	compacted map[meta.VolumeID]bool // Volumes of which all that survives was written again.
}

// versions are those of a key, the null version under 0.
type versions map[meta.VersionID]*meta.Object

// nameOf is under what a version is among versions.
func nameOf(v meta.VersionID) meta.VersionID {
	if v.IsNull() {
		return meta.NullVersion
	}
	return v
}

// current returns the newest version, delete marker or not; nil if there is none.
func (v versions) current() (newest *meta.Object) {
	for _, o := range v {
		if newest == nil || o.Version > newest.Version {
			newest = o
		}
	}
	return newest
}

// sorted returns the versions from the newest to the oldest.
func (v versions) sorted() []*meta.Object {
	return slices.SortedFunc(maps.Values(v), func(a, b *meta.Object) int { return cmp.Compare(b.Version, a.Version) })
}

type versioning int

const (
	unversioned versioning = iota
	enabled
	suspended
)

func newHistory(rng *rand.Rand) *history {
	h := &history{
		rng: rng, alpha: "ab/\x00\x01\xff", keys: 60, nextID: 1 << 32, volume: 1<<32 | 1, bulk: 1<<32 | 1<<20,
		buckets: map[meta.BucketID]*meta.Bucket{}, objects: map[meta.BucketID]map[string]versions{}, versioning: map[meta.BucketID]versioning{},
		uploads: map[meta.UploadID]*meta.Upload{}, parts: map[meta.UploadID]map[int]*meta.UploadPart{},
		blobs: map[meta.BlobID]*meta.Blob{}, refs: map[meta.BlobID]int{}, config: map[string]string{},
		partLSN: map[meta.UploadID]map[int]meta.LSN{}, bucketLSN: map[meta.BucketID]meta.LSN{}, configLSN: map[string]meta.LSN{},
		missing: map[[2]uint64]*meta.Missing{}, missingLSN: map[[2]uint64]meta.LSN{},
		compacted: map[meta.VolumeID]bool{},
	}
	h.add(&meta.JournalStart{})
	h.putBucket()
	return h
}

func (h *history) id() uint64 { h.nextID++; return h.nextID }

// add appends a record to the journal.
func (h *history) add(rec meta.Record) *meta.Applied { return h.addEncoded(rec.AppendTo(nil), 0) }

func (h *history) addEncoded(payload []byte, origin meta.LSN) *meta.Applied {
	h.lsn++
	a := meta.Applied{LSN: h.lsn, Origin: origin, Payload: payload, Loc: meta.RecordLoc{
		Volume: h.volume, Batch: int64(h.batchNo+1) * 4096, Shard: uint8(h.rng.IntN(4)), Off: uint32(h.rng.IntN(1 << 20)), Len: uint32(len(payload)),
	}}
	h.pending = append(h.pending, a)
	h.log = append(h.log, a)
	return &h.pending[len(h.pending)-1]
}

// cut ends the batch.
func (h *history) cut() batch {
	h.batchNo++
	b := batch{h.position(), h.pending}
	h.pending = nil
	return b
}

func (h *history) position() meta.Position {
	return meta.Position{Volume: h.volume, Batch: h.batchNo, Next: int64(h.batchNo+1) * 4096, LSN: h.lsn, Chain: uint64(h.lsn) * 0x9e3779b97f4a7c15}
}

func (h *history) time() time.Time { return time.UnixMilli(1.7e12 + h.rng.Int64N(1e10)).UTC() }

func (h *history) attrs() []meta.Attr {
	var attrs []meta.Attr
	for i := range h.rng.IntN(3) {
		attrs = append(attrs, meta.Attr{Name: fmt.Sprint("x-", i), Value: fmt.Sprint(h.rng.IntN(1000))})
	}
	return attrs
}

// key returns one of about h.keys keys.
func (h *history) key() string {
	r := rand.New(rand.NewPCG(h.rng.Uint64N(uint64(h.keys)), 7))
	b := make([]byte, 1+r.IntN(6))
	for i := range b {
		b[i] = h.alpha[r.IntN(len(h.alpha))]
	}
	return string(b)
}

// pick returns a random key of m, the same one for the same seed.
func pick[K ~uint64 | ~string, V any](rng *rand.Rand, m map[K]V) (k K, ok bool) {
	if len(m) == 0 {
		return k, false
	}
	return slices.Sorted(maps.Keys(m))[rng.IntN(len(m))], true
}

func (h *history) bucket() meta.BucketID {
	id, _ := pick(h.rng, h.buckets)
	return id
}

func (h *history) upload() (id meta.UploadID, ok bool) {
	byString := map[string]meta.UploadID{}
	for id := range h.uploads {
		byString[string(id[:])] = id
	}
	s, ok := pick(h.rng, byString)
	return byString[s], ok
}

func (h *history) newBulk() meta.Blob {
	b := meta.Blob{ID: meta.BlobID(h.id())}
	for range 1 + h.rng.IntN(3) {
		if h.rng.IntN(20) == 0 {
			h.bulk++
			h.bulkOff = 0
		}
		e := meta.Extent{Volume: h.bulk, Len: 1 + h.rng.Int64N(1<<20), Off: h.bulkOff}
		for range 1 + h.rng.IntN(6) {
			e.Units = append(e.Units, h.rng.Uint64())
		}
		h.bulkOff += 1 << 20
		b.Size += e.Len
		b.Extents = append(b.Extents, e)
	}
	return b
}

func (h *history) newInline() *meta.Inline {
	in := &meta.Inline{ID: meta.BlobID(h.id()), Sum: h.rng.Uint64(), Data: make([]byte, 1+h.rng.IntN(300))}
	for i := range in.Data {
		in.Data[i] = byte(h.rng.Uint32())
	}
	return in
}

// body makes up where an object's or part's bytes are: in the record, in blobs the record brings, in blobs
// put before, or shared with another object.
func (h *history) body() (refs []meta.BlobRef, size int64, blobs []meta.Blob, inline *meta.Inline) {
	use := func(id meta.BlobID, off, n int64) {
		refs = append(refs, meta.BlobRef{Blob: id, Off: off, Len: n})
		size += n
	}
	switch h.rng.IntN(6) {
	case 0: // An empty object.
	case 1:
		for range 1 + h.rng.IntN(2) {
			b := h.newBulk()
			blobs = append(blobs, b)
			use(b.ID, 0, b.Size)
		}
		if h.rng.IntN(3) == 0 {
			inline = h.newInline()
			use(inline.ID, 0, int64(len(inline.Data)))
		}
	case 2:
		b := h.newBulk()
		h.bringBlob(h.add(&meta.PutBlobs{Blobs: []meta.Blob{b}}).LSN, b)
		use(b.ID, 0, b.Size)
	case 3:
		for range 1 + h.rng.IntN(12) { // More than refSet looks through one by one.
			if id, ok := pick(h.rng, h.blobs); ok {
				off := h.rng.Int64N(h.blobs[id].Size)
				use(id, off, 1+h.rng.Int64N(h.blobs[id].Size-off))
			}
		}
	default:
		inline = h.newInline()
		use(inline.ID, 0, int64(len(inline.Data)))
	}
	return refs, size, blobs, inline
}

func (h *history) bringBlob(lsn meta.LSN, b meta.Blob) {
	b.LSN = lsn
	h.blobs[b.ID] = &b
}

// brought enters the blobs of the record a in the model.
func (h *history) brought(a *meta.Applied, blobs []meta.Blob, inline *meta.Inline) {
	for _, b := range blobs {
		h.bringBlob(a.LSN, b)
	}
	if inline != nil {
		h.bringBlob(a.LSN, meta.Blob{ID: inline.ID, Size: int64(len(inline.Data)), Extents: []meta.Extent{inlineExtent(a, inline)}})
	}
}

func inlineExtent(a *meta.Applied, inline *meta.Inline) meta.Extent {
	n := len(inline.Data)
	at := a.Loc
	at.Off += uint32(len(a.Payload) - n)
	at.Len = uint32(n)
	return meta.Extent{Volume: at.Volume, Len: int64(n), Inline: true, At: at, Sum: inline.Sum}
}

// count changes the references of the blobs in refs; those that lose the last one go.
func (h *history) count(refs []meta.BlobRef, sign int) {
	for _, r := range refs {
		h.refs[r.Blob] += sign
		if sign < 0 && h.refs[r.Blob] == 0 {
			delete(h.refs, r.Blob)
			delete(h.blobs, r.Blob)
		}
	}
}
