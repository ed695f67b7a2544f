package blackbox

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/sigv4"
)

// A writeRoute is a request that would change something.
type writeRoute struct {
	name, method, target string
	body                 string
	headers              []string
	streams              bool // Its body is an object's.
}

// writeRoutes has every operation that writes; %ID is an upload that exists, of key "upload", with one part.
var writeRoutes = []writeRoute{
	{"CreateBucket", "PUT", "/forged", "", nil, false},
	{"DeleteBucket", "DELETE", "/empty", "", nil, false},
	{"PutObject", "PUT", "/bkt/forged", "forged", nil, true},
	{"PutObject over another", "PUT", "/bkt/there", "forged", nil, true},
	{"CopyObject", "PUT", "/bkt/forged", "", []string{"X-Amz-Copy-Source", "/bkt/there"}, false},
	{"DeleteObject", "DELETE", "/bkt/there", "", nil, false},
	{"DeleteObjects", "POST", "/bkt?delete", "<Delete><Object><Key>there</Key></Object></Delete>", nil, false},
	{"PostObject", "POST", "/bkt", "forged", []string{"Content-Type", "multipart/form-data; boundary=x"}, false},
	{"CreateMultipartUpload", "POST", "/bkt/forged?uploads", "", nil, false},
	{"UploadPart", "PUT", "/bkt/upload?partNumber=2&uploadId=%ID", "forged", nil, true},
	{"UploadPart over another", "PUT", "/bkt/upload?partNumber=1&uploadId=%ID", "forged", nil, true},
	{"UploadPartCopy", "PUT", "/bkt/upload?partNumber=2&uploadId=%ID", "", []string{"X-Amz-Copy-Source", "/bkt/there"}, false},
	{"CompleteMultipartUpload", "POST", "/bkt/upload?uploadId=%ID", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%ETAG</ETag></Part></CompleteMultipartUpload>", nil, false},
	{"AbortMultipartUpload", "DELETE", "/bkt/upload?uploadId=%ID", "", nil, false},
	{"PutBucketPolicy", "PUT", "/bkt?policy", "{}", nil, false},
	{"GetObject", "GET", "/bkt/there", "", nil, false}, // Writes nothing, but shows.
	{"ListObjectsV2", "GET", "/bkt?list-type=2", "", nil, false},
	{"ListBuckets", "GET", "/", "", nil, false},
}

// forgeries are what can be wrong with a request that was signed, or is not.
var forgeries = []struct {
	name  string
	forge func(c *client, q *request, payload string)
}{
	{"anonymous", func(c *client, q *request, payload string) { q.add("X-Amz-Content-Sha256", payload) }},
	{"another secret", func(c *client, q *request, payload string) {
		other := *newClient()
		other.signer.Secret = "penstock-test-secreT"
		other.sign(q, payload)
	}},
	{"unknown access key", func(c *client, q *request, payload string) {
		other := *newClient()
		other.signer.AccessKey = "penstock-test-accesS"
		other.sign(q, payload)
	}},
	{"empty secret", func(c *client, q *request, payload string) {
		other := *newClient()
		other.signer.Secret = ""
		other.sign(q, payload)
	}},
	{"signature of another method", func(c *client, q *request, payload string) {
		method := q.method
		q.method = "HEAD"
		c.sign(q, payload)
		q.method = method
	}},
	{"signature of another target", func(c *client, q *request, payload string) {
		target := q.target
		q.target = "/other" + target
		c.sign(q, payload)
		q.target = target
	}},
	{"signature of another host", func(c *client, q *request, payload string) {
		host := q.host
		q.host = "other"
		c.sign(q, payload)
		q.host = host
	}},
	{"signature of another payload", func(c *client, q *request, payload string) {
		c.sign(q, sigv4.Digest([]byte("another")))
		for i := range q.headers {
			if string(q.headers[i].Name) == "X-Amz-Content-Sha256" {
				q.headers[i].Value = []byte(payload)
			}
		}
	}},
	{"a day old", func(c *client, q *request, payload string) {
		s := q.toSign(c.tls != nil)
		if _, err := c.signer.Sign(s, time.Now().Add(-24*time.Hour), payload); err != nil {
			panic(err)
		}
		q.headers = s.Headers
	}},
	{"one digit of the signature", func(c *client, q *request, payload string) {
		c.sign(q, payload)
		value := q.headers[len(q.headers)-1].Value
		last := len(value) - 1
		value[last] = map[bool]byte{true: '1', false: '0'}[value[last] == '0']
	}},
	{"signature cut short", func(c *client, q *request, payload string) {
		c.sign(q, payload)
		last := &q.headers[len(q.headers)-1]
		last.Value = last.Value[:len(last.Value)-2]
	}},
	{"a header that is not signed", func(c *client, q *request, payload string) {
		c.sign(q, payload)
		q.add("X-Amz-Meta-Forged", "1")
	}},
	{"presigned, one digit of the signature", func(c *client, q *request, payload string) {
		c.presign(q, time.Hour)
		last := len(q.target) - 1
		q.target = q.target[:last] + map[bool]string{true: "1", false: "0"}[q.target[last] == '0']
		q.add("X-Amz-Content-Sha256", payload) // Of a trailer mode: verification must not depend on it.
	}},
	{"presigned, expired", func(c *client, q *request, payload string) {
		s := q.toSign(c.tls != nil)
		if _, err := c.signer.Presign(s, time.Now().Add(-2*time.Hour), time.Hour); err != nil {
			panic(err)
		}
		q.target = string(s.RawPath) + "?" + string(s.RawQuery)
	}},
	{"presigned for another key", func(c *client, q *request, payload string) {
		path, query, _ := strings.Cut(q.target, "?")
		q.target = path + "x?" + query
		c.presign(q, time.Hour)
		_, query, _ = strings.Cut(q.target, "?")
		q.target = path + "?" + query
	}},
	{"presigned, with a parameter more", func(c *client, q *request, payload string) {
		c.presign(q, time.Hour)
		q.target += "&versionId=null"
	}},
	{"presigned by another secret", func(c *client, q *request, payload string) {
		other := *newClient()
		other.signer.Secret = "penstock-test-secreT"
		other.presign(q, time.Hour)
		q.add("X-Amz-Content-Sha256", payload)
	}},
	{"both in headers and in the query", func(c *client, q *request, payload string) {
		c.presign(q, time.Hour)
		c.sign(q, payload)
	}},
	{"security token of nobody", func(c *client, q *request, payload string) {
		q.add("X-Amz-Security-Token", "token")
		c.sign(q, payload)
	}},
	{"version 2", func(c *client, q *request, payload string) {
		q.add("Date", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
		q.add("Authorization", "AWS penstock-test-access:frJIUN8DYpKDtOLCwo//yllqDzg=")
	}},
}

// snapshot is all that the node shows of its state.
func (n *node) snapshot(t testing.TB, upload string) string {
	t.Helper()
	var b strings.Builder
	for _, target := range []string{"/", "/bkt?list-type=2", "/bkt?uploads", "/bkt/upload?uploadId=" + upload, "/bkt/there"} {
		b.Write(n.must(t, "GET", target, nil).body)
	}
	if r := n.get(t, "HEAD", "/empty", nil); r.status != 200 {
		b.WriteString("the empty bucket is gone")
	}
	return b.String()
}

// TestForgedRequests tries every write with every forgery and every kind of payload: 403, or 400 for what cannot be a
// signature, and nothing has changed (CVE-2026-41145, CVE-2026-40344, CVE-2025-31489, CVE-2021-21362).
func TestForgedRequests(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/empty", nil)
	n.must(t, "PUT", "/bkt/there", []byte("there"))
	upload := element(string(n.must(t, "POST", "/bkt/upload?uploads", nil).body), "UploadId")
	part := n.must(t, "PUT", "/bkt/upload?partNumber=1&uploadId="+upload, []byte("part")).header.Get("ETag")
	before := n.snapshot(t, upload)
	fill := strings.NewReplacer("%ID", upload, "%ETAG", part)
	for _, route := range writeRoutes {
		for mode := range sigv4.NumModes {
			if mode.Streaming() && !route.streams {
				continue
			}
			for _, f := range forgeries {
				body := []byte(fill.Replace(route.body))
				q := n.unsigned(route.method, fill.Replace(route.target), body, route.headers...)
				payload := mode.HeaderValue()
				switch {
				case mode == sigv4.Signed:
					payload = sigv4.Digest(body)
				case mode.Streaming():
					// Framed as its mode wants; the chunks' own signatures come from the right key.
					framed := n.chunked(route.method, q.target, body, 4, mode)
					q.body, q.length = framed.body, len(framed.body)
					q.add("X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))
					if mode.HasTrailer() {
						q.add("X-Amz-Trailer", "x-amz-checksum-crc32")
					}
				}
				f.forge(n.client, q, payload)
				r, err := n.do(q)
				if err != nil {
					t.Fatalf("%s, %v, %s: %v", route.name, payload, f.name, err)
				}
				if r.status != 403 && r.status != 400 {
					t.Errorf("%s, %v, %s: %v", route.name, payload, f.name, r)
				}
			}
		}
		if after := n.snapshot(t, upload); after != before {
			t.Fatalf("%s has changed something\nfrom %s\nto %s", route.name, before, after)
		}
	}
}

// TestRefusedBeforeBody: a forged request is answered as soon as its body begins, and before that when its client asks.
func TestRefusedBeforeBody(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	for _, expect := range []bool{false, true} {
		q := n.unsigned("PUT", "/bkt/forged", nil)
		if expect {
			q.add("Expect", "100-continue")
		}
		other := newClient()
		other.signer.Secret = "penstock-test-secreT"
		other.sign(q, unsignedPayload)
		q.length = 1 << 30
		w := n.mustDial(t)
		w.SetDeadline(time.Now().Add(5 * time.Second))
		w.Write(q.head())
		if !expect {
			w.Write([]byte("a"))
		}
		r, err := readReply(w.in, "PUT")
		if err != nil || r.status != 403 || !r.closed {
			t.Errorf("expect=%v: %v, %v", expect, r, err)
		}
	}
}

// chunkedModes are those with something to falsify.
var chunkedModes = []sigv4.Mode{sigv4.StreamingSigned, sigv4.StreamingSignedTrailer, sigv4.StreamingUnsignedTrailer}

// TestFlippedChunks changes each byte of aws-chunked bodies in turn (CVE-2021-21390). None may be stored.
func TestFlippedChunks(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	body := bytes.Repeat([]byte("0123456789abcdef"), 3)
	for _, mode := range chunkedModes {
		for at := 0; ; at++ {
			q := n.chunked("PUT", "/bkt/flipped", body, 20, mode)
			if at == len(q.body) {
				break
			}
			was := q.body[at]
			q.body[at] ^= 1 // Another digit for a digit, another letter for a letter.
			r, err := n.do(q)
			if err != nil {
				t.Fatalf("%s, byte %d: %v", mode.HeaderValue(), at, err)
			}
			if r.status < 400 || r.status > 403 {
				t.Errorf("%s, byte %d, %q for %q: %v", mode.HeaderValue(), at, q.body[at], was, r)
			}
		}
		if keys := n.keys(t, "bkt"); len(keys) > 0 {
			t.Fatalf("%s: stored %q", mode.HeaderValue(), keys)
		}
		n.must(t, "DELETE", "/bkt/flipped", nil)
	}
}

// TestRearrangedChunks drops, repeats and swaps chunks, cuts the body short, goes on after its end, and lies about its
// length and its checksums. None may be stored.
func TestRearrangedChunks(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	body := []byte(strings.Repeat("a", 20) + strings.Repeat("b", 20) + strings.Repeat("c", 20))
	for _, mode := range chunkedModes {
		// Chunks as they are on the wire: header, 20 bytes, line end; the last is the empty one with what follows it.
		cut := func(q *request) (chunks [][]byte) {
			rest := q.body
			for range 3 {
				end := bytes.Index(rest, []byte("\r\n")) + 2 + 20 + 2
				chunks, rest = append(chunks, rest[:end]), rest[end:]
			}
			return append(chunks, rest)
		}
		for _, c := range []struct {
			name   string
			change func(chunks [][]byte) [][]byte
			size   int // What x-amz-decoded-content-length says.
		}{
			{"first dropped", func(c [][]byte) [][]byte { return c[1:] }, 60},
			{"first dropped, length as well", func(c [][]byte) [][]byte { return c[1:] }, 40},
			{"last dropped", func(c [][]byte) [][]byte { return [][]byte{c[0], c[1], c[3]} }, 60},
			{"last dropped, length as well", func(c [][]byte) [][]byte { return [][]byte{c[0], c[1], c[3]} }, 40},
			{"one repeated", func(c [][]byte) [][]byte { return [][]byte{c[0], c[0], c[1], c[2], c[3]} }, 80},
			{"one in the place of another", func(c [][]byte) [][]byte { return [][]byte{c[0], c[0], c[2], c[3]} }, 60},
			{"two swapped", func(c [][]byte) [][]byte { return [][]byte{c[1], c[0], c[2], c[3]} }, 60},
			{"no end", func(c [][]byte) [][]byte { return c[:3] }, 60},
			{"the end alone", func(c [][]byte) [][]byte { return c[3:] }, 0},
			{"two ends", func(c [][]byte) [][]byte { return append(c, c[3]) }, 60},
			{"a request after the end", func(c [][]byte) [][]byte { return append(c, []byte("DELETE /bkt/there HTTP/1.1\r\n\r\n")) }, 60},
			{"length too small", func(c [][]byte) [][]byte { return c }, 59},
			{"length too large", func(c [][]byte) [][]byte { return c }, 61},
			{"length huge", func(c [][]byte) [][]byte { return c }, 1 << 40},
		} {
			q := n.unsigned("PUT", "/bkt/rearranged", nil, "X-Amz-Decoded-Content-Length", fmt.Sprint(c.size))
			if mode.HasTrailer() {
				q.add("X-Amz-Trailer", "x-amz-checksum-crc32")
			}
			framed := n.chunkedAs(q, body, 20, mode)
			q.body = bytes.Join(c.change(cut(framed)), nil)
			q.length = len(q.body)
			r, err := n.do(q)
			if err != nil {
				t.Fatalf("%s, %s: %v", mode.HeaderValue(), c.name, err)
			}
			if r.status < 400 || r.status > 403 {
				t.Errorf("%s, %s: %v", mode.HeaderValue(), c.name, r)
			}
		}
		if keys := n.keys(t, "bkt"); len(keys) > 0 {
			t.Fatalf("%s: stored %q", mode.HeaderValue(), keys)
		}
	}
}

// TestUnannouncedTrailers: what x-amz-trailer does not name may not come, what it names must.
func TestUnannouncedTrailers(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	sum := crc32Of([]byte("hello"))
	for _, c := range []struct{ name, announced, end string }{
		{"none announced, one sent", "", "x-amz-checksum-crc32:" + sum + "\r\n\r\n"},
		{"announced, not sent", "x-amz-checksum-crc32", "\r\n"},
		{"another sent", "x-amz-checksum-crc32", "x-amz-checksum-sha1:" + sum + "\r\n\r\n"},
		{"sent twice", "x-amz-checksum-crc32", "x-amz-checksum-crc32:" + sum + "\r\nx-amz-checksum-crc32:" + sum + "\r\n\r\n"},
		{"wrong", "x-amz-checksum-crc32", "x-amz-checksum-crc32:" + crc32Of([]byte("jello")) + "\r\n\r\n"},
		{"not base64", "x-amz-checksum-crc32", "x-amz-checksum-crc32:!!!!\r\n\r\n"},
		{"empty", "x-amz-checksum-crc32", "x-amz-checksum-crc32:\r\n\r\n"},
		{"a header that is none of a trailer's", "x-amz-meta-a", "x-amz-meta-a:b\r\n\r\n"},
		{"authorization", "authorization", "authorization:b\r\n\r\n"},
		{"content-length", "content-length", "content-length:5\r\n\r\n"},
		{"a megabyte", "x-amz-checksum-crc32", "x-amz-checksum-crc32:" + strings.Repeat("A", 1<<20) + "\r\n\r\n"},
	} {
		q := n.unsigned("PUT", "/bkt/trailer", nil, "X-Amz-Decoded-Content-Length", "5")
		if c.announced != "" {
			q.add("X-Amz-Trailer", c.announced)
		}
		n.sign(q, sigv4.StreamingUnsignedTrailer.HeaderValue())
		q.body = []byte("5\r\nhello\r\n0\r\n" + c.end)
		q.length = len(q.body)
		r, err := n.do(q)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if r.status != 400 {
			t.Errorf("%s: %v", c.name, r)
		}
	}
	if keys := n.keys(t, "bkt"); !slices.Equal(keys, nil) {
		t.Errorf("stored %q", keys)
	}
}
