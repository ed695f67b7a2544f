package drive_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
	"penstock/ioring"
)

const segLen = 64 << 10

func newIdentity() drive.Identity {
	id := drive.NewID()
	return drive.Identity{Cluster: drive.NewID(), Drive: id, Roster: drive.Roster{Known: []drive.ID{id}}}
}

// openRing returns a queue on the given rung and the memory for it.
func openRing(t testing.TB, rung ioring.Rung) *drive.RingQueue {
	t.Helper()
	q, err := ioring.Open(ioring.Options{Force: rung, Depth: 64, Threads: 4})
	if err != nil {
		t.Skipf("no %s here: %v", rung, err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Errorf("close queue: %v", err)
		}
	})
	return drive.NewRingQueue(q)
}

func openDir(t testing.TB, path string, q *drive.RingQueue, buffered bool) drive.Drive {
	t.Helper()
	d, err := drive.OpenDir(path, drive.DirOptions{Queue: q, Buffered: buffered})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newDir(t testing.TB, rung ioring.Rung, buffered bool) drive.Drive {
	path := filepath.Join(t.TempDir(), "drive")
	q := openRing(t, rung)
	if err := drive.Format(path, newIdentity()); err != nil {
		t.Fatal(err)
	}
	return openDir(t, path, q, buffered)
}

// kinds makes one blank drive of each kind.
var kinds = []struct {
	name string
	make func(t testing.TB) drive.Drive
}{
	{"ring", func(t testing.TB) drive.Drive { return newDir(t, ioring.RungNoFixed, false) }},
	{"ring buffered", func(t testing.TB) drive.Drive { return newDir(t, ioring.RungNoFixed, true) }},
	{"threads", func(t testing.TB) drive.Drive { return newDir(t, ioring.RungThreads, false) }},
	{"memory", func(testing.TB) drive.Drive { return drive.NewMem(newIdentity(), drive.MemOptions{}) }},
	{"memory shuffled", func(testing.TB) drive.Drive {
		return drive.NewMem(newIdentity(), drive.MemOptions{Queue: drive.NewMemQueue(7)})
	}},
	{"crash", func(testing.TB) drive.Drive {
		return drive.NewDomain([]drive.Identity{newIdentity()}, 0, drive.DomainOptions{}).Drives()[0]
	}},
	{"fault", func(testing.TB) drive.Drive {
		return drive.NewPlan(1).Wrap(drive.NewMem(newIdentity(), drive.MemOptions{}))
	}},
	{"fault on threads", func(t testing.TB) drive.Drive {
		return drive.NewPlan(1).Wrap(newDir(t, ioring.RungThreads, false))
	}},
}

// behaviours is what every kind of drive must do.
var behaviours = []struct {
	name string
	run  func(t *testing.T, d drive.Drive)
}{
	{"segments", segmentsBehave},
	{"reads see writes", readsSeeWrites},
	{"pieces", piecesBehave},
	{"misuse", misuseIsRefused},
	{"resize", resizeBehaves},
	{"meta", metaBehaves},
	{"many at once", manyAtOnce},
	{"direct", directBehaves},
	{"group", groupBehaves},
	{"stats", statsBehave},
	{"index", indexBehaves},
	{"identity", identityBehaves},
}

func TestConformance(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			for _, b := range behaviours {
				t.Run(b.name, func(t *testing.T) {
					d := kind.make(t)
					b.run(t, d)
					if err := d.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			}
		})
	}
}

var ctx = context.Background()

// block returns n bytes of aligned memory, filled from seed.
func block(n int, seed uint64) []byte {
	b := drive.Aligned(n)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func create(t testing.TB, d drive.Drive, seg uint32, size int64) drive.File {
	t.Helper()
	f, err := d.Create(seg, size)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func closeFile(t testing.TB, f drive.File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Errorf("Close of segment %d: %v", f.Seg(), err)
	}
}

func write(t testing.TB, f drive.File, off int64, bufs ...[]byte) {
	t.Helper()
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Write, File: f, Off: off, Bufs: bufs}); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, f drive.File, off int64, n int) []byte {
	t.Helper()
	b := drive.Aligned(n)
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Read, File: f, Off: off, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
	return b
}

