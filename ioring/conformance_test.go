//go:build linux

package ioring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"penstock/ioring"
	"penstock/numa"
)

// rungs are all that this build has. Every test of this file must hold on each.
func rungs() []ioring.Rung {
	all := []ioring.Rung{ioring.RungRing, ioring.RungNoFixed, ioring.RungPlain, ioring.RungThreads}
	if haveGiouring {
		all = append(all, ioring.RungGiouring)
	}
	return all
}

func onEachRung(t *testing.T, f func(t *testing.T, rung ioring.Rung)) {
	for _, rung := range rungs() {
		t.Run(fmt.Sprintf("rung=%s", rung), func(t *testing.T) { f(t, rung) })
		if rung == ioring.RungRing || rung == ioring.RungPlain { // They wait elsewhere then.
			t.Run(fmt.Sprintf("rung=%s/processors=1", rung), func(t *testing.T) { f(t, rung) })
		}
	}
}

func newArena(t testing.TB, size int64) *ioring.Arena {
	t.Helper()
	a, err := ioring.NewArena(ioring.ArenaOptions{Size: size, Node: numa.UnknownNode, NoPrefault: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err) // Some test has kept a Buf.
		}
	})
	return a
}

// open starts a queue on a rung, or skips where the machine has none.
func open(t testing.TB, rung ioring.Rung, opts ioring.Options) ioring.Queue {
	t.Helper()
	opts.Force = rung
	opts.Processors = 2
	if strings.Contains(t.Name(), "/processors=1") {
		opts.Processors = 1
	}
	if opts.Arena == nil {
		opts.Arena = newArena(t, 16<<20)
	}
	q, err := ioring.Open(opts)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOMEM) {
		t.Skipf("this machine refuses the rung: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil && !errors.Is(err, ioring.ErrHung) {
			t.Error(err)
		}
	})
	return q
}

func create(t testing.TB, q ioring.Queue, flags ioring.FileFlags) *ioring.File {
	t.Helper()
	flags.Create, flags.Write = true, true
	f, err := ioring.OpenFile(q, filepath.Join(t.TempDir(), "segment"), flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if flags.Direct && !f.Direct() {
		t.Logf("%s refuses O_DIRECT; transfers are buffered", f.Path())
	}
	return f
}

func get(t testing.TB, a *ioring.Arena, n int) *ioring.Buf {
	t.Helper()
	b, err := a.Get(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fill(b []byte, seed uint64) {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(b)
}

// do runs ops as a group, past the direct path, and returns the first error.
func do(t testing.TB, q ioring.Queue, ops ...*ioring.Op) error {
	t.Helper()
	g := ioring.NewGroup(len(ops))
	for _, op := range ops {
		op.Complete = g.Done
	}
	q.Submit(ops...)
	return g.Wait(t.Context())
}

// split cuts b into count pieces of whole blocks, of different lengths.
func split(b []byte, count, block int) [][]byte {
	var pieces [][]byte
	for ; count > 1; count-- {
		n := min(len(b)/block/count, 1+count%3) * block
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return append(pieces, b)
}

func TestRoundTrip(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		a := newArena(t, 16<<20)
		q := open(t, rung, ioring.Options{Arena: a})
		if q.Rung() != rung {
			t.Fatalf("Rung() = %s, want %s", q.Rung(), rung)
		}
		for _, direct := range []bool{true, false} {
			f := create(t, q, ioring.FileFlags{Direct: direct})
			for _, count := range []int{1, 2, 17, ioring.MaxVecs} {
				for _, kind := range []ioring.Kind{ioring.Write, ioring.WriteDurable} {
					name := fmt.Sprintf("direct=%t, %d pieces, %v", direct, count, kind)
					const n = 1 << 20
					buf := get(t, a, 2*n)
					out, in := buf.Bytes()[:n], buf.Bytes()[n:]
					fill(out, uint64(count))
					off := int64(count) << 20
					if err := do(t, q, &ioring.Op{Kind: kind, File: f, Off: off, Bufs: split(out, count, 4096)}); err != nil {
						t.Fatalf("%s: write: %v", name, err)
					}
					if err := do(t, q, &ioring.Op{Kind: ioring.Sync, File: f}); err != nil {
						t.Fatalf("%s: sync: %v", name, err)
					}
					read := &ioring.Op{Kind: ioring.Read, File: f, Off: off, Bufs: split(in, count, 4096)}
					if err := do(t, q, read); err != nil {
						t.Fatalf("%s: read: %v", name, err)
					}
					if read.N != n || !bytes.Equal(in, out) {
						t.Errorf("%s: read %d bytes, equal %t", name, read.N, bytes.Equal(in, out))
					}
					if read.Finished < read.Started || read.Started == 0 {
						t.Errorf("%s: started %v, finished %v", name, read.Started, read.Finished)
					}
					buf.Release()
				}
			}
		}
	})
}

// Memory of the Go heap works on buffered files, at any length and offset; it is pinned meanwhile.
func TestHeapMemory(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		q := open(t, rung, ioring.Options{})
		f := create(t, q, ioring.FileFlags{})
		for _, n := range []int{1, 511, 4097, 300_001} {
			out, in := make([]byte, n), make([]byte, n)
			fill(out, uint64(n))
			op := &ioring.Op{Kind: ioring.WriteDurable, File: f, Off: 7, Bufs: split(out, 1+n%3, 1)}
			if err := do(t, q, op); err != nil {
				t.Fatal(err)
			}
			op = &ioring.Op{Kind: ioring.Read, File: f, Off: 7, Bufs: [][]byte{in}} // Used for another transfer.
			if err := do(t, q, op); err != nil {
				t.Fatal(err)
			}
			if op.N != n || !bytes.Equal(in, out) {
				t.Errorf("%d bytes: read %d, equal %t", n, op.N, bytes.Equal(in, out))
			}
		}
	})
}

