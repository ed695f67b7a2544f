package erasure_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"penstock/erasure"
)

var widths = [][2]int{{1, 0}, {1, 1}, {2, 0}, {2, 1}, {2, 2}, {3, 2}, {4, 2}, {6, 2}, {8, 4}, {12, 4}, {5, 3}, {31, 1}, {16, 16}}

// lengths returns the stripe lengths around every border of a geometry, and some random ones.
func lengths(rng *rand.Rand, k int) []int64 {
	row := int64(k) * erasure.UnitLen
	var all []int64
	for _, border := range []int64{1, 4096, int64(k) * 4096, erasure.UnitLen, row, row + 4096, 2 * row, 7 * row, 15 * row, 16 * row} {
		for d := int64(-2); d <= 2; d++ {
			all = append(all, border+d)
		}
	}
	for range 5 {
		all = append(all, 1+rng.Int64N(16*row))
	}
	valid := all[:0]
	for _, n := range all {
		if n >= 1 && n <= erasure.MaxLength(k) {
			valid = append(valid, n)
		}
	}
	return valid
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		l  erasure.Layout
		ok bool
	}{
		{erasure.Layout{K: 4, M: 2, Length: 1}, true},
		{erasure.Layout{K: 4, M: 2, Length: 4 << 20}, true},
		{erasure.Layout{K: 4, M: 2, Length: 4<<20 + 1}, false},
		{erasure.Layout{K: 4, M: 2, Length: 0}, false},
		{erasure.Layout{K: 4, M: 2, Length: -1}, false},
		{erasure.Layout{K: 1, M: 0, Length: 1 << 20}, true},
		{erasure.Layout{K: 0, M: 2, Length: 1}, false},
		{erasure.Layout{K: 30, M: 3, Length: 1}, false},
	} {
		err := c.l.Check()
		if (err == nil) != c.ok || err != nil && !errors.Is(err, erasure.ErrGeometry) {
			t.Errorf("%+v.Check(): got %v, want ok %v", c.l, err, c.ok)
		}
	}
}

func TestRowWidth(t *testing.T) {
	for _, c := range []struct {
		k         int
		length    int64
		rows      int
		lastWidth int
		columnLen int64
	}{
		{4, 1, 1, 4096, 4096},
		{4, 16384, 1, 4096, 4096},
		{4, 16385, 1, 8192, 8192},
		{4, 128 << 10, 1, 32 << 10, 32 << 10},
		{4, 256 << 10, 1, 64 << 10, 64 << 10},
		{4, 256<<10 + 1, 2, 4096, 64<<10 + 4096},
		{4, 4 << 20, 16, 64 << 10, 1 << 20},
		{1, 65537, 2, 4096, 69632},
		{3, 3*65536 - 1, 1, 65536, 65536}, // A third of it is less than a unit by a third of a byte.
		{12, 128 << 10, 1, 12 << 10, 12 << 10},
	} {
		l := erasure.Layout{K: c.k, M: 2, Length: c.length}
		if l.Rows() != c.rows || l.RowWidth(c.rows-1) != c.lastWidth || l.ColumnLen() != c.columnLen {
			t.Errorf("k=%d, %d bytes: got %d rows, last %d wide, columns of %d; want %d, %d, %d", c.k, c.length,
				l.Rows(), l.RowWidth(l.Rows()-1), l.ColumnLen(), c.rows, c.lastWidth, c.columnLen)
		}
	}
}

// TestUnitsTile checks that data units tile the object and its memory, that parity units tile
// theirs, that each column is tiled by its shard's units, and that checksums have one place each.
func TestUnitsTile(t *testing.T) {
	rng := newRNG(t)
	for _, w := range widths {
		for _, length := range lengths(rng, w[0]) {
			l := erasure.Layout{K: w[0], M: w[1], Length: length}
			var dataRun, parityRun, dataLen int64
			column := make([]int64, l.K+l.M)
			index := 0
			for row := range l.Rows() {
				for shard := range l.K + l.M {
					u := l.UnitAt(row, shard)
					if u.Row != row || u.Shard != shard || u.Index != index || u.ColumnOff != column[shard] {
						t.Fatalf("%+v: unit %d of row %d is %+v; index %d and column offset %d expected", l, shard, row, u, index, column[shard])
					}
					if u.Width%erasure.Align != 0 || u.Width < erasure.Align || u.Width > erasure.UnitLen {
						t.Fatalf("%+v: unit %+v has a width that no drive takes", l, u)
					}
					if shard < l.K {
						if u.ObjectOff != dataRun || u.RunOff != dataRun || u.SumLen() != u.DataLen {
							t.Fatalf("%+v: data unit %+v, want object and run offset %d", l, u, dataRun)
						}
						if want := min(int64(u.Width), max(0, length-u.ObjectOff)); int64(u.DataLen) != want {
							t.Fatalf("%+v: data unit %+v, want %d object bytes", l, u, want)
						}
						dataRun += int64(u.Width)
						dataLen += int64(u.DataLen)
					} else {
						if u.ObjectOff != -1 || u.DataLen != 0 || u.RunOff != parityRun || u.SumLen() != u.Width {
							t.Fatalf("%+v: parity unit %+v, want run offset %d", l, u, parityRun)
						}
						parityRun += int64(u.Width)
					}
					column[shard] += int64(u.Width)
					index++
				}
			}
			if dataLen != length || dataRun != l.DataRunLen() || parityRun != l.ParityRunLen() || index != l.UnitCount() {
				t.Fatalf("%+v: units hold %d bytes, runs are %d and %d, %d units; want %d, %d, %d, %d", l,
					dataLen, dataRun, parityRun, index, length, l.DataRunLen(), l.ParityRunLen(), l.UnitCount())
			}
			for shard, n := range column {
				if n != l.ColumnLen() || l.Column(shard).Len != n {
					t.Fatalf("%+v: column %d is %d long, want %d", l, shard, n, l.ColumnLen())
				}
			}
			// Padding is less than what one more alignment step on each unit would add.
			if pad := l.DataRunLen() - length; pad < 0 || pad >= int64(l.K)*erasure.Align {
				t.Fatalf("%+v: %d bytes of padding", l, pad)
			}
		}
	}
}

