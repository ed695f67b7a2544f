package meta_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/meta"
)

// crash is what a power cut left, and what the index had promised by then.
type crash struct {
	fs      *vfs.MemFS
	flushed meta.Position
	op      string
}

// crasher takes a picture of the file system at random operations of the index, flushes and compactions included.
type crasher struct {
	fs  *vfs.MemFS
	mu  sync.Mutex // Guards the fields below.
	rng *rand.Rand
	now meta.Position // Flushed position known last.
	got []crash
}

func (c *crasher) String() string { return "crasher" }

func (c *crasher) MaybeError(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || len(c.got) >= 60 || c.rng.IntN(12) > 0 {
		return nil
	}
	c.got = append(c.got, crash{
		c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng}), c.now, fmt.Sprint(op.Kind, " ", op.Path),
	})
	return nil
}

func (c *crasher) promise(p meta.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = p
}

func (c *crasher) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

// TestCrashPrefix cuts the power at random operations. What is left must be exactly what the batches up to its position make, that
// position must not be before the one promised, and a replay from further back must arrive where the original did.
func TestCrashPrefix(t *testing.T) {
	rng := newRNG(t)
	mem := vfs.NewCrashableMem()
	c := &crasher{fs: mem, rng: rand.New(rand.NewPCG(rng.Uint64(), 2))}
	x := openMem(t, errorfs.Wrap(mem, c), true)
	created := c.count()
	h := newHistory(rand.New(rand.NewPCG(rng.Uint64(), 1)))
	h.keys = 2000 // So that levels fill and are compacted.
	var batches []batch
	for i := range 400 {
		for range 1 + h.rng.IntN(6) {
			h.step()
		}
		b := h.cut()
		batches = append(batches, b)
		_, err := x.Apply(b.pos, b.recs)
		mustNot(t, err)
		if i%17 == 0 {
			mustNot(t, x.Flush(context.Background()))
			p, err := x.FlushedPosition()
			mustNot(t, err)
			if p != b.pos {
				t.Fatalf("flushed at %+v, position says %+v", b.pos, p)
			}
			c.promise(p)
		}
	}
	want := dump(t, x)
	mustNot(t, x.Close())

	// One index steps through the history and is compared with each crash at its position.
	type state struct {
		crash
		x *meta.Index
	}
	var states []state
	for i, crash := range c.got {
		y, err := meta.Open(meta.Options{FS: crash.fs, Dir: "index"})
		if err != nil {
			if i < created && errors.Is(err, meta.ErrUnusable) {
				continue // It was not there yet.
			}
			t.Fatalf("crash at %s: %v", crash.op, err)
		}
		if y.Position().LSN < crash.flushed.LSN {
			t.Fatalf("crash at %s: position %+v, promised %+v", crash.op, y.Position(), crash.flushed)
		}
		states = append(states, state{crash, y})
	}
	slices.SortStableFunc(states, func(a, b state) int { return int(a.x.Position().Batch) - int(b.x.Position().Batch) })
	ref := newIndex(t)
	next, distinct := 0, map[meta.LSN]bool{}
	for _, s := range states {
		pos := s.x.Position()
		for ; next < len(batches) && batches[next].pos.Batch <= pos.Batch; next++ {
			_, err := ref.Apply(batches[next].pos, batches[next].recs)
			mustNot(t, err)
		}
		if pos != ref.Position() {
			t.Fatalf("crash at %s: position %+v is not one of a batch", s.op, pos)
		}
		equalDumps(t, "crash at "+s.op, dump(t, s.x), dump(t, ref))
		if distinct[pos.LSN] = true; len(distinct)%8 == 1 {
			for _, b := range batches[max(0, next-3):] {
				_, err := s.x.Apply(b.pos, b.recs)
				mustNot(t, err)
			}
			equalDumps(t, "replayed after crash at "+s.op, dump(t, s.x), want)
		}
		mustNot(t, s.x.Close())
	}
	if len(distinct) < 5 {
		t.Errorf("crashes reached only %d different positions", len(distinct))
	}
	t.Logf("%d crashes, %d positions", len(states), len(distinct))
}

// failAt makes the n-th write operation and all after it fail, as a drive does that died.
type failAt struct {
	mu   sync.Mutex
	left int
}

func (f *failAt) String() string { return "failAt" }

func (f *failAt) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	if f.left--; f.left < 0 {
		return errorfs.ErrInjected
	}
	return nil
}

