package volume_test

import (
	"errors"
	"slices"
	"testing"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// TestReturn has a drive fail, or be missing, and come back while the others serve: what was freed or put elsewhere meanwhile is not
// resurrected, and everything else is whole again.
func TestReturn(t *testing.T) {
	for _, missing := range []bool{false, true} {
		drives := memory(newIdentities(5))
		s := open(t, drives[:3])
		moved := create3(t, s)
		closeSet(t, s)
		s = open(t, drives)
		moved = s.Get(moved.ID())
		kept, freed, lost := create(t, s, volume.Bulk), create(t, s, volume.Bulk), create(t, s, volume.Bulk)
		for _, v := range []*volume.Volume{kept, freed, moved, lost} {
			stamp(t, v, v.Start())
		}
		back := drives[2]
		if missing {
			closeSet(t, s)
			s = open(t, slices.DeleteFunc(slices.Clone(drives), func(d drive.Drive) bool { return d == back }))
			kept, freed, moved, lost = s.Get(kept.ID()), s.Get(freed.ID()), s.Get(moved.ID()), s.Get(lost.ID())
		} else {
			s.FailDrive(back.ID(), errors.New("unplugged"))
		}
		at := func(v *volume.Volume) int { return slices.Index(v.Drives(), back.ID()) }
		if kept.Shard(at(kept)) != nil {
			t.Fatal("a drive that is not there has a shard")
		}
		if err := s.Free(freed); err != nil {
			t.Fatal(err)
		}
		elsewhere := at(moved)
		r := begin(t, s, moved, elsewhere, volume.ReplaceOptions{})
		fill(t, r)
		if retired, err := r.Commit(); err != nil {
			t.Fatal(err)
		} else if retired != nil {
			retired.Free()
		}
		meanwhile := create(t, s, volume.Bulk)
		if slices.Contains(meanwhile.Drives(), back.ID()) {
			t.Fatal("a volume is made with a drive that is not there")
		}
		// A segment that somebody took away.
		f, err := back.Open(lostSegment(t, back, lost))
		if err != nil {
			t.Fatal(err)
		}
		seg := f.Seg()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := back.Remove(seg); err != nil {
			t.Fatal(err)
		}

		gone, err := s.Return(ctx, back)
		if err != nil {
			t.Fatal(err)
		}
		if (gone.Drive == nil) != missing {
			t.Errorf("missing %v: gone is %+v", missing, gone)
		}
		if err := gone.Close(); err != nil {
			t.Error(err)
		}
		if d := status(s, back.ID()); d.State != volume.DriveOK {
			t.Errorf("the drive is %+v", d)
		}
		for i := range kept.N() {
			checkStamp(t, kept, i, kept.Start())
		}
		if at(moved) >= 0 || moved.Shard(elsewhere) == nil {
			t.Error("the segment that was put elsewhere is back")
		}
		if i := at(lost); lost.Shard(i) != nil || !lost.Absent(i) {
			t.Error("a segment that was taken away is not known to be lost")
		}
		again := s.Get(freed.ID())
		switch {
		case !missing && again != nil:
			t.Error("a volume that was made and freed since the start is back")
		case !missing:
		case again == nil || again.Shard(slices.Index(again.Drives(), back.ID())) == nil:
			t.Fatal("the freed volume is not there to be freed again") // As after a start.
		default:
			if err := s.Free(again); err != nil {
				t.Fatal(err)
			}
		}
		if v := create(t, s, volume.Bulk); v.N() != 5 {
			t.Errorf("new volumes have %d shards, want 5", v.N())
		}
		wantRefusedReturn(t, s, back, drive.Duplicate)
		closeSet(t, s)
		s = open(t, drives)
		if ok, missing := states(s); ok != 5 || missing != 0 {
			t.Errorf("after a start %d drives are there, %d missing", ok, missing)
		}
		closeSet(t, s)
	}
}

// lostSegment returns the number of the segment that a drive has of a volume.
func lostSegment(t *testing.T, d drive.Drive, v *volume.Volume) uint32 {
	t.Helper()
	i := slices.Index(v.Drives(), d.ID())
	if f := v.LastResort(i); f != nil {
		return f.Seg()
	}
	segs, err := d.Segments()
	if err != nil {
		t.Fatal(err)
	}
	return segs[len(segs)-1] // It was made last.
}

func wantRefusedReturn(t *testing.T, s *volume.Set, d drive.Drive, reason drive.Reason) {
	t.Helper()
	_, err := s.Return(ctx, d)
	wantRefused(t, err, reason, d)
}

// TestReturnRefuses brings back what is no longer, or never was, of the store.
func TestReturnRefuses(t *testing.T) {
	drives := memory(newIdentities(4))
	s := open(t, drives)
	create(t, s, volume.Bulk)
	closeSet(t, s)
	alone := open(t, drives[3:]) // It serves alone for a while.
	closeSet(t, alone)
	s = open(t, drives[:3])
	wantRefusedReturn(t, s, drives[3], drive.Damaged)
	foreign := drive.NewMem(newIdentities(1)[0], drive.MemOptions{Path: "/mem/foreign", Size: mib})
	wantRefusedReturn(t, s, foreign, drive.OtherCluster)
	id, err := drive.ReadIdentity(drives[0])
	if err != nil {
		t.Fatal(err)
	}
	id.Drive = drive.NewID()
	wantRefusedReturn(t, s, drive.NewMem(id, drive.MemOptions{Path: "/mem/unknown", Size: mib}), drive.OtherCluster)
	if ok, missing := states(s); ok != 3 || missing != 1 {
		t.Errorf("%d drives are there and %d missing, want 3 and 1", ok, missing)
	}
	closeSet(t, s)
}
