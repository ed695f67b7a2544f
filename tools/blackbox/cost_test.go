package blackbox

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bench "penstock/bench/client"
	"penstock/tools/harness"
)

// A load is what BenchmarkCost has many clients do at once.
type load struct {
	method  string
	size    int
	clients int
	tls     bool
}

func (l load) String() string {
	size := fmt.Sprintf("%dKiB", l.size>>10)
	if l.size >= 1<<20 {
		size = fmt.Sprintf("%dMiB", l.size>>20)
	}
	return fmt.Sprintf("%s/size=%s/clients=%d/tls=%v", l.method, size, l.clients, l.tls)
}

// BenchmarkCost measures the CPU time that the server process spends on a request, or on a GiB: what remains comparable on
// a machine that does other things too. Bodies are unsigned, so that no SHA-256 is part of it.
func BenchmarkCost(b *testing.B) {
	for _, l := range []load{
		{"PUT", 4 << 10, 16, false}, {"PUT", 4 << 10, 128, false}, {"GET", 4 << 10, 16, false}, {"GET", 4 << 10, 128, false}, {"HEAD", 4 << 10, 16, false},
		{"PUT", 64 << 10, 16, false}, {"GET", 64 << 10, 16, false},
		{"PUT", 1 << 20, 16, false}, {"GET", 1 << 20, 16, false}, {"PUT", 64 << 20, 8, false}, {"GET", 64 << 20, 8, false},
		{"PUT", 1 << 20, 16, true}, {"GET", 1 << 20, 16, true},
	} {
		b.Run(l.String(), func(b *testing.B) { l.measure(b) })
	}
}

func (l load) measure(b *testing.B) {
	n := start(b, setup{memory: "1GiB", secure: l.tls})
	n.must(b, "PUT", "/bkt", nil)
	// Readers read what was written, writers write over what was written: neither grows the store.
	keys := max(64<<20/l.size, l.clients)
	if l.size >= 64<<20 {
		keys = 8
	}
	keys = min(keys, 1024)
	pattern := bench.NewPattern(1)
	var bodies []*bench.Body
	conn := l.dial(b, n)
	for i := range keys {
		bodies = append(bodies, pattern.Body(uint64(i), int64(l.size)))
		if err := l.once(b.Context(), conn, "PUT", i, bodies[i]); err != nil {
			b.Fatal(err)
		}
	}
	conns := make([]*bench.Conn, l.clients)
	for i := range conns {
		conns[i] = l.dial(b, n)
	}
	b.ResetTimer()
	before := n.cpu(b)
	begun := time.Now()
	var next atomic.Int64
	var group sync.WaitGroup
	for _, conn := range conns {
		group.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				key := int(i) % keys
				if err := l.once(b.Context(), conn, l.method, key, bodies[key]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	cpu, took := n.cpu(b)-before, time.Since(begun)
	if l.size >= 1<<20 {
		b.SetBytes(int64(l.size))
		b.ReportMetric(cpu.Seconds()/(float64(b.N)*float64(l.size)/(1<<30)), "cpu-s/GiB")
	} else {
		b.ReportMetric(cpu.Seconds()*1e3/float64(b.N), "cpu-ms/op")
		b.ReportMetric(float64(b.N)/took.Seconds(), "op/s")
	}
}

// dial connects a client that costs less than the server, and counts no answer that is not right.
func (l load) dial(b *testing.B, n *node) *bench.Conn {
	b.Helper()
	o := bench.Options{
		Address:     n.addr,
		Credentials: bench.Credentials{AccessKey: harness.AccessKey, Secret: harness.SecretKey, Region: "us-east-1"},
		ReadBuffer:  min(l.size+4<<10, 256<<10),
	}
	if l.tls {
		o.TLS = n.tls
	}
	conn := bench.New(o)
	if err := conn.Dial(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// once sends one request and reads its answer, comparing length and bytes.
func (l load) once(ctx context.Context, conn *bench.Conn, method string, key int, body *bench.Body) error {
	q := bench.Request{Method: method, Path: fmt.Appendf(nil, "/bkt/k%d", key)}
	switch method {
	case "PUT":
		q.Body = body
	case "GET":
		q.Want, q.WantLen = body, body.Len()
	case "HEAD":
		q.WantLen = body.Len()
	}
	var answer bench.Response
	return conn.Do(ctx, &q, &answer)
}
