package blackbox

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"penstock/tools/clients/corpus"
)

// TestSlowReaders has many clients read a large object at 1 KiB/s. Others must not notice.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	const memory = 256 << 20
	n := start(t, setup{memory: fmt.Sprint(memory)})
	n.must(t, "PUT", "/bkt", nil)
	slow, fast := corpus.Body(1, 24<<20), corpus.Body(2, 1<<20)
	n.must(t, "PUT", "/bkt/slow", slow)
	n.must(t, "PUT", "/bkt/fast", fast)
	base := n.usage(t)

	stop := make(chan struct{})
	var group sync.WaitGroup
	var mu sync.Mutex // Guards refused.
	refused := 0
	for range scale(400, 2000) {
		group.Go(func() {
			w, err := n.dial()
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			w.SetDeadline(time.Time{})
			w.Conn.(*net.TCPConn).SetReadBuffer(16 << 10)
			w.Write(n.signed("GET", "/bkt/slow", nil).bytes())
			status, err := w.in.ReadString('\n')
			if err != nil {
				t.Error(err)
				return
			}
			if status != "HTTP/1.1 200 OK\r\n" {
				mu.Lock()
				refused++
				mu.Unlock()
				return
			}
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					if _, err := io.CopyN(io.Discard, w.in, 1<<10); err != nil {
						t.Error(err)
						return
					}
				case <-stop:
					return
				}
			}
		})
	}
	counts := map[string]int{}
	var slowest time.Duration
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		for _, q := range []*request{n.signed("GET", "/bkt/fast", nil), n.signed("PUT", "/bkt/other", fast), n.signed("PUT", "/bkt/small", fast[:4096])} {
			begun := time.Now()
			r, err := n.do(q)
			if err != nil {
				t.Fatal(err)
			}
			slowest = max(slowest, time.Since(begun))
			counts[fmt.Sprintf("%s %s %d", q.method, q.target, r.status)]++
			if r.status == 200 && q.method == "GET" && !bytes.Equal(r.body, fast) {
				t.Fatal("wrong bytes")
			}
		}
	}
	during := n.usage(t)
	close(stop)
	group.Wait()
	t.Logf("before: %v; during: %v; %d refused; others: %v, slowest %v", base, during, refused, counts, slowest)
	n.settles(t, base)
}

// dripUntilCut writes one byte at a time until the server ends the connection, and returns its answer and the time that took.
func dripUntilCut(w *wire, every time.Duration, drip []byte) (*reply, time.Duration, error) {
	w.SetDeadline(time.Now().Add(2 * time.Minute))
	begun := time.Now()
	type result struct {
		r   *reply
		err error
	}
	answered := make(chan result, 1)
	go func() {
		r, err := readReply(w.in, "PUT")
		answered <- result{r, err}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
			w.Write(drip[i%len(drip):][:1])
		case got := <-answered:
			return got.r, time.Since(begun), got.err
		}
	}
}

// TestSlowSenders holds the node to its limits on the time that headers and bodies may take.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	base := n.usage(t)
	body := n.signed("PUT", "/bkt/slow", make([]byte, 1<<20))
	var group sync.WaitGroup
	for _, c := range []struct {
		name        string
		first       []byte
		every       time.Duration
		least, most time.Duration
	}{
		// The limits are 15 s for the headers and 30 s for a body beyond what it may take.
		{"no byte", nil, time.Hour, 14 * time.Second, 25 * time.Second},
		{"half a request line", []byte("GET /bkt"), time.Hour, 14 * time.Second, 25 * time.Second},
		{"headers without end", []byte("PUT /bkt/k HTTP/1.1\r\nHost: h\r\nX-A: "), 50 * time.Millisecond, 14 * time.Second, 25 * time.Second},
		{"no byte of a body", body.head(), time.Hour, 25 * time.Second, 45 * time.Second},
		{"a body that stands still", body.bytes()[:len(body.head())+100], time.Hour, 25 * time.Second, 45 * time.Second},
		{"a body that drips", body.head(), 50 * time.Millisecond, 25 * time.Second, 45 * time.Second},
	} {
		group.Go(func() {
			w, err := n.dial()
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			w.Write(c.first)
			r, took, err := dripUntilCut(w, c.every, []byte("a"))
			if took < c.least || took > c.most {
				t.Errorf("%s: cut after %v, want %v to %v: %v, %v", c.name, took, c.least, c.most, r, err)
			}
			if c.first != nil && (r == nil || r.status != 400 || r.code() != "RequestTimeout" || !r.closed) {
				t.Errorf("%s: answered %v, %v", c.name, r, err)
			}
		})
	}
	group.Wait()
	if r := n.get(t, "GET", "/bkt/slow", nil); r.status != 404 {
		t.Errorf("a body that never came is stored: %v", r)
	}
	n.settles(t, base)
}

// TestIdleConnections opens thousands of connections that never send a byte. They must cost little, and end at last.
func TestIdleConnections(t *testing.T) {
	if !*long {
		t.Skip("5,000 connections that idle for two minutes: -long")
	}
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	base := n.usage(t)
	const count = 5000
	for range count {
		w := n.mustDial(t)
		w.SetDeadline(time.Now().Add(3 * time.Minute))
	}
	eventually(t, time.Minute, func() string {
		if now := n.usage(t); now.files < base.files+count {
			return fmt.Sprintf("%d descriptors", now.files)
		}
		return ""
	})
	during := n.usage(t)
	perConn := (during.rss - base.rss) / count
	t.Logf("before: %v; during: %v; %d bytes a connection", base, during, perConn)
	if perConn > 24<<10 {
		t.Errorf("an idle connection takes %d bytes", perConn)
	}
	if r := n.get(t, "PUT", "/bkt/k", []byte("k")); r.status != 200 {
		t.Error(r)
	}
	n.closeIdle()
	eventually(t, 2*time.Minute, func() string {
		if now := n.usage(t); now.files > base.files+spareFiles {
			return fmt.Sprintf("%d descriptors", now.files)
		}
		return ""
	})
}
