package volume

import (
	"cmp"
	"slices"

	"penstock/engine/drive"
)

// Move is a shard that ought to be on another drive.
type Move struct {
	Volume   *Volume
	Shard    int
	From, To drive.ID
	Len      int64 // Of its segment.
}

// memberUse is how full a drive is: 0 to 1.
type memberUse struct {
	*member
	reach int64
	use   float64
}

// uses returns the drives that take segments, the emptiest first. The caller holds s.mu.
func (s *Set) uses(space *spaceSample) []memberUse {
	var uses []memberUse
	for _, m := range s.all() {
		room := space.of(m)
		if m.usable() && room.reach > 0 {
			uses = append(uses, memberUse{m, room.reach, 1 - float64(room.raw+m.freeLen())/float64(room.reach)})
		}
	}
	slices.SortFunc(uses, func(a, b memberUse) int { return cmp.Compare(a.use, b.use) })
	return uses
}

// Spread returns by how much the fullest drive is fuller than the emptiest, of what each could hold. It may be a second late.
func (s *Set) Spread() float64 {
	space := s.sampled()
	s.mu.Lock()
	defer s.mu.Unlock()
	uses := s.uses(space)
	if len(uses) < 2 {
		return 0
	}
	return uses[len(uses)-1].use - uses[0].use
}

// Uneven returns a move that makes drives whose uses differ by more than spread more alike, or false if there is none: from as full a drive
// as possible to as empty a one, and no volume comes to have more shards in one failure domain by it than it has.
// Only volumes that may move are considered; nil means all.
func (s *Set) Uneven(spread float64, may func(*Volume) bool) (Move, bool) {
	volumes := s.Volumes()
	space := s.sample()
	s.mu.Lock()
	defer s.mu.Unlock()
	uses := s.uses(space)
	for i := len(uses) - 1; i > 0; i-- {
		from := uses[i]
		for _, to := range uses[:i] {
			if from.use-to.use <= spread {
				break // The others are fuller.
			}
			for _, v := range volumes {
				move, ok := v.moveBetween(from, to)
				if ok && s.hasRoomFor(space, to.member, v.Class(), move.Len, false) && (may == nil || may(v)) {
					return move, true
				}
			}
		}
	}
	return Move{}, false
}

// moveBetween returns the move of v's shard, if it has one on from and none on to, and the move leaves to no fuller than from.
func (v *Volume) moveBetween(from, to memberUse) (Move, bool) {
	p := v.seats.Load()
	shard := slices.Index(p.members, from.member)
	if shard < 0 || slices.Contains(p.drives, to.drive.ID()) || len(v.moving) > 0 {
		return Move{}, false
	}
	f := p.file(shard)
	if f == nil {
		return Move{}, false
	}
	n := f.Size()
	if to.use+float64(n)/float64(to.reach) > from.use-float64(n)/float64(from.reach) {
		return Move{}, false
	}
	there, here := 0, 0 // Of the other shards, those in either's failure domain.
	for i, m := range p.members {
		if i == shard {
			continue
		}
		if m == nil {
			return Move{}, false // Healing comes first.
		}
		if m.drive.Device() == to.drive.Device() {
			there++
		}
		if m.drive.Device() == from.drive.Device() {
			here++
		}
	}
	return Move{Volume: v, Shard: shard, From: from.drive.ID(), To: to.drive.ID(), Len: n}, there <= here
}
