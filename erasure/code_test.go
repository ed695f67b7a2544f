package erasure_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"penstock/erasure"
)

func newShards(rng *rand.Rand, k, m, shardLen int) [][]byte {
	shards := make([][]byte, k+m)
	for i := range shards {
		shards[i] = fill(rng, make([]byte, shardLen))
	}
	return shards
}

func cloneShards(shards [][]byte) [][]byte {
	c := make([][]byte, len(shards))
	for i := range shards {
		c[i] = bytes.Clone(shards[i])
	}
	return c
}

// erase replaces the shards in lost by empty slices that have room, as a caller that wants them does.
func erase(shards [][]byte, lost erasure.Set, rng *rand.Rand) [][]byte {
	c := cloneShards(shards)
	for i := range lost.All() {
		c[i] = fill(rng, make([]byte, len(shards[i])))[:0]
	}
	return c
}

func TestNewRejects(t *testing.T) {
	for _, c := range []struct{ k, m int }{
		{0, 0}, {0, 2}, {-1, 1}, {1, -1}, {33, 0}, {31, 2}, {1, 32}, {1 << 40, 1}, {1, 1 << 40},
	} {
		if _, err := erasure.New(c.k, c.m); !errors.Is(err, erasure.ErrGeometry) {
			t.Errorf("New(%d, %d): got %v, want ErrGeometry", c.k, c.m, err)
		}
	}
}

func TestNewIsCached(t *testing.T) {
	if a, b := mustCode(t, 4, 2), mustCode(t, 4, 2); a != b {
		t.Errorf("New(4, 2) twice: got %p and %p, want one code", a, b)
	}
}

// TestMatrix pins the coding matrix: parity on drives outlives the library that wrote it.
func TestMatrix(t *testing.T) {
	for _, c := range []struct {
		k, m int
		want uint64
	}{
		{1, 1, 0xa7e48033e96eef45},
		{2, 1, 0x6341e307d67ac6fc},
		{2, 2, 0x9c5c3f7aff1f95fe},
		{3, 2, 0x9d667d941c17e399},
		{4, 2, 0xe66ff3a6dfd16ae2},
		{6, 2, 0x675d98fd43037ad9},
		{8, 4, 0xaf93cdaca98b6924},
		{12, 4, 0x511f6ab57689c7af},
		{16, 16, 0x8392b2b4aea0c3bc},
		{28, 4, 0x56c61dda47edc348},
	} {
		data, parity := make([][]byte, c.k), make([][]byte, c.m)
		for i := range data {
			data[i] = make([]byte, 4096)
			for j := range data[i] {
				data[i][j] = byte((i*4096 + j) * 2654435761 >> 8)
			}
		}
		for i := range parity {
			parity[i] = make([]byte, 4096)
		}
		if err := mustCode(t, c.k, c.m).Encode(data, parity); err != nil {
			t.Fatal(err)
		}
		if got := erasure.Checksum(bytes.Join(parity, nil)); got != c.want {
			t.Errorf("parity of %d+%d: checksum %#x, want %#x", c.k, c.m, got, c.want)
		}
	}
}

// TestMatrixByHand computes the parity of 2+2 from the definition of the matrix.
func TestMatrixByHand(t *testing.T) {
	// The 4x2 Vandermonde matrix has rows (1, i). Times the inverse of its upper half, rows 2
	// and 3 become (3, 2) and (2, 3): parity 0 is 3a+2b and parity 1 is 2a+3b over GF(2^8).
	double := func(x byte) byte {
		if x&0x80 != 0 {
			return x<<1 ^ 0x1d
		}
		return x << 1
	}
	rng := newRNG(t)
	s := newShards(rng, 2, 2, 4096)
	if err := mustCode(t, 2, 2).Encode(s[:2], s[2:]); err != nil {
		t.Fatal(err)
	}
	for i := range s[0] {
		a, b := s[0][i], s[1][i]
		want0, want1 := double(a)^a^double(b), double(a)^double(b)^b
		if s[2][i] != want0 || s[3][i] != want1 {
			t.Fatalf("byte %d: parity of %#x, %#x: got %#x, %#x, want %#x, %#x", i, a, b, s[2][i], s[3][i], want0, want1)
		}
	}
}

func TestMirror(t *testing.T) {
	rng := newRNG(t)
	for m := 1; m <= 3; m++ {
		s := newShards(rng, 1, m, 8192)
		if err := mustCode(t, 1, m).Encode(s[:1], s[1:]); err != nil {
			t.Fatal(err)
		}
		for i, p := range s[1:] {
			if !bytes.Equal(p, s[0]) {
				t.Errorf("1+%d: parity shard %d is no copy", m, i)
			}
		}
	}
}

