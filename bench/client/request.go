package client

import "strconv"

// A Header goes along with a request. Its name is in lower case.
type Header struct {
	Name  string
	Value []byte
}

// A Request is one request. It and what it points to may be reused once Do has returned.
type Request struct {
	Method  string
	Path    []byte   // Encoded as it is signed: what is not unreserved, and no slash, as %XX.
	Query   []byte   // Likewise, its parameters sorted by name, each with a '='.
	Headers []Header // Further ones.
	Body    *Body    // Prepared for Payload; nil for none.
	Payload Payload

	// What the answer must be. Anything else is an error.
	WantLen int64 // The length of the answer's body; AnyLength when it is not known.
	Want    *Body // The bytes that the answer's body must have, from WantOff on; nil = they are not looked at.
	WantOff int64
	Keep    bool // Keep the answer's body in Response.Body, up to MaxKept bytes.

	// Check, if set, judges the body of an answer that says yes; it implies Keep.
	Check func(body []byte) error
}

// AnyLength is a WantLen that accepts every length.
const AnyLength = -1

// MaxKept is the longest body that a Response keeps.
const MaxKept = 16 << 20

// A field is one header line of a request.
type field struct {
	name   string
	text   string // The value, or
	bytes  []byte // this, or
	number int64  // this.
	kind   fieldKind
	signed bool
}

type fieldKind uint8

const (
	textField fieldKind = iota
	bytesField
	numberField
)

func (f *field) appendValue(dst []byte) []byte {
	switch f.kind {
	case bytesField:
		return append(dst, f.bytes...)
	case numberField:
		return strconv.AppendInt(dst, f.number, 10)
	}
	return append(dst, f.text...)
}

// addField inserts a field so that they stay sorted by name, as signing wants them.
func (c *Conn) addField(f field) {
	c.fields = append(c.fields, f)
	for i := len(c.fields) - 1; i > 0 && c.fields[i-1].name > c.fields[i].name; i-- {
		c.fields[i-1], c.fields[i] = c.fields[i], c.fields[i-1]
	}
}

// appendHead builds the head of a request.
func (c *Conn) appendHead(dst []byte, r *Request) []byte {
	payload := payloadValue(r.Body, r.Payload.Mode)
	c.fields = c.fields[:0]
	c.addField(field{name: "host", text: c.opts.Host, signed: true})
	if c.signer != nil {
		c.signer.tick(c.opts.Clock())
		c.addField(field{name: "x-amz-date", kind: bytesField, bytes: c.signer.stamp, signed: true})
	}
	c.addField(field{name: "x-amz-content-sha256", text: payload, signed: true})
	for i := range r.Headers {
		h := &r.Headers[i]
		c.addField(field{name: h.Name, kind: bytesField, bytes: h.Value, signed: len(h.Name) > 6 && h.Name[:6] == "x-amz-"})
	}
	switch {
	case r.Body != nil:
		c.addBodyFields(r)
	case r.Method == "PUT" || r.Method == "POST":
		c.addField(field{name: "content-length", kind: numberField})
	}

	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, r.Path...)
	if len(r.Query) > 0 {
		dst = append(dst, '?')
		dst = append(dst, r.Query...)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	for i := range c.fields {
		f := &c.fields[i]
		dst = append(dst, f.name...)
		dst = append(dst, ": "...)
		dst = f.appendValue(dst)
		dst = append(dst, "\r\n"...)
	}
	if c.signer != nil {
		dst = c.signer.appendAuthorization(dst, r, c.fields, payload)
	}
	return append(dst, "\r\n"...)
}

func (c *Conn) addBodyFields(r *Request) {
	mode := r.Payload.Mode
	c.addField(field{name: "content-length", kind: numberField, number: sentLen(r.Body, r.Payload)})
	if r.Payload.ContentMD5 {
		c.addField(field{name: "content-md5", text: r.Body.md5, signed: true})
	}
	if mode.Streaming() {
		c.addField(field{name: "content-encoding", text: "aws-chunked", signed: true})
		c.addField(field{name: "x-amz-decoded-content-length", kind: numberField, number: r.Body.length, signed: true})
	}
	if mode.HasTrailer() {
		c.addField(field{name: "x-amz-trailer", text: r.Body.trailerName, signed: true})
	}
}

const (
	chunkSignature   = ";chunk-signature="
	trailerSignature = "x-amz-trailer-signature"
)

// sentLen is the length of a body as it is sent.
func sentLen(b *Body, p Payload) int64 {
	if !p.Mode.Streaming() {
		return b.length
	}
	frame := func(length int64) int64 { // The line before a chunk.
		n := hexLen(length) + 2
		if p.Mode.ChunksSigned() {
			n += int64(len(chunkSignature)) + signatureLen
		}
		return n
	}
	n := b.length + b.length/p.ChunkLen*(frame(p.ChunkLen)+2)
	if rest := b.length % p.ChunkLen; rest > 0 {
		n += frame(rest) + 2
	}
	n += frame(0)
	if p.Mode.HasTrailer() {
		n += int64(len(b.trailerName)) + 1 + int64(len(b.trailerValue)) + 2
		if p.Mode.ChunksSigned() {
			n += int64(len(trailerSignature)) + 1 + signatureLen + 2
		}
	}
	return n + 2
}

func hexLen(n int64) int64 {
	length := int64(1)
	for ; n >= 16; n >>= 4 {
		length++
	}
	return length
}
