package meta

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// FuzzEntry: an entry of the index renders or is refused as corrupt, whatever its bytes.
func FuzzEntry(f *testing.F) {
	object := Object{Key: "k", Size: 3, Modified: time.UnixMilli(1), Blobs: []BlobRef{{Blob: 1, Len: 3}}, Parts: []Part{{Number: 1, Size: 3}}}
	h := appendHeld(nil, held{lsn: 1, volume: 2, share: 3})
	extents := []Extent{{Volume: 1, Len: 1, Off: 4096, Units: []uint64{1}}, {Volume: 2, Len: 2, Inline: true, At: RecordLoc{Volume: 2, Off: 9, Len: 2}}}
	upload := Upload{ID: UploadID{1}, Key: "k", Initiated: time.UnixMilli(2)}
	f.Add(appendObjectKey(nil, 1, "k"), appendObject(slices.Clone(h), &object))
	f.Add(appendBlobKey(nil, 1), appendBlob(slices.Clone(h), 3, extents))
	f.Add(appendBlobKey(nil, 1), appendBlob(slices.Clone(h), 3, nil))
	f.Add(appendUploadKey(nil, upload.ID), appendUpload(slices.Clone(h), &upload))
	f.Add(appendUploadOrder(nil, &upload), appendAttrs(nil, []Attr{{"a", "b"}}))
	f.Add(appendPartKey(nil, upload.ID, 1), appendUploadPart(slices.Clone(h), &UploadPart{Number: 1}))
	f.Add(appendBucketName(nil, "b"), appendBucket(slices.Clone(h), &Bucket{Name: "b"}))
	f.Add(appendVolumeKey(nil, 1), VolumeUsage{1, 2, 3}.appendTo(nil))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		lens := map[byte]int{
			spaceBlob: 9, spaceUsage: 9, spaceBucketID: 9, spaceRefs: 9, spaceVolume: 9, spaceExtent: 17, spaceUnreferred: 9,
			spaceObject: 9, spacePart: 19, spaceUpload: 17, spaceUploadOrder: 9,
		}
		if len(key) == 0 || len(key) < lens[key[0]] {
			return // Keys are ours alone; their lengths are given.
		}
		if _, err := dumpEntry(key, value); err != nil {
			return
		}
		// What renders encodes back to itself.
		r := view(value)
		h := r.held()
		again := appendHeld(nil, h)
		switch key[0] {
		case spaceBlob:
			var b Blob
			r.blob(&b)
			again = appendBlob(again, b.Size, b.Extents)
		case spaceObject:
			o := Object{Key: "k"}
			r.object(&o)
			again = appendObject(again, &o)
			var listed Object
			var m arena
			if !m.listing(value, &listed) || listed.ETag != o.ETag || !slices.Equal(listed.Attrs, o.Attrs) {
				t.Fatalf("listing shows %+v of %+v", listed, o)
			}
		default:
			return
		}
		if !bytes.Equal(again, value) {
			t.Fatalf("entry %q encodes to %x, was %x", key, again, value)
		}
	})
}

// TestEscapedOrder compares the order of escaped keys with that of the keys themselves.
func TestEscapedOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	alphabet := []byte{0x00, 0x01, 0x02, 0xfe, 0xff, 'a'}
	var keys []string
	for range 300 {
		b := make([]byte, 1+rng.IntN(4))
		for i := range b {
			b[i] = alphabet[rng.IntN(len(alphabet))]
		}
		keys = append(keys, string(b))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	var last []byte
	for i, k := range keys {
		u := Upload{Bucket: 1, Key: k, Initiated: time.UnixMilli(rng.Int64() - rng.Int64())}
		key := appendUploadOrder(nil, &u)
		if bytes.Compare(key, last) <= 0 {
			t.Errorf("key %q does not come after %q", k, keys[i-1])
		}
		last = key
		got, tail, ok := cutEscaped(nil, key[9:])
		if !ok || string(got) != k || len(tail) != uploadOrderTail {
			t.Errorf("key %q reads back as %q", k, got)
		}
	}
	early, late := appendInitiated(nil, -5), appendInitiated(nil, 5)
	if bytes.Compare(early, late) >= 0 {
		t.Error("a time before 1970 does not come before one after")
	}
}

func TestSuccessor(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a", "b"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"\x00", "\x01"}, {"a\x00", "a\x01"},
		{"\xff\xff", ""}, // Nothing comes after.
	} {
		if got := successor([]byte(c.in)); string(got) != c.want {
			t.Errorf("successor(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// TestUvarint reads every length, and refuses encodings that are longer than need be or too large.
func TestUvarint(t *testing.T) {
	for _, bad := range []string{"", "\x80", "\x80\x00", "\xff\x80\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"} {
		r := reader{s: bad}
		if v := r.uvarint(); r.ok() {
			t.Errorf("uvarint(%x) = %d", bad, v)
		}
	}
	for shift := range 64 {
		for _, v := range []uint64{1 << shift, 1<<shift - 1, ^uint64(0) >> shift} {
			r := view(binary.AppendUvarint(nil, v))
			if got := r.uvarint(); !r.done() || got != v {
				t.Errorf("uvarint of %d = %d", v, got)
			}
		}
	}
}
