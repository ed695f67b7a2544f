package fastapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
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
