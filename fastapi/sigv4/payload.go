package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"io"
)

// Mode is how the body of a request is protected. x-amz-content-sha256 alone decides it:
// Content-Encoding: aws-chunked is optional, and clients exist that leave it out.
type Mode uint8

const (
	// Unsigned bodies are as sent and not covered by the signature.
	Unsigned Mode = iota
	// Signed bodies are as sent; their SHA-256 is in the signature.
	Signed
	// StreamingSigned bodies are aws-chunked; every chunk is signed.
	StreamingSigned
	// StreamingSignedTrailer bodies are StreamingSigned and followed by signed trailers.
	StreamingSignedTrailer
	// StreamingUnsignedTrailer bodies are aws-chunked and followed by trailers, none of it signed.
	StreamingUnsignedTrailer
	// NumModes is not a mode; it lets tests walk them all.
	NumModes
)

// Streaming reports whether bodies of this mode are aws-chunked.
func (m Mode) Streaming() bool { return m >= StreamingSigned }

// ChunksSigned reports whether chunks carry signatures.
func (m Mode) ChunksSigned() bool { return m == StreamingSigned || m == StreamingSignedTrailer }

// HasTrailer reports whether trailers follow the body.
func (m Mode) HasTrailer() bool { return m == StreamingSignedTrailer || m == StreamingUnsignedTrailer }

// modeNames are the values of x-amz-content-sha256 that are not a digest.
var modeNames = [NumModes]string{
	Unsigned:                 "UNSIGNED-PAYLOAD",
	Signed:                   "",
	StreamingSigned:          "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
	StreamingSignedTrailer:   "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
	StreamingUnsignedTrailer: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}

// Payload says how a body is protected, and by what.
type Payload struct {
	Mode   Mode
	SHA256 [sha256.Size]byte // Of the body, if Mode is Signed.
}

// ParsePayload parses the value of x-amz-content-sha256.
func ParsePayload(value []byte) (Payload, error) {
	var p Payload
	if len(value) == 2*sha256.Size {
		// Upper-case digits are as good as lower-case ones: the value is signed as sent.
		if _, err := hex.Decode(p.SHA256[:], value); err == nil {
			p.Mode = Signed
			return p, nil
		}
	}
	for mode, name := range modeNames {
		if name != "" && string(value) == name {
			return Payload{Mode: Mode(mode)}, nil
		}
	}
	switch string(value) {
	case "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER":
		return Payload{}, errMechanism
	}
	return Payload{}, refuse(InvalidArgument, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "+
		"STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
}

// AnonymousPayload returns the payload that a request without credentials declares. A signed
// streaming body is refused: there is no key to verify it with.
func AnonymousPayload(r *Request) (Payload, error) {
	f, err := readFields(r.Headers)
	if err != nil || f.payload.count == 0 {
		return Payload{}, err
	}
	p, err := ParsePayload(f.payload.value)
	if err == nil && p.Mode.ChunksSigned() {
		err = refuse(InvalidRequest, "A signed streaming body needs a signed request.")
	}
	return p, err
}

// VerifyReader reads a body whose mode is Signed. It returns src's bytes, and in place of io.EOF an
// error if they are not those that were signed; so nothing read from it may be acted on before EOF.
type VerifyReader struct {
	src  io.Reader
	sum  hash.Hash
	want [sha256.Size]byte
	err  error
}

// NewVerifyReader returns a reader of a body that must have the payload's digest.
func NewVerifyReader(src io.Reader, p Payload) *VerifyReader {
	return &VerifyReader{src: src, sum: sha256.New(), want: p.SHA256}
}

func (v *VerifyReader) Read(b []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.src.Read(b)
	v.sum.Write(b[:n])
	if err == io.EOF {
		var got [sha256.Size]byte
		if subtle.ConstantTimeCompare(v.sum.Sum(got[:0]), v.want[:]) != 1 {
			err = errPayloadMismatch
		}
	}
	v.err = err
	return n, err
}

var errPayloadMismatch = refuse(XAmzContentSHA256Mismatch, "The provided 'x-amz-content-sha256' header does not match what was computed.")
