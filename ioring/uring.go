//go:build linux

package ioring

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uring is a ring of the kernel's. It belongs to the thread that opened it.
//
// The kernel shares three arrays with us, in two mappings:
//
//	submissions   head (theirs) … tail (ours): indices into entries; index i always names entry i
//	entries       64 bytes each, all of them written every time: the kernel reads fields that an
//	              opcode does not seem to use, and what an earlier operation left there would count
//	completions   head (ours) … tail (theirs): user data and result
//
// Head and tail run freely and are masked on use. Whoever writes the array stores its index with a
// release, and whoever reads loads it with an acquire.
type uring struct {
	fd        int
	registers features

	rings   []byte // Mapping of both rings.
	entries []byte // Mapping of the submission entries.

	sqHead, sqTail, sqFlags *uint32
	sqMask                  uint32
	sqes                    []sqe
	tail                    uint32 // Of submissions, ahead of *sqTail until the next enter.

	cqHead, cqTail *uint32
	cqMask         uint32
	cqes           []cqe

	newFile int32 // Argument of setFile: here because, unlike a variable there, it cannot move.

	alarm    alarm // Wakes a loop that waits in the kernel.
	bell     *bell // Wakes one that waits in the runtime's poller; nil when it does not.
	refusal  error // Of the last glance.
	counters *counters
}

// uringConfig is how a rung sets its ring up.
type uringConfig struct {
	entries int
	flags   uint32
	files   int // Zero registers none.
	arena   *Arena
	workers int     // Bound on the kernel's worker threads.
	count   *uint64 // For the alarm.
	bell    bool    // Wait in the runtime's poller, not in the kernel.
}

// fullFlags is the cheapest way to have completions reported: none until the owner asks, on its thread,
// 15 to 20 % less CPU than the default at 8 and 64 callers.
const fullFlags = setupSubmitAll | setupCoopTaskrun | setupTaskrunFlag | setupSingleIssuer | setupDeferTaskrun

func openUring(c uringConfig, counters *counters) (*uring, error) {
	// Twice the completions that can be outstanding: an overflow cannot happen, only be survived.
	p := setupParams{flags: c.flags | setupClamp | setupCQSize, cqEntries: uint32(2 * c.entries)}
	fd, errno := ioUringSetup(uint32(c.entries), &p)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &uring{fd: fd, counters: counters}
	r.alarm.fd = -1
	if err := r.setUp(c, &p); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *uring) setUp(c uringConfig, p *setupParams) error {
	// One mapping for both rings, no completion ever dropped, and memory of a submission free to be
	// reused once it is submitted: Linux 5.5.
	const needed = featSingleMmap | featNoDrop | featSubmitStable
	if p.features&needed != needed {
		return fmt.Errorf("io_uring lacks features %#x", needed&^p.features)
	}
	if int(p.sqEntries) < c.entries {
		return fmt.Errorf("io_uring gives %d entries of %d", p.sqEntries, c.entries)
	}
	if err := r.mapRings(p); err != nil {
		return err
	}
	if err := r.openWait(c); err != nil {
		return err
	}
	r.limitWorkers(c.workers)
	if c.files > 0 {
		if err := r.registerFiles(c.files); err != nil {
			return err
		}
	}
	if c.arena != nil {
		return r.registerArena(c.arena)
	}
	return nil
}

// openWait prepares for the waiting.
func (r *uring) openWait(c uringConfig) (err error) {
	if !c.bell {
		return os.NewSyscallError("eventfd", r.alarm.open(c.count))
	}
	if r.bell, err = newBell(r.glance); err != nil {
		return err
	}
	if errno := ioUringRegister(r.fd, registerEventfd, unsafe.Pointer(&r.bell.number), 1); errno != 0 {
		return os.NewSyscallError("io_uring_register eventfd", errno)
	}
	return nil
}

func (r *uring) mapRings(p *setupParams) error {
	const mode, share = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	ringsLen := max(p.sq.array+4*p.sqEntries, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	var err error
	if r.rings, err = unix.Mmap(r.fd, offSQRing, int(ringsLen), mode, share); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), mode, share); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }
	r.sqHead, r.sqTail, r.sqFlags = word(p.sq.head), word(p.sq.tail), word(p.sq.flags)
	r.sqMask = *word(p.sq.ringMask)
	r.cqHead, r.cqTail = word(p.cq.head), word(p.cq.tail)
	r.cqMask = *word(p.cq.ringMask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.entries[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.rings[p.cq.cqes])), p.cqEntries)
	indices := unsafe.Slice(word(p.sq.array), p.sqEntries)
	for i := range indices {
		indices[i] = uint32(i)
	}
	r.tail = *r.sqTail
	return nil
}

// limitWorkers sets how many threads the kernel may start for operations that have to block: syncs, and
// transfers on a drive whose queue is full. By default that is four per CPU, which one hung drive would
// take for itself. A kernel before 5.15 keeps its default.
func (r *uring) limitWorkers(n int) {
	limits := [2]uint32{uint32(n), uint32(n)} // For regular files, for everything else.
	ioUringRegister(r.fd, registerIOWQMaxWorkers, unsafe.Pointer(&limits), len(limits))
}

