package journal

import (
	"errors"
	"fmt"
	"time"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/meta"
)

// discontinuity says that the batch which was looked for is there and does not continue those before it.
type discontinuity struct {
	volume meta.VolumeID
	number uint64
	lsn    meta.LSN // Its first LSN.
	want   meta.LSN
}

func (d *discontinuity) Error() string {
	return fmt.Sprintf("batch %d of journal volume %x, which begins at LSN %d, does not continue what ends before LSN %d", d.number, d.volume, d.lsn, d.want)
}

// findHeader looks for the header of the batch that e describes in all shards loaded.
func (r *reader) findHeader(e expectation) (found header, ok bool, err error) {
	var other *discontinuity
	for i := range r.loaded.All() {
		b := r.block(i, e.off, headerLen)
		if b == nil {
			continue
		}
		var h header
		shard, _, err := parseHeader(b, &h)
		switch {
		case errors.Is(err, ErrVersion):
			return h, false, fmt.Errorf("journal volume %x at %d: %w", r.vol.ID(), e.off, err)
		case err != nil || shard != i || !r.isBatch(&h, e):
			continue
		case e.any || e.anyLSN || h.chain == e.chain && h.firstLSN == e.lsn:
			return h, true, nil
		}
		other = &discontinuity{h.volume, h.number, h.firstLSN, e.lsn}
	}
	if other != nil {
		return found, false, other
	}
	return found, false, nil
}

// isBatch reports whether h is a header of the batch that e describes.
func (r *reader) isBatch(h *header, e expectation) bool {
	if h.volume != r.vol.ID() || h.k != r.vol.K() || h.m != r.vol.M() || h.off != e.off {
		return false
	}
	return e.any || h.number == e.number && (e.salt == 0 || h.salt == e.salt)
}

// decode decodes the batch from the shards loaded.
func (r *reader) decode(e expectation) error {
	h, ok, err := r.findHeader(e)
	if err != nil {
		return err
	}
	if !ok {
		return r.undecodable(e, nil)
	}
	if h.end() > r.vol.Capacity() {
		return r.undecodable(e, nil)
	}
	if n := h.length(); e.off+int64(n) > r.from+int64(r.length) {
		return &shortWindow{n}
	}
	r.header = h
	r.good = 0
	for i := range r.loaded.All() {
		if r.verify(i) {
			r.good = r.good.With(i)
		}
	}
	needed := h.written() & firstShards(h.k)
	if r.good&needed != needed {
		if (r.good & h.written()).Count() < needed.Count() {
			return r.undecodable(e, &h)
		}
		if err := r.reconstruct(needed &^ r.good); err != nil {
			return err
		}
	}
	return r.parse()
}

// verify reports whether a shard's block is whole; a shard that has none is.
func (r *reader) verify(shard int) bool {
	h := &r.header
	n := h.shardLen(shard)
	if n == 0 {
		return true
	}
	b := r.block(shard, h.off, n)
	if b == nil {
		return false
	}
	var own header
	at, sum, err := parseHeader(b, &own)
	return err == nil && at == shard && own.sum == h.sum && (shard >= h.k || sum == h.sums[shard]) && erasure.Checksum(b[headerLen:]) == sum
}

// reconstruct decodes the data shards in want from those that are good, into the window.
func (r *reader) reconstruct(want erasure.Set) error {
	h := &r.header
	length := h.length()
	var payloads [erasure.MaxShards][]byte
	for i := range r.n() {
		switch {
		case want.Has(i):
			mem, err := r.spare(i, h.off, length)
			if err != nil {
				return err
			}
			payloads[i] = mem[headerLen:headerLen:length]
		case h.shardLen(i) != 0 && r.good.Has(i):
			// A shorter block is followed by bytes that nobody owns, up to the next batch. They count as zeros.
			b := r.block(i, h.off, length)
			if b == nil { // The segment was cut behind the block.
				b = make([]byte, length)
				copy(b, r.block(i, h.off, h.shardLen(i)))
			}
			clear(b[h.shardLen(i):])
			payloads[i] = b[headerLen:]
		}
	}
	if err := r.vol.Code().Reconstruct(payloads[:r.n()], want, h.empty()); err != nil {
		return err
	}
	for i := range want.All() {
		if erasure.Checksum(payloads[i][:h.dataLen(i)-headerLen]) != h.sums[i] {
			// Every source has verified, so this takes a forgery or a bug in the code.
			return fmt.Errorf("%w: batch %d of volume %x: shard %d does not decode to what was written", ErrDamaged, h.number, h.volume, i)
		}
	}
	return nil
}

