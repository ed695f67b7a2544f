package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"penstock/bench/hist"
)

// reportFormat names the layout of the JSON that a Report is stored as.
const reportFormat = "penstock-bench-1"

// A Report is what came of a run.
type Report struct {
	Format  string  `json:"format"`
	Machine Machine `json:"machine"` // Of the load generator.
	Load    Load    `json:"load"`

	Begun       time.Time `json:"begun"` // The window.
	Ended       time.Time `json:"ended"`
	Interrupted bool      `json:"interrupted,omitempty"`

	Results  []Result     `json:"results"` // By kind.
	Hosts    []HostResult `json:"hosts"`
	Failures []Failure    `json:"failures,omitempty"`
	Samples  []Sample     `json:"samples"` // One a second.
	Late     *Lateness    `json:"late,omitempty"`
	Costs    Costs        `json:"costs"`
	Extra    Extra        `json:"extra"`
	Ceilings []Ceiling    `json:"ceilings,omitempty"` // The one that binds first.

	Generators int `json:"generators"` // Reports that were merged into this one, itself included.
}

// A Load is what was asked of the server, in words and numbers that two reports can be compared by.
type Load struct {
	Op          string     `json:"op"`
	Size        string     `json:"size"`
	Payload     string     `json:"payload"`
	TLS         bool       `json:"tls"`
	Cache       CacheState `json:"cache"`
	Concurrency int        `json:"concurrency"`
	Objects     int        `json:"objects"`
	Rate        float64    `json:"rate,omitempty"`
	Verified    bool       `json:"verified"`
	Details     string     `json:"details,omitempty"` // What else the operation was told.
}

// A Result is what was measured of one kind of request.
type Result struct {
	Kind      Kind           `json:"kind"`
	Ops       uint64         `json:"ops"`
	Errors    uint64         `json:"errors"`
	Bytes     int64          `json:"bytes"`
	Latency   *hist.Snapshot `json:"latency"`    // From when the request was begun, or with a rate was due, to the last byte of the answer.
	FirstByte *hist.Snapshot `json:"first_byte"` // To the first byte of the answer.
}

// A HostResult is the part that one host had.
type HostResult struct {
	Host    string   `json:"host"`
	Results []Result `json:"results"`
}

// A Failure is one way in which requests failed.
type Failure struct {
	Kind   Kind   `json:"kind"`
	Host   string `json:"host"`
	Class  string `json:"class"`
	Count  uint64 `json:"count"`
	Sample string `json:"sample"`
}

func compareFailures(a, b Failure) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Class, b.Class))
}

// A Sample is the throughput of about a second.
type Sample struct {
	At     float64 `json:"at_s"` // Its end, from the beginning of the window.
	Ops    float64 `json:"ops_per_s"`
	Bytes  float64 `json:"bytes_per_s"`
	Errors uint64  `json:"errors,omitempty"`
}

// speed is what has to be stable: bytes where there are any.
func (s Sample) speed() float64 {
	if s.Bytes > 0 {
		return s.Bytes
	}
	return s.Ops
}

// Lateness is how well a rate was kept: how long after they were due requests were sent.
type Lateness struct {
	Delay  *hist.Snapshot `json:"delay"`
	Unsent int            `json:"unsent"` // Due, and never sent: no worker was free.
}

// Extra is what single operations report beside requests.
type Extra struct {
	Epoch      *EpochExtra      `json:"epoch,omitempty"`
	Checkpoint *CheckpointExtra `json:"checkpoint,omitempty"`
}

func newReport(o *Options) *Report {
	details := ""
	if op := operations[o.Op]; op.details != nil {
		details = op.details(o)
	}
	return &Report{
		Format:  reportFormat,
		Machine: ThisMachine(),
		Load: Load{
			Op: o.Op, Size: o.Sizes.String(), Payload: payloadName(o), TLS: o.TLS != nil, Cache: o.Cache, Concurrency: o.Concurrency,
			Objects: o.Objects, Rate: o.Rate, Verified: o.Verify, Details: details,
		},
		Generators: 1,
	}
}

// report fills in what the workers counted.
func (r *run) report(report *Report) {
	report.Results = resultsOf(r.rec.results(func(meterName) bool { return true }))
	for i, host := range r.opts.Hosts {
		report.Hosts = append(report.Hosts, HostResult{host, resultsOf(r.rec.results(func(name meterName) bool { return name.host == i }))})
	}
	report.Failures = r.rec.failed(r.opts.Hosts)
	report.Samples = r.samples
	if r.opts.Rate > 0 {
		report.Late = &Lateness{Delay: r.late.Snapshot(), Unsent: r.pacer.waiting()}
	}
	report.Extra = r.extra
	report.Ceilings = report.ceilings(&r.opts, r.opts.Roof)
}

func resultsOf(all []measured) (results []Result) {
	for _, m := range all {
		results = append(results, Result{m.kind, m.ops, m.errors, m.bytes, m.latency, m.first})
	}
	return results
}

// Seconds is the length of the window.
func (r *Report) Seconds() float64 { return r.Ended.Sub(r.Begun).Seconds() }

// SecondsOf is how long requests of a kind were sent: a part of the window where it has parts.
func (r *Report) SecondsOf(kind Kind) float64 {
	c := r.Extra.Checkpoint
	switch {
	case c == nil:
		return r.Seconds()
	case kind == Get:
		return r.Seconds() - c.Seconds
	}
	return c.Seconds
}

// Requests counts those that succeeded and those that failed.
func (r *Report) Requests() (ops, errors uint64) {
	for _, result := range r.Results {
		if !result.Kind.composite() {
			ops += result.Ops
			errors += result.Errors
		}
	}
	return ops, errors
}

// Bytes is what requests moved.
func (r *Report) Bytes() (n int64) {
	for _, result := range r.Results {
		if !result.Kind.composite() {
			n += result.Bytes
		}
	}
	return n
}

// WriteJSON writes the report, with all it counted.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	return encoder.Encode(r)
}

// ReadReport reads what WriteJSON wrote.
func ReadReport(r io.Reader) (*Report, error) {
	var report Report
	decoder := json.NewDecoder(r)
	if err := decoder.Decode(&report); err != nil {
		return nil, fmt.Errorf("not a report: %w", err)
	}
	if report.Format != reportFormat {
		return nil, fmt.Errorf("not a report of a kind known here: its format is %q, not %q", report.Format, reportFormat)
	}
	for _, result := range report.Results {
		if result.Latency == nil || result.FirstByte == nil {
			return nil, fmt.Errorf("not a report: %s has no latencies", result.Kind)
		}
	}
	return &report, nil
}

// payloadName is what uploads of a load are protected by.
func payloadName(o *Options) string {
	name := payloadNames[o.Payload.Mode]
	if o.Payload.Mode.Streaming() {
		name += " of " + FormatBytes(o.Payload.ChunkLen)
	}
	if o.Payload.Mode.HasTrailer() {
		name += ", " + o.Payload.Checksum
	}
	if o.Credentials.AccessKey == "" {
		name = strings.TrimPrefix(name+", anonymous", ", ")
	}
	return name
}
