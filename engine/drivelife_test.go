package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
)

// shelf is where a store of memory drives finds more: places that are empty, hold a drive, or hold nothing.
type shelf struct {
	plan  *drive.Plan
	given []string // Places that a store is told of beside those of its drives.
	size  int64    // Of drives made here; 0 is the usual.

	mu     sync.Mutex // Guards places.
	places map[string]*drive.Mem
}

// newShelf returns a shelf with some empty places, and the drives that are served.
func newShelf(drives []drive.Drive, empty ...string) *shelf {
	s := &shelf{plan: drive.NewPlan(1), places: make(map[string]*drive.Mem)}
	for _, path := range empty {
		s.places[path] = nil
	}
	for _, d := range drives {
		s.places[d.Path()] = d.(*drive.Mem)
	}
	return s
}

// set puts something in a place: a drive, or nil for none.
func (s *shelf) set(path string, m *drive.Mem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places[path] = m
}

// take takes away what is in a place, and the place.
func (s *shelf) take(path string) *drive.Mem {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.places[path]
	delete(s.places, path)
	return m
}

func (s *shelf) Inspect(path string) (drive.State, drive.Identity, error) {
	s.mu.Lock()
	m, there := s.places[path]
	s.mu.Unlock()
	switch {
	case !there:
		return drive.StateAbsent, drive.Identity{}, nil
	case m == nil:
		return drive.StateBlank, drive.Identity{}, nil
	}
	id, err := drive.ReadIdentity(m)
	return drive.StateFormatted, id, err
}

func (s *shelf) Mounted(string) (bool, error) { return false, nil }

func (s *shelf) Format(path string, id drive.Identity) error {
	s.set(path, drive.NewMem(id, drive.MemOptions{Queue: drive.NewMemQueue(0), Path: path, Size: s.size}))
	return nil
}

func (s *shelf) Open(path string, _ drive.Drive) (drive.Drive, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.places[path]; m != nil {
		return s.wrap(m), nil
	}
	return nil, fmt.Errorf("nothing is at %s", path)
}

// wrap returns a drive that fails by the plan, and whose end is not that of the memory.
func (s *shelf) wrap(m *drive.Mem) drive.Drive { return kept{s.plan.Wrap(m)} }

type kept struct{ drive.Drive }

func (kept) Close() error { return nil }

// openShelf opens a store on what is in some places.
func openShelf(t testing.TB, opts Options, s *shelf, paths ...string) *Store {
	t.Helper()
	var drives []drive.Drive
	for _, path := range paths {
		drives = append(drives, s.wrap(s.places[path]))
	}
	opts.Drives = append(slices.Clone(paths), s.given...)
	return mustOpen(t, opts.tuned(func(c *cell) { c.source = s }), drives)
}

func memPaths(drives []drive.Drive) (paths []string) {
	for _, d := range drives {
		paths = append(paths, d.Path())
	}
	return paths
}

// infoOf describes a drive by its path.
func infoOf(t testing.TB, s *Store, path string) DriveInfo {
	t.Helper()
	for _, d := range s.Info().Drives {
		if d.Path == path {
			return d
		}
	}
	t.Fatalf("no drive is at %s: %+v", path, s.Info().Drives)
	return DriveInfo{}
}

func hasDrive(s *Store, id string) bool {
	return slices.ContainsFunc(s.Info().Drives, func(d DriveInfo) bool { return d.ID == id })
}

// loadBucket is where clients work.
const loadBucket = "load"

