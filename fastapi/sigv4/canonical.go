package sigv4

import (
	"bytes"
	"slices"
)

// The canonical request is what both sides hash:
//
//	method              "PUT"
//	path                decoded and encoded again, once
//	query               names and values decoded and encoded again, sorted; without X-Amz-Signature
//	name:value …        one line for each signed header, then an empty line
//	signed headers      their names, joined with ';'
//	payload             the value of x-amz-content-sha256
//
// Lines end in '\n', but for the last.

// unreserved are the bytes that stand for themselves in a canonical path or query.
var unreserved = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		t[c] = true
	}
	return t
}()

const upperHex = "0123456789ABCDEF"

func appendEncodedByte(dst []byte, c byte) []byte {
	if unreserved[c] {
		return append(dst, c)
	}
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// nextByte decodes the first byte of raw and returns the rest. ok is false at a broken escape.
func nextByte(raw []byte) (c byte, rest []byte, ok bool) {
	if raw[0] != '%' {
		return raw[0], raw[1:], true
	}
	if len(raw) < 3 {
		return 0, nil, false
	}
	high, ok1 := unhex(raw[1])
	low, ok2 := unhex(raw[2])
	return high<<4 | low, raw[3:], ok1 && ok2
}

var errEscape = refuse(InvalidURI, "The URI has a percent sign that two hex digits do not follow.")

// AppendDecodedPath appends the bytes that a raw path names, percent-decoded once, as the signature
// sees them. Decode first and split into bucket and key after: "%2F" is a slash.
func AppendDecodedPath(dst, rawPath []byte) ([]byte, error) {
	for len(rawPath) > 0 {
		c, rest, ok := nextByte(rawPath)
		if !ok {
			return nil, errEscape
		}
		dst, rawPath = append(dst, c), rest
	}
	return dst, nil
}

func appendCanonicalPath(dst, rawPath []byte) ([]byte, error) {
	if len(rawPath) == 0 {
		return append(dst, '/'), nil
	}
	for len(rawPath) > 0 {
		c, rest, ok := nextByte(rawPath)
		if !ok {
			return nil, errEscape
		}
		rawPath = rest
		if c == '/' {
			dst = append(dst, c)
		} else {
			dst = appendEncodedByte(dst, c)
		}
	}
	return dst, nil
}

// param is one query parameter in canonical form, and its value as sent.
type param struct{ name, value, rawValue []byte }

// query is a parsed query string. Its parameters point into buf and into what was parsed.
type query struct {
	params []param
	buf    []byte
}

func (q *query) parse(raw []byte) error {
	q.params = q.params[:0]
	// Room for all of it at once: every raw byte becomes at most three, so buf never moves
	// and the parameters can point into it.
	q.buf = slices.Grow(q.buf[:0], 3*len(raw))
	for len(raw) > 0 {
		var pair []byte
		pair, raw, _ = bytes.Cut(raw, []byte{'&'})
		if len(pair) == 0 {
			continue
		}
		rawName, rawValue, _ := bytes.Cut(pair, []byte{'='})
		name, err := q.encode(rawName)
		if err != nil {
			return err
		}
		value, err := q.encode(rawValue)
		if err != nil {
			return err
		}
		q.params = append(q.params, param{name, value, rawValue})
	}
	return nil
}

func (q *query) encode(raw []byte) ([]byte, error) {
	start := len(q.buf)
	for len(raw) > 0 {
		c, rest, ok := nextByte(raw)
		if !ok {
			return nil, errEscape
		}
		if raw[0] == '+' {
			c = ' '
		}
		q.buf = appendEncodedByte(q.buf, c)
		raw = rest
	}
	return q.buf[start:], nil
}

// decode returns a parameter's value.
func (p param) decode() []byte {
	dst := make([]byte, 0, len(p.rawValue))
	for raw := p.rawValue; len(raw) > 0; {
		c, rest, _ := nextByte(raw) // Checked when it was parsed.
		if raw[0] == '+' {
			c = ' '
		}
		dst, raw = append(dst, c), rest
	}
	return dst
}

func (q *query) sort() {
	slices.SortFunc(q.params, func(a, b param) int {
		if c := bytes.Compare(a.name, b.name); c != 0 {
			return c
		}
		return bytes.Compare(a.value, b.value)
	})
}

func (q *query) appendCanonical(dst []byte) []byte {
	q.sort()
	start := len(dst)
	for _, p := range q.params {
		if string(p.name) == paramSignature {
			continue
		}
		if len(dst) > start {
			dst = append(dst, '&')
		}
		dst = append(dst, p.name...)
		dst = append(dst, '=')
		dst = append(dst, p.value...)
	}
	return dst
}

// appendCanonicalHeader appends the line of one signed header; ok is false if it is not there.
// Values of a repeated header are joined in the order sent.
func appendCanonicalHeader(dst []byte, r *Request, name []byte) (line []byte, ok bool) {
	dst = append(dst, name...)
	dst = append(dst, ':')
	if string(name) == "host" {
		dst = appendCollapsed(dst, r.Host)
		return append(dst, '\n'), len(r.Host) > 0
	}
	for _, h := range r.Headers {
		if len(h.Name) != len(name) || !equalFoldBytes(h.Name, name) {
			continue
		}
		if ok {
			dst = append(dst, ',')
		}
		dst = appendCollapsed(dst, h.Value)
		ok = true
	}
	return append(dst, '\n'), ok
}

// appendCollapsed appends a header value without the space around it, and with each run of spaces
// and tabs within it as one space.
func appendCollapsed(dst, value []byte) []byte {
	value = trimSpace(value)
	for i, c := range value {
		if !isSpace(c) {
			dst = append(dst, c)
		} else if !isSpace(value[i-1]) {
			dst = append(dst, ' ')
		}
	}
	return dst
}

func equalFoldBytes(name, lower []byte) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func appendCanonicalRequest(dst []byte, r *Request, q *query, signed [][]byte, signedHeaders, payload []byte) ([]byte, error) {
	dst = append(dst, r.Method...)
	dst = append(dst, '\n')
	dst, err := appendCanonicalPath(dst, r.RawPath)
	if err != nil {
		return nil, err
	}
	dst = append(dst, '\n')
	dst = q.appendCanonical(dst)
	dst = append(dst, '\n')
	for _, name := range signed {
		var ok bool
		if dst, ok = appendCanonicalHeader(dst, r, name); !ok {
			return nil, refuse(SignatureDoesNotMatch, "The header "+string(name)+" is signed and was not sent.")
		}
	}
	dst = append(dst, '\n')
	dst = append(dst, signedHeaders...)
	dst = append(dst, '\n')
	return append(dst, payload...), nil
}
