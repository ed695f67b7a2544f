package volume_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// image is a state that a power cut left, and what was known at that instant.
type image struct {
	event  int
	domain *drive.Domain
	live   map[volume.ID]bool // Given out by Create and not given to Free.
	freed  map[volume.ID]bool // Free has returned.
}

// history creates, trims and frees volumes in a fixed order and lets cut look at every event.
type history struct {
	mu    sync.Mutex // Guards the fields below.
	live  map[volume.ID]bool
	freed map[volume.ID]bool
}

func (h *history) set(live bool, freed bool, id volume.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.live, id)
	if live {
		h.live[id] = true
	}
	if freed {
		h.freed[id] = true
	}
}

func (h *history) snapshot() (live, freed map[volume.ID]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	live, freed = make(map[volume.ID]bool), make(map[volume.ID]bool)
	for id := range h.live {
		live[id] = true
	}
	for id := range h.freed {
		freed[id] = true
	}
	return live, freed
}

func (h *history) run(t *testing.T, drives []drive.Drive) {
	s := open(t, drives)
	for i := range 4 {
		v := create(t, s, volume.Journal+volume.Class(i%2))
		stamp(t, v, v.Start())
		h.set(true, false, v.ID())
		if i%2 == 1 {
			if err := v.Trim(8192); err != nil {
				t.Fatal(err)
			}
			h.set(false, false, v.ID())
			if err := s.Free(v); err != nil {
				t.Fatal(err)
			}
			h.set(false, true, v.ID())
		}
	}
	closeSet(t, s)
}

// TestPowerCutAnywhere cuts the power at every event of a history, with what is in flight dropped, kept, and
// torn at every sector. After each cut: what was given out is there and whole, what was freed is
// not, the epoch moves on, and life goes on. Some cuts are followed by another in the recovery.
func TestPowerCutAnywhere(t *testing.T) {
	ids := newIdentities(3)
	h := &history{live: make(map[volume.ID]bool), freed: make(map[volume.ID]bool)}
	var images []image
	rng := rand.New(rand.NewPCG(5, 5))
	var domain *drive.Domain
	cut := func(event int, choice drive.Choice) {
		live, freed := h.snapshot()
		images = append(images, image{event, domain.Cut(choice), live, freed})
	}
	domain = drive.NewDomain(ids, 100*mib, drive.DomainOptions{Hook: func(event int) {
		fates := []drive.Fate{drive.Dropped, drive.Kept, drive.TornBefore(1), drive.TornAfter(1)}
		if len(domain.Unstable()) == 0 {
			fates = fates[:1]
		}
		for _, fate := range fates {
			cut(event, drive.Choice{Write: func(drive.UnstableWrite) drive.Fate { return fate }})
		}
		cut(event, drive.RandomChoice(rng))
	}})
	h.run(t, domain.Drives())
	if len(images) < 100 {
		t.Fatalf("%d images only", len(images))
	}
	for i, img := range images {
		d := img.domain
		if i%5 == 0 { // Power fails again while the volumes are opened, and once more.
			for range 2 {
				d = cutDuringOpen(t, d, rng)
			}
		}
		img.domain = d
		checkImage(t, img)
	}
}

// cutDuringOpen opens the volumes and cuts the power at some event of that.
func cutDuringOpen(t *testing.T, d *drive.Domain, rng *rand.Rand) *drive.Domain {
	t.Helper()
	at := 1 + rng.IntN(4)
	var next *drive.Domain
	d.SetHook(func(int) {
		if at--; at == 0 {
			next = d.Cut(drive.RandomChoice(rng))
		}
	})
	s := open(t, d.Drives())
	if v, err := s.Create(ctx, volume.Journal); err != nil {
		t.Fatal(err)
	} else if err := s.Free(v); err != nil {
		t.Fatal(err)
	}
	closeSet(t, s)
	d.SetHook(nil)
	if next == nil {
		t.Fatal("fewer events than expected")
	}
	return next
}

