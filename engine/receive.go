package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

const (
	// PackThreshold is the largest body that lives inside its journal record. Below it one read gets an object and one batch
	// puts it; above it, the journal would carry bytes that a column per drive carries better.
	PackThreshold = 128 << 10

	// blobUnits bounds a blob, so that its record, 8 bytes a unit, stays well below what a batch takes: 1 GiB and more on 4+2.
	blobUnits = 32 << 10

	// stripesInFlight is how many stripes of one upload may be on their way to the drives while the next one is received.
	stripesInFlight = 2

	// admissionWait is how long a request may wait for its first buffer before it is told to come back later. Clients
	// exist that give up on a stall of one second.
	admissionWait = 900 * time.Millisecond

	// bufferWait bounds the wait for the further buffers of a body that is under way; drives that hang longer are fenced by then.
	bufferWait = 30 * time.Second
)

// bodyError marks a failure of the caller's reader, or of its judgement.
type bodyError struct{ err error }

func (e bodyError) Error() string { return "body: " + e.err.Error() }
func (e bodyError) Unwrap() error { return e.err }

var (
	errShortBody = errors.New("the body ended before its announced length")
	errLongBody  = errors.New("the body goes on after its announced length")
	errTooLarge  = errors.New("the body is larger than one write may be")
)

// received is a body that is in: inline bytes waiting for their record, or blobs whose bytes are durable in bulk volumes.
type received struct {
	sums Sums

	room *ioring.Buf // Inline: holds the body. nil for an empty one.

	// Bulk.
	blobs      []meta.Blob
	placements []placement
	spilled    bool // Some of blobs are in the journal already and must be dropped if the upload fails.
}

func (r *received) inline() []byte {
	if r.room == nil {
		return nil
	}
	return r.room.Bytes()[:r.sums.Size]
}

// release gives back memory and pins. The blobs must be committed, or forgotten, by then.
func (r *received) release() {
	if r.room != nil {
		r.room.Release()
		r.room = nil
	}
	for _, p := range r.placements {
		p.release()
	}
	r.placements = nil
}

// settle ends what was received once its record has had the outcome err.
func (c *cell) settle(r *received, err error) {
	switch {
	case r == nil:
	case err == nil:
		r.release()
	case KindOf(err) == KindUnknownOutcome:
		// The next start may find the record, and then the bytes must be there: their volumes stay pinned as long as this process runs.
		r.placements = nil
		r.release()
	default:
		c.forget(r)
	}
}

// admit takes arena memory for a body that may be inline.
func (c *cell) admit(ctx context.Context, n int) (*ioring.Buf, error) {
	ctx, cancel := context.WithTimeout(ctx, admissionWait)
	defer cancel()
	return c.smallMemory.get(ctx, n)
}

// receive reads a body of size bytes, or of unknown size if that is -1, and leaves it durable or inline. On an error nothing is left.
func (c *cell) receive(ctx context.Context, body io.Reader, size int64) (*received, error) {
	if size > MaxPutLen {
		return nil, errTooLarge
	}
	if err := c.checkFull(); err != nil {
		return nil, err
	}
	if size > PackThreshold {
		return c.receiveBulk(ctx, body, nil, size)
	}
	limit := int64(PackThreshold)
	if size >= 0 {
		limit = size
	}
	if limit == 0 {
		return &received{sums: Sums{HasCRC: true}}, expectEnd(body)
	}
	room, err := c.admit(ctx, int(limit))
	if err != nil {
		return nil, err
	}
	r := &received{room: room}
	bytes := room.Bytes()
	n, err := readFull(body, bytes)
	if err != nil {
		r.release()
		return nil, err
	}
	if size < 0 && int64(n) == limit {
		// As large as an inline body can be, and perhaps larger.
		return c.receiveBulk(ctx, body, &prefix{room, bytes[:n]}, -1)
	}
	if int64(n) < size {
		r.release()
		return nil, errShortBody
	}
	if err := expectEnd(body); err != nil {
		r.release()
		return nil, err
	}
	r.sums = Sums{Size: int64(n), CRC64NVME: erasure.Checksum(bytes[:n]), HasCRC: true}
	return r, nil
}

