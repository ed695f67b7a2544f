package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"penstock/bench/fakes3"
	"penstock/fastapi/sigv4"
)

var testCredentials = Credentials{AccessKey: "access", Secret: "secret/+", Region: "us-east-1"}

// startFake starts a server that verifies everything, and returns a connection to it that is signed for it.
func startFake(t *testing.T, secure bool) (*fakes3.Server, *Conn) {
	t.Helper()
	fake := &fakes3.Server{AccessKey: testCredentials.AccessKey, Secret: testCredentials.Secret}
	server := httptest.NewUnstartedServer(fake)
	o := Options{Address: server.Listener.Addr().String(), Credentials: testCredentials}
	if secure {
		server.StartTLS()
		pool := x509.NewCertPool()
		pool.AddCert(server.Certificate())
		o.TLS = &tls.Config{RootCAs: pool, ServerName: "example.com"}
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	c := New(o)
	t.Cleanup(func() { c.Close() })
	do(t, c, &Request{Method: "PUT", Path: []byte("/bkt")})
	return fake, c
}

func do(t *testing.T, c *Conn, r *Request) *Response {
	t.Helper()
	var resp Response
	if err := c.Do(t.Context(), r, &resp); err != nil {
		t.Fatalf("%s %s?%s: %v", r.Method, r.Path, r.Query, err)
	}
	return &resp
}

func contents(b *Body) []byte {
	out := make([]byte, 0, b.length)
	for off := int64(0); off < b.length; {
		piece := b.run(off, b.length-off)
		out = append(out, piece...)
		off += int64(len(piece))
	}
	return out
}

// TestPayloads uploads bodies around every boundary in every mode, plain and through TLS, to a server that verifies signatures, chunk
// signatures and checksums; then downloads and compares them.
func TestPayloads(t *testing.T) {
	pattern := NewPattern(1)
	sizes := []int64{0, 1, 100, copyMax - 1, copyMax, copyMax + 1, 64 << 10, 64<<10 + 1, 3*64<<10 - 1, 1 << 20, patternLen, 2*patternLen + 12345}
	for _, secure := range []bool{false, true} {
		for mode := range sigv4.NumModes {
			t.Run(fmt.Sprintf("tls=%v/mode=%d", secure, mode), func(t *testing.T) {
				fake, c := startFake(t, secure)
				before := fake.Uploads(mode)
				for i, size := range sizes {
					p := Payload{Mode: mode, ChunkLen: 64 << 10, Checksum: Checksums[i%len(Checksums)], ContentMD5: i%2 == 0}
					body := pattern.Body(uint64(i), size)
					if err := body.Prepare(p); err != nil {
						t.Fatal(err)
					}
					path := fmt.Appendf(nil, "/bkt/k%d", i)
					resp := do(t, c, &Request{Method: "PUT", Path: path, Body: body, Payload: p})
					if len(resp.ETag) != 34 {
						t.Errorf("ETag %q", resp.ETag)
					}
					stored, _ := fake.Object("bkt", fmt.Sprintf("k%d", i))
					if !bytes.Equal(stored, contents(body)) {
						t.Fatalf("%d bytes: other bytes were stored, %d of them", size, len(stored))
					}
					do(t, c, &Request{Method: "GET", Path: path, Want: body, WantLen: size})
					do(t, c, &Request{Method: "HEAD", Path: path, WantLen: size})
				}
				if got := fake.Uploads(mode) - before; got != len(sizes) {
					t.Errorf("%d uploads were in this mode; want %d", got, len(sizes))
				}
			})
		}
	}
}

// TestSecrets checks that a wrong secret is refused, so that the server's yes in the other tests means something.
func TestSecrets(t *testing.T) {
	_, c := startFake(t, false)
	wrong := c.opts
	wrong.Credentials.Secret = "other"
	bad := New(wrong)
	defer bad.Close()
	var resp Response
	err := bad.Do(t.Context(), &Request{Method: "GET", Path: []byte("/bkt/k")}, &resp)
	var status *StatusError
	if !errors.As(err, &status) || status.Status != 403 {
		t.Errorf("got %v; want 403", err)
	}
	for _, text := range []string{fmt.Sprint(testCredentials), fmt.Sprintf("%+v", testCredentials), fmt.Sprintf("%#v", testCredentials)} {
		if strings.Contains(text, testCredentials.Secret) {
			t.Errorf("the secret shows in %q", text)
		}
	}
}

// TestQueryAndHeaders signs what requests other than simple ones have.
func TestQueryAndHeaders(t *testing.T) {
	_, c := startFake(t, false)
	body := NewBody([]byte("0123456789"))
	do(t, c, &Request{Method: "PUT", Path: []byte("/bkt/a%2Bb"), Body: body})
	resp := do(t, c, &Request{Method: "GET", Path: []byte("/bkt"), Query: []byte("list-type=2&max-keys=10&prefix=a%2B"), WantLen: AnyLength, Keep: true})
	if !bytes.Contains(resp.Body, []byte("<Key>a+b</Key>")) {
		t.Errorf("got %s", resp.Body)
	}
	do(t, c, &Request{
		Method: "GET", Path: []byte("/bkt/a%2Bb"), Headers: []Header{{"range", []byte("bytes=2-4")}, {"x-amz-z", []byte("1")}},
		Want: body, WantOff: 2, WantLen: 3,
	})
	do(t, c, &Request{Method: "DELETE", Path: []byte("/bkt/a%2Bb")})
}

// TestWrongAnswers: an answer that differs in one byte or in length is an error, never a success.
func TestWrongAnswers(t *testing.T) {
	pattern := NewPattern(1)
	body := pattern.Body(3, 300_000)
	for name, spoil := range map[string]func(string, []byte) []byte{
		"first byte": func(_ string, b []byte) []byte { b[0] ^= 1; return b },
		"last byte":  func(_ string, b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"shorter":    func(_ string, b []byte) []byte { return b[:len(b)-1] },
		"longer":     func(_ string, b []byte) []byte { return append(b, 0) },
		"empty":      func(_ string, b []byte) []byte { return nil },
		"other":      func(_ string, b []byte) []byte { return contents(pattern.Body(4, 300_000)) },
	} {
		fake, c := startFake(t, false)
		do(t, c, &Request{Method: "PUT", Path: []byte("/bkt/k"), Body: body})
		fake.Spoil = spoil
		var resp Response
		err := c.Do(t.Context(), &Request{Method: "GET", Path: []byte("/bkt/k"), Want: body, WantLen: body.Len()}, &resp)
		var wrong *WrongAnswerError
		if !errors.As(err, &wrong) {
			t.Errorf("%s: got %v; want a wrong answer", name, err)
		}
		// The connection is in step all the same.
		fake.Spoil = nil
		do(t, c, &Request{Method: "GET", Path: []byte("/bkt/k"), Want: body, WantLen: body.Len()})
	}
}

// answers runs a server that answers each connection's first request with the given text, then closes it.
func answers(t *testing.T, text string) *Conn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.Copy(io.Discard, r.Body)
				io.WriteString(conn, text)
			}
			conn.Close()
		}
	}()
	c := New(Options{Address: listener.Addr().String()})
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name, text string
		method     string
		status     int
		body       string
		err        string // Part of it; "" = none.
	}{
		{"plain", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", ""},
		{"in another case", "HTTP/1.1 200 OK\r\nCONTENT-length:5\r\n\r\nhello", "GET", 200, "hello", ""},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX: y\r\n\r\n", "GET", 200, "hello", ""},
		{"to the end", "HTTP/1.1 200 OK\r\n\r\nhello", "GET", 200, "hello", ""},
		{"after an interim answer", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", 200, "ok", ""},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "DELETE", 204, "", ""},
		{"no body to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", 200, "", ""},
		{"an error to HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 70\r\n\r\n", "HEAD", 404, "", "404"},
		{"an S3 error", "HTTP/1.1 503 Slow\r\nContent-Length: 61\r\n\r\n<Error><Code>SlowDown</Code><Message>wait a bit</Message></Error>", "GET", 503, "", "503 SlowDown"},
		{"half an error", "HTTP/1.1 503 Slow\r\nContent-Length: 100\r\n\r\n<Error>", "GET", 503, "", "503"},
		{"redirect", "HTTP/1.1 307 Elsewhere\r\nContent-Length: 0\r\n\r\n", "GET", 307, "", "307"},
		{"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "GET", 200, "", "unexpected EOF"},
		{"cut off in a head", "HTTP/1.1 200 OK\r\nContent-Le", "GET", 0, "", "unexpected EOF"},
		{"cut off in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhel", "GET", 200, "", "unexpected EOF"},
		{"nothing", "", "GET", 0, "", "unexpected EOF"},
		{"not HTTP", "SSH-2.0-OpenSSH_9.9\r\n\r\n", "GET", 0, "", "malformed status line"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "GET", 200, "", "malformed content-length"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET", 200, "", "malformed chunk"},
		{"bad end of a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "GET", 200, "", "no line end"},
		{"bad header", "HTTP/1.1 200 OK\r\nhello\r\n\r\n", "GET", 200, "", "malformed header"},
		{"endless head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", defaultReadBuffer), "GET", 0, "", "longer than the buffer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := answers(t, test.text)
			var resp Response
			err := c.Do(t.Context(), &Request{Method: test.method, Path: []byte("/"), WantLen: AnyLength, Keep: true}, &resp)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got error %v; want %q", err, test.err)
			}
			if resp.Status != test.status {
				t.Errorf("got status %d; want %d", resp.Status, test.status)
			}
			if test.err == "" && string(resp.Body) != test.body {
				t.Errorf("got %q; want %q", resp.Body, test.body)
			}
		})
	}
}

// TestRefusedWhileSending: the answer of a server that does not read an upload to its end is what comes back, not the broken
// connection.
func TestRefusedWhileSending(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		bufio.NewReaderSize(conn, 16).ReadString('\n')
		io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}()
	c := New(Options{Address: listener.Addr().String()})
	defer c.Close()
	var resp Response
	err = c.Do(t.Context(), &Request{Method: "PUT", Path: []byte("/b/k"), Body: NewPattern(1).Body(0, 8<<20)}, &resp)
	var status *StatusError
	if !errors.As(err, &status) || status.Status != 413 {
		t.Errorf("got %v; want 413", err)
	}
}

