package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Rebuild makes an index out of the records of all journal volumes, in whatever order they are read. Of each entity the
// record with the highest origin LSN wins, removals included; among copies of one record the one written last. What
// can be counted (references, live bytes, usage) is counted at the end, from what won.
//
// While it runs, the winners so far lie in a key space of their own, so memory does not grow with the index:
//
//	~e entity-key   uvarint origin LSN | uvarint LSN | the value as the index will have it; empty: removed
//	~t volume LSN   usage of the volume by a tombstone
//	~r blob number  uvarint end offset | entity-key of what references the blob
//
// An entity key is the one that the index has, but for versions of objects, which lie there according to each other:
//
//	o bucket escaped-key id     (id: the version, or 0 for the null version, in 8 bytes)
//
// A crash leaves the index unusable, and it is begun again.
type Rebuild struct {
	x        *Index
	batch    *pebble.Batch // Indexed: Load must see what it did.
	put      put
	key, val []byte
	freed    map[VolumeID]bool
	done     bool
}

const (
	stagedEntity    = 'e'
	stagedTombstone = 't'
	stagedRef       = 'r'

	// rebuildBatch: large enough that commits cost nothing, small enough for the batch's own index to stay fast.
	rebuildBatch = 1 << 20
	// maxLosses bounds the names in a report; past it only their number grows.
	maxLosses = 10000
)

// appendStagedObject appends the entity key of a version.
func appendStagedObject(dst []byte, bucket BucketID, key string, id VersionID) []byte {
	if id.IsNull() {
		id = NullVersion
	}
	dst = appendEscaped(appendID(dst, spaceObject, uint64(bucket)), key)
	return binary.BigEndian.AppendUint64(append(dst, 0x00, 0x01), uint64(id))
}

// cutStagedObject takes the entity key of a version apart.
func cutStagedObject(entity []byte) (bucket BucketID, key string, id VersionID, ok bool) {
	k, tail, ok := cutEscaped(nil, entity[1+8:])
	if !ok || len(tail) != 8 {
		return 0, "", 0, false
	}
	return BucketID(binary.BigEndian.Uint64(entity[1:])), string(k), VersionID(binary.BigEndian.Uint64(tail)), true
}

// Loss names something that references a blob of which no record was found.
type Loss struct {
	Blob    BlobID
	Bucket  BucketID
	Key     string
	Version VersionID // Of an object; 0 for the null version.
	Upload  UploadID  // Of a part; zero for an object.
	Part    int
}

// Rebuilt tells what a rebuild found.
type Rebuilt struct {
	Buckets, Objects, Blobs, Uploads, Parts int64  // Each version is an object, delete markers among them.
	DroppedBlobs                            int64  // That nothing references.
	DroppedParts                            int64  // Whose upload has gone.
	Lost                                    []Loss // The first of LostCount references. What they belong to is kept; its bytes are lost.
	LostCount                               int64
}

// BeginRebuild begins the rebuild of an index that was just created. Until Finish, nothing else may be called but Close.
func (x *Index) BeginRebuild() (*Rebuild, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rebuilding || x.Position() != (Position{}) {
		return nil, fmt.Errorf("%w: a rebuild needs an empty index", ErrInconsistent)
	}
	rb := &Rebuild{x: x, batch: x.db.NewIndexedBatch(), freed: map[VolumeID]bool{}}
	if err := rb.batch.Set([]byte(keyRebuild), nil, nil); err != nil {
		return nil, err
	}
	x.rebuilding = true
	return rb, nil
}

// Load takes one record in. It keeps nothing of a.
func (rb *Rebuild) Load(a Applied) error {
	if err := rb.load(&a); err != nil {
		return fmt.Errorf("load LSN %d of volume %#x: %w", a.LSN, uint64(a.Loc.Volume), err)
	}
	if rb.batch.Len() < rebuildBatch {
		return nil
	}
	return rb.commit()
}

func (rb *Rebuild) commit() error {
	x := rb.x
	if err := x.admit(rb.batch.Len()); err != nil {
		return err
	}
	if err := rb.batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	rb.batch.Close()
	rb.batch = x.db.NewIndexedBatch()
	return nil
}

