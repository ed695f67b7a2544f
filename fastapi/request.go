package fastapi

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"penstock/fastapi/admin"
	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
	"penstock/fastapi/sigv4"
)

// request is one request from its headers to its answer. It lives in a pool; nothing keeps it once the handler has
// returned. Its strings are copies and may be kept.
type request struct {
	srv  *Server
	ctx  *fasthttp.RequestCtx
	conn *conn
	id   requestID

	head headers
	host string
	target
	resource

	op       *operation
	identity *iam.Identity
	auth     *sigv4.Auth
	signed   sigv4.Request // What was authenticated; kept here for its memory.
	admitted bool          // Counted as an upload.
	reserved int64         // Counted as bytes of documents.
	framed   bool          // The headers made sense; until then nothing that follows them can be trusted to be a request.
	bodyDone bool          // The body was read to its end.

	began    time.Time       // When the headers were in.
	failure  string          // Code of the error that is the answer.
	received int64           // Bytes of the body, as they came over the wire.
	stream   *observedStream // The answer's body, if it is sent after the handler has returned.
	admin    admin.Call      // Of the administration API.

	asked    policy.Request  // What policies were asked last; kept here for its memory.
	about    *need           // What they are asked about at the moment.
	states   [2]*bucketState // Of the buckets that the request is about.
	pathName string          // See arnPath.
	deferred bool            // Leave depends on tags that are in the body.
	tags     []param         // Those, once read.
	document *string         // The body, once read for them.
	form     *form           // Of PostObject.

	sessionName, externalID string // Of a call of the token service.
}

// requestID names a request in its answer and in the log: 16 hex digits.
type requestID [16]byte

func (id *requestID) set(n uint64) {
	const digits = "0123456789ABCDEF"
	for i := range id {
		id[i] = digits[n>>60]
		n <<= 4
	}
}

var requests = sync.Pool{New: func() any { return new(request) }}

func (s *Server) acquire(ctx *fasthttp.RequestCtx) *request {
	r := requests.Get().(*request)
	r.srv, r.ctx, r.conn, r.began = s, ctx, connOf(ctx.Conn()), time.Now()
	// Steps of an odd constant visit every number once; the start is random, so ids of two runs differ.
	r.id.set(s.nextID.Add(0x9e3779b97f4a7c15))
	return r
}

// release ends a request. It is called exactly once for each acquire, by whoever holds it last.
func (r *request) release() {
	if r.admitted {
		r.srv.uploads.Add(-1)
	}
	r.srv.docs.Add(-r.reserved)
	clear(r.head.fields)
	clear(r.head.wire)
	clear(r.params)
	r.asked.Forget()
	*r = request{
		asked:  r.asked,
		head:   headers{fields: r.head.fields[:0], wire: r.head.wire[:0]},
		target: target{params: r.params[:0]},
	}
	requests.Put(r)
}

// targetHeader holds the request target from the moment the headers are in: fasthttp would interpret it, and refuse some
// targets that S3 allows. A colon is not allowed in a header's name, so no client can send one of this name.
const targetHeader = ":target"

// isExpectation reports whether a value is one that clients send, rather than one that makes the request malformed, which it must stay.
func isExpectation(value []byte) bool {
	const longest = 128
	return len(value) <= longest && !bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

// headerReceived runs when fasthttp has read a request's headers, before it looks at the target or reads the body.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	h.SetBytesV(targetHeader, h.RequestURI())
	h.SetRequestURI("/")
	for name, value := range h.All() {
		if len(name) == len("expect") && strings.EqualFold(string(name), "expect") && isExpectation(value) {
			// fasthttp knows this header by one spelling and one value only. With another the body would be waited for, while
			// the client may be waiting for us. Whatever else a client expects, Amazon goes on, and so do we.
			h.Set("Expect", "100-continue")
			break
		}
	}
	return fasthttp.RequestConfig{
		ReadTimeout: s.opts.BodyGrace,
		// fasthttp reads up to 8 KiB of a body before it calls the handler, but no more than this. So a request that is
		// refused is refused before its body is waited for.
		MaxRequestBodySize: 1,
	}
}

