//go:build linux

package ioring

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bell wakes the loop of a process that runs one goroutine at a time: an eventfd that the kernel rings when it has completions, and callers
// when they have work. The loop listens in the poller of the Go runtime, like whoever waits for a socket.
//
// A thread that waits in io_uring_enter keeps its share of GOMAXPROCS until the runtime takes that away, 20 µs later at the earliest. When it is the
// only one, nobody else runs meanwhile, and the runtime goes on looking every 20 µs: that was a fifth of the CPU of a node with 128 clients writing
// 4 KiB on one core. With more, others run anyway, and waiting in the kernel is cheaper: the poller and the way back
// to the loop's own thread cost 3 to 6 µs.
//
// Nobody reads the eventfd. The poller reports each ring of it, however many there were before (it is edge-triggered), and its counter will not be full
// in this universe.
type bell struct {
	number int32 // Of the eventfd; where registering it needs it, and constant.
	file   *os.File
	conn   syscall.RawConn
	rung   atomic.Bool        // By a caller, since the loop last looked.
	look   func(uintptr) bool // What wait calls, as the poller wants it.

	mu   sync.Mutex // Guards open, so that a late ring cannot write to whatever has the number next.
	open bool
}

// newBell returns a bell for a loop that looks for completions with look.
func newBell(look func() bool) (*bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	b := &bell{number: int32(fd), file: os.NewFile(uintptr(fd), "eventfd"), open: true}
	if b.conn, err = b.file.SyscallConn(); err != nil {
		b.file.Close()
		return nil, err
	}
	b.look = func(uintptr) bool { return look() || b.rung.Swap(false) }
	return b, nil
}

// wait returns when look has been true or somebody has called ring. It looks at once, and after each ring. Only the loop calls it.
func (b *bell) wait() {
	// What is rung while look runs is not lost: the poller was made to listen before.
	if err := b.conn.Read(b.look); err != nil {
		// Only a closed file or one that cannot be polled fails, and it is neither.
		panic("ioring: waiting for a ring: " + err.Error())
	}
}

// ring wakes the loop.
func (b *bell) ring() {
	b.rung.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return
	}
	one := [8]byte{1} // A count in the machine's byte order; any number but zero will do.
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(b.number), uintptr(unsafe.Pointer(&one)), 8)
		if errno != unix.EINTR {
			return
		}
	}
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = false
	b.file.Close()
}
