package meta_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/meta"
)

// feed applies records one batch at a time, in journal volume 1 unless told otherwise.
type feed struct {
	t   testing.TB
	x   *meta.Index
	lsn meta.LSN
	in  meta.VolumeID
}

func newFeed(t testing.TB) *feed { return &feed{t: t, x: newIndex(t), in: 1} }

func (f *feed) try(recs ...meta.Record) (meta.Effects, error) {
	var applied []meta.Applied
	lsn := f.lsn
	for _, rec := range recs {
		lsn++
		payload := rec.AppendTo(nil)
		applied = append(applied, meta.Applied{LSN: lsn, Loc: meta.RecordLoc{Volume: f.in, Off: 100, Len: uint32(len(payload))}, Payload: payload})
	}
	effects, err := f.x.Apply(meta.Position{LSN: lsn}, applied)
	if err == nil {
		f.lsn = lsn
	}
	return effects, err
}

func (f *feed) apply(recs ...meta.Record) meta.Effects {
	f.t.Helper()
	effects, err := f.try(recs...)
	mustNot(f.t, err)
	return effects
}

func (f *feed) usage(v meta.VolumeID) (live, tombstones int64) {
	f.t.Helper()
	u, err := f.x.VolumeUsage(v)
	mustNot(f.t, err)
	return u.Live, u.Tombstones
}

func inlinePut(key string, id meta.BlobID, data string) *meta.PutObject {
	return &meta.PutObject{
		Bucket: 1, Object: meta.Object{Key: key, Size: int64(len(data)), Blobs: []meta.BlobRef{{Blob: id, Len: int64(len(data))}}},
		Inline: &meta.Inline{ID: id, Data: []byte(data)},
	}
}

// TestLiveBytes follows the bytes of one small object and a copy of it through their lives.
func TestLiveBytes(t *testing.T) {
	f := newFeed(t)
	put := inlinePut("k", 7, "0123456789")
	putLen := int64(len(put.AppendTo(nil)))
	framed := int64(meta.FramedLen(int(putLen)))
	f.apply(put)
	if live, _ := f.usage(1); live != framed {
		t.Errorf("%d live bytes after a put of %d", live, framed)
	}
	blob, _, err := f.x.GetBlob(7)
	mustNot(t, err)
	equal(t, "place of the inline bytes", blob.Extents[0].At, meta.RecordLoc{Volume: 1, Off: 100 + uint32(putLen) - 10, Len: 10})

	// A copy in another volume keeps the blob when the original goes, but not the original's share.
	f.in = 2
	f.apply(&meta.PutObject{Bucket: 1, Object: meta.Object{Key: "copy", Size: 4, Blobs: []meta.BlobRef{{Blob: 7, Off: 6, Len: 4}}}})
	f.in = 3
	f.apply(&meta.DeleteObject{Bucket: 1, Key: "k"})
	if live, _ := f.usage(1); live <= 10 || live >= framed {
		t.Errorf("%d live bytes of %d while only the blob lives", live, framed)
	}
	if _, tombstones := f.usage(3); tombstones != 1 {
		t.Errorf("%d tombstones after a delete", tombstones)
	}
	effects := f.apply(&meta.DeleteObject{Bucket: 1, Key: "copy"})
	slices.Sort(effects.DeadVolumes)
	equal(t, "dead volumes", effects.DeadVolumes, []meta.VolumeID{1, 2})
	effects = f.apply(&meta.JournalFreed{Volumes: []meta.VolumeID{1, 2, 3}})
	equal(t, "effects", effects, meta.Effects{})
	equal(t, "index", dump(t, f.x), "")
}

