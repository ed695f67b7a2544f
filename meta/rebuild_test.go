package meta_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/meta"
)

func dump(t testing.TB, x *meta.Index) string {
	t.Helper()
	var b bytes.Buffer
	mustNot(t, x.Dump(&b))
	return b.String()
}

// equalDumps fails at the first line in which two dumps differ.
func equalDumps(t testing.TB, what string, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Fatalf("%s: line %d differs:\n got %s\nwant %s", what, i, a, b)
		}
	}
}

// rebuilt makes an index from records alone.
func rebuilt(t testing.TB, recs []meta.Applied, pos meta.Position) (*meta.Index, meta.Rebuilt) {
	t.Helper()
	x := newIndex(t)
	rb, err := x.BeginRebuild()
	mustNot(t, err)
	for _, a := range recs {
		mustNot(t, rb.Load(a))
	}
	out, err := rb.Finish(context.Background(), pos)
	mustNot(t, err)
	return x, out
}

// TestRebuild plays a random history and makes the index again from its records in random order: from all of them, and from those that
// are left once volumes were freed.
func TestRebuild(t *testing.T) {
	rng := newRNG(t)
	for round := range 6 {
		h := newHistory(rng)
		h.keys = 10 + rng.IntN(50)
		x := newIndex(t)
		freed := map[meta.VolumeID]bool{}
		apply := func() {
			b := h.cut()
			_, err := x.Apply(b.pos, b.recs)
			mustNot(t, err)
		}
		for range 500 + rng.IntN(700) {
			h.step()
			switch {
			case rng.IntN(8) == 0:
				apply()
			case rng.IntN(40) == 0:
				apply()
				h.roll()
				apply()
				if rng.IntN(2) == 0 {
					h.compact(t, x)
					apply()
				}
				for _, v := range h.freeDead(t, x) {
					freed[v] = true
				}
			}
		}
		h.sweep() // A rebuild keeps no unreferenced blobs.
		apply()
		want := dump(t, x)

		all := slices.Clone(h.log)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if round == 0 {
			all = append(all, all[:len(all)/2]...) // Reading a record twice does no harm.
		}
		y, out := rebuilt(t, all, h.position())
		equalDumps(t, "rebuilt from all records", dump(t, y), want)
		if out.LostCount != 0 || y.Position() != h.position() {
			t.Fatalf("rebuilt %+v at %+v", out, y.Position())
		}

		kept := slices.DeleteFunc(all, func(a meta.Applied) bool { return freed[a.Loc.Volume] })
		y, out = rebuilt(t, kept, h.position())
		equalDumps(t, "rebuilt without freed volumes", dump(t, y), want)
		if out.LostCount != 0 {
			t.Fatalf("lost %+v", out.Lost)
		}
		t.Logf("%d records, %d kept; %d volumes, %d freed; %+v", len(h.log), len(kept), len(h.ended)+1+len(freed), len(freed), out)

		// What was rebuilt goes on like the original.
		for range 50 {
			h.step()
		}
		b := h.cut()
		_, err := x.Apply(b.pos, b.recs)
		mustNot(t, err)
		_, err = y.Apply(b.pos, b.recs)
		mustNot(t, err)
		equalDumps(t, "after more records", dump(t, y), dump(t, x))
		if a, b := must(x.Hash()), must(y.Hash()); a != b {
			t.Fatal("dumps agree and hashes do not")
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestRebuildLoss drops records that live objects need. What references the lost blobs stays, reads as lost, and can be deleted.
func TestRebuildLoss(t *testing.T) {
	h := newHistory(rand.New(rand.NewPCG(1, 1)))
	bucket := h.bucket()
	in := h.newInline()
	ref := []meta.BlobRef{{Blob: in.ID, Off: 2, Len: 1}}
	in.Data = []byte("12345")
	h.add(&meta.PutObject{Bucket: bucket, Object: meta.Object{Key: "origin", Size: 5, Blobs: []meta.BlobRef{{Blob: in.ID, Len: 5}}}, Inline: in})
	lost := h.lsn
	h.add(&meta.PutObject{Bucket: bucket, Object: meta.Object{Key: "copy", Size: 1, Blobs: ref}})
	up := meta.UploadID{1}
	h.add(&meta.CreateUpload{Upload: meta.Upload{ID: up, Bucket: bucket, Key: "k"}})
	h.add(&meta.PutPart{Upload: up, Part: meta.UploadPart{Number: 3, Size: 1, Blobs: ref}})
	recs := slices.DeleteFunc(slices.Clone(h.log), func(a meta.Applied) bool { return a.LSN == lost })
	b := h.cut()
	x, out := rebuilt(t, recs, b.pos)
	equal(t, "losses", out.Lost, []meta.Loss{{Blob: in.ID, Upload: up, Part: 3}, {Blob: in.ID, Bucket: bucket, Key: "copy"}})
	_, found, err := x.GetObject(bucket, "copy", meta.NullVersion)
	mustNot(t, err)
	equal(t, "found", found, true)
	blob, found, err := x.GetBlob(in.ID)
	mustNot(t, err)
	if !found || len(blob.Extents) != 0 || blob.Size != 3 {
		t.Fatalf("lost blob is %+v, found %v", blob, found)
	}
	h.add(&meta.DeleteObject{Bucket: bucket, Key: "copy"})
	h.add(&meta.AbortUpload{Upload: up})
	b = h.cut()
	_, err = x.Apply(b.pos, b.recs)
	mustNot(t, err)
	if _, found, _ = x.GetBlob(in.ID); found {
		t.Fatal("lost blob stays after its last reference went")
	}
}

// TestRebuildUnfinished closes an index in the middle of a rebuild: it must not be taken for a whole one.
func TestRebuildUnfinished(t *testing.T) {
	fs := vfs.NewMem()
	x := openMem(t, fs, true)
	h := newHistory(rand.New(rand.NewPCG(1, 1)))
	b := h.cut()
	rb, err := x.BeginRebuild()
	mustNot(t, err)
	if _, err := x.BeginRebuild(); !errors.Is(err, meta.ErrInconsistent) {
		t.Errorf("second rebuild: %v", err)
	}
	if _, err := x.Apply(b.pos, b.recs); !errors.Is(err, meta.ErrInconsistent) {
		t.Errorf("apply during a rebuild: %v", err)
	}
	payload := make([]byte, 0, 2<<20)
	big := &meta.Config{Name: "big", Value: strings.Repeat("x", 2<<20)} // Fills Load's batch.
	mustNot(t, rb.Load(meta.Applied{LSN: 1, Loc: meta.RecordLoc{Volume: 1}, Payload: big.AppendTo(payload)}))
	mustNot(t, x.Flush(context.Background()))
	mustNot(t, x.Close())
	if _, err := meta.Open(meta.Options{FS: fs, Dir: "index"}); !errors.Is(err, meta.ErrUnusable) {
		t.Fatalf("opened after half a rebuild: %v", err)
	}
}
