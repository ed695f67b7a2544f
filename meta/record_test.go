package meta_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"penstock/meta"
)

// everyRecord is one of each kind, with every field set.
func everyRecord() []meta.Record {
	when := time.UnixMilli(1.7e12).UTC()
	attrs := []meta.Attr{{Name: "content-type", Value: "text/plain"}, {Name: "", Value: "\x00\xff"}}
	blobs := []meta.Blob{{ID: 1<<32 | 9, Size: 70, Extents: []meta.Extent{
		{Volume: 3<<32 | 1, Len: 60, Off: 1 << 20, Units: []uint64{1, ^uint64(0)}}, {Volume: 2, Len: 10, Off: 0},
	}}}
	inline := &meta.Inline{ID: 1<<32 | 10, Sum: 0x1234567890abcdef, Data: []byte("hello")}
	refs := []meta.BlobRef{{Blob: 1<<32 | 9, Off: 0, Len: 70}, {Blob: 1<<32 | 10, Off: 1, Len: 4}, {Blob: 7, Off: 1 << 40, Len: 1}}
	object := meta.Object{
		Key: "dir/\x00key", Modified: when, Size: 75, ETag: "etag", Attrs: attrs, Blobs: refs,
		Parts: []meta.Part{{Number: 1, Size: 70, Attrs: attrs}, {Number: 10000, Size: 5}},
	}
	return []meta.Record{
		&meta.PutBucket{Bucket: meta.Bucket{ID: 5, Name: "bucket", Created: when, Attrs: attrs}},
		&meta.DeleteBucket{ID: 1 << 40},
		&meta.PutBlobs{Blobs: blobs},
		&meta.PutBlobs{Blobs: blobs, Inline: inline},
		&meta.PutObject{Bucket: 5, Object: object, Blobs: blobs, Inline: inline},
		&meta.PutObject{Bucket: 5, Object: meta.Object{Key: "empty", Modified: time.Time{}}},
		&meta.PutObject{Bucket: 5, Object: meta.Object{Key: "k", Version: 1<<63 - 1, Marker: true, Modified: when, Attrs: attrs}},
		&meta.PutObject{Bucket: 5, Object: meta.Object{Key: "k", Version: 1 << 33, Modified: when, ETag: "e"}},
		&meta.DeleteObject{Bucket: 5, Key: strings.Repeat("k", meta.MaxKeyLen)},
		&meta.DeleteObject{Bucket: 5, Key: "k", Version: 1<<63 - 1},
		&meta.CreateUpload{Upload: meta.Upload{ID: meta.UploadID{1, 2}, Bucket: 5, Key: "k", Initiated: when, Attrs: attrs}},
		&meta.PutPart{Upload: meta.UploadID{1}, Part: meta.UploadPart{Number: 10000, Modified: when, Size: 75, ETag: "e", Attrs: attrs, Blobs: refs}, Blobs: blobs, Inline: inline},
		&meta.AbortUpload{Upload: meta.UploadID{9}},
		&meta.CompleteUpload{Upload: meta.UploadID{1}, Bucket: 5, Object: object},
		&meta.DropBlobs{IDs: []meta.BlobID{1, 1 << 60}},
		&meta.Config{Name: "n", Value: "v"},
		&meta.Config{Name: "n"},
		&meta.JournalStart{Volumes: []meta.JournalVolume{{ID: 1, LastBatch: 2, End: 1 << 33, EndLSN: 4}}},
		&meta.JournalFreed{Volumes: []meta.VolumeID{1, 2 << 32}},
		&meta.Relocate{Blobs: blobs},
		&meta.Missing{Volume: 3<<32 | 1, Shard: 15, Causes: meta.CauseLost | meta.CauseRot, Since: when, Ranges: []meta.Range{{0, 1}, {4096, 1 << 40}}},
		&meta.Missing{Volume: 1, Causes: meta.CauseLost, Since: when},
		&meta.Missing{Volume: 3<<32 | 1, Shard: 15},
		&meta.Look{Bucket: 5, Key: "k\x00", At: when},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	seen := map[meta.Kind]bool{}
	for _, rec := range everyRecord() {
		seen[rec.Kind()] = true
		encoded := rec.AppendTo([]byte("before"))[len("before"):]
		got, err := meta.Parse(encoded)
		if err != nil {
			t.Fatalf("%v: %v", rec.Kind(), err)
		}
		equal(t, rec.Kind().String(), got, rec)
		for n := range encoded {
			if _, err := meta.Parse(encoded[:n]); err == nil {
				t.Errorf("%v cut to %d of %d bytes parses", rec.Kind(), n, len(encoded))
			}
		}
		if _, err := meta.Parse(append(bytes.Clone(encoded), 0)); err == nil {
			t.Errorf("%v with a byte more parses", rec.Kind())
		}
		encoded[1]++
		if _, err := meta.Parse(encoded); !errors.Is(err, meta.ErrUnknownRecord) {
			t.Errorf("%v of another version: %v", rec.Kind(), err)
		}
	}
	for k := meta.KindPutBucket; k <= meta.KindLook; k++ {
		if !seen[k] {
			t.Errorf("%v is not tested", k)
		}
	}
	for _, k := range []byte{0, byte(meta.KindLook) + 1, 255} {
		if _, err := meta.Parse([]byte{k, 1, 0}); !errors.Is(err, meta.ErrUnknownRecord) {
			t.Errorf("kind %d: %v", k, err)
		}
	}
}

func TestInlineOff(t *testing.T) {
	for _, rec := range everyRecord() {
		var inline *meta.Inline
		var header []byte
		switch rec := rec.(type) {
		case *meta.PutBlobs:
			inline = rec.Inline
		case *meta.PutObject:
			if inline = rec.Inline; inline != nil {
				header = rec.AppendHeader(nil, len(inline.Data))
			}
		case *meta.PutPart:
			inline = rec.Inline
			header = rec.AppendHeader(nil, len(inline.Data))
		}
		encoded := rec.AppendTo(nil)
		off, ok, err := meta.InlineOff(encoded)
		if err != nil || ok != (inline != nil) {
			t.Fatalf("%v: InlineOff: %v, %v", rec.Kind(), ok, err)
		}
		if ok && !bytes.Equal(encoded[off:], inline.Data) {
			t.Errorf("%v: inline bytes %q at %d", rec.Kind(), encoded[off:], off)
		}
		if header != nil && !bytes.Equal(append(header, inline.Data...), encoded) {
			t.Errorf("%v: header and bytes differ from the record", rec.Kind())
		}
	}
}

// TestUnparsable makes records that break their own rules: they must not be made.
func TestUnparsable(t *testing.T) {
	ref := []meta.BlobRef{{Blob: 1, Len: 5}}
	for what, rec := range map[string]meta.Record{
		"no key":         &meta.PutObject{},
		"long key":       &meta.DeleteObject{Key: strings.Repeat("k", meta.MaxKeyLen+1)},
		"version":        &meta.PutObject{Object: meta.Object{Key: "k", Version: 1 << 63}},
		"marker":         &meta.PutObject{Object: meta.Object{Key: "k", Marker: true}},
		"marker's bytes": &meta.PutObject{Object: meta.Object{Key: "k", Version: 3, Marker: true, Size: 5, Blobs: ref}},
		"deleted":        &meta.DeleteObject{Key: "k", Version: meta.CurrentVersion},
		"size":           &meta.PutObject{Object: meta.Object{Key: "k", Size: 4, Blobs: ref}},
		"part sizes":     &meta.CompleteUpload{Object: meta.Object{Key: "k", Size: 5, Blobs: ref, Parts: []meta.Part{{Number: 1, Size: 4}}}},
		"part order":     &meta.CompleteUpload{Object: meta.Object{Key: "k", Size: 5, Blobs: ref, Parts: []meta.Part{{Number: 2, Size: 4}, {Number: 2, Size: 1}}}},
		"part number":    &meta.PutPart{Part: meta.UploadPart{Number: 10001}},
		"empty ref":      &meta.PutObject{Object: meta.Object{Key: "k", Blobs: []meta.BlobRef{{Blob: 1}}}},
		"empty blob":     &meta.PutBlobs{Blobs: []meta.Blob{{ID: 1}}},
		"inline extent":  &meta.PutBlobs{Blobs: []meta.Blob{{ID: 1, Size: 1, Extents: []meta.Extent{{Len: 1, Inline: true}}}}},
		"empty inline":   &meta.PutObject{Object: meta.Object{Key: "k"}, Inline: &meta.Inline{}},
		"bucket name":    &meta.PutBucket{},
		"config name":    &meta.Config{Value: "v"},
		"causes":         &meta.Missing{Causes: 16},
		"whole":          &meta.Missing{Ranges: []meta.Range{{1, 1}}},
		"touching":       &meta.Missing{Causes: 1, Ranges: []meta.Range{{1, 1}, {2, 1}}},
		"empty range":    &meta.Missing{Causes: 1, Ranges: []meta.Range{{1, 0}}},
		"upload key":     &meta.CreateUpload{},
		"blob and parts": &meta.PutBlobs{Blobs: []meta.Blob{{ID: 1, Size: 2, Extents: []meta.Extent{{Len: 1}}}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: made a record", what)
				}
			}()
			rec.AppendTo(nil)
		}()
	}
}