// TestContradictions applies records that no sound store writes. Each is refused, and the index stays as it was.
func TestContradictions(t *testing.T) {
	f := newFeed(t)
	f.apply(
		&meta.PutBucket{Bucket: meta.Bucket{ID: 1, Name: "a"}}, inlinePut("k", 7, "0123456789"),
		&meta.CreateUpload{Upload: meta.Upload{ID: meta.UploadID{1}, Bucket: 1, Key: "u"}},
	)
	before := dump(t, f.x)
	ref := func(id meta.BlobID, off, n int64) meta.Object {
		return meta.Object{Key: "new", Size: n, Blobs: []meta.BlobRef{{Blob: id, Off: off, Len: n}}}
	}
	outside := inlinePut("out", 8, "0123456789")
	outside.Object.Size, outside.Object.Blobs[0].Len = 11, 11
	for what, c := range map[string]struct {
		rec  meta.Record
		want error
	}{
		"no such blob":          {&meta.PutObject{Bucket: 1, Object: ref(99, 0, 1)}, meta.ErrDangling},
		"past the blob":         {&meta.PutObject{Bucket: 1, Object: ref(7, 5, 6)}, meta.ErrDangling},
		"past its own blob":     {outside, meta.ErrDangling},
		"part of no blob":       {&meta.PutPart{Upload: meta.UploadID{1}, Part: meta.UploadPart{Number: 1, Size: 1, Blobs: []meta.BlobRef{{Blob: 99, Len: 1}}}}, meta.ErrDangling},
		"completion of no blob": {&meta.CompleteUpload{Upload: meta.UploadID{1}, Bucket: 1, Object: ref(99, 0, 1)}, meta.ErrDangling},
		"free what lives":       {&meta.JournalFreed{Volumes: []meta.VolumeID{1}}, meta.ErrInconsistent},
		"bucket name taken":     {&meta.PutBucket{Bucket: meta.Bucket{ID: 2, Name: "a"}}, meta.ErrInconsistent},
		"bucket renamed":        {&meta.PutBucket{Bucket: meta.Bucket{ID: 1, Name: "b"}}, meta.ErrInconsistent},
	} {
		// Something sound before it in the batch must not stay either.
		_, err := f.try(inlinePut("before", 1000, "x"), c.rec)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		equalDumps(t, what, dump(t, f.x), before)
	}
	mustNot(t, f.x.Err())
}

// TestLatePart puts a part into an upload that has gone: nothing of it stays.
func TestLatePart(t *testing.T) {
	f := newFeed(t)
	blob := meta.Blob{ID: 5, Size: 8, Extents: []meta.Extent{{Volume: 50, Len: 8, Units: []uint64{1}}}}
	f.apply(&meta.PutBlobs{Blobs: []meta.Blob{blob}})
	own := blob
	own.ID = 6
	effects := f.apply(&meta.PutPart{
		Upload: meta.UploadID{1}, Blobs: []meta.Blob{own},
		Part: meta.UploadPart{Number: 1, Size: 16, Blobs: []meta.BlobRef{{Blob: 5, Len: 8}, {Blob: 6, Len: 8}}},
	})
	slices.Sort(effects.DeadVolumes)
	equal(t, "effects", effects, meta.Effects{DeadVolumes: []meta.VolumeID{1, 50}, Ignored: []meta.LSN{2}})
	equal(t, "index", dump(t, f.x), "")
}

