package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// writeTimeout is when a drive that has not finished a write is given up on: the store promises to fence a drive that hangs within 5 s.
const writeTimeout = 5 * time.Second

// errGeometry says that the open bulk volume has another geometry than the stripe was encoded for.
var errGeometry = errors.New("the open volume has another geometry")

// bulkWriter hands out room in the open bulk volume. Room is taken by bumping its tail.
type bulkWriter struct {
	set *volume.Set
	log *slog.Logger

	mu      sync.Mutex // Guards the fields below; never held across I/O.
	vol     *volume.Volume
	tail    int64
	opening *openCall // Set while a volume is being created.
}

// openCall is one creation of a volume that any number of writers wait for.
type openCall struct {
	done chan struct{}
	err  error // Valid once done is closed.
}

// placement is room for one stripe. Its volume stays pinned until release.
type placement struct {
	vol *volume.Volume
	off int64
}

func (p placement) release() { p.vol.Unpin() }

// geometry returns the k and m that a stripe begun now should have, opening a volume if there is none.
func (w *bulkWriter) geometry(ctx context.Context) (*erasure.Code, error) {
	vol, err := w.current(ctx, nil)
	if err != nil {
		return nil, err
	}
	return vol.Code(), nil
}

// reserve takes n bytes of every segment of the open volume, for a stripe encoded as code. It returns
// errGeometry when the drives have changed since and so has the geometry.
func (w *bulkWriter) reserve(ctx context.Context, code *erasure.Code, n int64) (placement, error) {
	var p placement
	_, err := w.current(ctx, func(vol *volume.Volume) error {
		if vol.K() != code.K() || vol.M() != code.M() {
			return errGeometry
		}
		if w.tail+n > vol.Capacity() {
			return errVolumeFull
		}
		vol.Pin()
		p = placement{vol, w.tail}
		w.tail += n
		if w.tail > vol.Capacity()/2 {
			w.set.Prepare(volume.Bulk)
		}
		return nil
	})
	return p, err
}

var errVolumeFull = errors.New("no room left in the volume")