func segmentsBehave(t *testing.T, d drive.Drive) {
	list := func(want ...uint32) {
		t.Helper()
		got, err := d.Segments()
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("Segments = %v, %v, want %v", got, err, want)
		}
	}
	list()
	if _, err := d.Open(3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of an absent segment: %v, want not exist", err)
	}
	if err := d.Remove(3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove of an absent segment: %v, want not exist", err)
	}
	total, before, err := d.Space()
	if err != nil || total < before || before <= 0 {
		t.Fatalf("Space = %d, %d, %v", total, before, err)
	}
	f := create(t, d, 3, segLen)
	if f.Seg() != 3 || f.Size() != segLen || f.Drive().ID() != d.ID() || f.Queue() != d.Queue() {
		t.Errorf("file is segment %d of %v, %d bytes", f.Seg(), f.Drive().ID(), f.Size())
	}
	if _, err := d.Create(3, segLen); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of a segment that is there: %v, want exist", err)
	}
	for _, size := range []int64{0, -4096, 100, 4097} {
		if _, err := d.Create(4, size); !errors.Is(err, drive.ErrAlign) {
			t.Errorf("Create of %d bytes: %v, want %v", size, err, drive.ErrAlign)
		}
	}
	closeFile(t, create(t, d, 4_000_000_000, segLen))
	closeFile(t, create(t, d, 0, segLen))
	list(0, 3, 4_000_000_000)
	closeFile(t, f)
	if err := f.Close(); err == nil {
		t.Error("second Close: no error")
	}
	if err := d.Remove(3); err != nil {
		t.Error(err)
	}
	list(0, 4_000_000_000)
	if _, err := d.Create(5, 1<<50); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Create of a petabyte: %v, want no space", err)
	}
	list(0, 4_000_000_000)
}

func readsSeeWrites(t *testing.T, d drive.Drive) {
	f := create(t, d, 1, segLen)
	if got := read(t, f, 0, segLen); !bytes.Equal(got, make([]byte, segLen)) {
		t.Error("a new segment does not read as zeros")
	}
	want := block(segLen, 1)
	write(t, f, 0, want[:8192])
	write(t, f, 8192, want[8192:])
	if got := read(t, f, 0, segLen); !bytes.Equal(got, want) {
		t.Error("read differs from what was written")
	}
	patch := block(4096, 2)
	write(t, f, 12288, patch)
	copy(want[12288:], patch)
	closeFile(t, f)
	f, err := d.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	if f.Size() != segLen {
		t.Errorf("opened again: %d bytes, want %d", f.Size(), segLen)
	}
	if got := read(t, f, 0, segLen); !bytes.Equal(got, want) {
		t.Error("read after another open differs from what was written")
	}
	closeFile(t, f)
}

func piecesBehave(t *testing.T, d drive.Drive) {
	f := create(t, d, 1, segLen)
	want := block(16384, 3)
	write(t, f, 4096, want[:512], want[512:4096], want[4096:12288], want[12288:])
	b := drive.Aligned(16384)
	op := &drive.Op{Kind: drive.Read, File: f, Off: 4096, Bufs: [][]byte{b[:8192], b[8192:8704], b[8704:]}}
	if err := drive.Do(ctx, op); err != nil || op.N != len(b) {
		t.Fatalf("read in pieces: %d bytes, %v", op.N, err)
	}
	if !bytes.Equal(b, want) {
		t.Error("read in pieces differs from what was written")
	}
	closeFile(t, f)
}

