package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// setQuota gives testBucket a quota; 0 takes it away.
func setQuota(t testing.TB, s *Store, bytes int64) {
	t.Helper()
	err := s.UpdateBucket(t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) {
		if bytes == 0 {
			return WithAttr(b.Attrs, AttrQuota, ""), nil
		}
		return WithAttr(b.Attrs, AttrQuota, strconv.FormatInt(bytes, 10)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unreadable is a body that must not be asked for.
type unreadable struct{ t testing.TB }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body of a write that cannot fit was read")
	return 0, io.EOF
}

func TestBucketQuota(t *testing.T) {
	ctx := t.Context()
	s := newTestStore(t, 3, 1)
	mustBucket(t, s, testBucket)
	put := func(key string, size int) error {
		_, err := putBytes(ctx, s, testBucket, key, payload(1, size), nil)
		return err
	}
	fits := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		if KindOf(err) != KindQuota {
			t.Errorf("%s: got %v, want it refused", what, err)
		}
		mustUsage(t, s, testBucket)
	}
	finish := func(Sums) (Final, error) { return Final{ETag: "x"}, nil }
	fits("without a quota", put("a", 400))
	setQuota(t, s, 1000)
	fits("the rest of it", put("b", 600))
	refused("a byte more", put("c", 1))
	_, err := s.Put(ctx, testBucket, "c", unreadable{t}, PutOptions{Size: 1, Finish: finish})
	refused("a byte more that was announced", err)
	fits("nothing", put("c", 0))
	fits("as much in the place of something", put("a", 400))
	fits("less", put("a", 300))
	fits("the difference", put("b", 700))
	refused("more than the difference", put("b", 701))
	refused("a copy", copyObject(ctx, s, "a", "d"))
	fits("a deletion", deleteKey(ctx, s, testBucket, "b"))
	fits("a copy", copyObject(ctx, s, "a", "d"))
	fits("a copy onto itself", copyObject(ctx, s, "a", "a"))
	_, err = s.Put(ctx, testBucket, "e", bytes.NewReader(payload(1, 401)), PutOptions{Size: -1, Finish: finish})
	refused("a body of unknown length", err)
	_, err = s.Put(ctx, testBucket, "e", bytes.NewReader(payload(1, 400)), PutOptions{Size: -1, Finish: finish})
	fits("a shorter one", err)
	fits("its deletion", deleteKey(ctx, s, testBucket, "e"))

	// A body that fails gives back what was reserved for it.
	broken := errors.New("broken")
	for range 3 {
		if _, err := s.Put(ctx, testBucket, "e", io.MultiReader(bytes.NewReader(payload(1, 100)), failingReader{broken}), PutOptions{Size: 400, Finish: finish}); KindOf(err) == KindQuota || err == nil {
			t.Errorf("a body that breaks off: got %v", err)
		}
		_, err := s.Put(ctx, testBucket, "e", bytes.NewReader(payload(1, 400)), PutOptions{Size: 400, Finish: func(Sums) (Final, error) { return Final{}, broken }})
		if KindOf(err) != KindBody {
			t.Errorf("a body that is judged wrong: got %v", err)
		}
		if _, err := putBytes(ctx, s, testBucket, "e", payload(1, 400), func(*ObjectInfo) error { return broken }); KindOf(err) != KindPrecondition {
			t.Errorf("a condition that fails: got %v", err)
		}
	}

	// Parts count as they come, and their completion adds nothing.
	id, err := s.CreateUpload(ctx, testBucket, "f", nil)
	fits("an upload", err)
	fits("a part", putPart(ctx, s, "f", id, 1, payload(1, 400)))
	refused("another part", putPart(ctx, s, "f", id, 2, payload(1, 1)))
	fits("the same part again", putPart(ctx, s, "f", id, 1, payload(2, 400)))
	refused("the same part, longer", putPart(ctx, s, "f", id, 1, payload(2, 401)))
	_, err = s.CopyPart(ctx, testBucket, "a", CurrentVersion, testBucket, "f", id, 2, CopyPartOptions{
		Len: 1, Source: func(*ObjectInfo) error { return nil }, Finish: finish,
	})
	refused("a part that is copied", err)
	_, err = s.CompleteUpload(ctx, testBucket, "f", id, CompleteOptions{
		Parts:  []CompletePart{{1, etagOf(payload(2, 400))}},
		Finish: func([]PartInfo, []Attr) (Final, error) { return Final{ETag: "whole"}, nil },
	})
	fits("the completion", err)
	if u := mustUsage(t, s, testBucket); u.Bytes != 1000 || u.PartBytes != 0 {
		t.Errorf("got %+v, want 1,000 bytes", u)
	}

	// With versions, everything is added; but where versioning is suspended, the null version is replaced.
	fits("versioning", s.UpdateBucket(ctx, testBucket, func(b BucketInfo) ([]Attr, error) { return WithAttr(b.Attrs, AttrVersioning, VersioningEnabled), nil }))
	refused("another version", put("a", 1))
	fits("a delete marker", deleteKey(ctx, s, testBucket, "a"))
	fits("suspended versioning", s.UpdateBucket(ctx, testBucket, func(b BucketInfo) ([]Attr, error) { return WithAttr(b.Attrs, AttrVersioning, VersioningSuspended), nil }))
	fits("as much in the place of the null version", put("a", 300))
	refused("more in the place of the null version", put("a", 301))

	setQuota(t, s, 10)
	refused("a quota that is less than there is", put("a", 301))
	fits("less, though it is still too much", put("a", 299))
	for _, bad := range []string{"-1", "0", "x", "+5", "1e9", "9223372036854775808"} {
		err := s.UpdateBucket(ctx, testBucket, func(b BucketInfo) ([]Attr, error) { return WithAttr(b.Attrs, AttrQuota, bad), nil })
		if KindOf(err) != KindPrecondition {
			t.Errorf("quota %q: got %v", bad, err)
		}
	}
	setQuota(t, s, 0)
	fits("no quota any more", put("a", 5000))
	if n := mustBucketOf(t, s).reserved.bytes; n != 0 {
		t.Errorf("%d bytes stay reserved", n)
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

func mustBucketOf(t testing.TB, s *Store) *bucket {
	t.Helper()
	b, err := s.bucketOf("test", testBucket)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBucketQuotaTogether has many write at once into a bucket that holds exactly what some of them bring: so many succeed, no more and no
// fewer, and at no time is there more than the quota.
func TestBucketQuotaTogether(t *testing.T) {
	for _, n := range []int{700, 200_000} { // In the journal, and in bulk volumes.
		t.Run(fmt.Sprintf("bytes=%d", n), func(t *testing.T) {
			const writers, room = 24, 9
			s := newTestStore(t, 3, 1)
			mustBucket(t, s, testBucket)
			setQuota(t, s, int64(room*n))
			stop := watchQuota(t, s, int64(room*n))
			var done atomic.Int64
			var all sync.WaitGroup
			for i := range writers {
				all.Go(func() {
					_, err := putBytes(t.Context(), s, testBucket, fmt.Sprint("key", i), payload(uint64(i), n), nil)
					switch {
					case err == nil:
						done.Add(1)
					case KindOf(err) != KindQuota:
						t.Error(err)
					}
				})
			}
			all.Wait()
			stop()
			if got := done.Load(); got != room {
				t.Errorf("%d of %d writes fitted, want %d", got, writers, room)
			}
			if u := mustUsage(t, s, testBucket); u.Bytes != int64(room*n) {
				t.Errorf("got %+v", u)
			}
		})
	}
}

// watchQuota looks again and again whether a bucket has more than its quota, until the function returned is called.
func watchQuota(t testing.TB, s *Store, quota int64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			u, err := s.BucketUsage(context.Background(), testBucket)
			if err != nil || u.Bytes+u.PartBytes > quota {
				t.Errorf("%+v of %d, %v", u, quota, err)
				return
			}
		}
	})
	return func() { cancel(); all.Wait() }
}

// TestBucketQuotaShares has everybody write, overwrite, copy and delete within a share of its own, the shares being all of the quota. As
// nobody ever has more than its share, nobody may be refused: not because of what others have reserved, and not because of what is in the
// index already and still reserved.
func TestBucketQuotaShares(t *testing.T) {
	const writers, share, rounds = 6, 40_000, 25
	s := newTestStore(t, 3, 1)
	mustBucket(t, s, testBucket)
	setQuota(t, s, writers*share)
	stop := watchQuota(t, s, writers*share)
	ctx := t.Context()
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			key := fmt.Sprint("key", i)
			step := func(what string, err error) {
				if err != nil {
					t.Errorf("writer %d: %s: %v", i, what, err)
				}
			}
			for round := range rounds {
				size := share - round%7
				_, err := putBytes(ctx, s, testBucket, key, payload(uint64(i), size), nil)
				step("put", err)
				_, err = putBytes(ctx, s, testBucket, key, payload(uint64(round), share/2), nil)
				step("overwrite", err)
				step("copy", copyObject(ctx, s, key, key+"copy"))
				step("delete", deleteKey(ctx, s, testBucket, key))
				id, err := s.CreateUpload(ctx, testBucket, key, nil)
				step("create upload", err)
				step("part", putPart(ctx, s, key, id, 1, payload(1, share/4)))
				step("part again", putPart(ctx, s, key, id, 1, payload(2, share/2)))
				step("abort", s.AbortUpload(ctx, testBucket, key, id))
				_, err = s.Put(ctx, testBucket, key, bytes.NewReader(payload(3, share/2)), PutOptions{Size: -1, Finish: func(Sums) (Final, error) { return Final{ETag: "x"}, nil }})
				step("put of unknown length", err)
				step("delete the copy", deleteKey(ctx, s, testBucket, key+"copy"))
			}
		})
	}
	all.Wait()
	stop()
	mustUsage(t, s, testBucket)
	if n := mustBucketOf(t, s).reserved.bytes; n != 0 {
		t.Errorf("%d bytes stay reserved", n)
	}
}