// TestRange compares Units, Runs and Cover with a walk over all units.
func TestRange(t *testing.T) {
	rng := newRNG(t)
	for _, w := range widths {
		for _, length := range lengths(rng, w[0]) {
			l := erasure.Layout{K: w[0], M: w[1], Length: length}
			for i := range 6 {
				off := rng.Int64N(length)
				n := 1 + rng.Int64N(length-off)
				switch i {
				case 0:
					off, n = 0, length
				case 1:
					n = 1
				case 2:
					off, n = length-1, 1
				}
				checkRange(t, l, off, n)
			}
		}
	}
}

func checkRange(t *testing.T, l erasure.Layout, off, n int64) {
	t.Helper()
	need := map[[2]int]bool{}
	var order []int
	for row := range l.Rows() {
		for shard := range l.K {
			u := l.UnitAt(row, shard)
			if u.ObjectOff < off+n && u.ObjectOff+int64(u.DataLen) > off {
				need[[2]int{row, shard}] = true
				order = append(order, u.Index)
			}
		}
	}
	coverOff, coverLen := l.Cover(off, n)
	i := 0
	for u := range l.Units(off, n) {
		if i >= len(order) || u.Index != order[i] {
			t.Fatalf("%+v, %d bytes at %d: unit %+v out of turn", l, n, off, u)
		}
		if i == 0 && u.ObjectOff != coverOff || i == len(order)-1 && u.ObjectOff+int64(u.Width) != coverOff+coverLen {
			t.Fatalf("%+v, %d bytes at %d: Cover is %d bytes at %d, unit %+v", l, n, off, coverLen, coverOff, u)
		}
		i++
	}
	if i != len(order) {
		t.Fatalf("%+v, %d bytes at %d: %d units, want %d", l, n, off, i, len(order))
	}
	shard := -1
	for r := range l.Runs(off, n) {
		if r.Shard <= shard || r.RowCount < 1 {
			t.Fatalf("%+v, %d bytes at %d: run %+v after shard %d", l, n, off, r, shard)
		}
		shard = r.Shard
		end := r.Off
		for row := r.FirstRow; row < r.FirstRow+r.RowCount; row++ {
			u := l.UnitAt(row, r.Shard)
			if !need[[2]int{row, r.Shard}] || u.ColumnOff != end {
				t.Fatalf("%+v, %d bytes at %d: run %+v holds unit %+v", l, n, off, r, u)
			}
			delete(need, [2]int{row, r.Shard})
			end += int64(u.Width)
		}
		if r.Len != end-r.Off {
			t.Fatalf("%+v, %d bytes at %d: run %+v is %d long", l, n, off, r, end-r.Off)
		}
	}
	if len(need) != 0 {
		t.Fatalf("%+v, %d bytes at %d: no run has units %v", l, n, off, need)
	}
}

func TestBadArgumentsPanic(t *testing.T) {
	l := erasure.Layout{K: 4, M: 2, Length: 1 << 20}
	for name, f := range map[string]func(){
		"RowWidth(-1)":      func() { l.RowWidth(-1) },
		"RowWidth(4)":       func() { l.RowWidth(4) },
		"UnitAt(0, 6)":      func() { l.UnitAt(0, 6) },
		"Cover(1<<20, 1)":   func() { l.Cover(1<<20, 1) },
		"Cover(-1, 1)":      func() { l.Cover(-1, 1) },
		"Runs(0, 0)":        func() { l.Runs(0, 0) },
		"Units(1, 1<<20)":   func() { l.Units(1, 1<<20) },
		"RunOf(0, 0, 0)":    func() { l.RunOf(0, 0, 0) },
		"RunOf(0, 3, 2)":    func() { l.RunOf(0, 3, 2) },
		"Combine(1, 1, -1)": func() { erasure.Combine(1, 1, -1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}
