package journal

import (
	"math/rand/v2"
	"testing"
)

// TestPackerPlaces pins what the placement is for: few writes when there is little, little space when there is more.
func TestPackerPlaces(t *testing.T) {
	object := framedLen(4096 + 200) // A small object with its record.
	change := framedLen(150)
	for _, tt := range []struct {
		name       string
		sizes      []int
		wantShards int
		wantLen    int
	}{
		{"lone object", []int{object}, 1, 8192},
		{"lone change", []int{change}, 1, 4096},
		{"twenty changes share a block", repeat(change, 20), 1, 4096},
		{"thirty take a second one, not a longer one", repeat(change, 30), 2, 4096},
		{"two objects", repeat(object, 2), 2, 8192},
		{"four objects", repeat(object, 4), 4, 8192},
		{"five objects", repeat(object, 5), 4, 12288},
		{"64 objects", repeat(object, 64), 4, 69632},
		{"change beside an object", []int{object, change}, 1, 8192},
	} {
		var p packer
		p.reset(4, 2, 1, 1<<20, 16<<20)
		for _, n := range tt.sizes {
			if _, ok := p.add(n); !ok {
				t.Fatalf("%s: no place for %d bytes", tt.name, n)
			}
		}
		shards := 0
		for _, n := range p.lens {
			if n > 0 {
				shards++
			}
		}
		if shards != tt.wantShards || p.max != tt.wantLen {
			t.Errorf("%s: %d shards of %d bytes, want %d of %d", tt.name, shards, p.max, tt.wantShards, tt.wantLen)
		}
	}
}

func repeat(n, count int) []int {
	s := make([]int, count)
	for i := range s {
		s[i] = n
	}
	return s
}

// TestPackerBounds fills packers at random and checks that places never overlap and bounds hold.
func TestPackerBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		k, m := 1+rng.IntN(8), rng.IntN(4)
		maxLen := blockAlign * (1 + rng.IntN(64))
		memLen := (1+m)*maxLen + rng.IntN(8*maxLen)
		var p packer
		p.reset(k, m, rng.IntN(100), maxLen, memLen)
		ends := make([]int, k)
		for range 200 {
			n := framedLen(rng.IntN(3 * blockAlign))
			before := p
			at, ok := p.add(n)
			if !ok {
				if p != before {
					t.Fatal("a record without a place changed the packer")
				}
				continue
			}
			if at.off != ends[at.shard] {
				t.Fatalf("place %+v, the shard's end is %d", at, ends[at.shard])
			}
			ends[at.shard] += n
		}
		total, longest := 0, 0
		for _, n := range ends {
			total += blockLen(n)
			longest = max(longest, blockLen(n))
		}
		if longest > maxLen || total+m*longest > memLen || longest != p.max || total != p.blocks {
			t.Fatalf("%d+%d: longest %d of %d, memory %d of %d, packer says %d, %d", k, m, longest, maxLen, total+m*longest, memLen, p.max, p.blocks)
		}
	}
}

// TestPackerRotates checks that lone records wear all data drives alike.
func TestPackerRotates(t *testing.T) {
	for number := range 8 {
		var p packer
		p.reset(4, 2, number, 1<<20, 16<<20)
		at, _ := p.add(100)
		if at.shard != number%4 {
			t.Errorf("batch %d starts on shard %d", number, at.shard)
		}
	}
}
