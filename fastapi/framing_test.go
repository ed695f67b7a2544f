package fastapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// reading is what a server made of the bytes of one connection: the requests it saw, with their bodies' lengths, and
// whether it then went on reading.
type reading struct {
	requests []string // "GET /path 5", the last being the body's length.
	refused  bool     // It answered 400 or the like, or closed.
}

// readByNetHTTP gives the bytes to net/http.
func readByNetHTTP(t *testing.T, input []byte) reading {
	t.Helper()
	var mu sync.Mutex
	var got reading
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			got.refused = true
			return
		}
		got.requests = append(got.requests, fmt.Sprintf("%s %s %d", r.Method, r.RequestURI, n))
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler, ErrorLog: quietLog(), MaxHeaderBytes: readBufferLen}
	go srv.Serve(ln)
	defer srv.Close()
	replies := exchange(t, ln.Addr().String(), input)
	mu.Lock()
	defer mu.Unlock()
	for _, r := range replies {
		got.refused = got.refused || r.status >= 400
	}
	return got
}

// exchange sends bytes, ends the sending direction, and reads answers until the server closes.
func exchange(t testing.TB, addr string, input []byte) []*reply {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		c.Write(input)
		c.(*net.TCPConn).CloseWrite()
	}()
	br := bufio.NewReader(c)
	var replies []*reply
	for {
		r, err := tryRead(br, "GET") // Every request of the corpus gets a body in its answer, or none and Content-Length 0.
		if err != nil {
			return replies
		}
		replies = append(replies, r)
	}
}

