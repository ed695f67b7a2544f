package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"penstock/engine/drive"
	"penstock/erasure"
)

// Open finds the volumes on the drives and begins a new epoch. A drive that cannot be read or written is
// failed and left out, as it would be later; what contradicts itself is refused by name.
func Open(ctx context.Context, opts Options) (*Set, error) {
	s, found, h, stale, err := find(ctx, opts)
	if err == nil {
		err = s.begin(found, h)
	}
	if err != nil {
		closeAll(found)
		return nil, err
	}
	s.freeStale(stale)
	space := s.sample()
	if len(s.healthy()) == 0 {
		err := s.noDrives()
		closeAll(found)
		return nil, err
	}
	s.chooseLengths(space)
	return s, nil
}

// Look finds the volumes on the drives as Open does, and changes nothing, neither then nor later. The Set is for reading: whatever
// would write answers ErrClosed.
func Look(ctx context.Context, opts Options) (*Set, error) {
	s, found, _, stale, err := find(ctx, opts)
	if err != nil {
		closeAll(found)
		return nil, err
	}
	s.looking = true
	for _, t := range stale {
		s.retired[t] = true // For Close.
		t.member.stale++
	}
	for i, m := range s.all() {
		for j := range found[i].segments {
			if f := &found[i].segments[j]; f.void {
				m.stale++
				if f.file != nil {
					s.retired[&Retired{set: s, member: m, file: f.file, header: f.header}] = true
				}
			}
		}
	}
	s.chooseLengths(s.sample())
	return s, nil
}

func closeAll(found []scanned) {
	for i := range found {
		found[i].close()
	}
}

// find reads what the drives say. It writes nothing, and leaves the segments of volumes open.
func find(ctx context.Context, opts Options) (s *Set, found []scanned, h history, stale []*Retired, err error) {
	if err := opts.check(); err != nil {
		return nil, nil, h, nil, err
	}
	s = &Set{
		opts: opts, log: opts.Logger, creating: make(chan struct{}, 1), changing: make(chan struct{}, 1), failure: make(chan struct{}), retired: make(map[*Retired]bool),
		volumes: make(map[ID]*Volume), codes: make(map[[2]int]*erasure.Code),
	}
	drives := slices.SortedFunc(slices.Values(opts.Drives), func(a, b drive.Drive) int { return compareIDs(a.ID(), b.ID()) })
	members := make([]*member, 0, len(drives))
	for _, d := range drives {
		members = append(members, &member{drive: d})
	}
	if n := s.publish(members); n < len(drives) {
		s.log.Warn("unprotected: drives share one file system", "drives", len(drives), "file systems", n)
	}
	found, err = s.scan(ctx)
	if err == nil {
		h, err = s.checkIdentities(found)
	}
	if err == nil {
		err = s.gatherRoster(found)
	}
	if err == nil {
		stale, err = s.gather(found)
	}
	return s, found, h, stale, err
}

// chooseLengths chooses the lengths of segments.
func (s *Set) chooseLengths(space *spaceSample) {
	smallest, largest := int64(0), int64(0)
	for _, m := range s.all() {
		if reach := space.of(m).reach; !m.failed() {
			if smallest == 0 || reach < smallest {
				smallest = reach
			}
			largest = max(largest, reach)
		}
	}
	s.journalLen, s.bulkLen = defaultLengths(smallest, largest)
	if s.opts.JournalLen != 0 {
		s.journalLen = s.opts.JournalLen
	}
	if s.opts.BulkLen != 0 {
		s.bulkLen = s.opts.BulkLen
	}
}

// noDrives is ErrNoDrives with the reason of each drive.
func (s *Set) noDrives() error {
	errs := []error{ErrNoDrives}
	for _, m := range s.all() {
		if err := m.err.Load(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.drive.Path(), *err))
		}
	}
	return errors.Join(errs...)
}

// scanned is what one drive was found to hold.
type scanned struct {
	identity drive.Identity
	segments []scannedSegment
}

type scannedSegment struct {
	seg    uint32
	size   int64
	file   drive.File // Open if the header is that of a volume.
	header header
	err    error // Why there is no header.
	void   bool  // Of a start that came to nothing.
}

func (f *scanned) close() {
	for i := range f.segments {
		if file := f.segments[i].file; file != nil {
			_ = file.Close() // Nothing was written.
			f.segments[i].file = nil
		}
	}
}

// scan reads the identity and all headers of every drive, all drives at once.
func (s *Set) scan(ctx context.Context) ([]scanned, error) {
	// As long as there is progress a scan may take its time; a drive that stops answering ends it.
	members := s.all()
	ticks := make([]atomic.Int64, len(members))
	results := make([]chan error, len(members))
	found := make([]*scanned, len(members))
	for i, m := range s.all() {
		f := new(scanned)
		found[i], results[i] = f, make(chan error, 1)
		go func() { results[i] <- s.scanDrive(ctx, m, f, &ticks[i]) }()
	}
	all := make([]scanned, len(members))
	var refusal error
	for i, m := range s.all() {
		switch err := waitProgress(results[i], &ticks[i], s.opts.OpenTimeout); {
		case err == nil:
			all[i] = *found[i]
		case errors.Is(err, ErrTimeout): // Its goroutine still owns what it has found.
			s.fail(m, fmt.Errorf("scan: %w", err))
		case ctx.Err() != nil || isRefusal(err):
			found[i].close()
			refusal = cmp.Or(refusal, err)
		default:
			found[i].close()
			s.fail(m, fmt.Errorf("scan: %w", err))
		}
	}
	return all, refusal
}

