package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// MemOptions describe a memory drive.
type MemOptions struct {
	Path  string    // Shown in errors; "" makes one up from the id.
	Size  int64     // Bytes of the file system; 0 means 1 TiB. Memory is used for what is written only.
	Queue *MemQueue // Shared by the drives of a cell; nil makes one.
	// Device is what Device returns; 0 makes one up from the id. Drives given the same number do not
	// share their space; they only say so.
	Device uint64
}

// NewMem returns a drive in memory, formatted with id.
func NewMem(id Identity, opts MemOptions) *Mem {
	d := newMem(id.Drive, opts, vfs.NewMem(), nil)
	must(d.fs.MkdirAll(d.path, 0o700))
	must(WriteIdentity(d, id))
	return d
}

// Mem is a drive in memory. It keeps the rules of the real thing: block alignment, ends of segments,
// space that runs out. A write is durable when it completes.
type Mem struct {
	id       ID
	path     string
	device   uint64
	size     int64
	queue    *MemQueue
	fs       vfs.FS
	domain   *Domain // Of crash drives; nil for the rest.
	counters counters
	watch    Watch
	closed   atomic.Bool

	mu       sync.Mutex // Guards the fields below. Taken after domain.mu.
	segments map[uint32]*memSegment
	used     int64 // Bytes taken by segments.
}

var _ Drive = (*Mem)(nil)

func newMem(id ID, opts MemOptions, fs vfs.FS, domain *Domain) *Mem {
	d := &Mem{
		id: id, path: opts.Path, device: opts.Device, size: opts.Size, queue: opts.Queue, fs: fs, domain: domain,
		segments: make(map[uint32]*memSegment),
	}
	if d.path == "" {
		d.path = "/mem/" + id.String()
	}
	if d.device == 0 {
		for _, b := range id[:8] {
			d.device = d.device<<8 | uint64(b)
		}
	}
	if d.size == 0 {
		d.size = 1 << 40
	}
	if d.queue == nil {
		d.queue = NewMemQueue(0)
	}
	return d
}

// must is for memory file systems, where only our own bug can fail.
func must(err error) {
	if err != nil {
		panic("drive: " + err.Error())
	}
}

func (d *Mem) ID() ID               { return d.id }
func (d *Mem) Path() string         { return d.path }
func (d *Mem) Queue() Queue         { return d.queue }
func (d *Mem) Device() uint64       { return d.device }
func (d *Mem) FS() (vfs.FS, string) { return d.fs, d.path }
func (d *Mem) Stats() Stats         { return d.counters.Stats() }
func (d *Mem) Watch() *Watch        { return &d.watch }

// Close implements Drive. A memory drive keeps its content: Reopen brings it back.
func (d *Mem) Close() error {
	if d.closed.Swap(true) {
		return fmt.Errorf("%s: %w", d.path, ErrClosed)
	}
	return nil
}

// Reopen makes a closed drive usable again, as a restart of the process would.
func (d *Mem) Reopen() { d.closed.Store(false) }

func (d *Mem) err(op string, seg uint32, err error) error {
	return fmt.Errorf("%s segment %d on %s: %w", op, seg, d.path, err)
}

