package engine

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"penstock/engine/drive"
	"penstock/erasure"
)

// newCells opens a store of several cells of three drives each.
func newCells(t *testing.T, cells int) (*Store, []drive.Drive) {
	drives := memDrivesOf(cellIdentities(3, cells), drive.MemOptions{Queue: drive.NewMemQueue(0)})
	opts := testOptions(t, -1)
	opts.Memory = int64(cells) * MinMemory
	s := mustOpen(t, opts, drives)
	s.minPart = 0
	return s, drives
}

// keysOf returns keys of a bucket that lie in each cell.
func keysOf(s *Store, bucket string, each int) [][]string {
	b, err := s.bucketOf("", bucket)
	if err != nil {
		panic(err)
	}
	keys := make([][]string, len(s.cells))
	for i := 0; ; i++ {
		key := fmt.Sprintf("key/%d/%d", i%7, i)
		c := s.cellOf(b, key).id
		if len(keys[c]) < each {
			keys[c] = append(keys[c], key)
		}
		if !slices.ContainsFunc(keys, func(k []string) bool { return len(k) < each }) {
			return keys
		}
	}
}

// TestCellsMetamorphic plays a random history on several cells.
func TestCellsMetamorphic(t *testing.T) {
	rng := newRNG(t)
	history := randomHistory(rng, 200, true)
	m := newModel()
	x := &subject{t: t, drives: memDrivesOf(cellIdentities(2, 3), drive.MemOptions{}), opts: testOptions(t, -1), uploads: map[string]string{}, parts: map[string]map[int][]byte{}}
	x.opts.Memory = 3 * MinMemory
	x.open()
	mustBucket(t, x.s, testBucket)
	for i, s := range history {
		want := m.play(s)
		if got := x.play(s); got != want {
			t.Fatalf("step %d, %v:\ngot  %q\nwant %q", i, s, got, want)
		}
	}
	closeStore(t, x.s)
}

// TestCellsCopy copies within and between cells, whole objects and ranges, while the source is replaced.
func TestCellsCopy(t *testing.T) {
	s, _ := newCells(t, 3)
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	keys := keysOf(s, testBucket, 2)
	for _, size := range []int{0, 100, 300_000} {
		for from := range keys {
			for to := range keys {
				src, dst := keys[from][0], keys[to][1]
				want := payload(uint64(from), size)
				mustPut(t, s, testBucket, src, want)
				if err := copyObject(t.Context(), s, src, dst); err != nil {
					t.Fatal(err)
				}
				mustGet(t, s, testBucket, dst, want)
				// A copy that must be hashed reads every byte once.
				var hashed bytes.Buffer
				_, err := s.Copy(t.Context(), testBucket, src, CurrentVersion, testBucket, dst, CopyOptions{
					Source: func(src *ObjectInfo) (Final, error) { return Final{ETag: src.ETag}, nil },
					Rehash: &hashed,
					Finish: func(sums Sums) (Final, error) {
						if sums.Size != int64(size) || sums.CRC64NVME != erasure.Checksum(want) {
							t.Errorf("%+v", sums)
						}
						return Final{Attrs: []Attr{{Name: "a", Value: "b"}}}, nil
					},
				})
				if err != nil || !bytes.Equal(hashed.Bytes(), want) {
					t.Errorf("hashed %d bytes of %d, %v", hashed.Len(), size, err)
				}
				if info, err := s.Head(t.Context(), testBucket, dst, CurrentVersion); err != nil || info.Attr("a") != "b" || info.ETag != etagOf(want) {
					t.Errorf("%+v, %v", info, err)
				}
			}
		}
	}
}

