package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/ioring"
	"penstock/numa"
)

const (
	journalLen = 64 << 10
	bulkLen    = 128 << 10
	mib        = 1 << 20
)

var ctx = context.Background()

// newIdentities returns the identities of n drives of one new store, in the order of their ids.
func newIdentities(n int) []drive.Identity {
	cluster := drive.NewID()
	ids := make([]drive.Identity, n)
	for i := range ids {
		ids[i] = drive.Identity{Cluster: cluster, Drive: drive.NewID()}
	}
	slices.SortFunc(ids, func(a, b drive.Identity) int { return bytes.Compare(a.Drive[:], b.Drive[:]) })
	for i := range ids {
		for j := range ids {
			ids[i].Known = append(ids[i].Known, ids[j].Drive)
		}
	}
	return ids
}

// newDrives returns n blank memory drives of one store.
func newDrives(n int, size int64) []drive.Drive {
	queue := drive.NewMemQueue(0)
	var drives []drive.Drive
	for _, id := range newIdentities(n) {
		drives = append(drives, drive.NewMem(id, drive.MemOptions{Size: size, Queue: queue}))
	}
	return drives
}

func options(drives []drive.Drive) volume.Options {
	id, err := drive.ReadIdentity(drives[0])
	if err != nil {
		panic(err)
	}
	return volume.Options{Drives: drives, Cluster: id.Cluster, Parity: -1, JournalLen: journalLen, BulkLen: bulkLen}
}

func open(t testing.TB, drives []drive.Drive) *volume.Set {
	t.Helper()
	s, err := volume.Open(ctx, options(drives))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	return s
}

func closeSet(t testing.TB, s *volume.Set) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func create(t testing.TB, s *volume.Set, c volume.Class) *volume.Volume {
	t.Helper()
	v, err := s.Create(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	checkVolume(t, v)
	return v
}

// checkVolume holds a volume to what is always true of one whose drives are all there.
func checkVolume(t testing.TB, v *volume.Volume) {
	t.Helper()
	seen := make(map[drive.ID]bool)
	for i := range v.N() {
		f := v.Shard(i)
		if f == nil {
			t.Fatalf("%v has no shard %d", v, i)
		}
		if id := f.Drive().ID(); seen[id] || id != v.Drives()[i] {
			t.Fatalf("%v has shard %d on %v; twice there: %v", v, i, id, seen[id])
		}
		seen[f.Drive().ID()] = true
		if f.Size() != v.Capacity() {
			t.Fatalf("%v has a segment of %d bytes, want %d", v, f.Size(), v.Capacity())
		}
	}
}

// stamp writes a block that tells volume and shard at the given offset of every shard, and checkStamp
// expects it there.
func stamp(t testing.TB, v *volume.Volume, off int64) {
	t.Helper()
	for i := range v.N() {
		b := stampOf(v, i)
		if err := drive.Do(ctx, &drive.Op{Kind: drive.Write, File: v.Shard(i), Off: off, Bufs: [][]byte{b}}); err != nil {
			t.Fatal(err)
		}
	}
}

func checkStamp(t testing.TB, v *volume.Volume, i int, off int64) {
	t.Helper()
	b := drive.Aligned(4096)
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Read, File: v.Shard(i), Off: off, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, stampOf(v, i)) {
		t.Errorf("shard %d of %v holds something else", i, v)
	}
}

func stampOf(v *volume.Volume, i int) []byte {
	b := drive.Aligned(4096)
	copy(b, fmt.Sprintf("%v shard %d", v.ID(), i))
	return b
}

func TestGeometry(t *testing.T) {
	for _, c := range []struct{ drives, parity, k, m int }{
		{0, -1, 0, 0}, {1, -1, 1, 0}, {2, -1, 1, 1}, {3, -1, 2, 1}, {4, -1, 2, 2}, {5, -1, 3, 2}, {6, -1, 4, 2},
		{7, -1, 5, 2}, {8, -1, 6, 2}, {9, -1, 7, 2}, {10, -1, 7, 3}, {11, -1, 8, 3}, {12, -1, 8, 4}, {13, -1, 9, 4},
		{14, -1, 10, 4}, {15, -1, 11, 4}, {16, -1, 12, 4}, {17, -1, 12, 4}, {40, -1, 12, 4},
		{6, 0, 6, 0}, {6, 1, 5, 1}, {6, 3, 3, 3}, {6, 5, 1, 5}, {6, 9, 1, 5}, {1, 2, 1, 0}, {20, 4, 12, 4},
	} {
		if k, m := volume.Geometry(c.drives, c.parity); k != c.k || m != c.m {
			t.Errorf("Geometry(%d, %d) = %d+%d, want %d+%d", c.drives, c.parity, k, m, c.k, c.m)
		}
	}
}

