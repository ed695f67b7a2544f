package meta

import "fmt"

// applyPut applies the records that bring or move blobs: put blobs, put object, put part, complete upload, relocate.
// This is the path of every PUT; it copies encoded bodies and decodes only what it must act on.
func (t *tx) applyPut(a *Applied) error {
	p := &t.put
	if err := p.parse(a.Payload); err != nil {
		return err
	}
	if p.kind == KindPutPart {
		t.key = appendUploadKey(t.key[:0], p.upload)
		v, found, err := t.get(t.key)
		if err != nil {
			return err
		}
		if !found {
			return t.ignorePart(a)
		}
		r := view(v)
		if p.bucket = r.uploadBucket(); !r.ok() {
			return corruptEntry(t.key)
		}
	}
	if p.kind == KindRelocate {
		return t.relocateBlobs(a)
	}
	if err := t.bringBlobs(a); err != nil {
		return err
	}
	var err error
	switch p.kind {
	case KindPutObject:
		err = t.putObject(a)
	case KindPutPart:
		err = t.putPart(a)
	case KindCompleteUpload:
		t.tombstone(a)
		if err = t.putObject(a); err == nil {
			err = t.removeUpload(a.origin(), p.upload)
		}
	}
	if err != nil {
		return err
	}
	return t.settleRefs()
}

// ignorePart handles a part whose upload has gone: what it alone references goes too, as nothing else ever will.
func (t *tx) ignorePart(a *Applied) error {
	if a.Origin != 0 {
		// The record was carried along for a blob in it; the part has gone as it should.
		return t.bringBlobs(a)
	}
	t.effects.Ignored = append(t.effects.Ignored, a.LSN)
	c := t.put.part.refs
	var alone []BlobID
	for ref, ok := c.next(); ok; ref, ok = c.next() {
		alone = append(alone, ref.Blob)
	}
	return t.dropBlobs(alone)
}

// bringBlobs enters the blobs that the record at hand brings along. A relocated one brings none, it moves those that live.
func (t *tx) bringBlobs(a *Applied) error {
	p := &t.put
	for i := range p.blobs {
		b := &p.blobs[i]
		if err := t.bringBlob(a, b.id, b.size, b.share, func(dst []byte) []byte { return append(dst, b.body...) }); err != nil {
			return err
		}
	}
	if p.inline.len == 0 {
		return nil
	}
	return t.bringBlob(a, p.inline.id, int64(p.inline.len), p.inline.share, func(dst []byte) []byte {
		e := [1]Extent{a.inlineExtent(p)}
		return appendBlob(dst, e[0].Len, e[:])
	})
}

// inlineExtent says where the inline bytes of the record p lie.
func (a *Applied) inlineExtent(p *put) Extent {
	at := a.Loc
	at.Off += uint32(len(a.Payload) - p.inline.len)
	at.Len = uint32(p.inline.len)
	return Extent{Volume: at.Volume, Len: int64(p.inline.len), Inline: true, At: at, Sum: p.inline.sum}
}

func (t *tx) bringBlob(a *Applied, id BlobID, size, share int64, body func(dst []byte) []byte) error {
	t.key = appendBlobKey(t.key[:0], id)
	now := a.held(share)
	if a.Origin != 0 {
		v, found, err := t.get(t.key)
		if err != nil || !found {
			return err
		}
		r := view(v)
		if old := r.held(); old.lsn == now.lsn {
			t.hold(old, true, now)
			t.val = body(appendHeld(t.val[:0], now))
			return t.set(t.key, t.val)
		}
		return nil
	}
	// Ids are never reused and Apply never sees a record twice, so there is nothing to look for.
	t.val = body(appendHeld(t.val[:0], now))
	if err := t.set(t.key, t.val); err != nil {
		return err
	}
	t.live(now.volume, now.share)
	t.refs.bring(id, size)
	r := view(t.val)
	r.held()
	return t.extents(&r, id, +1)
}

// relocateBlobs has the blobs of the record at hand, as far as they are there, lie where it says.
func (t *tx) relocateBlobs(a *Applied) error {
	for i := range t.put.blobs {
		if err := t.relocateBlob(a, &t.put.blobs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) relocateBlob(a *Applied, b *putBlob) error {
	t.key = appendBlobKey(t.key[:0], b.id)
	v, found, err := t.get(t.key)
	if err != nil || !found {
		return err // Deleted while its bytes were written again.
	}
	r := view(v)
	old, now := r.held(), a.held(b.share)
	was := r
	if size, _ := was.blobHead(); !was.ok() || size != b.size {
		return fmt.Errorf("%w: blob %#x of %d bytes is relocated with %d", ErrInconsistent, uint64(b.id), size, b.size)
	}
	turn := a.decide(old, true)
	if turn == stale {
		return nil
	}
	if turn == replaces {
		if err := t.extents(&r, b.id, -1); err != nil {
			return err
		}
	}
	t.hold(old, true, now)
	t.val = append(appendHeld(t.val[:0], now), b.body...)
	if err := t.set(t.key, t.val); err != nil || turn == moves {
		return err
	}
	r = view(t.val)
	r.held()
	return t.extents(&r, b.id, +1)
}

// extents counts the bulk extents of the blob body in r as live and enters them in the reverse index; with sign -1 it takes both back.
func (t *tx) extents(r *reader, id BlobID, sign int64) error {
	size, n := r.blobHead()
	var err error
	r.extentsOf(size, n, false, func(e Extent) {
		if e.Inline || err != nil {
			return // Inline bytes are in the share of the record that holds them.
		}
		t.live(e.Volume, sign*e.Len)
		key := appendExtentKey(nil, e.Volume, e.Off)
		if sign < 0 {
			err = t.del(key)
		} else {
			err = t.set(key, appendExtentOwner(nil, id))
		}
	})
	if err == nil && !r.done() {
		err = fmt.Errorf("%w: blob %#x", ErrCorrupt, uint64(id))
	}
	return err
}

// putPart puts the part of the record at hand, or moves it.
func (t *tx) putPart(a *Applied) error {
	p := &t.put
	t.key = appendPartKey(t.key[:0], p.upload, p.part.number)
	v, found, err := t.get(t.key)
	if err != nil {
		return err
	}
	var old held
	var head partHead
	if found {
		r := view(v)
		if old, head = r.held(), r.skipUploadPart(); !r.done() {
			return corruptEntry(t.key)
		}
	}
	now := a.held(p.share)
	switch a.decide(old, found) {
	case stale:
		return nil
	case replaces:
		usage, err := t.usage(p.bucket)
		if err != nil {
			return err
		}
		usage.now.addPart(p.part.size, +1)
		t.refs.addAll(p.part.refs, +1)
		if found {
			usage.now.addPart(head.size, -1)
			t.refs.addAll(head.refs, -1)
		}
		t.key = appendPartKey(t.key[:0], p.upload, p.part.number)
	}
	t.hold(old, found, now)
	t.val = append(appendHeld(t.val[:0], now), p.body...)
	return t.set(t.key, t.val)
}
