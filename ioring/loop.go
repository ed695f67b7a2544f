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

// run is the loop. Each round takes in all there is before it enters the kernel once.
func (q *ringQueue) run() {
	for {
		q.runErrands()
		q.takeSubmitted()
		q.startAll()
		q.deliver()
		// Look for work once more after saying that we sleep: who brings some looks at asleep after.
		q.asleep.Store(true)
		wait := !q.hasWork()
		if wait && q.finished() {
			return
		}
		if !wait {
			q.asleep.Store(false)
		}
		err := q.kernel.enter(wait)
		q.asleep.Store(false)
		if reaped := q.reap(); err != nil && reaped == 0 {
			q.backOff()
		} else {
			q.stuck = 0
		}
		q.deliver()
	}
}

// hasWork says whether the next round will find something that is not in the kernel.
func (q *ringQueue) hasWork() bool {
	return q.submitted.Load() != nil || q.hasErrands.Load()
}

// finished says whether the queue is closed and everything is back. Someone who enters the gate after
// this has read pending sees it shut.
func (q *ringQueue) finished() bool {
	return q.common.gate.shut.Load() && q.common.gate.pending.Load() == 0
}

// backOff waits before a busy kernel is asked again: it gave no completion that we could have waited for.
func (q *ringQueue) backOff() {
	q.stuck = min(q.stuck+1, 10)
	time.Sleep(time.Microsecond << q.stuck)
}

func (q *ringQueue) runErrands() {
	if !q.hasErrands.Load() {
		return
	}
	q.mu.Lock()
	errands := q.errands
	q.errands = nil
	q.hasErrands.Store(false)
	q.mu.Unlock()
	for _, errand := range errands {
		errand()
	}
}

// takeSubmitted moves what was submitted to the scheduler, oldest first.
func (q *ringQueue) takeSubmitted() {
	var oldest *Op
	for op := q.submitted.Swap(nil); op != nil; {
		below := op.next
		op.next = oldest
		oldest, op = op, below
	}
	shut := q.common.gate.shut.Load()
	for op := oldest; op != nil; {
		above := op.next
		if shut {
			op.fail(ErrClosed)
		}
		if op.Err != nil {
			q.comeBack(op)
		} else {
			q.scheduler.add(op)
		}
		op = above
	}
}

// startAll begins every Op that may begin.
func (q *ringQueue) startAll() {
	if q.common.gate.shut.Load() {
		q.failWaiting(q.common.allDevices(), nil)
		return
	}
	for op := q.scheduler.next(); op != nil; op = q.scheduler.next() {
		i := q.freeSlots[len(q.freeSlots)-1]
		q.freeSlots = q.freeSlots[:len(q.freeSlots)-1]
		q.slots[i].op = op
		q.pin(&q.slots[i])
		q.issue(i)
	}
	q.counters.deepest(q.scheduler.running)
}

// pin fixes memory of the Go heap in place while its address is with the kernel. Today's collector does
// not move anything, but it is free to. Memory outside the heap passes untouched; most of it is the
// arena's and is not even looked at.
func (q *ringQueue) pin(s *slot) {
	for _, piece := range s.op.Bufs {
		if len(piece) > 0 && !q.pool.contains(piece) {
			s.pinner.Pin(unsafe.SliceData(piece))
			s.pinned = true
		}
	}
}

// issue submits what is left of the Op in slot i.
func (q *ringQueue) issue(i uint32) {
	s := &q.slots[i]
	s.generation++
	e := q.entry(s.op, &q.vectors[i])
	e.userData = uint64(s.generation)<<32 | uint64(i)
	q.kernel.push(&e)
}

// entry writes every field of the submission, if only by leaving it zero.
func (q *ringQueue) entry(op *Op, vecs *[MaxVecs]iovec) sqe {
	e := sqe{fd: int32(op.File.fd)}
	if op.File.slot >= 0 {
		e.fd, e.flags = op.File.slot, sqeFixedFile
	}
	if op.Kind == Sync || op.syncing {
		e.opcode, e.opFlags = opFsync, fsyncDatasync
		return e
	}
	e.off = uint64(op.Off) + uint64(op.N)
	if op.Kind == WriteDurable && op.File.direct {
		e.opFlags = unix.RWF_DSYNC
	}
	count := vectors(vecs, op.Bufs, op.N)
	if count > 1 {
		e.opcode = pick(op.Kind, opReadv, opWritev)
		e.addr, e.len = uint64(uintptr(unsafe.Pointer(vecs))), uint32(count)
		return e
	}
	// What is cut off here comes back as a short transfer and is continued.
	const longest = 1 << 30
	e.addr, e.len = uint64(vecs[0].base), uint32(min(vecs[0].len, longest))
	e.opcode = pick(op.Kind, opRead, opWrite)
	if index, ok := q.arena.registeredIndex(vecs[0].base, uint64(e.len)); ok {
		e.opcode, e.bufIndex = pick(op.Kind, opReadFixed, opWriteFixed), index
	}
	return e
}

func pick(kind Kind, read, write uint8) uint8 {
	if kind == Read {
		return read
	}
	return write
}

// reap takes in all completions and returns how many there were.
func (q *ringQueue) reap() (count int) {
	for {
		c, ok := q.kernel.pop()
		if !ok {
			return count
		}
		count++
		i := uint32(c.userData)
		if int(i) >= len(q.slots) || q.slots[i].op == nil || q.slots[i].generation != uint32(c.userData>>32) {
			panic(fmt.Sprintf("ioring: completion %#x of an operation that is not with the kernel", c.userData))
		}
		q.complete(i, c.res)
	}
}

func (q *ringQueue) complete(i uint32, result int32) {
	s := &q.slots[i]
	op := s.op
	n, errno := int(result), unix.Errno(0)
	if result < 0 {
		n, errno = 0, unix.Errno(-result)
	}
	if op.step(n, errno) {
		q.issue(i)
		return
	}
	if s.pinned {
		s.pinner.Unpin()
		s.pinned = false
	}
	s.op = nil
	q.freeSlots = append(q.freeSlots, i)
	q.scheduler.done(op.File.device)
	q.comeBack(op)
}

// comeBack has op delivered at the end of the round.
func (q *ringQueue) comeBack(op *Op) {
	q.back.push(op)
	q.backCount++
}

// deliver gives the Ops that have come back to their callers, all with the one look at the clock.
func (q *ringQueue) deliver() {
	if q.backCount == 0 {
		return
	}
	now := Now()
	// Counted out before their callers run: one of them, going on at once, should find the queue idle.
	q.common.gate.leave(q.backCount)
	q.backCount = 0
	for op := q.back.pop(); op != nil; op = q.back.pop() {
		finish(q, op, now)
	}
}

// register gives f a place in the file table, if there is one.
func (q *ringQueue) register(f *File) error {
	if len(q.freeFiles) == 0 {
		return nil
	}
	place := q.freeFiles[len(q.freeFiles)-1]
	if err := q.kernel.setFile(place, f.fd); err != nil {
		return err
	}
	q.freeFiles = q.freeFiles[:len(q.freeFiles)-1]
	f.slot = place
	return nil
}

// unregister takes f out of the table. The kernel keeps the file for what it has begun.
func (q *ringQueue) unregister(f *File) {
	if f.slot < 0 || q.ringEnded() {
		return
	}
	if err := q.kernel.setFile(f.slot, -1); err != nil {
		return // The place is lost, and holds the file open until the ring is closed.
	}
	q.freeFiles = append(q.freeFiles, f.slot)
	f.slot = -1
}

// ringEnded says that the errands run now are the last, after which the ring is closed.
func (q *ringQueue) ringEnded() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}
