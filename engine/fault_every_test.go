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
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"penstock/engine/drive"
)

var (
	faultWhole = flag.Bool("fault.whole", false, "TestFaultEvery: every fault at every action, not a share of them")
	faultOnly  = flag.String("fault.kind", "", "TestFaultEvery: only the kinds of faults with this in their name")
	faultPart  = flag.String("fault.part", "0/1", "TestFaultEvery: with -fault.whole, which part of the faults of how many")
)

// faultOps is how many operations of clients a fault may strike in.
const faultOps = 200

// TestFaultEvery plays a mixed workload of 200 operations, a restart and the look at everything once for each action that the drives carry
// out during it and each way in which that one action can go wrong. With two parities no client may notice: every operation gives the
// answer that it gives without the fault, also after the restart, and also without one drive more. A fault in the files of the index
// may be noticed while the index is replaced: an operation may then be told that it was not done, or that nobody knows.
//
// Without -fault.whole a share is drawn by seed.
func TestFaultEvery(t *testing.T) {
	rng := newRNG(t)
	f := &faultTest{seed: rng.Uint64()}
	var counts [16]int
	t.Run("sound", func(t *testing.T) {
		if plan := f.run(t, nil); !t.Failed() {
			for i := range counts {
				counts[i] = plan.Count(drive.ID{}, 1<<i)
			}
		}
	})
	if t.Failed() {
		return
	}
	var strikes []strike
	for _, kind := range faultKinds {
		if !strings.Contains(kind.name, *faultOnly) {
			continue
		}
		total := 0
		for i, n := range counts {
			if kind.on&(1<<i) != 0 {
				total += n
			}
		}
		for n := 1; n <= total; n++ {
			strikes = append(strikes, strike{kind, n})
		}
	}
	all := len(strikes)
	if *faultWhole {
		strikes = part(t, strikes, *faultPart)
	} else {
		rng.Shuffle(len(strikes), func(i, j int) { strikes[i], strikes[j] = strikes[j], strikes[i] })
		strikes = strikes[:min(25, len(strikes))]
	}
	begun := time.Now()
	next := make(chan strike)
	var workers sync.WaitGroup
	var struck atomic.Int64
	for range 2 {
		workers.Go(func() {
			for s := range next {
				t.Run(s.String(), func(t *testing.T) {
					if f.run(t, &s).Struck() > 0 {
						struck.Add(1)
					}
				})
			}
		})
	}
	for _, s := range strikes {
		if t.Failed() {
			break
		}
		next <- s
	}
	close(next)
	workers.Wait()
	t.Logf("%d of %d faults, %d of them struck, in %v", len(strikes), all, struck.Load(), time.Since(begun).Round(time.Second))
}

// faultKind is a way in which an action can go wrong.
type faultKind struct {
	name string
	on   drive.Action
	do   drive.Effect
	err  error
}

const onSpace = drive.OnCreate | drive.OnResize | drive.OnWrite | drive.OnWriteMeta

var faultKinds = []faultKind{
	{"fail", drive.OnAny, drive.Fail, nil},
	{"no space", onSpace, drive.Fail, syscall.ENOSPC},
	{"fail after", drive.OnAny &^ drive.OnRead, drive.FailAfter, nil},
	{"short", drive.OnOps, drive.Short, nil},
	{"delay", drive.OnAny, drive.Delay, nil},
	{"hang", drive.OnAny, drive.Hang, nil},
	{"lose", drive.OnWrite, drive.Lose, nil},
	{"tear", drive.OnWrite, drive.Tear, nil},
	{"misdirect", drive.OnOps, drive.Misdirect, nil},
	{"stale", drive.OnRead, drive.Stale, nil},
	{"flip", drive.OnOps, drive.Flip, nil},
	{forGood, drive.OnAny, drive.Fail, nil},

	{"file: fail", drive.OnFiles, drive.Fail, nil},
	{"file: no space", drive.OnChangeFile, drive.Fail, syscall.ENOSPC},
	{"file: fail after", drive.OnChangeFile, drive.FailAfter, nil},
	{"file: short", drive.OnFiles, drive.Short, nil},
	{"file: delay", drive.OnFiles, drive.Delay, nil},
	{"file: hang", drive.OnFiles, drive.Hang, nil},
	{"file: lose", drive.OnChangeFile, drive.Lose, nil},
	{"file: tear", drive.OnChangeFile, drive.Tear, nil},
	{"file: flip", drive.OnFiles, drive.Flip, nil},
}

