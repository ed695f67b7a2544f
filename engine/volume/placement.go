package volume

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"penstock/engine/drive"
)

// placement is where the shards of a volume are. It is replaced as a whole when a shard moves, and does not change once others
// can see it.
type placement struct {
	placed  uint64       // Of the latest header that says so.
	drives  []drive.ID   // In shard order; no drive twice.
	members []*member    // In shard order; nil where the drive is missing.
	files   []drive.File // In shard order; nil where there is no segment. Closed when the volume is freed.
}

// newPlacement returns the placement that a header tells of, without segments.
func (s *Set) newPlacement(h *header) *placement {
	n := h.K + h.M
	p := &placement{placed: h.Placed, drives: slices.Clone(h.Drives), members: make([]*member, n), files: make([]drive.File, n)}
	for i, id := range h.Drives {
		p.members[i] = s.member(id)
	}
	return p
}

// file returns the segment of shard i if its drive is healthy.
func (p *placement) file(i int) drive.File {
	if p.files[i] == nil || p.members[i].failed() {
		return nil
	}
	return p.files[i]
}

// with returns the placement after shard i has moved.
func (p *placement) with(i int, placed uint64, m *member, f drive.File) *placement {
	q := &placement{
		placed: placed, drives: slices.Clone(p.drives), members: slices.Clone(p.members), files: slices.Clone(p.files),
	}
	q.drives[i], q.members[i], q.files[i] = m.drive.ID(), m, f
	q.check()
	return q
}

// check holds the invariant that no two shards of a volume are on one drive.
func (p *placement) check() {
	for i, id := range p.drives {
		if slices.Contains(p.drives[:i], id) {
			panic("volume: two shards on one drive")
		}
	}
}

// claim is a segment that says it is a shard of a volume.
type claim struct {
	*member
	*scannedSegment
}

// seat makes a volume of the segments that claim to be of it. It returns those whose place others have taken.
//
// The latest claim to a shard wins, so a drive that returns with what has since been put elsewhere changes nothing. If the segment that took
// its place is not here, the older one serves: what it holds was right once, a volume whose shards move is written
// no more, and whoever reads it knows the checksums. It is kept as long as nothing newer is here to do without it.
func (s *Set) seat(claims []claim) (stale []*Retired, err error) {
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(b.header.Placed, a.header.Placed) })
	latest := &claims[0].header
	v, err := newVolume(s, *latest)
	if err != nil {
		return nil, err
	}
	p := v.seats.Load()
	won := make([]*claim, len(p.files))
	for i := range claims {
		c := &claims[i]
		h := &c.header
		if slices.ContainsFunc(claims[:i], func(o claim) bool { return !o.header.sameVolume(h) }) {
			return nil, segmentRefused(c.member, c.scannedSegment, drive.Damaged,
				fmt.Sprintf("shard %d of %v, but other drives describe that volume differently", h.Shard, v),
				"find out which of the drives are not of this store as it is now")
		}
		if other := won[h.Shard]; other != nil && other.header.Placed == h.Placed {
			return nil, segmentRefused(c.member, c.scannedSegment, drive.Duplicate,
				fmt.Sprintf("shard %d of %v, which segment %d has too", h.Shard, v, other.seg), takeAway)
		}
		if at := slices.Index(p.drives, c.drive.ID()); won[h.Shard] != nil || at >= 0 && at != h.Shard {
			continue // Another one is this shard, or the drive holds another shard now.
		}
		won[h.Shard] = c
		p.drives[h.Shard], p.members[h.Shard], p.files[h.Shard] = c.drive.ID(), c.member, c.file
	}
	p.check()
	s.volumes[v.ID()] = v
	for i := range claims {
		c := &claims[i]
		switch winner := won[c.header.Shard]; {
		case winner == c:
			continue
		case winner != nil:
			stale = append(stale, &Retired{set: s, member: c.member, file: c.file, header: c.header})
		default:
			c.stale++
			if err := c.file.Close(); err != nil {
				s.fail(c.member, fmt.Errorf("close segment %d: %w", c.seg, err))
			}
			c.file = nil // Not found's to close any more.
		}
	}
	return stale, nil
}

// freeStale frees segments whose place others have taken, once the start is confirmed: until then nothing that was there is changed.
func (s *Set) freeStale(stale []*Retired) {
	if len(stale) == 0 {
		return
	}
	s.log.Info("segments whose place others have taken while their drives were away are freed", "segments", len(stale))
	for _, t := range stale {
		s.retired[t] = true // Nobody else has s yet.
	}
	s.deferred = append(s.deferred, func() {
		for batch := range slices.Chunk(stale, scanBatch) {
			s.freeAll(batch)
		}
		s.sample()
	})
}

// freeSegment makes a segment free whose header, h, says that it is a shard.
func (s *Set) freeSegment(m *member, f drive.File, h header) error {
	if m.failed() {
		return f.Close()
	}
	h.Class = classFree
	if err := s.writeHeader(f, h); err != nil {
		return errors.Join(err, f.Close())
	}
	return s.giveBack(m, f)
}
