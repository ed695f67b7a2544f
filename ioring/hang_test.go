//go:build linux

package ioring

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hanger is a queue with one file whose Ops hang until they are let go, on a device of its own, and one
// whose Ops do not.
type hanger struct {
	q      Queue
	hung   *File
	sound  *File
	letGo  func()
	places int  // Of the queue.
	ended  bool // The queue's goroutines end once the Ops are let go, and gone is closed.
	gone   <-chan struct{}
}

func hangers(t *testing.T) map[string]func(t *testing.T) *hanger {
	// Long enough for a queue with nothing to do to end, short enough to wait for one that hangs.
	opts := must(Options{Depth: 7, Threads: 7, CloseTimeout: 50 * time.Millisecond}.withDefaults())
	onDevice := func(f *File, number uint64) *File {
		f.device = f.queue.core().device(number)
		return f
	}
	return map[string]func(t *testing.T) *hanger{
		"fake": func(t *testing.T) *hanger {
			k := &fakeKernel{}
			var hungFD atomic.Int32
			k.fault = func(_ int, e *sqe) fault { return fault{hang: e.fd == hungFD.Load()} }
			q := newFakeQueue(t, k, opts)
			h := &hanger{q: q, hung: onDevice(fakeOpen(t, q, false), 1<<40), sound: fakeOpen(t, q, false), gone: q.gone}
			hungFD.Store(int32(h.hung.fd))
			h.letGo = func() { k.letGo.Store(true); k.wake() }
			return h
		},
		"threads": func(t *testing.T) *hanger {
			q := openThreadsQueue(opts)
			h := &hanger{q: q, hung: onDevice(fakeOpen(t, q, false), 1<<40), sound: fakeOpen(t, q, false), gone: q.gone}
			gate := make(chan struct{})
			q.perform = func(op *Op) {
				if op.File == h.hung {
					<-gate
				}
				op.perform()
			}
			h.letGo = func() { close(gate) }
			return h
		},
		// A read from an empty pipe is a real operation that the kernel keeps for as long as we like.
		"ring": func(t *testing.T) *hanger {
			opts := opts
			opts.Force = RungNoFixed
			opened, err := Open(opts)
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
				t.Skipf("this machine refuses io_uring: %v", err)
			}
			q := must(opened, err).(*ringQueue)
			var pipe [2]int
			if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			h := &hanger{q: q, hung: onDevice(must(newFile(q, "pipe", pipe[0], false)), 1<<40), sound: fakeOpen(t, q, false), gone: q.gone}
			h.letGo = func() { unix.Close(pipe[1]) } // The end of the file.
			return h
		},
	}
}

// read makes an Op that reads one page of its own.
func (h *hanger) read(f *File) *Op {
	return &Op{Kind: Read, File: f, Bufs: [][]byte{make([]byte, 512)}}
}

// TestHungDevice has more Ops hang than a device has places. Others must go on; closing the file must
// fail what has not begun; closing the queue must not wait for ever; and what comes back in the end must
// come back once.
func TestHungDevice(t *testing.T) {
	for name, open := range hangers(t) {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			const count, begun = 10, 3 // Half of seven places, rounded down.
			var ops []*Op
			var back [count]atomic.Int32
			returned := make(chan *Op, count)
			for i := range count {
				op := h.read(h.hung)
				op.Complete = func(op *Op) { back[i].Add(1); returned <- op }
				ops = append(ops, op)
			}
			h.q.Submit(ops...)
			for range 20 {
				if err := submitAndWait(t, h.q, h.read(h.sound), h.read(h.sound), h.read(h.sound), h.read(h.sound)); err != nil {
					t.Fatalf("an operation on another device: %v", err)
				}
			}
			if h.q.TryDirect(h.read(h.sound)) {
				t.Error("TryDirect ran while operations were under way")
			}

			if err := h.hung.Close(); err != nil {
				t.Fatal(err)
			}
			var failed []*Op
			for range count - begun {
				op := <-returned
				if !errors.Is(op.Err, ErrClosed) {
					t.Errorf("an operation that had not begun when its file was closed: %v, want ErrClosed", op.Err)
				}
				failed = append(failed, op)
			}
			for i, op := range ops[:begun] {
				if slices.Contains(failed, op) {
					t.Errorf("operation %d was with the kernel and has come back", i)
				}
			}
			if _, err := unix.FcntlInt(uintptr(h.hung.fd), unix.F_GETFD, 0); err != nil {
				t.Errorf("the descriptor is closed while operations use it: %v", err)
			}

			err := h.q.Close()
			if !errors.Is(err, ErrHung) {
				t.Errorf("Close of the queue = %v, want ErrHung", err)
			}
			h.letGo()
			for range begun {
				<-returned
			}
			<-h.gone
			for i := range back {
				if n := back[i].Load(); n != 1 {
					t.Errorf("operation %d was completed %d times", i, n)
				}
			}
			select {
			case <-h.hung.gone:
			default:
				t.Error("the descriptor was not closed with its last operation")
			}
			if err := h.sound.Close(); err != nil {
				t.Errorf("closing a file after its queue: %v", err)
			}
		})
	}
}

