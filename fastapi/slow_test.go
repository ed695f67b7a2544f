package fastapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock/fastapi/sigv4"
)

func TestSlowHeaders(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.HeaderTimeout = 300 * time.Millisecond })
	c := h.dial()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // A byte now and then must not push the deadline.
		defer close(done)
		for _, b := range []byte("GET /bucket/k HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", 1000)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	r, took := h.answerOf(c)
	close(stop)
	<-done
	if r.status != 400 || r.code() != "RequestTimeout" || took > 5*time.Second {
		t.Errorf("got %v after %v", r, took)
	}
}

func TestSlowBodies(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.BodyGrace = 300 * time.Millisecond; o.MinBodyRate = 1 << 20 })
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("x", 1<<20)
	drip := func(c net.Conn, every time.Duration) (stop func()) {
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; i < len(body); i += 100 {
				if _, err := c.Write([]byte(body[i : i+100])); err != nil {
					return
				}
				select {
				case <-quit:
					return
				case <-time.After(every):
				}
			}
		}()
		return func() { close(quit); <-done }
	}
	for _, c := range []struct {
		name string
		run  func(c net.Conn) func()
	}{
		{"nothing", func(net.Conn) func() { return func() {} }},
		{"one byte, then nothing", func(c net.Conn) func() { c.Write([]byte("x")); return func() {} }},
		{"half, then nothing", func(c net.Conn) func() { io.WriteString(c, body[:len(body)/2]); return func() {} }},
		{"too slow on average", func(c net.Conn) func() { return drip(c, 20*time.Millisecond) }},
	} {
		q := h.build("PUT", "/bucket/k", []byte(body))
		conn := h.dial()
		conn.Write(q.head())
		stop := c.run(conn)
		r, took := h.answerOf(conn)
		stop()
		if r.status != 400 || r.code() != "RequestTimeout" || took > 5*time.Second {
			t.Errorf("%s: got %v after %v", c.name, r, took)
		}
		h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
	}
}

// TestCrowd: while others are refused for want of memory, a client that sends next to nothing makes room, whatever its payload.
func TestCrowd(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	body := []byte(strings.Repeat("x", 1<<20))
	begin := func(q *wireRequest) net.Conn {
		c := h.dial()
		c.Write(append(q.head(), q.body[:1000]...))
		return c
	}
	first := begin(h.build("PUT", "/bucket/k", body)) // Alone, it may be as slow as it likes.
	h.store.crowded.Store(true)
	plain := begin(h.build("PUT", "/bucket/k", body))
	framed := h.chunked(sigv4.StreamingSigned, "PUT", "/bucket/k", string(body), nil)
	framed.add("Content-Length", strconv.Itoa(len(framed.body)))
	chunked := begin(framed)
	for _, c := range []net.Conn{first, plain, chunked} {
		r, took := h.answerOf(c)
		if r.status != 503 || r.code() != "SlowDown" || took > 10*time.Second {
			t.Errorf("got %v after %v", r, took)
		}
	}
	h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
	h.must("PUT", "/bucket/k", string(body)) // Others do not notice.
}

