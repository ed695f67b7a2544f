package volume_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// move replaces shard i of v by a copy of what stamp wrote.
func move(t testing.TB, s *volume.Set, v *volume.Volume, i int, opts volume.ReplaceOptions) *volume.Retired {
	t.Helper()
	r := begin(t, s, v, i, opts)
	fill(t, r)
	old, err := r.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return old
}

func begin(t testing.TB, s *volume.Set, v *volume.Volume, i int, opts volume.ReplaceOptions) *volume.Replacement {
	t.Helper()
	r, err := s.Replace(ctx, v, i, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fill(t testing.TB, r *volume.Replacement) {
	t.Helper()
	b := stampOf(r.Volume(), r.Shard())
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Write, File: r.File(), Off: r.Volume().Start(), Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
}

// status returns what s makes of a drive.
func status(s *volume.Set, id drive.ID) volume.DriveStatus {
	all := s.Drives()
	return all[slices.IndexFunc(all, func(d volume.DriveStatus) bool { return d.ID == id })]
}

// becomes waits until s makes of a drive what is right: what a start frees it frees behind one's back.
func becomes(s *volume.Set, id drive.ID, right func(volume.DriveStatus) bool) (d volume.DriveStatus, ok bool) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if d = status(s, id); right(d) {
			return d, true
		}
	}
	return d, false
}

// checkDistinct holds a volume to the invariant that no two of its shards are on one drive.
func checkDistinct(t testing.TB, v *volume.Volume) {
	t.Helper()
	ids := v.Drives()
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			t.Fatalf("%v has two shards on drive %v", v, id)
		}
		if f := v.LastResort(i); f != nil && f.Drive().ID() != id {
			t.Fatalf("%v has shard %d on %v, and says %v", v, i, f.Drive().ID(), id)
		}
	}
}

// TestReplace moves a shard while its drive is healthy: who has the old file reads on, and a restart finds the new one.
func TestReplace(t *testing.T) {
	drives := newDrives(6, 100*mib)
	opts := options(drives)
	opts.Parity = 1
	s, err := volume.Open(ctx, options(drives[:4]))
	if err != nil {
		t.Fatal(err)
	}
	v := create(t, s, volume.Bulk) // On four of the six drives.
	stamp(t, v, v.Start())
	closeSet(t, s)

	s = open(t, drives)
	v = s.Get(v.ID())
	from, file := v.Drives()[1], v.Shard(1)
	r := begin(t, s, v, 1, volume.ReplaceOptions{})
	if err := s.Free(v); !errors.Is(err, volume.ErrPinned) {
		t.Errorf("Free while a shard moves: %v", err)
	}
	if _, err := s.Replace(ctx, v, 1, volume.ReplaceOptions{}); !errors.Is(err, volume.ErrMoving) {
		t.Errorf("Replace of the same shard: %v", err)
	}
	other := begin(t, s, v, 2, volume.ReplaceOptions{})
	if other.File().Drive() == r.File().Drive() {
		t.Error("two shards move to one drive")
	}
	if _, err := s.Replace(ctx, v, 3, volume.ReplaceOptions{}); !errors.Is(err, volume.ErrNoTarget) {
		t.Errorf("Replace of a third shard on six drives: %v", err)
	}
	other.Abort()
	fill(t, r)
	old, err := r.Commit()
	if err != nil || old == nil {
		t.Fatal(old, err)
	}
	checkVolume(t, v)
	to := v.Drives()[1]
	if to == from || slices.ContainsFunc(drives[:4], func(d drive.Drive) bool { return d.ID() == to }) {
		t.Errorf("shard 1 moved from %v to %v", from, to)
	}
	b := drive.Aligned(4096)
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Read, File: file, Off: v.Start(), Bufs: [][]byte{b}}); err != nil || !slices.Equal(b, stampOf(v, 1)) {
		t.Errorf("the old file reads something else: %v", err)
	}
	if got := status(s, from); got.Unused != 0 {
		t.Errorf("the old segment is free before it was given up")
	}
	old.Free()
	old.Free() // Again: nothing happens.
	if got := status(s, from); got.Unused != 1 || got.Segments != 1 {
		t.Errorf("drive %v: %+v, want one segment, free", from, got)
	}
	closeSet(t, s)

	s = open(t, drives)
	v = s.Get(v.ID())
	checkVolume(t, v)
	if v.Drives()[1] != to {
		t.Errorf("after a restart shard 1 is on %v, want %v", v.Drives()[1], to)
	}
	for i := range v.N() {
		checkStamp(t, v, i, v.Start())
	}
	closeSet(t, s)
}

