package fastapi

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"penstock/engine"
)

// clientWriter writes the body of an answer to a client, which is given up when it takes nothing for as long as stall.
//
// What is written lies in memory that others may want. So no wait for the client is longer than slowAfter before it is asked
// whether they do: on a plain connection by writing to the socket with short deadlines, around fasthttp, to which a write that was
// interrupted is the last one; under TLS, to which it is too, by waiting for room in the socket before each record.
type clientWriter struct {
	conn  net.Conn
	own   *conn     // What conn is, or is on; nil for the connection of a test.
	w     io.Writer // fasthttp's, in front of conn.
	stall time.Duration
	begun time.Time

	direct   bool      // The headers have left fasthttp, and the body goes around it.
	deadline time.Time // Of conn; zero as long as it is fasthttp's.
}

var _ engine.KeepingWriter = (*clientWriter)(nil)

const (
	// slowAfter is how long a client may take nothing before its memory can be given to others.
	slowAfter = time.Second
	// recordLen is what TLS encrypts at a time.
	recordLen = 16 << 10
)

func newClientWriter(c net.Conn, w io.Writer, stall time.Duration) *clientWriter {
	own := connOf(c)
	return &clientWriter{conn: c, own: own, w: w, stall: stall, begun: time.Now(), direct: own != nil && own.corked}
}

// Write writes all of p, however long the client takes for it as long as it takes some.
func (c *clientWriter) Write(p []byte) (int, error) { return c.TryWrite(p, nil) }

// TryWrite writes p, and stops half-way when the client is slow and wanted says so. A nil wanted never does.
func (c *clientWriter) TryWrite(p []byte, wanted func() bool) (int, error) {
	return c.TryKeep(p, wanted, nil)
}

// TryKeep is TryWrite that keeps p for as long as the network card needs it. A nil keep says that it must not.
func (c *clientWriter) TryKeep(p []byte, wanted func() bool, keep func() func()) (total int, err error) {
	if c.direct {
		return c.writeDirect(p, wanted, keep)
	}
	for total < len(p) {
		if ok, err := c.awaitRoom(wanted); err != nil || !ok {
			return total, err
		}
		n, err := c.writeThrough(p[total:min(total+recordLen, len(p))])
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// end leaves the connection as fasthttp expects it, which writes "100 Continue" without a deadline of its own, and nothing kept. err is
// how the body ended; an error ends the connection. lost counts pieces of memory that the network does not give back.
func (c *clientWriter) end(err error) (_ error, lost int) {
	if !c.direct {
		return err, 0
	}
	if now := time.Now(); err == nil && (!c.deadline.IsZero() || now.Sub(c.begun) > c.stall/8) {
		err = c.setDeadline(now, c.stall)
	}
	if err == nil {
		err = c.own.send().settle()
	}
	if err != nil {
		lost = c.own.send().abort()
	}
	return err, lost
}

func (c *clientWriter) setDeadline(now time.Time, wait time.Duration) error {
	c.deadline = now.Add(wait)
	return c.conn.SetWriteDeadline(c.deadline)
}

// writeThrough writes through fasthttp, all of p.
func (c *clientWriter) writeThrough(p []byte) (int, error) {
	// Moving the deadline costs a timer, so it moves once it is half used up.
	if now := time.Now(); c.deadline.Sub(now) < c.stall/2 {
		if err := c.setDeadline(now, c.stall); err != nil {
			return 0, err
		}
	}
	return c.w.Write(p)
}

// wake is the time after which a wait for the client is interrupted.
func (c *clientWriter) wake() time.Duration { return min(slowAfter, c.stall) }

// writeDirect writes to the socket.
func (c *clientWriter) writeDirect(p []byte, wanted func() bool, keep func() func()) (total int, err error) {
	if wanted != nil && keep != nil && wanted() {
		keep = nil // What is kept cannot be taken back when others want it.
	}
	if total, err = c.own.send().try(p); err != nil || total == len(p) {
		return total, err
	}
	now := time.Now()
	last := now // When the client took something.
	for {
		if left := c.deadline.Sub(now); left < c.wake()/2 || left > c.wake() {
			if err := c.setDeadline(now, c.wake()); err != nil {
				return total, err
			}
		}
		begun := now
		n, err := c.own.send().send(p[total:], keep)
		total += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return total, err
		}
		now = time.Now()
		if n > 0 {
			last = now
		}
		switch {
		case now.Sub(last) >= c.stall:
			return total, err
		case wanted != nil && float64(n) < crowdRate*now.Sub(begun).Seconds() && wanted():
			return total, nil
		}
	}
}

// awaitRoom waits until the socket takes more. It returns false when the client is slow and wanted says so.
func (c *clientWriter) awaitRoom(wanted func() bool) (bool, error) {
	if wanted == nil || c.own == nil {
		return true, nil
	}
	socket, ok := c.own.Conn.(syscall.Conn)
	if !ok {
		return true, nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false, err
	}
	room := false
	if err := raw.Control(func(fd uintptr) { room = hasRoom(fd) }); room || err != nil {
		return room, err
	}
	for begun := time.Now(); ; {
		if err := c.setDeadline(time.Now(), c.wake()); err != nil {
			return false, err
		}
		err := raw.Write(hasRoom)
		switch {
		case err == nil:
			return true, nil
		case !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) >= c.stall:
			return false, err
		case wanted():
			return false, nil
		}
	}
}

// hasRoom reports whether a socket takes something, be it only to say that the client has gone.
func hasRoom(fd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}
