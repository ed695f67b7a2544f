//go:build linux

package ioring

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel is what the loop needs of a ring: the one of this package, that of the giouring module, or a
// fake that misbehaves. All methods but wake are for the loop's goroutine alone.
type kernel interface {
	// push adds a submission. The loop never has more than the agreed number unfinished, so there is
	// room.
	push(*sqe)

	// enter submits what was pushed. With wait it returns when something is complete or wake was called,
	// otherwise at once. It may also return early for no reason.
	enter(wait bool) error

	// pop takes the next completion.
	pop() (cqe, bool)

	// wake ends the current or the next enter that waits. It is safe from any goroutine, and after
	// close.
	wake()

	// setFile puts a descriptor, or -1, into the table of registered files.
	setFile(slot int32, fd int) error

	// features says what was registered.
	features() features

	close()
}

type features struct {
	files   int  // Length of the table of registered files; zero for none.
	buffers bool // The arena is registered.
}

// alarm wakes a ring that waits in the kernel: an eventfd that the ring reads like a file. Ring-to-ring
// messages measure the same and need a newer kernel.
type alarm struct {
	armed bool    // A read is with the kernel; owned by the loop.
	count *uint64 // What the read fills; outside the Go heap.

	mu sync.Mutex // Guards fd, so that a late wake cannot write to whatever has the number next.
	fd int        // -1 when closed.
}

// alarmData marks the alarm's completions. No slot has this number.
const alarmData = ^uint64(0)

// open makes the eventfd; count is eight bytes outside the Go heap.
func (a *alarm) open(count *uint64) error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // Blocking, or the ring's read would end with EAGAIN.
	a.fd, a.count = fd, count
	return err
}

// arm returns the submission that waits for the next wake, if it is not with the kernel already.
func (a *alarm) arm() (sqe, bool) {
	if a.armed {
		return sqe{}, false
	}
	a.armed = true
	return sqe{
		opcode: opRead, fd: int32(a.fd), userData: alarmData,
		addr: uint64(uintptr(unsafe.Pointer(a.count))), len: 8,
	}, true
}

// rang takes in the completion of that submission. What it says does not matter: whoever wakes the loop
// has left it something to find.
func (a *alarm) rang() { a.armed = false }

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fd < 0 {
		return
	}
	one := [8]byte{1} // A count in the machine's byte order; any number but zero will do.
	for {
		// Never blocks: the counter would have to reach 2^64.
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(a.fd), uintptr(unsafe.Pointer(&one)), 8)
		if errno != unix.EINTR {
			return
		}
	}
}

func (a *alarm) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	unix.Close(a.fd)
	a.fd = -1
}
