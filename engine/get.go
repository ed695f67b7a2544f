package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// windowLen is how many bytes of a body are read at a time when memory is plentiful: large enough that the socket write
// and the drive reads (512 KiB each on 4+2) are at their cheapest, small enough that the first byte does not wait long.
const windowLen = 2 << 20

// eagerBlobs is how many blobs of an object are looked up when it is opened. Objects of more keep a view of
// the index instead and look their blobs up as the range reaches them, so that opening one costs the same at 10,000 parts.
const eagerBlobs = 4

var errRange = errors.New("the range lies outside the object")

// handle is an open object. Its generation keeps the volumes it may read from being recycled.
type handle struct {
	c          *cell
	info       ObjectInfo
	refs       []meta.BlobRef
	blobs      []meta.Blob // The first blobs of refs, by index; the rest are looked up through view.
	view       *meta.View  // nil when blobs has them all.
	lsn        meta.LSN
	generation uint64
	close      sync.Once
}

// open looks the object up. It returns a nil handle and no error when there is none.
func (c *cell) open(bucket meta.BucketID, key string) (*handle, error) {
	h := &handle{c: c, generation: c.generations.enter()}
	ok := false
	defer func() {
		if !ok {
			h.Close()
		}
	}()
	object, found, err := c.index.GetObject(bucket, key, meta.NullVersion)
	if err != nil || !found {
		return nil, err
	}
	if len(object.Blobs) > eagerBlobs {
		h.view = c.index.View()
		// The object as the view sees it, so that all its blobs are there.
		if object, found, err = h.view.GetObject(bucket, key, meta.NullVersion); err != nil || !found {
			return nil, err
		}
	} else {
		for i, ref := range object.Blobs {
			blob, found, err := c.index.GetBlob(ref.Blob)
			if err != nil {
				return nil, err
			}
			if !found {
				// Deleted or replaced between the two looks: look again, at one instant.
				return c.openAt(h, bucket, key, &ok)
			}
			if i == 0 {
				h.blobs = make([]meta.Blob, 0, len(object.Blobs))
			}
			h.blobs = append(h.blobs, blob)
		}
	}
	h.info, h.refs, h.lsn = objectInfo(&object), object.Blobs, object.LSN
	ok = true
	return h, nil
}

// openAt fills h from a view of the index, in which an object and its blobs cannot disagree.
func (c *cell) openAt(h *handle, bucket meta.BucketID, key string, ok *bool) (*handle, error) {
	h.view = c.index.View()
	h.blobs = nil
	object, found, err := h.view.GetObject(bucket, key, meta.NullVersion)
	if err != nil || !found {
		return nil, err
	}
	h.info, h.refs, h.lsn = objectInfo(&object), object.Blobs, object.LSN
	*ok = true
	return h, nil
}

// blob returns the blob of the reference of that index.
func (h *handle) blob(i int) (meta.Blob, error) {
	if i < len(h.blobs) {
		return h.blobs[i], nil
	}
	blob, found, err := h.view.GetBlob(h.refs[i].Blob)
	if err == nil && !found {
		err = fmt.Errorf("blob %x is not in the index: %w", h.refs[i].Blob, errCorrupt)
	}
	return blob, err
}

func (h *handle) Info() *ObjectInfo { return &h.info }

func (h *handle) Close() {
	h.close.Do(func() {
		if h.view != nil {
			h.view.Close()
		}
		h.c.generations.leave(h.generation)
	})
}

func (h *handle) Body(ctx context.Context, off, n int64) (Body, error) {
	if off < 0 || n < 0 || off > h.info.Size-n {
		return nil, &Error{Op: "Body", Key: h.info.Key, Kind: KindInvalidRange, Err: errRange}
	}
	b := &body{h: h, ctx: ctx, left: n}
	b.seek(off)
	if n == 0 {
		return b, nil
	}
	admission, cancel := context.WithTimeout(ctx, admissionWait)
	defer cancel()
	b.begin(waitFor(admission, h.c))
	if err := b.advance(); err != nil {
		b.Close()
		return nil, storeError("Body", "", h.info.Key, err)
	}
	return b, nil
}

// body hands out a range, window by window. While one window is being written to the caller, the drives
// fill the next, if memory allows: a body never waits for memory while it holds some.
type body struct {
	h    *handle
	ctx  context.Context
	left int64 // Bytes of windows not yet begun.
	err  error

	ref    int       // Reference that the next window starts in.
	refOff int64     // And where in it.
	blob   meta.Blob // Blob of ref, once looked up.
	have   bool      // Whether blob is that.

	now  window       // Verified, being handed out.
	rest []byte       // Of now, for Read.
	next *pendingRead // Begun, or nil.
}

// pendingRead is a window on its way.
type pendingRead struct {
	stripe *stripeRead // A stripe's bytes; nil when ready is set, or err.
	inline *inlineRead
	ready  window
	err    error
}

func (p *pendingRead) finish(ctx context.Context) (window, error) {
	switch {
	case p.err != nil:
		return window{}, p.err
	case p.stripe != nil:
		return p.stripe.finish(ctx)
	case p.inline != nil:
		return p.inline.finish(ctx)
	}
	return p.ready, nil
}