// readFull reads until p is full or the body ends, whichever comes first; the end is not an error.
func readFull(body io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(body, p)
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		return n, nil
	}
	return n, bodyError{err}
}

// expectEnd reads the end of the body, which is also where a decoder checks what follows the last byte.
func expectEnd(body io.Reader) error {
	var one [1]byte
	switch n, err := io.ReadFull(body, one[:]); {
	case n > 0:
		return errLongBody
	case err == io.EOF:
		return nil
	default:
		return bodyError{err}
	}
}

// prefix is what was read of a body before it was known to be a large one. Its memory goes back as soon as it has been passed on.
type prefix struct {
	room *ioring.Buf
	rest []byte
}

func (p *prefix) read(b []byte) int {
	if p == nil || p.room == nil {
		return 0
	}
	n := copy(b, p.rest)
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		p.close()
	}
	return n
}

func (p *prefix) close() {
	if p != nil && p.room != nil {
		p.room.Release()
		p.room, p.rest = nil, nil
	}
}

// bulkReceiver is the state of one body on its way into bulk volumes. One goroutine drives it.
type bulkReceiver struct {
	c        *cell
	body     io.Reader
	prefix   *prefix // nil when nothing of body was read before.
	size     int64   // -1 when unknown.
	read     int64
	r        *received
	inFlight []*stripeJob // In object order.
	blob     meta.Blob    // Under construction.
	units    int          // Of blob.
}

func (c *cell) receiveBulk(ctx context.Context, body io.Reader, prefix *prefix, size int64) (*received, error) {
	defer prefix.close()
	b := &bulkReceiver{c: c, body: body, prefix: prefix, size: size, r: &received{sums: Sums{HasCRC: true}}}
	err := b.run(ctx)
	if err != nil {
		for _, j := range b.inFlight {
			<-j.done
			b.r.placements = append(b.r.placements, j.placements...)
		}
		c.forget(b.r)
		return nil, err
	}
	return b.r, nil
}

func (b *bulkReceiver) run(ctx context.Context) error {
	wait := admissionWait
	for ended := false; !ended; wait = bufferWait {
		job, err := b.nextStripe(ctx, wait)
		if err != nil {
			return err
		}
		n, err := b.fill(job)
		if err != nil || n == 0 {
			job.release()
			if err != nil {
				return err
			}
			break
		}
		ended = b.read == b.size || n < int64(len(job.stripe.Data)) // The latter when the size is unknown.
		// The drives finish what has begun even when the client has gone: the buffer is theirs until then.
		b.c.front.Add(1)
		go job.write(context.WithoutCancel(ctx), b.c)
		b.inFlight = append(b.inFlight, job)
		if len(b.inFlight) > stripesInFlight {
			if err := b.settle(ctx); err != nil {
				return err
			}
		}
	}
	if err := expectEnd(b.body); err != nil {
		return err
	}
	for len(b.inFlight) > 0 {
		if err := b.settle(ctx); err != nil {
			return err
		}
	}
	b.endBlob()
	return nil
}

// nextStripe takes memory for the next stripe: as many rows as remain, fewer when the arena runs low, so that many slow uploads
// share what there is.
func (b *bulkReceiver) nextStripe(ctx context.Context, wait time.Duration) (*stripeJob, error) {
	code, err := b.c.bulk.geometry(ctx)
	if err != nil {
		return nil, err
	}
	rows := b.c.rowBudget()
	if b.size >= 0 {
		rowLen := int64(code.K()) * erasure.UnitLen
		rows = int(min(int64(rows), (b.size-b.read+rowLen-1)/rowLen))
	}
	for ; rows > 1; rows /= 4 {
		if job, err := b.c.newStripe(b.c.uploadMemory.try, code, rows); err == nil {
			return job, nil
		}
	}
	// Who must wait waits for little: many who wait for much would get it one after the other.
	return b.c.newStripe(waitUpTo(ctx, b.c.uploadMemory, wait), code, 1)
}

// rowBudget is the number of rows that a stripe or a read may take now. Half of the arena is for whoever comes first,
// the rest is shared more and more evenly.
func (c *cell) rowBudget() int {
	s := c.arena.Stats()
	switch free := s.Size - s.InUse; {
	case free > s.Size/2:
		return erasure.MaxRows
	case free > s.Size/4:
		return erasure.MaxRows / 4
	}
	return 1
}

