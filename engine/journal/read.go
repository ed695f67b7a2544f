package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// hedgeAfter is when a read stops waiting for its drive and reconstructs from the others: far above what a
// working drive takes, far below what a client waits.
const hedgeAfter = 300 * time.Millisecond

// Read returns n bytes from off on of the record at loc. verify judges them; what it refuses is not returned. The caller releases buf.
//
// A healthy read is one read of the blocks that hold the bytes. If the drive is missing, slow, or the bytes are refused, the same
// range of the batch's other shards is read and decoded; if that is refused too, some other shard is wrong, so the whole batch is read and
// decoded from those blocks that match their checksums. degraded says that it took more than the one read.
func (j *Journal) Read(ctx context.Context, loc meta.RecordLoc, off, n int, verify func([]byte) bool) (buf *ioring.Buf, bytes []byte, degraded bool, err error) {
	v := j.opts.Volumes.Get(loc.Volume)
	if v == nil {
		return nil, nil, false, fmt.Errorf("%w: no drive holds a segment of journal volume %x", ErrUnavailable, loc.Volume)
	}
	if off < 0 || n < 1 || off+n > int(loc.Len) || int(loc.Shard) >= v.K() {
		return nil, nil, false, fmt.Errorf("journal: no bytes %d+%d in a record %+v", off, n, loc)
	}
	rr := rangeRead{opts: &j.opts, vol: v, batch: loc.Batch, shard: int(loc.Shard)}
	first := headerLen + int(loc.Off) + off // In the block.
	rr.from = first &^ (blockAlign - 1)
	rr.to = (first + n + blockAlign - 1) &^ (blockAlign - 1)
	wanted := func(cover []byte) []byte { return cover[first-rr.from : first-rr.from+n : first-rr.from+n] }

	limit := hedgeAfter
	if v.M() == 0 {
		limit = j.opts.ReadTimeout
	}
	cover, err := rr.direct(ctx, limit)
	if err == nil {
		if b := wanted(cover.Bytes()); verify(b) {
			return cover, b, false, nil
		}
		cover.Release()
		err = fmt.Errorf("%w: record %+v is not what was written", ErrDamaged, loc)
	}
	if ctx.Err() != nil {
		return nil, nil, false, context.Cause(ctx)
	}
	j.opts.Logger.Warn("a journal record is read degraded", "record", fmt.Sprintf("%+v", loc), "error", err)
	if v.M() == 0 {
		return nil, nil, true, err
	}
	if cover, err := rr.decode(ctx); err == nil {
		if b := wanted(cover.Bytes()); verify(b) {
			return cover, b, true, nil
		}
		cover.Release()
	}
	buf, payload, err := rr.whole(ctx)
	if err != nil {
		return nil, nil, true, err
	}
	if end := int(loc.Off) + off + n; end <= len(payload) {
		if b := payload[end-n : end : end]; verify(b) {
			return buf, b, true, nil
		}
	}
	buf.Release()
	return nil, nil, true, fmt.Errorf("%w: no combination of shards yields record %+v as it was written", ErrDamaged, loc)
}

// rangeRead reads a range of one shard of a batch.
type rangeRead struct {
	opts     *Options
	vol      Volume
	batch    int64 // Offset of the batch.
	shard    int
	from, to int // Range of the block, in whole blocks of the drive.
}

// piece is one drive read into memory of its own, so that a drive that hangs keeps nothing that is looked at again.
type piece struct {
	op    drive.Op
	buf   *ioring.Buf
	shard int
}

// start submits a read of one stretch of a shard's block; it comes back on over. nil means that the drive is missing.
func (rr *rangeRead) start(ctx context.Context, shard, from, to int, over chan<- *piece) (*piece, error) {
	file := rr.vol.Shard(shard)
	if file == nil || rr.batch+int64(to) > file.Size() {
		return nil, nil
	}
	buf, err := rr.opts.Arena.Get(ctx, to-from)
	if err != nil {
		return nil, err
	}
	buf.Retain() // The drive's.
	p := &piece{buf: buf, shard: shard}
	p.op = drive.Op{Kind: drive.Read, File: file, Off: rr.batch + int64(from), Bufs: [][]byte{buf.Bytes()}, Done: func(*drive.Op) {
		buf.Release()
		over <- p
	}}
	file.Queue().Submit(&p.op)
	return p, nil
}

// direct reads the range from the shard itself.
func (rr *rangeRead) direct(ctx context.Context, limit time.Duration) (*ioring.Buf, error) {
	over := make(chan *piece, 1)
	p, err := rr.start(ctx, rr.shard, rr.from, rr.to, over)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, fmt.Errorf("%w: shard %d of journal volume %x: %w", ErrUnavailable, rr.shard, rr.vol.ID(), errMissing)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-over:
		if p.op.Err != nil {
			p.buf.Release()
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, p.op.Err)
		}
		return p.buf, nil
	case <-timer.C:
		err = fmt.Errorf("%w: shard %d of journal volume %x: read not finished after %v", ErrUnavailable, rr.shard, rr.vol.ID(), limit)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.buf.Release()
	return nil, err
}

