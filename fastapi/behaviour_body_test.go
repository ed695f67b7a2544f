package fastapi

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"penstock/engine"
	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

func TestBehaviour01PayloadModeDecidesDecoder(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("0123456789abcdef", 10_000)
	trailer := []awschunk.Trailer{{Name: "x-amz-checksum-crc32c", Value: sumOf(algCRC32C, body)}}
	for _, encoding := range []string{"", "aws-chunked", "aws-chunked,gzip", "gzip"} {
		for mode := sigv4.StreamingSigned; mode < sigv4.NumModes; mode++ {
			name := fmt.Sprintf("%s/encoding=%s", mode.HeaderValue(), encoding)
			var tr []awschunk.Trailer
			if mode.HasTrailer() {
				tr = trailer
			}
			var headers []string
			if encoding != "" {
				headers = []string{"Content-Encoding", encoding}
			}
			q := h.chunked(mode, "PUT", "/bucket/k", body, tr, headers...)
			q.add("Content-Length", fmt.Sprint(len(q.body)))
			if r := h.send(q); r.status != 200 {
				t.Errorf("%s: got %v", name, r)
				continue
			}
			r := h.must("GET", "/bucket/k", "")
			if r.body != body {
				t.Errorf("%s: read %d bytes, not what was written", name, len(r.body))
			}
			want := ""
			if strings.Contains(encoding, "gzip") {
				want = "gzip"
			}
			if got := r.header.Get("Content-Encoding"); got != want {
				t.Errorf("%s: Content-Encoding is %q, want %q", name, got, want)
			}
		}
	}
	// The encoding alone decides nothing.
	h.must("PUT", "/bucket/plain", "5\r\nhello\r\n0\r\n\r\n", "Content-Encoding", "aws-chunked", "x-amz-content-sha256", "UNSIGNED-PAYLOAD")
	if r := h.must("GET", "/bucket/plain", ""); r.body != "5\r\nhello\r\n0\r\n\r\n" {
		t.Errorf("a body that is not aws-chunked was decoded: %q", r.body)
	}
	for _, mode := range []string{"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", "STREAMING-WHAT"} {
		q := h.build("PUT", "/bucket/k2", []byte("x"))
		for i := range q.headers {
			if string(q.headers[i].Name) == "X-Amz-Content-Sha256" {
				q.headers[i].Value = []byte(mode)
			}
		}
		if r := h.send(q); r.status != 400 {
			t.Errorf("%s: got %v, want 400", mode, r)
		}
	}
}

