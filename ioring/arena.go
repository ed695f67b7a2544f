//go:build linux

package ioring

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"penstock/numa"
)

const (
	// MaxBuf is the longest Buf.
	MaxBuf = pageSize << maxOrder

	// hugePage is the size and alignment of the arena's unit: with 4 KiB pages a 1 MiB transfer costs two
	// to three times the CPU, because the drive's queue takes 254 segments and splits it.
	hugePage = 2 << 20

	// maxWaiting bounds how many Gets may wait. More would only wait longer than their clients do.
	maxWaiting = 1 << 16

	// maxOvertakers bounds how many waiters are looked at behind one that does not fit, so that a Release
	// takes constant time.
	maxOvertakers = 16
)

var (
	// ErrArenaFull says that no memory came free in time. The caller's context error is beside it.
	ErrArenaFull = errors.New("no buffer memory is free")

	// errBufLen is for a Buf that no arena of this size could ever give.
	errBufLen = errors.New("no buffer has this length")
)

// ArenaOptions says where an arena's memory comes from.
type ArenaOptions struct {
	Size int64 // In bytes; rounded up to 2 MiB. Required.

	// Node is the NUMA node that the memory is bound to, as far as the machine allows;
	// numa.UnknownNode binds to none. Zero is node 0.
	Node int

	// NoPrefault leaves the pages to be found when they are first touched, in the path of some request.
	// It is for tests, which touch few of them.
	NoPrefault bool

	// NoHuge takes pages of the ordinary size. It is for measurements.
	NoHuge bool
}

// Arena is a fixed piece of memory for transfers, outside the Go heap: its address never changes, the
// collector never looks at it, and its size is a ceiling that load cannot move. It hands out Bufs.
type Arena struct {
	memory []byte
	pages  Pages
	bound  error // Why the memory is not on its NUMA node; nil if it is.

	mu      sync.Mutex // Guards the fields below.
	free    *buddy
	waiters list.List // Of *waiter, in the order in which they came.
	inUse   int64     // In bytes, as are peak.
	peak    int64
	waits   uint64
	fails   uint64
	closed  bool
	owners  []*Buf // By page; only under invariants.
}

// Pages says what an arena's pages are.
type Pages string

const (
	PagesReserved    Pages = "hugetlb" // Huge pages that the administrator has set aside.
	PagesTransparent Pages = "thp"     // Huge pages on request.
	PagesSmall       Pages = "small"   // The kernel has no huge pages, or was not asked.
)

// NewArena maps the memory and, unless told not to, has every page there when it returns.
func NewArena(o ArenaOptions) (*Arena, error) {
	const most = 1 << 42 // Page numbers are 31 bits; this leaves a margin on both sides.
	if o.Size <= 0 || o.Size > most {
		return nil, fmt.Errorf("ioring: an arena cannot have %d bytes", o.Size)
	}
	size := int(o.Size+hugePage-1) &^ (hugePage - 1)
	a := &Arena{}
	if o.NoHuge || !a.mapReserved(size, o) {
		if err := a.mapOrdinary(size, o); err != nil {
			return nil, err
		}
	}
	// Core dumps are for our own state, not for gigabytes of users' bytes.
	unix.Madvise(a.memory, unix.MADV_DONTDUMP)
	a.free = newBuddy(size / pageSize)
	if invariants {
		a.owners = make([]*Buf, size/pageSize)
	}
	return a, nil
}

// mapReserved takes huge pages that were set aside. There may be too few of them on the NUMA node, which
// shows only when they are touched, and then as a signal: so they are populated with the call that
// reports it, or not used at all.
func (a *Arena) mapReserved(size int, o ArenaOptions) bool {
	memory, err := mapAnonymous(size, hugePage, unix.MAP_HUGETLB|unix.MAP_HUGE_2MB)
	if err != nil {
		return false
	}
	bound := numa.BindMemory(memory, o.Node)
	if populate(memory) != nil {
		unmap(memory)
		return false
	}
	a.memory, a.pages, a.bound = memory, PagesReserved, bound
	return true
}

func (a *Arena) mapOrdinary(size int, o ArenaOptions) error {
	memory, err := mapAnonymous(size, hugePage, 0)
	if err != nil {
		return err
	}
	a.memory, a.pages = memory, PagesSmall
	if !o.NoHuge && unix.Madvise(memory, unix.MADV_HUGEPAGE) == nil && !hugePagesOff() {
		a.pages = PagesTransparent
	}
	a.bound = numa.BindMemory(memory, o.Node) // Before the first touch, which decides.
	if o.NoPrefault {
		return nil
	}
	err = populate(memory)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // Before Linux 5.14.
		for i := 0; i < len(memory); i += pageSize {
			memory[i] = 0
		}
		err = nil
	}
	if err != nil {
		unmap(memory)
		return fmt.Errorf("ioring: arena of %d bytes: %w", size, err)
	}
	return nil
}