// gather reads the same stretch of several shards and returns those that came back in time. The caller releases them.
func (rr *rangeRead) gather(ctx context.Context, shards erasure.Set, stretch func(shard int) (from, to int)) ([]*piece, error) {
	over := make(chan *piece, erasure.MaxShards)
	var pieces, back []*piece
	for i := range shards.All() {
		from, to := stretch(i)
		p, err := rr.start(ctx, i, from, to, over)
		if err != nil {
			for _, p := range pieces {
				p.buf.Release()
			}
			return nil, err
		}
		if p != nil {
			pieces = append(pieces, p)
		}
	}
	timer := time.NewTimer(rr.opts.ReadTimeout)
	defer timer.Stop()
	for waiting := len(pieces); waiting > 0; waiting-- {
		select {
		case p := <-over:
			if p.op.Err == nil {
				back = append(back, p)
			}
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		break
	}
	for _, p := range pieces {
		if !slices.Contains(back, p) {
			p.buf.Release()
		}
	}
	return back, nil
}

// header reads the batch's header from the parity shards, which all have one.
func (rr *rangeRead) header(ctx context.Context) (h header, err error) {
	for i := rr.vol.K(); i < rr.vol.K()+rr.vol.M(); i++ {
		back, err := rr.gather(ctx, erasure.SetOf(i), func(int) (int, int) { return 0, blockAlign })
		if err != nil {
			return h, err
		}
		for _, p := range back {
			at, _, err := parseHeader(p.buf.Bytes(), &h)
			p.buf.Release()
			if err == nil && at == i && h.volume == rr.vol.ID() && h.off == rr.batch && h.k == rr.vol.K() && h.m == rr.vol.M() {
				return h, nil
			}
		}
	}
	return h, fmt.Errorf("%w: no header at %d of journal volume %x", ErrUnavailable, rr.batch, rr.vol.ID())
}

// decode decodes the range from the same range of the other shards.
func (rr *rangeRead) decode(ctx context.Context) (*ioring.Buf, error) {
	h, err := rr.header(ctx)
	if err != nil {
		return nil, err
	}
	if rr.to > h.length() || h.empty().Has(rr.shard) {
		return nil, fmt.Errorf("%w: batch at %d of journal volume %x has no bytes %d to %d", ErrDamaged, rr.batch, rr.vol.ID(), rr.from, rr.to)
	}
	// Shards that end before the range count as zeros in it.
	var others, zero erasure.Set
	for i := range h.written().Without(rr.shard).All() {
		if h.shardLen(i) <= rr.from {
			zero = zero.With(i)
		} else {
			others = others.With(i)
		}
	}
	back, err := rr.gather(ctx, others, func(i int) (int, int) { return rr.from, min(rr.to, h.shardLen(i)) })
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range back {
			p.buf.Release()
		}
	}()
	out, err := rr.opts.Arena.Get(ctx, rr.to-rr.from)
	if err != nil {
		return nil, err
	}
	skip := max(headerLen-rr.from, 0) // Headers are not encoded.
	var shards [erasure.MaxShards][]byte
	for _, p := range back {
		b := p.buf.Bytes()
		if len(b) < rr.to-rr.from {
			long := make([]byte, rr.to-rr.from)
			copy(long, b)
			b = long
		}
		shards[p.shard] = b[skip:]
	}
	shards[rr.shard] = out.Bytes()[skip:skip]
	if err := rr.vol.Code().Reconstruct(shards[:h.k+h.m], erasure.SetOf(rr.shard), h.empty()|zero&firstShards(h.k)); err != nil {
		out.Release()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return out, nil
}

// whole returns the payload of the shard after decoding the batch from those blocks that are whole.
func (rr *rangeRead) whole(ctx context.Context) (*ioring.Buf, []byte, error) {
	r := newReader(ctx, rr.opts, rr.vol, firstShards(rr.vol.K()+rr.vol.M()), probeWindow)
	defer r.close()
	if err := r.next(expectation{off: rr.batch, any: true}); err != nil {
		if u, ok := err.(*undecodable); ok && u.blind() {
			return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	h := &r.header
	if h.empty().Has(rr.shard) {
		return nil, nil, fmt.Errorf("%w: batch at %d of journal volume %x has nothing on shard %d", ErrDamaged, rr.batch, rr.vol.ID(), rr.shard)
	}
	buf := r.shards[rr.shard].buf
	buf.Retain()
	return buf, r.block(rr.shard, h.off, h.dataLen(rr.shard))[headerLen : headerLen+h.lens[rr.shard]], nil
}
