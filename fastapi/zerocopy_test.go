package fastapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeKernel takes so much of each call, and notifies when the test wants it to.
type fakeKernel struct {
	t       *testing.T
	sent    []byte
	calls   uint32      // Number of the next call.
	take    int         // Bytes that one call takes.
	room    int         // Bytes until the socket is full.
	fail    []error     // Of the next calls, first to last; nil for none.
	pending [][2]uint32 // Notifications to be had.
	copied  bool        // What they say.
	stuck   func() bool // What happens while f waits; false for nothing, which is the deadline.
	resets  int
}

func (k *fakeKernel) run(f func() bool) error {
	for !f() {
		if k.stuck == nil || !k.stuck() {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

func (k *fakeKernel) send(p []byte) (int, error) {
	if len(k.fail) > 0 {
		err := k.fail[0]
		k.fail = k.fail[1:]
		if err != nil {
			return 0, err
		}
	}
	n := min(len(p), k.take, k.room)
	if n == 0 {
		return 0, unix.EAGAIN
	}
	k.sent = append(k.sent, p[:n]...)
	k.room -= n
	k.calls++
	return n, nil
}

func (k *fakeKernel) notices(f func(first, last uint32, copied bool)) error {
	for _, n := range k.pending {
		f(n[0], n[1], k.copied)
	}
	k.pending = nil
	return nil
}

func (k *fakeKernel) now(f func()) error { f(); return nil }
func (k *fakeKernel) awaitInput() error  { return nil }
func (k *fakeKernel) reset() error       { k.resets++; return nil }
func (k *fakeKernel) notify(a, b uint32) { k.pending = append(k.pending, [2]uint32{a, b}) }

// plainFake is what a zeroCopySender falls back on.
type plainFake struct{ sent *[]byte }

func (p plainFake) send(b []byte, _ func() func()) (int, error) {
	*p.sent = append(*p.sent, b...)
	return len(b), nil
}
func (p plainFake) try(b []byte) (int, error) { return p.send(b, nil) }
func (p plainFake) settle() error             { return nil }
func (p plainFake) abort() int                { return 0 }

// lender counts what is kept.
type lender struct{ kept, done int }

func (l *lender) keep() func() {
	l.kept++
	return func() { l.done++ }
}

func newFakeSender(t *testing.T, first uint32) (*zeroCopySender, *fakeKernel) {
	k := &fakeKernel{t: t, calls: first, take: math.MaxInt, room: math.MaxInt}
	return &zeroCopySender{kernel: k, plain: plainFake{&k.sent}, next: first}, k
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 7)
	}
	return b
}

// TestZeroCopyKeeps: a piece is kept until the last of its calls has had its notification, in whatever order they come, and across the end of
// the numbers.
func TestZeroCopyKeeps(t *testing.T) {
	for _, first := range []uint32{0, math.MaxUint32 - 2} {
		z, k := newFakeSender(t, first)
		k.take = 100 << 10
		p := pattern(512 << 10) // Six calls.
		var l lender
		if n, err := z.send(p, l.keep); n != len(p) || err != nil || !bytes.Equal(k.sent, p) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		for _, n := range [][2]uint32{{4, 4}, {0, 2}, {5, 5}} {
			k.notify(first+n[0], first+n[1])
			if err := z.settle(); !errors.Is(err, os.ErrDeadlineExceeded) || l.done != 0 {
				t.Fatalf("after notifications %v: %v, %d of %d released", n, err, l.done, l.kept)
			}
		}
		k.notify(first+3, first+3)
		if err := z.settle(); err != nil || l.kept != 1 || l.done != 1 || z.off {
			t.Fatalf("from %d: in the end: %v, %d of %d released, off %v", first, err, l.done, l.kept, z.off)
		}
		// Small pieces, and those that must not be kept, are copied, and so have no number.
		calls := k.calls
		z.send(p[:zeroCopyLeast-1], l.keep)
		z.send(p, nil)
		if l.kept != 1 || k.calls != calls {
			t.Errorf("%d pieces kept, %d more calls", l.kept-1, k.calls-calls)
		}
	}
}

// TestZeroCopySlow: a client that takes nothing leaves at most keptPieces pieces behind, one that ran into the deadline before it sent anything none.
func TestZeroCopySlow(t *testing.T) {
	z, k := newFakeSender(t, 0)
	var l lender
	p := pattern(1 << 20)
	k.room = 0
	if n, err := z.send(p, l.keep); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || l.kept != 1 || l.done != 1 {
		t.Errorf("%d bytes, %v, %d of %d released", n, err, l.done, l.kept)
	}
	for range 2 * keptPieces {
		k.room = 100 << 10
		z.send(p, l.keep)
	}
	if kept := l.kept - l.done; kept != keptPieces || len(z.kept) != keptPieces {
		t.Errorf("%d pieces are kept", kept)
	}
	// Once something is acknowledged it goes on.
	k.room = math.MaxInt
	k.stuck = func() bool { k.notify(0, 0); k.stuck = nil; return true }
	if n, err := z.send(p, l.keep); n != len(p) || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	k.stuck = func() bool { k.notify(1, k.calls-1); return true }
	if err := z.settle(); err != nil || l.kept != l.done {
		t.Errorf("%v, %d of %d released", err, l.done, l.kept)
	}
}

// TestZeroCopyOff: where the kernel copies after all, or cannot do it, the rest goes the ordinary way.
func TestZeroCopyOff(t *testing.T) {
	p := pattern(1 << 20)
	for name, set := range map[string]func(*fakeKernel){
		"copied": func(k *fakeKernel) {
			k.copied, k.take, k.room = true, 100<<10, 300<<10
			k.stuck = func() bool { k.notify(0, k.calls-1); return true }
		},
		"memlock":     func(k *fakeKernel) { k.fail = []error{unix.ENOBUFS} },
		"unsupported": func(k *fakeKernel) { k.fail = []error{unix.EINTR, unix.EOPNOTSUPP} },
		"half-way": func(k *fakeKernel) {
			k.take, k.fail = 100<<10, []error{nil, nil, unix.ENOBUFS, unix.ENOBUFS}
			k.stuck = func() bool { k.notify(0, 1); return true }
		},
	} {
		z, k := newFakeSender(t, 0)
		set(k)
		var l lender
		if n, err := z.send(p, l.keep); n != len(p) || err != nil || !bytes.Equal(k.sent, p) || !z.off {
			t.Errorf("%s: %d bytes, %v, off %v", name, n, err, z.off)
		}
		if err := z.settle(); err != nil || l.kept != 1 || l.done != 1 {
			t.Errorf("%s: %v, %d of %d released", name, err, l.done, l.kept)
		}
		if z.send(p, l.keep); l.kept != 1 {
			t.Errorf("%s: kept again", name)
		}
	}
	z, k := newFakeSender(t, 0)
	k.take, k.fail = 100<<10, []error{nil, nil, unix.ECONNRESET}
	var l lender
	if n, err := z.send(p, l.keep); n != 200<<10 || !errors.Is(err, unix.ECONNRESET) || l.done != 0 {
		t.Errorf("%d bytes, %v, %d released", n, err, l.done)
	}
	k.notify(0, 1)
	if left := z.abort(); left != 0 || l.done != 1 || k.resets != 1 {
		t.Errorf("%d left, %d released, %d resets", left, l.done, k.resets)
	}
	if left := z.abort(); left != 0 || k.resets != 1 {
		t.Errorf("%d left, %d resets", left, k.resets)
	}
}

// tcpPair returns the two ends of a connection over the loopback interface.
func tcpPair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	ln, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// realSender returns a sender on a real socket.
func realSender(t *testing.T, s *net.TCPConn) *zeroCopySender {
	t.Helper()
	z, ok := newZeroCopySender(&conn{Conn: s}).(*zeroCopySender)
	if !ok {
		t.Skip("this kernel does not send without copying")
	}
	return z
}

// TestZeroCopySocket sends over a real socket whose reader is slow, and overwrites what is sent as soon as it is released: the reader must see
// nothing of that. The loopback interface copies only what it delivers, so what waits for the reader is read from where it lies.
func TestZeroCopySocket(t *testing.T) {
	s, c := tcpPair(t)
	c.SetReadBuffer(64 << 10)
	z := realSender(t, s)
	want := pattern(16 << 20)
	read := make(chan []byte)
	go func() {
		var got bytes.Buffer
		buf := make([]byte, 100_000)
		for {
			n, err := c.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				read <- got.Bytes()
				return
			}
			time.Sleep(50 * time.Microsecond) // Slower than the sender, so that its socket fills up.
		}
	}()
	s.SetWriteDeadline(time.Now().Add(time.Minute))
	copied, late := 0, 0
	for off := 0; off < len(want); off += 1 << 20 {
		p := bytes.Clone(want[off:][:1<<20])
		sent := false
		n, err := z.send(p, func() func() {
			return func() {
				clear(p)
				if sent {
					late++
				}
			}
		})
		if n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		sent = true
		if z.off {
			copied++
			z.off = false // Again: here it is about what is kept.
		}
	}
	if err := z.settle(); err != nil {
		t.Fatal(err)
	}
	if copied == 0 && !z.off {
		t.Error("the loopback interface has not said that it copies")
	}
	if late == 0 {
		t.Error("nothing was ever kept for longer than the call")
	}
	s.Close()
	if got := <-read; !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, or others", len(got), len(want))
	}
}

