package fastapi

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// The tests in this file are named after the behaviours that real clients need; each is one of twenty.

func b64(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// sumOf computes a checksum with nothing of this package.
func sumOf(a algorithm, data string) string {
	switch a {
	case algCRC32:
		return b64(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(data))))
	case algCRC32C:
		return b64(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(data), crc32.MakeTable(crc32.Castagnoli))))
	case algCRC64NVME:
		return b64(binary.BigEndian.AppendUint64(nil, engine.CRC64NVME([]byte(data))))
	case algSHA1:
		s := sha1.Sum([]byte(data))
		return b64(s[:])
	case algSHA256:
		s := sha256.Sum256([]byte(data))
		return b64(s[:])
	}
	return ""
}

func md5Of(data string) string {
	s := md5.Sum([]byte(data))
	return hex.EncodeToString(s[:])
}

// chunked builds a request whose body is aws-chunked in the given mode.
func (h *harness) chunked(mode sigv4.Mode, method, target, body string, trailers []awschunk.Trailer, headers ...string) *wireRequest {
	h.t.Helper()
	q := &wireRequest{method: method, target: target, host: h.host}
	for i := 0; i < len(headers); i += 2 {
		q.add(headers[i], headers[i+1])
	}
	q.add("x-amz-decoded-content-length", fmt.Sprint(len(body)))
	for _, tr := range trailers {
		q.add("x-amz-trailer", tr.Name)
	}
	auth := h.sign(q, mode.HeaderValue())
	q.body = awschunk.AppendEncoded(nil, []byte(body), 64<<10, mode, auth, trailers)
	return q
}

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
		if before := h.store.callCount(); before != 1 && spelling == "Expect" {
			t.Errorf("%s: %d calls of the store before the body was sent", spelling, before)
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
	}

	forged := h.build("PUT", "/bucket/k", []byte("hello"), "Expect", "100-continue")
	forged.headers = append(forged.headers, sigv4.Header{Name: []byte("x-amz-acl"), Value: []byte("private")})
	large := h.build("PUT", "/bucket/k", nil, "Expect", "100-continue", "Content-Length", fmt.Sprint(int64(engine.MaxPutLen)+1))
	unknown := h.build("PUT", "/bucket/k?policy", nil, "Expect", "100-continue", "Content-Length", "10")
	nowhere := h.build("PUT", "/bucket/k", []byte("x"), "Expect", "something-else")
	for _, c := range []struct {
		name   string
		q      *wireRequest
		status int
		code   string
	}{
		{"forged", forged, 403, "AccessDenied"},
		{"too large", large, 400, "EntityTooLarge"},
		{"not allowed", unknown, 405, "MethodNotAllowed"},
		{"another expectation", nowhere, 417, "ExpectationFailed"},
	} {
		calls := h.store.callCount()
		conn := h.dial()
		conn.Write(c.q.head()) // And no body: the answer must not wait for it.
		r := h.read(bufio.NewReader(conn), "PUT")
		if r.status != c.status || r.code() != c.code || !r.closed {
			t.Errorf("%s: got %v, want %d %s and close", c.name, r, c.status, c.code)
		}
		if h.store.callCount() != calls {
			t.Errorf("%s: the store was called", c.name)
		}
		conn.Close()
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

// upload makes a multipart object of the given parts and returns the answer to its completion.
func (h *harness) upload(target string, parts []string, createHeaders, completeHeaders []string) *reply {
	h.t.Helper()
	id := element(h.must("POST", target+"?uploads", "", createHeaders...).body, "UploadId")
	doc := "<CompleteMultipartUpload>"
	for i, p := range parts {
		r := h.must("PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", target, i+1, id), p)
		doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, r.header.Get("ETag"))
	}
	return h.do("POST", target+"?uploadId="+id, doc+"</CompleteMultipartUpload>", completeHeaders...)
}

// longParts are parts of a legal length.
func longParts(n int) []string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.Repeat(string(rune('a'+i)), engine.MinPartLen)
	}
	parts[n-1] = "the last part may be short"
	return parts
}

