package meta

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Reads see what was applied before they began. Two reads may see two states: a caller that finds an
// object and then not its blob must look the object up again, as it was replaced or deleted in between.

// entry calls f with the value of key and returns whether there was one. The value is f's alone while it runs.
func (x *Index) entry(key []byte, f func(r *reader)) (found bool, err error) {
	return entryOf(x.db, key, f)
}

// entryOf is entry of the index, or of one of its states.
func entryOf(db pebble.Reader, key []byte, f func(r *reader)) (found bool, err error) {
	v, closer, err := db.Get(key)
	if err == pebble.ErrNotFound {
		return false, nil
	}
	if err != nil {
		return false, readError(err)
	}
	defer closer.Close()
	r := reader{s: string(v)} // The one copy; what f keeps are parts of it.
	f(&r)
	if r.bad {
		return false, corruptEntry(key)
	}
	return true, nil
}

// GetBucket returns the bucket of that name.
func (x *Index) GetBucket(name string) (b Bucket, found bool, err error) {
	found, err = x.entry(appendBucketName(nil, name), func(r *reader) {
		r.held()
		b = r.bucket()
	})
	return b, found, err
}

// ListBuckets returns up to limit buckets in order of name: those whose name begins with prefix and comes after after.
func (x *Index) ListBuckets(after, prefix string, limit int) (buckets []Bucket, more bool, err error) {
	it, err := x.db.NewIter(prefixOptions(appendBucketName(nil, prefix)))
	if err != nil {
		return nil, false, readError(err)
	}
	defer it.Close()
	from := appendBucketName(nil, after)
	if after != "" {
		from = append(from, 0)
	}
	for valid := it.SeekGE(from); valid; valid = it.Next() {
		if len(buckets) >= limit {
			return buckets, limit > 0, nil
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, false, readError(err)
		}
		r := reader{s: string(v)}
		r.held()
		b := r.bucket()
		if !r.done() {
			return nil, false, corruptEntry(it.Key())
		}
		buckets = append(buckets, b)
	}
	return buckets, false, readError(it.Error())
}

// objectKeyRoom keeps the key of most objects on the stack.
const objectKeyRoom = 256

// GetObject returns a version of a key, with all its blobs and parts. With CurrentVersion it never returns a delete marker.
func (x *Index) GetObject(bucket BucketID, key string, version VersionID) (o Object, found bool, err error) {
	return x.object(bucket, key, version, func(r *reader, o *Object) { r.object(o) })
}

// GetObjectHead is GetObject without blobs and parts: the cost does not grow with their number.
func (x *Index) GetObjectHead(bucket BucketID, key string, version VersionID) (o Object, found bool, err error) {
	return x.object(bucket, key, version, func(r *reader, o *Object) {
		var pool []Attr
		r.listing(o, &pool)
	})
}

// GetObjectRange is GetObject without parts and with only those blob references that bear on the n bytes from off on;
// first is where in the object the first of them begins.
func (x *Index) GetObjectRange(bucket BucketID, key string, version VersionID, off, n int64) (o Object, first int64, found bool, err error) {
	o, found, err = x.object(bucket, key, version, func(r *reader, o *Object) {
		var pool []Attr
		r.listing(o, &pool)
		c := r.refs()
		var at int64
		first = 0 // This may not be the first version looked at.
		for ref, ok := c.next(); ok && at-off < n; ref, ok = c.next() {
			if at+ref.Len > off {
				if len(o.Blobs) == 0 {
					first = at
				}
				o.Blobs = append(o.Blobs, ref)
			}
			at += ref.Len
		}
		if c.r.bad {
			r.fail()
		}
	})
	return o, first, found, err
}

// GetDeleteMarker returns the current version of a key if that is a delete marker.
func (x *Index) GetDeleteMarker(bucket BucketID, key string) (o Object, found bool, err error) {
	return versionAt(x.db, appendHeadKey(nil, spaceMarker, bucket, key), key, func(r *reader, o *Object) { r.object(o) })
}

func (x *Index) object(bucket BucketID, key string, version VersionID, read func(r *reader, o *Object)) (o Object, found bool, err error) {
	// One look is one state, and finds what nearly all look for: what is current. A snapshot is dear to close: Pebble looks for compactions then.
	var room [objectKeyRoom]byte
	o, found, err = versionAt(x.db, appendHeadKey(room[:0], spaceObject, bucket, key), key, read)
	if err != nil || version == CurrentVersion || found && o.Version.same(version) {
		return o, found, err
	}
	// The version may move from one space to another between the looks.
	s := x.db.NewSnapshot()
	defer s.Close()
	return objectOf(s, bucket, key, version, read)
}

