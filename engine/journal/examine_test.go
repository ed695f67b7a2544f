package journal_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/meta"
)

// examine examines the rig's drives, and fails if that writes anything.
func (r *rig) examine(fn func(meta.VolumeID, int64, erasure.Set, erasure.Set)) (journal.Examination, *applied, error) {
	r.t.Helper()
	const changes = drive.OnAny &^ (drive.OnRead | drive.OnOpen | drive.OnReadMeta | drive.OnList | drive.OnSpace)
	plan := drive.NewPlan(1)
	set, err := volume.Look(context.Background(), volume.Options{Drives: plan.WrapAll(r.drives), Cluster: r.cluster, Parity: r.parity})
	if err != nil {
		r.t.Fatal(err)
	}
	got := &applied{}
	o := r.opts
	o.Volumes, o.Arena, o.Apply = source{set}, r.arena, got.apply
	x, err := journal.Examine(context.Background(), o, fn)
	if cerr := set.Close(); cerr != nil {
		r.t.Error(cerr)
	}
	if n := plan.Count(drive.ID{}, changes); n != 0 {
		r.t.Errorf("an examination changed something %d times", n)
	}
	return x, got, err
}

// TestExamine reads journals of several volumes, with all drives, without each, and with a bit the other way round in each block, and finds
// all records and just what is wrong.
func TestExamine(t *testing.T) {
	rng := newRNG(t)
	r := newRig(t, 4, 1, 256<<10)
	j := r.format()
	for i := range 60 {
		mustAppend(t, j, record(rng, i, 0, 1, 100+rng.IntN(30_000)))
	}
	r.stop(j)
	want := payloads(r.log.records)
	x, got, err := r.examine(func(v meta.VolumeID, batch int64, missing, wrong erasure.Set) {
		t.Errorf("batch %d of volume %x: %v missing, %v wrong", batch, v, missing, wrong)
	})
	if err != nil || !slices.Equal(payloads(got.records), want) || len(x.Volumes) < 3 || x.Blocks == 0 || len(x.Damage) != 0 || len(x.Orphans) != 0 {
		t.Fatalf("%+v, %d records of %d, %v", x, len(payloads(got.records)), len(want), err)
	}
	if last := x.Volumes[len(x.Volumes)-1]; x.Position != r.log.position || last.EndLSN != x.Position.LSN {
		t.Errorf("ends at %+v, want %+v", x.Position, r.log.position)
	}
	all := r.drives
	for i := range all {
		r.drives = slices.Delete(slices.Clone(all), i, i+1)
		told := uint64(0)
		x, got, err := r.examine(func(_ meta.VolumeID, _ int64, missing, wrong erasure.Set) {
			told += uint64(missing.Count())
			if wrong != 0 {
				t.Errorf("without drive %d: %v are wrong", i, wrong)
			}
		})
		if err != nil || !slices.Equal(payloads(got.records), want) || x.Missing == 0 || x.Missing != told || x.Wrong != 0 {
			t.Errorf("without drive %d: %+v, %v", i, x, err)
		}
	}
	r.drives = all
	for range 30 {
		at := got.records[rng.IntN(len(got.records))].loc
		set, err := volume.Look(context.Background(), volume.Options{Drives: r.drives, Cluster: r.cluster, Parity: r.parity})
		if err != nil {
			t.Fatal(err)
		}
		shard := rng.IntN(2)
		if shard == 0 {
			shard = int(at.Shard)
		} else {
			shard = 3 // Parity.
		}
		file := set.Get(at.Volume).Shard(shard)
		back := turn(t, file, at.Batch, rng.IntN(4096*8))
		x, got, err := r.examine(func(v meta.VolumeID, batch int64, missing, wrong erasure.Set) {
			if v != at.Volume || batch != at.Batch || missing != 0 || wrong != erasure.SetOf(shard) {
				t.Errorf("batch %d of volume %x: %v missing, %v wrong; want %d of batch %d of volume %x", batch, v, missing, wrong, shard, at.Batch, at.Volume)
			}
		})
		if err != nil || !slices.Equal(payloads(got.records), want) || x.Wrong != 1 || x.Missing != 0 {
			t.Errorf("%+v, %v", x, err)
		}
		back()
		if err := set.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// turn turns one bit of a block around. back puts back what was there.
func turn(t *testing.T, file drive.File, off int64, bit int) (back func()) {
	t.Helper()
	b := drive.Aligned(4096)
	do := func(kind drive.Kind) {
		if err := drive.Do(t.Context(), &drive.Op{Kind: kind, File: file, Off: off, Bufs: [][]byte{b}}); err != nil {
			t.Fatal(err)
		}
	}
	do(drive.Read)
	flip := func() { b[bit/8] ^= 1 << (bit % 8); do(drive.Write) }
	flip()
	return flip
}

// TestExamineDamage has a batch beyond repair: it is named, and the other volumes are examined all the same.
func TestExamineDamage(t *testing.T) {
	rng := newRNG(t)
	r := newRig(t, 3, 1, 256<<10)
	j := r.format()
	for i := range 40 {
		mustAppend(t, j, record(rng, i, 0, 1, 20_000))
	}
	r.stop(j)
	first := r.log.users()[2].loc
	for _, d := range r.drives {
		segs, err := d.Segments()
		if err != nil {
			t.Fatal(err)
		}
		f, err := d.Open(segs[0]) // Of the first volume.
		if err != nil {
			t.Fatal(err)
		}
		if err := drive.Do(t.Context(), &drive.Op{Kind: drive.Write, File: f, Off: first.Batch, Bufs: [][]byte{drive.Aligned(4096)}}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	x, got, err := r.examine(nil)
	if err != nil || len(x.Damage) != 1 || !errors.Is(x.Damage[0], journal.ErrDamaged) {
		t.Fatalf("%+v, %v", x, err)
	}
	later := 0
	for _, e := range got.users() {
		if e.loc.Volume != first.Volume {
			later++
		}
	}
	if later == 0 {
		t.Error("nothing was read of the volumes behind the damaged one")
	}
}
