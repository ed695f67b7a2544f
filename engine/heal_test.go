package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/meta"
)

// soon has healing begin at once.
func soon(c *cell) { c.limits.heal, c.limits.again = 10*time.Millisecond, 20*time.Millisecond }

// healed waits until nothing is missing any more.
func healed(t testing.TB, s *Store) HealStatus {
	t.Helper()
	var status HealStatus
	defer func() {
		if t.Failed() {
			t.Logf("%+v", status)
		}
	}()
	eventually(t, "nothing is missing", func() bool {
		status = s.HealStatus()
		return status.Shards == 0
	})
	return status
}

// healedBut waits until what is missing is of volumes that were made after an epoch, on all drives there were, and waits for a drive.
func healedBut(t testing.TB, s *Store, epoch uint32) {
	t.Helper()
	eventually(t, "all but what was made since is whole", func() bool {
		for _, m := range s.cells[0].ledger.all() {
			if uint32(m.Volume>>32) <= epoch {
				return false
			}
		}
		status := s.HealStatus()
		return status.Waiting == status.Volumes
	})
}

// TestHealReplaced is the life of a store whose drives are replaced by empty ones, as many as there is parity each time: when it has healed, as
// many others may go.
func TestHealReplaced(t *testing.T) {
	all := memDrives(12, 0)
	opts := testOptions(t, 2).tuned(soon)
	s := mustOpen(t, opts, all[:6])
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	for first := 0; first+8 <= len(all); first += 2 {
		present := all[first+2 : first+8] // The first two have gone, two new ones have come.
		reopen(present)
		s = mustOpen(t, opts, present)
		checkAll(t, s, testBucket, objects)
		key := fmt.Sprintf("round/%d", first)
		objects[key] = payload(uint64(first), 700_000)
		mustPut(t, s, testBucket, key, objects[key])
		status := healed(t, s)
		if status.Moved == 0 || status.MovedLen == 0 {
			t.Errorf("round %d: nothing was made anew: %+v", first, status)
		}
		for _, vol := range s.cells[0].set.Volumes() {
			for i := range vol.N() {
				if vol.Shard(i) == nil {
					t.Errorf("round %d: %v has no shard %d", first, vol, i)
				}
			}
		}
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
	// Of the last six any two may go.
	last := all[len(all)-6:]
	for a := range last {
		for b := range a {
			rest := slices.DeleteFunc(slices.Clone(last), func(d drive.Drive) bool { return d == last[a] || d == last[b] })
			reopen(rest)
			s := mustOpen(t, opts, rest)
			checkAll(t, s, testBucket, objects)
			closeStore(t, s)
		}
	}
}

// TestHealWaits has no drive to spare: the ledger says so, survives a restart and a rebuild of the index, and healing begins when there is a drive.
func TestHealWaits(t *testing.T) {
	drives := memDrives(5, 0)
	opts := testOptions(t, 1).tuned(soon)
	s := mustOpen(t, opts, drives[:4])
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	for _, rebuild := range []bool{false, true} {
		reopen(drives[:3])
		o := opts
		o.RebuildIndex = rebuild
		s = mustOpen(t, o, drives[:3])
		var status HealStatus
		eventually(t, "volumes wait for a drive", func() bool {
			status = s.HealStatus()
			return status.Waiting > 0 && status.Waiting == status.Volumes && status.Healing == 0
		})
		for _, a := range status.Ailing {
			if a.State != "waiting" || a.Drive != drives[3].ID().String() || a.Causes == "" || a.Reason == "" || a.Since.IsZero() {
				t.Errorf("rebuild %v: %+v", rebuild, a)
			}
		}
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
	present := append(slices.Clone(drives[:3]), drives[4])
	reopen(present)
	s = mustOpen(t, opts, present)
	healed(t, s)
	closeStore(t, s)
	present = present[1:]
	reopen(present)
	s = mustOpen(t, opts, present)
	checkAll(t, s, testBucket, objects)
	closeStore(t, s)
}

// TestHealReturned has a drive go and come back with what it had: nothing is made anew, what it missed is looked at, and the ledger is empty.
func TestHealReturned(t *testing.T) {
	drives := memDrives(4, 0)
	opts := testOptions(t, 1).tuned(soon)
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives[:3])
	s = mustOpen(t, opts, drives[:3])
	for key, b := range fill(t, s, testBucket, "y/") {
		objects[key] = b
	}
	eventually(t, "the ledger knows", func() bool { return s.HealStatus().Waiting > 0 })
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	if status := healed(t, s); status.Moved != 0 {
		t.Errorf("a drive that came back was replaced: %+v", status)
	}
	closeStore(t, s)
	for i := range drives {
		rest := slices.Delete(slices.Clone(drives), i, i+1)
		reopen(rest)
		s = mustOpen(t, opts, rest)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
}

// TestHealStaleReturns heals without a drive and then brings that back: what it has is older than what took its place.
func TestHealStaleReturns(t *testing.T) {
	drives := memDrives(5, 0)
	opts := testOptions(t, 1).tuned(soon)
	s := mustOpen(t, opts, drives[:4])
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives[1:])
	s = mustOpen(t, opts, drives[1:])
	healed(t, s)
	for key := range objects { // What the stale drive has is dead, and its volumes are gone or going.
		if key < "x/5" {
			if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
				t.Fatal(err)
			}
			delete(objects, key)
		}
	}
	objects["x/new"] = payload(1, 400_000)
	mustPut(t, s, testBucket, "x/new", objects["x/new"])
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	checkAll(t, s, testBucket, objects)
	healed(t, s)
	for _, vol := range s.cells[0].set.Volumes() {
		if vol.Epoch() == 1 && slices.Contains(vol.Drives(), drives[0].ID()) && vol.Class() == volume.Bulk {
			t.Errorf("%v is on the drive that was away", vol)
		}
	}
	closeStore(t, s)
	for i := range drives[1:] {
		rest := slices.Delete(slices.Clone(drives), i+1, i+2)
		reopen(rest)
		s = mustOpen(t, opts, rest)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
}

// spoil writes over what a shard of a volume holds.
func spoil(t testing.TB, vol *volume.Volume, shard int, rng *rand.Rand) {
	t.Helper()
	f := vol.Shard(shard)
	for {
		b := drive.Aligned(int(f.Size() - vol.Start()))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		err := drive.Do(t.Context(), &drive.Op{Kind: drive.Write, File: f, Off: vol.Start(), Bufs: [][]byte{b}})
		if errors.Is(err, drive.ErrRange) {
			continue // It was trimmed just now.
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// TestHealOnRead spoils one drive's segments of every class. Readers notice what they come across; that is written again, and then
// any other drive may go.
func TestHealOnRead(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(4, 0)
	opts := testOptions(t, 1).tuned(soon).tuned(func(c *cell) { c.limits.hedge = time.Minute })
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives) // Now all volumes so far are sealed.
	c := s.cells[0]
	c.cache = newBlobCache(0)
	for _, vol := range c.set.Volumes() {
		if vol.Epoch() == c.set.Epoch() {
			continue
		}
		i := slices.Index(vol.Drives(), drives[2].ID())
		spoil(t, vol, i, rng)
		// Readers look at data only; that of parity is what scrubbing is for.
		c.ledger.note(vol.ID(), i, meta.CauseRot, everything(vol)...)
	}
	checkAll(t, s, testBucket, objects)
	status := healed(t, s)
	if status.MendLen == 0 || status.Moved != 0 {
		t.Errorf("%+v, want bytes written again in place", status)
	}
	before := s.Stats()
	checkAll(t, s, testBucket, objects)
	if n := s.Stats().CorruptUnits - before.CorruptUnits; n != 0 {
		t.Errorf("%d units are still wrong", n)
	}
	closeStore(t, s)
	for i := range drives {
		if i == 2 {
			continue
		}
		rest := slices.Delete(slices.Clone(drives), i, i+1)
		reopen(rest)
		s = mustOpen(t, opts, rest)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
}

// TestReadersNote: what a reader finds is in the ledger, with its range, by the time it has its answer.
func TestReadersNote(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(4, 0)
	opts := testOptions(t, 1).tuned(func(c *cell) { c.limits.hedge = time.Minute })
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	for size, class := range map[int]volume.Class{20_000: volume.Journal, 2_000_000: volume.Bulk} {
		want := payload(uint64(size), size)
		key := class.String()
		mustPut(t, s, testBucket, key, want)
		closeStore(t, s)
		reopen(drives)
		s = mustOpen(t, opts, drives)
		s.StopHealing()
		c := s.cells[0]
		c.cache = newBlobCache(0)
		for _, vol := range c.set.Volumes() {
			if vol.Class() == class && vol.Epoch() != c.set.Epoch() {
				spoil(t, vol, 0, rng)
			}
		}
		mustGet(t, s, testBucket, key, want)
		noted := c.ledger.all()
		for _, m := range noted {
			if m.Causes&meta.CauseLost != 0 || len(m.Ranges) == 0 || c.set.Get(m.Volume).Class() != class {
				t.Errorf("%d bytes: %+v", size, m)
			}
		}
		if class == volume.Bulk && len(noted) == 0 {
			t.Errorf("%d bytes: nothing was noted", size)
		}
		eventually(t, "it is recorded", func() bool {
			found := 0
			b, err := c.enter()
			if err != nil {
				t.Fatal(err)
			}
			defer b.leave()
			if err := b.index.Missing(func(meta.Missing) bool { found++; return true }); err != nil {
				t.Fatal(err)
			}
			return found == len(noted)
		})
		s.StartHealing()
		healed(t, s)
	}
	closeStore(t, s)
}

// TestHealStubborn has a drive that returns wrong bytes whatever is written to a place: the whole segment moves.
func TestHealStubborn(t *testing.T) {
	plan := drive.NewPlan(1)
	drives := memDrives(4, 0)
	opts := testOptions(t, 1).tuned(soon).tuned(func(c *cell) { c.limits.hedge = time.Minute })
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, plan.WrapAll(drives))
	c := s.cells[0]
	c.cache = newBlobCache(0)
	var spots []string
	for _, vol := range c.set.Volumes() {
		if vol.Epoch() == c.set.Epoch() {
			continue
		}
		i := slices.Index(vol.Drives(), drives[1].ID())
		seg := vol.Shard(i).Seg()
		effect := drive.Flip
		if vol.Class() == volume.Journal {
			effect = drive.Fail // Of what is read of a journal, much does not count.
		}
		plan.Add(drive.Rule{On: drive.OnRead, Drive: drives[1].ID(), Do: effect, Times: -1, Match: func(e drive.Event) bool {
			// Once the shard has moved the place is good again: another may have got it.
			at := vol.Shard(i)
			return e.Seg == seg && e.Off >= vol.Start() && at != nil && at.Seg() == seg
		}})
		c.ledger.note(vol.ID(), i, meta.CauseRot, everything(vol)...)
		spots = append(spots, vol.String())
	}
	status := healed(t, s)
	if int(status.Moved) != len(spots) {
		t.Errorf("%d segments were replaced, want those of %v", status.Moved, spots)
	}
	before := s.Stats().CorruptUnits
	checkAll(t, s, testBucket, objects)
	if n := s.Stats().CorruptUnits - before; n != 0 {
		t.Errorf("%d units are still wrong", n)
	}
	closeStore(t, s)
}

// TestHealBeyondRepair spoils more shards of a row than there is parity: the rest of the volume is healed all the same, the ledger keeps what is lost,
// and no reader gets wrong bytes.
func TestHealBeyondRepair(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(5, 0)
	opts := testOptions(t, 1).tuned(soon)
	s := mustOpen(t, opts, drives[:4])
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "good", payload(1, 1_000_000))
	mustPut(t, s, testBucket, "bad", payload(2, 500_000))
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives[1:])
	s.StopHealing()
	c := s.cells[0]
	c.cache = newBlobCache(0)
	b := c.base.Load()
	id := s.buckets[testBucket].id
	object, _, err := b.index.GetObject(id, "bad", meta.NullVersion)
	if err != nil {
		t.Fatal(err)
	}
	blob, _, err := b.index.GetBlob(object.Blobs[0].Blob)
	if err != nil {
		t.Fatal(err)
	}
	vol := c.set.Get(blob.Extents[0].Volume)
	victim := (slices.Index(vol.Drives(), drives[0].ID()) + 1) % 4
	junk := drive.Aligned(4096)
	junk[rng.IntN(len(junk))] = 1
	if err := drive.Do(t.Context(), &drive.Op{Kind: drive.Write, File: vol.Shard(victim), Off: blob.Extents[0].Off, Bufs: [][]byte{junk}}); err != nil {
		t.Fatal(err)
	}
	s.StartHealing()
	eventually(t, "all but what is lost is healed", func() bool {
		status := s.HealStatus()
		return status.Moved > 0 && status.Volumes == 1 && status.Healing == 0
	})
	for i := range vol.N() {
		if vol.Shard(i) == nil {
			t.Errorf("shard %d of %v is nowhere", i, vol)
		}
	}
	mustGet(t, s, testBucket, "good", payload(1, 1_000_000))
	if _, err := getBytes(t.Context(), s, testBucket, "bad"); KindOf(err) != KindCorrupt {
		t.Errorf("what is lost reads: %v", err)
	}
	// When it is deleted nothing is missing any more.
	if err := deleteKey(t.Context(), s, testBucket, "bad"); err != nil {
		t.Fatal(err)
	}
	s.StopHealing()
	s.StartHealing()
	healed(t, s)
	closeStore(t, s)
}

// TestHealInterrupted stops healing at every n-th write to the new drive, by order, by a restart and by the drive's failure; then it goes on and ends.
func TestHealInterrupted(t *testing.T) {
	for how, interrupt := range map[string]func(t *testing.T, s *Store) *Store{
		"stop": func(t *testing.T, s *Store) *Store {
			s.StopHealing()
			if status := s.HealStatus(); !status.Stopped || status.Healing != 0 {
				t.Errorf("stopped: %+v", status)
			}
			s.StartHealing()
			return s
		},
		"restart": func(t *testing.T, s *Store) *Store { closeStore(t, s); return nil },
	} {
		for nth := 1; nth < 20; nth += 3 {
			t.Run(fmt.Sprintf("%s/%d", how, nth), func(t *testing.T) {
				drives := memDrives(6, 0)
				opts := testOptions(t, 1).tuned(soon)
				s := mustOpen(t, opts, drives[:4])
				mustBucket(t, s, testBucket)
				objects := fill(t, s, testBucket, "x/")
				closeStore(t, s)
				plan := drive.NewPlan(1)
				reached := make(chan struct{})
				var once sync.Once
				writes := 0
				plan.Add(drive.Rule{On: drive.OnWrite, Drive: drives[4].ID(), Do: drive.Delay, Times: -1, Match: func(drive.Event) bool {
					if writes++; writes >= nth { // The plan's lock is held.
						once.Do(func() { close(reached) })
					}
					return false
				}})
				reopen(drives)
				s = mustOpen(t, opts, plan.WrapAll(drives[1:5]))
				eventually(t, "the new drive is written to", func() bool {
					select {
					case <-reached:
						return true
					default:
						return s.HealStatus().Shards == 0 && s.HealStatus().Moved > 0 // There are not so many writes.
					}
				})
				if s = interrupt(t, s); s == nil {
					reopen(drives)
					s = mustOpen(t, opts, drives[1:5])
				}
				healed(t, s)
				checkAll(t, s, testBucket, objects)
				closeStore(t, s)
				reopen(drives)
				s = mustOpen(t, opts, drives[2:5])
				checkAll(t, s, testBucket, objects)
				closeStore(t, s)
			})
		}
	}
}

// TestHealTargetFails has the n-th write to the drive that is healed to fail, with another one to spare.
func TestHealTargetFails(t *testing.T) {
	for nth := 1; nth < 14; nth += 2 {
		drives := memDrives(6, 0)
		opts := testOptions(t, 1).tuned(soon)
		s := mustOpen(t, opts, drives[:4])
		mustBucket(t, s, testBucket)
		objects := fill(t, s, testBucket, "x/")
		closeStore(t, s)
		plan := drive.NewPlan(1)
		reopen(drives)
		s = mustOpen(t, opts, plan.WrapAll(drives[1:]))
		plan.Add(drive.Rule{On: drive.OnWrite, Drive: drives[4].ID(), Nth: nth, Times: -1})
		checkAll(t, s, testBucket, objects)
		healedBut(t, s, 1)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
		reopen(drives)
		rest := []drive.Drive{drives[1], drives[2], drives[3], drives[5]}
		s = mustOpen(t, opts, rest)
		checkAll(t, s, testBucket, objects)
		healedBut(t, s, 1)
		closeStore(t, s)
	}
}

// TestHealUnderLoad loses a drive while clients write, read and delete: no request fails, and in the end all is whole.
func TestHealUnderLoad(t *testing.T) {
	rng := newRNG(t)
	plan := drive.NewPlan(1)
	drives := memDrives(6, 0)
	opts := testOptions(t, 1).tuned(soon)
	s := mustOpen(t, opts, drives[:4])
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, plan.WrapAll(drives))
	var clients sync.WaitGroup
	done := make(chan struct{})
	for worker := range 4 {
		seed := rng.Uint64()
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				key, want := fmt.Sprintf("w%d/%d", worker, n%5), payload(rng.Uint64(), sizes[rng.IntN(len(sizes))])
				if _, err := putBytes(t.Context(), s, testBucket, key, want, nil); err != nil {
					t.Errorf("put while healing: %v", err)
					return
				}
				if got, err := getBytes(t.Context(), s, testBucket, key); err != nil || !slices.Equal(got, want) {
					t.Errorf("get while healing: %d bytes, %v", len(got), err)
					return
				}
				if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
					t.Errorf("delete while healing: %v", err)
					return
				}
			}
		})
	}
	plan.Add(drive.Rule{On: drive.OnWrite, Drive: drives[1].ID(), Times: -1})
	eventually(t, "shards of the lost drive are made anew", func() bool { return s.HealStatus().Moved > 0 })
	healedBut(t, s, 1)
	close(done)
	clients.Wait()
	healedBut(t, s, 1)
	checkAll(t, s, testBucket, objects)
	closeStore(t, s)
}