// objectOf looks for a version in one state of the index.
func objectOf(db pebble.Reader, bucket BucketID, key string, version VersionID, read func(r *reader, o *Object)) (o Object, found bool, err error) {
	var room [objectKeyRoom]byte
	o, found, err = versionAt(db, appendHeadKey(room[:0], spaceObject, bucket, key), key, read)
	if err != nil || version == CurrentVersion || found && o.Version.same(version) {
		return o, found, err
	}
	if !found {
		o, found, err = versionAt(db, appendHeadKey(room[:0], spaceMarker, bucket, key), key, read)
		if err != nil || !found || o.Version.same(version) {
			return o, found, err
		}
	}
	if version.IsNull() {
		found, err = entryOf(db, appendHeadKey(room[:0], spaceNull, bucket, key), func(r *reader) { version = VersionID(r.uvarint()) })
		if err != nil || !found {
			return Object{}, false, err
		}
	}
	return versionAt(db, appendVersionKey(room[:0], bucket, key, version), key, read)
}

// versionAt returns the version under an index key.
func versionAt(db pebble.Reader, indexKey []byte, key string, read func(r *reader, o *Object)) (o Object, found bool, err error) {
	found, err = entryOf(db, indexKey, func(r *reader) {
		o.Key = key
		o.LSN = r.held().lsn
		read(r, &o)
	})
	if !found {
		return Object{}, false, err
	}
	return o, true, nil
}

// GetBlob returns a blob. One without extents is lost: something references it, but the journal did not say where it is.
func (x *Index) GetBlob(id BlobID) (b Blob, found bool, err error) { return blobOf(x.db, id) }

func blobOf(db pebble.Reader, id BlobID) (b Blob, found bool, err error) {
	var room [16]byte
	found, err = entryOf(db, appendBlobKey(room[:0], id), func(r *reader) {
		b.ID = id
		b.LSN = r.held().lsn
		r.blob(&b)
	})
	return b, found, err
}

// BlobAt returns the blob that has an extent at off of a bulk volume.
func (x *Index) BlobAt(volume VolumeID, off int64) (id BlobID, found bool, err error) {
	found, err = x.entry(appendExtentKey(nil, volume, off), func(r *reader) { id = BlobID(r.uvarint()) })
	return id, found, err
}

// VolumeExtents calls f for each extent in a bulk volume, in order of offset, until it returns false.
func (x *Index) VolumeExtents(volume VolumeID, f func(off int64, blob BlobID) bool) error {
	return volumeExtentsOf(x.db, volume, f)
}

func volumeExtentsOf(db pebble.Reader, volume VolumeID, f func(off int64, blob BlobID) bool) error {
	return scanOf(db, appendID(nil, spaceExtent, uint64(volume)), func(key, value []byte) (bool, error) {
		r := view(value)
		id := BlobID(r.uvarint())
		if !r.done() {
			return false, corruptEntry(key)
		}
		return f(int64(binary.BigEndian.Uint64(key[9:])), id), nil
	})
}

// ExtentOwner is an entry of the reverse index.
type ExtentOwner struct {
	Off  int64
	Blob BlobID
}

// ExtentsFrom returns up to limit extents of a bulk volume, in order of offset, from an offset on.
func (x *Index) ExtentsFrom(volume VolumeID, from int64, limit int) (owners []ExtentOwner, err error) {
	it, err := x.db.NewIter(prefixOptions(appendID(nil, spaceExtent, uint64(volume))))
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	for valid := it.SeekGE(appendExtentKey(nil, volume, from)); valid && len(owners) < limit; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, readError(err)
		}
		r := view(value)
		owner := ExtentOwner{Off: int64(be64(it.Key()[9:])), Blob: BlobID(r.uvarint())}
		if !r.done() {
			return nil, corruptEntry(it.Key())
		}
		owners = append(owners, owner)
	}
	return owners, readError(it.Error())
}

// LastExtent returns the extent that begins last in a bulk volume, and whether there is one.
func (x *Index) LastExtent(volume VolumeID) (off int64, blob BlobID, found bool, err error) {
	it, err := x.db.NewIter(prefixOptions(appendID(nil, spaceExtent, uint64(volume))))
	if err != nil {
		return 0, 0, false, readError(err)
	}
	defer it.Close()
	if !it.Last() {
		return 0, 0, false, readError(it.Error())
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return 0, 0, false, readError(err)
	}
	r := view(value)
	blob = BlobID(r.uvarint())
	if !r.done() {
		return 0, 0, false, corruptEntry(it.Key())
	}
	return int64(binary.BigEndian.Uint64(it.Key()[9:])), blob, true, nil
}

