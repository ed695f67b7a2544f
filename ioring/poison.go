//go:build linux

package ioring

import (
	"bytes"
	"fmt"
	"unsafe"
)

// What is in this file runs only under invariants.

// poisonPage is what released memory is filled with, so that its next reader sees nonsense rather than
// yesterday's object, and so that a write after Release is found at the next Get.
var poisonPage = bytes.Repeat([]byte{0xDB}, 64<<10)

// poison fills the memory of b, whose last reference is gone. It holds a.mu.
func (a *Arena) poison(b *Buf) {
	if b.lent > 0 {
		panic(fmt.Sprintf("ioring: Release of a Buf that %d operations still use", b.lent))
	}
	for page := b.first; page < b.first+b.pages; page++ {
		a.owners[page] = nil
	}
	for memory := a.pagesOf(b); len(memory) > 0; {
		memory = memory[copy(memory, poisonPage):]
	}
}

// unpoison checks that nobody has written to the memory of b since it was released. It holds a.mu. A page
// that was never used is all zeros.
func (a *Arena) unpoison(b *Buf) {
	for page := b.first; page < b.first+b.pages; page++ {
		memory := a.memory[page*pageSize:][:pageSize]
		if !bytes.Equal(memory, poisonPage[:pageSize]) && !bytes.Equal(memory, zeroPage[:]) {
			panic("ioring: memory was written to after its Buf was released")
		}
		a.owners[page] = b
	}
}

var zeroPage [pageSize]byte

func (a *Arena) pagesOf(b *Buf) []byte {
	return a.memory[b.first*pageSize:][:b.pages*pageSize]
}

// lend notes that an Op uses the pieces of bufs that are of this arena.
func (a *Arena) lend(bufs [][]byte) { a.lendBy(bufs, 1) }

// giveBack is the opposite of lend.
func (a *Arena) giveBack(bufs [][]byte) { a.lendBy(bufs, -1) }

func (a *Arena) lendBy(bufs [][]byte, change int) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, piece := range bufs {
		if len(piece) == 0 || !a.contains(piece) {
			continue
		}
		from := int(a.offset(uintptr(unsafe.Pointer(unsafe.SliceData(piece)))))
		owner := a.owners[from/pageSize]
		if owner == nil || owner != a.owners[(from+len(piece)-1)/pageSize] {
			panic("ioring: an operation on arena memory that is in no Buf")
		}
		owner.lent += change
	}
}
