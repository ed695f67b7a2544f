package volume_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// newcomers returns the identities of n drives of a store, and of one more that is formatted for it and that nobody knows.
func newcomers(n int) (ids []drive.Identity) {
	ids = newIdentities(n + 1)
	for i := range ids {
		ids[i].Known = slices.Clone(ids[i].Known[:n])
	}
	ids[n].Known = []drive.ID{ids[n].Drive}
	return ids
}

func memory(ids []drive.Identity) (drives []drive.Drive) {
	queue := drive.NewMemQueue(0)
	for _, id := range ids {
		drives = append(drives, drive.NewMem(id, drive.MemOptions{Size: 100 * mib, Queue: queue}))
	}
	return drives
}

func states(s *volume.Set) (ok, missing int) {
	for _, d := range s.Drives() {
		switch d.State {
		case volume.DriveOK:
			ok++
		case volume.DriveMissing:
			missing++
		}
	}
	return ok, missing
}

// wantRefused expects a refusal with a reason that names the drive.
func wantRefused(t testing.TB, err error, reason drive.Reason, d drive.Drive) {
	t.Helper()
	var refusal *drive.RefusedError
	if !errors.As(err, &refusal) || refusal.Reason != reason || refusal.Path != d.Path() || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v; want one line that refuses %s: %v", err, d.Path(), reason)
	}
}

func TestAddDrive(t *testing.T) {
	drives := memory(newcomers(3))
	s := open(t, drives[:3])
	old := create(t, s, volume.Bulk)
	s.Prepare(volume.Bulk)
	if err := s.Add(ctx, drives[3]); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, s.Add(ctx, drives[3]), drive.Duplicate, drives[3])
	foreign := drive.NewMem(newIdentities(1)[0], drive.MemOptions{Path: "/mem/foreign", Size: mib})
	wantRefused(t, s.Add(ctx, foreign), drive.OtherCluster, foreign)
	v := create(t, s, volume.Bulk)
	if v.N() != 4 || old.N() != 3 {
		t.Errorf("volumes of %d drives before and %d after, want 3 and 4", old.N(), v.N())
	}
	stamp(t, v, v.Start())
	closeSet(t, s)
	s = open(t, drives)
	if ok, missing := states(s); ok != 4 || missing != 0 {
		t.Errorf("%d drives are there and %d missing, want 4 and none", ok, missing)
	}
	checkStamp(t, s.Get(v.ID()), 3, v.Start())
	closeSet(t, s)
	s = open(t, drives[:3]) // Who started before knows whom it lacks, and where that was.
	i := slices.IndexFunc(s.Drives(), func(d volume.DriveStatus) bool { return d.State == volume.DriveMissing })
	if i < 0 || s.Drives()[i].Path != drives[3].Path() || s.Drives()[i].ID != drives[3].ID() {
		t.Errorf("drives are %+v", s.Drives())
	}
	closeSet(t, s)
}

func TestAddRefusesDrivesThatHoldSomething(t *testing.T) {
	drives := memory(newcomers(2))
	s := open(t, drives[:2])
	f, err := drives[2].Create(7, bulkLen)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, s.Add(ctx, drives[2]), drive.Damaged, drives[2])
	closeSet(t, s)
}

