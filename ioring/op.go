//go:build linux

package ioring

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// MaxVecs is how many pieces one Op may gather or scatter. A stripe has at most 16 rows; 64 leaves
	// room for runs of them and keeps a slot's vectors at 1 KiB.
	MaxVecs = 64

	// BlockSize is the alignment of offsets and lengths on a direct file. Drives accept 512 today, but
	// 4,096 is their physical block and all that the next ones will take.
	BlockSize = 4096

	// pieceAlign is the alignment of the single pieces of a transfer, which need only add up to blocks.
	// A drive that wants more refuses with EINVAL.
	pieceAlign = 512

	// maxRetries bounds how often one Op is tried again without moving a byte. The kernel asks for it
	// rarely and briefly; one that asks for ever is broken, and its caller must hear of it.
	maxRetries = 64
)

// Kind is what an Op does.
type Kind uint8

const (
	Read         Kind = iota // Fill Bufs from the file.
	Write                    // Write Bufs; durable only after a later Sync.
	WriteDurable             // Write Bufs; durable when it completes.
	Sync                     // Make durable every write that had completed when this was submitted.
	numKinds
)

func (k Kind) String() string {
	if k < numKinds {
		return [numKinds]string{"read", "write", "durable write", "sync"}[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Op is one transfer. The caller fills the first group of fields and submits it; from then until
// Complete runs, the Op and the memory in Bufs belong to the queue, even when the caller has given up
// waiting. After that the caller may use the same Op again. An Op must not be copied.
//
// Ops are not ordered among each other, not even on one file.
type Op struct {
	Kind Kind
	File *File
	Off  int64

	// Bufs is up to MaxVecs pieces; empty for Sync. On a direct file they add up to a multiple of
	// BlockSize and must come from an Arena, as does Off. Other memory is accepted on buffered files;
	// the Go heap too, which the ring pins for as long.
	Bufs [][]byte

	// Complete is called exactly once, on the queue's own goroutine (TryDirect: on the caller's). It
	// must not block, and so must not call Submit, OpenFile or File.Close, which wait for that very
	// goroutine. Nil is allowed.
	Complete func(*Op)

	// N is the number of bytes moved. A read that meets the end of the file ends with N short and no
	// error; any other short transfer is continued by the queue.
	N   int
	Err error // An *Error, or nil.

	// Started and Finished are readings of Now, taken at Submit and just before Complete.
	Started, Finished time.Duration

	next    *Op           // Of the list that the Op is in; owned by who owns the list.
	state   atomic.Uint32 // opIdle or opBusy.
	total   int           // Bytes to move.
	retries int           // Tries since a byte was last moved.
	syncing bool          // A durable write on a buffered file has written and is to be synced.
	holds   bool          // The Op counts as a user of its File.
}

const (
	opIdle uint32 = iota
	opBusy
)

// Now reads the package's monotonic clock, on which Op.Started and Op.Finished are.
func Now() time.Duration { return time.Since(epoch) }

var epoch = time.Now()

var (
	// ErrClosed is in the error of every Op that was not begun because its file or queue was closed.
	ErrClosed = errors.New("closed")

	// errMisuse wraps EINVAL for an Op the kernel was not even asked about.
	errMisuse = fmt.Errorf("ill-formed: %w", unix.EINVAL)
)

// Error is the failure of one Op. It wraps the kernel's error number.
type Error struct {
	Kind Kind
	Path string
	Off  int64
	Err  error
}

func (e *Error) Error() string {
	if e.Kind == Sync {
		return fmt.Sprintf("sync %s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s %s at %d: %v", e.Kind, e.Path, e.Off, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// begin takes the Op from its caller. A failure is left in Err for whoever completes the Op.
func (op *Op) begin(q Queue, now time.Duration) {
	if !op.state.CompareAndSwap(opIdle, opBusy) {
		panic("ioring: an Op was submitted that has not come back")
	}
	if op.File == nil || op.File.queue != q {
		panic("ioring: an Op was submitted to a queue that its File was not opened on")
	}
	op.N, op.Err, op.next = 0, nil, nil
	op.retries, op.syncing, op.holds = 0, false, false
	op.Started, op.Finished = now, 0
	if err := op.check(); err != nil {
		op.fail(err)
		return
	}
	if op.holds = op.File.hold(); !op.holds {
		op.fail(ErrClosed)
		return
	}
	if invariants {
		q.core().opts.Arena.lend(op.Bufs)
	}
}

// check refuses what only a bug in the caller can ask for, before the kernel answers the same less
// clearly. It also adds up the length.
func (op *Op) check() error {
	op.total = 0
	if op.Kind == Sync {
		return nil
	}
	if op.Kind >= numKinds || op.Off < 0 || len(op.Bufs) == 0 || len(op.Bufs) > MaxVecs {
		return fmt.Errorf("%w: %d pieces", errMisuse, len(op.Bufs))
	}
	var address, length uintptr
	for _, piece := range op.Bufs {
		op.total += len(piece)
		address |= uintptr(unsafe.Pointer(unsafe.SliceData(piece)))
		length |= uintptr(len(piece))
	}
	if op.total == 0 {
		return fmt.Errorf("%w: no bytes", errMisuse)
	}
	if !op.File.direct {
		return nil
	}
	if (op.Off|int64(op.total))%BlockSize != 0 || (address|length)%pieceAlign != 0 {
		return fmt.Errorf("%w: %d bytes are not aligned for a direct file", errMisuse, op.total)
	}
	return nil
}

// fail ends the Op with err, unless it has failed before.
func (op *Op) fail(err error) {
	if op.Err == nil {
		op.Err = &Error{Kind: op.Kind, Path: op.File.path, Off: op.Off + int64(op.N), Err: err}
	}
}

// step takes in the result of one system call, which is what a completion reports too: the bytes it
// moved or the error. It says whether the Op needs another one, for the bytes from N on.
func (op *Op) step(n int, errno unix.Errno) (again bool) {
	switch errno {
	case 0:
	case unix.EINTR, unix.EAGAIN, unix.ECANCELED:
		// The kernel has not begun, or was stopped between two bytes; either way the same call again is
		// right, because offsets are explicit.
		if op.retries++; op.retries <= maxRetries {
			return true
		}
		fallthrough
	default:
		op.fail(errno)
		return false
	}
	if op.Kind == Sync || op.syncing {
		return false
	}
	if n == 0 {
		if op.Kind != Read {
			op.fail(io.ErrShortWrite)
		}
		return false // A read has met the end of the file.
	}
	if n < 0 || n > op.total-op.N {
		op.fail(fmt.Errorf("%d bytes moved of %d: %w", n, op.total-op.N, unix.EIO))
		return false
	}
	op.N += n
	if op.N == op.total {
		// The kernel's own durable write does for a direct file. A buffered one is synced in a second
		// step: then the promise does not hang on whether a file system honours the flag.
		op.syncing = op.Kind == WriteDurable && !op.File.direct
		return op.syncing
	}
	if !op.File.direct || op.N%BlockSize == 0 {
		op.retries = 0
		return true
	}
	if op.Kind == Read {
		return false // Only the end of the file stops a direct read within a block.
	}
	op.N -= op.N % BlockSize // Write the torn block again, whole.
	op.retries++
	if op.retries > maxRetries {
		op.fail(io.ErrShortWrite)
		return false
	}
	return true
}

// iovec is the kernel's struct iovec with the address as a number: these arrays live outside the Go
// heap, where no Go pointer may be stored. The memory is kept by Op.Bufs, and pinned where needed.
type iovec struct {
	base uintptr
	len  uint64
}

// vectors writes to dst what of bufs comes after the first skip bytes and returns how many vectors that
// took.
func vectors(dst *[MaxVecs]iovec, bufs [][]byte, skip int) (count int) {
	for _, piece := range bufs {
		if skip >= len(piece) {
			skip -= len(piece)
			continue
		}
		rest := piece[skip:]
		skip = 0
		dst[count] = iovec{uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uint64(len(rest))}
		count++
	}
	return count
}

// opList is a first-in first-out list of Ops, linked through their next fields.
type opList struct{ head, tail *Op }

func (l *opList) push(op *Op) {
	op.next = nil
	if l.tail == nil {
		l.head = op
	} else {
		l.tail.next = op
	}
	l.tail = op
}

func (l *opList) pop() *Op {
	op := l.head
	if op == nil {
		return nil
	}
	if l.head = op.next; l.head == nil {
		l.tail = nil
	}
	op.next = nil
	return op
}
