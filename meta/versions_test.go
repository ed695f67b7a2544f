package meta_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"penstock/meta"
)

// versionLine is a line of a listing of versions.
type versionLine struct {
	name    string
	prefix  bool
	version meta.VersionID
	current bool
}

// naiveVersions is the specification of listings of versions: look at every version of every key. With a marker it leaves out what
// comes before it.
func (h *history) naiveVersions(bucket meta.BucketID, o *meta.VersionListOptions) (list []versionLine) {
	for _, key := range slices.Sorted(maps.Keys(h.objects[bucket])) {
		switch {
		case !strings.HasPrefix(key, o.Prefix) || key < o.KeyMarker:
			continue
		case o.AfterPrefix && strings.HasPrefix(key, o.KeyMarker):
			continue
		}
		if i := strings.Index(key[len(o.Prefix):], o.Delimiter); o.Delimiter != "" && i >= 0 {
			line := versionLine{name: key[:len(o.Prefix)+i+len(o.Delimiter)], prefix: true}
			if (len(list) == 0 || list[len(list)-1] != line) && (key > o.KeyMarker || o.Before != 0 || o.KeyMarker == "") {
				list = append(list, line)
			}
			continue
		}
		for i, v := range h.objects[bucket][key].sorted() {
			if o.KeyMarker == "" || key > o.KeyMarker || v.Version < o.Before {
				list = append(list, versionLine{name: key, version: v.Version, current: i == 0})
			}
		}
	}
	return list
}

// checkVersions compares listings of versions with the model, from the start and from random places.
func (h *history) checkVersions(t testing.TB, x *meta.Index, bucket meta.BucketID) {
	t.Helper()
	for range 4 {
		o := meta.VersionListOptions{Prefix: h.text(), Delimiter: h.text(), Max: 1 + h.rng.IntN(6)}
		if h.rng.IntN(2) == 0 {
			o.Prefix, o.Delimiter = "", []string{"", "/"}[h.rng.IntN(2)]
		}
		if key, ok := pick(h.rng, h.objects[bucket]); ok && h.rng.IntN(2) == 0 {
			o.KeyMarker = key
			switch h.rng.IntN(3) {
			case 0:
				o.Before = h.anyVersion(bucket, key).Version
			case 1:
				o.Before = meta.VersionID(h.rng.Uint64N(h.nextID << 1)) // As of a version that has gone.
			}
		}
		what := fmt.Sprintf("list versions %+v", o)
		want := h.naiveVersions(bucket, &o)
		var got []versionLine
		for more := true; more; {
			page, err := x.ListVersions(bucket, o)
			mustNot(t, err)
			lines := h.versionLines(t, bucket, &page)
			if len(lines) > o.Max || page.Truncated && len(lines) < o.Max {
				t.Fatalf("%s: page of %d entries", what, len(lines))
			}
			got = append(got, lines...)
			o.KeyMarker, o.Before, o.AfterPrefix, more = page.NextKey, page.NextBefore, page.NextAfterPrefix, page.Truncated
		}
		equal(t, what, got, want)
	}
}

// versionLines merges a page into lines, after checking its versions.
func (h *history) versionLines(t testing.TB, bucket meta.BucketID, page *meta.VersionPage) (lines []versionLine) {
	t.Helper()
	for i := range page.Versions {
		v := &page.Versions[i]
		equal(t, "listed version", v.Object, headOf(h.objects[bucket][v.Key][nameOf(v.Version)]))
		lines = append(lines, versionLine{name: v.Key, version: v.Version, current: v.Current})
	}
	for _, p := range page.Prefixes {
		lines = append(lines, versionLine{name: p, prefix: true})
	}
	slices.SortStableFunc(lines, func(a, b versionLine) int { return strings.Compare(a.name, b.name) })
	return lines
}

// TestVersionPlaces follows the versions of one key through their places: current, deleted, former, and back.
func TestVersionPlaces(t *testing.T) {
	f := newFeed(t)
	put := func(v meta.VersionID) *meta.PutObject {
		return &meta.PutObject{Bucket: 1, Object: meta.Object{Key: "k", Version: v, ETag: fmt.Sprint(v)}}
	}
	marker := func(v meta.VersionID) *meta.PutObject {
		return &meta.PutObject{Bucket: 1, Object: meta.Object{Key: "k", Version: v, Marker: true}}
	}
	remove := func(v meta.VersionID) *meta.DeleteObject {
		return &meta.DeleteObject{Bucket: 1, Key: "k", Version: v}
	}
	for i, step := range []struct {
		rec     meta.Record
		want    string // Versions from the newest on; markers in brackets.
		objects int64
	}{
		{put(0), "0", 1},
		{put(0), "0", 1},
		{put(5), "5 0", 1},
		{put(9), "9 5 0", 1},
		{marker(11), "[11] 9 5 0", 0},
		{put(13), "13 [11] 9 5 0", 1},
		{remove(13), "[11] 9 5 0", 0},
		{remove(11), "9 5 0", 1},
		{remove(5), "9 0", 1},
		{remove(5), "9 0", 1},
		{put(5), "9 5 0", 1},        // Older than the current one.
		{put(14), "14 9 5", 1},      // The null version is newest now.
		{marker(16), "[16] 9 5", 0}, // Deleted without versioning: the null version is replaced.
		{marker(17), "[17] [16] 9 5", 0},
		{put(6), "[17] 9 6 5", 0}, // A null version that is older than others.
		{remove(17), "9 6 5", 1},
		{remove(2), "9 5", 1}, // Any even number means the null version.
		{remove(9), "5", 1},
		{marker(21), "[21] 5", 0},
		{remove(5), "[21]", 0},
		{remove(21), "", 0},
		{remove(21), "", 0},
	} {
		f.apply(step.rec)
		page, err := f.x.ListVersions(1, meta.VersionListOptions{Max: 100})
		mustNot(t, err)
		var got []string
		versions := int64(0)
		for i, v := range page.Versions {
			s := fmt.Sprint(uint64(v.Version))
			if v.Marker {
				s = "[" + s + "]"
			} else {
				versions++
			}
			got = append(got, s)
			if v.Current != (i == 0) {
				t.Errorf("step %d: %+v is current: %v", i, v, v.Current)
			}
		}
		if s := strings.Join(got, " "); s != step.want {
			t.Fatalf("step %d, %+v: got %s, want %s", i, step.rec, s, step.want)
		}
		u, err := f.x.BucketUsage(1)
		mustNot(t, err)
		want := meta.BucketUsage{Objects: step.objects, Versions: versions, Markers: int64(len(got)) - versions}
		if u != want {
			t.Errorf("step %d: usage %+v, want %+v", i, u, want)
		}
		empty, err := f.x.BucketEmpty(1)
		mustNot(t, err)
		if empty != (step.want == "") {
			t.Errorf("step %d: empty %v", i, empty)
		}
	}
}
