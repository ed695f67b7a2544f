package meta

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// VersionListOptions select a page of a bucket's versions.
type VersionListOptions struct {
	Prefix, Delimiter string
	KeyMarker         string    // Only versions of keys after this one, and those of the key itself that are older than Before.
	Before            VersionID // 0 for none of them, CurrentVersion for all.
	// AfterPrefix says that KeyMarker is a rolled-up prefix of an earlier page: every key that begins with it is passed over.
	AfterPrefix bool
	Max         int // Versions and prefixes together.
}

// VersionEntry is a version in a listing, without blobs and parts.
type VersionEntry struct {
	Object
	Current bool
}

// VersionPage is a page of versions, in order of key and then from the newest to the oldest.
type VersionPage struct {
	Versions  []VersionEntry
	Prefixes  []string
	Truncated bool
	// The page's last entry, to continue a truncated listing.
	NextKey         string
	NextBefore      VersionID // Zero after a prefix.
	NextAfterPrefix bool
}

// ListVersions returns a page of all versions in a bucket, delete markers among them. It reads no more entries than the page has: what
// is rolled up is passed over with one seek in each space.
func (x *Index) ListVersions(bucket BucketID, o VersionListOptions) (page VersionPage, err error) {
	if o.Max <= 0 {
		return page, nil
	}
	s := x.db.NewSnapshot() // The iterators must see one state: versions move between their spaces.
	l := versionLister{bucket: bucket, o: &o}
	defer func() { err = errors.Join(err, readError(l.close()), s.Close()) }()
	if err := l.open(s); err != nil {
		return page, readError(err)
	}
	if err := l.fill(); err != nil {
		return VersionPage{}, err
	}
	return l.page, nil
}

// versionLister merges the spaces in which versions lie: keys come from those of current versions, and after each the
// others of the key.
type versionLister struct {
	bucket  BucketID
	o       *VersionListOptions
	objects *pebble.Iterator
	markers *pebble.Iterator
	formers *pebble.Iterator
	sought  bool // formers stands somewhere.
	page    VersionPage
	mem     arena
	key     []byte // The key at hand.
	seek    []byte // An index key to go to.
}

func (l *versionLister) open(s *pebble.Snapshot) (err error) {
	for _, in := range []struct {
		it    **pebble.Iterator
		lower []byte
	}{
		{&l.objects, appendHeadKey(nil, spaceObject, l.bucket, l.o.Prefix)},
		{&l.markers, appendHeadKey(nil, spaceMarker, l.bucket, l.o.Prefix)},
		{&l.formers, appendEscaped(appendID(nil, spaceVersion, uint64(l.bucket)), l.o.Prefix)},
	} {
		if *in.it, err = s.NewIter(prefixOptions(in.lower)); err != nil {
			return err
		}
	}
	switch {
	case l.o.KeyMarker == "":
		l.objects.First()
		l.markers.First()
	case l.o.AfterPrefix:
		l.skip(l.o.KeyMarker)
	case l.o.Before == 0:
		l.seekHeads(l.o.KeyMarker + "\x00")
	default:
		l.seekHeads(l.o.KeyMarker)
	}
	return nil
}

func (l *versionLister) close() (err error) {
	for _, it := range []*pebble.Iterator{l.objects, l.markers, l.formers} {
		if it != nil {
			err = errors.Join(err, it.Close())
		}
	}
	return err
}

// seekHeads goes to the first key at or after key.
func (l *versionLister) seekHeads(key string) {
	l.objects.SeekGE(appendHeadKey(nil, spaceObject, l.bucket, key))
	l.markers.SeekGE(appendHeadKey(nil, spaceMarker, l.bucket, key))
}

// skip goes to the first key after those that begin with prefix.
func (l *versionLister) skip(prefix string) {
	for _, in := range []struct {
		it    *pebble.Iterator
		space byte
	}{{l.objects, spaceObject}, {l.markers, spaceMarker}} {
		// A space ends before the next one begins, so there always is a successor.
		in.it.SeekGE(successor(appendHeadKey(nil, in.space, l.bucket, prefix)))
	}
}

