package fastapi

import (
	"strings"
	"unsafe"

	"penstock/fastapi/sigv4"
)

// headers is a request's header fields, by lower-case name. fasthttp looks names up by case when it does not normalise
// them, and when it does it spoils the values that SigV4 signs; so the block is read once, here, from the wire's bytes.
type headers struct {
	fields []field
	wire   []sigv4.Header // Every line of the block in order, for the signature.
}

// field is one header. Fields sent more than once are joined with a comma, as SigV4 and RFC 9110 both have it.
type field struct {
	name, value string
}

// maxFields bounds the header fields of a request. Metadata of 2 KiB in the shortest possible fields is still below.
const maxFields = 1000

// parse reads a block as fasthttp has accepted it: lines that end in a line feed, up to an empty one. It refuses what
// fasthttp still takes and others read differently: folded lines, and lines that end without a carriage return.
// The fields refer to one copy of block, so they outlive the request.
func (h *headers) parse(block []byte) error {
	h.fields, h.wire = h.fields[:0], h.wire[:0]
	if len(block) == 0 {
		return nil
	}
	buf := append([]byte(nil), block...)
	text := unsafe.String(&buf[0], len(buf)) // buf is changed below, but only before what changes is read as text.
	for pos := 0; pos < len(buf); {
		end := strings.IndexByte(text[pos:], '\n')
		if end < 1 || buf[pos+end-1] != '\r' {
			return errBadRequest
		}
		line := text[pos : pos+end-1]
		if line == "" {
			break
		}
		colon := strings.IndexByte(line, ':')
		if colon < 1 || len(h.wire) == maxFields {
			return errBadRequest
		}
		for i := pos; i < pos+colon; i++ {
			c := buf[i]
			if c <= ' ' || c >= 0x7f {
				return errBadRequest
			}
			if 'A' <= c && c <= 'Z' {
				buf[i] = c | 0x20
			}
		}
		h.add(line[:colon], trimSpace(line[colon+1:]))
		h.wire = append(h.wire, sigv4.Header{Name: buf[pos : pos+colon], Value: buf[pos+colon+1 : pos+len(line)]})
		pos += end + 1
	}
	return nil
}

func (h *headers) add(name, value string) {
	for i := range h.fields {
		if h.fields[i].name == name {
			h.fields[i].value += "," + value
			return
		}
	}
	h.fields = append(h.fields, field{name, value})
}

// hoistable are the headers that clients move to the query of a presigned URL, where they count as if they were sent as
// headers. A checksum is not among them: some clients presign that of an empty body whatever the body will be.
var hoistable = [...]string{"x-amz-acl", "x-amz-grant-", "x-amz-meta-", "x-amz-object-lock-", "x-amz-server-side-encryption", "x-amz-storage-class",
	"x-amz-tagging", "x-amz-website-redirect-location"}

// hoist takes parameters of a presigned URL for the headers that they were, unless there are such headers.
func (h *headers) hoist(params []param) error {
	for _, p := range params {
		name := strings.ToLower(p.name)
		if _, sent := h.lookup(name); sent || !hasAnyPrefix(name, hoistable[:]...) {
			continue
		}
		if printable(name) != name || printable(p.value) != p.value {
			return invalidArgument("A header cannot hold control characters", name, "")
		}
		h.add(name, trimSpace(p.value))
	}
	return nil
}

// get returns the value of a header by its lower-case name, or "".
func (h *headers) get(name string) string {
	v, _ := h.lookup(name)
	return v
}

func (h *headers) lookup(name string) (value string, ok bool) {
	for i := range h.fields {
		if h.fields[i].name == name {
			return h.fields[i].value, true
		}
	}
	return "", false
}

// trimSpace trims spaces and tabs, the only white space of a header.
func trimSpace(s string) string { return strings.Trim(s, " \t") }

// listHas reports whether a comma-separated list has an item, in any case.
func listHas(list, item string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(trimSpace(one), item) {
			return true
		}
	}
	return false
}