// TestCompleteLargest completes an upload of 10,000 parts, and overwrites the object.
func TestCompleteLargest(t *testing.T) {
	// All in one memtable: with the checks of a test build, Pebble takes long over each table it looks into.
	x, err := meta.Open(meta.Options{FS: vfs.NewMem(), Dir: "index", Create: true})
	mustNot(t, err)
	defer x.Close()
	f := &feed{t: t, x: x, in: 1}
	id := meta.UploadID{1}
	f.apply(&meta.CreateUpload{Upload: meta.Upload{ID: id, Bucket: 1, Key: "big"}})
	object := meta.Object{Key: "big", ETag: "e-10000"}
	var puts []meta.Record
	for n := 1; n <= meta.MaxParts; n++ {
		blob := meta.Blob{ID: meta.BlobID(1<<32 + n), Size: 5 << 20, Extents: []meta.Extent{{Volume: 9, Off: int64(n) << 23, Len: 5 << 20, Units: make([]uint64, 3)}}}
		ref := []meta.BlobRef{{Blob: blob.ID, Len: blob.Size}}
		attrs := []meta.Attr{{Name: "x-amz-checksum-crc64nvme", Value: fmt.Sprintf("%011d=", n)}}
		puts = append(puts, &meta.PutPart{Upload: id, Part: meta.UploadPart{Number: n, Size: blob.Size, Attrs: attrs, Blobs: ref}, Blobs: []meta.Blob{blob}})
		object.Size += blob.Size
		object.Blobs = append(object.Blobs, ref...)
		object.Parts = append(object.Parts, meta.Part{Number: n, Size: blob.Size, Attrs: attrs})
		if len(puts) == 500 {
			f.apply(puts...)
			puts = puts[:0]
		}
	}
	complete := &meta.CompleteUpload{Upload: id, Bucket: 1, Object: object}
	if n := len(complete.AppendTo(nil)); n > 1<<20 {
		t.Errorf("the record takes %d bytes", n)
	}
	f.apply(complete)
	got, _, err := f.x.GetObject(1, "big", meta.NullVersion)
	mustNot(t, err)
	object.LSN = f.lsn
	got.Modified = object.Modified // Its zero is another instant in milliseconds.
	equal(t, "object", got, object)
	_, first, _, err := f.x.GetObjectRange(1, "big", meta.NullVersion, 7777*5<<20+1, 1)
	mustNot(t, err)
	equal(t, "first byte of the reference", first, int64(7777*5<<20))
	if _, found, _ := f.x.GetUpload(id); found {
		t.Error("the upload is still there")
	}
	if parts, _, _ := f.x.ListParts(id, 0, 1); len(parts) > 0 {
		t.Error("parts are still there")
	}
	if live, _ := f.usage(9); live != object.Size {
		t.Errorf("%d live bytes of %d", live, object.Size)
	}
	effects := f.apply(&meta.PutObject{Bucket: 1, Object: meta.Object{Key: "big"}})
	if !slices.Contains(effects.DeadVolumes, 9) {
		t.Error("the bulk volume lives on")
	}
	if live, _ := f.usage(9); live != 0 {
		t.Errorf("%d live bytes of nothing", live)
	}
}

// TestReadersBeside reads and flushes from other goroutines while records are applied: every read sees a whole batch or none of it.
func TestReadersBeside(t *testing.T) {
	f := newFeed(t)
	f.apply(inlinePut("a", 1, "0"), inlinePut("b", 2, "0"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				page, err := f.x.ListObjects(1, meta.ListOptions{Max: 10})
				if err != nil || len(page.Objects) != 2 || page.Objects[0].LSN+1 != page.Objects[1].LSN {
					t.Errorf("torn page %+v: %v", page, err)
					return
				}
				v := f.x.View()
				o, _, err := v.GetObject(1, "a", meta.NullVersion)
				if err == nil {
					var found bool
					if _, found, err = v.GetBlob(o.Blobs[0].Blob); !found {
						t.Error("an object and its blob disagree in one view")
					}
				}
				if err := errors.Join(err, v.Close(), f.x.Flush(context.Background())); err != nil {
					t.Error(err)
					return
				}
				p, err := f.x.FlushedPosition()
				if now := f.x.Position(); err != nil || p.LSN > now.LSN {
					t.Errorf("flushed %d of %d: %v", p.LSN, now.LSN, err)
				}
			}
		})
	}
	for i := range 200 {
		f.apply(inlinePut("a", meta.BlobID(10+2*i), "x"), inlinePut("b", meta.BlobID(11+2*i), "y"))
	}
	close(stop)
	wg.Wait()
}
