package awschunk

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"penstock/fastapi/sigv4"
)

var (
	// ErrIncompleteBody says that the body ends early, or that its length is not the one
	// announced (S3: IncompleteBody).
	ErrIncompleteBody = errors.New("awschunk: the body is not as long as announced")

	// ErrMalformedChunk says that the framing is broken (S3: InvalidRequest).
	ErrMalformedChunk = errors.New("awschunk: malformed chunk")

	// ErrChunkTooLong says that a chunk is longer than S3 allows (S3: InvalidChunkSizeError).
	ErrChunkTooLong = errors.New("awschunk: chunk too long")

	// ErrSignature says that a chunk or the trailers are not what was signed (S3:
	// SignatureDoesNotMatch).
	ErrSignature = errors.New("awschunk: signature does not match")

	// ErrTrailingBytes says that something follows the end of the encoding (S3: InvalidRequest).
	ErrTrailingBytes = errors.New("awschunk: bytes after the end of the body")

	// ErrMalformedTrailer says that the trailers are broken, or not the ones announced (S3:
	// MalformedTrailerError).
	ErrMalformedTrailer = errors.New("awschunk: malformed trailer")
)

const (
	// maxChunkLen is the most that S3 takes in one request. Some clients send it all in one chunk.
	maxChunkLen = 5 << 30

	// bufLen is how much is read ahead to find the next header. It bounds a line. Larger, and more
	// of each chunk would be copied; smaller, and small chunks would cost more reads.
	bufLen = 4 << 10

	maxHeaderLen  = 1 << 10 // Of a chunk; 100 bytes suffice.
	maxTrailerLen = 8 << 10 // Of all trailer lines.

	signatureLen = 64
)

// Config says what a Reader is to expect.
type Config struct {
	Mode          sigv4.Mode  // A streaming one.
	Auth          *sigv4.Auth // Where chunk signatures start from; not needed if chunks are not signed.
	DecodedLength int64       // x-amz-decoded-content-length; negative if unknown.
	TrailerNames  []string    // From x-amz-trailer, see ParseTrailerNames.
}

// Trailer is a header sent after the body. Its name is in lower case.
type Trailer struct{ Name, Value string }

// Reader decodes a body. It is not safe for concurrent use.
type Reader struct {
	src  io.Reader
	conf Config

	buf        [bufLen]byte
	start, end int // What is read ahead: buf[start:end].

	state     state
	chunkLeft int64 // Bytes of the current chunk yet to come.
	decoded   int64 // Bytes of the body, up to the end of the current chunk.
	err       error // Final, once set.
	trailers  []Trailer

	chain     *sigv4.Chain // nil if chunks are not signed.
	hash      hash.Hash    // Of the current chunk so far.
	sum       [sha256.Size]byte
	signature [signatureLen]byte
}

type state uint8

const (
	atHeader   state = iota // The header of a chunk comes next.
	inChunk                 // Bytes of a chunk come next.
	afterChunk              // The line end after a chunk comes next.
)

// NewReader returns a Reader of the body that src yields. It panics if the mode is not a streaming
// one, or needs an Auth and has none: that is decided by whoever verified the request.
func NewReader(src io.Reader, conf Config) *Reader {
	r := &Reader{src: src, conf: conf}
	if !conf.Mode.Streaming() {
		panic(fmt.Sprintf("awschunk: mode %d is not a streaming one", conf.Mode))
	}
	if conf.Mode.ChunksSigned() {
		if conf.Auth == nil {
			panic("awschunk: signed chunks and no Auth")
		}
		r.chain = conf.Auth.Chain()
		r.hash = sha256.New()
	}
	return r
}

// Trailers returns the trailers, after io.EOF: each announced one, once.
func (r *Reader) Trailers() []Trailer {
	if r.err != io.EOF {
		return nil
	}
	return r.trailers
}

// Read reads bytes of the body into p, straight from the source if p is large. io.EOF means that all
// of it, trailers included, was read and verified, and that the source has ended too.
func (r *Reader) Read(p []byte) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for n == 0 && err == nil {
		switch r.state {
		case atHeader:
			err = r.readHeader()
		case inChunk:
			n, err = r.readChunk(p)
		case afterChunk:
			err = r.readLineEnd(ErrMalformedChunk)
			r.state = atHeader
		}
	}
	if err != nil {
		// Of a chunk that turned out wrong, not even its end is handed out.
		n, r.err = 0, err
	}
	return n, err
}

func (r *Reader) readChunk(p []byte) (int, error) {
	p = p[:min(int64(len(p)), r.chunkLeft)]
	var n int
	if r.start == r.end && len(p) >= bufLen {
		var err error
		if n, err = r.readSource(p); n == 0 {
			return 0, err
		}
	} else {
		if r.start == r.end {
			if err := r.fill(); err != nil {
				return 0, err
			}
		}
		n = copy(p, r.buf[r.start:r.end])
		r.start += n
	}
	if r.chain != nil {
		r.hash.Write(p[:n])
	}
	if r.chunkLeft -= int64(n); r.chunkLeft > 0 {
		return n, nil
	}
	r.state = afterChunk
	return n, r.checkChunk()
}