func (p *pendingRead) close() {
	if p.stripe != nil {
		p.stripe.close()
	}
	p.ready.release()
}

// seek finds the reference that holds the object byte at off.
func (b *body) seek(off int64) {
	for b.ref < len(b.h.refs) && off >= b.h.refs[b.ref].Len {
		off -= b.h.refs[b.ref].Len
		b.ref++
	}
	b.refOff = off
}

// begin starts the next window, if any bytes are left. Errors are kept for advance.
func (b *body) begin(get getBuf) {
	if b.left == 0 || b.next != nil {
		return
	}
	p := &pendingRead{}
	b.next = p
	ref := b.h.refs[b.ref]
	if !b.have {
		if b.blob, p.err = b.h.blob(b.ref); p.err != nil {
			return
		}
		b.have = true
	}
	// Where in the blob's extents the window starts.
	off := ref.Off + b.refOff
	for _, ext := range b.blob.Extents {
		if off >= ext.Len {
			off -= ext.Len
			continue
		}
		n := min(b.left, ref.Len-b.refOff, ext.Len-off)
		if ext.Inline {
			p.inline, p.ready = b.h.c.startInline(b.blob.ID, ext, off, n)
		} else {
			n = min(n, b.h.c.windowBudget(ext, off))
			if p.stripe, p.err = b.h.c.startStripe(get, ext, off, n); p.err == errNoBuffer {
				b.next = nil
				return
			}
		}
		b.left -= n
		if b.refOff += n; b.refOff == ref.Len {
			b.ref, b.refOff, b.have = b.ref+1, 0, false
		}
		return
	}
	p.err = fmt.Errorf("blob %x ends before byte %d: %w", ref.Blob, ref.Off+b.refOff, errCorrupt)
}

// windowBudget is how many bytes to read at once from offset off of the extent: whole rows, fewer when the arena runs low.
func (c *cell) windowBudget(ext meta.Extent, off int64) int64 {
	vol := c.set.Get(ext.Volume)
	if vol == nil {
		return ext.Len
	}
	rowLen := int64(vol.K()) * erasure.UnitLen
	rows := min(max(windowLen/rowLen, 1), int64(c.rowBudget()))
	return (off/rowLen+rows)*rowLen - off
}

// advance replaces the current window by the next one, which has begun.
func (b *body) advance() error {
	b.now.release()
	b.now, b.rest = window{}, nil
	p := b.next
	b.next = nil
	w, err := p.finish(b.ctx)
	if err != nil {
		return err
	}
	b.now, b.rest = w, w.bytes
	return nil
}

// step makes the next window current. It returns io.EOF after the last one.
func (b *body) step() error {
	if b.err != nil {
		return b.err
	}
	b.err = b.tryStep()
	return b.err
}

func (b *body) tryStep() error {
	if b.next == nil {
		b.now.release()
		b.now, b.rest = window{}, nil
		if b.left == 0 {
			return io.EOF
		}
		ctx, cancel := context.WithTimeout(b.ctx, bufferWait)
		defer cancel()
		b.begin(waitFor(ctx, b.h.c))
	}
	if err := b.advance(); err != nil {
		return storeError("Body", "", b.h.info.Key, err)
	}
	return nil
}

// readAhead begins the next window if memory is plentiful. It does not wait.
func (b *body) readAhead() {
	if b.left > 0 && b.next == nil && b.h.c.rowBudget() > 1 {
		b.begin(func(n int) (*ioring.Buf, error) {
			if buf := b.h.c.arena.TryGet(n); buf != nil {
				return buf, nil
			}
			return nil, errNoBuffer
		})
	}
}

func waitFor(ctx context.Context, c *cell) getBuf {
	return func(n int) (*ioring.Buf, error) { return c.arena.Get(ctx, n) }
}

func (b *body) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(b.rest) == 0 {
			if err := b.step(); err == io.EOF {
				return written, nil
			} else if err != nil {
				return written, err
			}
		}
		b.readAhead()
		n, err := w.Write(b.rest)
		written += int64(n)
		b.rest = b.rest[n:]
		if err != nil {
			return written, err
		}
	}
}

func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(b.rest) == 0 {
		if err := b.step(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) Close() error {
	b.now.release()
	b.now, b.rest = window{}, nil
	if b.next != nil {
		b.next.close()
		b.next = nil
	}
	b.left = 0
	if b.err == nil {
		b.err = io.EOF
	}
	return nil
}

func objectInfo(o *meta.Object) ObjectInfo {
	info := ObjectInfo{Key: o.Key, Size: o.Size, ETag: o.ETag, Modified: o.Modified, Attrs: o.Attrs}
	if len(o.Parts) > 0 {
		info.Parts = make([]PartInfo, len(o.Parts))
		for i, p := range o.Parts {
			info.Parts[i] = PartInfo{Number: p.Number, Size: p.Size, Attrs: p.Attrs}
		}
	}
	return info
}
