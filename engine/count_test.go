package engine

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
	"penstock/erasure"
)

// countedDrive counts what reaches the drive's file system beside its segments: what the index and its checkpoints do.
type countedDrive struct {
	drive.Drive
	changes *atomic.Int64
}

func (d countedDrive) FS() (vfs.FS, string) {
	fs, root := d.Drive.FS()
	return countedFS{fs, d.changes}, root
}

type countedFS struct {
	vfs.FS
	changes *atomic.Int64
}

func (f countedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.changes.Add(1)
	file, err := f.FS.Create(name, c)
	return countedFile{file, f.changes}, err
}

func (f countedFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return countedFile{file, f.changes}, err
}

type countedFile struct {
	vfs.File
	changes *atomic.Int64
}

func (f countedFile) Write(p []byte) (int, error) { f.changes.Add(1); return f.File.Write(p) }
func (f countedFile) Sync() error                 { f.changes.Add(1); return f.File.Sync() }

// counted is a store of 4+2 drives whose every action is counted.
type counted struct {
	s       *Store
	plan    *drive.Plan
	drives  []drive.Drive
	changes atomic.Int64
	headers atomic.Int64 // Writes of segment headers.
}

func newCounted(t *testing.T) *counted {
	x := &counted{plan: drive.NewPlan(1), drives: memDrives(6, 0)}
	for i, d := range x.drives {
		x.drives[i] = countedDrive{d, &x.changes}
	}
	// A volume that will be needed soon is made ahead of time, whatever else goes on. Its headers are all that is ever written at offset 0.
	x.plan.Add(drive.Rule{On: drive.OnWrite, Match: func(e drive.Event) bool {
		if e.Off == 0 {
			x.headers.Add(1)
		}
		return false
	}})
	x.s = mustOpen(t, testOptions(t, -1).tuned(still), x.plan.WrapAll(x.drives))
	x.s.cells[0].cache = newBlobCache(0)
	mustBucket(t, x.s, testBucket)
	// The index still tidies up after the start, and tells nobody when it is done.
	for quiet, last := 0, x.changes.Load(); quiet < 10; time.Sleep(10 * time.Millisecond) {
		if now := x.changes.Load(); now == last {
			quiet++
		} else {
			quiet, last = 0, now
		}
	}
	t.Cleanup(func() { closeStore(t, x.s) })
	return x
}

// writes returns how many writes there were, but for those of segment headers, and how many of these.
func (x *counted) writes() (n, headers int64) {
	for {
		headers := x.headers.Load()
		n := int64(x.plan.Count(drive.ID{}, drive.OnWrite))
		if x.headers.Load() == headers { // So that both are of one moment.
			return n - headers, headers
		}
	}
}

// during returns the drive operations, and the bytes read and written, while f runs, but for the writes of segment headers.
func (x *counted) during(f func()) (reads, writes, others int, readLen, writeLen int64) {
	count := func(a drive.Action) int { return x.plan.Count(drive.ID{}, a) }
	before, changes := x.s.Stats(), x.changes.Load()
	reads, others = count(drive.OnRead), count(drive.OnAny&^drive.OnOps)
	written, headers := x.writes()
	f()
	after := x.s.Stats()
	nowWritten, nowHeaders := x.writes()
	return count(drive.OnRead) - reads, int(nowWritten - written),
		count(drive.OnAny&^drive.OnOps) - others + int(x.changes.Load()-changes),
		int64(after.DriveReadLen - before.DriveReadLen), int64(after.DriveWriteLen-before.DriveWriteLen) - (nowHeaders-headers)*drive.BlockLen
}

// TestCountedPut: a lone small PUT is one block on its data drive and on each parity drive, and nothing else.
func TestCountedPut(t *testing.T) {
	x := newCounted(t)
	for i := range 10 {
		reads, writes, others, _, writeLen := x.during(func() {
			mustPut(t, x.s, testBucket, fmt.Sprint(i), payload(uint64(i), 4096))
		})
		if reads != 0 || writes != 3 || others != 0 {
			t.Errorf("PUT of 4 KiB: %d reads, %d writes, %d other actions; want 3 writes", reads, writes, others)
		}
		if writeLen != 3*8192 {
			t.Errorf("PUT of 4 KiB writes %d bytes, want 3 blocks of 8 KiB", writeLen)
		}
	}
	// 1 MiB is four rows: one write of 256 KiB on each drive, and the record.
	mustPut(t, x.s, testBucket, "first", payload(1, 1<<20)) // Opens the volume.
	reads, writes, others, _, writeLen := x.during(func() { mustPut(t, x.s, testBucket, "large", payload(1, 1<<20)) })
	if reads != 0 || writes != 6+3 || others != 0 || writeLen != 6*256<<10+3*4096 {
		t.Errorf("PUT of 1 MiB: %d reads, %d writes of %d bytes, %d other actions", reads, writes, writeLen, others)
	}
	// A copy, a deletion, an upload's beginning and end are a record each.
	for i, f := range []func() error{
		func() error { return copyObject(t.Context(), x.s, "large", "copy") },
		func() error { return deleteKey(t.Context(), x.s, testBucket, "copy") },
		func() error { _, err := x.s.CreateUpload(t.Context(), testBucket, "k", nil); return err },
		func() error { return x.s.CreateBucket(t.Context(), "another", nil) },
	} {
		reads, writes, others, _, _ := x.during(func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		})
		if reads != 0 || writes != 3 || others != 0 {
			t.Errorf("operation %d: %d reads, %d writes, %d other actions", i, reads, writes, others)
		}
	}
}

