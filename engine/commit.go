package engine

import (
	"context"
	"errors"
	"fmt"

	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/ioring"
	"penstock/meta"
)

// maxAttrsLen bounds an object's attributes, names and values together, so that every record fits a batch.
const maxAttrsLen = 64 << 10

var errAttrs = errors.New("more attributes than one object may have")

// commit appends a record and returns when it is durable and applied.
func (c *cell) commit(ctx context.Context, r meta.Record) error {
	// A client that goes away while its record is under way gains nothing from an early return, and the answer
	// would be "unknown". The journal bounds the wait.
	_, err := c.journal.Append(context.WithoutCancel(ctx), r.AppendTo(nil))
	return err
}

// commitObject appends the record of an object with what was received for it.
func (c *cell) commitObject(ctx context.Context, bucket meta.BucketID, object *meta.Object, r *received) error {
	if err := checkAttrs(object.Attrs); err != nil {
		return err
	}
	record := &meta.PutObject{Bucket: bucket, Object: *object}
	if r == nil {
		return c.commit(ctx, record)
	}
	record.Object.Blobs, record.Blobs, record.Inline = c.contents(r)
	return c.commitWith(ctx, record.AppendHeader(nil, len(r.inline())), r)
}

// commitPart is commitObject for a part.
func (c *cell) commitPart(ctx context.Context, id meta.UploadID, part *meta.UploadPart, r *received) error {
	if err := checkAttrs(part.Attrs); err != nil {
		return err
	}
	record := &meta.PutPart{Upload: id, Part: *part}
	if r == nil {
		return c.commit(ctx, record)
	}
	record.Part.Blobs, record.Blobs, record.Inline = c.contents(r)
	return c.commitWith(ctx, record.AppendHeader(nil, len(r.inline())), r)
}

func (c *cell) commitWith(ctx context.Context, head []byte, r *received) error {
	ctx = context.WithoutCancel(ctx)
	ticket, err := c.journal.AppendAsync(ctx, journal.Entry{Head: head, Body: r.inline()})
	if err != nil {
		return err
	}
	_, err = ticket.Wait(ctx)
	return err
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
	n := 0
	for i := range attrs {
		n += len(attrs[i].Name) + len(attrs[i].Value)
	}
	if n > maxAttrsLen {
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

// kindOfCause classifies an error of the packages below.
func kindOfCause(err error) Kind {
	switch {
	case errors.Is(err, errShortBody), errors.Is(err, errLongBody):
		return KindIncompleteBody
	case errors.Is(err, errTooLarge), errors.Is(err, errAttrs), errors.Is(err, journal.ErrTooLarge):
		return KindTooLarge
	case isBody(err):
		return KindBody
	case errors.Is(err, ioring.ErrArenaFull):
		return KindBusy
	case errors.Is(err, volume.ErrFull):
		return KindFull
	case errors.Is(err, journal.ErrUnknown):
		return KindUnknownOutcome
	case errors.Is(err, errCorrupt):
		return KindCorrupt
	case errors.Is(err, journal.ErrUnavailable), errors.Is(err, journal.ErrClosed), errors.Is(err, errUnreadable),
		errors.Is(err, meta.ErrFailed), errors.Is(err, meta.ErrCorrupt), errors.Is(err, volume.ErrNoDrives):
		return KindUnavailable
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return KindBusy
	}
	return KindInternal
}

func isBody(err error) bool {
	_, ok := errors.AsType[bodyError](err)
	return ok
}