func TestDrainAndRemove(t *testing.T) {
	drives := memory(newIdentities(4))
	s := open(t, drives)
	leaver := drives[1]
	var old []*volume.Volume
	for range 3 {
		v := create(t, s, volume.Bulk)
		stamp(t, v, v.Start())
		old = append(old, v)
	}
	if _, err := s.Remove(ctx, leaver.ID(), false); !errors.Is(err, volume.ErrOccupied) {
		t.Errorf("Remove of a drive in use: %v", err)
	}
	if err := s.Drain(ctx, drive.NewID(), true, false); !errors.Is(err, volume.ErrUnknownDrive) {
		t.Errorf("Drain of a drive that is none: %v", err)
	}
	s.Prepare(volume.Bulk)
	if err := s.Drain(ctx, leaver.ID(), true, true); err != nil {
		t.Fatal(err)
	}
	closeSet(t, s)
	s = open(t, drives) // It is not forgotten.
	if d := status(s, leaver.ID()); !d.Draining || !d.Leaving || d.State != volume.DriveOK {
		t.Errorf("after a start the drive is %+v", d)
	}
	v := create(t, s, volume.Bulk)
	if slices.Contains(v.Drives(), leaver.ID()) || v.N() != 3 {
		t.Errorf("%v is made of %v, with a drive that is being drained", v, v.Drives())
	}
	if _, err := s.Remove(ctx, leaver.ID(), false); !errors.Is(err, volume.ErrOccupied) {
		t.Errorf("Remove of a drive that is not empty: %v", err)
	}
	if err := s.Add(ctx, drive.NewMem(drive.Identity{}, drive.MemOptions{})); err == nil {
		t.Error("a drive without an id was added")
	}
	// One volume moves off it, as far as there is another drive for the shard; the others are freed.
	for _, o := range old {
		if err := s.Free(s.Get(o.ID())); err != nil {
			t.Fatal(err)
		}
	}
	if shards, others := s.Holds(leaver.ID()); shards != 0 || others != 0 {
		t.Errorf("an empty drive holds %d shards and %d others", shards, others)
	}
	if _, err := s.Remove(ctx, leaver.ID(), false); err != nil {
		t.Fatal(err)
	}
	if ok, missing := states(s); ok != 3 || missing != 0 {
		t.Errorf("%d drives are there and %d missing, want 3 and none", ok, missing)
	}
	wantRefused(t, s.Add(ctx, leaver), drive.Removed, leaver)
	if _, err := s.Return(ctx, leaver); err == nil {
		t.Error("a drive that was removed came back")
	}
	closeSet(t, s)
	s = open(t, slices.DeleteFunc(slices.Clone(drives), func(d drive.Drive) bool { return d == leaver }))
	if ok, missing := states(s); ok != 3 || missing != 0 {
		t.Errorf("after a start %d drives are there and %d missing, want 3 and none", ok, missing)
	}
	closeSet(t, s)
	_, err := volume.Open(ctx, options(drives))
	wantRefused(t, err, drive.Removed, leaver)
}

// TestRemoveTheDead removes a drive that is not there: not before what it held is elsewhere.
func TestRemoveTheDead(t *testing.T) {
	drives := memory(newIdentities(5))
	s := open(t, drives[:3])
	v := create3(t, s)
	closeSet(t, s)
	dead := v.Drives()[1]
	left := slices.DeleteFunc(slices.Clone(drives), func(d drive.Drive) bool { return d.ID() == dead })
	s = open(t, left)
	if _, err := s.Remove(ctx, dead, false); !errors.Is(err, volume.ErrOccupied) {
		t.Errorf("Remove before its shard is healed: %v", err)
	}
	if shards, _ := s.Holds(dead); shards != 1 {
		t.Errorf("the dead drive holds %d shards, want 1", shards)
	}
	r := begin(t, s, s.Get(v.ID()), 1, volume.ReplaceOptions{})
	fill(t, r)
	if _, err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, dead, false); err != nil {
		t.Fatal(err)
	}
	if _, missing := states(s); missing != 0 {
		t.Errorf("%d drives are missing, want none", missing)
	}
	closeSet(t, s)
}

// TestForcedRemove takes out a drive that has failed although a shard is nowhere else: it is lost, others are not, and the drive does not come
// back.
func TestForcedRemove(t *testing.T) {
	drives := memory(newIdentities(4))
	s := open(t, drives)
	v := create(t, s, volume.Bulk)
	stamp(t, v, v.Start())
	leaver := drives[2]
	if _, err := s.Remove(ctx, leaver.ID(), true); !errors.Is(err, volume.ErrOccupied) {
		t.Errorf("Remove of a healthy drive by force: %v", err)
	}
	s.FailDrive(leaver.ID(), errors.New("unplugged"))
	gone, err := s.Remove(ctx, leaver.ID(), true)
	if err != nil {
		t.Fatal(err)
	}
	if gone.Drive != leaver {
		t.Errorf("%v has gone", gone.Drive)
	}
	if err := gone.Close(); err != nil {
		t.Error(err)
	}
	i := slices.Index(v.Drives(), leaver.ID())
	if v.Shard(i) != nil || v.LastResort(i) != nil {
		t.Error("the shard of a drive that was removed is still there")
	}
	if _, err := s.Return(ctx, leaver); err == nil {
		t.Error("a drive that was removed came back")
	}
	closeSet(t, s)
	s = open(t, slices.DeleteFunc(slices.Clone(drives), func(d drive.Drive) bool { return d == leaver }))
	if ok, missing := states(s); ok != 3 || missing != 0 {
		t.Errorf("%d drives are there and %d missing, want 3 and none", ok, missing)
	}
	if v := s.Get(v.ID()); v == nil || v.Shard((i+1)%4) == nil {
		t.Error("another drive's shard went with it")
	}
	closeSet(t, s)
}

