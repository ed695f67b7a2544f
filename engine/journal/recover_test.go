package journal_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/meta"
)

// TestEveryCut runs a few appends and cuts the power after every event, with each single write that was under way torn at every sector,
// and all others lost, or kept.
func TestEveryCut(t *testing.T) {
	const appends = 3
	r, d := domainRig(t, 3, 1, 256<<10, drive.DomainOptions{})
	j := r.format()
	type image struct {
		drives []drive.Drive
		acked  int
	}
	var images []image
	var acked atomic.Int64
	d.SetHook(func(int) {
		n := int(acked.Load())
		writes := d.Unstable()
		if len(writes) == 0 {
			images = append(images, image{d.Cut(drive.Choice{}).Drives(), n})
		}
		for _, others := range []drive.Fate{drive.Dropped, drive.Kept} {
			for one, w := range writes {
				for at := range w.Len/drive.SectorLen + 1 {
					asked := -1
					cut := d.Cut(drive.Choice{Write: func(drive.UnstableWrite) drive.Fate {
						if asked++; asked == one {
							return drive.TornBefore(at)
						}
						return others
					}})
					images = append(images, image{cut.Drives(), n})
				}
			}
		}
	})
	for i := range byte(appends) {
		mustAppend(t, j, []byte{0xf0, i, 0, 2}, []byte{0xf0, i, 1, 2})
		acked.Add(1)
	}
	d.SetHook(nil)
	r.stop(j)
	for i, image := range images {
		again := r.on(image.drives)
		j, _, err := again.recover(meta.Position{})
		if err != nil {
			t.Fatalf("image %d: %v", i, err)
		}
		got := again.log.users()
		if len(got)%2 != 0 || len(got) < 2*image.acked || len(got) > 2*appends {
			t.Fatalf("image %d: %d records, %d groups of 2 were acknowledged", i, len(got), image.acked)
		}
		for n, e := range got {
			if e.payload != string([]byte{0xf0, byte(n / 2), byte(n % 2), 2}) {
				t.Fatalf("image %d: record %d is %q", i, n, e.payload)
			}
		}
		again.stop(j)
	}
	t.Logf("%d images", len(images))
}

// union shows the volumes of two sets as those of one.
type union struct{ left, right source }

func (u union) Create(ctx context.Context) (journal.Volume, error) { return u.left.Create(ctx) }
func (u union) Prepare()                                           {}
func (u union) Free(meta.VolumeID)                                 {}

func (u union) Get(id meta.VolumeID) journal.Volume {
	if v := u.left.Get(id); v != nil {
		return v
	}
	return u.right.Get(id)
}

func (u union) Volumes() []journal.Volume {
	vols := u.left.Volumes()
	for _, v := range u.right.Volumes() {
		if u.left.Get(v.ID()) == nil {
			vols = append(vols, v)
		}
	}
	return vols
}

