package volume_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// TestCreateFailsAtEveryStep lets the n-th action of a Create fail, for every n until one passes
// untouched, in every way an action can fail.
func TestCreateFailsAtEveryStep(t *testing.T) {
	for _, c := range []struct {
		name  string
		rule  drive.Rule
		full  bool // The drive is not to blame: it has no room, for creating things.
		limit int
	}{
		{name: "fails", rule: drive.Rule{Do: drive.Fail}},
		{name: "is done and fails", rule: drive.Rule{Do: drive.FailAfter}},
		{name: "finds no space", rule: drive.Rule{Do: drive.Fail, Err: syscall.ENOSPC}, full: true},
		{name: "hangs", rule: drive.Rule{Do: drive.Hang}},
	} {
		for _, recycled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/recycled=%v", c.name, recycled), func(t *testing.T) {
				for n := 1; ; n++ {
					struck := false
					synctest.Test(t, func(t *testing.T) { struck = createFails(t, c.rule, c.full, recycled, n) })
					if !struck {
						if n < 20 {
							t.Errorf("Create takes %d actions only", n-1)
						}
						break
					}
				}
			})
		}
	}
}

// createFails reports whether the rule struck at its n-th action.
func createFails(t *testing.T, rule drive.Rule, full, recycled bool, n int) bool {
	drives := newDrives(6, 100*mib)
	plan := drive.NewPlan(1)
	s := open(t, plan.WrapAll(drives))
	before := create(t, s, volume.Journal)
	if recycled {
		old := create(t, s, volume.Bulk)
		if err := old.Trim(8192); err != nil { // So that it is extended, too.
			t.Fatal(err)
		}
		if err := s.Free(old); err != nil {
			t.Fatal(err)
		}
	}
	rule.On, rule.Nth = drive.OnAny, n
	plan.Add(rule)
	v, err := s.Create(ctx, volume.Bulk)
	struck := plan.Struck() > 0
	plan.Clear()
	if err != nil {
		t.Fatalf("action %d: %v", n, err)
	}
	checkVolume(t, v)
	failed := 0
	for _, d := range s.Drives() {
		if d.State != volume.DriveFailed {
			continue
		}
		failed++
		if slices.Contains(v.Drives(), d.ID) {
			t.Errorf("action %d: the new volume is on drive %v, which failed with %v", n, d.ID, d.Err)
		}
	}
	switch {
	case !struck && (failed > 0 || v.N() != 6), failed > 1, struck && failed == 0 && !full:
		t.Errorf("action %d: struck %v, %d drives failed, volume is %d+%d", n, struck, failed, v.K(), v.M())
	case failed == 1 && v.N() != 5:
		t.Errorf("action %d: volume is %d+%d on five drives", n, v.K(), v.M())
	}
	plan.Release()
	closeSet(t, s)
	synctest.Wait()
	again := open(t, drives)
	for _, want := range []*volume.Volume{before, v} {
		got := again.Get(want.ID())
		if got == nil || !slices.Equal(got.Drives(), want.Drives()) {
			t.Errorf("action %d: %v is not found as it was made", n, want)
			continue
		}
		checkVolume(t, got)
	}
	closeSet(t, again)
	return struck
}

// TestFreeFailsAtEveryStep is the same for Free: afterwards a volume is gone, or has lost shards, or
// can be freed again; and no segment serves two volumes.
func TestFreeFailsAtEveryStep(t *testing.T) {
	for _, effect := range []drive.Effect{drive.Fail, drive.FailAfter, drive.Hang, drive.Lose} {
		for n := 1; ; n++ {
			struck := false
			synctest.Test(t, func(t *testing.T) {
				drives := newDrives(4, 100*mib)
				plan := drive.NewPlan(1)
				s := open(t, plan.WrapAll(drives))
				v := create(t, s, volume.Bulk)
				plan.Add(drive.Rule{On: drive.OnAny, Nth: n, Do: effect})
				if err := s.Free(v); err != nil {
					t.Fatalf("effect %d, action %d: %v", effect, n, err)
				}
				struck = plan.Struck() > 0
				plan.Clear()
				next, err := s.Create(ctx, volume.Bulk)
				if err != nil {
					t.Fatal(err)
				}
				stamp(t, next, next.Start())
				plan.Release()
				closeSet(t, s)
				synctest.Wait()
				s = open(t, drives)
				got := s.Get(next.ID())
				for i := range got.N() {
					checkStamp(t, got, i, got.Start())
				}
				if ghost := s.Get(v.ID()); ghost != nil {
					if !struck {
						t.Errorf("effect %d: a freed volume came back", effect)
					}
					if err := s.Free(ghost); err != nil {
						t.Error(err)
					}
				}
				closeSet(t, s)
			})
			if !struck {
				break
			}
		}
	}
}

