package engine

import (
	"errors"
	"fmt"
	"time"

	"penstock/meta"
)

// VersionID names a version of an object. Later versions of a key have higher ones: they are made of the epoch and a count, so no clock
// can set them back, and none is ever used twice.
type VersionID = meta.VersionID

// The versions that go without an ID of their own.
const (
	NullVersion    = meta.NullVersion    // What was written without versioning.
	CurrentVersion = meta.CurrentVersion // Whatever version is current.
)

// AttrVersioning is the attribute of a bucket that says what a write does to what the key names. Without it the write replaces it. Once
// set, it can be changed and no longer removed.
const AttrVersioning = "versioning"

// The values of AttrVersioning.
const (
	VersioningEnabled   = "Enabled"   // A write makes another version, and a deletion a delete marker.
	VersioningSuspended = "Suspended" // A write replaces the null version, and a deletion makes a delete marker of it.
)

var errVersioning = errors.New("versioning can be suspended and not be taken back")

// checkVersioning refuses a change of versioning that cannot be.
func checkVersioning(old, now []Attr) error {
	switch v := attrOf(now, AttrVersioning); {
	case v == "" && attrOf(old, AttrVersioning) != "":
		return errVersioning
	case v != "" && v != VersioningEnabled && v != VersioningSuspended:
		return fmt.Errorf("versioning %q: %w", v, errVersioning)
	}
	return nil
}

// nextVersion returns the number of the version that a write to a bucket of c makes now. The caller holds the bucket's gate and the
// key's lock, so that versions of a key are numbered in the order in which they are put.
func (b *bucket) nextVersion(c *cell) VersionID {
	switch b.state.Load().versioning {
	case VersioningEnabled:
		return VersionID(c.nextBlob())<<1 | 1
	case VersioningSuspended:
		return VersionID(c.nextBlob()) << 1 // A null version that is newer than all there are.
	}
	return NullVersion
}

// versioned reports whether the bucket has versions, or may have.
func (b *bucket) versioned() bool { return b.state.Load().versioning != "" }

// infoOf describes a version of an object in the bucket.
func (b *bucket) infoOf(o *meta.Object) ObjectInfo {
	info := objectInfo(o)
	info.Versioned = b.versioned()
	return info
}

// lookup returns a version of an object, or says that there is none. The caller has entered base.
func (b *bucket) lookup(op string, base *base, key string, version VersionID) (meta.Object, error) {
	object, found, err := base.index.GetObject(b.id, key, version)
	if err != nil {
		return meta.Object{}, storeError(op, b.name, key, err)
	}
	if !found || object.Marker {
		return meta.Object{}, b.absent(op, base, key, version, &object)
	}
	return object, nil
}

// absent is the error for a version that is not there, or is found to be a delete marker.
func (b *bucket) absent(op string, base *base, key string, version VersionID, found *meta.Object) error {
	e := &Error{Op: op, Bucket: b.name, Key: key, Kind: KindNoSuchVersion, Version: version}
	if version == CurrentVersion {
		e.Kind = KindNoSuchObject
		if b.versioned() {
			marker, _, err := base.index.GetDeleteMarker(b.id, key)
			if err != nil {
				return storeError(op, b.name, key, err)
			}
			found = &marker
		}
	}
	if found.Marker {
		info := b.infoOf(found)
		e.Kind, e.Marker = KindDeleteMarker, &info
	}
	return e
}

// putMarker puts a delete marker on a key. The caller has entered b and base and holds the key's lock.
func (s *Store) putMarker(base *base, b *bucket, key string) (VersionID, error) {
	marker := meta.Object{Key: key, Version: b.nextVersion(base.c), Marker: true, Modified: s.now().UTC().Truncate(time.Millisecond)}
	look := s.look(b, changePut, key, &marker, marker.Modified)
	return shownVersion(marker.Version), base.commitAll(look, &meta.PutObject{Bucket: b.id, Object: marker})
}

// shownVersion is the number of a version as callers see it: null versions are all alike to them.
func shownVersion(v VersionID) VersionID {
	if v.IsNull() {
		return NullVersion
	}
	return v
}
