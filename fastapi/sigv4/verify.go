package sigv4

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"
)

// DefaultMaxSkew is how far S3 lets a client's clock differ from its own.
const DefaultMaxSkew = 15 * time.Minute

// Secrets knows the secrets of access keys. Lookup is called once for every request with credentials
// that could be right; it should take as long for an unknown key as for a known one. token is the session
// token that the request brings, "" if it brings none. The error is an *Error.
type Secrets interface {
	Lookup(accessKey, token string) (Secret, error)
}

// Secret is what an access key signs with.
type Secret struct {
	Text    string
	Version uint64 // Changes with the secret.
	Holder  any    // Whose it is; an Identity carries it.
}

// String keeps the secret out of whatever a Secret is printed to.
func (s Secret) String() string { return "sigv4.Secret" }

// GoString does so for %#v.
func (s Secret) GoString() string { return s.String() }

// Pair is the Secrets of one access key and no other. It knows no session tokens.
type Pair struct{ AccessKey, Secret string }

// Lookup implements Secrets.
func (p Pair) Lookup(accessKey, token string) (Secret, error) {
	switch {
	case !hmac.Equal([]byte(accessKey), []byte(p.AccessKey)):
		return Secret{}, ErrUnknownKey
	case token != "":
		return Secret{}, ErrInvalidToken
	}
	return Secret{Text: p.Secret, Version: 1}, nil
}

// String keeps the secret out of whatever a Pair is printed to.
func (p Pair) String() string { return p.AccessKey }

// GoString does so for %#v.
func (p Pair) GoString() string { return p.AccessKey }

// errMismatch is shared, as the others below are, so that no reason to refuse costs more than another.
var errMismatch = refuse(SignatureDoesNotMatch, "The request signature we calculated does not match the signature you provided. Check your key and signing method.")

// Refusals of Secrets.
var (
	ErrUnknownKey   = refuse(InvalidAccessKeyID, "The AWS Access Key Id you provided does not exist in our records.")
	ErrInvalidToken = refuse(InvalidToken, "The provided token is malformed or otherwise invalid.")
	ErrExpiredToken = refuse(ExpiredToken, "The provided token has expired.")
)

// Options configure a Verifier.
type Options struct {
	Secrets Secrets          // Required.
	Clock   func() time.Time // Required.
	Region  string           // Region that credentials must name; empty accepts any.
	Service string           // Service that credentials must name; empty means "s3".
	MaxSkew time.Duration    // 0 means DefaultMaxSkew.

	// RefuseUnsignedHTTP refuses uploads whose body no signature covers over connections
	// without TLS. Off, they are accepted, as some clients send nothing else.
	RefuseUnsignedHTTP bool

	// AllowUnsignedContentType accepts a Content-Type that is not signed, as Amazon does. A browser
	// adds one to every upload by a presigned URL, the presigner of the JavaScript SDK leaves it out on
	// purpose, and restic's minio-go never signs it; but whoever has the URL, or sits in the middle of
	// plain HTTP, can then choose the type. Off, a Content-Type must be signed.
	AllowUnsignedContentType bool
}

// Verifier verifies requests. It is safe for concurrent use.
type Verifier struct {
	opts Options
	keys keyCache
}

// New returns a Verifier.
func New(opts Options) (*Verifier, error) {
	if opts.Secrets == nil || opts.Clock == nil {
		return nil, fmt.Errorf("sigv4: Secrets and Clock are required")
	}
	if opts.MaxSkew < 0 {
		return nil, fmt.Errorf("sigv4: MaxSkew is %v", opts.MaxSkew)
	}
	if opts.MaxSkew == 0 {
		opts.MaxSkew = DefaultMaxSkew
	}
	if opts.Service == "" {
		opts.Service = service
	}
	return &Verifier{opts: opts}, nil
}

// Identity is who signed a request.
type Identity struct {
	AccessKey     string
	SecretVersion uint64 // The version of the secret that it was verified with.
	Holder        any    // Of the secret.
}

// Auth is what a verified request said about its signature and body.
type Auth struct {
	Payload   Payload
	Time      time.Time // When it was signed.
	Presigned bool      // In the query string.

	// What chunk signatures continue from.
	key       signingKey
	timestamp [len(timeFormat)]byte
	scope     string
	signature [signatureLen]byte
}

// String keeps the signing key out of whatever an Auth is printed to.
func (a Auth) String() string { return "sigv4.Auth{" + a.scope + "}" }

