package fastapi

import (
	"context"
	"slices"
	"strings"

	"penstock/engine"
)

// current returns the newest version of a key unless that is a delete marker or there is none: then nil.
func (b *fakeBucket) current(key string) *fakeObject {
	if all := b.objects[key]; len(all) > 0 && !all[0].info.Marker {
		return all[0]
	}
	return nil
}

func (b *fakeBucket) versioning() string { return b.info.Attr(engine.AttrVersioning) }

// put makes a version, or a delete marker, the newest of its key.
func (s *fakeStore) put(b *fakeBucket, info engine.ObjectInfo, data []byte) engine.ObjectInfo {
	info.Version, info.Versioned = engine.NullVersion, b.versioning() != ""
	if b.versioning() == engine.VersioningEnabled {
		s.nextID++
		info.Version = engine.VersionID(s.nextID)<<1 | 1
	} else {
		b.remove(info.Key, engine.NullVersion)
	}
	b.objects[info.Key] = slices.Insert(b.objects[info.Key], 0, &fakeObject{info, data})
	return info
}

func (b *fakeBucket) remove(key string, version engine.VersionID) {
	b.objects[key] = slices.DeleteFunc(slices.Clone(b.objects[key]), func(o *fakeObject) bool { return o.info.Version == version })
	if len(b.objects[key]) == 0 {
		delete(b.objects, key)
	}
}

// version returns a version of a key, nil if there is none.
func (b *fakeBucket) version(key string, version engine.VersionID) *fakeObject {
	for i, o := range b.objects[key] {
		if version == engine.CurrentVersion && i == 0 || o.info.Version == version {
			return o
		}
	}
	return nil
}

func (s *fakeStore) object(bucket, key string, version engine.VersionID) (*fakeObject, error) {
	b, err := s.bucket(bucket)
	if err != nil {
		return nil, err
	}
	o := b.version(key, version)
	switch {
	case o == nil && version == engine.CurrentVersion:
		return nil, kindError(engine.KindNoSuchObject, bucket, key)
	case o == nil:
		return nil, &engine.Error{Op: "Fake", Bucket: bucket, Key: key, Kind: engine.KindNoSuchVersion, Version: version}
	case o.info.Marker:
		return nil, &engine.Error{Op: "Fake", Bucket: bucket, Key: key, Kind: engine.KindDeleteMarker, Version: version, Marker: &o.info}
	}
	o.info.Versioned = b.versioning() != ""
	return o, nil
}

func (s *fakeStore) Delete(_ context.Context, bucket, key string, version engine.VersionID, o engine.DeleteOptions) (engine.Deleted, error) {
	defer s.mu.Unlock()
	if err := s.enter("Delete", key); err != nil {
		return engine.Deleted{}, err
	}
	b, err := s.bucket(bucket)
	if err != nil {
		return engine.Deleted{}, err
	}
	named := b.version(key, version)
	if err := runFakeCheck(o.Check, b.current(key)); err != nil {
		return engine.Deleted{}, causeError(engine.KindPrecondition, bucket, key, err)
	}
	out := engine.Deleted{Version: version, Versioned: b.versioning() != ""}
	if version == engine.CurrentVersion && out.Versioned {
		marker := s.put(b, engine.ObjectInfo{Key: key, Marker: true, Modified: s.now()}, nil)
		out.Version, out.Marker = marker.Version, true
		return out, nil
	}
	if version == engine.CurrentVersion {
		out.Version = engine.NullVersion
	}
	if named != nil && !named.removable(o.Bypass) {
		return engine.Deleted{}, kindError(engine.KindLocked, bucket, key)
	}
	out.Marker = named != nil && named.info.Marker
	b.remove(key, out.Version)
	return out, nil
}

func (s *fakeStore) ListVersions(_ context.Context, bucket string, o engine.VersionListOptions) (page engine.VersionPage, err error) {
	defer s.mu.Unlock()
	if err := s.enter("ListVersions", ""); err != nil {
		return page, err
	}
	b, err := s.bucket(bucket)
	if err != nil {
		return page, err
	}
	lastPrefix := ""
	for _, key := range sortedKeys(b.objects) {
		if !strings.HasPrefix(key, o.Prefix) || key < o.After || o.SkipPrefix && strings.HasPrefix(key, o.After) {
			continue
		}
		prefix := ""
		if i := strings.Index(key[len(o.Prefix):], o.Delimiter); o.Delimiter != "" && i >= 0 {
			prefix = key[:len(o.Prefix)+i+len(o.Delimiter)]
		}
		admit := key != o.After || o.After == ""
		for i, v := range b.objects[key] {
			if !admit {
				admit = o.HasVersion && v.info.Version == o.AfterVersion
				continue
			}
			if prefix != "" && prefix == lastPrefix {
				break
			}
			if len(page.Versions)+len(page.Prefixes) == o.Max {
				page.Truncated = true
				return page, nil
			}
			if prefix != "" {
				page.Prefixes = append(page.Prefixes, prefix)
				lastPrefix = prefix
				page.NextAfter, page.NextVersion, page.NextIsPrefix = prefix, 0, true
				break
			}
			info := v.info
			info.Parts, info.Current, info.Versioned = nil, i == 0, b.versioning() != ""
			page.Versions = append(page.Versions, info)
			page.NextAfter, page.NextVersion, page.NextIsPrefix = key, info.Version, false
		}
	}
	return page, nil
}
