package fastapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"penstock/fastapi/admin"
)

// Listen opens a TCP listener for a Server. Multipath TCP, which Go would use by default, is off: its sockets refuse
// zero-copy sends, and S3 clients do not speak it.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	return config.Listen(ctx, "tcp", address)
}

// conn is one connection.
type conn struct {
	net.Conn
	listener *listener

	// pace is who waits for bytes of a body; owned by the connection's one goroutine.
	pace *pacedReader

	// pending is the request that the expectation handler has begun. Whoever takes it out releases it: the handler, or
	// Close when the client went away before its body was asked for.
	pending atomic.Pointer[request]
	// linger asks Close to wait for the client: it was answered while it was still sending.
	linger atomic.Bool
	closed sync.Once

	traffic traffic

	// Owned by the connection's one goroutine.

	sender sender // nil before the first large body.
	corked bool   // What is written now waits in held for the body that comes behind it.
	held   []byte // Headers of an answer.
}

// cork has what is written from now on leave with the first bytes that the connection's sender sends: an answer's headers with its body, in
// one system call.
func (c *conn) cork() { c.corked, c.held = true, nil }

// send returns what passes large bodies on.
func (c *conn) send() sender {
	if c.sender == nil {
		c.sender = newPlainSender(c)
		if c.listener != nil && c.listener.zeroCopy {
			c.sender = newZeroCopySender(c)
		}
	}
	return c.sender
}

// traffic counts what one connection does, so that connections do not share a counter.
type traffic struct{ reads, writes, readLen, writeLen atomic.Uint64 }

func (t *traffic) addTo(s *admin.Sockets) {
	s.Reads, s.ReadLen = s.Reads+t.reads.Load(), s.ReadLen+t.readLen.Load()
	s.Writes, s.WriteLen = s.Writes+t.writes.Load(), s.WriteLen+t.writeLen.Load()
}

const (
	// lingerTime and lingerLen bound what is read from a client that was answered before it had sent everything.
	// Closing at once would reset the connection, and the reset can overtake the answer.
	lingerTime = time.Second
	lingerLen  = 8 << 20
)

// Read reads. Whoever waits for a body is asked now and then whether to wait on. That is done here, below TLS and fasthttp,
// because to both an error ends the connection.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		c.traffic.reads.Add(1)
		c.traffic.readLen.Add(uint64(n))
		if z, ok := c.sender.(*zeroCopySender); ok && notPollable(err) && z.kernel.awaitInput() == nil {
			continue
		}
		if n > 0 || c.pace == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if err := c.pace.wait(); err != nil {
			return 0, err
		}
	}
}

// Write writes.
func (c *conn) Write(p []byte) (int, error) {
	if c.corked {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	c.traffic.writes.Add(1)
	c.traffic.writeLen.Add(uint64(n))
	return n, err
}

// Close closes the connection, after the client has had the chance to read the answer to a body that was not read.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.closed.Do(func() {
		if c.linger.Load() {
			c.drain()
		}
		err = c.Conn.Close()
		if r := c.pending.Swap(nil); r != nil {
			r.release()
		}
		c.listener.forget(c)
	})
	return err
}

func (c *conn) drain() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	io.CopyN(io.Discard, c.Conn, lingerLen) // Whatever ends it, the connection is closed next.
}

// connOf finds the conn below what fasthttp was given; nil for the connection of a test.
func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

// listener hands out tracked connections, up to a limit. fasthttp has a limit too, but answers in plain text.
type listener struct {
	net.Listener
	max int
	log *slog.Logger

	zeroCopy bool // See Options.ZeroCopySend.

	// maxFile is the highest descriptor that a connection may have. The system gives out the lowest free one, so it
	// tells how many are open: those above are left to the drives and the index.
	maxFile uintptr

	mu                sync.Mutex // Guards the fields below.
	conns             map[*conn]struct{}
	accepted, refused uint64
	past              admin.Sockets // What connections that are closed have done.
}

func newListener(ln net.Listener, max int, log *slog.Logger) *listener {
	return &listener{Listener: ln, max: max, maxFile: maxConnFile(), log: log, conns: make(map[*conn]struct{})}
}

// spareFiles is how many descriptors are left to the drives and the index where the limit of the process is large: a
// new volume takes one on each of up to 32 drives, and the index some for its tables. Of a small limit it is an eighth.
const spareFiles = 1024

// maxConnFile returns listener.maxFile for this process.
func maxConnFile() uintptr {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return ^uintptr(0)
	}
	return uintptr(limit.Cur - min(limit.Cur/8, spareFiles))
}

// Accept returns the next connection within the limit. One beyond it is told to slow down.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if passing(err) {
			// An error would end the server. Nothing tells when it has passed, and a connection that waits costs nothing.
			l.log.Warn("connections cannot be accepted now", "err", err)
			time.Sleep(acceptRetry)
			continue
		}
		if err != nil {
			return nil, err
		}
		own := &conn{Conn: c, listener: l}
		l.mu.Lock()
		full := len(l.conns) >= l.max || fileOf(c) > l.maxFile
		if full {
			l.refused++
		} else {
			l.accepted++
			l.conns[own] = struct{}{}
		}
		l.mu.Unlock()
		if !full {
			return own, nil
		}
		// The socket is new, so its send buffer takes this at once; with TLS it is a fault of the handshake, as good as any.
		c.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(c, tooManyConns)
		c.Close()
	}
}

const acceptRetry = 100 * time.Millisecond

// passing reports whether a failure to accept says nothing about the listener: the client was gone already, or the
// process or the machine is short of something that comes back.
func passing(err error) bool {
	for _, e := range [...]error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// fileOf returns the descriptor of a connection, 0 if it has none.
func fileOf(c net.Conn) (fd uintptr) {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			raw.Control(func(f uintptr) { fd = f })
		}
	}
	return fd
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	delete(l.conns, c)
	c.traffic.addTo(&l.past)
	l.mu.Unlock()
}

// addTo adds what the listener's connections have done.
func (l *listener) addTo(s *admin.Sockets) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Accepted, s.Refused, s.Open = s.Accepted+l.accepted, s.Refused+l.refused, s.Open+uint64(len(l.conns))
	s.Reads, s.ReadLen = s.Reads+l.past.Reads, s.ReadLen+l.past.ReadLen
	s.Writes, s.WriteLen = s.Writes+l.past.Writes, s.WriteLen+l.past.WriteLen
	for c := range l.conns {
		c.traffic.addTo(s)
	}
}

// closeAll cuts every connection.
func (l *listener) closeAll() {
	l.mu.Lock()
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.linger.Store(false)
		c.Conn.Close() // Its goroutine wakes up, fails and closes c itself.
	}
}

// wait returns once every connection's goroutine has closed it, or when ctx ends. It reports whether all are closed.
func (l *listener) wait(ctx context.Context) bool {
	for {
		l.mu.Lock()
		left := len(l.conns)
		l.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

const tooManyConns = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: application/xml\r\nContent-Length: 148\r\n\r\n" +
	`<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
	`<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message><Resource>/</Resource></Error>`
