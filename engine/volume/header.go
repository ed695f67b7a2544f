package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/meta"
)

// ID names a volume for ever: its epoch in the upper half, a sequence from 1 in the lower.
type ID = meta.VolumeID

// Class says what a volume holds.
type Class uint8

// The classes.
const (
	classFree Class = iota // In headers only: the segment may be used again.
	Journal                // Records.
	Bulk                   // Stripes of larger objects.
	numClasses
)

func (c Class) String() string {
	switch c {
	case classFree:
		return "free"
	case Journal:
		return "journal"
	case Bulk:
		return "bulk"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// headerLen is what the header takes of a segment: a whole block, so that data begins on one.
const headerLen = drive.BlockLen

// header is what a segment says of itself. Integers are little-endian.
//
//	 0       4         6      7       8       10   11  12                  16       20      24          32          40        56
//	| magic | version | class | shard | cell  | k  | m | segment's number | epoch | zero  | volume id | length    | cluster | …
//	| u32   | u16     | u8    | u8    | u16   | u8 | u8 | u32             | u32   | u32   | u64       | u64       | 16 B    |
//
//	  56                            496      504         512       4096
//	… | drive ids, n × 16 B | zeros | placed | CRC64NVME | unused |
//	|                       |       | u64    |           |        |
//
// Placed says when the segment became the shard that it is: 0 with the volume itself, and otherwise, if it took
// the place of another segment, epoch << 32 | sequence, as volume ids are made. Of two segments that are
// the same shard of a volume the later one counts, and so do its drive ids. Version 1, which is read as well, has zeros there.
//
// The checksum covers bytes 0–503. All of it lies in the first sector, so that a power cut leaves the
// old header or the new one and never a mixture. The number and the drive ids tell a segment from a
// copy of it in another place. A future version keeps magic, version and checksum where they are,
// so that it can be named. The length is that of the volume; the file is shorter once it was trimmed.
type header struct {
	Class   Class
	Shard   int
	Cell    uint16
	K, M    int
	Seg     uint32
	Epoch   uint32
	Volume  ID
	Length  int64
	Cluster drive.ID
	Drives  []drive.ID // In shard order, as the placement left them.
	Placed  uint64
}

const (
	headerMagic   = 0x474d5350 // "PSMG"
	headerVersion = 2          // 1 had no Placed.
	driveIDsAt    = 56
	placedAt      = headerSumAt - 8
	headerSumAt   = drive.SectorLen - 8
)

// The drive ids of the widest volume fit before what follows; the index is negative, and this does not
// compile, if they do not.
const _ = uint(placedAt - driveIDsAt - 16*MaxShards)

var (
	// ErrDamaged is for a header that cannot be trusted.
	ErrDamaged = errors.New("damaged segment header")
	// ErrVersion is for a header of a later version of the program.
	ErrVersion = errors.New("unknown version of segment header")

	errBlank = errors.New("no segment header") // All zeros, as a new segment reads.
)

// AppendTo appends the block that begins a segment.
func (h *header) AppendTo(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, headerLen)...)
	b := dst[at:]
	le := binary.LittleEndian
	le.PutUint32(b[0:], headerMagic)
	le.PutUint16(b[4:], headerVersion)
	b[6], b[7] = byte(h.Class), byte(h.Shard)
	le.PutUint16(b[8:], h.Cell)
	b[10], b[11] = byte(h.K), byte(h.M)
	le.PutUint32(b[12:], h.Seg)
	le.PutUint32(b[16:], h.Epoch)
	le.PutUint64(b[24:], uint64(h.Volume))
	le.PutUint64(b[32:], uint64(h.Length))
	copy(b[40:], h.Cluster[:])
	for i, id := range h.Drives {
		copy(b[driveIDsAt+16*i:], id[:])
	}
	le.PutUint64(b[placedAt:], h.Placed)
	le.PutUint64(b[headerSumAt:], erasure.Checksum(b[:headerSumAt]))
	return dst
}

// parseHeader parses the block that begins a segment. Errors are errBlank, ErrVersion or ErrDamaged.
func parseHeader(b []byte) (header, error) {
	if len(b) < drive.SectorLen {
		return header{}, fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	b = b[:drive.SectorLen]
	le := binary.LittleEndian
	if bytes.Count(b, []byte{0}) == len(b) {
		return header{}, errBlank
	}
	if le.Uint32(b[0:]) != headerMagic || le.Uint64(b[headerSumAt:]) != erasure.Checksum(b[:headerSumAt]) {
		return header{}, fmt.Errorf("%w: magic or checksum mismatch", ErrDamaged)
	}
	if v := le.Uint16(b[4:]); v < 1 || v > headerVersion {
		return header{}, fmt.Errorf("%w: %d, this program knows 1 to %d", ErrVersion, v, headerVersion)
	}
	h := header{
		Class: Class(b[6]), Shard: int(b[7]), Cell: le.Uint16(b[8:]), K: int(b[10]), M: int(b[11]), Seg: le.Uint32(b[12:]),
		Epoch: le.Uint32(b[16:]), Volume: ID(le.Uint64(b[24:])), Length: int64(le.Uint64(b[32:])), Cluster: drive.ID(b[40:56]),
		Placed: le.Uint64(b[placedAt:]),
	}
	n := h.K + h.M
	if h.Class >= numClasses || h.K < 1 || n > MaxShards || h.Shard >= n || h.Volume == 0 || uint32(h.Volume>>32) != h.Epoch ||
		h.Length <= headerLen || h.Length%drive.BlockLen != 0 || h.Placed != 0 && le.Uint16(b[4:]) == 1 {
		return header{}, fmt.Errorf("%w: checksum matches, fields contradict each other", ErrDamaged)
	}
	h.Drives = make([]drive.ID, n)
	for i := range h.Drives {
		h.Drives[i] = drive.ID(b[driveIDsAt+16*i:][:16])
		for _, other := range h.Drives[:i] {
			if other == h.Drives[i] {
				return header{}, fmt.Errorf("%w: two shards on drive %v", ErrDamaged, other)
			}
		}
	}
	return h, nil
}

// sameVolume reports whether two headers agree on everything but their places in the volume, and, if they were placed at different
// times, on where the others are.
func (h *header) sameVolume(o *header) bool {
	return h.Class == o.Class && h.K == o.K && h.M == o.M && h.Volume == o.Volume && h.Length == o.Length &&
		(h.Placed != o.Placed || slices.Equal(h.Drives, o.Drives))
}
