package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/ioring"
	"penstock/meta"
	"penstock/numa"
)

// UsageError is a mistake in what the store was asked to open: one line that names what is wrong and what would be right.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// MinMemory is the least that Options.Memory may be: room for the journal's batches and a few dozen stripes per cell.
const MinMemory = 128 << 20

// The shortest segments: a journal volume must hold two of the largest batches, a bulk volume a full stripe.
const (
	MinJournalSegment = 8 << 20
	MinBulkSegment    = 2 << 20
)

// cellPlan is what a cell is opened from.
type cellPlan struct {
	id      int
	cluster drive.ID
	node    numa.Node
	roster  drive.Roster  // Of the drives that are there.
	drives  []drive.Found // Formatted for it, whether or not it may serve them.
	paths   []string      // Of those that it serves.
	missing []drive.Found // Given, but not usable.
}

// Open opens the store on its drives; blank drives become a new store if Options.Format says so. A *UsageError means that the
// options or the drives are not right; a *MissingError, that drives are missing; anything else, that the store is hurt.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	seen, _ := lookForDrives(opts.Drives)
	plans, err := planCells(&opts)
	if err != nil {
		return nil, orMissing(ctx, &opts, seen, err)
	}
	s := newStore(opts)
	for _, plan := range plans {
		c, err := openDirs(ctx, &s.opts, plan, s.opts.Memory/int64(len(plans)))
		if err != nil {
			s.Close(ctx)
			return nil, orMissing(ctx, &opts, seen, err)
		}
		s.cells = append(s.cells, c)
	}
	if err := s.begin(); err != nil {
		s.Close(ctx)
		return nil, orMissing(ctx, &opts, seen, err)
	}
	return s, nil
}

// begin lets the store be used once its cells have started.
func (s *Store) begin() error {
	first := s.cells[0]
	if err := s.loadBuckets(first.base.Load()); err != nil {
		return err
	}
	kept, err := first.base.Load().index.Config(lockTimeConfig)
	if err == nil {
		err = s.lockTime.start(kept)
	}
	if err != nil {
		return err
	}
	first.recovered = s.loadBuckets
	for _, c := range s.cells {
		c.names = s.names
		c.joined = s.spreadSmallFiles
		c.run()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.tasks.Go(func() { s.keepLockTime(ctx) })
	s.tasks.Go(func() { s.followRules(ctx) })
	return nil
}

func newStore(opts Options) *Store {
	return &Store{
		opts: opts, log: opts.Logger, now: opts.Clock, minPart: MinPartLen,
		names: newKeyLocks(), buckets: make(map[string]*bucket), lockTime: newLockTime(opts.Clock, opts.Logger),
	}
}

func (o *Options) check() error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory()
	}
	if o.ScrubPeriod == 0 {
		o.ScrubPeriod = defaultScrubPeriod
	}
	if o.ScrubRate == 0 {
		o.ScrubRate = defaultScrubRate
	}
	if len(o.Topology.Nodes) == 0 {
		o.Topology.Nodes = []numa.Node{{ID: 0}}
	}
	switch {
	case len(o.Drives) == 0:
		return usage("no drive given; name at least one directory")
	case o.Memory < MinMemory:
		return usage("memory of %d MiB is too little; at least %d MiB are needed", o.Memory>>20, int64(MinMemory)>>20)
	case o.JournalSegment != 0 && o.JournalSegment < MinJournalSegment:
		return usage("journal segments of %d bytes are too short; at least %d are needed", o.JournalSegment, MinJournalSegment)
	case o.BulkSegment != 0 && o.BulkSegment < MinBulkSegment:
		return usage("bulk segments of %d bytes are too short; at least %d are needed", o.BulkSegment, MinBulkSegment)
	case o.Parity < -1 || o.Parity > 16:
		return usage("parity %d is not in 0 to 16; leave it out to have it chosen by the number of drives", o.Parity)
	case o.Parity >= 0 && o.Parity >= len(o.Drives):
		return usage("parity %d needs at least %d drives and %d given", o.Parity, o.Parity+1, len(o.Drives))
	}
	return nil
}

// DefaultMemory is an eighth of the machine's memory, and never less than MinMemory: training hosts and storage hosts alike
// have better uses for most of the rest, and more would only enlarge the cache.
func DefaultMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 1 << 30
	}
	return max(int64(info.Totalram)*int64(info.Unit)/8, MinMemory)
}