func multipartETag(parts []string) string {
	h := md5.New()
	for _, p := range parts {
		s := md5.Sum([]byte(p))
		h.Write(s[:])
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(parts))
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

func TestBehaviour07ETags(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const body = "some bytes"
	want := `"` + md5Of(body) + `"`
	tags := map[string]string{
		"PUT":  h.must("PUT", "/bucket/k", body).header.Get("ETag"),
		"GET":  h.must("GET", "/bucket/k", "").header.Get("ETag"),
		"HEAD": h.must("HEAD", "/bucket/k", "").header.Get("ETag"),
		"304":  h.do("GET", "/bucket/k", "", "If-None-Match", want).header.Get("ETag"),
		"206":  h.must("GET", "/bucket/k", "", "Range", "bytes=0-1").header.Get("ETag"),
		"list": strings.ReplaceAll(element(h.must("GET", "/bucket?list-type=2", "").body, "ETag"), "&quot;", `"`),
		"copy": strings.ReplaceAll(element(h.must("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/k").body, "ETag"), "&quot;", `"`),
	}
	for where, got := range tags {
		if got != want {
			t.Errorf("%s: ETag is %s, want %s", where, got, want)
		}
	}
	parts := longParts(3)
	r := h.upload("/bucket/m", parts, nil, nil)
	want = multipartETag(parts)
	if got := element(r.body, "ETag"); got != "&quot;"+want+"&quot;" {
		t.Errorf("completion: ETag is %s, want %s", got, want)
	}
	if got := h.must("HEAD", "/bucket/m", "").header.Get("ETag"); got != `"`+want+`"` {
		t.Errorf("HEAD: ETag is %s, want %s", got, want)
	}
	// The header's name is spelt as Amazon spells it.
	c := h.dial()
	c.Write(h.build("HEAD", "/bucket/k", nil).head())
	raw := ""
	for br := bufio.NewReader(c); !strings.HasSuffix(raw, "\r\n\r\n"); {
		line, err := br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		raw += line
	}
	if !strings.Contains(raw, "\r\nETag: \"") {
		t.Errorf("no ETag header as such in %q", raw)
	}
}

func TestBehaviour08Conditions(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	tag := h.must("PUT", "/bucket/k", "one").header.Get("ETag")
	last := h.must("HEAD", "/bucket/k", "").header.Get("Last-Modified")
	at, _ := time.Parse(http.TimeFormat, last)
	before, after := at.Add(-time.Second).Format(http.TimeFormat), at.Add(time.Second).Format(http.TimeFormat)
	other := `"00000000000000000000000000000000"`
	for _, c := range []struct {
		status  int
		headers []string
	}{
		{200, []string{"If-Match", tag}},
		{200, []string{"If-Match", unquote(tag)}},
		{200, []string{"If-Match", "*"}},
		{200, []string{"If-Match", other + ", " + tag}},
		{412, []string{"If-Match", other}},
		{304, []string{"If-None-Match", tag}},
		{304, []string{"If-None-Match", "W/" + tag}},
		{304, []string{"If-None-Match", "*"}},
		{200, []string{"If-None-Match", other}},
		{304, []string{"If-Modified-Since", last}},
		{304, []string{"If-Modified-Since", after}},
		{200, []string{"If-Modified-Since", before}},
		{200, []string{"If-Modified-Since", "not a date"}},
		{200, []string{"If-Unmodified-Since", last}},
		{412, []string{"If-Unmodified-Since", before}},
		// Precedence: an ETag overrules a date.
		{200, []string{"If-Match", tag, "If-Unmodified-Since", before}},
		{200, []string{"If-None-Match", other, "If-Modified-Since", after}},
		{412, []string{"If-Match", other, "If-None-Match", tag}},
		{304, []string{"If-Match", tag, "If-None-Match", tag}},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r := h.do(method, "/bucket/k", "", c.headers...)
			if r.status != c.status {
				t.Errorf("%s %q: got %d, want %d", method, c.headers, r.status, c.status)
			}
			if r.status == 304 && (r.header.Get("ETag") != tag || r.header.Get("Last-Modified") != last || r.body != "") {
				t.Errorf("%s %q: 304 has %v", method, c.headers, r)
			}
		}
		// The same conditions on the source of a copy; "not modified" is a failure there.
		var source []string
		for i := 0; i < len(c.headers); i += 2 {
			source = append(source, "x-amz-copy-source-"+strings.ToLower(c.headers[i]), c.headers[i+1])
		}
		want := c.status
		if want == 304 {
			want = 412
		}
		if r := h.do("PUT", "/bucket/copy", "", append(source, "x-amz-copy-source", "bucket/k")...); r.status != want {
			t.Errorf("copy %q: got %v, want %d", source, r, want)
		}
	}

	h.want(412, "PreconditionFailed", "PUT", "/bucket/k", "two", "If-None-Match", "*")
	h.want(412, "PreconditionFailed", "PUT", "/bucket/k", "two", "If-Match", other)
	h.want(404, "NoSuchKey", "PUT", "/bucket/none", "two", "If-Match", tag)
	h.want(501, "NotImplemented", "PUT", "/bucket/k", "two", "If-None-Match", other)
	if got := h.must("GET", "/bucket/k", "").body; got != "one" {
		t.Errorf("a refused write was done: %q", got)
	}
	tag = h.must("PUT", "/bucket/k", "two", "If-Match", tag).header.Get("ETag")
	h.must("PUT", "/bucket/new", "x", "If-None-Match", "*")
	h.want(412, "PreconditionFailed", "DELETE", "/bucket/k", "", "If-Match", other)
	h.must("DELETE", "/bucket/k", "", "If-Match", tag)

	parts := []string{"only"}
	if r := h.upload("/bucket/new", parts, nil, []string{"If-None-Match", "*"}); r.code() != "PreconditionFailed" {
		t.Errorf("completion over an object: got %v", r)
	}
	if r := h.upload("/bucket/newer", parts, nil, []string{"If-None-Match", "*"}); r.status != 200 {
		t.Errorf("completion of a new key: got %v", r)
	}
	// A write that lost against a concurrent one.
	h.store.setFail(func(op, _ string) error {
		if op == "Put" {
			return kindError(engine.KindConflict, "bucket", "k")
		}
		return nil
	})
	h.want(409, "ConditionalRequestConflict", "PUT", "/bucket/k", "x", "If-None-Match", "*")
}

