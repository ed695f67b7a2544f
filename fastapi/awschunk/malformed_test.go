package awschunk_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// TestUnsignedFraming reads bodies by hand: what is accepted, and how each fault is called.
func TestUnsignedFraming(t *testing.T) {
	long := strings.Repeat("x", 9000)
	for _, c := range []struct {
		what, encoded string
		trailers      string // Announced.
		want          error
	}{
		{"as the SDKs send it", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n", "x-amz-checksum-crc32", nil},
		{"as minio-go sends it", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\n\r\n\r\n", "x-amz-checksum-crc32", nil},
		{"no trailer", "5\r\nhello\r\n0\r\n\r\n", "", nil},
		{"two trailers", "5\r\nhello\r\n0\r\nx-amz-checksum-sha1:b\r\nX-Amz-Checksum-Crc32: a \r\n\r\n", "x-amz-checksum-crc32,x-amz-checksum-sha1", nil},
		{"capital digits, leading zeros", "0001\r\nh\r\n00004\r\nello\r\n0000\r\n\r\n", "", nil},

		{"empty", "", "", awschunk.ErrIncompleteBody},
		{"no length", "\r\n", "", awschunk.ErrMalformedChunk},
		{"no length, but an extension", ";a\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"bare LF", "5\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"bare CR", "5\rhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"0x", "0x5\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"sign", "+5\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"minus", "-5\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"space before", " 5\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"space after", "5 \r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"extension", "5;a=b\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"signature where none belongs", "5;chunk-signature=" + strings.Repeat("0", 64) + "\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"17 digits", "10000000000000005\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrChunkTooLong},
		{"5 GiB and a byte", "140000001\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrChunkTooLong},
		{"header without end", strings.Repeat("0", 2000), "", awschunk.ErrMalformedChunk},
		{"length too small", "4\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"length too large", "6\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"length of more than there is", "600\r\nhello\r\n0\r\n\r\n", "", awschunk.ErrIncompleteBody},
		{"no line end after a chunk", "5\r\nhello0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"other line end after a chunk", "5\r\nhello\n\n0\r\n\r\n", "", awschunk.ErrMalformedChunk},
		{"a second body", "5\r\nhello\r\n0\r\n\r\n0\r\n\r\n", "", awschunk.ErrTrailingBytes},

		{"trailer missing", "5\r\nhello\r\n0\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"one trailer of two", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n", "x-amz-checksum-crc32,x-amz-checksum-sha1", awschunk.ErrMalformedTrailer},
		{"trailer not announced", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n", "", awschunk.ErrMalformedTrailer},
		{"trailer in place of another", "5\r\nhello\r\n0\r\nx-amz-checksum-sha1:a\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"trailer twice", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\nx-amz-checksum-crc32:a\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"trailer twice for two", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\nx-amz-checksum-crc32:a\r\n\r\n", "x-amz-checksum-crc32,x-amz-checksum-sha1", awschunk.ErrMalformedTrailer},
		{"signature where none belongs, after the trailer", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\nx-amz-trailer-signature:" + strings.Repeat("0", 64) + "\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"trailer without colon", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"space before colon", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32 :a\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"folded trailer", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\n b\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"trailer with CR", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\rb\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"trailer with NUL", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\x00\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"trailer too long", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + long + "\r\n\r\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"trailers too long together", "5\r\nhello\r\n0\r\nx-amz-checksum-a:" + long[:4000] + "\r\nx-amz-checksum-b:" + long[:4000] + "\r\nx-amz-checksum-c:" + long[:400] + "\r\n\r\n",
			"x-amz-checksum-a,x-amz-checksum-b,x-amz-checksum-c", awschunk.ErrMalformedTrailer},
		{"bare LF and no line end", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\n\r\n", "x-amz-checksum-crc32", awschunk.ErrIncompleteBody},
		{"bare LFs", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\n\n", "x-amz-checksum-crc32", awschunk.ErrMalformedTrailer},
		{"mixed line ends", "5\r\nhello\r\n0\r\nx-amz-checksum-a:a\nx-amz-checksum-b:b\r\n\r\n\r\n", "x-amz-checksum-a,x-amz-checksum-b", awschunk.ErrMalformedTrailer},
	} {
		conf := awschunk.Config{Mode: sigv4.StreamingUnsignedTrailer, DecodedLength: -1}
		if c.trailers != "" {
			conf.TrailerNames = strings.Split(c.trailers, ",")
		}
		body, trailers, err := decode([]byte(c.encoded), conf)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, err, c.want)
		}
		if c.want == nil && (string(body) != "hello" || len(trailers) != len(conf.TrailerNames)) {
			t.Errorf("%s: got %q, %v", c.what, body, trailers)
		}
	}
}

// TestSignedFraming changes a signed body as text.
func TestSignedFraming(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	for _, c := range []struct {
		what     string
		mode     sigv4.Mode
		from, to string
		want     error
	}{
		{"nothing", sigv4.StreamingSigned, "", "", nil},
		{"chunk signature missing", sigv4.StreamingSigned, "5;chunk-signature=", "5\r\n", awschunk.ErrMalformedChunk},
		{"chunk signature of another name", sigv4.StreamingSigned, "5;chunk-signature=", "5;Chunk-Signature=", awschunk.ErrMalformedChunk},
		{"chunk signature with a space", sigv4.StreamingSigned, "5;chunk-signature=", "5; chunk-signature=", awschunk.ErrMalformedChunk},
		{"chunk signature too long", sigv4.StreamingSigned, "\r\nhello", "0\r\nhello", awschunk.ErrMalformedChunk},
		{"body changed", sigv4.StreamingSigned, "hello", "hullo", awschunk.ErrSignature},
		{"body shortened, with its length", sigv4.StreamingSigned, "5;chunk", "4;chunk", awschunk.ErrSignature},
		{"trailer changed", sigv4.StreamingSignedTrailer, "sOO8", "sOO9", awschunk.ErrSignature},
		{"trailer name in capitals", sigv4.StreamingSignedTrailer, "x-amz-checksum-crc32c:", "X-Amz-Checksum-Crc32c: ", nil},
		{"trailer ended as minio-go does", sigv4.StreamingSignedTrailer, "sOO8/Q==\r\n", "sOO8/Q==\n\r\n", nil},
		{"trailer dropped", sigv4.StreamingSignedTrailer, "x-amz-checksum-crc32c:sOO8/Q==\r\n", "", awschunk.ErrMalformedTrailer},
		{"trailer signature dropped", sigv4.StreamingSignedTrailer, "x-amz-trailer-signature:", "", awschunk.ErrMalformedTrailer},
		{"trailer signature empty", sigv4.StreamingSignedTrailer, "x-amz-trailer-signature:", "x-amz-trailer-signature:\r\n", awschunk.ErrSignature},
		{"trailer signature wrong", sigv4.StreamingSignedTrailer, "x-amz-trailer-signature:", "x-amz-trailer-signature:" + zeros + "\r\n", awschunk.ErrSignature},
	} {
		encoded := string(encode(t, []byte("hello"), 10, c.mode))
		changed := strings.Replace(encoded, c.from, c.to, 1)
		if changed == encoded && c.from != "" {
			t.Fatalf("%s: %q is not there", c.what, c.from)
		}
		_, _, err := decode([]byte(changed), config(t, c.mode, -1))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, err, c.want)
		}
	}
}

func TestParseTrailerNames(t *testing.T) {
	for _, c := range []struct {
		value string
		want  []string
	}{
		{"x-amz-checksum-crc32", []string{"x-amz-checksum-crc32"}},
		{"X-Amz-Checksum-CRC64NVME ,\tx-amz-checksum-sha1", []string{"x-amz-checksum-crc64nvme", "x-amz-checksum-sha1"}},
		{"", nil},
		{"x-amz-checksum-crc32,", nil},
		{"content-length", nil},
		{"Authorization", nil},
		{"x-amz-trailer-signature", nil},
		{"x-amz-checksum-crc32,x-amz-checksum-crc32", nil},
		{"x-amz-checksum-1,x-amz-checksum-2,x-amz-checksum-3,x-amz-checksum-4,x-amz-checksum-5,x-amz-checksum-6,x-amz-checksum-7,x-amz-checksum-8,x-amz-checksum-9", nil},
	} {
		got, err := awschunk.ParseTrailerNames(c.value)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("ParseTrailerNames(%q): got %v, %v, want %v", c.value, got, err, c.want)
		}
	}
}
