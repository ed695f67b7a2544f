package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Options configure the connections to one host.
type Options struct {
	Address     string      // host:port to connect to.
	Host        string      // The Host header; "" = Address.
	TLS         *tls.Config // nil = plain HTTP.
	Credentials Credentials
	Clock       func() time.Time // nil = time.Now.

	// ReadBuffer is the memory for what one read of the socket brings, which bounds how long a head may be: 0 = 64 KiB.
	ReadBuffer int

	// Stall is how long a request may stand still before it is an error: 0 = 30 s. It may take up to a quarter longer.
	Stall time.Duration
}

const (
	defaultReadBuffer = 64 << 10
	minReadBuffer     = 8 << 10
	defaultStall      = 30 * time.Second
	dialLimit         = 10 * time.Second
	// idleMin is how long a connection must have been idle for its end to be the server's good right and no error.
	idleMin = time.Second
)

// A Conn is a connection to a host. It is dialled when it is needed, and again after an error. One goroutine uses it.
type Conn struct {
	opts   Options
	signer *signer // nil = anonymous.

	conn       net.Conn
	used       time.Time // When the last answer came; zero on a connection that has brought none.
	deadline   time.Time // What conn has.
	out        outbox
	head       []byte
	fields     []field
	in         []byte // Memory for what is read.
	start, end int    // What has been read and not used: in[start:end].
}

// New returns a connection that is not dialled yet.
func New(o Options) *Conn {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Host == "" {
		o.Host = o.Address
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = defaultReadBuffer
	}
	if o.Stall == 0 {
		o.Stall = defaultStall
	}
	if o.TLS != nil && o.TLS.ServerName == "" {
		o.TLS = o.TLS.Clone()
		o.TLS.ServerName, _, _ = net.SplitHostPort(o.Address)
	}
	c := &Conn{opts: o, in: make([]byte, max(o.ReadBuffer, minReadBuffer))}
	if o.Credentials.AccessKey != "" {
		c.signer = newSigner(o.Credentials)
	}
	return c
}

// Close closes the connection; the next Do dials again.
func (c *Conn) Close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// Dial connects, if the connection is not up.
func (c *Conn) Dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var dialer net.Dialer
	dialer.SetMultipathTCP(false) // Another path through the kernel than the one that is to be measured.
	conn, err := dialer.DialContext(ctx, "tcp", c.opts.Address)
	if err != nil {
		return err
	}
	if c.opts.TLS != nil {
		secure := tls.Client(conn, c.opts.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return err
		}
		conn = secure
	}
	c.conn, c.used, c.deadline = conn, time.Time{}, time.Time{}
	c.start, c.end = 0, 0
	return nil
}

// extend moves the deadline of the connection, once a quarter of it has gone: it costs as much as signing does.
func (c *Conn) extend() {
	now := time.Now()
	if c.deadline.Sub(now) < c.opts.Stall {
		c.deadline = now.Add(c.opts.Stall + c.opts.Stall/4)
		c.conn.SetDeadline(c.deadline) // Fails only on a closed connection, and then so does what follows.
	}
}

// Do sends a request and reads its answer into resp. After an error resp has the status, if one came.
func (c *Conn) Do(ctx context.Context, r *Request, resp *Response) error {
	idle := c.conn != nil && !c.used.IsZero() && time.Since(c.used) >= idleMin
	err := c.once(ctx, r, resp)
	if idle && resp.Status == 0 && closedByPeer(err) {
		return c.once(ctx, r, resp)
	}
	return err
}

func (c *Conn) once(ctx context.Context, r *Request, resp *Response) error {
	resp.reset()
	if err := c.Dial(ctx); err != nil {
		return err
	}
	c.extend()
	sent := c.send(r)
	// A server may refuse an upload before it has read all of it, and then its answer says more than the broken connection does.
	err := c.receive(r, resp)
	if sent != nil {
		c.Close()
		if resp.Status == 0 || err == nil {
			return sent
		}
		return err
	}
	if err != nil && !resp.complete || resp.closing {
		c.Close()
	}
	c.used = time.Now()
	return err
}

func (c *Conn) send(r *Request) error {
	_, secure := c.conn.(*tls.Conn)
	c.out.reset(c.conn, !secure)
	c.head = c.appendHead(c.head[:0], r)
	if err := c.out.add(c.head); err != nil {
		return err
	}
	if r.Body != nil {
		if err := c.sendBody(r); err != nil {
			return err
		}
	}
	return c.out.flush()
}

// fill reads more behind what is there.
func (c *Conn) fill() error {
	if c.start == c.end {
		c.start, c.end = 0, 0
	} else if c.end == len(c.in) {
		if c.start == 0 {
			return errLongHead
		}
		c.end = copy(c.in, c.in[c.start:c.end])
		c.start = 0
	}
	n, err := c.conn.Read(c.in[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

var errLongHead = fmt.Errorf("the head of the answer is longer than the buffer")

// closedByPeer reports whether err says that the other side has closed the connection.
func closedByPeer(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// TimedOut reports whether err says that the other side stood still for too long.
func TimedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