// registerFiles makes an empty table. The limit on open files bounds it, so it shrinks until it fits.
func (r *uring) registerFiles(n int) error {
	const least = 64 // Fewer are not worth the rung.
	fds := make([]int32, n)
	for i := range fds {
		fds[i] = -1
	}
	for {
		errno := ioUringRegister(r.fd, registerFiles, unsafe.Pointer(&fds[0]), n)
		if errno == 0 {
			r.registers.files = n
			return nil
		}
		if errno != unix.EMFILE || n/2 < least {
			return os.NewSyscallError("io_uring_register files", errno)
		}
		n /= 2
	}
}

func (r *uring) registerArena(a *Arena) error {
	var buffers []iovec
	for at := 0; at < len(a.memory); at += maxRegisteredBufferSize {
		n := min(maxRegisteredBufferSize, len(a.memory)-at)
		buffers = append(buffers, iovec{uintptr(unsafe.Pointer(&a.memory[at])), uint64(n)})
	}
	errno := ioUringRegister(r.fd, registerBuffers, unsafe.Pointer(&buffers[0]), len(buffers))
	if errno != 0 {
		return os.NewSyscallError("io_uring_register buffers", errno)
	}
	r.registers.buffers = true
	return nil
}

func (r *uring) features() features { return r.registers }

func (r *uring) setFile(slot int32, fd int) error {
	r.newFile = int32(fd)
	update := filesUpdate{offset: uint32(slot), fds: uint64(uintptr(unsafe.Pointer(&r.newFile)))}
	if errno := ioUringRegister(r.fd, registerFilesUpdate, unsafe.Pointer(&update), 1); errno != 0 {
		return os.NewSyscallError("io_uring_register files update", errno)
	}
	return nil
}

func (r *uring) push(e *sqe) {
	if r.tail-atomic.LoadUint32(r.sqHead) > r.sqMask {
		panic("ioring: more submissions than the ring was made for")
	}
	r.sqes[r.tail&r.sqMask] = *e
	r.tail++
	r.counters.sqes.Add(1)
}

// errBusy says that the kernel cannot take submissions until completions are reaped or memory is found.
var errBusy = errors.New("io_uring is busy")

func (r *uring) enter(wait bool) error {
	if r.bell != nil {
		if !wait {
			return r.submit(0)
		}
		r.bell.wait()
		return r.refusal
	}
	var least uint32
	if wait {
		least = 1
		if e, ok := r.alarm.arm(); ok {
			r.push(&e)
		}
	}
	return r.submit(least)
}

// glance submits what there is, and reports whether there is anything to wake up for.
func (r *uring) glance() bool {
	r.refusal = nil
	unsubmitted := r.tail != atomic.LoadUint32(r.sqHead)
	if unsubmitted || atomic.LoadUint32(r.sqFlags)&(sqTaskrun|sqCQOverflow) != 0 {
		r.refusal = r.submit(0)
	}
	return r.refusal != nil || *r.cqHead != atomic.LoadUint32(r.cqTail)
}

// submit hands over what was pushed, has the kernel post the completions that it holds back for this thread, and waits until there are least of
// them.
func (r *uring) submit(least uint32) error {
	atomic.StoreUint32(r.sqTail, r.tail)
	// The kernel's own head says what an enter that was interrupted or refused has left behind.
	count := r.tail - atomic.LoadUint32(r.sqHead)
	r.counters.enters.Add(1)
	_, errno := ioUringEnter(r.fd, count, least, enterGetEvents)
	switch errno {
	case 0, unix.EINTR:
		return nil // Go interrupts its threads to preempt them; the loop comes back.
	case unix.EAGAIN, unix.EBUSY, unix.ENOMEM:
		return errBusy
	}
	// A lost completion (EBADR) cannot happen with a completion ring this long, and everything else says
	// that the ring or its thread is not what we think. Going on would be to guess which memory the
	// kernel still writes to.
	panic(fmt.Sprintf("ioring: io_uring_enter: %v", errno))
}

func (r *uring) pop() (cqe, bool) {
	for {
		head := *r.cqHead // Only we write it.
		if head == atomic.LoadUint32(r.cqTail) {
			if atomic.LoadUint32(r.sqFlags)&sqCQOverflow == 0 {
				return cqe{}, false
			}
			// The ring was full and the kernel holds completions back until it is asked.
			if _, errno := ioUringEnter(r.fd, 0, 0, enterGetEvents); errno != 0 || head == atomic.LoadUint32(r.cqTail) {
				return cqe{}, false
			}
		}
		c := r.cqes[head&r.cqMask]
		atomic.StoreUint32(r.cqHead, head+1)
		if c.userData == alarmData {
			r.alarm.rang()
			continue
		}
		return c, true
	}
}

func (r *uring) wake() {
	if r.bell != nil {
		r.bell.ring()
	} else {
		r.alarm.ring()
	}
}

func (r *uring) close() {
	if r.alarm.fd >= 0 {
		r.alarm.close()
	}
	if r.rings != nil {
		unix.Munmap(r.rings)
	}
	if r.entries != nil {
		unix.Munmap(r.entries)
	}
	unix.Close(r.fd)
	if r.bell != nil {
		r.bell.close() // After the ring, which rings it.
	}
}
