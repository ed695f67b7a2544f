package journal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"penstock/erasure"
	"penstock/meta"
)

// someHeader returns a header as a writer makes them.
func someHeader(rng *rand.Rand) header {
	h := header{
		volume: meta.VolumeID(rng.Uint64()), salt: rng.Uint64(), number: 2 + rng.Uint64N(1000), off: 4096 * (1 + rng.Int64N(1000)),
		firstLSN: meta.LSN(1 + rng.Uint64N(1e6)), chain: rng.Uint64(), k: 1 + rng.IntN(12), m: rng.IntN(5),
	}
	h.watermark = rng.Uint64N(h.number)
	for i := range h.k {
		if i == 0 || rng.IntN(2) == 0 {
			h.lens[i] = uint32(frameLen * (1 + rng.IntN(1000)))
			h.sums[i] = rng.Uint64()
		}
	}
	h.count = 1
	return h
}

func TestHeader(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		h := someHeader(rng)
		var common [commonLen]byte
		h.seal(&common)
		var block [headerLen]byte
		putHeader(block[:], &common, h.sum, 0, h.sums[0])
		var got header
		shard, sum, err := parseHeader(block[:], &got)
		if err != nil || shard != 0 || sum != h.sums[0] || got != h {
			t.Fatalf("parse: %v, shard %d\n got %+v\nwant %+v", err, shard, got, h)
		}
	}
}

// TestHeaderBits flips every bit of a header: none of the results is one.
func TestHeaderBits(t *testing.T) {
	h := someHeader(rand.New(rand.NewPCG(2, 2)))
	var common [commonLen]byte
	h.seal(&common)
	var block [headerLen]byte
	putHeader(block[:], &common, h.sum, 0, h.sums[0])
	for bit := range headerLen * 8 {
		flipped := block
		flipped[bit/8] ^= 1 << (bit % 8)
		var got header
		if _, _, err := parseHeader(flipped[:], &got); !errors.Is(err, errNotHeader) {
			t.Errorf("bit %d: %v", bit, err)
		}
	}
}

// TestHeaderVersion checks that a later format is refused by name, not taken for unused space.
func TestHeaderVersion(t *testing.T) {
	h := someHeader(rand.New(rand.NewPCG(3, 3)))
	var common [commonLen]byte
	h.seal(&common)
	common[4]++
	var block [headerLen]byte
	putHeader(block[:], &common, erasure.Checksum(common[:]), 0, h.sums[0])
	var got header
	if _, _, err := parseHeader(block[:], &got); !errors.Is(err, ErrVersion) {
		t.Errorf("a header of a later version: %v", err)
	}
}

func FuzzParseHeader(f *testing.F) {
	h := someHeader(rand.New(rand.NewPCG(4, 4)))
	var common [commonLen]byte
	h.seal(&common)
	var block [headerLen]byte
	putHeader(block[:], &common, h.sum, 0, h.sums[0])
	f.Add(block[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerLen {
			b = append(b, make([]byte, headerLen-len(b))...)
		}
		// Checksums put right, or no input would get past them.
		var c [commonLen]byte
		copy(c[:], b)
		var block [headerLen]byte
		copy(block[:], b)
		putHeader(block[:], &c, erasure.Checksum(c[:]), int(b[464]), uint64(b[472]))
		var h header
		shard, sum, err := parseHeader(block[:], &h)
		if err != nil {
			if !errors.Is(err, errNotHeader) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if h.length() > MaxShardLenLimit+2*blockAlign || h.end() <= h.off || h.shardLen(shard) == 0 {
			t.Fatalf("accepted %+v", h)
		}
		h.seal(&c)
		var again [headerLen]byte
		putHeader(again[:], &c, h.sum, shard, sum)
		if again != block {
			t.Fatal("what was parsed encodes to something else")
		}
	})
}

func FuzzParseFrame(f *testing.F) {
	payload := make([]byte, framedLen(5)+framedLen(0))
	putFrame(payload, 1, false, 7, []byte("hel"), []byte("lo"))
	putFrame(payload[framedLen(5):], 0, true, 0, nil, nil)
	f.Add(payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		var again []byte
		for off := 0; off < len(payload); {
			r, end, err := parseFrame(payload, off)
			if err != nil {
				if !errors.Is(err, errFrame) {
					t.Fatal(err)
				}
				return
			}
			if end <= off || end > len(payload) {
				t.Fatalf("frame at %d ends at %d of %d", off, end, len(payload))
			}
			again = append(again, make([]byte, framedLen(len(r.bytes)))...)
			putFrame(again[off:], r.index, r.more, r.origin, r.bytes, nil)
			off = end
		}
		if !bytes.Equal(again, payload) {
			t.Fatal("what was parsed encodes to something else")
		}
	})
}

// TestEncodeParity checks parity over blocks of unequal length against the code applied to blocks that are filled up with zeros.
func TestEncodeParity(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 100 {
		k, m := 1+rng.IntN(6), 1+rng.IntN(3)
		code, err := erasure.New(k, m)
		if err != nil {
			t.Fatal(err)
		}
		var blocks [erasure.MaxShards][]byte
		longest := 0
		for i := range k {
			if n := rng.IntN(4); n > 0 || i == k-1 && longest == 0 {
				blocks[i] = make([]byte, blockAlign*max(n, 1))
				for at := headerLen; at < len(blocks[i]); at++ {
					blocks[i][at] = byte(rng.Uint32())
				}
				longest = max(longest, len(blocks[i]))
			}
		}
		data, parity := make([][]byte, k), make([][]byte, m)
		for i := range k {
			data[i] = make([]byte, longest-headerLen)
			if blocks[i] != nil {
				copy(data[i], blocks[i][headerLen:])
			}
		}
		for i := range m {
			blocks[k+i], parity[i] = make([]byte, longest), make([]byte, longest-headerLen)
		}
		if err := encodeParity(code, &blocks); err != nil {
			t.Fatal(err)
		}
		if err := code.Encode(data, parity); err != nil {
			t.Fatal(err)
		}
		for i := range m {
			if !bytes.Equal(blocks[k+i][headerLen:], parity[i]) {
				t.Fatalf("%d+%d: parity %d differs", k, m, i)
			}
		}
	}
}
