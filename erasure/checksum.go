package erasure

import (
	"hash/crc32"
	"math/bits"

	"github.com/minio/crc64nvme"
)

// Checksum returns the CRC64NVME of b. The checksum of no bytes is 0.
func Checksum(b []byte) uint64 { return crc64nvme.Checksum(b) }

// Update returns the CRC64NVME of the bytes that crc is the checksum of, followed by b.
func Update(crc uint64, b []byte) uint64 { return crc64nvme.Update(crc, b) }

// Combine returns the CRC64NVME of A followed by B, from the checksums of both and B's length.
func Combine(crcA, crcB uint64, lenB int64) uint64 { return shift64.apply(crcA, lenB) ^ crcB }

// CombineCRC32 is Combine for CRC32 (the IEEE polynomial).
func CombineCRC32(crcA, crcB uint32, lenB int64) uint32 { return shift32.apply(crcA, lenB) ^ crcB }

// CombineCRC32C is Combine for CRC32C (the Castagnoli polynomial).
func CombineCRC32C(crcA, crcB uint32, lenB int64) uint32 { return shift32C.apply(crcA, lenB) ^ crcB }

var (
	shift64  = newShifter[uint64](crc64nvme.NVME)
	shift32  = newShifter[uint32](crc32.IEEE)
	shift32C = newShifter[uint32](crc32.Castagnoli)
)

// A CRC is the remainder of a polynomial over GF(2), so appending n bytes to A multiplies its
// remainder by x^(8n), and the remainder of what was appended is added (the inversions before and
// after cancel). A shifter multiplies by x^(8n) for any n: power i of it multiplies by
// x^(8·2^i), and n is a sum of such powers.
//
// Multiplying by a constant is linear, so one power is a table from each of the remainder's
// four-bit digits to that digit's contribution: 16 loads of 2 KiB that stay in the first-level
// cache, where tables of bytes, 16 KiB each, would not. Units are 64 KiB long, one power.
type shifter[T uint32 | uint64] []power[T]

// power[d][v] is the product of digit d having value v with the power's constant. Digits 8 to 15
// are unused for 32 bits.
type power[T uint32 | uint64] [16][16]T

// newShifter makes the table for a polynomial in reversed bit order, as CRCs have it: the most
// significant bit is the coefficient of x^0.
func newShifter[T uint32 | uint64](poly T) shifter[T] {
	width := bits.Len64(uint64(^T(0)))
	one := T(1) << (width - 1)
	constant := one
	for range 8 {
		constant = timesX(constant, poly) // x^8: one byte.
	}
	s := make(shifter[T], 63) // Powers for every positive int64.
	for i := range s {
		s[i].fill(constant, poly, width)
		constant = s[i].times(constant) // Squared: x^(8·2^i) becomes x^(8·2^(i+1)).
	}
	return s
}

func timesX[T uint32 | uint64](a, poly T) T {
	if a&1 != 0 {
		return a>>1 ^ poly
	}
	return a >> 1
}

func (p *power[T]) fill(constant, poly T, width int) {
	// Bit b of a remainder is the coefficient of x^(width-1-b), so the products of the single
	// bits, from the highest down, are constant·x^0, constant·x^1, …
	for b := width - 1; b >= 0; b-- {
		p[b/4][1<<(b%4)] = constant
		constant = timesX(constant, poly)
	}
	for d := range width / 4 {
		for v := 1; v < 16; v++ {
			low := v & -v
			p[d][v] = p[d][low] ^ p[d][v^low]
		}
	}
}

func (p *power[T]) times(a T) T {
	var product T
	for d := 0; a != 0; d++ {
		product ^= p[d&15][a&15]
		a >>= 4
	}
	return product
}

// apply returns a·x^(8n). It panics if n is negative.
func (s shifter[T]) apply(a T, n int64) T {
	if n < 0 {
		panic("erasure: combining with a negative length")
	}
	for rest := uint64(n); rest != 0; rest &= rest - 1 {
		a = s[bits.TrailingZeros64(rest)].times(a)
	}
	return a
}