func TestBehaviour08CheckRunsAtCommit(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	// Another writer comes in between the early check and the commit.
	once := false
	h.store.setBefore(func(op string) {
		if op == "Put" && !once {
			once = true
			h.must("PUT", "/bucket/k", "theirs")
		}
	})
	h.want(412, "PreconditionFailed", "PUT", "/bucket/k", "mine", "If-None-Match", "*")
	if got := h.must("GET", "/bucket/k", "").body; got != "theirs" {
		t.Errorf("the object is %q", got)
	}
}

func TestBehaviour09Ranges(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const body = "0123456789"
	tag := h.must("PUT", "/bucket/k", body).header.Get("ETag")
	last := h.must("HEAD", "/bucket/k", "").header.Get("Last-Modified")
	h.must("PUT", "/bucket/empty", "")
	for _, c := range []struct {
		key, header string
		status      int
		want        string
		contentRng  string
	}{
		{"k", "bytes=0-4", 206, "01234", "bytes 0-4/10"},
		{"k", "bytes=5-", 206, "56789", "bytes 5-9/10"},
		{"k", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{"k", "bytes=-30", 206, body, "bytes 0-9/10"},
		{"k", "bytes=0-", 206, body, "bytes 0-9/10"},
		{"k", "bytes=0-9", 206, body, "bytes 0-9/10"},
		{"k", "bytes=8-500", 206, "89", "bytes 8-9/10"},
		{"k", "bytes=9-9", 206, "9", "bytes 9-9/10"},
		{"k", "Bytes=1-1", 206, "1", "bytes 1-1/10"},
		{"k", "bytes=10-", 416, "", "bytes */10"},
		{"k", "bytes=10-20", 416, "", "bytes */10"},
		{"k", "bytes=-0", 416, "", "bytes */10"},
		{"k", "bytes=99999999999999999999-", 416, "", "bytes */10"},
		{"k", "bytes=2-99999999999999999999", 206, "23456789", "bytes 2-9/10"},
		{"k", "bytes=4-2", 200, body, ""}, // Not a range; ignored.
		{"k", "bytes=a-b", 200, body, ""},
		{"k", "bytes=", 200, body, ""},
		{"k", "bytes=-", 200, body, ""},
		{"k", "lines=1-2", 200, body, ""},
		{"k", "bytes=0-1,3-4", 200, body, ""}, // S3 serves one range at most.
		{"k", "bytes=+1-2", 200, body, ""},
		{"empty", "bytes=0-0", 416, "", "bytes */0"},
		{"empty", "bytes=-5", 416, "", "bytes */0"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r := h.do(method, "/bucket/"+c.key, "", "Range", c.header)
			if r.status != c.status || r.header.Get("Content-Range") != c.contentRng {
				t.Errorf("%s %s of %s: got %v, want %d %q", method, c.header, c.key, r, c.status, c.contentRng)
			}
			if method == "GET" && r.status < 300 && r.body != c.want {
				t.Errorf("GET %s of %s: got %q, want %q", c.header, c.key, r.body, c.want)
			}
			if method == "HEAD" && r.status < 300 && r.header.Get("Content-Length") != fmt.Sprint(len(c.want)) {
				t.Errorf("HEAD %s of %s: Content-Length %s, want %d", c.header, c.key, r.header.Get("Content-Length"), len(c.want))
			}
			if r.status == 416 && method == "GET" && (r.code() != "InvalidRange" || element(r.body, "ActualObjectSize") == "") {
				t.Errorf("GET %s of %s: %v", c.header, c.key, r)
			}
		}
	}
	for _, c := range []struct {
		ifRange string
		status  int
	}{
		{tag, 206}, {`"other"`, 200}, {"W/" + tag, 200}, {last, 206}, {"Mon, 02 Jan 2006 15:04:05 GMT", 200},
	} {
		if r := h.do("GET", "/bucket/k", "", "Range", "bytes=0-0", "If-Range", c.ifRange); r.status != c.status {
			t.Errorf("If-Range %s: got %d, want %d", c.ifRange, r.status, c.status)
		}
	}
}

func TestBehaviour10PartNumber(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	parts := longParts(3)
	h.upload("/bucket/m", parts, nil, nil)
	size := len(strings.Join(parts, ""))
	off := 0
	for i, p := range parts {
		for _, method := range []string{"GET", "HEAD"} {
			r := h.do(method, fmt.Sprintf("/bucket/m?partNumber=%d", i+1), "")
			want := fmt.Sprintf("bytes %d-%d/%d", off, off+len(p)-1, size)
			if r.status != 206 || r.header.Get("x-amz-mp-parts-count") != "3" || r.header.Get("Content-Range") != want || r.header.Get("Content-Length") != fmt.Sprint(len(p)) {
				t.Errorf("%s part %d: got %d %v, want %s", method, i+1, r.status, r.header, want)
			}
			if method == "GET" && r.body != p {
				t.Errorf("GET part %d: wrong bytes", i+1)
			}
		}
		off += len(p)
	}
	h.want(416, "InvalidPartNumber", "GET", "/bucket/m?partNumber=4", "")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?partNumber=0", "")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?partNumber=10001", "")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?partNumber=x", "")
	h.want(400, "InvalidRequest", "GET", "/bucket/m?partNumber=1", "", "Range", "bytes=0-1")
	h.must("PUT", "/bucket/k", "whole")
	r := h.must("GET", "/bucket/k?partNumber=1", "")
	if r.status != 206 || r.body != "whole" || r.header.Get("x-amz-mp-parts-count") != "" {
		t.Errorf("part 1 of an object put whole: %v", r)
	}
	h.want(416, "InvalidPartNumber", "GET", "/bucket/k?partNumber=2", "")
}

