package meta_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/meta"
)

// versioned returns an index of live objects, each with formers versions that are not current, and between any two of them deleted keys
// of as many versions.
func versioned(b *testing.B, live, formers, deleted int) *meta.Index {
	b.Helper()
	x, err := meta.Open(meta.Options{FS: vfs.NewMem(), Dir: "index", Create: true, CacheBytes: 256 << 20})
	mustNot(b, err)
	b.Cleanup(func() { mustNot(b, x.Close()) })
	f := &feed{t: b, x: x, in: 1}
	var recs []meta.Record
	id := meta.BlobID(1 << 32)
	put := func(key string, marker bool) {
		id++
		rec := typicalPut(key, id)
		if marker {
			rec = &meta.PutObject{Bucket: 1, Object: meta.Object{Key: key, Marker: true}}
		}
		rec.Object.Version = meta.VersionID(id)<<1 | 1
		if recs = append(recs, rec); len(recs) == 64 {
			f.apply(recs...)
			recs = recs[:0]
		}
	}
	for i := range live {
		for range formers + 1 {
			put(benchKey(i), false)
		}
		for j := range deleted {
			key := fmt.Sprintf("%s-%d", benchKey(i), j)
			for range formers {
				put(key, false)
			}
			put(key, true)
		}
	}
	f.apply(recs...)
	mustNot(b, x.Flush(context.Background()))
	mustNot(b, x.Dump(io.Discard)) // Warms the block cache.
	return x
}

// BenchmarkListVersioned reads pages of 1000 objects, among as many deleted keys and several times as many versions that are not
// current, and pages of 1000 versions. What is not listed must cost nothing.
func BenchmarkListVersioned(b *testing.B) {
	for _, c := range []struct{ formers, deleted int }{{0, 0}, {20, 0}, {1, 20}} {
		x := versioned(b, 4000, c.formers, c.deleted)
		b.Run(fmt.Sprintf("list=objects/formers=%d/deleted=%d", c.formers, c.deleted), func(b *testing.B) {
			done := measureCPU(b, 1, "page")
			for b.Loop() {
				page, err := x.ListObjects(1, meta.ListOptions{Max: 1000})
				if err != nil || len(page.Objects) != 1000 {
					b.Fatal(len(page.Objects), err)
				}
			}
			done()
		})
		b.Run(fmt.Sprintf("list=versions/formers=%d/deleted=%d", c.formers, c.deleted), func(b *testing.B) {
			done := measureCPU(b, 1, "page")
			for b.Loop() {
				page, err := x.ListVersions(1, meta.VersionListOptions{Max: 1000})
				if err != nil || len(page.Versions) != 1000 {
					b.Fatal(len(page.Versions), err)
				}
			}
			done()
		})
	}
}
