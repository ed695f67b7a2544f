package engine

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/ioring"
	"penstock/meta"
)

// mustVerify verifies a running store and fails if anything is wrong.
func mustVerify(t testing.TB, s *Store) VerifyReport {
	t.Helper()
	report, err := s.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("%d missing, %d corrupt, %d lost: %v", report.Missing, report.Corrupt, report.Lost, report.Problems)
	}
	return report
}

// TestVerify verifies a store that is well, counts what it holds, and then finds each bit that is the other way round.
func TestVerify(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(6, 0)
	opts := testOptions(t, -1)
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	if err := copyObject(t.Context(), s, "x/5-131072", "copy"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateUpload(t.Context(), testBucket, "upload", nil); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, s)
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	s.StopHealing()
	var last VerifyProgress
	report, err := s.Verify(t.Context(), func(p VerifyProgress) { last = p })
	if err != nil || !report.OK() || report.Orphaned != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	x := report.Index
	if x.Objects != int64(len(objects))+1 || x.Uploads != 1 || x.Buckets != 1 || x.Blobs != int64(len(objects))-1 || x.Inline == 0 || x.Extents == 0 {
		t.Errorf("index: %+v", x)
	}
	if report.Drives != 6 || report.Volumes < 3 || report.Stripes != x.Extents || report.Units == 0 || report.Batches == 0 || report.Blocks < report.Batches*3 {
		t.Errorf("%+v", report)
	}
	if last.Phase == "" || last.Read != report.Read || report.Read < 7_000_000 || last.Total < last.Read {
		t.Errorf("%+v after %d bytes", last, report.Read)
	}
	c := s.cells[0]
	for _, vol := range c.set.Volumes() {
		if vol.Epoch() == c.set.Epoch() {
			continue
		}
		for i := range vol.N() {
			if unwritten(vol, i, vol.Start()) {
				continue
			}
			bit := rng.IntN(drive.SectorLen * 8)
			flip(t, vol.Shard(i), vol.Start(), bit)
			report, err := s.Verify(t.Context(), nil)
			if err != nil || report.Corrupt != 1 || report.Missing != 0 || report.Lost != 0 || report.OK() || len(report.Problems) == 0 || report.Problems[0].Kind != "corrupt" {
				t.Errorf("%v, shard %d: %+v, %v", vol, i, report, err)
			}
			flip(t, vol.Shard(i), vol.Start(), bit)
		}
	}
	mustVerify(t, s)
	closeStore(t, s)

	reopen(drives)
	s = mustOpen(t, opts, drives[:5])
	s.StopHealing()
	report, err = s.Verify(t.Context(), nil)
	if err != nil || report.DrivesMissing != 1 || report.Missing < 3 || report.Corrupt != 0 || report.Lost != 0 || report.OK() {
		t.Errorf("without a drive: %+v, %v", report, err)
	}
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives[:4])
	s.StopHealing()
	for _, vol := range s.cells[0].set.Volumes() {
		if vol.Class() == volume.Bulk && vol.Epoch() != s.cells[0].set.Epoch() {
			for i := range vol.N() {
				if vol.Shard(i) != nil {
					spoil(t, vol, i, rng)
					break
				}
			}
		}
	}
	report, err = s.Verify(t.Context(), nil)
	if err != nil || report.Lost == 0 || report.Corrupt == 0 {
		t.Errorf("without two drives, and another one spoilt: %+v, %v", report, err)
	}
	closeStore(t, s)
}