func TestBehaviour11GetObjectAttributes(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	parts := longParts(3)
	h.upload("/bucket/m", parts, []string{"x-amz-checksum-algorithm", "CRC32C"}, nil)
	// As the JavaScript SDK sends it, with spaces.
	r := h.must("GET", "/bucket/m?attributes", "", "x-amz-object-attributes", "Checksum, ObjectParts, ETag, ObjectSize ,StorageClass")
	for name, want := range map[string]string{
		"ETag": multipartETag(parts), "PartsCount": "3", "ObjectSize": fmt.Sprint(len(strings.Join(parts, ""))),
		"StorageClass": "STANDARD", "IsTruncated": "false", "ChecksumType": "COMPOSITE",
	} {
		if got := element(r.body, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if n := strings.Count(r.body, "<Part>"); n != 3 {
		t.Errorf("%d parts listed", n)
	}
	if !strings.Contains(r.body, "<ChecksumCRC32C>"+sumOf(algCRC32C, parts[1])+"</ChecksumCRC32C><PartNumber>2</PartNumber>") {
		t.Errorf("part 2 has no checksum: %s", r.body)
	}
	r = h.must("GET", "/bucket/m?attributes", "", "x-amz-object-attributes", "ObjectParts", "x-amz-max-parts", "1", "x-amz-part-number-marker", "1")
	if element(r.body, "PartNumber") != "2" || element(r.body, "IsTruncated") != "true" || element(r.body, "NextPartNumberMarker") != "2" || strings.Count(r.body, "<Part>") != 1 {
		t.Errorf("page: %s", r.body)
	}
	if strings.Contains(r.body, "ETag") {
		t.Errorf("what was not asked for is there: %s", r.body)
	}
	h.want(400, "InvalidArgument", "GET", "/bucket/m?attributes", "", "x-amz-object-attributes", "ETag,Colour")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?attributes", "")
	h.want(404, "NoSuchKey", "GET", "/bucket/none?attributes", "", "x-amz-object-attributes", "ETag")
}

func TestBehaviour12Addressing(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Domains = []string{"s3.example.com", "penstock.test"} })
	h.must("PUT", "/bucket/", "")
	h.must("PUT", "/bucket/k", "path", "Host", "127.0.0.1:9000")
	for _, c := range []struct{ host, target, body string }{
		{"bucket.s3.example.com", "/k", "path"},
		{"bucket.s3.example.com:9000", "/k", "path"},
		{"BUCKET.S3.Example.Com", "/k", "path"},
		{"bucket.penstock.test", "/k", "path"},
		{"s3.example.com", "/bucket/k", "path"},
		{"other.example.com", "/bucket/k", "path"},
		{"[::1]:9000", "/bucket/k", "path"},
	} {
		if r := h.must("GET", c.target, "", "Host", c.host); r.body != c.body {
			t.Errorf("%s %s: got %v", c.host, c.target, r)
		}
	}
	h.must("PUT", "/", "", "Host", "with.dots.s3.example.com")
	h.must("PUT", "//k//x", "dots", "Host", "with.dots.s3.example.com")
	if r := h.must("GET", "/with.dots//k//x", ""); r.body != "dots" {
		t.Errorf("virtual host and path name different keys: %v", r)
	}
	for _, target := range []string{"/bucket", "/bucket/", "/bucket?list-type=2", "/bucket/?list-type=2"} {
		if r := h.must("GET", target, ""); element(r.body, "Name") != "bucket" {
			t.Errorf("%s: got %v", target, r)
		}
	}
	// The health paths are not carved out of a bucket's keys.
	h.must("PUT", "/penstock/health/live", "an object", "Host", "bucket.s3.example.com")
	if r := h.must("GET", "/penstock/health/live", "", "Host", "bucket.s3.example.com"); r.body != "an object" {
		t.Errorf("a key like the health path: got %v", r)
	}
}