// planCells looks at the drives, formats blank ones if that is wanted and safe, and says which cell each belongs to.
func planCells(opts *Options) ([]cellPlan, error) {
	found := drive.Scan(opts.Drives)
	var formatted, blank, absent, hurt []drive.Found
	for _, f := range found {
		refused, _ := errors.AsType[*drive.RefusedError](f.Err)
		switch {
		case refused != nil && (refused.Reason == drive.Damaged || refused.Reason == drive.Unusable || refused.Reason == drive.NotMounted):
			hurt = append(hurt, f)
		case f.Err != nil:
			return nil, &UsageError{f.Err}
		case f.State == drive.StateFormatted:
			formatted = append(formatted, f)
		case f.State == drive.StateBlank:
			blank = append(blank, f)
		default:
			absent = append(absent, f)
		}
	}
	fresh := len(formatted) == 0
	if fresh || unfinished(formatted, len(found)) {
		if len(hurt) > 0 {
			return nil, &UsageError{hurt[0].Err}
		}
		if !opts.Format {
			return nil, usage("drive %s is blank; start a server on it once to format it", append(blank, absent...)[0].Path)
		}
		if err := formatAll(opts, found, formatted); err != nil {
			return nil, err
		}
		opts.Format = false
		return planCells(opts)
	}
	return groupCells(opts, found, formatted)
}

// unfinished reports whether the drives are those of a store whose format was interrupted: none has ever been started on.
func unfinished(formatted []drive.Found, given int) bool {
	if len(formatted) == given {
		return false
	}
	for _, f := range formatted {
		if f.Identity.Epoch() > 0 || len(f.Identity.Known) > given {
			return false
		}
	}
	return true
}

// formatAll makes one store of the drives. Those in formatted are of an attempt that was interrupted, and keep their identity.
func formatAll(opts *Options, found, formatted []drive.Found) error {
	cluster := drive.NewID()
	if len(formatted) > 0 {
		cluster = formatted[0].Identity.Cluster
	}
	cells := assignCells(opts, found)
	ids := make([]drive.ID, len(found))
	for i, f := range found {
		if f.State == drive.StateFormatted {
			ids[i] = f.Identity.Drive
			cells[i] = int(f.Identity.Cell)
		} else if f.Err == nil {
			ids[i] = drive.NewID()
		}
	}
	// Of an interrupted attempt, the ids that its drives know and nobody has are given out again, so that all agree on who is known.
	var spare []drive.ID
	for _, f := range formatted {
		for _, id := range f.Identity.Known {
			if !slices.Contains(ids, id) && !slices.Contains(spare, id) {
				spare = append(spare, id)
			}
		}
	}
	known := make(map[int][]drive.ID)
	for i, f := range found {
		if f.State != drive.StateFormatted && len(spare) > 0 {
			ids[i], spare = spare[0], spare[1:]
		}
		known[cells[i]] = append(known[cells[i]], ids[i])
	}
	for i, f := range found {
		if f.State == drive.StateFormatted {
			continue
		}
		if err := drive.Format(f.Path, drive.Identity{Cluster: cluster, Drive: ids[i], Cell: uint16(cells[i]), Roster: drive.Roster{Known: known[cells[i]]}}); err != nil {
			return &UsageError{err}
		}
		opts.Logger.Info("formatted a blank drive", "drive", f.Path, "id", ids[i].String(), "cell", cells[i])
	}
	return nil
}

// assignCells gives each directory the cell of the NUMA node that its device belongs to. Devices that do not say go to
// cell 0, and nodes without drives have no cell.
func assignCells(opts *Options, found []drive.Found) []int {
	nodes := make([]int, len(found))
	var used []int
	for i, f := range found {
		nodes[i] = deviceNode(opts.Topology, f.Path)
		if nodes[i] != numa.UnknownNode && !slices.Contains(used, nodes[i]) {
			used = append(used, nodes[i])
		}
	}
	slices.Sort(used)
	cells := make([]int, len(found))
	for i := range cells {
		cells[i] = max(slices.Index(used, nodes[i]), 0)
	}
	return cells
}

// deviceNode returns the NUMA node of the device that holds path, or that will hold it once it is made.
func deviceNode(t numa.Topology, path string) int {
	for {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err == nil {
			return t.BlockDeviceNode(unix.Major(st.Dev), unix.Minor(st.Dev))
		}
		parent := filepath.Dir(path)
		if parent == path {
			return numa.UnknownNode
		}
		path = parent
	}
}