// forGood is the fault of a drive that does nothing any more from one of its actions on.
const forGood = "fail for good"

// strike is a fault at the n-th of the actions that it can befall.
type strike struct {
	faultKind
	n int
}

func (s strike) String() string { return fmt.Sprintf("%s %d", s.name, s.n) }

type faultTest struct{ seed uint64 }

// faultRun is one run.
type faultRun struct {
	*faultTest
	t     *testing.T
	store *Store
	world *world
	plan  *drive.Plan
	calm  func()
	files bool // The fault is one in the files of the index.
}

// run plays the workload under a fault, or none. Time is that of a bubble, so what hangs costs nothing, but where Pebble is concerned: it waits for
// files with locks held, and an index that cannot be opened leaves goroutines behind; a bubble allows neither.
func (f *faultTest) run(t *testing.T, s *strike) (plan *drive.Plan) {
	if s != nil && s.on&drive.OnFiles != 0 {
		return f.runUnder(t, s, func() {})
	}
	synctest.Test(t, func(t *testing.T) {
		plan = f.runUnder(t, s, func() {
			time.Sleep(2 * faultDelay)
			synctest.Wait()
		})
	})
	return plan
}

// runUnder is run; calm waits until what hung or was late is over.
func (f *faultTest) runUnder(t *testing.T, s *strike, calm func()) *drive.Plan {
	plan := drive.NewPlan(f.seed)
	drives := memDrives(6, 0)
	opts := testOptions(t, -1).tuned(func(c *cell) { c.maxRecordLen = 256 << 10 })
	opts.JournalSegment, opts.BulkSegment = 640<<10, MinBulkSegment
	files := s != nil && s.on&drive.OnFiles != 0
	if files {
		opts = opts.tuned(func(c *cell) { c.limits.stall, c.limits.create = 500*time.Millisecond, time.Second })
	}
	wrapped := plan.WrapAll(drives)
	r := &faultRun{faultTest: f, t: t, world: newWorld(), plan: plan, calm: calm, files: files}
	r.start(opts, wrapped, "the first start")
	if err := r.world.build(t.Context(), r.store); err != nil {
		t.Fatal(err)
	}
	if s != nil {
		rule := drive.Rule{On: s.on, Nth: s.n, Do: s.do, Err: s.err, Delay: faultDelay}
		rule.Match = func(e drive.Event) bool { return e.Name != "drive.json" || e.Action != drive.OnReadMeta }
		if s.name == forGood {
			rule.Drive, rule.Nth, rule.Times = drives[s.n%len(drives)].ID(), 1+s.n/len(drives), -1
		}
		if s.do == drive.Stale {
			plan.KeepStale()
		}
		plan.Add(rule)
	}
	defer plan.Release()
	r.play()
	r.check("at the end")
	r.stop()
	reopen(drives)
	r.start(opts, wrapped, "restart")
	r.check("after a restart")
	r.stop()
	reopen(drives)
	// The fault has hurt one drive, if any. Another one goes.
	gone := rand.New(rand.NewPCG(f.seed, 12)).IntN(len(drives))
	r.start(opts, slices.Delete(slices.Clone(drives), gone, gone+1), "without one drive more")
	r.check("without one drive more")
	r.stop()
	return plan
}

func (r *faultRun) start(opts Options, drives []drive.Drive, what string) {
	r.t.Helper()
	s, err := openOn(r.t.Context(), opts, drives)
	if err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
	s.minPart = 0
	r.store = s
}

