package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// hedgeAfter is when a read stops waiting for its drive and reconstructs from the others, if nobody knows better: far above what a
// working drive takes, far below what a client waits.
const hedgeAfter = 300 * time.Millisecond

// fixedHedger waits for hedgeAfter and no longer.
type fixedHedger struct{}

func (fixedHedger) After(*drive.Watch) time.Duration { return hedgeAfter }
func (fixedHedger) Step() time.Duration              { return hedgeAfter }
func (fixedHedger) May(*drive.Watch) bool            { return true }
func (fixedHedger) Answered()                        {}

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

	cover, err := rr.direct(ctx)
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
	if errors.Is(err, ioring.ErrArenaFull) {
		return nil, nil, false, err // It takes more of it to decode.
	}
	j.noteDegraded(loc, err)
	if v.M() == 0 {
		return nil, nil, true, err
	}
	cover, err = rr.decode(ctx)
	if err == nil {
		if b := wanted(cover.Bytes()); verify(b) {
			return cover, b, true, nil
		}
		cover.Release()
	}
	if errors.Is(err, ioring.ErrArenaFull) {
		return nil, nil, true, err
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

// degradedLogEvery is how often wrong bytes are logged: a drive that lies does so in every record.
const degradedLogEvery = time.Minute

// noteDegraded logs why a record is not simply read. That a drive is missing was said when it went.
func (j *Journal) noteDegraded(loc meta.RecordLoc, err error) {
	level := slog.LevelDebug
	if errors.Is(err, ErrDamaged) {
		now, last := time.Now().Unix(), j.degradedLogged.Load()
		if now-last >= int64(degradedLogEvery/time.Second) && j.degradedLogged.CompareAndSwap(last, now) {
			level = slog.LevelWarn
		}
	}
	j.opts.Logger.Log(context.Background(), level, "a journal record is read degraded", "record", loc, "error", err)
}

// rangeRead reads a range of one shard of a batch.
type rangeRead struct {
	opts     *Options
	vol      Volume
	batch    int64 // Offset of the batch.
	shard    int
	from, to int // Range of the block, in whole blocks of the drive.
}

// memory waits for a buffer, though not as long as for a drive.
func (rr *rangeRead) memory(ctx context.Context, n int) (*ioring.Buf, error) {
	ctx, cancel := context.WithTimeout(ctx, rr.opts.MemoryWait)
	defer cancel()
	return rr.opts.Arena.Get(ctx, n)
}

// piece is one drive read. Its memory belongs to a buffer that the drive holds as long as it has not finished, so that one
// that hangs keeps nothing that is looked at again.
type piece struct {
	op    drive.Op
	bytes []byte
	shard int
}

// stretch is a part of a shard's block.
type stretch struct{ shard, from, to int }

func (s stretch) len() int { return s.to - s.from }

// readable reports whether the drive of a stretch is there, and takes reads.
func (rr *rangeRead) readable(s stretch) bool {
	file := rr.vol.Shard(s.shard)
	return file != nil && rr.batch+int64(s.to) <= file.Size() && !file.Drive().Watch().Full()
}

// start submits a read of a stretch into part of buf; it comes back on over. It returns nil when the drive is missing.
func (rr *rangeRead) start(s stretch, buf *ioring.Buf, into []byte, over chan<- *piece) *piece {
	file := rr.vol.Shard(s.shard)
	if file == nil || !rr.readable(s) {
		return nil
	}
	buf.Retain() // The drive's.
	p := &piece{bytes: into, shard: s.shard}
	p.op = drive.Op{Kind: drive.Read, File: file, Off: rr.batch + int64(s.from), Bufs: [][]byte{into}, Done: func(*drive.Op) {
		buf.Release()
		over <- p
	}}
	file.Queue().Submit(&p.op)
	return p
}

// direct reads the range from the shard itself.
func (rr *rangeRead) direct(ctx context.Context) (*ioring.Buf, error) {
	s := stretch{rr.shard, rr.from, rr.to}
	if !rr.readable(s) {
		return nil, rr.missing()
	}
	hedged := rr.vol.M() > 0
	if file := rr.vol.Shard(rr.shard); hedged && file != nil && file.Drive().Watch().Avoid() {
		return nil, rr.missing()
	}
	buf, err := rr.memory(ctx, s.len())
	if err != nil {
		return nil, err
	}
	over := make(chan *piece, 1)
	p := rr.start(s, buf, buf.Bytes(), over)
	if p == nil {
		buf.Release()
		return nil, rr.missing()
	}
	if err = rr.await(ctx, p, over, hedged); err == nil {
		return buf, nil
	}
	buf.Release()
	return nil, err
}

func (rr *rangeRead) missing() error {
	return fmt.Errorf("%w: shard %d of journal volume %x: %w", ErrUnavailable, rr.shard, rr.vol.ID(), errMissing)
}

// await waits for a read as long as the hedger wants, or, if it is not to be hedged, as long as there is patience.
func (rr *rangeRead) await(ctx context.Context, p *piece, over <-chan *piece, hedged bool) error {
	h, watch := rr.opts.Hedger, p.op.File.Drive().Watch()
	limit, step := rr.opts.ReadTimeout, rr.opts.ReadTimeout
	if hedged {
		step = min(h.After(watch), limit)
	}
	timer := time.NewTimer(step)
	defer timer.Stop()
	for waited := step; ; waited += step {
		select {
		case <-over:
			if p.op.Err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, p.op.Err)
			}
			h.Answered()
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		if waited >= limit || hedged && h.May(watch) {
			p.op.GiveUp()
			return fmt.Errorf("%w: shard %d of journal volume %x: read not finished after %v", ErrUnavailable, rr.shard, rr.vol.ID(), waited)
		}
		step = h.Step()
		timer.Reset(step)
	}
}

