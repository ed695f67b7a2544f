package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// finish is the second half of a rebuild: it turns the staged winners into the index.
type finish struct {
	rb      *Rebuild
	x       *Index
	batch   *pebble.Batch
	volumes map[VolumeID]VolumeUsage
	buckets map[BucketID]BucketUsage
	refs    uint64 // Numbers the references.
	out     Rebuilt
}

// Finish makes the index whole, as of pos, and durable. The Rebuild is spent.
func (rb *Rebuild) Finish(ctx context.Context, pos Position) (Rebuilt, error) {
	x := rb.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if rb.done {
		return Rebuilt{}, fmt.Errorf("%w: rebuild finished twice", ErrInconsistent)
	}
	rb.done = true
	if err := rb.commit(); err != nil {
		return Rebuilt{}, err
	}
	rb.batch.Close()
	f := &finish{
		rb: rb, x: x, batch: x.db.NewBatch(), volumes: map[VolumeID]VolumeUsage{}, buckets: map[BucketID]BucketUsage{},
	}
	defer func() { f.batch.Close() }()
	for _, step := range []func(context.Context) error{
		f.bucketsAndConfig, f.uploads, f.parts, f.objects, f.blobs, f.tombstones,
	} {
		if err := step(ctx); err != nil {
			return Rebuilt{}, fmt.Errorf("rebuild: %w", err)
		}
	}
	if err := f.seal(pos); err != nil {
		return Rebuilt{}, fmt.Errorf("rebuild: %w", err)
	}
	x.position.Store(&pos)
	x.rebuilding = false
	x.tx.counted.forget() // The counts are others now.
	done, err := x.startFlush()
	if err != nil {
		return f.out, err
	}
	return f.out, x.awaitFlush(ctx, done)
}

// seal writes the sums and the position, and ends the rebuild, in one batch.
func (f *finish) seal(pos Position) error {
	for v, u := range f.volumes {
		if u == (VolumeUsage{}) || f.rb.freed[v] {
			continue
		}
		if err := f.set(appendVolumeKey(nil, v), u.appendTo(nil)); err != nil {
			return err
		}
	}
	for id, u := range f.buckets {
		if err := f.set(appendUsageKey(nil, id), u.appendTo(nil)); err != nil {
			return err
		}
	}
	// What was written so far goes ahead, so that the last batch is small: it alone turns the rebuild into an index.
	if err := f.commit(); err != nil {
		return err
	}
	if err := f.batch.DeleteRange([]byte{spaceRebuild}, []byte{spaceRebuild + 1}, nil); err != nil {
		return err
	}
	if err := f.batch.Delete([]byte(keyRebuild), nil); err != nil {
		return err
	}
	if err := f.set([]byte(keyPosition), appendPosition(nil, pos)); err != nil {
		return err
	}
	return f.commit()
}

func (f *finish) commit() error {
	if err := f.x.admit(f.batch.Len()); err != nil {
		return err
	}
	if err := f.batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	f.batch.Close()
	f.batch = f.x.db.NewBatch()
	return nil
}

func (f *finish) set(key, value []byte) error {
	if err := f.batch.Set(key, value, nil); err != nil {
		return err
	}
	if f.batch.Len() < rebuildBatch {
		return nil
	}
	return f.commit()
}

// staged calls g for each entity in one key space that was not removed, in order. body continues after what the
// journal holds of it; value is all of what the index will have.
func (f *finish) staged(ctx context.Context, entity string, g func(key []byte, h held, body reader, value []byte) error) error {
	const base = 2
	prefix := append([]byte{spaceRebuild, stagedEntity}, entity...)
	return f.x.scan(prefix, func(key, v []byte) (bool, error) {
		r := view(v)
		r.uvarint()
		r.uvarint()
		if r.done() {
			return true, ctx.Err()
		}
		value := v[len(v)-len(r.s):]
		h := r.held()
		if !r.ok() {
			return false, corruptEntry(key)
		}
		if f.rb.freed[h.volume] {
			return true, nil // Whatever is only there was dead when the volume went.
		}
		if err := g(key[base:], h, r, value); err != nil {
			return false, err
		}
		return true, ctx.Err()
	})
}

