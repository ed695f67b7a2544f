package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/ioring"
)

// BlockLen is the unit of segment I/O: offsets and the total length of an Op are multiples of it.
const BlockLen = ioring.BlockSize

// SectorLen is the unit in which a power cut may tear a write, and of the pieces of a vectored Op.
const SectorLen = 512

// MaxVecs bounds the pieces of one Op.
const MaxVecs = ioring.MaxVecs

// MaxOpLen bounds the bytes of one Op.
const MaxOpLen = 64 << 20

// Errors of operations and drives. They come wrapped, with the drive and the segment.
var (
	ErrClosed = errors.New("drive is closed")
	ErrRange  = errors.New("beyond the end of the segment")
	ErrAlign  = errors.New("not in whole blocks")
)

// Drive is one drive of the store. All methods are safe for concurrent use; those that are not
// Ops block their caller for as long as the hardware takes.
type Drive interface {
	ID() ID
	Path() string
	Queue() Queue

	// Device tells file systems apart: drives of the same Device share its space and its fate.
	Device() uint64

	// Segments lists the segments in ascending order.
	Segments() ([]uint32, error)
	// Create makes a segment of size bytes with the space behind it taken. It is durable on return,
	// and after a failure it is not there.
	Create(seg uint32, size int64) (File, error)
	Open(seg uint32) (File, error)
	// Remove removes a segment durably.
	Remove(seg uint32) error

	// ReadMeta reads a small file; an absent one is fs.ErrNotExist.
	ReadMeta(name string) ([]byte, error)
	// WriteMeta replaces a small file: after a crash there is the old one or the new one, and after
	// a return without error the new one.
	WriteMeta(name string, data []byte, perm fs.FileMode) error

	// FS returns the file system for the index and its checkpoints, and the drive's directory in it.
	FS() (vfs.FS, string)

	// Space returns the bytes of the drive's file system and those still to be had.
	Space() (total, free int64, err error)

	Stats() Stats
	Watch() *Watch

	// Close gives the drive up. All its files are closed before, and nothing is in flight.
	Close() error
}

// Presence is what drives have besides that can go away while all operations on open files succeed: a file outlives its name, and a
// directory its path.
type Presence interface {
	// Present returns an error if the drive is not where it was opened any more, or if one of these segments has no name there.
	Present(segs []uint32) error
}

// ErrGone is the cause when a drive is not where it was any more.
var ErrGone = errors.New("is not there any more")

// File is an open segment.
type File interface {
	Seg() uint32
	Drive() Drive
	Queue() Queue
	Size() int64
	// Resize cuts the segment or extends it, with the space behind it taken. It is durable on
	// return. No Op on the bytes concerned is in flight. What an extension reads is unspecified.
	Resize(size int64) error
	// FailWaiting fails the ops on the file that have not begun: its drive hangs, and they hold memory. What the drive has
	// begun stays in flight, and further ops are taken.
	FailWaiting()
	// Close closes the file. Nothing is in flight on it.
	Close() error
}

// Queue carries out Ops. Files that share a Queue share a wake-up.
type Queue interface {
	// Submit starts the ops; each comes back once through its Done, possibly before Submit returns
	// and possibly on the caller's goroutine. All their files are of this queue.
	Submit(ops ...*Op)
	// TryDirect carries out op on the calling goroutine if that is cheaper than a hand-over, which it
	// is when nothing else is in flight, and reports whether it did: Done has then been called.
	// No context ends it.
	TryDirect(op *Op) bool
}

// Kind says what an Op does.
type Kind uint8

// The kinds of Op.
const (
	Read  Kind = iota
	Write      // Durable when it completes.
)

