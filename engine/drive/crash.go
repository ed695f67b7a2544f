package drive

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// DomainOptions describe a power domain.
type DomainOptions struct {
	// CacheWrites is how many completed writes each drive may still hold in a volatile cache that it
	// lies about: a power cut may drop or tear them although they were reported durable. 0 is honest.
	CacheWrites int
	// Seed, when not 0, shuffles the order in which writes in flight take effect.
	Seed uint64
	// Hook, when set, is called after every event: a write under way, a write durable, a segment made,
	// resized or removed, a change of any other file. Calls come one at a time, from the goroutine that caused the event, before
	// that goroutine goes on. A hook may call Cut, and must not use the drives.
	Hook func(event int)
}

// Domain is a set of memory drives that lose power together. It knows, at any instant, which writes are
// under way, and so which states a power cut may leave: durable writes are there; any other may be
// there, or not, or in part.
//
// The files of all its drives for the index live in one crashable file system, each drive in a
// directory of its own, so that one cut hits segments and index at the same instant.
type Domain struct {
	opts DomainOptions

	hookMu sync.Mutex // Held while hook runs, so that calls come one at a time; guards it.
	hook   func(event int)

	mu       sync.Mutex // Guards the fields below and orders events. Taken before Mem.mu.
	fs       *vfs.MemFS
	queue    *MemQueue
	drives   []*Mem
	inFlight []*crashWrite // In the order they were submitted.
	cached   map[*Mem][]*crashWrite
	events   int
}

// crashWrite is a write that a power cut may undo.
type crashWrite struct {
	op   *Op // nil once completed.
	seg  *memSegment
	off  int64
	data []byte
	old  [][]byte // The pages that a completed write replaced.
}

// UnstableWrite describes a write whose fate a power cut decides.
type UnstableWrite struct {
	Drive    ID
	Seg      uint32
	Off      int64
	Len      int
	Reported bool // It was reported durable, and is still in a cache.
}

// Fate says which sectors of a write survive.
type Fate func(sector, sectors int) bool

// Dropped loses a write.
func Dropped(int, int) bool { return false }

// Kept keeps a write.
func Kept(int, int) bool { return true }

// TornBefore keeps the first n sectors.
func TornBefore(n int) Fate { return func(sector, _ int) bool { return sector < n } }

// TornAfter keeps all but the first n sectors.
func TornAfter(n int) Fate { return func(sector, _ int) bool { return sector >= n } }

// Choice is one of the states that a power cut may leave.
type Choice struct {
	Write func(UnstableWrite) Fate // nil drops every write that is not durable.
	Index vfs.CrashCloneCfg        // For everything but segments.
}

// RandomChoice draws a choice: each write is dropped, kept, torn at either side of a sector, or left in
// random sectors.
func RandomChoice(rng *rand.Rand) Choice {
	return Choice{
		Write: func(w UnstableWrite) Fate {
			switch sectors := w.Len / SectorLen; rng.IntN(5) {
			case 0:
				return Dropped
			case 1:
				return Kept
			case 2:
				return TornBefore(rng.IntN(sectors + 1))
			case 3:
				return TornAfter(rng.IntN(sectors + 1))
			default:
				return func(int, int) bool { return rng.IntN(2) == 0 }
			}
		},
		Index: vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng},
	}
}

// NewDomain returns a power domain with one drive for each identity. Sizes are as for NewMem.
func NewDomain(ids []Identity, size int64, opts DomainOptions) *Domain {
	d := &Domain{
		opts: opts, hook: opts.Hook, fs: vfs.NewCrashableMem(), queue: NewMemQueue(opts.Seed), cached: make(map[*Mem][]*crashWrite),
	}
	for _, id := range ids {
		m := newMem(id.Drive, MemOptions{Size: size, Queue: d.queue}, d.fs, d)
		must(d.fs.MkdirAll(m.path, 0o700))
		d.drives = append(d.drives, m)
		must(WriteIdentity(m, id))
	}
	for _, dir := range []string{"/mem", "/"} {
		f, err := d.fs.OpenDir(dir)
		must(err)
		must(f.Sync())
		must(f.Close())
	}
	// Formatting is no event: a hook may use what NewDomain returns.
	for _, m := range d.drives {
		m.fs = crashFS{d.fs, d}
	}
	return d
}

// Drives returns the drives in the order of their identities.
func (d *Domain) Drives() []Drive {
	drives := make([]Drive, len(d.drives))
	for i, m := range d.drives {
		drives[i] = m
	}
	return drives
}

// Events returns how many events there have been.
func (d *Domain) Events() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.events
}

// event counts an event that has just happened and calls the hook. The caller holds no lock.
func (d *Domain) event() {
	d.hookMu.Lock()
	defer d.hookMu.Unlock()
	d.mu.Lock()
	d.events++
	n := d.events
	d.mu.Unlock()
	if d.hook != nil {
		d.hook(n)
	}
}

// change makes a change that is durable at once.
func (d *Domain) change(f func() error) error {
	d.mu.Lock()
	err := f()
	d.mu.Unlock()
	d.event()
	return err
}