func keysOf(doc string) []string {
	var keys []string
	for _, part := range strings.Split(doc, "<Contents>")[1:] {
		keys = append(keys, element(part, "Key"))
	}
	return keys
}

func TestBehaviour13Listing(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	// In byte order of UTF-8, which is not the order of UTF-16: U+FF5E comes before the emoji.
	keys := []string{"A", "a", "a b", "a+b", "a/", "a/b", "a/c/d", "ä", "～", "😀"}
	for i := len(keys) - 1; i >= 0; i-- {
		h.must("PUT", "/bucket/"+string(appendURLEncoded(nil, keys[i])), "x")
	}
	r := h.must("GET", "/bucket?list-type=2", "")
	if got := keysOf(r.body); fmt.Sprint(got) != fmt.Sprint(keys) {
		t.Errorf("order: got %q, want %q", got, keys)
	}
	r = h.must("GET", "/bucket/?list-type=2&delimiter&encoding-type=url&fetch-owner=true&prefix=", "") // As minio-go asks.
	if !strings.Contains(r.body, "<Key>a%20b</Key>") || !strings.Contains(r.body, "<Key>a%2Bb</Key>") || !strings.Contains(r.body, "<Key>a/b</Key>") ||
		!strings.Contains(r.body, "<Owner>") || element(r.body, "EncodingType") != "url" {
		t.Errorf("encoding-type=url, fetch-owner: %s", r.body)
	}
	r = h.must("GET", "/bucket?list-type=2&delimiter=/", "")
	if fmt.Sprint(keysOf(r.body)) != fmt.Sprint([]string{"A", "a", "a b", "a+b", "ä", "～", "😀"}) || !strings.Contains(r.body, "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>") ||
		element(r.body, "KeyCount") != "8" || strings.Contains(r.body, "<Owner>") {
		t.Errorf("delimiter: %s", r.body)
	}
	r = h.must("GET", "/bucket?list-type=2&start-after=a/b", "")
	if got := keysOf(r.body); len(got) != 4 || got[0] != "a/c/d" || element(r.body, "StartAfter") != "a/b" {
		t.Errorf("start-after: %s", r.body)
	}
	r = h.must("GET", "/bucket?list-type=2&max-keys=0", "")
	if element(r.body, "KeyCount") != "0" || element(r.body, "IsTruncated") != "false" {
		t.Errorf("max-keys=0: %s", r.body)
	}
	h.want(404, "NoSuchBucket", "GET", "/none?list-type=2&max-keys=0", "")
	if r := h.must("GET", "/bucket?max-keys=5000", ""); element(r.body, "MaxKeys") != "1000" {
		t.Errorf("max-keys above the bound: %s", r.body)
	}
	for _, bad := range []string{"-1", "x", "1.5", "99999999999"} {
		h.want(400, "InvalidArgument", "GET", "/bucket?list-type=2&max-keys="+bad, "")
	}
	h.want(400, "InvalidArgument", "GET", "/bucket?encoding-type=base64", "")
	h.want(400, "InvalidArgument", "GET", "/bucket?list-type=3", "")

	// Pages of every size, by both versions, with and without delimiter, give the same entries.
	for _, delimiter := range []string{"", "/"} {
		whole := h.must("GET", "/bucket?list-type=2&delimiter="+delimiter, "").body
		want := append(keysOf(whole), "prefixes")
		for _, p := range strings.Split(whole, "<CommonPrefixes>")[1:] {
			want = append(want, element(p, "Prefix"))
		}
		for size := 1; size < len(keys)+1; size++ {
			for _, version := range []string{"v1", "v2"} {
				got := h.allPages(version, delimiter, size)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s, delimiter %q, pages of %d: got %q, want %q", version, delimiter, size, got, want)
				}
			}
		}
	}
}

// allPages lists the bucket page by page, as clients do.
func (h *harness) allPages(version, delimiter string, size int) []string {
	var keys, prefixes []string
	next := ""
	for range 50 {
		target := fmt.Sprintf("/bucket?max-keys=%d&delimiter=%s", size, delimiter)
		if version == "v2" {
			target += "&list-type=2"
		}
		if next != "" {
			target += map[string]string{"v1": "&marker=", "v2": "&continuation-token="}[version] + string(appendURLEncoded(nil, next))
		}
		r := h.must("GET", target, "")
		page := keysOf(r.body)
		keys = append(keys, page...)
		for _, p := range strings.Split(r.body, "<CommonPrefixes>")[1:] {
			prefixes = append(prefixes, element(p, "Prefix"))
		}
		if element(r.body, "IsTruncated") != "true" {
			break
		}
		switch {
		case version == "v2":
			next = element(r.body, "NextContinuationToken")
		case delimiter != "":
			next = element(r.body, "NextMarker")
		default:
			next = page[len(page)-1]
		}
	}
	return append(append(keys, "prefixes"), prefixes...)
}

