package erasure_test

import (
	"fmt"
	"testing"

	"penstock/erasure"
)

var benchCodes = [][2]int{{1, 1}, {2, 1}, {4, 2}, {6, 2}, {8, 4}, {12, 4}, {16, 4}}

// coldLen is more memory than any cache holds, to rotate through.
const coldLen = 256 << 20

// rowMemory returns a function that yields stripes one row long: always the same one, or one after
// the other through coldLen bytes.
func rowMemory(b *testing.B, k, m int, cold bool) func() erasure.Stripe {
	l := erasure.Layout{K: k, M: m, Length: int64(k) * erasure.UnitLen}
	stride := int(l.DataRunLen() + l.ParityRunLen())
	count := 1
	if cold {
		count = coldLen / stride
	}
	mem := fill(newRNG(b), make([]byte, count*stride))
	i := 0
	return func() erasure.Stripe {
		row := mem[i%count*stride:][:stride]
		i++
		return erasure.Stripe{Layout: l, Data: row[:l.DataRunLen()], Parity: row[l.DataRunLen():]}
	}
}

func heat(cold bool) string {
	if cold {
		return "cold"
	}
	return "hot"
}

// BenchmarkEncodeRow is parity and all checksums of a row of 64 KiB units.
func BenchmarkEncodeRow(b *testing.B) {
	for _, c := range benchCodes {
		for _, cold := range []bool{false, true} {
			b.Run(fmt.Sprintf("k=%d/m=%d/mem=%s", c[0], c[1], heat(cold)), func(b *testing.B) {
				next := rowMemory(b, c[0], c[1], cold)
				code := mustCode(b, c[0], c[1])
				var sums [erasure.MaxShards]uint64
				b.SetBytes(int64(c[0]) * erasure.UnitLen)
				for b.Loop() {
					if err := next().EncodeRow(code, 0, sums[:]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkEncode is parity alone, for shards of a batch's least, a unit's and a column's length.
func BenchmarkEncode(b *testing.B) {
	for _, c := range benchCodes {
		for _, shardLen := range []int{4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("k=%d/m=%d/shard=%dKiB", c[0], c[1], shardLen>>10), func(b *testing.B) {
				code := mustCode(b, c[0], c[1])
				s := newShards(newRNG(b), c[0], c[1], shardLen)
				b.SetBytes(int64(c[0] * shardLen))
				for b.Loop() {
					if err := code.Encode(s[:c[0]], s[c[0]:]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkEncodeOneOfK is the parity of a lone small write: one short shard, the others empty.
func BenchmarkEncodeOneOfK(b *testing.B) {
	for _, c := range benchCodes {
		b.Run(fmt.Sprintf("k=%d/m=%d/shard=4KiB", c[0], c[1]), func(b *testing.B) {
			code := mustCode(b, c[0], c[1])
			s := newShards(newRNG(b), c[0], c[1], 4096)
			for i := 1; i < c[0]; i++ {
				s[i] = nil
			}
			b.SetBytes(4096)
			for b.Loop() {
				if err := code.Encode(s[:c[0]], s[c[0]:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReconstruct rebuilds lost data units of a row.
func BenchmarkReconstruct(b *testing.B) {
	for _, c := range benchCodes {
		for lost := 1; lost <= min(c[1], 2); lost++ {
			b.Run(fmt.Sprintf("k=%d/m=%d/lost=%d", c[0], c[1], lost), func(b *testing.B) {
				code := mustCode(b, c[0], c[1])
				s := newShards(newRNG(b), c[0], c[1], erasure.UnitLen)
				if err := code.Encode(s[:c[0]], s[c[0]:]); err != nil {
					b.Fatal(err)
				}
				want := erasure.Set(1)<<min(lost, c[0]) - 1
				b.SetBytes(int64(c[0]) * erasure.UnitLen)
				for b.Loop() {
					for i := range want.All() {
						s[i] = s[i][:0]
					}
					if err := code.Reconstruct(s, want, 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("len=%dKiB", n>>10), func(b *testing.B) {
			mem := fill(newRNG(b), make([]byte, n))
			b.SetBytes(int64(n))
			for b.Loop() {
				erasure.Checksum(mem)
			}
		})
	}
}

func BenchmarkCombine(b *testing.B) {
	for _, n := range []int64{64 << 10, 5 << 20, 123_456_789} {
		b.Run(fmt.Sprintf("sum=crc64nvme/len=%d", n), func(b *testing.B) {
			crc := uint64(0xae8b14860a799888)
			for b.Loop() {
				crc = erasure.Combine(crc, 0x1234567890abcdef, n)
			}
		})
		b.Run(fmt.Sprintf("sum=crc32/len=%d", n), func(b *testing.B) {
			crc := uint32(0xcbf43926)
			for b.Loop() {
				crc = erasure.CombineCRC32(crc, 0x12345678, n)
			}
		})
	}
}

func BenchmarkRuns(b *testing.B) {
	l := erasure.Layout{K: 4, M: 2, Length: erasure.MaxLength(4)}
	mem := make([]byte, l.DataRunLen())
	vec := make([][]byte, 0, erasure.MaxRows)
	for b.Loop() {
		for r := range l.Runs(1_000_000, 2_000_000) {
			vec = l.AppendVec(vec[:0], r, mem, 0)
		}
	}
}
