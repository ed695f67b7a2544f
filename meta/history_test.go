package meta_test

import (
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
	objects map[meta.BucketID]map[string]*meta.Object
	uploads map[meta.UploadID]*meta.Upload
	parts   map[meta.UploadID]map[int]*meta.UploadPart
	blobs   map[meta.BlobID]*meta.Blob
	refs    map[meta.BlobID]int
	config  map[string]string
	// Which records hold them.
	partLSN   map[meta.UploadID]map[int]meta.LSN
	bucketLSN map[meta.BucketID]meta.LSN
	configLSN map[string]meta.LSN

	start   meta.JournalStart
	ended   []meta.JournalVolume
	bulk    meta.VolumeID
	bulkOff int64
}

func newHistory(rng *rand.Rand) *history {
	h := &history{
		rng: rng, alpha: "ab/\x00\x01\xff", keys: 60, nextID: 1 << 32, volume: 1<<32 | 1, bulk: 1<<32 | 1<<20,
		buckets: map[meta.BucketID]*meta.Bucket{}, objects: map[meta.BucketID]map[string]*meta.Object{},
		uploads: map[meta.UploadID]*meta.Upload{}, parts: map[meta.UploadID]map[int]*meta.UploadPart{},
		blobs: map[meta.BlobID]*meta.Blob{}, refs: map[meta.BlobID]int{}, config: map[string]string{},
		partLSN: map[meta.UploadID]map[int]meta.LSN{}, bucketLSN: map[meta.BucketID]meta.LSN{}, configLSN: map[string]meta.LSN{},
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

func (h *history) putBucket() {
	b := meta.Bucket{ID: meta.BucketID(h.id()), Created: h.time(), Attrs: h.attrs()}
	b.Name = fmt.Sprintf("bucket-%d", b.ID)
	if id, ok := pick(h.rng, h.buckets); ok && (len(h.buckets) > 3 || h.rng.IntN(2) == 0) {
		b.ID, b.Name = id, h.buckets[id].Name
	}
	h.buckets[b.ID] = &b
	if h.objects[b.ID] == nil {
		h.objects[b.ID] = map[string]*meta.Object{}
	}
	h.bucketLSN[b.ID] = h.add(&meta.PutBucket{Bucket: b}).LSN
}

func (h *history) deleteBucket() {
	id := h.bucket()
	used := len(h.objects[id]) > 0 || len(h.buckets) == 1
	for _, u := range h.uploads {
		used = used || u.Bucket == id
	}
	if !used {
		delete(h.buckets, id)
		h.add(&meta.DeleteBucket{ID: id})
	}
}

func (h *history) put(bucket meta.BucketID, o *meta.Object) {
	old := h.objects[bucket][o.Key]
	h.objects[bucket][o.Key] = o
	h.count(o.Blobs, +1)
	if old != nil {
		h.count(old.Blobs, -1)
	}
}

func (h *history) putObject() {
	bucket := h.bucket()
	rec := &meta.PutObject{Bucket: bucket}
	o := meta.Object{Key: h.key(), Modified: h.time(), ETag: fmt.Sprintf("%x", h.rng.Uint64()), Attrs: h.attrs()}
	o.Blobs, o.Size, rec.Blobs, rec.Inline = h.body()
	rec.Object = o
	a := h.add(rec)
	o.LSN = a.LSN
	h.brought(a, rec.Blobs, rec.Inline)
	h.put(bucket, &o)
}

func (h *history) deleteObject() {
	bucket := h.bucket()
	key, ok := pick(h.rng, h.objects[bucket])
	if !ok || h.rng.IntN(20) == 0 {
		key = h.key() // Perhaps one that does not exist.
	}
	if o := h.objects[bucket][key]; o != nil {
		h.count(o.Blobs, -1)
		delete(h.objects[bucket], key)
	}
	h.add(&meta.DeleteObject{Bucket: bucket, Key: key})
}

func (h *history) createUpload() {
	u := meta.Upload{Bucket: h.bucket(), Key: h.key(), Initiated: h.time(), Attrs: h.attrs()}
	for i := range u.ID {
		u.ID[i] = byte(h.rng.Uint32())
	}
	h.uploads[u.ID] = &u
	h.parts[u.ID] = map[int]*meta.UploadPart{}
	h.partLSN[u.ID] = map[int]meta.LSN{}
	h.add(&meta.CreateUpload{Upload: u})
}

func (h *history) putPart() {
	id, ok := h.upload()
	gone := !ok || h.rng.IntN(20) == 0 // The upload was aborted before the part came.
	if gone {
		id = meta.UploadID{0xee, byte(h.rng.Uint32())}
	}
	rec := &meta.PutPart{Upload: id}
	p := meta.UploadPart{Number: 1 + h.rng.IntN(8), Modified: h.time(), ETag: "e", Attrs: h.attrs()}
	p.Blobs, p.Size, rec.Blobs, rec.Inline = h.body()
	rec.Part = p
	a := h.add(rec)
	if gone {
		for _, r := range p.Blobs { // Blobs put for this part alone go with it.
			if h.refs[r.Blob] == 0 {
				delete(h.blobs, r.Blob)
			}
		}
		return
	}
	h.brought(a, rec.Blobs, rec.Inline)
	h.count(p.Blobs, +1)
	if old := h.parts[id][p.Number]; old != nil {
		h.count(old.Blobs, -1)
	}
	h.parts[id][p.Number] = &p
	h.partLSN[id][p.Number] = a.LSN
}

func (h *history) dropUpload(id meta.UploadID) {
	for _, p := range h.parts[id] {
		h.count(p.Blobs, -1)
	}
	delete(h.parts, id)
	delete(h.uploads, id)
}

func (h *history) abortUpload() {
	if id, ok := h.upload(); ok {
		h.dropUpload(id)
		h.add(&meta.AbortUpload{Upload: id})
	}
}

func (h *history) completeUpload() {
	id, ok := h.upload()
	if !ok {
		return
	}
	u := h.uploads[id]
	o := meta.Object{Key: u.Key, Modified: h.time(), ETag: "m-1", Attrs: u.Attrs}
	for _, n := range slices.Sorted(maps.Keys(h.parts[id])) {
		p := h.parts[id][n]
		if h.rng.IntN(4) == 0 {
			continue // Received, but not named in the completion.
		}
		o.Blobs = append(o.Blobs, p.Blobs...)
		o.Size += p.Size
		o.Parts = append(o.Parts, meta.Part{Number: n, Size: p.Size, Attrs: p.Attrs})
	}
	a := h.add(&meta.CompleteUpload{Upload: id, Bucket: u.Bucket, Object: o})
	o.LSN = a.LSN
	h.put(u.Bucket, &o)
	h.dropUpload(id)
}

func (h *history) unreferenced() []meta.BlobID {
	var ids []meta.BlobID
	for id := range h.blobs {
		if h.refs[id] == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// sweep drops every unreferenced blob, and names one that is referenced: that one stays.
func (h *history) sweep() {
	ids := h.unreferenced()
	for _, id := range ids {
		delete(h.blobs, id)
	}
	if id, ok := pick(h.rng, h.blobs); ok {
		ids = append(ids, id)
	}
	h.add(&meta.DropBlobs{IDs: ids})
}

func (h *history) setConfig() {
	c := &meta.Config{Name: fmt.Sprint("name", h.rng.IntN(4))}
	if h.rng.IntN(3) > 0 {
		c.Value = fmt.Sprint(h.rng.Uint32())
		h.config[c.Name] = c.Value
	} else {
		delete(h.config, c.Name)
	}
	h.configLSN[c.Name] = h.add(c).LSN
}

// roll opens another journal volume. It must begin a batch.
func (h *history) roll() {
	h.ended = append(h.ended, meta.JournalVolume{ID: h.volume, LastBatch: h.batchNo, End: int64(h.batchNo+1) * 4096, EndLSN: h.lsn})
	h.volume++
	h.batchNo = 0
	h.start = meta.JournalStart{Volumes: slices.Clone(h.ended)}
	h.add(&h.start)
}

// relocate copies a record to the end of the journal, as compaction does with one of which something lives.
func (h *history) relocate() {
	a := h.log[h.rng.IntN(len(h.log))]
	rec, err := meta.Parse(a.Payload)
	if err != nil {
		panic(err)
	}
	origin := a.LSN
	if a.Origin != 0 {
		origin = a.Origin
	}
	lives := false
	var inline *meta.Inline
	var blobs []meta.Blob
	switch rec := rec.(type) {
	case *meta.PutObject:
		o := h.objects[rec.Bucket][rec.Object.Key]
		lives = o != nil && o.LSN == origin
		inline, blobs = rec.Inline, rec.Blobs
	case *meta.CompleteUpload:
		o := h.objects[rec.Bucket][rec.Object.Key]
		lives = o != nil && o.LSN == origin
	case *meta.PutPart:
		lives = h.uploads[rec.Upload] != nil && h.partLSN[rec.Upload][rec.Part.Number] == origin
		inline, blobs = rec.Inline, rec.Blobs
	case *meta.PutBlobs:
		inline, blobs = rec.Inline, rec.Blobs
	case *meta.PutBucket:
		lives = h.buckets[rec.Bucket.ID] != nil && h.bucketLSN[rec.Bucket.ID] == origin
	case *meta.CreateUpload:
		lives = h.uploads[rec.Upload.ID] != nil
	case *meta.Config:
		lives = rec.Value != "" && h.configLSN[rec.Name] == origin
	}
	payload := a.Payload
	if !lives {
		// Whatever the blobs were put with has gone.
		blobs = slices.DeleteFunc(slices.Clone(blobs), func(b meta.Blob) bool { return h.blobs[b.ID] == nil })
		if inline != nil && h.blobs[inline.ID] == nil {
			inline = nil
		}
		if len(blobs) == 0 && inline == nil {
			return
		}
		payload = (&meta.PutBlobs{Blobs: blobs, Inline: inline}).AppendTo(nil)
	}
	moved := h.addEncoded(payload, origin)
	if inline != nil && h.blobs[inline.ID] != nil {
		h.blobs[inline.ID].Extents = []meta.Extent{inlineExtent(moved, inline)}
	}
}

// step does one thing to the store.
func (h *history) step() {
	switch n := h.rng.IntN(100); {
	case n < 40:
		h.putObject()
	case n < 58:
		h.deleteObject()
	case n < 64:
		h.createUpload()
	case n < 80:
		h.putPart()
	case n < 84:
		h.completeUpload()
	case n < 87:
		h.abortUpload()
	case n < 88:
		h.setConfig()
	case n < 89:
		b := h.newBulk()
		h.bringBlob(h.add(&meta.PutBlobs{Blobs: []meta.Blob{b}}).LSN, b)
	case n < 91:
		h.putBucket()
	case n < 93:
		h.deleteBucket()
	case n < 94:
		h.sweep()
	default:
		h.relocate()
	}
}

// freeDead lets the journal volumes go that x says are dead, as the store does, and returns them.
func (h *history) freeDead(t testing.TB, x *meta.Index) []meta.VolumeID {
	t.Helper()
	var dead []meta.VolumeID
	for i, v := range h.ended {
		live, tombstones, err := x.VolumeUsage(v.ID)
		mustNot(t, err)
		if live == 0 && (tombstones == 0 || i == 0) {
			dead = append(dead, v.ID)
		}
	}
	if len(dead) > 0 {
		h.ended = slices.DeleteFunc(h.ended, func(v meta.JournalVolume) bool { return slices.Contains(dead, v.ID) })
		h.add(&meta.JournalFreed{Volumes: dead})
	}
	return dead
}
