package fastapi

import (
	"errors"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender passes on what is written to a plain connection, behind the headers that the connection holds. Each connection has one, and its goroutine owns it.
type sender interface {
	// try sends as much of p as the socket takes at once. It needs no deadline, each of which costs a timer.
	try(p []byte) (int, error)

	// send writes p, as far as it gets before the connection's write deadline. If it needs p for longer, it calls keep, and once it does
	// not need it any more, what keep returned. A nil keep says that p must not be kept.
	send(p []byte, keep func() (done func())) (int, error)

	// settle waits, until the write deadline, for all that it keeps.
	settle() error

	// abort resets the connection so that nothing is kept any more, and returns how much nevertheless is. What is then kept stays so for
	// ever: whoever would use the memory again might see it go out to the wrong client.
	abort() (left int)
}

// plainSender has the kernel copy what it is given. It keeps nothing.
type plainSender struct {
	conn *conn
	raw  syscall.RawConn

	// The call that is under way.

	step func(fd uintptr) bool // push, made once.
	p    []byte
	sent int // Of p.
	wait bool
	err  error
}

// wakeLen is what goes out with the headers of a large body. The kernel sends what a call brings once half of the client's window is full, or at the
// end of the call: so a client that is told nothing before a MiB has been copied begins to read when it might be half
// done, and on the loopback interface has the sender do its work (GET of 1 MiB: 0.33 ms of CPU, 0.45 ms in one call).
const wakeLen = 16 << 10

// newPlainSender returns a sender for a socket.
func newPlainSender(c *conn) sender {
	if socket, ok := c.Conn.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			s := &plainSender{conn: c, raw: raw}
			s.step = s.push
			return s
		}
	}
	return simpleSender{c}
}

func (s *plainSender) try(p []byte) (int, error) {
	n, err := s.call(p, false)
	if errors.Is(err, os.ErrDeadlineExceeded) { // An old one.
		err = nil
	}
	return n, err
}

func (s *plainSender) send(p []byte, _ func() func()) (int, error) { return s.call(p, true) }

func (s *plainSender) call(p []byte, wait bool) (int, error) {
	s.p, s.sent, s.wait, s.err = p, 0, wait, nil
	err := s.raw.Write(s.step)
	if err == nil {
		err = s.err
	}
	s.p = nil
	if err != nil {
		err = &net.OpError{Op: "write", Net: "tcp", Source: s.conn.LocalAddr(), Addr: s.conn.RemoteAddr(), Err: err}
	}
	return s.sent, err
}

// push sends what the socket takes. It reports true when that is all, or when it is not to be waited for the rest.
func (s *plainSender) push(fd uintptr) bool {
	c := s.conn
	c.corked = false
	for len(c.held) > 0 || s.sent < len(s.p) {
		piece := s.p[s.sent:]
		if len(c.held) > 0 && len(piece) > 8*wakeLen {
			piece = piece[:wakeLen]
		}
		n, errno := writev(fd, c.held, piece)
		switch errno {
		case 0:
			c.traffic.writes.Add(1)
			c.traffic.writeLen.Add(uint64(n))
			held := min(n, len(c.held))
			c.held = c.held[held:]
			s.sent += n - held
		case unix.EINTR:
		case unix.EAGAIN:
			return !s.wait
		default:
			s.err = os.NewSyscallError("writev", errno)
			return true
		}
	}
	return true
}

func (s *plainSender) settle() error { return nil }
func (s *plainSender) abort() int    { return 0 }

// writev writes two pieces in one call. Either may be empty.
func writev(fd uintptr, a, b []byte) (int, syscall.Errno) {
	var vec [2]unix.Iovec
	count := 0
	for _, p := range [...][]byte{a, b} {
		if len(p) > 0 {
			vec[count].Base = unsafe.SliceData(p)
			vec[count].SetLen(len(p))
			count++
		}
	}
	n, _, errno := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&vec)), uintptr(count))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// simpleSender is for connections that are no sockets: those of tests.
type simpleSender struct{ conn *conn }

func (s simpleSender) try([]byte) (int, error) { return 0, nil }

func (s simpleSender) send(p []byte, _ func() func()) (int, error) {
	c := s.conn
	c.corked = false
	if len(c.held) > 0 {
		n, err := c.Write(c.held)
		if c.held = c.held[n:]; err != nil {
			return 0, err
		}
	}
	return c.Write(p)
}

func (s simpleSender) settle() error { return nil }
func (s simpleSender) abort() int    { return 0 }