// TestEveryErasure loses every set of at most m shards of every small code, and wants them all back.
func TestEveryErasure(t *testing.T) {
	rng := newRNG(t)
	for k := 1; k <= 6; k++ {
		for m := 0; m <= 3; m++ {
			code := mustCode(t, k, m)
			whole := newShards(rng, k, m, 512+rng.IntN(64))
			if err := code.Encode(whole[:k], whole[k:]); err != nil {
				t.Fatal(err)
			}
			combinations(k+m, m, func(lost erasure.Set) {
				shards := erase(whole, lost, rng)
				if err := code.Reconstruct(shards, lost, 0); err != nil {
					t.Fatalf("%d+%d without %b: %v", k, m, lost, err)
				}
				for i := range shards {
					if !bytes.Equal(shards[i], whole[i]) {
						t.Fatalf("%d+%d without %b: shard %d is wrong", k, m, lost, i)
					}
				}
			})
		}
	}
}

// TestRandomErasure does so for wide codes and long shards, rebuilding some of what is lost.
func TestRandomErasure(t *testing.T) {
	rng := newRNG(t)
	codes := [][2]int{{8, 4}, {12, 4}, {10, 4}, {16, 4}, {28, 4}, {16, 16}, {1, 31}, {31, 1}, {32, 0}}
	for range 30 {
		k := 1 + rng.IntN(erasure.MaxShards)
		codes = append(codes, [2]int{k, rng.IntN(erasure.MaxShards - k + 1)})
	}
	for _, c := range codes {
		k, m := c[0], c[1]
		code := mustCode(t, k, m)
		shardLen := 1 + rng.IntN(3000)
		if rng.IntN(4) == 0 {
			shardLen = erasure.UnitLen + rng.IntN(erasure.UnitLen) // More than one piece.
		}
		whole := newShards(rng, k, m, shardLen)
		if err := code.Encode(whole[:k], whole[k:]); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			var lost, want erasure.Set
			for _, i := range rng.Perm(k + m)[:rng.IntN(m+1)] {
				lost = lost.With(i)
				if rng.IntN(3) > 0 {
					want = want.With(i)
				}
			}
			shards := erase(whole, lost, rng)
			if err := code.Reconstruct(shards, want, 0); err != nil {
				t.Fatalf("%d+%d, %d bytes, without %b: %v", k, m, shardLen, lost, err)
			}
			for i := range shards {
				switch {
				case lost.Has(i) && !want.Has(i):
					if len(shards[i]) != 0 {
						t.Fatalf("%d+%d without %b: shard %d rebuilt unasked", k, m, lost, i)
					}
				case !bytes.Equal(shards[i], whole[i]):
					t.Fatalf("%d+%d, %d bytes, without %b: shard %d is wrong", k, m, shardLen, lost, i)
				}
			}
		}
	}
}

// TestReconstructInPlace checks that a shard is rebuilt in the caller's memory and that nothing
// beyond it is written.
func TestReconstructInPlace(t *testing.T) {
	rng := newRNG(t)
	const shardLen = erasure.UnitLen + 4096
	code := mustCode(t, 4, 2)
	whole := newShards(rng, 4, 2, shardLen)
	if err := code.Encode(whole[:4], whole[4:]); err != nil {
		t.Fatal(err)
	}
	shards := cloneShards(whole)
	mem := bytes.Repeat([]byte{0xa5}, shardLen+64)
	shards[2] = mem[:0]
	if err := code.Reconstruct(shards, erasure.SetOf(2), 0); err != nil {
		t.Fatal(err)
	}
	if &shards[2][0] != &mem[0] || !bytes.Equal(mem[:shardLen], whole[2]) {
		t.Error("shard 2 was not rebuilt in the memory given")
	}
	if !bytes.Equal(mem[shardLen:], bytes.Repeat([]byte{0xa5}, 64)) {
		t.Error("bytes beyond the shard were written")
	}
}

