package sigv4_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/sigv4"
)

// The credentials, time and requests of the examples in the S3 API reference.
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleHolder = "somebody"
	exampleToken  = "a+session/token=="
	emptySHA256   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

type secrets map[string]string

func (s secrets) Lookup(accessKey, token string) (sigv4.Secret, error) {
	secret, ok := s[accessKey]
	switch {
	case !ok:
		return sigv4.Secret{}, sigv4.ErrUnknownKey
	case token == "expired":
		return sigv4.Secret{}, sigv4.ErrExpiredToken
	case token != "" && token != exampleToken:
		return sigv4.Secret{}, sigv4.ErrInvalidToken
	}
	return sigv4.Secret{Text: secret, Version: 1, Holder: exampleHolder}, nil
}

func exampleOptions() sigv4.Options {
	return sigv4.Options{
		Secrets: secrets{exampleKey: exampleSecret},
		Clock:   func() time.Time { return exampleTime },
		Region:  "us-east-1",
	}
}

func newVerifier(tb testing.TB, opts sigv4.Options) *sigv4.Verifier {
	tb.Helper()
	v, err := sigv4.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// parse reads a request written as on the wire, with "\n" for line ends.
func parse(text string) *sigv4.Request {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	first := append(strings.Split(lines[0], " "), "", "")
	path, query, _ := strings.Cut(first[1], "?")
	r := &sigv4.Request{Method: []byte(first[0]), RawPath: []byte(path), RawQuery: []byte(query), TLS: true}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "host") {
			r.Host = []byte(strings.TrimSpace(value))
		}
		r.Headers = append(r.Headers, sigv4.Header{Name: []byte(name), Value: []byte(value)})
	}
	return r
}

func authorization(signedHeaders, signature string) string {
	return "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," +
		"SignedHeaders=" + signedHeaders + ",Signature=" + signature
}

// examples are the signed requests of the S3 API reference.
var examples = []struct {
	name, request string
	mode          sigv4.Mode
}{
	{"get object", `GET /test.txt HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Range: bytes=0-9
x-amz-content-sha256: ` + emptySHA256 + `
x-amz-date: 20130524T000000Z
` + authorization("host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), sigv4.Signed},
	{"put object", `PUT /test$file.text HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Date: Fri, 24 May 2013 00:00:00 GMT
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072
` + authorization("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"), sigv4.Signed},
	{"get bucket lifecycle", `GET /?lifecycle HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: ` + emptySHA256 + `
` + authorization("host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"), sigv4.Signed},
	{"list objects", `GET /?max-keys=2&prefix=J HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: ` + emptySHA256 + `
` + authorization("host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"), sigv4.Signed},
	{"presigned get", `GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1
Host: examplebucket.s3.amazonaws.com`, sigv4.Unsigned},
	{"chunked upload", `PUT /examplebucket/chunkObject.txt HTTP/1.1
Host: s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD
Content-Encoding: aws-chunked
x-amz-decoded-content-length: 66560
Content-Length: 66824
` + authorization("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class", "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"), sigv4.StreamingSigned},
	{"chunked upload with trailer", `PUT /examplebucket/chunkObject.txt HTTP/1.1
Host: s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
Content-Encoding: aws-chunked
x-amz-decoded-content-length: 66560
x-amz-trailer: x-amz-checksum-crc32c
` + authorization("content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer", "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"), sigv4.StreamingSignedTrailer},
}

func TestExamples(t *testing.T) {
	v := newVerifier(t, exampleOptions())
	for _, e := range examples {
		id, auth, err := v.Verify(parse(e.request))
		if err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		if id.AccessKey != exampleKey || id.SecretVersion != 1 || auth.Payload.Mode != e.mode || !auth.Time.Equal(exampleTime) {
			t.Errorf("%s: got %+v, mode %d, time %v", e.name, id, auth.Payload.Mode, auth.Time)
		}
	}
}

// TestExamplesSpoilt changes each example a byte at a time. Nothing but a change that leaves the
// meaning alone (the case of a header's name, a space that is collapsed) may still verify.
func TestExamplesSpoilt(t *testing.T) {
	v := newVerifier(t, exampleOptions())
	for _, e := range examples {
		for i := range len(e.request) {
			for _, bit := range []byte{1, 0x10} {
				spoilt := []byte(e.request)
				spoilt[i] ^= bit
				if sameMeaning(string(spoilt), e.request) {
					continue
				}
				if id, _, err := v.Verify(parse(string(spoilt))); err == nil {
					t.Errorf("%s with byte %d spoilt: verified as %+v:\n%s", e.name, i, id, spoilt)
				} else if e := (*sigv4.Error)(nil); !errors.As(err, &e) {
					t.Fatalf("error %v is no *Error", err)
				}
			}
		}
	}
}

// sameMeaning reports whether two requests differ only in what a signature does not cover: the HTTP
// version, the case of header names and the space around values.
func sameMeaning(a, b string) bool {
	meaning := func(text string) string {
		lines := strings.Split(text, "\n")
		lines[0] = strings.TrimSuffix(lines[0], lines[0][strings.LastIndexByte(lines[0], ' ')+1:])
		for i, line := range lines {
			if name, value, ok := strings.Cut(line, ":"); ok && i > 0 {
				lines[i] = strings.ToLower(name) + ":" + strings.TrimSpace(value)
			}
		}
		return strings.Join(lines, "\n")
	}
	return meaning(a) == meaning(b)
}

func sum256(b []byte) [32]byte { return sha256.Sum256(b) }

func TestPresignedIsPresigned(t *testing.T) {
	v := newVerifier(t, exampleOptions())
	for _, e := range examples {
		_, auth, err := v.Verify(parse(e.request))
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.HasPrefix(e.name, "presigned"); auth.Presigned != want {
			t.Errorf("%s: Presigned is %v", e.name, auth.Presigned)
		}
	}
}

// TestChunkExamples computes the chunk and trailer signatures of the S3 API reference.
func TestChunkExamples(t *testing.T) {
	v := newVerifier(t, exampleOptions())
	for _, c := range []struct {
		example int
		want    []string
		trailer string
	}{
		{5, []string{
			"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
			"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
			"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
		}, ""},
		{6, []string{
			"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
			"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
			"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
		}, "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"},
	} {
		_, auth, err := v.Verify(parse(examples[c.example].request))
		if err != nil {
			t.Fatal(err)
		}
		chain := auth.Chain()
		for i, chunk := range [][]byte{bytes.Repeat([]byte("a"), 65536), bytes.Repeat([]byte("a"), 1024), nil} {
			sum := sum256(chunk)
			if got := fmt.Sprintf("%s", chain.Chunk(&sum)); got != c.want[i] {
				t.Errorf("%s, chunk %d: got %s, want %s", examples[c.example].name, i, got, c.want[i])
			}
		}
		if c.trailer == "" {
			continue
		}
		sum := sum256([]byte("x-amz-checksum-crc32c:sOO8/Q==\n"))
		if got := fmt.Sprintf("%s", chain.Trailer(&sum)); got != c.trailer {
			t.Errorf("%s, trailer: got %s, want %s", examples[c.example].name, got, c.trailer)
		}
	}
}