// gather reads stretches of several shards and returns, of those that came back in time, as many as are enough, in one buffer that the caller releases. The buffer
// begins with spare bytes for the caller's use: all memory is taken at once, because many who held some
// and waited for more would wait for each other.
func (rr *rangeRead) gather(ctx context.Context, spare, enough int, stretches []stretch) (*ioring.Buf, []*piece, error) {
	n := spare
	stretches = slices.DeleteFunc(stretches, func(s stretch) bool { return !rr.readable(s) })
	for _, s := range stretches {
		n += s.len()
	}
	if len(stretches) == 0 {
		return nil, nil, fmt.Errorf("%w: no shard of the batch at %d of journal volume %x: %w", ErrUnavailable, rr.batch, rr.vol.ID(), errMissing)
	}
	buf, err := rr.memory(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	over := make(chan *piece, len(stretches))
	waiting := 0
	mem := buf.Bytes()[spare:]
	for _, s := range stretches {
		if rr.start(s, buf, mem[:s.len():s.len()], over) != nil {
			waiting++
		}
		mem = mem[s.len():]
	}
	timer := time.NewTimer(rr.opts.ReadTimeout)
	defer timer.Stop()
	var back []*piece
	for ; waiting > 0 && len(back) < enough; waiting-- {
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
	return buf, back, nil
}

// header reads the batch's header from the parity shards, which all have one.
func (rr *rangeRead) header(ctx context.Context) (h header, err error) {
	for i := rr.vol.K(); i < rr.vol.K()+rr.vol.M(); i++ {
		buf, back, err := rr.gather(ctx, 0, 1, []stretch{{i, 0, blockAlign}})
		if errors.Is(err, errMissing) {
			continue
		}
		if err != nil {
			return h, err
		}
		at, whole := 0, false
		for _, p := range back {
			at, _, err = parseHeader(p.bytes, &h)
			whole = err == nil
		}
		buf.Release()
		if whole && at == i && h.volume == rr.vol.ID() && h.off == rr.batch && h.k == rr.vol.K() && h.m == rr.vol.M() {
			return h, nil
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
	zero := h.empty()
	var others []stretch
	for i := range h.written().Without(rr.shard).All() {
		if n := h.shardLen(i); n > rr.from {
			others = append(others, stretch{i, rr.from, min(rr.to, n)})
		} else if i < h.k {
			zero = zero.With(i)
		}
	}
	length := rr.to - rr.from
	buf, back, err := rr.gather(ctx, length, h.k-zero.Count(), others)
	if err != nil {
		return nil, err
	}
	out := buf.Bytes()[:length:length]
	skip := max(headerLen-rr.from, 0) // Headers are not encoded.
	var shards [erasure.MaxShards][]byte
	for _, p := range back {
		b := p.bytes
		if len(b) < length {
			long := make([]byte, length)
			copy(long, b)
			b = long
		}
		shards[p.shard] = b[skip:]
	}
	shards[rr.shard] = out[skip:skip]
	if err := rr.vol.Code().Reconstruct(shards[:h.k+h.m], erasure.SetOf(rr.shard), zero); err != nil {
		buf.Release()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return buf, nil
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