// TestIdleClosed: that a server closes an idle connection is no error of the next request; that it closes one in use is.
func TestIdleClosed(t *testing.T) {
	c := answers(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	request := func() error {
		var resp Response
		return c.Do(context.Background(), &Request{Method: "GET", Path: []byte("/"), WantLen: AnyLength}, &resp)
	}
	if err := request(); err != nil {
		t.Fatal(err)
	}
	// The server closes now.
	if err := request(); !closedByPeer(err) {
		t.Fatalf("in use: got %v; want that the connection was closed", err)
	}
	if err := request(); err != nil {
		t.Fatalf("after an error: got %v; want a new connection", err)
	}
	c.used = c.used.Add(-time.Minute)
	if err := request(); err != nil {
		t.Errorf("idle: got %v; want none", err)
	}
}

func TestStall(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := New(Options{Address: listener.Addr().String(), Stall: 20 * time.Millisecond})
	defer c.Close()
	var resp Response
	if err := c.Do(t.Context(), &Request{Method: "GET", Path: []byte("/")}, &resp); !TimedOut(err) {
		t.Errorf("got %v; want a timeout", err)
	}
}

// TestBodies checks that bodies of many numbers differ from each other, and that Equal sees any difference.
func TestBodies(t *testing.T) {
	pattern := NewPattern(7)
	seen := make(map[int64]uint64)
	for n := range uint64(100_000) {
		b := pattern.Body(n, 16)
		if other, twice := seen[b.start]; twice {
			t.Fatalf("bodies %d and %d are the same", other, n)
		}
		seen[b.start] = n
	}
	b := pattern.Body(5, patternLen+100)
	all := contents(b)
	for _, off := range []int{0, 1, 1000, patternLen - int(b.start) - 1, patternLen - int(b.start), len(all) - 10} {
		part := bytes.Clone(all[off : off+10])
		if !b.Equal(int64(off), part) {
			t.Errorf("at %d: the body differs from itself", off)
		}
		part[9] ^= 1
		if b.Equal(int64(off), part) {
			t.Errorf("at %d: a difference was not seen", off)
		}
	}
	if b.Equal(b.Len()-1, []byte{all[len(all)-1], 0}) {
		t.Error("bytes past the end are equal to something")
	}
}

// TestAllocations: a request allocates nothing, whatever its payload.
func TestAllocations(t *testing.T) {
	body := NewPattern(1).Body(1, 256<<10)
	for mode := range sigv4.NumModes {
		p := Payload{Mode: mode, ChunkLen: 64 << 10, Checksum: "crc64nvme"}
		if err := body.Prepare(p); err != nil {
			t.Fatal(err)
		}
		c := New(Options{Address: "test", Credentials: testCredentials})
		c.conn = &replay{answer: "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\n\r\n"}
		r := &Request{Method: "PUT", Path: []byte("/b/k"), Body: body, Payload: p}
		var resp Response
		n := testing.AllocsPerRun(50, func() {
			if err := c.Do(context.Background(), r, &resp); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("mode %d: %v allocations a request", mode, n)
		}
	}
}

// replay is a connection to a server that answers every request alike.
type replay struct {
	net.Conn
	answer string
	left   string
}

func (r *replay) Write(b []byte) (int, error) { r.left = r.answer; return len(b), nil }
func (r *replay) Read(b []byte) (int, error) {
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}
func (r *replay) SetDeadline(time.Time) error { return nil }
func (r *replay) Close() error                { return nil }
