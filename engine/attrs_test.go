package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"penstock/engine/drive"
)

// restart closes the store and opens it on the same drives, with its index made anew from the journals if asked.
func restart(t testing.TB, s *Store, opts Options, drives []drive.Drive, rebuild bool) *Store {
	t.Helper()
	closeStore(t, s)
	reopen(drives)
	opts.RebuildIndex = rebuild
	return mustOpen(t, opts, drives)
}

// increment returns attributes with the number called name one higher.
func increment(attrs []Attr, name string) []Attr {
	attrs = slices.Clone(attrs)
	for i := range attrs {
		if attrs[i].Name == name {
			n, _ := strconv.Atoi(attrs[i].Value)
			attrs[i].Value = strconv.Itoa(n + 1)
			return attrs
		}
	}
	return append(attrs, Attr{Name: name, Value: "1"})
}

// TestUpdateBucket: changes of a bucket's attributes lose nothing to each other, last, and are seen at once.
func TestUpdateBucket(t *testing.T) {
	drives, opts := memDrives(4, 0), testOptions(t, 2)
	s := mustOpen(t, opts, drives)
	if err := s.CreateBucket(t.Context(), testBucket, []Attr{{Name: "first", Value: "1"}}); err != nil {
		t.Fatal(err)
	}
	before, _ := s.Bucket(t.Context(), testBucket)
	const workers, times = 8, 10
	var fs []func() error
	for i := range workers {
		fs = append(fs, func() error {
			for range times {
				err := s.UpdateBucket(t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) {
					return increment(increment(b.Attrs, "all"), fmt.Sprint("worker", i)), nil
				})
				if err != nil {
					return err
				}
				if _, err := putBytes(t.Context(), s, testBucket, fmt.Sprint(i), payload(1, 100), nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := errors.Join(together(fs...)...); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		b, err := s.Bucket(t.Context(), testBucket)
		if err != nil || b.Attr("all") != strconv.Itoa(workers*times) || b.Attr("worker3") != strconv.Itoa(times) ||
			b.Attr("first") != "1" || b.Attr("none") != "" || !b.Created.Equal(before.Created) {
			t.Errorf("after %d changes: %+v, %v", workers*times, b, err)
		}
	}
	check()
	after, _ := s.Bucket(t.Context(), testBucket)
	if after.Revision == before.Revision {
		t.Error("a changed bucket has its old revision")
	}
	records := s.Stats().JournalRecords
	if err := s.UpdateBucket(t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) { return b.Attrs, nil }); err != nil {
		t.Error(err)
	}
	if same, _ := s.Bucket(t.Context(), testBucket); same.Revision != after.Revision || s.Stats().JournalRecords != records {
		t.Error("a change to the same was made")
	}
	refusal := errors.New("no")
	err := s.UpdateBucket(t.Context(), testBucket, func(BucketInfo) ([]Attr, error) { return nil, refusal })
	if KindOf(err) != KindPrecondition || !errors.Is(err, refusal) {
		t.Errorf("refused change: %v", err)
	}
	err = s.UpdateBucket(t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) {
		return append(b.Attrs[:len(b.Attrs):len(b.Attrs)], Attr{Name: "long", Value: strings.Repeat("x", maxBucketAttrsLen)}), nil
	})
	if KindOf(err) != KindTooLarge {
		t.Errorf("too long a change: %v", err)
	}
	if err := s.UpdateBucket(t.Context(), "none", func(b BucketInfo) ([]Attr, error) { return nil, nil }); KindOf(err) != KindNoSuchBucket {
		t.Errorf("no such bucket: %v", err)
	}
	check()
	s = restart(t, s, opts, drives, false)
	check()
	s = restart(t, s, opts, drives, true)
	check()
	closeStore(t, s)
}

// TestUpdateObjectAttrs: a change of attributes is one record, moves no byte, keeps time and ETag, and loses nothing to other changes.
func TestUpdateObjectAttrs(t *testing.T) {
	drives, opts := memDrives(4, 0), testOptions(t, 2)
	s := mustOpen(t, opts, drives)
	s.minPart = 0
	mustBucket(t, s, testBucket)
	objects := map[string][]byte{"small": payload(1, 5000), "large": payload(2, 3<<20), "empty": nil}
	for key, b := range objects {
		mustPut(t, s, testBucket, key, b)
	}
	objects["parts"] = slices.Concat(payload(3, 200_000), payload(4, 100))
	id, err := s.CreateUpload(t.Context(), testBucket, "parts", []Attr{{Name: "a", Value: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	var complete CompleteOptions
	for i, b := range [][]byte{payload(3, 200_000), payload(4, 100)} {
		part, err := s.PutPart(t.Context(), testBucket, "parts", id, i+1, bytes.NewReader(b), PutOptions{
			Size: int64(len(b)), Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(b)}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		complete.Parts = append(complete.Parts, CompletePart{part.Number, part.ETag})
	}
	complete.Finish = func([]PartInfo, []Attr) (Final, error) { return Final{ETag: "parts-2"}, nil }
	if _, err := s.CompleteUpload(t.Context(), testBucket, "parts", id, complete); err != nil {
		t.Fatal(err)
	}
	before := map[string]ObjectInfo{}
	for key := range objects {
		before[key], _ = s.Head(t.Context(), testBucket, key, CurrentVersion)
		var fs []func() error
		for range 6 {
			fs = append(fs, func() error {
				_, err := s.UpdateObjectAttrs(t.Context(), testBucket, key, CurrentVersion, func(o *ObjectInfo) ([]Attr, error) {
					return increment(o.Attrs, "count"), nil
				})
				return err
			})
		}
		records, written := s.Stats().JournalRecords, s.Stats().JournalLen
		if err := errors.Join(together(fs...)...); err != nil {
			t.Fatal(err)
		}
		if n, size := s.Stats().JournalRecords-records, s.Stats().JournalLen-written; n != 6 || size > 6*1000 {
			t.Errorf("%s: %d records of %d bytes for 6 changes", key, n, size)
		}
	}
	check := func() {
		t.Helper()
		for key, b := range objects {
			mustGet(t, s, testBucket, key, b)
			o, err := s.Head(t.Context(), testBucket, key, CurrentVersion)
			was := before[key]
			if err != nil || o.Attr("count") != "6" || o.Attr("a") != was.Attr("a") || o.ETag != was.ETag || !o.Modified.Equal(was.Modified) || len(o.Parts) != len(was.Parts) {
				t.Errorf("%s: %+v, %v, was %+v", key, o, err, was)
			}
		}
	}
	check()
	refusal := errors.New("no")
	for _, test := range []struct {
		key  string
		make func(*ObjectInfo) ([]Attr, error)
		want Kind
	}{
		{"small", func(*ObjectInfo) ([]Attr, error) { return nil, refusal }, KindPrecondition},
		{"small", func(*ObjectInfo) ([]Attr, error) {
			return []Attr{{Name: "long", Value: strings.Repeat("x", maxAttrsLen)}}, nil
		}, KindTooLarge},
		{"none", func(*ObjectInfo) ([]Attr, error) { return nil, nil }, KindNoSuchObject},
	} {
		if _, err := s.UpdateObjectAttrs(t.Context(), testBucket, test.key, CurrentVersion, test.make); KindOf(err) != test.want {
			t.Errorf("UpdateObjectAttrs of %s: %v, want %v", test.key, err, test.want)
		}
	}
	check()
	s = restart(t, s, opts, drives, true)
	check()
	closeStore(t, s)
}

// TestConfig: named values last, are listed in order, and go.
func TestConfig(t *testing.T) {
	drives, opts := memDrives(4, 0), testOptions(t, 2)
	s := mustOpen(t, opts, drives)
	want := map[string]string{}
	for i := range 20 {
		name := fmt.Sprintf("user/%02d", i)
		want[name] = strings.Repeat("v", i+1)
	}
	want["user"], want["userx"], want["group/1"] = "1", "2", "3"
	for name, value := range want {
		if err := s.SetConfig(t.Context(), name, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"user/03", "user/19", "absent"} {
		if err := s.SetConfig(t.Context(), name, ""); err != nil {
			t.Fatal(err)
		}
		delete(want, name)
	}
	check := func() {
		t.Helper()
		for name, value := range want {
			if got, err := s.Config(name); got != value || err != nil {
				t.Errorf("Config(%q) is %q, %v, want %q", name, got, err, value)
			}
		}
		if got, err := s.Config("user/03"); got != "" || err != nil {
			t.Errorf("a removed value is %q, %v", got, err)
		}
		var got []string
		after := ""
		for more := true; more; {
			var page []ConfigValue
			var err error
			if page, more, err = s.Configs("user/", after, 7); err != nil || len(page) == 0 {
				t.Fatalf("page after %q: %v, %v", after, page, err)
			}
			for _, c := range page {
				if c.Value != want[c.Name] {
					t.Errorf("listed %q as %q", c.Name, c.Value)
				}
				got = append(got, c.Name)
				after = c.Name
			}
		}
		var names []string
		for _, name := range sortedKeys(want) {
			if strings.HasPrefix(name, "user/") {
				names = append(names, name)
			}
		}
		if !slices.Equal(got, names) {
			t.Errorf("listed %q, want %q", got, names)
		}
	}
	check()
	for _, bad := range []struct{ name, value string }{{"", "v"}, {strings.Repeat("n", 256), "v"}, {"n", strings.Repeat("v", MaxConfigLen+1)}} {
		if err := s.SetConfig(t.Context(), bad.name, bad.value); KindOf(err) != KindTooLarge {
			t.Errorf("SetConfig of %d and %d bytes: %v", len(bad.name), len(bad.value), err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.SetConfig(canceled, "n", "v"); KindOf(err) != KindCanceled {
		t.Errorf("SetConfig for nobody: %v", err)
	}
	s = restart(t, s, opts, drives, true)
	check()
	closeStore(t, s)
}