func TestEndOfFile(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		a := newArena(t, 4<<20)
		q := open(t, rung, ioring.Options{Arena: a})
		buf := get(t, a, 64<<10)
		defer buf.Release()
		for _, direct := range []bool{true, false} {
			f := create(t, q, ioring.FileFlags{Direct: direct})
			for _, size := range []int64{12 << 10, 10_000} { // The second ends within a block.
				if err := unix.Ftruncate(f.Fd(), size); err != nil {
					t.Fatal(err)
				}
				for _, test := range []struct{ off, want int64 }{
					{0, size}, {8192, size - 8192}, {16 << 10, 0}, {1 << 30, 0},
				} {
					for _, pieces := range []int{1, 3} {
						op := &ioring.Op{Kind: ioring.Read, File: f, Off: test.off, Bufs: split(buf.Bytes(), pieces, 4096)}
						if err := do(t, q, op); err != nil || int64(op.N) != test.want {
							t.Errorf("direct=%t: read of a file of %d at %d = %d, %v; want %d", direct, size, test.off, op.N, err, test.want)
						}
					}
				}
			}
		}
	})
}

func TestMisuse(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		a := newArena(t, 4<<20)
		q := open(t, rung, ioring.Options{Arena: a})
		direct := create(t, q, ioring.FileFlags{Direct: true})
		buffered := create(t, q, ioring.FileFlags{})
		buf := get(t, a, 64<<10)
		defer buf.Release()
		b := buf.Bytes()
		for _, test := range []struct {
			name       string
			onlyDirect bool
			op         *ioring.Op
		}{
			{"no pieces", false, &ioring.Op{File: buffered}},
			{"empty piece", false, &ioring.Op{File: buffered, Bufs: [][]byte{{}}}},
			{"too many pieces", false, &ioring.Op{File: buffered, Bufs: slices.Repeat([][]byte{b[:1]}, ioring.MaxVecs+1)}},
			{"negative offset", false, &ioring.Op{File: buffered, Off: -1, Bufs: [][]byte{b}}},
			{"no such kind", false, &ioring.Op{Kind: 9, File: buffered, Bufs: [][]byte{b}}},
			{"length not blocks", true, &ioring.Op{File: direct, Bufs: [][]byte{b[:4608]}}},
			{"offset not blocks", true, &ioring.Op{File: direct, Off: 512, Bufs: [][]byte{b}}},
			{"piece not aligned", true, &ioring.Op{File: direct, Bufs: [][]byte{b[8:4104]}}},
		} {
			if test.onlyDirect && !direct.Direct() {
				continue
			}
			err := do(t, q, test.op)
			var failure *ioring.Error
			if !errors.Is(err, unix.EINVAL) || !errors.As(err, &failure) || failure.Path != test.op.File.Path() {
				t.Errorf("%s: %v, want an Error with EINVAL and the path", test.name, err)
			}
		}
		if got := q.Stats().Errors; got < 5 {
			t.Errorf("Stats().Errors = %d after at least 5", got)
		}
	})
}