// overHTTPChunks frames a body in HTTP chunks of odd lengths, which cut across the aws-chunked ones.
func overHTTPChunks(body []byte) []byte {
	var out bytes.Buffer
	for n := 1; len(body) > 0; n = n*3 + 1 {
		n := min(n, len(body))
		fmt.Fprintf(&out, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	out.WriteString("0\r\n\r\n")
	return out.Bytes()
}

func TestBehaviour02HTTPChunkedAroundAWSChunked(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("stream", 40_000)
	trailer := []awschunk.Trailer{{Name: "x-amz-checksum-crc32", Value: sumOf(algCRC32, body)}}
	q := h.chunked(sigv4.StreamingUnsignedTrailer, "PUT", "/bucket/k", body, trailer)
	q.add("Transfer-Encoding", "chunked")
	q.body = overHTTPChunks(q.body)
	// A second request on the same connection shows that all of the first was read.
	c := h.dial()
	br := bufio.NewReader(c)
	c.Write(append(q.head(), q.body...))
	if r := h.read(br, "PUT"); r.status != 200 || r.closed {
		t.Fatalf("PUT: got %v", r)
	}
	get := h.build("GET", "/bucket/k", nil, "x-amz-checksum-mode", "ENABLED")
	c.Write(get.head())
	r := h.read(br, "GET")
	if r.body != body || r.header.Get("x-amz-checksum-crc32") != sumOf(algCRC32, body) {
		t.Errorf("GET: got %d bytes, headers %v", len(r.body), r.header)
	}

	missing := h.build("PUT", "/bucket/k", nil, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Transfer-Encoding", "chunked")
	missing.body = []byte("0\r\n\r\n")
	if r := h.send(missing); r.code() != "MissingContentLength" || r.status != 411 {
		t.Errorf("no x-amz-decoded-content-length: got %v", r)
	}
	for _, length := range []string{"-1", "abc", "1e3", "99999999999999999999", ""} {
		q := h.build("PUT", "/bucket/k", nil, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Transfer-Encoding", "chunked", "x-amz-decoded-content-length", length)
		q.body = []byte("0\r\n\r\n")
		if r := h.send(q); r.status != 400 {
			t.Errorf("x-amz-decoded-content-length %q: got %v, want 400", length, r)
		}
	}
	plain := h.build("PUT", "/bucket/k", nil, "x-amz-content-sha256", "UNSIGNED-PAYLOAD", "Transfer-Encoding", "chunked")
	plain.body = []byte("5\r\nhello\r\n0\r\n\r\n")
	if r := h.send(plain); r.status != 501 || element(r.body, "Header") != "Transfer-Encoding" {
		t.Errorf("HTTP chunks around a plain body: got %v", r)
	}
}

func TestBehaviour03ExpectContinue(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.MaxUploads = 1 })
	h.must("PUT", "/bucket", "")
	calls := newCallCount(h.store)
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	for _, spelling := range []string{"Expect", "expect", "EXPECT"} {
		c := h.dial()
		br := bufio.NewReader(c)
		q := h.build("PUT", "/bucket/k", []byte("hello"), spelling, "100-continue")
		c.Write(q.head())
		line := make([]byte, len(goOn))
		if _, err := io.ReadFull(br, line); err != nil || string(line) != goOn {
			t.Fatalf("%s: got %q, %v", spelling, line, err)
		}
		if before := calls.take(); len(before) != 0 {
			t.Errorf("%s: calls of the store before the body was sent: %v", spelling, before)
		}
		c.Write(q.body)
		if r := h.read(br, "PUT"); r.status != 200 {
			t.Errorf("%s: got %v", spelling, r)
		}
		// The connection is good for another.
		c.Write(h.build("HEAD", "/bucket/k", nil).head())
		if r := h.read(br, "HEAD"); r.status != 200 {
			t.Errorf("%s: then got %v", spelling, r)
		}
		c.Close()
		calls.take()
	}

	forged := h.build("PUT", "/bucket/k", []byte("hello"), "Expect", "100-continue")
	forged.headers = append(forged.headers, sigv4.Header{Name: []byte("x-amz-acl"), Value: []byte("private")})
	large := h.build("PUT", "/bucket/k", nil, "Expect", "100-continue", "Content-Length", fmt.Sprint(int64(engine.MaxPutLen)+1))
	unknown := h.build("PUT", "/bucket/k?policy", nil, "Expect", "100-continue", "Content-Length", "10")
	for _, c := range []struct {
		name   string
		q      *wireRequest
		status int
		code   string
	}{
		{"forged", forged, 403, "AccessDenied"},
		{"too large", large, 400, "EntityTooLarge"},
		{"not allowed", unknown, 405, "MethodNotAllowed"},
	} {
		calls.take()
		conn := h.dial()
		conn.Write(c.q.head()) // And no body: the answer must not wait for it.
		r := h.read(bufio.NewReader(conn), "PUT")
		if r.status != c.status || r.code() != c.code || !r.closed {
			t.Errorf("%s: got %v, want %d %s and close", c.name, r, c.status, c.code)
		}
		if made := calls.take(); len(made) != 0 {
			t.Errorf("%s: the store was called: %v", c.name, made)
		}
		conn.Close()
	}

	for _, expectation := range []string{"200", "something-else", ""} { // Amazon knows none of them and goes on.
		h.must("PUT", "/bucket/k", "hello", "Expect", expectation)
	}

	// Admission: with one upload in progress, the next is told to slow down before it sends anything.
	busy := h.dial()
	q := h.build("PUT", "/bucket/slow", []byte("hello"), "Expect", "100-continue")
	busy.Write(q.head())
	br := bufio.NewReader(busy)
	io.ReadFull(br, make([]byte, len(goOn)))
	second := h.dial()
	second.Write(h.build("PUT", "/bucket/other", []byte("hello"), "Expect", "100-continue").head())
	if r := h.read(bufio.NewReader(second), "PUT"); r.code() != "SlowDown" || r.header.Get("Retry-After") != "1" {
		t.Errorf("second upload: got %v", r)
	}
	busy.Write(q.body)
	if r := h.read(br, "PUT"); r.status != 200 {
		t.Errorf("first upload: got %v", r)
	}
	h.must("PUT", "/bucket/other", "hello")
}

func TestBehaviour04TrailerVerifiedBeforeCommit(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("x", 100_000)
	for a := algNone + 1; a < numAlgorithms; a++ {
		for _, mode := range []sigv4.Mode{sigv4.StreamingSignedTrailer, sigv4.StreamingUnsignedTrailer} {
			good := []awschunk.Trailer{{Name: a.header(), Value: sumOf(a, body)}}
			q := h.chunked(mode, "PUT", "/bucket/good", body, good)
			q.add("Content-Length", fmt.Sprint(len(q.body)))
			if r := h.send(q); r.status != 200 || r.header.Get(a.header()) != good[0].Value {
				t.Errorf("%s, mode %d: got %v", a.name(), mode, r)
			}
			bad := []awschunk.Trailer{{Name: a.header(), Value: sumOf(a, body+"y")}}
			q = h.chunked(mode, "PUT", "/bucket/bad", body, bad)
			q.add("Content-Length", fmt.Sprint(len(q.body)))
			if r := h.send(q); r.status != 400 || r.code() != "BadDigest" {
				t.Errorf("%s, mode %d, wrong trailer: got %v", a.name(), mode, r)
			}
			h.want(404, "NoSuchKey", "GET", "/bucket/bad", "")
		}
	}
	// A trailer that is announced and not there, and one that is there and not announced.
	q := h.build("PUT", "/bucket/bad", nil, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length", "5",
		"x-amz-trailer", "x-amz-checksum-crc32", "Content-Length", "15")
	q.body = []byte("5\r\nhello\r\n0\r\n\r\n")
	if r := h.send(q); r.status != 400 {
		t.Errorf("announced trailer missing: got %v", r)
	}
	h.want(404, "NoSuchKey", "GET", "/bucket/bad", "")
}

func TestBehaviour05DeleteObjectsDigests(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	doc := `<Delete><Object><Key>a</Key></Object></Delete>`
	sum := md5.Sum([]byte(doc))
	for _, c := range []struct {
		name    string
		headers []string
		status  int
		code    string
	}{
		{"MD5", []string{"Content-MD5", b64(sum[:]), "x-amz-content-sha256", "UNSIGNED-PAYLOAD"}, 200, ""},
		{"CRC32", []string{"x-amz-checksum-crc32", sumOf(algCRC32, doc), "x-amz-content-sha256", "UNSIGNED-PAYLOAD"}, 200, ""},
		{"CRC64NVME", []string{"x-amz-checksum-crc64nvme", sumOf(algCRC64NVME, doc), "x-amz-content-sha256", "UNSIGNED-PAYLOAD"}, 200, ""},
		{"SHA256", []string{"x-amz-checksum-sha256", sumOf(algSHA256, doc)}, 200, ""},
		{"signed", nil, 200, ""},
		{"none", []string{"x-amz-content-sha256", "UNSIGNED-PAYLOAD"}, 400, "InvalidRequest"},
		{"wrong MD5", []string{"Content-MD5", b64(make([]byte, 16))}, 400, "BadDigest"},
		{"wrong CRC32", []string{"x-amz-checksum-crc32", sumOf(algCRC32, "")}, 400, "BadDigest"},
		{"not MD5", []string{"Content-MD5", "abc"}, 400, "InvalidDigest"},
	} {
		h.must("PUT", "/bucket/a", "x")
		r := h.do("POST", "/bucket?delete", doc, c.headers...)
		if r.status != c.status || r.code() != c.code {
			t.Errorf("%s: got %v, want %d %s", c.name, r, c.status, c.code)
		}
		want := 200
		if c.status == 200 {
			want = 404
		}
		if r := h.do("HEAD", "/bucket/a", ""); r.status != want {
			t.Errorf("%s: the object afterwards: %d, want %d", c.name, r.status, want)
		}
	}
}

func TestBehaviour06AllChecksumsStoredAndReturned(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const body = "The quick brown fox"
	for a := algNone + 1; a < numAlgorithms; a++ {
		r := h.must("PUT", "/bucket/k", body, a.header(), sumOf(a, body), "x-amz-sdk-checksum-algorithm", a.name())
		if got := r.header.Get(a.header()); got != sumOf(a, body) || r.header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
			t.Errorf("%s: PUT answers %v", a.name(), r.header)
		}
		for _, method := range []string{"GET", "HEAD"} {
			r = h.must(method, "/bucket/k", "", "x-amz-checksum-mode", "ENABLED")
			if got := r.header.Get(a.header()); got != sumOf(a, body) {
				t.Errorf("%s: %s answers %q", a.name(), method, got)
			}
			r = h.must(method, "/bucket/k", "")
			if got := r.header.Get(a.header()); got != "" {
				t.Errorf("%s: %s without x-amz-checksum-mode answers %q", a.name(), method, got)
			}
		}
		h.want(400, "BadDigest", "PUT", "/bucket/bad", body, a.header(), sumOf(a, "other"))
		h.want(400, "InvalidRequest", "PUT", "/bucket/bad", body, a.header(), "AAAA")
		h.want(404, "NoSuchKey", "GET", "/bucket/bad", "")
	}
	// Without one, CRC64NVME is kept.
	h.must("PUT", "/bucket/k", body)
	if got := h.must("GET", "/bucket/k", "", "x-amz-checksum-mode", "enabled").header.Get("x-amz-checksum-crc64nvme"); got != sumOf(algCRC64NVME, body) {
		t.Errorf("default checksum: got %q", got)
	}
	// A range has no checksum of its own; all of the object has.
	if r := h.must("GET", "/bucket/k", "", "x-amz-checksum-mode", "ENABLED", "Range", "bytes=1-3"); r.header.Get("x-amz-checksum-crc64nvme") != "" {
		t.Errorf("range: got %v", r.header)
	}
	h.want(400, "InvalidRequest", "PUT", "/bucket/bad", body, "x-amz-checksum-crc32", sumOf(algCRC32, body), "x-amz-checksum-sha1", sumOf(algSHA1, body))
	h.want(400, "InvalidRequest", "PUT", "/bucket/bad", body, "x-amz-sdk-checksum-algorithm", "CRC32")
	h.want(400, "InvalidRequest", "PUT", "/bucket/bad", body, "x-amz-sdk-checksum-algorithm", "CRC32", "x-amz-checksum-sha1", sumOf(algSHA1, body))
	h.want(501, "NotImplemented", "PUT", "/bucket/bad", body, "x-amz-checksum-md7", "AAAA")
}

func TestBehaviour06MultipartChecksums(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	parts := longParts(2)
	whole := strings.Join(parts, "")
	for a := algNone + 1; a < numAlgorithms; a++ {
		for _, kind := range []string{typeFull, typeComposite} {
			create := []string{"x-amz-checksum-algorithm", a.name(), "x-amz-checksum-type", kind}
			if kind == typeFull && !algorithms[a].full || kind == typeComposite && !algorithms[a].composite {
				h.want(400, "InvalidRequest", "POST", "/bucket/k?uploads", "", create...)
				continue
			}
			want := sumOf(a, whole)
			if kind == typeComposite {
				raw := ""
				for _, p := range parts {
					one, _ := base64.StdEncoding.DecodeString(sumOf(a, p))
					raw += string(one)
				}
				want = sumOf(a, raw) + "-2"
			}
			r := h.upload("/bucket/k", parts, create, []string{"x-amz-checksum-type", kind})
			if r.status != 200 || element(r.body, algorithms[a].element) != want || element(r.body, "ChecksumType") != kind {
				t.Errorf("%s %s: completion answers %v, want %s", a.name(), kind, r, want)
			}
			r = h.must("HEAD", "/bucket/k", "", "x-amz-checksum-mode", "ENABLED")
			if r.header.Get(a.header()) != want || r.header.Get("x-amz-checksum-type") != kind {
				t.Errorf("%s %s: HEAD answers %v, want %s", a.name(), kind, r.header, want)
			}
			r = h.must("GET", "/bucket/k?partNumber=2", "", "x-amz-checksum-mode", "ENABLED")
			if r.header.Get(a.header()) != sumOf(a, parts[1]) {
				t.Errorf("%s %s: part 2 has %q, want %q", a.name(), kind, r.header.Get(a.header()), sumOf(a, parts[1]))
			}
			// The client's own idea of the object's checksum is compared.
			want = sumOf(a, "x")
			if kind == typeComposite {
				raw, _ := base64.StdEncoding.DecodeString(want)
				want = sumOf(a, string(raw)) + "-1"
			}
			if r := h.upload("/bucket/k", []string{"x"}, create, []string{a.header(), want}); r.status != 200 {
				t.Errorf("%s %s: completion with the right checksum: got %v", a.name(), kind, r)
			}
			if r := h.upload("/bucket/bad", []string{"x"}, create, []string{a.header(), sumOf(a, "other")}); r.code() != "BadDigest" {
				t.Errorf("%s %s: completion with a wrong checksum: got %v", a.name(), kind, r)
			}
			h.want(404, "NoSuchKey", "GET", "/bucket/bad", "")
		}
	}
	if r := h.upload("/bucket/k", parts, nil, nil); element(r.body, "ChecksumCRC64NVME") != sumOf(algCRC64NVME, whole) {
		t.Errorf("default: got %v", r)
	}
}
