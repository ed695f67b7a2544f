package engine

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/engine/drive"
)

var (
	crashWhole  = flag.Bool("crash.whole", false, "TestCrashEvery: every workload and every image, not a share of them")
	crashDepth  = flag.Int("crash.depth", 3, "TestCrashEvery: operations in a workload, at most")
	crashDrives = flag.Int("crash.drives", 3, "TestCrashEvery: drives of the store")
	crashPart   = flag.String("crash.part", "0/1", "TestCrashEvery: with -crash.whole, which part of the workloads of how many")
)

// TestCrashEvery cuts the power at every event of every workload of up to three operations, and tries every state that the cut may leave:
// writes under way are all there, all gone, each one gone, each one alone; each one is torn at every sector, with the others there and
// with them gone; the files of the index are as they were last synced, as they are, and something between. A store opened on the image holds
// what it held before the operation that was under way, or after it, as a whole; and so it does when power fails again while it
// recovers, three times over.
//
// Without -crash.whole a share is drawn by seed.
func TestCrashEvery(t *testing.T) {
	x := newCrashTest(t, *crashDrives)
	workloads := x.workloads(*crashDepth)
	if *crashWhole {
		workloads = part(t, workloads, *crashPart)
	} else {
		x.rng.Shuffle(len(workloads), func(i, j int) { workloads[i], workloads[j] = workloads[j], workloads[i] })
		x.budget, x.share = 180, 0.05 // So that many workloads have their turn.
	}
	x.check(workloads)
	x.report(len(workloads))
}

// part returns every n-th of the items, from the i-th on, for a part "i/n".
func part[T any](t *testing.T, items []T, which string) (out []T) {
	var i, n int
	if _, err := fmt.Sscanf(which, "%d/%d", &i, &n); err != nil || n < 1 || i < 0 || i >= n {
		t.Fatalf("part %q is not one of i/n", which)
	}
	for ; i < len(items); i += n {
		out = append(out, items[i])
	}
	return out
}

// chores are what the store does by itself, made steps of a workload.
func chores() []deed {
	nothing := func(*world, uint64) string { return done }
	return []deed{
		{"flush and recycle", func(ctx context.Context, s *Store, _ uint64) error {
			c := s.cells[0]
			c.bulk.mu.Lock()
			vol := c.bulk.vol
			c.bulk.mu.Unlock()
			if vol != nil {
				c.bulk.retire(vol)
			}
			r := newRecycler(c.base.Load())
			for range 3 {
				if err := r.round(ctx); err != nil {
					return err
				}
			}
			return nil
		}, nothing},
		{"checkpoint", func(ctx context.Context, s *Store, _ uint64) error {
			_, err := s.cells[0].base.Load().checkpoint(ctx)
			return err
		}, nothing},
		{theRestart, nil, nothing},
	}
}

// theRestart is the deed of a store that is killed and starts again.
const theRestart = "restart"

// crashTest makes and checks images.
type crashTest struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	opts  Options
	kinds []deed
	first *drive.Domain // A store that holds newWorld.

	budget int64   // Images to check; 0 means all.
	share  float64 // Of the images of a workload.

	images, runs, again, rebuilt atomic.Int64
	begun                        time.Time
}

func newCrashTest(t *testing.T, n int) *crashTest {
	x := &crashTest{t: t, rng: newRNG(t), kinds: append(slices.Clone(deeds), chores()...), share: 1, begun: time.Now()}
	// An event may take as long as it takes to check its images. Each of them is read to the end of the journal, so that is short.
	x.opts = testOptions(t, -1).tuned(still).tuned(func(c *cell) {
		c.maxRecordLen = 256 << 10
		c.limits.look, c.limits.flush, c.limits.soonest, c.limits.checkpoint = 0, 0, time.Hour, time.Hour
		c.limits.write, c.limits.create, c.limits.read, c.limits.hedge, c.limits.stall = time.Hour, time.Hour, time.Hour, time.Hour, time.Hour
	})
	x.opts.JournalSegment, x.opts.BulkSegment = 640<<10, MinBulkSegment
	x.first = drive.NewDomain(identities(n), 0, drive.DomainOptions{})
	s := x.open(x.first)
	if err := newWorld().build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	x.first = x.first.Cut(drive.Choice{})
	return x
}

func (x *crashTest) open(d *drive.Domain) *Store {
	s, err := openOn(x.t.Context(), x.opts, d.Drives())
	if err != nil {
		x.t.Fatal(err)
	}
	s.minPart = 0
	return s
}

