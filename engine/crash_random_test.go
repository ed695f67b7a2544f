package engine

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/engine/drive"
)

var crashImages = flag.Int("crash.images", 60, "TestCrashRandom: images to check")

// imagesPerLife is how many images TestCrashRandom takes of one store before it begins with another.
const imagesPerLife = 60

// TestCrashRandom cuts the power at random events under concurrent writes, each time in several of the states that the cut may leave. A store
// opened on such an image holds what was acknowledged, and of what was under way all or nothing; and so it does, and the same, when power
// fails up to three times while it recovers.
func TestCrashRandom(t *testing.T) {
	rng := newRNG(t)
	r := &randomCrash{t: t}
	for begun := time.Now(); int(r.images.Load()) < *crashImages && !t.Failed(); {
		r.life([]int{1, 2, 3, 4, 6}[rng.IntN(5)], rand.New(rand.NewPCG(rng.Uint64(), 7)))
		if r.lives%100 == 0 || int(r.images.Load()) >= *crashImages {
			t.Logf("%d images, %d of them recovered with cuts in between, of %d stores, in %v",
				r.images.Load(), r.again.Load(), r.lives, time.Since(begun).Round(time.Second))
		}
	}
}

type randomCrash struct {
	t             *testing.T
	lives         int
	images, again atomic.Int64
}

// guess is an image and what it may hold.
type guess struct {
	domain *drive.Domain
	oracle *oracle
	seed   uint64
}

// life is that of one store.
func (r *randomCrash) life(n int, rng *rand.Rand) {
	r.lives++
	opts := testOptions(r.t, -1).tuned(func(c *cell) {
		c.maxRecordLen = 256 << 10
		// Drives take as long as it takes to check images.
		c.limits.write, c.limits.create, c.limits.read, c.limits.hedge, c.limits.stall = time.Hour, time.Hour, time.Hour, time.Hour, time.Hour
	})
	opts.JournalSegment, opts.BulkSegment = 640<<10, MinBulkSegment // Volumes follow each other quickly.
	domain := drive.NewDomain(identities(n), 0, drive.DomainOptions{Seed: rng.Uint64()})
	s, err := openOn(r.t.Context(), opts, domain.Drives())
	if err != nil {
		r.t.Fatal(err)
	}
	s.minPart = 0
	mustBucket(r.t, s, testBucket)

	guesses := make(chan guess, 4)
	var checkers sync.WaitGroup
	for range 2 {
		checkers.Go(func() {
			for g := range guesses {
				r.check(opts, n, g)
			}
		})
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	o := &oracle{acked: map[string]value{}, pending: map[string]value{}}
	taken := 0
	hookRNG := rand.New(rand.NewPCG(rng.Uint64(), 8)) // Hooks run one at a time.
	domain.SetHook(func(int) {
		if taken >= imagesPerLife || r.t.Failed() {
			cancel()
			return
		}
		if hookRNG.IntN(8) > 0 {
			return
		}
		// While the oracle is locked no write begins or is acknowledged.
		o.mu.Lock()
		var cut []guess
		for range 3 {
			taken++
			cut = append(cut, guess{
				domain.Cut(drive.RandomChoice(hookRNG)), &oracle{acked: maps.Clone(o.acked), pending: maps.Clone(o.pending)}, hookRNG.Uint64(),
			})
		}
		o.mu.Unlock()
		for _, g := range cut {
			guesses <- g
		}
	})
	var workers sync.WaitGroup
	for worker := range 4 {
		workerRNG := rand.New(rand.NewPCG(rng.Uint64(), 2))
		workers.Go(func() {
			churn(ctx, r.t, s, o, workerRNG, worker, []int{0, 1, 500, 3000, 20_000, PackThreshold, PackThreshold + 1, 200_000})
		})
	}
	workers.Wait()
	cancel()
	domain.SetHook(nil)
	close(guesses)
	checkers.Wait()
	closeStore(r.t, s)
}

// check opens a store on an image. One image in eight is recovered a second time, with cuts in between.
func (r *randomCrash) check(opts Options, n int, g guess) {
	r.images.Add(1)
	rng := rand.New(rand.NewPCG(g.seed, 9))
	look := func(d *drive.Domain, what string) {
		s, err := openOn(r.t.Context(), opts, d.Drives())
		if err == nil {
			err = g.oracle.compare(r.t.Context(), s)
			closeStore(r.t, s)
		}
		if err != nil {
			r.t.Errorf("%d drives, %s: %v", n, what, err)
		}
	}
	again := rng.IntN(8) == 0
	pristine := g.domain
	if again {
		g.domain = pristine.Cut(drive.Choice{})
	}
	look(g.domain, "after a cut")
	if !again || r.t.Failed() {
		return
	}
	r.again.Add(1)
	x := &crashTest{t: r.t, opts: opts}
	d := pristine
	depth := 1 + rng.IntN(3)
	for range depth {
		d = x.interrupt(d.Cut(drive.Choice{}), rng)
	}
	look(d, fmt.Sprintf("after a cut and %d more during recovery", depth)) // The oracle now allows only what was seen first.
}