// TestVerifyAfterHealing: when the ledger is empty, a verification that knows nothing of healing agrees.
func TestVerifyAfterHealing(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(7, 0)
	opts := testOptions(t, 2).tuned(soon)
	opts.ScrubRate = 1 << 40
	s := mustOpen(t, opts, drives[:5])
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives[2:])
	healed(t, s)
	if report := mustVerify(t, s); report.DrivesMissing != 2 {
		t.Errorf("%+v", report)
	}
	c := s.cells[0]
	for _, vol := range c.set.Volumes() {
		if vol.Epoch() != c.set.Epoch() {
			spoil(t, vol, 1, rng)
			spoil(t, vol, 3, rng)
		}
	}
	if report, err := s.Verify(t.Context(), nil); err != nil || report.OK() {
		t.Errorf("full of junk: %+v, %v", report, err)
	}
	scrubbed(t, s)
	healed(t, s)
	mustVerify(t, s)
	checkAll(t, s, testBucket, objects)
	closeStore(t, s)
}

// TestVerifyUnderLoad verifies while objects come and go and shards move: nothing is reported that is not so.
func TestVerifyUnderLoad(t *testing.T) {
	drives := memDrives(6, 0)
	opts := testOptions(t, 1).tuned(soon)
	s := mustOpen(t, opts, drives[:4])
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	c := s.cells[0]
	done := make(chan struct{})
	var clients sync.WaitGroup
	for worker := range 3 {
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				key := fmt.Sprintf("w%d/%d", worker, n%3)
				if _, err := putBytes(t.Context(), s, testBucket, key, payload(uint64(n), sizes[(n+worker)%len(sizes)]), nil); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				if n%3 == 2 {
					if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
						t.Errorf("delete: %v", err)
						return
					}
				}
			}
		})
	}
	clients.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			volumes := slices.DeleteFunc(c.set.Volumes(), func(v *volume.Volume) bool { return v.Epoch() != 1 })
			if len(volumes) > 0 {
				vol := volumes[i%len(volumes)]
				_ = c.moveShard(t.Context(), vol, i%vol.N(), drive.ID{}) // There may be no other drive for it.
			}
		}
	})
	for range 2 {
		mustVerify(t, s)
	}
	close(done)
	clients.Wait()
	mustVerify(t, s)
	for key, want := range objects {
		mustGet(t, s, testBucket, key, want)
	}
	closeStore(t, s)
}

// verifyOffline verifies drives that nobody serves.
func verifyOffline(t testing.TB, drives []drive.Drive) (VerifyReport, error) {
	t.Helper()
	id, err := drive.ReadIdentity(drives[0])
	if err != nil {
		t.Fatal(err)
	}
	arena, err := ioring.NewArena(ioring.ArenaOptions{Size: 64 << 20, Node: -1, NoPrefault: true})
	if err != nil {
		t.Fatal(err)
	}
	opts := testOptions(t, -1)
	const changes = drive.OnAny &^ (drive.OnRead | drive.OnOpen | drive.OnReadMeta | drive.OnList | drive.OnSpace)
	plan := drive.NewPlan(1)
	o := offline{
		opts: &opts, drives: plan.WrapAll(drives), known: id.Known, cluster: id.Cluster, arena: arena, fs: vfs.NewMem(), scratch: "scratch",
	}
	report, err := o.verify(t.Context())
	if n := plan.Count(drive.ID{}, changes); n != 0 {
		t.Errorf("a verification changed something on the drives %d times", n)
	}
	if err := arena.Close(); err != nil {
		t.Error(err)
	}
	return report, err
}

