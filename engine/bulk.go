package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// errGeometry says that the open bulk volume has another geometry than the stripe was encoded for.
var errGeometry = errors.New("the open volume has another geometry")

// bulkWriter hands out room in the open bulk volume. Room is taken by bumping its tail.
type bulkWriter struct {
	set   *volume.Set
	spare bool // It may use the room that is kept free for compaction.

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
	create := w.set.Create
	if w.spare {
		create = w.set.CreateSpare
	}
	vol, err := create(ctx, volume.Bulk)
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

// stripeJob is one stripe on its way to the drives. It owns its memory from start to finish.
type stripeJob struct {
	stripe erasure.Stripe
	code   *erasure.Code
	writer *bulkWriter // Finds room for it.
	sums   []uint64
	hold   *ioring.Buf // The memory; nil when the garbage collector has it.

	done       chan struct{} // Closed when the fields below are final.
	extents    []meta.Extent
	placements []placement // Of the extents. Their volumes are pinned.
	err        error
}

// newStripe takes the memory for a stripe of up to rows rows and its parity.
func (c *cell) newStripe(get getBuf, code *erasure.Code, rows int) (*stripeJob, error) {
	layout := fullLayout(code, rows)
	buf, err := get(int(layout.DataRunLen() + layout.ParityRunLen()))
	if err != nil {
		return nil, err
	}
	j := newJob(layout, code, buf.Bytes())
	j.hold, j.writer = buf, c.bulk
	return j, nil
}

// fullLayout is that of a stripe of so many full rows.
func fullLayout(code *erasure.Code, rows int) erasure.Layout {
	return erasure.Layout{K: code.K(), M: code.M(), Length: int64(rows) * int64(code.K()) * erasure.UnitLen}
}

func newJob(layout erasure.Layout, code *erasure.Code, mem []byte) *stripeJob {
	dataLen := layout.DataRunLen()
	return &stripeJob{
		stripe: erasure.Stripe{Layout: layout, Data: mem[:dataLen:dataLen], Parity: mem[dataLen:]},
		code:   code,
		sums:   make([]uint64, layout.UnitCount()),
		done:   make(chan struct{}),
	}
}

// setLength fixes the stripe's final length, before its last row is encoded.
func (j *stripeJob) setLength(n int64) {
	j.stripe.Length = n
	j.sums = j.sums[:j.stripe.UnitCount()]
}

// release gives up the job's own hold on its memory.
func (j *stripeJob) release() {
	if j.hold != nil {
		j.hold.Release()
	}
}

// write puts the stripe on the drives and closes j.done. A drive that fails is failed for good, and the stripe is written again
// in another volume, so the caller sees an error only when too few drives are left, or no room.
func (j *stripeJob) write(ctx context.Context, c *cell) {
	defer close(j.done)
	defer j.release()
	if j.err = j.put(ctx, c); errors.Is(j.err, errGeometry) {
		j.err = j.rewrite(ctx, c)
	}
}

// put writes the stripe as it is encoded. It returns errGeometry when there is no volume of that geometry any more.
func (j *stripeJob) put(ctx context.Context, c *cell) error {
	for {
		p, err := j.writer.reserve(ctx, j.code, j.stripe.ColumnLen())
		if err != nil {
			return err
		}
		if j.writeAt(c, p) {
			j.extents = append(j.extents, meta.Extent{
				Volume: p.vol.ID(), Len: j.stripe.Length, Off: p.off, Units: j.sums,
			})
			j.placements = append(j.placements, p)
			return nil
		}
		j.writer.retire(p.vol)
		p.release()
		c.stats.stripeRetries.Add(1)
	}
}

// writePatience is how many times the limit is waited for more drives than parity can replace. Then it is not they that hang: the
// machine was stopped or is starved, or all of them share what is. To give them all up would turn a pause into an outage.
const writePatience = 6

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
			group.done()
			finished[i].Store(true)
			continue
		}
		if j.hold != nil {
			j.hold.Retain() // Until the kernel has let go, even if we do not wait that long.
		}
		ops[i] = drive.Op{
			Kind: drive.Write, File: file, Off: p.off, Bufs: j.stripe.AppendColumn(nil, i),
			Done: func(*drive.Op) {
				finished[i].Store(true)
				j.release()
				group.done()
			},
		}
		submit = append(submit, &ops[i])
	}
	drive.Submit(submit)
	for waited := 1; !group.wait(c.limits.write) && waited < writePatience && group.pending() > j.stripe.M; waited++ {
	}
	for i := range n {
		switch {
		case !finished[i].Load():
			p.vol.Fail(i, fmt.Errorf("write of %d bytes not finished after %v", j.stripe.ColumnLen(), c.limits.write))
			ok = false
		case ops[i].Err != nil:
			p.vol.Fail(i, ops[i].Err)
			ok = false
		}
	}
	return ok
}

// rewrite encodes and writes the stripe's bytes again as stripes of the geometry that holds now, which happens once per
// upload and lost drive. It must not wait for memory, as it holds some: others that do the same would wait for it. If there is none
// at hand it goes on row by row in memory of which the cell has one.
func (j *stripeJob) rewrite(ctx context.Context, c *cell) error {
	try := func(n int) (*ioring.Buf, error) {
		if buf := c.arena.TryGet(n); buf != nil { // Of no quota: the upload has its part already.
			return buf, nil
		}
		return nil, errNoBuffer
	}
	rest := j.stripe.Data[:j.stripe.Length]
	for len(rest) > 0 {
		code, err := j.writer.geometry(ctx)
		if err != nil {
			return err
		}
		rowLen := code.K() * erasure.UnitLen
		rows := min((len(rest)+rowLen-1)/rowLen, erasure.MaxRows)
		again, err := c.newStripe(try, code, rows)
		lone := err == errNoBuffer
		if lone {
			c.spareRow <- struct{}{}
			layout := fullLayout(code, 1)
			// On the heap: should a drive hang with it, it is the drive's.
			again, err = newJob(layout, code, drive.Aligned(int(layout.DataRunLen()+layout.ParityRunLen()))), nil
		}
		if err == nil {
			again.writer = j.writer
			n := copy(again.stripe.Data, rest)
			if err = again.encode(int64(n)); err == nil {
				err = again.put(ctx, c)
			}
			if err == nil {
				rest = rest[n:]
			}
			again.release()
			j.extents = append(j.extents, again.extents...)
			j.placements = append(j.placements, again.placements...)
		}
		if lone {
			<-c.spareRow
		}
		if err != nil && !errors.Is(err, errGeometry) { // If it has changed again, so are the same bytes.
			return err
		}
	}
	return nil
}

// encode makes a whole stripe of the first n bytes of its data.
func (j *stripeJob) encode(n int64) error {
	j.setLength(n)
	for row := range j.stripe.Rows() {
		if err := j.stripe.EncodeRow(j.code, row, j.sums); err != nil {
			return err
		}
	}
	return nil
}
