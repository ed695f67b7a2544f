//go:build linux

package ioring_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"penstock/ioring"
	"penstock/numa"
)

const mib = 1 << 20

func TestArena(t *testing.T) {
	for _, opts := range []ioring.ArenaOptions{
		{Size: 64 * mib, Node: numa.UnknownNode},
		{Size: 9*mib + 1, Node: 0},
		{Size: 8 * mib, Node: 0, NoHuge: true},
		{Size: 8 * mib, Node: 700}, // No such NUMA node: bound to none, and works.
	} {
		a, err := ioring.NewArena(opts)
		if err != nil {
			t.Fatalf("NewArena(%+v): %v", opts, err)
		}
		if opts.Node == 700 && !errors.Is(a.Bound(), numa.ErrPolicy) {
			t.Errorf("Bound() to a NUMA node that is not there = %v, want ErrPolicy", a.Bound())
		}
		if opts.NoHuge && a.Pages() != ioring.PagesSmall {
			t.Errorf("Pages() = %s with NoHuge", a.Pages())
		}
		size := a.Stats().Size
		if size < opts.Size || size%(2*mib) != 0 {
			t.Errorf("an arena of %d bytes has %d", opts.Size, size)
		}
		var bufs []*ioring.Buf
		for _, n := range []int{1, 4096, 4097, 1 * mib, 2*mib + 5} {
			b := get(t, a, n)
			if len(b.Bytes()) != n || cap(b.Bytes()) != n {
				t.Errorf("a Buf of %d bytes has length %d, capacity %d", n, len(b.Bytes()), cap(b.Bytes()))
			}
			if address := uintptr(unsafe.Pointer(&b.Bytes()[0])); address%4096 != 0 {
				t.Errorf("a Buf of %d bytes begins at %#x", n, address)
			}
			clear(b.Bytes())
			bufs = append(bufs, b)
		}
		if want := int64(4096 + 4096 + 8192 + 1*mib + 2*mib + 4096); a.Stats().InUse != want {
			t.Errorf("InUse = %d, want %d", a.Stats().InUse, want)
		}
		if err := a.Close(); err == nil {
			t.Error("Close with Bufs in use succeeded")
		}
		for _, b := range bufs {
			b.Release()
		}
		if stats := a.Stats(); stats.InUse != 0 || stats.Peak < 3*mib {
			t.Errorf("after all Releases: %+v", stats)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := a.Close(); !errors.Is(err, ioring.ErrClosed) {
			t.Errorf("second Close = %v, want ErrClosed", err)
		}
	}
	for _, size := range []int64{0, -1, 1 << 50} {
		if _, err := ioring.NewArena(ioring.ArenaOptions{Size: size}); err == nil {
			t.Errorf("NewArena of %d bytes succeeded", size)
		}
	}
}

// Huge pages that the administrator has set aside are used first.
func TestReservedHugePages(t *testing.T) {
	text, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	free, parseErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || parseErr != nil || free < 4 {
		t.Skip("no huge pages of 2 MiB are set aside here (sysctl vm.nr_hugepages)")
	}
	a, err := ioring.NewArena(ioring.ArenaOptions{Size: 4 * mib, Node: 0})
	if err != nil {
		t.Fatal(err)
	}
	if a.Pages() != ioring.PagesReserved {
		t.Errorf("Pages() = %s with %d huge pages free", a.Pages(), free)
	}
	b := get(t, a, 4*mib)
	clear(b.Bytes())
	b.Release()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestArenaLengths(t *testing.T) {
	a := newArena(t, 6*mib) // Two blocks, 4 MiB and 2 MiB.
	for _, n := range []int{0, -1, 4*mib + 1, ioring.MaxBuf + 1} {
		if _, err := a.Get(t.Context(), n); err == nil || errors.Is(err, ioring.ErrArenaFull) {
			t.Errorf("Get(%d) = %v, want an error that is not about waiting", n, err)
		}
		if b := a.TryGet(n); b != nil {
			t.Errorf("TryGet(%d) succeeded", n)
		}
	}
	get(t, a, 4*mib).Release()
	large := newArena(t, 64*mib)
	get(t, large, ioring.MaxBuf).Release()
}

func TestBufReferences(t *testing.T) {
	a := newArena(t, 4*mib)
	b := get(t, a, 4096)
	b.Retain()
	b.Release()
	if a.Stats().InUse == 0 {
		t.Fatal("the memory is gone while a reference is left")
	}
	b.Release()
	if a.Stats().InUse != 0 {
		t.Error("the memory is kept after the last Release")
	}
	for name, misuse := range map[string]func(*ioring.Buf){"Release": (*ioring.Buf).Release, "Retain": (*ioring.Buf).Retain} {
		released := get(t, a, 4096)
		released.Release()
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a released Buf did not panic", name)
				}
			}()
			misuse(released)
		}()
	}
}

