package fastapi

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"penstock/engine"
)

// answerOf reads one answer from a connection that the server is to close.
func (h *harness) answerOf(c net.Conn) (*reply, time.Duration) {
	h.t.Helper()
	start := time.Now()
	br := bufio.NewReader(c)
	r := h.read(br, "GET")
	if _, err := br.ReadByte(); err == nil {
		h.t.Errorf("bytes after the answer %v", r)
	} else if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		h.t.Errorf("the connection stays open after %v", r)
	}
	return r, time.Since(start)
}

func TestSlowHeaders(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.HeaderTimeout = 300 * time.Millisecond })
	c := h.dial()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // A byte now and then must not push the deadline.
		defer close(done)
		for _, b := range []byte("GET /bucket/k HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", 1000)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	r, took := h.answerOf(c)
	close(stop)
	<-done
	if r.status != 400 || r.code() != "RequestTimeout" || took > 5*time.Second {
		t.Errorf("got %v after %v", r, took)
	}
}

func TestSlowBodies(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.BodyGrace = 300 * time.Millisecond; o.MinBodyRate = 1 << 20 })
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("x", 1<<20)
	drip := func(c net.Conn, every time.Duration) (stop func()) {
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; i < len(body); i += 100 {
				if _, err := c.Write([]byte(body[i : i+100])); err != nil {
					return
				}
				select {
				case <-quit:
					return
				case <-time.After(every):
				}
			}
		}()
		return func() { close(quit); <-done }
	}
	for _, c := range []struct {
		name string
		run  func(c net.Conn) func()
	}{
		{"nothing", func(net.Conn) func() { return func() {} }},
		{"one byte, then nothing", func(c net.Conn) func() { c.Write([]byte("x")); return func() {} }},
		{"half, then nothing", func(c net.Conn) func() { io.WriteString(c, body[:len(body)/2]); return func() {} }},
		{"too slow on average", func(c net.Conn) func() { return drip(c, 20*time.Millisecond) }},
	} {
		q := h.build("PUT", "/bucket/k", []byte(body))
		conn := h.dial()
		conn.Write(q.head())
		stop := c.run(conn)
		r, took := h.answerOf(conn)
		stop()
		if r.status != 400 || r.code() != "RequestTimeout" || took > 5*time.Second {
			t.Errorf("%s: got %v after %v", c.name, r, took)
		}
		h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
	}
}

// deadlines is a connection of which only the read deadline is used.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// slowSource gives n bytes after each pause.
type slowSource struct {
	pause time.Duration
	n     int
}

func (s slowSource) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.n, nil
}

func TestPacedReader(t *testing.T) {
	const grace, rate = 30 * time.Second, 4096
	for _, c := range []struct {
		name  string
		src   slowSource
		idle  time.Duration // Between reads: the time of the store, which is not the client's.
		reads int
		fails bool
	}{
		{"fast", slowSource{time.Millisecond, 4096}, 0, 100_000, false},
		{"just fast enough", slowSource{time.Second, rate}, 0, 1000, false},
		{"too slow on average", slowSource{time.Second, rate / 2}, 0, 1000, true},
		{"a byte at a time", slowSource{time.Second, 1}, 0, 40, true},
		{"slow for as long as the grace", slowSource{time.Second, 1}, 0, 29, false},
		{"fast, into a slow store", slowSource{time.Millisecond, 4096}, time.Hour, 100, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := &deadlines{}
				p := &pacedReader{src: c.src, conn: conn, grace: grace, minRate: rate}
				var err error
				for i := 0; i < c.reads && err == nil; i++ {
					_, err = p.Read(make([]byte, 4096))
					if now, last := time.Now(), conn.set[len(conn.set)-1]; last.Before(now.Add(grace/2-2*time.Second)) || last.After(now.Add(grace)) {
						t.Fatalf("read %d: the deadline is %v from now", i, last.Sub(now))
					}
					time.Sleep(c.idle)
				}
				if (err != nil) != c.fails || err != nil && !sameError(err, errRequestTimeout) {
					t.Errorf("got %v", err)
				}
				if c.idle == 0 && len(conn.set) > c.reads/10+2 {
					t.Errorf("%d deadlines were set for %d reads", len(conn.set), c.reads)
				}
			})
		})
	}
}