// TestEveryDriveCount makes a volume of each class on 1 to 20 drives and finds both again.
func TestEveryDriveCount(t *testing.T) {
	for n := 1; n <= 20; n++ {
		drives := newDrives(n, 100*mib)
		s := open(t, drives)
		k, m := volume.Geometry(n, -1)
		want := []*volume.Volume{create(t, s, volume.Journal), create(t, s, volume.Bulk)}
		for i, v := range want {
			length := []int64{journalLen, bulkLen}[i]
			if v.K() != k || v.M() != m || v.Capacity() != length || v.Epoch() != 1 || v.ID() != volume.ID(1<<32+i+1) {
				t.Errorf("%d drives: %v is %d+%d of %d bytes, epoch %d", n, v, v.K(), v.M(), v.Capacity(), v.Epoch())
			}
			if v.Code().K() != k || v.Code().M() != m {
				t.Errorf("%d drives: code is %d+%d", n, v.Code().K(), v.Code().M())
			}
			stamp(t, v, v.Start())
		}
		if want[0].Drives()[0] == want[1].Drives()[0] && n > 1 && n <= volume.MaxShards {
			t.Errorf("%d drives: the shards of two volumes in a row start at the same drive", n)
		}
		closeSet(t, s)
		s = open(t, drives)
		if s.Epoch() != 2 {
			t.Errorf("%d drives: epoch %d at the second start, want 2", n, s.Epoch())
		}
		got := s.Volumes()
		if len(got) != 2 {
			t.Fatalf("%d drives: found %v, want two volumes", n, got)
		}
		for i, v := range got {
			checkVolume(t, v)
			if v.ID() != want[i].ID() || v.Class() != want[i].Class() || !slices.Equal(v.Drives(), want[i].Drives()) {
				t.Errorf("%d drives: found %v on %v, want %v on %v", n, v, v.Drives(), want[i], want[i].Drives())
			}
			for shard := range v.N() {
				checkStamp(t, v, shard, v.Start())
			}
		}
		closeSet(t, s)
	}
}

// TestDriveOrder opens six drives in all 720 orders: order means nothing.
func TestDriveOrder(t *testing.T) {
	drives := newDrives(6, 100*mib)
	s := open(t, drives)
	v := create(t, s, volume.Bulk)
	stamp(t, v, v.Start())
	closeSet(t, s)
	starts := uint32(1)
	permute(drives, func(order []drive.Drive) {
		s := open(t, order)
		starts++
		if s.Epoch() != starts {
			t.Fatalf("epoch %d at start %d", s.Epoch(), starts)
		}
		found := s.Get(v.ID())
		if found == nil || !slices.Equal(found.Drives(), v.Drives()) {
			t.Fatalf("found %v, want %v on the same drives", found, v)
		}
		checkVolume(t, found)
		closeSet(t, s)
	})
	if starts != 721 {
		t.Errorf("%d orders, want 720", starts-1)
	}
}

func permute(drives []drive.Drive, visit func([]drive.Drive)) {
	var rec func(n int)
	rec = func(n int) {
		if n == 1 {
			visit(drives)
			return
		}
		for i := range n {
			rec(n - 1)
			j := 0
			if n%2 == 0 {
				j = i
			}
			drives[j], drives[n-1] = drives[n-1], drives[j]
		}
	}
	rec(len(drives))
}

