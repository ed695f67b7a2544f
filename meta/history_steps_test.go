package meta_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"penstock/meta"
)

func (h *history) putBucket() {
	b := meta.Bucket{ID: meta.BucketID(h.id()), Created: h.time(), Attrs: h.attrs()}
	b.Name = fmt.Sprintf("bucket-%d", b.ID)
	if id, ok := pick(h.rng, h.buckets); ok && (len(h.buckets) > 3 || h.rng.IntN(2) == 0) {
		b.ID, b.Name = id, h.buckets[id].Name
	}
	h.buckets[b.ID] = &b
	if h.objects[b.ID] == nil {
		h.objects[b.ID] = map[string]versions{}
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
	all := h.objects[bucket][o.Key]
	if all == nil {
		all = versions{}
		h.objects[bucket][o.Key] = all
	}
	old := all[nameOf(o.Version)]
	all[nameOf(o.Version)] = o
	h.count(o.Blobs, +1)
	if old != nil {
		h.count(old.Blobs, -1)
	}
}

func (h *history) remove(bucket meta.BucketID, key string, version meta.VersionID) {
	all := h.objects[bucket][key]
	if o := all[nameOf(version)]; o != nil {
		h.count(o.Blobs, -1)
		delete(all, nameOf(version))
		if len(all) == 0 {
			delete(h.objects[bucket], key)
		}
	}
}

// version returns the number of a version that is put now. Now and then it is not the highest: nothing in the
// index may depend on what the store never does.
func (h *history) version(bucket meta.BucketID, key string) meta.VersionID {
	odd := meta.VersionID(h.versioning[bucket] & enabled)
	switch n := h.rng.IntN(30); {
	case h.versioning[bucket] == unversioned || n == 0:
		return meta.NullVersion
	case n == 1:
		return meta.VersionID(1+h.rng.Uint64N(1<<32))<<1 | odd
	case n == 2:
		if o := h.anyVersion(bucket, key); o != nil {
			return o.Version
		}
	}
	return meta.VersionID(h.id())<<1 | odd
}

func (h *history) anyVersion(bucket meta.BucketID, key string) *meta.Object {
	id, ok := pick(h.rng, h.objects[bucket][key])
	if !ok {
		return nil
	}
	return h.objects[bucket][key][id]
}

// thin removes the newest versions of a key that has many, so that the history does not become one of a few keys.
func (h *history) thin() {
	bucket := h.bucket()
	key, _ := pick(h.rng, h.objects[bucket])
	for _, o := range h.objects[bucket][key].sorted() {
		if len(h.objects[bucket][key]) > 3 {
			h.remove(bucket, key, o.Version)
			h.add(&meta.DeleteObject{Bucket: bucket, Key: key, Version: o.Version})
		}
	}
}

// setVersioning enables or suspends versioning in a bucket.
func (h *history) setVersioning() {
	h.versioning[h.bucket()] = enabled + versioning(h.rng.IntN(2))
}

// putMarker puts a delete marker, on a key that exists or not.
func (h *history) putMarker() {
	bucket := h.bucket()
	key, ok := pick(h.rng, h.objects[bucket])
	if !ok || h.rng.IntN(10) == 0 {
		key = h.key()
	}
	o := meta.Object{Key: key, Version: h.version(bucket, key), Marker: true, Modified: h.time(), Attrs: h.attrs()}
	if o.Version != meta.NullVersion {
		o.LSN = h.add(&meta.PutObject{Bucket: bucket, Object: o}).LSN
		h.put(bucket, &o)
	}
}

// changeAttrs puts a version again, with other attributes and the blobs it has.
func (h *history) changeAttrs() {
	bucket := h.bucket()
	key, ok := pick(h.rng, h.objects[bucket])
	if !ok {
		return
	}
	o := *h.anyVersion(bucket, key)
	o.Attrs = h.attrs()
	o.LSN = h.add(&meta.PutObject{Bucket: bucket, Object: o}).LSN
	h.put(bucket, &o)
}

func (h *history) putObject() {
	bucket := h.bucket()
	rec := &meta.PutObject{Bucket: bucket}
	o := meta.Object{Key: h.key(), Modified: h.time(), ETag: fmt.Sprintf("%x", h.rng.Uint64()), Attrs: h.attrs()}
	o.Version = h.version(bucket, o.Key)
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
	rec := &meta.DeleteObject{Bucket: bucket, Key: key}
	if o := h.anyVersion(bucket, key); o != nil && h.rng.IntN(20) > 0 {
		rec.Version = o.Version
	} else {
		rec.Version = meta.VersionID(h.rng.IntN(4)) // The null version, if that exists.
	}
	h.remove(bucket, key, rec.Version)
	h.add(rec)
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
	o := meta.Object{Key: u.Key, Version: h.version(u.Bucket, u.Key), Modified: h.time(), ETag: "m-1", Attrs: u.Attrs}
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

// setMissing enters a shard in the heal ledger, changes its entry or removes it.
func (h *history) setMissing() {
	m := &meta.Missing{Volume: h.bulk, Shard: h.rng.IntN(3)}
	key := [2]uint64{uint64(m.Volume), uint64(m.Shard)}
	delete(h.missing, key)
	if h.rng.IntN(3) > 0 {
		m.Causes, m.Since = meta.Causes(1+h.rng.IntN(15)), h.time()
		for end := int64(0); h.rng.IntN(2) > 0; end = m.Ranges[len(m.Ranges)-1].End() {
			m.Ranges = append(m.Ranges, meta.Range{Off: end + 1 + h.rng.Int64N(1<<20), Len: 1 + h.rng.Int64N(1<<20)})
		}
		h.missing[key] = m
	}
	h.missingLSN[key] = h.add(m).LSN
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
		o := h.objects[rec.Bucket][rec.Object.Key][nameOf(rec.Object.Version)]
		lives = o != nil && o.LSN == origin
		inline, blobs = rec.Inline, rec.Blobs
	case *meta.CompleteUpload:
		o := h.objects[rec.Bucket][rec.Object.Key][nameOf(rec.Object.Version)]
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
	case *meta.Missing:
		lives = rec.Causes != 0 && h.missingLSN[[2]uint64{uint64(rec.Volume), uint64(rec.Shard)}] == origin
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

// relocateBlobs writes extents of some blobs again somewhere else, as the compaction of a bulk volume does.
func (h *history) relocateBlobs() {
	rec := &meta.Relocate{}
	for range 1 + h.rng.IntN(3) {
		id, ok := pick(h.rng, h.blobs)
		if !ok || h.blobs[id].Extents[0].Inline || slices.ContainsFunc(rec.Blobs, func(b meta.Blob) bool { return b.ID == id }) {
			continue
		}
		b := *h.blobs[id]
		b.Extents = slices.Clone(b.Extents)
		at := h.rng.IntN(len(b.Extents))
		for i := range 1 + h.rng.IntN(len(b.Extents)-at) {
			h.bulkOff += 1 << 20
			b.Extents[at+i].Volume, b.Extents[at+i].Off = h.bulk, h.bulkOff
			b.Extents[at+i].Units = []uint64{h.rng.Uint64()}
		}
		h.bulkOff += 1 << 20
		rec.Blobs = append(rec.Blobs, b)
	}
	if h.rng.IntN(10) == 0 { // One that was deleted meanwhile.
		rec.Blobs = append(rec.Blobs, h.newBulk())
	}
	if len(rec.Blobs) == 0 {
		return
	}
	lsn := h.add(rec).LSN
	for _, b := range rec.Blobs {
		if h.blobs[b.ID] != nil {
			h.bringBlob(lsn, b)
		}
	}
}

// compact writes again what survives of a volume that has ended, according to x, and reports whether the volume may be freed
// with its tombstones. Nothing is pending.
func (h *history) compact(t testing.TB, x *meta.Index) {
	t.Helper()
	if len(h.ended) == 0 {
		return
	}
	i := h.rng.IntN(len(h.ended))
	victim := h.ended[i]
	for _, a := range slices.Clone(h.log) {
		if a.Loc.Volume != victim.ID {
			continue
		}
		origin := cmp.Or(a.Origin, a.LSN)
		older := false
		for j := range h.ended {
			var before meta.LSN // A volume begins, at the earliest, behind the one before it.
			if j > 0 {
				before = h.ended[j-1].EndLSN
			}
			older = older || j != i && before < origin
		}
		survivors, err := x.Survivors(nil, &a, older)
		mustNot(t, err)
		for _, payload := range survivors {
			h.relocated(h.addEncoded(payload, origin))
		}
	}
	h.compacted[victim.ID] = true
}

// relocated has the model know where the inline bytes of a record are now.
func (h *history) relocated(a *meta.Applied) {
	rec, err := meta.Parse(a.Payload)
	if err != nil {
		panic(err)
	}
	var inline *meta.Inline
	switch rec := rec.(type) {
	case *meta.PutObject:
		inline = rec.Inline
	case *meta.PutPart:
		inline = rec.Inline
	case *meta.PutBlobs:
		inline = rec.Inline
	}
	if inline != nil && h.blobs[inline.ID] != nil {
		h.blobs[inline.ID].Extents = []meta.Extent{inlineExtent(a, inline)}
	}
}

// step does one thing to the store.
func (h *history) step() {
	switch n := h.rng.IntN(100); {
	case n < 37:
		h.putObject()
	case n < 40:
		h.changeAttrs()
	case n < 53:
		h.deleteObject()
		h.thin()
	case n < 57:
		h.putMarker()
	case n < 58:
		h.setVersioning()
	case n < 64:
		h.createUpload()
	case n < 80:
		h.putPart()
	case n < 84:
		h.completeUpload()
	case n < 87:
		h.abortUpload()
	case n < 88:
		if h.rng.IntN(2) == 0 {
			h.setConfig()
		} else {
			h.setMissing()
		}
	case n < 89:
		b := h.newBulk()
		h.bringBlob(h.add(&meta.PutBlobs{Blobs: []meta.Blob{b}}).LSN, b)
	case n < 91:
		h.putBucket()
	case n < 93:
		h.deleteBucket()
	case n < 94:
		h.sweep()
	case n < 97:
		h.relocateBlobs()
	default:
		h.relocate()
	}
}

// freeDead lets the journal volumes go that x says are dead, as the store does, and returns them.
func (h *history) freeDead(t testing.TB, x *meta.Index) []meta.VolumeID {
	t.Helper()
	var dead []meta.VolumeID
	for i, v := range h.ended {
		u, err := x.VolumeUsage(v.ID)
		mustNot(t, err)
		if u.Live == 0 && (u.Tombstones == 0 || i == 0 || h.compacted[v.ID]) {
			dead = append(dead, v.ID)
		}
	}
	if len(dead) > 0 {
		h.ended = slices.DeleteFunc(h.ended, func(v meta.JournalVolume) bool { return slices.Contains(dead, v.ID) })
		h.add(&meta.JournalFreed{Volumes: dead})
	}
	return dead
}