// clients write, read back and delete until stop is called. Any failure is the test's.
func clients(t *testing.T, s *Store, rng *rand.Rand) (stop func()) {
	t.Helper()
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for worker := range 3 {
		seed := rng.Uint64()
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for n := 0; ctx.Err() == nil; n++ {
				key, want := fmt.Sprintf("w%d/%d", worker, n%5), payload(rng.Uint64(), sizes[rng.IntN(len(sizes))])
				if _, err := putBytes(t.Context(), s, loadBucket, key, want, nil); err != nil {
					t.Errorf("put %s: %v", key, err)
					return
				}
				if got, err := getBytes(t.Context(), s, loadBucket, key); err != nil || !slices.Equal(got, want) {
					t.Errorf("get %s: %d bytes, %v", key, len(got), err)
					return
				}
				if n%3 == 0 {
					if err := deleteKey(t.Context(), s, loadBucket, key); err != nil {
						t.Errorf("delete %s: %v", key, err)
						return
					}
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

func wantKind(t testing.TB, err error, kind Kind, words string) {
	t.Helper()
	if KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v; want %v with %q", err, kind, words)
	}
}

// TestDriveLife adds a drive, drains another and takes it out, replaces a third, and starts anew in between, all under load: no request fails, and
// everything is there at the end, on the drives that are left and with any two of them gone.
func TestDriveLife(t *testing.T) {
	rng := newRNG(t)
	first := memDrives(4, 0)
	s := newShelf(first, "/new/a", "/new/b")
	opts := testOptions(t, 1).tuned(soon).tuned(func(c *cell) { c.limits.compact = 20 * time.Millisecond })
	paths := memPaths(first)
	store := openShelf(t, opts, s, paths...)
	mustBucket(t, store, testBucket)
	mustBucket(t, store, loadBucket)
	objects := fill(t, store, testBucket, "x/")
	if err := store.SetMeta("root.json", []byte("secret")); err != nil {
		t.Fatal(err)
	}

	stop := clients(t, store, rng)
	added, err := store.AddDrive(t.Context(), "/new/a", false)
	if err != nil || added.State != "ok" || added.Path != "/new/a" {
		t.Fatalf("AddDrive: %+v, %v", added, err)
	}
	if b, err := s.places["/new/a"].ReadMeta("root.json"); err != nil || string(b) != "secret" {
		t.Errorf("the new drive has %q for root credentials, %v", b, err)
	}
	wantKind(t, errOf(store.AddDrive(t.Context(), "/new/a", false)), KindDrive, "already")
	wantKind(t, errOf(store.AddDrive(t.Context(), "new/b", false)), KindDrive, "path from the root")
	wantKind(t, errOf(store.AddDrive(t.Context(), "/nowhere", false)), KindDrive, "does not exist")
	wantKind(t, store.RemoveDrive(t.Context(), paths[1], false), KindDrive, "drain it first")
	wantKind(t, store.RemoveDrive(t.Context(), "/nowhere", false), KindNoSuchDrive, "/nowhere")

	leaver := infoOf(t, store, paths[1])
	if _, err := store.DrainDrive(t.Context(), leaver.ID[:8], false); err != nil {
		t.Fatal(err)
	}
	stop()
	closeStore(t, store)
	paths = append(paths, "/new/a")
	store = openShelf(t, opts, s, paths...) // Half-way, perhaps: it goes on.
	if d := infoOf(t, store, leaver.Path); !d.Draining || d.Leaving {
		t.Errorf("after a start the drive is %+v", d)
	}
	stop = clients(t, store, rng)
	empty(t, store, leaver.Path)
	if err := store.RemoveDrive(t.Context(), leaver.Path, false); err != nil {
		t.Fatal(err)
	}
	if hasDrive(store, leaver.ID) {
		t.Error("a drive that was removed is listed")
	}
	wantKind(t, errOf(store.AddDrive(t.Context(), leaver.Path, false)), KindDrive, "was removed")

	old := infoOf(t, store, paths[2])
	if _, err := store.ReplaceDrive(t.Context(), old.ID, old.Path, false); err == nil {
		t.Error("a drive that serves was replaced by itself")
	}
	if _, err := store.ReplaceDrive(t.Context(), old.ID, "/new/b", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the drive that was replaced has left", func() bool {
		return !hasDrive(store, old.ID)
	})
	stop()
	healed(t, store)
	checkAll(t, store, testBucket, objects)
	closeStore(t, store)
	paths = []string{paths[0], paths[3], "/new/a", "/new/b"}
	for gone := range paths {
		store = openShelf(t, opts, s, slices.Delete(slices.Clone(paths), gone, gone+1)...)
		if n := len(store.Info().Drives); n != 4 {
			t.Errorf("the store has %d drives, want 4", n)
		}
		checkAll(t, store, testBucket, objects)
		closeStore(t, store)
	}
}

func errOf[T any](_ T, err error) error { return err }

// empty waits until nothing is left on a drive that is being drained.
func empty(t testing.TB, s *Store, path string) {
	t.Helper()
	eventually(t, "the drive is empty", func() bool {
		d := infoOf(t, s, path)
		if d.Moved > 0 && d.MovedLen == 0 {
			t.Errorf("%+v", d)
		}
		return d.Shards == 0
	})
}

// TestDriveReturns has drives fail and come back by themselves, in all the ways there are.
func TestDriveReturns(t *testing.T) {
	drives := memDrives(6, 0)
	s := newShelf(drives)
	opts := testOptions(t, 2).tuned(soon)
	paths := memPaths(drives)
	store := openShelf(t, opts, s, paths...)
	defer func() { closeStore(t, store) }()
	mustBucket(t, store, testBucket)
	objects := fill(t, store, testBucket, "x/")
	state := func(path, want string) {
		t.Helper()
		eventually(t, "drive "+path+" is "+want, func() bool { return infoOf(t, store, path).State == want })
	}
	put := func(key string) {
		t.Helper()
		objects[key] = payload(uint64(len(objects)), PackThreshold+1)
		mustPut(t, store, testBucket, key, objects[key])
	}

	// It is pulled and plugged in again.
	m := s.take(paths[1])
	s.plan.Kill(m.ID())
	put("away/1")
	state(paths[1], "failed")
	put("away/2")
	s.plan.Revive(m.ID())
	s.set(paths[1], m)
	state(paths[1], "ok")
	healed(t, store)

	// It answers with errors for a while, and stays where it is.
	s.plan.Kill(m.ID())
	put("away/3")
	state(paths[1], "failed")
	s.plan.Revive(m.ID())
	state(paths[1], "ok")
	put("away/4")
	healed(t, store)

	// It comes back in another place that was given.
	other := s.take(paths[2])
	s.plan.Kill(other.ID())
	put("away/5")
	state(paths[2], "failed")
	s.plan.Revive(other.ID())
	s.set(paths[1]+"/elsewhere", other)
	if d := infoOf(t, store, paths[2]); d.State != "failed" || d.Reason == "" {
		t.Errorf("the drive that is gone is %+v", d)
	}
	// An empty directory where it was is left alone.
	s.set(paths[2], nil)
	eventually(t, "the empty directory is noticed", func() bool {
		return strings.Contains(store.cells[0].homecomer.reason(paths[2]), "penstock drive replace "+other.ID().String())
	})
	s.set(paths[2], other)
	state(paths[2], "ok")
	healed(t, store)
	checkAll(t, store, testBucket, objects)
	// Whichever two go next, what the others and those that were away have is enough.
	for a := 0; a < len(paths); a += 2 {
		for _, path := range paths[a : a+2] {
			s.plan.Kill(s.places[path].ID())
		}
		eventually(t, "everything is read", func() bool { return readBack(store, objects) == nil }) // The index may have to be replaced.
		for _, path := range paths[a : a+2] {
			s.plan.Revive(s.places[path].ID())
		}
		for _, path := range paths[a : a+2] {
			state(path, "ok")
		}
	}
	healed(t, store)
	checkAll(t, store, testBucket, objects)
}

// readBack reads everything, and returns the first error.
func readBack(s *Store, objects map[string][]byte) error {
	for key, want := range objects {
		got, err := getBytes(context.Background(), s, testBucket, key)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%s is not what was written", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestReplaceEmpty puts an empty directory in the place of a drive: with the policy it is the replacement.
func TestReplaceEmpty(t *testing.T) {
	drives := memDrives(5, 0)
	s := newShelf(drives)
	opts := testOptions(t, 1).tuned(soon)
	opts.ReplaceEmpty = true
	paths := memPaths(drives)
	store := openShelf(t, opts, s, paths...)
	mustBucket(t, store, testBucket)
	objects := fill(t, store, testBucket, "x/")

	old := infoOf(t, store, paths[3])
	s.plan.Kill(s.take(paths[3]).ID())
	s.set(paths[3], nil)
	objects["meanwhile"] = nil
	mustPut(t, store, testBucket, "meanwhile", nil)
	eventually(t, "the drive is replaced", func() bool { return !hasDrive(store, old.ID) && infoOf(t, store, paths[3]).State == "ok" })
	healed(t, store)
	checkAll(t, store, testBucket, objects)
	closeStore(t, store)

	// The same while the store is down.
	old = infoOf(t, store, paths[0])
	s.set(paths[0], nil)
	s.given = paths[:1]
	store = openShelf(t, opts, s, paths[1:]...)
	eventually(t, "the drive is replaced", func() bool { return !hasDrive(store, old.ID) && infoOf(t, store, paths[0]).State == "ok" })
	healed(t, store)
	checkAll(t, store, testBucket, objects)
	closeStore(t, store)
}

// TestForcedRemoval gives up drives whose shards are nowhere else, as long as everything can be read without them.
func TestForcedRemoval(t *testing.T) {
	drives := memDrives(4, 0)
	s := newShelf(drives)
	opts := testOptions(t, 1).tuned(soon)
	paths := memPaths(drives)
	store := openShelf(t, opts, s, paths...)
	mustBucket(t, store, testBucket)
	objects := fill(t, store, testBucket, "x/")
	first := infoOf(t, store, paths[0])
	if err := store.RemoveDrive(t.Context(), paths[0], true); err != nil {
		t.Fatal(err)
	}
	if hasDrive(store, first.ID) {
		t.Error("a drive that was removed is listed")
	}
	checkAll(t, store, testBucket, objects)
	wantKind(t, store.RemoveDrive(t.Context(), paths[1], true), KindDrive, "could not be read without it")
	checkAll(t, store, testBucket, objects)
	closeStore(t, store)
	opts = opts.tuned(func(c *cell) { c.limits.compact = 20 * time.Millisecond })
	store = openShelf(t, opts, s, paths[1:]...)
	checkAll(t, store, testBucket, objects)
	// No drive is free for what was lost; so it is written again on those that are left.
	healed(t, store)
	checkAll(t, store, testBucket, objects)
	closeStore(t, store)
	for _, gone := range paths[1:] {
		store = openShelf(t, opts, s, slices.DeleteFunc(slices.Clone(paths[1:]), func(p string) bool { return p == gone })...)
		checkAll(t, store, testBucket, objects)
		closeStore(t, store)
	}
}

// TestIndexMoves drains the drive that the index is on: the index goes first, and nobody notices.
func TestIndexMoves(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(3, 0)
	s := newShelf(drives, "/new")
	opts := testOptions(t, 0).tuned(soon)
	store := openShelf(t, opts, s, memPaths(drives)...)
	mustBucket(t, store, testBucket)
	mustBucket(t, store, loadBucket)
	objects := fill(t, store, testBucket, "x/")
	if _, err := store.AddDrive(t.Context(), "/new", false); err != nil {
		t.Fatal(err)
	}
	stop := clients(t, store, rng)
	c := store.cells[0]
	for range 2 {
		place := c.base.Load().place
		if _, err := store.DrainDrive(t.Context(), place.drive.ID().String(), false); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the index has moved", func() bool { return !c.indexOn(place.drive.ID()) && !c.moving.Load() })
		if _, err := store.StopDraining(t.Context(), place.drive.Path()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if n := c.stats.failovers.Load(); n != 0 {
		t.Errorf("%d failures of the index", n)
	}
	checkAll(t, store, testBucket, objects)
	closeStore(t, store)
}
