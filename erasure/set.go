package erasure

import (
	"iter"
	"math/bits"
)

// Set is a set of shard indices. MaxShards fits a word, so a set is passed by value and costs nothing.
type Set uint32

// SetOf returns the set of the given shards.
func SetOf(shards ...int) Set {
	var s Set
	for _, i := range shards {
		s = s.With(i)
	}
	return s
}

// With returns s and shard i.
func (s Set) With(i int) Set { return s | 1<<uint(i) }

// Without returns s less shard i.
func (s Set) Without(i int) Set { return s &^ (1 << uint(i)) }

// Has reports whether shard i is in s.
func (s Set) Has(i int) bool { return s&(1<<uint(i)) != 0 }

// Count returns the number of shards in s.
func (s Set) Count() int { return bits.OnesCount32(uint32(s)) }

// All yields the shards in s in ascending order.
func (s Set) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for rest := uint32(s); rest != 0; rest &= rest - 1 {
			if !yield(bits.TrailingZeros32(rest)) {
				return
			}
		}
	}
}