func TestErrors(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		a := newArena(t, 4<<20)
		q := open(t, rung, ioring.Options{Arena: a})
		writable := create(t, q, ioring.FileFlags{})
		readOnly, err := ioring.OpenFile(q, writable.Path(), ioring.FileFlags{})
		if err != nil {
			t.Fatal(err)
		}
		buf := get(t, a, 4096)
		defer buf.Release()
		op := &ioring.Op{Kind: ioring.Write, File: readOnly, Off: 8192, Bufs: [][]byte{buf.Bytes()}}
		err = do(t, q, op)
		want := fmt.Sprintf("write %s at 8192: bad file descriptor", writable.Path())
		if !errors.Is(err, unix.EBADF) || err.Error() != want {
			t.Errorf("write to a read-only file: %v, want %q", err, want)
		}
		if err := readOnly.Close(); err != nil {
			t.Fatal(err)
		}
		if err := readOnly.Close(); !errors.Is(err, ioring.ErrClosed) {
			t.Errorf("second Close = %v, want ErrClosed", err)
		}
		for _, kind := range []ioring.Kind{ioring.Read, ioring.Sync} {
			op := &ioring.Op{Kind: kind, File: readOnly, Bufs: [][]byte{buf.Bytes()}}
			if err := do(t, q, op); !errors.Is(err, ioring.ErrClosed) {
				t.Errorf("%v on a closed file: %v, want ErrClosed", kind, err)
			}
		}
		if _, err := readOnly.Size(); !errors.Is(err, ioring.ErrClosed) {
			t.Errorf("Size of a closed file: %v, want ErrClosed", err)
		}
		if err := readOnly.Preallocate(1); !errors.Is(err, ioring.ErrClosed) {
			t.Errorf("Preallocate of a closed file: %v, want ErrClosed", err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		op = &ioring.Op{Kind: ioring.Sync, File: writable}
		if err := do(t, q, op); !errors.Is(err, ioring.ErrClosed) {
			t.Errorf("Submit after Close: %v, want ErrClosed", err)
		}
		if q.TryDirect(op) {
			t.Error("TryDirect ran on a closed queue")
		}
		if err := writable.Close(); err != nil {
			t.Errorf("closing a file after its queue: %v", err)
		}
		if _, err := ioring.OpenFile(q, writable.Path(), ioring.FileFlags{}); rung != ioring.RungThreads && !errors.Is(err, ioring.ErrClosed) {
			t.Errorf("OpenFile on a closed queue: %v, want ErrClosed", err)
		}
	})
}

