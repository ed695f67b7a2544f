package sigv4

// Header is one header line, in the bytes of the wire.
type Header struct{ Name, Value []byte }

// Request is what of a request can be signed. Its bytes are only read, and nothing of it is kept.
type Request struct {
	Method   []byte
	RawPath  []byte   // As sent, still escaped, without the query.
	RawQuery []byte   // As sent, without the question mark.
	Host     []byte   // As sent, with the port if it was.
	Headers  []Header // In wire order, repeated ones repeated. Host need not be among them.
	TLS      bool     // The connection is encrypted.

	// BodyDigest is the SHA-256 of the body in hex, of a service whose clients sign it without sending it.
	BodyDigest string
}

// fields are the headers that authentication itself reads. A header that may come once and comes
// twice is refused: whoever reads it later might pick the other one.
type fields struct {
	authorization, amzDate, date, payload, token field
	contentType                                  field
}

type field struct {
	value []byte
	count int
}

func (f *field) add(value []byte) {
	f.value = trimSpace(value)
	f.count++
}

func readFields(headers []Header) (f fields, err error) {
	for _, h := range headers {
		switch len(h.Name) { // Almost every header is sorted out by its length.
		case len("date"):
			if equalFold(h.Name, "date") {
				f.date.add(h.Value)
			}
		case len("x-amz-date"):
			if equalFold(h.Name, "x-amz-date") {
				f.amzDate.add(h.Value)
			}
		case len("content-type"):
			if equalFold(h.Name, "content-type") {
				f.contentType.add(h.Value)
			}
		case len("authorization"):
			if equalFold(h.Name, "authorization") {
				f.authorization.add(h.Value)
			}
		case len("x-amz-content-sha256"): // As long as x-amz-security-token.
			if equalFold(h.Name, "x-amz-content-sha256") {
				f.payload.add(h.Value)
			} else if equalFold(h.Name, "x-amz-security-token") {
				f.token.add(h.Value)
			}
		}
	}
	switch {
	case f.authorization.count > 1:
		err = refuse(InvalidArgument, "There is more than one Authorization header.")
	case f.amzDate.count > 1:
		err = refuse(InvalidArgument, "There is more than one x-amz-date header.")
	case f.payload.count > 1:
		err = refuse(InvalidArgument, "There is more than one x-amz-content-sha256 header.")
	}
	return f, err
}

// equalFold reports whether a header name is the given lower-case one, ASCII case aside.
func equalFold(name []byte, lower string) bool {
	return len(name) == len(lower) && hasPrefixFold(name, lower)
}

func hasPrefixFold(name []byte, lower string) bool {
	if len(name) < len(lower) {
		return false
	}
	for i := range len(lower) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