// begin parses, authenticates, routes, authorises and admits the request: all that comes before reading a body.
func (r *request) begin() error {
	h := &r.ctx.Request.Header
	if err := r.head.parse(h.RawHeaders()); err != nil {
		return err
	}
	if _, both := r.head.lookup("transfer-encoding"); both {
		if _, both = r.head.lookup("content-length"); both {
			return errBadRequest // Two answers to where the body ends.
		}
	}
	r.host = string(h.Host())
	if !validHost(r.host) {
		return errBadRequest
	}
	raw := string(h.Peek(targetHeader))
	var err error
	if r.target, err = parseTarget(raw, r.host, r.params); err != nil {
		return err
	}
	r.framed = true
	if _, virtual := virtualBucket(r.host, r.srv.domains); !virtual {
		if r.op = r.srv.health(r); r.op == nil {
			r.op = r.srv.metricsFreely(r)
		}
	}
	if r.op != nil {
		return nil
	}
	if r.beginPreflight() {
		return nil
	}
	if r.isSTS() {
		r.op, r.identity, r.auth = stsOperation, anonymous, new(sigv4.Auth)
		return nil
	}
	if r.identity, r.auth, err = r.srv.authenticate(r); err != nil {
		return err
	}
	if r.auth.Presigned {
		if err := r.head.hoist(r.params); err != nil {
			return err
		}
	}
	if r.isAdmin() {
		if r.identity == anonymous {
			return errAccessDenied // Not even what there is is told to strangers.
		}
		r.op, err = r.routeAdmin()
	} else if r.resource, err = r.target.resolve(r.host, r.srv.domains); err == nil {
		r.op, err = route(r)
	}
	if err != nil {
		return err
	}
	if err := r.authorise(); err != nil {
		return err
	}
	if err := refuseUnsupported(&r.head); err != nil {
		return err
	}
	return r.checkOwner()
}

// checkOwner honours the headers by which a client says whose bucket it expects.
func (r *request) checkOwner() error {
	for _, name := range [...]string{"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"} {
		if owner := r.head.get(name); owner != "" && owner != ownerAccount && owner != ownerID {
			return errAccessDenied
		}
	}
	return nil
}

// param returns the value of a query parameter, or "".
func (r *request) param(name string) string {
	v, _ := r.target.get(name)
	return v
}

// intParam reads a parameter that must be a number from 0 to 2^31-1.
func (r *request) intParam(name string, absent int) (int, error) {
	s, ok := r.target.get(name)
	if !ok || s == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || s[0] == '+' {
		return 0, invalidArgument("Provided "+name+" not an integer or within integer range", name, s)
	}
	return int(n), nil
}

// log returns the logger with the request's id.
func (r *request) log() *slog.Logger { return r.srv.log.With("request", string(r.id[:])) }

// path is the resource as error bodies name it.
func (r *request) path() string {
	if r.level == levelService || r.level == levelAdmin {
		if p, ok := unescape(r.rawPath, false); ok {
			return p
		}
		return r.rawPath
	}
	if r.level == levelBucket {
		return "/" + r.bucket
	}
	return "/" + r.bucket + "/" + r.key
}

// setHeader sets a response header that fasthttp does not treat specially. Values come from what was validated or stored as
// it came over the wire, so they hold no line breaks.
func (r *request) setHeader(name, value string) { r.ctx.Response.Header.Set(name, value) }

func (r *request) setETag(etag string) {
	var buf [80]byte
	b := append(buf[:0], '"')
	b = append(b, etag...)
	r.ctx.Response.Header.SetBytesV("ETag", append(b, '"'))
}

func (r *request) setTime(name string, t time.Time) {
	var buf [32]byte
	r.ctx.Response.Header.SetBytesV(name, t.UTC().AppendFormat(buf[:0], httpDate))
}

// answerXML answers 200 with a document.
func (r *request) answerXML(w xmlWriter) error {
	r.ctx.Response.SetStatusCode(200)
	r.ctx.Response.Header.SetContentType(xmlType)
	r.ctx.Response.SetBodyRaw(w)
	return nil
}

// answerEmpty answers with a status alone.
func (r *request) answerEmpty(status int) error {
	r.ctx.Response.SetStatusCode(status)
	return nil
}
