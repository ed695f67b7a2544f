package engine

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"penstock/engine/drive"
)

// fill stores an object of each size at which something changes and returns them by key.
func fill(t testing.TB, s *Store, bucket, prefix string) map[string][]byte {
	t.Helper()
	objects := map[string][]byte{}
	for i, size := range sizes {
		key := fmt.Sprintf("%s%d-%d", prefix, i, size)
		objects[key] = payload(uint64(i)+1000, size)
		mustPut(t, s, bucket, key, objects[key])
	}
	return objects
}

func checkAll(t testing.TB, s *Store, bucket string, objects map[string][]byte) {
	t.Helper()
	for key, b := range objects {
		mustGet(t, s, bucket, key, b)
		if n := int64(len(b)); n > 100 {
			got, err := getRange(t.Context(), s, bucket, key, n/3, n/2)
			if err != nil || !bytes.Equal(got, b[n/3:n/3+n/2]) {
				t.Fatalf("range of %s: %d bytes, %v", key, len(got), err)
			}
		}
	}
	keys, _, err := listAll(t.Context(), s, bucket, ListOptions{Max: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if want := sortedKeys(objects); !slices.Equal(keys, want) {
		t.Fatalf("listing has %q, want %q", keys, want)
	}
}

// TestLostDrives starts the store without each pair of its six drives in turn, the index's among them. All must read, writes must go on, and
// what was written without the pair must be there when it comes back.
func TestLostDrives(t *testing.T) {
	drives := memDrives(6, 0)
	opts := testOptions(t, -1)
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "all/")
	closeStore(t, s)
	reopen(drives)
	for a := range drives {
		for b := range a {
			rest := slices.DeleteFunc(slices.Clone(drives), func(d drive.Drive) bool { return d == drives[a] || d == drives[b] })
			s, err := openOn(t.Context(), opts, rest)
			if err != nil {
				t.Fatalf("without %d and %d: %v", a, b, err)
			}
			checkAll(t, s, testBucket, objects)
			key := fmt.Sprintf("without/%d-%d", a, b)
			objects[key] = payload(uint64(a*10+b), 300_000)
			mustPut(t, s, testBucket, key, objects[key])
			small := key + "-small"
			objects[small] = payload(uint64(a*10+b), 5000)
			mustPut(t, s, testBucket, small, objects[small])
			closeStore(t, s)
			reopen(rest)
		}
	}
	s = mustOpen(t, opts, drives)
	checkAll(t, s, testBucket, objects)
	closeStore(t, s)
}

func reopen(drives []drive.Drive) {
	for _, d := range drives {
		d.(*drive.Mem).Reopen()
	}
}

// TestDriveFailsUnderLoad fails a drive's n-th write, for many n: no write of a client may fail, and all must read back.
func TestDriveFailsUnderLoad(t *testing.T) {
	for n := 1; n < 60; n += 4 {
		t.Run(fmt.Sprintf("write=%d", n), func(t *testing.T) {
			plan := drive.NewPlan(uint64(n))
			drives := memDrives(6, 0)
			s := mustOpen(t, testOptions(t, -1), plan.WrapAll(drives))
			mustBucket(t, s, testBucket)
			plan.Add(drive.Rule{On: drive.OnWrite, Drive: drives[n%6].ID(), Nth: n, Times: -1})
			plan.Add(drive.Rule{On: drive.OnWrite, Drive: drives[(n+1)%6].ID(), Nth: n + 7, Times: -1})
			objects := fill(t, s, testBucket, "x/")
			checkAll(t, s, testBucket, objects)
			closeStore(t, s)
		})
	}
}

// TestDriveHangs lets a drive hang for ever in the middle of a write: it is given up, the client's write succeeds elsewhere.
func TestDriveHangs(t *testing.T) {
	plan := drive.NewPlan(1)
	drives := memDrives(4, 0)
	opts := testOptions(t, -1).tuned(func(c *cell) { c.limits.write, c.limits.create = time.Second, time.Second })
	s := mustOpen(t, opts, plan.WrapAll(drives))
	mustBucket(t, s, testBucket)
	plan.Add(drive.Rule{On: drive.OnWrite, Drive: drives[2].ID(), Times: -1, Do: drive.Hang})
	want := payload(7, 900_000)
	mustPut(t, s, testBucket, "large", want)
	mustPut(t, s, testBucket, "small", want[:100])
	mustGet(t, s, testBucket, "large", want)
	mustGet(t, s, testBucket, "small", want[:100])
	plan.Release()
	closeStore(t, s)
}

// TestBadReads corrupts what up to two of six drives return, in every way that a drive can: no wrong byte may come out, and what can be
// reconstructed must be.
func TestBadReads(t *testing.T) {
	for _, effect := range []drive.Effect{drive.Fail, drive.Flip, drive.Misdirect, drive.Short} {
		t.Run(fmt.Sprintf("effect=%d", effect), func(t *testing.T) {
			plan := drive.NewPlan(uint64(effect))
			drives := memDrives(6, 0)
			s := mustOpen(t, testOptions(t, -1), plan.WrapAll(drives))
			mustBucket(t, s, testBucket)
			objects := fill(t, s, testBucket, "x/")
			for a := range drives {
				for b := range a {
					plan.Clear()
					plan.Add(drive.Rule{On: drive.OnRead, Drive: drives[a].ID(), Times: -1, Do: effect})
					plan.Add(drive.Rule{On: drive.OnRead, Drive: drives[b].ID(), Times: -1, Do: effect})
					s.cells[0].cache = newBlobCache(0)
					checkAll(t, s, testBucket, objects)
				}
			}
			// A third bad drive is one too many for some objects: an error then, never other bytes.
			plan.Clear()
			for i := range 3 {
				plan.Add(drive.Rule{On: drive.OnRead, Drive: drives[i].ID(), Times: -1, Do: effect})
			}
			failed := 0
			for key, want := range objects {
				got, err := getBytes(t.Context(), s, testBucket, key)
				if err != nil {
					if kind := KindOf(err); kind != KindCorrupt && kind != KindUnavailable {
						t.Errorf("%s: %v", key, err)
					}
					failed++
				} else if !bytes.Equal(got, want) {
					t.Errorf("%s: wrong bytes", key)
				}
			}
			if failed == 0 {
				t.Error("three bad drives of six, and nothing failed: the faults did not strike")
			}
			plan.Clear()
			closeStore(t, s)
		})
	}
}

// TestIndexLost starts two copies of the same drives, one with its index and one without. The rebuilt index must say what the other says.
func TestIndexLost(t *testing.T) {
	domain := drive.NewDomain(identities(4), 0, drive.DomainOptions{})
	opts := testOptions(t, -1)
	s := mustOpen(t, opts, domain.Drives())
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	for key := range objects {
		if _, err := s.Copy(t.Context(), testBucket, key, CurrentVersion, testBucket, key+".copy", CopyOptions{
			Source: func(src *ObjectInfo) (Final, error) { return Final{ETag: src.ETag}, nil },
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range sortedKeys(objects) {
		objects[key+".copy"] = objects[key]
		if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
			t.Fatal(err)
		}
		delete(objects, key)
	}
	if _, err := s.CreateUpload(t.Context(), testBucket, "unfinished", nil); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	whole, bare := domain.Cut(drive.Choice{}), domain.Cut(drive.Choice{})
	for _, d := range bare.Drives() {
		fs, root := d.FS()
		if err := fs.RemoveAll(fs.PathJoin(root, "index")); err != nil {
			t.Fatal(err)
		}
	}
	s = mustOpen(t, opts, whole.Drives())
	want := dump(t, s)
	closeStore(t, s)
	s = mustOpen(t, opts, bare.Drives())
	checkAll(t, s, testBucket, objects)
	if got := dump(t, s); got != want {
		t.Errorf("the rebuilt index differs:\n%s\nwant\n%s", got, want)
	}
	closeStore(t, s)
}