func (rb *Rebuild) load(a *Applied) error {
	k, _, err := openRecord(a.Payload)
	if err != nil {
		return err
	}
	switch k {
	case KindPutBlobs, KindPutObject, KindPutPart, KindCompleteUpload, KindRelocate:
		return rb.loadPut(a)
	}
	rec, err := Parse(a.Payload)
	if err != nil {
		return err
	}
	switch rec := rec.(type) {
	case *PutBucket:
		return rb.offer(a, appendBucketID(nil, rec.Bucket.ID), a.wholly(), appendBucket(nil, &rec.Bucket))
	case *DeleteBucket:
		return rb.remove(a, appendBucketID(nil, rec.ID))
	case *DeleteObject:
		return rb.remove(a, appendStagedObject(nil, rec.Bucket, rec.Key, rec.Version))
	case *CreateUpload:
		return rb.offer(a, appendUploadKey(nil, rec.Upload.ID), a.wholly(), appendUpload(nil, &rec.Upload))
	case *AbortUpload:
		return rb.remove(a, appendUploadKey(nil, rec.Upload))
	case *DropBlobs:
		return nil // Finish drops whatever nothing references.
	case *Look:
		return nil // The caller makes them again.
	case *Config:
		if rec.Value == "" {
			return rb.remove(a, appendConfigKey(nil, rec.Name))
		}
		return rb.offer(a, appendConfigKey(nil, rec.Name), a.wholly(), appendStr(nil, rec.Value))
	case *Missing:
		key := appendMissingKey(nil, rec.Volume, rec.Shard)
		if rec.Causes == 0 {
			return rb.remove(a, key)
		}
		return rb.offer(a, key, a.wholly(), rec.appendValue(nil))
	case *JournalStart:
		return rb.offer(a, []byte(keyJournal), a.wholly(), a.Payload[2:])
	case *JournalFreed:
		for _, v := range rec.Volumes {
			rb.freed[v] = true
		}
		return nil
	default:
		return fmt.Errorf("%w: %v", ErrUnknownRecord, k)
	}
}

func (rb *Rebuild) loadPut(a *Applied) error {
	p := &rb.put
	if err := p.parse(a.Payload); err != nil {
		return err
	}
	for _, b := range p.blobs {
		if err := rb.offer(a, appendBlobKey(nil, b.id), a.held(b.share), []byte(b.body)); err != nil {
			return err
		}
	}
	if p.inline.len > 0 {
		e := a.inlineExtent(p)
		body := appendBlob(nil, e.Len, []Extent{e})
		if err := rb.offer(a, appendBlobKey(nil, p.inline.id), a.held(p.inline.share), body); err != nil {
			return err
		}
	}
	now := a.held(p.share)
	switch p.kind {
	case KindPutPart:
		return rb.offer(a, appendPartKey(nil, p.upload, p.part.number), now, []byte(p.body))
	case KindCompleteUpload:
		if err := rb.remove(a, appendUploadKey(nil, p.upload)); err != nil {
			return err
		}
		fallthrough
	case KindPutObject:
		return rb.offer(a, appendStagedObject(nil, p.bucket, p.key, p.object.version), now, []byte(p.body))
	}
	return nil
}

// remove says that the record a removed the entity, and counts a tombstone.
func (rb *Rebuild) remove(a *Applied, entity []byte) error {
	key := appendID([]byte{spaceRebuild}, stagedTombstone, uint64(a.Loc.Volume))
	key = binary.BigEndian.AppendUint64(key, uint64(a.LSN))
	var u VolumeUsage
	u.addTombstone(a.Payload)
	if err := rb.batch.Set(key, u.appendTo(nil), nil); err != nil {
		return err
	}
	return rb.stage(a, entity, func(dst []byte) []byte { return dst })
}

// offer says that the record a put the entity.
func (rb *Rebuild) offer(a *Applied, entity []byte, h held, body []byte) error {
	return rb.stage(a, entity, func(dst []byte) []byte { return append(appendHeld(dst, h), body...) })
}

// stage writes what a says of an entity unless a record that beats it was there before.
func (rb *Rebuild) stage(a *Applied, entity []byte, value func(dst []byte) []byte) error {
	rb.key = append(append(rb.key[:0], spaceRebuild, stagedEntity), entity...)
	v, closer, err := rb.batch.Get(rb.key)
	if err != nil && err != pebble.ErrNotFound {
		return readError(err)
	}
	if err == nil {
		r := view(v)
		origin, lsn := LSN(r.uvarint()), LSN(r.uvarint())
		if err := closer.Close(); err != nil {
			return err
		}
		if origin > a.origin() || origin == a.origin() && lsn >= a.LSN {
			return nil
		}
	}
	rb.val = binary.AppendUvarint(rb.val[:0], uint64(a.origin()))
	rb.val = binary.AppendUvarint(rb.val, uint64(a.LSN))
	rb.val = value(rb.val)
	return rb.batch.Set(rb.key, rb.val, nil)
}