// FuzzParse: a record parses and encodes back to itself, or is refused as unknown or corrupt.
func FuzzParse(f *testing.F) {
	for _, rec := range everyRecord() {
		f.Add(rec.AppendTo(nil))
	}
	h := newHistory(rand.New(rand.NewPCG(1, 2)))
	for range 100 {
		h.step()
	}
	for _, a := range h.log {
		f.Add(a.Payload)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		before := bytes.Clone(src)
		rec, err := meta.Parse(src)
		if err != nil {
			if !errors.Is(err, meta.ErrCorrupt) && !errors.Is(err, meta.ErrUnknownRecord) {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		if got := rec.AppendTo(nil); !bytes.Equal(got, before) {
			t.Fatalf("%v: encodes to %x, was %x", rec.Kind(), got, before)
		}
		off, ok, err := meta.InlineOff(src)
		if err != nil || ok && (off <= 0 || off >= len(src)) {
			t.Fatalf("inline bytes at %d of %d: %v", off, len(src), err)
		}
	})
}

// TestFlippedRecords flips bits of every byte of each record and applies it: it is refused, or means something else, but never
// brings the index down.
func TestFlippedRecords(t *testing.T) {
	x := newIndex(t)
	h := newHistory(rand.New(rand.NewPCG(1, 2)))
	b := h.cut()
	_, err := x.Apply(b.pos, b.recs)
	mustNot(t, err)
	refused := 0
	for _, rec := range everyRecord() {
		encoded := rec.AppendTo(nil)
		for i := 0; i < 8*len(encoded); i += 3 {
			flipped := bytes.Clone(encoded)
			flipped[i/8] ^= 1 << (i % 8)
			pos := x.Position()
			pos.LSN++
			_, err := x.Apply(pos, []meta.Applied{{LSN: pos.LSN, Loc: meta.RecordLoc{Volume: 9, Len: uint32(len(flipped))}, Payload: flipped}})
			switch {
			case err == nil:
			case errors.Is(err, meta.ErrCorrupt), errors.Is(err, meta.ErrUnknownRecord), errors.Is(err, meta.ErrDangling), errors.Is(err, meta.ErrInconsistent):
				refused++
			default:
				t.Fatalf("%v with bit %d flipped: %v", rec.Kind(), i, err)
			}
		}
	}
	mustNot(t, x.Err())
	dump(t, x) // Everything that was taken in can be read.
	if refused == 0 {
		t.Error("nothing was refused")
	}
}