// TestOpenFailsAtEveryStep lets the n-th action of Open fail: it goes on without the drive, and the drive
// is back at the next start.
func TestOpenFailsAtEveryStep(t *testing.T) {
	for _, effect := range []drive.Effect{drive.Fail, drive.Hang} {
		for n := 1; ; n++ {
			struck := false
			synctest.Test(t, func(t *testing.T) {
				drives := newDrives(4, 100*mib)
				s := open(t, drives)
				v := create(t, s, volume.Bulk)
				closeSet(t, s)
				plan := drive.NewPlan(1)
				plan.Add(drive.Rule{On: drive.OnAny, Nth: n, Do: effect})
				s, err := volume.Open(ctx, faulty(drives, plan))
				if err != nil {
					t.Fatal(err)
				}
				struck = plan.Struck() > 0
				got, shards := s.Get(v.ID()), 0
				for i := range got.N() {
					if got.Shard(i) != nil {
						shards++
					} else if got.Absent(i) {
						t.Errorf("effect %d, action %d: shard %d is said to be absent, and is not", effect, n, i)
					}
				}
				if struck && shards != 3 || !struck && shards != 4 {
					t.Errorf("effect %d, action %d: %d shards", effect, n, shards)
				}
				// Released only now: what a hung drive answers in the end changes nothing.
				plan.Release()
				synctest.Wait()
				closeSet(t, s)
				s = open(t, drives)
				checkVolume(t, s.Get(v.ID()))
				closeSet(t, s)
			})
			if !struck {
				if n < 20 {
					t.Errorf("Open takes %d actions only", n-1)
				}
				break
			}
		}
	}
}

// TestAllDrivesFail has nothing left.
func TestAllDrivesFail(t *testing.T) {
	drives := newDrives(3, 100*mib)
	plan := drive.NewPlan(1)
	s := open(t, plan.WrapAll(drives))
	for _, d := range drives {
		plan.Kill(d.ID())
	}
	if _, err := s.Create(ctx, volume.Journal); !errors.Is(err, volume.ErrNoDrives) {
		t.Errorf("Create: %v, want %v", err, volume.ErrNoDrives)
	}
	closeSet(t, s)
	_, err := volume.Open(ctx, faulty(drives, plan))
	if !errors.Is(err, volume.ErrNoDrives) || !strings.Contains(err.Error(), drives[1].Path()) {
		t.Errorf("Open: %v, want %v with the reason of each drive", err, volume.ErrNoDrives)
	}
}

// faulty returns the options for drives under a plan, whose identities are read without it.
func faulty(drives []drive.Drive, plan *drive.Plan) volume.Options {
	opts := options(drives)
	opts.Drives = plan.WrapAll(drives)
	return opts
}