func (k Kind) String() string {
	switch k {
	case Read:
		return "read"
	case Write:
		return "write"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Op is one read or write. The exported fields down to Done are the caller's to fill in; the op may
// be used again once it has come back. An Op that has been used must not be copied.
type Op struct {
	Kind Kind
	File File
	Off  int64
	Bufs [][]byte // Scattered to or gathered from, in order. Pieces are multiples of SectorLen.

	// Done is called once, from any goroutine, when the op is over and its memory is the caller's
	// again. It must not block, and it must not submit: the goroutine that calls it is
	// the one that would have to make room.
	Done func(*Op)

	N       int           // Bytes carried over. Without an error, all of them.
	Err     error         // Why not all bytes were carried over.
	Elapsed time.Duration // From Submit to Done.

	started time.Time
	watch   *Watch       // Of the file's drive, from begin on.
	state   atomic.Int32 // One of opOver, opPending and opLate.
	ring    ringOp
}

// Len returns the total length of the op's buffers.
func (op *Op) Len() int {
	n := 0
	for _, b := range op.Bufs {
		n += len(b)
	}
	return n
}

// check holds an op to the rules that all drives share, so that what passes on memory passes on
// hardware.
func (op *Op) check() error {
	if len(op.Bufs) > MaxVecs {
		return fmt.Errorf("%d pieces, more than %d: %w", len(op.Bufs), MaxVecs, ErrAlign)
	}
	n := 0
	for _, b := range op.Bufs {
		if len(b) == 0 || len(b)%SectorLen != 0 {
			return fmt.Errorf("piece of %d bytes: %w", len(b), ErrAlign)
		}
		n += len(b)
	}
	switch {
	case op.Kind > Write:
		return fmt.Errorf("no such operation: %v", op.Kind)
	case n == 0 || n > MaxOpLen || n%BlockLen != 0 || op.Off < 0 || op.Off%BlockLen != 0:
		return fmt.Errorf("%d bytes at %d: %w", n, op.Off, ErrAlign)
	case op.Off+int64(n) > op.File.Size():
		return fmt.Errorf("%d bytes at %d of %d: %w", n, op.Off, op.File.Size(), ErrRange)
	}
	return nil
}

// begin notes the start of an op and reports whether it passes the rules. One that does not is over.
func (op *Op) begin() bool {
	if op.Done == nil {
		panic("drive: Submit of an op without Done")
	}
	op.N, op.Err, op.Elapsed = 0, nil, 0
	op.started = time.Now()
	if op.state.CompareAndSwap(opOver, opPending) { // Otherwise TryDirect has declined it.
		op.watch = op.File.Drive().Watch()
		op.watch.pending[op.Kind&Write].Add(1)
	}
	if err := op.check(); err != nil {
		op.finish(nil, 0, err)
		return false
	}
	return true
}

// finish accounts for an op and hands it back. From here on it is not the drive's to look at.
func (op *Op) finish(c *counters, n int, err error) {
	op.N, op.Elapsed = n, time.Since(op.started)
	if err != nil {
		op.Err = &OpError{Kind: op.Kind, Path: op.File.Drive().Path(), Seg: op.File.Seg(), Off: op.Off, Len: op.Len(), Err: err}
	}
	if c != nil {
		c.count(op.Kind, n, op.Elapsed, err)
	}
	op.watch.ended(op.Kind&Write, op.Elapsed)
	if op.state.Swap(opOver) == opLate && op.Kind == Read {
		op.watch.overdue.Add(-1)
	}
	op.Done(op)
}

// OpError is the error of an Op.
type OpError struct {
	Kind Kind
	Path string // Of the drive.
	Seg  uint32
	Off  int64
	Len  int
	Err  error
}

func (e *OpError) Error() string {
	return fmt.Sprintf("%v %d bytes at %d of segment %d on %s: %v", e.Kind, e.Len, e.Off, e.Seg, e.Path, e.Err)
}

func (e *OpError) Unwrap() error { return e.Err }

// Aligned returns n bytes of ordinary memory that direct I/O accepts. It is for the rare small transfer;
// the rest comes from an arena, which is registered, bounded and in huge pages.
func Aligned(n int) []byte {
	mem := make([]byte, n+BlockLen)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) % BlockLen)
	return mem[skip : skip+n : skip+n]
}