// faultDelay is longer than a read waits before it is reconstructed, and shorter than a drive may take before it is given up.
const faultDelay = 700 * time.Millisecond

// stop closes the store once what hung or was late is over and has given its memory back.
func (r *faultRun) stop() {
	r.plan.Release()
	r.calm()
	limit := time.Minute
	if r.files {
		limit = 3 * time.Second // An index that hangs now is waited for in vain.
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := r.store.Close(ctx); err != nil && !r.files { // An index that cannot be closed in order is brought up to date by the next start.
		r.t.Fatalf("Close: %v", err)
	}
}

// play plays the workload against the store and the world.
func (r *faultRun) play() {
	rng := rand.New(rand.NewPCG(r.seed, 11))
	for i := range faultOps {
		seed := uint64(i)
		switch rng.IntN(10) {
		case 0:
			r.read(rng)
			continue
		case 1:
			if r.world.uploads["m"] == nil { // Completed or aborted: there is another to complete or abort.
				r.do(createUpload, seed)
				for number := range 2 {
					r.do(deedPart(number+1, 3000+number*PackThreshold), seed)
				}
				continue
			}
		case 2:
			for _, name := range worldBuckets[1:] {
				r.do(deedToggle(name), seed)
			}
			continue
		}
		r.do(deeds[rng.IntN(len(deeds))], seed)
	}
}

// do has the store do a deed and holds it to the world's answer.
func (r *faultRun) do(d deed, seed uint64) {
	r.t.Helper()
	before := r.world.clone()
	want := d.mean(r.world, seed)
	if want == twice {
		return
	}
	err := d.do(r.t.Context(), r.store, seed)
	got := answerOf(err)
	if got == want {
		return
	}
	kind := KindOf(err)
	if !r.files || kind != KindUnavailable && kind != KindUnknownOutcome {
		r.t.Fatalf("%s: %s, want %s: %v", d.name, got, want, err)
	}
	switch says := r.view(d.name); {
	case says == before.text():
		r.world = before
	case says != r.world.text() || kind == KindUnavailable:
		r.t.Fatalf("%s: %v; then the store says\n%s\nit said\n%s\nand would say\n%s", d.name, err, says, before.text(), r.world.text())
	}
}

// ask asks until the index is there, if it may be away.
func (r *faultRun) ask(what string, f func() error) {
	r.t.Helper()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if !r.files || KindOf(err) != KindUnavailable || time.Since(begun) > time.Minute {
			r.t.Fatalf("%s: %v", what, err)
		}
	}
}

// read reads a range of an object, without help of the cache.
func (r *faultRun) read(rng *rand.Rand) {
	r.t.Helper()
	r.store.cells[0].cache = newBlobCache(0)
	key := worldKeys[rng.IntN(len(worldKeys))]
	o, there := r.world.buckets[testBucket][key]
	r.ask("read "+key, func() error {
		if !there {
			_, err := r.store.Head(r.t.Context(), testBucket, key, CurrentVersion)
			if err == nil {
				return fmt.Errorf("%s is there", key)
			}
			if KindOf(err) == KindNoSuchObject {
				return nil
			}
			return err
		}
		off := rng.IntN(len(o.b))
		n := rng.IntN(len(o.b)-off) + 1
		got, err := getRange(r.t.Context(), r.store, testBucket, key, int64(off), int64(n))
		if err == nil && string(got) != string(o.b[off:off+n]) {
			return fmt.Errorf("%d bytes at %d of %s: got %d others", n, off, key, len(got))
		}
		return err
	})
}

func (r *faultRun) view(when string) (says string) {
	r.t.Helper()
	r.store.cells[0].cache = newBlobCache(0)
	r.ask(when, func() (err error) {
		says, err = view(r.t.Context(), r.store)
		return err
	})
	return says
}

func (r *faultRun) check(when string) {
	r.t.Helper()
	if says, want := r.view(when), r.world.text(); says != want {
		r.t.Fatalf("%s the store says\n%s\nand should say\n%s", when, says, want)
	}
}
