package erasure

import (
	"fmt"
	"iter"
)

// MaxRows bounds a stripe: 16 rows make a column of at most 1 MiB, the size of one write to one
// drive beyond which NVMe gains nothing.
const MaxRows = 16

// Layout is how Length bytes of an object lie on k + m drives. It is rows of k data units in object
// order and m parity units beside them. Units are UnitLen wide, except in the last row, where they
// are as narrow as the rest of the bytes allow, in multiples of Align:
//
//	           shard 0     shard 1     …  shard k-1   shard k     …  shard k+m-1
//	row 0      0..64K      64K..128K   …              parity         parity
//	row 1      k*64K..     …                          parity         parity
//	…
//	last row   w bytes     w bytes     …  rest, 0…    w bytes        w bytes
//	                                                                  w = ceil4K(ceil(rest/k))
//
// Read down, a shard's units are its column: what its drive stores, one run of ColumnLen bytes.
// Read across, the data units are the object. In the last row the bytes may end inside a unit or
// leave whole units without any; what follows them is padding, which counts as zeros and is covered
// by no checksum of a data unit, so it must be cleared before it is used in a reconstruction
// ([Layout.ReconstructRow] does).
//
// In memory, data units lie in object order in one run, rows without gaps, so that a socket read
// lands in place; parity units lie in the same way in a run of their own, m to a row. Both runs are
// row by row because then no address depends on Length, which an upload may not know before its
// last byte; the price, a vectored write of the parity columns too, is not measurable.
type Layout struct {
	K, M   int
	Length int64 // Bytes of the object in this stripe, 1 to MaxLength(K).
}

// MaxLength returns the most object bytes that a stripe on k data shards holds.
func MaxLength(k int) int64 { return MaxRows * int64(k) * UnitLen }

// Check returns an error unless the layout is one that the methods below can describe. A layout
// that comes from a drive or the index is checked once, by whoever decodes it.
func (l Layout) Check() error {
	if err := checkKM(l.K, l.M); err != nil {
		return err
	}
	if l.Length < 1 || l.Length > MaxLength(l.K) {
		return fmt.Errorf("%w: %d bytes in a stripe of %d+%d", ErrGeometry, l.Length, l.K, l.M)
	}
	return nil
}

// Unit says what one unit of a stripe holds and where it lies.
type Unit struct {
	Row, Shard int
	Index      int   // Row*(K+M) + Shard: its place among the stripe's checksums.
	Width      int   // Bytes it has on the drive and in memory, padding included.
	DataLen    int   // Object bytes in it: less than Width at the object's end, possibly 0; 0 for parity.
	ObjectOff  int64 // Object offset of its first byte, from the stripe's start; -1 for parity.
	ColumnOff  int64 // Offset of its first byte in its drive's column.
	RunOff     int64 // Offset of its first byte in the memory run of data units, or of parity units.
}

// SumLen returns how many of the unit's bytes its checksum covers: the object bytes of a data unit,
// all of a parity unit.
func (u Unit) SumLen() int {
	if u.ObjectOff < 0 {
		return u.Width
	}
	return u.DataLen
}

func (l Layout) rowLen() int64 { return int64(l.K) * UnitLen }

// Rows returns the number of rows.
func (l Layout) Rows() int { return int((l.Length + l.rowLen() - 1) / l.rowLen()) }

// RowWidth returns the width of the units in a row.
func (l Layout) RowWidth(row int) int {
	rest := l.Length - int64(row)*l.rowLen()
	if row < 0 || rest <= 0 {
		panic(fmt.Sprintf("erasure: row %d of %+v", row, l))
	}
	if rest >= l.rowLen() {
		return UnitLen
	}
	k := int64(l.K)
	return int(ceilAlign((rest + k - 1) / k))
}

func ceilAlign(n int64) int64 { return (n + Align - 1) &^ (Align - 1) }

// rowDataLen returns the number of object bytes in a row.
func (l Layout) rowDataLen(row int) int64 {
	return min(l.Length-int64(row)*l.rowLen(), l.rowLen())
}

// ColumnLen returns the bytes that each drive stores, a multiple of Align.
func (l Layout) ColumnLen() int64 {
	last := l.Rows() - 1
	return int64(last)*UnitLen + int64(l.RowWidth(last))
}

// DataRunLen returns the length of the data units' run in memory: Length and its padding.
func (l Layout) DataRunLen() int64 { return l.ColumnLen() * int64(l.K) }

// ParityRunLen returns the length of the parity units' run in memory.
func (l Layout) ParityRunLen() int64 { return l.ColumnLen() * int64(l.M) }

// UnitCount returns the number of units, which is also the number of checksums.
func (l Layout) UnitCount() int { return l.Rows() * (l.K + l.M) }

