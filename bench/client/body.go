package client

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"math/rand/v2"

	"penstock/erasure"
	"penstock/fastapi/sigv4"
)

// patternLen is how often the bytes of a Body repeat. It fits into the cache of a core, so that sending costs no more than it must, and
// is odd, so that no two stretches of a large body that a server might exchange, aligned as they are, are equal.
const patternLen = 1<<20 + 4099

// A Pattern is what bodies consist of: bytes that no compression makes smaller.
type Pattern struct{ bytes []byte }

// NewPattern returns the pattern of a seed. The same seed gives the same bytes for ever: what one run uploads, another compares.
func NewPattern(seed uint64) *Pattern {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	p := &Pattern{make([]byte, patternLen)}
	rand.NewChaCha8(key).Read(p.bytes) // Never fails.
	return p
}

// Body returns the n-th body of a length. Those of a few hundred thousand numbers differ from each other, in every stretch of 16 bytes.
func (p *Pattern) Body(n uint64, length int64) *Body {
	const step = 498_977 // A prime: walks through all starts before it returns to one.
	return &Body{pattern: p.bytes, start: int64(n % patternLen * step % patternLen), length: length}
}

// A Body is what an upload sends and what a download is compared with. Once prepared it may be used by several goroutines.
type Body struct {
	pattern []byte
	start   int64
	length  int64

	// What Prepare computed.
	sha256       string              // Of all, in hex.
	chunkSums    [][sha256.Size]byte // Of each chunk, without the empty one at the end.
	trailerName  string
	trailerValue string
	md5          string // In base64.
}

// NewBody returns a body of the given bytes, which must not change while it is in use.
func NewBody(b []byte) *Body {
	return &Body{pattern: b, length: int64(len(b))}
}

// Len is the length of the body.
func (b *Body) Len() int64 { return b.length }

// run returns the longest stretch from off, of at most n bytes, that lies in one piece in memory.
func (b *Body) run(off int64, n int64) []byte {
	at := (b.start + off) % int64(len(b.pattern))
	return b.pattern[at:min(at+n, int64(len(b.pattern)))]
}

// Equal reports whether got is what the body has at off.
func (b *Body) Equal(off int64, got []byte) bool {
	if off+int64(len(got)) > b.length {
		return false
	}
	for len(got) > 0 {
		want := b.run(off, int64(len(got)))
		if string(want) != string(got[:len(want)]) {
			return false
		}
		off += int64(len(want))
		got = got[len(want):]
	}
	return true
}

// writeTo writes n bytes from off to a hash.
func (b *Body) writeTo(h hash.Hash, off, n int64) {
	for n > 0 {
		piece := b.run(off, n)
		h.Write(piece)
		off += int64(len(piece))
		n -= int64(len(piece))
	}
}

func (b *Body) digest(h hash.Hash) []byte {
	b.writeTo(h, 0, b.length)
	return h.Sum(nil)
}

// A Payload says how the bodies of uploads are protected.
type Payload struct {
	Mode       sigv4.Mode
	ChunkLen   int64  // Of the streaming modes.
	Checksum   string // Of the modes with a trailer: an algorithm of Checksums.
	ContentMD5 bool   // Also send Content-MD5.
}

// Checksums are the algorithms that a trailer can carry.
var Checksums = []string{"crc64nvme", "crc32", "crc32c", "sha1", "sha256"}

func newChecksum(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "crc64nvme":
		return new(crc64), nil
	case "crc32":
		return crc32.NewIEEE(), nil
	case "crc32c":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli)), nil
	case "sha1":
		return sha1.New(), nil
	case "sha256":
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("%q is not a checksum", algorithm)
}

// Prepare computes what sending the body needs: once for each payload it is sent with, before it is sent.
func (b *Body) Prepare(p Payload) error {
	if p.ContentMD5 {
		b.md5 = base64.StdEncoding.EncodeToString(b.digest(md5.New()))
	}
	switch {
	case p.Mode == sigv4.Signed:
		b.sha256 = hex.EncodeToString(b.digest(sha256.New()))
	case p.Mode.Streaming() && p.ChunkLen <= 0:
		return fmt.Errorf("chunks of %d bytes", p.ChunkLen)
	case p.Mode.ChunksSigned():
		b.chunkSums = nil
		for off := int64(0); off < b.length; off += p.ChunkLen {
			h := sha256.New()
			b.writeTo(h, off, min(p.ChunkLen, b.length-off))
			b.chunkSums = append(b.chunkSums, [sha256.Size]byte(h.Sum(nil)))
		}
	}
	if p.Mode.HasTrailer() {
		h, err := newChecksum(p.Checksum)
		if err != nil {
			return err
		}
		b.trailerName = "x-amz-checksum-" + p.Checksum
		b.trailerValue = base64.StdEncoding.EncodeToString(b.digest(h))
	}
	return nil
}

// crc64 is CRC64NVME as a hash.
type crc64 struct{ sum uint64 }

func (c *crc64) Write(p []byte) (int, error) { c.sum = erasure.Update(c.sum, p); return len(p), nil }
func (c *crc64) Sum(b []byte) []byte         { return binary.BigEndian.AppendUint64(b, c.sum) }
func (c *crc64) Reset()                      { c.sum = 0 }
func (c *crc64) Size() int                   { return 8 }
func (c *crc64) BlockSize() int              { return 1 }
