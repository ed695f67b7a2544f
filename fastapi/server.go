package fastapi

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"penstock/engine"
	"penstock/fastapi/admin"
	"penstock/fastapi/iam"
	"penstock/fastapi/md5lanes"
	"penstock/fastapi/sigv4"
)

// Options configure a Server.
type Options struct {
	Store      Store          // Required.
	Admin      admin.Store    // What the administration API and the metrics work on; nil means that there is neither.
	Process    admin.Process  // What the administration API works on besides; nil is none.
	Metrics    Metrics        // Who may read the metrics, besides administrators.
	Identities *iam.Directory // Required: who may use the store.
	// TrustedProxies are the networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix
	// AdminCertificates refuses calls of the administration API whose client has shown no certificate that TLSConfig has verified.
	AdminCertificates bool
	// OpenBuckets creates buckets as Amazon did before April 2023: their access control lists count, and public access is not blocked.
	OpenBuckets bool
	// OpaqueETags is whether buckets that were not told otherwise have ETags that are not the MD5 of the bytes, which saves computing it.
	OpaqueETags bool

	// Audit is told of every request when it is over. It must not block: it is called on the request's way out. nil is nobody. It keeps the entry.
	Audit func(*AuditEntry)

	// Region that requests must be signed for. Empty accepts any, and the region shown to clients is DefaultRegion.
	Region string
	// Domains below which host names are buckets ("bucket.s3.example.com"). Empty means path-style addressing alone.
	Domains []string

	TLSConfig *tls.Config      // nil means plain HTTP.
	Logger    *slog.Logger     // nil discards.
	Clock     func() time.Time // Judges the age of signatures; nil means time.Now.

	// Day is the store's: what the rules of buckets count in. 0 means engine.Day.
	Day time.Duration

	MaxConns   int // Connections at once; 0 means DefaultMaxConns.
	MaxUploads int // Bodies being received at once; 0 means DefaultMaxUploads.

	HeaderTimeout time.Duration // For all of a request's headers; 0 means DefaultHeaderTimeout.
	IdleTimeout   time.Duration // Between requests; 0 means DefaultIdleTimeout.
	// BodyGrace is how long a body may stand still, and how long it may take beyond what MinBodyRate allows; 0 means DefaultBodyGrace.
	BodyGrace   time.Duration
	MinBodyRate int // Bytes a second that a client must send on average; 0 means DefaultMinBodyRate.
	// ZeroCopySend has large bodies sent from where they lie, on connections without TLS, until it shows that the kernel copies them
	// after all.
	ZeroCopySend bool

	WriteStall time.Duration // How long a client may read nothing of an answer; 0 means DefaultWriteStall.
}

// The defaults of Options.
const (
	DefaultRegion        = "us-east-1"
	DefaultMaxConns      = 20_000 // 8 processes on each of 64 hosts, with 25 connections each, are 12,800.
	DefaultMaxUploads    = 4_096
	DefaultHeaderTimeout = 15 * time.Second
	DefaultIdleTimeout   = 90 * time.Second // Longer than clients pool connections, so that they end them and not we.
	DefaultBodyGrace     = 30 * time.Second
	DefaultMinBodyRate   = 4 << 10
	DefaultWriteStall    = 2 * time.Minute // Training loaders hold a stream open while they compute.
)

// readBufferLen holds a request's headers: Amazon takes 8 KiB of them, and a presigned target comes on top.
const readBufferLen = 16 << 10

// writeBufferLen holds an answer's headers and a body of maxCopiedLen, to leave in one write.
const writeBufferLen = maxCopiedLen + 4<<10

// Server serves S3 over HTTP.
type Server struct {
	opts        Options
	store       Store
	log         *slog.Logger
	domains     []string
	verifier    *sigv4.Verifier
	stsVerifier *sigv4.Verifier
	states      bucketStates
	lanes       md5lanes.Group // Of long bodies.
	hostID      string
	admin       *admin.API            // nil without one.
	registry    *prometheus.Registry  // Of metrics; nil without an administration API.
	tallies     map[*operation]*tally // Never changed.
	http        *fasthttp.Server

	ctx    context.Context // Of every call of the store; ends when Shutdown runs out of patience.
	cancel context.CancelFunc

	stopping context.Context // Ends when Shutdown begins: answers without an end of their own end then.
	stop     context.CancelFunc

	watchers watchers

	nextID   atomic.Uint64
	uploads  atomic.Int64   // Bodies being received.
	docs     atomic.Int64   // Bytes of documents in memory.
	draining atomic.Bool    // Shutdown has begun.
	drained  atomic.Bool    // Load balancers are told to send requests elsewhere; those that come are served.
	work     sync.WaitGroup // What goes on beyond its handler; see slowly.

	mu        sync.Mutex // Guards listeners.
	listeners []*listener
}

