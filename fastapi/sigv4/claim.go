package sigv4

import (
	"bytes"
	"strconv"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	service    = "s3"
	terminator = "aws4_request"

	// timeFormat is the basic ISO 8601 form that x-amz-date has; its first eight bytes are the
	// date of the credential scope.
	timeFormat = "20060102T150405Z"
	dateLen    = len("20060102")

	// maxExpires is how long a presigned URL may be valid.
	maxExpires = 7 * 24 * time.Hour

	signatureLen = 64 // Hex digits.

	paramAlgorithm     = "X-Amz-Algorithm"
	paramCredential    = "X-Amz-Credential"
	paramDate          = "X-Amz-Date"
	paramExpires       = "X-Amz-Expires"
	paramSignedHeaders = "X-Amz-SignedHeaders"
	paramSignature     = "X-Amz-Signature"
	paramToken         = "X-Amz-Security-Token"
	paramPayload       = "X-Amz-Content-Sha256"
)

// claim is what a request says of its own signature, before any of it is believed.
type claim struct {
	accessKey     []byte
	scope         []byte // date/region/service/terminator
	date, region  []byte // Of the scope.
	service       []byte // Of the scope.
	token         []byte // The session token; nil if there is none.
	signedHeaders []byte
	signature     []byte
	time          time.Time
	timestamp     []byte // time, in timeFormat.

	presigned bool
	expires   time.Duration // Of a presigned request.
	payload   []byte        // Of a presigned request: X-Amz-Content-Sha256, nil if it has none.
	malformed Code          // What to call a fault in any of this: the two forms differ.
}