// TestMissingDrives leaves out every combination of drives but all of them.
func TestMissingDrives(t *testing.T) {
	drives := newDrives(6, 100*mib)
	s := open(t, drives)
	v := create(t, s, volume.Journal)
	stamp(t, v, v.Start())
	closeSet(t, s)
	for mask := 1; mask < 1<<6; mask++ {
		var present []drive.Drive
		for i, d := range drives {
			if mask&(1<<i) != 0 {
				present = append(present, d)
			}
		}
		// Each combination is a start that the rest does not know of, and it must not be confirmed.
		s, err := volume.Open(ctx, options(present))
		if err != nil {
			t.Fatal(err)
		}
		found := s.Get(v.ID())
		if found == nil {
			t.Fatalf("drives %06b: the volume is not found", mask)
		}
		for i, id := range found.Drives() {
			has := slices.ContainsFunc(present, func(d drive.Drive) bool { return d.ID() == id })
			if (found.Shard(i) != nil) != has || found.Absent(i) {
				t.Errorf("drives %06b: shard %d there: %v, absent: %v, drive there: %v", mask, i, found.Shard(i) != nil, found.Absent(i), has)
			}
			if has {
				checkStamp(t, found, i, v.Start())
			}
			found.Fail(i, errors.New("test")) // Of a missing drive too: nothing happens.
		}
		missing := 0
		for _, d := range s.Drives() {
			if d.State == volume.DriveMissing {
				missing++
			}
		}
		if missing != 6-len(present) {
			t.Errorf("drives %06b: %d missing", mask, missing)
		}
		closeSet(t, s)
	}
}

func TestGeometryFollowsHealth(t *testing.T) {
	s := open(t, newDrives(6, 100*mib))
	defer closeSet(t, s)
	for _, want := range []string{"4+2", "3+2", "2+2", "2+1", "1+1", "1+0"} {
		v := create(t, s, volume.Bulk)
		k, m := s.Geometry()
		if got := fmt.Sprintf("%d+%d", v.K(), v.M()); got != want || k != v.K() || m != v.M() {
			t.Errorf("volume is %s, Geometry %d+%d, want %s", got, k, m, want)
		}
		v.Fail(0, errors.New("it smells of smoke"))
		if v.Shard(0) != nil || v.LastResort(0) == nil || s.Healthy(v.Drives()[0]) {
			t.Errorf("a failed drive: Shard %v, LastResort %v", v.Shard(0), v.LastResort(0))
		}
	}
	if _, err := s.Create(ctx, volume.Bulk); !errors.Is(err, volume.ErrNoDrives) {
		t.Errorf("Create without drives: %v", err)
	}
	for _, d := range s.Drives() {
		if d.State != volume.DriveFailed || d.Err == nil || !strings.Contains(d.Err.Error(), "smoke") {
			t.Errorf("drive %v is %v, %v", d.ID, d.State, d.Err)
		}
	}
}

func TestRecycling(t *testing.T) {
	drives := newDrives(4, 100*mib)
	s := open(t, drives)
	v := create(t, s, volume.Bulk)
	stamp(t, v, v.Start())
	if !v.Pin() {
		t.Fatal("Pin of a new volume")
	}
	if err := s.Free(v); !errors.Is(err, volume.ErrPinned) || s.Get(v.ID()) != v {
		t.Fatalf("Free of a pinned volume: %v", err)
	}
	v.Unpin()
	if err := s.Free(v); err != nil || s.Get(v.ID()) != nil {
		t.Fatalf("Free: %v", err)
	}
	if err := s.Free(v); !errors.Is(err, volume.ErrFreed) {
		t.Errorf("second Free: %v", err)
	}
	if v.Pin() || v.Pins() != 0 {
		t.Error("Pin of a freed volume")
	}
	again := create(t, s, volume.Bulk)
	if again.ID() == v.ID() {
		t.Error("an id was given twice")
	}
	for _, d := range drives {
		if segs, err := d.Segments(); err != nil || len(segs) != 1 {
			t.Errorf("%d segments on a drive, %v; want the first one used again", len(segs), err)
		}
	}
	stale := 0
	for i := range again.N() {
		b := drive.Aligned(4096)
		if err := drive.Do(ctx, &drive.Op{File: again.Shard(i), Off: 4096, Bufs: [][]byte{b}}); err != nil {
			t.Fatal(err)
		}
		if b[0] != 0 {
			stale++
		}
	}
	if stale != again.N() {
		t.Errorf("%d of %d segments hold what they held; zeroing would cost what recycling saves", stale, again.N())
	}
	if err := s.Free(again); err != nil {
		t.Fatal(err)
	}
	closeSet(t, s)
	s = open(t, drives)
	if got := s.Volumes(); len(got) != 0 {
		t.Errorf("freed volumes came back: %v", got)
	}
	// Another class takes them too, cut or extended.
	j := create(t, s, volume.Journal)
	if err := s.Free(j); err != nil {
		t.Fatal(err)
	}
	create(t, s, volume.Bulk)
	for _, d := range s.Drives() {
		if d.Segments != 2 || d.Unused != 1 {
			t.Errorf("drive %v has %d segments, %d unused; want the old one taken again and one of the journal's", d.ID, d.Segments, d.Unused)
		}
	}
	closeSet(t, s)
}

