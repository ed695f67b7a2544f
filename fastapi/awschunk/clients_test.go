package awschunk_test

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	minio "github.com/minio/minio-go/v7/pkg/signer"

	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// verify verifies a request as an HTTP client writes it, and returns the body that follows.
func verify(t *testing.T, req *http.Request, now time.Time) (*sigv4.Auth, io.Reader) {
	t.Helper()
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	r := &sigv4.Request{Method: []byte(req.Method), RawPath: []byte(req.URL.EscapedPath()), Host: []byte(req.Host), TLS: true}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ":")
		r.Headers = append(r.Headers, sigv4.Header{Name: []byte(name), Value: []byte(value)})
	}
	v, err := sigv4.New(sigv4.Options{Secrets: secret{}, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	_, auth, err := v.Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	return auth, strings.NewReader(body)
}

type secret struct{}

func (secret) Lookup(string, string) (sigv4.Secret, error) {
	return sigv4.Secret{Text: signer.Secret, Version: 1}, nil
}

type hasher struct{ hash.Hash }

func (hasher) Close() {}

// TestMinioGo reads what minio-go streams, its trailers ended in its own way.
func TestMinioGo(t *testing.T) {
	rng := newRNG(t)
	for _, withTrailer := range []bool{false, true} {
		for _, size := range []int{1, 1000, 64 << 10, 64<<10 + 1, 300_000} {
			body := randomBytes(rng, size)
			req, err := http.NewRequest("PUT", "http://127.0.0.1:9000/b/k", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			conf := awschunk.Config{DecodedLength: int64(size)}
			var want []awschunk.Trailer
			if withTrailer {
				req.Trailer = http.Header{"X-Amz-Checksum-Crc32c": {"sOO8/Q=="}}
				conf.TrailerNames = []string{"x-amz-checksum-crc32c"}
				want = crcTrailer
			}
			req = minio.StreamingSignV4(req, signer.AccessKey, signer.Secret, "", signer.Region, int64(size), exampleTime, hasher{sha256.New()})
			auth, encoded := verify(t, req, exampleTime)
			conf.Mode, conf.Auth = auth.Payload.Mode, auth
			r := awschunk.NewReader(encoded, conf)
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) || !slices.Equal(r.Trailers(), want) {
				t.Errorf("%d bytes, trailer %v: got %d bytes, trailers %v, %v", size, withTrailer, len(got), r.Trailers(), err)
			}
		}
	}
}

// TestMinioGoUnsigned does so for its unsigned form, which is signed as any other request.
func TestMinioGoUnsigned(t *testing.T) {
	rng := newRNG(t)
	for _, size := range []int{1, 64 << 10, 300_000} {
		body := randomBytes(rng, size)
		req, err := http.NewRequest("PUT", "http://127.0.0.1:9000/b/k", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Amz-Checksum-Crc32c": {"sOO8/Q=="}}
		req.Header.Set("x-amz-content-sha256", sigv4.StreamingUnsignedTrailer.HeaderValue())
		signed := minio.SignV4Trailer(*req, signer.AccessKey, signer.Secret, "", signer.Region, req.Trailer)
		auth, encoded := verify(t, signed, time.Now())
		r := awschunk.NewReader(encoded, awschunk.Config{
			Mode: auth.Payload.Mode, Auth: auth, DecodedLength: int64(size), TrailerNames: []string{"x-amz-checksum-crc32c"},
		})
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) || !slices.Equal(r.Trailers(), crcTrailer) {
			t.Errorf("%d bytes: got %d bytes, trailers %v, %v", size, len(got), r.Trailers(), err)
		}
	}
}

// TestExamples reads the chunked uploads of the S3 API reference, byte for byte.
func TestExamples(t *testing.T) {
	const chunk0 = "10000;chunk-signature="
	body := strings.Repeat("a", 65536) + strings.Repeat("a", 1024)
	for _, c := range []struct {
		name, signedHeaders, signature string
		mode                           sigv4.Mode
		headers                        []string
		chunks                         [3]string
		trailer                        string
	}{
		{"chunked upload", "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
			"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", sigv4.StreamingSigned, []string{"Content-Length: 66824"},
			[3]string{
				"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
				"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
				"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
			}, ""},
		{"chunked upload with trailer", "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e", sigv4.StreamingSignedTrailer, []string{"x-amz-trailer: x-amz-checksum-crc32c"},
			[3]string{
				"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
				"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
				"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
			}, "x-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"},
	} {
		r := &sigv4.Request{Method: []byte("PUT"), RawPath: []byte("/examplebucket/chunkObject.txt"), Host: []byte("s3.amazonaws.com"), TLS: true}
		for _, line := range append([]string{
			"x-amz-date: 20130524T000000Z", "x-amz-storage-class: REDUCED_REDUNDANCY", "Content-Encoding: aws-chunked",
			"x-amz-content-sha256: " + c.mode.HeaderValue(), "x-amz-decoded-content-length: 66560",
			"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=" + c.signedHeaders + ", Signature=" + c.signature,
		}, c.headers...) {
			name, value, _ := strings.Cut(line, ":")
			r.Headers = append(r.Headers, sigv4.Header{Name: []byte(name), Value: []byte(value)})
		}
		v, err := sigv4.New(sigv4.Options{Secrets: secret{}, Clock: func() time.Time { return exampleTime }})
		if err != nil {
			t.Fatal(err)
		}
		_, auth, err := v.Verify(r)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		conf := awschunk.Config{Mode: auth.Payload.Mode, Auth: auth, DecodedLength: 66560}
		if c.trailer != "" {
			conf.TrailerNames = []string{"x-amz-checksum-crc32c"}
		}
		encoded := chunk0 + c.chunks[0] + "\r\n" + body[:65536] + "\r\n" +
			"400;chunk-signature=" + c.chunks[1] + "\r\n" + body[65536:] + "\r\n" +
			"0;chunk-signature=" + c.chunks[2] + "\r\n" + c.trailer + "\r\n"
		if c.trailer == "" && len(encoded) != 66824 {
			t.Errorf("%s: %d bytes, want the Content-Length of the example", c.name, len(encoded))
		}
		got, _, err := decode([]byte(encoded), conf)
		if err != nil || string(got) != body {
			t.Errorf("%s: got %d bytes, %v", c.name, len(got), err)
		}
	}
}
