package meta

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Census is what a walk over all of an index has counted.
type Census struct {
	Buckets      int64 `json:"buckets"` // The first four as in BucketUsage, of all buckets together.
	Objects      int64 `json:"objects"`
	Versions     int64 `json:"versions"`
	Markers      int64 `json:"markers"`
	Uploads      int64 `json:"uploads"`
	Parts        int64 `json:"parts"`
	Blobs        int64 `json:"blobs"`
	Inline       int64 `json:"inline"`       // Blobs that lie in a record.
	Extents      int64 `json:"extents"`      // In bulk volumes.
	Lost         int64 `json:"lost"`         // Blobs of which no record was found when the index was rebuilt.
	Unreferenced int64 `json:"unreferenced"` // Blobs that nothing references: of uploads under way, or to be dropped at the next start.
	Bytes        int64 `json:"bytes"`        // Of all versions.
}

// censusBlobs bounds the blobs whose references are counted at once, lest memory grows with the index: for more of them, it is walked
// again.
const censusBlobs = 4 << 20

// census walks an index.
type census struct {
	db      pebble.Reader
	ctx     context.Context
	wrong   func(string)
	out     Census
	buckets map[BucketID]BucketUsage
	volumes map[VolumeID]int64 // Live bytes.
}

// Census walks all of the index, counts what it holds, and compares every number and every reference in it with what it should be. What is
// wrong is told to wrong, in one line each. An error means that the walk was not completed.
//
// It uses none of what keeps these numbers, so that it finds what that does wrong.
func (v *View) Census(ctx context.Context, wrong func(string)) (Census, error) {
	c := &census{db: v.snapshot, ctx: ctx, wrong: wrong, buckets: map[BucketID]BucketUsage{}, volumes: map[VolumeID]int64{}}
	for _, step := range []func() error{c.entries, c.extents, c.references, c.usage} {
		if err := step(); err != nil {
			return c.out, err
		}
	}
	return c.out, nil
}

func (c *census) wrongf(format string, args ...any) { c.wrong(fmt.Sprintf(format, args...)) }

// each calls f for each entry of a space that parses.
func (c *census) each(space byte, f func(key []byte, r *reader)) error {
	return scanOf(c.db, []byte{space}, func(key, value []byte) (bool, error) {
		if _, err := dumpEntry(key, value); err != nil {
			c.wrongf("entry %q cannot be read: %v", key, err)
			return true, c.ctx.Err()
		}
		r := view(value)
		f(key, &r)
		return true, c.ctx.Err()
	})
}

// hold counts the live bytes of an entity.
func (c *census) hold(r *reader) held {
	h := r.held()
	c.volumes[h.volume] += h.share
	return h
}

func (c *census) has(key []byte) (found bool, err error) {
	return entryOf(c.db, key, func(r *reader) { r.s = "" })
}