func TestTrim(t *testing.T) {
	drives := newDrives(3, 100*mib)
	s := open(t, drives)
	v := create(t, s, volume.Journal)
	stamp(t, v, v.Start())
	_, before := s.Space()
	if err := v.Trim(8100); err != nil {
		t.Fatal(err)
	}
	for i := range v.N() {
		if n := v.Shard(i).Size(); n != 8192 {
			t.Errorf("trimmed to 8100: segment has %d bytes, want 8192", n)
		}
	}
	for _, bad := range []int64{0, -1, 4095 - 4096, journalLen + 1} {
		if err := v.Trim(bad); err == nil {
			t.Errorf("Trim(%d): no error", bad)
		}
	}
	closeSet(t, s)
	s = open(t, drives)
	if _, after := s.Space(); after-before != 3*(journalLen-8192) {
		t.Errorf("trimming gave %d bytes back, want %d", after-before, 3*(journalLen-8192))
	}
	v = s.Get(v.ID())
	for i := range v.N() {
		checkStamp(t, v, i, v.Start())
	}
	if v.Capacity() != journalLen {
		t.Errorf("Capacity %d after a trim", v.Capacity())
	}
	if err := s.Free(v); err != nil {
		t.Fatal(err)
	}
	create(t, s, volume.Journal) // Checks that the segments have their length again.
	for _, d := range drives {
		if segs, _ := d.Segments(); len(segs) != 1 {
			t.Errorf("%d segments, want the trimmed one extended", len(segs))
		}
	}
	closeSet(t, s)
}

// TestFull fills drives with bulk volumes: those must end while the journal still finds room, and begin
// again when some are freed.
func TestFull(t *testing.T) {
	drives := newDrives(4, 64*bulkLen)
	s := open(t, drives)
	var volumes []*volume.Volume
	for !s.Full(volume.Bulk) {
		v, err := s.Create(ctx, volume.Bulk)
		if errors.Is(err, volume.ErrFull) {
			break // Full may be a second late.
		}
		if err != nil {
			t.Fatal(err)
		}
		volumes = append(volumes, v)
	}
	// 64 segments' room less one for the index (a 64th), one for compaction and one and a half for three journals.
	if len(volumes) != 60 {
		t.Errorf("%d bulk volumes found room, want 60", len(volumes))
	}
	if _, err := s.Create(ctx, volume.Bulk); !errors.Is(err, volume.ErrFull) {
		t.Fatalf("Create of a bulk volume too many: %v", err)
	}
	if _, err := s.CreateSpare(ctx, volume.Bulk); err != nil {
		t.Fatalf("Create of compaction's bulk volume: %v", err)
	}
	var journals []*volume.Volume
	for range 3 {
		journals = append(journals, create(t, s, volume.Journal))
	}
	if _, err := s.Create(ctx, volume.Journal); !errors.Is(err, volume.ErrFull) || !s.Full(volume.Journal) {
		t.Errorf("Create of a fourth journal volume: %v", err)
	}
	if _, err := s.CreateSpare(ctx, volume.Journal); err != nil {
		t.Errorf("Create of the last journal volume: %v", err)
	}
	for _, v := range volumes[:4] {
		if err := s.Free(v); err != nil {
			t.Fatal(err)
		}
	}
	// What is freed serves the reserve first.
	create(t, s, volume.Bulk)
	if _, err := s.Create(ctx, volume.Bulk); !errors.Is(err, volume.ErrFull) {
		t.Errorf("Create of a bulk volume without a reserve: %v", err)
	}
	create(t, s, volume.Journal)
	for _, v := range journals {
		if err := s.Free(v); err != nil {
			t.Fatal(err)
		}
	}
	closeSet(t, s)
}