// TestCellsCopyChanged: a copy between cells carries the attributes and the bytes of one and the same version.
func TestCellsCopyChanged(t *testing.T) {
	s, _ := newCells(t, 2)
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	keys := keysOf(s, testBucket, 2)
	for to, dst := range []string{keys[0][1], keys[1][1]} {
		src := keys[0][0]
		old, replaced := payload(1, 300_000), payload(2, 300_000)
		mustPut(t, s, testBucket, src, old)
		looks := 0
		_, err := s.Copy(t.Context(), testBucket, src, CurrentVersion, testBucket, dst, CopyOptions{
			Source: func(info *ObjectInfo) (Final, error) {
				if looks++; looks == 1 {
					mustPut(t, s, testBucket, src, replaced) // Behind the back of who has looked at it.
				}
				return Final{ETag: info.ETag}, nil
			},
		})
		if err != nil || looks != 2 {
			t.Errorf("copy to cell %d: %v after %d looks", to, err, looks)
		}
		if info, err := s.Head(t.Context(), testBucket, dst, CurrentVersion); err != nil || info.ETag != etagOf(replaced) {
			t.Errorf("copy to cell %d: %+v, %v", to, info, err)
		}
		mustGet(t, s, testBucket, dst, replaced)

		id, err := s.CreateUpload(t.Context(), testBucket, dst, nil)
		if err != nil {
			t.Fatal(err)
		}
		looks = 0
		mustPut(t, s, testBucket, src, old)
		var hashed bytes.Buffer
		_, err = s.CopyPart(t.Context(), testBucket, src, CurrentVersion, testBucket, dst, id, 1, CopyPartOptions{
			Off: 100, Len: 200_000, Hash: &hashed,
			Source: func(*ObjectInfo) error {
				hashed.Reset()
				if looks++; looks == 1 {
					mustPut(t, s, testBucket, src, replaced)
				}
				return nil
			},
			Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(hashed.Bytes())}, nil },
		})
		if err != nil || looks != 2 || !bytes.Equal(hashed.Bytes(), replaced[100:200_100]) {
			t.Errorf("part to cell %d: %v after %d looks, %d bytes hashed", to, err, looks, hashed.Len())
		}
		// A source that never stands still.
		_, err = s.Copy(t.Context(), testBucket, src, CurrentVersion, testBucket, dst, CopyOptions{
			Source: func(info *ObjectInfo) (Final, error) {
				looks++
				mustPut(t, s, testBucket, src, payload(uint64(looks), 300_000))
				return Final{ETag: info.ETag}, nil
			},
		})
		if KindOf(err) != KindConflict {
			t.Errorf("copy of what keeps changing: %v", err)
		}
	}
}

// TestCellsList merges listings of several cells, page by page, against a sorted list.
func TestCellsList(t *testing.T) {
	s, drives := newCells(t, 3)
	mustBucket(t, s, testBucket)
	mustBucket(t, s, "other")
	objects := map[string][]byte{}
	rng := newRNG(t)
	for i := range 120 {
		key := strings.Repeat("ab/"[rng.IntN(3):], 1+rng.IntN(3)) + fmt.Sprint(i)
		objects[key] = []byte(key)
		mustPut(t, s, testBucket, key, objects[key])
	}
	for _, prefix := range []string{"", "a", "ab/", "ab/b", "x"} {
		for _, delimiter := range []string{"", "/", "b/"} {
			var wantKeys, wantPrefixes []string
			for _, key := range sortedKeys(objects) {
				if !strings.HasPrefix(key, prefix) {
					continue
				}
				if i := strings.Index(key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
					p := key[:len(prefix)+i+len(delimiter)]
					if !slices.Contains(wantPrefixes, p) {
						wantPrefixes = append(wantPrefixes, p)
					}
					continue
				}
				wantKeys = append(wantKeys, key)
			}
			for _, size := range []int{1, 2, 7, 1000} {
				keys, prefixes, err := listAll(t.Context(), s, testBucket, ListOptions{Prefix: prefix, Delimiter: delimiter, Max: size})
				if err != nil || !slices.Equal(keys, wantKeys) || !slices.Equal(prefixes, wantPrefixes) {
					t.Fatalf("prefix %q, delimiter %q, pages of %d:\n%q %q, %v\nwant\n%q %q", prefix, delimiter, size, keys, prefixes, err, wantKeys, wantPrefixes)
				}
			}
		}
	}
	// Uploads, of which a key may have several.
	var want []string
	for i := range 30 {
		key := fmt.Sprintf("u/%d", i%10)
		id, err := s.CreateUpload(t.Context(), testBucket, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, key+" "+id)
	}
	for _, size := range []int{1, 4, 100} {
		var got []string
		o := UploadListOptions{Max: size}
		for {
			page, err := s.ListUploads(t.Context(), testBucket, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range page.Uploads {
				got = append(got, u.Key+" "+u.ID)
			}
			if !page.Truncated {
				break
			}
			o.KeyMarker, o.IDMarker = page.NextKey, page.NextID
		}
		if !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(a[:3], b[:3]) }) {
			t.Errorf("pages of %d: out of order: %q", size, got)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q\nwant %q", size, got, want)
		}
	}
	page, err := s.ListUploads(t.Context(), testBucket, UploadListOptions{Delimiter: "/", Max: 10})
	if err != nil || len(page.Uploads) != 0 || !slices.Equal(page.Prefixes, []string{"u/"}) {
		t.Errorf("%+v, %v", page, err)
	}
	// A bucket is empty when all cells say so, and takes its uploads along.
	if err := s.DeleteBucket(t.Context(), testBucket); KindOf(err) != KindBucketNotEmpty {
		t.Error(err)
	}
	for key := range objects {
		if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteBucket(t.Context(), testBucket); err != nil {
		t.Fatal(err)
	}
	if _, err := putBytes(t.Context(), s, testBucket, "k", nil, nil); KindOf(err) != KindNoSuchBucket {
		t.Error(err)
	}
	closeStore(t, s)
	reopen(drives)
	opts := testOptions(t, -1)
	opts.Memory = 3 * MinMemory
	s = mustOpen(t, opts, drives)
	buckets, err := s.ListBuckets(t.Context(), "", "", 10)
	if err != nil || len(buckets.Buckets) != 1 || buckets.Buckets[0].Name != "other" {
		t.Errorf("%+v, %v", buckets, err)
	}
	mustBucket(t, s, testBucket) // Of the same name, and as empty as it should be.
	if keys, _, err := listAll(t.Context(), s, testBucket, ListOptions{Max: 10}); err != nil || len(keys) > 0 {
		t.Errorf("a new bucket holds %q, %v", keys, err)
	}
	uploads, err := s.ListUploads(t.Context(), testBucket, UploadListOptions{Max: 10})
	if err != nil || len(uploads.Uploads) > 0 {
		t.Errorf("a new bucket has uploads %+v, %v", uploads, err)
	}
	closeStore(t, s)
}

