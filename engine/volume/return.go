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
)

// Gone is what the Set held of a drive before it came back. Somebody may still be reading from it.
type Gone struct {
	Drive drive.Drive // nil if the drive was missing since the start.
	files []drive.File
}

// Close closes the segments; the drive is the caller's. Nobody may use them any more.
func (g *Gone) Close() error {
	var errs []error
	for _, f := range g.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Return takes back a drive of the cell that had failed or was missing. It is looked at as it would be at a start: if it is another
// drive, was removed, or went on without the others it is refused, and nothing is changed. What it holds is in its volumes again, except
// for what has been put elsewhere or freed meanwhile.
func (s *Set) Return(ctx context.Context, d drive.Drive) (*Gone, error) {
	done, err := s.beginChange(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	m := &member{drive: d}
	old, err := s.checkReturn(m)
	if err != nil {
		return nil, err
	}
	f, claims, void, err := s.survey(ctx, m)
	if err != nil {
		f.close()
		return nil, err
	}
	if err := s.readmit(m, void); err != nil {
		f.close()
		return nil, err
	}
	gone := &Gone{}
	members := slices.DeleteFunc(slices.Clone(s.all()), func(o *member) bool { return o == old })
	s.publish(append(members, m))
	if old != nil {
		gone.Drive = old.drive
	}
	s.swap(old, m, gone)
	var stale []*Retired
	for _, id := range slices.Sorted(maps.Keys(claims)) {
		stale = append(stale, s.reseat(m, claims[id])...)
	}
	s.mu.Lock()
	for _, t := range stale {
		s.retired[t] = true
	}
	s.mu.Unlock()
	for batch := range slices.Chunk(stale, scanBatch) {
		s.freeAll(batch)
	}
	s.log.Info("a drive is back", "drive", d.Path(), "id", d.ID().String(), "volumes", len(claims), "outdated", len(stale))
	s.replan()
	return gone, nil
}

// checkReturn refuses a drive that cannot be taken back. It returns the member that it takes the place of, or nil.
func (s *Set) checkReturn(m *member) (old *member, err error) {
	if m.identity, err = s.askIdentity(m); err != nil {
		return nil, err
	}
	id, roster := m.identity.Drive, s.currentRoster()
	old = s.member(id)
	switch {
	case slices.Contains(roster.Removed, id):
		return nil, RemovedError(m.drive.Path(), id)
	case !slices.Contains(roster.Known, id):
		return nil, unknownError(m.drive.Path(), id)
	case old != nil && !old.failed():
		return nil, &drive.RefusedError{
			Path: m.drive.Path(), Reason: drive.Duplicate, Right: "take the copy away",
			What: fmt.Sprintf("has the same drive id as %s, %v: one is a copy of the other", old.drive.Path(), id),
		}
	}
	if end, ok := last(m.identity.Starts); ok && !knows(s.history, end) {
		return nil, &drive.RefusedError{
			Path: m.drive.Path(), Reason: drive.Damaged,
			What:  fmt.Sprintf("took part in a start (epoch %d) that this store does not know of: the two went on without each other", end.Epoch),
			Right: "give it back empty",
		}
	}
	m.draining.Store(slices.Contains(roster.Draining, id))
	return old, nil
}

// survey reads the headers of a drive's segments: those that are of volumes, by volume, and those that are of no account.
func (s *Set) survey(ctx context.Context, m *member) (f *scanned, claims map[ID][]claim, void []scannedSegment, err error) {
	f = new(scanned)
	found, result := f, make(chan error, 1)
	var tick atomic.Int64
	go func() { result <- s.scanDrive(ctx, m, found, &tick) }()
	if err := waitProgress(result, &tick, s.opts.Timeout); err != nil {
		if errors.Is(err, ErrTimeout) {
			f = new(scanned) // Its goroutine still owns what it has found.
		}
		return f, nil, nil, err
	}
	claims = make(map[ID][]claim)
	p, h := pastOf(&m.identity), history{confirmed: s.history}
	for i := range f.segments {
		seg := &f.segments[i]
		m.segments++
		m.held.Add(seg.size)
		m.next = max(m.next, seg.seg+1)
		switch {
		case errors.Is(seg.err, errBlank), seg.err == nil && seg.header.Class == classFree:
			m.free = append(m.free, freeSegment{seg.seg, seg.size})
		case errors.Is(seg.err, ErrVersion):
			return f, nil, nil, segmentRefused(m, seg, drive.NewerFormat, seg.err.Error(), "use the version that wrote it or a later one")
		case seg.err != nil:
			m.damaged.Add(1)
			s.log.Warn("a segment's header cannot be trusted; the segment is left alone",
				"drive", m.drive.Path(), "segment", seg.seg, "error", seg.err)
		case p.void(seg.header.Epoch, h):
			void = append(void, *seg)
		default:
			if err := s.checkPlace(m, seg); err != nil {
				return f, nil, nil, err
			}
			if v := s.Get(seg.header.Volume); v != nil && !v.header.sameVolume(&seg.header) {
				return f, nil, nil, segmentRefused(m, seg, drive.Damaged,
					fmt.Sprintf("shard %d of %v, but other drives describe that volume differently", seg.header.Shard, v),
					"find out which of the drives are not of this store as it is now")
			}
			claims[seg.header.Volume] = append(claims[seg.header.Volume], claim{m, seg})
		}
	}
	return f, claims, void, nil
}

// readmit makes a drive know what it has missed. Segments of no account are freed before it forgets why they are.
func (s *Set) readmit(m *member, void []scannedSegment) error {
	roster := s.currentRoster()
	_, errs := parallel(s, []*member{m}, func(int) (struct{}, error) {
		for _, f := range void {
			h := f.header
			h.Class = classFree
			if err := s.writeHeader(f.file, h); err != nil {
				return struct{}{}, err
			}
		}
		id := m.identity
		id.Starts, id.Base, id.Pending = s.history, nil, nil
		id.Roster = roster
		return struct{}{}, drive.WriteIdentity(m.drive, id)
	}, nil)
	if errs[0] != nil {
		return errs[0]
	}
	m.noteBehind(pastOf(&m.identity), history{confirmed: s.history})
	m.identity.Starts, m.identity.Base, m.identity.Pending = s.history, nil, nil
	for _, f := range void {
		if err := f.file.Close(); err != nil {
			return err
		}
		m.free = append(m.free, freeSegment{f.seg, f.size})
	}
	return nil
}

// swap puts a drive that is back in the place of what it was before, old or nothing, in every volume. Its segments there are handed to
// gone; those it has now are seated afterwards.
func (s *Set) swap(old, m *member, gone *Gone) {
	for _, v := range s.Volumes() {
		if !v.Pin() {
			continue // Whoever freed it closes its segments.
		}
		v.placing <- struct{}{}
		p := v.seats.Load()
		if i := slices.Index(p.drives, m.drive.ID()); i >= 0 && p.members[i] == old {
			if p.files[i] != nil {
				gone.files = append(gone.files, p.files[i])
			}
			v.seats.Store(p.with(i, p.placed, m, nil))
		}
		<-v.placing
		v.Unpin()
	}
}

// reseat gives a drive that is back its places in a volume. It returns the segments whose place others have taken.
func (s *Set) reseat(m *member, claims []claim) (stale []*Retired) {
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(b.header.Placed, a.header.Placed) })
	outdate := func() []*Retired {
		for _, c := range claims {
			stale = append(stale, &Retired{set: s, member: m, file: c.file, header: c.header})
		}
		return stale
	}
	v := s.Get(claims[0].header.Volume)
	if v == nil && claims[0].header.Epoch == s.epoch {
		return outdate() // We made it, and have freed it or given it up since.
	}
	if v == nil {
		// All its drives were away, or it was freed meanwhile: whoever knows what is live frees it again.
		var err error
		if v, err = newVolume(s, claims[0].header); err != nil {
			panic("volume: a header that was checked: " + err.Error())
		}
		s.mu.Lock()
		if other := s.volumes[v.ID()]; other != nil {
			v = other
		} else {
			s.volumes[v.ID()] = v
		}
		s.mu.Unlock()
	}
	if !v.Pin() { // Freed just now.
		return outdate()
	}
	defer v.Unpin()
	v.placing <- struct{}{}
	defer func() { <-v.placing }()
	p := v.seats.Load()
	for _, c := range claims {
		i, own := c.header.Shard, slices.Index(p.drives, m.drive.ID())
		if p.files[i] == nil && (own == i || own < 0) {
			// Its own place, or one whose later segment is away: what it holds was right once.
			p = p.with(i, max(p.placed, c.header.Placed), m, c.file)
		} else {
			stale = append(stale, &Retired{set: s, member: m, file: c.file, header: c.header})
		}
	}
	v.seats.Store(p)
	return stale
}
