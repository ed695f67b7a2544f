//go:build linux

package ioring

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The methods in this file run on the loop's goroutine alone.

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