// TestConcurrent has many callers write and read back regions of their own, in groups of different
// sizes, and counts every completion.
func TestConcurrent(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		const callers, rounds, regionLen = 16, 40, 128 << 10
		a := newArena(t, 16<<20)
		q := open(t, rung, ioring.Options{Arena: a, Depth: 31, Threads: 8}) // Less than there are Ops.
		files := []*ioring.File{create(t, q, ioring.FileFlags{Direct: true}), create(t, q, ioring.FileFlags{})}
		var submitted, completed atomic.Int64
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(1, uint64(caller)))
				buf, err := a.Get(t.Context(), 2*regionLen)
				if err != nil {
					t.Error(err)
					return
				}
				defer buf.Release()
				out, in := buf.Bytes()[:regionLen], buf.Bytes()[regionLen:]
				for round := range rounds {
					f := files[rng.IntN(len(files))]
					fill(out, rng.Uint64())
					for _, step := range []struct {
						kind ioring.Kind
						b    []byte
					}{{ioring.Write + ioring.Kind(round%2), out}, {ioring.Read, in}} {
						var ops []*ioring.Op
						for at := 0; at < regionLen; {
							n := min((1+rng.IntN(12))*4096, regionLen-at)
							ops = append(ops, &ioring.Op{
								Kind: step.kind, File: f, Off: int64(caller*regionLen + at),
								Bufs: split(step.b[at:at+n], 1+rng.IntN(3), 4096),
							})
							at += n
						}
						g := ioring.NewGroup(len(ops))
						for _, op := range ops {
							op.Complete = func(op *ioring.Op) {
								completed.Add(1)
								g.Done(op)
							}
						}
						submitted.Add(int64(len(ops)))
						if len(ops) != 1 || !q.TryDirect(ops[0]) {
							q.Submit(ops...)
						}
						if err := g.Wait(t.Context()); err != nil {
							t.Error(err)
							return
						}
					}
					if !bytes.Equal(in, out) {
						t.Errorf("caller %d, round %d: read differs from what was written", caller, round)
						return
					}
				}
			})
		}
		wg.Wait()
		if submitted.Load() != completed.Load() {
			t.Errorf("%d operations submitted, %d completed", submitted.Load(), completed.Load())
		}
		stats := q.Stats()
		if got := stats.Reads + stats.Writes; got < uint64(submitted.Load()) || stats.Errors != 0 {
			t.Errorf("%d operations submitted, Stats %+v", submitted.Load(), stats)
		}
		if stats.MaxDepth == 0 || stats.MaxDepth > 31 {
			t.Errorf("MaxDepth = %d, want 1..31", stats.MaxDepth)
		}
	})
}

func TestStats(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		a := newArena(t, 4<<20)
		q := open(t, rung, ioring.Options{Arena: a})
		f := create(t, q, ioring.FileFlags{})
		buf := get(t, a, 64<<10)
		defer buf.Release()
		before := q.Stats()
		var ops []*ioring.Op
		for i := range 6 {
			ops = append(ops, &ioring.Op{Kind: ioring.Write, File: f, Off: int64(i) << 16, Bufs: [][]byte{buf.Bytes()}})
		}
		if err := do(t, q, ops...); err != nil {
			t.Fatal(err)
		}
		direct := &ioring.Op{Kind: ioring.Read, File: f, Bufs: [][]byte{buf.Bytes()[:4096]}}
		completed := false
		direct.Complete = func(op *ioring.Op) { completed = op == direct }
		if !q.TryDirect(direct) || !completed || direct.Err != nil || direct.N != 4096 {
			t.Errorf("TryDirect on an idle queue: completed %t, %d bytes, %v", completed, direct.N, direct.Err)
		}
		if err := ioring.Do(t.Context(), q, &ioring.Op{Kind: ioring.Sync, File: f}); err != nil {
			t.Error(err)
		}
		after := q.Stats()
		if after.Writes-before.Writes != 6 || after.WriteBytes-before.WriteBytes != 6<<16 ||
			after.Reads-before.Reads != 1 || after.ReadBytes-before.ReadBytes != 4096 ||
			after.Syncs-before.Syncs != 1 || after.DirectOps-before.DirectOps != 2 {
			t.Errorf("6 writes of 64 KiB, 1 direct read of 4 KiB, 1 direct sync: Stats went from %+v to %+v", before, after)
		}
		if wakes := after.Wakes - before.Wakes; wakes > 1 {
			t.Errorf("a group of 6 took %d wake-ups, want at most 1", wakes)
		}
	})
}