// TestHungCreateHoldsUpNobody has a drive that hangs: the Create that meets it takes the timeout, the next
// one no time at all.
func TestHungCreateHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drives := newDrives(4, 100*mib)
		plan := drive.NewPlan(1)
		opts := faulty(drives, plan)
		opts.Timeout = 3 * time.Second
		s, err := volume.Open(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		plan.Add(drive.Rule{On: drive.OnAny, Drive: drives[2].ID(), Times: -1, Do: drive.Hang})
		begun := time.Now()
		v := create3(t, s)
		if took := time.Since(begun); took < 3*time.Second || took > 7*time.Second {
			t.Errorf("Create took %v with a drive that hangs", took)
		}
		begun = time.Now()
		create3(t, s)
		if took := time.Since(begun); took > 0 {
			t.Errorf("the next Create took %v", took)
		}
		// One that is given up elsewhere meanwhile, as by a journal whose write has hung, is not waited for.
		plan.Add(drive.Rule{On: drive.OnAny, Drive: drives[1].ID(), Times: -1, Do: drive.Hang})
		begun = time.Now()
		go func() {
			time.Sleep(time.Second)
			s.FailDrive(drives[1].ID(), errors.New("test"))
		}()
		if v, err := s.Create(ctx, volume.Bulk); err != nil || v.N() != 2 {
			t.Errorf("Create: %v, %v; want two shards", v, err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Create waited %v for a drive that was given up after 1 s", took)
		}
		if err := v.Trim(8192); err != nil {
			t.Errorf("Trim with failed drives: %v", err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := s.Create(short, volume.Bulk); err != nil {
			t.Error(err)
		}
		closeSet(t, s)
		plan.Clear()
		plan.Release()
	})
}

// rawHeader reads and rewrites the header block of a volume's shard behind the Set's back.
func rawHeader(t *testing.T, d drive.Drive, seg uint32, change func(b []byte)) {
	t.Helper()
	f, err := d.Open(seg)
	if err != nil {
		t.Fatal(err)
	}
	b := drive.Aligned(4096)
	if err := drive.Do(ctx, &drive.Op{File: f, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
	change(b)
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Write, File: f, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedHeader damages the header of one shard: the shard is missing, its segment is left alone, and
// the volume is otherwise there.
func TestDamagedHeader(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for round := range 40 {
		drives := newDrives(4, 100*mib)
		s := open(t, drives)
		v := create(t, s, volume.Bulk)
		stamp(t, v, v.Start())
		shard := rng.IntN(4)
		f := v.Shard(shard)
		d, seg := f.Drive(), f.Seg()
		closeSet(t, s)
		bit := rng.IntN(512 * 8)
		rawHeader(t, d, seg, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
		s = open(t, drives)
		got := s.Get(v.ID())
		for i := range got.N() {
			if (got.Shard(i) == nil) != (i == shard) {
				t.Errorf("round %d: shard %d is there: %v", round, i, got.Shard(i) != nil)
			}
		}
		if got.Absent(shard) {
			t.Errorf("round %d: the shard with a damaged header is said to be absent", round)
		}
		// Its content, from which it may yet be told, must survive whatever is made and freed.
		for range 3 {
			if err := s.Free(create(t, s, volume.Bulk)); err != nil {
				t.Fatal(err)
			}
		}
		status := s.Drives()[slices.IndexFunc(s.Drives(), func(st volume.DriveStatus) bool { return st.ID == d.ID() })]
		if status.Damaged != 1 || status.State != volume.DriveOK {
			t.Errorf("round %d: %+v", round, status)
		}
		closeSet(t, s)
		rawHeader(t, d, seg, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
		s = open(t, drives)
		checkStamp(t, s.Get(v.ID()), shard, v.Start())
		closeSet(t, s)
	}
}

// TestAbsentShard removes a shard's segment, or its header: the drive works and certainly has none.
func TestAbsentShard(t *testing.T) {
	for _, remove := range []bool{true, false} {
		drives := newDrives(4, 100*mib)
		s := open(t, drives)
		v := create(t, s, volume.Bulk)
		f := v.Shard(2)
		closeSet(t, s)
		if remove {
			if err := f.Drive().Remove(f.Seg()); err != nil {
				t.Fatal(err)
			}
		} else {
			rawHeader(t, f.Drive(), f.Seg(), func(b []byte) { clear(b) })
		}
		s = open(t, drives)
		got := s.Get(v.ID())
		for i := range got.N() {
			if got.Absent(i) != (i == 2) {
				t.Errorf("remove=%v: shard %d absent: %v", remove, i, got.Absent(i))
			}
		}
		closeSet(t, s)
	}
}

// refused expects Open to refuse with a reason, on one line that names the path.
func refused(t *testing.T, opts volume.Options, reason drive.Reason, path, what string) {
	t.Helper()
	before := make(map[drive.ID]uint32)
	for _, d := range opts.Drives {
		if id, err := drive.ReadIdentity(d); err == nil {
			before[d.ID()] = id.Epoch()
		}
	}
	_, err := volume.Open(ctx, opts)
	var refusal *drive.RefusedError
	if !errors.As(err, &refusal) || refusal.Reason != reason || refusal.Path != path || !strings.Contains(err.Error(), what) ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("Open: %v; want one line on %s with the reason %v and %q", err, path, reason, what)
	}
	for _, d := range opts.Drives {
		if id, err := drive.ReadIdentity(d); err == nil && id.Epoch() != before[d.ID()] {
			t.Errorf("the refused start changed %s", d.Path())
		}
	}
}

// copySegment copies a segment to a new one, perhaps on another drive.
func copySegment(t *testing.T, from drive.File, to drive.Drive, seg uint32) {
	t.Helper()
	src, err := from.Drive().Open(from.Seg())
	if err != nil {
		t.Fatal(err)
	}
	dst, err := to.Create(seg, src.Size())
	if err != nil {
		t.Fatal(err)
	}
	b := drive.Aligned(int(src.Size()))
	if err := drive.Do(ctx, &drive.Op{File: src, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Write, File: dst, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	type store struct {
		drives []drive.Drive
		v      *volume.Volume
		file   drive.File // Segment of shard 1.
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, s *store, opts *volume.Options) (path string)
		reason drive.Reason
		what   string
	}{
		{"segment copied on its drive", func(t *testing.T, s *store, _ *volume.Options) string {
			copySegment(t, s.file, s.file.Drive(), 99)
			return s.file.Drive().Path()
		}, drive.Duplicate, "segment 99: a copy of segment 0"},
		{"segment copied to another drive", func(t *testing.T, s *store, _ *volume.Options) string {
			other := s.v.Shard(0).Drive()
			copySegment(t, s.file, other, 99)
			return other.Path()
		}, drive.Duplicate, "segment 99: a copy of segment 0 of drive"},
		{"drive copied", func(_ *testing.T, s *store, opts *volume.Options) string {
			id, _ := drive.ReadIdentity(s.drives[1])
			clone := drive.NewMem(id, drive.MemOptions{Path: "/mem/clone"})
			opts.Drives = append(slices.Clone(opts.Drives), clone)
			return "/mem/clone"
		}, drive.Duplicate, "one is a copy of the other"},
		{"drive of another store", func(_ *testing.T, s *store, opts *volume.Options) string {
			foreign := drive.NewMem(newIdentities(1)[0], drive.MemOptions{Path: "/mem/foreign"})
			opts.Drives = append(slices.Clone(opts.Drives), foreign)
			return "/mem/foreign"
		}, drive.OtherCluster, "belongs to cluster"},
		{"drive of another cell", func(_ *testing.T, s *store, opts *volume.Options) string {
			id, _ := drive.ReadIdentity(s.drives[1])
			id.Drive, id.Cell = drive.NewID(), 1
			opts.Drives = append(slices.Clone(opts.Drives), drive.NewMem(id, drive.MemOptions{Path: "/mem/cell"}))
			return "/mem/cell"
		}, drive.OtherCluster, "belongs to cell 1, not to cell 0"},
		{"segment of a newer version", func(t *testing.T, s *store, _ *volume.Options) string {
			rawHeader(t, s.file.Drive(), s.file.Seg(), func(b []byte) { b[volume.VersionAt] = 3; volume.SealHeader(b) })
			return s.file.Drive().Path()
		}, drive.NewerFormat, "unknown version of segment header: 3"},
		{"segment of another store", func(t *testing.T, s *store, _ *volume.Options) string {
			rawHeader(t, s.file.Drive(), s.file.Seg(), func(b []byte) { b[volume.ClusterAt] ^= 1; volume.SealHeader(b) })
			return s.file.Drive().Path()
		}, drive.OtherCluster, "a segment of cluster"},
		{"segment of another cell", func(t *testing.T, s *store, _ *volume.Options) string {
			rawHeader(t, s.file.Drive(), s.file.Seg(), func(b []byte) { b[volume.CellAt] ^= 1; volume.SealHeader(b) })
			return s.file.Drive().Path()
		}, drive.OtherCluster, "a segment of cell 1"},
		{"identity of a newer version", func(t *testing.T, s *store, _ *volume.Options) string {
			if err := s.drives[2].WriteMeta("drive.json", []byte(`{"format": 7}`), 0o600); err != nil {
				t.Fatal(err)
			}
			return s.drives[2].Path()
		}, drive.NewerFormat, "newer version"},
		{"identity damaged", func(t *testing.T, s *store, _ *volume.Options) string {
			b, err := s.drives[2].ReadMeta("drive.json")
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := s.drives[2].WriteMeta("drive.json", b, 0o600); err != nil {
				t.Fatal(err)
			}
			return s.drives[2].Path()
		}, drive.Damaged, "damaged drive.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			drives := newDrives(4, 100*mib)
			s := open(t, drives)
			v := create(t, s, volume.Bulk)
			st := &store{drives: drives, v: v, file: v.Shard(1)}
			closeSet(t, s)
			opts := options(drives)
			path := c.change(t, st, &opts)
			refused(t, opts, c.reason, path, c.what)
		})
	}
}

// TestSplitBrain starts the halves of a store one without the other. The half in which something may have been acknowledged that the
// other does not have is not mistaken for one that was merely away, or whose start was interrupted.
func TestSplitBrain(t *testing.T) {
	run := func(t *testing.T, drives []drive.Drive, confirm bool) {
		t.Helper()
		s, err := volume.Open(ctx, options(drives))
		if err != nil {
			t.Fatal(err)
		}
		v := create(t, s, volume.Journal)
		if confirm {
			if err := s.Confirm(); err != nil {
				t.Fatal(err)
			}
		}
		closeSet(t, s)
		s, err = volume.Open(ctx, options(drives)) // Whether it was confirmed or not: what a start has made is there for the next one.
		if err != nil {
			t.Fatal(err)
		}
		if s.Get(v.ID()) == nil {
			t.Errorf("%v is gone with the start that made it", v)
		}
		closeSet(t, s)
	}
	drives := newDrives(4, 100*mib)
	left, right := drives[:2], drives[2:]
	run(t, drives, true)
	run(t, left, true)
	run(t, drives, true) // The right half was merely away.
	run(t, right, false) // It was interrupted, often enough for its epoch to be beyond the other's next.
	run(t, left, true)
	run(t, drives, true)
	run(t, left, true)
	run(t, right, true)
	_, err := volume.Open(ctx, options(drives))
	var refusal *drive.RefusedError
	if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "the two went on without each other") {
		t.Errorf("Open of two halves that went on alone: %v", err)
	}
	run(t, left, true) // Each half alone still starts.
	run(t, right, true)
}

// TestStaleDrive brings back a drive as it was some starts ago.
func TestStaleDrive(t *testing.T) {
	for _, starts := range []int{1, 5, drive.MaxStarts + 5} {
		drives := newDrives(4, 100*mib)
		s := open(t, drives)
		old := create(t, s, volume.Journal)
		closeSet(t, s)
		for range starts {
			s := open(t, drives[:3])
			create(t, s, volume.Journal)
			if v := s.Get(old.ID()); v != nil {
				if err := s.Free(v); err != nil {
					t.Fatal(err)
				}
			}
			closeSet(t, s)
		}
		s = open(t, drives)
		if want := uint32(starts + 2); s.Epoch() != want {
			t.Errorf("epoch %d after %d starts, want %d", s.Epoch(), starts+1, want)
		}
		// The freed volume has one shard left, on the drive that was away. It is to be freed again, and
		// no new volume has its id.
		v := s.Get(old.ID())
		if v == nil {
			t.Fatal("the returned drive's segment is not found")
		}
		for i, id := range v.Drives() {
			if (v.Shard(i) != nil) != (id == drives[3].ID()) {
				t.Errorf("shard %d is there: %v", i, v.Shard(i) != nil)
			}
		}
		if err := s.Free(v); err != nil {
			t.Fatal(err)
		}
		closeSet(t, s)
		s = open(t, drives)
		if s.Get(old.ID()) != nil {
			t.Error("freed twice, and here again")
		}
		closeSet(t, s)
	}
}

// TestEpochOfHeaders has drive.json as it was long ago, on every drive: headers know of later epochs.
func TestEpochOfHeaders(t *testing.T) {
	drives := newDrives(3, 100*mib)
	old := make([][]byte, len(drives))
	for i, d := range drives {
		b, err := d.ReadMeta("drive.json")
		if err != nil {
			t.Fatal(err)
		}
		old[i] = b
	}
	for range 3 {
		s := open(t, drives)
		create(t, s, volume.Journal)
		closeSet(t, s)
	}
	for i, d := range drives {
		if err := d.WriteMeta("drive.json", old[i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, drives)
	if s.Epoch() != 4 {
		t.Errorf("epoch %d, with volumes of epoch 3", s.Epoch())
	}
	closeSet(t, s)
}