// groupCells sorts the formatted drives into cells, looks for those that have joined since where they were last, and checks that what was given
// is what the drives know.
func groupCells(opts *Options, found, formatted []drive.Found) ([]cellPlan, error) {
	var plans []cellPlan
	for _, f := range formatted {
		i := slices.IndexFunc(plans, func(p cellPlan) bool { return p.id == int(f.Identity.Cell) })
		if i < 0 {
			plans = append(plans, cellPlan{id: int(f.Identity.Cell), cluster: f.Identity.Cluster, node: cellNode(opts.Topology, f.Path)})
			i = len(plans) - 1
		}
		plans[i].roster = plans[i].roster.Merge(f.Identity.Roster)
		plans[i].drives = append(plans[i].drives, f)
	}
	slices.SortFunc(plans, func(a, b cellPlan) int { return a.id - b.id })
	lost := 0
	for i := range plans {
		if plans[i].id != i {
			return nil, fmt.Errorf("no drive of cell %d is there: none of its objects can be served", i)
		}
		if err := plans[i].settle(opts, found); err != nil {
			return nil, err
		}
		lost += len(plans[i].roster.Known) - len(plans[i].paths)
	}
	for _, f := range found {
		if f.State == drive.StateFormatted && f.Err == nil {
			continue
		}
		plans[0].leaveOut(opts, f.Path, whyUnused(plans, f))
		plans[0].missing = append(plans[0].missing, f)
	}
	if lost > len(plans[0].missing) {
		opts.Logger.Warn("drives that the store knows are not there", "count", lost)
	}
	return plans, nil
}

// settle decides which drives serve the cell.
func (p *cellPlan) settle(opts *Options, given []drive.Found) error {
	here := make(map[drive.ID]bool)
	for _, f := range p.drives {
		id := f.Identity.Drive
		switch {
		case slices.Contains(p.roster.Removed, id):
			p.leaveOut(opts, f.Path, volume.RemovedError(f.Path, id).Error())
		case !slices.Contains(p.roster.Known, id) && f.Identity.Epoch() == 0:
			p.leaveOut(opts, f.Path, fmt.Sprintf("drive %s was about to be added when that was interrupted; add it again with: penstock drive add %s", f.Path, f.Path))
		default:
			here[id] = true
			p.paths = append(p.paths, f.Path)
		}
	}
	if len(p.paths) == 0 {
		return usage("drive %s was removed from this store, and no other drive of its cell is given", p.drives[0].Path)
	}
	for _, id := range p.roster.Known {
		path := p.roster.Paths[id]
		if here[id] || path == "" || slices.ContainsFunc(given, func(f drive.Found) bool { return absolute(f.Path) == absolute(path) }) {
			continue
		}
		// It has joined since, or somebody forgot to give it.
		if state, found, err := drive.Inspect(path); err == nil && state == drive.StateFormatted && found.Drive == id && found.Cluster == p.cluster {
			opts.Logger.Info("a drive that was not given is served from where it was last", "drive", path, "id", id.String())
			p.paths = append(p.paths, path)
		}
	}
	return nil
}

func (p *cellPlan) leaveOut(opts *Options, path, why string) {
	opts.Logger.Warn("starting without a drive", "drive", path, "reason", why)
}

// whyUnused says why a directory that was given is left alone.
func whyUnused(plans []cellPlan, f drive.Found) string {
	if f.Err != nil {
		return f.Err.Error()
	}
	for _, p := range plans {
		for id, path := range p.roster.Paths {
			if slices.Contains(p.roster.Known, id) && absolute(path) == absolute(f.Path) {
				return emptyReason(id, f.Path)
			}
		}
	}
	return "is empty: perhaps its file system is not mounted; it is left alone. If it is a new drive, add it with: penstock drive add " + f.Path
}

func cellNode(t numa.Topology, path string) numa.Node {
	if node, ok := t.Node(deviceNode(t, path)); ok {
		return node
	}
	return numa.Node{ID: numa.UnknownNode}
}

