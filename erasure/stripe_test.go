package erasure_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"penstock/erasure"
)

func newStripe(rng *rand.Rand, l erasure.Layout) (s erasure.Stripe, object []byte) {
	s = erasure.Stripe{
		Layout: l,
		Data:   fill(rng, make([]byte, l.DataRunLen())), // Recycled memory: the padding is not zero.
		Parity: fill(rng, make([]byte, l.ParityRunLen())),
	}
	return s, bytes.Clone(s.Data[:l.Length])
}

// drives returns the columns that the stripe's vectors gather.
func drives(s erasure.Stripe) [][]byte {
	columns := make([][]byte, s.K+s.M)
	for shard := range columns {
		columns[shard] = bytes.Join(s.AppendColumn(nil, shard), nil)
	}
	return columns
}

func encode(t *testing.T, s erasure.Stripe) []uint64 {
	t.Helper()
	sums := make([]uint64, s.UnitCount())
	for row := range s.Rows() {
		if err := s.EncodeRow(mustCode(t, s.K, s.M), row, sums); err != nil {
			t.Fatalf("%+v, row %d: %v", s.Layout, row, err)
		}
	}
	return sums
}

// TestStripeRoundTrip writes stripes to columns, loses m drives, spoils all padding, and reads the
// object back: whole, and ranges of it from nothing but the units that Runs names.
func TestStripeRoundTrip(t *testing.T) {
	rng := newRNG(t)
	for _, w := range widths {
		all := lengths(rng, w[0])
		for range 4 {
			l := erasure.Layout{K: w[0], M: w[1], Length: all[rng.IntN(len(all))]}
			s, object := newStripe(rng, l)
			sums := encode(t, s)
			if !bytes.Equal(s.Data[:l.Length], object) {
				t.Fatalf("%+v: encoding changed the object", l)
			}
			columns := drives(s)
			var crc uint64
			for u := range l.Units(0, l.Length) {
				crc = erasure.Combine(crc, sums[u.Index], int64(u.DataLen))
			}
			if want := erasure.Checksum(object); crc != want {
				t.Fatalf("%+v: units combine to %#x, the object has %#x", l, crc, want)
			}
			spoilPadding(rng, l, columns)
			readDegraded(t, rng, l, columns, sums, object)
			for range 3 {
				off := rng.Int64N(l.Length)
				readRange(t, l, columns, sums, object, off, 1+rng.Int64N(l.Length-off))
			}
		}
	}
}

func spoilPadding(rng *rand.Rand, l erasure.Layout, columns [][]byte) {
	for row := range l.Rows() {
		for shard := range l.K {
			u := l.UnitAt(row, shard)
			fill(rng, columns[shard][u.ColumnOff+int64(u.DataLen):u.ColumnOff+int64(u.Width)])
		}
	}
}

func readDegraded(t *testing.T, rng *rand.Rand, l erasure.Layout, columns [][]byte, sums []uint64, object []byte) {
	t.Helper()
	code := mustCode(t, l.K, l.M)
	var lost erasure.Set
	for _, i := range rng.Perm(l.K + l.M)[:l.M] {
		lost = lost.With(i)
	}
	var got []byte
	for row := range l.Rows() {
		units := make([][]byte, l.K+l.M)
		for shard := range units {
			u := l.UnitAt(row, shard)
			if lost.Has(shard) {
				units[shard] = fill(rng, make([]byte, u.Width))[:0]
			} else {
				units[shard] = bytes.Clone(columns[shard][u.ColumnOff : u.ColumnOff+int64(u.Width)])
			}
		}
		if err := l.ReconstructRow(code, row, units, lost); err != nil {
			t.Fatalf("%+v, row %d without %b: %v", l, row, lost, err)
		}
		for shard := range units {
			u := l.UnitAt(row, shard)
			if crc := erasure.Checksum(units[shard][:u.SumLen()]); crc != sums[u.Index] {
				t.Fatalf("%+v, row %d without %b: unit %d has checksum %#x, want %#x", l, row, lost, shard, crc, sums[u.Index])
			}
			if shard < l.K {
				got = append(got, units[shard][:u.DataLen]...)
				if len(bytes.TrimLeft(units[shard][u.DataLen:], "\x00")) != 0 {
					t.Fatalf("%+v, row %d without %b: padding of unit %d is not zero", l, row, lost, shard)
				}
			}
		}
	}
	if !bytes.Equal(got, object) {
		t.Fatalf("%+v without %b: wrong bytes", l, lost)
	}
}