func misuseIsRefused(t *testing.T, d drive.Drive) {
	f := create(t, d, 1, segLen)
	mem := drive.Aligned(segLen + 4096)
	for _, c := range []struct {
		name string
		off  int64
		bufs [][]byte
		want error
	}{
		{"unaligned offset", 512, [][]byte{mem[:4096]}, drive.ErrAlign},
		{"negative offset", -4096, [][]byte{mem[:4096]}, drive.ErrAlign},
		{"part of a block", 0, [][]byte{mem[:512]}, drive.ErrAlign},
		{"part of a sector", 0, [][]byte{mem[:100], mem[100:4096]}, drive.ErrAlign},
		{"nothing", 0, nil, drive.ErrAlign},
		{"empty piece", 0, [][]byte{mem[:4096], nil}, drive.ErrAlign},
		{"across the end", segLen - 4096, [][]byte{mem[:8192]}, drive.ErrRange},
		{"behind the end", segLen, [][]byte{mem[:4096]}, drive.ErrRange},
		{"larger than the segment", 0, [][]byte{mem}, drive.ErrRange},
		{"too many pieces", 0, slices.Repeat([][]byte{mem[:512]}, drive.MaxVecs+8), drive.ErrAlign},
	} {
		for _, kind := range []drive.Kind{drive.Read, drive.Write} {
			op := &drive.Op{Kind: kind, File: f, Off: c.off, Bufs: c.bufs}
			err := drive.Do(ctx, op)
			var opErr *drive.OpError
			if !errors.Is(err, c.want) || !errors.As(err, &opErr) || opErr.Seg != 1 || opErr.Path != d.Path() || op.N != 0 {
				t.Errorf("%v, %s: %d bytes, %v, want %v", kind, c.name, op.N, err, c.want)
			}
		}
	}
	closeFile(t, f)
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Read, File: f, Bufs: [][]byte{mem[:4096]}}); err == nil {
		t.Error("read of a closed file: no error")
	}
}

func resizeBehaves(t *testing.T, d drive.Drive) {
	f := create(t, d, 1, segLen)
	want := block(segLen, 4)
	write(t, f, 0, want)
	if err := f.Resize(8192); err != nil || f.Size() != 8192 {
		t.Fatalf("Resize: %d bytes, %v", f.Size(), err)
	}
	if got := read(t, f, 0, 8192); !bytes.Equal(got, want[:8192]) {
		t.Error("cutting the segment changed what is left")
	}
	op := &drive.Op{Kind: drive.Read, File: f, Off: 8192, Bufs: [][]byte{drive.Aligned(4096)}}
	if err := drive.Do(ctx, op); !errors.Is(err, drive.ErrRange) {
		t.Errorf("read behind the cut: %v, want %v", err, drive.ErrRange)
	}
	if err := f.Resize(2 * segLen); err != nil || f.Size() != 2*segLen {
		t.Fatalf("Resize: %d bytes, %v", f.Size(), err)
	}
	write(t, f, segLen, want)
	if got := read(t, f, segLen, segLen); !bytes.Equal(got, want) {
		t.Error("read from the extension differs from what was written")
	}
	if got := read(t, f, 0, 8192); !bytes.Equal(got, want[:8192]) {
		t.Error("extending the segment changed what was there")
	}
	if err := f.Resize(1 << 50); err == nil || f.Size() != 2*segLen {
		t.Errorf("Resize to a petabyte: %d bytes, %v", f.Size(), err)
	}
	if err := f.Resize(100); !errors.Is(err, drive.ErrAlign) {
		t.Errorf("Resize to 100 bytes: %v, want %v", err, drive.ErrAlign)
	}
	closeFile(t, f)
	f, err := d.Open(1)
	if err != nil || f.Size() != 2*segLen {
		t.Fatalf("opened again: %d bytes, %v", f.Size(), err)
	}
	closeFile(t, f)
}

func metaBehaves(t *testing.T, d drive.Drive) {
	if _, err := d.ReadMeta("root.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadMeta of an absent file: %v, want not exist", err)
	}
	for _, want := range []string{"one", "", "three, and longer"} {
		if err := d.WriteMeta("root.json", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadMeta("root.json"); err != nil || string(got) != want {
			t.Errorf("ReadMeta = %q, %v, want %q", got, err, want)
		}
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "segments", "index", "checkpoint", "penstock.lock", "x.tmp", "\x00"} {
		if err := d.WriteMeta(name, nil, 0o600); err == nil {
			t.Errorf("WriteMeta(%q): no error", name)
		}
		if _, err := d.ReadMeta(name); err == nil {
			t.Errorf("ReadMeta(%q): no error", name)
		}
	}
}