// isRefusal tells what an operator must see to from what a broken drive answers.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*drive.RefusedError](err)
	return ok
}

// scanBatch is how many headers of a drive are read at once.
const scanBatch = 64

// scanDrive fills f. It counts its progress in tick.
func (s *Set) scanDrive(ctx context.Context, m *member, f *scanned, tick *atomic.Int64) (err error) {
	if f.identity, err = drive.ReadIdentity(m.drive); err != nil {
		return err
	}
	tick.Add(1)
	segs, err := m.drive.Segments()
	if err != nil {
		return err
	}
	tick.Add(1)
	for batch := range slices.Chunk(segs, scanBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		var group drive.Group
		var ops []*drive.Op
		first := len(f.segments)
		reading := make([]int, 0, len(batch)) // Segment of each op.
		for _, seg := range batch {
			found := scannedSegment{seg: seg}
			file, err := m.drive.Open(seg)
			if err != nil {
				found.err = fmt.Errorf("%w: %w", ErrDamaged, err)
			} else {
				found.file, found.size = file, file.Size()
			}
			switch {
			case err != nil:
			case found.size < headerLen:
				found.err = errBlank // Power failed while it was made.
			default:
				reading = append(reading, len(f.segments))
				ops = append(ops, &drive.Op{Kind: drive.Read, File: file, Bufs: [][]byte{drive.Aligned(headerLen)}})
			}
			f.segments = append(f.segments, found)
			tick.Add(1)
		}
		group.Submit(ops...)
		_ = group.Wait(context.Background()) // Who waits for us gives up; each op has its error.
		tick.Add(1)
		for i, op := range ops {
			found := &f.segments[reading[i]]
			if op.Err != nil {
				found.err = fmt.Errorf("%w: %w", ErrDamaged, op.Err)
			} else {
				found.header, found.err = parseHeader(op.Bufs[0])
			}
		}
		for i := first; i < len(f.segments); i++ {
			if found := &f.segments[i]; found.file != nil && (found.err != nil || found.header.Class == classFree) {
				if err := found.file.Close(); err != nil {
					return err
				}
				found.file = nil
			}
		}
	}
	return nil
}

// gather makes volumes of the segments. It returns the segments whose place others have taken.
func (s *Set) gather(found []scanned) (stale []*Retired, err error) {
	claims := make(map[ID][]claim)
	for i, m := range s.all() {
		if m.failed() {
			found[i].close()
			continue
		}
		for j := range found[i].segments {
			f := &found[i].segments[j]
			m.segments++
			m.held.Add(f.size)
			if f.seg == 1<<32-1 {
				return nil, fmt.Errorf("volume: no segment number is left on %s", m.drive.Path())
			}
			m.next = max(m.next, f.seg+1)
			switch {
			case f.void: // To be freed, once nothing is refused any more.
			case errors.Is(f.err, errBlank), f.err == nil && f.header.Class == classFree:
				m.free = append(m.free, freeSegment{f.seg, f.size})
			case errors.Is(f.err, ErrVersion):
				return nil, segmentRefused(m, f, drive.NewerFormat, f.err.Error(), "use the version that wrote it or a later one")
			case f.err != nil:
				m.damaged.Add(1)
				s.log.Warn("a segment's header cannot be trusted; the segment is left alone",
					"drive", m.drive.Path(), "segment", f.seg, "error", f.err)
			default:
				if err := s.checkPlace(m, f); err != nil {
					return nil, err
				}
				claims[f.header.Volume] = append(claims[f.header.Volume], claim{m, f})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(claims)) {
		left, err := s.seat(claims[id])
		if err != nil {
			return nil, err
		}
		stale = append(stale, left...)
	}
	return stale, nil
}

func segmentRefused(m *member, f *scannedSegment, reason drive.Reason, what, right string) error {
	return &drive.RefusedError{
		Path: m.drive.Path(), Reason: reason, What: fmt.Sprintf("has in segment %d: %s", f.seg, what), Right: right,
	}
}

// takeAway is what to do about a segment that lies where it does not belong.
const takeAway = "take the segment's file away"

// checkPlace refuses a segment that is not where it says it is.
func (s *Set) checkPlace(m *member, f *scannedSegment) error {
	h := &f.header
	switch {
	case h.Cluster != s.opts.Cluster:
		return segmentRefused(m, f, drive.OtherCluster, fmt.Sprintf("a segment of cluster %v", h.Cluster), takeAway)
	case h.Cell != s.opts.Cell:
		return segmentRefused(m, f, drive.OtherCluster, fmt.Sprintf("a segment of cell %d", h.Cell), takeAway)
	case h.Drives[h.Shard] != m.drive.ID():
		return segmentRefused(m, f, drive.Duplicate, fmt.Sprintf("a copy of segment %d of drive %v", h.Seg, h.Drives[h.Shard]), takeAway)
	case h.Seg != f.seg:
		return segmentRefused(m, f, drive.Duplicate, fmt.Sprintf("a copy of segment %d", h.Seg), takeAway)
	}
	return nil
}
