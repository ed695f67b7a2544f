//go:build linux

package ioring

import "math/bits"

// pageSize is the smallest piece the allocator hands out, whatever the machine's own page size.
const pageSize = BlockSize

// maxOrder makes the largest block 32 MiB, which is MaxBuf: a stripe of 16 rows with k = 24 fits.
const maxOrder = 13

// buddy allocates runs of pages from a fixed range. A free block of order o is 2^o pages at a multiple of
// 2^o; two that together are one of order o+1 are merged at once. A run that is not a power of two takes
// the front of a larger block, and the rest goes straight back. So that such rests do not pile up, it
// first tries two free neighbours that are no buddies but long enough together; a stripe of 4 + 2 MiB is
// the case in mind. In MiB, "f" is free:
//
//	0           6     8                          32
//	|   run     |  f  |            f             |    the first run, from the front of a block
//	|   run     |    run     |  f  |      f      |    the second, over the seam at 8
//
// No run uses more than its own pages. There is no lock.
type buddy struct {
	heads [maxOrder + 1]int32 // First free block of each order, or none.
	avail uint32              // Bit o is set when heads[o] is not none.
	links []link              // By page; meaningful where a free block begins.
	order []int8              // By page: order of the free block that begins there, or -1.
}

type link struct{ next, prev int32 }

const none = int32(-1)

func newBuddy(pages int) *buddy {
	b := &buddy{links: make([]link, pages), order: make([]int8, pages)}
	for i := range b.heads {
		b.heads[i] = none
	}
	for i := range b.order {
		b.order[i] = -1
	}
	// The last block first, so that the lists begin with the lowest: runs then grow towards free space.
	for end := pages; end > 0; {
		block := end & -end
		block = min(block, 1<<maxOrder)
		b.freeBlock(end-block, bits.Len(uint(block))-1)
		end -= block
	}
	return b
}

// orderFor is the order of the smallest block that holds the pages.
func orderFor(pages int) int { return bits.Len(uint(pages - 1)) }

// alloc takes a run of pages, at most 2^maxOrder.
func (b *buddy) alloc(pages int) (first int, ok bool) {
	aligned := pages&(pages-1) == 0
	if !aligned {
		if first, ok = b.allocJoined(pages); ok {
			return first, true
		}
	}
	if first, ok = b.allocBlock(pages); ok || !aligned {
		return first, ok
	}
	return b.allocJoined(pages)
}

// allocBlock takes the run from the front of the smallest block that holds it.
func (b *buddy) allocBlock(pages int) (first int, ok bool) {
	want := orderFor(pages)
	fits := b.avail >> want << want
	if fits == 0 {
		return 0, false
	}
	have := bits.TrailingZeros32(fits)
	first = int(b.heads[have])
	b.unlink(first, have)
	b.free(first+pages, 1<<have-pages)
	return first, true
}

// seamsLooked bounds how many blocks of each order are looked at for a neighbour, which keeps the time
// constant. The lists are last in, first out: their heads are where runs have just ended.
const seamsLooked = 4

// allocJoined takes the run from two neighbouring free blocks, the first of which is shorter than it, and
// as short as possible: large blocks are for those who need them.
func (b *buddy) allocJoined(pages int) (first int, ok bool) {
	for order := range orderFor(pages) {
		if b.avail>>order&1 == 0 {
			continue
		}
		looked := 0
		for at := b.heads[order]; at != none && looked < seamsLooked; at, looked = b.links[at].next, looked+1 {
			next := int(at) + 1<<order
			if next >= len(b.order) || b.order[next] < 0 || 1<<order+1<<b.order[next] < pages {
				continue
			}
			end := next + 1<<b.order[next]
			b.unlink(next, int(b.order[next]))
			b.unlink(int(at), order)
			b.free(int(at)+pages, end-int(at)-pages)
			return int(at), true
		}
	}
	return 0, false
}

// free gives pages back, which need not have been allocated as one run.
func (b *buddy) free(first, pages int) {
	for pages > 0 {
		order := min(bits.Len(uint(pages))-1, maxOrder)
		if first > 0 {
			order = min(order, bits.TrailingZeros(uint(first)))
		}
		b.freeBlock(first, order)
		first += 1 << order
		pages -= 1 << order
	}
}

func (b *buddy) freeBlock(first, order int) {
	for order < maxOrder {
		twin := first ^ 1<<order
		if twin >= len(b.order) || int(b.order[twin]) != order {
			break
		}
		b.unlink(twin, order)
		first &= twin
		order++
	}
	head := b.heads[order]
	b.links[first] = link{next: head, prev: none}
	if head != none {
		b.links[head].prev = int32(first)
	}
	b.heads[order] = int32(first)
	b.avail |= 1 << order
	b.order[first] = int8(order)
}

func (b *buddy) unlink(first, order int) {
	l := b.links[first]
	if l.prev == none {
		b.heads[order] = l.next
	} else {
		b.links[l.prev].next = l.next
	}
	if l.next != none {
		b.links[l.next].prev = l.prev
	}
	if b.heads[order] == none {
		b.avail &^= 1 << order
	}
	b.order[first] = -1
}