// TestZeroCopyReset: when the client resets the connection, or reads no more and is reset, everything is released.
func TestZeroCopyReset(t *testing.T) {
	for _, byClient := range []bool{true, false} {
		t.Run(fmt.Sprintf("by client=%v", byClient), func(t *testing.T) {
			s, c := tcpPair(t)
			c.SetReadBuffer(16 << 10)
			z := realSender(t, s)
			var l lender
			s.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := z.send(make([]byte, 32<<20), l.keep); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("sent to nobody: %v", err)
			}
			if l.kept != 1 || l.done != 0 {
				t.Fatalf("%d of %d released while the client has not got them", l.done, l.kept)
			}
			if byClient {
				c.SetLinger(0)
				c.Close()
				s.SetWriteDeadline(time.Now().Add(time.Minute))
				z.off = false
				if _, err := z.send(make([]byte, 32<<20), l.keep); err == nil {
					t.Error("sent to nobody")
				}
			}
			if left := z.abort(); left != 0 || l.done != l.kept {
				t.Errorf("%d left, %d of %d released", left, l.done, l.kept)
			}
		})
	}
}

// TestZeroCopySend: a server that is told to sends large bodies so, and stops when it learns that they are copied. Clients see the bytes, whatever they do.
func TestZeroCopySend(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.ZeroCopySend = true })
	h.must("PUT", "/bucket", "")
	body := pattern(24 << 20)
	h.must("PUT", "/bucket/k", string(body))
	c := h.dial()
	defer c.Close()
	br := bufio.NewReader(c)
	get := func(off int) {
		c.Write(h.build("GET", "/bucket/k", nil, "Range", fmt.Sprintf("bytes=%d-", off)).head())
		if r := h.read(br, "GET"); r.status != 206 || r.body != string(body[off:]) {
			t.Errorf("%d: %d bytes from %d", r.status, len(r.body), off)
		}
	}
	get(0)
	get(100)
	get(len(body) - 300_000)
	h.srv.mu.Lock()
	ln := h.srv.listeners[0]
	h.srv.mu.Unlock()
	ln.mu.Lock()
	var own *conn
	for o := range ln.conns {
		if o.RemoteAddr().String() == c.LocalAddr().String() {
			own = o
		}
	}
	ln.mu.Unlock()
	c.Close()
	for gone := false; !gone; time.Sleep(time.Millisecond) { // Its goroutine owns the sender until then.
		ln.mu.Lock()
		_, there := ln.conns[own]
		ln.mu.Unlock()
		gone = !there
	}
	if z, ok := own.sender.(*zeroCopySender); !ok {
		t.Skip("this kernel does not send without copying")
	} else if z.next == 0 || !z.off {
		t.Errorf("%d calls without copying, off: %v", z.next, z.off)
	}
	// A client that goes away in the middle, and one that stops reading.
	for _, read := range []int64{0, 1 << 20} {
		c := h.dial()
		c.Write(h.build("GET", "/bucket/k", nil).head())
		io.CopyN(io.Discard, c, read)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	h.must("HEAD", "/bucket/k", "") // The harness looks whether anything is kept in the end.
}

