//go:build linux

package ioring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FileFlags says how to open a file. The zero value opens an existing one for reading, through the page
// cache.
type FileFlags struct {
	Direct    bool // Past the page cache, if the file system can; see File.Direct.
	Create    bool // Make it, with mode 0600, if it is not there.
	Exclusive bool // With Create: fail if it is there.
	Write     bool // For reading and writing.
	Truncate  bool // With Write: empty it.
}

// File is an open file that belongs to one queue.
type File struct {
	queue  Queue
	path   string
	fd     int
	direct bool
	device *device

	slot int32 // Place in the ring's file table, or -1; owned by the ring's goroutine.

	// users counts the Ops that hold the file, and one for its being open. At zero the descriptor is
	// closed, by whoever brought it there, and nobody can come back.
	users  atomic.Int64
	closed atomic.Bool
	gone   chan struct{} // Closed with the descriptor.
}

// OpenFile opens the file at path for Ops on q.
func OpenFile(q Queue, path string, flags FileFlags) (*File, error) {
	mode := unix.O_RDONLY | unix.O_CLOEXEC
	for _, f := range []struct {
		set bool
		bit int
	}{
		{flags.Write, unix.O_RDWR}, {flags.Create, unix.O_CREAT}, {flags.Exclusive, unix.O_EXCL},
		{flags.Truncate, unix.O_TRUNC},
	} {
		if f.set {
			mode |= f.bit
		}
	}
	if flags.Direct {
		fd, err := openRetrying(path, mode|unix.O_DIRECT)
		if err == nil && takesDirect(fd) {
			return newFile(q, path, fd, true)
		}
		if err == nil {
			unix.Close(fd)
			mode &^= unix.O_EXCL // It was this call that made the file.
		} else if !errors.Is(err, unix.EINVAL) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		// Some file systems make the file before they refuse the flag; O_EXCL must not trip over that.
		// One that was there before would have failed with EEXIST, not EINVAL.
		mode &^= unix.O_EXCL
	}
	fd, err := openRetrying(path, mode)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return newFile(q, path, fd, false)
}

func openRetrying(path string, mode int) (int, error) {
	for {
		fd, err := unix.Open(path, mode, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// takesDirect asks whether direct transfers of aligned blocks will work. Several file systems accept
// O_DIRECT when the file is opened and refuse the first transfer, or want larger blocks than ours.
func takesDirect(fd int) bool {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 {
		return st.Dio_offset_align > 0 && st.Dio_offset_align <= BlockSize && st.Dio_mem_align <= pieceAlign
	}
	return readsDirect(fd) // An older kernel does not say.
}

// readsDirect tries a direct read. The end of an empty file will do.
func readsDirect(fd int) bool {
	memory := make([]byte, 2*BlockSize)
	skip := -uintptr(unsafe.Pointer(&memory[0])) % BlockSize
	for {
		_, err := unix.Pread(fd, memory[skip:skip+BlockSize], 0)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// newFile takes over fd.
func newFile(q Queue, path string, fd int, direct bool) (*File, error) {
	f := &File{queue: q, path: path, fd: fd, direct: direct, slot: -1, gone: make(chan struct{})}
	f.users.Store(1)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	f.device = q.core().device(st.Dev)
	if err := q.attach(f); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "attach", Path: path, Err: err}
	}
	return f, nil
}

// Path is the name that the file was opened by.
func (f *File) Path() string { return f.path }

// Direct says that transfers bypass the page cache, and so must be aligned. It is false for a file that
// was opened with FileFlags.Direct where the file system refuses that: then transfers are buffered, and
// a durable write is a write and an fdatasync.
func (f *File) Direct() bool { return f.direct }

// Fd is the descriptor, for calls that this package has no word for. It stays the file's.
func (f *File) Fd() int { return f.fd }

// Size is the length of the file now.
func (f *File) Size() (int64, error) {
	if !f.hold() {
		return 0, &fs.PathError{Op: "stat", Path: f.path, Err: ErrClosed}
	}
	defer f.letGo()
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: f.path, Err: err}
	}
	return st.Size, nil
}

// Preallocate gives the file its blocks up to size and makes it at least that long. What was there stays;
// what is new reads as zeros. Where the file system cannot allocate, zeros are written. It blocks.
func (f *File) Preallocate(size int64) error {
	if !f.hold() {
		return &fs.PathError{Op: "preallocate", Path: f.path, Err: ErrClosed}
	}
	defer f.letGo()
	for {
		err := unix.Fallocate(f.fd, 0, 0, size)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EOPNOTSUPP, unix.ENOSYS:
			err = f.extendWithZeros(size)
		}
		if err != nil {
			return &fs.PathError{Op: "preallocate", Path: f.path, Err: fmt.Errorf("%d bytes: %w", size, err)}
		}
		return nil
	}
}

// extendWithZeros writes zeros from the end of the file to size, through a descriptor of its own so
// that alignment does not matter.
func (f *File) extendWithZeros(size int64) error {
	file, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.fd), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20) // Large enough that the number of calls does not matter.
	for at := info.Size(); at < size; {
		n, err := file.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return file.Sync()
}

// FailWaiting fails the Ops on f that have not begun, with ErrClosed, and leaves f as it is: its drive hangs, and they hold memory.
func (f *File) FailWaiting() { f.queue.detach(f) }

// Close fails the Ops on f that have not begun with ErrClosed. The descriptor is closed by the time it
// returns, or, if some Ops have begun, when they are back: Close does not wait for them, because their
// drive may hang.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: f.path, Err: ErrClosed}
	}
	f.queue.detach(f)
	if f.drop() {
		f.queue.dispose(f)
		<-f.gone
	}
	return nil
}

// hold keeps the descriptor open until drop. It reports false when the file is closed.
func (f *File) hold() bool {
	if f.closed.Load() {
		return false
	}
	for {
		users := f.users.Load()
		if users == 0 {
			return false
		}
		if f.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
}

// drop is the opposite of hold. It reports true to the last, who must dispose of the file.
func (f *File) drop() bool { return f.users.Add(-1) == 0 }

func (f *File) letGo() {
	if f.drop() {
		f.queue.dispose(f)
	}
}

// closeDescriptor is the end of a file, called once, by its queue. What close(2) returns is about
// buffered writes that a Sync has not covered, which nobody relies on.
func (f *File) closeDescriptor() {
	unix.Close(f.fd)
	close(f.gone)
}