// UnreferencedBlobs returns up to limit of the blobs that nothing references, from after on, exclusive.
func (x *Index) UnreferencedBlobs(after BlobID, limit int) (ids []BlobID, err error) {
	it, err := x.db.NewIter(prefixOptions([]byte{spaceUnreferred}))
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	from := appendUnreferred(nil, after)
	if after != 0 {
		from = append(from, 0)
	}
	for valid := it.SeekGE(from); valid && len(ids) < limit; valid = it.Next() {
		ids = append(ids, BlobID(binary.BigEndian.Uint64(it.Key()[1:])))
	}
	return ids, readError(it.Error())
}

// GetUpload returns an upload.
func (x *Index) GetUpload(id UploadID) (u Upload, found bool, err error) {
	found, err = x.entry(appendUploadKey(nil, id), func(r *reader) {
		r.held()
		u = r.upload()
	})
	return u, found, err
}

// GetPart returns a part of an upload.
func (x *Index) GetPart(id UploadID, number int) (p UploadPart, found bool, err error) {
	if number < 1 || number > MaxParts {
		return p, false, nil
	}
	found, err = x.entry(appendPartKey(nil, id, number), func(r *reader) {
		r.held()
		r.uploadPart(&p)
	})
	return p, found, err
}

// ListParts returns up to limit parts of an upload, in order, whose number is above after.
func (x *Index) ListParts(id UploadID, after, limit int) (parts []UploadPart, more bool, err error) {
	if after >= MaxParts || limit <= 0 {
		return nil, false, nil
	}
	it, err := x.db.NewIter(prefixOptions(append([]byte{spacePart}, id[:]...)))
	if err != nil {
		return nil, false, readError(err)
	}
	defer it.Close()
	for valid := it.SeekGE(appendPartKey(nil, id, max(after, 0)+1)); valid; valid = it.Next() {
		if len(parts) == limit {
			return parts, true, nil
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, false, readError(err)
		}
		r := reader{s: string(v)}
		r.held()
		var p UploadPart
		r.uploadPart(&p)
		if !r.done() {
			return nil, false, corruptEntry(it.Key())
		}
		parts = append(parts, p)
	}
	return parts, false, readError(it.Error())
}

// Config returns a named value, "" when it is not set.
func (x *Index) Config(name string) (value string, err error) {
	_, err = x.entry(appendConfigKey(nil, name), func(r *reader) {
		r.held()
		value = r.str()
	})
	return value, err
}

// ListConfig returns up to limit named values in order of name: those whose name begins with prefix and comes after after.
func (x *Index) ListConfig(after, prefix string, limit int) (values []Config, more bool, err error) {
	it, err := x.db.NewIter(prefixOptions(appendConfigKey(nil, prefix)))
	if err != nil {
		return nil, false, readError(err)
	}
	defer it.Close()
	from := appendConfigKey(nil, after)
	if after != "" {
		from = append(from, 0)
	}
	for valid := it.SeekGE(from); valid; valid = it.Next() {
		if len(values) >= limit {
			return values, limit > 0, nil
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, false, readError(err)
		}
		r := reader{s: string(v)}
		r.held()
		c := Config{Name: string(it.Key()[1:]), Value: r.str()}
		if !r.done() {
			return nil, false, corruptEntry(it.Key())
		}
		values = append(values, c)
	}
	return values, false, readError(it.Error())
}

// NewestJournalStart returns the newest journal start record and its LSN; 0 when there was none.
func (x *Index) NewestJournalStart() (start JournalStart, lsn LSN, err error) {
	_, err = x.entry([]byte(keyJournal), func(r *reader) {
		lsn = r.held().lsn
		start.Volumes = r.journalVolumes()
	})
	return start, lsn, err
}

// BucketEmpty reports whether a bucket holds no version of any object in this index. It may still have uploads.
func (x *Index) BucketEmpty(id BucketID) (bool, error) {
	for _, space := range []byte{spaceObject, spaceMarker} {
		empty := true
		err := x.scan(appendID(nil, space, uint64(id)), func(_, _ []byte) (bool, error) {
			empty = false
			return false, nil
		})
		if err != nil || !empty {
			return false, err
		}
	}
	return true, nil
}

// rollUp returns the common prefix that key is rolled up to, given that it begins with prefix; ok is false if it stands for itself.
func rollUp(key []byte, prefix, delimiter string) (end int, ok bool) {
	if delimiter == "" {
		return 0, false
	}
	i := strings.Index(view(key[len(prefix):]).s, delimiter)
	return len(prefix) + i + len(delimiter), i >= 0
}

var errOrderKey = fmt.Errorf("%w: upload order key", ErrCorrupt)
