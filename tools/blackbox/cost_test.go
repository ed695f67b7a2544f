package blackbox

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/tools/clients/corpus"
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
	body := corpus.Body(1, l.size)
	// Readers read what was written, writers write over what was written: neither grows the store.
	keys := max(64<<20/l.size, l.clients)
	if l.size >= 64<<20 {
		keys = 8
	}
	keys = min(keys, 1024)
	for i := range keys {
		n.must(b, "PUT", fmt.Sprintf("/bkt/k%d", i), body)
	}
	b.ResetTimer()
	before := n.cpu(b)
	begun := time.Now()
	var next atomic.Int64
	var group sync.WaitGroup
	for range l.clients {
		group.Go(func() {
			w, err := n.dial()
			if err != nil {
				b.Error(err)
				return
			}
			defer w.Close()
			w.SetDeadline(time.Time{})
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := l.once(n.client, w, fmt.Sprintf("/bkt/k%d", int(i)%keys), body); err != nil {
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

// once sends one request and reads its answer, without keeping any of it.
func (l load) once(c *client, w *wire, target string, body []byte) error {
	q := c.unsigned(l.method, target, nil)
	if l.method == "PUT" {
		q.length = len(body)
	}
	c.sign(q, unsignedPayload)
	if _, err := w.Write(q.head()); err != nil {
		return err
	}
	if l.method == "PUT" {
		if _, err := w.Write(body); err != nil {
			return err
		}
	}
	resp, err := http.ReadResponse(w.in, &http.Request{Method: l.method})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s %s: %s", l.method, target, resp.Status)
	}
	return nil
}
