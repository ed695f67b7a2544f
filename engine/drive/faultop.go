package drive

import (
	"context"
	"slices"
	"time"
)

// faultQueue carries out the ops of one faulty drive on its sound one.
type faultQueue struct{ _ byte } // Not empty, so that each has its own address.

// Submit implements Queue. Ops that no fault concerns go on together.
func (q *faultQueue) Submit(ops ...*Op) {
	var sound []*Op
	for _, op := range ops {
		if inner := q.prepare(op); inner != nil {
			sound = append(sound, inner)
		}
	}
	Submit(sound)
}

// TryDirect implements Queue. A fault may block, so the answer is always no.
func (q *faultQueue) TryDirect(*Op) bool { return false }

// prepare returns the op to carry out in place of op, or nil if that is seen to.
func (q *faultQueue) prepare(op *Op) *Op {
	if !op.begin() {
		return nil
	}
	f := op.File.(*faultFile)
	action := OnRead
	if op.Kind == Write {
		action = OnWrite
	}
	n := op.Len()
	r := f.drive.plan.strike(Event{Drive: f.drive.ID(), Action: action, Seg: f.Seg(), Off: op.Off, Len: n})
	inner := &Op{Kind: op.Kind, File: f.File, Off: op.Off, Bufs: op.Bufs, Done: func(inner *Op) {
		op.finish(nil, inner.N, cause(inner.Err))
	}}
	if r == nil && !f.drive.plan.keeps(op.Kind) {
		return inner
	}
	// What a fault takes may block, so it has a goroutine of its own; it ends with the op.
	go f.strike(op, inner, r)
	return nil
}

// cause strips what op.finish adds again.
func cause(err error) error {
	if e, ok := err.(*OpError); ok {
		return e.Err
	}
	return err
}

func (p *Plan) keeps(k Kind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stale && k == Write
}

// strike carries out op, in the shape of inner, under rule r, which may be nil.
func (f *faultFile) strike(op, inner *Op, r *Rule) {
	if r == nil {
		r = &Rule{Do: Delay}
	}
	n := op.Len()
	if f.drive.plan.keeps(op.Kind) {
		f.keep(op.Off, n)
	}
	switch r.Do {
	case Fail:
		op.finish(nil, 0, r.Err)
		return
	case FailAfter:
		inner.Done = func(inner *Op) { op.finish(nil, inner.N, r.Err) }
	case Short:
		half := n / BlockLen / 2 * BlockLen
		if half == 0 {
			op.finish(nil, 0, r.Err)
			return
		}
		inner.Bufs = cutBufs(op.Bufs, half)
		inner.Done = func(inner *Op) { op.finish(nil, inner.N, r.Err) }
	case Delay:
		time.Sleep(r.Delay)
	case Hang:
		f.drive.plan.hang()
	case Lose:
		if op.Kind == Write {
			op.finish(nil, n, nil)
			return
		}
	case Tear:
		if op.Kind == Write {
			f.tear(op, inner)
		}
	case Misdirect:
		if blocks := int((f.Size() - int64(n)) / BlockLen); blocks > 0 {
			elsewhere := int64(f.drive.plan.intN(blocks)) * BlockLen
			if elsewhere >= op.Off {
				elsewhere += BlockLen // Any place but the right one.
			}
			inner.Off = elsewhere
		}
	case Stale:
		inner.Done = func(inner *Op) {
			f.recall(op)
			op.finish(nil, inner.N, cause(inner.Err))
		}
	case Flip:
		bit := f.drive.plan.intN(n * 8)
		if op.Kind == Write {
			data := alignedCopy(op.Bufs)
			data[bit/8] ^= 1 << (bit % 8)
			inner.Bufs = [][]byte{data}
			break
		}
		inner.Done = func(inner *Op) {
			at := bit / 8
			for _, b := range op.Bufs {
				if at < len(b) {
					b[at] ^= 1 << (bit % 8)
					break
				}
				at -= len(b)
			}
			op.finish(nil, inner.N, cause(inner.Err))
		}
	}
	inner.File.Queue().Submit(inner)
}

// tear makes inner write the first half of op's sectors over what is there.
func (f *faultFile) tear(op, inner *Op) {
	n := op.Len()
	data := alignedCopy([][]byte{make([]byte, n)})
	var g Group
	g.Submit(&Op{Kind: Read, File: f.File, Off: op.Off, Bufs: [][]byte{data}})
	_ = g.Wait(context.Background()) // What cannot be read is zeros.
	half := n / SectorLen / 2 * SectorLen
	copy(data[:half], slices.Concat(op.Bufs...))
	inner.Bufs = [][]byte{data}
}

// keep remembers what is at off before it is overwritten.
func (f *faultFile) keep(off int64, n int) {
	data := alignedCopy([][]byte{make([]byte, n)})
	var g Group
	g.Submit(&Op{Kind: Read, File: f.File, Off: off, Bufs: [][]byte{data}})
	_ = g.Wait(context.Background()) // What cannot be read is zeros.
	p := f.drive.plan
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, key := range f.blocks(off, n) {
		p.old[key] = data[i*BlockLen : (i+1)*BlockLen]
	}
}

// recall replaces what op has read by what was there before, where that is known.
func (f *faultFile) recall(op *Op) {
	p := f.drive.plan
	p.mu.Lock()
	defer p.mu.Unlock()
	at := int64(0)
	for _, b := range op.Bufs {
		for len(b) > 0 {
			off := op.Off + at
			from := off % BlockLen
			n := min(len(b), int(BlockLen-from))
			if old := p.old[blockKey{f.drive.ID(), f.Seg(), off / BlockLen}]; old != nil {
				copy(b[:n], old[from:])
			}
			b, at = b[n:], at+int64(n)
		}
	}
}

// cutBufs returns the first n bytes of bufs.
func cutBufs(bufs [][]byte, n int) [][]byte {
	var cut [][]byte
	for _, b := range bufs {
		if n == 0 {
			break
		}
		b = b[:min(len(b), n)]
		cut, n = append(cut, b), n-len(b)
	}
	return cut
}

// alignedCopy returns a copy of bufs in memory that direct I/O accepts.
func alignedCopy(bufs [][]byte) []byte {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	data := Aligned(n)[:0]
	for _, b := range bufs {
		data = append(data, b...)
	}
	return data
}
