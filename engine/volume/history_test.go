package volume

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"penstock/engine/drive"
)

// world is a store of a few drives as far as their histories go, with what only the test knows: which works there were, that is,
// starts in which something was acknowledged, and what each of them went on from.
type world struct {
	drives  []worldDrive
	works   []int // For each work, the one that it went on from; -1 for none.
	runs    int
	phantom map[drive.ID]int // Works that were none: starts that were confirmed on some of their drives only.
}

type worldDrive struct {
	past
	segs []worldSegment // Live ones.
	work int            // The last work that it took part in, or -1.
}

type worldSegment struct {
	start drive.Start
	work  int // That was acknowledged in it, or -1.
}

func run(n int) drive.ID {
	var id drive.ID
	binary.BigEndian.PutUint32(id[:], uint32(n))
	return id
}

func (w *world) clone() *world {
	c := &world{works: slices.Clone(w.works), runs: w.runs, phantom: maps.Clone(w.phantom)}
	for _, d := range w.drives {
		c.drives = append(c.drives, worldDrive{d.past, slices.Clone(d.segs), d.work}) // Lists are replaced, never changed.
	}
	return c
}

// key tells worlds apart that can behave differently.
func (w *world) key() string {
	var b strings.Builder
	runs, works := map[drive.ID]int{}, map[int]int{} // Named in the order in which they appear.
	start := func(s drive.Start) {
		n, ok := runs[s.Run]
		if !ok {
			n = len(runs)
			runs[s.Run] = n
		}
		fmt.Fprintf(&b, "%d:%d ", s.Epoch, n)
	}
	var work func(i int)
	work = func(i int) {
		n, ok := works[i]
		if i < 0 {
			n = -1
		} else if !ok {
			n = len(works)
			works[i] = n
			work(w.works[i])
		}
		fmt.Fprintf(&b, "w%d ", n)
	}
	for _, r := range slices.SortedFunc(maps.Keys(w.phantom), func(a, b drive.ID) int { return bytes.Compare(a[:], b[:]) }) {
		start(drive.Start{Run: r})
		work(w.phantom[r])
	}
	for _, d := range w.drives {
		for _, list := range [][]drive.Start{d.starts, d.base, d.pending} {
			for _, s := range list {
				start(s)
			}
			b.WriteByte('/')
		}
		for _, s := range d.segs {
			start(s.start)
			work(s.work)
		}
		b.WriteByte('/')
		work(d.work)
		b.WriteByte('|')
	}
	return b.String()
}

// before reports whether work b went on from a, or is a.
func (w *world) before(a, b int) bool {
	for ; b >= 0; b = w.works[b] {
		if a == b {
			return true
		}
	}
	return a < 0
}

// latestWork returns the work that all works of the drives lead to, and false if two of them went on without each other.
func (w *world) latestWork(present []int) (int, bool) {
	latest := -1
	for _, i := range present {
		if w.before(latest, w.drives[i].work) {
			latest = w.drives[i].work
		}
	}
	for _, i := range present {
		if !w.before(w.drives[i].work, latest) {
			return 0, false
		}
	}
	return latest, true
}

// outcome is how far a start came: it is pending on some drives, then it made segments on some, then it was confirmed on some. If that
// is all of them, something was acknowledged; and then everything older may have been freed.
type outcome struct {
	pending, made, confirmed []int
	free                     bool
}