// next returns the iterator that stands at the lowest key, nil at the end.
func (l *versionLister) next() *pebble.Iterator {
	switch o, m := l.objects, l.markers; {
	case !m.Valid() && !o.Valid():
		return nil
	case !m.Valid() || o.Valid() && bytes.Compare(o.Key()[1:], m.Key()[1:]) < 0:
		return o
	default:
		return m
	}
}

func (l *versionLister) fill() error {
	for it := l.next(); it != nil; it = l.next() {
		l.key = append(l.key[:0], it.Key()[1+8:]...)
		if end, ok := rollUp(l.key, l.o.Prefix, l.o.Delimiter); ok {
			if l.full() {
				return nil
			}
			prefix := l.mem.str(l.key[:end])
			l.page.Prefixes = append(l.page.Prefixes, prefix)
			l.page.NextKey, l.page.NextBefore, l.page.NextAfterPrefix = prefix, 0, true
			l.skip(prefix)
			continue
		}
		before := CurrentVersion
		if l.o.KeyMarker != "" && string(l.key) == l.o.KeyMarker {
			before = l.o.Before
		}
		if err := l.add(it, l.mem.str(l.key), before); err != nil || l.page.Truncated {
			return err
		}
	}
	return errors.Join(readError(l.objects.Error()), readError(l.markers.Error()))
}

// full reports, and notes, that the page has no room for what comes next.
func (l *versionLister) full() bool {
	l.page.Truncated = len(l.page.Versions)+len(l.page.Prefixes) == l.o.Max
	return l.page.Truncated
}

// add adds the versions of the key at hand that are older than before: the one that it stands at, which it passes, and the others.
func (l *versionLister) add(it *pebble.Iterator, key string, before VersionID) error {
	if err := l.addEntry(it, key, before, true); err != nil || l.page.Truncated {
		return err
	}
	it.Next()
	l.seek = appendVersionsKey(l.seek[:0], l.bucket, key)
	ofKey := len(l.seek)
	if before != CurrentVersion {
		l.seek = append(appendVersionKey(l.seek[:0], l.bucket, key, before), 0)
	}
	// Keys ascend, so what stands past this one stays there, and at the end it stays at the end.
	if f := l.formers; !l.sought || f.Valid() && bytes.Compare(f.Key(), l.seek) < 0 {
		f.SeekGE(l.seek)
		l.sought = true
	}
	for f := l.formers; f.Valid() && bytes.HasPrefix(f.Key(), l.seek[:ofKey]); f.Next() {
		if err := l.addEntry(f, key, before, false); err != nil || l.page.Truncated {
			return err
		}
	}
	return readError(l.formers.Error())
}

func (l *versionLister) addEntry(it *pebble.Iterator, key string, before VersionID, current bool) error {
	value, err := it.ValueAndErr()
	if err != nil {
		return readError(err)
	}
	v := VersionEntry{Object: Object{Key: key}, Current: current}
	if !l.mem.listing(value, &v.Object) {
		return corruptEntry(it.Key())
	}
	if v.Version >= before || l.full() {
		return nil
	}
	l.page.Versions = append(l.page.Versions, v)
	l.page.NextKey, l.page.NextBefore, l.page.NextAfterPrefix = key, v.Version, false
	return nil
}

// ListKey returns a page of the versions of one key, those older than before, the newest first. It reads nothing of other keys.
func (x *Index) ListKey(bucket BucketID, key string, before VersionID, limit int) (page VersionPage, err error) {
	s := x.db.NewSnapshot()
	o := VersionListOptions{Prefix: key, Max: limit}
	l := versionLister{bucket: bucket, o: &o}
	defer func() { err = errors.Join(err, readError(l.close()), s.Close()) }()
	if err := l.open(s); err != nil {
		return page, readError(err)
	}
	if it := l.next(); it != nil && string(it.Key()[1+8:]) == key {
		if err := l.add(it, key, before); err != nil {
			return VersionPage{}, err
		}
	}
	return l.page, errors.Join(readError(l.objects.Error()), readError(l.markers.Error()))
}
