package fastapi

import (
	"errors"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zeroCopySender has the kernel read what it sends from where it is, with MSG_ZEROCOPY, which saves the copy into the socket. Until a
// notification on the socket's error queue says that the network card and the other side have it, the memory must
// stay as it is.
//
// Where the kernel has to copy after all, for want of a card that gathers, or because the other side is on the same machine, all this
// costs more than an ordinary write. The notification says so, and then the connection is done with it. The loopback interface
// always copies.
type zeroCopySender struct {
	plain  sender
	kernel zeroCopyKernel
	off    bool
	next   uint32 // Number of the next call that sends.
	kept   []keptPiece
}

// keptPiece is memory that was sent with the calls numbered from first on.
type keptPiece struct {
	first, calls uint32
	left         uint32 // Calls without a notification.
	ended        bool   // There will be no more calls.
	done         func()
}

// zeroCopyKernel is what the sender needs of a socket.
type zeroCopyKernel interface {
	// run calls f until it returns true, each time when the socket takes more or has a notification. It ends with the write deadline.
	run(f func() bool) error
	// send sends without copying, and without waiting.
	send(p []byte) (int, error)
	// notices calls f for each notification there is: of calls from first to last, copied or not.
	notices(f func(first, last uint32, copied bool)) error
	// now calls f without waiting for anything.
	now(f func()) error
	// awaitInput waits a little until there is something to read.
	awaitInput() error
	// reset drops what was not sent yet, and says goodbye. Notifications still come.
	reset() error
}

const (
	// zeroCopyLeast is the least length that is sent without copying. Pinning pages and the notification cost as much as to copy some
	// 10 KiB, and to wait for them costs a round trip where there is nothing else to send.
	zeroCopyLeast = 256 << 10

	// keptPieces is how many pieces may be kept at once: one that is acknowledged, one that is sent, one that comes.
	keptPieces = 3

	// abortTime bounds the wait for the notifications of a connection that was reset. They come when the card is done.
	abortTime = 5 * time.Second
)

func (z *zeroCopySender) try(p []byte) (int, error) {
	if z.off {
		return z.plain.try(p)
	}
	return 0, nil
}

func (z *zeroCopySender) send(p []byte, keep func() func()) (total int, err error) {
	if z.off || keep == nil || len(p) < zeroCopyLeast {
		return z.plain.send(p, nil)
	}
	if _, err := z.plain.send(nil, nil); err != nil { // The headers.
		return 0, err
	}
	// First: where nothing came of a call that ran into the deadline, the next one begins here.
	if err := z.await(func() bool { return len(z.kept) < keptPieces }); err != nil {
		return 0, err
	}
	z.kept = append(z.kept, keptPiece{first: z.next, done: keep()})
	var failed error
	err = z.kernel.run(func() bool {
		var done bool
		total, done, failed = z.push(p, total)
		return done
	})
	if err = errors.Join(err, failed); err == nil && total < len(p) {
		var n int
		n, err = z.plain.send(p[total:], nil)
		total += n
	}
	z.kept[len(z.kept)-1].ended = true // Not sooner: p is needed until here in any case.
	z.release()
	return total, err
}

// push sends what the socket takes now of p from total on. It is done when that is all, or when the rest is to be sent otherwise.
func (z *zeroCopySender) push(p []byte, total int) (_ int, done bool, err error) {
	if err := z.reap(); err != nil {
		return total, true, err
	}
	for total < len(p) && !z.off {
		n, err := z.kernel.send(p[total:])
		switch {
		case err == nil:
			total += n
			z.next++
			piece := &z.kept[len(z.kept)-1]
			piece.calls, piece.left = piece.calls+1, piece.left+1
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return total, false, nil
		case err == unix.ENOBUFS && z.outstanding():
			return total, false, nil // The kernel wants to be rid of some notifications first.
		case err == unix.ENOBUFS || err == unix.EOPNOTSUPP || err == unix.EINVAL:
			z.off = true // The memlock limit, or a kind of socket that cannot.
		default:
			return total, true, err
		}
	}
	return total, true, nil
}

// outstanding reports whether some call has had no notification.
func (z *zeroCopySender) outstanding() bool {
	for i := range z.kept {
		if z.kept[i].left > 0 {
			return true
		}
	}
	return false
}

// reap takes in the notifications there are. It releases nothing that is being sent.
func (z *zeroCopySender) reap() error {
	err := z.kernel.notices(func(first, last uint32, copied bool) {
		z.off = z.off || copied
		for i := range z.kept {
			piece := &z.kept[i]
			// Numbers go round; differences do not, for only a few calls are under way.
			from, to := int32(first-piece.first), int32(last-piece.first)
			from, to = max(from, 0), min(to, int32(piece.calls)-1)
			if from <= to {
				piece.left -= uint32(to - from + 1)
			}
		}
	})
	z.release()
	return err
}

// release lets go of the pieces that all notifications have come for.
func (z *zeroCopySender) release() {
	kept := z.kept[:0]
	for _, piece := range z.kept {
		if piece.ended && piece.left == 0 {
			piece.done()
		} else {
			kept = append(kept, piece)
		}
	}
	clear(z.kept[len(kept):])
	z.kept = kept
}

// await takes in notifications until f is satisfied.
func (z *zeroCopySender) await(f func() bool) error {
	if f() {
		return nil
	}
	var failed error
	err := z.kernel.run(func() bool {
		failed = z.reap()
		return failed != nil || f()
	})
	return errors.Join(err, failed)
}

func (z *zeroCopySender) settle() error {
	return z.await(func() bool { return len(z.kept) == 0 })
}

func (z *zeroCopySender) abort() int {
	if len(z.kept) == 0 || z.kernel.reset() != nil {
		return len(z.kept)
	}
	for end := time.Now().Add(abortTime); len(z.kept) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		var failed error
		if err := z.kernel.now(func() { failed = z.reap() }); err != nil || failed != nil {
			break
		}
	}
	return len(z.kept)
}

