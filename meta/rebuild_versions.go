package meta

import (
	"context"
	"encoding/binary"
)

// newestVersion is the newest version so far of the key whose versions a rebuild goes through.
type newestVersion struct {
	bucket BucketID
	key    string // "" before the first.
	head   objectHead
	value  []byte
}

// objects puts the versions of each key in their places. They come key by key, but not in order of age: the number of a null
// version is not part of its name.
func (f *finish) objects(ctx context.Context) error {
	var newest newestVersion
	err := f.staged(ctx, string(spaceObject), func(entity []byte, h held, body reader, value []byte) error {
		head := body.skipObject()
		bucket, key, _, ok := cutStagedObject(entity)
		if !body.done() || !ok {
			return corruptEntry(entity)
		}
		f.out.Objects++
		f.live(h.volume, h.share)
		if err := f.stageRefs(entity, head.refs); err != nil {
			return err
		}
		switch {
		case key != newest.key || bucket != newest.bucket:
			if err := f.placeCurrent(&newest); err != nil {
				return err
			}
		case head.version < newest.head.version:
			return f.placeFormer(bucket, key, &head, value)
		default:
			if err := f.placeFormer(bucket, key, &newest.head, newest.value); err != nil {
				return err
			}
		}
		head.refs = refs{} // What it reads from is gone with this call.
		newest = newestVersion{bucket, key, head, append(newest.value[:0], value...)}
		return nil
	})
	if err != nil {
		return err
	}
	return f.placeCurrent(&newest)
}

func (f *finish) placeCurrent(v *newestVersion) error {
	if v.key == "" {
		return nil
	}
	space := headSpace(&v.head)
	f.countVersion(v.bucket, space, &v.head)
	return f.set(appendHeadKey(nil, space, v.bucket, v.key), v.value)
}

func (f *finish) placeFormer(bucket BucketID, key string, h *objectHead, value []byte) error {
	f.countVersion(bucket, spaceVersion, h)
	if h.version.IsNull() {
		number := binary.AppendUvarint(nil, uint64(h.version))
		if err := f.set(appendHeadKey(nil, spaceNull, bucket, key), number); err != nil {
			return err
		}
	}
	return f.set(appendVersionKey(nil, bucket, key, h.version), value)
}

func (f *finish) countVersion(bucket BucketID, space byte, h *objectHead) {
	u := f.buckets[bucket]
	u.addVersion(space, h, +1)
	f.buckets[bucket] = u
}
