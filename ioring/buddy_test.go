//go:build linux

package ioring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// check walks all free blocks and compares them with used, a map of every page.
func (b *buddy) check(used []bool) error {
	free := make([]bool, len(used))
	for order, head := range b.heads {
		if (head == none) != (b.avail>>order&1 == 0) {
			return fmt.Errorf("order %d: head %d, avail %#x", order, head, b.avail)
		}
		prev := none
		for page := head; page != none; page = b.links[page].next {
			if b.links[page].prev != prev {
				return fmt.Errorf("order %d: page %d has prev %d, want %d", order, page, b.links[page].prev, prev)
			}
			prev = page
			if int(b.order[page]) != order || page&(1<<order-1) != 0 {
				return fmt.Errorf("page %d has order %d in the list of %d", page, b.order[page], order)
			}
			for p := int(page); p < int(page)+1<<order; p++ {
				if free[p] || used[p] {
					return fmt.Errorf("page %d is free twice, or in use %t", p, used[p])
				}
				free[p] = true
			}
			if twin := int(page) ^ 1<<order; order < maxOrder && twin+1<<order <= len(used) && int(b.order[twin]) == order {
				return fmt.Errorf("order %d: %d and %d were not merged", order, page, twin)
			}
		}
	}
	for p := range used {
		if !used[p] && !free[p] {
			return fmt.Errorf("page %d is lost", p)
		}
	}
	return nil
}

func TestBuddyRandom(t *testing.T) {
	for _, pages := range []int{1, 512, 1536, 20480, 3*8192 + 512} { // Also sizes that are no power of two.
		rng := rand.New(rand.NewPCG(7, uint64(pages)))
		b, used := newBuddy(pages), make([]bool, pages)
		type run struct{ first, pages int }
		var runs []run
		mark := func(r run, to bool) {
			for p := r.first; p < r.first+r.pages; p++ {
				if used[p] == to {
					t.Fatalf("page %d of run %+v was in use %t before", p, r, to)
				}
				used[p] = to
			}
		}
		for step := range 4000 {
			if rng.IntN(2) == 0 || len(runs) == 0 {
				n := 1 + rng.IntN(1<<rng.IntN(maxOrder+1))
				first, ok := b.alloc(n)
				if ok {
					runs = append(runs, run{first, n})
					mark(run{first, n}, true)
				}
			} else {
				i := rng.IntN(len(runs))
				mark(runs[i], false)
				b.free(runs[i].first, runs[i].pages)
				runs = slices.Delete(runs, i, i+1)
			}
			if step%64 == 0 {
				if err := b.check(used); err != nil {
					t.Fatalf("%d pages, step %d: %v", pages, step, err)
				}
			}
		}
		for _, r := range runs {
			mark(r, false)
			b.free(r.first, r.pages)
		}
		if err := b.check(used); err != nil {
			t.Fatalf("%d pages, all given back: %v", pages, err)
		}
	}
}

// Runs that are no power of two fill the range to its last page, whether alone or with others between.
func TestBuddyWastesNothing(t *testing.T) {
	const mib = 1 << 20 / pageSize
	for _, test := range []struct {
		name         string
		size         int
		runs, counts []int // So many runs of each length, in turns.
	}{
		{"6 MiB", 96, []int{6 * mib}, []int{16}},
		{"6 MiB and 2 MiB", 64, []int{6 * mib, 2 * mib}, []int{8, 8}},
		{"12 MiB and 4 KiB", 64, []int{12 * mib, 1}, []int{5, 4 * mib}},
		{"10 MiB", 64, []int{10 * mib}, []int{6}},
	} {
		b := newBuddy(test.size * mib)
		for again := true; again; {
			again = false
			for i, pages := range test.runs {
				if test.counts[i] == 0 {
					continue
				}
				if _, ok := b.alloc(pages); !ok {
					t.Fatalf("%s: no room for a run of %d pages; %v are left to place", test.name, pages, test.counts)
				}
				test.counts[i]--
				again = true
			}
		}
	}
}

// A power of two that no aligned block holds is taken from two halves that lie side by side.
func TestBuddyJoinsHalves(t *testing.T) {
	b := newBuddy(8)
	for range 8 {
		b.alloc(1)
	}
	b.free(1, 2) // Pages 1 and 2 are no buddies.
	if first, ok := b.alloc(2); !ok || first != 1 {
		t.Errorf("alloc(2) = %d, %t with pages 1 and 2 free; want 1", first, ok)
	}
}