// openDirs opens a cell on directories.
func openDirs(ctx context.Context, opts *Options, plan cellPlan, memory int64) (_ *cell, err error) {
	c := newCell(opts, plan.id, plan.cluster)
	defer func() {
		if err != nil {
			c.close(ctx)
		}
	}()
	arenaLen, _ := splitMemory(memory)
	if c.arena, err = ioring.NewArena(ioring.ArenaOptions{Size: arenaLen, Node: plan.node.ID}); err != nil {
		return nil, fmt.Errorf("buffer arena of %d MiB: %w", arenaLen>>20, err)
	}
	c.queue, err = ioring.Open(ioring.Options{Arena: c.arena, CPUs: plan.node.CPUs, Force: ioring.Rung(opts.IO), Logger: opts.Logger})
	if err != nil {
		return nil, err
	}
	queue := drive.NewRingQueue(c.queue)
	c.node, c.source = plan.node.ID, dirSource{queue, plan.cluster, opts.Logger}
	for _, path := range plan.paths {
		d, err := drive.OpenDir(path, drive.DirOptions{Queue: queue, Cluster: plan.cluster, Logger: opts.Logger})
		if err != nil {
			if refused, ok := errors.AsType[*drive.RefusedError](err); ok && refused.Reason == drive.Locked {
				return nil, &UsageError{err}
			}
			opts.Logger.Warn("starting without a drive", "drive", path, "reason", err)
			continue
		}
		c.drives.put(d)
	}
	for _, f := range plan.missing {
		c.absent = append(c.absent, f.Path)
	}
	if len(c.drives.all()) == 0 {
		return nil, fmt.Errorf("cell %d: none of %s can be served", plan.id, strings.Join(plan.paths, ", "))
	}
	if err := c.start(ctx, plan.roster.Known, memory); err != nil {
		return nil, err
	}
	return c, nil
}

// splitMemory divides a cell's memory: the arena gets most, because it is what requests are made of; the rest is shared by the
// index's cache and memtables and the cache of small objects.
func splitMemory(memory int64) (arena, rest int64) {
	arena = memory * 5 / 8 &^ (2<<20 - 1)
	return arena, memory - arena
}

// loadBuckets makes the buckets known that a base of cell 0 has. It may not be the first base: then buckets
// may have come, changed and gone without this process having been told whether they would.
func (s *Store) loadBuckets(b *base) error {
	found := make(map[string]meta.Bucket)
	after := ""
	for {
		buckets, more, err := b.index.ListBuckets(after, "", MaxListEntries)
		if err != nil {
			return err
		}
		for _, b := range buckets {
			found[b.Name] = b
			after = b.Name
		}
		if !more {
			break
		}
	}
	var gone []*bucket
	s.mu.Lock()
	for name, known := range s.buckets {
		if b, ok := found[name]; !ok || b.ID != known.id {
			delete(s.buckets, name)
			gone = append(gone, known)
		}
	}
	for name, b := range found {
		if known := s.buckets[name]; known == nil {
			s.buckets[name] = s.newBucket(b)
		} else {
			s.describe(known, b)
		}
	}
	s.mu.Unlock()
	for _, b := range gone {
		b.gate.Lock() // Writes that hold it fail for want of a base.
		b.deleted = true
		b.gate.Unlock()
	}
	return nil
}

// Close stops the store. Requests in progress should have ended: it waits for those that use the index until ctx ends, and
// those that go on find the store unavailable.
// Only the first call does anything.
func (s *Store) Close(ctx context.Context) error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.stop != nil {
		s.stop()
		s.tasks.Wait()
		s.saveLockTime()
	}
	var errs []error
	for _, c := range s.cells {
		errs = append(errs, c.close(ctx))
	}
	return errors.Join(errs...)
}

// Crowded reports whether writes were refused lately for want of memory that other writes hold. Then who sends its body too
// slowly should make room.
func (s *Store) Crowded() bool {
	for _, c := range s.cells {
		if c.uploadMemory.crowded() || c.smallMemory.crowded() {
			return true
		}
	}
	return false
}

// Ready reports why the store cannot serve reads and writes, or nil.
func (s *Store) Ready(context.Context) error {
	for _, c := range s.cells {
		b, err := c.enter()
		if err == nil {
			err = errors.Join(b.index.Err(), b.journal.Err())
			b.leave()
		}
		if err != nil {
			return &Error{Op: "Ready", Kind: KindUnavailable, Err: err}
		}
	}
	return nil
}

// bucketPage sorts names and describes the first max of them.
func (s *Store) bucketPage(names []string, max int) BucketPage {
	slices.Sort(names)
	var page BucketPage
	if max <= 0 {
		return page
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, name := range names {
		b := s.buckets[name]
		if b == nil {
			continue // Deleted meanwhile.
		}
		if len(page.Buckets) == max {
			page.Truncated = true
			break
		}
		page.Buckets = append(page.Buckets, b.state.Load().info)
		page.Next = name
	}
	return page
}