// TestBucketQuotaOneKey has all write the same key and the same part, with lengths of all sorts: what each replaces changes under it.
func TestBucketQuotaOneKey(t *testing.T) {
	const writers, quota, rounds = 6, 50_000, 20
	s := newTestStore(t, 3, 1)
	mustBucket(t, s, testBucket)
	setQuota(t, s, quota)
	id, err := s.CreateUpload(t.Context(), testBucket, "upload", nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := watchQuota(t, s, quota)
	rng := newRNG(t)
	var all sync.WaitGroup
	for range writers {
		seed := rng.Uint64()
		all.Go(func() {
			for round := range uint64(rounds) {
				size := int((seed>>(round%32) ^ round*7919) % quota)
				_, err := putBytes(t.Context(), s, testBucket, "one", payload(seed, size), nil)
				if err != nil && KindOf(err) != KindQuota {
					t.Error(err)
				}
				if err := putPart(t.Context(), s, "upload", id, 1, payload(seed, quota-size)); err != nil && KindOf(err) != KindQuota {
					t.Error(err)
				}
				if round%4 == 0 {
					if err := deleteKey(t.Context(), s, testBucket, "one"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	stop()
	mustUsage(t, s, testBucket)
	if n := mustBucketOf(t, s).reserved.bytes; n != 0 {
		t.Errorf("%d bytes stay reserved", n)
	}
}