// current calls use, under the lock, with the open volume, and opens one as often as there is none or use says that it is full.
func (w *bulkWriter) current(ctx context.Context, use func(*volume.Volume) error) (*volume.Volume, error) {
	for {
		w.mu.Lock()
		if vol := w.vol; vol != nil {
			var err error
			if use != nil {
				err = use(vol)
			}
			if err != errVolumeFull {
				w.mu.Unlock()
				return vol, err
			}
			w.vol = nil
		}
		call := w.opening
		if call == nil {
			call = &openCall{done: make(chan struct{})}
			w.opening = call
			// Not the caller's context: others wait for the same volume.
			go w.open(context.WithoutCancel(ctx), call)
		}
		w.mu.Unlock()
		select {
		case <-call.done:
			if call.err != nil {
				return nil, call.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// open creates the next volume. Whoever waits for call also waits for this goroutine.
func (w *bulkWriter) open(ctx context.Context, call *openCall) {
	vol, err := w.set.Create(ctx, volume.Bulk)
	w.mu.Lock()
	if err == nil {
		w.vol, w.tail = vol, vol.Start()
	}
	w.opening = nil
	w.mu.Unlock()
	call.err = err
	close(call.done)
}

// retire closes the volume for new stripes after a drive of it failed.
func (w *bulkWriter) retire(vol *volume.Volume) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.vol == vol {
		w.vol = nil
	}
}

// isOpen reports whether new stripes may still go to the volume.
func (w *bulkWriter) isOpen(id meta.VolumeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opening != nil || w.vol != nil && w.vol.ID() == id
}

// stripeJob is one stripe on its way to the drives. It owns buf from start to finish.
type stripeJob struct {
	stripe erasure.Stripe
	code   *erasure.Code
	sums   []uint64
	buf    *ioring.Buf

	done       chan struct{} // Closed when the fields below are final.
	extents    []meta.Extent
	placements []placement // Pinned volumes of the extents.
	err        error
}

// newStripe takes the arena memory for a stripe of up to rows rows and its parity.
func (c *cell) newStripe(ctx context.Context, code *erasure.Code, rows int) (*stripeJob, error) {
	layout := erasure.Layout{K: code.K(), M: code.M(), Length: int64(rows) * int64(code.K()) * erasure.UnitLen}
	dataLen, parityLen := layout.DataRunLen(), layout.ParityRunLen()
	buf, err := c.arena.Get(ctx, int(dataLen+parityLen))
	if err != nil {
		return nil, err
	}
	mem := buf.Bytes()
	return &stripeJob{
		stripe: erasure.Stripe{Layout: layout, Data: mem[:dataLen:dataLen], Parity: mem[dataLen:]},
		code:   code,
		sums:   make([]uint64, layout.UnitCount()),
		buf:    buf,
		done:   make(chan struct{}),
	}, nil
}

// setLength fixes the stripe's final length, before its last row is encoded.
func (j *stripeJob) setLength(n int64) {
	j.stripe.Length = n
	j.sums = j.sums[:j.stripe.UnitCount()]
}

// write puts the stripe on the drives and closes j.done. A drive that fails is failed for good, and the stripe is written again
// in another volume, so the caller sees an error only when too few drives are left, or no room.
func (j *stripeJob) write(ctx context.Context, c *cell) {
	defer close(j.done)
	defer j.buf.Release()
	for {
		p, err := c.bulk.reserve(ctx, j.code, j.stripe.ColumnLen())
		if errors.Is(err, errGeometry) {
			j.err = j.rewrite(ctx, c)
			return
		}
		if err != nil {
			j.err = err
			return
		}
		if j.writeAt(c, p) {
			j.extents = append(j.extents, meta.Extent{
				Volume: p.vol.ID(), Len: j.stripe.Length, Off: p.off, Units: j.sums,
			})
			j.placements = append(j.placements, p)
			return
		}
		c.bulk.retire(p.vol)
		p.release()
		c.stats.stripeRetries.Add(1)
	}
}

// writeAt writes every column at the placement and reports whether all are durable. Those that are not have failed their drives.
func (j *stripeJob) writeAt(c *cell, p placement) bool {
	n := j.stripe.K + j.stripe.M
	ops := make([]drive.Op, n)
	submit := make([]*drive.Op, 0, n)
	finished := make([]atomic.Bool, n)
	group := newOpWait(n)
	ok := true
	for i := range n {
		file := p.vol.Shard(i)
		if file == nil {
			ok = false // Its drive failed after the room was taken.
			group.skip()
			finished[i].Store(true)
			continue
		}
		j.buf.Retain() // Until the kernel has let go, even if we do not wait that long.
		ops[i] = drive.Op{
			Kind: drive.Write, File: file, Off: p.off, Bufs: j.stripe.AppendColumn(nil, i),
			Done: func(*drive.Op) {
				finished[i].Store(true)
				j.buf.Release()
				group.done()
			},
		}
		submit = append(submit, &ops[i])
	}
	drive.Submit(submit)
	group.wait(writeTimeout)
	for i := range n {
		switch {
		case !finished[i].Load():
			p.vol.Fail(i, fmt.Errorf("write of %d bytes not finished after %v", j.stripe.ColumnLen(), writeTimeout))
			ok = false
		case ops[i].Err != nil:
			p.vol.Fail(i, ops[i].Err)
			ok = false
		}
	}
	return ok
}

// rewrite encodes and writes the stripe's bytes again as stripes of the geometry that holds now. It happens
// once per upload and lost drive, so copying the bytes is no matter.
func (j *stripeJob) rewrite(ctx context.Context, c *cell) error {
	rest := j.stripe.Data[:j.stripe.Length]
	for len(rest) > 0 {
		code, err := c.bulk.geometry(ctx)
		if err != nil {
			return err
		}
		rowLen := code.K() * erasure.UnitLen
		rows := min((len(rest)+rowLen-1)/rowLen, erasure.MaxRows)
		again, err := c.newStripe(ctx, code, rows)
		if err != nil {
			return err
		}
		n := copy(again.stripe.Data, rest)
		rest = rest[n:]
		again.setLength(int64(n))
		for row := range again.stripe.Rows() {
			if err := again.stripe.EncodeRow(code, row, again.sums); err != nil {
				again.buf.Release()
				return err
			}
		}
		again.write(ctx, c)
		j.extents = append(j.extents, again.extents...)
		j.placements = append(j.placements, again.placements...)
		if again.err != nil {
			return again.err
		}
	}
	return nil
}