// start starts the drives in present. It returns what is wrong with the answer it gets.
func (w *world) start(present []int, o outcome) (refused bool, wrong string) {
	var pasts []past
	highest := uint32(0)
	for _, n := range present {
		d := &w.drives[n]
		pasts = append(pasts, d.past)
		highest = max(highest, (&drive.Identity{Starts: d.starts, Pending: d.pending}).Epoch())
		for _, s := range d.segs {
			highest = max(highest, s.start.Epoch)
		}
	}
	before, whole := w.latestWork(present)
	h, _, stranger := reconcile(pasts)
	switch {
	case stranger >= 0 && whole && len(w.phantom) == 0:
		return true, "is refused, and nothing was acknowledged by one without the other"
	case stranger < 0 && !whole:
		return false, "is accepted, and they went on without each other"
	case stranger >= 0:
		return true, ""
	}
	epochs := map[uint32]drive.ID{}
	for _, n := range present {
		d := &w.drives[n]
		var kept []worldSegment
		for _, s := range d.segs {
			if d.void(s.start.Epoch, h) {
				if s.work >= 0 {
					return false, "drops what was acknowledged"
				}
				continue
			}
			if other, ok := epochs[s.start.Epoch]; ok && other != s.start.Run {
				return false, "takes two starts for one"
			}
			epochs[s.start.Epoch] = s.start.Run
			kept = append(kept, s)
		}
		d.segs = kept
	}
	w.runs++
	s := drive.Start{Epoch: highest + 1, Run: run(w.runs)}
	for _, n := range o.pending {
		id := drive.Identity{Starts: w.drives[n].starts}
		id.Begin(h.confirmed, h.unconfirmed, s)
		w.drives[n].past = pastOf(&id)
	}
	for _, u := range h.unconfirmed {
		if n, ok := w.phantom[u.Run]; ok && w.before(before, n) {
			before = n // All of its drives have what it recovered.
		}
	}
	work := -1
	if len(o.confirmed) > 0 {
		w.works = append(w.works, before)
		work = len(w.works) - 1
		if len(o.confirmed) < len(present) {
			w.phantom[s.Run] = work
		}
	}
	acknowledged := work
	if len(o.confirmed) < len(present) {
		acknowledged = -1
	}
	for _, n := range o.made {
		d := &w.drives[n]
		if o.free {
			d.segs = nil
		}
		d.segs = append(d.segs, worldSegment{s, acknowledged})
	}
	for _, n := range o.confirmed {
		d := &w.drives[n]
		id := drive.Identity{Starts: d.starts, Base: d.base, Pending: d.pending}
		id.Confirm()
		d.past = pastOf(&id)
		d.work = work
	}
	return false, ""
}

// outcomes returns every outcome of a start.
func outcomes(present []int, phantoms bool) []outcome {
	all := []outcome{{present, present, present, false}, {present, present, present, true}}
	for _, some := range subsets(len(present)) {
		var part []int
		for _, i := range some {
			part = append(part, present[i])
		}
		all = append(all, outcome{pending: part})
		if len(part) > 0 {
			all = append(all, outcome{pending: present, made: part})
			if phantoms && len(part) < len(present) {
				all = append(all, outcome{pending: present, made: present, confirmed: part})
			}
		}
	}
	return all
}

func subsets(n int) (all [][]int) {
	for mask := range 1 << n {
		var set []int
		for i := range n {
			if mask>>i&1 == 1 {
				set = append(set, i)
			}
		}
		all = append(all, set)
	}
	return all
}

// moreStarts makes every sequence longer. One more is five million starts and takes half a minute.
var moreStarts = flag.Int("starts", 0, "add so many starts to every sequence of TestReconcileEveryHistory")

// TestReconcileEveryHistory plays every sequence of starts, on every subset of the drives, each of them complete or cut off by a power
// failure at any point. A start is refused if, and only if, two of its drives each acknowledged something without the other.
//
// Where the power fails while a start is being confirmed, the drives it was confirmed on must believe that something was acknowledged. If
// the others then go on without them and have never heard of that start, they are refused later. This is the one case that nobody can decide, and it is played
// separately: in it too nothing is ever accepted wrongly.
func TestReconcileEveryHistory(t *testing.T) {
	for _, c := range []struct {
		drives, starts int
		phantoms       bool
	}{{2, 4, false}, {2, 4, true}, {3, 3, false}, {3, 3, true}, {4, 2, false}} {
		t.Run(fmt.Sprintf("drives=%d,phantoms=%v", c.drives, c.phantoms), func(t *testing.T) {
			c.starts += *moreStarts
			first := &world{phantom: map[drive.ID]int{}}
			for range c.drives {
				first.drives = append(first.drives, worldDrive{work: -1})
			}
			worlds := map[string]*world{first.key(): first}
			tried, refusals := 0, 0
			how := map[*world]string{first: ""}
			for i := range c.starts {
				next := make(map[string]*world)
				for _, w := range worlds {
					for _, present := range subsets(c.drives)[1:] {
						for _, o := range outcomes(present, c.phantoms) {
							tried++
							n := w.clone()
							refused, wrong := n.start(present, o)
							if wrong != "" {
								t.Fatalf("after %s a start of drives %v %s:\n%s", how[w], present, wrong, w.key())
							}
							if refused {
								refusals++
								break // However far it would have come.
							}
							if i == c.starts-1 {
								continue
							}
							if key := n.key(); next[key] == nil {
								next[key] = n
								how[n] = how[w] + fmt.Sprintf("%v pending %v made %v confirmed %v; ", present, o.pending, o.made, o.confirmed)
							}
						}
					}
				}
				worlds = next
			}
			t.Logf("%d starts tried, %d refused", tried, refusals)
		})
	}
}
