package bench

import (
	"context"
	"math/rand/v2"
	"time"

	"penstock/bench/client"
)

// A worker sends one request after the other over a connection of its own.
type worker struct {
	run   *run
	index int
	host  int
	conn  *client.Conn
	rng   *rand.Rand

	req     client.Request
	resp    client.Response
	headers [2]client.Header
	path    []byte
	query   []byte
	text    []byte // For header values and bodies that are built for one request.

	meters [NumKinds]*meter
	due    time.Time // When the next request was due; zero when it was not.
	failed int       // Requests in a row.

	listing   listing // Where "list" is.
	checkPage func([]byte) error
	etags     [][]byte // Of the parts of an upload.

}

func (r *run) newWorker(index int) *worker {
	host := index % len(r.opts.Hosts)
	return &worker{
		run:   r,
		index: index,
		host:  host,
		conn:  client.New(r.clientOptions(host)),
		rng:   rand.New(rand.NewPCG(r.opts.Seed, uint64(index))),
	}
}

// Read buffers: a large one makes fewer system calls of a large body; thousands of connections need small ones.
const (
	minReadBuffer = 16 << 10
	maxReadBuffer = 256 << 10
	allReadBuffer = 1 << 30 // Of all connections together.
)

func (r *run) clientOptions(host int) client.Options {
	want := int64(minReadBuffer)
	if r.op.needs {
		want = min(r.opts.Sizes.Max()+4<<10, maxReadBuffer)
	}
	return client.Options{
		Address:     r.opts.Hosts[host],
		TLS:         r.opts.TLS,
		Credentials: r.opts.Credentials,
		ReadBuffer:  int(max(min(want, allReadBuffer/int64(r.opts.Concurrency)), minReadBuffer)),
	}
}

func (w *worker) meter(kind Kind) *meter {
	m := w.meters[kind]
	if m == nil {
		m = w.run.rec.meter(kind, w.host, w.index)
		w.meters[kind] = m
	}
	return m
}

// begin clears the request for the next use.
func (w *worker) begin(method string) *client.Request {
	w.req = client.Request{Method: method, WantLen: client.AnyLength}
	return &w.req
}

// object makes the request one about the n-th of some objects.
func (w *worker) object(method string, all *objects, n uint64) *client.Request {
	r := w.begin(method)
	w.path = all.appendPath(w.path[:0], n)
	r.Path = w.path
	return r
}

// do sends the request and counts it. bytes is what it moves when it succeeds.
func (w *worker) do(kind Kind, bytes int64) error {
	live := w.run.rec.live.Load()
	begun := time.Now()
	if !w.due.IsZero() {
		w.run.late.Record(since(w.due, begun))
		begun, w.due = w.due, time.Time{}
	}
	err := w.conn.Do(w.run.ctx, &w.req, &w.resp)
	if live {
		w.count(kind, begun, w.resp.First, bytes, err)
	}
	if err == nil {
		w.failed = 0
	} else {
		w.failed++
	}
	return err
}

// count counts what has just ended. first is when the first byte of an answer came, zero if that means nothing.
func (w *worker) count(kind Kind, begun, first time.Time, bytes int64, err error) {
	m := w.meter(kind)
	if err != nil {
		m.errors.Add(1)
		w.run.rec.fail(kind, w.host, err)
		return
	}
	m.latency.Record(since(begun, time.Now()))
	if !first.IsZero() {
		m.first.Record(since(begun, first))
	}
	m.bytes.Add(bytes)
	m.ops.Add(1)
}

// After an error a worker waits, longer after each: a server that refuses everything is not to be asked a million times a
// second.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

func (w *worker) pause(ctx context.Context) {
	if w.failed == 0 {
		return
	}
	timer := time.NewTimer(min(minPause<<min(w.failed-1, 10), maxPause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// loop sends requests until stop is done or there are none left.
func (w *worker) loop(stop context.Context, step func(*worker, uint64)) {
	for {
		n, due, ok := w.run.pacer.take(stop)
		if !ok {
			return
		}
		w.due = due
		step(w, n)
		w.pause(stop)
	}
}
