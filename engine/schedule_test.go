package engine

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

var schedules = flag.Int("schedules", 200, "TestSchedules: schedules to try")

// schedulesPerStore is after how many schedules TestSchedules looks for what losers have left behind, and begins with an empty store.
const schedulesPerStore = 2000

// TestSchedules has completions, abortions, parts and listings of one upload, and creations of one key by every means, race each other. Drives
// take a random time for everything and clients begin at random moments, so that each time it goes another way. There is exactly one outcome,
// all are told of it, and what the losers stored is given back.
func TestSchedules(t *testing.T) {
	rng := newRNG(t)
	begun := time.Now()
	tried := 0
	var outcomes [numOutcomes]atomic.Int64
	for tried < *schedules && !t.Failed() {
		n := min(schedulesPerStore, *schedules-tried)
		scheduleRound(t, rand.New(rand.NewPCG(rng.Uint64(), 31)), n, &outcomes)
		tried += n
	}
	t.Logf("%d schedules in %v: %d uploads completed, %d aborted; %d keys created", tried, time.Since(begun).Round(time.Second),
		outcomes[uploadCompleted].Load(), outcomes[uploadAborted].Load(), outcomes[keyCreated].Load())
	for i := range outcomes {
		if outcomes[i].Load() == 0 {
			t.Errorf("outcome %d never came about", i)
		}
	}
}

// The outcomes that are counted.
const (
	uploadCompleted = iota
	uploadAborted
	keyCreated
	numOutcomes
)

