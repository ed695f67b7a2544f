package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"penstock/ioring"
)

// DirOptions say how to serve a directory.
type DirOptions struct {
	Queue    *RingQueue   // Of the cell. It must be set, and outlives the drive.
	Cluster  ID           // The store that the drive must belong to; zero takes any.
	Buffered bool         // Go through the page cache even where direct I/O works.
	Logger   *slog.Logger // nil discards.

	fstab string // For tests; "" means fstabPath.
}

// OpenDir serves a formatted directory as a drive, and holds its lock until Close. It refuses what
// Inspect refuses, a blank directory, another store's drive, and one that is being served.
func OpenDir(path string, opts DirOptions) (Drive, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.fstab == "" {
		opts.fstab = fstabPath
	}
	state, _, err := inspect(path, opts.fstab)
	if err != nil {
		return nil, err
	}
	switch state {
	case StateAbsent:
		return nil, refuse(path, Missing, "does not exist", "", nil)
	case StateBlank:
		return nil, refuse(path, Blank, "has never been formatted", "", nil)
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	d, err := openLocked(path, opts, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// ReopenDir serves a directory that may be where old, a drive that has failed, was: then it takes old's lock over. Nothing is in flight on old, and
// nobody uses it any more but to read from files that are open, and to close it.
func ReopenDir(path string, old Drive, opts DirOptions) (Drive, error) {
	was, ok := old.(*dirDrive)
	if !ok {
		return OpenDir(path, opts)
	}
	held, err := was.lock.Stat()
	if err != nil {
		return nil, refuse(path, Unusable, "cannot be looked at", "", err)
	}
	if there, err := os.Stat(filepath.Join(path, lockName)); err != nil || !os.SameFile(held, there) {
		return OpenDir(path, opts) // Another file system is mounted there, or another directory has taken its place.
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.fstab == "" {
		opts.fstab = fstabPath
	}
	lock, err := shareLock(was.lock)
	if err != nil {
		return nil, refuse(path, Unusable, "cannot be locked", "", err)
	}
	d, err := openLocked(path, opts, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func openLocked(path string, opts DirOptions, lock *os.File) (*dirDrive, error) {
	// Again, now that nobody else can change it.
	state, id, err := inspect(path, opts.fstab)
	if err != nil {
		return nil, err
	}
	if state != StateFormatted {
		return nil, refuse(path, Missing, "has gone while it was opened", "", nil)
	}
	if !opts.Cluster.IsZero() && id.Cluster != opts.Cluster {
		return nil, refuse(path, OtherCluster, fmt.Sprintf("belongs to cluster %v, not to %v", id.Cluster, opts.Cluster),
			"give the drives of one store", nil)
	}
	if err := os.MkdirAll(filepath.Join(path, segmentsDir), 0o700); err != nil {
		return nil, refuse(path, Unusable, "cannot be written to", "", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, refuse(path, Unusable, "cannot be read", "", err)
	}
	for _, e := range entries {
		switch name := e.Name(); name {
		case identityName, lockName, segmentsDir, indexDir, checkpointDir, rootName, keyringName, lostAndFound:
		default:
			if strings.HasSuffix(name, tmpSuffix) {
				continue // A crash interrupted WriteMeta; the next one takes it away.
			}
			// Not a reason to stop serving what is ours.
			opts.Logger.Warn("the drive holds a file that is not Penstock's", "drive", path, "file", name)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, refuse(path, Unusable, "cannot be looked at", "", err)
	}
	return &dirDrive{id: id.Drive, path: path, device: st.Dev, queue: opts.Queue, buffered: opts.Buffered, lock: lock}, nil
}

// dirDrive is a drive in a directory.
type dirDrive struct {
	id       ID
	path     string
	device   uint64
	queue    *RingQueue
	buffered bool
	lock     *os.File
	counters counters
	watch    Watch
	closed   atomic.Bool
}

func (d *dirDrive) ID() ID               { return d.id }
func (d *dirDrive) Path() string         { return d.path }
func (d *dirDrive) Queue() Queue         { return d.queue }
func (d *dirDrive) Device() uint64       { return d.device }
func (d *dirDrive) FS() (vfs.FS, string) { return vfs.Default, d.path }
func (d *dirDrive) Stats() Stats         { return d.counters.Stats() }
func (d *dirDrive) Watch() *Watch        { return &d.watch }

// Close implements Drive.
func (d *dirDrive) Close() error {
	if d.closed.Swap(true) {
		return fmt.Errorf("%s: %w", d.path, ErrClosed)
	}
	return d.lock.Close()
}

// open reports whether the drive may be used.
func (d *dirDrive) open() error {
	if d.closed.Load() {
		return fmt.Errorf("%s: %w", d.path, ErrClosed)
	}
	return nil
}

// there reports whether the path still leads to the directory that was opened. If it was moved, unmounted or emptied, something else is to be
// seen there, or nothing.
func (d *dirDrive) there() error {
	held, err := d.lock.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(filepath.Join(d.path, lockName))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(held, now):
		return fmt.Errorf("%s: %w: it was unmounted, moved or emptied", d.path, ErrGone)
	case err != nil:
		return err
	}
	return nil
}

// Present implements Presence.
func (d *dirDrive) Present(segs []uint32) error {
	if err := errors.Join(d.open(), d.there()); err != nil {
		return err
	}
	if len(segs) == 0 {
		return nil
	}
	named, err := d.Segments()
	if err != nil {
		return err
	}
	for _, seg := range segs {
		if _, found := slices.BinarySearch(named, seg); !found {
			return fmt.Errorf("%s: %w: somebody has removed it", d.segmentPath(seg), ErrGone)
		}
	}
	return nil
}

// segmentPath names a segment's file by its number, in decimal with at least eight digits.
func (d *dirDrive) segmentPath(seg uint32) string {
	return filepath.Join(d.path, segmentsDir, fmt.Sprintf("%08d", seg))
}

// Segments implements Drive. Files that are not named as segments are not ours to judge.
func (d *dirDrive) Segments() ([]uint32, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(d.path, segmentsDir))
	if err != nil {
		return nil, err
	}
	segs := make([]uint32, 0, len(entries))
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 10, 32)
		if err == nil && e.Name() == fmt.Sprintf("%08d", n) && e.Type().IsRegular() {
			segs = append(segs, uint32(n))
		}
	}
	slices.Sort(segs)
	return segs, nil
}

// Create implements Drive.
func (d *dirDrive) Create(seg uint32, size int64) (File, error) {
	if err := errors.Join(d.open(), d.there()); err != nil { // Never below a mount point that is not mounted.
		return nil, err
	}
	path := d.segmentPath(seg)
	if size <= 0 || size%BlockLen != 0 {
		return nil, &fs.PathError{Op: "create", Path: path, Err: ErrAlign}
	}
	f, err := d.openFile(seg, ioring.FileFlags{Create: true, Exclusive: true})
	if err != nil {
		return nil, err
	}
	if err = f.Resize(size); err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), d.Remove(seg))
	}
	return f, nil
}

// Open implements Drive.
func (d *dirDrive) Open(seg uint32) (File, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	return d.openFile(seg, ioring.FileFlags{})
}

func (d *dirDrive) openFile(seg uint32, flags ioring.FileFlags) (File, error) {
	flags.Write, flags.Direct = true, !d.buffered
	f, err := ioring.OpenFile(d.queue.ring, d.segmentPath(seg), flags)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	file := &dirFile{drive: d, seg: seg, file: f}
	file.size.Store(size)
	return file, nil
}

// Remove implements Drive.
func (d *dirDrive) Remove(seg uint32) error {
	if err := d.open(); err != nil {
		return err
	}
	if err := os.Remove(d.segmentPath(seg)); err != nil {
		return err
	}
	return syncDir(filepath.Join(d.path, segmentsDir))
}

// ReadMeta implements Drive.
func (d *dirDrive) ReadMeta(name string) ([]byte, error) {
	if err := errors.Join(d.open(), checkMetaName(name)); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(d.path, name))
}

