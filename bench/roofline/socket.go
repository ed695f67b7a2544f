package roofline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pieceLen    = 256 << 10 // Of a write to a socket; larger ones cost no less.
	exchangeLen = 300       // Of a small request and of its answer.
)

// socketPair is a TCP connection over loopback, both ends blocking: no scheduler of ours is in the figures.
func socketPair() (a, b int, err error) {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}); err != nil {
		return 0, 0, err
	}
	if err := unix.Listen(listener, 1); err != nil {
		return 0, 0, err
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return 0, 0, err
	}
	if a, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	if err = retryEINTR(func() error { return unix.Connect(a, address) }); err != nil {
		unix.Close(a)
		return 0, 0, err
	}
	err = retryEINTR(func() (err error) { b, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); return err })
	if err != nil {
		unix.Close(a)
		return 0, 0, err
	}
	for _, fd := range []int{a, b} {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // Without it the figures are worse, and true.
	}
	return a, b, nil
}

func retryEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// measureSockets measures what a core sends, what it receives, and what a small exchange costs it.
func (h *Host) measureSockets(ctx context.Context, each time.Duration) error {
	for range rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		send, receive, err := stream(each / rounds)
		if err != nil {
			return err
		}
		h.Send, h.Receive = max(h.Send, send), max(h.Receive, receive)
		exchange, err := exchanges(each / rounds)
		if err != nil {
			return err
		}
		if h.Exchange == 0 || exchange < h.Exchange {
			h.Exchange = exchange
		}
	}
	return nil
}

// An end is what one thread did at its end of a connection.
type end struct {
	count int // Bytes, or exchanges.
	spent time.Duration
	err   error
}

// stream sends from one thread to another for a while, and returns the bytes a second of CPU time of both.
func stream(each time.Duration) (send, receive float64, err error) {
	a, b, err := socketPair()
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(b)
	received := make(chan end, 1)
	go func() { received <- onThread(func() (int, error) { return drain(b) }) }()
	sent := onThread(func() (int, error) {
		piece := make([]byte, pieceLen)
		total := 0
		for begun := time.Now(); time.Since(begun) < each; {
			n, err := writeAll(a, piece)
			total += n
			if err != nil {
				return total, err
			}
		}
		return total, nil
	})
	unix.Close(a) // Ends the other side.
	got := <-received
	if err := errors.Join(sent.err, got.err); err != nil {
		return 0, 0, err
	}
	if sent.count != got.count {
		return 0, 0, fmt.Errorf("%d bytes were sent, %d came", sent.count, got.count)
	}
	return float64(sent.count) / sent.spent.Seconds(), float64(got.count) / got.spent.Seconds(), nil
}

func onThread(f func() (int, error)) (e end) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun := threadCPU()
	e.count, e.err = f()
	e.spent = max(threadCPU()-begun, 1)
	return e
}

func drain(fd int) (total int, err error) {
	buf := make([]byte, pieceLen)
	for {
		n, err := read(fd, buf)
		total += n
		if n == 0 || err != nil {
			return total, err
		}
	}
}

func read(fd int, b []byte) (n int, err error) {
	err = retryEINTR(func() (err error) { n, err = unix.Read(fd, b); return err })
	return max(n, 0), err
}

func writeAll(fd int, b []byte) (total int, err error) {
	for len(b) > 0 {
		n := 0
		if err := retryEINTR(func() (err error) { n, err = unix.Write(fd, b); return err }); err != nil {
			return total, err
		}
		total += n
		b = b[n:]
	}
	return total, nil
}

// exchanges sends small requests and answers to and fro, and returns the CPU time of the answering side for each.
func exchanges(each time.Duration) (cost float64, err error) {
	a, b, err := socketPair()
	if err != nil {
		return 0, err
	}
	defer unix.Close(b)
	answered := make(chan end, 1)
	go func() {
		answered <- onThread(func() (count int, err error) {
			buf := make([]byte, exchangeLen)
			for {
				if n, err := readFull(b, buf); n == 0 || err != nil {
					return count, err
				}
				if _, err := writeAll(b, buf); err != nil {
					return count, err
				}
				count++
			}
		})
	}()
	asked := onThread(func() (int, error) {
		buf := make([]byte, exchangeLen)
		for begun := time.Now(); time.Since(begun) < each; {
			if _, err := writeAll(a, buf); err != nil {
				return 0, err
			}
			if _, err := readFull(a, buf); err != nil {
				return 0, err
			}
		}
		return 0, nil
	})
	unix.Close(a)
	done := <-answered
	if err := errors.Join(asked.err, done.err); err != nil || done.count == 0 {
		return 0, errors.Join(err, fmt.Errorf("%d exchanges", done.count))
	}
	return done.spent.Seconds() / float64(done.count), nil
}

// readFull fills b; it returns 0 at the end of the stream.
func readFull(fd int, b []byte) (total int, err error) {
	for total < len(b) {
		n, err := read(fd, b[total:])
		if n == 0 || err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