func TestShortBodies(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, n := range []int{0, 1, 5, 100, 9000, 99_999} {
		q := h.build("PUT", "/bucket/k", []byte(strings.Repeat("x", 100_000)))
		c := h.dial()
		c.Write(append(q.head(), q.body[:n]...))
		c.(*net.TCPConn).CloseWrite()
		if r, _ := h.answerOf(c); r.status != 400 || r.code() != "IncompleteBody" {
			t.Errorf("%d bytes: got %v", n, r)
		}
		h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
	}
	// The same for a document.
	q := h.build("POST", "/bucket?delete", []byte("<Delete><Object><Key>a</Key></Object></Delete>"))
	c := h.dial()
	c.Write(append(q.head(), q.body[:20]...))
	c.(*net.TCPConn).CloseWrite()
	if r, _ := h.answerOf(c); r.status != 400 || r.code() != "IncompleteBody" {
		t.Errorf("document: got %v", r)
	}
}

func TestBodiesThatAreNotWhatWasSigned(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	q := h.build("PUT", "/bucket/k", []byte("hello"))
	q.body = []byte("jello")
	if r := h.send(q); r.status != 400 || r.code() != "XAmzContentSHA256Mismatch" || r.closed {
		t.Errorf("changed body: got %v", r)
	}
	h.want(400, "BadDigest", "PUT", "/bucket/k", "hello", "Content-MD5", b64(make([]byte, 16)))
	h.want(400, "InvalidDigest", "PUT", "/bucket/k", "hello", "Content-MD5", "!")
	h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
	q = h.build("POST", "/bucket?delete", []byte("<Delete><Object><Key>a</Key></Object></Delete>"))
	q.body = []byte("<Delete><Object><Key>b</Key></Object></Delete>")
	if r := h.send(q); r.code() != "XAmzContentSHA256Mismatch" {
		t.Errorf("changed document: got %v", r)
	}
}

