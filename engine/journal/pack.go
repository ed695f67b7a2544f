package journal

import (
	"math"

	"penstock/erasure"
)

// packer decides where the records of a batch lie. It only counts; bytes are copied once the batch is complete.
//
// A batch takes the length of its longest block on every drive, and one write for each block. So a record goes where
// it lengthens the longest block least, and of those places where it opens no new shard, if there is one: a lone record is one data
// shard and the parities, a handful of small ones shares that block, larger ones spread until each shard has as much.
type packer struct {
	k, m   int
	first  int // Data shard that gets the first record.
	maxLen int // Longest block allowed.
	memLen int // Memory for all blocks together.
	lens   [erasure.MaxShards]int
	blocks int // Length of all data blocks together.
	max    int // Longest block.
	count  int // Records placed.
	bytes  int // Framed length of them.
}

// place is where a record lies: the offset of its frame in a data shard's payload.
type place struct {
	shard int
	off   int
}

func (p *packer) reset(k, m, first, maxLen, memLen int) {
	*p = packer{k: k, m: m, first: first % k, maxLen: maxLen, memLen: memLen}
}

// add finds a place for a record of n framed bytes; it reports false, and places nothing, if there is none.
func (p *packer) add(n int) (place, bool) {
	best, bestMax, bestOpens := -1, 0, false
	for i := range p.k {
		shard := p.first + i
		if shard >= p.k {
			shard -= p.k
		}
		opens := p.lens[shard] == 0
		longest := max(p.max, blockLen(p.lens[shard]+n))
		if best < 0 || longest < bestMax || longest == bestMax && bestOpens && !opens {
			best, bestMax, bestOpens = shard, longest, opens
		}
		if opens && i > 0 && !bestOpens && bestMax == p.max {
			break // It fits into a shard in use without making the batch longer: nothing can be better.
		}
	}
	off := p.lens[best]
	blocks := p.blocks - blockLen(off) + blockLen(off+n)
	if bestMax > p.maxLen || blocks+p.m*bestMax > p.memLen {
		return place{}, false
	}
	p.lens[best], p.blocks, p.max = off+n, blocks, bestMax
	p.count++
	p.bytes += n
	return place{best, off}, true
}

// BatchLen returns how much of every drive a batch takes that holds records of these lengths, on k data shards.
func BatchLen(k int, lens []int) int {
	var p packer
	p.reset(k, 0, 0, math.MaxInt, math.MaxInt)
	for _, n := range lens {
		p.add(framedLen(n))
	}
	return p.max
}

// mem returns the memory that the batch takes.
func (p *packer) mem() int { return p.blocks + p.m*p.max }
