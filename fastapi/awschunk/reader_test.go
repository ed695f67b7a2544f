package awschunk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// newRNG returns a random source whose seed it logs; SEED=n replays it.
func newRNG(tb testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if env := os.Getenv("SEED"); env != "" {
		n, err := strconv.ParseUint(env, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		seed = n
	}
	tb.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// The credentials and time of the examples in the S3 API reference.
var (
	signer      = sigv4.Signer{AccessKey: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Region: "us-east-1"}
	exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
)

var modes = []sigv4.Mode{sigv4.StreamingSigned, sigv4.StreamingSignedTrailer, sigv4.StreamingUnsignedTrailer}

var crcTrailer = []awschunk.Trailer{{Name: "x-amz-checksum-crc32c", Value: "sOO8/Q=="}}

func trailersOf(mode sigv4.Mode) []awschunk.Trailer {
	if mode.HasTrailer() {
		return crcTrailer
	}
	return nil
}

// newAuth signs a request of the given mode.
func newAuth(tb testing.TB, mode sigv4.Mode) *sigv4.Auth {
	tb.Helper()
	r := &sigv4.Request{Method: []byte("PUT"), RawPath: []byte("/b/k"), Host: []byte("h")}
	auth, err := signer.Sign(r, exampleTime, mode.HeaderValue())
	if err != nil {
		tb.Fatal(err)
	}
	return auth
}

func config(tb testing.TB, mode sigv4.Mode, decodedLength int) awschunk.Config {
	tb.Helper()
	conf := awschunk.Config{Mode: mode, Auth: newAuth(tb, mode), DecodedLength: int64(decodedLength)}
	for _, t := range trailersOf(mode) {
		conf.TrailerNames = append(conf.TrailerNames, t.Name)
	}
	return conf
}

func encode(tb testing.TB, body []byte, chunkLen int, mode sigv4.Mode) []byte {
	tb.Helper()
	return awschunk.AppendEncoded(nil, body, chunkLen, mode, newAuth(tb, mode), trailersOf(mode))
}

// decode reads all of an encoded body.
func decode(encoded []byte, conf awschunk.Config) ([]byte, []awschunk.Trailer, error) {
	r := awschunk.NewReader(bytes.NewReader(encoded), conf)
	body, err := io.ReadAll(r)
	return body, r.Trailers(), err
}

func TestRoundTrip(t *testing.T) {
	rng := newRNG(t)
	sources := map[string]func(io.Reader) io.Reader{
		"plain":        func(r io.Reader) io.Reader { return r },
		"one byte":     iotest.OneByteReader,
		"half":         iotest.HalfReader,
		"data and EOF": iotest.DataErrReader,
	}
	for _, mode := range modes {
		for name, source := range sources {
			for range 30 {
				body := randomBytes(rng, rng.IntN(1<<rng.IntN(18)))
				chunkLen := 1 + rng.IntN(1<<rng.IntN(17))
				if len(body)/chunkLen > 2000 {
					chunkLen = len(body)/2000 + 1
				}
				conf := config(t, mode, len(body))
				if rng.IntN(3) == 0 {
					conf.DecodedLength = -1
				}
				r := awschunk.NewReader(source(bytes.NewReader(encode(t, body, chunkLen, mode))), conf)
				var got []byte
				p := make([]byte, 1+rng.IntN(1<<rng.IntN(18)))
				for {
					n, err := r.Read(p)
					got = append(got, p[:n]...)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatalf("mode %d, %s source, %d bytes in chunks of %d: %v", mode, name, len(body), chunkLen, err)
					}
				}
				if !bytes.Equal(got, body) || !slices.Equal(r.Trailers(), trailersOf(mode)) {
					t.Fatalf("mode %d, %s source, %d bytes in chunks of %d: other bytes or trailers %v came out", mode, name, len(body), chunkLen, r.Trailers())
				}
				if n, err := r.Read(p); n != 0 || err != io.EOF {
					t.Fatalf("after the end: got %d, %v", n, err)
				}
			}
		}
	}
}

// TestTornAnywhere ends the source after each byte. Only after the last is that an end.
func TestTornAnywhere(t *testing.T) {
	body := bytes.Repeat([]byte("penstock"), 20)
	for _, mode := range modes {
		encoded := encode(t, body, 100, mode)
		for n := range encoded {
			if _, _, err := decode(encoded[:n], config(t, mode, len(body))); !errors.Is(err, awschunk.ErrIncompleteBody) {
				t.Errorf("mode %d, %d bytes of %d: got %v, want ErrIncompleteBody", mode, n, len(encoded), err)
			}
		}
		if _, _, err := decode(append(bytes.Clone(encoded), '\n'), config(t, mode, len(body))); !errors.Is(err, awschunk.ErrTrailingBytes) {
			t.Errorf("mode %d, a byte more: got %v, want ErrTrailingBytes", mode, err)
		}
	}
}

// TestFlippedAnywhere flips bits of each byte: CVE-2021-21390 and its like. Signed bodies must be
// refused, unless the flip changed the case of a hex digit or a name, which means the same.
func TestFlippedAnywhere(t *testing.T) {
	body := bytes.Repeat([]byte("Penstock"), 20)
	for _, mode := range modes {
		encoded := encode(t, body, 100, mode)
		for i := range encoded {
			for bit := range 8 {
				spoilt := bytes.Clone(encoded)
				spoilt[i] ^= 1 << bit
				got, trailers, err := decode(spoilt, config(t, mode, len(body)))
				same := bytes.Equal(got, body) && slices.Equal(trailers, trailersOf(mode))
				if err == nil && !same && mode.ChunksSigned() {
					t.Errorf("mode %d, bit %d of byte %d (%q) flipped: accepted, with other content", mode, bit, i, encoded[i])
				}
				if err == nil && same && !strings.EqualFold(string(spoilt), string(encoded)) {
					t.Errorf("mode %d, bit %d of byte %d (%q) flipped: accepted", mode, bit, i, encoded[i])
				}
			}
		}
	}
}

// chunksOf cuts an encoded body of chunks of chunkLen into chunks and what follows the last header.
func chunksOf(t *testing.T, encoded []byte) (chunks [][]byte, rest []byte) {
	t.Helper()
	for {
		i := bytes.IndexByte(encoded, '\n')
		hexLen, _, _ := strings.Cut(strings.TrimSpace(string(encoded[:i])), ";")
		n, err := strconv.ParseInt(hexLen, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return append(chunks, encoded[:i+1]), encoded[i+1:]
		}
		end := i + 1 + int(n) + 2
		chunks, encoded = append(chunks, encoded[:end]), encoded[end:]
	}
}

// TestChunksMoved drops, repeats and swaps chunks, with and without a length that fits.
func TestChunksMoved(t *testing.T) {
	body := randomBytes(newRNG(t), 1000)
	for _, mode := range []sigv4.Mode{sigv4.StreamingSigned, sigv4.StreamingSignedTrailer} {
		chunks, rest := chunksOf(t, encode(t, body, 200, mode))
		last := len(chunks) - 1
		for i := range chunks {
			moved := map[string][][]byte{
				fmt.Sprintf("chunk %d dropped", i): slices.Delete(slices.Clone(chunks), i, i+1),
				fmt.Sprintf("chunk %d twice", i):   slices.Insert(slices.Clone(chunks), i, chunks[i]),
				fmt.Sprintf("cut at %d", i):        append(slices.Clone(chunks[:i]), chunks[last]),
			}
			for j := range i {
				swapped := slices.Clone(chunks)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				moved[fmt.Sprintf("chunks %d and %d swapped", j, i)] = swapped
			}
			for what, c := range moved {
				if what == fmt.Sprintf("cut at %d", last) {
					continue // Nothing was cut.
				}
				for _, length := range []int{len(body), -1} {
					if _, _, err := decode(append(bytes.Join(c, nil), rest...), config(t, mode, length)); err == nil {
						t.Errorf("mode %d, length %d, %s: accepted", mode, length, what)
					}
				}
			}
		}
	}
}

// TestOtherSeed reads a body under the signature of another request.
func TestOtherSeed(t *testing.T) {
	body := []byte("body")
	for _, mode := range modes[:2] {
		conf := config(t, mode, len(body))
		other, err := signer.Sign(&sigv4.Request{Method: []byte("PUT"), RawPath: []byte("/b/other"), Host: []byte("h")}, exampleTime, mode.HeaderValue())
		if err != nil {
			t.Fatal(err)
		}
		conf.Auth = other
		if _, _, err := decode(encode(t, body, 10, mode), conf); !errors.Is(err, awschunk.ErrSignature) {
			t.Errorf("mode %d: got %v, want ErrSignature", mode, err)
		}
	}
}

func TestDecodedLength(t *testing.T) {
	body := randomBytes(newRNG(t), 300)
	for _, mode := range modes {
		encoded := encode(t, body, 100, mode)
		for _, length := range []int{0, 1, 100, 299, 301, 1 << 40} {
			if _, _, err := decode(encoded, config(t, mode, length)); !errors.Is(err, awschunk.ErrIncompleteBody) {
				t.Errorf("mode %d, 300 bytes announced as %d: got %v, want ErrIncompleteBody", mode, length, err)
			}
		}
	}
}

func TestEmptyBody(t *testing.T) {
	for _, mode := range modes {
		body, trailers, err := decode(encode(t, nil, 10, mode), config(t, mode, 0))
		if err != nil || len(body) != 0 || !slices.Equal(trailers, trailersOf(mode)) {
			t.Errorf("mode %d: got %d bytes, trailers %v, %v", mode, len(body), trailers, err)
		}
	}
}

// TestStraightIntoCaller checks that the bulk of a chunk is read into the caller's buffer, and that
// no more than one read-ahead of it is copied.
func TestStraightIntoCaller(t *testing.T) {
	const chunkLen, chunkCount = 64 << 10, 16
	body := randomBytes(newRNG(t), chunkLen*chunkCount)
	p := make([]byte, len(body))
	var direct int
	src := bytes.NewReader(encode(t, body, chunkLen, sigv4.StreamingSigned))
	r := awschunk.NewReader(readerFunc(func(b []byte) (int, error) {
		n, err := src.Read(b)
		if len(b) > 4<<10 {
			direct += n
		}
		return n, err
	}), config(t, sigv4.StreamingSigned, len(body)))
	if _, err := io.ReadFull(r, p); err != nil || !bytes.Equal(p, body) {
		t.Fatalf("other bytes came out, or %v", err)
	}
	if want := len(body) - chunkCount*8<<10; direct < want {
		t.Errorf("%d bytes of %d were read straight into the caller's buffer, want at least %d", direct, len(body), want)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestSourceErrors(t *testing.T) {
	broken := errors.New("connection reset")
	body := randomBytes(newRNG(t), 20_000)
	for _, mode := range modes {
		encoded := encode(t, body, 9000, mode)
		for _, n := range []int{0, 10, 5000, 9100, len(encoded) - 1, len(encoded)} {
			for _, c := range []struct{ src, want error }{{broken, broken}, {io.ErrUnexpectedEOF, awschunk.ErrIncompleteBody}} {
				src := io.MultiReader(bytes.NewReader(encoded[:n]), iotest.ErrReader(c.src))
				r := awschunk.NewReader(src, config(t, mode, len(body)))
				if _, err := io.ReadAll(r); err != c.want {
					t.Errorf("mode %d, source fails after %d bytes with %v: got %v, want %v", mode, n, c.src, err, c.want)
				}
				if r.Trailers() != nil {
					t.Errorf("mode %d: trailers without an end", mode)
				}
				if _, err := r.Read(make([]byte, 1)); err != c.want {
					t.Errorf("mode %d: the error did not stay, now %v", mode, err)
				}
			}
		}
		stalled := awschunk.NewReader(readerFunc(func([]byte) (int, error) { return 0, nil }), config(t, mode, 1))
		if _, err := io.ReadAll(stalled); err != io.ErrNoProgress {
			t.Errorf("mode %d, source without progress: got %v", mode, err)
		}
	}
}

func TestNewReaderPanics(t *testing.T) {
	for name, conf := range map[string]awschunk.Config{
		"plain body": {Mode: sigv4.Signed},
		"unsigned":   {Mode: sigv4.Unsigned},
		"no Auth":    {Mode: sigv4.StreamingSigned},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			awschunk.NewReader(strings.NewReader(""), conf)
		}()
	}
}
