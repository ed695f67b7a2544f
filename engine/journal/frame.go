package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"penstock/meta"
)

// A data shard's payload is a run of records:
//
//	 0  u32  length of the bytes
//	 4  u32  index of the record in its batch: its LSN is the batch's first LSN plus this. The highest bit is set
//	         if the next record belongs to the same group
//	 8  u64  origin LSN of a relocated record; 0 for all others
//	16       bytes, zero-padded to a multiple of 8
//
// The index is there because the records of a batch lie in its shards wherever they fit best, not in order.
const (
	frameLen = 16
	groupBit = 1 << 31
)

// errFrame says that a payload whose checksum is right does not hold what its header says: a bug, or a forgery.
var errFrame = errors.New("journal payload is not a run of records")

// framedLen returns the bytes that a record of n bytes takes in a payload. The index counts them, so meta has the formula.
func framedLen(n int) int { return meta.FramedLen(n) }

// putFrame writes a record at the start of dst and returns its bytes' copy there. The record is head followed by body; more says
// that the next record is of the same group.
func putFrame(dst []byte, index uint32, more bool, origin meta.LSN, head, body []byte) []byte {
	if more {
		index |= groupBit
	}
	n := len(head) + len(body)
	le := binary.LittleEndian
	le.PutUint32(dst, uint32(n))
	le.PutUint32(dst[4:], index)
	le.PutUint64(dst[8:], uint64(origin))
	b := dst[frameLen : frameLen+n : frameLen+n]
	copy(b[copy(b, head):], body)
	clear(dst[frameLen+n : framedLen(n)])
	return b
}

// frame is a record as it lies in a payload.
type frame struct {
	index  uint32
	more   bool // The next record is of the same group.
	origin meta.LSN
	off    int // Of the bytes, in the payload.
	bytes  []byte
}

// parseFrame reads the record at off of the payload and returns the offset behind it.
func parseFrame(payload []byte, off int) (frame, int, error) {
	if off < 0 || len(payload)-off < frameLen {
		return frame{}, 0, fmt.Errorf("%w: %d bytes at %d", errFrame, len(payload)-off, off)
	}
	le := binary.LittleEndian
	b := payload[off:]
	n := le.Uint32(b)
	if uint64(n) > uint64(len(b)-frameLen) || framedLen(int(n)) > len(b) {
		return frame{}, 0, fmt.Errorf("%w: %d bytes in the %d left at %d", errFrame, n, len(b)-frameLen, off)
	}
	f := frame{
		index:  le.Uint32(b[4:]) &^ groupBit,
		more:   le.Uint32(b[4:])&groupBit != 0,
		origin: meta.LSN(le.Uint64(b[8:])),
		off:    off + frameLen,
		bytes:  b[frameLen : frameLen+n : frameLen+n],
	}
	for _, c := range b[frameLen+n : framedLen(int(n))] {
		if c != 0 {
			return frame{}, 0, fmt.Errorf("%w: padding at %d is not zero", errFrame, off)
		}
	}
	return f, off + framedLen(int(n)), nil
}