func TestBehaviour14UnknownQueryIgnoredButSigned(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k?x-id=PutObject", "x")
	if r := h.must("GET", "/bucket/k?x-id=GetObject", ""); r.body != "x" {
		t.Errorf("got %v", r)
	}
	q := h.build("GET", "/bucket/k?x-id=GetObject", nil)
	q.target = "/bucket/k?x-id=Other"
	if r := h.send(q); r.status != 403 || r.code() != "SignatureDoesNotMatch" {
		t.Errorf("changed after signing: got %v", r)
	}
	// An unknown sub-resource is never taken for the plain operation.
	for _, target := range []string{"/bucket/k?shiny", "/bucket/k?shiny=", "/bucket?shiny", "/?shiny"} {
		r := h.want(501, "NotImplemented", "GET", target, "")
		if element(r.body, "QueryParameter") != "shiny" {
			t.Errorf("%s: does not name it: %v", target, r)
		}
	}
	h.want(501, "NotImplemented", "PUT", "/bucket/k?shiny", "y")
	h.want(501, "NotImplemented", "DELETE", "/bucket/k?shiny", "")
	if r := h.must("GET", "/bucket/k", ""); r.body != "x" {
		t.Errorf("got %v", r)
	}
}

func TestBehaviour15OwnBucketAndRegion(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Region = "eu-central-1" })
	h.signer.Region = "eu-central-1"
	h.must("PUT", "/bucket", "")
	h.want(409, "BucketAlreadyOwnedByYou", "PUT", "/bucket", "")
	if r := h.must("GET", "/bucket?location", ""); element(r.body, "LocationConstraint") != "" || !strings.Contains(r.body, ">eu-central-1</LocationConstraint>") {
		t.Errorf("GetBucketLocation: %v", r)
	}
	if r := h.must("HEAD", "/bucket", ""); r.header.Get("x-amz-bucket-region") != "eu-central-1" {
		t.Errorf("HeadBucket: %v", r)
	}
	h.want(404, "NoSuchBucket", "GET", "/none?location", "")
	location := func(name string) string {
		return `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>` + name + `</LocationConstraint></CreateBucketConfiguration>`
	}
	h.must("PUT", "/here", location("eu-central-1"))
	h.want(400, "IllegalLocationConstraintException", "PUT", "/there", location("us-west-2"))
	h.want(400, "InvalidLocationConstraint", "PUT", "/there", location("no region!"))
	h.signer.Region = "us-west-2"
	if r := h.want(400, "AuthorizationHeaderMalformed", "GET", "/bucket", ""); element(r.body, "Region") != "eu-central-1" {
		t.Errorf("the right region is not named: %v", r)
	}

	any := newHarness(t)
	any.signer.Region = "mars-1" // Unless it is set, a request signed for any region is accepted.
	any.must("PUT", "/bucket", location("ap-south-1"))
	if r := any.must("GET", "/bucket?location", ""); !strings.Contains(r.body, ">ap-south-1</LocationConstraint>") {
		t.Errorf("GetBucketLocation: %v", r)
	}
	any.must("PUT", "/second", "")
	if r := any.must("GET", "/second?location", ""); !strings.Contains(r.body, "></LocationConstraint>") {
		t.Errorf("GetBucketLocation of us-east-1: %v", r)
	}
}

func TestBehaviour16MissingKey(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	r := h.want(404, "NoSuchKey", "GET", "/bucket/none", "")
	if element(r.body, "Key") != "none" || element(r.body, "Resource") != "/bucket/none" ||
		element(r.body, "RequestId") != r.header.Get("x-amz-request-id") || element(r.body, "HostId") != r.header.Get("x-amz-id-2") {
		t.Errorf("body: %v", r)
	}
	r = h.do("HEAD", "/bucket/none", "")
	if r.status != 404 || r.body != "" || len(r.header.Get("x-amz-request-id")) != 16 || r.header.Get("x-amz-id-2") == "" {
		t.Errorf("HEAD: %v", r)
	}
	r = h.want(404, "NoSuchBucket", "GET", "/none/none", "")
	if element(r.body, "BucketName") != "none" {
		t.Errorf("body: %v", r)
	}
	if r := h.do("HEAD", "/none", ""); r.status != 404 || r.body != "" {
		t.Errorf("HEAD of a bucket: %v", r)
	}
}

