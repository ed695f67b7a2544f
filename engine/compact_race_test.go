package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
)

// restless has compaction move whatever has the least waste, at once and without pause.
func restless(o Options) Options {
	o = small(o)
	o.CompactGarbage, o.CompactRate = 0.001, 1<<40
	return o.tuned(func(c *cell) {
		c.limits.compact, c.limits.leastGain, c.limits.poll = 2*time.Millisecond, 4096, 2*time.Millisecond
	})
}

// TestCompactRaces writes, overwrites, deletes, copies, completes and reads while everything is compacted all the time. In the end every
// key holds what it must, and a rebuilt index agrees.
func TestCompactRaces(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(4, rng.Uint64())
	opts := restless(testOptions(t, -1))
	o := &oracle{acked: map[string]value{}, pending: map[string]value{}}
	var moved CompactStatus
	for life := range 2 {
		s := mustOpen(t, opts, drives)
		s.minPart = 0
		if life == 0 {
			mustBucket(t, s, testBucket)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for worker := range 4 {
			workerRNG := rand.New(rand.NewPCG(rng.Uint64(), 2))
			workers.Go(func() { churn(ctx, t, s, o, workerRNG, worker, sizes) })
		}
		readRNG := rand.New(rand.NewPCG(rng.Uint64(), 3))
		workers.Go(func() { readAll(ctx, t, s, readRNG) })
		workers.Go(func() {
			for ctx.Err() == nil {
				if err := s.Compact(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
		least := time.Now().Add(300 * time.Millisecond)
		eventually(t, "both records and extents were moved", func() bool {
			status := s.CompactStatus()
			return status.Records > 0 && status.Extents > 0 && time.Now().After(least)
		})
		cancel()
		workers.Wait()
		o.check(t, s)
		status := s.CompactStatus()
		moved.Records, moved.Extents, moved.Volumes = moved.Records+status.Records, moved.Extents+status.Extents, moved.Volumes+status.Volumes
		closeStore(t, s)
		reopen(drives)
	}
	t.Logf("%d writes, %d volumes moved with %d records and %d extents", o.writes, moved.Volumes, moved.Records, moved.Extents)
	s := mustOpen(t, quiet(testOptions(t, -1)).tuned(still), drives)
	o.check(t, s)
	mustRebuild(t, s)
	closeStore(t, s)
	reopen(drives)
	opts.RebuildIndex = true
	s = mustOpen(t, opts, drives)
	o.check(t, s)
	closeStore(t, s)
}

// readAll reads keys of the churn. Each body must be the object that was opened.
func readAll(ctx context.Context, t *testing.T, s *Store, rng *rand.Rand) {
	for ctx.Err() == nil {
		key := fmt.Sprintf("w%d/k%d", rng.IntN(4), rng.IntN(6))
		h, err := s.Open(ctx, testBucket, key, CurrentVersion)
		if err != nil {
			if KindOf(err) != KindNoSuchObject && ctx.Err() == nil {
				t.Errorf("open %s: %v", key, err)
			}
			continue
		}
		body, err := h.Body(ctx, 0, h.Info().Size)
		if err == nil {
			time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond) // Compaction goes on under it.
			var b bytes.Buffer
			if _, err = body.WriteTo(&b); err == nil && etagOf(b.Bytes()) != h.Info().ETag {
				t.Errorf("%s: %d bytes that are not the object's", key, b.Len())
			}
			body.Close()
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("read %s: %v", key, err)
		}
		h.Close()
	}
}

// TestCompactPowerCut cuts the power under writes and compaction.
func TestCompactPowerCut(t *testing.T) {
	rng := newRNG(t)
	powerCut(t, rng, []int{1, 2, 4, 6}[rng.IntN(4)], restless(testOptions(t, -1)))
}

// sparseStore leaves a store on the drives with volumes of both classes of which about half is dead, and what the other half must be.
func sparseStore(t *testing.T, opts Options, drives []drive.Drive) map[string][]byte {
	t.Helper()
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := map[string][]byte{}
	for i, size := range []int{3000, 200_000, 90_000, 1 << 20, 0, 500_000, 20_000, 300_000, 1, 700_000} {
		key := fmt.Sprint(i)
		objects[key] = payload(uint64(i), size)
		mustPut(t, s, testBucket, key, objects[key])
	}
	must(t, copyObject(t.Context(), s, "0", "copy0"))
	must(t, copyObject(t.Context(), s, "1", "copy1"))
	objects["copy0"], objects["copy1"] = objects["0"], objects["1"]
	for _, key := range []string{"0", "1", "2", "3", "8"} {
		must(t, deleteKey(t.Context(), s, testBucket, key))
		delete(objects, key)
	}
	closeStore(t, s)
	return objects
}

// compactAll compacts every volume there is, worthwhile or not.
func compactAll(ctx context.Context, s *Store) error {
	k := newCompactor(s.cells[0].base.Load())
	newest := k.newest()
	return k.pass(ctx, func(survey *spaceSurvey) *sparse {
		for _, v := range survey.all {
			if v.vol.ID() <= newest {
				return v
			}
		}
		return nil
	})
}

// TestCompactCrash cuts the power at every step of a compaction. Whatever is left of the writes under way, every object is there, and
// so it is when the next start has compacted again.
func TestCompactCrash(t *testing.T) {
	rng := newRNG(t)
	opts := quiet(testOptions(t, -1)).tuned(still)
	domain := drive.NewDomain(identities(4), 0, drive.DomainOptions{Seed: rng.Uint64()})
	objects := sparseStore(t, opts, domain.Drives())
	domain = domain.Cut(drive.RandomChoice(rng)) // Its drives are open again.
	s := mustOpen(t, opts, domain.Drives())

	var images []*drive.Domain
	stride := 8
	at := rng.IntN(stride)
	domain.SetHook(func(event int) {
		if event%stride == at {
			images = append(images, domain.Cut(drive.RandomChoice(rng)))
		}
	})
	must(t, compactAll(t.Context(), s))
	r := newRecycler(s.cells[0].base.Load())
	r.c.limits.look, r.c.limits.flush = 0, 0
	for range 3 {
		must(t, r.round(t.Context()))
		must(t, r.checkpoint(t.Context()))
	}
	domain.SetHook(nil)
	if n := s.Stats().VolumesFreed; n < 2 {
		t.Errorf("%d volumes were freed", n)
	}
	checkAll(t, s, testBucket, objects)
	closeStore(t, s)
	t.Logf("%d images", len(images))
	for i, image := range images {
		after := opts
		after.RebuildIndex = i%3 == 0
		s := mustOpen(t, after, image.Drives())
		checkAll(t, s, testBucket, objects)
		if i%4 == 0 {
			must(t, compactAll(t.Context(), s))
			checkAll(t, s, testBucket, objects)
			mustRebuild(t, s)
		}
		closeStore(t, s)
	}
}

// TestCompactFaults fails the n-th action of a drive in a compaction, for every n. Nothing is lost, and when the drive works again
// the rest can be moved.
func TestCompactFaults(t *testing.T) {
	rng := newRNG(t)
	for n := 1; ; n += 1 + rng.IntN(12) {
		plan := drive.NewPlan(rng.Uint64())
		drives := memDrives(4, 0)
		opts := quiet(testOptions(t, -1)).tuned(still)
		objects := sparseStore(t, opts, drives)
		reopen(drives)
		s := mustOpen(t, opts, plan.WrapAll(drives))
		plan.Add(drive.Rule{On: drive.OnRead | drive.OnWrite | drive.OnCreate | drive.OnOpen | drive.OnResize | drive.OnRemove | drive.OnSpace, Nth: n})
		err := compactAll(t.Context(), s)
		struck := plan.Struck() > 0
		if err != nil && !struck {
			t.Fatalf("action %d: %v", n, err)
		}
		checkAll(t, s, testBucket, objects)
		if err := compactAll(t.Context(), s); err != nil {
			t.Fatalf("action %d, once more: %v", n, err)
		}
		checkAll(t, s, testBucket, objects)
		mustRebuild(t, s)
		closeStore(t, s)
		if !struck {
			t.Logf("%d actions", n)
			return
		}
	}
}
