package md5lanes

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"hash"
	"math/rand/v2"
	"sync"
	"testing"
)

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// write writes b in pieces of random lengths.
func write(h hash.Hash, b []byte, rng *rand.Rand) {
	for len(b) > 0 {
		n := min(len(b), 1+rng.IntN(1+rng.IntN(100_000)))
		h.Write(b[:n])
		b = b[n:]
	}
}

// TestLengths hashes every length up to a few blocks, and around slices, alone.
func TestLengths(t *testing.T) {
	var g Group
	h := g.New()
	all := random(3*sliceLen, 1)
	lengths := []int{alone - 1, alone, alone + 1, alone + 64, alone + 65, sliceLen - 1, sliceLen, sliceLen + 1, 2 * sliceLen, 2*sliceLen + 63}
	for n := range 300 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		h.Reset()
		h.Write(all[:n])
		want := md5.Sum(all[:n])
		for range 2 { // Sum changes nothing.
			if got := h.Sum([]byte("x")); !bytes.Equal(got[1:], want[:]) || got[0] != 'x' {
				t.Fatalf("%d bytes: got %x; want %x", n, got[1:], want)
			}
		}
	}
}

// TestStreams hashes many streams at once, of all lengths, in all kinds of pieces, more than there are lanes and fewer.
func TestStreams(t *testing.T) {
	for _, streams := range []int{1, 2, 3, 15, 16, 17, 40, 100} {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			var g Group
			var group sync.WaitGroup
			for i := range streams {
				group.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(i), uint64(streams)))
					h := g.New()
					for range 4 {
						b := random(rng.IntN(400_000), rng.Uint64())
						h.Reset()
						write(h, b, rng)
						if got, want := h.Sum(nil), md5.Sum(b); !bytes.Equal(got, want[:]) {
							t.Errorf("stream %d, %d bytes: got %x; want %x", i, len(b), got, want)
						}
					}
				})
			}
			group.Wait()
			if g.leaders != 0 || len(g.waiting) != 0 {
				t.Errorf("%d still lead, %d still wait", g.leaders, len(g.waiting))
			}
		})
	}
}

// TestSpare: what the group keeps is bounded by how many ever led at once, not by how many streams there were.
func TestSpare(t *testing.T) {
	if !wide {
		t.Skip("this processor has no AVX-512")
	}
	var g Group
	b := random(100_000, 1)
	for range 200 {
		g.New().Write(b)
	}
	if len(g.spare) != 1 {
		t.Errorf("%d sets are kept after one stream at a time", len(g.spare))
	}
}

func TestAllocations(t *testing.T) {
	var g Group
	h := g.New()
	b := random(100_000, 1)
	sum := make([]byte, 0, Size)
	if n := testing.AllocsPerRun(20, func() { h.Reset(); h.Write(b); sum = h.Sum(sum[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzHash compares a few streams that are written at once, cut where the fuzzer says, with crypto/md5.
func FuzzHash(f *testing.F) {
	f.Add([]byte("abc"), uint16(1), uint16(5000))
	f.Add(random(10_000, 2), uint16(64), uint16(2049))
	f.Fuzz(func(t *testing.T, b []byte, cut, length uint16) {
		long := bytes.Repeat(append(b, 1), int(length)/(len(b)+1)+1)
		var g Group
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				h := g.New()
				rest := long
				for len(rest) > 0 {
					n := min(len(rest), int(cut)+1)
					h.Write(rest[:n])
					rest = rest[n:]
				}
				if got, want := h.Sum(nil), md5.Sum(long); !bytes.Equal(got, want[:]) {
					t.Errorf("got %x; want %x", got, want)
				}
			})
		}
		group.Wait()
	})
}

// BenchmarkStreams hashes rows of 256 KiB of many streams. Divide ns/op by the CPU at hand: streams wait for each other.
func BenchmarkStreams(b *testing.B) {
	row := random(256<<10, 1)
	for _, streams := range []int{1, 2, 4, 8, 16, 64} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			var g Group
			b.SetBytes(int64(len(row) * streams))
			hashes := make([]hash.Hash, streams)
			for i := range hashes {
				hashes[i] = g.New()
			}
			for b.Loop() {
				var group sync.WaitGroup
				for _, h := range hashes {
					group.Go(func() { h.Write(row) })
				}
				group.Wait()
			}
		})
	}
	b.Run("standard library", func(b *testing.B) {
		h := md5.New()
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			h.Write(row)
		}
	})
}
