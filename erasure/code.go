package erasure

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"
)

const (
	// UnitLen is the length of a unit in every row but a stripe's last. At 64 KiB a row and its
	// parity stay in the second-level cache: encoding runs at three times the speed it has on
	// shards of 1 MiB.
	UnitLen = 64 << 10

	// MaxShards bounds k + m.
	MaxShards = 32

	// Align is what every unit's length and place on a drive is a multiple of, for O_DIRECT.
	Align = 4096
)

var (
	// ErrGeometry says that k and m, a layout, or the number of shards passed in make no sense.
	ErrGeometry = errors.New("erasure: impossible geometry")

	// ErrShardLen says that shards which must be equally long are not, or that a buffer to
	// rebuild into is too small.
	ErrShardLen = errors.New("erasure: wrong shard length")

	// ErrTooFewShards says that fewer than k shards are there to rebuild from.
	ErrTooFewShards = errors.New("erasure: too few shards to reconstruct")
)

// Code is the erasure code of k data and m parity shards. It is immutable and safe for concurrent
// use. Any k of the k + m shards determine the rest; with k = 1 the parity shards are copies.
type Code struct {
	k, m   int
	rs     reedsolomon.Encoder
	groups []group // nil unless the code is a wide one.
}

// codes remembers every code once made: its matrix and the inverses it has needed so far cost
// far more to make than to keep.
var codes [MaxShards + 1][MaxShards + 1]struct {
	once sync.Once
	code *Code
	err  error
}

// New returns the code of k data and m parity shards; m may be 0.
func New(k, m int) (*Code, error) {
	if err := checkKM(k, m); err != nil {
		return nil, err
	}
	slot := &codes[k][m]
	slot.once.Do(func() {
		// One goroutine: the caller is the unit of parallelism, and fanning a 64 KiB
		// shard out costs more than encoding it.
		rs, err := reedsolomon.New(k, m, reedsolomon.WithMaxGoroutines(1))
		if err != nil {
			slot.err = fmt.Errorf("erasure: code %d+%d: %w", k, m, err)
			return
		}
		groups, err := newGroups(rs, k, m)
		if err != nil {
			slot.err = fmt.Errorf("erasure: code %d+%d: %w", k, m, err)
			return
		}
		slot.code = &Code{k: k, m: m, rs: rs, groups: groups}
	})
	return slot.code, slot.err
}

func checkKM(k, m int) error {
	if k < 1 || m < 0 || k > MaxShards || m > MaxShards || k+m > MaxShards {
		return fmt.Errorf("%w: %d+%d", ErrGeometry, k, m)
	}
	return nil
}

// K returns the number of data shards.
func (c *Code) K() int { return c.k }

// M returns the number of parity shards.
func (c *Code) M() int { return c.m }

// shardVec is the vector handed to reedsolomon; pooled, because through its interface it escapes.
type shardVec [MaxShards][]byte

var shardVecs = sync.Pool{New: func() any { return new(shardVec) }}

func putShardVec(v *shardVec) {
	*v = shardVec{} // Keep no buffer alive.
	shardVecs.Put(v)
}

// zeros stands in for every shard that is empty. Nothing writes to it. It is one unit long because
// longer shards are worked on a unit at a time.
var zeros [UnitLen]byte