func TestTooLarge(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	id := element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	for _, target := range []string{"/bucket/k", "/bucket/k?partNumber=1&uploadId=" + id} {
		for _, n := range []string{"5368709121", "9223372036854775807"} {
			q := h.build("PUT", target, nil, "Content-Length", n)
			c := h.dial()
			c.Write(append(q.head(), "some"...))
			if r := h.read(bufio.NewReader(c), "PUT"); r.code() != "EntityTooLarge" || !r.closed || element(r.body, "ProposedSize") != n {
				t.Errorf("%s of %s bytes: got %v", target, n, r)
			}
			c.Close()
		}
		h.want(400, "EntityTooLarge", "PUT", target, "", "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length", "5368709121")
	}
	// What is said to be short and is not.
	q := h.build("PUT", "/bucket/k", nil, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length", "3", "Content-Length", "17")
	q.body = []byte("5\r\nhello\r\n0\r\n\r\n\r\n")
	if r := h.send(q); r.status != 400 {
		t.Errorf("longer than its decoded length: got %v", r)
	}
	h.want(400, "MaxMessageLengthExceeded", "POST", "/bucket?delete", strings.Repeat(" ", maxDeletesLen+1))
	h.want(400, "MaxMessageLengthExceeded", "POST", "/bucket/k?uploadId="+id, strings.Repeat(" ", maxCompleteLen+1))
	h.want(400, "MaxMessageLengthExceeded", "PUT", "/other", strings.Repeat(" ", maxConfigLen+1))
	h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
}

func TestMissingContentLength(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	q := h.build("PUT", "/bucket/k", nil)
	q.headers = q.headers[:len(q.headers)-1]
	if r := h.send(q); r.status != 411 || r.code() != "MissingContentLength" {
		t.Errorf("got %v", r)
	}
	q = h.build("PUT", "/other", nil) // A bucket needs none.
	q.headers = q.headers[:len(q.headers)-1]
	if r := h.send(q); r.status != 200 {
		t.Errorf("CreateBucket: got %v", r)
	}
}

func TestHeaderFloods(t *testing.T) {
	h := newHarness(t)
	many := ""
	for i := range maxFields + 1 {
		many += fmt.Sprintf("a%d:\r\n", i)
	}
	for name, input := range map[string]string{
		"one long header":  "GET / HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"endless headers":  "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X-A: b\r\n", 100_000) + "\r\n",
		"long target":      "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: h\r\n\r\n",
		"endless name":     "GET / HTTP/1.1\r\n" + strings.Repeat("a", 1<<20),
		"many short":       "GET / HTTP/1.1\r\nHost: h\r\n" + many + "\r\n",
		"many parameters":  "GET /?" + strings.Repeat("a&", maxParams+1) + " HTTP/1.1\r\nHost: h\r\n\r\n",
		"long empty lines": strings.Repeat("\r\n", 1<<20),
	} {
		replies := exchange(t, h.addr, []byte(input))
		if len(replies) == 0 && name == "long empty lines" {
			continue
		}
		if len(replies) != 1 || replies[0].status != 400 || !replies[0].closed || replies[0].code() == "" {
			t.Errorf("%s: got %.500v", name, replies)
		}
	}
	if replies := exchange(t, h.addr, []byte("GET / HTTP/1.1\r\nHost: h\r\nX-A: "+strings.Repeat("a", 1<<20))); len(replies) != 1 || replies[0].code() != "RequestHeaderSectionTooLarge" {
		t.Errorf("too long: got %.500v", replies)
	}
}

// TestMetadataLimits: 2 KiB of user metadata and not a byte more.
func TestMetadataLimits(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x", "x-amz-meta-abc", strings.Repeat("v", maxMetadataLen-3))
	r := h.want(400, "MetadataTooLarge", "PUT", "/bucket/k", "x", "x-amz-meta-abc", strings.Repeat("v", maxMetadataLen-2))
	if element(r.body, "MaxSizeAllowed") != "2048" {
		t.Errorf("got %v", r)
	}
	h.want(400, "MetadataTooLarge", "POST", "/bucket/k?uploads", "", "x-amz-meta-a", strings.Repeat("v", 2048))
	h.want(400, "MetadataTooLarge", "PUT", "/bucket/k", "", "x-amz-copy-source", "/bucket/k", "x-amz-metadata-directive", "REPLACE", "x-amz-meta-a", strings.Repeat("v", 2048))
}

// TestEarlyAnswerReachesTheClient: a client that is refused while it sends gets the answer, not a reset.
func TestEarlyAnswerReachesTheClient(t *testing.T) {
	h := newHarness(t)
	for range 5 {
		q := h.build("PUT", "/nowhere/k", nil, "Content-Length", fmt.Sprint(64<<20), "x-amz-content-sha256", "UNSIGNED-PAYLOAD")
		c := h.dial()
		c.Write(q.head())
		sent := make(chan int64, 1)
		go func() {
			n, _ := io.Copy(c, io.LimitReader(zeros{}, 4<<20))
			sent <- n
		}()
		r, err := tryRead(bufio.NewReader(c), "PUT")
		if err != nil || r.code() != "NoSuchBucket" || !r.closed {
			t.Errorf("got %v, %v", r, err)
		}
		if n := <-sent; n != 4<<20 {
			t.Errorf("only %d bytes were taken from the client", n)
		}
		c.Close()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestConnectionAfterRefusal: whatever a handler left unread, the next request on the connection is the next request.
func TestConnectionAfterRefusal(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, n := range []int{0, 1, 100, 10_000, maxDrainLen, maxDrainLen + 1, 1 << 20} {
		c := h.dial()
		q := h.build("PUT", "/nowhere/k", []byte(strings.Repeat("GET /x HTTP/1.1\r\n\r\n", n/19+1)[:n]))
		next := h.build("GET", "/bucket?location", nil)
		go c.Write(append(append(q.head(), q.body...), next.head()...))
		br := bufio.NewReader(c)
		r := h.read(br, "PUT")
		if r.code() != "NoSuchBucket" || r.closed != (n > maxDrainLen) {
			t.Errorf("%d bytes: got %v", n, r)
		}
		if !r.closed {
			if r := h.read(br, "GET"); r.status != 200 {
				t.Errorf("%d bytes: the next request got %v", n, r)
			}
		}
		c.Close()
	}
}

// TestTooManyConnections: beyond the limit a connection gets an answer that S3 clients understand.
func TestTooManyConnections(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.MaxConns = 3 })
	var conns []net.Conn
	for range 3 {
		c := h.dial()
		c.Write(h.build("GET", "/", nil).head())
		h.read(bufio.NewReader(c), "GET")
		conns = append(conns, c)
	}
	r, err := tryRead(bufio.NewReader(h.dial()), "GET")
	if err != nil || r.status != 503 || r.code() != "SlowDown" || !r.closed {
		t.Errorf("got %v, %v", r, err)
	}
	conns[0].Close()
	for range 100 { // Until the server has noticed.
		c := h.dial()
		c.Write(h.build("GET", "/", nil).head())
		if r, err = tryRead(bufio.NewReader(c), "GET"); err == nil && r.status == 200 {
			return
		}
		c.Close()
	}
	t.Errorf("a connection that was closed is still counted: %v, %v", r, err)
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.IdleTimeout = 100 * time.Millisecond; o.HeaderTimeout = time.Second })
	idle := h.dial()
	idle.Write(h.build("GET", "/", nil).head())
	br := bufio.NewReader(idle)
	h.read(br, "GET")
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("after a request: got %v, want EOF", err)
	}
	if n, err := h.dial().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("without a request: got %d bytes, %v, want EOF", n, err)
	}
}

