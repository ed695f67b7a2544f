package engine

import (
	"context"
	"errors"
	"fmt"

	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// extentChunk is how many entries of the reverse index are looked at together. In between requests have the index to themselves,
// and it may be replaced.
const extentChunk = 128

// Moved blobs are committed when so many bytes or blobs have gathered: enough that their records share a batch, little enough that
// not much is done twice after an interruption.
const (
	commitLen   = 16 << 20
	commitBlobs = 64
)

// eachExtent calls f with every live extent of a bulk volume.
func (k *compactor) eachExtent(vol *volume.Volume, f func(*meta.Extent)) error {
	return k.eachBlob(vol, func(blob *meta.Blob) error {
		for i := range blob.Extents {
			if e := &blob.Extents[i]; e.Volume == vol.ID() {
				f(e)
			}
		}
		return nil
	})
}

// eachBlob calls f, once, with every blob that has extents in a bulk volume, in the order of the first of these. f is called without
// the index being held, so the blob may have gone by then.
func (k *compactor) eachBlob(vol *volume.Volume, f func(*meta.Blob) error) error {
	for from := int64(0); ; {
		blobs, next, err := k.blobsFrom(vol.ID(), from)
		if err != nil || next == 0 {
			return err
		}
		from = next
		for i := range blobs {
			if err := f(&blobs[i]); err != nil {
				return err
			}
		}
	}
}

// blobsFrom returns the blobs whose first extent in the volume is in the next chunk, from an offset on, and where the chunk ends: 0 if
// there was nothing in it.
func (k *compactor) blobsFrom(id meta.VolumeID, from int64) (blobs []meta.Blob, next int64, err error) {
	if err := k.b.enter(); err != nil {
		return nil, 0, err
	}
	defer k.b.leave()
	var owners []meta.ExtentOwner
	if owners, err = k.b.index.ExtentsFrom(id, from, extentChunk); err != nil || len(owners) == 0 {
		return nil, 0, err
	}
	for _, o := range owners {
		blob, found, err := k.b.index.GetBlob(o.Blob)
		if err != nil {
			return nil, 0, err
		}
		if found && firstIn(&blob, id) == o.Off {
			blobs = append(blobs, blob)
		}
	}
	return blobs, owners[len(owners)-1].Off + 1, nil
}

// firstIn returns the lowest offset that a blob has in a volume.
func firstIn(blob *meta.Blob, id meta.VolumeID) int64 {
	first := int64(-1)
	for i := range blob.Extents {
		if e := &blob.Extents[i]; e.Volume == id && (first < 0 || e.Off < first) {
			first = e.Off
		}
	}
	return first
}

// bulkMove is the state of one bulk volume's compaction.
type bulkMove struct {
	*compactor
	vol        *volume.Volume
	blobs      []meta.Blob // Written again, and not committed yet.
	placements []placement // Of their new extents.
	len        int64
	extents    int64
	unread     error // Why some blob could not be read.
}

// moveBulk writes all live extents of a bulk volume again. whole says whether none was left behind.
func (k *compactor) moveBulk(ctx context.Context, victim *sparse) (whole bool, err error) {
	m := &bulkMove{compactor: k, vol: victim.vol}
	defer func() { m.release() }()
	err = k.eachBlob(victim.vol, func(blob *meta.Blob) error { return m.add(ctx, blob) })
	if err == nil || errors.Is(err, volume.ErrFull) { // Then there will be room when other volumes have been freed, and what is done is done.
		err = errors.Join(err, m.commit())
	}
	if err == nil {
		err = m.unread
	}
	return err == nil, err
}

func (m *bulkMove) release() {
	for _, p := range m.placements {
		p.release()
	}
	m.placements = nil
}

// add writes what a blob has in the volume again.
func (m *bulkMove) add(ctx context.Context, blob *meta.Blob) error {
	moved := meta.Blob{ID: blob.ID, Size: blob.Size}
	for i := 0; i < len(blob.Extents); {
		if blob.Extents[i].Volume != m.vol.ID() {
			moved.Extents = append(moved.Extents, blob.Extents[i])
			i++
			continue
		}
		run := i
		for i < len(blob.Extents) && blob.Extents[i].Volume == m.vol.ID() {
			i++
		}
		extents, err := m.rewrite(ctx, blob.Extents[run:i])
		switch {
		case errors.Is(err, errUnreadable), errors.Is(err, errCorrupt):
			m.unread = fmt.Errorf("blob %x: %w", blob.ID, err)
			return nil // The others can be moved all the same.
		case err != nil:
			return err
		}
		moved.Extents = append(moved.Extents, extents...)
	}
	m.blobs = append(m.blobs, moved)
	if m.len < commitLen && len(m.blobs) < commitBlobs {
		return nil
	}
	return m.commit()
}

// commit makes known where the blobs are now.
func (m *bulkMove) commit() error {
	if len(m.blobs) == 0 {
		return nil
	}
	if err := m.b.enter(); err != nil {
		return err
	}
	defer m.b.leave()
	tickets := make([]*journal.Ticket, 0, len(m.blobs))
	var errs []error
	for _, blob := range m.blobs {
		record := meta.Relocate{Blobs: []meta.Blob{blob}}
		t, err := m.b.journal.AppendAsync(m.b.ctx, journal.Entry{Head: record.AppendTo(nil)})
		if err != nil {
			errs = append(errs, err)
			break
		}
		tickets = append(tickets, t)
	}
	for _, t := range tickets {
		if _, err := t.Wait(m.b.ctx); err != nil {
			errs = append(errs, err)
		}
	}
	err := m.b.commitError(errors.Join(errs...))
	if errors.Is(err, journal.ErrUnknown) {
		m.mu.Lock()
		m.doubtful = append(m.doubtful, m.placements...)
		m.mu.Unlock()
		m.placements = nil
	}
	if err != nil {
		return err
	}
	m.update(func(s *CompactStatus) { s.Extents += m.extents })
	m.release()
	m.blobs, m.len, m.extents = m.blobs[:0], 0, 0
	return nil
}

// rewrite writes the bytes of extents that follow each other in a blob as new stripes. Every unit is verified on the way.
func (m *bulkMove) rewrite(ctx context.Context, extents []meta.Extent) ([]meta.Extent, error) {
	w := stripeWriter{bulkMove: m, ctx: ctx}
	defer w.close()
	for i := range extents {
		w.left += extents[i].Len
	}
	for i := range extents {
		if err := m.read(ctx, extents[i], w.write); err != nil {
			return nil, err
		}
		m.extents++
	}
	return w.extents, nil
}

// read passes the bytes of an extent on, verified.
func (m *bulkMove) read(ctx context.Context, ext meta.Extent, pass func([]byte) error) error {
	get := func(n int) (*ioring.Buf, error) { return m.c.spare.Get(ctx, n) }
	for off := int64(0); off < ext.Len; {
		n := min(ext.Len-off, m.c.windowLen(ext, off, spareRows))
		s, err := m.c.startStripe(get, ext, off, n)
		for err == nil && s != nil {
			var w window
			w, s, err = s.finish(get)
			if err == nil {
				err = pass(w.bytes)
				w.release()
			}
		}
		if err != nil {
			return err
		}
		off += n
		m.update(func(s *CompactStatus) { s.ReadLen += n })
		if err := m.pace.pause(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// stripeWriter makes stripes of a run of bytes.
type stripeWriter struct {
	*bulkMove
	ctx     context.Context
	left    int64      // Bytes of the run not written yet.
	job     *stripeJob // Being filled, or nil.
	filled  int64
	extents []meta.Extent
}

func (w *stripeWriter) write(p []byte) error {
	for len(p) > 0 {
		if w.job == nil {
			if err := w.begin(); err != nil {
				return err
			}
		}
		n := copy(w.job.stripe.Data[w.filled:], p)
		p = p[n:]
		w.filled, w.left = w.filled+int64(n), w.left-int64(n)
		if w.filled == int64(len(w.job.stripe.Data)) || w.left == 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin takes memory for the next stripe.
func (w *stripeWriter) begin() error {
	code, err := w.c.cold.geometry(w.ctx)
	if err != nil {
		return err
	}
	rowLen := int64(code.K()) * erasure.UnitLen
	rows := int(min((w.left+rowLen-1)/rowLen, spareRows))
	w.job, err = w.c.newStripe(func(n int) (*ioring.Buf, error) { return w.c.spare.Get(w.ctx, n) }, code, rows)
	if err != nil {
		return err
	}
	w.job.writer = w.c.cold
	w.filled = 0
	return nil
}

// flush puts the stripe on the drives. Once it is begun the drives finish it, whatever becomes of ctx.
func (w *stripeWriter) flush() error {
	job := w.job
	w.job = nil
	if err := job.encode(w.filled); err != nil {
		job.release()
		return err
	}
	job.write(context.WithoutCancel(w.ctx), w.c)
	w.placements = append(w.placements, job.placements...)
	w.extents = append(w.extents, job.extents...)
	if job.err != nil {
		return job.err
	}
	w.len += w.filled
	w.update(func(s *CompactStatus) { s.WriteLen += w.filled })
	return nil
}

func (w *stripeWriter) close() {
	if w.job != nil {
		w.job.release()
		w.job = nil
	}
}