// TestEmptyShards checks that shards of length 0 count as zeros on both ways.
func TestEmptyShards(t *testing.T) {
	rng := newRNG(t)
	for _, c := range []struct{ k, m, shardLen int }{{4, 2, 4096}, {3, 2, erasure.UnitLen + 8192}, {12, 4, 4096}, {1, 1, 4096}} {
		code := mustCode(t, c.k, c.m)
		for range 20 {
			whole := newShards(rng, c.k, c.m, c.shardLen)
			var empty erasure.Set
			for i := range c.k - 1 { // At least one shard holds something.
				if rng.IntN(2) == 0 {
					empty = empty.With(i)
					clear(whole[i])
				}
			}
			if err := code.Encode(whole[:c.k], whole[c.k:]); err != nil {
				t.Fatal(err)
			}
			shards := cloneShards(whole)
			for i := range empty.All() {
				shards[i] = nil
			}
			for _, p := range shards[c.k:] {
				fill(rng, p)
			}
			if err := code.Encode(shards[:c.k], shards[c.k:]); err != nil {
				t.Fatal(err)
			}
			for i := c.k; i < c.k+c.m; i++ {
				if !bytes.Equal(shards[i], whole[i]) {
					t.Fatalf("%+v, empty %b: parity %d differs from that of zeros", c, empty, i-c.k)
				}
			}
			var lost erasure.Set
			for _, i := range rng.Perm(c.k + c.m) {
				if !empty.Has(i) && lost.Count() < c.m {
					lost = lost.With(i)
					shards[i] = make([]byte, 0, c.shardLen)
				}
			}
			if lost.Count() == c.k+c.m-empty.Count() {
				continue // Nothing left to rebuild from.
			}
			if err := code.Reconstruct(shards, lost|empty, empty); err != nil {
				t.Fatalf("%+v, empty %b, lost %b: %v", c, empty, lost, err)
			}
			for i := range shards {
				if empty.Has(i) != (shards[i] == nil) || shards[i] != nil && !bytes.Equal(shards[i], whole[i]) {
					t.Fatalf("%+v, empty %b, lost %b: shard %d is wrong", c, empty, lost, i)
				}
			}
		}
	}
}

func TestEncodeRejects(t *testing.T) {
	code := mustCode(t, 2, 1)
	b := func(n int) []byte { return make([]byte, n) }
	for _, c := range []struct {
		what         string
		data, parity [][]byte
		want         error
	}{
		{"too few data shards", [][]byte{b(8)}, [][]byte{b(8)}, erasure.ErrGeometry},
		{"too many parity shards", [][]byte{b(8), b(8)}, [][]byte{b(8), b(8)}, erasure.ErrGeometry},
		{"unequal data", [][]byte{b(8), b(7)}, [][]byte{b(8)}, erasure.ErrShardLen},
		{"parity too short", [][]byte{b(8), b(8)}, [][]byte{b(7)}, erasure.ErrShardLen},
		{"no parity memory", [][]byte{b(8), b(8)}, [][]byte{nil}, erasure.ErrShardLen},
	} {
		if err := code.Encode(c.data, c.parity); !errors.Is(err, c.want) {
			t.Errorf("Encode with %s: got %v, want %v", c.what, err, c.want)
		}
	}
}

func TestReconstructRejects(t *testing.T) {
	code := mustCode(t, 2, 2)
	b := func(n int) []byte { return make([]byte, n) }
	room := func(n int) []byte { return make([]byte, 0, n) }
	for _, c := range []struct {
		what        string
		shards      [][]byte
		want, empty erasure.Set
		err         error
	}{
		{"one of two", [][]byte{b(8), room(8), room(8), room(8)}, 0b0010, 0, erasure.ErrTooFewShards},
		{"nothing", [][]byte{room(8), room(8), room(8), room(8)}, 0b0001, 0, erasure.ErrTooFewShards},
		{"only empty shards", [][]byte{nil, nil, room(8), room(8)}, 0b0100, 0b0011, erasure.ErrTooFewShards},
		{"no room", [][]byte{b(8), room(7), b(8), b(8)}, 0b0010, 0, erasure.ErrShardLen},
		{"unequal", [][]byte{b(8), room(8), b(8), b(9)}, 0b0010, 0, erasure.ErrShardLen},
		{"three shards", [][]byte{b(8), room(8), b(8)}, 0b0010, 0, erasure.ErrGeometry},
		{"empty parity", [][]byte{b(8), b(8), nil, room(8)}, 0b1000, 0b0100, erasure.ErrGeometry},
		{"empty with bytes", [][]byte{b(8), b(8), room(8), b(8)}, 0b0100, 0b0010, erasure.ErrShardLen},
		{"nothing wanted", [][]byte{b(8), nil, nil, nil}, 0b0001, 0, nil},
	} {
		if err := code.Reconstruct(c.shards, c.want, c.empty); !errors.Is(err, c.err) {
			t.Errorf("Reconstruct with %s: got %v, want %v", c.what, err, c.err)
		}
	}
}

func TestSet(t *testing.T) {
	s := erasure.SetOf(31, 0, 7, 7)
	var got []int
	for i := range s.All() {
		got = append(got, i)
	}
	if fmt.Sprint(got) != "[0 7 31]" || s.Count() != 3 || !s.Has(7) || s.Has(8) || s.Without(7).Has(7) {
		t.Errorf("SetOf(31, 0, 7, 7): got %v, count %d", got, s.Count())
	}
}