// deafConn is a connection whose reads fail as they do when Go's poller has seen nothing but a notification.
type deafConn struct {
	net.Conn
	deaf int
}

func (c *deafConn) Read(p []byte) (int, error) {
	if c.deaf > 0 {
		c.deaf--
		return 0, &net.OpError{Op: "read", Err: errors.New("not pollable")}
	}
	return c.Conn.Read(p)
}

// TestReadAfterNotification: such a read is tried again, on a connection that has notifications.
func TestReadAfterNotification(t *testing.T) {
	s, c := tcpPair(t)
	z := realSender(t, s)
	own := &conn{Conn: &deafConn{Conn: s, deaf: 3}, sender: z}
	c.Write([]byte("hello"))
	p := make([]byte, 10)
	if n, err := own.Read(p); string(p[:n]) != "hello" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
	plain := &conn{Conn: &deafConn{Conn: s, deaf: 1}}
	if _, err := plain.Read(p); err == nil {
		t.Error("a failure was swallowed")
	}
}

// TestNotPollable keeps an eye on the text of an error that the net package gives no name.
func TestNotPollable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	texts := []string{"not pollable"}
	if !notPollable(&net.OpError{Err: errors.New(texts[0])}) || notPollable(&net.OpError{Err: os.ErrClosed}) || notPollable(io.EOF) || !slices.Contains(texts, "not pollable") {
		t.Error("the error is not recognised")
	}
}
