package engine

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
	"penstock/meta"
)

// patiently repeats f as long as it is told to come back later, as a client would.
func patiently(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if kind := KindOf(err); kind != KindUnavailable && kind != KindUnknownOutcome || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// patientCheck is checkAll for a store that may be replacing its index.
func patientCheck(t testing.TB, s *Store, objects map[string][]byte) {
	t.Helper()
	for key, want := range objects {
		patiently(t, func() error {
			got, err := getBytes(t.Context(), s, testBucket, key)
			if err == nil && string(got) != string(want) {
				t.Fatalf("%s: %d bytes that differ from the %d put", key, len(got), len(want))
			}
			return err
		})
	}
	patiently(t, func() error {
		keys, _, err := listAll(t.Context(), s, testBucket, ListOptions{Max: 1000})
		if err == nil && !slices.Equal(keys, sortedKeys(objects)) {
			t.Fatalf("listing has %q", keys)
		}
		return err
	})
}

// indexDrive returns which drive the index is on.
func indexDrive(t testing.TB, s *Store, drives []drive.Drive) int {
	t.Helper()
	id := s.cells[0].base.Load().place.drive.ID()
	i := slices.IndexFunc(drives, func(d drive.Drive) bool { return d.ID() == id })
	if i < 0 {
		t.Fatal("the index is on none of the drives")
	}
	return i
}

// TestIndexDamaged deletes, truncates and flips each file of the index in turn, with checkpoints and without. The node must start by itself
// and say what it said before.
func TestIndexDamaged(t *testing.T) {
	for _, withCheckpoint := range []bool{true, false} {
		domain := drive.NewDomain(identities(4), 0, drive.DomainOptions{})
		opts := testOptions(t, -1)
		s := mustOpen(t, opts, domain.Drives())
		mustBucket(t, s, testBucket)
		objects := fill(t, s, testBucket, "x/")
		if withCheckpoint {
			if copies, err := s.cells[0].base.Load().checkpoint(t.Context()); err != nil || copies != 2 {
				t.Fatalf("%d copies, %v", copies, err)
			}
		}
		mustPut(t, s, testBucket, "x/later", payload(9, 5000)) // No checkpoint has it.
		objects["x/later"] = payload(9, 5000)
		want := contents(t, s)
		on := indexDrive(t, s, domain.Drives())
		closeStore(t, s)

		names := func(d drive.Drive) (fs vfs.FS, dir string, names []string) {
			fs, root := d.FS()
			dir = fs.PathJoin(root, indexName)
			names, err := fs.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(names)
			return fs, dir, names
		}
		_, _, files := names(domain.Drives()[on])
		for _, name := range files {
			for _, damage := range []string{"delete", "truncate", "flip"} {
				if name == "LOCK" {
					continue
				}
				t.Run(fmt.Sprintf("checkpoint=%v/%s/%s", withCheckpoint, name, damage), func(t *testing.T) {
					image := domain.Cut(drive.Choice{})
					fs, dir, _ := names(image.Drives()[on])
					damageFile(t, fs, fs.PathJoin(dir, name), damage)
					s := mustOpen(t, opts, image.Drives())
					defer closeStore(t, s)
					patientCheck(t, s, objects)
					if got := contents(t, s); got != want {
						t.Errorf("the index says\n%s\nand said\n%s", got, want)
					}
				})
			}
		}
	}
}

// contents is dump without what a restart adds to the journal.
func contents(t testing.TB, s *Store) string {
	var keep []string
	for line := range strings.Lines(dump(t, s)) {
		if strings.Contains(line, "bucket") || strings.Contains(line, "blob") || strings.HasPrefix(line, "{ID:") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "")
}

func damageFile(t *testing.T, fs vfs.FS, name, damage string) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if len(b) > 0 {
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if err := fs.Remove(name); err != nil {
		t.Fatal(err)
	}
	switch damage {
	case "delete":
		return
	case "truncate":
		b = b[:len(b)/2]
	case "flip":
		for i := 0; i < len(b); i += 1 + len(b)/7 {
			b[i] ^= 1 << (i % 8)
		}
	}
	if err := writeFile(fs, name, b); err != nil {
		t.Fatal(err)
	}
}

// fickleStore is a store on four drives that can be made to fail.
type fickleStore struct {
	s      *Store
	plan   *drive.Plan
	drives []drive.Drive
}

func newFickleStore(t *testing.T) *fickleStore {
	x := &fickleStore{plan: drive.NewPlan(1), drives: memDrives(4, 0)}
	x.s = mustOpen(t, testOptions(t, -1).tuned(func(c *cell) {
		c.limits.write, c.limits.create, c.limits.stall = time.Second, time.Second, time.Second
	}), x.plan.WrapAll(x.drives))
	x.s.minPart = 0
	mustBucket(t, x.s, testBucket)
	return x
}

// files has every action on the files of a drive's file system, or of all drives', go wrong.
func (x *fickleStore) files(id drive.ID, do drive.Effect, err error) {
	x.plan.Add(drive.Rule{On: drive.OnFiles, Drive: id, Times: -1, Do: do, Err: err})
}

// TestIndexFails lets the index fail under load, in all the ways that its drive can. Clients are told to come back, nothing acknowledged is lost,
// and soon the store works again without a restart.
func TestIndexFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		fail  func(x *fickleStore, id drive.ID)
		moves bool // The index ends up on another drive.
	}{
		{"input/output error", func(x *fickleStore, id drive.ID) { x.files(id, drive.Fail, nil) }, true},
		{"no space", func(x *fickleStore, id drive.ID) { x.files(id, drive.Fail, syscall.ENOSPC) }, true},
		{"drive fails, index reads", func(x *fickleStore, id drive.ID) { x.plan.Kill(id) }, true},
		{"drive fails wholly", func(x *fickleStore, id drive.ID) {
			x.plan.Kill(id)
			x.files(id, drive.Fail, nil)
		}, true},
		{"drive hangs", func(x *fickleStore, id drive.ID) {
			x.plan.Add(drive.Rule{On: drive.OnAny, Drive: id, Times: -1, Do: drive.Hang})
			x.files(id, drive.Hang, nil)
		}, true},
		{"all file systems fail for a while", func(x *fickleStore, _ drive.ID) {
			x.files(drive.ID{}, drive.Fail, nil)
			time.AfterFunc(300*time.Millisecond, x.plan.Clear)
		}, false},
	} {
		for _, withCheckpoint := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/checkpoint=%v", test.name, withCheckpoint), func(t *testing.T) {
				x := newFickleStore(t)
				s := x.s
				objects := fill(t, s, testBucket, "x/")
				first := s.cells[0].base.Load()
				if withCheckpoint {
					if _, err := first.checkpoint(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				o := &oracle{acked: map[string]value{}, pending: map[string]value{}}
				var workers sync.WaitGroup
				for worker := range 3 {
					rng := rand.New(rand.NewPCG(uint64(worker), 2))
					workers.Go(func() { patientChurn(ctx, t, s, o, rng, worker) })
				}
				// An upload that is under way all the time.
				body, feed := slowBody(payload(77, 900_000))
				slow := make(chan error, 1)
				go func() {
					_, err := s.Put(t.Context(), testBucket, "slow", body, PutOptions{Size: 900_000, Finish: func(Sums) (Final, error) { return Final{}, nil }})
					slow <- err
				}()
				feed(400_000)
				at := indexDrive(t, s, x.drives)
				test.fail(x, x.drives[at].ID())
				// Something must be written for the failure to show.
				deadline := time.Now().Add(30 * time.Second)
				for s.cells[0].base.Load() == first {
					if b, err := s.cells[0].enter(); err == nil {
						go func() { b.index.Flush(ctx); b.leave() }()
					}
					if time.Sleep(10 * time.Millisecond); time.Now().After(deadline) {
						t.Fatal("the index was not replaced")
					}
				}
				writes := o.count()
				for o.count() < writes+30 {
					if time.Sleep(5 * time.Millisecond); time.Now().After(deadline) {
						t.Fatal("writes do not go on")
					}
				}
				cancel()
				workers.Wait()
				feed(500_000)
				if err := <-slow; err != nil {
					t.Errorf("the upload that was under way: %v", err)
				} else {
					o.end("slow", value{true, 77, 900_000}, nil)
				}
				if s.Stats().Failovers == 0 {
					t.Error("no failover was counted")
				}
				if now := indexDrive(t, s, x.drives); test.moves && now == at {
					t.Error("the index is on the drive where it failed")
				}
				x.plan.Clear()
				x.plan.Release()
				for key, b := range objects {
					patiently(t, func() error {
						got, err := getBytes(t.Context(), s, testBucket, key)
						if err == nil && string(got) != string(b) {
							t.Errorf("%s differs", key)
						}
						return err
					})
					if err := deleteKey(t.Context(), s, testBucket, key); err != nil {
						t.Error(err)
					}
				}
				o.check(t, s)
				if err := s.Ready(t.Context()); err != nil {
					t.Error(err)
				}
				closeStore(t, s)
			})
		}
	}
}

