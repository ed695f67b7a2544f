package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"penstock/bench/client"
	"penstock/bench/hist"
)

// A recorder counts what happens. Workers share meters, but few to each, so that they seldom meet on a cache line.
type recorder struct {
	hosts  int
	shards int
	live   atomic.Bool // Whether the window is open: what begins while it is counts.

	mu       sync.Mutex // Guards the fields below; what meters hold is atomic.
	meters   map[meterName]*meter
	failures map[failureName]*failure
}

type meterName struct {
	kind        Kind
	host, shard int
}

// A meter counts one kind of request to one host.
type meter struct {
	ops, errors atomic.Uint64
	bytes       atomic.Int64
	latency     hist.Histogram // Of those that succeeded.
	first       hist.Histogram // Time to the first byte of the answer.
}

type failureName struct {
	kind  Kind
	host  int
	class string
}

// A failure is what went wrong in one way.
type failure struct {
	count  uint64
	sample string // The first of them, in full.
}

func newRecorder(hosts, workers int) *recorder {
	return &recorder{hosts: hosts, shards: min(max(workers/hosts, 1), 16), meters: make(map[meterName]*meter), failures: make(map[failureName]*failure)}
}

// meter returns the one that a worker counts in.
func (r *recorder) meter(kind Kind, host, worker int) *meter {
	name := meterName{kind, host, worker / r.hosts % r.shards}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.meters[name]
	if m == nil {
		m = new(meter)
		r.meters[name] = m
	}
	return m
}

func (r *recorder) fail(kind Kind, host int, err error) {
	name := failureName{kind, host, classify(err)}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.failures[name]
	if f == nil {
		f = &failure{sample: err.Error()}
		r.failures[name] = f
	}
	f.count++
}

// totals sums what requests have counted, without the groups that consist of them.
func (r *recorder) totals() (t total) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, m := range r.meters {
		if !name.kind.composite() {
			t.ops += m.ops.Load()
			t.errors += m.errors.Load()
			t.bytes += m.bytes.Load()
		}
	}
	return t
}

// A total is how much has been done by some moment.
type total struct {
	ops, errors uint64
	bytes       int64
}

// classify names the way in which a request failed, without what differs from one to the next.
func classify(err error) string {
	var status *client.StatusError
	var wrong *client.WrongAnswerError
	var dns *net.DNSError
	switch {
	case errors.As(err, &status):
		return strings.TrimSpace(strconv.Itoa(status.Status) + " " + status.Code)
	case errors.As(err, &wrong):
		return "wrong answer"
	case client.TimedOut(err), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "connection broken"
	case errors.As(err, &dns):
		return "host not found"
	case errors.Is(err, os.ErrClosed), errors.Is(err, net.ErrClosed):
		return "connection closed"
	}
	return "other"
}

// results sums the meters and failures of each kind and host, in the order of kinds and hosts.
func (r *recorder) results(kinds func(meterName) bool) []measured {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := make(map[Kind]*measured)
	for name, m := range r.meters {
		if !kinds(name) {
			continue
		}
		s := sums[name.kind]
		if s == nil {
			s = &measured{kind: name.kind, latency: new(hist.Snapshot), first: new(hist.Snapshot)}
			sums[name.kind] = s
		}
		s.ops += m.ops.Load()
		s.errors += m.errors.Load()
		s.bytes += m.bytes.Load()
		s.latency.Merge(m.latency.Snapshot())
		s.first.Merge(m.first.Snapshot())
	}
	var all []measured
	for kind := range NumKinds {
		if s := sums[kind]; s != nil && s.ops+s.errors > 0 {
			all = append(all, *s)
		}
	}
	return all
}

type measured struct {
	kind           Kind
	ops, errors    uint64
	bytes          int64
	latency, first *hist.Snapshot
}

// failed lists the failures, the most frequent first.
func (r *recorder) failed(hosts []string) []Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Failure
	for name, f := range r.failures {
		all = append(all, Failure{Kind: name.kind, Host: hosts[name.host], Class: name.class, Count: f.count, Sample: f.sample})
	}
	slices.SortFunc(all, compareFailures)
	return all
}

// since is time.Since that is never negative.
func since(begun, end time.Time) time.Duration { return max(end.Sub(begun), 0) }
