package fastapi

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"penstock/fastapi/admin"
)

// metricsPath is where Prometheus scrapes. Like the health checks it is no S3 path: no bucket can have its first segment as its name.
const metricsPath = "/" + reservedBucket + "/metrics"

// metricsOperation answers a scrape. Unless metrics are open it takes a signed request that may do its action, or the bearer token.
var metricsOperation = func() *operation {
	op := newAdminOperation(row{name: "Metrics", level: levelAdmin, action: "admin:Metrics", handle: (*request).metrics})
	return &op
}()

// Metrics say who may read the metrics, besides administrators.
type Metrics struct {
	Open  bool   // Everybody.
	Token string // Whoever shows it as "Authorization: Bearer …"; empty is nobody.
}

// metricsFreely returns the operation of a scrape that needs no signature, or nil.
func (s *Server) metricsFreely(r *request) *operation {
	if r.rawPath != metricsPath || s.registry == nil || !isRead(r) {
		return nil
	}
	if s.opts.Metrics.Open || s.opts.Metrics.Token != "" && bearer(r.head.get("authorization"), s.opts.Metrics.Token) {
		return metricsOperation
	}
	return nil
}

func isRead(r *request) bool {
	method := string(r.ctx.Method())
	return method == "GET" || method == "HEAD"
}

// bearer compares without telling by its time how much of the token is right, or how long it is.
func bearer(header, token string) bool {
	scheme, shown, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got, want := sha256.Sum256([]byte(strings.TrimSpace(shown))), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// metrics answers in the text format of Prometheus, which every version of it reads.
func (r *request) metrics() error {
	text, err := r.srv.Metrics()
	if err != nil {
		return err
	}
	r.ctx.Response.Header.SetContentType(string(metricsFormat))
	r.ctx.Response.SetBodyRaw(text)
	return nil
}

var metricsFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

// Metrics implements admin.Front.
func (s *Server) Metrics() ([]byte, error) {
	families, err := s.registry.Gather()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, metricsFormat)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// newRegistry returns everything there is to scrape: what the front end counts, what the store counts, and what the runtime and the kernel
// count of the process. All of it is read when it is asked for; counting costs requests nothing more.
func (s *Server) newRegistry(store admin.Store) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		frontCollector{s},
		admin.NewCollector(store),
	)
	return registry
}

// frontCollector reads the counters of the front end.
type frontCollector struct{ s *Server }

const operationLabel = "operation"

var (
	requestsDesc = prometheus.NewDesc("penstock_requests_total",
		"Requests answered, by operation and by the class of the answer's status.", []string{operationLabel, "class"}, nil)
	durationDesc = prometheus.NewDesc("penstock_request_duration_seconds",
		"Time from a request's headers to the last byte of its answer.", []string{operationLabel}, nil)
	receivedDesc = prometheus.NewDesc("penstock_received_bytes_total", "Bytes of request bodies.", []string{operationLabel}, nil)
	sentDesc     = prometheus.NewDesc("penstock_sent_bytes_total", "Bytes of response bodies.", []string{operationLabel}, nil)

	connectionsDesc = prometheus.NewDesc("penstock_connections", "Connections open now.", nil, nil)
	acceptedDesc    = prometheus.NewDesc("penstock_connections_accepted_total", "Connections accepted.", nil, nil)
	refusedDesc     = prometheus.NewDesc("penstock_connections_refused_total", "Connections refused at the limit of connections or files.", nil, nil)
	socketCallsDesc = prometheus.NewDesc("penstock_socket_calls_total", "System calls on sockets.", []string{"call"}, nil)
	socketBytesDesc = prometheus.NewDesc("penstock_socket_bytes_total", "Bytes on the wire, headers and TLS included.", []string{"call"}, nil)
	uploadsDesc     = prometheus.NewDesc("penstock_bodies_receiving", "Request bodies being received now.", nil, nil)
	drainingDesc    = prometheus.NewDesc("penstock_draining", "1 while the node drains or stops: load balancers are told to go elsewhere.", nil, nil)
)

func (frontCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		requestsDesc, durationDesc, receivedDesc, sentDesc, connectionsDesc, acceptedDesc, refusedDesc, socketCallsDesc, socketBytesDesc, uploadsDesc, drainingDesc,
	} {
		ch <- desc
	}
}

func (c frontCollector) Collect(ch chan<- prometheus.Metric) {
	// Operations are a fixed table: their number bounds that of the series.
	names := make(map[string]*tallySum)
	for op, t := range c.s.tallies {
		name := "Unknown"
		if op != nil {
			name = op.name
		}
		sum := names[name]
		if sum == nil {
			sum = &tallySum{}
			names[name] = sum
		}
		sum.add(t)
	}
	for name, t := range names {
		// What was never called is shown for requests alone, at zero, so that a rate is known from the first call on.
		ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(t.calls-t.clientErrors-t.serverErrors), name, "success")
		ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(t.clientErrors), name, "client_error")
		ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(t.serverErrors), name, "server_error")
		if t.calls == 0 {
			continue
		}
		ch <- prometheus.MustNewConstHistogram(durationDesc, t.latencyCount, time.Duration(t.nanos).Seconds(), t.buckets(), name)
		ch <- prometheus.MustNewConstMetric(receivedDesc, prometheus.CounterValue, float64(t.received), name)
		ch <- prometheus.MustNewConstMetric(sentDesc, prometheus.CounterValue, float64(t.sent), name)
	}
	sockets := c.s.Sockets()
	for _, m := range []struct {
		desc   *prometheus.Desc
		kind   prometheus.ValueType
		value  float64
		labels []string
	}{
		{connectionsDesc, prometheus.GaugeValue, float64(sockets.Open), nil},
		{acceptedDesc, prometheus.CounterValue, float64(sockets.Accepted), nil},
		{refusedDesc, prometheus.CounterValue, float64(sockets.Refused), nil},
		{socketCallsDesc, prometheus.CounterValue, float64(sockets.Reads), []string{"read"}},
		{socketCallsDesc, prometheus.CounterValue, float64(sockets.Writes), []string{"write"}},
		{socketBytesDesc, prometheus.CounterValue, float64(sockets.ReadLen), []string{"read"}},
		{socketBytesDesc, prometheus.CounterValue, float64(sockets.WriteLen), []string{"write"}},
		{uploadsDesc, prometheus.GaugeValue, float64(c.s.uploads.Load()), nil},
		{drainingDesc, prometheus.GaugeValue, boolValue(c.s.Draining()), nil},
	} {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value, m.labels...)
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// tallySum is a reading of tallies.
type tallySum struct {
	calls, clientErrors, serverErrors, received, sent, nanos uint64

	latencyCount uint64
	latency      [latencyBuckets]uint64
}

func (s *tallySum) add(t *tally) {
	// Errors before calls, and each after it is counted in calls: the difference is never negative.
	s.clientErrors += t.clientErrors.Load()
	s.serverErrors += t.serverErrors.Load()
	s.calls += t.calls.Load()
	s.received += t.received.Load()
	s.sent += t.sent.Load()
	s.nanos += t.nanos.Load()
	for i := range s.latency {
		n := t.latency[i].Load()
		s.latency[i] += n
		s.latencyCount += n
	}
}

// buckets returns the cumulated counts at every octave.
func (s *tallySum) buckets() map[float64]uint64 {
	out := make(map[float64]uint64, latencyBuckets/4)
	total := uint64(0)
	for i, n := range s.latency {
		total += n
		if i%4 == 3 {
			out[bucketBound(i).Seconds()] = total
		}
	}
	return out
}
