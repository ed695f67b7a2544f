package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"penstock/erasure"
	"penstock/meta"
)

// windowBytes is how many bytes of a body are read at a time when memory is plentiful: large enough that the socket write
// and the drive reads (512 KiB each on 4+2) are at their cheapest, small enough that the first byte does not wait long.
const windowBytes = 2 << 20

// eagerBlobs is how many blobs of an object are looked up when it is opened. Objects of more keep a view of
// the index instead and look their blobs up as the range reaches them: a range of a large object needs few of them.
const eagerBlobs = 4

var errRange = errors.New("the range lies outside the object")

// handle is an open object. Its generation keeps the volumes it may read from being recycled.
type handle struct {
	c          *cell
	info       ObjectInfo
	refs       []meta.BlobRef
	blobs      []meta.Blob // Of refs, by index; nil when there are many, which are looked up as they are reached.
	base       *base       // The base it was opened on, which holds its view if there are many.
	lsn        meta.LSN
	generation uint64
	close      sync.Once
}

// open looks a version of an object up.
func (c *cell) open(op string, bucket *bucket, key string, version VersionID) (*handle, error) {
	b, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer b.leave()
	h := &handle{c: c, base: b, generation: c.generations.enter()}
	if err := h.find(op, bucket, key, version); err != nil {
		h.Close()
		return nil, err
	}
	h.info.Versioned = bucket.versioned()
	return h, nil
}

// find fills h. The caller has entered h.base.
func (h *handle) find(op string, bucket *bucket, key string, version VersionID) error {
	object, err := bucket.lookup(op, h.base, key, version)
	if err != nil {
		return err
	}
	if len(object.Blobs) <= eagerBlobs {
		var blobs []meta.Blob
		for _, ref := range object.Blobs {
			blob, there, err := h.base.index.GetBlob(ref.Blob)
			if err != nil {
				return err
			}
			if !there {
				break
			}
			blobs = append(blobs, blob)
		}
		if len(blobs) == len(object.Blobs) {
			h.info, h.refs, h.blobs, h.lsn = objectInfo(&object), object.Blobs, blobs, object.LSN
			return nil
		}
		// Deleted or replaced between the looks: look again, at one instant.
	}
	view := h.base.hold(h)
	// Looking up ten thousand parts once is enough, if they are what the view has.
	if head, found, err := h.base.index.GetObjectHead(bucket.id, key, version); err != nil {
		return err
	} else if !found || head.LSN != object.LSN {
		if object, found, err = view.GetObject(bucket.id, key, version); err != nil {
			return err
		}
		if !found || object.Marker {
			return bucket.absent(op, h.base, key, version, &object)
		}
	}
	h.info, h.refs, h.lsn = objectInfo(&object), object.Blobs, object.LSN
	return nil
}

// hold makes a view of the index for a handle, which lives until drop, or until the base ends. The caller has entered b.
func (b *base) hold(h *handle) *meta.View {
	view := b.index.View()
	b.viewsMu.Lock()
	defer b.viewsMu.Unlock()
	b.views[h] = view
	return view
}

// view returns the view that was made for a handle, or nil.
func (b *base) view(h *handle) *meta.View {
	b.viewsMu.Lock()
	defer b.viewsMu.Unlock()
	return b.views[h]
}

func (b *base) drop(h *handle) {
	b.viewsMu.Lock()
	defer b.viewsMu.Unlock()
	if view := b.views[h]; view != nil {
		delete(b.views, h)
		if err := view.Close(); err != nil {
			b.c.log.Warn("a view of the index was not closed", "error", err)
		}
	}
}

