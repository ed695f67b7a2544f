package blackbox

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/fastapi/sigv4"
	"penstock/tools/harness"
)

// requestLimit is how long a request of a well-behaved client may take on a machine that does other things too.
const requestLimit = 30 * time.Second

// A client writes every byte of its requests itself, so that it can also write wrong ones. It keeps connections that
// the server keeps.
type client struct {
	addr   string
	signer sigv4.Signer
	tls    *tls.Config // nil without TLS.
	// unsure: drives fail in this test. What happened to a write that was under way can be unknown; it is answered with
	// 500, and clients repeat it.
	unsure bool

	mu   sync.Mutex // Guards idle.
	idle []*wire
}

// wire is a connection, and what of it is read ahead.
type wire struct {
	net.Conn
	in *bufio.Reader
}

func newClient() *client {
	return &client{signer: sigv4.Signer{AccessKey: harness.AccessKey, Secret: harness.SecretKey, Region: "us-east-1"}}
}

func (c *client) trust(pool *x509.CertPool) { c.tls = &tls.Config{RootCAs: pool} }

// use points the client to an endpoint.
func (c *client) use(endpoint string) {
	c.closeIdle()
	_, c.addr, _ = strings.Cut(endpoint, "://")
}

func (c *client) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.idle {
		w.Close()
	}
	c.idle = nil
}

// dial opens a connection, which the caller closes.
func (c *client) dial() (*wire, error) {
	conn, err := net.DialTimeout("tcp", c.addr, requestLimit)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(requestLimit))
	if c.tls != nil {
		config := c.tls.Clone()
		config.ServerName = "localhost"
		conn = tls.Client(conn, config)
	}
	return &wire{conn, bufio.NewReader(conn)}, nil
}

// mustDial is dial for the goroutine of a test; the connection ends with the test at the latest.
func (c *client) mustDial(t testing.TB) *wire {
	t.Helper()
	w, err := c.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// request is a request as it goes over the wire.
type request struct {
	method, target string
	host           string
	headers        []sigv4.Header
	body           []byte
	length         int // What Content-Length says; -1 leaves it out.
}

func (q *request) add(name, value string) {
	q.headers = append(q.headers, sigv4.Header{Name: []byte(name), Value: []byte(value)})
}

// head returns the request without its body.
func (q *request) head() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.target, q.host)
	for _, f := range q.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	if q.length >= 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", q.length)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func (q *request) bytes() []byte { return append(q.head(), q.body...) }

const unsignedPayload = "UNSIGNED-PAYLOAD"

// unsigned builds a request without a signature. headers alternate names and values.
func (c *client) unsigned(method, target string, body []byte, headers ...string) *request {
	q := &request{method: method, target: target, host: c.addr, body: body, length: len(body)}
	if len(body) == 0 && (method == "GET" || method == "HEAD" || method == "DELETE") {
		q.length = -1
	}
	for i := 0; i < len(headers); i += 2 {
		q.add(headers[i], headers[i+1])
	}
	return q
}

// signed builds a request whose headers are signed and whose body is not; a Signed body costs the client as much as
// the server.
func (c *client) signed(method, target string, body []byte, headers ...string) *request {
	q := c.unsigned(method, target, body, headers...)
	c.sign(q, unsignedPayload)
	return q
}

// sign signs the request as it is by now, for a payload of that kind.
func (c *client) sign(q *request, payload string) *sigv4.Auth {
	s := q.toSign(c.tls != nil)
	auth, err := c.signer.Sign(s, time.Now(), payload)
	if err != nil {
		panic(fmt.Sprintf("blackbox: signing %s %q: %v", q.method, q.target, err)) // The test builds what cannot be signed.
	}
	q.headers = s.Headers
	return auth
}

// presign moves the signature into the target.
func (c *client) presign(q *request, expires time.Duration) {
	s := q.toSign(c.tls != nil)
	if _, err := c.signer.Presign(s, time.Now(), expires); err != nil {
		panic(fmt.Sprintf("blackbox: presigning %s %q: %v", q.method, q.target, err))
	}
	q.target = string(s.RawPath) + "?" + string(s.RawQuery)
}

func (q *request) toSign(secure bool) *sigv4.Request {
	path, query, _ := strings.Cut(q.target, "?")
	return &sigv4.Request{
		Method: []byte(q.method), RawPath: []byte(path), RawQuery: []byte(query), Host: []byte(q.host), Headers: q.headers, TLS: secure,
	}
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
	closed bool // The server ends the connection.
}