// start notes that a write is under way: from now on a cut may find any part of it done.
func (d *Domain) start(op *Op, seg *memSegment) {
	w := &crashWrite{op: op, seg: seg, off: op.Off, data: slices.Concat(op.Bufs...)}
	d.mu.Lock()
	d.inFlight = append(d.inFlight, w)
	d.mu.Unlock()
	d.event()
}

// take removes a write from those in flight. The caller holds d.mu.
func (d *Domain) take(op *Op) *crashWrite {
	i := slices.IndexFunc(d.inFlight, func(w *crashWrite) bool { return w.op == op })
	if i < 0 {
		return nil
	}
	w := d.inFlight[i]
	d.inFlight = slices.Delete(d.inFlight, i, i+1)
	w.op = nil
	return w
}

// complete makes a write durable, or leaves it in the cache that claims to be.
func (d *Domain) complete(op *Op) {
	d.mu.Lock()
	w := d.take(op)
	m := w.seg.drive
	m.mu.Lock()
	if limit := d.opts.CacheWrites; limit > 0 {
		for block := range int64(len(w.data) / BlockLen) {
			w.old = append(w.old, w.seg.page(w.off/BlockLen+block))
		}
		cached := append(d.cached[m], w)
		d.cached[m] = cached[max(0, len(cached)-limit):]
	}
	w.seg.write(w.off, w.data)
	m.mu.Unlock()
	d.mu.Unlock()
	d.event()
}

// abandon forgets a write, if op is one, that will never be carried out.
func (d *Domain) abandon(op *Op) {
	d.mu.Lock()
	d.take(op)
	d.mu.Unlock()
}

// Unstable lists the writes whose fate a cut at this instant would decide, in the order in which Cut
// asks for it.
func (d *Domain) Unstable() []UnstableWrite {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []UnstableWrite
	for _, m := range d.drives {
		for _, w := range d.unstable(m) {
			list = append(list, w.describe())
		}
	}
	return list
}

// unstable returns the cached writes of a drive, then those in flight, oldest first.
func (d *Domain) unstable(m *Mem) []*crashWrite {
	list := slices.Clone(d.cached[m])
	for _, w := range d.inFlight {
		if w.seg.drive == m {
			list = append(list, w)
		}
	}
	return list
}

func (w *crashWrite) describe() UnstableWrite {
	return UnstableWrite{Drive: w.seg.drive.id, Seg: w.seg.seg, Off: w.off, Len: len(w.data), Reported: w.op == nil}
}

// Cut returns the domain as it would come back from a power cut at this instant. The old one goes on,
// unaware, and no longer touches the new one.
func (d *Domain) Cut(choice Choice) *Domain {
	d.mu.Lock()
	defer d.mu.Unlock()
	opts := d.opts // The hook stays behind: it knows the old domain.
	if opts.Seed != 0 {
		opts.Seed++
	}
	next := &Domain{
		opts: opts, fs: d.fs.CrashClone(choice.Index), queue: NewMemQueue(opts.Seed), cached: make(map[*Mem][]*crashWrite),
	}
	for _, m := range d.drives {
		next.drives = append(next.drives, d.cutDrive(m, next, choice))
	}
	return next
}

// SetHook replaces the hook.
func (d *Domain) SetHook(hook func(event int)) {
	d.hookMu.Lock()
	defer d.hookMu.Unlock()
	d.hook = hook
}

func (d *Domain) cutDrive(m *Mem, next *Domain, choice Choice) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMem(m.id, MemOptions{Path: m.path, Size: m.size, Queue: next.queue, Device: m.device}, crashFS{next.fs, next}, next)
	c.used = m.used
	for seg, s := range m.segments {
		c.segments[seg] = &memSegment{drive: c, seg: seg, size: s.size, pages: maps.Clone(s.pages)}
	}
	writes := d.unstable(m)
	for _, w := range slices.Backward(writes) {
		for i, page := range w.old {
			c.put(w, i, page)
		}
	}
	for _, w := range writes {
		fate := Fate(Dropped)
		if choice.Write != nil {
			fate = choice.Write(w.describe())
		}
		w.apply(c, fate)
	}
	return c
}

// put stores one block of a write, if the segment that it was for is still there.
func (m *Mem) put(w *crashWrite, i int, page []byte) {
	block := w.off/BlockLen + int64(i)
	s := m.segments[w.seg.seg]
	if s == nil || w.seg.drive.segments[w.seg.seg] != w.seg || block*BlockLen >= s.size {
		return
	}
	s.pages[block] = page
}

// apply stores what fate keeps of a write in the drive as it will come back.
func (w *crashWrite) apply(m *Mem, fate Fate) {
	s := m.segments[w.seg.seg]
	if s == nil {
		return
	}
	sectors := len(w.data) / SectorLen
	for i := range len(w.data) / BlockLen {
		page := slices.Clone(s.page(w.off/BlockLen + int64(i)))
		for sector := i * BlockLen / SectorLen; sector < (i+1)*BlockLen/SectorLen; sector++ {
			if fate(sector, sectors) {
				from := sector * SectorLen
				copy(page[from-i*BlockLen:], w.data[from:from+SectorLen])
			}
		}
		m.put(w, i, page)
	}
}