// Segments implements Drive.
func (d *Mem) Segments() ([]uint32, error) {
	if d.closed.Load() {
		return nil, fmt.Errorf("%s: %w", d.path, ErrClosed)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	segs := make([]uint32, 0, len(d.segments))
	for seg := range d.segments {
		segs = append(segs, seg)
	}
	slices.Sort(segs)
	return segs, nil
}

// Create implements Drive.
func (d *Mem) Create(seg uint32, size int64) (File, error) {
	if d.closed.Load() {
		return nil, d.err("create", seg, ErrClosed)
	}
	if size <= 0 || size%BlockLen != 0 {
		return nil, d.err("create", seg, ErrAlign)
	}
	// The real thing makes the name first and takes the space second; a power cut may come between.
	s := &memSegment{drive: d, seg: seg, pages: make(map[int64][]byte)}
	err := d.change(func() error {
		if d.segments[seg] != nil {
			return fs.ErrExist
		}
		d.segments[seg] = s
		return nil
	})
	if err == nil {
		if err = d.change(func() error { return s.resize(size) }); err != nil {
			must(d.change(func() error { delete(d.segments, seg); return nil }))
		}
	}
	if err != nil {
		return nil, d.err("create", seg, err)
	}
	return &memFile{seg: s}, nil
}

// change makes a change to the set of segments that is durable at once.
func (d *Mem) change(f func() error) error {
	if d.domain != nil {
		return d.domain.change(func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			return f()
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return f()
}

// Open implements Drive.
func (d *Mem) Open(seg uint32) (File, error) {
	if d.closed.Load() {
		return nil, d.err("open", seg, ErrClosed)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.segments[seg]
	if s == nil {
		return nil, d.err("open", seg, fs.ErrNotExist)
	}
	return &memFile{seg: s}, nil
}

// Remove implements Drive.
func (d *Mem) Remove(seg uint32) error {
	if d.closed.Load() {
		return d.err("remove", seg, ErrClosed)
	}
	err := d.change(func() error {
		s := d.segments[seg]
		if s == nil {
			return fs.ErrNotExist
		}
		d.used -= s.size
		delete(d.segments, seg)
		return nil
	})
	if err != nil {
		return d.err("remove", seg, err)
	}
	return nil
}

// Space implements Drive.
func (d *Mem) Space() (total, free int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size, d.size - d.used, nil
}

// SetSize changes the size of the file system, to run tests out of space and into it again.
func (d *Mem) SetSize(size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size = size
}

// ReadMeta implements Drive.
func (d *Mem) ReadMeta(name string) ([]byte, error) {
	if err := checkMetaName(name); err != nil {
		return nil, err
	}
	f, err := d.fs.Open(path.Join(d.path, name))
	if err != nil {
		if isNotExist(err) {
			return nil, fmt.Errorf("%s on %s: %w", name, d.path, fs.ErrNotExist)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b := make([]byte, info.Size())
	if len(b) > 0 {
		_, err = f.ReadAt(b, 0)
	}
	return b, errors.Join(err, f.Close())
}

// WriteMeta implements Drive. Permissions mean nothing in memory.
func (d *Mem) WriteMeta(name string, data []byte, _ fs.FileMode) error {
	if err := checkMetaName(name); err != nil {
		return err
	}
	if d.closed.Load() {
		return fmt.Errorf("%s on %s: %w", name, d.path, ErrClosed)
	}
	tmp := path.Join(d.path, name+tmpSuffix)
	f, err := d.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(slices.Clone(data)); err != nil { // It may change what it is given.
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(tmp, path.Join(d.path, name)); err != nil {
		return err
	}
	dir, err := d.fs.OpenDir(d.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// MemQueue carries out the ops of memory drives. A seed other than 0 shuffles the order in which ops in
// flight take effect and complete.
type MemQueue struct {
	mu      sync.Mutex // Guards the fields below.
	rng     *rand.Rand // nil keeps the order.
	pending []*Op
	running bool // A worker will look at pending again.
}

// NewMemQueue returns a queue without a worker; one is started when there is something to do.
func NewMemQueue(seed uint64) *MemQueue {
	q := &MemQueue{}
	if seed != 0 {
		q.rng = rand.New(rand.NewPCG(seed, seed))
	}
	return q
}

// Submit implements Queue.
func (q *MemQueue) Submit(ops ...*Op) {
	for _, op := range ops {
		if !op.begin() {
			continue
		}
		op.File.(*memFile).start(op)
		q.mu.Lock()
		q.pending = append(q.pending, op)
		if !q.running {
			q.running = true
			go q.work()
		}
		q.mu.Unlock()
	}
}

// TryDirect implements Queue.
func (q *MemQueue) TryDirect(op *Op) bool {
	q.mu.Lock()
	busy := q.running
	q.mu.Unlock()
	if busy {
		return false
	}
	if op.begin() {
		f := op.File.(*memFile)
		f.start(op)
		f.carryOut(op)
	}
	return true
}

// work ends when nothing is pending, so an idle queue has no goroutine and needs no Close.
func (q *MemQueue) work() {
	for {
		q.mu.Lock()
		if len(q.pending) == 0 {
			q.running = false
			q.mu.Unlock()
			return
		}
		i := 0
		if q.rng != nil {
			i = q.rng.IntN(len(q.pending))
		}
		op := q.pending[i]
		q.pending = slices.Delete(q.pending, i, i+1)
		q.mu.Unlock()
		op.File.(*memFile).carryOut(op)
	}
}

// memSegment is a segment in memory.
type memSegment struct {
	drive *Mem
	seg   uint32
	size  int64            // Guarded by drive.mu.
	pages map[int64][]byte // By block; guarded by drive.mu. An absent one is zeros. In a crash drive a page never changes.
}

// resize takes or gives back space. The caller holds drive.mu.
func (s *memSegment) resize(size int64) error {
	if grow := size - s.size; grow > s.drive.size-s.drive.used {
		return syscall.ENOSPC
	}
	s.drive.used += size - s.size
	maps.DeleteFunc(s.pages, func(block int64, _ []byte) bool { return block*BlockLen >= size })
	s.size = size
	return nil
}

// write stores whole blocks. The caller holds drive.mu.
func (s *memSegment) write(off int64, data []byte) {
	for block := off / BlockLen; len(data) > 0; block++ {
		if s.drive.domain == nil && s.pages[block] != nil {
			copy(s.pages[block], data[:BlockLen])
		} else {
			s.pages[block] = slices.Clone(data[:BlockLen])
		}
		data = data[BlockLen:]
	}
}

// page returns a block's bytes, not to be changed. The caller holds drive.mu.
func (s *memSegment) page(block int64) []byte {
	if p := s.pages[block]; p != nil {
		return p
	}
	return zeroPage[:]
}

var zeroPage [BlockLen]byte

// memFile is a handle to a segment.
type memFile struct {
	seg    *memSegment
	closed atomic.Bool
}

func (f *memFile) Seg() uint32  { return f.seg.seg }
func (f *memFile) Drive() Drive { return f.seg.drive }
func (f *memFile) Queue() Queue { return f.seg.drive.queue }

func (f *memFile) Size() int64 {
	f.seg.drive.mu.Lock()
	defer f.seg.drive.mu.Unlock()
	return f.seg.size
}

// Resize implements File.
func (f *memFile) Resize(size int64) error {
	d := f.seg.drive
	if size <= 0 || size%BlockLen != 0 {
		return d.err("resize", f.seg.seg, ErrAlign)
	}
	if f.closed.Load() || d.closed.Load() {
		return d.err("resize", f.seg.seg, ErrClosed)
	}
	if err := d.change(func() error { return f.seg.resize(size) }); err != nil {
		return d.err("resize", f.seg.seg, err)
	}
	return nil
}

// FailWaiting implements File. In memory nothing waits for long.
func (f *memFile) FailWaiting() {}

// Close implements File.
func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return f.seg.drive.err("close", f.seg.seg, ErrClosed)
	}
	return nil
}

// start tells a crash domain of a write that is under way.
func (f *memFile) start(op *Op) {
	if d := f.seg.drive.domain; d != nil && op.Kind == Write {
		d.start(op, f.seg)
	}
}

// carryOut moves the bytes and completes the op.
func (f *memFile) carryOut(op *Op) {
	d := f.seg.drive
	if f.closed.Load() || d.closed.Load() {
		if d.domain != nil {
			d.domain.abandon(op)
		}
		op.finish(&d.counters, 0, ErrClosed)
		return
	}
	n := op.Len()
	if op.Kind == Write && d.domain != nil {
		d.domain.complete(op)
		op.finish(&d.counters, n, nil)
		return
	}
	d.mu.Lock()
	if op.Kind == Read {
		f.seg.scatter(op.Bufs, op.Off)
	} else {
		f.seg.write(op.Off, gather(op))
	}
	d.mu.Unlock()
	op.finish(&d.counters, n, nil)
}

// scatter fills bufs from off on. The caller holds drive.mu.
func (s *memSegment) scatter(bufs [][]byte, off int64) {
	for _, b := range bufs {
		for len(b) > 0 {
			n := min(len(b), int(BlockLen-off%BlockLen))
			if p := s.pages[off/BlockLen]; p != nil {
				copy(b[:n], p[off%BlockLen:])
			} else {
				clear(b[:n]) // Recovery reads megabytes that nobody has written.
			}
			b, off = b[n:], off+int64(n)
		}
	}
}

// gather returns the op's bytes in one piece, its own memory where there is one already.
func gather(op *Op) []byte {
	if len(op.Bufs) == 1 {
		return op.Bufs[0]
	}
	return slices.Concat(op.Bufs...)
}
