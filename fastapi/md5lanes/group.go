package md5lanes

import (
	"runtime"
	"sync"
)

// Lanes is how many streams are hashed at once.
const Lanes = 16

// sliceLen is how much of each lane is hashed before those who came meanwhile are let in: 60 µs of work.
const sliceLen = 32 << 10

// A Group is the streams that share lanes: all of a process.
type Group struct {
	mu      sync.Mutex // Guards the fields below.
	leaders int        // Goroutines that hash for others.
	waiting []*run     // Of those that nobody hashes yet, in the order in which they came.
	spare   []*set     // For the next leaders.
}

// A run is whole blocks that one stream brings.
type run struct {
	data []byte
	hash *Hash
	// wake ends its stream's wait: with nil when the run is hashed, else with a set to lead, itself in it.
	wake chan *set
}

// A set is the runs that one leader hashes. They fill its first lanes.
type set struct {
	count int
	runs  [Lanes]*run
	state [4][Lanes]uint32
	heads [Lanes]*byte
}

// hash takes the whole blocks of r into the state of its stream.
func (g *Group) hash(r *run) {
	g.mu.Lock()
	// One leader at a time fills the most lanes, but whoever completes a full set need not wait for it.
	if g.leaders > 0 && len(g.waiting) < Lanes-1 {
		g.waiting = append(g.waiting, r)
		g.mu.Unlock()
		if s := <-r.wake; s != nil {
			g.lead(s, r)
		}
		return
	}
	g.leaders++
	s := g.takeSet()
	s.add(r)
	g.mu.Unlock()
	runtime.Gosched() // Others that have bytes bring them now.
	g.lead(s, r)
}

// takeSet returns an empty set; g.mu is held.
func (g *Group) takeSet() *set {
	last := len(g.spare) - 1
	if last < 0 {
		return new(set)
	}
	s := g.spare[last]
	g.spare = g.spare[:last]
	return s
}

// lead hashes the runs of s, and those that come, until own is done. Then it hands the others over.
func (g *Group) lead(s *set, own *run) {
	for {
		g.mu.Lock()
		g.fill(s)
		g.mu.Unlock()
		if s.step(own) {
			break
		}
	}
	g.mu.Lock()
	g.fill(s)
	if s.count == 0 {
		g.leaders--
		g.spare = append(g.spare, s)
		g.mu.Unlock()
		return
	}
	next := s.runs[0]
	g.mu.Unlock()
	next.wake <- s // Has room: a run is woken once.
}

// fill moves runs that wait into empty lanes; g.mu is held.
func (g *Group) fill(s *set) {
	n := min(Lanes-s.count, len(g.waiting))
	for _, r := range g.waiting[:n] {
		s.add(r)
	}
	left := copy(g.waiting, g.waiting[n:])
	clear(g.waiting[left:])
	g.waiting = g.waiting[:left]
}

func (s *set) add(r *run) {
	s.runs[s.count] = r
	for i, word := range r.hash.state {
		s.state[i][s.count] = word
	}
	s.count++
}

// step hashes a slice of every run, and lets those go that are done. It reports whether own is among them.
func (s *set) step(own *run) (done bool) {
	length := sliceLen
	for _, r := range s.runs[:s.count] {
		length = min(length, len(r.data))
	}
	for lane := range s.heads {
		s.heads[lane] = &s.runs[min(lane, s.count-1)].data[0] // Lanes without a run do what the last one does.
	}
	blocks16(&s.state, &s.heads, length/BlockSize)
	clear(s.heads[:])
	for lane := s.count - 1; lane >= 0; lane-- {
		r := s.runs[lane]
		if r.data = r.data[length:]; len(r.data) > 0 {
			continue
		}
		s.remove(lane)
		if r == own {
			done = true
		} else {
			r.wake <- nil
		}
	}
	return done
}

// remove gives a lane's state back to its stream, and moves the last lane into its place.
func (s *set) remove(lane int) {
	last := s.count - 1
	for i := range s.state {
		s.runs[lane].hash.state[i] = s.state[i][lane]
		s.state[i][lane] = s.state[i][last]
	}
	s.runs[lane] = s.runs[last]
	s.runs[last] = nil
	s.count = last
}
