package client

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// A Response is what came of a request. What it holds in slices is overwritten by the next Do on it.
type Response struct {
	Status int
	Length int64     // Of the body, as announced or, if it was not, as it came. The answer to HEAD has the length of the object.
	ETag   []byte    // With its quotes.
	First  time.Time // When the first byte came.
	Body   []byte    // If Request.Keep, and of answers that are errors.

	chunked  bool
	closing  bool // The server closes the connection after it.
	complete bool // It was read to its end: the connection can go on.
}

func (r *Response) reset() {
	*r = Response{Length: AnyLength, ETag: r.ETag[:0], Body: r.Body[:0]}
}

// A StatusError is an answer that says no.
type StatusError struct {
	Status  int
	Code    string // S3's name for it; "" when the answer had none.
	Message string
}

func (e *StatusError) Error() string {
	if e.Code == "" {
		return strconv.Itoa(e.Status)
	}
	return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message)
}

// A WrongAnswerError is an answer that says yes and is not what it must be.
type WrongAnswerError struct{ What string }

func (e *WrongAnswerError) Error() string { return "wrong answer: " + e.What }

func wrong(format string, args ...any) error { return &WrongAnswerError{fmt.Sprintf(format, args...)} }

// receive reads the answer to r.
func (c *Conn) receive(r *Request, resp *Response) error {
	for {
		if err := c.readHead(resp); err != nil {
			return err
		}
		if resp.Status >= 200 {
			break
		}
		// An interim answer; the real one follows.
		first := resp.First
		resp.reset()
		resp.First = first
	}
	if resp.Status >= 300 {
		return c.refused(r, resp)
	}
	bodyless := r.Method == "HEAD" || resp.Status == 204
	if resp.Status == 204 {
		resp.Length = 0
	}
	if bodyless {
		resp.complete = true
		return checkLength(r, resp.Length)
	}
	sink := sink{resp: resp}
	if r.Keep || r.Check != nil {
		sink.keep = MaxKept
	} else if r.Want != nil {
		sink.want, sink.off = r.Want, r.WantOff
	}
	if err := c.readBody(resp, &sink); err != nil {
		return err
	}
	resp.Length = sink.length
	resp.complete = true
	if err := checkLength(r, resp.Length); err != nil {
		return err
	}
	if sink.err == nil && r.Check != nil {
		return r.Check(resp.Body)
	}
	return sink.err
}

func checkLength(r *Request, length int64) error {
	if r.WantLen != AnyLength && length != r.WantLen {
		return wrong("%d bytes instead of %d", length, r.WantLen)
	}
	return nil
}

// refused reads what a server says why it did not do what it was asked.
func (c *Conn) refused(r *Request, resp *Response) error {
	refusal := &StatusError{Status: resp.Status}
	if r.Method == "HEAD" || resp.Status == 304 {
		resp.complete = true
		return refusal
	}
	sink := sink{resp: resp, keep: 64 << 10}
	if err := c.readBody(resp, &sink); err != nil {
		return refusal // What it said is known; the connection is not kept.
	}
	resp.complete = true
	refusal.Code = Element(resp.Body, "Code")
	refusal.Message = Element(resp.Body, "Message")
	return refusal
}

// Element returns the text of the first element of a name in an XML document.
func Element(document []byte, name string) string {
	text, _ := NextElement(document, name)
	return string(text)
}

// NextElement returns the text of the first element of a name, as it stands, and what follows it; rest is nil when there is none.
func NextElement(document []byte, name string) (text, rest []byte) {
	for {
		at := bytes.Index(document, []byte(name))
		if at < 0 {
			return nil, nil
		}
		after := document[at+len(name):]
		if at > 0 && document[at-1] == '<' && len(after) > 0 && after[0] == '>' {
			end := bytes.IndexByte(after, '<')
			if end < 0 {
				return nil, nil
			}
			return after[1:end], after[end:]
		}
		document = after
	}
}

// A sink takes the body of an answer.
type sink struct {
	resp   *Response
	keep   int   // How much of it to keep.
	want   *Body // What it must be; nil = anything.
	off    int64
	length int64
	err    error // The first difference.
}

func (s *sink) take(b []byte) {
	if s.keep > 0 {
		s.resp.Body = append(s.resp.Body, b[:min(len(b), s.keep-min(s.keep, len(s.resp.Body)))]...)
	}
	if s.want != nil && s.err == nil && !s.want.Equal(s.off+s.length, b) {
		s.err = wrong("other bytes than were stored, somewhere from %d to %d", s.off+s.length, s.off+s.length+int64(len(b)))
	}
	s.length += int64(len(b))
}