// hugePagesOff says that the administrator has turned transparent huge pages off, which madvise does not
// tell.
func hugePagesOff() bool {
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err == nil && bytes.Contains(text, []byte("[never]"))
}

// populate has all pages of memory there. The kernel clears them, at a few GiB/s a CPU, so some CPUs
// share the work; past eight the memory is the limit.
func populate(memory []byte) error {
	workers := min(8, runtime.GOMAXPROCS(0))
	share := (len(memory)/workers + hugePage) &^ (hugePage - 1)
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for i := range errs {
		from, to := min(i*share, len(memory)), min((i+1)*share, len(memory))
		if from == to {
			continue
		}
		wg.Go(func() {
			for {
				errs[i] = unix.Madvise(memory[from:to], unix.MADV_POPULATE_WRITE)
				if errs[i] != unix.EINTR && errs[i] != unix.EAGAIN {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close gives the memory back to the system. It fails while any Buf is in use, and no queue may use the
// arena any more.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return fmt.Errorf("ioring: arena: %w", ErrClosed)
	}
	if a.inUse > 0 {
		return fmt.Errorf("ioring: arena: %d bytes are in use", a.inUse)
	}
	a.closed = true
	return unmap(a.memory)
}

// Pages says what the memory is made of.
func (a *Arena) Pages() Pages { return a.pages }

// Bound is nil when the memory is bound to its NUMA node, or to none as asked; otherwise it says why not.
func (a *Arena) Bound() error { return a.bound }

// MaxBuf is the longest Buf that this arena can always give once all others are released: its largest
// block.
func (a *Arena) MaxBuf() int { return min(MaxBuf, 1<<(bits.Len(uint(len(a.memory)))-1)) }

// ArenaStats is the state of an arena, in bytes and counts.
type ArenaStats struct {
	Size     int64
	InUse    int64
	Peak     int64  // Most that was ever in use.
	Waiting  int    // Gets that wait now.
	Waits    uint64 // Gets that had to wait.
	Failures uint64 // Gets that gave up, and TryGets that got nothing.
}

func (a *Arena) Stats() ArenaStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return ArenaStats{
		Size: int64(len(a.memory)), InUse: a.inUse, Peak: a.peak,
		Waiting: a.waiters.Len(), Waits: a.waits, Failures: a.fails,
	}
}

// contains says whether the memory is the arena's. A nil arena contains nothing.
func (a *Arena) contains(b []byte) bool {
	return a != nil && a.offset(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) < uintptr(len(a.memory))
}

// offset is where in the arena an address is; what lies outside is past the end.
func (a *Arena) offset(address uintptr) uintptr {
	return address - uintptr(unsafe.Pointer(unsafe.SliceData(a.memory)))
}

// registeredIndex returns which registered buffer the memory lies in, whole. A nil arena is one that is
// not registered.
func (a *Arena) registeredIndex(address uintptr, length uint64) (uint16, bool) {
	if a == nil {
		return 0, false
	}
	from := uint64(a.offset(address))
	if from >= uint64(len(a.memory)) || from+length > uint64(len(a.memory)) {
		return 0, false
	}
	index := from / maxRegisteredBufferSize
	return uint16(index), (from+length-1)/maxRegisteredBufferSize == index
}

// waiter is a Get that waits.
type waiter struct {
	length    int
	pages     int
	overtaken int       // Pages given to others that came later.
	ready     chan *Buf // Holds one.
}

// Get returns a Buf of n bytes, waiting for memory until ctx is done.
//
// Who waits is served in order of arrival, with one exception: while the first does not fit, later ones
// that do may pass it, until they have taken as many bytes as it wants itself. So a large request is
// not starved by a stream of small ones, and a small one does not stand behind a large one while memory
// that only it can use lies idle.
func (a *Arena) Get(ctx context.Context, n int) (*Buf, error) {
	if n <= 0 || n > a.MaxBuf() {
		return nil, fmt.Errorf("ioring: %d bytes: %w", n, errBufLen)
	}
	pages := (n + pageSize - 1) / pageSize
	a.mu.Lock()
	if a.waiters.Len() == 0 {
		if b := a.take(n, pages); b != nil {
			a.mu.Unlock()
			return b, nil
		}
	}
	if a.waiters.Len() >= maxWaiting {
		a.fails++
		a.mu.Unlock()
		return nil, fmt.Errorf("ioring: %d bytes: %w: %d wait", n, ErrArenaFull, maxWaiting)
	}
	w := &waiter{length: n, pages: pages, ready: make(chan *Buf, 1)}
	place := a.waiters.PushBack(w)
	a.waits++
	a.serve()
	a.mu.Unlock()

	select {
	case b := <-w.ready:
		return b, nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case b := <-w.ready: // It came just now.
		return b, nil
	default:
	}
	a.waiters.Remove(place)
	a.fails++
	a.serve() // The next in line may fit where this did not.
	return nil, fmt.Errorf("ioring: %d bytes: %w: %w", n, ErrArenaFull, ctx.Err())
}

// TryGet returns a Buf of n bytes if there is memory for it now and nobody waits, and nil otherwise.
func (a *Arena) TryGet(n int) *Buf {
	if n <= 0 || n > a.MaxBuf() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiters.Len() == 0 {
		if b := a.take(n, (n+pageSize-1)/pageSize); b != nil {
			return b
		}
	}
	a.fails++
	return nil
}

// take allocates, or returns nil. It holds mu.
func (a *Arena) take(length, pages int) *Buf {
	if a.closed {
		panic("ioring: Get from a closed arena")
	}
	first, ok := a.free.alloc(pages)
	if !ok {
		return nil
	}
	a.inUse += int64(pages * pageSize)
	a.peak = max(a.peak, a.inUse)
	at := first * pageSize
	b := &Buf{arena: a, first: first, pages: pages, data: a.memory[at : at+length : at+length]}
	b.refs.Store(1)
	if invariants {
		a.unpoison(b)
	}
	return b
}

// serve gives free memory to those who wait. It holds mu.
func (a *Arena) serve() {
	var first *waiter
	var next *list.Element
	for place, looked := a.waiters.Front(), 0; place != nil && looked < maxOvertakers; place = next {
		next = place.Next()
		w := place.Value.(*waiter)
		if first != nil {
			looked++
			if first.overtaken+w.pages > first.pages {
				continue
			}
		}
		b := a.take(w.length, w.pages)
		if b == nil {
			if first == nil {
				first = w
			}
			continue
		}
		if first != nil {
			first.overtaken += w.pages
		}
		a.waiters.Remove(place)
		w.ready <- b
	}
}

// Buf is a piece of an arena, aligned to 4 KiB, with a count of its users. Its first belongs to who got
// it; while an Op uses the bytes, some reference must be kept until the Op is back.
type Buf struct {
	arena *Arena
	first int // Page.
	pages int
	data  []byte
	refs  atomic.Int32
	freed func()      // Called when the memory is given back, or written off; nil for nobody.
	told  atomic.Bool // freed was called.
	lent  int         // Ops that use it; guarded by arena.mu; only under invariants.
}

// Bytes is the memory. Its content is whatever the last user left.
func (b *Buf) Bytes() []byte { return b.data }

// OnFree sets what is called once the memory has gone back to the arena, for who keeps account of it. It is set
// at most once, by who got the Buf, before anybody else has a reference.
func (b *Buf) OnFree(f func()) { b.freed = f }

// WriteOff does now what OnFree asked for: a drive holds the memory, nobody knows for how long, and whoever keeps account is to go on
// without it. It goes back to the arena with the last reference, as always. The caller has a reference.
func (b *Buf) WriteOff() {
	if b.freed != nil && !b.told.Swap(true) {
		b.freed()
	}
}

// Retain adds a reference, for someone who will Release it.
func (b *Buf) Retain() {
	if b.refs.Add(1) <= 1 {
		panic("ioring: Retain of a released Buf")
	}
}

// Release takes a reference away. The last one gives the memory back.
func (b *Buf) Release() {
	refs := b.refs.Add(-1)
	if refs > 0 {
		return
	}
	if refs < 0 {
		panic("ioring: Release of a released Buf")
	}
	b.arena.reclaim(b)
	b.WriteOff()
}

// reclaim takes the memory of a Buf that nobody refers to, and gives it to those who wait.
func (a *Arena) reclaim(b *Buf) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if invariants {
		a.poison(b)
	}
	a.inUse -= int64(b.pages * pageSize)
	a.free.free(b.first, b.pages)
	if a.waiters.Len() > 0 {
		a.serve()
	}
}
