package drive_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
)

// readImage returns n bytes of a segment as a power cut left it.
func readImage(t *testing.T, d *drive.Domain, seg uint32, n int) []byte {
	t.Helper()
	f, err := d.Drives()[0].Open(seg)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, f, 0, n)
}

// TestCrashFates cuts the power while a write over old content is under way, in every way there is: at
// each sector boundary from either side. What was durable before stays.
func TestCrashFates(t *testing.T) {
	const n = 8192
	durable, under := block(n, 1), block(n, 2)
	for _, c := range []struct {
		name string
		fate drive.Fate
		want func() []byte
	}{
		{"dropped", drive.Dropped, func() []byte { return durable }},
		{"kept", drive.Kept, func() []byte { return under }},
	} {
		if got := cutDuring(t, durable, under, c.fate); !bytes.Equal(got, c.want()) {
			t.Errorf("%s: the image is something else", c.name)
		}
	}
	for sectors := range n/512 + 1 {
		at := sectors * 512
		if got, want := cutDuring(t, durable, under, drive.TornBefore(sectors)), slices.Concat(under[:at], durable[at:]); !bytes.Equal(got, want) {
			t.Errorf("torn before sector %d: the image is something else", sectors)
		}
		if got, want := cutDuring(t, durable, under, drive.TornAfter(sectors)), slices.Concat(durable[:at], under[at:]); !bytes.Equal(got, want) {
			t.Errorf("torn after sector %d: the image is something else", sectors)
		}
	}
}

// cutDuring makes old durable, cuts the power while young is written over it, and returns the image.
func cutDuring(t *testing.T, old, young []byte, fate drive.Fate) []byte {
	t.Helper()
	domain := drive.NewDomain([]drive.Identity{newIdentity()}, 0, drive.DomainOptions{})
	f := create(t, domain.Drives()[0], 1, segLen)
	write(t, f, 0, old)
	if w := domain.Unstable(); len(w) != 0 {
		t.Fatalf("a write that has completed is unstable: %+v", w)
	}
	var after *drive.Domain
	domain.SetHook(func(int) {
		if w := domain.Unstable(); len(w) == 1 && after == nil {
			if w[0].Seg != 1 || w[0].Len != len(young) || w[0].Reported {
				t.Errorf("unstable: %+v", w[0])
			}
			after = domain.Cut(drive.Choice{Write: func(drive.UnstableWrite) drive.Fate { return fate }})
		}
	})
	write(t, f, 0, young)
	if after == nil {
		t.Fatal("there was no event while the write was under way")
	}
	if got := read(t, f, 0, len(young)); !bytes.Equal(got, young) {
		t.Error("the cut changed the drive that it was taken of")
	}
	return readImage(t, after, 1, len(old))
}

// TestCrashEveryPrefix writes blocks one after the other and cuts at every event: all that completed
// before is there.
func TestCrashEveryPrefix(t *testing.T) {
	const blocks = 8
	type cut struct {
		domain *drive.Domain
		done   int
	}
	var cuts []cut
	done := 0
	var domain *drive.Domain
	domain = drive.NewDomain([]drive.Identity{newIdentity()}, 0, drive.DomainOptions{Hook: func(int) {
		cuts = append(cuts, cut{domain.Cut(drive.Choice{}), done})
	}})
	f := create(t, domain.Drives()[0], 1, blocks*4096)
	for i := range blocks {
		write(t, f, int64(i)*4096, block(4096, uint64(i)))
		done++
	}
	if want := 2 + 2*blocks; len(cuts) != want || domain.Events() != want {
		t.Fatalf("%d cuts, %d events, want %d: name, space, and two for each write", len(cuts), domain.Events(), want)
	}
	for i, c := range cuts[1:] {
		got := readImage(t, c.domain, 1, blocks*4096)
		for b := range c.done {
			if !bytes.Equal(got[b*4096:(b+1)*4096], block(4096, uint64(b))) {
				t.Errorf("event %d: block %d was durable and is not there", i+1, b)
			}
		}
		if !bytes.Equal(got[min(c.done+1, blocks)*4096:], make([]byte, (blocks-min(c.done+1, blocks))*4096)) {
			t.Errorf("event %d: blocks after %d are there before they were written", i+1, c.done)
		}
	}
	first, err := cuts[0].domain.Drives()[0].Open(1)
	if err != nil || first.Size() != 0 {
		t.Errorf("after the name: %v; want a segment without space", err)
	}
}

