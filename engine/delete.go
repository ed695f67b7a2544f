package engine

import (
	"context"

	"penstock/meta"
)

// DeleteOptions are the options of Delete.
type DeleteOptions struct {
	Check  Check // Sees the current version, whichever is deleted; nil means unconditional.
	Bypass bool  // The caller may remove what is locked in governance mode.
}

// Deleted says what a deletion did.
type Deleted struct {
	Version   VersionID // What was removed, or the delete marker that was put.
	Marker    bool      // That is a delete marker.
	Versioned bool      // The bucket has versions: the two above mean something.
}

// Delete removes a version of an object for good. Of CurrentVersion it makes a former version by a delete marker, if the bucket has
// versioning, whether there is one or not. A version that is not there is as good as removed.
func (s *Store) Delete(ctx context.Context, bucket, key string, version VersionID, o DeleteOptions) (Deleted, error) {
	const op = "Delete"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return Deleted{}, err
	}
	if err := checkKey(op, b, key); err != nil {
		return Deleted{}, err
	}
	c := s.cellOf(b, key)
	c.awaitTight(ctx)
	if err := b.enter(op); err != nil {
		return Deleted{}, err
	}
	defer b.leave()
	unlock, err := c.locks.lock(ctx, lockName(b.id, key))
	if err != nil {
		return Deleted{}, storeError(op, bucket, key, err)
	}
	defer unlock()
	base, err := c.enter()
	if err != nil {
		return Deleted{}, storeError(op, bucket, key, err)
	}
	defer base.leave()
	if err := base.check(b, key, o.Check); err != nil {
		return Deleted{}, checkError(op, bucket, key, err)
	}
	var out Deleted
	if version == CurrentVersion && b.versioned() {
		out = Deleted{Marker: true, Versioned: true}
		out.Version, err = s.putMarker(base, b, key)
	} else {
		out, err = s.remove(base, b, key, version, o.Bypass)
	}
	if err != nil {
		return Deleted{}, storeError(op, bucket, key, err)
	}
	return out, nil
}

// remove removes a version if it is there and not locked. The caller has entered bucket and base and holds the key's lock.
func (s *Store) remove(base *base, b *bucket, key string, version VersionID, bypass bool) (Deleted, error) {
	out := Deleted{Version: version, Versioned: b.versioned()}
	if version == CurrentVersion {
		out.Version = NullVersion // The only one there is.
	}
	object, found, err := base.index.GetObjectHead(b.id, key, out.Version)
	if err != nil || !found {
		return out, err
	}
	if err := s.checkUnlocked(b, &object, bypass); err != nil {
		return out, err
	}
	out.Marker = object.Marker
	return out, base.commitAll(s.look(b, changeRemove, key, &object, s.now()), &meta.DeleteObject{Bucket: b.id, Key: key, Version: object.Version})
}
