package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func setVersioning(t testing.TB, s *Store, value string) {
	t.Helper()
	err := s.UpdateBucket(t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) { return WithAttr(b.Attrs, AttrVersioning, value), nil })
	if err != nil {
		t.Fatal(err)
	}
}

// versionsOf returns the versions of a key, the newest first.
func versionsOf(t testing.TB, s *Store, key string) []ObjectInfo {
	t.Helper()
	page, err := s.ListVersions(t.Context(), testBucket, VersionListOptions{Prefix: key, Max: MaxListEntries})
	if err != nil || page.Truncated {
		t.Fatal(page.Truncated, err)
	}
	return slices.DeleteFunc(page.Versions, func(o ObjectInfo) bool { return o.Key != key })
}

// TestVersionRaces: of many writes to a key at once each makes a version, in the order in which they were acknowledged.
func TestVersionRaces(t *testing.T) {
	drives, opts := memDrives(4, 0), testOptions(t, 2)
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "k", payload(0, 10))
	setVersioning(t, s, VersioningEnabled)
	var mu sync.Mutex
	data := map[VersionID][]byte{NullVersion: payload(0, 10)}
	markers := map[VersionID]bool{}
	var fs []func() error
	for i := range 8 {
		fs = append(fs, func() error {
			var last VersionID
			for j := range 6 {
				var version VersionID
				b := payload(uint64(100*i+j), 10+i)
				if i == 7 {
					deleted, err := s.Delete(t.Context(), testBucket, "k", CurrentVersion, DeleteOptions{})
					if err != nil || !deleted.Marker || !deleted.Versioned {
						return fmt.Errorf("%+v, %w", deleted, err)
					}
					version = deleted.Version
				} else {
					info, err := putBytes(t.Context(), s, testBucket, "k", b, nil)
					if err != nil || !info.Versioned {
						return fmt.Errorf("%+v, %w", info, err)
					}
					version = info.Version
				}
				if version <= last {
					return fmt.Errorf("version %d after %d", version, last)
				}
				last = version
				mu.Lock()
				if i == 7 {
					markers[version] = true
				} else {
					data[version] = b
				}
				mu.Unlock()
			}
			return nil
		})
	}
	if err := errors.Join(together(fs...)...); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		all := versionsOf(t, s, "k")
		if len(all) != len(data)+len(markers) {
			t.Fatalf("%d versions, want %d and %d markers", len(all), len(data), len(markers))
		}
		for i, v := range all {
			if v.Current != (i == 0) || i > 0 && v.Version >= all[i-1].Version || v.Marker != markers[v.Version] {
				t.Errorf("version %d: %+v", i, v)
			}
			if v.Marker {
				continue
			}
			h, err := s.Open(t.Context(), testBucket, "k", v.Version)
			if err != nil {
				t.Fatal(err)
			}
			if got := etagOf(data[v.Version]); h.Info().ETag != got || h.Info().Size != int64(len(data[v.Version])) {
				t.Errorf("version %d has ETag %s, want %s", v.Version, h.Info().ETag, got)
			}
			h.Close()
		}
	}
	check()
	s = restart(t, s, opts, drives, true)
	check()
	closeStore(t, s)
}

// TestVersionClock: clocks that jump change nothing in the order of versions, within a run or over several.
func TestVersionClock(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	drives, opts := memDrives(1, 0), testOptions(t, -1)
	opts.Clock = func() time.Time { return time.Unix(now.Load(), 0) }
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	setVersioning(t, s, VersioningEnabled)
	var want []VersionID
	for i := range 9 {
		if i%3 == 2 {
			s = restart(t, s, opts, drives, false)
		}
		now.Add([]int64{-86400 * 365, 86400, -1}[i%3])
		info, err := putBytes(t.Context(), s, testBucket, "k", payload(uint64(i), 10), nil)
		if err != nil {
			t.Fatal(err)
		}
		want = slices.Insert(want, 0, info.Version)
		if current, err := getBytes(t.Context(), s, testBucket, "k"); err != nil || etagOf(current) != info.ETag {
			t.Errorf("put %d is not current: %v", i, err)
		}
	}
	for i, v := range versionsOf(t, s, "k") {
		if v.Version != want[i] {
			t.Errorf("version %d is %d, want %d", i, v.Version, want[i])
		}
	}
	closeStore(t, s)
}

