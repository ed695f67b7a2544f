package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"time"

	"penstock/fastapi/sigv4"
)

const (
	algorithm    = "AWS4-HMAC-SHA256"
	timeFormat   = "20060102T150405Z"
	signatureLen = 2 * sha256.Size
	emptySum     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Credentials sign requests. Without an access key requests are anonymous.
type Credentials struct{ AccessKey, Secret, Region string }

// String keeps the secret out of whatever Credentials are printed to.
func (c Credentials) String() string { return "client.Credentials{" + c.AccessKey + "}" }

// GoString does so for %#v.
func (c Credentials) GoString() string { return c.String() }

// A signer signs the requests of one connection. All it needs is computed once a day or once a second, and kept.
type signer struct {
	Credentials

	mac   hash.Hash // Keyed with the signing key of the day.
	sha   hash.Hash
	scope []byte // date/region/s3/aws4_request
	unix  int64  // The second of stamp.
	stamp []byte

	previous [signatureLen]byte // What the next chunk's signature continues from.
	message  []byte
	sum      []byte
}

func newSigner(c Credentials) *signer {
	return &signer{Credentials: c, sha: sha256.New(), sum: make([]byte, 0, sha256.Size), message: make([]byte, 0, 1<<10)}
}

// tick brings the timestamp, and with it the key, up to date.
func (s *signer) tick(now time.Time) {
	if unix := now.Unix(); unix != s.unix {
		s.unix = unix
		s.stamp = now.UTC().AppendFormat(s.stamp[:0], timeFormat)
		if date := s.stamp[:8]; len(s.scope) == 0 || string(s.scope[:8]) != string(date) {
			s.rekey(string(date))
		}
	}
}

func (s *signer) rekey(date string) {
	s.scope = append(s.scope[:0], date+"/"+s.Region+"/s3/aws4_request"...)
	key := []byte("AWS4" + s.Secret)
	for _, part := range []string{date, s.Region, "s3", "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	s.mac = hmac.New(sha256.New, key)
}

// appendAuthorization appends the Authorization header of a request whose fields are sorted by name, and remembers the
// signature for the chunks of its body.
func (s *signer) appendAuthorization(dst []byte, r *Request, fields []field, payload string) []byte {
	m := append(s.message[:0], r.Method...)
	m = append(m, '\n')
	m = append(m, r.Path...)
	m = append(m, '\n')
	m = append(m, r.Query...)
	m = append(m, '\n')
	for i := range fields {
		if f := &fields[i]; f.signed {
			m = append(m, f.name...)
			m = append(m, ':')
			m = f.appendValue(m)
			m = append(m, '\n')
		}
	}
	m = append(m, '\n')
	m = appendNames(m, fields)
	m = append(m, '\n')
	m = append(m, payload...)
	s.sha.Reset()
	s.sha.Write(m)
	s.sum = s.sha.Sum(s.sum[:0])

	m = append(m[:0], algorithm+"\n"...)
	m = s.appendMiddle(m)
	m = hex.AppendEncode(m, s.sum)
	s.message = m
	s.sign()

	dst = append(dst, "authorization: "+algorithm+" Credential="...)
	dst = append(dst, s.AccessKey...)
	dst = append(dst, '/')
	dst = append(dst, s.scope...)
	dst = append(dst, ",SignedHeaders="...)
	dst = appendNames(dst, fields)
	dst = append(dst, ",Signature="...)
	dst = append(dst, s.previous[:]...)
	return append(dst, "\r\n"...)
}

func appendNames(dst []byte, fields []field) []byte {
	first := true
	for i := range fields {
		if !fields[i].signed {
			continue
		}
		if !first {
			dst = append(dst, ';')
		}
		dst = append(dst, fields[i].name...)
		first = false
	}
	return dst
}

// appendMiddle appends the lines that every string to sign has: timestamp and scope.
func (s *signer) appendMiddle(m []byte) []byte {
	m = append(m, s.stamp...)
	m = append(m, '\n')
	m = append(m, s.scope...)
	return append(m, '\n')
}

// sign signs message into previous.
func (s *signer) sign() {
	s.mac.Reset()
	s.mac.Write(s.message)
	s.sum = s.mac.Sum(s.sum[:0])
	hex.Encode(s.previous[:], s.sum)
}

// chunk signs the next chunk of a body, given its digest.
func (s *signer) chunk(sum *[sha256.Size]byte) {
	s.message = s.appendMiddle(append(s.message[:0], algorithm+"-PAYLOAD\n"...))
	s.message = append(s.message, s.previous[:]...)
	s.message = append(s.message, "\n"+emptySum+"\n"...)
	s.message = hex.AppendEncode(s.message, sum[:])
	s.sign()
}

// trailer signs the trailer that follows the last chunk.
func (s *signer) trailer(name, value string) {
	m := append(s.message[:0], name...)
	m = append(m, ':')
	m = append(m, value...)
	m = append(m, '\n')
	s.sha.Reset()
	s.sha.Write(m)
	s.sum = s.sha.Sum(s.sum[:0])
	m = s.appendMiddle(append(m[:0], algorithm+"-TRAILER\n"...))
	m = append(m, s.previous[:]...)
	m = append(m, '\n')
	s.message = hex.AppendEncode(m, s.sum)
	s.sign()
}

// payloadValue is x-amz-content-sha256 of a request.
func payloadValue(body *Body, mode sigv4.Mode) string {
	switch {
	case body == nil:
		return emptySum
	case mode == sigv4.Signed:
		return body.sha256
	}
	return mode.HeaderValue()
}
