package sigv4_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/sigv4"
)

var exampleSigner = sigv4.Signer{AccessKey: exampleKey, Secret: exampleSecret, Region: "us-east-1"}

// form is one of the two ways to sign.
type form struct {
	name string
	sign func(s sigv4.Signer, r *sigv4.Request, t time.Time) (*sigv4.Auth, error)
}

var (
	headerForm = form{"header", func(s sigv4.Signer, r *sigv4.Request, t time.Time) (*sigv4.Auth, error) {
		return s.Sign(r, t, emptySHA256)
	}}
	queryForm = form{"query", func(s sigv4.Signer, r *sigv4.Request, t time.Time) (*sigv4.Auth, error) {
		return s.Presign(r, t, time.Hour)
	}}
)

func add(name, value string) func(*sigv4.Request) {
	return func(r *sigv4.Request) {
		r.Headers = append(r.Headers, sigv4.Header{Name: []byte(name), Value: []byte(value)})
	}
}

func set(name, value string) func(*sigv4.Request) {
	return func(r *sigv4.Request) {
		drop(name)(r)
		add(name, value)(r)
	}
}

func drop(name string) func(*sigv4.Request) {
	return func(r *sigv4.Request) {
		var kept []sigv4.Header
		for _, h := range r.Headers {
			if !strings.EqualFold(string(h.Name), name) {
				kept = append(kept, h)
			}
		}
		r.Headers = kept
	}
}

func path(p string) func(*sigv4.Request)   { return func(r *sigv4.Request) { r.RawPath = []byte(p) } }
func query(q string) func(*sigv4.Request)  { return func(r *sigv4.Request) { r.RawQuery = []byte(q) } }
func method(m string) func(*sigv4.Request) { return func(r *sigv4.Request) { r.Method = []byte(m) } }
func host(h string) func(*sigv4.Request)   { return func(r *sigv4.Request) { r.Host = []byte(h) } }
func plain(r *sigv4.Request)               { r.TLS = false }

func all(fs ...func(*sigv4.Request)) func(*sigv4.Request) {
	return func(r *sigv4.Request) {
		for _, f := range fs {
			f(r)
		}
	}
}

// edit replaces text wherever it is: in the query and in the Authorization header.
func edit(from, to string) func(*sigv4.Request) {
	return func(r *sigv4.Request) {
		r.RawQuery = bytes.ReplaceAll(r.RawQuery, []byte(from), []byte(to))
		for i, h := range r.Headers {
			if strings.EqualFold(string(h.Name), "authorization") {
				r.Headers[i].Value = bytes.ReplaceAll(h.Value, []byte(from), []byte(to))
			}
		}
	}
}

func token(text string) func(*sigv4.Signer) { return func(s *sigv4.Signer) { s.Token = text } }

const accepted = sigv4.NumCodes // No code: the request verifies.

// edge is a request that is shaped, signed, changed, and verified.
type edge struct {
	name          string
	before, after func(*sigv4.Request)
	header, query sigv4.Code           // What each form is refused with.
	signer        func(*sigv4.Signer)  // Signs differently.
	opts          func(*sigv4.Options) // Verifies differently.
	age           time.Duration        // How long ago it was signed.
}

// na marks a form that an edge does not have.
const na = accepted + 1

