package meta

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCountedBlobs shares blobs and parts them again, over reopenings and with room to know of any number of them: what is known never lacks an entry
// of the index, and the last of the objects that go takes the blobs along.
func TestCountedBlobs(t *testing.T) {
	for _, most := range []int{0, 1, 3, maxCounted} {
		fs := vfs.NewMem()
		lsn := LSN(0)
		var x *Index
		open := func(create bool) {
			t.Helper()
			var err error
			if x, err = Open(Options{FS: fs, Dir: "index", Create: create}); err != nil {
				t.Fatal(err)
			}
			x.tx.counted.max = most
		}
		apply := func(fail bool, records ...Record) {
			t.Helper()
			var applied []Applied
			for i, rec := range records {
				payload := rec.AppendTo(nil)
				applied = append(applied, Applied{LSN: lsn + LSN(i) + 1, Loc: RecordLoc{Volume: 7, Batch: 4096, Off: uint32(i), Len: uint32(len(payload))}, Payload: payload})
			}
			end := lsn + LSN(len(records))
			if _, err := x.Apply(Position{Volume: 7, Batch: uint64(end), LSN: end}, applied); fail != (err != nil) {
				t.Fatalf("room for %d: %v", most, err)
			} else if !fail {
				lsn = end
			}
			err := scanOf(x.db, []byte{spaceRefs}, func(key, _ []byte) (bool, error) {
				if id := BlobID(key[8]); !x.tx.counted.may(id) {
					t.Errorf("room for %d: after LSN %d, the entry of blob %d is not known", most, lsn, id)
				}
				return true, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		put := func(key string, id BlobID, inline bool) *PutObject {
			p := &PutObject{Bucket: 1, Object: Object{Key: key, Size: 3, Blobs: []BlobRef{{Blob: id, Len: 3}}}}
			if inline {
				p.Inline = &Inline{ID: id, Data: []byte("abc")}
			}
			return p
		}
		remove := func(key string) *DeleteObject { return &DeleteObject{Bucket: 1, Key: key} }

		open(true)
		apply(false, &JournalStart{}, &PutBucket{Bucket: Bucket{ID: 1, Name: "b"}})
		for id := BlobID(10); id < 14; id++ {
			name := string(rune('a' + id - 10))
			apply(false, put(name, id, true))
			apply(false, put(name+"-copy", id, false), put(name+"-third", id, false), remove(name+"-third"))
		}
		// A batch that comes to nothing takes away nothing that is known.
		apply(true, remove("a"), put("dangling", 99, false))
		if err := x.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		open(false)
		for _, name := range []string{"a", "b", "c", "d"} {
			apply(false, remove(name))
		}
		blobs := func() (n int) {
			t.Helper()
			for _, space := range []byte{spaceBlob, spaceRefs} {
				if err := scanOf(x.db, []byte{space}, func(_, _ []byte) (bool, error) { n++; return true, nil }); err != nil {
					t.Fatal(err)
				}
			}
			return n
		}
		if n := blobs(); n != 4 {
			t.Errorf("room for %d: %d entries of blobs and their counts, want 4: their copies refer to them", most, n)
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			apply(false, remove(name+"-copy"))
		}
		if n := blobs(); n != 0 {
			t.Errorf("room for %d: %d entries of blobs and their counts are left", most, n)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