func (o *oracle) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writes
}

// patientChurn puts and deletes keys of its own until ctx ends, and takes "come back later" for an answer.
func patientChurn(ctx context.Context, t *testing.T, s *Store, o *oracle, rng *rand.Rand, worker int) {
	for ctx.Err() == nil {
		key := fmt.Sprintf("w%d/k%d", worker, rng.IntN(6))
		v := value{present: true, seed: rng.Uint64N(1 << 20), size: sizes[rng.IntN(8)]}
		var err error
		o.begin(key, v)
		if rng.IntN(4) == 0 {
			v = value{}
			o.begin(key, v)
			err = deleteKey(ctx, s, testBucket, key)
		} else {
			_, err = putBytes(ctx, s, testBucket, key, payload(v.seed, v.size), nil)
		}
		switch KindOf(err) {
		case KindUnavailable, KindCanceled: // Certainly not done.
			if err != nil {
				o.undo(key)
				time.Sleep(time.Millisecond)
				continue
			}
		case KindUnknownOutcome:
			// Only a look tells, and what it shows must stay.
			patiently(t, func() error { return o.settle(context.WithoutCancel(ctx), s, key) })
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", key, err)
			return
		}
		o.end(key, v, nil)
	}
}

func (o *oracle) undo(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pending, key)
}