// workloads lists every sequence of up to depth kinds, by index.
func (x *crashTest) workloads(depth int) [][]int {
	var all [][]int
	level := [][]int{nil}
	for range depth {
		var next [][]int
		for _, w := range level {
			for kind := range x.kinds {
				next = append(next, append(slices.Clone(w), kind))
			}
		}
		all, level = append(all, next...), next
	}
	return all
}

func (x *crashTest) name(workload []int) string {
	var names []string
	for _, kind := range workload {
		names = append(names, x.kinds[kind].name)
	}
	return strings.Join(names, ", ")
}

// image is what a power cut has left.
type image struct {
	domain  *drive.Domain
	what    string
	allowed []string // What a store opened on it may hold.
	seed    uint64   // Decides what else is done with it.
}

// spent reports whether enough images were checked.
func (x *crashTest) spent() bool {
	return x.budget > 0 && x.images.Load() >= x.budget || x.t.Failed()
}

// check cuts in the last operation of each workload, as those before it are workloads of their own.
func (x *crashTest) check(workloads [][]int) {
	images := make(chan image, 8)
	var checkers, makers sync.WaitGroup
	for range 4 {
		checkers.Go(func() {
			for im := range images {
				x.checkImage(im)
			}
		})
	}
	left := make(chan []int)
	for range 2 {
		seed := x.rng.Uint64()
		makers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 3))
			for w := range left {
				x.run(w, rng, images)
			}
		})
	}
	for _, w := range workloads {
		if x.spent() {
			break
		}
		left <- w
	}
	close(left)
	makers.Wait()
	close(images)
	checkers.Wait()
}

// run plays a workload and sends the images that power cuts during its last operation leave.
func (x *crashTest) run(workload []int, rng *rand.Rand, images chan<- image) {
	w := newWorld()
	domain := x.first.Cut(drive.Choice{})
	s := x.open(domain)
	defer func() { closeStore(x.t, s) }()
	for i, kind := range workload {
		d, seed := x.kinds[kind], uint64(100+i)
		before := w.text()
		answer := d.mean(w, seed)
		if answer == twice {
			return
		}
		after := w.text()
		last := i == len(workload)-1
		var acknowledged atomic.Bool
		if d.name == theRestart {
			closeStore(x.t, s) // The image knows nothing of it.
			domain = domain.Cut(drive.Choice{})
		}
		if last {
			current := domain
			hookRNG := rand.New(rand.NewPCG(rng.Uint64(), 4)) // Hooks run one at a time, but not on this goroutine.
			domain.SetHook(func(event int) {
				allowed := []string{before, after}
				if acknowledged.Load() {
					allowed = allowed[1:]
				}
				x.cuts(current, fmt.Sprintf("%s, event %d", x.name(workload), event), allowed, hookRNG, images)
			})
		}
		var err error
		if d.name == theRestart {
			s = x.open(domain)
		} else {
			err = d.do(x.t.Context(), s, seed)
		}
		if got := answerOf(err); got != answer {
			x.t.Errorf("%s: %s, want %s: %v", x.name(workload[:i+1]), got, answer, err)
			return
		}
		if last {
			acknowledged.Store(true)
			images <- image{domain.Cut(drive.Choice{}), x.name(workload) + ", acknowledged", []string{after}, rng.Uint64()}
			domain.SetHook(nil)
		}
	}
	x.runs.Add(1)
}

