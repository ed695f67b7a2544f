package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"penstock/engine/drive"
)

func sampleHeader(n int) header {
	h := header{
		Class: Bulk, Shard: n - 1, Cell: 3, K: n - n/3, M: n / 3, Seg: 17, Epoch: 9, Volume: 9<<32 | 5, Length: 1 << 30, Cluster: drive.NewID(),
		Placed: 10<<32 | 3,
	}
	for range n {
		h.Drives = append(h.Drives, drive.NewID())
	}
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	for n := 1; n <= MaxShards; n++ {
		want := sampleHeader(n)
		b := want.AppendTo([]byte("before"))
		if len(b) != len("before")+headerLen || !bytes.HasPrefix(b, []byte("before")) {
			t.Fatalf("n=%d: %d bytes", n, len(b))
		}
		got, err := parseHeader(b[len("before"):])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("n=%d: parsed %+v, %v, want %+v", n, got, err, want)
		}
	}
}

// TestHeaderVersion1 reads the header that the first version wrote.
func TestHeaderVersion1(t *testing.T) {
	want := sampleHeader(6)
	want.Placed = 0
	b := want.AppendTo(nil)
	binary.LittleEndian.PutUint16(b[4:], 1)
	sealHeader(b)
	if got, err := parseHeader(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parsed %+v, %v, want %+v", got, err, want)
	}
	b[placedAt] = 1
	sealHeader(b)
	if got, err := parseHeader(b); !errors.Is(err, ErrDamaged) {
		t.Errorf("version 1 with a placement: %+v, %v, want damaged", got, err)
	}
}

// TestHeaderFlips flips every bit of a header's block: the header is refused, or what it says is the same
// because the bit says nothing.
func TestHeaderFlips(t *testing.T) {
	want := sampleHeader(6)
	b := want.AppendTo(nil)
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		got, err := parseHeader(b)
		b[bit/8] ^= 1 << (bit % 8)
		switch first := bit/8 < drive.SectorLen; {
		case first && !errors.Is(err, ErrDamaged):
			t.Errorf("bit %d: %v, want damaged", bit, err)
		case !first && (err != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("bit %d, which is unused: %+v, %v", bit, got, err)
		}
	}
}

// TestHeaderContradictions has sums that match and fields that cannot be.
func TestHeaderContradictions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*header)
	}{
		{"class", func(h *header) { h.Class = numClasses }},
		{"no data shard", func(h *header) { h.K, h.M = 0, 6 }},
		{"too wide", func(h *header) { h.K = MaxShards }},
		{"shard", func(h *header) { h.Shard = 6 }},
		{"no volume", func(h *header) { h.Volume, h.Epoch = 0, 0 }},
		{"epoch", func(h *header) { h.Epoch = 8 }},
		{"no length", func(h *header) { h.Length = 0 }},
		{"negative length", func(h *header) { h.Length = -4096 }},
		{"length", func(h *header) { h.Length = 5000 }},
		{"drive twice", func(h *header) { h.Drives[1] = h.Drives[0] }},
	} {
		h := sampleHeader(6)
		c.change(&h)
		if got, err := parseHeader(h.AppendTo(nil)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v, want damaged", c.name, got, err)
		}
	}
	if _, err := parseHeader(make([]byte, headerLen)); !errors.Is(err, errBlank) {
		t.Errorf("zeros: %v, want blank", err)
	}
	if _, err := parseHeader(make([]byte, 100)); !errors.Is(err, ErrDamaged) {
		t.Errorf("100 bytes: %v, want damaged", err)
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, n := range []int{1, 6, MaxShards} {
		h := sampleHeader(n)
		f.Add(h.AppendTo(nil)[:drive.SectorLen])
	}
	f.Add(make([]byte, drive.SectorLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		if len(b) == drive.SectorLen {
			sealHeader(b) // Else nothing gets past the checksum.
		}
		h, err := parseHeader(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) && !errors.Is(err, errBlank) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		again, err := parseHeader(h.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Errorf("%+v comes back as %+v, %v", h, again, err)
		}
	})
}