// TestCrashOneInstant has an index file and a segment written in turn: an image never has the later one
// without the earlier.
func TestCrashOneInstant(t *testing.T) {
	ids := []drive.Identity{newIdentity(), newIdentity()}
	rng := rand.New(rand.NewPCG(1, 2))
	var domain *drive.Domain
	var images []*drive.Domain
	domain = drive.NewDomain(ids, 0, drive.DomainOptions{Hook: func(int) { images = append(images, domain.Cut(drive.RandomChoice(rng))) }})
	a, b := domain.Drives()[0], domain.Drives()[1]
	f := create(t, a, 1, 64*4096)
	fsys, dir := b.FS()
	for i := range 64 {
		write(t, f, int64(i)*4096, block(4096, 1))
		log, err := fsys.Create(fsys.PathJoin(dir, "index"), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Write([]byte{byte(i + 1)}); err != nil {
			t.Fatal(err)
		}
		if err := log.Sync(); err != nil {
			t.Fatal(err)
		}
		d, err := fsys.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	checked := 0
	for _, image := range images[1:] {
		fsys, dir := image.Drives()[1].FS()
		file, err := fsys.Open(fsys.PathJoin(dir, "index"))
		if err != nil {
			continue
		}
		var n [1]byte
		if _, err := file.ReadAt(n[:], 0); err != nil {
			continue
		}
		got := readImage(t, image, 1, 64*4096)
		for i := range int(n[0]) {
			checked++
			if !bytes.Equal(got[i*4096:(i+1)*4096], block(4096, 1)) {
				t.Fatalf("the index says that block %d was written, and it is not there", i)
			}
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// TestCrashCache has a drive that lies: the last completed writes may be lost, older ones not.
func TestCrashCache(t *testing.T) {
	domain := drive.NewDomain([]drive.Identity{newIdentity()}, 0, drive.DomainOptions{CacheWrites: 2})
	f := create(t, domain.Drives()[0], 1, segLen)
	for i := range 4 {
		write(t, f, 0, block(4096, uint64(i))) // Each over the one before.
	}
	reported := domain.Unstable()
	if len(reported) != 2 || !reported[0].Reported || !reported[1].Reported {
		t.Fatalf("unstable: %+v, want two reported writes", reported)
	}
	keep := func(which ...bool) []byte {
		i := 0
		return readImage(t, domain.Cut(drive.Choice{Write: func(drive.UnstableWrite) drive.Fate {
			i++
			if which[i-1] {
				return drive.Kept
			}
			return drive.Dropped
		}}), 1, 4096)
	}
	for _, c := range []struct {
		first, second bool
		want          uint64
	}{{false, false, 1}, {true, false, 2}, {false, true, 3}, {true, true, 3}} {
		if !bytes.Equal(keep(c.first, c.second), block(4096, c.want)) {
			t.Errorf("first kept %v, second %v: want write %d", c.first, c.second, c.want)
		}
	}
	if got := read(t, f, 0, 4096); !bytes.Equal(got, block(4096, 3)) {
		t.Error("without a power cut the cache is not noticed")
	}
}

// TestCrashOfCrash cuts an image again, and again.
func TestCrashOfCrash(t *testing.T) {
	domain := drive.NewDomain([]drive.Identity{newIdentity()}, 0, drive.DomainOptions{Seed: 3})
	write(t, create(t, domain.Drives()[0], 1, segLen), 0, block(4096, 0))
	for depth := range 3 {
		next := domain.Cut(drive.Choice{})
		f, err := next.Drives()[0].Open(1)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, f, 0, 4096); !bytes.Equal(got, block(4096, uint64(depth))) {
			t.Fatalf("depth %d: the image is something else", depth)
		}
		write(t, f, 0, block(4096, uint64(depth+1)))
		if err := next.Drives()[0].WriteMeta("root.json", []byte{byte(depth)}, 0o600); err != nil {
			t.Fatal(err)
		}
		domain = next
	}
	if b, err := domain.Cut(drive.Choice{}).Drives()[0].ReadMeta("root.json"); err != nil || len(b) != 1 || b[0] != 2 {
		t.Errorf("a small file after a cut: %v, %v", b, err)
	}
}

// TestCrashMeta replaces a small file and cuts the power at every event of that, in many ways: it is the old one or the new one.
func TestCrashMeta(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	domain := drive.NewDomain([]drive.Identity{newIdentity()}, 0, drive.DomainOptions{})
	d := domain.Drives()[0]
	if err := d.WriteMeta("root.json", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	content := func(image *drive.Domain) string {
		b, err := image.Drives()[0].ReadMeta("root.json")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	seen := map[string]int{}
	events := 0
	domain.SetHook(func(int) {
		events++
		for range 30 {
			seen[content(domain.Cut(drive.RandomChoice(rng)))]++
		}
	})
	if err := d.WriteMeta("root.json", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	domain.SetHook(nil)
	if seen["old"] == 0 || seen["new"] == 0 || len(seen) != 2 {
		t.Errorf("while WriteMeta ran: %v", seen)
	}
	if events < 5 {
		t.Errorf("%d events: making, writing, syncing, renaming, syncing the directory", events)
	}
	if got := content(domain.Cut(drive.Choice{})); got != "new" {
		t.Errorf("after WriteMeta returned: %q", got)
	}
}