// fill receives one stripe row by row, encoding each row while its bytes are in the cache. It returns how many bytes came; fewer than
// asked for only at the end of the body.
func (b *bulkReceiver) fill(job *stripeJob) (int64, error) {
	want := int64(len(job.stripe.Data))
	if b.size >= 0 {
		want = min(want, b.size-b.read)
		job.setLength(want)
	}
	rowLen := int64(job.code.K()) * erasure.UnitLen
	var got int64
	for row := 0; got < want; row++ {
		end := min(got+rowLen, want)
		n, err := b.readRow(job.stripe.Data[got:end])
		got += int64(n)
		b.read += int64(n)
		if err != nil {
			return got, err
		}
		if b.read > MaxPutLen {
			return got, errTooLarge
		}
		if got < end { // The body has ended.
			if b.size >= 0 {
				return got, errShortBody
			}
			if got == 0 {
				return 0, nil
			}
			job.setLength(got)
			if n == 0 {
				break
			}
			want = got
		}
		if err := job.stripe.EncodeRow(job.code, row, job.sums); err != nil {
			return got, err
		}
	}
	return got, nil
}

func (b *bulkReceiver) readRow(p []byte) (int, error) {
	n := b.prefix.read(p)
	if n == len(p) {
		return n, nil
	}
	m, err := readFull(b.body, p[n:])
	return n + m, err
}

// settle waits for the oldest stripe in flight and adds it to the blob.
func (b *bulkReceiver) settle(ctx context.Context) error {
	job := b.inFlight[0]
	<-job.done // Bounded: a drive that hangs is given up on.
	b.inFlight = b.inFlight[1:]
	b.r.placements = append(b.r.placements, job.placements...)
	if job.err != nil {
		return job.err
	}
	for i, e := range job.extents {
		if b.units > 0 && b.units+len(e.Units) > b.c.maxBlobUnits {
			b.endBlob()
			if err := b.spill(ctx); err != nil {
				return err
			}
		}
		b.blob.Extents = append(b.blob.Extents, e)
		b.blob.Size += e.Len
		b.units += len(e.Units)
		b.r.sums.Size += e.Len
		b.r.sums.CRC64NVME = erasure.Combine(b.r.sums.CRC64NVME, extentSum(e, job.placements[i].vol), e.Len)
	}
	return nil
}

// extentSum composes the checksum of a bulk extent's object bytes from those of its data units.
func extentSum(e meta.Extent, vol *volume.Volume) uint64 {
	layout := erasure.Layout{K: vol.K(), M: vol.M(), Length: e.Len}
	var sum uint64
	for u := range layout.Units(0, e.Len) {
		sum = erasure.Combine(sum, e.Units[u.Index], int64(u.DataLen))
	}
	return sum
}

func (b *bulkReceiver) endBlob() {
	if len(b.blob.Extents) == 0 {
		return
	}
	b.blob.ID = b.c.nextBlob()
	b.r.blobs = append(b.r.blobs, b.blob)
	b.blob, b.units = meta.Blob{}, 0
}

// spill puts the finished blobs of a long body into the journal, unreferenced, so that the record which commits the object
// stays small. If the object never comes, they are dropped.
func (b *bulkReceiver) spill(ctx context.Context) error {
	last := &b.r.blobs[len(b.r.blobs)-1]
	if err := b.c.commit(&meta.PutBlobs{Blobs: []meta.Blob{*last}}); err != nil {
		return err
	}
	last.Extents = nil // The index has them.
	b.r.spilled = true
	return nil
}

// forget undoes a body that will not be committed: blobs the journal knows are dropped, pins and memory go back.
func (c *cell) forget(r *received) {
	defer r.release()
	if !r.spilled {
		return
	}
	var ids []meta.BlobID
	for i := range r.blobs {
		if r.blobs[i].Extents == nil {
			ids = append(ids, r.blobs[i].ID)
		}
	}
	// If this fails the journal has failed, and recovery drops unreferenced blobs.
	if err := c.commit(&meta.DropBlobs{IDs: ids}); err != nil {
		c.log.Warn("blobs of a failed upload stay until the next start", "blobs", len(ids), "error", err)
	}
}