// TestReplaceTarget moves a shard to where it is told to, or not at all.
func TestReplaceTarget(t *testing.T) {
	drives := newDrives(6, 100*mib)
	s, err := volume.Open(ctx, options(drives[:4]))
	if err != nil {
		t.Fatal(err)
	}
	id := create(t, s, volume.Bulk).ID()
	closeSet(t, s)
	s = open(t, drives)
	v := s.Get(id)
	move(t, s, v, 0, volume.ReplaceOptions{Target: drives[5].ID()}).Free()
	if v.Drives()[0] != drives[5].ID() {
		t.Errorf("shard 0 went to %v, want %v", v.Drives()[0], drives[5].ID())
	}
	for _, c := range []struct {
		name   string
		target drive.ID
	}{{"another shard's", v.Drives()[1]}, {"a stranger", drive.NewID()}} {
		if _, err := s.Replace(ctx, v, 0, volume.ReplaceOptions{Target: c.target}); !errors.Is(err, volume.ErrNoTarget) {
			t.Errorf("Replace to %s drive: %v", c.name, err)
		}
	}
	s.FailDrive(drives[4].ID(), errors.New("test"))
	if _, err := s.Replace(ctx, v, 0, volume.ReplaceOptions{Target: drives[4].ID()}); !errors.Is(err, volume.ErrNoTarget) {
		t.Errorf("Replace to a failed drive: %v", err)
	}
	closeSet(t, s)
}

// TestReplaceBack puts a shard that is not sound back on its drive: there is no other.
func TestReplaceBack(t *testing.T) {
	drives := newDrives(4, 100*mib)
	s := open(t, drives)
	v := create(t, s, volume.Journal)
	stamp(t, v, v.Start())
	if _, err := s.Replace(ctx, v, 2, volume.ReplaceOptions{}); !errors.Is(err, volume.ErrNoTarget) {
		t.Errorf("Replace without a free drive: %v", err)
	}
	seg := v.Shard(2).Seg()
	old := move(t, s, v, 2, volume.ReplaceOptions{Back: true})
	if v.Shard(2).Seg() == seg || v.Shard(2).Drive().ID() != v.Drives()[2] {
		t.Errorf("shard 2 is still segment %d", seg)
	}
	closeSet(t, s) // Before the old segment is freed: the next start does it.
	old.Free()
	s = open(t, drives)
	again := s.Get(v.ID())
	checkVolume(t, again)
	checkStamp(t, again, 2, v.Start())
	got, ok := becomes(s, again.Drives()[2], func(d volume.DriveStatus) bool { return d.Unused == 1 && d.Segments == 2 })
	if again.Shard(2).Seg() == seg || !ok {
		t.Errorf("after a restart shard 2 is segment %d, was %d; %+v", again.Shard(2).Seg(), seg, got)
	}
	// If the drive was replaced by an empty one, there is no old segment.
	lost := again.Shard(2).Seg()
	d := again.Shard(2).Drive()
	closeSet(t, s)
	if err := d.Remove(lost); err != nil {
		t.Fatal(err)
	}
	s = open(t, drives)
	again = s.Get(v.ID())
	if !again.Absent(2) {
		t.Fatal("shard 2 is not absent")
	}
	if old := move(t, s, again, 2, volume.ReplaceOptions{Back: true}); old != nil {
		t.Error("there was something in place of nothing")
	}
	checkVolume(t, again)
	closeSet(t, s)
}

// TestReplaceDomains has two file systems: the shard goes to the one that the others use less.
func TestReplaceDomains(t *testing.T) {
	var drives []drive.Drive
	for i, id := range newIdentities(6) {
		drives = append(drives, drive.NewMem(id, drive.MemOptions{Size: 100 * mib, Device: uint64(1 + i%3)}))
	}
	s, err := volume.Open(ctx, options(drives[:3])) // One of each file system.
	if err != nil {
		t.Fatal(err)
	}
	id := create(t, s, volume.Bulk).ID()
	closeSet(t, s)
	s = open(t, drives)
	v := s.Get(id)
	for i := range v.N() {
		device := v.Shard(i).Drive().Device()
		move(t, s, v, i, volume.ReplaceOptions{}).Free()
		if got := v.Shard(i).Drive().Device(); got != device {
			t.Errorf("shard %d went from file system %d to %d, where another one is", i, device, got)
		}
	}
	closeSet(t, s)
}