// TestReaderThatStopsReading: a client that reads nothing is cut, and what it held is given back.
func TestReaderThatStopsReading(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.WriteStall = 200 * time.Millisecond })
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", strings.Repeat("x", 32<<20))
	c := h.dial()
	c.(*net.TCPConn).SetReadBuffer(4096)
	c.Write(h.build("GET", "/bucket/k", nil).head())
	deadline := time.Now().Add(10 * time.Second)
	for {
		h.store.mu.Lock()
		open, calls := h.store.open, h.store.calls
		h.store.mu.Unlock()
		if open == 0 && calls > 4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d handles and bodies are still open", open)
		}
		runtime.Gosched()
	}
}

func TestPanicsAreContained(t *testing.T) {
	h := newHarness(t)
	h.panics = true
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", strings.Repeat("x", 1<<20))
	id := element(h.must("POST", "/bucket/m?uploads", "").body, "UploadId")
	complete := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
	deletes := "<Delete><Object><Key>a</Key></Object></Delete>"
	for _, c := range []struct{ op, method, target, body string }{
		{"Put", "PUT", "/bucket/x", "x"}, {"Open", "GET", "/bucket/k", ""}, {"Body", "GET", "/bucket/k", ""}, {"Head", "HEAD", "/bucket/k", ""},
		{"List", "GET", "/bucket?list-type=2", ""}, {"CompleteUpload", "POST", "/bucket/m?uploadId=" + id, complete},
	} {
		h.store.setBefore(func(op string) {
			if op == c.op {
				panic("injected into " + op)
			}
		})
		r := h.do(c.method, c.target, c.body)
		if r.status != 500 || c.method != "HEAD" && r.code() != "InternalError" || strings.Contains(r.body, "injected") {
			t.Errorf("%s: got %v", c.op, r)
		}
		h.store.setBefore(nil)
	}
	h.store.setBefore(func(op string) {
		if op == "Delete" {
			panic("injected into Delete")
		}
	})
	if r := h.must("POST", "/bucket?delete", deletes); !strings.Contains(r.body, "InternalError") {
		t.Errorf("Delete: got %v", r)
	}
	h.store.setBefore(func(op string) {
		if op == "WriteTo" {
			panic("injected into WriteTo")
		}
	})
	c := h.dial()
	c.Write(h.build("GET", "/bucket/k", nil).head())
	if _, err := tryRead(bufio.NewReader(c), "GET"); err == nil {
		t.Errorf("WriteTo: the answer is whole")
	}
	h.store.setBefore(nil)
	if r := h.must("GET", "/bucket/k", ""); len(r.body) != 1<<20 {
		t.Errorf("afterwards: %d bytes", len(r.body))
	}
	if !strings.Contains(h.logs.String(), "request=") {
		t.Errorf("the log does not name the requests")
	}
}

