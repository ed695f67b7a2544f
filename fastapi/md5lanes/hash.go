package md5lanes

import (
	"crypto/md5"
	"encoding/binary"
	"hash"
)

// Sizes of MD5.
const (
	Size      = md5.Size
	BlockSize = md5.BlockSize
)

// alone is the length up to which a run is hashed without looking for others: meeting them costs as much as 500 bytes.
const alone = 2 << 10

// A Hash is the MD5 of one stream. One goroutine uses it at a time.
type Hash struct {
	group *Group
	state [4]uint32
	len   uint64
	tail  [BlockSize]byte // The last len % BlockSize bytes.
	run   run
}

// New returns a hash of a stream that shares the lanes of the group.
func (g *Group) New() hash.Hash {
	if !wide {
		return md5.New()
	}
	h := &Hash{group: g}
	h.run = run{hash: h, wake: make(chan *set, 1)}
	h.Reset()
	return h
}

// Reset begins anew.
func (h *Hash) Reset() {
	h.state = [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	h.len = 0
}

// Size returns Size.
func (h *Hash) Size() int { return Size }

// BlockSize returns BlockSize.
func (h *Hash) BlockSize() int { return BlockSize }

// Write adds p to the stream. It never fails.
func (h *Hash) Write(p []byte) (int, error) {
	n := len(p)
	have := int(h.len % BlockSize)
	h.len += uint64(n)
	if have > 0 {
		taken := copy(h.tail[have:], p)
		p = p[taken:]
		if have+taken < BlockSize {
			return n, nil
		}
		h.state = hashAlone(h.state, h.tail[:])
	}
	if whole := len(p) &^ (BlockSize - 1); whole > alone {
		h.run.data = p[:whole]
		h.group.hash(&h.run)
		h.run.data = nil
		p = p[whole:]
	} else if whole > 0 {
		h.state = hashAlone(h.state, p[:whole])
		p = p[whole:]
	}
	copy(h.tail[:], p)
	return n, nil
}

// Sum appends the digest of what was written so far.
func (h *Hash) Sum(b []byte) []byte {
	// A one bit, zeros, and the length in bits, up to the end of a block.
	var end [2 * BlockSize]byte
	n := copy(end[:], h.tail[:h.len%BlockSize])
	end[n] = 0x80
	length := BlockSize
	if n+1+8 > BlockSize {
		length = 2 * BlockSize
	}
	binary.LittleEndian.PutUint64(end[length-8:], h.len*8)
	for _, word := range hashAlone(h.state, end[:length]) {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

// hashAlone takes whole blocks into the state of a stream, in one lane.
func hashAlone(state [4]uint32, blocks []byte) [4]uint32 {
	var all [4][Lanes]uint32
	var heads [Lanes]*byte
	for i := range state {
		all[i][0] = state[i]
	}
	for lane := range heads {
		heads[lane] = &blocks[0]
	}
	blocks16(&all, &heads, len(blocks)/BlockSize)
	for i := range state {
		state[i] = all[i][0]
	}
	return state
}
