package fastapi

// sender passes on what is written to a plain connection. Each connection has one, and its goroutine owns it.
type sender interface {
	// send writes p, as far as it gets before the connection's write deadline. If it needs p for longer, it calls keep, and once it does
	// not need it any more, what keep returned. A nil keep says that p must not be kept.
	send(p []byte, keep func() (done func())) (int, error)

	// settle waits, until the write deadline at most, for all that it keeps.
	settle() error

	// abort resets the connection so that nothing is kept any more, and returns how much nevertheless is. What is then kept stays so for
	// ever: whoever would use the memory again might see it go out to the wrong client.
	abort() (left int)
}

// plainSender has the kernel copy what it is given. It keeps nothing.
type plainSender struct{ conn *conn }

func (s plainSender) send(p []byte, _ func() func()) (int, error) { return s.conn.Write(p) }
func (s plainSender) settle() error                               { return nil }
func (s plainSender) abort() int                                  { return 0 }
