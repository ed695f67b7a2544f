package meta_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/meta"
)

// damageable makes a closed index of several tables and returns its dump at each position it had.
func damageable(t testing.TB, rng *rand.Rand) (*vfs.MemFS, map[meta.Position]string) {
	t.Helper()
	fs := vfs.NewMem()
	x := openMem(t, fs, true)
	h := newHistory(rng)
	h.keys = 1000
	dumps := map[meta.Position]string{{}: ""}
	for range 6 {
		for range 150 {
			h.step()
		}
		b := h.cut()
		_, err := x.Apply(b.pos, b.recs)
		mustNot(t, err)
		mustNot(t, x.Flush(context.Background()))
		dumps[b.pos] = dump(t, x)
	}
	mustNot(t, x.Close())
	return fs, dumps
}

func readFile(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	mustNot(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	mustNot(t, err)
	return b
}

func writeFile(t testing.TB, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	mustNot(t, err)
	_, err = f.Write(b)
	mustNot(t, err)
	mustNot(t, f.Sync())
	mustNot(t, f.Close())
}

// copyDir returns a file system with a copy of a directory, so that one damage does not meet the next.
func copyDir(t testing.TB, fs vfs.FS, dir string) *vfs.MemFS {
	t.Helper()
	out := vfs.NewMem()
	mustNot(t, out.MkdirAll(dir, 0o755))
	names, err := fs.List(dir)
	mustNot(t, err)
	for _, name := range names {
		writeFile(t, out, fs.PathJoin(dir, name), readFile(t, fs, fs.PathJoin(dir, name)))
	}
	return out
}

// TestDamage deletes, truncates and flips bits in each file of an index. Either it cannot be opened, or reading meets the damage,
// or it is whole as of its position. That may be an old one: Pebble takes a damaged manifest for one that a crash cut short.
func TestDamage(t *testing.T) {
	rng := newRNG(t)
	fs, want := damageable(t, rng)
	names, err := fs.List("index")
	mustNot(t, err)
	outcomes := map[string]int{}
	try := func(what, name string, change func(fs vfs.FS, path string, content []byte)) {
		damaged := copyDir(t, fs, "index")
		path := damaged.PathJoin("index", name)
		change(damaged, path, readFile(t, fs, path))
		outcome := judge(t, what+" "+name, damaged, want)
		outcomes[what+": "+outcome]++
		// A flipped bit may be in a filter or a property that no answer depends on.
		if strings.HasSuffix(name, ".sst") && outcome == "whole" && what != "flip" {
			t.Errorf("%s %s has no effect", what, name)
		}
	}
	for _, name := range names {
		try("delete", name, func(fs vfs.FS, path string, _ []byte) { mustNot(t, fs.Remove(path)) })
		try("truncate", name, func(fs vfs.FS, path string, b []byte) { writeFile(t, fs, path, b[:rng.IntN(len(b)+1)/2]) })
		for range 6 {
			try("flip", name, func(fs vfs.FS, path string, b []byte) {
				if len(b) > 0 {
					b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
				}
				writeFile(t, fs, path, b)
			})
		}
	}
	t.Log(outcomes)
}

// judge opens a damaged index and reads all of it.
func judge(t *testing.T, what string, fs meta.FS, want map[meta.Position]string) string {
	t.Helper()
	x, err := meta.Open(meta.Options{FS: fs, Dir: "index", Create: true, MemTableBytes: 256 << 10})
	if err != nil {
		if !errors.Is(err, meta.ErrUnusable) {
			t.Fatalf("%s: open: %v", what, err)
		}
		return "unusable"
	}
	defer x.Close()
	var b strings.Builder
	if err := x.Dump(&b); err != nil {
		if !errors.Is(err, meta.ErrCorrupt) {
			t.Fatalf("%s: read: %v", what, err)
		}
		return "corrupt"
	}
	at, ok := want[x.Position()]
	if !ok {
		t.Fatalf("%s: at %+v, where it never was", what, x.Position())
	}
	equalDumps(t, what, b.String(), at)
	return "whole"
}

// TestOpenNothing opens directories without an index in them.
func TestOpenNothing(t *testing.T) {
	fs := vfs.NewMem()
	for _, create := range []bool{false, true} {
		mustNot(t, fs.MkdirAll("index", 0o755))
		x, err := meta.Open(meta.Options{FS: fs, Dir: "index", Create: create})
		if !create {
			if !errors.Is(err, meta.ErrUnusable) {
				t.Fatalf("opened an empty directory: %v", err)
			}
			continue
		}
		mustNot(t, err)
		if x.Position() != (meta.Position{}) {
			t.Errorf("new index at %+v", x.Position())
		}
		if _, err := meta.Open(meta.Options{FS: fs, Dir: "index"}); err == nil || errors.Is(err, meta.ErrUnusable) {
			t.Errorf("opened an index in use: %v", err) // And it must not be taken for one to be replaced.
		}
		mustNot(t, x.Close())
	}
}

// TestCheckpoint copies a checkpoint to another place file by file and goes on from there.
func TestCheckpoint(t *testing.T) {
	rng := newRNG(t)
	fs := vfs.NewMem()
	x := openMem(t, fs, true)
	h := newHistory(rng)
	for range 300 {
		h.step()
	}
	b := h.cut()
	_, err := x.Apply(b.pos, b.recs)
	mustNot(t, err)
	want := dump(t, x)
	cp, err := x.Checkpoint(context.Background(), "checkpoint")
	mustNot(t, err)
	equal(t, "position", cp.Position, b.pos)
	for range 50 {
		h.step()
	}
	b = h.cut()
	_, err = x.Apply(b.pos, b.recs)
	mustNot(t, err)
	later := dump(t, x)
	again, err := x.Checkpoint(context.Background(), "checkpoint2")
	mustNot(t, err)
	if again.Identity != cp.Identity {
		t.Error("two checkpoints of one index differ in identity")
	}
	mustNot(t, x.Close())

	read, err := meta.ReadCheckpoint(fs, "checkpoint")
	mustNot(t, err)
	equal(t, "checkpoint", read, cp)
	copied := vfs.NewMem()
	mustNot(t, copied.MkdirAll("index", 0o755))
	for i, f := range cp.Files {
		if _, err := meta.ReadCheckpoint(copied, "index"); !errors.Is(err, meta.ErrUnusable) {
			t.Fatalf("copy of %d files: %v", i, err)
		}
		content := readFile(t, fs, fs.PathJoin("checkpoint", f.Name))
		equal(t, "size of "+f.Name, int64(len(content)), f.Size)
		writeFile(t, copied, copied.PathJoin("index", f.Name), content)
	}
	y := openMem(t, copied, false)
	equalDumps(t, "restored", dump(t, y), want)
	equal(t, "position", y.Position(), cp.Position)
	_, err = y.Apply(b.pos, b.recs)
	mustNot(t, err)
	equalDumps(t, "restored and brought up to date", dump(t, y), later)
	third, err := y.Checkpoint(context.Background(), "checkpoint3")
	mustNot(t, err)
	if third.Identity == cp.Identity {
		t.Error("a restored index has the identity of the original: file names would be mistaken")
	}
	if _, err := copied.Stat("index/checkpoint.json"); err == nil {
		t.Error("a restored index still passes for a checkpoint")
	}
	mustNot(t, y.Close())

	mustNot(t, fs.Remove(fs.PathJoin("checkpoint2", again.Files[0].Name)))
	if _, err := meta.ReadCheckpoint(fs, "checkpoint2"); !errors.Is(err, meta.ErrUnusable) {
		t.Errorf("checkpoint without %s: %v", again.Files[0].Name, err)
	}
}
