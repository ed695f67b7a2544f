package drive

import (
	"errors"
	"io"

	"penstock/ioring"
)

// RingQueue carries out the ops of the drives of a cell on a queue of package ioring, whichever way that
// moves bytes.
type RingQueue struct{ ring ioring.Queue }

// NewRingQueue returns a queue on ring. It owns nothing: ring is closed by who opened it.
func NewRingQueue(ring ioring.Queue) *RingQueue { return &RingQueue{ring: ring} }

// ringOp is an Op in the shape that package ioring takes, inside the Op so that handing over
// allocates nothing for an Op that is used again.
type ringOp struct{ ioring.Op }

// Submit implements Queue.
func (q *RingQueue) Submit(ops ...*Op) {
	batch := make([]*ioring.Op, 0, len(ops))
	for _, op := range ops {
		if op.begin() {
			batch = append(batch, op.forRing())
		}
	}
	if len(batch) > 0 {
		q.ring.Submit(batch...)
	}
}

// TryDirect implements Queue.
func (q *RingQueue) TryDirect(op *Op) bool {
	return !op.begin() || q.ring.TryDirect(op.forRing()) // If the ring declines, Submit begins it again.
}

// forRing fills in the inner op.
func (op *Op) forRing() *ioring.Op {
	r := &op.ring.Op
	r.Kind = ioring.Read
	if op.Kind == Write {
		r.Kind = ioring.WriteDurable
	}
	r.File, r.Off, r.Bufs = op.File.(*dirFile).file, op.Off, op.Bufs
	if r.Complete == nil {
		r.Complete = func(r *ioring.Op) {
			f := op.File.(*dirFile)
			err := r.Err
			if e, ok := errors.AsType[*ioring.Error](err); ok {
				err = e.Err // op.finish adds the rest again, in our words.
			} else if err == nil && r.N < op.Len() {
				err = io.ErrUnexpectedEOF // The file is shorter than when it was opened.
			}
			op.finish(&f.drive.counters, r.N, err)
		}
	}
	return r
}
