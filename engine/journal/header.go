package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"penstock/erasure"
	"penstock/meta"
)

// A batch is one stripe of a journal volume, at the same offset of every segment. What one drive holds of it is a block:
//
//	shard block = header (512 bytes) | payload, zero-padded to a multiple of 4096 less the header
//
// The header has a common part, the same in every block of the batch, so that any block tells how to read all the others, and a
// part of its own. Integers are little-endian.
//
//	  0  u32        magic "PNJB"
//	  4  u16        format version, 1
//	  6  u8         k, data shards
//	  7  u8         m, parity shards
//	  8  u64        volume: a recycled segment is full of other volumes' blocks
//	 16  u64        salt: random, drawn when the volume is opened. An object's bytes may imitate a header, but not this one,
//	                and two journals that grew apart under one volume id do not pass for one
//	 24  u64        batch number, from 1
//	 32  u64        offset of the batch: a block that was written somewhere else is not taken for this one
//	 40  u64        commit watermark: the highest batch of the volume known durable, with all before it, when this one was written
//	 48  u64        LSN of the first record
//	 56  u32        count of records
//	 60  u32        zero
//	 64  u64        chain: common checksum of the batch before, in this volume or at the end of the one before; 0 in the first of all
//	 72  32 × u32   payload length of each data shard; 0 = the shard is empty, not written, counts as zeros
//	200  32 × u64   checksum of the payload, padding included, of each data shard: what a decoding must yield
//	456  u64        common checksum: CRC64NVME of the 456 bytes above
//
//	464  u32        shard index of this block
//	468  u32        zero
//	472  u64        checksum of this block's payload, padding included
//	480  24 bytes   zero
//	504  u64        CRC64NVME of the 504 bytes above
//
// The parity blocks are as long as the longest data block. Parity is computed over the payloads, each extended with zeros to the
// longest. A batch takes the length of its longest block in every segment, written or not.
const (
	headerLen   = 512 // One sector: a header is torn as a whole or not at all.
	commonLen   = 456
	headerMagic = 0x424a4e50 // "PNJB"
	version     = 1

	// blockAlign is what O_DIRECT asks of offsets and lengths.
	blockAlign = 4096
)

// Does not compile if the tables of a header have less room than erasure's limit asks for.
const _ = uint(32 - erasure.MaxShards)

var (
	// errNotHeader says that the bytes are no header of a journal block. It is what unused space looks like.
	errNotHeader = errors.New("not a journal header")

	// ErrVersion says that a header is whole but of a format that this program does not know.
	ErrVersion = errors.New("unknown journal format version")
)

// header is the common part of a batch's headers.
type header struct {
	volume    meta.VolumeID
	salt      uint64
	number    uint64
	off       int64
	watermark uint64
	firstLSN  meta.LSN
	count     uint32
	chain     uint64
	k, m      int
	lens      [erasure.MaxShards]uint32 // Payload bytes of each data shard.
	sums      [erasure.MaxShards]uint64 // Checksum of each data shard's payload, padded.
	sum       uint64                    // Common checksum; the chain of the next batch. Set by seal and parseHeader.
}

// blockLen returns the length of a block with so many payload bytes; an empty shard has none.
func blockLen(payloadLen int) int {
	if payloadLen == 0 {
		return 0
	}
	return (headerLen + payloadLen + blockAlign - 1) &^ (blockAlign - 1)
}

// dataLen returns the length of a data shard's block.
func (h *header) dataLen(shard int) int { return blockLen(int(h.lens[shard])) }

// length returns how much of every segment the batch takes: its longest block, which is also the length of the parity blocks.
func (h *header) length() int {
	longest := 0
	for _, n := range h.lens[:h.k] {
		longest = max(longest, blockLen(int(n)))
	}
	return longest
}

// shardLen returns the length of a shard's block; 0 if it is an empty data shard.
func (h *header) shardLen(shard int) int {
	if shard < h.k {
		return h.dataLen(shard)
	}
	return h.length()
}

// empty returns the data shards that hold nothing.
func (h *header) empty() (s erasure.Set) {
	for i, n := range h.lens[:h.k] {
		if n == 0 {
			s = s.With(i)
		}
	}
	return s
}

// written returns the shards that have a block.
func (h *header) written() (s erasure.Set) {
	for i := range h.k + h.m {
		if i >= h.k || h.lens[i] != 0 {
			s = s.With(i)
		}
	}
	return s
}

// end returns the offset behind the batch.
func (h *header) end() int64 { return h.off + int64(h.length()) }

// lastLSN returns the LSN of the last record.
func (h *header) lastLSN() meta.LSN { return h.firstLSN + meta.LSN(h.count) - 1 }