func (f *failAt) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left < 0
}

// TestDriveFails lets the drive die at every so many operations. The index must say so, hang nowhere, close, and
// be found at an exact state when the drive is back.
func TestDriveFails(t *testing.T) {
	rng := newRNG(t)
	h := newHistory(rng)
	h.keys = 500
	var batches []batch
	for range 60 {
		for range 1 + h.rng.IntN(6) {
			h.step()
		}
		batches = append(batches, h.cut())
	}
	for n := 0; ; n += 1 + n/4 {
		fs := vfs.NewMem()
		f := &failAt{left: n}
		x, err := meta.Open(meta.Options{FS: errorfs.Wrap(fs, f), Dir: "index", Create: true, MemTableBytes: 256 << 10})
		if err != nil {
			if !f.failed() || !errors.Is(err, errorfs.ErrInjected) {
				t.Fatalf("open with failure %d: %v", n, err)
			}
			continue
		}
		for i, b := range batches {
			if _, err = x.Apply(b.pos, b.recs); err == nil && i%10 == 9 {
				err = x.Flush(context.Background())
			}
			if err != nil {
				break
			}
		}
		if err == nil && f.failed() && x.Err() == nil {
			t.Fatalf("failure %d went unnoticed", n)
		}
		if err != nil && !errors.Is(err, meta.ErrFailed) {
			t.Fatalf("failure %d: %v", n, err)
		}
		promised, _ := x.FlushedPosition()
		_ = x.Close() // It cannot do all it would.
		if !f.failed() {
			t.Logf("%d operations", n)
			return
		}
		y, err := meta.Open(meta.Options{FS: fs, Dir: "index"})
		if errors.Is(err, meta.ErrUnusable) && promised.LSN == 0 {
			continue
		}
		mustNot(t, err)
		if y.Position().LSN < promised.LSN {
			t.Fatalf("failure %d: at %+v, promised %+v", n, y.Position(), promised)
		}
		for _, b := range batches {
			_, err := y.Apply(b.pos, b.recs)
			mustNot(t, err)
		}
		h.check(t, y)
		mustNot(t, y.Close())
	}
}

// syncs fails the n-th sync of a directory.
type syncs struct {
	mu   sync.Mutex // Guards left.
	dir  string
	left int
}

func (f *syncs) String() string { return "syncs" }

func (f *syncs) MaybeError(op errorfs.Op) error {
	if op.Kind != errorfs.OpFileSync || op.Path != f.dir {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left == 0 {
		return errorfs.ErrInjected
	}
	return nil
}

// TestDirectorySync: a directory that cannot be synced fails the index, not the process, and nothing is promised that rests on it.
func TestDirectorySync(t *testing.T) {
	for n := 1; ; n++ {
		fs := vfs.NewCrashableMem()
		x, err := meta.Open(meta.Options{FS: fs, Dir: "index", Create: true})
		mustNot(t, err)
		mustNot(t, x.Close())
		f := &syncs{dir: "index", left: n}
		x, err = meta.Open(meta.Options{FS: errorfs.Wrap(fs, f), Dir: "index", MemTableBytes: 256 << 10})
		if err != nil {
			if !errors.Is(err, meta.ErrUnusable) && !errors.Is(err, meta.ErrFailed) {
				t.Fatalf("open, sync %d: %v", n, err)
			}
			continue
		}
		h := newHistory(newRNG(t))
		for i := 0; i < 8 && err == nil; i++ {
			h.step()
			b := h.cut()
			if _, err = x.Apply(b.pos, b.recs); err == nil {
				err = x.Flush(context.Background())
			}
		}
		promised, _ := x.FlushedPosition()
		if f.left <= 0 != (x.Err() != nil) || f.left <= 0 && err == nil {
			t.Errorf("sync %d: %v, and the index says %v", n, err, x.Err())
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		_ = x.Close() // It cannot do all it would.
		if f.left > 0 {
			return // There were no more.
		}
		y, err := meta.Open(meta.Options{FS: crashed, Dir: "index"})
		if err != nil {
			if promised.LSN > 0 {
				t.Errorf("sync %d: LSN %d was promised, and after a power cut there is: %v", n, promised.LSN, err)
			}
			continue
		}
		if y.Position().LSN < promised.LSN {
			t.Errorf("sync %d: LSN %d after a power cut, %d was promised", n, y.Position().LSN, promised.LSN)
		}
		mustNot(t, y.Close())
	}
}