// GoString does so for %#v.
func (a Auth) GoString() string { return a.String() }

// scratch is the memory of one verification.
type scratch struct {
	query  query
	signed [][]byte
	canon  []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxScratch bounds what is kept for the next request.
const maxScratch = 64 << 10

func (s *scratch) release() {
	if cap(s.canon)+cap(s.query.buf) > maxScratch {
		return
	}
	clear(s.query.params) // They point into a request that ends now.
	clear(s.signed)
	scratches.Put(s)
}

// Verify verifies the signature of a request. On error the request must not be acted on; the error is
// an *Error, and ErrAnonymous if the request has no credentials at all.
func (v *Verifier) Verify(r *Request) (Identity, *Auth, error) {
	s := scratches.Get().(*scratch)
	defer s.release()
	var c claim
	f, err := readFields(r.Headers)
	if err != nil {
		return Identity{}, nil, err
	}
	if err := c.read(r, &f, s); err != nil {
		return Identity{}, nil, err
	}
	if err := v.checkScope(&c); err != nil {
		return Identity{}, nil, err
	}
	if err := v.checkTime(&c); err != nil {
		return Identity{}, nil, err
	}
	rawPayload, payload, err := v.choosePayload(r, &c, &f)
	if err != nil {
		return Identity{}, nil, err
	}
	if s.signed, err = c.splitSignedHeaders(s.signed[:0]); err != nil {
		return Identity{}, nil, err
	}
	if err := v.checkSignedHeaders(r, &c, &f, s.signed); err != nil {
		return Identity{}, nil, err
	}
	s.canon, err = appendCanonicalRequest(s.canon[:0], r, &s.query, s.signed, c.signedHeaders, rawPayload)
	if err != nil {
		return Identity{}, nil, err
	}
	return v.checkSignature(&c, s, payload)
}

// read reads the claim from the header or the query, whichever has it.
func (c *claim) read(r *Request, f *fields, s *scratch) error {
	if err := s.query.parse(r.RawQuery); err != nil {
		return err
	}
	inQuery, err := c.parseQuery(&s.query)
	switch {
	case f.authorization.count > 0 && inQuery:
		return refuse(InvalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "+
			"Signature query string parameter or the Authorization header should be specified")
	case inQuery:
		if err == nil && f.token.count > 0 {
			err = ErrInvalidToken // It belongs where the rest of the credentials is.
		}
		return err
	case err != nil:
		return err
	case f.authorization.count == 0:
		return ErrAnonymous
	}
	*c = claim{}
	if err := c.parseAuthorization(f.authorization.value); err != nil {
		return err
	}
	if f.token.count > 1 || f.token.count == 1 && len(f.token.value) == 0 {
		return ErrInvalidToken
	}
	c.token = f.token.value
	return c.parseTime(f)
}

func (v *Verifier) checkScope(c *claim) error {
	if string(c.service) != v.opts.Service {
		return refuse(c.malformed, fmt.Sprintf("The Credential is malformed; its service must be %q.", v.opts.Service))
	}
	if !bytes.Equal(c.date, c.timestamp[:dateLen]) {
		return refuse(c.malformed, "The date of the Credential is not the date the request was signed.")
	}
	if v.opts.Region != "" && string(c.region) != v.opts.Region {
		err := refuse(c.malformed, fmt.Sprintf("The region '%s' is wrong; expecting '%s'", c.region, v.opts.Region))
		err.Region = v.opts.Region
		return err
	}
	return nil
}

func (v *Verifier) checkTime(c *claim) error {
	now := v.opts.Clock().UTC().Truncate(time.Second) // Clients sign whole seconds.
	skew := now.Sub(c.time)
	var err *Error
	switch {
	case !c.presigned && skew.Abs() > v.opts.MaxSkew:
		err = refuse(RequestTimeTooSkewed, "The difference between the request time and the current time is too large.")
	case c.presigned && -skew > v.opts.MaxSkew:
		err = refuse(AccessDenied, "Request is not valid yet")
	case c.presigned && skew > c.expires:
		err = refuse(AccessDenied, "Request has expired")
		err.Expires = c.time.Add(c.expires)
	default:
		return nil
	}
	err.RequestTime, err.ServerTime, err.MaxSkew = c.time, now, v.opts.MaxSkew
	return err
}

// choosePayload returns the payload as signed and as parsed.
func (v *Verifier) choosePayload(r *Request, c *claim, f *fields) (raw []byte, p Payload, err error) {
	switch {
	case r.BodyDigest != "":
		raw = []byte(r.BodyDigest)
	case f.payload.count > 0 && c.payload != nil && !bytes.Equal(f.payload.value, c.payload):
		return nil, p, refuse(InvalidArgument, "The header and the query parameter x-amz-content-sha256 differ.")
	case f.payload.count > 0:
		raw = f.payload.value
	case c.payload != nil:
		raw = c.payload
	case c.presigned:
		raw = []byte(modeNames[Unsigned])
	default:
		return nil, p, refuse(InvalidRequest, "Missing required header for this request: x-amz-content-sha256")
	}
	if p, err = ParsePayload(raw); err != nil {
		return nil, p, err
	}
	uploads := string(r.Method) == "PUT" || string(r.Method) == "POST"
	if v.opts.RefuseUnsignedHTTP && !r.TLS && uploads && (p.Mode == Unsigned || p.Mode == StreamingUnsignedTrailer) {
		return nil, p, refuse(AccessDenied, "Uploads whose body is not signed need TLS here.")
	}
	return raw, p, nil
}

// checkSignedHeaders checks that nothing which changes the meaning of the request could have been
// added after it was signed.
func (v *Verifier) checkSignedHeaders(r *Request, c *claim, f *fields, signed [][]byte) error {
	if len(signed) > len(r.Headers)+1 {
		return refuse(SignatureDoesNotMatch, "A header is signed and was not sent.")
	}
	for _, h := range r.Headers {
		if !hasPrefixFold(h.Name, "x-amz-") {
			continue
		}
		if !slices.ContainsFunc(signed, func(name []byte) bool {
			return len(name) == len(h.Name) && equalFoldBytes(h.Name, name)
		}) {
			return refuse(AccessDenied, "There were headers present in the request which were not signed: "+string(bytes.ToLower(h.Name)))
		}
	}
	if f.contentType.count > 0 && !v.opts.AllowUnsignedContentType &&
		!slices.ContainsFunc(signed, func(name []byte) bool { return string(name) == "content-type" }) {
		return refuse(AccessDenied, "There were headers present in the request which were not signed: content-type")
	}
	return nil
}

// checkSignature does the same work for an unknown access key as for a known one with a wrong
// signature: a key is looked up in the cache and used, under a name that no access key can have.
func (v *Verifier) checkSignature(c *claim, s *scratch, payload Payload) (Identity, *Auth, error) {
	id, key, unknown := v.lookup(c)
	auth := &Auth{
		Payload:   payload,
		Time:      c.time,
		Presigned: c.presigned,
		key:       key,
		scope:     string(c.scope),
	}
	copy(auth.timestamp[:], c.timestamp)
	sum := sha256.Sum256(s.canon)
	s.canon = appendStringToSign(s.canon[:0], auth.timestamp[:], auth.scope, sum)
	auth.signature = auth.key.sign(s.canon)
	match := hmac.Equal(auth.signature[:], c.signature)
	switch {
	case unknown != nil:
		return Identity{}, nil, unknown
	case !match:
		return Identity{}, nil, errMismatch
	}
	return id, auth, nil
}

// lookup finds the key that a claim's signature must be made with. For credentials that are refused it finds one that nobody has.
func (v *Verifier) lookup(c *claim) (Identity, signingKey, error) {
	id := Identity{AccessKey: string(c.accessKey)}
	secret, err := v.opts.Secrets.Lookup(id.AccessKey, string(c.token))
	accessKey := c.accessKey
	if err != nil {
		accessKey, secret = nil, Secret{Text: "nobody's"}
	}
	id.SecretVersion, id.Holder = secret.Version, secret.Holder
	return id, v.keys.get(accessKey, secret.Version, secret.Text, c.date, c.region, v.opts.Service), err
}

func appendStringToSign(dst, timestamp []byte, scope string, canonicalSum [sha256.Size]byte) []byte {
	dst = append(dst, algorithm+"\n"...)
	dst = append(dst, timestamp...)
	dst = append(dst, '\n')
	dst = append(dst, scope...)
	dst = append(dst, '\n')
	return hex.AppendEncode(dst, canonicalSum[:])
}

func (k *signingKey) sign(message []byte) (signature [signatureLen]byte) {
	mac := hmac.New(sha256.New, k[:])
	mac.Write(message)
	var sum [sha256.Size]byte
	hex.Encode(signature[:], mac.Sum(sum[:0]))
	return signature
}