// TestBodyThatFailsHalfWay: bytes that cannot be verified are not sent; the connection ends instead.
func TestBodyThatFailsHalfWay(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", strings.Repeat("x", 1<<20))
	pieces := 0
	h.store.setFail(func(op, _ string) error {
		if op == "WriteTo" {
			if pieces++; pieces == 3 {
				return kindError(engine.KindCorrupt, "bucket", "k")
			}
		}
		return nil
	})
	c := h.dial()
	c.Write(h.build("GET", "/bucket/k", nil).head())
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != io.ErrUnexpectedEOF || n > 512<<10 {
		t.Errorf("got %d bytes, %v", n, err)
	}
	h.store.setFail(func(op, _ string) error {
		if op == "Body" || op == "WriteTo" {
			return kindError(engine.KindCorrupt, "bucket", "k")
		}
		return nil
	})
	h.want(500, "InternalError", "GET", "/bucket/k", "")
	h.store.setFail(nil)
	h.must("PUT", "/bucket/small", "small")
	h.store.setFail(func(op, _ string) error {
		if op == "WriteTo" {
			return kindError(engine.KindCorrupt, "bucket", "small")
		}
		return nil
	})
	h.want(500, "InternalError", "GET", "/bucket/small", "")
	h.store.setFail(nil)
}

func TestShutdownDrains(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	started, release := make(chan struct{}), make(chan struct{})
	h.store.setBefore(func(op string) {
		if op == "Put" {
			close(started)
			<-release
		}
	})
	answer := make(chan *reply, 1)
	q := h.build("PUT", "/bucket/k", []byte("hello"))
	go func() { answer <- h.send(q) }()
	<-started
	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		down <- h.srv.Shutdown(ctx)
	}()
	for !h.srv.draining.Load() {
		runtime.Gosched()
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v with a request in progress", err)
	default:
	}
	close(release)
	if r := <-answer; r.status != 200 {
		t.Errorf("the request in progress got %v", r)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := net.Dial("tcp", h.addr); err == nil {
		t.Errorf("still listening")
	}
}

// TestShutdownRunsOutOfPatience: what does not end in time is cancelled and cut.
func TestShutdownRunsOutOfPatience(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	c := h.dial()
	q := h.build("PUT", "/bucket/k", []byte(strings.Repeat("x", 1000)))
	c.Write(append(q.head(), "half"...))
	for h.srv.uploads.Load() == 0 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := h.srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("Shutdown took %v", took)
	}
	if h.srv.ctx.Err() == nil {
		t.Errorf("the store's context goes on")
	}
	if n := h.srv.uploads.Load(); n != 0 {
		t.Errorf("%d uploads are still counted", n)
	}
}

func TestHealth(t *testing.T) {
	h := newHarness(t)
	get := func(path string) *reply { return h.send(&wireRequest{method: "GET", target: path, host: h.host}) }
	for _, path := range []string{"/penstock/health/live", "/penstock/health/ready"} {
		if r := get(path); r.status != 200 || r.header.Get("x-amz-request-id") == "" {
			t.Errorf("%s: got %v", path, r)
		}
	}
	h.store.notReady = kindError(engine.KindUnavailable, "", "")
	if r := get("/penstock/health/ready"); r.status != 503 || strings.Contains(r.body, "unavailable") {
		t.Errorf("not ready: got %v", r)
	}
	if r := get("/penstock/health/live"); r.status != 200 {
		t.Errorf("not ready but alive: got %v", r)
	}
	h.want(400, "InvalidBucketName", "PUT", "/penstock", "")
}

// TestTLS also shows that a connection that is refused early is closed with care below TLS.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "penstock"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(o *Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	})
	pool := x509.NewCertPool()
	cert, _ := x509.ParseCertificate(der)
	pool.AddCert(cert)
	dial := func() *tls.Conn {
		c, err := tls.Dial("tcp", h.addr, &tls.Config{RootCAs: pool})
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	s := &session{h: h, conn: dial()}
	s.br = bufio.NewReader(s.conn)
	if r := s.send(h.build("PUT", "/bucket", nil)); r.status != 200 {
		t.Fatalf("got %v", r)
	}
	body := strings.Repeat("secret", 100_000)
	if r := s.send(h.build("PUT", "/bucket/k", []byte(body), "x-amz-content-sha256", "UNSIGNED-PAYLOAD", "Expect", "100-continue")); r.status != 100 && r.status != 200 {
		t.Fatalf("got %v", r)
	}
	s.conn.Close()
	s.conn = dial()
	s.br = bufio.NewReader(s.conn)
	if r := s.send(h.build("GET", "/bucket/k", nil)); r.body != body {
		t.Errorf("got %d bytes", len(r.body))
	}
	s.conn.Close()
	early := dial()
	early.Write(h.build("PUT", "/nowhere/k", nil, "Content-Length", fmt.Sprint(64<<20), "x-amz-content-sha256", "UNSIGNED-PAYLOAD").head())
	go io.Copy(early, io.LimitReader(zeros{}, 2<<20))
	if r, err := tryRead(bufio.NewReader(early), "PUT"); err != nil || r.code() != "NoSuchBucket" {
		t.Errorf("early answer: %v, %v", r, err)
	}
	early.Close()
	// Plain HTTP at a TLS port is no request.
	if replies := exchange(t, h.addr, []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")); len(replies) != 0 {
		t.Errorf("plain HTTP got %v", replies)
	}
}

