//go:build linux

package ioring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fakeKernel is a ring whose operations work on memory and go wrong as told. It finds the memory of an
// operation the way the kernel does, by address, and reads and writes it only at completion, the latest
// moment allowed; so memory that was reused too early is found by what is in it.
type fakeKernel struct {
	files map[int32]*fakeFile // By descriptor or place in the table.

	// fault decides how the n-th submission goes. Nil lets all go well.
	fault func(n int, e *sqe) fault
	order *rand.Rand // Completions are taken in random order; nil takes them first in, first out.

	submitted int
	pushed    []sqe
	inside    []sqe // With the kernel.
	done      []cqe
	room      int // Completions that fit into the ring; the rest overflow.
	overflow  []cqe
	busy      int // Enters that refuse.
	table     int // Length of the file table.

	bell chan struct{}

	held  []sqe       // Operations that hang.
	letGo atomic.Bool // Nothing hangs any more; wake tells the fake to look.
}

type fakeFile struct{ data []byte }

// fault is what happens to a submission.
type fault struct {
	err  unix.Errno // Complete with this, having done nothing.
	most int        // Move at most so many bytes; 0 is no limit.
	hang bool
}

func (k *fakeKernel) push(e *sqe)        { k.pushed = append(k.pushed, *e) }
func (k *fakeKernel) features() features { return features{files: k.table} }
func (k *fakeKernel) close()             {}

func (k *fakeKernel) setFile(place int32, fd int) error {
	if fd < 0 {
		delete(k.files, place)
		return nil
	}
	k.files[place] = &fakeFile{}
	return nil
}

func (k *fakeKernel) wake() {
	select {
	case k.bell <- struct{}{}:
	default:
	}
}

func (k *fakeKernel) enter(wait bool) error {
	if k.busy > 0 {
		k.busy--
		return errBusy
	}
	k.inside = append(k.inside, k.pushed...)
	k.pushed = nil
	if k.order != nil {
		k.order.Shuffle(len(k.inside), func(i, j int) { k.inside[i], k.inside[j] = k.inside[j], k.inside[i] })
		// Some stay inside for the next time, as long as there is one to complete.
		k.finish(1 + k.order.IntN(len(k.inside)+1))
	} else {
		k.finish(len(k.inside))
	}
	if k.letGo.Load() {
		k.inside, k.held = append(k.inside, k.held...), nil
		k.finish(len(k.inside))
	}
	if wait && len(k.done) == 0 && len(k.inside) == 0 {
		<-k.bell
	}
	return nil
}

// finish completes up to n operations.
func (k *fakeKernel) finish(n int) {
	for ; n > 0 && len(k.inside) > 0; n-- {
		e := k.inside[0]
		k.inside = k.inside[1:]
		c, ok := k.carryOut(&e)
		switch {
		case !ok:
			k.held = append(k.held, e)
		case k.room > 0 && len(k.done) >= k.room:
			k.overflow = append(k.overflow, c)
		default:
			k.done = append(k.done, c)
		}
	}
}

func (k *fakeKernel) pop() (cqe, bool) {
	if len(k.done) == 0 {
		k.done, k.overflow = k.overflow, nil // What a real ring does when it is entered again.
	}
	if len(k.done) == 0 {
		return cqe{}, false
	}
	c := k.done[0]
	k.done = k.done[1:]
	return c, true
}

func (k *fakeKernel) carryOut(e *sqe) (cqe, bool) {
	var how fault
	if k.fault != nil {
		how = k.fault(k.submitted, e)
	}
	k.submitted++
	if how.hang && !k.letGo.Load() {
		return cqe{}, false
	}
	c := cqe{userData: e.userData}
	if how.err != 0 {
		c.res = -int32(how.err)
		return c, true
	}
	file := k.files[e.fd]
	if file == nil {
		file = &fakeFile{}
		k.files[e.fd] = file
	}
	if e.opcode == opFsync {
		return c, true
	}
	at := int(e.off)
	for _, memory := range e.memory() {
		if how.most > 0 {
			memory = memory[:min(len(memory), how.most-int(c.res))]
		}
		if e.opcode == opRead || e.opcode == opReadv {
			c.res += int32(copy(memory, file.data[min(at, len(file.data)):]))
		} else {
			if need := at + len(memory); need > len(file.data) {
				file.data = append(file.data, make([]byte, need-len(file.data))...)
			}
			c.res += int32(copy(file.data[at:], memory))
		}
		at += len(memory)
	}
	return c, true
}