var errMechanism = refuse(InvalidRequest, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")

// parseAuthorization parses the header form:
//
//	AWS4-HMAC-SHA256 Credential=key/scope, SignedHeaders=a;b;c, Signature=hex
//
// Each part comes once, in any order; the space after a comma is optional.
func (c *claim) parseAuthorization(value []byte) error {
	c.malformed = AuthorizationHeaderMalformed
	mechanism, rest, _ := bytes.Cut(value, []byte{' '})
	if string(mechanism) != algorithm {
		if string(mechanism) == "AWS" || bytes.HasPrefix(mechanism, []byte("AWS4-")) {
			return errMechanism
		}
		return refuse(InvalidArgument, "Unsupported Authorization Type")
	}
	var credential []byte
	for len(rest) > 0 {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte{','})
		name, value, ok := bytes.Cut(trimSpace(part), []byte{'='})
		var slot *[]byte
		switch string(name) {
		case "Credential":
			slot = &credential
		case "SignedHeaders":
			slot = &c.signedHeaders
		case "Signature":
			slot = &c.signature
		default:
			return refuse(c.malformed, "The authorization header is malformed; it has an unknown part.")
		}
		if !ok || len(*slot) > 0 {
			return refuse(c.malformed, "The authorization header is malformed; a part has no value or comes twice.")
		}
		*slot = value
	}
	if len(credential) == 0 || len(c.signedHeaders) == 0 || len(c.signature) == 0 {
		return refuse(c.malformed, "The authorization header is malformed; the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	return c.parseCredential(credential)
}

// parseTime sets the time of the header form: x-amz-date, or else Date.
func (c *claim) parseTime(f *fields) error {
	if f.amzDate.count > 0 {
		return c.parseTimestamp(f.amzDate.value)
	}
	if f.date.count == 1 {
		for _, format := range dateFormats {
			if t, err := time.Parse(format, string(f.date.value)); err == nil {
				c.time = t.UTC()
				c.timestamp = c.time.AppendFormat(nil, timeFormat)
				return nil
			}
		}
	}
	return errDate
}

// dateFormats are those of a Date header: the one in use, the two that HTTP/1.1 servers must still
// accept, and two that signing clients send.
var dateFormats = []string{time.RFC1123, time.RFC850, time.ANSIC, time.RFC1123Z, timeFormat}

var errDate = refuse(AccessDenied, "AWS authentication requires a valid Date or x-amz-date header")

func (c *claim) parseTimestamp(value []byte) (err error) {
	if len(value) != len(timeFormat) {
		return errDate
	}
	c.timestamp = value
	if c.time, err = time.Parse(timeFormat, string(value)); err != nil {
		return errDate
	}
	return nil
}

// parseQuery parses the query form. found reports whether the query has any part of a signature.
func (c *claim) parseQuery(q *query) (found bool, err error) {
	c.malformed = AuthorizationQueryParametersError
	var algorithmValue, credential, date, expires []byte
	for _, p := range q.params {
		var slot *[]byte
		switch name := string(p.name); name {
		case paramAlgorithm:
			slot = &algorithmValue
		case paramCredential:
			slot = &credential
		case paramDate:
			slot = &date
		case paramExpires:
			slot = &expires
		case paramSignedHeaders:
			slot = &c.signedHeaders
		case paramSignature:
			slot = &c.signature
		case paramToken:
			slot = &c.token
		case paramPayload:
			slot = &c.payload
		case "AWSAccessKeyId":
			return true, errMechanism
		default:
			// These names in another case would be unknown parameters here and might be
			// known ones to somebody else.
			for _, lower := range []string{"x-amz-algorithm", "x-amz-credential", "x-amz-signature"} {
				if equalFold(p.name, lower) {
					return true, refuse(c.malformed, "Query-string authentication parameters are case-sensitive.")
				}
			}
			continue
		}
		if *slot != nil {
			return true, refuse(c.malformed, "A query-string authentication parameter comes twice.")
		}
		*slot = p.decode()
	}
	// The others alone authenticate nothing.
	if algorithmValue == nil && credential == nil && c.signature == nil {
		return false, nil
	}
	c.presigned = true
	if len(algorithmValue) == 0 || len(credential) == 0 || len(date) == 0 || len(expires) == 0 ||
		len(c.signedHeaders) == 0 || len(c.signature) == 0 {
		return true, refuse(c.malformed, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "+
			"X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	}
	if string(algorithmValue) != algorithm {
		return true, refuse(c.malformed, `X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"`)
	}
	if c.token != nil && len(c.token) == 0 {
		return true, ErrInvalidToken
	}
	if err := c.parseTimestamp(date); err != nil {
		return true, refuse(c.malformed, `X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	if err := c.parseExpires(expires); err != nil {
		return true, err
	}
	return true, c.parseCredential(credential)
}

func (c *claim) parseExpires(value []byte) error {
	seconds, err := strconv.ParseInt(string(value), 10, 64)
	switch {
	case err != nil && !isDigits(value) || value[0] == '+':
		return refuse(c.malformed, "X-Amz-Expires should be a number")
	case seconds < 1:
		return refuse(c.malformed, "X-Amz-Expires must be at least one second")
	case err != nil || seconds > int64(maxExpires/time.Second):
		return refuse(c.malformed, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	c.expires = time.Duration(seconds) * time.Second
	return nil
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// parseCredential splits key/date/region/service/terminator from the right: a key may have slashes.
func (c *claim) parseCredential(credential []byte) error {
	var slashes [4]int
	at := len(credential)
	for i := len(slashes) - 1; i >= 0; i-- {
		if at = bytes.LastIndexByte(credential[:at], '/'); at < 0 {
			return refuse(c.malformed, "The Credential is malformed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
		}
		slashes[i] = at
	}
	c.accessKey = credential[:slashes[0]]
	c.scope = credential[slashes[0]+1:]
	c.date = credential[slashes[0]+1 : slashes[1]]
	c.region = credential[slashes[1]+1 : slashes[2]]
	c.service = credential[slashes[2]+1 : slashes[3]]
	switch {
	case len(c.accessKey) == 0:
		return refuse(c.malformed, "The Credential is malformed; it has no access key.")
	case len(c.date) != dateLen || !isDigits(c.date):
		return refuse(c.malformed, "The Credential is malformed; its date must be in the format \"yyyyMMdd\".")
	case len(c.region) == 0:
		return refuse(c.malformed, "The Credential is malformed; it has no region.")
	case string(credential[slashes[3]+1:]) != terminator:
		return refuse(c.malformed, "The Credential is malformed; it must end in \"aws4_request\".")
	}
	return nil
}

// splitSignedHeaders appends the signed names to dst: lower case, in order, each once, host among them.
func (c *claim) splitSignedHeaders(dst [][]byte) ([][]byte, error) {
	var hasHost bool
	for rest := c.signedHeaders; ; {
		name, after, more := bytes.Cut(rest, []byte{';'})
		if !isHeaderName(name) {
			return nil, refuse(c.malformed, "SignedHeaders must be lower-case header names, joined with semicolons.")
		}
		if len(dst) > 0 && bytes.Compare(dst[len(dst)-1], name) >= 0 {
			return nil, refuse(c.malformed, "SignedHeaders must be sorted, and each name may come once.")
		}
		hasHost = hasHost || string(name) == "host"
		dst = append(dst, name)
		if !more {
			break
		}
		rest = after
	}
	if !hasHost {
		return nil, refuse(AccessDenied, "The host header must be signed.")
	}
	return dst, nil
}

// isHeaderName reports whether name is a token of HTTP without upper-case letters.
func isHeaderName(name []byte) bool {
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0:
		default:
			return false
		}
	}
	return len(name) > 0
}
