package volume

import (
	"cmp"
	"slices"
	"time"

	"penstock/engine/drive"
)

// spaceSample is the space of all members at one time. A file system that several drives
// share is counted once: each drive has its part.
type spaceSample struct {
	room map[*member]memberSpace
	at   time.Time
}

// memberSpace is a member's part of its file system. raw is what that could still give to anyone; reach is what the store has of it or
// could have, which is less than total where others keep something there.
type memberSpace struct{ total, reach, raw int64 }

// of returns the space of a member; none if it has become one since.
func (s *spaceSample) of(m *member) memberSpace { return s.room[m] }

// spaceAge is how old a sample may be for questions that need no exact answer, such as Full: they come
// with every request.
const spaceAge = time.Second

// sample asks all drives for their space. One that does not answer has none, and is failed.
func (s *Set) sample() *spaceSample {
	members := s.all()
	values, errs := parallel(s, members, func(i int) (memberSpace, error) {
		m := members[i]
		if m.failed() {
			return memberSpace{}, nil
		}
		return m.space()
	}, nil)
	sample := &spaceSample{room: make(map[*member]memberSpace, len(members)), at: time.Now()}
	for i, m := range members {
		if errs[i] != nil {
			s.fail(m, errs[i])
			continue
		}
		sample.room[m] = values[i]
	}
	s.space.Store(sample)
	return sample
}

// space asks the drive for its space.
func (m *member) space() (memberSpace, error) {
	total, raw, err := m.drive.Space()
	shares := int64(m.shares.Load())
	total, raw = total/shares, raw/shares
	return memberSpace{total: total, reach: min(total, m.held.Load()+raw), raw: raw}, err
}

// sampled returns the last sample. If that is old it has a new one taken in the background, so that a
// drive that hangs holds up nobody who only asks.
func (s *Set) sampled() *spaceSample {
	sample := s.space.Load()
	if time.Since(sample.at) > spaceAge && s.sampling.CompareAndSwap(false, true) {
		if !s.enter() {
			return sample
		}
		go func() {
			defer s.tasks.Done()
			defer s.sampling.Store(false)
			s.sample()
		}()
	}
	return sample
}

// freeLen returns the bytes of the member's free segments. The caller holds Set.mu.
func (m *member) freeLen() int64 {
	var n int64
	for _, f := range m.free {
		n += f.size
	}
	return n
}

// indexRoom returns how much of a drive is left to the index and its checkpoints, which cannot use the
// space of free segments.
func (m memberSpace) indexRoom() int64 { return min(m.reach/indexShare, maxIndexShare) }

// length returns the length of new segments of a class.
func (s *Set) length(c Class) int64 {
	if c == Journal {
		return s.journalLen
	}
	return s.bulkLen
}

// hasRoom reports whether a member can take another segment of the class. Bulk leaves the reserve, and all but what is for compaction leave
// the last journal volume; both leave room for the index. The caller holds s.mu.
func (s *Set) hasRoom(space *spaceSample, m *member, c Class, spare bool) bool {
	return s.hasRoomFor(space, m, c, s.length(c), spare)
}

// hasRoomFor is hasRoom for a segment of the given length.
func (s *Set) hasRoomFor(space *spaceSample, m *member, c Class, length int64, spare bool) bool {
	room := space.of(m)
	left := room.raw + m.freeLen() - length - room.indexRoom()
	switch {
	case c == Bulk && !spare:
		left -= int64(s.opts.Reserve)*s.journalLen + s.bulkLen
	case c == Bulk || !spare:
		left -= s.journalLen
	}
	return left >= 0
}

// plan chooses k, m and the drives of the next volume of a class, in shard order. Drives in full
// are taken to have no room. spare says that the volume is compaction's.
func (s *Set) plan(c Class, space *spaceSample, full map[*member]bool, spare bool) (k int, members []*member, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type candidate struct {
		*member
		free int64
		rank int // Among the candidates of its file system, most room first.
	}
	var candidates []candidate
	healthy := 0
	for _, m := range s.all() {
		if !m.usable() {
			continue
		}
		healthy++
		if raw := space.of(m).raw; !full[m] && s.hasRoom(space, m, c, spare) {
			candidates = append(candidates, candidate{member: m, free: raw + m.freeLen()})
		}
	}
	if healthy == 0 {
		return 0, nil, s.noDrives()
	}
	k, m := Geometry(healthy, s.opts.Parity)
	k = min(k, len(candidates)-m)
	if k < 1 {
		return 0, nil, ErrFull
	}
	// Drives that share a file system fail together: take a second of one only when all have given one.
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.free, a.free) })
	seen := make(map[uint64]int)
	for i := range candidates {
		device := candidates[i].drive.Device()
		candidates[i].rank = seen[device]
		seen[device]++
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	candidates = candidates[:k+m]
	// The shards start at another drive each time, so that parity, which healthy reads do not touch,
	// is spread over all.
	slices.SortFunc(candidates, func(a, b candidate) int { return compareIDs(a.drive.ID(), b.drive.ID()) })
	for i := range candidates {
		members = append(members, candidates[(i+int(s.sequence))%len(candidates)].member)
	}
	return k, members, nil
}

func compareIDs(a, b drive.ID) int { return slices.Compare(a[:], b[:]) }

// Space returns the bytes of the healthy drives and how many of these are neither taken by others nor by
// volumes, parity included in both. It may be a second old.
func (s *Set) Space() (total, free int64) {
	for _, d := range s.Drives() {
		if d.State == DriveOK {
			total, free = total+d.Total, free+d.Free
		}
	}
	return total, free
}

// Journals returns how many more journal volumes find room, on as few drives as parity allows. It may be a second late.
func (s *Set) Journals() int {
	space := s.sampled()
	s.mu.Lock()
	defer s.mu.Unlock()
	var counts []int
	for _, m := range s.all() {
		if m.usable() {
			room := space.of(m)
			counts = append(counts, int(max(0, room.raw+m.freeLen()-room.indexRoom())/s.journalLen))
		}
	}
	k, m := Geometry(len(counts), s.opts.Parity)
	if k == 0 {
		return 0
	}
	slices.SortFunc(counts, func(a, b int) int { return cmp.Compare(b, a) })
	return counts[m]
}

// Full reports whether there is no room for another volume of a class. It may be a second late.
func (s *Set) Full(c Class) bool {
	_, _, err := s.plan(c, s.sampled(), nil, false)
	return err != nil
}