// TestCellFails: the loss of one cell's index leaves the others alone, and listings say that they cannot be told.
func TestCellFails(t *testing.T) {
	s, _ := newCells(t, 2)
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	keys := keysOf(s, testBucket, 1)
	for _, list := range keys {
		mustPut(t, s, testBucket, list[0], []byte(list[0]))
	}
	down := s.cells[1].base.Load()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	down.gate.shut(ctx)
	mustGet(t, s, testBucket, keys[0][0], []byte(keys[0][0]))
	other := keys[1][0]
	var group sync.WaitGroup
	for what, f := range map[string]func() error{
		"get":    func() error { _, err := getBytes(t.Context(), s, testBucket, other); return err },
		"head":   func() error { _, err := s.Head(t.Context(), testBucket, other, CurrentVersion); return err },
		"list":   func() error { _, err := s.List(t.Context(), testBucket, ListOptions{Max: 10}); return err },
		"put":    func() error { _, err := putBytes(t.Context(), s, testBucket, other, nil, nil); return err },
		"delete": func() error { return deleteKey(t.Context(), s, testBucket, other) },
		"ready":  func() error { return s.Ready(t.Context()) },
	} {
		group.Go(func() { // Each waits a while for the index to come back.
			if err := f(); err == nil || KindOf(err) != KindUnavailable {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	group.Wait()
}

// TestCloseUnderLoad closes the store while requests are under way: they fail, nothing breaks, and what was acknowledged is there afterwards.
func TestCloseUnderLoad(t *testing.T) {
	drives := memDrives(4, 0)
	s := mustOpen(t, testOptions(t, -1), drives)
	mustBucket(t, s, testBucket)
	want := payload(9, 1<<20)
	mustPut(t, s, testBucket, "k", want)
	var mu sync.Mutex
	acked := map[string]int{}
	var workers sync.WaitGroup
	started := make(chan struct{}, 100)
	for worker := range 8 {
		workers.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d/%d", worker, i)
				_, err := putBytes(t.Context(), s, testBucket, key, want[:1000*worker*40], nil)
				if err == nil {
					_, err = getBytes(t.Context(), s, testBucket, "k")
				}
				if err != nil {
					return
				}
				mu.Lock()
				acked[key] = 1000 * worker * 40
				mu.Unlock()
				started <- struct{}{}
				if i > 20 {
					return
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Close(ctx); err != nil && !strings.Contains(err.Error(), "still in use") {
		t.Error(err)
	}
	cancel()
	go func() {
		for range started {
		}
	}()
	workers.Wait()
	close(started)
	reopen(drives)
	s = mustOpen(t, testOptions(t, -1), drives)
	for key, n := range acked {
		mustGet(t, s, testBucket, key, want[:n])
	}
	closeStore(t, s)
}