// framingCases are requests whose end two servers could see in different places, or that one of them should refuse.
// %A stands for an Authorization that no one can verify: what counts is what the server takes for a request.
var framingCases = []struct {
	name   string
	input  string
	refuse bool // Must be answered with 400 (or 417, 431, …) and close. Otherwise it must be read as net/http reads it.
}{
	{"plain GET", "GET /bkt/k HTTP/1.1\r\nHost: h\r\n\r\n", false},
	{"two pipelined", "GET /bkt/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /bkt/2 HTTP/1.1\r\nHost: h\r\n\r\n", false},
	{"body by length, then another", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /bkt/2 HTTP/1.1\r\nHost: h\r\n\r\n", false},
	{"chunked, then another", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /bkt/2 HTTP/1.1\r\nHost: h\r\n\r\n", false},

	{"CL+TE", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGGET /bkt/2 HTTP/1.1\r\nHost: h\r\n\r\n", true},
	{"TE+CL", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\nContent-Length: 15\r\n\r\nx=1\r\n0\r\n\r\n", true},
	{"TE chunked, identity", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", true},
	{"TE xchunked", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", true},
	{"TE gzip, chunked", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", true},
	{"TE twice", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
	{"TE twice, second cow", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n0\r\n\r\n", true},
	{"TE with tab before colon", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", true},
	{"TE with space before colon", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", true},
	{"TE with vertical tab", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", true},
	{"TE on HTTP/1.0", "PUT /bkt/1 HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true},

	{"CL twice, equal", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", true},
	{"CL twice, different", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", true},
	{"CL +5", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", true},
	{"CL 0x5", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello", true},
	{"CL 5,5", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5,5\r\n\r\nhello", true},
	{"CL -1", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nhello", true},
	{"CL empty", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\nhello", true},
	{"CL 5 with inner space", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5 5\r\n\r\nhello", true},
	{"CL 2^63", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775808\r\n\r\nhello", true},
	{"CL 2^64+5", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551621\r\n\r\nhello", true},
	{"CL with tab before colon", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length\t: 5\r\n\r\nhello", true},

	{"folded header", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nX-A: one\r\n two\r\n\r\n", true},
	{"folded with tab", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nX-A: one\r\n\ttwo\r\n\r\n", true},
	{"folded Transfer-Encoding", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", true},
	{"first header folded", "GET /bkt/k HTTP/1.1\r\n Host: h\r\n\r\n", true},
	{"bare LF in headers", "GET /bkt/k HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n", true},
	{"bare LF everywhere", "GET /bkt/k HTTP/1.1\nHost: h\n\n", true},
	{"bare CR in a value", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nX-A: a\rb\r\n\r\n", true},
	{"NUL in a value", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nX-A: a\x00b\r\n\r\n", true},
	{"NUL in a name", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nX\x00A: b\r\n\r\n", true},
	{"NUL in the target", "GET /bkt/\x00k HTTP/1.1\r\nHost: h\r\n\r\n", true},
	{"no colon", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n", true},
	{"empty name", "GET /bkt/k HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", true},
	{"space in a name", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nX A: b\r\n\r\n", true},

	{"no Host", "GET /bkt/k HTTP/1.1\r\n\r\n", true},
	{"two Hosts", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", true},
	{"Host with userinfo", "GET /bkt/k HTTP/1.1\r\nHost: user@h\r\n\r\n", true},
	{"Host with a path", "GET /bkt/k HTTP/1.1\r\nHost: h/x\r\n\r\n", true},
	{"absolute-form", "GET http://h/bkt/k HTTP/1.1\r\nHost: h\r\n\r\n", false},
	{"absolute-form with another host", "GET http://other/b/k HTTP/1.1\r\nHost: h\r\n\r\n", true},
	{"absolute-form of another scheme", "GET ftp://h/b/k HTTP/1.1\r\nHost: h\r\n\r\n", true},
	{"CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", true},
	{"target without slash", "GET b/k HTTP/1.1\r\nHost: h\r\n\r\n", true},
	{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", true},

	{"HTTP/0.9", "GET /bkt/k\r\n\r\n", true},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true},
	{"HTTP/1.1 in lower case", "GET /bkt/k http/1.1\r\nHost: h\r\n\r\n", true},
	{"HTTP/1.10", "GET /bkt/k HTTP/1.10\r\nHost: h\r\n\r\n", true},
	{"two spaces", "GET  /bkt/k HTTP/1.1\r\nHost: h\r\n\r\n", true},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef\r\n\r\n", true},
	{"garbage after a request", "GET /bkt/1 HTTP/1.1\r\nHost: h\r\n\r\n\x00\x01\x02\x03\r\n\r\n", true},

	{"chunk size 0x10", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x10\r\n0123456789abcdef\r\n0\r\n\r\n", true},
	{"chunk size +5", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", true},
	{"chunk size -5", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", true},
	{"chunk size of 17 digits", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", true},
	{"chunk extension with bare LF", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;\nhello\r\n0\r\n\r\n", true},
	{"chunk with LF alone", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", true},
	{"chunk longer than said", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n", true},
	{"forbidden trailer", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", true},
	{"body cut short", "PUT /bkt/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhello", true},
}

// TestFraming holds every way in which a proxy in front and this server could disagree about where a request ends. A request
// must be refused and the connection closed, or be read as net/http reads it; and never may this server see more requests.
func TestFraming(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bkt", "")
	calls := newCallCount(h.store)
	for _, c := range framingCases {
		replies := exchange(t, h.addr, []byte(c.input))
		refused := false
		for i, r := range replies {
			// Each request that is well framed is refused as anonymous: 403.
			if r.status == 400 || r.status == 405 || r.status == 411 || r.status == 431 {
				refused = true
				if i != len(replies)-1 || !r.closed {
					t.Errorf("%s: after %v the connection went on", c.name, r)
				}
			}
			if r.header.Get("x-amz-request-id") == "" || r.status >= 400 && !strings.HasPrefix(r.body, xmlHeader) {
				t.Errorf("%s: not an S3 answer: %v", c.name, r)
			}
		}
		if len(replies) == 0 {
			refused = true
		}
		theirs := readByNetHTTP(t, []byte(c.input))
		if c.refuse {
			if !refused {
				// A body that is bad but never read shows only as a connection that ends after the answer to its headers.
				if last := replies[len(replies)-1]; !bodyCase(c.input) || len(replies) > 1 || last.status != 403 {
					t.Errorf("%s: got %v, want 400 and close", c.name, replies)
				}
			}
		} else if refused || len(replies) != len(theirs.requests) && !replies[len(replies)-1].closed {
			t.Errorf("%s: got %v, net/http saw %q", c.name, replies, theirs.requests)
		}
		if len(replies) > max(1, len(theirs.requests)+1) {
			t.Errorf("%s: %d requests seen, net/http saw %q", c.name, len(replies), theirs.requests)
		}
	}
	if made := calls.take(); len(made) != 0 {
		t.Errorf("the store was called: %v", made)
	}
}

// bodyCase reports whether an input's fault, if any, lies in its body.
func bodyCase(input string) bool {
	_, body, ok := strings.Cut(input, "\r\n\r\n")
	return ok && body != ""
}

// FuzzFraming looks for inputs in which this server sees more requests than net/http does: those are what smuggling is made of.
func FuzzFraming(f *testing.F) {
	for _, c := range framingCases {
		f.Add([]byte(c.input))
	}
	h := newHarness(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 4096 || bytes.Contains(input, []byte("xpect")) {
			return
		}
		ours := 0
		for _, r := range exchange(t, h.addr, input) {
			if r.status == 403 || r.status == 405 || r.status == 501 || r.status < 300 && r.status >= 200 {
				ours++
			}
		}
		theirs := readByNetHTTP(t, input)
		if ours > len(theirs.requests)+boolInt(theirs.refused) {
			t.Errorf("%q: %d requests here, net/http saw %q, refused: %v", input, ours, theirs.requests, theirs.refused)
		}
	})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
