package fastapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/iam"
	"penstock/fastapi/sigv4"
)

const (
	testAccessKey = "AKIDTESTTESTTEST"
	testSecret    = "canary-secret-do-not-show"
)

// newDirectory returns a directory in memory whose root is testAccessKey.
func newDirectory(t testing.TB, clock func() time.Time) *iam.Directory {
	t.Helper()
	d, err := iam.Open(iam.Options{Store: new(fakeConfigs), Keyring: iam.NewKeyring(), RootAccessKey: testAccessKey, RootSecret: testSecret, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fakeConfigs keeps named values in a map.
type fakeConfigs struct {
	mu     sync.Mutex
	values map[string]string
}

func (c *fakeConfigs) Config(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[name], nil
}

func (c *fakeConfigs) Configs(string, string, int) ([]engine.ConfigValue, bool, error) {
	return nil, false, nil // It is new.
}

func (c *fakeConfigs) SetConfig(_ context.Context, name, value string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[string]string{}
	}
	c.values[name] = value
	return nil
}

// harness is a server over a fake store, and a client that writes every byte of its requests itself.
type harness struct {
	t      testing.TB
	store  *fakeStore
	srv    *Server
	addr   string
	host   string
	signer sigv4.Signer
	logs   *lockedBuffer
	panics bool // The test makes the server panic.
	people *iam.Directory
	clock  *directoryClock
	health *fakeHealth
	drives *fakeDrives
}

// directoryClock is the clock that sessions and keys end by. Signatures are judged by the real one.
type directoryClock struct{ ahead atomic.Int64 }

func (c *directoryClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *directoryClock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func prefixesOf(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newHarness(t testing.TB, adjust ...func(*Options)) *harness {
	t.Helper()
	clock := new(directoryClock)
	h := &harness{
		t: t, store: newFakeStore(), logs: new(lockedBuffer),
		people: newDirectory(t, clock.now),
		clock:  clock,
		health: newFakeHealth(),
		drives: new(fakeDrives),
		signer: sigv4.Signer{AccessKey: testAccessKey, Secret: testSecret, Region: "us-east-1"},
	}
	opts := Options{
		Store: h.store, Admin: fakeAdmin{h.store, h.health, h.drives}, Identities: h.people, Process: new(fakeProcess),
		Logger: slog.New(slog.NewTextHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range adjust {
		f(&opts)
	}
	var err error
	if h.srv, err = New(opts); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = ln.Addr().String()
	h.host = h.addr
	served := make(chan error, 1)
	go func() { served <- h.srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.srv.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if strings.Contains(h.logs.String(), "panic") != h.panics {
			t.Errorf("panicked: %v\n%s", !h.panics, h.logs.String())
		}
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		if h.store.open != 0 {
			t.Errorf("%d handles or bodies were not closed", h.store.open)
		}
		if n := h.store.kept.Load(); n != 0 {
			t.Errorf("%d pieces of bodies are kept in the end", n)
		}
	})
	return h
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
	closed bool // Connection: close.
}

func (r *reply) String() string { return fmt.Sprintf("%d %v %q", r.status, r.header, r.body) }

// code returns the Code of an error body.
func (r *reply) code() string { return element(r.body, "Code") }

// element returns the text of the first element of that name, as written.
func element(doc, name string) string {
	_, rest, ok := strings.Cut(doc, "<"+name+">")
	if !ok {
		return ""
	}
	text, _, _ := strings.Cut(rest, "</"+name+">")
	return text
}

// request is a request as it goes over the wire.
type wireRequest struct {
	method, target string
	host           string
	headers        []sigv4.Header
	body           []byte
}

// build makes a signed request. headers alternate names and values; a payload header given among them is signed as it is.
func (h *harness) build(method, target string, body []byte, headers ...string) *wireRequest {
	q := &wireRequest{method: method, target: target, host: h.host, body: body}
	payload := sigv4.Digest(body)
	hasLength := false
	for i := 0; i < len(headers); i += 2 {
		switch strings.ToLower(headers[i]) {
		case "x-amz-content-sha256":
			payload = headers[i+1]
			continue
		case "host":
			q.host = headers[i+1]
			continue
		case "content-length", "transfer-encoding":
			hasLength = true
		}
		q.add(headers[i], headers[i+1])
	}
	h.sign(q, payload)
	if !hasLength && (len(body) > 0 || method == "PUT" || method == "POST") {
		q.add("Content-Length", fmt.Sprint(len(body)))
	}
	return q
}

func (q *wireRequest) add(name, value string) {
	q.headers = append(q.headers, sigv4.Header{Name: []byte(name), Value: []byte(value)})
}

func (h *harness) sign(q *wireRequest, payload string) *sigv4.Auth {
	h.t.Helper()
	path, query, _ := strings.Cut(q.target, "?")
	s := &sigv4.Request{Method: []byte(q.method), RawPath: []byte(path), RawQuery: []byte(query), Host: []byte(q.host), Headers: q.headers}
	auth, err := h.signer.Sign(s, time.Now(), payload)
	if err != nil {
		h.t.Fatalf("signing %s %s: %v", q.method, q.target, err)
	}
	q.headers = s.Headers
	return auth
}

// presign returns the target with a signature in its query.
func (h *harness) presign(method, target string, headers ...string) string {
	h.t.Helper()
	path, query, _ := strings.Cut(target, "?")
	s := &sigv4.Request{Method: []byte(method), RawPath: []byte(path), RawQuery: []byte(query), Host: []byte(h.host)}
	for i := 0; i < len(headers); i += 2 {
		s.Headers = append(s.Headers, sigv4.Header{Name: []byte(headers[i]), Value: []byte(headers[i+1])})
	}
	if _, err := h.signer.Presign(s, time.Now(), time.Hour); err != nil {
		h.t.Fatal(err)
	}
	return path + "?" + string(s.RawQuery)
}

func (q *wireRequest) head() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.target, q.host)
	for _, f := range q.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func (h *harness) dial() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// send sends a request over a connection of its own and reads the answer.
func (h *harness) send(q *wireRequest) *reply {
	h.t.Helper()
	c := h.dial()
	defer c.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.Write(append(q.head(), q.body...)) // The server may answer and close before it has read everything.
	}()
	r := h.read(bufio.NewReader(c), q.method)
	c.Close()
	<-written
	return r
}

func (h *harness) read(br *bufio.Reader, method string) *reply {
	h.t.Helper()
	r, err := tryRead(br, method)
	if err != nil {
		h.t.Fatalf("%s: reading the answer: %v", method, err)
	}
	return r
}

func tryRead(br *bufio.Reader, method string) (*reply, error) {
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == 100 {
		return tryRead(br, method)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &reply{resp.StatusCode, resp.Header, string(body), resp.Close}, nil
}

// session sends requests one after another over one connection, and opens another when the server has closed it.
type session struct {
	h    *harness
	conn net.Conn
	br   *bufio.Reader
}

func (s *session) send(q *wireRequest) *reply {
	s.h.t.Helper()
	for range 2 {
		if s.conn == nil {
			s.conn = s.h.dial()
			s.br = bufio.NewReader(s.conn)
		}
		s.conn.Write(append(q.head(), q.body...))
		r, err := tryRead(s.br, q.method)
		if err != nil || r.closed {
			s.conn.Close()
			s.conn = nil
		}
		if err == nil {
			return r
		}
	}
	s.h.t.Fatalf("%s %s: no answer", q.method, q.target)
	return nil
}

// do sends a signed request.
func (h *harness) do(method, target string, body string, headers ...string) *reply {
	h.t.Helper()
	return h.send(h.build(method, target, []byte(body), headers...))
}

// must is do for a request that has to succeed.
func (h *harness) must(method, target string, body string, headers ...string) *reply {
	h.t.Helper()
	r := h.do(method, target, body, headers...)
	if r.status >= 300 {
		h.t.Fatalf("%s %s: %v", method, target, r)
	}
	return r
}

// want sends a request and compares status and error code.
func (h *harness) want(status int, code, method, target string, body string, headers ...string) *reply {
	h.t.Helper()
	r := h.do(method, target, body, headers...)
	if r.status != status || method != "HEAD" && r.code() != code {
		h.t.Errorf("%s %s %q: got %v, want %d %s", method, target, headers, r, status, code)
	}
	return r
}

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