// UnitAt describes the unit of a shard in a row.
func (l Layout) UnitAt(row, shard int) Unit {
	if shard < 0 || shard >= l.K+l.M {
		panic(fmt.Sprintf("erasure: shard %d of %+v", shard, l))
	}
	width := l.RowWidth(row)
	u := Unit{
		Row: row, Shard: shard,
		Index:     row*(l.K+l.M) + shard,
		Width:     width,
		ColumnOff: int64(row) * UnitLen,
	}
	if shard >= l.K {
		u.ObjectOff = -1
		u.RunOff = int64(row)*int64(l.M)*UnitLen + int64(shard-l.K)*int64(width)
		return u
	}
	u.ObjectOff = int64(row)*l.rowLen() + int64(shard)*int64(width)
	u.RunOff = u.ObjectOff
	u.DataLen = int(min(max(l.Length-u.ObjectOff, 0), int64(width)))
	return u
}

// unitOf returns the row and shard of the data unit that holds the object byte at off.
func (l Layout) unitOf(off int64) (row, shard int) {
	row = int(off / l.rowLen())
	return row, int((off - int64(row)*l.rowLen()) / int64(l.RowWidth(row)))
}

func (l Layout) checkRange(off, n int64) {
	if off < 0 || n < 1 || n > l.Length || off > l.Length-n {
		panic(fmt.Sprintf("erasure: range %d+%d of %+v", off, n, l))
	}
}

// Cover returns the shortest run of whole data units that holds object bytes off to off+n: where it
// starts, and its length with padding. It is the memory that reading the range takes.
func (l Layout) Cover(off, n int64) (start, length int64) {
	l.checkRange(off, n)
	first := l.UnitAt(l.unitOf(off))
	last := l.UnitAt(l.unitOf(off + n - 1))
	return first.ObjectOff, last.ObjectOff + int64(last.Width) - first.ObjectOff
}

// Units yields the data units that hold object bytes off to off+n, in object order.
func (l Layout) Units(off, n int64) iter.Seq[Unit] {
	l.checkRange(off, n)
	return func(yield func(Unit) bool) {
		row, shard := l.unitOf(off)
		for {
			u := l.UnitAt(row, shard)
			if !yield(u) || u.ObjectOff+int64(u.DataLen) >= off+n {
				return
			}
			if shard++; shard == l.K {
				row, shard = row+1, 0
			}
		}
	}
}

// Run is consecutive units of one column: one read or write on one drive.
type Run struct {
	Shard    int
	FirstRow int
	RowCount int
	Off      int64 // Where it starts in the column.
	Len      int64 // Bytes, a multiple of Align.
}

// RunOf returns the run of a shard's units in rowCount rows from firstRow.
func (l Layout) RunOf(shard, firstRow, rowCount int) Run {
	if firstRow < 0 || rowCount < 1 || shard < 0 || shard >= l.K+l.M {
		panic(fmt.Sprintf("erasure: %d rows from %d of shard %d of %+v", rowCount, firstRow, shard, l))
	}
	lastRow := firstRow + rowCount - 1
	off := int64(firstRow) * UnitLen
	return Run{
		Shard: shard, FirstRow: firstRow, RowCount: rowCount,
		Off: off,
		Len: int64(lastRow)*UnitLen + int64(l.RowWidth(lastRow)) - off,
	}
}

// Column returns all of a shard's units.
func (l Layout) Column(shard int) Run { return l.RunOf(shard, 0, l.Rows()) }

// Runs yields the data units that hold object bytes off to off+n, grouped by shard in ascending
// order. The units that a range needs from one shard always follow each other in its column.
func (l Layout) Runs(off, n int64) iter.Seq[Run] {
	l.checkRange(off, n)
	return func(yield func(Run) bool) {
		firstRow, firstShard := l.unitOf(off)
		lastRow, lastShard := l.unitOf(off + n - 1)
		for shard := range l.K {
			from, to := firstRow, lastRow+1
			if shard < firstShard {
				from++
			}
			if shard > lastShard {
				to--
			}
			if from < to && !yield(l.RunOf(shard, from, to-from)) {
				return
			}
		}
	}
}

// AppendVec appends to dst the memory of a run's units in column order, to gather a write from or
// to scatter a read to. mem is memory of the data units' run, or of the parity units' run if the
// shard is parity, from offset base on; for a range, base is the start that Cover returned. Units
// that touch in memory become one slice.
func (l Layout) AppendVec(dst [][]byte, r Run, mem []byte, base int64) [][]byte {
	start, end := int64(-1), int64(-1) // What the last slice appended here spans.
	for row := r.FirstRow; row < r.FirstRow+r.RowCount; row++ {
		u := l.UnitAt(row, r.Shard)
		if off := u.RunOff - base; off != end {
			start = off
			dst = append(dst, nil)
		}
		end = u.RunOff - base + int64(u.Width)
		dst[len(dst)-1] = mem[start:end:end]
	}
	return dst
}