func TestGetWaits(t *testing.T) {
	a := newArena(t, 4*mib)
	synctest.Test(t, func(t *testing.T) {
		all := get(t, a, 4*mib)
		if b := a.TryGet(1); b != nil {
			t.Error("TryGet from a full arena succeeded")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Get(ctx, 1); !errors.Is(err, ioring.ErrArenaFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get from a full arena = %v, want ErrArenaFull and DeadlineExceeded", err)
		}
		var later *ioring.Buf
		go func() { later, _ = a.Get(t.Context(), 2*mib) }()
		synctest.Wait()
		if stats := a.Stats(); later != nil || stats.Waiting != 1 || stats.Waits != 2 || stats.Failures != 2 {
			t.Errorf("while one waits: %+v", stats)
		}
		all.Release()
		synctest.Wait()
		if later == nil {
			t.Fatal("Get still waits after Release")
		}
		later.Release()
	})
}

// line runs Gets that wait, in the given order, and says who has been served.
type line struct {
	t      *testing.T
	a      *ioring.Arena
	bufs   []*ioring.Buf
	cancel []context.CancelFunc
}

func (l *line) join(n int) int {
	i := len(l.bufs)
	ctx, cancel := context.WithCancel(l.t.Context())
	l.bufs, l.cancel = append(l.bufs, nil), append(l.cancel, cancel)
	go func() { l.bufs[i], _ = l.a.Get(ctx, n) }()
	synctest.Wait()
	return i
}

func (l *line) want(step string, served ...bool) {
	l.t.Helper()
	synctest.Wait()
	for i, want := range served {
		if got := l.bufs[i] != nil; got != want {
			l.t.Errorf("%s: waiter %d is served %t, want %t", step, i, got, want)
		}
	}
}

func (l *line) releaseAll() {
	for i, b := range l.bufs {
		if b != nil {
			b.Release()
		}
		l.cancel[i]()
	}
	synctest.Wait()
}

func TestGetIsFair(t *testing.T) {
	a := newArena(t, 8*mib)
	synctest.Test(t, func(t *testing.T) {
		held := make([]*ioring.Buf, 8)
		for i := range held {
			held[i] = get(t, a, mib)
		}
		l := &line{t: t, a: a}
		l.join(4 * mib)
		for range 6 {
			l.join(mib)
		}
		l.want("full", false, false, false, false, false, false, false)
		// The large one does not fit yet. Small ones pass it until they have had 4 MiB…
		for i := range 4 {
			held[i].Release()
		}
		l.want("4 MiB free", false, true, true, true, true, false, false)
		// …and then stand behind it, though there is memory for them.
		held[4].Release()
		held[5].Release()
		l.want("2 MiB free", false, true, true, true, true, false, false)
		if b := a.TryGet(4096); b != nil {
			t.Error("TryGet jumped the queue")
		}
		for i := 1; i <= 4; i++ {
			l.bufs[i].Release()
			l.bufs[i] = nil
		}
		l.want("6 MiB free", true, false, false, false, false, true, true)
		for _, b := range held[6:] {
			b.Release()
		}
		l.releaseAll()
	})
}

// A small request is not held up by a large one that cannot be served yet.
func TestSmallPassesLarge(t *testing.T) {
	a := newArena(t, 8*mib)
	synctest.Test(t, func(t *testing.T) {
		held := get(t, a, 4*mib)
		l := &line{t: t, a: a}
		l.join(8 * mib)
		l.join(mib)
		l.want("4 MiB free", false, true)
		held.Release()
		l.bufs[1].Release()
		l.bufs[1] = nil
		l.want("all free", true)
		l.releaseAll()
	})
}

// When the first in line gives up, the next is served with what it was waiting for.
func TestGivingUpServesTheNext(t *testing.T) {
	a := newArena(t, 8*mib)
	synctest.Test(t, func(t *testing.T) {
		held := get(t, a, 4*mib)
		l := &line{t: t, a: a}
		l.join(5 * mib)
		l.join(4 * mib) // Passes: it is no more than the first wants.
		l.join(2 * mib)
		l.want("4 MiB free", false, true, false)
		l.bufs[1].Release() // Passes no more: together they would have had 6 MiB.
		l.bufs[1] = nil
		l.want("4 MiB free again", false, false, false)
		l.cancel[0]()
		l.want("the first gave up", false, false, true)
		held.Release()
		l.releaseAll()
	})
}

// TestArenaConcurrent has more demand than memory, in all sizes, and checks that no two share a byte.
func TestArenaConcurrent(t *testing.T) {
	a := newArena(t, 16*mib)
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(caller)))
			for range 60 {
				n := 1 + rng.IntN(4096<<rng.IntN(11))
				b, err := a.Get(t.Context(), n)
				if err != nil {
					t.Error(err)
					return
				}
				for at := 0; at < n; at += 4096 {
					b.Bytes()[at] = byte(caller)
				}
				b.Retain()
				b.Release()
				for at := 0; at < n; at += 4096 {
					if got := b.Bytes()[at]; got != byte(caller) {
						t.Errorf("caller %d finds a byte of caller %d", caller, got)
						return
					}
				}
				b.Release()
			}
		})
	}
	wg.Wait()
	if stats := a.Stats(); stats.InUse != 0 || stats.Waiting != 0 || stats.Peak > stats.Size {
		t.Errorf("at the end: %+v", stats)
	}
}

func TestOnFree(t *testing.T) {
	a, err := ioring.NewArena(ioring.ArenaOptions{Size: 2 << 20, Node: -1, NoPrefault: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b := a.TryGet(8192)
	inUse := int64(-1)
	b.OnFree(func() { inUse = a.Stats().InUse })
	b.Retain()
	b.Release()
	if inUse >= 0 {
		t.Error("OnFree was called while somebody still had a reference")
	}
	b.Release()
	if inUse != 0 {
		t.Errorf("when OnFree was called %d bytes were in use; want it called once, with 0", inUse)
	}
}