func (r *reply) String() string { return fmt.Sprintf("%d %v %.300q", r.status, r.header, r.body) }

// code is the Code of an error body.
func (r *reply) code() string { return element(string(r.body), "Code") }

// element returns the text of the first element of that name, as written.
func element(doc, name string) string {
	_, rest, ok := strings.Cut(doc, "<"+name+">")
	if !ok {
		return ""
	}
	text, _, _ := strings.Cut(rest, "</"+name+">")
	return text
}

// elements returns the texts of all elements of that name.
func elements(doc, name string) (all []string) {
	for {
		_, rest, ok := strings.Cut(doc, "<"+name+">")
		if !ok {
			return all
		}
		var text string
		text, doc, _ = strings.Cut(rest, "</"+name+">")
		all = append(all, text)
	}
}

// readReply reads the answer to a request of that method.
func readReply(in *bufio.Reader, method string) (*reply, error) {
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	for err == nil && resp.StatusCode == 100 { // The answer is yet to come (RFC 9110, section 15.2).
		resp, err = http.ReadResponse(in, &http.Request{Method: method})
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &reply{resp.StatusCode, resp.Header, body, resp.Close}, err
}

// do sends a request and reads the answer. A kept connection that the server has closed meanwhile is replaced.
func (c *client) do(q *request) (*reply, error) {
	for {
		w, fresh := c.take(), false
		if w == nil {
			var err error
			if w, err = c.dial(); err != nil {
				return nil, err
			}
			fresh = true
		}
		r, err := w.roundTrip(q)
		if err == nil && !r.closed {
			c.mu.Lock()
			c.idle = append(c.idle, w)
			c.mu.Unlock()
		} else {
			w.Close()
		}
		if err == nil || fresh {
			return r, err
		}
	}
}

func (c *client) take() *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 {
		return nil
	}
	w := c.idle[last]
	c.idle = c.idle[:last]
	return w
}

// largeBody is the length from which a body is written while the answer is awaited: the server may refuse it unread.
const largeBody = 32 << 10

func (w *wire) roundTrip(q *request) (*reply, error) {
	w.SetDeadline(time.Now().Add(requestLimit))
	if len(q.body) < largeBody {
		if _, err := w.Write(q.bytes()); err != nil {
			return nil, err
		}
		return readReply(w.in, q.method)
	}
	var r *reply
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err = readReply(w.in, q.method)
	}()
	_, werr := w.Write(q.head())
	if werr == nil {
		_, werr = w.Write(q.body)
	}
	<-done
	if werr != nil && r != nil {
		r.closed = true // The rest of the body is not going to come.
	}
	return r, err
}

// call sends a signed request that any goroutine may send.
func (c *client) call(method, target string, body []byte, headers ...string) (*reply, error) {
	return c.do(c.signed(method, target, body, headers...))
}

// get is call for the goroutine of the test, which ends without an answer.
func (c *client) get(t testing.TB, method, target string, body []byte, headers ...string) *reply {
	t.Helper()
	r, err := c.call(method, target, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return r
}

// must is get for a request that has to succeed, if need be after the node has asked for patience, as every S3 client has it.
func (c *client) must(t testing.TB, method, target string, body []byte, headers ...string) *reply {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		r := c.get(t, method, target, body, headers...)
		switch {
		case r.status < 300:
			return r
		case r.status != 503 && !(r.status == 500 && c.unsure) || time.Now().After(end):
			t.Fatalf("%s %s: %v", method, target, r)
		}
		time.Sleep(100 * time.Millisecond) // Less than it asks for: time is what tests lack.
	}
}

// patience is how long a node may be busy with itself, such as with the loss of the drive that its index is on.
const patience = 10 * time.Second

// keys lists a bucket, page by page.
func (c *client) keys(t testing.TB, bucket string) (keys []string) {
	t.Helper()
	after := ""
	for {
		target := "/" + bucket + "?list-type=2"
		if after != "" {
			target += "&continuation-token=" + after
		}
		doc := string(c.must(t, "GET", target, nil).body)
		keys = append(keys, elements(doc, "Key")...)
		if element(doc, "IsTruncated") != "true" {
			return keys
		}
		after = queryEscape(element(doc, "NextContinuationToken"))
	}
}

// queryEscape escapes what a signature wants escaped in a query.
func queryEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// pathEscape escapes a key for a path.
func pathEscape(key string) string { return strings.ReplaceAll(queryEscape(key), "%2F", "/") }
