//go:build linux

package ioring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's io_uring interface as far as it is used here, in the kernel's words (linux/io_uring.h).

// Opcodes.
const (
	opReadv      = 1
	opWritev     = 2
	opFsync      = 3
	opReadFixed  = 4
	opWriteFixed = 5
	opRead       = 22
	opWrite      = 23
)

// Flags of one submission, of the fsync opcode, of io_uring_setup and of io_uring_enter.
const (
	sqeFixedFile = 1 << 0

	fsyncDatasync = 1 << 0

	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupSubmitAll    = 1 << 7
	setupCoopTaskrun  = 1 << 8
	setupTaskrunFlag  = 1 << 9
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13

	featSingleMmap   = 1 << 0
	featNoDrop       = 1 << 1
	featSubmitStable = 1 << 2

	enterGetEvents = 1 << 0

	sqCQOverflow = 1 << 1
	sqTaskrun    = 1 << 2
)

// Offsets at which the ring's file is mapped.
const (
	offSQRing = 0
	offSQEs   = 0x10000000
)

// Operations of io_uring_register.
const (
	registerBuffers         = 0
	registerFiles           = 2
	registerEventfd         = 4
	registerFilesUpdate     = 6
	registerIOWQMaxWorkers  = 19
	maxRegisteredBufferSize = 1 << 30
)

// sqe is a submission queue entry.
type sqe struct {
	opcode      uint8
	flags       uint8
	ioprio      uint16
	fd          int32
	off         uint64
	addr        uint64
	len         uint32
	opFlags     uint32 // rw_flags or fsync_flags.
	userData    uint64
	bufIndex    uint16
	personality uint16
	fileIndex   int32
	addr3       uint64
	_           uint64
}

// cqe is a completion queue entry.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// Both must be as long as the kernel's. A difference does not compile.
const (
	_ = uint(64-unsafe.Sizeof(sqe{})) + uint(unsafe.Sizeof(sqe{})-64)
	_ = uint(16-unsafe.Sizeof(cqe{})) + uint(unsafe.Sizeof(cqe{})-16)
	_ = uint(120-unsafe.Sizeof(setupParams{})) + uint(unsafe.Sizeof(setupParams{})-120)
)

// setupParams is struct io_uring_params.
type setupParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFd uint32
	_                                                                      [3]uint32
	sq                                                                     sqOffsets
	cq                                                                     cqOffsets
}

// sqOffsets is struct io_sqring_offsets: where in the mapping the fields of the submission ring are.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
	_                                                           uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
	_                                                           uint64
}

// filesUpdate is struct io_uring_files_update.
type filesUpdate struct {
	offset uint32
	_      uint32
	fds    uint64
}

func ioUringSetup(entries uint32, p *setupParams) (fd int, errno unix.Errno) {
	r, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	return int(r), errno
}

func ioUringEnter(fd int, submit, wait, flags uint32) (submitted int, errno unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
	return int(r), errno
}

func ioUringRegister(fd int, op uintptr, arg unsafe.Pointer, count int) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), op, uintptr(arg), uintptr(count), 0, 0)
	return errno
}
