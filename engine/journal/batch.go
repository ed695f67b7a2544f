package journal

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// Record is a record of a committed batch.
type Record struct {
	LSN     meta.LSN
	Origin  meta.LSN // LSN at which a relocated record was first written; 0 for all others.
	Loc     meta.RecordLoc
	Payload []byte // Valid during the call that hands the record out.
}

// Batch is a committed batch.
type Batch struct {
	Position meta.Position // Of the journal behind it.
	Records  []Record      // In the order of their LSNs.
}

// batch is the memory of one batch and all it takes to write it. The committer owns it, from when the memory is taken until the
// batch is durable; then the applier does, and hands it back. While shard writes are in flight the drives own mem and ops.
type batch struct {
	buf *ioring.Buf
	mem []byte

	header  header
	common  [commonLen]byte
	blocks  [erasure.MaxShards][]byte // What is written of each shard; nil for an empty one.
	tickets []*Ticket
	records []Record
	out     Batch
	start   bool // Its only record opens the volume.

	writes  []shardWrite
	submit  []*drive.Op
	pending atomic.Int32 // Writes that are not over, and one for the submission itself.
	over    func()       // Called when pending reaches 0.
	begun   time.Time
	due     time.Time // When the writes are out of time.

	// Owned by the committer.
	settled bool // All writes are over, or given up.
	failed  bool // Some write failed or was given up.
	hung    bool // Some write was given up: the memory is the drive's for who knows how long.
	users   int  // Tickets waiting to be packed again that lie in mem.
}

// shardWrite is the write of one shard's block.
type shardWrite struct {
	op   drive.Op
	vec  [1][]byte
	over atomic.Bool
}

// newBatch makes a batch of buf's memory, which it owns from now on. over is called from any goroutine when all writes of the
// batch are over; it must not block.
func newBatch(buf *ioring.Buf, over func(*batch)) *batch {
	b := &batch{buf: buf, mem: buf.Bytes(), writes: make([]shardWrite, erasure.MaxShards)}
	b.over = func() { over(b) }
	for i := range b.writes {
		w := &b.writes[i]
		w.op.Done = func(*drive.Op) {
			w.over.Store(true)
			b.buf.Release()
			b.release()
		}
	}
	return b
}

func (b *batch) release() {
	if b.pending.Add(-1) == 0 {
		b.over()
	}
}

func (b *batch) reset() {
	clear(b.tickets)
	clear(b.records)
	b.tickets, b.records = b.tickets[:0], b.records[:0]
	b.blocks = [erasure.MaxShards][]byte{}
	b.header, b.out = header{}, Batch{}
	b.start, b.settled, b.failed = false, false, false
}

// lay copies the records of the batch's tickets, placed by p, into memory, and sets the tickets to refer to the copies.
// The header's volume, offset, number and first LSN are set.
func (b *batch) lay(p *packer) {
	h := &b.header
	h.k, h.m = p.k, p.m
	off := 0
	for i, n := range p.lens[:p.k] {
		h.lens[i] = uint32(n)
		if n == 0 {
			continue
		}
		b.blocks[i] = b.mem[off : off+blockLen(n) : off+blockLen(n)]
		off += blockLen(n)
	}
	for i := p.k; i < p.k+p.m; i++ {
		b.blocks[i] = b.mem[off : off+p.max : off+p.max]
		off += p.max
	}
	index := uint32(0)
	for _, t := range b.tickets {
		t.lsn = h.firstLSN + meta.LSN(index)
		for i := range t.entries {
			e, at := &t.entries[i], t.places[i]
			lsn := h.firstLSN + meta.LSN(index)
			bytes := putFrame(b.blocks[at.shard][headerLen+at.off:], index, i+1 < len(t.entries), e.Origin, e.Head, e.Body)
			*e = Entry{Head: bytes, Origin: e.Origin}
			r := Record{LSN: lsn, Origin: e.Origin, Payload: bytes, Loc: meta.RecordLoc{
				Volume: h.volume, Batch: h.off, Shard: uint8(at.shard), Off: uint32(at.off + frameLen), Len: uint32(len(bytes)),
			}}
			b.records = append(b.records, r)
			index++
		}
	}
	h.count = index
	for i, n := range p.lens[:p.k] {
		if n != 0 {
			clear(b.blocks[i][headerLen+n:])
		}
	}
}

