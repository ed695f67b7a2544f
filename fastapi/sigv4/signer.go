package sigv4

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"
)

// Signer signs requests, as a client does. Tests and load generators use it.
type Signer struct {
	AccessKey, Secret, Region string

	Token   string // The session token that temporary credentials have.
	Service string // "" means "s3".
}

// String keeps the secret out of whatever a Signer is printed to.
func (s Signer) String() string { return "sigv4.Signer{" + s.AccessKey + "}" }

// GoString does so for %#v.
func (s Signer) GoString() string { return s.String() }

// Digest returns the value of x-amz-content-sha256 for a Signed body.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// HeaderValue returns the value of x-amz-content-sha256 for a mode that needs no digest.
func (m Mode) HeaderValue() string { return modeNames[m] }

// Sign adds x-amz-date, x-amz-content-sha256 and Authorization to the request, signing every header
// it has. The Auth it returns is what a Verifier makes of it, to sign a chunked body with.
func (s Signer) Sign(r *Request, t time.Time, payload string) (*Auth, error) {
	r.Headers = append(r.Headers,
		Header{[]byte("X-Amz-Date"), []byte(t.UTC().Format(timeFormat))},
		Header{[]byte("X-Amz-Content-Sha256"), []byte(payload)})
	if s.Token != "" {
		r.Headers = append(r.Headers, Header{[]byte("X-Amz-Security-Token"), []byte(s.Token)})
	}
	return s.SignAsIs(r, t, payload)
}

// SignAsIs adds only Authorization: the request has an x-amz-content-sha256, and an x-amz-date or
// Date, already.
func (s Signer) SignAsIs(r *Request, t time.Time, payload string) (*Auth, error) {
	auth, signedHeaders, err := s.sign(r, t.UTC().Format(timeFormat), []byte(payload))
	if err != nil {
		return nil, err
	}
	r.Headers = append(r.Headers, Header{[]byte("Authorization"), []byte(algorithm +
		" Credential=" + s.AccessKey + "/" + auth.scope +
		", SignedHeaders=" + signedHeaders +
		", Signature=" + string(auth.signature[:]))})
	return auth, nil
}

// Presign adds a signature to the request's query, signing every header it has.
func (s Signer) Presign(r *Request, t time.Time, expires time.Duration) (*Auth, error) {
	timestamp := t.UTC().Format(timeFormat)
	names := signedNames(r)
	q := r.RawQuery
	for _, p := range []struct{ name, value string }{
		{paramAlgorithm, algorithm},
		{paramCredential, s.AccessKey + "/" + s.scope(timestamp)},
		{paramDate, timestamp},
		{paramExpires, strconv.FormatInt(int64(expires/time.Second), 10)},
		{paramSignedHeaders, string(bytes.Join(names, []byte{';'}))},
	} {
		q = appendParam(q, p.name, p.value)
	}
	if s.Token != "" {
		q = appendParam(q, paramToken, s.Token)
	}
	r.RawQuery = q
	auth, _, err := s.sign(r, timestamp, []byte(modeNames[Unsigned]))
	if err != nil {
		return nil, err
	}
	r.RawQuery = appendParam(q, paramSignature, string(auth.signature[:]))
	auth.Presigned = true
	return auth, nil
}

func appendParam(query []byte, name, value string) []byte {
	query = bytes.Clone(query)
	if len(query) > 0 {
		query = append(query, '&')
	}
	query = append(query, name...)
	query = append(query, '=')
	for i := range len(value) {
		query = appendEncodedByte(query, value[i])
	}
	return query
}

func (s Signer) scope(timestamp string) string {
	return timestamp[:dateLen] + "/" + s.Region + "/" + s.service() + "/" + terminator
}

func (s Signer) service() string { return cmp.Or(s.Service, service) }

func signedNames(r *Request) [][]byte {
	names := [][]byte{[]byte("host")}
	for _, h := range r.Headers {
		names = append(names, bytes.ToLower(h.Name))
	}
	slices.SortFunc(names, bytes.Compare)
	return slices.CompactFunc(names, bytes.Equal)
}

func (s Signer) sign(r *Request, timestamp string, payload []byte) (*Auth, string, error) {
	var q query
	if err := q.parse(r.RawQuery); err != nil {
		return nil, "", err
	}
	names := signedNames(r)
	signedHeaders := bytes.Join(names, []byte{';'})
	canon, err := appendCanonicalRequest(nil, r, &q, names, signedHeaders, payload)
	if err != nil {
		return nil, "", err
	}
	p, err := ParsePayload(payload)
	if err != nil {
		return nil, "", err
	}
	t, err := time.Parse(timeFormat, timestamp)
	if err != nil {
		return nil, "", err
	}
	auth := &Auth{
		Payload: p,
		Time:    t,
		key:     deriveKey(s.Secret, timestamp[:dateLen], s.Region, s.service()),
		scope:   s.scope(timestamp),
	}
	copy(auth.timestamp[:], timestamp)
	auth.signature = auth.key.sign(appendStringToSign(nil, auth.timestamp[:], auth.scope, sha256.Sum256(canon)))
	return auth, string(signedHeaders), nil
}