// position returns the journal's position behind the batch.
func (h *header) position() meta.Position {
	return meta.Position{Volume: h.volume, Batch: h.number, Next: h.end(), LSN: h.lastLSN(), Chain: h.sum}
}

// seal encodes the common part into dst and sets h.sum.
func (h *header) seal(dst *[commonLen]byte) {
	le := binary.LittleEndian
	le.PutUint32(dst[0:], headerMagic)
	le.PutUint16(dst[4:], version)
	dst[6], dst[7] = byte(h.k), byte(h.m)
	le.PutUint64(dst[8:], uint64(h.volume))
	le.PutUint64(dst[16:], h.salt)
	le.PutUint64(dst[24:], h.number)
	le.PutUint64(dst[32:], uint64(h.off))
	le.PutUint64(dst[40:], h.watermark)
	le.PutUint64(dst[48:], uint64(h.firstLSN))
	le.PutUint32(dst[56:], h.count)
	le.PutUint32(dst[60:], 0)
	le.PutUint64(dst[64:], h.chain)
	for i := range h.lens {
		le.PutUint32(dst[72+4*i:], h.lens[i])
		le.PutUint64(dst[200+8*i:], h.sums[i])
	}
	h.sum = erasure.Checksum(dst[:])
}

// putHeader writes the header of one shard's block in front of its payload.
func putHeader(block []byte, common *[commonLen]byte, commonSum uint64, shard int, payloadSum uint64) {
	le := binary.LittleEndian
	b := block[:headerLen]
	copy(b, common[:])
	le.PutUint64(b[456:], commonSum)
	le.PutUint32(b[464:], uint32(shard))
	clear(b[468:504])
	le.PutUint64(b[472:], payloadSum)
	le.PutUint64(b[504:], erasure.Checksum(b[:504]))
}

// parseHeader reads the header at the start of block into h and returns what is the block's own: its shard and the
// checksum of its payload. Every bound that later arithmetic relies on is checked here.
func parseHeader(block []byte, h *header) (shard int, payloadSum uint64, err error) {
	le := binary.LittleEndian
	if len(block) < headerLen || le.Uint32(block) != headerMagic {
		return 0, 0, errNotHeader
	}
	b := block[:headerLen]
	if le.Uint64(b[504:]) != erasure.Checksum(b[:504]) {
		return 0, 0, errNotHeader
	}
	if v := le.Uint16(b[4:]); v != version {
		return 0, 0, fmt.Errorf("%w: %d", ErrVersion, v)
	}
	*h = header{
		k: int(b[6]), m: int(b[7]),
		volume:    meta.VolumeID(le.Uint64(b[8:])),
		salt:      le.Uint64(b[16:]),
		number:    le.Uint64(b[24:]),
		off:       int64(le.Uint64(b[32:])),
		watermark: le.Uint64(b[40:]),
		firstLSN:  meta.LSN(le.Uint64(b[48:])),
		count:     le.Uint32(b[56:]),
		chain:     le.Uint64(b[64:]),
		sum:       le.Uint64(b[456:]),
	}
	for i := range h.lens {
		h.lens[i] = le.Uint32(b[72+4*i:])
		h.sums[i] = le.Uint64(b[200+8*i:])
	}
	shard = int(le.Uint32(b[464:]))
	if !h.plausible() || h.sum != erasure.Checksum(b[:commonLen]) || shard >= h.k+h.m || !h.written().Has(shard) {
		return 0, 0, errNotHeader
	}
	var reserved byte
	for _, c := range b[480:504] {
		reserved |= c
	}
	if le.Uint32(b[60:]) != 0 || le.Uint32(b[468:]) != 0 || reserved != 0 {
		return 0, 0, errNotHeader
	}
	return shard, le.Uint64(b[472:]), nil
}

// plausible reports whether the header's figures are ones that a writer can have meant.
func (h *header) plausible() bool {
	if h.k < 1 || h.k+h.m > erasure.MaxShards || h.number == 0 || h.watermark >= h.number || h.firstLSN == 0 || h.count == 0 {
		return false
	}
	if h.count > groupBit || h.off < blockAlign || h.off%blockAlign != 0 || h.off > 1<<48 {
		return false
	}
	payload := 0
	for i, n := range h.lens {
		switch {
		case i >= h.k && (n != 0 || h.sums[i] != 0), n == 0 && h.sums[i] != 0, n > MaxShardLenLimit, n != 0 && n < frameLen:
			return false
		}
		payload += int(n)
	}
	return payload >= int(h.count)*frameLen
}
