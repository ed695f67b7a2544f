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
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"penstock/engine"
)

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
	h, dial := newTLSHarness(t)
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

// newTLSHarness returns a harness that speaks TLS alone, and how to reach it.
func newTLSHarness(t *testing.T) (*harness, func() net.Conn) {
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
	return h, func() net.Conn {
		c, err := tls.Dial("tcp", h.addr, &tls.Config{RootCAs: pool})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(60 * time.Second))
		return c
	}
}