func (f *finish) live(v VolumeID, n int64) {
	u := f.volumes[v]
	u.Live += n
	f.volumes[v] = u
}

func (f *finish) bucketsAndConfig(ctx context.Context) error {
	err := f.staged(ctx, string(spaceBucketID), func(key []byte, h held, body reader, value []byte) error {
		b := body.bucket()
		if !body.done() {
			return corruptEntry(key)
		}
		f.out.Buckets++
		f.live(h.volume, h.share)
		if err := f.set(key, []byte(b.Name)); err != nil {
			return err
		}
		return f.set(appendBucketName(nil, b.Name), value)
	})
	if err != nil {
		return err
	}
	for _, space := range []string{string(spaceConfig), string(spaceMissing), keyJournal} {
		err := f.staged(ctx, space, func(key []byte, h held, _ reader, value []byte) error {
			f.live(h.volume, h.share)
			return f.set(key, value)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *finish) uploads(ctx context.Context) error {
	return f.staged(ctx, string(spaceUpload), func(key []byte, h held, body reader, value []byte) error {
		u := body.upload()
		if !body.done() {
			return corruptEntry(key)
		}
		f.out.Uploads++
		f.live(h.volume, h.share)
		usage := f.buckets[u.Bucket]
		usage.Uploads++
		f.buckets[u.Bucket] = usage
		if err := f.set(appendUploadOrder(nil, &u), appendAttrs(nil, u.Attrs)); err != nil {
			return err
		}
		return f.set(key, value)
	})
}

// parts follows uploads, and asks of each part whether its upload was written.
func (f *finish) parts(ctx context.Context) error {
	if err := f.commit(); err != nil {
		return err
	}
	var upload []byte
	var alive bool
	var bucket BucketID
	return f.staged(ctx, string(spacePart), func(key []byte, h held, body reader, value []byte) error {
		id := key[1 : 1+len(UploadID{})]
		if !bytes.Equal(id, upload) {
			upload = append(upload[:0], id...)
			value, found, err := f.x.get(append([]byte{spaceUpload}, id...))
			if err != nil {
				return err
			}
			r := view(value)
			alive, bucket = found, r.uploadBucket()
		}
		if !alive {
			f.out.DroppedParts++
			return nil
		}
		head := body.skipUploadPart()
		if !body.done() {
			return corruptEntry(key)
		}
		f.out.Parts++
		f.live(h.volume, h.share)
		usage := f.buckets[bucket]
		usage.addPart(head.size, +1)
		f.buckets[bucket] = usage
		if err := f.stageRefs(key, head.refs); err != nil {
			return err
		}
		return f.set(key, value)
	})
}

// stageRefs notes what an entity references. Pebble sorts these by blob, so that blobs can count
// them in one pass, however many there are.
func (f *finish) stageRefs(entity []byte, list refs) error {
	for ref, ok := list.next(); ok; ref, ok = list.next() {
		key := appendID([]byte{spaceRebuild}, stagedRef, uint64(ref.Blob))
		key = binary.BigEndian.AppendUint64(key, f.refs)
		f.refs++
		value := append(binary.AppendUvarint(nil, uint64(ref.Off+ref.Len)), entity...)
		if err := f.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// blobs merges the staged blobs with the references to them, both in order of id.
func (f *finish) blobs(ctx context.Context) error {
	if err := f.commit(); err != nil {
		return err
	}
	refs, err := f.x.db.NewIter(prefixOptions([]byte{spaceRebuild, stagedRef}))
	if err != nil {
		return readError(err)
	}
	defer refs.Close()
	refs.First()
	err = f.staged(ctx, string(spaceBlob), func(key []byte, h held, body reader, value []byte) error {
		id := BlobID(binary.BigEndian.Uint64(key[1:]))
		if err := f.loseUntil(refs, id); err != nil {
			return err
		}
		return f.blob(refs, id, h, body, value)
	})
	if err != nil {
		return err
	}
	if err := f.loseUntil(refs, ^BlobID(0)); err != nil {
		return err
	}
	if refs.Valid() { // To the very last id.
		if err := f.lose(refs); err != nil {
			return err
		}
	}
	return readError(refs.Error())
}

// countRefs takes the references to the blob that refs stands at, giving each and how far it reaches to g. It returns their
// number and how far they all reach.
func (f *finish) countRefs(refs *pebble.Iterator, id BlobID, g func(entity []byte, end int64)) (n, end int64, err error) {
	for ; refs.Valid() && refBlob(refs) == id; refs.Next() {
		v, err := refs.ValueAndErr()
		if err != nil {
			return 0, 0, readError(err)
		}
		r := view(v)
		n++
		this := r.size()
		end = max(end, this)
		g(v[len(v)-len(r.s):], this)
	}
	return n, end, readError(refs.Error())
}

func refBlob(refs *pebble.Iterator) BlobID { return BlobID(binary.BigEndian.Uint64(refs.Key()[2:])) }

// blob writes one blob if anything references it.
func (f *finish) blob(refs *pebble.Iterator, id BlobID, h held, body reader, value []byte) error {
	size, extents := body.blobHead()
	n, _, err := f.countRefs(refs, id, func(entity []byte, end int64) {
		if end > size {
			f.report(id, entity)
		}
	})
	if err != nil {
		return err
	}
	if n == 0 {
		f.out.DroppedBlobs++
		return nil
	}
	f.out.Blobs++
	f.live(h.volume, h.share)
	body.extentsOf(size, extents, false, func(e Extent) {
		if e.Inline || err != nil {
			return
		}
		f.live(e.Volume, e.Len)
		err = f.set(appendExtentKey(nil, e.Volume, e.Off), appendExtentOwner(nil, id))
	})
	if err == nil && !body.done() {
		err = fmt.Errorf("%w: blob %#x", ErrCorrupt, uint64(id))
	}
	if err != nil {
		return err
	}
	return f.writeBlob(id, value, n)
}

func (f *finish) writeBlob(id BlobID, value []byte, refs int64) error {
	if err := f.set(appendBlobKey(nil, id), value); err != nil || refs == 1 {
		return err
	}
	return f.set(appendRefsKey(nil, id), binary.AppendUvarint(nil, uint64(refs)))
}

// loseUntil handles the references to blobs below id: those were found nowhere.
func (f *finish) loseUntil(refs *pebble.Iterator, id BlobID) error {
	for refs.Valid() && refBlob(refs) < id {
		if err := f.lose(refs); err != nil {
			return err
		}
	}
	return readError(refs.Error())
}

// lose writes a blob without extents in place of the one that refs stands at. So whatever references it stays, can be
// overwritten and deleted like any other, and answers reads with an error instead of not being found.
func (f *finish) lose(refs *pebble.Iterator) error {
	id := refBlob(refs)
	n, end, err := f.countRefs(refs, id, func(entity []byte, _ int64) { f.report(id, entity) })
	if err != nil {
		return err
	}
	return f.writeBlob(id, appendBlob(appendHeld(nil, held{}), end, nil), n)
}

func (f *finish) report(id BlobID, entity []byte) {
	f.out.LostCount++
	if len(f.out.Lost) < maxLosses {
		f.out.Lost = append(f.out.Lost, lossOf(id, entity))
	}
}

func lossOf(id BlobID, entity []byte) Loss {
	l := Loss{Blob: id}
	if entity[0] == spaceObject {
		l.Bucket, l.Key, l.Version, _ = cutStagedObject(entity)
		return l
	}
	copy(l.Upload[:], entity[1:])
	l.Part = int(binary.BigEndian.Uint16(entity[1+len(l.Upload):]))
	return l
}

func (f *finish) tombstones(ctx context.Context) error {
	return f.x.scan([]byte{spaceRebuild, stagedTombstone}, func(key, value []byte) (bool, error) {
		one, err := parseVolumeUsage(value)
		if err != nil {
			return false, err
		}
		v := VolumeID(binary.BigEndian.Uint64(key[2:]))
		u := f.volumes[v]
		u.Tombstones += one.Tombstones
		u.TombstoneLen += one.TombstoneLen
		f.volumes[v] = u
		return true, ctx.Err()
	})
}
