package engine

import "sync"

// generations tell when the last reader that may still use a dead volume has gone. A reader enters before it looks
// at the index and leaves when it has finished with the bytes. A volume that died in generation g is out of reach once no reader
// of generation g or earlier is left, because later readers looked at an index that no longer led there.
type generations struct {
	mu      sync.Mutex // Guards the fields below.
	current uint64
	readers map[uint64]int // Readers by the generation in which they entered; no zero counts.
}

func newGenerations() *generations {
	return &generations{readers: make(map[uint64]int)}
}

// enter returns the reader's generation, to be given back to leave.
func (g *generations) enter() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.readers[g.current]++
	return g.current
}

func (g *generations) leave(generation uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.readers[generation]; n > 1 {
		g.readers[generation] = n - 1
	} else {
		delete(g.readers, generation)
	}
}

// advance ends the current generation and returns it. It is called after the index has lost sight of what died.
func (g *generations) advance() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	ended := g.current
	g.current++
	return ended
}

// passed reports whether no reader of this generation or an earlier one is left.
func (g *generations) passed(generation uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for entered := range g.readers {
		if entered <= generation {
			return false
		}
	}
	return true
}
