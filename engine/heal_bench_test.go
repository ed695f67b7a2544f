package engine

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/ioring"
)

var healDirs = flag.String("heal.dirs", "", "BenchmarkHeal: seven empty directories, separated by commas, each on a drive of its own")

// BenchmarkHeal loses one of six drives and times how fast what it held is made anew on a seventh, beside how fast the drives copy a file from one to
// another in the plainest way: both in MB/s written, and the one as a share of the other. Drives that are paced tell what the engine makes of drives that are slower than it
// is; -heal.dirs measures real ones.
func BenchmarkHeal(b *testing.B) {
	const objectLen, objects = 8 << 20, 32
	run := func(b *testing.B, drives []drive.Drive, again func(drives []drive.Drive) []drive.Drive) {
		opts := testOptions(b, 2).tuned(soon)
		opts.BulkSegment, opts.Memory = 64<<20, 512<<20
		s := mustOpen(b, opts, drives[:6])
		mustBucket(b, s, testBucket)
		body := payload(1, objectLen)
		for i := range objects {
			mustPut(b, s, testBucket, fmt.Sprint(i), body)
		}
		closeStore(b, s)
		drives = again(drives)

		copied, took := copyPlainly(b, drives[1], drives[6], objectLen*objects/4)
		plain := float64(copied) / took.Seconds()

		s = mustOpen(b, opts, drives[1:])
		began := time.Now()
		healed(b, s)
		took = time.Since(began)
		status := s.HealStatus()
		closeStore(b, s)
		rate := float64(status.MovedLen) / took.Seconds()
		b.ReportMetric(rate/1e6, "healed-MB/s")
		b.ReportMetric(plain/1e6, "copied-MB/s")
		b.ReportMetric(rate/plain, "healed/copied")
		b.ReportMetric(0, "ns/op")
	}
	for _, rate := range []int64{20e6, 50e6} {
		b.Run(fmt.Sprintf("drives=paced/MBps=%d", rate/1e6), func(b *testing.B) {
			for b.Loop() {
				drives := memDrives(7, 0)
				run(b, drives, func([]drive.Drive) []drive.Drive {
					reopen(drives)
					paced := make([]drive.Drive, len(drives))
					for i, d := range drives {
						paced[i] = drive.NewPaced(d, rate)
					}
					return paced
				})
			}
		})
	}
	b.Run("drives=real", func(b *testing.B) {
		dirs := strings.Split(*healDirs, ",")
		if len(dirs) != 7 {
			b.Skip("-heal.dirs names no seven directories")
		}
		arena, err := ioring.NewArena(ioring.ArenaOptions{Size: 256 << 20, Node: -1})
		if err != nil {
			b.Fatal(err)
		}
		ring, err := ioring.Open(ioring.Options{Arena: arena})
		if err != nil {
			b.Fatal(err)
		}
		open := func([]drive.Drive) (drives []drive.Drive) {
			for _, dir := range dirs {
				d, err := drive.OpenDir(dir, drive.DirOptions{Queue: drive.NewRingQueue(ring)})
				if err != nil {
					b.Fatal(err)
				}
				drives = append(drives, d)
			}
			return drives
		}
		for i, id := range identities(7) {
			if err := drive.Format(dirs[i], id); err != nil {
				b.Fatal(err)
			}
		}
		b.N = 1 // The directories are full then.
		drives := open(nil)
		run(b, drives, func(drives []drive.Drive) []drive.Drive {
			if err := drives[6].Close(); err != nil { // The others were closed with the store.
				b.Fatal(err)
			}
			return open(nil)
		})
		if err := ring.Close(); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkReadWhileHealing times reads of 256 KiB, one after the other, from drives that are paced, before a lost drive is made anew and while it is: the median and the 99th percentile
// in milliseconds.
func BenchmarkReadWhileHealing(b *testing.B) {
	const objectLen, objects = 1 << 20, 128
	for b.Loop() {
		drives := memDrives(7, 0)
		opts := testOptions(b, 2).tuned(soon)
		opts.BulkSegment, opts.Memory = 64<<20, 512<<20
		s := mustOpen(b, opts, drives[:6])
		mustBucket(b, s, testBucket)
		for i := range objects {
			mustPut(b, s, testBucket, fmt.Sprint(i), payload(uint64(i), objectLen))
		}
		closeStore(b, s)
		reopen(drives)
		var paced []drive.Drive
		for _, d := range drives[1:] {
			paced = append(paced, drive.NewPaced(d, 50e6))
		}
		s = mustOpen(b, opts, paced)
		s.StopHealing()
		s.cells[0].cache = newBlobCache(0)
		rng := newRNG(b)
		// Until so many have been read, or there is nothing left to heal.
		measure := func(most int, more func() bool) (p50, p99 float64) {
			var all []time.Duration
			for len(all) < most && more() {
				began := time.Now()
				if _, err := getRange(b.Context(), s, testBucket, fmt.Sprint(rng.IntN(objects)), 0, 256<<10); err != nil {
					b.Fatal(err)
				}
				all = append(all, time.Since(began))
				time.Sleep(5 * time.Millisecond) // What the client does with it.
			}
			if len(all) == 0 {
				b.Fatal("healing was over before anything was read")
			}
			slices.Sort(all)
			at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))]) / 1e6 }
			return at(0.5), at(0.99)
		}
		p50, p99 := measure(400, func() bool { return true })
		b.ReportMetric(p50, "p50-ms")
		b.ReportMetric(p99, "p99-ms")
		s.StartHealing()
		p50, p99 = measure(2000, func() bool { return s.HealStatus().Shards > 0 })
		b.ReportMetric(p50, "healing-p50-ms")
		b.ReportMetric(p99, "healing-p99-ms")
		b.ReportMetric(0, "ns/op")
		closeStore(b, s)
	}
}

// copyPlainly copies so many bytes from a new segment of one drive to one of another, 1 MiB at a time, as many at a time as healing does.
func copyPlainly(b *testing.B, from, to drive.Drive, n int64) (copied int64, took time.Duration) {
	const number = 99_999_999 // No other segment's.
	var files [2]drive.File
	for i, d := range []drive.Drive{from, to} {
		f, err := d.Create(number, n)
		if err != nil {
			b.Fatal(err)
		}
		files[i] = f
	}
	work := make(chan int64)
	var workers sync.WaitGroup
	began := time.Now()
	for range healSteps * healJobs {
		workers.Go(func() {
			buf := drive.Aligned(copyLen)
			for off := range work {
				for i, kind := range []drive.Kind{drive.Read, drive.Write} {
					if err := drive.Do(b.Context(), &drive.Op{Kind: kind, File: files[i], Off: off, Bufs: [][]byte{buf}}); err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	for off := int64(0); off < n; off += copyLen {
		work <- off
	}
	close(work)
	workers.Wait()
	took = time.Since(began)
	for i, d := range []drive.Drive{from, to} {
		if err := files[i].Close(); err != nil {
			b.Error(err)
		}
		if err := d.Remove(number); err != nil {
			b.Error(err)
		}
	}
	return n, took
}