// cuts sends what a cut at this instant may leave.
func (x *crashTest) cuts(d *drive.Domain, what string, allowed []string, rng *rand.Rand, images chan<- image) {
	send := func(how string, write func(i int) drive.Fate, unsynced int) {
		if x.spent() || x.share < 1 && rng.Float64() >= x.share {
			return
		}
		i := -1
		choice := drive.Choice{Write: func(drive.UnstableWrite) drive.Fate { i++; return write(i) }}
		choice.Index.UnsyncedDataPercent, choice.Index.RNG = unsynced, rng
		images <- image{d.Cut(choice), what + ", " + how, allowed, rng.Uint64()}
	}
	under := d.Unstable()
	send("all kept", func(int) drive.Fate { return drive.Kept }, 100)
	send("none kept, index half", func(int) drive.Fate { return drive.Dropped }, 50)
	send("none kept", func(int) drive.Fate { return drive.Dropped }, 0)
	for i, w := range under {
		one := func(fate, others drive.Fate) func(int) drive.Fate {
			return func(j int) drive.Fate {
				if i == j {
					return fate
				}
				return others
			}
		}
		if len(under) > 1 {
			send(fmt.Sprintf("without write %d", i), one(drive.Dropped, drive.Kept), 0)
			send(fmt.Sprintf("with write %d alone", i), one(drive.Kept, drive.Dropped), 0)
		}
		if i < len(under)-1 {
			continue // Each write is the last to begin once, and is torn then.
		}
		for sector := 1; sector < w.Len/drive.SectorLen; sector++ {
			send(fmt.Sprintf("write %d torn before sector %d, others kept", i, sector), one(drive.TornBefore(sector), drive.Kept), 0)
			send(fmt.Sprintf("write %d torn before sector %d, others dropped", i, sector), one(drive.TornBefore(sector), drive.Dropped), 0)
			if w.Len <= 16*drive.SectorLen {
				send(fmt.Sprintf("write %d torn after sector %d, others kept", i, sector), one(drive.TornAfter(sector), drive.Kept), 0)
			}
		}
	}
}

// checkImage opens a store on an image and holds what it says against what it may say. One image in eight is recovered again with
// cuts in between, and one in sixteen without its index.
func (x *crashTest) checkImage(im image) {
	x.images.Add(1)
	rng := rand.New(rand.NewPCG(im.seed, 5))
	pristine := im.domain
	says, ok := x.look(pristine.Cut(drive.Choice{}), im.what)
	if !ok {
		return
	}
	if !slices.Contains(im.allowed, says) {
		x.t.Errorf("%s: the store says\n%s\nand may say\n%s", im.what, says, strings.Join(im.allowed, "\nor\n"))
		return
	}
	if rng.IntN(8) == 0 {
		x.again.Add(1)
		d := pristine
		for range 1 + rng.IntN(3) {
			d = x.interrupt(d.Cut(drive.Choice{}), rng)
		}
		if now, ok := x.look(d, im.what+", recovery interrupted"); ok && now != says {
			x.t.Errorf("%s: recovery says\n%s\nand, interrupted and begun again,\n%s", im.what, says, now)
		}
	}
	if rng.IntN(16) == 0 {
		x.rebuilt.Add(1)
		d := pristine.Cut(drive.Choice{})
		for _, m := range d.Drives() {
			fs, root := m.FS()
			for _, name := range []string{indexName, checkpointDir} {
				if err := fs.RemoveAll(fs.PathJoin(root, name)); err != nil {
					x.t.Error(err)
				}
			}
		}
		if now, ok := x.look(d, im.what+", without its index"); ok && now != says {
			x.t.Errorf("%s: recovery says\n%s\nand without an index\n%s", im.what, says, now)
		}
	}
}

// look opens a store on the drives and returns what it says.
func (x *crashTest) look(d *drive.Domain, what string) (says string, ok bool) {
	s, err := openOn(x.t.Context(), x.opts, d.Drives())
	if err != nil {
		x.t.Errorf("%s: the store does not start: %v", what, err)
		return "", false
	}
	s.minPart = 0
	defer closeStore(x.t, s)
	if says, err = view(x.t.Context(), s); err != nil {
		x.t.Errorf("%s: %v", what, err)
		return "", false
	}
	return says, true
}

// interrupt cuts the power at some instant of the recovery of a store.
func (x *crashTest) interrupt(d *drive.Domain, rng *rand.Rand) (after *drive.Domain) {
	at := d.Events() + 1 + rng.IntN([]int{10, 40, 160}[rng.IntN(3)])
	choice := drive.RandomChoice(rng)
	d.SetHook(func(event int) {
		if event == at {
			after = d.Cut(choice)
		}
	})
	s, err := openOn(x.t.Context(), x.opts, d.Drives())
	if err != nil {
		x.t.Errorf("recovery: %v", err)
		return d.Cut(choice)
	}
	d.SetHook(nil)
	if after == nil {
		after = d.Cut(choice) // It was over before the instant came.
	}
	closeStore(x.t, s)
	return after
}

func (x *crashTest) report(workloads int) {
	x.t.Logf("%d of %d workloads, %d images, %d of them recovered with cuts in between, %d without an index, in %v",
		x.runs.Load(), workloads, x.images.Load(), x.again.Load(), x.rebuilt.Load(), time.Since(x.begun).Round(time.Second))
}