// encode computes parity and checksums and writes the headers. The header's watermark and chain are set.
func (b *batch) encode(code *erasure.Code) error {
	h := &b.header
	for i, block := range b.blocks[:h.k] {
		if block != nil {
			h.sums[i] = erasure.Checksum(block[headerLen:])
		}
	}
	if err := encodeParity(code, &b.blocks); err != nil {
		return err
	}
	h.seal(&b.common)
	for i := range h.k + h.m {
		switch {
		case b.blocks[i] == nil:
		case i < h.k:
			putHeader(b.blocks[i], &b.common, h.sum, i, h.sums[i])
		default:
			putHeader(b.blocks[i], &b.common, h.sum, i, erasure.Checksum(b.blocks[i][headerLen:]))
		}
	}
	b.out = Batch{Position: h.position(), Records: b.records}
	return nil
}

// encodeParity computes the payloads of the parity blocks. Data blocks may be shorter than those, or nil, and count as followed
// by zeros: the code is applied to one stretch after another, between the ends of the data blocks.
func encodeParity(code *erasure.Code, blocks *[erasure.MaxShards][]byte) error {
	k, m := code.K(), code.M()
	if m == 0 {
		return nil
	}
	var cuts [erasure.MaxShards]int
	for i, block := range blocks[:k] {
		cuts[i] = len(block)
	}
	ends := cuts[:k]
	slices.Sort(ends)
	var data, parity [erasure.MaxShards][]byte
	from := headerLen
	for _, to := range ends {
		if to <= from {
			continue
		}
		for i, block := range blocks[:k] {
			data[i] = nil
			if len(block) >= to {
				data[i] = block[from:to]
			}
		}
		for i, block := range blocks[k : k+m] {
			parity[i] = block[from:to]
		}
		if err := code.Encode(data[:k], parity[:m]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// write submits the blocks to the volume's drives. It reports false, and has submitted nothing, if one of the drives has gone
// meanwhile.
func (b *batch) write(v Volume) bool {
	b.submit = b.submit[:0]
	for i, block := range b.blocks {
		if block == nil {
			continue
		}
		file := v.Shard(i)
		if file == nil {
			return false
		}
		w := &b.writes[i]
		w.over.Store(false)
		w.vec[0] = block
		w.op.Kind, w.op.File, w.op.Off, w.op.Bufs = drive.Write, file, b.header.off, w.vec[:]
		b.submit = append(b.submit, &w.op)
	}
	for range b.submit {
		b.buf.Retain() // For as long as the drive needs it, whatever becomes of us.
	}
	b.pending.Store(int32(len(b.submit)) + 1)
	drive.Submit(b.submit)
	b.release()
	return true
}

// late returns how many writes are not over.
func (b *batch) late() (n int) {
	for i, block := range b.blocks {
		if block != nil && !b.writes[i].over.Load() {
			n++
		}
	}
	return n
}

// settle looks at the outcome of the writes and gives up the drives of those that failed or, if the batch is out of time, are not over.
func (b *batch) settle(v Volume, timeout time.Duration) {
	b.settled = true
	for i, block := range b.blocks {
		w := &b.writes[i]
		switch {
		case block == nil:
			continue
		case !w.over.Load():
			b.hung, b.failed = true, true
			v.Fail(i, fmt.Errorf("write of %d bytes to journal volume %x not finished after %v", len(block), v.ID(), timeout))
		case w.op.Err != nil:
			b.failed = true
			v.Fail(i, w.op.Err)
		}
	}
}
