//go:build linux

package ioring

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// direct runs op, which the gate has let in, on the calling goroutine.
func direct(q Queue, op *Op) {
	op.begin(q, Now())
	if op.Err == nil {
		op.perform()
	}
	c := q.core()
	c.counters.directOps.Add(1)
	c.gate.leave(1)
	finish(q, op, Now())
}

// perform moves all of the Op's bytes with plain system calls.
func (op *Op) perform() {
	for {
		n, errno := op.call()
		if !op.step(n, errno) {
			return
		}
		if errno != 0 {
			runtime.Gosched()
		}
	}
}

// call makes the one system call that the Op needs next.
func (op *Op) call() (n int, errno unix.Errno) {
	fd := uintptr(op.File.fd)
	if op.Kind == Sync || op.syncing {
		_, _, errno = unix.Syscall(unix.SYS_FDATASYNC, fd, 0, 0)
		return 0, errno
	}
	// The addresses are stored as Go pointers here, unlike in a ring's vectors: these are for one call.
	var vecs [MaxVecs]unix.Iovec
	count, skip := 0, op.N
	for _, piece := range op.Bufs {
		if skip >= len(piece) {
			skip -= len(piece)
			continue
		}
		vecs[count].Base = &piece[skip]
		vecs[count].SetLen(len(piece) - skip)
		count++
		skip = 0
	}
	call, flags := uintptr(unix.SYS_PREADV2), uintptr(0)
	if op.Kind != Read {
		call = unix.SYS_PWRITEV2
	}
	if op.Kind == WriteDurable && op.File.direct {
		flags = unix.RWF_DSYNC
	}
	// The offset goes in whole as its low word; a 64-bit kernel ignores the high one.
	r, _, errno := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&vecs)), uintptr(count), uintptr(op.Off+int64(op.N)), 0, flags)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