// entries walks the entities but blobs.
func (c *census) entries() error {
	var failed error
	fail := func(err error) {
		if failed == nil {
			failed = err
		}
	}
	ids := map[BucketID]string{}
	err := c.each(spaceBucketName, func(key []byte, r *reader) {
		c.hold(r)
		b := r.bucket()
		if b.Name != string(key[1:]) || ids[b.ID] != "" {
			c.wrongf("bucket %q is entered as %q, and its id is also that of %q", b.Name, key[1:], ids[b.ID])
		}
		ids[b.ID] = strings.Clone(b.Name) // What it was read from is gone soon.
		c.out.Buckets++
	})
	if err != nil {
		return err
	}
	named := 0
	err = c.each(spaceBucketID, func(key []byte, r *reader) {
		named++
		if id := BucketID(be64(key[1:])); ids[id] != r.s {
			c.wrongf("bucket %#x is named %q in one place and %q in another", uint64(id), r.s, ids[id])
		}
	})
	if err != nil {
		return err
	}
	if named != len(ids) {
		c.wrongf("%d buckets are entered by id, and there are %d", named, len(ids))
	}
	for _, space := range []byte{spaceObject, spaceMarker, spaceVersion} {
		err := c.each(space, func(key []byte, r *reader) {
			c.hold(r)
			head := r.skipObject()
			id := BucketID(be64(key[1:]))
			if ids[id] == "" {
				c.wrongf("object %q is in bucket %#x, which does not exist", key[9:], uint64(id))
			}
			if space != spaceVersion && head.marker != (space == spaceMarker) {
				c.wrongf("object %q of bucket %q is a delete marker: %v, and entered as one: %v", key[9:], ids[id], head.marker, !head.marker)
			}
			u := c.buckets[id]
			u.addVersion(space, &head, +1)
			c.buckets[id] = u
		})
		if err != nil {
			return err
		}
	}
	nulls := 0
	if err := c.each(spaceNull, func([]byte, *reader) { nulls-- }); err != nil {
		return err
	}
	err = c.each(spaceVersion, func(_ []byte, r *reader) {
		r.held()
		if r.skipObject().version.IsNull() {
			nulls++
		}
	})
	if err != nil {
		return err
	}
	if nulls != 0 {
		c.wrongf("there are %d more null versions that are not current than are entered as such", nulls)
	}
	for _, u := range c.buckets {
		c.out.Objects, c.out.Versions, c.out.Markers = c.out.Objects+u.Objects, c.out.Versions+u.Versions, c.out.Markers+u.Markers
		c.out.Bytes += u.Bytes
	}
	err = c.each(spaceUpload, func(_ []byte, r *reader) {
		c.hold(r)
		u := r.upload()
		c.out.Uploads++
		usage := c.buckets[u.Bucket]
		usage.Uploads++
		c.buckets[u.Bucket] = usage
		if ids[u.Bucket] == "" {
			c.wrongf("upload %x is in bucket %#x, which does not exist", u.ID, uint64(u.Bucket))
		}
		if found, err := c.has(appendUploadOrder(nil, &u)); err != nil {
			fail(err)
		} else if !found {
			c.wrongf("upload %x is not listed", u.ID)
		}
	})
	if err != nil {
		return err
	}
	listed := int64(0)
	if err := c.each(spaceUploadOrder, func([]byte, *reader) { listed++ }); err != nil {
		return err
	}
	if listed != c.out.Uploads {
		c.wrongf("%d uploads are listed, and there are %d", listed, c.out.Uploads)
	}
	var upload UploadID // Whose parts are passed.
	var bucket BucketID
	found := false
	err = c.each(spacePart, func(key []byte, r *reader) {
		c.hold(r)
		c.out.Parts++
		if id := UploadID(key[1:17]); id != upload || !found {
			upload = id
			var err error
			if found, err = entryOf(c.db, appendUploadKey(nil, id), func(r *reader) { bucket = r.uploadBucket() }); err != nil {
				fail(err)
			}
		}
		if !found {
			c.wrongf("part %x is of an upload that does not exist", key[1:])
			return
		}
		usage := c.buckets[bucket]
		usage.addPart(r.skipUploadPart().size, +1)
		c.buckets[bucket] = usage
	})
	if err != nil {
		return err
	}
	for _, space := range []byte{spaceConfig, spaceMissing} {
		if err := c.each(space, func(_ []byte, r *reader) { c.hold(r) }); err != nil {
			return err
		}
	}
	err = scanOf(c.db, []byte(keyJournal), func(_, value []byte) (bool, error) {
		r := view(value)
		c.hold(&r)
		return true, nil
	})
	if err != nil {
		return err
	}
	return failed
}

// extents walks the blobs, and compares their extents with what is entered under their volumes.
func (c *census) extents() error {
	var failed error
	err := c.each(spaceBlob, func(key []byte, r *reader) {
		c.hold(r)
		b := Blob{ID: BlobID(be64(key[1:]))}
		r.blob(&b)
		c.out.Blobs++
		if len(b.Extents) == 0 {
			c.out.Lost++
		}
		for _, e := range b.Extents {
			if e.Inline {
				c.out.Inline++
				continue
			}
			c.out.Extents++
			c.volumes[e.Volume] += e.Len
			var owner BlobID
			found, err := entryOf(c.db, appendExtentKey(nil, e.Volume, e.Off), func(r *reader) { owner = BlobID(r.uvarint()) })
			if err != nil && failed == nil {
				failed = err
			}
			if !found || owner != b.ID {
				c.wrongf("volume %#x, offset %d: is of blob %#x, and entered as that of %#x", uint64(e.Volume), e.Off, uint64(b.ID), uint64(owner))
			}
		}
	})
	if err != nil {
		return err
	}
	entered := int64(0)
	if err := c.each(spaceExtent, func([]byte, *reader) { entered++ }); err != nil {
		return err
	}
	if entered != c.out.Extents {
		c.wrongf("%d extents are entered under their volumes, and blobs have %d", entered, c.out.Extents)
	}
	return failed
}