// blob returns the blob of the reference of that index.
func (h *handle) blob(i int) (meta.Blob, error) {
	if i < len(h.blobs) {
		return h.blobs[i], nil
	}
	id := h.refs[i].Blob
	if h.base.enter() == nil {
		defer h.base.leave()
		blob, found, err := h.base.view(h).GetBlob(id)
		if err == nil && !found {
			err = fmt.Errorf("blob %x is not in the index: %w", id, errCorrupt)
		}
		return blob, err
	}
	// The base has ended since. A blob never changes, so the next one serves as well, as long as nobody has deleted it.
	b, err := h.c.enter()
	if err != nil {
		return meta.Blob{}, err
	}
	defer b.leave()
	blob, found, err := b.index.GetBlob(id)
	if err == nil && !found {
		err = fmt.Errorf("blob %x was deleted while the index was replaced: %w", id, errUnreadable)
	}
	return blob, err
}

func (h *handle) Info() *ObjectInfo { return &h.info }

func (h *handle) Close() {
	h.close.Do(func() {
		h.base.drop(h)
		h.c.generations.leave(h.generation)
	})
}

func (h *handle) Body(ctx context.Context, off, n int64) (Body, error) {
	if off < 0 || n < 0 || off > h.info.Size-n {
		return nil, &Error{Op: "Body", Key: h.info.Key, Kind: KindInvalidRange, Err: errRange}
	}
	b := &body{h: h, ctx: ctx, left: n, end: off + n, pos: off}
	b.seek(off)
	if n == 0 {
		return b, nil
	}
	get := waitUpTo(ctx, h.c.readMemory, admissionWait)
	b.begin(get)
	if err := b.advance(get); err != nil {
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
	pos  int64 // Of the next byte to hand out, in the object.
	end  int64 // Behind the last.
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

// finish returns verified bytes, and what is left to read of the window if these are not all.
func (p *pendingRead) finish(ctx context.Context, get getBuf) (w window, rest *pendingRead, err error) {
	switch {
	case p.err != nil:
		return window{}, nil, p.err
	case p.stripe != nil:
		w, left, err := p.stripe.finish(get)
		if err == nil && left != nil {
			rest = &pendingRead{stripe: left}
		}
		return w, rest, err
	case p.inline != nil:
		w, err := p.inline.finish(ctx)
		return w, nil, err
	}
	return p.ready, nil, nil
}

func (p *pendingRead) close() {
	if p.stripe != nil {
		p.stripe.close()
	}
	p.ready.release()
}

// seek finds the reference that holds the object byte at off.
func (b *body) seek(off int64) {
	b.ref, b.have = 0, false
	for b.ref < len(b.h.refs) && off >= b.h.refs[b.ref].Len {
		off -= b.h.refs[b.ref].Len
		b.ref++
	}
	b.refOff = off
}

// begin starts the next window, if any bytes are left: as much as there is memory for now, and if there is none, little, once get has got
// memory for it, or nothing if get is nil. Errors are kept for advance.
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
			c := b.h.c
			much := min(n, c.windowLen(ext, off, c.rowBudget()))
			if bytes, ok := c.cachedUnit(&ext, off, much); ok {
				p.ready = window{bytes: bytes}
			} else {
				c.front.Add(1)
				p.stripe, p.err = c.startStripe(c.readMemory.try, ext, off, much)
			}
			if p.err == errNoBuffer {
				if get == nil {
					b.next = nil
					return
				}
				much = min(n, c.windowLen(ext, off, 1))
				p.stripe, p.err = c.startStripe(get, ext, off, much)
			}
			n = much
		}
		b.left -= n
		if b.refOff += n; b.refOff == ref.Len {
			b.ref, b.refOff, b.have = b.ref+1, 0, false
		}
		return
	}
	p.err = fmt.Errorf("blob %x ends before byte %d: %w", ref.Blob, ref.Off+b.refOff, errCorrupt)
}

// windowLen is how many bytes to read at once from offset off of the extent, to the end of a row: at most so many rows.
func (c *cell) windowLen(ext meta.Extent, off int64, atMost int) int64 {
	vol := c.set.Get(ext.Volume)
	if vol == nil {
		return ext.Len
	}
	rowLen := int64(vol.K()) * erasure.UnitLen
	rows := min(max(windowBytes/rowLen, 1), int64(atMost))
	return (off/rowLen+rows)*rowLen - off
}