// TestManyFiles opens more files than the ring's table holds and closes and opens some again, so that
// places are taken over by other files.
func TestManyFiles(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		a := newArena(t, 4<<20)
		q := open(t, rung, ioring.Options{Arena: a, Files: 8})
		dir := t.TempDir()
		openFile := func(i int) *ioring.File {
			f, err := ioring.OpenFile(q, filepath.Join(dir, fmt.Sprint(i)), ioring.FileFlags{Write: true, Create: true})
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		buf := get(t, a, 4096)
		defer buf.Release()
		transfer := func(kind ioring.Kind, f *ioring.File) {
			if err := do(t, q, &ioring.Op{Kind: kind, File: f, Bufs: [][]byte{buf.Bytes()}}); err != nil {
				t.Fatal(err)
			}
		}
		const count = 24
		var files [count]*ioring.File
		for i := range files {
			files[i] = openFile(i)
			copy(buf.Bytes(), fmt.Sprintf("file %2d", i))
			transfer(ioring.Write, files[i])
		}
		for round := range 3 {
			for i := round; i < count; i += 3 {
				if err := files[i].Close(); err != nil {
					t.Fatal(err)
				}
			}
			for i := count - 1; i >= 0; i-- { // Opened in another order than closed.
				if i%3 == round {
					files[i] = openFile(i)
				}
			}
			for i, f := range files {
				transfer(ioring.Read, f)
				if got, want := string(buf.Bytes()[:7]), fmt.Sprintf("file %2d", i); got != want {
					t.Fatalf("round %d: file %d holds %q, want %q", round, i, got, want)
				}
			}
		}
		for _, f := range files {
			f.Close()
		}
	})
}

// Closing a queue fails what has not begun, and returns when the rest is back.
func TestCloseUnderLoad(t *testing.T) {
	onEachRung(t, func(t *testing.T, rung ioring.Rung) {
		a := newArena(t, 4<<20)
		q := open(t, rung, ioring.Options{Arena: a, Depth: 7, Threads: 3, MaxPending: 20})
		f := create(t, q, ioring.FileFlags{})
		buf := get(t, a, 4096)
		defer buf.Release()
		started := make(chan struct{})
		var once sync.Once
		var submitted, completed atomic.Int64
		var wg sync.WaitGroup
		for caller := range 8 {
			wg.Go(func() {
				for {
					g := ioring.NewGroup(5)
					var ops []*ioring.Op
					for i := range 5 {
						ops = append(ops, &ioring.Op{
							Kind: ioring.Write, File: f, Off: int64(caller*5+i) * 4096, Bufs: [][]byte{buf.Bytes()},
							Complete: func(op *ioring.Op) { completed.Add(1); g.Done(op) },
						})
					}
					submitted.Add(5)
					q.Submit(ops...)
					err := g.Wait(t.Context())
					once.Do(func() { close(started) })
					if errors.Is(err, ioring.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		<-started
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if submitted.Load() != completed.Load() {
			t.Errorf("%d operations submitted, %d completed", submitted.Load(), completed.Load())
		}
	})
}

func TestGroup(t *testing.T) {
	if err := ioring.NewGroup(0).Wait(t.Context()); err != nil {
		t.Errorf("Wait for nothing = %v", err)
	}
	g := ioring.NewGroup(2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a cancelled context = %v", err)
	}
	first := errors.New("first")
	op := &ioring.Op{Err: first}
	g.Done(op)
	op.Err = errors.New("second")
	select {
	case <-g.All():
		t.Error("All is closed after one of two")
	default:
	}
	g.Done(op)
	if err := g.Wait(ctx); err != first {
		t.Errorf("Wait = %v, want the error of the first, whatever the context", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a third Done of two did not panic")
		}
	}()
	g.Done(op)
}

func TestOptions(t *testing.T) {
	for _, opts := range []ioring.Options{
		{Depth: -1}, {Depth: 1 << 20}, {Threads: -5}, {Files: 1 << 20}, {MaxPending: -1},
		{Force: "steps"}, {Force: ioring.RungRing}, // The last without an arena.
	} {
		if q, err := ioring.Open(opts); err == nil {
			q.Close()
			t.Errorf("Open(%+v) succeeded", opts)
		}
	}
	cpus, err := numa.ThreadAffinity()
	if err != nil {
		t.Fatal(err)
	}
	for _, force := range []ioring.Rung{"", ioring.RungPlain} {
		q, err := ioring.Open(ioring.Options{Force: force, CPUs: cpus[:1], CloseTimeout: time.Minute})
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			t.Skipf("no io_uring here: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if err := q.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
	if q, err := ioring.Open(ioring.Options{Force: ioring.RungPlain, CPUs: []int{60000}}); err == nil {
		q.Close()
		t.Error("Open on a CPU that is not there succeeded")
	}
}