// scriptedListener fails as it is told before it hands out connections.
type scriptedListener struct {
	net.Listener
	errs []error
}

func (l *scriptedListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

// TestAcceptOutlivesShortage: a process that is out of descriptors for a moment must not stop serving for ever.
func TestAcceptOutlivesShortage(t *testing.T) {
	inner, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	dial := func() {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO} {
		l := newListener(&scriptedListener{inner, []error{e, e}}, 10, slog.New(slog.DiscardHandler))
		dial()
		c, err := l.Accept()
		if err != nil {
			t.Errorf("%v: %v", e, err)
			continue
		}
		c.Close()
	}
	l := newListener(&scriptedListener{inner, []error{syscall.EBADF}}, 10, slog.New(slog.DiscardHandler))
	if _, err := l.Accept(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("a broken listener: %v", err)
	}
}

// TestDescriptorsAreLeftToTheDrives: connections do not take the last descriptors.
func TestDescriptorsAreLeftToTheDrives(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.srv.mu.Lock()
	l := h.srv.listeners[0]
	h.srv.mu.Unlock()
	l.mu.Lock()
	l.maxFile = 0
	l.mu.Unlock()
	if r, err := tryRead(bufio.NewReader(h.dial()), "GET"); err != nil || r.status != 503 || r.code() != "SlowDown" || !r.closed {
		t.Errorf("got %v, %v", r, err)
	}
}

// TestIdleConnectionsAreCheap covers CVE-2022-31028: what a connection costs while nothing is asked of it. 20,000 of them are in the plan.
func TestIdleConnectionsAreCheap(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", strings.Repeat("x", maxCopiedLen))
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // What pools let go of is gone after the second.
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const n = 300
	before := memory()
	q := h.build("GET", "/bucket/k", nil).head()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = h.dial()
		conns[i].Write(q)
		if _, err := http.ReadResponse(bufio.NewReader(conns[i]), nil); err != nil {
			t.Fatal(err)
		}
	}
	each := int64(memory()-before) / n
	t.Logf("%d bytes for each idle connection", each)
	if each > 64<<10 {
		t.Errorf("an idle connection costs %d bytes", each)
	}
	runtime.KeepAlive(conns)
}

// TestAdmissionIsGivenBack: clients that ask to go on and then leave must not use up the uploads that may be received.
func TestAdmissionIsGivenBack(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.MaxUploads = 2 })
	h.must("PUT", "/bucket", "")
	for range 10 {
		c := h.dial()
		c.Write(h.build("PUT", "/bucket/k", []byte("hello"), "Expect", "100-continue").head())
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	for range 5 {
		c := h.dial()
		c.Write(append(h.build("PUT", "/bucket/k", []byte("hello")).head(), "he"...))
		c.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for h.srv.uploads.Load() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d uploads are counted and none is there", h.srv.uploads.Load())
		}
		runtime.Gosched()
	}
	h.must("PUT", "/bucket/k", "hello")
}

// TestDocumentsHaveABudget: many long documents at once are refused before they fill the memory, and the room comes back.
func TestDocumentsHaveABudget(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const n = maxDocsLen / maxDeletesLen
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = h.dial()
		conns[i].Write(h.build("POST", "/bucket?delete", nil, "Content-Length", fmt.Sprint(maxDeletesLen)).head())
		conns[i].Write([]byte("<")) // The handler starts with the first byte.
	}
	for h.srv.docs.Load() != maxDocsLen {
		runtime.Gosched()
	}
	const doc = "<Delete><Object><Key>a</Key></Object></Delete>"
	h.want(503, "SlowDown", "POST", "/bucket?delete", doc)
	for _, c := range conns {
		c.Close()
	}
	for h.srv.docs.Load() != 0 {
		runtime.Gosched()
	}
	h.must("POST", "/bucket?delete", doc)
}