// TestMoveShard moves shards of sound segments while readers that opened before, and a deletion, have what was there.
func TestMoveShard(t *testing.T) {
	drives := memDrives(6, 0)
	opts := testOptions(t, 1).tuned(soon)
	s := mustOpen(t, opts, drives[:4])
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	gone := payload(5, 3_000_000)
	mustPut(t, s, testBucket, "gone", gone)
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	c := s.cells[0]
	c.cache = newBlobCache(0)
	h, err := s.Open(t.Context(), testBucket, "gone", CurrentVersion)
	if err != nil {
		t.Fatal(err)
	}
	if err := deleteKey(t.Context(), s, testBucket, "gone"); err != nil {
		t.Fatal(err)
	}
	for _, vol := range c.set.Volumes() {
		if vol.Epoch() == c.set.Epoch() {
			continue
		}
		for i := range vol.N() {
			from := vol.Drives()[i]
			if err := c.moveShard(t.Context(), vol, i, drive.ID{}); err != nil && !errors.Is(err, volume.ErrNoTarget) {
				t.Fatalf("%v, shard %d: %v", vol, i, err)
			} else if err == nil && vol.Drives()[i] == from {
				t.Errorf("%v, shard %d is where it was", vol, i)
			}
		}
	}
	if status := s.HealStatus(); status.Moved < 8 || status.Shards != 0 {
		t.Errorf("%+v", status)
	}
	body, err := h.Body(t.Context(), 0, int64(len(gone)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(gone))
	for n := 0; n < len(got); {
		m, err := body.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if !slices.Equal(got, gone) {
		t.Error("what was deleted while it was read reads something else")
	}
	body.Close()
	h.Close()
	if n := s.Stats(); n.DegradedReads != 0 || n.CorruptUnits != 0 {
		t.Errorf("%d degraded reads, %d wrong units", n.DegradedReads, n.CorruptUnits)
	}
	eventually(t, "the old segments are free", func() bool {
		c.healer.mu.Lock()
		defer c.healer.mu.Unlock()
		return len(c.healer.retired) == 0
	})
	checkAll(t, s, testBucket, objects)
	closeStore(t, s)
	for i := range drives {
		rest := slices.Delete(slices.Clone(drives), i, i+1)
		reopen(rest)
		s = mustOpen(t, opts, rest)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
}