// TestVersioningSwitch enables and suspends versioning under writes: whatever got an ID keeps it and its bytes.
func TestVersioningSwitch(t *testing.T) {
	s := newTestStore(t, 4, 2)
	mustBucket(t, s, testBucket)
	setVersioning(t, s, VersioningEnabled)
	var mu sync.Mutex
	want := map[string]map[VersionID]string{}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				setVersioning(t, s, []string{VersioningSuspended, VersioningEnabled}[i%2])
			}
		}
	})
	var fs []func() error
	for i := range 6 {
		fs = append(fs, func() error {
			for j := range 20 {
				key := fmt.Sprint("k", (i+j)%3)
				info, err := putBytes(t.Context(), s, testBucket, key, payload(uint64(100*i+j), 50), nil)
				if err != nil {
					return err
				}
				if info.Version != NullVersion {
					mu.Lock()
					if want[key] == nil {
						want[key] = map[VersionID]string{}
					}
					want[key][info.Version] = info.ETag
					mu.Unlock()
				}
			}
			return nil
		})
	}
	err := errors.Join(together(fs...)...)
	close(stop)
	group.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for key, versions := range want {
		nulls := 0
		for _, v := range versionsOf(t, s, key) {
			if v.Version == NullVersion {
				nulls++
			} else if versions[v.Version] != v.ETag {
				t.Errorf("%s, version %d: ETag %q, want %q", key, v.Version, v.ETag, versions[v.Version])
			}
			delete(versions, v.Version)
		}
		if len(versions) > 0 || nulls > 1 {
			t.Errorf("%s: %d versions lost, %d null versions", key, len(versions), nulls)
		}
	}
}

// TestVersioningAttribute: versioning is never taken back, and a bucket with any version left is not deleted.
func TestVersioningAttribute(t *testing.T) {
	s := newTestStore(t, 1, 0)
	if err := s.CreateBucket(t.Context(), testBucket, []Attr{{Name: AttrVersioning, Value: "on"}}); KindOf(err) != KindPrecondition {
		t.Errorf("versioning \"on\": %v", err)
	}
	if err := s.CreateBucket(t.Context(), testBucket, []Attr{{Name: AttrVersioning, Value: VersioningEnabled}}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "enabled"} {
		err := s.UpdateBucket(t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) { return WithAttr(b.Attrs, AttrVersioning, bad), nil })
		if KindOf(err) != KindPrecondition {
			t.Errorf("versioning %q: %v", bad, err)
		}
	}
	one, err := putBytes(t.Context(), s, testBucket, "k", payload(1, 10), nil)
	if err != nil {
		t.Fatal(err)
	}
	marker, err := s.Delete(t.Context(), testBucket, "k", CurrentVersion, DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []VersionID{one.Version, marker.Version} {
		if err := s.DeleteBucket(t.Context(), testBucket); KindOf(err) != KindBucketNotEmpty {
			t.Errorf("delete of a bucket with version %d left: %v", version, err)
		}
		_, err := s.UpdateObjectAttrs(t.Context(), testBucket, "k", marker.Version, func(o *ObjectInfo) ([]Attr, error) { return o.Attrs, nil })
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != KindDeleteMarker || e.Marker == nil || e.Marker.Version != marker.Version {
			t.Errorf("attributes of a delete marker: %v", err)
		}
		if deleted, err := s.Delete(t.Context(), testBucket, "k", version, DeleteOptions{}); err != nil || deleted.Version != version {
			t.Errorf("delete of version %d: %+v, %v", version, deleted, err)
		}
	}
	if err := s.DeleteBucket(t.Context(), testBucket); err != nil {
		t.Error(err)
	}
}
