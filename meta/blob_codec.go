package meta

import (
	"encoding/binary"
	"math"
)

// A blob's body:
//
//	uvarint size | uvarint count, then the extents, whose lengths add up to the size:
//	bulk:   u8 0 | uvarint volume | uvarint length | uvarint offset | uvarint unit count | u64 CRC64NVME of each unit
//	inline: u8 1 | uvarint volume | uvarint length | uvarint batch | u8 shard | uvarint offset | u64 CRC64NVME
//
// Records hold bulk extents only: an inline one says where a record lies, which the record itself cannot know.
// A blob without extents is lost: a rebuild found references to it and no record of it.

const (
	tagBulk    = 0
	tagInline  = 1
	minBlobLen = 3 // Bytes that a blob's body, or an extent, takes at least.
)

func appendBlob(dst []byte, size int64, extents []Extent) []byte {
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = binary.AppendUvarint(dst, uint64(len(extents)))
	for i := range extents {
		dst = appendExtent(dst, &extents[i])
	}
	return dst
}

func appendExtent(dst []byte, e *Extent) []byte {
	if e.Inline {
		dst = append(dst, tagInline)
		dst = binary.AppendUvarint(dst, uint64(e.Volume))
		dst = binary.AppendUvarint(dst, uint64(e.Len))
		dst = binary.AppendUvarint(dst, uint64(e.At.Batch))
		dst = append(dst, e.At.Shard)
		dst = binary.AppendUvarint(dst, uint64(e.At.Off))
		return binary.LittleEndian.AppendUint64(dst, e.Sum)
	}
	dst = append(dst, tagBulk)
	dst = binary.AppendUvarint(dst, uint64(e.Volume))
	dst = binary.AppendUvarint(dst, uint64(e.Len))
	dst = binary.AppendUvarint(dst, uint64(e.Off))
	dst = binary.AppendUvarint(dst, uint64(len(e.Units)))
	for _, u := range e.Units {
		dst = binary.LittleEndian.AppendUint64(dst, u)
	}
	return dst
}

// extent reads one extent; without wantUnits its checksums are only passed over.
func (r *reader) extent(wantUnits bool) (e Extent) {
	tag := r.byte()
	e.Volume = VolumeID(r.uvarint())
	e.Len = r.size()
	switch tag {
	case tagBulk:
		e.Off = r.size()
		sums := reader{s: r.raw(8 * r.count(8))}
		if wantUnits && len(sums.s) > 0 {
			e.Units = make([]uint64, len(sums.s)/8)
			for i := range e.Units {
				e.Units[i] = sums.u64()
			}
		}
	case tagInline:
		e.Inline = true
		e.At = RecordLoc{Volume: e.Volume, Batch: r.size(), Shard: r.byte()}
		off := r.uvarint()
		if off > math.MaxUint32 || e.Len > math.MaxUint32 {
			r.fail()
		}
		e.At.Off, e.At.Len = uint32(off), uint32(e.Len)
		e.Sum = r.u64()
	default:
		r.fail()
	}
	if e.Len == 0 {
		r.fail()
	}
	return e
}

// blobHead reads what precedes the extents.
func (r *reader) blobHead() (size int64, extents int) {
	size = r.size()
	return size, r.count(minBlobLen)
}

// extentsOf reads n extents that add up to size, giving each to f.
func (r *reader) extentsOf(size int64, n int, wantUnits bool, f func(e Extent)) {
	var sum int64
	for range n {
		e := r.extent(wantUnits)
		sum += e.Len
		if sum < 0 || sum > size {
			r.fail()
		}
		if r.bad {
			return
		}
		f(e)
	}
	if n > 0 && sum != size || size == 0 {
		r.fail()
	}
}

// skipBulkBlob passes over the body of a blob in a record: its extents must be there, and be bulk.
func (r *reader) skipBulkBlob() (size int64) {
	size, n := r.blobHead()
	if n == 0 {
		r.fail()
	}
	r.extentsOf(size, n, false, func(e Extent) {
		if e.Inline {
			r.fail()
		}
	})
	return size
}

// blob reads a blob's body into b.
func (r *reader) blob(b *Blob) {
	size, n := r.blobHead()
	b.Size = size
	if n > 0 {
		b.Extents = make([]Extent, 0, n)
	}
	r.extentsOf(size, n, true, func(e Extent) { b.Extents = append(b.Extents, e) })
}