// TestFullDrivesNarrow has drives of which some are small: they drop out of new volumes one by one, which
// stay as well protected as the healthy drives allow, until that is no longer possible.
func TestFullDrivesNarrow(t *testing.T) {
	drives := newDrives(6, 64*bulkLen)
	for i := range 4 {
		drives[i].(*drive.Mem).SetSize(int64(8+2*i) * bulkLen)
	}
	s := open(t, drives)
	var seen []string
	for {
		v, err := s.Create(ctx, volume.Bulk)
		if errors.Is(err, volume.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		checkVolume(t, v)
		if g := fmt.Sprintf("%d+%d", v.K(), v.M()); len(seen) == 0 || seen[len(seen)-1] != g {
			seen = append(seen, g)
		}
	}
	if want := []string{"4+2", "3+2", "2+2", "1+2"}; !slices.Equal(seen, want) {
		t.Errorf("geometries %v, want %v", seen, want)
	}
	closeSet(t, s)
}

// TestMostRoomFirst has more drives than a volume takes.
func TestMostRoomFirst(t *testing.T) {
	drives := newDrives(18, 100*mib)
	drives[3].(*drive.Mem).SetSize(50 * mib)
	drives[7].(*drive.Mem).SetSize(60 * mib)
	s := open(t, drives)
	v := create(t, s, volume.Bulk)
	for _, i := range []int{3, 7} {
		if slices.Contains(v.Drives(), drives[i].ID()) {
			t.Errorf("drive %d, with the least room, was chosen", i)
		}
	}
	closeSet(t, s)
}

// shadedDrive is a drive on whose file system others keep a TiB.
type shadedDrive struct{ drive.Drive }

func (d shadedDrive) Space() (total, free int64, err error) {
	total, free, err = d.Drive.Space()
	return total + 1<<40, free, err
}

// TestForeignBytes has little room on a large file system: segments are cut for what the store can have of it, not for its size.
func TestForeignBytes(t *testing.T) {
	var drives []drive.Drive
	for _, id := range newIdentities(4) {
		drives = append(drives, shadedDrive{drive.NewMem(id, drive.MemOptions{Size: 1 << 30, Device: 7})})
	}
	opts := options(drives)
	opts.JournalLen, opts.BulkLen = 0, 0
	var lengths []int64
	for range 2 { // The second time the drives hold segments.
		s, err := volume.Open(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Confirm(); err != nil {
			t.Fatal(err)
		}
		if s.Full(volume.Bulk) {
			t.Fatal("a GiB of room for four drives, and they are full")
		}
		lengths = append(lengths, create(t, s, volume.Bulk).Capacity())
		closeSet(t, s)
	}
	if want := []int64{16 * mib, 16 * mib}; !slices.Equal(lengths, want) {
		t.Errorf("bulk segments have %d bytes, want %d", lengths, want)
	}
}

// TestSharedFileSystem has drives of one file system: its space counts once, and that is said once.
func TestSharedFileSystem(t *testing.T) {
	var drives []drive.Drive
	for _, id := range newIdentities(4) {
		drives = append(drives, drive.NewMem(id, drive.MemOptions{Size: 100 * mib, Device: 7}))
	}
	var log bytes.Buffer
	opts := options(drives)
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := volume.Open(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	if total, free := s.Space(); total != 100*mib || free != 100*mib {
		t.Errorf("Space = %d, %d of one file system with %d", total, free, 100*mib)
	}
	if n := strings.Count(log.String(), "unprotected"); n != 1 {
		t.Errorf("unprotected is said %d times:\n%s", n, log.String())
	}
	create(t, s, volume.Bulk)
	closeSet(t, s)

	// Of two file systems with unequal numbers of drives, a volume takes from both before a second of one.
	drives = nil
	for i, id := range newIdentities(20) {
		drives = append(drives, drive.NewMem(id, drive.MemOptions{Size: 100 * mib, Device: uint64(1 + i/17)}))
	}
	s = open(t, drives)
	v := create(t, s, volume.Bulk)
	for _, d := range drives[17:] {
		if !slices.Contains(v.Drives(), d.ID()) {
			t.Errorf("the second file system's drive %v was not chosen", d.ID())
		}
	}
	closeSet(t, s)
}

// TestDefaultLengths states the rule by example.
func TestDefaultLengths(t *testing.T) {
	const gib, tib = 1 << 30, 1 << 40
	for _, c := range []struct{ size, journal, bulk int64 }{
		{1 * gib, 16 * mib, 16 * mib}, {44 * gib, 64 * mib, 256 * mib}, {128 * gib, 256 * mib, gib},
		{4 * tib, 256 * mib, gib}, {30 * tib, 256 * mib, 2 * gib},
	} {
		opts := options(newDrives(3, c.size))
		opts.JournalLen, opts.BulkLen = 0, 0
		s, err := volume.Open(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		j, err1 := s.Create(ctx, volume.Journal)
		b, err2 := s.Create(ctx, volume.Bulk)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if j.Capacity() != c.journal || b.Capacity() != c.bulk {
			t.Errorf("drives of %d bytes: segments of %d and %d, want %d and %d", c.size, j.Capacity(), b.Capacity(), c.journal, c.bulk)
		}
		closeSet(t, s)
	}
}

func TestPrepare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drives := newDrives(4, 100*mib)
		plan := drive.NewPlan(1)
		s := open(t, plan.WrapAll(drives))
		first := create(t, s, volume.Journal)
		for range 5 {
			s.Prepare(volume.Journal) // However often: one.
			synctest.Wait()
		}
		if got := plan.Count(drive.ID{}, drive.OnCreate); got != 8 {
			t.Errorf("%d segments were made, want 4 of the first volume and 4 of the next", got)
		}
		if got := s.Volumes(); len(got) != 1 {
			t.Errorf("volumes %v, want the one that was given out", got)
		}
		writes := plan.Count(drive.ID{}, drive.OnWrite)
		v := create(t, s, volume.Journal)
		if plan.Count(drive.ID{}, drive.OnWrite) != writes {
			t.Error("Create had something left to do after Prepare")
		}
		s.Prepare(volume.Bulk)
		synctest.Wait()
		v.Fail(0, errors.New("test")) // What was prepared with this drive is of no use now.
		b := create3(t, s)
		if slices.Contains(b.Drives(), v.Drives()[0]) {
			t.Error("a volume was given out with a drive that had failed")
		}
		s.Prepare(volume.Bulk)
		s.Prepare(volume.Journal)
		closeSet(t, s)
		s = open(t, drives)
		given := []volume.ID{first.ID(), v.ID(), b.ID()}
		for _, got := range s.Volumes() {
			if i := slices.Index(given, got.ID()); i >= 0 {
				given = slices.Delete(given, i, i+1)
				continue
			}
			// Prepared in vain: only the drive that had failed kept its segment.
			for i, id := range got.Drives() {
				if got.Shard(i) != nil && id != v.Drives()[0] {
					t.Errorf("%v was prepared and given up, and has shard %d", got, i)
				}
			}
		}
		if len(given) != 0 {
			t.Errorf("volumes %v were given out and are not found", given)
		}
		closeSet(t, s)
	})
}

// create3 creates a bulk volume on three healthy drives.
func create3(t *testing.T, s *volume.Set) *volume.Volume {
	t.Helper()
	v, err := s.Create(ctx, volume.Bulk)
	if err != nil || v.N() != 3 {
		t.Fatalf("Create: %v, %v; want three shards", v, err)
	}
	return v
}

func TestClosed(t *testing.T) {
	s := open(t, newDrives(3, 100*mib))
	v := create(t, s, volume.Bulk)
	closeSet(t, s)
	if err := s.Close(); !errors.Is(err, volume.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if _, err := s.Create(ctx, volume.Bulk); !errors.Is(err, volume.ErrClosed) {
		t.Errorf("Create: %v", err)
	}
	if err := s.Free(v); !errors.Is(err, volume.ErrClosed) {
		t.Errorf("Free: %v", err)
	}
	s.Prepare(volume.Bulk)
}

func TestOptions(t *testing.T) {
	drives := newDrives(2, 100*mib)
	for _, c := range []struct {
		name   string
		change func(*volume.Options)
	}{
		{"no drives", func(o *volume.Options) { o.Drives = nil }},
		{"no cluster", func(o *volume.Options) { o.Cluster = drive.ID{} }},
		{"parity -2", func(o *volume.Options) { o.Parity = -2 }},
		{"parity 16", func(o *volume.Options) { o.Parity = 16 }},
		{"unaligned length", func(o *volume.Options) { o.BulkLen = 100_000 }},
		{"length of the header", func(o *volume.Options) { o.JournalLen = 4096 }},
		{"a drive twice", func(o *volume.Options) { o.Drives = append(o.Drives, o.Drives[0]) }},
	} {
		opts := options(drives)
		c.change(&opts)
		if _, err := volume.Open(ctx, opts); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

// TestRandomLife creates, fills, trims, frees and restarts in random order, with drives coming and going,
// against a map of what must be there.
func TestRandomLife(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 1))
		drives := newDrives(5, 40*bulkLen)
		s := open(t, drives)
		live := make(map[volume.ID]volume.Class)
		for range 120 {
			all := s.Volumes()
			switch op := rng.IntN(10); {
			case op < 5:
				c := volume.Journal + volume.Class(rng.IntN(2))
				if rng.IntN(3) == 0 {
					s.Prepare(c)
				}
				v, err := s.Create(ctx, c)
				if errors.Is(err, volume.ErrFull) {
					continue
				}
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				checkVolume(t, v)
				stamp(t, v, v.Start())
				live[v.ID()] = c
			case op < 8 && len(all) > 0:
				v := all[rng.IntN(len(all))]
				if err := s.Free(v); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				delete(live, v.ID())
			case op == 8 && len(all) > 0:
				if err := all[rng.IntN(len(all))].Trim(8192); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			case op == 9:
				closeSet(t, s)
				rng.Shuffle(len(drives), func(i, j int) { drives[i], drives[j] = drives[j], drives[i] })
				s = open(t, drives)
			}
			if len(s.Volumes()) != len(live) {
				t.Fatalf("seed %d: volumes %v, want %v", seed, s.Volumes(), live)
			}
			for _, v := range s.Volumes() {
				if live[v.ID()] != v.Class() {
					t.Fatalf("seed %d: %v is not live", seed, v)
				}
				i := rng.IntN(v.N())
				checkStamp(t, v, i, v.Start())
			}
		}
		closeSet(t, s)
	}
}

// TestDirectories runs on real files through a ring, with headers in arena memory.
func TestDirectories(t *testing.T) {
	arena, err := ioring.NewArena(ioring.ArenaOptions{Size: 2 << 20, Node: numa.UnknownNode})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := ioring.Open(ioring.Options{Arena: arena, Depth: 64})
	if err != nil {
		t.Fatal(err)
	}
	queue := drive.NewRingQueue(ring)
	var paths []string
	for _, id := range newIdentities(3) {
		path := filepath.Join(t.TempDir(), "drive")
		if err := drive.Format(path, id); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	var want []volume.ID
	for range 2 {
		var drives []drive.Drive
		for _, path := range paths {
			d, err := drive.OpenDir(path, drive.DirOptions{Queue: queue})
			if err != nil {
				t.Fatal(err)
			}
			drives = append(drives, d)
		}
		opts := options(drives)
		opts.Arena = arena
		s, err := volume.Open(ctx, opts)
		if err == nil {
			err = s.Confirm()
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range want {
			v := s.Get(id)
			checkStamp(t, v, i%v.N(), v.Start())
			if err := s.Free(v); err != nil {
				t.Fatal(err)
			}
		}
		want = nil
		for range 70 { // More than are read at once.
			v := create(t, s, volume.Journal)
			stamp(t, v, v.Start())
			want = append(want, v.ID())
		}
		for _, d := range s.Drives() {
			if d.Segments != 70 || d.Unused != 0 {
				t.Errorf("drive %s has %d segments, %d unused, want 70 in use", d.Path, d.Segments, d.Unused)
			}
		}
		closeSet(t, s)
		for _, d := range drives {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := ring.Close(); err != nil {
		t.Error(err)
	}
	if err := arena.Close(); err != nil { // Fails if a header's memory was not given back.
		t.Error(err)
	}
}
