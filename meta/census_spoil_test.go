package meta

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCensusFinds takes each entry of an index away in turn, and puts one that is wrong beside them: the census says so each time.
func TestCensusFinds(t *testing.T) {
	x, err := Open(Options{FS: vfs.NewMem(), Dir: "index", Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	blob := func(id BlobID, off int64) Blob {
		return Blob{ID: id, Size: 10, Extents: []Extent{{Volume: 9, Len: 10, Off: off, Units: []uint64{1}}}}
	}
	object := func(key string, v VersionID, id BlobID) *PutObject {
		return &PutObject{Bucket: 1, Object: Object{Key: key, Version: v, Size: 10, Blobs: []BlobRef{{Blob: id, Len: 10}}}, Blobs: []Blob{blob(id, int64(id)<<12)}}
	}
	const named = VersionID(1<<20 | 1)
	records := []Record{
		&JournalStart{},
		&PutBucket{Bucket: Bucket{ID: 1, Name: "b"}},
		object("k", NullVersion, 100),
		object("k", named, 101),
		&PutObject{Bucket: 1, Object: Object{Key: "gone", Version: named, Marker: true}},
		&PutObject{Bucket: 1, Object: Object{Key: "small", Size: 3, Blobs: []BlobRef{{Blob: 102, Len: 3}}}, Inline: &Inline{ID: 102, Data: []byte("abc")}},
		&PutObject{Bucket: 1, Object: Object{Key: "copy", Size: 3, Blobs: []BlobRef{{Blob: 102, Len: 3}}}},
		&CreateUpload{Upload: Upload{ID: UploadID{1}, Bucket: 1, Key: "u"}},
		&PutPart{Upload: UploadID{1}, Part: UploadPart{Number: 1, Size: 10, Blobs: []BlobRef{{Blob: 103, Len: 10}}}, Blobs: []Blob{blob(103, 1<<30)}},
		&PutBlobs{Blobs: []Blob{blob(104, 1<<31)}},
		&Config{Name: "n", Value: "v"},
		&Missing{Volume: 9, Shard: 1, Causes: CauseLost},
	}
	var applied []Applied
	for i, rec := range records {
		payload := rec.AppendTo(nil)
		applied = append(applied, Applied{LSN: LSN(i + 1), Loc: RecordLoc{Volume: 7, Batch: 4096, Off: uint32(i), Len: uint32(len(payload))}, Payload: payload})
	}
	if _, err := x.Apply(Position{Volume: 7, Batch: 1, LSN: LSN(len(records))}, applied); err != nil {
		t.Fatal(err)
	}
	complaints := func() (n int) {
		view := x.View()
		defer view.Close()
		if _, err := view.Census(t.Context(), func(string) { n++ }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := complaints(); n != 0 {
		t.Fatalf("%d complaints about a sound index", n)
	}
	entries := map[string]string{}
	spaces := map[byte]bool{}
	err = scanOf(x.db, nil, func(key, value []byte) (bool, error) {
		if key[0] != '!' {
			entries[string(key)] = string(value)
			spaces[key[0]] = true
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, space := range []byte("bcdgimnoprsuvwxyz") {
		if !spaces[space] {
			t.Errorf("the index has no entry under %c", space)
		}
	}
	for key, value := range entries {
		if err := x.db.Delete([]byte(key), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if complaints() == 0 {
			t.Errorf("entry %q was taken away, and nothing is wrong", key)
		}
		if err := x.db.Set([]byte(key), []byte(value), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	for _, extra := range []string{
		string(appendExtentKey(nil, 9, 77<<12)), string(appendUnreferred(nil, 100)), string(appendRefsKey(nil, 100)), string(appendRefsKey(nil, 999)),
		string(appendVolumeKey(nil, 99)), string(appendUsageKey(nil, 99)), string(appendBucketID(nil, 55)),
	} {
		if err := x.db.Set([]byte(extra), []byte{5, 5, 5, 5}, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if complaints() == 0 {
			t.Errorf("entry %q was added, and nothing is wrong", extra)
		}
		if err := x.db.Delete([]byte(extra), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
}