// WriteMeta implements Drive.
func (d *dirDrive) WriteMeta(name string, data []byte, perm fs.FileMode) error {
	if err := errors.Join(d.open(), d.there(), checkMetaName(name)); err != nil {
		return err
	}
	return replaceFile(d.path, name, data, perm)
}

// Space implements Drive. What the file system reserves for the superuser is not free.
func (d *dirDrive) Space() (total, free int64, err error) {
	if err := d.open(); err != nil {
		return 0, 0, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(d.path, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: d.path, Err: err}
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// dirFile is a segment in a directory.
type dirFile struct {
	drive *dirDrive
	seg   uint32
	file  *ioring.File
	size  atomic.Int64
}

func (f *dirFile) Seg() uint32  { return f.seg }
func (f *dirFile) Drive() Drive { return f.drive }
func (f *dirFile) Queue() Queue { return f.drive.queue }
func (f *dirFile) Size() int64  { return f.size.Load() }
func (f *dirFile) FailWaiting() { f.file.FailWaiting() }
func (f *dirFile) Close() error { return f.file.Close() }

// Direct reports whether transfers bypass the page cache.
func (f *dirFile) Direct() bool { return f.file.Direct() }

// Resize implements File.
func (f *dirFile) Resize(size int64) error {
	if size <= 0 || size%BlockLen != 0 {
		return &fs.PathError{Op: "resize", Path: f.file.Path(), Err: ErrAlign}
	}
	old := f.size.Load()
	if size < old {
		f.size.Store(size) // First: no op may start on what goes.
		if err := unix.Ftruncate(f.file.Fd(), size); err != nil {
			return &fs.PathError{Op: "truncate", Path: f.file.Path(), Err: err}
		}
	} else if err := f.file.Preallocate(size); err != nil {
		// Half of the space may have been taken.
		if err2 := unix.Ftruncate(f.file.Fd(), old); err2 != nil {
			err = errors.Join(err, err2)
		}
		return err
	}
	if err := unix.Fsync(f.file.Fd()); err != nil {
		return &fs.PathError{Op: "sync", Path: f.file.Path(), Err: err}
	}
	f.size.Store(size)
	return nil
}