// zeroCopySocket is a TCP socket.
type zeroCopySocket struct {
	conn *conn
	raw  syscall.RawConn
	fd   int // Valid while run and now call their function: anybody may close the connection.
}

// newZeroCopySender returns a sender for a connection, which copies if the socket cannot do without.
func newZeroCopySender(c *conn) sender {
	plain := newPlainSender(c)
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return plain
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return plain
	}
	var refused error
	if err := raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1) }); err != nil || refused != nil {
		return plain
	}
	return &zeroCopySender{plain: plain, kernel: &zeroCopySocket{conn: c, raw: raw}}
}

func (s *zeroCopySocket) run(f func() bool) error {
	// An error queue that is not empty is an event on the socket, so waiting for room ends with a notification too.
	return s.raw.Write(func(fd uintptr) bool {
		s.fd = int(fd)
		return f()
	})
}

func (s *zeroCopySocket) now(f func()) error {
	return s.raw.Control(func(fd uintptr) {
		s.fd = int(fd)
		f()
	})
}

func (s *zeroCopySocket) send(p []byte) (int, error) {
	n, err := unix.SendmsgN(s.fd, p, nil, nil, unix.MSG_ZEROCOPY|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err == nil {
		s.conn.traffic.writes.Add(1)
		s.conn.traffic.writeLen.Add(uint64(n))
	}
	return n, err
}

func (s *zeroCopySocket) notices(f func(first, last uint32, copied bool)) error {
	var oob [256]byte
	for {
		_, n, _, _, err := unix.Recvmsg(s.fd, nil, oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return err
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			ours := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR || m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
			if !ours || len(m.Data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
				continue
			}
			e := (*unix.SockExtendedErr)(unsafe.Pointer(unsafe.SliceData(m.Data)))
			if e.Origin == unix.SO_EE_ORIGIN_ZEROCOPY && e.Errno == 0 {
				f(e.Info, e.Data, e.Code&unix.SO_EE_CODE_ZEROCOPY_COPIED != 0)
			}
		}
	}
}

// reset disconnects the socket, which keeps its descriptor and with it the error queue.
func (s *zeroCopySocket) reset() error {
	var failed error
	err := s.raw.Control(func(fd uintptr) {
		unspecified := unix.RawSockaddr{Family: unix.AF_UNSPEC}
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
		if errno != 0 {
			failed = errno
		}
	})
	return errors.Join(err, failed)
}

// notPollable reports whether Go's poller has taken a notification, which comes alone, for a broken descriptor. That lasts until the next event.
func notPollable(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Err.Error() == "not pollable"
}

// awaitInput waits a little for something to read, without Go's poller.
func (s *zeroCopySocket) awaitInput() error {
	return s.raw.Control(func(fd uintptr) {
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20) // Whatever comes of it, the next read says.
	})
}