// Encode overwrites the parity shards with the parity of the data shards. All shards are equally
// long, except that a data shard of length 0 counts as zeros: a journal batch has such shards when
// it is not full, and they are neither stored nor read.
func (c *Code) Encode(data, parity [][]byte) error {
	if len(data) != c.k || len(parity) != c.m {
		return fmt.Errorf("%w: %d+%d shards given to a %d+%d code", ErrGeometry, len(data), len(parity), c.k, c.m)
	}
	if c.m == 0 {
		return nil
	}
	shardLen := len(parity[0])
	for i, p := range parity {
		if len(p) != shardLen || shardLen == 0 {
			return fmt.Errorf("%w: parity shard %d has %d bytes, the first has %d", ErrShardLen, c.k+i, len(p), shardLen)
		}
	}
	for i, d := range data {
		if len(d) != shardLen && len(d) != 0 {
			return fmt.Errorf("%w: data shard %d has %d bytes, parity has %d", ErrShardLen, i, len(d), shardLen)
		}
	}
	v := shardVecs.Get().(*shardVec)
	defer putShardVec(v)
	// A unit at a time, so that what is read and what is written stay in the cache together.
	for from := 0; from < shardLen; from += UnitLen {
		end := min(from+UnitLen, shardLen)
		for i, d := range data {
			if len(d) == 0 {
				v[i] = zeros[:end-from]
			} else {
				v[i] = d[from:end]
			}
		}
		for i, p := range parity {
			v[c.k+i] = p[from:end]
		}
		var err error
		if c.groups != nil {
			err = c.encodeGroups(v[:c.k+c.m])
		} else {
			err = c.rs.Encode(v[:c.k+c.m])
		}
		if err != nil {
			return fmt.Errorf("erasure: encode %d+%d: %w", c.k, c.m, err)
		}
	}
	return nil
}

// Reconstruct rebuilds the missing shards that want names. A shard of length 0 is missing, unless
// empty names it: then it is a data shard that counts as zeros, as in Encode. For each shard in want
// that is missing, shards[i] must have a capacity of at least the length of the others; it is
// rebuilt in that memory and shards[i] gets its full length. Nothing else is written to.
func (c *Code) Reconstruct(shards [][]byte, want, empty Set) error {
	if len(shards) != c.k+c.m {
		return fmt.Errorf("%w: %d shards given to a %d+%d code", ErrGeometry, len(shards), c.k, c.m)
	}
	if empty>>uint(c.k) != 0 {
		return fmt.Errorf("%w: only data shards can be empty", ErrGeometry)
	}
	shardLen, have := 0, empty.Count()
	for i, s := range shards {
		switch {
		case len(s) == 0:
			continue
		case empty.Has(i):
			return fmt.Errorf("%w: shard %d is empty and has %d bytes", ErrShardLen, i, len(s))
		case shardLen != 0 && len(s) != shardLen:
			return fmt.Errorf("%w: shard %d has %d bytes, others have %d", ErrShardLen, i, len(s), shardLen)
		}
		shardLen = len(s)
		have++
	}
	var rebuild Set
	for i, s := range shards {
		if len(s) == 0 && want.Has(i) && !empty.Has(i) {
			rebuild = rebuild.With(i)
			if shardLen != 0 && cap(s) < shardLen {
				return fmt.Errorf("%w: shard %d has room for %d bytes of %d", ErrShardLen, i, cap(s), shardLen)
			}
		}
	}
	if rebuild == 0 {
		return nil
	}
	if have < c.k || shardLen == 0 {
		return fmt.Errorf("%w: %d of %d+%d", ErrTooFewShards, have, c.k, c.m)
	}
	return c.reconstructPieces(shards, rebuild, empty, shardLen)
}

func (c *Code) reconstructPieces(shards [][]byte, rebuild, empty Set, shardLen int) error {
	var required [MaxShards]bool
	for i := range rebuild.All() {
		required[i] = true
		shards[i] = shards[i][:shardLen]
	}
	v := shardVecs.Get().(*shardVec)
	defer putShardVec(v)
	for from := 0; from < shardLen; from += UnitLen {
		end := min(from+UnitLen, shardLen)
		for i, s := range shards {
			switch {
			case empty.Has(i):
				v[i] = zeros[:end-from]
			case rebuild.Has(i):
				v[i] = s[from:from:end] // No length says missing, the capacity says where to.
			case len(s) == 0:
				v[i] = nil
			default:
				v[i] = s[from:end]
			}
		}
		if err := c.rs.ReconstructSome(v[:c.k+c.m], required[:c.k+c.m]); err != nil {
			return fmt.Errorf("erasure: reconstruct %d+%d: %w", c.k, c.m, err)
		}
	}
	return nil
}