// advance replaces the current window by the next one, which has begun.
func (b *body) advance(get getBuf) error {
	b.now.release() // First: what follows may wait for memory.
	b.now, b.rest = window{}, nil
	w, rest, err := b.next.finish(b.ctx, get)
	b.next = rest
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
	get := waitUpTo(b.ctx, b.h.c.readMemory, bufferWait)
	if b.next == nil {
		b.now.release()
		b.now, b.rest = window{}, nil
		if b.left == 0 {
			return io.EOF
		}
		b.begin(get)
	}
	if err := b.advance(get); err != nil {
		return storeError("Body", "", b.h.info.Key, err)
	}
	return nil
}

// readAhead begins the next window if memory is plentiful. It does not wait.
func (b *body) readAhead() {
	if b.left > 0 && b.next == nil && b.h.c.rowBudget() > 1 {
		b.begin(nil)
	}
}

func (b *body) WriteTo(w io.Writer) (written int64, err error) {
	keeping, _ := w.(KeepingWriter)
	patient, _ := w.(PatientWriter)
	for {
		if len(b.rest) == 0 {
			if err := b.step(); err == io.EOF {
				return written, nil
			} else if err != nil {
				return written, err
			}
		}
		b.readAhead()
		var n int
		if keeping != nil {
			n, err = keeping.TryKeep(b.rest, b.h.c.readMemory.wanted, b.now.keep)
		} else if patient != nil {
			n, err = patient.TryWrite(b.rest, b.h.c.readMemory.wanted)
		} else {
			n, err = w.Write(b.rest)
		}
		written += int64(n)
		b.took(n)
		if err == nil && len(b.rest) > 0 {
			little := b.park()
			n, err = w.Write(little)
			written += int64(n)
			if err == nil && n < len(little) {
				err = io.ErrShortWrite
			}
		}
		if err != nil {
			return written, err
		}
	}
}

// keep has the bytes stay as they are until done is called, however soon the window is released.
func (w window) keep() (done func()) {
	if w.buf == nil {
		return func() { runtime.KeepAlive(w.bytes) } // The collector does not know who else reads them.
	}
	w.buf.Retain()
	return w.buf.Release
}

// took moves on by n bytes that were handed out.
func (b *body) took(n int) {
	b.rest = b.rest[n:]
	b.pos += int64(n)
}

// parkLen is what a reader that is waited for is left with. Once it has taken that it has room for much more: a socket that
// was full tells of room when a third of it is free.
const parkLen = 4 << 10

// park gives all memory back and returns a copy of the next few bytes, to be written while there is none. What was read
// ahead is read again.
func (b *body) park() []byte {
	little := bytes.Clone(b.rest[:min(len(b.rest), parkLen)])
	b.h.c.stats.parkedReads.Add(1)
	b.drop()
	b.pos += int64(len(little))
	b.left = b.end - b.pos
	b.seek(b.pos)
	return little
}

// drop gives back the windows.
func (b *body) drop() {
	b.now.release()
	b.now, b.rest = window{}, nil
	if b.next != nil {
		b.next.close()
		b.next = nil
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
	b.took(n)
	return n, nil
}

func (b *body) Close() error {
	b.drop()
	b.left = 0
	if b.err == nil {
		b.err = io.EOF
	}
	return nil
}

func objectInfo(o *meta.Object) ObjectInfo {
	info := ObjectInfo{Key: o.Key, Version: shownVersion(o.Version), Marker: o.Marker, Size: o.Size, ETag: o.ETag, Modified: o.Modified, Attrs: o.Attrs}
	if len(o.Parts) > 0 {
		info.Parts = make([]PartInfo, len(o.Parts))
		for i, p := range o.Parts {
			info.Parts[i] = PartInfo{Number: p.Number, Size: p.Size, Attrs: p.Attrs}
		}
	}
	return info
}