// manyAtOnce has writers of disjoint blocks in flight together, then reads all of it back at once.
func manyAtOnce(t *testing.T, d drive.Drive) {
	const files, blocks = 3, 16
	var opened []drive.File
	for i := range files {
		opened = append(opened, create(t, d, uint32(i), blocks*4096))
	}
	var g drive.Group
	var ops []*drive.Op
	for i, f := range opened {
		for b := range blocks {
			ops = append(ops, &drive.Op{Kind: drive.Write, File: f, Off: int64(b) * 4096, Bufs: [][]byte{block(4096, uint64(i*blocks+b))}})
		}
	}
	g.Submit(ops...)
	if err := g.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		op.Kind = drive.Read
		clear(op.Bufs[0])
	}
	g.Submit(ops...)
	if err := g.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for i, op := range ops {
		if !bytes.Equal(op.Bufs[0], block(4096, uint64(i))) {
			t.Errorf("block %d of segment %d differs", i%blocks, i/blocks)
		}
	}
	for _, f := range opened {
		closeFile(t, f)
	}
}

// directBehaves checks that an op is carried out once, whether or not the queue takes it directly.
func directBehaves(t *testing.T, d drive.Drive) {
	f := create(t, d, 1, segLen)
	for i := range 8 {
		var calls atomic.Int32
		done := make(chan struct{})
		want := block(4096, uint64(i))
		op := &drive.Op{Kind: drive.Write, File: f, Bufs: [][]byte{want}, Done: func(*drive.Op) {
			calls.Add(1)
			close(done)
		}}
		if d.Queue().TryDirect(op) {
			if calls.Load() != 1 {
				t.Fatalf("TryDirect took the op and called Done %d times", calls.Load())
			}
		} else {
			d.Queue().Submit(op)
		}
		<-done
		if op.Err != nil || op.N != 4096 {
			t.Fatalf("%d bytes, %v", op.N, op.Err)
		}
		if got := read(t, f, 0, 4096); !bytes.Equal(got, want) {
			t.Fatal("read differs from what was written")
		}
	}
	closeFile(t, f)
}

