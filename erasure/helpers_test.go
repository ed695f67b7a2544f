package erasure_test

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"penstock/erasure"
)

// newRNG returns a random source whose seed it logs; SEED=n replays it.
func newRNG(tb testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if env := os.Getenv("SEED"); env != "" {
		n, err := strconv.ParseUint(env, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		seed = n
	}
	tb.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// fill fills b with random bytes.
func fill(rng *rand.Rand, b []byte) []byte {
	var word [8]byte
	for rest := b; len(rest) > 0; {
		binary.LittleEndian.PutUint64(word[:], rng.Uint64())
		rest = rest[copy(rest, word[:]):]
	}
	return b
}

func mustCode(tb testing.TB, k, m int) *erasure.Code {
	tb.Helper()
	code, err := erasure.New(k, m)
	if err != nil {
		tb.Fatal(err)
	}
	return code
}

// combinations calls f with every set of at most m of n shards.
func combinations(n, m int, f func(erasure.Set)) {
	for s := range erasure.Set(1) << n {
		if s.Count() <= m {
			f(s)
		}
	}
}