func checkImage(t *testing.T, img image) {
	t.Helper()
	drives := img.domain.Drives()
	s, err := volume.Open(context.Background(), options(drives))
	if err == nil {
		err = s.Confirm()
	}
	if err != nil {
		t.Fatalf("event %d: %v", img.event, err)
	}
	for id := range img.live {
		v := s.Get(id)
		if v == nil {
			t.Fatalf("event %d: volume %s was given out and is not there", img.event, volume.Name(id))
		}
		for i := range v.N() {
			if v.Shard(i) == nil {
				t.Fatalf("event %d: %v has lost shard %d", img.event, v, i)
			}
		}
	}
	for _, v := range s.Volumes() {
		if img.freed[v.ID()] {
			t.Fatalf("event %d: %v was freed and is here", img.event, v)
		}
		if uint32(v.ID()>>32) >= s.Epoch() {
			t.Fatalf("event %d: %v found at the start of epoch %d", img.event, v, s.Epoch())
		}
		for i := range v.N() {
			if (v.Shard(i) == nil) != v.Absent(i) {
				t.Fatalf("event %d: shard %d of %v: %v, absent %v", img.event, i, v, v.Shard(i), v.Absent(i))
			}
		}
		// What nobody was given, or was being freed, is freed by whoever knows what is live.
		if !img.live[v.ID()] {
			if err := s.Free(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	v, err := s.Create(ctx, volume.Bulk)
	if err != nil {
		t.Fatalf("event %d: %v", img.event, err)
	}
	checkVolume(t, v)
	for _, d := range s.Drives() {
		if d.Damaged > 0 {
			t.Fatalf("event %d: a power cut damaged a header: they lie in one sector so that it cannot", img.event)
		}
		var used int
		for _, v := range s.Volumes() {
			if slices.Contains(v.Drives(), d.ID) {
				used++
			}
		}
		if d.Segments != used+d.Unused {
			t.Fatalf("event %d: drive %v has %d segments, %d in volumes and %d free", img.event, d.ID, d.Segments, used, d.Unused)
		}
	}
	closeSet(t, s)
}

// TestLyingCache has drives that report writes before they are durable. Volumes may then lose shards or
// vanish, which is said and not hidden: never are two volumes mixed.
func TestLyingCache(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 9))
		domain := drive.NewDomain(newIdentities(4), 100*mib, drive.DomainOptions{CacheWrites: 4, Seed: seed + 1})
		s := open(t, domain.Drives())
		for i := range 6 {
			v := create(t, s, volume.Bulk)
			if i%3 == 2 {
				if err := s.Free(v); err != nil {
					t.Fatal(err)
				}
			}
		}
		after := domain.Cut(drive.RandomChoice(rng))
		closeSet(t, s)
		s, err := volume.Open(ctx, options(after.Drives()))
		if err != nil {
			var refusal *drive.RefusedError
			if !errors.As(err, &refusal) {
				t.Errorf("seed %d: %v", seed, err)
			}
			continue
		}
		for _, v := range s.Volumes() {
			for i := range v.N() {
				if f := v.Shard(i); f != nil && f.Drive().ID() != v.Drives()[i] {
					t.Errorf("seed %d: %v has shard %d on the wrong drive", seed, v, i)
				}
			}
		}
		if v, err := s.Create(ctx, volume.Bulk); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		} else {
			checkVolume(t, v)
		}
		closeSet(t, s)
	}
}

// TestInterruptedStartBindsNobody cuts the power at every event of a start, goes on with every subset of the drives, and then gives it
// all of them. Whatever drives the start had reached, nothing was acknowledged in it, so nobody is refused; and what was there before is there.
func TestInterruptedStartBindsNobody(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	domain := drive.NewDomain(newIdentities(3), 100*mib, drive.DomainOptions{})
	s := open(t, domain.Drives())
	old := create(t, s, volume.Journal)
	stamp(t, old, old.Start())
	closeSet(t, s)

	var images []*drive.Domain
	domain.SetHook(func(int) {
		images = append(images, domain.Cut(drive.RandomChoice(rng)), domain.Cut(drive.RandomChoice(rng)))
	})
	s, err := volume.Open(ctx, options(domain.Drives()))
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, volume.Journal)
	if err := s.Get(old.ID()).Trim(old.Start() + drive.BlockLen); err != nil { // Not before the start is confirmed.
		t.Fatal(err)
	}
	before := len(images)
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	domain.SetHook(nil)
	closeSet(t, s)
	if before < 12 || len(images) < before+6 {
		t.Fatalf("%d events before the start was confirmed, %d in all", before, len(images))
	}
	for i, image := range images[:before] {
		for mask := 1; mask < 1<<3; mask++ {
			d := image.Cut(drive.Choice{}) // A copy: nothing is in flight.
			var some []drive.Drive
			for j, d := range d.Drives() {
				if mask>>j&1 == 1 {
					some = append(some, d)
				}
			}
			s := open(t, some)
			v := create(t, s, volume.Journal)
			closeSet(t, s)
			s = open(t, d.Drives())
			if s.Get(v.ID()) == nil {
				t.Fatalf("image %d, drives %03b: what was acknowledged meanwhile is gone", i, mask)
			}
			found := s.Get(old.ID())
			for j := range found.N() {
				if found.Shard(j) == nil || found.Shard(j).Size() != found.Capacity() {
					t.Fatalf("image %d, drives %03b: shard %d of the old volume is not as it was", i, mask, j)
				}
				checkStamp(t, found, j, found.Start())
			}
			closeSet(t, s)
		}
	}
}
