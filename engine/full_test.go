package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
)

// eventually waits for what the cell does by itself.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// fillUp puts objects until the store is full, and returns them.
func fillUp(t testing.TB, s *Store, prefix string, size int) map[string][]byte {
	t.Helper()
	objects := map[string][]byte{}
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s%04d", prefix, i)
		b := payload(uint64(i), size)
		_, err := putBytes(t.Context(), s, testBucket, key, b, nil)
		switch {
		case KindOf(err) == KindFull && err != nil:
			return objects
		case err != nil:
			t.Fatal(err)
		case i > 5000:
			t.Fatal("the drives do not fill up")
		}
		objects[key] = b
	}
}

// TestFull fills small drives with large and with small objects. New bytes are refused, reads and deletions go on, and what they give back can be
// used without a restart.
func TestFull(t *testing.T) {
	for _, size := range []int{1 << 20, 100_000} {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) {
			drives := memDrivesOf(identities(4), drive.MemOptions{Queue: drive.NewMemQueue(0), Size: 96 << 20})
			opts := testOptions(t, -1)
			opts.BulkSegment = MinBulkSegment
			s := mustOpen(t, opts, drives)
			defer func() { closeStore(t, s) }()
			s.minPart = 0
			mustBucket(t, s, testBucket)
			id, err := s.CreateUpload(t.Context(), testBucket, "upload", nil)
			if err != nil {
				t.Fatal(err)
			}
			objects := fillUp(t, s, "x/", size)
			if stored := len(objects) * size; stored < 20<<20 {
				t.Errorf("full with %d bytes on four drives of 96 MiB each", stored)
			}
			eventually(t, "the cell knows that it is full", s.cells[0].full.Load)
			full := func(what string, err error) {
				t.Helper()
				if err == nil || KindOf(err) != KindFull {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err = putBytes(t.Context(), s, testBucket, "small", payload(1, 100), nil)
			full("small put", err)
			_, err = putBytes(t.Context(), s, testBucket, "empty", nil, nil)
			full("empty put", err)
			_, err = putBytes(t.Context(), s, testBucket, "large", payload(1, 1<<20), nil)
			full("large put", err)
			_, err = s.CreateUpload(t.Context(), testBucket, "k", nil)
			full("upload", err)
			_, err = s.PutPart(t.Context(), testBucket, "upload", id, 1, reader{}, PutOptions{Size: 1 << 20})
			full("part", err)
			full("bucket", s.CreateBucket(t.Context(), "another", nil))
			checkAll(t, s, testBucket, objects)
			if total, free := s.cells[0].set.Space(); free <= 0 || free > total/2 {
				t.Errorf("%d of %d bytes are free", free, total)
			}
			// A restart finds enough room for what it does itself.
			closeStore(t, s)
			reopen(drives)
			s = mustOpen(t, opts, drives)
			checkAll(t, s, testBucket, objects)

			if err := s.AbortUpload(t.Context(), testBucket, "upload", id); err != nil {
				t.Error(err)
			}
			for key := range objects {
				if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
					t.Fatalf("delete when full: %v", err)
				}
				delete(objects, key)
			}
			eventually(t, "there is room again", func() bool {
				total, free := s.cells[0].set.Space()
				return free > total*3/4 && !s.cells[0].full.Load()
			})
			again := fillUp(t, s, "y/", size)
			if len(again)*size < 15<<20 {
				t.Errorf("only %d bytes fit the second time", len(again)*size)
			}
			checkAll(t, s, testBucket, again)
		})
	}
}

// TestFullGrows: room that comes from outside is noticed, too.
func TestFullGrows(t *testing.T) {
	drives := memDrivesOf(identities(4), drive.MemOptions{Queue: drive.NewMemQueue(0), Size: 64 << 20})
	s := mustOpen(t, testOptions(t, -1), drives)
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	objects := fillUp(t, s, "x/", 1<<20)
	for _, d := range drives {
		d.(*drive.Mem).SetSize(128 << 20)
	}
	eventually(t, "there is room", func() bool { return !s.cells[0].full.Load() && !s.cells[0].set.Full(volume.Bulk) })
	mustPut(t, s, testBucket, "x/more", payload(1, 1<<20))
	objects["x/more"] = payload(1, 1<<20)
	checkAll(t, s, testBucket, objects)
}

// TestKinds: each kind of failure below is one that says what became of the request.
func TestKinds(t *testing.T) {
	for _, test := range []struct {
		err  error
		want Kind
	}{
		{errors.Join(journal.ErrUnknown, volume.ErrFull), KindUnknownOutcome}, // First of all: it may have happened.
		{volume.ErrFull, KindFull},
		{errDown, KindUnavailable},
		{errTooLarge, KindTooLarge},
		{errAttrs, KindTooLarge},
		{bodyError{errors.New("x")}, KindBody},
		{errors.Join(errUnreadable, errCorrupt), KindCorrupt},
		{errors.New("x"), KindInternal},
	} {
		if got := kindOfCause(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
	for k := range NumKinds {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
}