// memory is what a submission's addresses point at.
func (e *sqe) memory() [][]byte {
	at := func(address uintptr, n uint64) []byte {
		return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&address))), n)
	}
	if e.opcode == opRead || e.opcode == opWrite {
		return [][]byte{at(uintptr(e.addr), uint64(e.len))}
	}
	var out [][]byte
	address := uintptr(e.addr)
	for _, v := range unsafe.Slice((*iovec)(*(*unsafe.Pointer)(unsafe.Pointer(&address))), e.len) {
		out = append(out, at(v.base, v.len))
	}
	return out
}

func newFakeQueue(t *testing.T, k *fakeKernel, opts Options) *ringQueue {
	t.Helper()
	k.files, k.bell = make(map[int32]*fakeFile), make(chan struct{}, 1)
	opts, err := opts.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	q, err := openRingQueue("fake", opts, func(int, *uint64, *counters) (kernel, error) { return k, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// fakeOpen opens a file that only the fake knows, direct or not.
func fakeOpen(t *testing.T, q Queue, direct bool) *File {
	t.Helper()
	fd, err := unix.MemfdCreate("fake", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFile(q, "fake", fd, direct)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func submitAndWait(t *testing.T, q Queue, ops ...*Op) error {
	t.Helper()
	g := NewGroup(len(ops))
	for _, op := range ops {
		op.Complete = g.Done
	}
	q.Submit(ops...)
	return g.Wait(t.Context())
}

func testArena(t *testing.T) *Arena {
	t.Helper()
	a, err := NewArena(ArenaOptions{Size: 4 << 20, Node: -1, NoPrefault: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestFaultAtEachSubmission puts one fault at the n-th submission of a write, a sync and a read of
// several pieces, for every n until a run is over before its fault comes. The transfer must come out
// right, or fail with what the kernel said.
func TestFaultAtEachSubmission(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault fault
		fails bool
	}{
		{"EINTR", fault{err: unix.EINTR}, false},
		{"EAGAIN", fault{err: unix.EAGAIN}, false},
		{"ECANCELED", fault{err: unix.ECANCELED}, false},
		{"one block", fault{most: 4096}, false},
		{"three blocks", fault{most: 3 * 4096}, false},
		{"half a block", fault{most: 2048}, false},
		{"a block and a bit", fault{most: 4097}, false},
		{"EIO", fault{err: unix.EIO}, true},
		{"ENOSPC", fault{err: unix.ENOSPC}, true},
	} {
		for _, direct := range []bool{true, false} {
			for _, kind := range []Kind{Write, WriteDurable} {
				name := fmt.Sprintf("%s/direct=%t/%v", test.name, direct, kind)
				for n := 0; ; n++ {
					if n == 100 {
						t.Fatalf("%s: still submitting after %d", name, n)
					}
					hit, err := roundTripWithFault(t, n, test.fault, direct, kind)
					if !hit {
						if n < 3 {
							t.Errorf("%s: only %d submissions", name, n)
						}
						break
					}
					if test.fails && !errors.Is(err, test.fault.err) {
						t.Errorf("%s at submission %d: %v, want %v", name, n, err, test.fault.err)
					}
					// Half a block looks like the end of the file to a direct read.
					if !test.fails && err != nil && !(direct && errors.Is(err, io.ErrUnexpectedEOF)) {
						t.Errorf("%s at submission %d: %v", name, n, err)
					}
				}
			}
		}
	}
}

func roundTripWithFault(t *testing.T, at int, f fault, direct bool, kind Kind) (hit bool, err error) {
	k := &fakeKernel{}
	k.fault = func(n int, _ *sqe) fault {
		if n != at {
			return fault{}
		}
		hit = true
		return f
	}
	a := testArena(t)
	q := newFakeQueue(t, k, Options{Arena: a, Depth: 4})
	defer func() {
		q.Close() // After this the fake is ours, and hit can be read.
		a.Close()
	}()
	file := fakeOpen(t, q, direct)
	defer file.Close()
	buf := a.TryGet(64 << 10)
	defer buf.Release()
	out, in := buf.Bytes()[:32<<10], buf.Bytes()[32<<10:]
	for i := range out {
		out[i], in[i] = byte(i*7+i>>8), 0
	}
	for _, op := range []*Op{
		{Kind: kind, File: file, Off: 4096, Bufs: [][]byte{out[:4096], out[4096:20480], out[20480:]}},
		{Kind: Sync, File: file},
		{Kind: Read, File: file, Off: 4096, Bufs: [][]byte{in[:8192], in[8192:]}},
	} {
		if err := submitAndWait(t, q, op); err != nil {
			return true, err
		}
		if op.Kind == Read && op.N < len(in) {
			return true, io.ErrUnexpectedEOF
		}
	}
	if !bytes.Equal(in, out) {
		return true, errors.New("what was read is not what was written")
	}
	q.Close()
	return hit, nil
}

// A kernel that never stops asking for another try, or that writes nothing, is given up on.
func TestEndlessFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(n int, e *sqe) fault
		kind  Kind
		want  error
	}{
		{"EAGAIN", func(int, *sqe) fault { return fault{err: unix.EAGAIN} }, Read, unix.EAGAIN},
		{"EINTR", func(int, *sqe) fault { return fault{err: unix.EINTR} }, Sync, unix.EINTR},
		{"torn block", func(int, *sqe) fault { return fault{most: 512} }, Write, io.ErrShortWrite},
	} {
		k := &fakeKernel{fault: test.fault}
		a := testArena(t)
		q := newFakeQueue(t, k, Options{Arena: a})
		file := fakeOpen(t, q, true)
		buf := a.TryGet(8192)
		op := &Op{Kind: test.kind, File: file, Bufs: [][]byte{buf.Bytes()}}
		if err := submitAndWait(t, q, op); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		q.Close()
		if k.submitted > maxRetries+1 {
			t.Errorf("%s: %d submissions for one operation", test.name, k.submitted)
		}
		buf.Release()
	}
}

// A result longer than what was asked for is not believed.
func TestImpossibleResult(t *testing.T) {
	op := &Op{Kind: Read, File: &File{}, total: 4096}
	if op.step(8192, 0) || !errors.Is(op.Err, unix.EIO) {
		t.Errorf("8192 bytes moved of 4096: %v, want EIO", op.Err)
	}
}

// TestStorm has many callers at once on a kernel that reorders completions, overflows its ring, refuses
// enters, and serves one submission in three badly.
func TestStorm(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 5))
		faults := []fault{
			{err: unix.EINTR}, {err: unix.EAGAIN}, {err: unix.ECANCELED},
			{most: 4096}, {most: 1}, {most: 5000}, {most: 8192},
		}
		k := &fakeKernel{
			order: rand.New(rand.NewPCG(seed, 6)), room: 2, busy: 3, table: 2,
			fault: func(n int, _ *sqe) fault {
				if rng.IntN(3) > 0 {
					return fault{}
				}
				return faults[rng.IntN(len(faults))]
			},
		}
		a := testArena(t)
		q := newFakeQueue(t, k, Options{Arena: a, Depth: 5, MaxPending: 12})
		var files []*File
		for range 3 { // One does not fit into the table.
			files = append(files, fakeOpen(t, q, false))
		}
		const callers, regionLen = 6, 96 << 10
		var completed, submitted atomic.Int64
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 100+uint64(caller)))
				buf, err := a.Get(t.Context(), 2*regionLen)
				if err != nil {
					t.Error(err)
					return
				}
				defer buf.Release()
				out, in := buf.Bytes()[:regionLen], buf.Bytes()[regionLen:]
				for range 10 {
					file := files[rng.IntN(len(files))]
					for i := range out {
						out[i] = byte(rng.Uint32())
					}
					for _, kind := range []Kind{Write + Kind(rng.IntN(2)), Read} {
						memory := out
						if kind == Read {
							memory = in
						}
						var ops []*Op
						for at := 0; at < regionLen; {
							n := min(1+rng.IntN(32<<10), regionLen-at)
							cut := at + rng.IntN(n)
							ops = append(ops, &Op{
								Kind: kind, File: file, Off: int64(caller*regionLen + at),
								Bufs: [][]byte{memory[at:cut], memory[cut : at+n]},
							})
							at += n
						}
						g := NewGroup(len(ops))
						for _, op := range ops {
							op.Complete = func(op *Op) { completed.Add(1); g.Done(op) }
						}
						submitted.Add(int64(len(ops)))
						q.Submit(ops...)
						if err := g.Wait(t.Context()); err != nil {
							t.Error(err)
							return
						}
					}
					if !bytes.Equal(in, out) {
						t.Errorf("seed %d, caller %d: read differs from what was written", seed, caller)
						return
					}
				}
			})
		}
		wg.Wait()
		for _, file := range files {
			file.Close()
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if completed.Load() != submitted.Load() {
			t.Errorf("seed %d: %d operations submitted, %d completions", seed, submitted.Load(), completed.Load())
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A completion of something that is not with the kernel means that memory may be written to behind our
// back: there is no way on.
func TestUnknownCompletionPanics(t *testing.T) {
	q := &ringQueue{kernel: &fakeKernel{done: []cqe{{userData: 5 << 32}}}, slots: make([]slot, 1)}
	defer func() {
		if recover() == nil {
			t.Error("a completion out of nowhere did not panic")
		}
	}()
	q.reap()
}

func TestSubmitTwicePanics(t *testing.T) {
	k := &fakeKernel{fault: func(int, *sqe) fault { return fault{hang: true} }}
	q := newFakeQueue(t, k, Options{CloseTimeout: time.Millisecond})
	op := &Op{Kind: Sync, File: fakeOpen(t, q, false)}
	q.Submit(op)
	defer func() {
		if recover() == nil {
			t.Error("submitting an Op that is under way did not panic")
		}
	}()
	q.Submit(op)
}

func TestForeignFilePanics(t *testing.T) {
	mine, other := newFakeQueue(t, &fakeKernel{}, Options{CloseTimeout: time.Millisecond}), newFakeQueue(t, &fakeKernel{}, Options{})
	defer func() {
		if recover() == nil {
			t.Error("submitting an Op to another queue than its file's did not panic")
		}
	}()
	mine.Submit(&Op{Kind: Sync, File: fakeOpen(t, other, false)})
}

// Releasing a Buf that an Op uses would let its next owner's bytes go to the drive.
func TestReleaseWhileLentPanics(t *testing.T) {
	if !invariants {
		t.Skip("the check is on under the tag invariants")
	}
	k := &fakeKernel{fault: func(int, *sqe) fault { return fault{hang: true} }}
	a := testArena(t)
	q := newFakeQueue(t, k, Options{Arena: a, CloseTimeout: time.Millisecond})
	buf := a.TryGet(4096)
	q.Submit(&Op{Kind: Write, File: fakeOpen(t, q, false), Bufs: [][]byte{buf.Bytes()}})
	defer func() {
		if recover() == nil {
			t.Error("Release of a Buf that an operation uses did not panic")
		}
	}()
	buf.Release()
}

func TestWriteAfterReleasePanics(t *testing.T) {
	if !invariants {
		t.Skip("the check is on under the tag invariants")
	}
	a := testArena(t)
	buf := a.TryGet(4096)
	stale := buf.Bytes()
	buf.Release()
	if stale[0] != poisonPage[0] {
		t.Errorf("released memory begins with %#x, want poison", stale[0])
	}
	stale[100] = 1
	defer func() {
		if recover() == nil {
			t.Error("Get of memory that was written to after Release did not panic")
		}
	}()
	a.TryGet(4 << 20)
}

// TestLadder checks the order of the rungs and that a refused one is climbed down from.
func TestLadder(t *testing.T) {
	a := testArena(t)
	defer a.Close()
	for _, test := range []struct {
		opts Options
		want string
	}{
		{Options{Arena: a}, "[ring ring-nofixed ring-plain threads]"},
		{Options{}, "[ring-nofixed ring-plain threads]"},
	} {
		got := ladder(test.opts)
		if fmt.Sprint(got[len(builtRungs()):]) != test.want {
			t.Errorf("ladder = %v, want %s", got, test.want)
		}
	}
}

func TestOpenFileFallsBack(t *testing.T) {
	q := openThreadsQueue(must(Options{Threads: 1}.withDefaults()))
	defer q.Close()
	f, err := OpenFile(q, "/proc/self/comm", FileFlags{Direct: true})
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	defer f.Close()
	if f.Direct() {
		t.Error("a file of proc claims to be direct")
	}
	if err := f.extendWithZeros(1); err == nil {
		t.Error("a file of proc could be extended")
	}
	if _, err := OpenFile(q, "/nowhere/at/all", FileFlags{Direct: true}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("OpenFile of nothing = %v, want ENOENT", err)
	}
	if !readsDirect(f.fd) {
		t.Error("an aligned read of a file of proc failed")
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if readsDirect(pipe[0]) {
		t.Error("a pipe, which has no offsets, takes direct reads")
	}
	path := filepath.Join(t.TempDir(), "f")
	f, err = OpenFile(q, path, FileFlags{Create: true, Exclusive: true, Write: true, Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := OpenFile(q, path, FileFlags{Create: true, Exclusive: true, Write: true, Direct: true}); !errors.Is(err, unix.EEXIST) {
		t.Errorf("exclusive OpenFile of a file that is there = %v, want EEXIST", err)
	}
	for _, size := range []int64{3<<20 + 5, 1 << 20} { // The second is shorter than the file.
		if err := f.extendWithZeros(size); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Size(); err != nil || got != 3<<20+5 {
			t.Errorf("Size() = %d, %v", got, err)
		}
	}
	if err := f.Preallocate(8 << 20); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.Size(); got != 8<<20 {
		t.Errorf("Size() after Preallocate = %d, want 8 MiB", got)
	}
	if err := f.Preallocate(-1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Preallocate(-1) = %v, want EINVAL", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