// TestSplit starts the two halves of a store separately, so that both continue the same journal: together they are refused.
func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write bool // Whether something was written to the older half.
		want  error
	}{{"both written", true, journal.ErrSplit}, {"one only opened", false, nil}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, 4, 2, 512<<10)
			j := r.format()
			mustAppend(t, j, []byte{0xf0, 1})
			r.stop(j)
			left, right := r.on(r.drives[:2]), r.on(r.drives[2:])
			j, _ = left.mustRecover(meta.Position{})
			if tt.write {
				mustAppend(t, j, []byte{0xf0, 2})
			}
			left.stop(j)
			right.open() // A start without a journal takes an epoch, so that the halves do not take the same ids.
			if err := right.set.Close(); err != nil {
				t.Fatal(err)
			}
			j, _ = right.mustRecover(meta.Position{})
			mustAppend(t, j, []byte{0xf0, 3})
			right.stop(j)
			// A volume.Set refuses this by itself, so the journal is shown the volumes of two.
			left, right = left.on(left.drives), right.on(right.drives)
			left.open()
			right.open()
			opts := left.options()
			opts.Volumes = union{source{left.set}, source{right.set}}
			j, _, err := journal.Recover(context.Background(), opts, meta.Position{})
			if !errors.Is(err, tt.want) {
				t.Errorf("two journals that continue one: %v", err)
			}
			if j != nil {
				if err := j.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestGap refuses to replay from positions that the journal does not reach or does not contain.
func TestGap(t *testing.T) {
	f := fill(t, 6, 2, 5, 500)
	end := f.log.position
	for _, tt := range []struct {
		name string
		from meta.Position
	}{
		{"later volume", meta.Position{Volume: end.Volume + 7, Batch: 3, Next: 8192, LSN: 3}},
		{"earlier volume", meta.Position{Volume: end.Volume - 1, Batch: 3, Next: 8192, LSN: 3}},
		{"beyond a sealed end", meta.Position{Volume: end.Volume, Batch: end.Batch + 2, Next: end.Next + 8192, LSN: end.LSN + 2}},
		{"another history", meta.Position{Volume: end.Volume, Batch: end.Batch - 1, Next: f.batchOff(4), LSN: end.LSN - 1, Chain: 1}},
		{"another LSN", meta.Position{Volume: end.Volume, Batch: end.Batch - 1, Next: f.batchOff(4), LSN: end.LSN - 2, Chain: f.chains[4]}},
	} {
		for _, sealed := range []bool{true, false} {
			if !sealed && tt.from.Batch > end.Batch {
				continue // An index ahead of the tail cannot be: what it has is durable.
			}
			f.restore()
			if sealed {
				j, _ := f.mustRecover(meta.Position{})
				f.stop(j)
			}
			if _, _, err := f.recover(tt.from); !errors.Is(err, journal.ErrGap) {
				t.Errorf("%s, sealed %v: %v", tt.name, sealed, err)
			}
		}
	}
	f.restore()
	f.recover(meta.Position{Volume: end.Volume, Batch: end.Batch - 1, Next: f.batchOff(4), LSN: end.LSN - 1, Chain: f.chains[4]})
	if got := f.log.users(); len(got) != 1 || got[0] != f.records[5] {
		t.Errorf("replay from before the last batch: %d records", len(got))
	}
}

// TestLeave continues a journal in other volumes by order, and frees one of them: a position before it is of no use any more, though the volume that
// it is in is there.
func TestLeave(t *testing.T) {
	r := newRig(t, 4, 1, 512<<10)
	j := r.format()
	mustAppend(t, j, []byte{0xf0, 1})
	stale := j.Position()
	mustAppend(t, j, []byte{0xf0, 2})
	var left []meta.VolumeID
	leave := func() {
		t.Helper()
		vols := j.Volumes()
		open := vols[len(vols)-1].ID
		left = append(left, open)
		j.Leave(open)
		for n := 0; vols[len(vols)-1].ID == open; n++ { // Nobody who appends notices.
			mustAppend(t, j, []byte{0xf0, byte(len(left)), byte(n)})
			vols = j.Volumes()
		}
		if last := vols[len(vols)-2]; last.ID != open || last.Open {
			t.Fatalf("volumes are %+v, and %x was left", vols, open)
		}
	}
	leave()
	leave()
	j.Leave(left[0]) // Was left long ago.
	mustAppend(t, j, (&meta.JournalFreed{Volumes: left[1:2]}).AppendTo(nil))
	j.Freed(left[1])
	leave()
	end := j.Position()
	r.stop(j)
	if _, _, err := r.recover(stale); !errors.Is(err, journal.ErrGap) {
		t.Errorf("replay over a volume that was freed: %v", err)
	}
	j, _ = r.mustRecover(end)
	r.stop(j)
}

// TestRecycledSegments makes a volume out of segments that are full of batches of another one: they are not taken for its own.
func TestRecycledSegments(t *testing.T) {
	r := newRig(t, 6, 2, 512<<10)
	j := r.format()
	rec := make([]byte, 5000)
	rec[0] = 0xf0
	first := j.Volumes()[0].ID
	for len(j.Volumes()) < 2 {
		mustAppend(t, j, rec, rec, rec)
	}
	mustAppend(t, j, (&meta.JournalFreed{Volumes: []meta.VolumeID{first}}).AppendTo(nil))
	j.Freed(first)
	mustAppend(t, j, []byte{0xf0, 1})
	at := j.Position()
	r.stop(j)
	r.open()
	r.confirm() // Before that, nothing is freed.
	old := r.set.Get(first)
	segs := make(map[drive.ID]uint32)
	for i, id := range old.Drives() {
		segs[id] = old.Shard(i).Seg()
	}
	source{r.set}.Free(first)
	v, err := r.set.Create(context.Background(), volume.Journal)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range v.Drives() {
		if segs[id] != v.Shard(i).Seg() {
			t.Fatalf("segment %d of drive %v was made anew", v.Shard(i).Seg(), id)
		}
	}
	if err := r.set.Close(); err != nil {
		t.Fatal(err)
	}
	j, did := r.mustRecover(at)
	if did.Tail != at.Volume || len(r.log.users()) != 0 {
		t.Errorf("recovered from volume %x, %d records", did.Tail, len(r.log.users()))
	}
	r.stop(j)
}

// TestNoJournal tells a store without a journal from one whose journal cannot be read.
func TestNoJournal(t *testing.T) {
	r := newRig(t, 6, 2, 512<<10)
	if _, _, err := r.recover(meta.Position{}); !errors.Is(err, journal.ErrNoJournal) {
		t.Errorf("empty drives: %v", err)
	}
	// A volume that was made and never written to is none either.
	if _, err := (source{r.set}).Create(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.set.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.recover(meta.Position{}); !errors.Is(err, journal.ErrNoJournal) {
		t.Errorf("a volume without a batch: %v", err)
	}
	if err := r.set.Close(); err != nil {
		t.Fatal(err)
	}
	r.drives = r.drives[:3]
	if _, _, err := r.recover(meta.Position{}); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("half of the drives: %v", err)
	}
}

// TestGhosts makes volumes that never get their first batch: recovery goes on in the older one and frees them.
func TestGhosts(t *testing.T) {
	f := fill(t, 6, 2, 5, 500)
	f.open()
	ghost, err := (source{f.set}).Create(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.set.Close(); err != nil {
		t.Fatal(err)
	}
	j, _ := f.mustRecover(meta.Position{})
	if got := f.log.users(); len(got) != 5 {
		t.Errorf("%d records", len(got))
	}
	f.stop(j) // Waits for what was to be cleaned up.
	f.open()
	if f.set.Get(ghost.ID()) != nil {
		t.Error("a volume that was never open is still there")
	}
	if err := f.set.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFirstBatchFails lets the drives fail at the first batch of each new volume, one after the other.
func TestFirstBatchFails(t *testing.T) {
	r, plan := faultyRig(t, 6, 2, 512<<10)
	j := r.format()
	acked := appendAll(t, j, 2, 3)
	fails := 0
	plan.Add(drive.Rule{On: drive.OnWrite, Times: -1, Match: func(e drive.Event) bool {
		if e.Off == 4096 && fails < 3 {
			fails++
			return true
		}
		return false
	}})
	rec := make([]byte, 20000)
	rec[0] = 0xf0
	for len(j.Volumes()) < 2 {
		lsn := mustAppend(t, j, rec)
		acked[lsn] = string(rec)
	}
	if fails != 3 {
		t.Fatalf("%d first batches failed", fails)
	}
	if err := checkAcked(r.log.records, acked); err != nil {
		t.Error(err)
	}
	r.stop(j)
	again := r.on(r.drives)
	j, _ = again.mustRecover(meta.Position{})
	if err := checkAcked(again.log.records, acked); err != nil {
		t.Error(err)
	}
	again.stop(j)
}

// TestFullDrives fails appends when no volume can be made, and takes them again when there is room: no restart is needed.
func TestFullDrives(t *testing.T) {
	r := newRig(t, 3, 1, 256<<10)
	j := r.format()
	for _, d := range r.drives {
		_, free, err := d.Space()
		if err != nil {
			t.Fatal(err)
		}
		d.(*drive.Mem).SetSize(1<<40 - free)
	}
	rec := make([]byte, 30000)
	rec[0] = 0xf0
	var err error
	appended := 0
	for appended < 1000 && err == nil {
		if _, err = j.Append(context.Background(), rec); err == nil {
			appended++
		}
	}
	if !errors.Is(err, journal.ErrUnavailable) || errors.Is(err, journal.ErrUnknown) {
		t.Fatalf("append to full drives after %d: %v", appended, err)
	}
	if j.Err() != nil {
		t.Errorf("full drives stop the journal: %v", j.Err())
	}
	for _, d := range r.drives {
		d.(*drive.Mem).SetSize(1 << 40)
	}
	r.set.Drives() // Space is looked at anew once the old sample is out of date.
	deadline := time.Now().Add(10 * time.Second)
	for err != nil && time.Now().Before(deadline) {
		_, err = j.Append(context.Background(), rec)
	}
	if err != nil {
		t.Fatalf("append after space came back: %v", err)
	}
	r.stop(j)
	again := r.on(r.drives)
	j, _ = again.mustRecover(meta.Position{})
	if got := len(again.log.users()); got != appended+1 {
		t.Errorf("%d records of %d", got, appended+1)
	}
	again.stop(j)
}

// TestReadFaultsDuringRecovery lets the n-th read of a recovery fail or hang: the other drives stand in.
func TestReadFaultsDuringRecovery(t *testing.T) {
	f := fill(t, 6, 2, 10, 2000)
	for _, effect := range []drive.Effect{drive.Fail, drive.Short, drive.Flip, drive.Hang} {
		for nth := 1; ; nth++ {
			struck := false
			synctest.Test(t, func(t *testing.T) {
				plan := drive.NewPlan(uint64(nth))
				again := f.on(f.domain.Cut(drive.Choice{}).Drives())
				again.drives = plan.WrapAll(again.drives)
				again.arena = privateArena(t)
				again.open()
				plan.Add(drive.Rule{On: drive.OnRead, Nth: nth, Do: effect})
				j, _, err := journal.Recover(context.Background(), again.options(), meta.Position{})
				if err != nil {
					t.Fatalf("effect %d, read %d: %v", effect, nth, err)
				}
				struck = plan.Struck() > 0
				if !startsWith(again.log.records, f.records) {
					t.Errorf("effect %d, read %d: other records than were written", effect, nth)
				}
				plan.Clear()
				plan.Release()
				again.stop(j)
				synctest.Wait() // For what hung to give its memory back.
			})
			if t.Failed() {
				return
			}
			if !struck {
				break
			}
		}
	}
}

// TestLyingDrive loses, tears and misplaces writes of one drive that claims to have done them: with one drive of parity in hand
// nothing is lost, wherever it happens.
func TestLyingDrive(t *testing.T) {
	rng := newRNG(t)
	for _, effect := range []drive.Effect{drive.Lose, drive.Tear, drive.Misdirect, drive.Flip} {
		for range 8 {
			r, plan := faultyRig(t, 6, 2, 512<<10)
			j := r.format()
			liar := r.drives[rng.IntN(6)]
			plan.Add(drive.Rule{On: drive.OnWrite, Drive: liar.ID(), Do: effect, Times: -1, Chance: 0.3, Match: func(e drive.Event) bool { return e.Off > 0 }})
			acked := appendAll(t, j, 4, 15)
			plan.Clear()
			r.stop(j)
			again := r.on(r.drives)
			lost := r.drives[(slices.Index(r.drives, liar)+1+rng.IntN(5))%6]
			again.drives = slices.DeleteFunc(slices.Clone(r.drives), func(d drive.Drive) bool { return d == lost })
			j, _ = again.mustRecover(meta.Position{})
			if err := checkAcked(again.log.records, acked); err != nil {
				t.Fatalf("effect %d: %v", effect, err)
			}
			for _, e := range again.log.users() {
				buf, got, _, err := j.Read(context.Background(), e.loc, 0, len(e.payload), func(b []byte) bool { return string(b) == e.payload })
				if err != nil || string(got) != e.payload {
					t.Fatalf("effect %d: read: %v", effect, err)
				}
				buf.Release()
			}
			again.stop(j)
		}
	}
}