// New returns a Server; Serve starts it.
func New(opts Options) (*Server, error) {
	if opts.Store == nil || opts.Identities == nil {
		return nil, errors.New("fastapi: Options.Store and Options.Identities are required")
	}
	opts.setDefaults()
	verifier, err := sigv4.New(sigv4.Options{
		Secrets: secrets{opts.Identities},
		Clock:   opts.Clock,
		Region:  opts.Region,
		// Amazon lets whoever holds a presigned URL choose the content type, and browsers always send one.
		AllowUnsignedContentType: true,
	})
	if err != nil {
		return nil, err
	}
	sts, err := sigv4.New(sigv4.Options{
		Secrets: secrets{opts.Identities}, Clock: opts.Clock, Region: opts.Region, Service: "sts", AllowUnsignedContentType: true,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, store: opts.Store, log: opts.Logger, verifier: verifier, stsVerifier: sts, tallies: tallies()}
	if opts.Admin != nil {
		s.admin = admin.New(admin.Options{Store: opts.Admin, Front: s, Identities: opts.Identities, Process: opts.Process})
		s.registry = s.newRegistry(opts.Admin)
	}
	for _, d := range opts.Domains {
		d = strings.ToLower(strings.Trim(d, "."))
		if d == "" || strings.ContainsAny(d, "/: ") {
			return nil, fmt.Errorf("fastapi: domain %q is not a host name", d)
		}
		s.domains = append(s.domains, d)
	}
	slices.SortFunc(s.domains, func(a, b string) int { return len(b) - len(a) })
	var random [48]byte
	rand.Read(random[:]) // Never fails: crypto/rand ends the process instead.
	s.nextID.Store(binary.LittleEndian.Uint64(random[:]))
	s.hostID = base64.StdEncoding.EncodeToString(random[8:])
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.stopping, s.stop = context.WithCancel(s.ctx)
	s.http = s.newHTTP()
	return s, nil
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	setDefault(&o.Day, engine.Day)
	setDefault(&o.MaxConns, DefaultMaxConns)
	setDefault(&o.MaxUploads, DefaultMaxUploads)
	setDefault(&o.HeaderTimeout, DefaultHeaderTimeout)
	setDefault(&o.IdleTimeout, DefaultIdleTimeout)
	setDefault(&o.BodyGrace, DefaultBodyGrace)
	setDefault(&o.MinBodyRate, DefaultMinBodyRate)
	setDefault(&o.WriteStall, DefaultWriteStall)
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func (s *Server) newHTTP() *fasthttp.Server {
	return &fasthttp.Server{
		Name:           "Penstock",
		Logger:         httpLog{s.log},
		Handler:        s.handle,
		ErrorHandler:   s.handleError,
		ExpectHandler:  s.expect,
		HeaderReceived: s.headerReceived,

		ReadTimeout:     s.opts.HeaderTimeout,
		IdleTimeout:     s.opts.IdleTimeout,
		WriteTimeout:    s.opts.WriteStall,
		ReadBufferSize:  readBufferLen,
		WriteBufferSize: writeBufferLen,
		// Its own limit answers in plain text; the listener's, which answers in XML, is reached first.
		Concurrency: 2*s.opts.MaxConns + 16,
		// Writers and body buffers go back to their pools between requests: there are many more connections than requests.
		ReduceMemoryUsage: true,

		StreamRequestBody:             true,
		DisablePreParseMultipartForm:  true,
		DisableHeaderNamesNormalizing: true,
		NoDefaultContentType:          true,
		SecureErrorLogMessage:         true,
		CloseOnShutdown:               true,
		LazyRequestTime:               true,
	}
}

// Serve answers requests that come through ln until Shutdown, with TLS if there is a configuration for it. It may be called for several
// listeners.
func (s *Server) Serve(ln net.Listener) error { return s.serve(ln, s.opts.TLSConfig) }

// ServePlain is Serve without TLS.
func (s *Server) ServePlain(ln net.Listener) error { return s.serve(ln, nil) }

func (s *Server) serve(ln net.Listener, config *tls.Config) error {
	own := newListener(ln, s.opts.MaxConns, s.log)
	own.zeroCopy = s.opts.ZeroCopySend
	s.mu.Lock()
	s.listeners = append(s.listeners, own)
	s.mu.Unlock()
	if config == nil {
		return s.http.Serve(own)
	}
	config = config.Clone()
	if len(config.NextProtos) == 0 {
		config.NextProtos = []string{"http/1.1"}
	}
	return s.http.Serve(tls.NewListener(own, config))
}

// Shutdown stops accepting, lets requests in progress end, and returns when they have. When ctx ends first it cancels
// them and cuts their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.stop()
	err := s.http.ShutdownWithContext(ctx)
	s.cancel()
	if err != nil {
		s.mu.Lock()
		listeners := slices.Clone(s.listeners)
		s.mu.Unlock()
		// Handlers see their context end and their connections closed; they return at once unless the store does not.
		last, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		for _, l := range listeners {
			l.closeAll()
		}
		for _, l := range listeners {
			if !l.wait(last) {
				return err
			}
		}
	}
	s.work.Wait()
	return err
}

// expect decides, for a request that asks before it sends its body, whether to let it. Everything that can refuse a
// request without its body is done here, before the client is told to go on.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	r := s.acquire(ctx)
	if err := r.guarded((*request).start); err != nil {
		r.fail(err)
		r.crossOrigin()
		ctx.Response.SetConnectionClose()
		s.setIDs(ctx, &r.id)
		status := ctx.Response.StatusCode()
		r.finish()
		r.release()
		return status
	}
	if r.conn == nil {
		r.release() // A connection that is not ours, as in a test; the handler begins anew.
		return fasthttp.StatusContinue
	}
	r.conn.pending.Store(r)
	return fasthttp.StatusContinue
}

