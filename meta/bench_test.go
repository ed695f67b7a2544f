package meta_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"penstock/meta"
)

// typicalPut is a small PUT as a client library sends it.
func typicalPut(key string, id meta.BlobID) *meta.PutObject {
	put := inlinePut(key, id, string(make([]byte, 4096)))
	put.Object.Modified = time.UnixMilli(1.7e12)
	put.Object.ETag = "d41d8cd98f00b204e9800998ecf8427e"
	put.Object.Attrs = []meta.Attr{{Name: "content-type", Value: "application/octet-stream"}, {Name: "x-amz-checksum-crc64nvme", Value: "AAAAAAAAAAA="}}
	return put
}

func benchKey(i int) string { return fmt.Sprintf("dataset/train/%02d/image-%08d.jpg", i%32, i) }

// filled returns an index of n objects, flushed and read from tables.
func filled(b *testing.B, n int) *meta.Index {
	b.Helper()
	x, err := meta.Open(meta.Options{FS: vfs.NewMem(), Dir: "index", Create: true, CacheBytes: 256 << 20})
	mustNot(b, err)
	b.Cleanup(func() { mustNot(b, x.Close()) })
	f := &feed{t: b, x: x, in: 1}
	var recs []meta.Record
	for i := range n {
		recs = append(recs, typicalPut(benchKey(i), meta.BlobID(1<<32+i)))
		if len(recs) == 64 || i == n-1 {
			f.apply(recs...)
			recs = recs[:0]
		}
	}
	mustNot(b, x.Flush(context.Background()))
	mustNot(b, x.Dump(io.Discard)) // Warms the block cache.
	runtime.GC()
	return x
}

// measureCPU reports the processor time of the whole process for each of the units that an iteration does: on a shared machine it tells
// more than the wall clock. It begins now and ends with the function it returns.
func measureCPU(b *testing.B, perIteration int, unit string) func() {
	var from, to unix.Rusage
	mustNot(b, unix.Getrusage(unix.RUSAGE_SELF, &from))
	return func() {
		mustNot(b, unix.Getrusage(unix.RUSAGE_SELF, &to))
		ns := to.Utime.Nano() + to.Stime.Nano() - from.Utime.Nano() - from.Stime.Nano()
		b.ReportMetric(float64(ns)/1e3/float64(b.N*perIteration), "cpu-µs/"+unit)
	}
}

// BenchmarkApply applies batches of small PUTs: of new keys, and over keys that exist.
func BenchmarkApply(b *testing.B) {
	const existing = 100_000
	for _, op := range []string{"new", "overwrite"} {
		b.Run(fmt.Sprintf("op=%s/batch=64", op), func(b *testing.B) {
			x := filled(b, existing)
			rng := rand.New(rand.NewPCG(1, 1))
			lsn := x.Position().LSN
			next := existing
			recs := make([]meta.Applied, 64)
			// Encoding is part of it, and so are flushes and compactions.
			done := measureCPU(b, len(recs), "record")
			b.ReportAllocs()
			for b.Loop() {
				for i := range recs {
					lsn++
					next++
					key := benchKey(next)
					if op == "overwrite" {
						key = benchKey(rng.IntN(existing))
					}
					payload := typicalPut(key, meta.BlobID(1<<32+next)).AppendTo(recs[i].Payload[:0])
					recs[i] = meta.Applied{LSN: lsn, Loc: meta.RecordLoc{Volume: 1, Len: uint32(len(payload))}, Payload: payload}
				}
				_, err := x.Apply(meta.Position{LSN: lsn}, recs)
				mustNot(b, err)
			}
			done()
		})
	}
}

// BenchmarkEncode makes the record of a small PUT, without its bytes.
func BenchmarkEncode(b *testing.B) {
	put := typicalPut(benchKey(1), 1<<32)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = put.AppendHeader(buf[:0], 4096)
	}
}

// BenchmarkGet looks up an object and its blob.
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1000, 200_000} {
		b.Run(fmt.Sprintf("objects=%d", n), func(b *testing.B) {
			x := filled(b, n)
			rng := rand.New(rand.NewPCG(1, 1))
			done := measureCPU(b, 1, "op")
			b.ReportAllocs()
			for b.Loop() {
				o, found, err := x.GetObject(1, benchKey(rng.IntN(n)), meta.CurrentVersion)
				if err != nil || !found {
					b.Fatal(found, err)
				}
				if _, found, err = x.GetBlob(o.Blobs[0].Blob); err != nil || !found {
					b.Fatal(found, err)
				}
			}
			done()
		})
	}
}

// BenchmarkMiss asks for keys that are not there.
func BenchmarkMiss(b *testing.B) {
	x := filled(b, 200_000)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if _, found, err := x.GetObject(1, benchKey(i)+"x", meta.CurrentVersion); err != nil || found {
			b.Fatal(found, err)
		}
	}
}

// BenchmarkList reads pages of 1000 objects, and pages that roll everything up to 32 prefixes.
func BenchmarkList(b *testing.B) {
	x := filled(b, 200_000)
	for _, o := range []meta.ListOptions{{Max: 1000}, {Prefix: "dataset/train/", Delimiter: "/", Max: 1000}} {
		b.Run(fmt.Sprintf("delimiter=%q/max=%d", o.Delimiter, o.Max), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			done := measureCPU(b, 1, "page")
			b.ReportAllocs()
			for b.Loop() {
				if o.Delimiter == "" {
					o.After = benchKey(rng.IntN(150_000))
				}
				page, err := x.ListObjects(1, o)
				if err != nil || len(page.Objects)+len(page.Prefixes) < 32 {
					b.Fatal(len(page.Objects), len(page.Prefixes), err)
				}
			}
			done()
		})
	}
}