// references counts the references to each blob, and compares them with the counts that are kept.
func (c *census) references() error {
	passes := uint64(c.out.Blobs/censusBlobs + 1)
	for pass := range passes {
		counted := map[BlobID]int64{}
		sizes := map[BlobID]int64{}
		err := c.each(spaceBlob, func(key []byte, r *reader) {
			if id := be64(key[1:]); id%passes == pass {
				r.held()
				sizes[BlobID(id)], _ = r.blobHead()
			}
		})
		if err != nil {
			return err
		}
		for _, space := range []byte{spaceObject, spaceMarker, spaceVersion, spacePart} {
			err := c.each(space, func(key []byte, r *reader) {
				r.held()
				var list refs
				if space == spacePart {
					list = r.skipUploadPart().refs
				} else {
					list = r.skipObject().refs
				}
				for ref, ok := list.next(); ok; ref, ok = list.next() {
					if uint64(ref.Blob)%passes != pass {
						continue
					}
					counted[ref.Blob]++
					size, found := sizes[ref.Blob]
					if !found || ref.Off+ref.Len > size {
						c.wrongf("entry %q references bytes %d to %d of blob %#x, which has %d", key, ref.Off, ref.Off+ref.Len, uint64(ref.Blob), size)
					}
				}
			})
			if err != nil {
				return err
			}
		}
		for id := range sizes {
			if err := c.compareRefs(id, counted[id]); err != nil {
				return err
			}
		}
	}
	for _, space := range []byte{spaceRefs, spaceUnreferred} {
		var failed error
		err := c.each(space, func(key []byte, _ *reader) {
			id := BlobID(be64(key[1:]))
			if found, err := c.has(appendBlobKey(nil, id)); err != nil {
				failed = err
			} else if !found {
				c.wrongf("references to blob %#x are counted, and it does not exist", uint64(id))
			}
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
	}
	return nil
}

func (c *census) compareRefs(id BlobID, counted int64) error {
	kept := int64(1)
	if _, err := entryOf(c.db, appendRefsKey(nil, id), func(r *reader) { kept = r.size() }); err != nil {
		return err
	}
	marked, err := c.has(appendUnreferred(nil, id))
	if err != nil {
		return err
	}
	if counted == 0 {
		c.out.Unreferenced++
	}
	if kept != counted || marked != (counted == 0) {
		c.wrongf("blob %#x has %d references, the count says %d, and it is among those without: %v", uint64(id), counted, kept, marked)
	}
	return nil
}

// usage compares what was counted of buckets and volumes with what is kept.
func (c *census) usage() error {
	err := c.each(spaceUsage, func(key []byte, r *reader) {
		id := BucketID(be64(key[1:]))
		if kept := r.bucketUsage(); kept != c.buckets[id] {
			c.wrongf("bucket %#x holds %+v, and the count says %+v", uint64(id), c.buckets[id], kept)
		}
		delete(c.buckets, id)
	})
	if err != nil {
		return err
	}
	for id, u := range c.buckets {
		if u != (BucketUsage{}) {
			c.wrongf("bucket %#x holds %+v, and there is no count", uint64(id), u)
		}
	}
	err = c.each(spaceVolume, func(key []byte, r *reader) {
		id := VolumeID(be64(key[1:]))
		if kept := r.varint(); kept != c.volumes[id] {
			c.wrongf("volume %#x has %d live bytes, and the count says %d", uint64(id), c.volumes[id], kept)
		}
		delete(c.volumes, id)
	})
	if err != nil {
		return err
	}
	for id, n := range c.volumes {
		if n != 0 {
			c.wrongf("volume %#x has %d live bytes, and there is no count", uint64(id), n)
		}
	}
	return nil
}

// VolumeExtents is like that of Index.
func (v *View) VolumeExtents(volume VolumeID, f func(off int64, blob BlobID) bool) error {
	return volumeExtentsOf(v.snapshot, volume, f)
}

// Blobs calls f for each blob, in order of id, until it returns false.
func (v *View) Blobs(f func(Blob) bool) error {
	return scanOf(v.snapshot, []byte{spaceBlob}, func(key, value []byte) (bool, error) {
		b := Blob{ID: BlobID(be64(key[1:]))}
		r := view(value)
		b.LSN = r.held().lsn
		if r.blob(&b); !r.done() {
			return false, corruptEntry(key)
		}
		return f(b), nil
	})
}

// VolumeUsages is Volumes of Index.
func (v *View) VolumeUsages(f func(id VolumeID, u VolumeUsage) bool) error {
	return volumesOf(v.snapshot, f)
}

// Plus returns the sums of two counts.
func (c Census) Plus(o Census) Census {
	return Census{
		Buckets: c.Buckets + o.Buckets, Objects: c.Objects + o.Objects, Versions: c.Versions + o.Versions, Markers: c.Markers + o.Markers,
		Uploads: c.Uploads + o.Uploads, Parts: c.Parts + o.Parts, Blobs: c.Blobs + o.Blobs, Inline: c.Inline + o.Inline,
		Extents: c.Extents + o.Extents, Lost: c.Lost + o.Lost, Unreferenced: c.Unreferenced + o.Unreferenced, Bytes: c.Bytes + o.Bytes,
	}
}