// TestCountedGroup: callers that come together share a batch.
func TestCountedGroup(t *testing.T) {
	x := newCounted(t)
	// Drives that take their time, as drives do: meanwhile the next batch gathers.
	x.plan.Add(drive.Rule{On: drive.OnWrite, Times: -1, Do: drive.Delay, Delay: 2 * time.Millisecond})
	const callers, each = 64, 8
	_, writes, others, _, _ := x.during(func() {
		var group sync.WaitGroup
		for caller := range callers {
			group.Go(func() {
				for i := range each {
					mustPut(t, x.s, testBucket, fmt.Sprintf("%d/%d", caller, i), payload(uint64(i), 4096))
				}
			})
		}
		group.Wait()
	})
	if per := float64(writes) / (callers * each); per >= 1 || others > 40 {
		t.Errorf("%.2f drive writes for each of %d objects from %d callers; %d other actions", per, callers*each, callers, others)
	} else {
		t.Logf("%.2f drive writes for each object", per)
	}
}

// TestCountedGet: nothing is read but the units that hold the range.
func TestCountedGet(t *testing.T) {
	x := newCounted(t)
	const unit = erasure.UnitLen
	want := map[string][]byte{"small": payload(1, 4096), "mib": payload(2, 1<<20), "odd": payload(3, 3<<20+5000)}
	for key, b := range want {
		mustPut(t, x.s, testBucket, key, b)
	}
	for _, test := range []struct {
		key    string
		off, n int64
		reads  int
		length int64
	}{
		{"small", 0, 4096, 1, 8192},       // The record's frame and header share its two blocks.
		{"small", 100, 1, 1, 8192},        // Verified as a whole.
		{"mib", 0, 1 << 20, 4, 1 << 20},   // Every byte read is asked for.
		{"mib", 0, 1, 1, unit},            // One unit.
		{"mib", unit - 1, 2, 2, 2 * unit}, // Two neighbours on two drives.
		{"mib", unit, unit, 1, unit},      // The second.
		{"mib", 4*unit - 1, 2, 2, 2 * unit},
		{"mib", 0, 5 * unit, 4, 5 * unit},
		{"mib", 512 << 10, 512 << 10, 4, 512 << 10},
		{"odd", 3<<20 + 4999, 1, 1, 4096}, // The last row's units are narrow.
		{"odd", 3 << 20, 5000, 2, 2 * 4096},
		{"odd", 1 << 20, 1 << 20, 4, 1 << 20},
	} {
		reads, writes, others, readLen, _ := x.during(func() {
			got, err := getRange(t.Context(), x.s, testBucket, test.key, test.off, test.n)
			if err != nil || !bytes.Equal(got, want[test.key][test.off:test.off+test.n]) {
				t.Errorf("%+v: %d bytes, %v", test, len(got), err)
			}
		})
		if reads != test.reads || readLen != test.length || writes != 0 || others != 0 {
			t.Errorf("%+v: %d reads of %d bytes, %d writes, %d other actions", test, reads, readLen, writes, others)
		}
	}
	if n := x.s.Stats().DegradedReads; n != 0 {
		t.Errorf("%d degraded reads", n)
	}
	// What the cache has costs nothing.
	x.s.cells[0].cache = newBlobCache(1 << 20)
	mustGet(t, x.s, testBucket, "small", want["small"])
	reads, _, _, _, _ := x.during(func() { mustGet(t, x.s, testBucket, "small", want["small"]) })
	if reads != 0 || x.s.Stats().CacheHits != 1 {
		t.Errorf("%d reads of a cached object, %d hits", reads, x.s.Stats().CacheHits)
	}
}
