package meta

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// BucketUsage is what a bucket holds in this index.
type BucketUsage struct {
	Objects  int64 // Keys whose current version is not a delete marker.
	Versions int64 // Versions but delete markers, the current ones among them.
	Markers  int64 // Delete markers.
	Bytes    int64 // Of all versions.

	Uploads   int64 // In progress.
	Parts     int64 // Of these uploads.
	PartBytes int64
}

// Add adds what another index has of the bucket.
func (u *BucketUsage) Add(v BucketUsage) {
	u.Objects, u.Versions, u.Markers, u.Bytes = u.Objects+v.Objects, u.Versions+v.Versions, u.Markers+v.Markers, u.Bytes+v.Bytes
	u.Uploads, u.Parts, u.PartBytes = u.Uploads+v.Uploads, u.Parts+v.Parts, u.PartBytes+v.PartBytes
}

// addPart counts a part of an upload in progress; with sign -1 it takes it back.
func (u *BucketUsage) addPart(size, sign int64) {
	u.Parts += sign
	u.PartBytes += sign * size
}

// negative reports whether anything was taken back that had not been counted.
func (u *BucketUsage) negative() bool {
	return min(u.Objects, u.Versions, u.Markers, u.Bytes, u.Uploads, u.Parts, u.PartBytes) < 0
}

// addVersion counts a version that lies in space; with sign -1 it takes it back.
func (u *BucketUsage) addVersion(space byte, h *objectHead, sign int64) {
	if space == spaceObject {
		u.Objects += sign
	}
	if h.marker {
		u.Markers += sign
	} else {
		u.Versions += sign
	}
	u.Bytes += sign * h.size
}

// volumeChange is what an Apply did to a volume.
type volumeChange struct {
	VolumeUsage
	lost bool // Some live bytes died.
}

// live counts n more live bytes in a volume; n is negative when bytes die.
func (t *tx) live(v VolumeID, n int64) {
	if n == 0 {
		return
	}
	c := t.volumes[v]
	c.Live += n
	c.lost = c.lost || n < 0
	t.volumes[v] = c
}

// tombstone counts a tombstone in a journal volume. Whether there was anything to remove does not matter, so that the
// count depends on the records of the volume alone.
func (t *tx) tombstone(a *Applied) {
	c := t.volumes[a.Loc.Volume]
	c.addTombstone(a.Payload)
	t.volumes[a.Loc.Volume] = c
}