// TestCrowdRate holds the border between those who make room and those who stay, in virtual time.
func TestCrowdRate(t *testing.T) {
	for _, c := range []struct {
		name    string
		src     slowSource
		crowded bool
		fails   bool
	}{
		{"fast enough", slowSource{time.Second, crowdRate}, true, false},
		{"too slow", slowSource{time.Second, crowdRate - 1}, true, true},
		{"too slow, but alone", slowSource{time.Second, crowdRate - 1}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pacedReader{src: c.src, conn: &deadlines{}, grace: 30 * time.Second, minRate: 4096, crowded: func() bool { return c.crowded }}
				var err error
				for i := 0; i < 20 && err == nil; i++ {
					_, err = p.Read(make([]byte, crowdRate))
					if since := p.waited; err != nil && since <= crowdGrace {
						t.Errorf("refused after %v", since)
					}
				}
				if (err != nil) != c.fails || err != nil && !sameError(err, errSlowDown) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// TestSlowReaderGivesMemoryBack: a client that reads nothing for a while holds no memory that others want, and gets every byte when it
// reads on, and of the next request behind it; however long the headers are that leave before it, with TLS and without.
func TestSlowReaderGivesMemoryBack(t *testing.T) {
	body := make([]byte, 24<<20)
	for i := range body {
		body[i] = byte(i * i >> 7)
	}
	run := func(t *testing.T, h *harness, dial func() net.Conn, padding int, ranges string, want []byte) {
		put := &session{h: h, conn: dial()}
		put.br = bufio.NewReader(put.conn)
		put.send(h.build("PUT", "/bucket", nil))
		if r := put.send(h.build("PUT", "/bucket/k", body, "x-amz-meta-padding", strings.Repeat("p", padding))); r.status != 200 {
			t.Fatal(r)
		}
		before := h.store.parked.Load()
		h.store.crowded.Store(true)
		c := dial()
		// Requests that come in one go are answered in one go, as far as fasthttp's buffer reaches.
		c.Write(append(h.build("GET", "/bucket/k", nil, "Range", ranges).head(), h.build("HEAD", "/bucket/k", nil).head()...))
		for end := time.Now().Add(60 * time.Second); h.store.parked.Load() == before; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatal("a client that reads nothing is never left waiting")
			}
		}
		h.store.crowded.Store(false) // Now it reads, and nobody else is in need.
		br := bufio.NewReader(c)
		if r := h.read(br, "GET"); r.status != 206 || r.body != string(want) {
			t.Errorf("%d bytes that are not the object's", len(r.body))
		}
		if r := h.read(br, "HEAD"); r.status != 200 {
			t.Errorf("behind it: %v", r)
		}
		// However long ago that was.
		c.Write(h.build("GET", "/bucket/k", nil, "Range", "bytes=1-1").head())
		if r := h.read(br, "GET"); r.body != string(body[1:2]) {
			t.Errorf("after it: %v", r)
		}
	}
	for _, padding := range []int{0, 1, 1000, 1900} {
		t.Run(fmt.Sprintf("padding=%d", padding), func(t *testing.T) {
			h := newHarness(t)
			run(t, h, h.dial, padding, "bytes=0-", body)
		})
	}
	t.Run("range", func(t *testing.T) {
		h := newHarness(t)
		run(t, h, h.dial, 0, "bytes=77777-", body[77777:])
	})
	t.Run("tls", func(t *testing.T) {
		h, dial := newTLSHarness(t)
		run(t, h, dial, 0, "bytes=0-", body)
	})
}

// sinkConn is a connection that takes everything and remembers its write deadline.
type sinkConn struct {
	net.Conn
	deadline time.Time
}

func (c *sinkConn) Write(p []byte) (int, error)        { return len(p), nil }
func (c *sinkConn) SetWriteDeadline(t time.Time) error { c.deadline = t; return nil }

// TestDeadlineAfterDownload: what is written next has as long as everything. fasthttp sets no deadline for "100 Continue".
func TestDeadlineAfterDownload(t *testing.T) {
	const stall = time.Hour
	for _, n := range []int{1, 8192, 8193, 1 << 20} {
		sink := &sinkConn{}
		c := &conn{Conn: sink}
		c.cork()
		w := newClientWriter(c, sink, stall)
		if m, err := w.TryWrite(make([]byte, n), func() bool { return true }); m != n || err != nil {
			t.Fatal(m, err)
		}
		if err, lost := w.end(nil); err != nil || lost != 0 {
			t.Fatal(err, lost)
		}
		if left := time.Until(sink.deadline); left < stall/2 {
			t.Errorf("%v are left after %d bytes", left, n)
		}
	}
}

// deadlines is a connection of which only the read deadline is used.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// slowSource gives n bytes after each pause.
type slowSource struct {
	pause time.Duration
	n     int
}

func (s slowSource) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.n, nil
}

func TestPacedReader(t *testing.T) {
	const grace, rate = 30 * time.Second, 4096
	for _, c := range []struct {
		name  string
		src   slowSource
		idle  time.Duration // Between reads: the time of the store, which is not the client's.
		reads int
		fails bool
	}{
		{"fast", slowSource{time.Millisecond, 4096}, 0, 100_000, false},
		{"just fast enough", slowSource{time.Second, rate}, 0, 1000, false},
		{"too slow on average", slowSource{time.Second, rate / 2}, 0, 1000, true},
		{"a byte at a time", slowSource{time.Second, 1}, 0, 40, true},
		{"slow for as long as the grace", slowSource{time.Second, 1}, 0, 29, false},
		{"fast, into a slow store", slowSource{time.Millisecond, 4096}, time.Hour, 100, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := &deadlines{}
				p := &pacedReader{src: c.src, conn: conn, grace: grace, minRate: rate}
				var err error
				for i := 0; i < c.reads && err == nil; i++ {
					_, err = p.Read(make([]byte, 4096))
					if now, last := time.Now(), conn.set[len(conn.set)-1]; last.Before(now.Add(grace/2-2*time.Second)) || last.After(now.Add(grace)) {
						t.Fatalf("read %d: the deadline is %v from now", i, last.Sub(now))
					}
					time.Sleep(c.idle)
				}
				if (err != nil) != c.fails || err != nil && !sameError(err, errRequestTimeout) {
					t.Errorf("got %v", err)
				}
				if c.idle == 0 && len(conn.set) > c.reads/10+2 {
					t.Errorf("%d deadlines were set for %d reads", len(conn.set), c.reads)
				}
			})
		})
	}
}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestIdleConnectionsAreClosed(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.IdleTimeout = 100 * time.Millisecond; o.HeaderTimeout = time.Second })
	idle := h.dial()
	idle.Write(h.build("GET", "/", nil).head())
	br := bufio.NewReader(idle)
	h.read(br, "GET")
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("after a request: got %v, want EOF", err)
	}
	if n, err := h.dial().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("without a request: got %d bytes, %v, want EOF", n, err)
	}
}

// TestReaderThatStopsReading: a client that reads nothing is cut, and what it held is given back.
func TestReaderThatStopsReading(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.WriteStall = 200 * time.Millisecond })
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", strings.Repeat("x", 32<<20))
	c := h.dial()
	c.(*net.TCPConn).SetReadBuffer(4096)
	c.Write(h.build("GET", "/bucket/k", nil).head())
	deadline := time.Now().Add(10 * time.Second)
	for {
		h.store.mu.Lock()
		open, calls := h.store.open, h.store.calls
		h.store.mu.Unlock()
		if open == 0 && calls > 4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d handles and bodies are still open", open)
		}
		runtime.Gosched()
	}
}