// TestVerifyOffline verifies drives after a clean stop, after a crash, without one of them, and with every index file damaged in turn.
func TestVerifyOffline(t *testing.T) {
	rng := newRNG(t)
	ids := identities(5)
	domain := drive.NewDomain(ids[:4], 0, drive.DomainOptions{})
	drives := domain.Drives()
	opts := testOptions(t, -1)
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	for i := range 30 { // Some versions of some keys, some deleted again.
		key := fmt.Sprint("y/", i%7)
		mustPut(t, s, testBucket, key, payload(uint64(i), 10_000*i))
		objects[key] = payload(uint64(i), 10_000*i)
		if i%5 == 0 {
			if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
				t.Fatal(err)
			}
			delete(objects, key)
		}
	}
	crashed := domain.Cut(drive.RandomChoice(rng))
	closeStore(t, s)
	for name, d := range map[string]*drive.Domain{"clean": domain.Cut(drive.Choice{}), "crashed": crashed} {
		report, err := verifyOffline(t, d.Drives())
		if err != nil || !report.OK() {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
		if x := report.Index; x.Objects != int64(len(objects)) || report.Stripes == 0 || report.Batches == 0 || report.Drives != 4 {
			t.Errorf("%s: %+v", name, report)
		}
		// It is still what it was.
		s := mustOpen(t, opts, d.Drives())
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
	// A drive that was away while others took its place: what it has is orphaned, and all is well.
	away := domain.Cut(drive.Choice{})
	present := away.Drives()
	spare := memDrivesOf(ids[4:], drive.MemOptions{Queue: drive.NewMemQueue(0)})[0]
	s = mustOpen(t, opts.tuned(soon), append(slices.Clone(present[:3]), spare))
	healed(t, s)
	closeStore(t, s)
	back := append(away.Cut(drive.Choice{}).Drives(), spare)
	reopen([]drive.Drive{spare})
	report, err := verifyOffline(t, back)
	if err != nil || !report.OK() || report.Orphaned == 0 || report.Stale == 0 {
		t.Errorf("with a drive that has been replaced: %+v, %v", report, err)
	}

	clean := domain.Cut(drive.Choice{})
	report, err = verifyOffline(t, clean.Drives()[1:]) // The fifth is not there, either.
	if err != nil || report.OK() || report.DrivesMissing != 2 || report.Missing == 0 || report.Corrupt != 0 || report.Lost != 0 {
		t.Errorf("without a drive: %+v, %v", report, err)
	}
	s = mustOpen(t, opts, clean.Drives())
	vol := s.cells[0].set.Volumes()[1]
	for i := range 2 {
		flip(t, vol.Shard(i), vol.Start(), 77)
	}
	class := vol.Class()
	closeStore(t, s)
	report, err = verifyOffline(t, clean.Cut(drive.Choice{}).Drives())
	if err != nil || report.Corrupt == 0 || report.OK() {
		t.Errorf("two bits flipped in a %v volume: %+v, %v", class, report, err)
	}

	// An index that says something else than the journals.
	other := domain.Cut(drive.Choice{})
	s = mustOpen(t, opts, other.Drives())
	b := s.cells[0].base.Load()
	position := b.index.Position()
	position.LSN++
	position.Batch++
	record := (&meta.PutBucket{Bucket: meta.Bucket{ID: 999, Name: "from-nowhere"}}).AppendTo(nil)
	if _, err := b.index.Apply(position, []meta.Applied{{LSN: position.LSN, Loc: meta.RecordLoc{Volume: position.Volume}, Payload: record}}); err != nil {
		t.Fatal(err)
	}
	if err := b.index.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := other.Cut(drive.Choice{})
	closeStore(t, s)
	report, err = verifyOffline(t, after.Drives())
	if err != nil || report.Corrupt == 0 || !strings.Contains(fmt.Sprint(report.Problems), "from-nowhere") {
		t.Errorf("an index with a bucket from nowhere: %+v, %v", report, err)
	}

	// The index lies on the first healthy drive.
	fs, root := domain.Cut(drive.Choice{}).Drives()[0].FS()
	names, err := fs.List(fs.PathJoin(root, indexName))
	if err != nil || len(names) < 4 {
		t.Fatal(names, err)
	}
	found := 0
	for _, name := range names {
		d := domain.Cut(drive.Choice{})
		fs, root := d.Drives()[0].FS()
		path := fs.PathJoin(root, indexName, name)
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			continue
		}
		b[len(b)/2] ^= 0x10
		w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		report, err := verifyOffline(t, d.Drives())
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case !report.OK():
			found++
		}
	}
	if found == 0 {
		t.Error("no damaged index file was found")
	}
}