// readHead reads a status line and header fields.
func (c *Conn) readHead(resp *Response) error {
	scanned := 0
	for {
		have := c.in[c.start:c.end]
		if end := bytes.Index(have[scanned:], []byte("\r\n\r\n")); end >= 0 {
			head := have[:scanned+end+2]
			c.start += len(head) + 2
			return resp.parseHead(head)
		}
		scanned = max(len(have)-3, 0)
		fresh := len(have) == 0
		if err := c.fill(); err != nil {
			return err
		}
		if fresh && resp.First.IsZero() {
			resp.First = time.Now()
		}
	}
}

// parseHead reads a head, whose last line ends in "\r\n".
func (resp *Response) parseHead(head []byte) error {
	line, rest := cutLine(head)
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return fmt.Errorf("malformed status line %q", line[:min(len(line), 64)])
	}
	status, ok := parseDecimal(line[9:12])
	if !ok || status < 100 {
		return fmt.Errorf("malformed status line %q", line[:min(len(line), 64)])
	}
	resp.Status = int(status)
	resp.closing = line[7] == '0'
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return fmt.Errorf("malformed header %q", line[:min(len(line), 64)])
		}
		if err := resp.parseField(line[:colon], bytes.TrimSpace(line[colon+1:])); err != nil {
			return err
		}
	}
	return nil
}

func (resp *Response) parseField(name, value []byte) error {
	switch len(name) {
	case len("etag"):
		if equalFold(name, "etag") {
			resp.ETag = append(resp.ETag[:0], value...)
		}
	case len("connection"):
		if equalFold(name, "connection") {
			resp.closing = equalFold(value, "close")
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			n, ok := parseDecimal(value)
			if !ok {
				return fmt.Errorf("malformed content-length %q", value)
			}
			resp.Length = n
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			if !equalFold(value, "chunked") {
				return fmt.Errorf("unknown transfer-encoding %q", value)
			}
			resp.chunked = true
		}
	}
	return nil
}

func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	line, rest = b[:i], b[i+1:]
	if len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	return line, rest
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func parseDecimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// readBody reads the body of an answer to its end.
func (c *Conn) readBody(resp *Response, s *sink) error {
	switch {
	case resp.chunked:
		return c.readChunked(s)
	case resp.Length == AnyLength:
		resp.closing = true
		return c.readToEnd(s)
	}
	return c.readExactly(resp.Length, s)
}

func (c *Conn) readExactly(n int64, s *sink) error {
	if s.keep > 0 && n <= int64(s.keep) {
		s.resp.Body = slices.Grow(s.resp.Body, int(n))
	}
	for n > 0 {
		if c.start == c.end {
			if err := c.fill(); err != nil {
				return err
			}
			if n > int64(len(c.in)) {
				c.extend()
			}
		}
		b := c.in[c.start:c.end]
		b = b[:min(int64(len(b)), n)]
		s.take(b)
		c.start += len(b)
		n -= int64(len(b))
	}
	return nil
}

func (c *Conn) readToEnd(s *sink) error {
	for {
		s.take(c.in[c.start:c.end])
		c.start, c.end = 0, 0
		c.extend()
		n, err := c.conn.Read(c.in)
		c.end = n
		if n == 0 && err != nil {
			if isEOF(err) {
				return nil
			}
			return err
		}
	}
}

// readLine returns the next line without its end.
func (c *Conn) readLine() ([]byte, error) {
	scanned := 0
	for {
		have := c.in[c.start:c.end]
		if i := bytes.IndexByte(have[scanned:], '\n'); i >= 0 {
			line, _ := cutLine(have[:scanned+i+1])
			c.start += scanned + i + 1
			return line, nil
		}
		scanned = len(have)
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

func (c *Conn) readChunked(s *sink) error {
	for {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte{';'})
		n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 62)
		if err != nil || n < 0 {
			return fmt.Errorf("malformed chunk %q", line[:min(len(line), 64)])
		}
		if n > 0 {
			if err := c.readExactly(n, s); err != nil {
				return err
			}
		}
		// The line end after the chunk, or the trailers and the empty line after them.
		for {
			line, err := c.readLine()
			if err != nil {
				return err
			}
			if len(line) == 0 {
				break
			}
			if n > 0 {
				return fmt.Errorf("no line end after a chunk")
			}
		}
		if n == 0 {
			return nil
		}
	}
}
