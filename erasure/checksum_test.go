package erasure_test

import (
	"hash/crc32"
	"math"
	"testing"

	"penstock/erasure"
)

func TestChecksumVectors(t *testing.T) {
	zeros, ones := make([]byte, 4096), make([]byte, 4096)
	for i := range ones {
		ones[i] = 0xff
	}
	for _, c := range []struct {
		what string
		in   []byte
		want uint64
	}{
		{"nothing", nil, 0},
		{"the check string", []byte("123456789"), 0xae8b14860a799888},
		// From the NVM Express NVM Command Set Specification, "64b CRC test cases".
		{"4 KiB of zeros", zeros, 0x6482d367eb22b64e},
		{"4 KiB of ones", ones, 0xc0ddba7302eca3ac},
	} {
		if got := erasure.Checksum(c.in); got != c.want {
			t.Errorf("Checksum of %s: got %#x, want %#x", c.what, got, c.want)
		}
	}
}

// sums has every checksum that can be combined, beside its direct computation.
var sums = []struct {
	name    string
	direct  func([]byte) uint64
	combine func(a, b uint64, lenB int64) uint64
}{
	{"crc64nvme", erasure.Checksum, erasure.Combine},
	{"crc32", func(b []byte) uint64 { return uint64(crc32.ChecksumIEEE(b)) }, func(a, b uint64, n int64) uint64 {
		return uint64(erasure.CombineCRC32(uint32(a), uint32(b), n))
	}},
	{"crc32c", func(b []byte) uint64 { return uint64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }, func(a, b uint64, n int64) uint64 {
		return uint64(erasure.CombineCRC32C(uint32(a), uint32(b), n))
	}},
}

func TestCombine(t *testing.T) {
	rng := newRNG(t)
	for _, sum := range sums {
		for i := range 300 {
			b := fill(rng, make([]byte, rng.IntN(1<<(i%18))+1))
			cut := rng.IntN(len(b) + 1)
			got := sum.combine(sum.direct(b[:cut]), sum.direct(b[cut:]), int64(len(b)-cut))
			if want := sum.direct(b); got != want {
				t.Errorf("%s of %d+%d bytes: got %#x, want %#x", sum.name, cut, len(b)-cut, got, want)
			}
		}
	}
}

// TestCombineLong appends more bytes than anyone could sum: n zeros at once must be the same as a
// zeros and then n-a more, and doubling must agree with what is summed directly for short n.
func TestCombineLong(t *testing.T) {
	rng := newRNG(t)
	for _, sum := range sums {
		zeroSum := func(n int64) uint64 { // Checksum of n zero bytes, by doubling.
			crc, one := uint64(0), sum.direct([]byte{0})
			for bit := 62; bit >= 0; bit-- {
				crc = sum.combine(crc, crc, n>>(bit+1))
				if n>>bit&1 != 0 {
					crc = sum.combine(crc, one, 1)
				}
			}
			return crc
		}
		if got, want := zeroSum(100_000), sum.direct(make([]byte, 100_000)); got != want {
			t.Fatalf("%s of 100,000 zeros: got %#x, want %#x", sum.name, got, want)
		}
		for range 100 {
			n := rng.Int64N(math.MaxInt64)
			a := rng.Int64N(n + 1)
			crc := rng.Uint64()
			if sum.name != "crc64nvme" {
				crc = uint64(uint32(crc))
			}
			whole := sum.combine(crc, zeroSum(n), n)
			twice := sum.combine(sum.combine(crc, zeroSum(a), a), zeroSum(n-a), n-a)
			if whole != twice {
				t.Errorf("%s: %d zeros after %#x give %#x, %d and then the rest %#x", sum.name, n, crc, whole, a, twice)
			}
		}
	}
}

func TestUpdate(t *testing.T) {
	rng := newRNG(t)
	for range 100 {
		b := fill(rng, make([]byte, 1+rng.IntN(20_000)))
		cut := rng.IntN(len(b))
		if got, want := erasure.Update(erasure.Checksum(b[:cut]), b[cut:]), erasure.Checksum(b); got != want {
			t.Errorf("Update at %d of %d: got %#x, want %#x", cut, len(b), got, want)
		}
	}
}

func FuzzCombine(f *testing.F) {
	f.Add([]byte("123456789"), 4)
	f.Add([]byte{}, 0)
	f.Add(make([]byte, 1000), 999)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut < 0 || cut > len(b) {
			return
		}
		for _, sum := range sums {
			got := sum.combine(sum.direct(b[:cut]), sum.direct(b[cut:]), int64(len(b)-cut))
			if want := sum.direct(b); got != want {
				t.Errorf("%s of %d+%d bytes: got %#x, want %#x", sum.name, cut, len(b)-cut, got, want)
			}
		}
	})
}
