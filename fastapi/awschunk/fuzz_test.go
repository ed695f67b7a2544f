package awschunk_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

var known = []error{
	awschunk.ErrIncompleteBody, awschunk.ErrMalformedChunk, awschunk.ErrChunkTooLong,
	awschunk.ErrSignature, awschunk.ErrMalformedTrailer, awschunk.ErrTrailingBytes,
}

// FuzzReader reads anything as each kind of body. Signed ones can only be refused, or be the one body
// that was signed; unsigned ones that are accepted must be the encoding of what came out.
func FuzzReader(f *testing.F) {
	body := []byte("hello, penstock")
	for i, mode := range modes {
		f.Add(encode(f, body, 7, mode), byte(i))
	}
	f.Add([]byte("f\r\nhello, penstock\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\n\r\n"), byte(2))
	f.Fuzz(func(t *testing.T, encoded []byte, which byte) {
		mode := modes[int(which)%len(modes)]
		got, trailers, err := decode(encoded, config(t, mode, -1))
		if err != nil {
			if !slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) }) {
				t.Fatalf("mode %d: unknown error %v", mode, err)
			}
			return
		}
		if mode.ChunksSigned() {
			if !bytes.Equal(got, body) || !slices.Equal(trailers, trailersOf(mode)) {
				t.Fatalf("mode %d: accepted %q, %v, which nobody signed", mode, got, trailers)
			}
			return
		}
		again := awschunk.AppendEncoded(nil, got, len(got)+1, mode, nil, trailers)
		if body, twice, err := decode(again, config(t, mode, len(got))); err != nil || !bytes.Equal(body, got) || !slices.Equal(twice, trailers) {
			t.Fatalf("mode %d: encoded again, it decodes to %q, %v, %v", mode, body, twice, err)
		}
	})
}

// FuzzEdited makes a signed body and edits it: cuts out a piece, repeats it, moves it, or flips it.
// What is accepted must be the body that was signed.
func FuzzEdited(f *testing.F) {
	f.Add([]byte("some body of some length"), 5, 10, 20, 30, byte(1))
	f.Add(bytes.Repeat([]byte("x"), 100), 50, 90, 200, 0, byte(2))
	f.Fuzz(func(t *testing.T, body []byte, chunkLen, from, to, at int, op byte) {
		if chunkLen < 1 || len(body) > 10_000 || len(body)/chunkLen > 100 {
			return
		}
		mode := []sigv4.Mode{sigv4.StreamingSigned, sigv4.StreamingSignedTrailer}[op>>7]
		encoded := encode(t, body, chunkLen, mode)
		if from < 0 || to < from || to > len(encoded) || at < 0 || at > len(encoded) {
			return
		}
		piece := slices.Clone(encoded[from:to])
		edited := slices.Clone(encoded)
		switch op & 3 {
		case 0:
			edited = slices.Delete(edited, from, to)
		case 1:
			edited = slices.Insert(edited, at, piece...)
		case 2:
			edited = slices.Delete(edited, from, to)
			edited = slices.Insert(edited, min(at, len(edited)), piece...)
		case 3:
			for i := from; i < to; i++ {
				edited[i] ^= op | 1
			}
		}
		for _, length := range []int{len(body), -1} {
			got, trailers, err := decode(edited, config(t, mode, length))
			if err == nil && (!bytes.Equal(got, body) || !slices.Equal(trailers, trailersOf(mode))) {
				t.Fatalf("mode %d, length %d: accepted %q, %v for %q", mode, length, got, trailers, body)
			}
		}
	})
}
