package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

var errThere = errors.New("there is one")

func ifNone(o *ObjectInfo) error {
	if o != nil {
		return errThere
	}
	return nil
}

// together runs the functions at once and returns their errors.
func together(fs ...func() error) []error {
	errs := make([]error, len(fs))
	start := make(chan struct{})
	var group sync.WaitGroup
	for i, f := range fs {
		group.Go(func() {
			<-start
			errs[i] = f()
		})
	}
	close(start)
	group.Wait()
	return errs
}

// TestCreateRaces: of many who create a key if there is none, by every means, exactly one succeeds, and it is what the key names.
func TestCreateRaces(t *testing.T) {
	s := newTestStore(t, 4, 2)
	s.minPart = 0
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "source", payload(99, 1000))
	for round := range 15 {
		key := fmt.Sprint("k", round)
		content := make([][]byte, 6)
		fs := make([]func() error, len(content))
		for i := range fs {
			content[i] = payload(uint64(i), 1000+i*40_000)
			switch {
			case i < 4:
				fs[i] = func() error {
					_, err := putBytes(t.Context(), s, testBucket, key, content[i], ifNone)
					return err
				}
			case i == 4:
				content[i] = payload(99, 1000)
				fs[i] = func() error {
					_, err := s.Copy(t.Context(), testBucket, "source", CurrentVersion, testBucket, key, CopyOptions{
						Source: func(*ObjectInfo) (Final, error) { return Final{}, nil }, Check: ifNone,
					})
					return err
				}
			default:
				id, err := s.CreateUpload(t.Context(), testBucket, key, nil)
				if err != nil {
					t.Fatal(err)
				}
				parts := putParts(t, s, key, id, [][]byte{content[i]})
				fs[i] = func() error {
					_, err := s.CompleteUpload(t.Context(), testBucket, key, id, CompleteOptions{
						Parts: parts, Check: ifNone, Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, nil },
					})
					return err
				}
			}
		}
		winner := -1
		for i, err := range together(fs...) {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("%d and %d have both created %s", winner, i, key)
			case err == nil:
				winner = i
			case KindOf(err) != KindPrecondition || !errors.Is(err, errThere):
				t.Error(err)
			}
		}
		if winner < 0 {
			t.Fatal("nobody has created it")
		}
		mustGet(t, s, testBucket, key, content[winner])
	}
}

// TestReplaceRaces: of many who replace what they saw, one does, each time.
func TestReplaceRaces(t *testing.T) {
	s := newTestStore(t, 4, 2)
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "n", []byte("0"))
	const workers, each = 4, 10
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for done := 0; done < each; {
				info, err := s.Head(t.Context(), testBucket, "n", CurrentVersion)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := getBytes(t.Context(), s, testBucket, "n")
				if err != nil {
					t.Error(err)
					return
				}
				if etagOf(b) != info.ETag {
					continue // Replaced between the two.
				}
				var n int
				fmt.Sscan(string(b), &n)
				_, err = putBytes(t.Context(), s, testBucket, "n", fmt.Append(nil, n+1), func(o *ObjectInfo) error {
					if o == nil || o.ETag != info.ETag {
						return errThere
					}
					return nil
				})
				switch {
				case err == nil:
					done++
				case KindOf(err) != KindPrecondition:
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	mustGet(t, s, testBucket, "n", fmt.Append(nil, workers*each))
}

// TestUploadRaces: completion, abortion and parts of one upload in every company. There is one outcome, and the losers' space comes back.
func TestUploadRaces(t *testing.T) {
	y := newYard(t)
	s := y.s
	rng := newRNG(t)
	for round := range 25 {
		key := fmt.Sprint("k", round)
		id, err := s.CreateUpload(t.Context(), testBucket, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		first, second := payload(uint64(round), 300_000), payload(uint64(round)+1000, 5000)
		parts := putParts(t, s, key, id, [][]byte{first, second})
		complete := func() error {
			_, err := s.CompleteUpload(t.Context(), testBucket, key, id, CompleteOptions{
				Parts: parts, Finish: func([]PartInfo, []Attr) (Final, error) { return Final{ETag: "x"}, nil },
			})
			return err
		}
		abort := func() error { return s.AbortUpload(t.Context(), testBucket, key, id) }
		part := func() error {
			b := payload(7, 200_000)
			_, err := s.PutPart(t.Context(), testBucket, key, id, 2, bytes.NewReader(b), PutOptions{
				Size: int64(len(b)), Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(b)}, nil },
			})
			return err
		}
		fs := []func() error{complete, abort, part, complete, part, abort}
		rng.Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
		fs = append(fs[:1+rng.IntN(5)], complete, abort)
		ended := 0
		for _, err := range together(fs...) {
			switch KindOf(err) {
			case KindNoSuchUpload, KindInvalidPart: // Too late, or the part was replaced before.
			default:
				if err != nil {
					t.Error(err)
				}
			}
		}
		got, err := getBytes(t.Context(), s, testBucket, key)
		switch {
		case err == nil && bytes.Equal(got, slices.Concat(first, second)):
			ended++
		case KindOf(err) != KindNoSuchObject:
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := s.Upload(t.Context(), testBucket, key, id); KindOf(err) != KindNoSuchUpload {
			t.Errorf("the upload is still there: %v", err)
		}
		if ended == 1 {
			if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
				t.Error(err)
			}
		}
	}
	if ids, err := y.r.b.index.UnreferencedBlobs(0, 10); err != nil || len(ids) > 0 {
		t.Errorf("blobs %x are left, %v", ids, err)
	}
	y.retireBulk()
	y.rounds()
	for _, vol := range y.c.set.Volumes() {
		if used, _ := y.r.b.index.VolumeUsage(vol.ID()); vol.Class().String() == "bulk" {
			t.Errorf("%v is left, with %d live bytes and %d pins", vol, used.Live, vol.Pins())
		}
	}
}