// settle finds out what became of a write whose outcome is unknown.
func (o *oracle) settle(ctx context.Context, s *Store, key string) error {
	got, err := getBytes(ctx, s, testBucket, key)
	if err != nil && KindOf(err) != KindNoSuchObject {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range []value{o.acked[key], o.pending[key]} {
		if err != nil && !v.present || err == nil && v.present && string(got) == string(payload(v.seed, v.size)) {
			o.acked[key] = v
			delete(o.pending, key)
			return nil
		}
	}
	return fmt.Errorf("%s holds neither what it held nor what was put", key)
}

// slowBody is a body whose bytes come when they are fed.
func slowBody(b []byte) (body *feeder, feed func(n int)) {
	f := &feeder{b: b, more: make(chan int, 8)}
	return f, func(n int) { f.more <- n }
}

type feeder struct {
	b    []byte
	have int
	more chan int
}

func (f *feeder) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, io.EOF
	}
	if f.have == 0 {
		f.have = <-f.more
	}
	n := copy(p, f.b[:min(f.have, len(f.b))])
	f.b, f.have = f.b[n:], f.have-n
	return n, nil
}

// TestCheckpoint: checkpoints are on m drives beside the index's, take over what is the same, and replace older ones.
func TestCheckpoint(t *testing.T) {
	drives := memDrives(6, 0)
	s := mustOpen(t, testOptions(t, -1).tuned(still), drives)
	defer func() { closeStore(t, s) }()
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	make := func() {
		t.Helper()
		if copies, err := s.cells[0].base.Load().checkpoint(t.Context()); err != nil || copies != 2 {
			t.Fatalf("%d copies, %v", copies, err)
		}
	}
	listed := func() (found []savedIndex) {
		for i, d := range drives {
			list := s.cells[0].listCheckpoints(d)
			if len(list) > 1 || len(list) == 1 && i == indexDrive(t, s, drives) {
				t.Errorf("%d checkpoints on drive %d", len(list), i)
			}
			found = append(found, list...)
		}
		return found
	}
	make()
	first := listed()
	if len(first) != 2 {
		t.Fatalf("%d checkpoints", len(first))
	}
	mustPut(t, s, testBucket, "x/more", payload(3, 5000))
	objects["x/more"] = payload(3, 5000)
	// What is half-written, or not ours, is neither used nor kept.
	fs, top := checkpointTop(drives[5])
	for _, name := range []string{"0000000000000001" + partialSuffix, checkpointNameOf(2), "junk"} {
		if err := fs.MkdirAll(fs.PathJoin(top, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFile(fs, fs.PathJoin(top, checkpointNameOf(2), checkpointName), []byte("{")); err != nil {
		t.Fatal(err)
	}
	make()
	second := listed()
	if len(second) != 2 || second[0].position.LSN <= first[0].position.LSN {
		t.Fatalf("%+v after %+v", second, first)
	}
	if names, err := fs.List(top); err != nil || len(names) > 1 {
		t.Errorf("left behind: %q, %v", names, err)
	}
	// The index's drive goes. A checkpoint that does not verify is passed over for the other.
	gone := indexDrive(t, s, drives)
	closeStore(t, s)
	reopen(drives)
	spoilt := second[0]
	for _, f := range spoilt.files {
		if strings.HasSuffix(f.Name, ".sst") {
			damageFile(t, spoilt.fs, path.Join(spoilt.dir, f.Name), "flip")
		}
	}
	rest := slices.Delete(slices.Clone(drives), gone, gone+1)
	var restored string
	opts := testOptions(t, -1)
	opts.Logger = listen(func(message string, attrs map[string]string) {
		if message == "the index was restored" {
			restored = attrs["from"]
		}
	})
	s = mustOpen(t, opts, rest)
	if restored != second[1].where {
		t.Errorf("restored from %q, want %q", restored, second[1].where)
	}
	checkAll(t, s, testBucket, objects)
	mustPut(t, s, testBucket, "x/without", payload(4, 5000))
	objects["x/without"] = payload(4, 5000)
	// The drive comes back with its old index, which is not used.
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	checkAll(t, s, testBucket, objects)
	for i, d := range drives {
		fs, root := d.FS()
		names, _ := fs.List(fs.PathJoin(root, indexName))
		if has := len(names) > 0; has != (i == indexDrive(t, s, drives)) {
			t.Errorf("drive %d: has an index: %v; the index is on %d", i, has, indexDrive(t, s, drives))
		}
	}
}

// TestCheckpointStale: a checkpoint from before a journal volume was freed cannot be replayed from, and is passed over.
func TestCheckpointStale(t *testing.T) {
	y := newYard(t)
	mustPut(t, y.s, testBucket, "keep", payload(6, 5000))
	if copies, err := y.r.b.checkpoint(t.Context()); err != nil || copies != 2 {
		t.Fatalf("%d copies, %v", copies, err)
	}
	y.r.oldest = 0 // As if the drives with the checkpoints had been away.
	for range 4 {
		y.rollJournal(y.openJournal())
	}
	before := y.s.Stats().VolumesFreed
	y.rounds()
	if y.s.Stats().VolumesFreed == before {
		t.Fatal("no journal volume was freed, so nothing is stale")
	}
	y.restart(indexName)
	mustGet(t, y.s, testBucket, "keep", payload(6, 5000))
	mustGet(t, y.s, testBucket, "filler", payload(uint64(y.filler), PackThreshold))
}

// TestNoJournal: drives that hold nothing are an empty store only if nothing can be missing.
func TestNoJournal(t *testing.T) {
	drives := memDrives(4, 0)
	opts := testOptions(t, -1)
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	closeStore(t, s)
	reopen(drives)
	// Two drives are lost, and somebody has emptied the others.
	rest := drives[2:]
	for _, d := range rest {
		segs, err := d.Segments()
		if err != nil {
			t.Fatal(err)
		}
		for _, seg := range segs {
			if err := d.Remove(seg); err != nil {
				t.Fatal(err)
			}
		}
		fs, root := d.FS()
		for _, name := range []string{indexName, checkpointDir} {
			if err := fs.RemoveAll(fs.PathJoin(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s, err := openOn(t.Context(), opts, rest); err == nil {
		closeStore(t, s)
		t.Fatal("a store whose journal is gone started as an empty one")
	}
}

// TestRebuildKeepsIndex: a rebuild that cannot read the journals leaves the index as it was.
func TestRebuildKeepsIndex(t *testing.T) {
	y := newYard(t)
	mustPut(t, y.s, testBucket, "k", payload(1, 5000))
	on := indexDrive(t, y.s, y.drives)
	closeStore(t, y.s)
	y.s = nil
	reopen(y.drives)
	if s, err := openOn(t.Context(), y.rebuilding(), y.drives[on:on+1]); err == nil {
		closeStore(t, s)
		t.Fatal("one drive of four was enough")
	}
	reopen(y.drives)
	y.open()
	mustGet(t, y.s, testBucket, "k", payload(1, 5000))
	if lsn := y.r.b.index.Position(); lsn == (meta.Position{}) {
		t.Error("no index")
	}
	closeStore(t, y.s)
	reopen(y.drives)
	s := mustOpen(t, y.rebuilding(), y.drives)
	mustGet(t, s, testBucket, "k", payload(1, 5000))
	closeStore(t, s)
	y.s = nil
}

func (y *yard) rebuilding() Options {
	o := y.opts
	o.RebuildIndex = true
	return o
}

// TestStartHangs: a drive whose file system hangs, at any action of a start or a stop, holds up neither for good.
func TestStartHangs(t *testing.T) {
	for _, at := range []int{1, 2, 3, 5, 8, 13, 21, 34, 55} {
		t.Run(fmt.Sprint("action ", at), func(t *testing.T) {
			drives := memDrives(4, 0)
			plan := drive.NewPlan(1)
			opts := testOptions(t, -1).tuned(func(c *cell) { c.limits.stall, c.limits.create = 300*time.Millisecond, time.Second })
			s := mustOpen(t, opts, drives)
			mustBucket(t, s, testBucket)
			objects := fill(t, s, testBucket, "x/")
			on := drives[indexDrive(t, s, drives)].ID()
			closeStore(t, s)
			reopen(drives)
			plan.Add(drive.Rule{On: drive.OnFiles, Drive: on, Nth: at, Times: -1, Do: drive.Hang})
			s = mustOpen(t, opts, plan.WrapAll(drives))
			patientCheck(t, s, objects)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := s.Close(ctx); err != nil {
				t.Log(err) // It may say that the index did not answer.
			}
			plan.Release()
			plan.Clear()
		})
	}
}