// handle answers one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	r := s.takePending(ctx)
	var err error
	if r == nil {
		r = s.acquire(ctx)
		err = r.guarded((*request).start)
	}
	if err == nil && r.deferred {
		err = r.guarded((*request).authoriseTags)
	}
	if err == nil {
		err = r.guarded(r.op.handle)
	}
	if err != nil {
		r.fail(err)
	}
	r.crossOrigin()
	s.setIDs(ctx, &r.id)
	r.finish()
	if s.log.Enabled(s.ctx, slog.LevelDebug) {
		r.log().Debug("request", "method", string(ctx.Method()), "path", r.path(), "status", ctx.Response.StatusCode(), "remote", ctx.RemoteAddr())
	}
	r.release()
}

// takePending returns the request that expect has begun on this connection, if it has.
func (s *Server) takePending(ctx *fasthttp.RequestCtx) *request {
	c := connOf(ctx.Conn())
	if c == nil {
		return nil
	}
	return c.pending.Swap(nil)
}

// start is begin and admit.
func (r *request) start() error {
	if r.conn != nil {
		r.conn.linger.Store(false)
	}
	if err := r.begin(); err != nil {
		return err
	}
	return r.admit()
}

// guarded calls f and turns a panic, which is a bug of ours, into an error for this one client.
func (r *request) guarded(f func(*request) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log().Error("panic while serving a request", "panic", p, "stack", string(debug.Stack()))
			err = errInternal
		}
	}()
	return f(r)
}

// handleError answers what fasthttp could not make a request of.
func (s *Server) handleError(ctx *fasthttp.RequestCtx, err error) {
	if r := s.takePending(ctx); r != nil {
		r.release()
	}
	r := s.acquire(ctx)
	r.rawPath = "/"
	e := errBadRequest
	var tooLong *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.As(err, &tooLong):
		e = errRequestHeaderTooLarge.with("MaxSizeAllowed", itoa(readBufferLen))
	case errors.As(err, &netErr) && netErr.Timeout():
		e = errRequestTimeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e = errIncompleteBody
	}
	s.log.Debug("bad request", "remote", ctx.RemoteAddr(), "code", e.code, "err", err)
	r.fail(e)
	if r.conn != nil {
		r.conn.linger.Store(true)
	}
	s.setIDs(ctx, &r.id)
	r.finish()
	r.release()
}

// httpLog passes what fasthttp has to say to the log.
type httpLog struct{ log *slog.Logger }

func (l httpLog) Printf(format string, args ...any) {
	l.log.Debug("http: " + fmt.Sprintf(format, args...))
}