// TestBucketRaces: a bucket that is deleted while objects are put is gone with nothing in it, or is there with all of them.
func TestBucketRaces(t *testing.T) {
	s := newTestStore(t, 4, 2)
	for round := range 20 {
		name := fmt.Sprint("bucket", round)
		mustBucket(t, s, name)
		var put [3]error
		errs := together(
			func() error { _, put[0] = putBytes(t.Context(), s, name, "a", payload(1, 100), nil); return nil },
			func() error { return s.DeleteBucket(t.Context(), name) },
			func() error { _, put[1] = putBytes(t.Context(), s, name, "b", payload(2, 200_000), nil); return nil },
			func() error { _, put[2] = s.CreateUpload(t.Context(), name, "c", nil); return nil },
		)
		_, err := s.Bucket(t.Context(), name)
		deleted := errs[1] == nil
		if deleted != (KindOf(err) == KindNoSuchBucket && err != nil) {
			t.Fatalf("deletion: %v, look: %v", errs[1], err)
		}
		for i, err := range put[:2] {
			if deleted && (err == nil || KindOf(err) != KindNoSuchBucket) || !deleted && err != nil {
				t.Errorf("deleted: %v; put %d: %v", deleted, i, err)
			}
		}
		if !deleted && KindOf(errs[1]) != KindBucketNotEmpty {
			t.Error(errs[1])
		}
	}
	if errs := together(
		func() error { return s.CreateBucket(t.Context(), "same", nil) },
		func() error { return s.CreateBucket(t.Context(), "same", nil) },
	); (errs[0] == nil) == (errs[1] == nil) || KindOf(errors.Join(errs...)) != KindBucketExists {
		t.Error(errs)
	}
}

// TestReadsDuringChurn: readers see one version from beginning to end, and listings every key that is there all the while, once.
func TestReadsDuringChurn(t *testing.T) {
	s := newTestStore(t, 4, 2)
	mustBucket(t, s, testBucket)
	stable := map[string]bool{}
	for i := range 20 {
		key := fmt.Sprintf("k%03d/stable", i*5)
		stable[key] = true
		mustPut(t, s, testBucket, key, payload(1, 10))
	}
	// A version's bytes are all of one value, which is also its ETag.
	version := func(n uint64) []byte { return bytes.Repeat([]byte{byte(n)}, 300_000+int(n%7)*200_000) }
	put := func(n uint64) error {
		b := version(n)
		_, err := s.Put(t.Context(), testBucket, "hot", bytes.NewReader(b), PutOptions{
			Size: int64(len(b)), Finish: func(Sums) (Final, error) { return Final{ETag: fmt.Sprint(n)}, nil },
		})
		return err
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	var next atomic.Uint64
	for worker := range 3 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 1))
			for ctx.Err() == nil {
				key := fmt.Sprintf("k%03d", rng.IntN(100))
				var err error
				switch rng.IntN(4) {
				case 0:
					err = put(next.Add(1))
				case 1:
					_, err = putBytes(t.Context(), s, testBucket, key, payload(2, 100), nil)
				case 2:
					err = deleteKey(t.Context(), s, testBucket, key)
				default:
					err = copyObject(t.Context(), s, "k000/stable", key)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for range 30 {
				h, err := s.Open(t.Context(), testBucket, "hot", CurrentVersion)
				if err != nil {
					t.Error(err)
					return
				}
				var n uint64
				fmt.Sscan(h.Info().ETag, &n)
				body, err := h.Body(t.Context(), 0, h.Info().Size)
				if err != nil {
					t.Error(err)
					h.Close()
					return
				}
				got, err := io.ReadAll(body)
				if err != nil || !bytes.Equal(got, version(n)) {
					t.Errorf("version %d: %d bytes, %v", n, len(got), err)
				}
				body.Close()
				h.Close()
			}
		})
		readers.Go(func() {
			for i := range 20 {
				keys, _, err := listAll(t.Context(), s, testBucket, ListOptions{Prefix: "k", Max: 3 + i})
				if err != nil {
					t.Error(err)
					return
				}
				found := 0
				for j, key := range keys {
					if j > 0 && keys[j-1] >= key {
						t.Errorf("%q after %q", key, keys[j-1])
					}
					if stable[key] {
						found++
					}
				}
				if found != len(stable) {
					t.Errorf("%d of %d keys that were there all the while", found, len(stable))
				}
			}
		})
	}
	readers.Wait()
	cancel()
	writers.Wait()
}