// checkChunk checks the signature of the chunk whose bytes have all come.
func (r *Reader) checkChunk() error {
	if r.chain == nil {
		return nil
	}
	r.hash.Sum(r.sum[:0])
	r.hash.Reset()
	want := r.chain.Chunk(&r.sum)
	if !hmac.Equal(want[:], r.signature[:]) {
		return ErrSignature
	}
	return nil
}

// readHeader reads the header of a chunk. That of the last one is followed by the end of the body, so
// then it returns io.EOF or an error.
func (r *Reader) readHeader() error {
	line, err := r.readLine(maxHeaderLen, ErrMalformedChunk)
	if err != nil {
		return err
	}
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return ErrMalformedChunk
	}
	size, rest, err := parseHex(line)
	if err != nil {
		return err
	}
	if r.chain != nil {
		signature, ok := bytes.CutPrefix(rest, []byte(";chunk-signature="))
		if !ok || len(signature) != signatureLen {
			return ErrMalformedChunk
		}
		copy(r.signature[:], signature)
	} else if len(rest) != 0 {
		return ErrMalformedChunk
	}
	if size == 0 {
		return r.readEnd()
	}
	if r.conf.DecodedLength >= 0 && size > r.conf.DecodedLength-r.decoded {
		return ErrIncompleteBody
	}
	r.decoded += size
	r.chunkLeft, r.state = size, inChunk
	return nil
}

// parseHex parses the hex number that line starts with.
func parseHex(line []byte) (n int64, rest []byte, err error) {
	rest = line
	for len(rest) > 0 {
		var digit byte
		switch c := rest[0]; {
		case '0' <= c && c <= '9':
			digit = c - '0'
		case 'a' <= c && c <= 'f':
			digit = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			digit = c - 'A' + 10
		default:
			if len(rest) == len(line) {
				return 0, nil, ErrMalformedChunk
			}
			return n, rest, nil
		}
		if n = n<<4 | int64(digit); n > maxChunkLen {
			return 0, nil, ErrChunkTooLong
		}
		rest = rest[1:]
	}
	if len(line) == 0 {
		return 0, nil, ErrMalformedChunk
	}
	return n, nil, nil
}

// readEnd reads what follows the header of the last chunk, and returns io.EOF if all is well.
func (r *Reader) readEnd() error {
	if err := r.checkChunk(); err != nil {
		return err
	}
	if r.conf.DecodedLength >= 0 && r.decoded != r.conf.DecodedLength {
		return ErrIncompleteBody
	}
	if r.conf.Mode.HasTrailer() {
		if err := r.readTrailers(); err != nil {
			return err
		}
	}
	if err := r.readLineEnd(ErrMalformedTrailer); err != nil {
		return err
	}
	if r.start < r.end {
		return ErrTrailingBytes
	}
	return r.readEOF()
}

// readEOF returns io.EOF if the source ends here. If it says that it ends unexpectedly, more was
// announced than the encoding has.
func (r *Reader) readEOF() error {
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[:1])
		switch {
		case n > 0:
			return ErrTrailingBytes
		case err == io.ErrUnexpectedEOF:
			return ErrIncompleteBody
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// readLineEnd reads "\r\n".
func (r *Reader) readLineEnd(malformed error) error {
	line, err := r.readLine(len("\r\n"), malformed)
	if err == nil && string(line) != "\r\n" {
		err = malformed
	}
	return err
}

// readLine reads up to and including the next "\n". The line is valid until the next read. If it is
// longer than maxLen, it is malformed.
func (r *Reader) readLine(maxLen int, malformed error) ([]byte, error) {
	for {
		ahead := r.buf[r.start:r.end]
		if len(ahead) > maxLen {
			ahead = ahead[:maxLen]
		}
		if i := bytes.IndexByte(ahead, '\n'); i >= 0 {
			r.start += i + 1
			return ahead[:i+1], nil
		}
		if len(ahead) == maxLen {
			return nil, malformed
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads ahead by at least one byte. The caller has left room.
func (r *Reader) fill() error {
	r.end = copy(r.buf[:], r.buf[r.start:r.end])
	r.start = 0
	n, err := r.readSource(r.buf[r.end:])
	if n > 0 {
		r.end += n
		return nil // An error comes again with the next read.
	}
	return err
}

// maxEmptyReads is how often a source may return nothing at all.
const maxEmptyReads = 100

// readSource reads at least one byte, or fails. That the source ends is a failure here: it does so
// only in the midst of something.
func (r *Reader) readSource(p []byte) (int, error) {
	for range maxEmptyReads {
		n, err := r.src.Read(p)
		switch {
		case n > 0:
			return n, nil // As in fill.
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return 0, ErrIncompleteBody
		case err != nil:
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}