func readRange(t *testing.T, l erasure.Layout, columns [][]byte, sums []uint64, object []byte, off, n int64) {
	t.Helper()
	base, length := l.Cover(off, n)
	mem := make([]byte, length)
	for r := range l.Runs(off, n) {
		column := columns[r.Shard][r.Off : r.Off+r.Len]
		for _, piece := range l.AppendVec(nil, r, mem, base) {
			column = column[copy(piece, column):]
		}
		if len(column) != 0 {
			t.Fatalf("%+v: the vector of %+v is %d bytes short", l, r, len(column))
		}
	}
	for u := range l.Units(off, n) {
		if crc := erasure.Checksum(mem[u.ObjectOff-base:][:u.DataLen]); crc != sums[u.Index] {
			t.Fatalf("%+v, %d bytes at %d: unit %+v does not verify", l, n, off, u)
		}
	}
	if !bytes.Equal(mem[off-base:][:n], object[off:off+n]) {
		t.Fatalf("%+v, %d bytes at %d: wrong bytes", l, n, off)
	}
}

// TestUnknownLength encodes rows before the length is known, as a streamed upload does.
func TestUnknownLength(t *testing.T) {
	rng := newRNG(t)
	for _, length := range []int64{1, 300_000, 256 << 10, 3*256<<10 + 5} {
		final := erasure.Layout{K: 4, M: 2, Length: length}
		s, _ := newStripe(rng, erasure.Layout{K: 4, M: 2, Length: erasure.MaxLength(4)})
		want := erasure.Stripe{Layout: final, Data: bytes.Clone(s.Data), Parity: make([]byte, final.ParityRunLen())}
		wantSums := encode(t, want)

		code := mustCode(t, 4, 2)
		sums := make([]uint64, s.UnitCount())
		for row := range final.Rows() {
			if row == final.Rows()-1 {
				s.Layout = final
			}
			if err := s.EncodeRow(code, row, sums); err != nil {
				t.Fatal(err)
			}
		}
		got := drives(s)
		for shard, column := range drives(want) {
			if !bytes.Equal(got[shard], column) {
				t.Errorf("%d bytes: column %d differs from that of a known length", length, shard)
			}
		}
		for i := range wantSums {
			if sums[i] != wantSums[i] {
				t.Errorf("%d bytes: checksum %d is %#x, want %#x", length, i, sums[i], wantSums[i])
			}
		}
	}
}

// TestAppendVecJoins checks that with one data shard a column is one slice, not sixteen.
func TestAppendVecJoins(t *testing.T) {
	s, _ := newStripe(newRNG(t), erasure.Layout{K: 1, M: 1, Length: 1 << 20})
	other := []byte("x")
	vec := s.AppendColumn([][]byte{other}, 0)
	if len(vec) != 2 || len(vec[1]) != 1<<20 {
		t.Errorf("column of a mirror: got %d slices after the first, want 1 of 1 MiB", len(vec)-1)
	}
}

func TestHotPathAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	s, _ := newStripe(newRNG(t), erasure.Layout{K: 4, M: 2, Length: 1 << 20})
	code := mustCode(t, 4, 2)
	sums := make([]uint64, s.UnitCount())
	vec := make([][]byte, 0, 16)
	allocs := testing.AllocsPerRun(100, func() {
		if err := s.EncodeRow(code, 1, sums); err != nil {
			t.Fatal(err)
		}
		for r := range s.Runs(100_000, 500_000) {
			vec = s.AppendVec(vec[:0], r, s.Data, 0)
		}
		for u := range s.Units(100_000, 500_000) {
			sums[u.Index] ^= 1
		}
	})
	if allocs > 1 { // One inside reedsolomon, its matrix expanded for the vector unit.
		t.Errorf("encoding a row and walking a range: got %v allocations, want 1", allocs)
	}
}
