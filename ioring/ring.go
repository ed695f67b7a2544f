//go:build linux

package ioring

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"penstock/numa"
)

// ringQueue is the Queue on a ring. One goroutine, locked to one thread, owns the ring and all that
// stands under "owned by the loop"; everyone else pushes onto a list and goes on.
//
//	Submit ──push──▶ submitted ──▶ scheduler ──▶ slot, SQE ──▶ kernel
//	                                                             │
//	Complete ◀───────────────────── slot freed ◀──── CQE ◀───────┘
type ringQueue struct {
	common core

	// submitted is a stack of Ops that the loop takes whole. With pushes at one end and one swap at the
	// other there is no ABA, and at 64 callers it costs less than a lock that the loop would hold up.
	submitted atomic.Pointer[Op]

	// asleep is set while the loop waits in the kernel. Who resets it has to wake the loop.
	asleep atomic.Bool

	mu      sync.Mutex // Guards the fields below.
	errands []func()   // To be run by the loop.
	ended   bool       // No loop any more.

	hasErrands atomic.Bool
	gone       chan struct{} // Closed when the loop has ended.

	// Owned by the loop.

	kernel    kernel
	counters  *counters
	arena     *Arena // Nil unless it is registered.
	pool      *Arena // Memory that needs no pinning; may be nil.
	scheduler scheduler
	slots     []slot
	freeSlots []uint32
	vectors   [][MaxVecs]iovec // One array for each slot, outside the Go heap.
	memory    []byte           // What vectors and the alarm's counter are in.
	freeFiles []int32          // Free places in the table of registered files.
	back      opList           // Ops that have come back in this round.
	backCount int
	stuck     int // Rounds in which the kernel was busy, one after the other.
	tid       int // The loop's thread; set before the first Submit.
}

// slot is an Op's place while it is with the kernel. It keeps the Op, and through it the memory, from
// the garbage collector until the completion, whoever else has forgotten them.
type slot struct {
	op         *Op
	generation uint32 // Counts the uses of the slot, so that a completion of an earlier one is noticed.
	pinned     bool
	pinner     runtime.Pinner
}

// openKernel makes the ring. It runs on the loop's thread, because a ring with a single issuer belongs to
// the thread that made it.
type openKernel func(entries int, alarmCount *uint64, counters *counters) (kernel, error)

func openRingQueue(rung Rung, opts Options, open openKernel) (*ringQueue, error) {
	q := &ringQueue{gone: make(chan struct{})}
	q.common.init(opts, rung)
	ready := make(chan error)
	go q.own(open, ready)
	if err := <-ready; err != nil {
		<-q.gone
		return nil, err
	}
	return q, nil
}

// own is the life of the loop's goroutine.
func (q *ringQueue) own(open openKernel, ready chan<- error) {
	defer close(q.gone)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cpus := q.common.opts.CPUs; len(cpus) > 0 {
		restore, err := numa.PinThread(cpus)
		if err != nil {
			ready <- err
			return
		}
		defer restore() // If it cannot be, the thread stays slow, not wrong.
	}
	if err := q.prepare(open); err != nil {
		ready <- err
		return
	}
	ready <- nil
	q.run()
	q.tearDown()
}

func (q *ringQueue) prepare(open openKernel) error {
	depth := q.common.opts.Depth
	entries := 1
	for entries < depth+1 { // The alarm takes one.
		entries *= 2
	}
	const vectorsLen = int(unsafe.Sizeof([MaxVecs]iovec{}))
	memory, err := mapAnonymous((depth*vectorsLen+BlockSize)&^(BlockSize-1), BlockSize, 0) // At least 8 bytes over.
	if err != nil {
		return err
	}
	alarmCount := (*uint64)(unsafe.Pointer(&memory[depth*vectorsLen]))
	q.counters = &q.common.counters
	kernel, err := open(entries, alarmCount, q.counters)
	if err != nil {
		unmap(memory)
		return err
	}
	q.kernel, q.memory = kernel, memory
	q.pool = q.common.opts.Arena
	if kernel.features().buffers {
		q.arena = q.pool
	}
	q.scheduler = newScheduler(depth)
	q.slots = make([]slot, depth)
	q.vectors = unsafe.Slice((*[MaxVecs]iovec)(unsafe.Pointer(&memory[0])), depth)
	for i := depth - 1; i >= 0; i-- {
		q.freeSlots = append(q.freeSlots, uint32(i)) // Taken from the end: the few in use stay in cache.
	}
	for i := kernel.features().files - 1; i >= 0; i-- {
		q.freeFiles = append(q.freeFiles, int32(i))
	}
	q.tid = unix.Gettid()
	return nil
}