// oddKeys are keys that less careful servers lose.
var oddKeys = []string{
	"a//b", "//", "/", "a/../b", "..", ".", "./x", "a/./b", "a/b/", "a", "a/", "a/b", "a%2Fb", "a%2fb", "%", "%25", "a+b", "a b", " ", "a\tb",
	"😀/ü", "a?b", "a#b", "a&b=c", "a;b", `a\b`, `"quoted"`, "<tag>&amp;", "a'b", "\x01\x1f", "\x7f", "~", "*", "()!$,:@=[]{}|^`", "uploads", "?acl", "penstock/health/live",
	strings.Repeat("k", 1024), strings.Repeat("ü", 512), "trailing.", "a/b/c/../../d", "http://x/y", "\u202e", "é", "e\u0301",
}

func TestBehaviour17OddKeys(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	c := h.dial()
	br := bufio.NewReader(c)
	round := func(method, target, body string, headers ...string) *reply {
		q := h.build(method, target, []byte(body), headers...)
		c.Write(append(q.head(), q.body...))
		return h.read(br, method)
	}
	for _, key := range oddKeys {
		target := "/bucket/" + string(appendURLEncoded(nil, key))
		if r := round("PUT", target, key); r.status != 200 {
			t.Errorf("PUT %q: %v", key, r)
			continue
		}
		if h.store.stored("bucket", key) == nil {
			t.Errorf("PUT %q stored another key", key)
		}
		if r := round("GET", target, ""); r.body != key {
			t.Errorf("GET %q: %v", key, r)
		}
		if r := round("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/"+string(appendURLEncoded(nil, key))); r.status != 200 {
			t.Errorf("copy of %q: %v", key, r)
		}
		if h.store.stored("bucket", "copy").info.ETag != md5Of(key) {
			t.Errorf("copy of %q copied something else", key)
		}
		round("DELETE", "/bucket/copy", "")
	}
	if n := len(h.store.keys("bucket")); n != len(oddKeys) {
		t.Errorf("%d keys stored, want %d", n, len(oddKeys))
	}
	// Raw spellings that need no escape.
	for _, c := range []struct{ target, key string }{
		{"/bucket/raw//x", "raw//x"}, {"/bucket/./y", "./y"}, {"/bucket/a+plus", "a+plus"}, {"/bucket/z/../w", "z/../w"},
		{"/bucket//", "/"}, {"/bucket/x%2Fy", "x/y"}, {"/bucket%2Fsplit", "split"}, {"/bucket/ü", "ü"}, {"/bucket/a#b2", "a#b2"},
	} {
		if r := round("PUT", c.target, c.key); r.status != 200 || h.store.stored("bucket", c.key) == nil {
			t.Errorf("PUT %s: %v", c.target, r)
		}
	}
	// Listing and batch deletion know all of them.
	doc := "<Delete>"
	for _, key := range h.store.keys("bucket") {
		doc += "<Object><Key>" + string(appendEscaped(nil, key)) + "</Key></Object>"
	}
	if r := h.must("POST", "/bucket?delete", doc+"</Delete>"); strings.Contains(r.body, "<Error>") {
		t.Errorf("delete: %v", r)
	}
	if left := h.store.keys("bucket"); len(left) > 0 {
		t.Errorf("not deleted: %q", left)
	}

	h.want(400, "KeyTooLongError", "PUT", "/bucket/"+strings.Repeat("k", 1025), "x")
	h.want(400, "KeyTooLongError", "GET", "/bucket/"+strings.Repeat("k", 1025), "")
	h.want(400, "InvalidURI", "PUT", "/bucket/%ff%fe", "x")
	h.want(400, "InvalidURI", "PUT", "/bucket/\xff", "x")
	q := h.build("GET", "/bucket/ok", nil)
	q.target = "/bucket/%zz"
	if r := h.send(q); r.code() != "InvalidURI" {
		t.Errorf("%%zz: %v", r)
	}
}

func TestBehaviour18ReadAfterWrite(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for i := range 20 {
		body := fmt.Sprint("version ", i)
		h.must("PUT", "/bucket/k", body)
		if r := h.must("GET", "/bucket/k", ""); r.body != body {
			t.Fatalf("read %q after writing %q", r.body, body)
		}
		if r := h.must("GET", "/bucket?list-type=2", ""); !strings.Contains(r.body, md5Of(body)) {
			t.Fatalf("list after writing %q: %s", body, r.body)
		}
	}
	h.must("DELETE", "/bucket/k", "")
	h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
	if r := h.must("GET", "/bucket?list-type=2", ""); len(keysOf(r.body)) != 0 {
		t.Errorf("list after deletion: %s", r.body)
	}
	h.must("DELETE", "/bucket/k", "") // Once more is fine.
}

