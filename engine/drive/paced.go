package drive

import (
	"sync"
	"time"
)

// NewPaced returns a drive that carries over so many bytes a second, reads and writes together, one operation after the other, and is
// otherwise the one given: a drive whose speed is known, for judging what is made of it.
func NewPaced(d Drive, rate int64) Drive {
	p := &pacedDrive{Drive: d, rate: rate}
	p.queue.drive = p
	return p
}

type pacedDrive struct {
	Drive
	rate  int64
	queue pacedQueue
	watch Watch
}

func (d *pacedDrive) Queue() Queue  { return &d.queue }
func (d *pacedDrive) Watch() *Watch { return &d.watch }

func (d *pacedDrive) Create(seg uint32, size int64) (File, error) {
	return d.file(d.Drive.Create(seg, size))
}

func (d *pacedDrive) Open(seg uint32) (File, error) { return d.file(d.Drive.Open(seg)) }

func (d *pacedDrive) file(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &pacedFile{f, d}, nil
}

type pacedFile struct {
	File
	drive *pacedDrive
}

func (f *pacedFile) Drive() Drive { return f.drive }
func (f *pacedFile) Queue() Queue { return &f.drive.queue }

type pacedQueue struct {
	drive *pacedDrive

	mu   sync.Mutex // Guards free.
	free time.Time  // When what was submitted so far is done.
}

// TryDirect implements Queue. It would block for as long as the op takes, so the answer is always no.
func (q *pacedQueue) TryDirect(*Op) bool { return false }

// Submit implements Queue.
func (q *pacedQueue) Submit(ops ...*Op) {
	for _, op := range ops {
		if !op.begin() {
			continue
		}
		inner := &Op{Kind: op.Kind, File: op.File.(*pacedFile).File, Off: op.Off, Bufs: op.Bufs, Done: func(inner *Op) {
			op.finish(nil, inner.N, cause(inner.Err))
		}}
		time.AfterFunc(q.take(op.Len()), func() { inner.File.Queue().Submit(inner) })
	}
}

// take takes the drive for n bytes, and returns how long it is until they are carried over.
func (q *pacedQueue) take(n int) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if q.free.Before(now) {
		q.free = now
	}
	q.free = q.free.Add(time.Duration(float64(n) / float64(q.drive.rate) * float64(time.Second)))
	return q.free.Sub(now)
}