// writeVolumes adds the changes to the volumes' usage and notes which volumes died.
func (t *tx) writeVolumes() error {
	for v, c := range t.volumes {
		if err := t.writeVolume(v, c); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) writeVolume(v VolumeID, c volumeChange) error {
	t.key = appendVolumeKey(t.key[:0], v)
	value, found, err := t.get(t.key)
	if err != nil {
		return err
	}
	var u VolumeUsage
	if found {
		if u, err = parseVolumeUsage(value); err != nil {
			return err
		}
	}
	u.Live += c.Live
	u.Tombstones += c.Tombstones
	u.TombstoneLen += c.TombstoneLen
	if u.Live < 0 {
		return fmt.Errorf("%w: volume %#x would have %d live bytes", ErrInconsistent, uint64(v), u.Live)
	}
	if c.lost && u.Live == 0 {
		t.effects.DeadVolumes = append(t.effects.DeadVolumes, v)
	}
	if u == (VolumeUsage{}) {
		if !found {
			return nil
		}
		return t.del(t.key)
	}
	t.val = u.appendTo(t.val[:0])
	return t.set(t.key, t.val)
}

// forgetVolumes drops what is known of volumes that are gone. That they were dead is checked, as it is the last
// chance to notice before their segments are written over.
func (t *tx) forgetVolumes(ids []VolumeID) error {
	if err := t.writeVolumes(); err != nil {
		return err
	}
	clear(t.volumes)
	for _, v := range ids {
		t.key = appendVolumeKey(t.key[:0], v)
		value, found, err := t.get(t.key)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		u, err := parseVolumeUsage(value)
		if err != nil {
			return err
		}
		if u.Live != 0 {
			return fmt.Errorf("%w: freed volume %#x has %d live bytes", ErrInconsistent, uint64(v), u.Live)
		}
		if err := t.del(t.key); err != nil {
			return err
		}
		t.effects.DeadVolumes = slices.DeleteFunc(t.effects.DeadVolumes, func(d VolumeID) bool { return d == v })
	}
	return nil
}

// usageChange is the usage of a bucket before an Apply and so far in it.
type usageChange struct {
	was, now BucketUsage
}

// usage returns what a bucket holds as of the record at hand.
func (t *tx) usage(id BucketID) (*usageChange, error) {
	if u := t.buckets[id]; u != nil {
		return u, nil
	}
	t.key = appendUsageKey(t.key[:0], id)
	value, found, err := t.get(t.key)
	if err != nil {
		return nil, err
	}
	u := &usageChange{}
	if found {
		if u.was, err = parseBucketUsage(value); err != nil {
			return nil, err
		}
		u.now = u.was
	}
	t.buckets[id] = u
	return u, nil
}

// writeBuckets writes the buckets' usage where it has changed.
func (t *tx) writeBuckets() error {
	for id, u := range t.buckets {
		if u.now == u.was {
			continue
		}
		if u.now.negative() {
			return fmt.Errorf("%w: bucket %#x would have %+v", ErrInconsistent, uint64(id), u.now)
		}
		t.key = appendUsageKey(t.key[:0], id)
		var err error
		if u.now == (BucketUsage{}) {
			err = t.del(t.key)
		} else {
			t.val = u.now.appendTo(t.val[:0])
			err = t.set(t.key, t.val)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// count counts a version that comes to lie in space, or with sign -1 no longer does. The bucket's usage has been looked at.
func (t *tx) count(bucket BucketID, space byte, h *objectHead, sign int64) {
	t.buckets[bucket].now.addVersion(space, h, sign)
}

// VolumeUsage is what the index counts in a volume.
//
// Live bytes of a journal volume are those of its records that a rebuild of the index needs, framing and the inline bytes of live
// blobs included; tombstones are the records in it that removed something. A journal volume is dispensable when both are 0, or
// live is 0 and no older journal volume exists that might hold what its tombstones removed. Live bytes of a
// bulk volume are the object bytes of live blobs in it, parity and padding excluded.
type VolumeUsage struct {
	Live         int64 // Bytes.
	Tombstones   int64
	TombstoneLen int64 // Bytes of the tombstones, framed, as they would be if relocated.
}

// In the index: varint live bytes, uvarint tombstones, uvarint bytes of these.

func (u VolumeUsage) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendVarint(dst, u.Live), uint64(u.Tombstones))
	return binary.AppendUvarint(dst, uint64(u.TombstoneLen))
}

func parseVolumeUsage(value []byte) (VolumeUsage, error) {
	r := view(value)
	u := VolumeUsage{Live: r.varint(), Tombstones: r.size(), TombstoneLen: r.size()}
	if !r.done() {
		return VolumeUsage{}, fmt.Errorf("%w: volume usage", ErrCorrupt)
	}
	return u, nil
}

// addTombstone counts a tombstone. The completion of an upload is one only as far as it removes the upload.
func (u *VolumeUsage) addTombstone(payload []byte) {
	n := len(payload)
	if Kind(payload[0]) == KindCompleteUpload {
		n = abortUploadLen
	}
	u.Tombstones++
	u.TombstoneLen += int64(FramedLen(n))
}

// abortUploadLen is the length of an abort upload record.
const abortUploadLen = 2 + len(UploadID{})

// appendTo encodes it: uvarint objects | uvarint versions | uvarint markers | uvarint bytes | uvarint uploads | uvarint parts |
// uvarint bytes of parts.
func (u BucketUsage) appendTo(dst []byte) []byte {
	for _, n := range [...]int64{u.Objects, u.Versions, u.Markers, u.Bytes, u.Uploads, u.Parts, u.PartBytes} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

func (r *reader) bucketUsage() BucketUsage {
	return BucketUsage{
		Objects: r.size(), Versions: r.size(), Markers: r.size(), Bytes: r.size(),
		Uploads: r.size(), Parts: r.size(), PartBytes: r.size(),
	}
}

func parseBucketUsage(value []byte) (BucketUsage, error) {
	r := view(value)
	u := r.bucketUsage()
	if !r.done() {
		return BucketUsage{}, fmt.Errorf("%w: bucket usage", ErrCorrupt)
	}
	return u, nil
}

// VolumeUsage returns what the index counts in a volume.
func (x *Index) VolumeUsage(id VolumeID) (VolumeUsage, error) {
	value, found, err := x.get(appendVolumeKey(nil, id))
	if err != nil || !found {
		return VolumeUsage{}, err
	}
	return parseVolumeUsage(value)
}

// Volumes calls f for each volume with live bytes or tombstones, in order, until f returns false.
func (x *Index) Volumes(f func(id VolumeID, u VolumeUsage) bool) error {
	return volumesOf(x.db, f)
}

func volumesOf(db pebble.Reader, f func(id VolumeID, u VolumeUsage) bool) error {
	return scanOf(db, []byte{spaceVolume}, func(key, value []byte) (bool, error) {
		u, err := parseVolumeUsage(value)
		if err != nil {
			return false, err
		}
		return f(VolumeID(binary.BigEndian.Uint64(key[1:])), u), nil
	})
}

// BucketUsage returns what a bucket holds in this index.
func (x *Index) BucketUsage(id BucketID) (BucketUsage, error) {
	value, found, err := x.get(appendUsageKey(nil, id))
	if err != nil || !found {
		return BucketUsage{}, err
	}
	return parseBucketUsage(value)
}

// BucketUsages calls f for each bucket that holds anything in this index, in order of id, until f returns false.
func (x *Index) BucketUsages(f func(id BucketID, u BucketUsage) bool) error {
	return x.scan([]byte{spaceUsage}, func(key, value []byte) (bool, error) {
		u, err := parseBucketUsage(value)
		if err != nil {
			return false, err
		}
		return f(BucketID(binary.BigEndian.Uint64(key[1:])), u), nil
	})
}

// scan calls f for each entry whose key begins with prefix, in order, until it returns false or an error.
func (x *Index) scan(prefix []byte, f func(key, value []byte) (bool, error)) error {
	return scanOf(x.db, prefix, f)
}

func scanOf(db pebble.Reader, prefix []byte, f func(key, value []byte) (bool, error)) error {
	it, err := db.NewIter(prefixOptions(prefix))
	if err != nil {
		return readError(err)
	}
	defer it.Close()
	for valid := it.First(); valid; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		if more, err := f(it.Key(), value); err != nil || !more {
			return err
		}
	}
	return readError(it.Error())
}

// prefixOptions bound an iterator to the keys that begin with prefix.
func prefixOptions(prefix []byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: prefix, UpperBound: successor(slices.Clone(prefix))}
}