func (q *ringQueue) tearDown() {
	q.mu.Lock()
	q.ended = true
	errands := q.errands
	q.errands = nil
	q.mu.Unlock()
	for _, errand := range errands {
		errand()
	}
	q.kernel.close()
	unmap(q.memory)
}

func (q *ringQueue) core() *core  { return &q.common }
func (q *ringQueue) Rung() Rung   { return q.common.Rung() }
func (q *ringQueue) Stats() Stats { return q.common.Stats() }

func (q *ringQueue) Submit(ops ...*Op) {
	if len(ops) == 0 {
		return
	}
	if !q.common.gate.enter(len(ops)) {
		q.rouse() // The gate counted us for a moment, and the loop may have seen that.
		refuse(q, ops)
		return
	}
	if invariants && unix.Gettid() == q.tid { // The loop lives, and so its thread is no one else's.
		panic("ioring: Submit from Complete, which must not block")
	}
	beginAll(q, ops)
	// The stack is taken from its top, so the group goes in with its last Op uppermost.
	first, last := ops[0], ops[len(ops)-1]
	for i := len(ops) - 1; i > 0; i-- {
		ops[i].next = ops[i-1]
	}
	for {
		top := q.submitted.Load()
		first.next = top
		if q.submitted.CompareAndSwap(top, last) {
			break
		}
	}
	q.rouse()
}

// rouse makes the loop look around soon.
func (q *ringQueue) rouse() {
	if q.asleep.Load() && q.asleep.CompareAndSwap(true, false) {
		q.common.counters.wakes.Add(1)
		q.kernel.wake()
	}
}

func (q *ringQueue) TryDirect(op *Op) bool {
	runs := q.common.gate.enterDirect()
	if runs {
		direct(q, op)
	}
	if q.common.gate.shut.Load() {
		q.rouse() // The loop may have seen us counted, and waits for us to go.
	}
	return runs
}

func (q *ringQueue) Close() error {
	q.common.gate.close()
	q.rouse()
	return awaitEnd(&q.common, q.gone)
}

// awaitEnd is the end of Close.
func awaitEnd(c *core, gone <-chan struct{}) error {
	timeout := time.NewTimer(c.opts.CloseTimeout)
	defer timeout.Stop()
	select {
	case <-gone:
		return nil
	case <-timeout.C:
		return fmt.Errorf("ioring: close: %d %w after %v", c.gate.pending.Load(), ErrHung, c.opts.CloseTimeout)
	}
}

// errand has the loop run f. It reports false, having done nothing, when there is no loop any more.
func (q *ringQueue) errand(f func()) bool {
	q.mu.Lock()
	if q.ended {
		q.mu.Unlock()
		return false
	}
	q.errands = append(q.errands, f)
	q.hasErrands.Store(true)
	q.mu.Unlock()
	q.rouse()
	return true
}

func (q *ringQueue) attach(f *File) error {
	result := make(chan error, 1)
	if !q.errand(func() { result <- q.register(f) }) {
		return ErrClosed
	}
	return <-result
}

func (q *ringQueue) detach(f *File) {
	q.errand(func() { q.failWaiting([]*device{f.device}, f) })
}

// failWaiting brings back the Ops of f, or of any file if f is nil, that wait for their turn.
func (q *ringQueue) failWaiting(devices []*device, f *File) {
	removed := q.scheduler.remove(devices, f)
	for op := removed.pop(); op != nil; op = removed.pop() {
		op.fail(ErrClosed)
		q.comeBack(op)
	}
}

func (q *ringQueue) dispose(f *File) {
	leave := func() {
		q.unregister(f)
		f.closeDescriptor()
	}
	if !q.errand(leave) {
		f.closeDescriptor()
	}
}
