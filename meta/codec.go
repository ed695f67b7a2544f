package meta

import (
	"encoding/binary"
	"math"
	"time"
	"unsafe"
)

// All encodings of this package are made of these pieces:
//
//	uvarint  7 bits a byte, low bits first, in as few bytes as possible
//	varint   zigzag, then uvarint
//	u64      8 bytes, little-endian
//	str      uvarint length, then the bytes
//	time     varint milliseconds since 1970 UTC
//	attrs    uvarint count, then for each: str name, str value
//
// There is one encoding of a value and parsers refuse every other, so whatever parses encodes back to itself.

// reader takes an encoding apart. The first error sticks; callers look at ok once, at the end.
// Strings it returns share the memory of what it reads.
type reader struct {
	s   string
	bad bool
}

// view lets a reader read b without a copy. The caller must not keep a string from it past the life of b.
func view(b []byte) reader { return reader{s: unsafe.String(unsafe.SliceData(b), len(b))} }

// ok reports whether everything parsed so far was well-formed.
func (r *reader) ok() bool { return !r.bad }

// done reports whether everything parsed and nothing is left over.
func (r *reader) done() bool { return !r.bad && len(r.s) == 0 }

func (r *reader) fail() {
	r.bad = true
	r.s = ""
}

func (r *reader) byte() byte {
	if len(r.s) == 0 {
		r.fail()
		return 0
	}
	b := r.s[0]
	r.s = r.s[1:]
	return b
}

// uvarint passes the loop by for the one-byte numbers that lengths and counts mostly are.
func (r *reader) uvarint() uint64 {
	if len(r.s) > 0 && r.s[0] < 0x80 {
		v := r.s[0]
		r.s = r.s[1:]
		return uint64(v)
	}
	return r.longUvarint()
}

func (r *reader) longUvarint() uint64 {
	var v uint64
	for i := 0; i < len(r.s) && i < binary.MaxVarintLen64; i++ {
		c := r.s[i]
		if c < 0x80 {
			if i > 0 && c == 0 || i == binary.MaxVarintLen64-1 && c > 1 {
				break // Longer than need be, or past 64 bits.
			}
			r.s = r.s[i+1:]
			return v | uint64(c)<<(7*i)
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	r.fail()
	return 0
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// size reads a uvarint that must fit an int64.
func (r *reader) size() int64 {
	u := r.uvarint()
	if u > math.MaxInt64 {
		r.fail()
		return 0
	}
	return int64(u)
}

// count reads the number of items that follow, each at least itemLen bytes long, so that
// a damaged count cannot ask for more memory than its input is worth.
func (r *reader) count(itemLen int) int {
	u := r.uvarint()
	if u > uint64(len(r.s)/itemLen) {
		r.fail()
		return 0
	}
	return int(u)
}

func (r *reader) u64() uint64 {
	s := r.raw(8)
	if len(s) < 8 {
		return 0
	}
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// raw reads n bytes.
func (r *reader) raw(n int) string {
	if n > len(r.s) {
		r.fail()
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) str() string {
	n := r.uvarint()
	if n > uint64(len(r.s)) {
		r.fail()
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

// strMax reads a string of 1 to limit bytes.
func (r *reader) strMax(limit int) string {
	s := r.str()
	if len(s) == 0 || len(s) > limit {
		r.fail()
	}
	return s
}

func (r *reader) time() time.Time { return time.UnixMilli(r.varint()).UTC() }

func (r *reader) attrs() []Attr {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	return r.attrsInto(make([]Attr, 0, n), n)
}

func (r *reader) attrsInto(dst []Attr, n int) []Attr {
	for range n {
		dst = append(dst, Attr{Name: r.str(), Value: r.str()})
	}
	return dst
}

func (r *reader) skipAttrs() {
	for range 2 * r.count(2) {
		r.str()
	}
}

func (r *reader) uploadID() (id UploadID) {
	copy(id[:], r.raw(len(id)))
	return id
}

func appendStr(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendTime(dst []byte, t time.Time) []byte { return binary.AppendVarint(dst, t.UnixMilli()) }

func appendAttrs(dst []byte, attrs []Attr) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(attrs)))
	for _, a := range attrs {
		dst = appendStr(dst, a.Name)
		dst = appendStr(dst, a.Value)
	}
	return dst
}