var edges = []edge{
	{name: "nothing special", header: accepted, query: accepted},

	// Time.
	{name: "clock 15:00 behind", age: -15 * time.Minute, header: accepted, query: accepted},
	{name: "clock 15:01 behind", age: -15*time.Minute - time.Second, header: sigv4.RequestTimeTooSkewed, query: sigv4.AccessDenied},
	{name: "clock 15:00 ahead", age: 15 * time.Minute, header: accepted, query: accepted},
	{name: "clock 15:01 ahead", age: 15*time.Minute + time.Second, header: sigv4.RequestTimeTooSkewed, query: accepted},
	{name: "expires now", age: time.Hour, header: sigv4.RequestTimeTooSkewed, query: accepted},
	{name: "expired a second ago", age: time.Hour + time.Second, header: sigv4.RequestTimeTooSkewed, query: sigv4.AccessDenied},
	{name: "scope of another day", after: edit("20130524/us", "20130523/us"), header: sigv4.AuthorizationHeaderMalformed, query: na},
	{name: "scope of another day in the query", after: edit("20130524%2Fus", "20130523%2Fus"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "x-amz-date of another second", after: set("x-amz-date", "20130524T000001Z"), header: sigv4.SignatureDoesNotMatch, query: na},
	{name: "X-Amz-Date of another second", after: edit("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130524T000001Z"), header: na, query: sigv4.SignatureDoesNotMatch},
	{name: "x-amz-date in the long form", after: set("x-amz-date", "2013-05-24T00:00:00Z"), header: sigv4.AccessDenied, query: na},
	{name: "X-Amz-Date in the long form", after: edit("X-Amz-Date=20130524T000000Z", "X-Amz-Date=2013-05-24T00:00:00Z"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "x-amz-date of no day", after: set("x-amz-date", "20130532T000000Z"), header: sigv4.AccessDenied, query: na},
	{name: "X-Amz-Date of no day", after: edit("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130532T000000Z"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "no date", after: drop("x-amz-date"), header: sigv4.AccessDenied, query: na},
	{name: "two x-amz-dates", after: add("X-Amz-Date", "20130524T000000Z"), header: sigv4.InvalidArgument, query: na},
	{name: "Date and x-amz-date differ", before: add("Date", "Fri, 24 May 2013 00:09:00 GMT"), header: accepted, query: accepted},
	{name: "Date is not a date and x-amz-date is", before: add("Date", "yesterday"), header: accepted, query: accepted},

	// Expiry.
	{name: "no X-Amz-Expires", after: edit("&X-Amz-Expires=3600", ""), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires empty", after: edit("X-Amz-Expires=3600", "X-Amz-Expires="), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires 0", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=0"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires negative", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=-1"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires +3600", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=%2B3600"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires 604801", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=604801"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires huge", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=99999999999999999999"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires wraps", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=18446744073709555216"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires hex", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=0xe10"), header: na, query: sigv4.AuthorizationQueryParametersError},
	{name: "X-Amz-Expires extended", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=3601"), header: na, query: sigv4.SignatureDoesNotMatch},

	// Signed headers.
	{name: "host not signed", after: edit("host", "hosu"), header: sigv4.AccessDenied, query: sigv4.AccessDenied},
	{name: "host changed", after: host("other.s3.amazonaws.com"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "host with a port", before: host("127.0.0.1:9000"), header: accepted, query: accepted},
	{name: "host absent", after: host(""), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "x-amz header signed", before: add("x-amz-acl", "private"), header: accepted, query: accepted},
	{name: "x-amz header added", after: add("x-amz-acl", "public-read"), header: sigv4.AccessDenied, query: sigv4.AccessDenied},
	{name: "x-amz header added in capitals", after: add("X-AMZ-ACL", "public-read"), header: sigv4.AccessDenied, query: sigv4.AccessDenied},
	{name: "x-amz header added again", before: add("x-amz-acl", "private"), after: add("x-amz-acl", "public-read"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "x-amz header dropped", before: add("x-amz-acl", "private"), after: drop("x-amz-acl"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "x-amz header changed", before: add("x-amz-acl", "private"), after: set("x-amz-acl", "public-read"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "x-amzn header added by a proxy", after: add("X-Amzn-Trace-Id", "Root=1"), header: accepted, query: accepted},
	{name: "other header added", after: add("User-Agent", "curl"), header: accepted, query: accepted},
	{name: "content-type signed", before: add("Content-Type", "text/plain"), header: accepted, query: accepted},
	{name: "content-type not signed", after: add("Content-Type", "text/html"), header: sigv4.AccessDenied, query: sigv4.AccessDenied},
	{name: "content-type not signed, allowed", after: add("Content-Type", "text/html"), header: accepted, query: accepted,
		opts: func(o *sigv4.Options) { o.AllowUnsignedContentType = true }},
	{name: "content-type signed and changed, allowed unsigned", before: add("Content-Type", "text/plain"), after: set("Content-Type", "text/html"),
		header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch, opts: func(o *sigv4.Options) { o.AllowUnsignedContentType = true }},
	{name: "repeated header, joined in order", before: all(add("x-amz-meta-a", "1"), add("X-Amz-Meta-A", "2")), header: accepted, query: accepted},
	{name: "repeated header, joined on the way", before: all(add("x-amz-meta-a", "1"), add("x-amz-meta-a", "2")), after: set("x-amz-meta-a", "1,2"), header: accepted, query: accepted},
	{name: "repeated header, other order", before: all(add("x-amz-meta-a", "1"), add("x-amz-meta-a", "2")), after: set("x-amz-meta-a", "2,1"),
		header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "spaces collapsed", before: add("x-amz-meta-a", "a b c"), after: set("x-amz-meta-a", "  a   b\t c\t"), header: accepted, query: accepted},
	{name: "spaces removed", before: add("x-amz-meta-a", "a b"), after: set("x-amz-meta-a", "ab"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "empty header value", before: add("x-amz-meta-a", ""), header: accepted, query: accepted},
	{name: "UTF-8 header value", before: add("x-amz-meta-a", "käse 🧀"), header: accepted, query: accepted},
	{name: "SignedHeaders unsorted", before: add("x-amz-acl", "private"), after: all(edit("host;x-amz-acl", "x-amz-acl;host"), edit("host%3Bx-amz-acl", "x-amz-acl%3Bhost")),
		header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "SignedHeaders with a name twice", after: all(edit("SignedHeaders=host", "SignedHeaders=host;host"), edit("SignedHeaders=host%3B", "SignedHeaders=host%3Bhost%3B")),
		header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "SignedHeaders with capitals", after: edit("SignedHeaders=host", "SignedHeaders=Host"), header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "SignedHeaders empty name", after: edit("SignedHeaders=host", "SignedHeaders=;host"), header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "SignedHeaders with a line break", after: all(edit("SignedHeaders=host", "SignedHeaders=host\nx"), edit("SignedHeaders=host\nx", "SignedHeaders=host%0Ax")),
		header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "SignedHeaders empty", after: all(edit("SignedHeaders=host;x-amz-content-sha256;x-amz-date", "SignedHeaders="), edit("SignedHeaders=host", "SignedHeaders=")),
		header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},

	// Path.
	{name: "path changed", after: path("/examplebucket/other"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "path with a plus", before: path("/b/a+b"), header: accepted, query: accepted},
	{name: "plus is no space in a path", before: path("/b/a+b"), after: path("/b/a%20b"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "plus escaped on the way", before: path("/b/a+b"), after: path("/b/a%2Bb"), header: accepted, query: accepted},
	{name: "space", before: path("/b/a%20b"), header: accepted, query: accepted},
	{name: "tilde", before: path("/b/~a"), header: accepted, query: accepted},
	{name: "tilde escaped on the way", before: path("/b/~a"), after: path("/b/%7ea"), header: accepted, query: accepted},
	{name: "doubly escaped path", before: path("/b/a%20b"), after: path("/b/a%2520b"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "percent in the key", before: path("/b/100%25"), header: accepted, query: accepted},
	{name: "double slash", before: path("/b//a"), header: accepted, query: accepted},
	{name: "double slash collapsed", before: path("/b//a"), after: path("/b/a"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "dots", before: path("/b/./../a"), header: accepted, query: accepted},
	{name: "dots resolved", before: path("/b/./../a"), after: path("/a"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "trailing slash dropped", before: path("/b/"), after: path("/b"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "UTF-8 raw for escaped", before: path("/b/%C3%A4"), after: path("/b/\xc3\xa4"), header: accepted, query: accepted},
	{name: "UTF-8 in another form", before: path("/b/%C3%A4"), after: path("/b/a%CC%88"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "bytes that are no UTF-8", before: path("/b/%FF%FE"), header: accepted, query: accepted},
	{name: "broken escape", after: path("/b/%2"), header: sigv4.InvalidURI, query: sigv4.InvalidURI},
	{name: "broken escape of no hex", after: path("/b/%zz"), header: sigv4.InvalidURI, query: sigv4.InvalidURI},
	{name: "empty path for the root", before: path("/"), after: path(""), header: accepted, query: accepted},

	// Query.
	{name: "query parameter added", after: all(func(r *sigv4.Request) { r.RawQuery = append(r.RawQuery, "&acl="...) }), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "unknown query parameter signed", before: query("x-id=GetObject"), header: accepted, query: accepted},
	{name: "unsorted query", before: query("z=1&a=2&a=1&B=3"), header: accepted, query: accepted},
	{name: "query without values", before: query("uploads&acl"), after: edit("uploads&acl", "uploads=&acl="), header: accepted, query: accepted},
	{name: "query space as plus", before: query("prefix=a%20b"), after: edit("prefix=a%20b", "prefix=a+b"), header: accepted, query: accepted},
	{name: "query plus is no escaped plus", before: query("prefix=a%2Bb"), after: edit("prefix=a%2Bb", "prefix=a+b"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "query escapes what need not be", before: query("prefix=a~b"), after: edit("prefix=a~b", "%70refix=a%7Eb"), header: accepted, query: accepted},
	{name: "query slash raw or escaped", before: query("delimiter=%2F"), after: edit("delimiter=%2F", "delimiter=/"), header: accepted, query: accepted},
	{name: "query value with an equals sign", before: query("marker=a=b"), after: edit("marker=a=b", "marker=a%3Db"), header: accepted, query: accepted},
	{name: "query with empty pairs", before: query("a=1"), after: edit("a=1", "&a=1&"), header: accepted, query: accepted},
	{name: "query with a broken escape", after: func(r *sigv4.Request) { r.RawQuery = append(r.RawQuery, "&a=%"...) }, header: sigv4.InvalidURI, query: sigv4.InvalidURI},
	{name: "query semicolon does not separate", before: query("a=1;b=2"), after: edit("a=1;b=2", "a=1&b=2"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},

	// Scope and credential.
	{name: "wrong region", signer: func(s *sigv4.Signer) { s.Region = "eu-west-1" }, header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "any region", signer: func(s *sigv4.Signer) { s.Region = "eu-west-1" }, opts: func(o *sigv4.Options) { o.Region = "" }, header: accepted, query: accepted},
	{name: "region changed", after: edit("us-east-1", "eu-west-1"), opts: func(o *sigv4.Options) { o.Region = "" }, header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "region empty", after: edit("us-east-1", ""), opts: func(o *sigv4.Options) { o.Region = "" }, header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "wrong service", after: all(edit("/s3/", "/iam/"), edit("%2Fs3%2F", "%2Fiam%2F")), header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "wrong terminator", after: edit("aws4_request", "aws5_request"), header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "scope too short", after: all(edit("/us-east-1/s3/aws4_request", "/us-east-1"), edit("%2Fus-east-1%2Fs3%2Faws4_request", "%2Fus-east-1")), header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "no access key", signer: func(s *sigv4.Signer) { s.AccessKey = "" }, header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "unknown access key", signer: func(s *sigv4.Signer) { s.AccessKey = "AKIANOBODY" }, header: sigv4.InvalidAccessKeyID, query: sigv4.InvalidAccessKeyID},
	{name: "unknown access key, secret of nobody", signer: func(s *sigv4.Signer) { s.AccessKey, s.Secret = "AKIANOBODY", "nobody's" }, header: sigv4.InvalidAccessKeyID, query: sigv4.InvalidAccessKeyID},
	{name: "access key with slashes", signer: func(s *sigv4.Signer) { s.AccessKey, s.Secret = "a/b/c", "slashed" }, header: accepted, query: accepted},
	{name: "wrong secret", signer: func(s *sigv4.Signer) { s.Secret += "x" }, header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "session token", before: add("x-amz-security-token", "token"), header: sigv4.InvalidToken, query: sigv4.InvalidToken},
	{name: "session token in the query", before: query("X-Amz-Security-Token=token"), header: accepted, query: sigv4.InvalidToken},
	{name: "good session token", signer: token(exampleToken), header: accepted, query: accepted},
	{name: "foreign session token", signer: token("foreign"), header: sigv4.InvalidToken, query: sigv4.InvalidToken},
	{name: "expired session token", signer: token("expired"), header: sigv4.ExpiredToken, query: sigv4.ExpiredToken},
	{name: "good session token, wrong secret", signer: func(s *sigv4.Signer) { s.Token = exampleToken; s.Secret += "x" }, header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "good session token, unknown access key", signer: func(s *sigv4.Signer) { s.Token = exampleToken; s.AccessKey = "AKIANOBODY" }, header: sigv4.InvalidAccessKeyID, query: sigv4.InvalidAccessKeyID},
	{name: "session token added after signing", after: add("x-amz-security-token", exampleToken), header: sigv4.AccessDenied, query: sigv4.InvalidToken},
	{name: "session token added after signing in the query", after: edit("X-Amz-Expires=3600", "X-Amz-Expires=3600&X-Amz-Security-Token=a%2Bsession%2Ftoken%3D%3D"), header: na, query: sigv4.SignatureDoesNotMatch},
	{name: "session token dropped", signer: token(exampleToken), after: all(drop("X-Amz-Security-Token"), edit("&X-Amz-Security-Token=a%2Bsession%2Ftoken%3D%3D", "")), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "session token twice", signer: token(exampleToken), before: add("x-amz-security-token", exampleToken), header: sigv4.InvalidToken, query: sigv4.InvalidToken},
	{name: "session token empty", before: add("x-amz-security-token", ""), header: sigv4.InvalidToken, query: sigv4.InvalidToken},
	{name: "another service's verifier", opts: func(o *sigv4.Options) { o.Service = "sts" }, header: sigv4.AuthorizationHeaderMalformed, query: sigv4.AuthorizationQueryParametersError},
	{name: "another service", signer: func(s *sigv4.Signer) { s.Service = "sts" }, opts: func(o *sigv4.Options) { o.Service = "sts" }, header: accepted, query: accepted},
	{name: "method changed", after: method("DELETE"), header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},
	{name: "signature shortened", after: func(r *sigv4.Request) {
		r.RawQuery = r.RawQuery[:max(0, len(r.RawQuery)-1)]
		for i, h := range r.Headers {
			if string(h.Name) == "Authorization" {
				r.Headers[i].Value = h.Value[:len(h.Value)-1]
			}
		}
	}, header: sigv4.SignatureDoesNotMatch, query: sigv4.SignatureDoesNotMatch},

	// Mechanisms.
	{name: "no credentials", after: all(drop("Authorization"), query("")), header: sigv4.AccessDenied, query: sigv4.AccessDenied},
	{name: "signature version 2", after: set("Authorization", "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg="), header: sigv4.InvalidRequest, query: sigv4.InvalidArgument},
	{name: "signature version 2 in the query", after: query("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1&Signature=x"), header: sigv4.InvalidArgument, query: sigv4.InvalidRequest},
	{name: "signature version 4A", after: edit("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), header: sigv4.InvalidRequest, query: sigv4.AuthorizationQueryParametersError},
	{name: "bearer token", after: set("Authorization", "Bearer AKIAIOSFODNN7EXAMPLE"), header: sigv4.InvalidArgument, query: sigv4.InvalidArgument},
	{name: "empty Authorization", after: set("Authorization", ""), header: sigv4.InvalidArgument, query: sigv4.InvalidArgument},
	{name: "two Authorizations", after: all(add("Authorization", "AWS4-HMAC-SHA256 "), add("authorization", "x")), header: sigv4.InvalidArgument, query: sigv4.InvalidArgument},
	{name: "header and query", after: all(add("Authorization", "AWS4-HMAC-SHA256 x"), query("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=x")), header: sigv4.InvalidArgument, query: sigv4.InvalidArgument},
	{name: "signature alone in the query", after: all(drop("Authorization"), query("X-Amz-Signature=0")), header: sigv4.AuthorizationQueryParametersError, query: sigv4.AuthorizationQueryParametersError},
	{name: "query parameters in lower case", after: all(drop("Authorization"), edit("X-Amz-Algorithm", "x-amz-algorithm")), header: sigv4.AccessDenied, query: sigv4.AuthorizationQueryParametersError},
	{name: "query parameter twice", after: func(r *sigv4.Request) { r.RawQuery = append(r.RawQuery, "&X-Amz-Signature=0&X-Amz-Signature=0"...) },
		header: sigv4.InvalidArgument, query: sigv4.AuthorizationQueryParametersError},
	{name: "part of Authorization twice", after: edit(", Signature=", ", Signature=0, Signature="), header: sigv4.AuthorizationHeaderMalformed, query: na},
	{name: "part of Authorization missing", after: edit("SignedHeaders=host;x-amz-content-sha256;x-amz-date, ", ""), header: sigv4.AuthorizationHeaderMalformed, query: na},
	{name: "unknown part of Authorization", after: edit(", Signature=", ", Extra=1, Signature="), header: sigv4.AuthorizationHeaderMalformed, query: na},
	{name: "Authorization without spaces", after: edit(", ", ","), header: accepted, query: na},

	// Payload.
	{name: "no x-amz-content-sha256", after: drop("x-amz-content-sha256"), header: sigv4.InvalidRequest, query: accepted},
	{name: "x-amz-content-sha256 changed", after: set("x-amz-content-sha256", strings.Repeat("0", 64)), header: sigv4.SignatureDoesNotMatch, query: sigv4.AccessDenied},
	{name: "x-amz-content-sha256 made unsigned", after: set("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), header: sigv4.SignatureDoesNotMatch, query: sigv4.AccessDenied},
	{name: "x-amz-content-sha256 in other capitals", after: set("x-amz-content-sha256", strings.ToUpper(emptySHA256)), header: sigv4.SignatureDoesNotMatch, query: sigv4.AccessDenied},
	{name: "x-amz-content-sha256 twice", after: add("x-amz-content-sha256", emptySHA256), header: sigv4.InvalidArgument, query: sigv4.AccessDenied},
	{name: "x-amz-content-sha256 of 63 digits", after: set("x-amz-content-sha256", emptySHA256[1:]), header: sigv4.InvalidArgument, query: sigv4.InvalidArgument},
	{name: "x-amz-content-sha256 empty", after: set("x-amz-content-sha256", ""), header: sigv4.InvalidArgument, query: sigv4.InvalidArgument},
	{name: "x-amz-content-sha256 in lower case", after: set("x-amz-content-sha256", "unsigned-payload"), header: sigv4.InvalidArgument, query: sigv4.InvalidArgument},
	{name: "ECDSA chunks", after: set("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), header: sigv4.InvalidRequest, query: sigv4.InvalidRequest},
	{name: "ECDSA chunks and trailer", after: set("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"), header: sigv4.InvalidRequest, query: sigv4.InvalidRequest},
	{name: "CVE-2026-41145, CVE-2025-31489: forged unsigned trailer upload", before: method("PUT"), signer: func(s *sigv4.Signer) { s.Secret = "guess" },
		after: set("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), header: sigv4.SignatureDoesNotMatch, query: sigv4.AccessDenied},
	{name: "plain HTTP", before: plain, header: accepted, query: accepted},
	{name: "unsigned upload over plain HTTP refused", before: all(plain, method("PUT")), header: accepted, query: sigv4.AccessDenied,
		opts: func(o *sigv4.Options) { o.RefuseUnsignedHTTP = true }},
	{name: "unsigned upload over TLS", before: method("PUT"), header: accepted, query: accepted, opts: func(o *sigv4.Options) { o.RefuseUnsignedHTTP = true }},
	{name: "download over plain HTTP", before: plain, header: accepted, query: accepted, opts: func(o *sigv4.Options) { o.RefuseUnsignedHTTP = true }},
}

func TestEdges(t *testing.T) {
	for _, e := range edges {
		for _, f := range []struct {
			form
			want sigv4.Code
		}{{headerForm, e.header}, {queryForm, e.query}} {
			if f.want == na {
				continue
			}
			t.Run(e.name+"/"+f.name, func(t *testing.T) { e.check(t, f.form, f.want) })
		}
	}
}

func (e edge) check(t *testing.T, f form, want sigv4.Code) {
	r := &sigv4.Request{
		Method:  []byte("GET"),
		RawPath: []byte("/examplebucket/a/key"),
		Host:    []byte("s3.amazonaws.com"),
		TLS:     true,
	}
	signer, opts := exampleSigner, exampleOptions()
	opts.Secrets = secrets{exampleKey: exampleSecret, "a/b/c": "slashed"}
	opts.Clock = func() time.Time { return exampleTime.Add(e.age + 999*time.Millisecond) }
	if e.before != nil {
		e.before(r)
	}
	if e.signer != nil {
		e.signer(&signer)
	}
	if e.opts != nil {
		e.opts(&opts)
	}
	if _, err := f.sign(signer, r, exampleTime); err != nil {
		t.Fatal(err)
	}
	if e.after != nil {
		e.after(r)
	}
	id, auth, err := newVerifier(t, opts).Verify(r)
	if want == accepted {
		if err != nil {
			t.Errorf("got %v, want it accepted", err)
		} else if id.AccessKey != signer.AccessKey || auth.Presigned != (f.name == "query") {
			t.Errorf("got %+v, presigned %v", id, auth.Presigned)
		}
		return
	}
	var got *sigv4.Error
	if !errors.As(err, &got) || got.Code != want || got.Message == "" {
		t.Errorf("got %v, want %v", err, want)
	}
	if auth != nil || id != (sigv4.Identity{}) {
		t.Errorf("refused, and yet got %+v, %+v", id, auth)
	}
}

func TestExpiresBounds(t *testing.T) {
	for _, c := range []struct {
		expires time.Duration
		ok      bool
	}{{0, false}, {time.Second, true}, {7 * 24 * time.Hour, true}, {7*24*time.Hour + time.Second, false}} {
		r := parse("GET /b/k HTTP/1.1\nHost: h")
		if _, err := exampleSigner.Presign(r, exampleTime, c.expires); err != nil {
			t.Fatal(err)
		}
		if _, _, err := newVerifier(t, exampleOptions()).Verify(r); (err == nil) != c.ok {
			t.Errorf("presigned for %v: got %v, want ok %v", c.expires, err, c.ok)
		}
	}
}

func TestAnonymous(t *testing.T) {
	v := newVerifier(t, exampleOptions())
	if _, _, err := v.Verify(parse("GET /b/k?versionId=1 HTTP/1.1\nHost: h")); err != sigv4.ErrAnonymous {
		t.Errorf("no credentials: got %v, want ErrAnonymous", err)
	}
	// Anything that looks like credentials must not pass for none.
	for _, text := range []string{
		"GET /b/k HTTP/1.1\nHost: h\nAuthorization: ",
		"GET /b/k?X-Amz-Signature= HTTP/1.1\nHost: h",
		"GET /b/k?X-Amz-Credential=x HTTP/1.1\nHost: h",
		"GET /b/k?x-amz-algorithm=x HTTP/1.1\nHost: h",
		"GET /b/k?X%2DAmz%2DAlgorithm=x HTTP/1.1\nHost: h",
		"GET /b/k?AWSAccessKeyId=x HTTP/1.1\nHost: h",
	} {
		if _, _, err := v.Verify(parse(text)); err == nil || err == sigv4.ErrAnonymous {
			t.Errorf("%q: got %v, want another error", text, err)
		}
	}
}

func TestAnonymousPayload(t *testing.T) {
	for _, c := range []struct {
		value string
		want  sigv4.Mode
		ok    bool
	}{
		{"UNSIGNED-PAYLOAD", sigv4.Unsigned, true},
		{emptySHA256, sigv4.Signed, true},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", sigv4.StreamingUnsignedTrailer, true},
		{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 0, false},
		{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", 0, false},
		{"junk", 0, false},
	} {
		p, err := sigv4.AnonymousPayload(parse("PUT /b/k HTTP/1.1\nHost: h\nX-Amz-Content-Sha256: " + c.value))
		if (err == nil) != c.ok || c.ok && p.Mode != c.want {
			t.Errorf("%s: got mode %d, %v", c.value, p.Mode, err)
		}
	}
	if p, err := sigv4.AnonymousPayload(parse("PUT /b/k HTTP/1.1\nHost: h")); err != nil || p.Mode != sigv4.Unsigned {
		t.Errorf("no header: got mode %d, %v, want Unsigned", p.Mode, err)
	}
}

// TestDateHeader signs with Date in place of x-amz-date, as some old clients do.
func TestDateHeader(t *testing.T) {
	const unsigned = "GET /b/k HTTP/1.1\nHost: h\nX-Amz-Content-Sha256: " + emptySHA256 + "\nDate: "
	for _, date := range []string{"Fri, 24 May 2013 00:00:00 GMT", "Friday, 24-May-13 00:00:00 GMT", "20130524T000000Z", "Fri, 24 May 2013 02:00:00 +0200"} {
		r := parse(unsigned + date)
		auth, err := exampleSigner.SignAsIs(r, exampleTime, emptySHA256)
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := newVerifier(t, exampleOptions()).Verify(r)
		if err != nil {
			t.Errorf("Date: %s: %v", date, err)
		} else if !got.Time.Equal(auth.Time) {
			t.Errorf("Date: %s: got time %v, want %v", date, got.Time, auth.Time)
		}
	}
	for _, date := range []string{"", "yesterday", "2013-05-24"} {
		r := parse(unsigned + date)
		if _, err := exampleSigner.SignAsIs(r, exampleTime, emptySHA256); err != nil {
			t.Fatal(err)
		}
		var e *sigv4.Error
		if _, _, err := newVerifier(t, exampleOptions()).Verify(r); !errors.As(err, &e) || e.Code != sigv4.AccessDenied {
			t.Errorf("Date: %q: got %v, want AccessDenied", date, err)
		}
	}
}

func TestSkewErrorHasTimes(t *testing.T) {
	opts := exampleOptions()
	now := exampleTime.Add(time.Hour)
	opts.Clock = func() time.Time { return now }
	_, _, err := newVerifier(t, opts).Verify(parse(examples[0].request))
	var e *sigv4.Error
	if !errors.As(err, &e) || !e.RequestTime.Equal(exampleTime) || !e.ServerTime.Equal(now) || e.MaxSkew != 15*time.Minute {
		t.Errorf("got %+v", e)
	}
}

// TestRevoked checks that a secret is not honoured once its key is gone or has a new one, however
// warm the cache is.
func TestRevoked(t *testing.T) {
	opts := exampleOptions()
	current := &versioned{secret: exampleSecret, version: 1, ok: true}
	opts.Secrets = current
	v := newVerifier(t, opts)
	verify := func() sigv4.Code {
		_, _, err := v.Verify(parse(examples[0].request))
		var e *sigv4.Error
		if errors.As(err, &e) {
			return e.Code
		}
		return accepted
	}
	if got := verify(); got != accepted {
		t.Fatalf("before: %v", got)
	}
	*current = versioned{secret: "rotated", version: 2, ok: true}
	if got := verify(); got != sigv4.SignatureDoesNotMatch {
		t.Errorf("rotated: got %v, want SignatureDoesNotMatch", got)
	}
	*current = versioned{}
	if got := verify(); got != sigv4.InvalidAccessKeyID {
		t.Errorf("deleted: got %v, want InvalidAccessKeyId", got)
	}
}

type versioned struct {
	secret  string
	version uint64
	ok      bool
}

func (s *versioned) Lookup(string, string) (sigv4.Secret, error) {
	if !s.ok {
		return sigv4.Secret{}, sigv4.ErrUnknownKey
	}
	return sigv4.Secret{Text: s.secret, Version: s.version}, nil
}

func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	for c := range sigv4.NumCodes {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("code %d is called %q", c, c)
		}
		seen[c.String()] = true
	}
}

func TestVerifyReader(t *testing.T) {
	body := bytes.Repeat([]byte("penstock"), 10_000)
	p, err := sigv4.ParsePayload([]byte(sigv4.Digest(body)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body []byte
		ok   bool
	}{
		"the body": {body, true},
		"longer":   {append(bytes.Clone(body), 0), false},
		"shorter":  {body[:len(body)-1], false},
		"empty":    {nil, false},
		"changed":  {append([]byte("P"), body[1:]...), false},
	} {
		var got bytes.Buffer
		_, err := got.ReadFrom(sigv4.NewVerifyReader(bytes.NewReader(c.body), p))
		var e *sigv4.Error
		if c.ok && err != nil || !c.ok && (!errors.As(err, &e) || e.Code != sigv4.XAmzContentSHA256Mismatch) {
			t.Errorf("%s: got %v, want ok %v", name, err, c.ok)
		}
		if !bytes.Equal(got.Bytes(), c.body) {
			t.Errorf("%s: other bytes came out", name)
		}
	}
}

func TestDecodedPath(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"/b/a+b%20c%2Fd//../.%00", "/b/a+b c/d//../.\x00"},
		{"", ""},
		{"/%e4%F6", "/\xe4\xf6"},
	} {
		if got, err := sigv4.AppendDecodedPath(nil, []byte(c.raw)); err != nil || string(got) != c.want {
			t.Errorf("AppendDecodedPath(%q): got %q, %v, want %q", c.raw, got, err, c.want)
		}
	}
	for _, raw := range []string{"%", "/%2", "/%-1", "/%g0"} {
		if got, err := sigv4.AppendDecodedPath(nil, []byte(raw)); err == nil {
			t.Errorf("AppendDecodedPath(%q): got %q, want an error", raw, got)
		}
	}
}