// TestStaleReturns takes a drive away, puts its shard elsewhere, and brings it back, in every combination of what is there with it.
func TestStaleReturns(t *testing.T) {
	for mask := range 4 {
		drives := newDrives(5, 100*mib)
		s, err := volume.Open(ctx, options(drives[:4]))
		if err != nil {
			t.Fatal(err)
		}
		v := create(t, s, volume.Bulk)
		stamp(t, v, v.Start())
		i := slices.Index(v.Drives(), drives[0].ID())
		closeSet(t, s)

		s = open(t, drives[1:])
		v = s.Get(v.ID())
		if old := move(t, s, v, i, volume.ReplaceOptions{}); old != nil {
			t.Fatal("a missing drive had a segment")
		}
		closeSet(t, s)

		present := slices.Clone(drives[:4])
		if mask&1 != 0 { // Also with the drive that has the shard now.
			present = append(present, drives[4])
		}
		if mask&2 != 0 {
			slices.Reverse(present)
		}
		s = open(t, present)
		v = s.Get(v.ID())
		checkDistinct(t, v)
		checkStamp(t, v, i, v.Start())
		stale, freed := status(s, drives[0].ID()), false
		if mask&1 != 0 {
			stale, freed = becomes(s, drives[0].ID(), func(d volume.DriveStatus) bool { return d.Unused == 1 })
		}
		switch newer := v.Drives()[i] == drives[4].ID(); {
		case newer != (mask&1 != 0):
			t.Errorf("mask %b: shard %d is on the newer drive: %v", mask, i, newer)
		case newer && !freed:
			t.Errorf("mask %b: the stale segment was not freed: %+v", mask, stale)
		case !newer && (stale.Unused != 0 || stale.Segments != 1):
			t.Errorf("mask %b: the only segment of the shard: %+v", mask, stale)
		}
		closeSet(t, s)

		// Whatever happened meanwhile, with all drives the newer one counts.
		s = open(t, drives)
		v = s.Get(v.ID())
		checkVolume(t, v)
		if _, freed := becomes(s, drives[0].ID(), func(d volume.DriveStatus) bool { return d.Unused == 1 }); v.Drives()[i] != drives[4].ID() || !freed {
			t.Errorf("mask %b: with all drives shard %d is on %v", mask, i, v.Drives()[i])
		}
		closeSet(t, s)
	}
}

// TestStaleKept has the drive that a shard left and the one that it went to both give a shard: what took the place of a segment is not
// here, and another shard of the volume is where that segment is. Two shards on one drive are never seen.
func TestStaleKept(t *testing.T) {
	drives := newDrives(5, 100*mib)
	s, err := volume.Open(ctx, options(drives[:4]))
	if err != nil {
		t.Fatal(err)
	}
	v := create(t, s, volume.Bulk)
	stamp(t, v, v.Start())
	a, b := slices.Index(v.Drives(), drives[0].ID()), slices.Index(v.Drives(), drives[1].ID())
	closeSet(t, s)
	s = open(t, drives)
	v = s.Get(v.ID())
	move(t, s, v, a, volume.ReplaceOptions{Target: drives[4].ID()}) // Its old segment is not freed.
	move(t, s, v, b, volume.ReplaceOptions{Target: drives[0].ID()}).Free()
	checkVolume(t, v)
	closeSet(t, s)

	s = open(t, drives[:4])
	v = s.Get(v.ID())
	checkDistinct(t, v)
	checkStamp(t, v, b, v.Start())
	if v.Shard(a) != nil || v.Drives()[a] != drives[4].ID() {
		t.Errorf("shard %d is %v, on drive %v", a, v.Shard(a), v.Drives()[a])
	}
	if got := status(s, drives[0].ID()); got.Segments != 2 || got.Unused != 0 || got.Stale != 1 {
		t.Errorf("%+v, want one segment in use and one kept", got)
	}
	closeSet(t, s)
	s = open(t, drives)
	v = s.Get(v.ID())
	checkVolume(t, v)
	if got, ok := becomes(s, drives[0].ID(), func(d volume.DriveStatus) bool { return d.Segments == 2 && d.Unused == 1 && d.Stale == 0 }); !ok {
		t.Errorf("%+v, want one segment in use and one free", got)
	}
	closeSet(t, s)
}