// TestFailWaiting: what a hung drive has not begun can be failed while its file stays open, and makes room in a full queue.
func TestFailWaiting(t *testing.T) {
	for name, open := range hangers(t) {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			const count, begun = 10, 3
			returned := make(chan *Op, count+1)
			var ops []*Op
			for range count {
				op := h.read(h.hung)
				op.Complete = func(op *Op) { returned <- op }
				ops = append(ops, op)
			}
			h.q.Submit(ops...)
			for range 20 { // Meanwhile those that may have begun.
				if err := submitAndWait(t, h.q, h.read(h.sound), h.read(h.sound), h.read(h.sound), h.read(h.sound)); err != nil {
					t.Fatal(err)
				}
			}
			h.hung.FailWaiting()
			for range count - begun {
				if op := <-returned; !errors.Is(op.Err, ErrClosed) {
					t.Errorf("an operation that had not begun: %v, want ErrClosed", op.Err)
				}
			}
			again := h.read(h.hung)
			again.Complete = func(op *Op) { returned <- op }
			h.q.Submit(again)
			h.letGo()
			for range begun + 1 {
				if op := <-returned; errors.Is(op.Err, ErrClosed) {
					t.Errorf("an operation of an open file: %v", op.Err)
				}
			}
			if err := errors.Join(h.hung.Close(), h.sound.Close(), h.q.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Submit waits at the limit of pending Ops, and goes on when there is room or the queue is closed.
func TestSubmitWaitsAtLimit(t *testing.T) {
	inKernel := make(chan struct{}, 16)
	k := &fakeKernel{fault: func(int, *sqe) fault {
		inKernel <- struct{}{}
		return fault{hang: true}
	}}
	q := newFakeQueue(t, k, Options{MaxPending: 2})
	f := fakeOpen(t, q, false)
	defer f.Close()
	var first, second Op
	done := make(chan *Op, 4)
	for _, op := range []*Op{&first, &second} {
		op.Kind, op.File, op.Complete = Sync, f, func(op *Op) { done <- op }
	}
	q.Submit(&first, &Op{Kind: Sync, File: f})
	began := make(chan struct{})
	go func() {
		close(began)
		q.Submit(&second)
	}()
	<-began
	k.letGo.Store(true)
	k.wake()
	if op := <-done; op != &first {
		t.Fatal("the second operation came back before there was room for it")
	}
	if op := <-done; op.Started < first.Finished {
		t.Errorf("the second operation was taken at %v, though the first was pending until %v", op.Started, first.Finished)
	}

	for len(inKernel) > 0 {
		<-inKernel
	}
	k.letGo.Store(false)
	q.Submit(&first, &Op{Kind: Sync, File: f})
	<-inKernel
	<-inKernel // Both have begun, so Close will wait for them.
	go q.Submit(&second)
	closed := make(chan error)
	go func() { closed <- q.Close() }()
	if op := <-done; op != &second || !errors.Is(op.Err, ErrClosed) {
		t.Errorf("Submit at the limit of a queue that closes: %v, want ErrClosed", op.Err)
	}
	k.letGo.Store(true)
	k.wake()
	<-done
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