func groupBehaves(t *testing.T, d drive.Drive) {
	f := create(t, d, 1, segLen)
	var g drive.Group
	if err := g.Wait(ctx); err != nil || !g.Over() {
		t.Errorf("Wait of an empty group: %v", err)
	}
	good := &drive.Op{Kind: drive.Write, File: f, Bufs: [][]byte{block(4096, 1)}}
	bad := &drive.Op{Kind: drive.Write, File: f, Off: segLen, Bufs: [][]byte{block(4096, 1)}}
	worse := &drive.Op{Kind: drive.Write, File: f, Off: 1, Bufs: [][]byte{block(4096, 1)}}
	g.Submit(good, worse, bad)
	if err := g.Wait(ctx); !errors.Is(err, drive.ErrAlign) {
		t.Errorf("Wait = %v, want the error of the first op that has one", err)
	}
	if good.Err != nil || !errors.Is(bad.Err, drive.ErrRange) {
		t.Errorf("op errors %v, %v", good.Err, bad.Err)
	}
	if good.Elapsed <= 0 || good.Elapsed > time.Minute {
		t.Errorf("Elapsed = %v", good.Elapsed)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for range 50 {
		g.Submit(good)
		if err := g.Wait(ended); err != nil && err != context.Canceled {
			t.Fatal(err)
		}
		if err := g.Wait(ctx); err != nil || !g.Over() {
			t.Fatalf("Wait after a Wait that was given up: %v", err)
		}
	}
	// A set that was only looked at, never waited for, leaves nothing behind that ends the next Wait early.
	for range 200 {
		g.Submit(good)
		for !g.Over() {
			runtime.Gosched()
		}
		g.Submit(good)
		if err := g.Wait(ctx); err != nil || !g.Over() {
			t.Fatalf("Wait returned %v, over: %v", err, g.Over())
		}
	}
	closeFile(t, f)
}

func statsBehave(t *testing.T, d drive.Drive) {
	f := create(t, d, 1, segLen)
	for i := range 3 {
		write(t, f, int64(i)*4096, block(4096, 1))
	}
	read(t, f, 0, 8192)
	s := d.Stats()
	if s.Writes.Ops != 3 || s.Writes.Bytes != 3*4096 || s.Writes.Errors != 0 || s.Writes.Latency.Count() != 3 {
		t.Errorf("writes: %d ops, %d bytes, %d errors, %d latencies", s.Writes.Ops, s.Writes.Bytes, s.Writes.Errors, s.Writes.Latency.Count())
	}
	if s.Reads.Ops != 1 || s.Reads.Bytes != 8192 || s.Reads.Errors != 0 {
		t.Errorf("reads: %d ops, %d bytes, %d errors", s.Reads.Ops, s.Reads.Bytes, s.Reads.Errors)
	}
	if s.Writes.Time <= 0 || s.Writes.Latency.Quantile(0.99) <= 0 {
		t.Errorf("writes took %v, p99 %v", s.Writes.Time, s.Writes.Latency.Quantile(0.99))
	}
	closeFile(t, f)
}

func indexBehaves(t *testing.T, d drive.Drive) {
	fsys, dir := d.FS()
	index := fsys.PathJoin(dir, "index")
	if err := fsys.MkdirAll(index, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Create(fsys.PathJoin(index, "MANIFEST"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := fsys.List(index); err != nil || !slices.Equal(names, []string{"MANIFEST"}) {
		t.Errorf("List = %v, %v", names, err)
	}
}

func identityBehaves(t *testing.T, d drive.Drive) {
	id, err := drive.ReadIdentity(d)
	if err != nil || id.Drive != d.ID() || id.Epoch() != 0 {
		t.Fatalf("ReadIdentity = %+v, %v", id, err)
	}
	for epoch := range uint32(2 * drive.MaxStarts) {
		id.Begin(id.Starts, nil, drive.Start{Epoch: epoch + 1, Run: drive.NewID()})
		id.Confirm()
	}
	pending := drive.Start{Epoch: 2*drive.MaxStarts + 1, Run: drive.NewID()}
	id.Begin(id.Starts[:3], id.Starts[:1], pending)
	if err := drive.WriteIdentity(d, id); err != nil {
		t.Fatal(err)
	}
	got, err := drive.ReadIdentity(d)
	if err != nil || got.Epoch() != pending.Epoch || len(got.Starts) != drive.MaxStarts || len(got.Confirmed()) != 3 || len(got.Pending) != 2 {
		t.Errorf("ReadIdentity = %+v, %v", got, err)
	}
}

// TestSubmitGroupsByQueue checks that ops of several queues all come back.
func TestSubmitGroupsByQueue(t *testing.T) {
	var ops []*drive.Op
	for i := range 4 {
		d := drive.NewMem(newIdentity(), drive.MemOptions{})
		f := create(t, d, 1, segLen)
		for j := range 3 {
			ops = append(ops, &drive.Op{Kind: drive.Write, File: f, Off: int64(j) * 4096, Bufs: [][]byte{block(4096, uint64(i*3+j))}})
		}
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	var wg sync.WaitGroup
	wg.Add(len(ops))
	for _, op := range ops {
		op.Done = func(*drive.Op) { wg.Done() }
	}
	drive.Submit(ops)
	wg.Wait()
	for _, op := range ops {
		if op.Err != nil || op.N != 4096 {
			t.Errorf("%d bytes, %v", op.N, op.Err)
		}
	}
	drive.Submit(nil)
}