// TestReplaceFails has every action of a move fail in turn. The shard is where it was or where it goes, the volume is whole, and another try
// or another drive succeeds.
func TestReplaceFails(t *testing.T) {
	for _, action := range []drive.Action{drive.OnCreate, drive.OnWrite, drive.OnSpace} {
		for nth := 1; ; nth++ {
			drives := newDrives(6, 100*mib)
			s, err := volume.Open(ctx, options(drives[:4]))
			if err != nil {
				t.Fatal(err)
			}
			id := create(t, s, volume.Bulk).ID()
			stamp(t, s.Get(id), s.Get(id).Start())
			closeSet(t, s)
			plan := drive.NewPlan(1)
			s = open(t, plan.WrapAll(drives))
			v := s.Get(id)
			target := drives[4].ID()
			plan.Add(drive.Rule{On: action, Drive: target, Nth: nth})
			before := v.Drives()[0]
			struck := func() bool { return !s.Healthy(target) }
			r, err := s.Replace(ctx, v, 0, volume.ReplaceOptions{Target: target})
			if err == nil {
				b := stampOf(v, 0)
				if werr := drive.Do(ctx, &drive.Op{Kind: drive.Write, File: r.File(), Off: v.Start(), Bufs: [][]byte{b}}); werr != nil {
					s.FailDrive(target, werr)
					r.Abort()
				} else if old, cerr := r.Commit(); cerr == nil {
					old.Free()
				}
			}
			checkDistinct(t, v)
			if !struck() {
				if v.Drives()[0] != target {
					t.Errorf("%v %d: nothing failed and shard 0 is on %v", action, nth, v.Drives()[0])
				}
				closeSet(t, s)
				break
			}
			if v.Shard(0) == nil && v.Drives()[0] != target {
				t.Errorf("%v %d: shard 0 is gone from %v", action, nth, before)
			}
			move(t, s, v, 0, volume.ReplaceOptions{})
			checkVolume(t, v)
			closeSet(t, s)
			s = open(t, drives)
			v = s.Get(id)
			checkVolume(t, v)
			checkStamp(t, v, 0, v.Start())
			closeSet(t, s)
		}
	}
}

// TestPowerCutInReplace cuts the power at every event of moves and of the start that cleans up after them. Whatever the cut leaves, the
// volume is whole, each shard holds what it should, and no segment is lost to the free lists.
func TestPowerCutInReplace(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	domain := drive.NewDomain(newIdentities(5), 100*mib, drive.DomainOptions{})
	s, err := volume.Open(ctx, options(domain.Drives()[:3]))
	if err != nil {
		t.Fatal(err)
	}
	v := create(t, s, volume.Bulk)
	id := v.ID()
	stamp(t, v, v.Start())
	closeSet(t, s)
	var images []*drive.Domain
	watch := func(d *drive.Domain) {
		d.SetHook(func(int) {
			fates := []drive.Fate{drive.Dropped, drive.Kept, drive.TornBefore(1), drive.TornAfter(1)}
			if len(d.Unstable()) == 0 {
				fates = fates[:1]
			}
			for _, fate := range fates {
				images = append(images, d.Cut(drive.Choice{Write: func(drive.UnstableWrite) drive.Fate { return fate }}))
			}
			if len(fates) > 1 {
				images = append(images, d.Cut(drive.RandomChoice(rng)))
			}
		})
	}
	watch(domain)
	s = open(t, domain.Drives())
	v = s.Get(id)
	for i := range v.N() {
		old := move(t, s, v, i, volume.ReplaceOptions{})
		if i != 1 {
			old.Free() // The other one is left to the next start.
		}
	}
	begin(t, s, v, 0, volume.ReplaceOptions{}).Abort()
	move(t, s, v, 0, volume.ReplaceOptions{Back: true}).Free()
	closeSet(t, s)
	domain.SetHook(nil)
	if len(images) < 100 {
		t.Fatalf("%d images only", len(images))
	}
	check := func(d *drive.Domain) {
		s := open(t, d.Drives())
		defer closeSet(t, s)
		v := s.Get(id)
		checkVolume(t, v)
		for i := range v.N() {
			checkStamp(t, v, i, v.Start())
		}
		for _, d := range s.Drives() {
			used := 0
			if slices.Contains(v.Drives(), d.ID) {
				used = 1
			}
			if d, ok := becomes(s, d.ID, func(d volume.DriveStatus) bool {
				return d.Segments == used+d.Unused && d.Stale == 0 && d.Damaged == 0
			}); !ok {
				t.Fatalf("drive %v: %+v, %d in use", d.ID, d, used)
			}
		}
	}
	first := len(images)
	for i := range first {
		if i%40 == 0 { // Power fails again while the start cleans up.
			watch(images[i])
		}
		check(images[i])
		images[i].SetHook(nil)
	}
	t.Logf("%d images, and %d of the starts after them", first, len(images)-first)
	for _, image := range images[first:] {
		check(image)
	}
}

