package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/ioring"
	"penstock/meta"
)

// maxAttrsLen bounds an object's attributes, names and values together, so that every record fits a batch.
const maxAttrsLen = 64 << 10

var (
	errAttrs   = errors.New("more attributes than one object may have")
	errNameLen = errors.New("a bucket's name has 1 to 255 bytes")
)

// commit appends a record and returns when it is durable and applied. The caller has entered b.
//
// It waits on no context of the caller's: a client that goes away while its record is under way gains nothing from an early return, and
// the answer would be "unknown". The journal bounds the wait.
func (b *base) commit(r meta.Record) error { return b.commitAll(nil, r) }

// commitAll is commit of several records, all of them or none. A look that is nil is none.
func (b *base) commitAll(look *meta.Look, records ...meta.Record) error {
	encoded := make([][]byte, 0, len(records)+1)
	for _, r := range records {
		if err := b.checkTight(r.Kind()); err != nil {
			return err
		}
		encoded = append(encoded, r.AppendTo(nil))
	}
	if look != nil {
		encoded = append(encoded, look.AppendTo(nil))
	}
	_, err := b.journal.Append(b.ctx, encoded...)
	return b.commitError(err)
}

// commitError makes an end of the base's context, which no caller knows of, an error that says so.
func (b *base) commitError(err error) error {
	if err != nil && b.ctx.Err() != nil && !errors.Is(err, journal.ErrUnknown) {
		return errDown // Withdrawn, or refused.
	}
	return err
}

// commit is that of the current base, for records that rest on nothing the caller has seen in it.
func (c *cell) commit(r meta.Record) error { return c.commitAll(nil, r) }

func (c *cell) commitAll(look *meta.Look, records ...meta.Record) error {
	b, err := c.enter()
	if err != nil {
		return err
	}
	defer b.leave()
	return b.commitAll(look, records...)
}

// commitObject appends the record of an object with what was received for it, and a look if that is not nil.
func (b *base) commitObject(bucket meta.BucketID, object *meta.Object, r *received, look *meta.Look) error {
	if err := checkAttrs(object.Attrs); err != nil {
		return err
	}
	record := &meta.PutObject{Bucket: bucket, Object: *object}
	if r == nil {
		return b.commitAll(look, record)
	}
	record.Object.Blobs, record.Blobs, record.Inline = b.c.contents(r)
	return b.commitWith(record.AppendHeader(nil, len(r.inline())), r, look)
}

// commitPart is commitObject for a part.
func (b *base) commitPart(id meta.UploadID, part *meta.UploadPart, r *received) error {
	if err := checkAttrs(part.Attrs); err != nil {
		return err
	}
	record := &meta.PutPart{Upload: id, Part: *part}
	if r == nil {
		return b.commit(record)
	}
	record.Part.Blobs, record.Blobs, record.Inline = b.c.contents(r)
	return b.commitWith(record.AppendHeader(nil, len(r.inline())), r, nil)
}

func (b *base) commitWith(head []byte, r *received, look *meta.Look) error {
	if err := b.checkTight(meta.KindPutObject); err != nil {
		return err
	}
	b.c.front.Add(1)
	entries := [2]journal.Entry{{Head: head, Body: r.inline()}}
	n := 1
	if look != nil {
		entries[1], n = journal.Entry{Head: look.AppendTo(nil)}, 2
	}
	ticket, err := b.journal.AppendAsync(b.ctx, entries[:n]...)
	if err == nil {
		_, err = ticket.Wait(b.ctx)
	}
	return b.commitError(err)
}

// contents returns the references to what was received, and the blobs that the record must bring along.
func (c *cell) contents(r *received) (refs []meta.BlobRef, bring []meta.Blob, inline *meta.Inline) {
	switch {
	case r.sums.Size == 0:
		return nil, nil, nil
	case r.room != nil:
		inline = &meta.Inline{ID: c.nextBlob(), Sum: r.sums.CRC64NVME, Data: r.inline()}
		return []meta.BlobRef{{Blob: inline.ID, Len: r.sums.Size}}, nil, inline
	}
	for _, blob := range r.blobs {
		refs = append(refs, meta.BlobRef{Blob: blob.ID, Len: blob.Size})
		if blob.Extents != nil {
			bring = append(bring, blob)
		}
	}
	return refs, bring, nil
}

func checkAttrs(attrs []Attr) error {
	if n := attrsLen(attrs); n > maxAttrsLen {
		return fmt.Errorf("%d bytes of attributes, %d allowed: %w", n, maxAttrsLen, errAttrs)
	}
	return nil
}

// nextBlob returns an id that no blob or bucket has ever had.
func (c *cell) nextBlob() meta.BlobID {
	n := c.sequence.Add(1)
	if n>>32 != 0 {
		panic("engine: more than 4 billion blobs in one run")
	}
	return meta.BlobID(uint64(c.set.Epoch())<<32 | n)
}

// kindOfCause classifies an error of the packages below. What says more about the outcome comes first.
func kindOfCause(err error) Kind {
	switch {
	case errors.Is(err, errShortBody), errors.Is(err, errLongBody):
		return KindIncompleteBody
	case errors.Is(err, errTooLarge), errors.Is(err, errAttrs), errors.Is(err, errNameLen), errors.Is(err, journal.ErrTooLarge):
		return KindTooLarge
	case errors.Is(err, errQuota):
		return KindQuota
	case errors.Is(err, errQuotaAttr), errors.Is(err, errVersioning), errors.Is(err, errLockConfig), errors.Is(err, errRules):
		return KindPrecondition
	case errors.Is(err, errLocked), errors.Is(err, errUnreadableLock), errors.Is(err, errLockAttrs):
		return KindLocked
	case errors.Is(err, errNoLock):
		return KindNoLock
	case isBody(err):
		return KindBody
	case errors.Is(err, journal.ErrUnknown):
		return KindUnknownOutcome
	case errors.Is(err, meta.ErrFailed):
		return KindUnavailable // Whatever has failed it.
	case errors.Is(err, volume.ErrFull):
		return KindFull
	case errors.Is(err, errCorrupt):
		return KindCorrupt
	case errors.Is(err, journal.ErrUnavailable), errors.Is(err, journal.ErrClosed), errors.Is(err, errUnreadable), errors.Is(err, errDown),
		errors.Is(err, meta.ErrCorrupt), errors.Is(err, volume.ErrNoDrives), errors.Is(err, volume.ErrClosed):
		return KindUnavailable
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, ioring.ErrArenaFull), errors.Is(err, context.DeadlineExceeded):
		return KindBusy
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return KindUnavailable // A drive, or the index's file system, does not do what it is asked.
	}
	return KindInternal
}

func isBody(err error) bool {
	_, ok := errors.AsType[bodyError](err)
	return ok
}
