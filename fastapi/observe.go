package fastapi

import (
	"io"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"penstock/fastapi/admin"
)

// Every request is counted once, under its operation, when the last byte of its answer is sent or the connection is lost.

// tally counts the requests of one operation. Requests of different operations touch different cache lines.
type tally struct {
	calls, clientErrors, serverErrors, received, sent, nanos atomic.Uint64

	latency [latencyBuckets]atomic.Uint64
}

// latencyBuckets covers 16 µs to 2^28 µs (4.5 minutes) in quarters of an octave, within 19 % of the truth.
const (
	latencyBuckets = 24 * 4
	latencyUnit    = 4 * time.Microsecond // A quarter of the shortest duration that is told from a shorter one.
)

func latencyBucket(d time.Duration) int {
	quarters := uint64(max(d/latencyUnit, 4))
	octave := bits.Len64(quarters) - 3
	return min(octave*4+int(quarters>>octave&3), latencyBuckets-1)
}

// bucketBound returns the duration below which all of a bucket lies.
func bucketBound(i int) time.Duration { return time.Duration(5+i%4) << (i / 4) * latencyUnit }

// quantile returns a bound that the fraction q of the durations lies below.
func (t *tally) quantile(q float64) time.Duration {
	var counts [latencyBuckets]uint64
	total := uint64(0)
	for i := range counts {
		counts[i] = t.latency[i].Load()
		total += counts[i]
	}
	want, seen := uint64(q*float64(total)), uint64(0)
	for i, n := range counts {
		if seen += n; n > 0 && (seen > want || seen == total) {
			return bucketBound(i)
		}
	}
	return 0
}

// tallies returns a counter for each operation there is; nil stands for what could not be told.
func tallies() map[*operation]*tally {
	m := map[*operation]*tally{nil: {}, liveness: {}, readiness: {}, stsOperation: {}, metricsOperation: {}, preflight: {}}
	for i := range operations {
		m[&operations[i]] = new(tally)
	}
	for _, op := range adminOperations {
		m[op] = new(tally)
	}
	return m
}

// call is what is observed of one request, once its answer has begun.
type call struct {
	tally    *tally
	began    time.Time
	status   int
	received int64
	audit    *AuditEntry // nil where nobody listens.
	srv      *Server
}

func (r *request) observed() call {
	t := r.srv.tallies[r.op]
	return call{
		tally: t, began: r.began, status: r.ctx.Response.StatusCode(), received: r.received,
		audit: r.auditEntry(), srv: r.srv,
	}
}

// end counts the request. sent is the length of the body that went out.
func (c *call) end(sent int64) {
	took := time.Since(c.began)
	t := c.tally
	t.calls.Add(1)
	t.nanos.Add(uint64(took))
	t.latency[latencyBucket(took)].Add(1)
	switch {
	case c.status >= 500:
		t.serverErrors.Add(1)
	case c.status >= 400:
		t.clientErrors.Add(1)
	}
	if c.received > 0 {
		t.received.Add(uint64(c.received))
	}
	if sent > 0 {
		t.sent.Add(uint64(sent))
	}
	if c.audit != nil {
		c.audit.Sent, c.audit.Seconds = sent, took.Seconds()
		c.srv.tell(c.audit)
	}
}

// finish ends the observation of a request whose answer stands, or leaves that to the answer's stream.
func (r *request) finish() {
	c := r.observed()
	if r.stream != nil {
		r.stream.call = c
		return
	}
	sent := int64(0)
	if resp := &r.ctx.Response; !resp.SkipBody {
		sent = int64(len(resp.Body()))
	}
	c.end(sent)
}

// streamer writes an answer's body to the socket.
type streamer interface {
	io.Reader // Because fasthttp's body streams are readers; it uses the other.
	fasthttp.BodyWriterTo
}

// answerStream makes w the body of the answer, of n bytes or, if n is -1, of as many as it writes.
func (r *request) answerStream(w streamer, n int) {
	r.stream = &observedStream{streamer: w}
	r.ctx.Response.SetBodyStream(r.stream, n)
}

// observedStream counts what goes out, and ends the observation when fasthttp closes it, which it does whatever happens.
type observedStream struct {
	streamer
	call call
	sent int64
}

func (s *observedStream) Read(p []byte) (int, error) {
	n, err := s.streamer.Read(p)
	s.sent += int64(n)
	return n, err
}

func (s *observedStream) WriteTo(w io.Writer) (int64, error) {
	n, err := s.streamer.WriteTo(w)
	s.sent += n
	return n, err
}

func (s *observedStream) Close() error {
	if s.call.tally != nil {
		s.call.end(s.sent)
		s.call.tally = nil
	}
	if c, ok := s.streamer.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Operations implements admin.Front.
func (s *Server) Operations() []admin.Operation {
	var out []admin.Operation
	for op, t := range s.tallies {
		if t.calls.Load() == 0 {
			continue
		}
		name := "Unknown"
		if op != nil {
			name = op.name
		}
		out = append(out, admin.Operation{
			Name: name, Calls: t.calls.Load(), ClientErrors: t.clientErrors.Load(), ServerErrors: t.serverErrors.Load(),
			Received: t.received.Load(), Sent: t.sent.Load(), Seconds: time.Duration(t.nanos.Load()).Seconds(),
			P50: t.quantile(0.5).Seconds(), P99: t.quantile(0.99).Seconds(),
		})
	}
	slices.SortFunc(out, func(a, b admin.Operation) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Sockets implements admin.Front.
func (s *Server) Sockets() admin.Sockets {
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	s.mu.Unlock()
	var out admin.Sockets
	for _, l := range listeners {
		l.addTo(&out)
	}
	return out
}