func TestTheLastDriveStays(t *testing.T) {
	drives := memory(newIdentities(2))
	s := open(t, drives)
	if err := s.Drain(ctx, drives[0].ID(), true, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(ctx, drives[1].ID(), true, false); !errors.Is(err, volume.ErrLastDrive) {
		t.Errorf("Drain of the last drive: %v", err)
	}
	if err := s.Drain(ctx, drives[0].ID(), false, false); err != nil { // It may stay after all.
		t.Fatal(err)
	}
	if k, m := s.Geometry(); k+m != 2 {
		t.Errorf("geometry %d+%d of two drives", k, m)
	}
	closeSet(t, s)
}

// TestPowerCutInMembership cuts the power at every event of a drive's joining and of another's leaving. Whatever drives come back, all
// agree afterwards on who belongs to the store, and it is as before or as after.
func TestPowerCutInMembership(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	domain := drive.NewDomain(newcomers(4), 100*mib, drive.DomainOptions{})
	drives := domain.Drives()
	s := open(t, drives[:3])
	create3(t, s)
	closeSet(t, s)
	s = open(t, drives[:4])
	const leaver = 3 // It has nothing.
	var images []*drive.Domain
	const (
		adding = iota
		draining
		removing
		done
	)
	phase := adding
	var phases []int // At each image.
	domain.SetHook(func(int) {
		for range 2 {
			images = append(images, domain.Cut(drive.RandomChoice(rng)))
			phases = append(phases, phase)
		}
	})
	if err := s.Add(ctx, drives[4]); err != nil {
		t.Fatal(err)
	}
	phase = draining
	if err := s.Drain(ctx, drives[leaver].ID(), true, false); err != nil {
		t.Fatal(err)
	}
	phase = removing
	if _, err := s.Remove(ctx, drives[leaver].ID(), false); err != nil {
		t.Fatal(err)
	}
	phase = done
	domain.SetHook(nil)
	closeSet(t, s)
	if len(images) < 60 {
		t.Fatalf("%d images only", len(images))
	}
	for i, image := range images {
		for range 2 { // Once as they come back, and once more after that start.
			all := image.Drives()
			present := slices.Clone(all)
			s, err := volume.Open(ctx, options(present))
			for range 2 { // The drive that left, and the one that has not joined, are not given any more.
				var refusal *drive.RefusedError
				if errors.As(err, &refusal) && (refusal.Reason == drive.Removed && phases[i] >= removing || refusal.Reason == drive.OtherCluster && phases[i] == adding) {
					present = slices.DeleteFunc(present, func(d drive.Drive) bool { return d.Path() == refusal.Path })
					s, err = volume.Open(ctx, options(present))
				}
			}
			if err == nil {
				err = s.Confirm()
			}
			if err != nil {
				t.Fatalf("image %d: %v", i, err)
			}
			ok, missing := states(s)
			if ok != len(present) || missing != 0 {
				t.Fatalf("image %d: %d drives are there and %d missing, of %d", i, ok, missing, len(present))
			}
			if s.Healthy(all[4].ID()) != slices.Contains(present, all[4]) || phases[i] > adding && !s.Healthy(all[4].ID()) {
				t.Fatalf("image %d: the drive that joined is healthy: %v", i, s.Healthy(all[4].ID()))
			}
			if phases[i] == done && s.Healthy(all[leaver].ID()) {
				t.Fatalf("image %d: the drive that left is here", i)
			}
			closeSet(t, s)
			var known []drive.ID
			for j, d := range present {
				id, err := drive.ReadIdentity(d)
				if err != nil {
					t.Fatal(err)
				}
				if j == 0 {
					known = id.Known
				} else if !slices.Equal(known, id.Known) {
					t.Fatalf("image %d: drives disagree on who belongs to the store", i)
				}
			}
		}
	}
}