// TestRandomMoves moves, frees and restarts in random order, with drives left out at random, against what must hold.
func TestRandomMoves(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		drives := newDrives(6, 100*mib)
		opts := options(drives)
		opts.Parity = 2
		present := drives
		reopen := func() *volume.Set {
			o := opts
			o.Drives = present
			s, err := volume.Open(ctx, o)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			return s
		}
		present = drives[:4]
		s := reopen()
		var ids []volume.ID
		for range 3 {
			v := create(t, s, volume.Bulk)
			stamp(t, v, v.Start())
			ids = append(ids, v.ID())
		}
		for range 60 {
			v := s.Get(ids[rng.IntN(len(ids))])
			i := rng.IntN(v.N())
			r, err := s.Replace(ctx, v, i, volume.ReplaceOptions{Back: rng.IntN(4) == 0})
			if err == nil {
				if rng.IntN(5) == 0 {
					r.Abort()
				} else {
					fill(t, r)
					if old, err := r.Commit(); err != nil {
						t.Fatal(err)
					} else if old != nil && rng.IntN(3) > 0 {
						old.Free()
					}
				}
			} else if !errors.Is(err, volume.ErrNoTarget) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if rng.IntN(3) == 0 {
				closeSet(t, s)
				present = slices.Clone(drives)
				rng.Shuffle(len(present), func(i, j int) { present[i], present[j] = present[j], present[i] })
				present = present[:6-rng.IntN(3)]
				s = reopen()
			}
			for _, id := range ids {
				v := s.Get(id)
				checkDistinct(t, v)
				for i := range v.N() {
					if v.Shard(i) != nil {
						checkStamp(t, v, i, v.Start())
					}
				}
			}
		}
		closeSet(t, s)
	}
}

// TestLook looks at drives in every state that a move leaves: it finds what Open finds, and changes nothing.
func TestLook(t *testing.T) {
	drives := newDrives(6, 100*mib)
	s, err := volume.Open(ctx, options(drives[:4]))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	v := create(t, s, volume.Bulk)
	stamp(t, v, v.Start())
	if err := s.Free(create(t, s, volume.Bulk)); err != nil {
		t.Fatal(err)
	}
	closeSet(t, s)
	s = open(t, drives)
	move(t, s, s.Get(v.ID()), 1, volume.ReplaceOptions{}) // The old segment is not freed.
	closeSet(t, s)
	plan := drive.NewPlan(1)
	for _, present := range [][]drive.Drive{drives, drives[1:], drives[2:]} {
		before := plan.Count(drive.ID{}, drive.OnAny&^(drive.OnRead|drive.OnOpen|drive.OnReadMeta|drive.OnList|drive.OnSpace))
		look, err := volume.Look(ctx, options(plan.WrapAll(present)))
		if err != nil {
			t.Fatal(err)
		}
		found := look.Get(v.ID())
		checkDistinct(t, found)
		segments, stale := 0, 0
		for _, d := range look.Drives() {
			segments, stale = segments+d.Segments, stale+d.Stale
		}
		if len(present) == 6 && (segments != 9 || stale != 1 || len(look.Volumes()) != 1) {
			t.Errorf("%d segments, %d stale, volumes %v", segments, stale, look.Volumes())
		}
		if n := len(look.Drives()); n != 6 {
			t.Errorf("%d drives are known", n)
		}
		if _, err := look.Create(ctx, volume.Bulk); !errors.Is(err, volume.ErrClosed) {
			t.Errorf("Create: %v", err)
		}
		if err := look.Free(found); !errors.Is(err, volume.ErrClosed) {
			t.Errorf("Free: %v", err)
		}
		look.Prepare(volume.Bulk)
		closeSet(t, look)
		if after := plan.Count(drive.ID{}, drive.OnAny&^(drive.OnRead|drive.OnOpen|drive.OnReadMeta|drive.OnList|drive.OnSpace)); after != before {
			t.Errorf("%d actions changed something", after-before)
		}
	}
}