func TestBehaviour19PressureAndStalls(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.store.setFail(func(op, _ string) error {
		if op == "Put" || op == "Open" {
			return kindError(engine.KindBusy, "bucket", "k")
		}
		return nil
	})
	for _, method := range []string{"PUT", "GET"} {
		r := h.want(503, "SlowDown", method, "/bucket/k", "")
		if r.header.Get("Retry-After") != "1" {
			t.Errorf("%s: no Retry-After: %v", method, r)
		}
	}
	h.store.setFail(nil)

	// A completion that takes long shows signs of life in time, and its result at the end.
	id := element(h.must("POST", "/bucket/m?uploads", "").body, "UploadId")
	tag := h.must("PUT", "/bucket/m?partNumber=1&uploadId="+id, "x").header.Get("ETag")
	doc := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + tag + "</ETag></Part></CompleteMultipartUpload>"
	for _, c := range []struct {
		name string
		id   string
		want string
	}{{"success", id, "CompleteMultipartUploadResult"}, {"failure", id, "Error"}} {
		release := make(chan struct{})
		h.store.setBefore(func(op string) {
			if op == "CompleteUpload" {
				<-release
			}
		})
		conn := h.dial()
		q := h.build("POST", "/bucket/m?uploadId="+c.id, []byte(doc))
		conn.Write(append(q.head(), q.body...))
		br := bufio.NewReader(conn)
		if _, err := br.Peek(1); err != nil { // Well before the work is done.
			t.Fatal(err)
		}
		close(release)
		r := h.read(br, "POST")
		if r.status != 200 || !strings.HasPrefix(r.body, xmlHeader) || !strings.Contains(r.body, "<"+c.want) {
			t.Errorf("%s: got %v", c.name, r)
		}
		if c.want == "Error" && (r.code() != "NoSuchUpload" || element(r.body, "RequestId") != r.header.Get("x-amz-request-id")) {
			t.Errorf("%s: got %v", c.name, r)
		}
	}
}

func TestBehaviour20Presigned(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	send := func(method, target, body string, headers ...string) *reply {
		q := &wireRequest{method: method, target: target, host: h.host, body: []byte(body)}
		for i := 0; i < len(headers); i += 2 {
			q.add(headers[i], headers[i+1])
		}
		if method == "PUT" {
			q.add("Content-Length", fmt.Sprint(len(body)))
		}
		return h.send(q)
	}
	if r := send("PUT", h.presign("PUT", "/bucket/k"), "0123456789", "Content-Type", "text/weird"); r.status != 200 {
		t.Fatalf("PUT: %v", r)
	}
	if r := send("GET", h.presign("GET", "/bucket/k"), "", "Range", "bytes=2-3"); r.status != 206 || r.body != "23" {
		t.Errorf("GET with a range: %v", r)
	}
	target := h.presign("GET", "/bucket/k?response-content-type=image%2Fpng&response-content-disposition=attachment%3B%20filename%3D%22a.png%22"+
		"&response-cache-control=no-cache&response-expires=never&response-content-language=de&response-content-encoding=x")
	r := send("GET", target, "")
	for name, want := range map[string]string{
		"Content-Type": "image/png", "Content-Disposition": `attachment; filename="a.png"`, "Cache-Control": "no-cache",
		"Expires": "never", "Content-Language": "de", "Content-Encoding": "x",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, bad := range []string{"%0d%0aSet-Cookie:%20x", "%0a", "%00", "%7f", "a%0db"} {
		if r := send("GET", h.presign("GET", "/bucket/k?response-content-type="+bad), ""); r.status != 400 || r.header.Get("Set-Cookie") != "" {
			t.Errorf("override %s: %v", bad, r)
		}
	}
	if r := send("GET", h.presign("GET", "/bucket/k")+"&response-content-type=text%2Fhtml", ""); r.status != 403 {
		t.Errorf("an override added after signing: %v", r)
	}
	if r := send("HEAD", h.presign("HEAD", "/bucket/k"), ""); r.status != 200 || r.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %v", r)
	}

	// A clock that is off is told what the time is here.
	q := &wireRequest{method: "GET", target: "/bucket/k", host: h.host}
	s := &sigv4.Request{Method: []byte("GET"), RawPath: []byte("/bucket/k"), Host: []byte(h.host)}
	h.signer.Sign(s, time.Now().Add(-time.Hour), sigv4.Digest(nil))
	q.headers = s.Headers
	r = h.send(q)
	if r.status != 403 || r.code() != "RequestTimeTooSkewed" || element(r.body, "ServerTime") == "" || element(r.body, "RequestTime") == "" || element(r.body, "MaxAllowedSkewMilliseconds") != "900000" {
		t.Errorf("clock skew: %v", r)
	}
	s = &sigv4.Request{Method: []byte("GET"), RawPath: []byte("/bucket/k"), Host: []byte(h.host)}
	h.signer.Presign(s, time.Now().Add(-time.Hour), time.Minute)
	if r := send("GET", "/bucket/k?"+string(s.RawQuery), ""); r.status != 403 || element(r.body, "Expires") == "" || element(r.body, "ServerTime") == "" {
		t.Errorf("expired: %v", r)
	}
}