// spare returns the window's memory for a stretch of a shard that could not be read.
func (r *reader) spare(shard int, off int64, n int) ([]byte, error) {
	w := &r.shards[shard]
	if w.buf == nil {
		buf, err := r.opts.Arena.Get(r.ctx, r.length)
		if err != nil {
			return nil, err
		}
		w.buf = buf
	}
	if w.mem == nil {
		w.mem = w.buf.Bytes()[:0]
	}
	from := int(off - r.from)
	if from+n > len(w.mem) {
		w.mem = w.buf.Bytes()[:from+n]
	}
	return w.mem[from : from+n], nil
}

// parse takes the payloads of the data shards apart into r.records, in the order of LSNs.
func (r *reader) parse() error {
	h := &r.header
	clear(r.records[:cap(r.records)])
	if cap(r.records) < int(h.count) {
		r.records = make([]Record, h.count)
	}
	r.records = r.records[:h.count]
	r.more = append(r.more[:0], make([]bool, h.count)...)
	found := 0
	for shard, n := range h.lens[:h.k] {
		if n == 0 {
			continue
		}
		payload := r.block(shard, h.off, h.dataLen(shard))[headerLen : headerLen+n]
		for off := 0; off < len(payload); {
			f, end, err := parseFrame(payload, off)
			if err == nil && (f.index >= h.count || r.records[f.index].LSN != 0) {
				err = fmt.Errorf("%w: record %d of %d twice or too many", errFrame, f.index, h.count)
			}
			if err != nil {
				return fmt.Errorf("%w: batch %d of volume %x, shard %d: %w", ErrDamaged, h.number, h.volume, shard, err)
			}
			rec := Record{LSN: h.firstLSN + meta.LSN(f.index), Origin: f.origin, Payload: f.bytes, Loc: meta.RecordLoc{
				Volume: h.volume, Batch: h.off, Shard: uint8(shard), Off: uint32(f.off), Len: uint32(len(f.bytes)),
			}}
			r.records[f.index], r.more[f.index] = rec, f.more
			found++
			off = end
		}
	}
	if found != int(h.count) {
		return fmt.Errorf("%w: batch %d of volume %x: %d records of %d", ErrDamaged, h.number, h.volume, found, h.count)
	}
	return nil
}

// rebuild returns the block of a shard of the batch read last, as it was written. All data shards are good or decoded.
func (r *reader) rebuild(shard int) ([]byte, error) {
	h := &r.header
	var blocks [erasure.MaxShards][]byte
	for i := range h.k {
		if n := h.dataLen(i); n != 0 {
			blocks[i] = r.block(i, h.off, n)
		}
	}
	payloadSum := uint64(0)
	if shard < h.k {
		payloadSum = h.sums[shard]
	} else {
		for i := h.k; i < h.k+h.m; i++ {
			if i != shard {
				blocks[i] = make([]byte, h.length()) // Computed along, and dropped: a repair is rare.
				continue
			}
			mem, err := r.spare(i, h.off, h.length())
			if err != nil {
				return nil, err
			}
			blocks[i] = mem
		}
		if err := encodeParity(r.vol.Code(), &blocks); err != nil {
			return nil, err
		}
		payloadSum = erasure.Checksum(blocks[shard][headerLen:])
	}
	var common [commonLen]byte
	sealed := *h
	sealed.seal(&common)
	putHeader(blocks[shard], &common, sealed.sum, shard, payloadSum)
	return blocks[shard], nil
}

// write writes a block of the batch read last and waits until it is durable.
func (r *reader) write(file drive.File, shard int, block []byte) error {
	buf := r.shards[shard].buf
	buf.Retain()
	over := make(chan error, 1)
	op := &drive.Op{Kind: drive.Write, File: file, Off: r.header.off, Bufs: [][]byte{block}, Done: func(op *drive.Op) {
		buf.Release()
		over <- op.Err
	}}
	drive.Submit([]*drive.Op{op})
	timer := time.NewTimer(r.opts.WriteTimeout)
	defer timer.Stop()
	select {
	case err := <-over:
		return err
	case <-timer.C:
		w := &r.shards[shard]
		w.buf.Release() // The drive keeps it.
		*w = shardWindow{out: true, err: fmt.Errorf("write of %d bytes not finished after %v", len(block), r.opts.WriteTimeout)}
		return w.err
	}
}
