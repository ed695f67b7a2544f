package fastapi

import (
	"strings"
	"unicode/utf8"

	"penstock/engine"
)

// target is a request target, taken apart by this package from the bytes on the wire. fasthttp's own reading of it is
// never used: that one collapses "//" and resolves "..", both of which are legal in keys, and takes "b" for the host
// of "//b/http://x". The key decoded here is the one that is signed, authorised and stored.
type target struct {
	rawPath  string // From the first slash up to the question mark, as sent.
	rawQuery string // After the question mark, as sent.
	params   []param
}

// param is a decoded query parameter, in the order sent.
type param struct {
	name, value string
	bare        bool // Sent without a value: "?acl" or "?acl=".
}

// maxParams bounds the parameters of a query; the longest honest one, presigned with every override, has under 30.
const maxParams = 100

// parseTarget takes raw apart. An absolute-form target must name the host that the Host header names, so that
// there is one answer to which host was meant. params is reused.
func parseTarget(raw, host string, params []param) (target, error) {
	var t target
	if raw == "" {
		return t, errInvalidURI
	}
	if raw[0] != '/' {
		i := strings.Index(raw, "://")
		if i < 0 || !strings.EqualFold(raw[:i], "http") && !strings.EqualFold(raw[:i], "https") {
			return t, errInvalidURI
		}
		raw = raw[i+3:]
		end := strings.IndexAny(raw, "/?")
		if end < 0 {
			end = len(raw)
		}
		if !strings.EqualFold(raw[:end], host) {
			return t, errBadRequest
		}
		raw = raw[end:]
		if raw == "" || raw[0] == '?' {
			raw = "/" + raw
		}
	}
	t.rawPath, t.rawQuery, _ = strings.Cut(raw, "?")
	var err error
	t.params, err = parseQuery(t.rawQuery, params[:0])
	return t, err
}

// parseQuery decodes a query. A plus sign is a space here, as S3 reads it and as the signature has it.
func parseQuery(raw string, params []param) ([]param, error) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		if len(params) == maxParams {
			return params, errInvalidURI
		}
		name, value, _ := strings.Cut(pair, "=")
		var p param
		var ok bool
		if p.name, ok = unescape(name, true); !ok {
			return params, errInvalidURI
		}
		if p.value, ok = unescape(value, true); !ok {
			return params, errInvalidURI
		}
		p.bare = value == ""
		params = append(params, p)
	}
	return params, nil
}

// get returns the value of the first parameter of that name.
func (t *target) get(name string) (value string, ok bool) {
	for i := range t.params {
		if t.params[i].name == name {
			return t.params[i].value, true
		}
	}
	return "", false
}

// resource names what a request is about: the service, a bucket or an object, or the node itself.
type resource struct {
	bucket string
	key    string
	level  level
}

type level uint8

const (
	levelService level = iota
	levelBucket
	levelObject
	levelAdmin // Of the administration API: neither bucket nor key.
)

func (l level) String() string { return [...]string{"service", "bucket", "object", "admin"}[l] }

// resolve finds bucket and key. The host decides: a name below one of domains is a bucket (virtual-host addressing),
// any other host means that the path starts with the bucket. The path is decoded once, as a whole, before it is split,
// which is also what is signed.
func (t *target) resolve(host string, domains []string) (resource, error) {
	var r resource
	path, ok := unescape(t.rawPath, false)
	if !ok {
		return r, errInvalidURI
	}
	rest := path[1:]
	bucket, virtual := virtualBucket(host, domains)
	if !virtual {
		if rest == "" {
			return r, nil
		}
		bucket, rest, _ = strings.Cut(rest, "/")
	}
	r.bucket, r.level = bucket, levelBucket
	if !addressableBucket(bucket) {
		return r, errInvalidBucketName.with("BucketName", bucket)
	}
	if rest == "" {
		return r, nil
	}
	r.key, r.level = rest, levelObject
	return r, checkKey(r.key)
}

// virtualBucket returns the bucket that a host names, if it names one. domains are in lower case, the longest first, so that
// a domain below another one is not taken for a bucket.
func virtualBucket(host string, domains []string) (string, bool) {
	if len(domains) == 0 {
		return "", false
	}
	host = strings.ToLower(hostWithoutPort(host))
	for _, d := range domains {
		bucket, ok := strings.CutSuffix(host, d)
		if ok && bucket == "" {
			return "", false
		}
		if ok && len(bucket) > 1 && bucket[len(bucket)-1] == '.' {
			return bucket[:len(bucket)-1], true
		}
	}
	return "", false
}

// validHost reports whether a Host header holds nothing but a name or address and a port. HTTP/1.0 may leave it out.
func validHost(host string) bool {
	for i := 0; i < len(host); i++ {
		switch c := host[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return true
}

// hostWithoutPort drops a port, and leaves an IPv6 address in its brackets alone.
func hostWithoutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	return host[:i]
}

// checkKey refuses what cannot be a key: bytes that are not UTF-8, and more of them than Amazon takes.
func checkKey(key string) error {
	if !utf8.ValidString(key) {
		return errInvalidURI
	}
	if len(key) > engine.MaxKeyLen {
		return errKeyTooLong.with("Size", itoa(len(key))).with("MaxSizeAllowed", itoa(engine.MaxKeyLen))
	}
	return nil
}

// unescape resolves %XX, and in a query a plus sign, which is a space there. A percent sign that starts no escape is a
// fault. Without escapes it returns s itself.
func unescape(s string, inQuery bool) (string, bool) {
	if inQuery && strings.IndexByte(s, '+') >= 0 {
		s = strings.ReplaceAll(s, "+", " ")
	}
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, true
	}
	out := make([]byte, 0, len(s))
	for i >= 0 {
		out = append(out, s[:i]...)
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		out = append(out, byte(hi<<4|lo))
		s = s[i+3:]
		i = strings.IndexByte(s, '%')
	}
	return string(append(out, s...)), true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendURLEncoded appends s as encoding-type=url has it in listings: everything but unreserved characters and the slash
// is escaped. A space becomes %20, which both kinds of decoders understand, those that read a plus as a space included.
func appendURLEncoded(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '/':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