func scheduleRound(t *testing.T, rng *rand.Rand, n int, outcomes *[numOutcomes]atomic.Int64) {
	plan := drive.NewPlan(rng.Uint64())
	opts := testOptions(t, -1).tuned(still).tuned(func(c *cell) {
		c.maxRecordLen = 256 << 10
		c.limits.look, c.limits.flush, c.limits.soonest, c.limits.checkpoint = 0, 0, time.Hour, time.Hour
	})
	opts.JournalSegment, opts.BulkSegment = 640<<10, MinBulkSegment
	s := mustOpen(t, opts, plan.WrapAll(memDrives(4, rng.Uint64())))
	defer closeStore(t, s)
	s.minPart = 0
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "source", payload(99, 700))
	plan.Add(drive.Rule{On: drive.OnOps, Times: -1, Do: drive.Delay, Delay: 300 * time.Microsecond, Jitter: true})
	next := make(chan int)
	var workers sync.WaitGroup
	for range 8 {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 32))
		workers.Go(func() {
			for i := range next {
				x := &schedule{t: t, s: s, rng: rng, key: fmt.Sprint("k", i)}
				if rng.IntN(4) > 0 {
					outcomes[x.upload()].Add(1)
				} else {
					x.create()
					outcomes[keyCreated].Add(1)
				}
			}
		})
	}
	for i := range n {
		if t.Failed() {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	plan.Clear()
	if err := deleteKey(t.Context(), s, testBucket, "source"); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
}

// nothingLeft holds that a store without objects and uploads holds no blob, and that its bulk volumes are freed.
func nothingLeft(t *testing.T, s *Store) {
	t.Helper()
	c := s.cells[0]
	b := c.base.Load()
	if ids, err := b.index.UnreferencedBlobs(0, 10); err != nil || len(ids) > 0 {
		t.Errorf("blobs %x are left, %v", ids, err)
	}
	if keys, _, err := listAll(t.Context(), s, testBucket, ListOptions{Max: 10}); err != nil || len(keys) > 0 {
		t.Errorf("keys %q are left, %v", keys, err)
	}
	if page, err := s.ListUploads(t.Context(), testBucket, UploadListOptions{Max: 10}); err != nil || len(page.Uploads) > 0 {
		t.Errorf("uploads %v are left, %v", page.Uploads, err)
	}
	c.bulk.mu.Lock()
	vol := c.bulk.vol
	c.bulk.mu.Unlock()
	if vol != nil {
		c.bulk.retire(vol)
	}
	r := newRecycler(b)
	for range 5 {
		if err := r.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, vol := range c.set.Volumes() {
		if usage, _ := b.index.VolumeUsage(vol.ID()); vol.Class() == volume.Bulk {
			t.Errorf("%v is left, with usage %+v and %d pins", vol, usage, vol.Pins())
		}
	}
}

// schedule is one race.
type schedule struct {
	t   *testing.T
	s   *Store
	rng *rand.Rand
	key string
}

// race runs the functions, each from a moment of its own on, and returns what they say.
func (x *schedule) race(fs ...func() error) []error {
	delays := make([]int, len(fs))
	for i := range delays {
		delays[i] = x.rng.IntN(4) * x.rng.IntN(200)
	}
	late := make([]func() error, len(fs))
	for i, f := range fs {
		late[i] = func() error {
			for range delays[i] {
				runtime.Gosched()
			}
			return f()
		}
	}
	return together(late...)
}

// upload has from two to four requests end, change or look at one upload, and returns what came of it.
func (x *schedule) upload() int {
	ctx := x.t.Context()
	id, err := x.s.CreateUpload(ctx, testBucket, x.key, nil)
	if err != nil {
		x.t.Error(err)
		return uploadAborted
	}
	size := []int{200, 3000, PackThreshold + 1}
	first, second, other := payload(1, 300), payload(2, size[x.rng.IntN(3)]), payload(3, size[x.rng.IntN(3)])
	for i, b := range [][]byte{first, second} {
		if err := putPart(ctx, x.s, x.key, id, i+1, b); err != nil {
			x.t.Error(err)
		}
	}
	complete := func(last []byte) func() error {
		return func() error {
			_, err := x.s.CompleteUpload(ctx, testBucket, x.key, id, CompleteOptions{
				Parts:  []CompletePart{{1, etagOf(first)}, {2, etagOf(last)}},
				Finish: func([]PartInfo, []Attr) (Final, error) { return Final{ETag: etagOf(last)}, nil },
			})
			return err
		}
	}
	abort := func() error { return x.s.AbortUpload(ctx, testBucket, x.key, id) }
	part := func() error { return putPart(ctx, x.s, x.key, id, 2, other) }
	list := func() error {
		page, err := x.s.ListParts(ctx, testBucket, x.key, id, 0, 10)
		if err == nil && (len(page.Parts) != 2 || page.Parts[0].ETag != etagOf(first) ||
			page.Parts[1].ETag != etagOf(second) && page.Parts[1].ETag != etagOf(other)) {
			x.t.Errorf("%s: an upload whose parts are listed as %+v", x.key, page.Parts)
		}
		return err
	}
	menu := []func() error{complete(second), abort, part, complete(other), list, complete(second), abort}
	x.rng.Shuffle(len(menu), func(i, j int) { menu[i], menu[j] = menu[j], menu[i] })
	for _, err := range x.race(menu[:2+x.rng.IntN(3)]...) {
		if kind := KindOf(err); err != nil && kind != KindNoSuchUpload && kind != KindInvalidPart {
			x.t.Errorf("%s: %v", x.key, err)
		}
	}
	// Whoever still finds the upload ends it.
	_, err = x.s.Upload(ctx, testBucket, x.key, id)
	open := err == nil
	got, gerr := getBytes(ctx, x.s, testBucket, x.key)
	switch {
	case gerr == nil:
		if !bytes.Equal(got, slices.Concat(first, second)) && !bytes.Equal(got, slices.Concat(first, other)) {
			x.t.Errorf("%s: completed to %d bytes that nobody sent", x.key, len(got))
		}
		if open {
			x.t.Errorf("%s: completed, and the upload is still there", x.key)
		}
		if err := deleteKey(ctx, x.s, testBucket, x.key); err != nil {
			x.t.Error(err)
		}
		return uploadCompleted
	case KindOf(gerr) != KindNoSuchObject:
		x.t.Errorf("%s: %v", x.key, gerr)
	}
	if open {
		if err := abort(); err != nil {
			x.t.Errorf("%s: %v", x.key, err)
		}
	}
	return uploadAborted
}

// create has a put, a copy and a completion create one key if there is none.
func (x *schedule) create() {
	ctx := x.t.Context()
	b := payload(4, []int{100, PackThreshold + 1}[x.rng.IntN(2)])
	id, err := x.s.CreateUpload(ctx, testBucket, x.key, nil)
	if err != nil {
		x.t.Error(err)
		return
	}
	part := payload(5, 900)
	if err := putPart(ctx, x.s, x.key, id, 1, part); err != nil {
		x.t.Error(err)
	}
	content := [][]byte{b, b, payload(99, 700), part}
	put := func() error {
		_, err := putBytes(ctx, x.s, testBucket, x.key, b, ifNone)
		return err
	}
	errs := x.race(put, put,
		func() error {
			_, err := x.s.Copy(ctx, testBucket, "source", CurrentVersion, testBucket, x.key, CopyOptions{
				Source: func(*ObjectInfo) (Final, error) { return Final{}, nil }, Check: ifNone,
			})
			return err
		},
		func() error {
			_, err := x.s.CompleteUpload(ctx, testBucket, x.key, id, CompleteOptions{
				Parts: []CompletePart{{1, etagOf(part)}}, Check: ifNone,
				Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, nil },
			})
			return err
		})
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			x.t.Errorf("%s: %d and %d have both created it", x.key, winner, i)
		case err == nil:
			winner = i
		case KindOf(err) != KindPrecondition || !errors.Is(err, errThere):
			x.t.Errorf("%s: %v", x.key, err)
		}
	}
	if winner < 0 {
		x.t.Errorf("%s: nobody has created it: %v", x.key, errs)
		return
	}
	if got, err := getBytes(ctx, x.s, testBucket, x.key); err != nil || !bytes.Equal(got, content[winner]) {
		x.t.Errorf("%s: %d created it, and it holds %d bytes, %v", x.key, winner, len(got), err)
	}
	if winner < 3 { // The loser's upload goes on.
		if err := x.s.AbortUpload(ctx, testBucket, x.key, id); err != nil {
			x.t.Error(err)
		}
	}
	if err := deleteKey(ctx, x.s, testBucket, x.key); err != nil {
		x.t.Error(err)
	}
}
