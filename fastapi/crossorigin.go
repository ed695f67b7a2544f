package fastapi

import (
	"slices"
	"strings"

	"penstock/fastapi/sigv4"
)

// corsVary is what answers depend on where there are rules.
const corsVary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

// corsQuestion is what a request asks of the rules.
type corsQuestion struct {
	origin  string
	method  string
	headers []string // In lower case.
}

// readCORSQuestion reads it from the headers. Those of OPTIONS count in every request, as with Amazon. An origin, and a header that is
// asked about, comes back in the answer; what could not be one is never allowed.
func readCORSQuestion(h *headers, method string) (q corsQuestion, ok bool) {
	q.origin, q.method = h.get("origin"), method
	if asked, given := h.lookup("access-control-request-method"); given {
		q.method = asked
	}
	if asked := h.get("access-control-request-headers"); asked != "" {
		for name := range strings.SplitSeq(asked, ",") {
			name = strings.ToLower(trimSpace(name))
			if name == "" {
				continue
			}
			if !isToken(name) {
				return q, false
			}
			q.headers = append(q.headers, name)
		}
	}
	return q, printable(q.origin) == q.origin
}

// answers returns the first rule that allows what is asked, and the origin of it that fits.
func answers(rules []corsRule, q *corsQuestion) (*corsRule, string) {
	for i := range rules {
		rule := &rules[i]
		if !slices.Contains(rule.methods, q.method) || !rule.allowsHeaders(q.headers) {
			continue
		}
		for _, origin := range rule.origins {
			if fits(origin, q.origin) {
				return rule, origin
			}
		}
	}
	return nil, ""
}

func (c *corsRule) allowsHeaders(headers []string) bool {
	for _, h := range headers {
		if !slices.ContainsFunc(c.headers, func(pattern string) bool { return fits(strings.ToLower(pattern), h) }) {
			return false
		}
	}
	return true
}

// fits reports whether s is what a pattern of one asterisk at most stands for.
func fits(pattern, s string) bool {
	before, after, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// allowOrigin puts on the answer what a rule says. Credentials go with an origin that is named, never with everybody.
func (r *request) allowOrigin(rule *corsRule, origin string, q *corsQuestion) {
	if origin == "*" {
		r.setHeader("Access-Control-Allow-Origin", "*")
	} else {
		r.setHeader("Access-Control-Allow-Origin", q.origin)
		r.setHeader("Access-Control-Allow-Credentials", "true")
	}
	r.setHeader("Access-Control-Allow-Methods", strings.Join(rule.methods, ", "))
	if len(q.headers) > 0 {
		r.setHeader("Access-Control-Allow-Headers", strings.Join(q.headers, ", "))
	}
	if len(rule.expose) > 0 {
		r.setHeader("Access-Control-Expose-Headers", strings.Join(rule.expose, ", "))
	}
	if rule.maxAge >= 0 {
		r.setHeader("Access-Control-Max-Age", itoa(rule.maxAge))
	}
}

// crossOrigin completes an answer, be it an error, for the page that asked. Where there are rules, caches are told that answers differ by
// origin, also when the request had none: Amazon leaves that out, and then a cache hands a page what was an answer to nobody.
func (r *request) crossOrigin() {
	if r.bucket == "" || r.op == preflight {
		return
	}
	_, asked := r.head.lookup("origin")
	b := r.states[0]
	if b == nil || b.info.Name != r.bucket {
		if !asked {
			return
		}
		var err error
		if b, err = r.srv.bucketState(r.bucket); err != nil {
			return
		}
	}
	if len(b.cors) == 0 {
		return
	}
	r.setHeader("Vary", corsVary)
	if !asked {
		return
	}
	if q, ok := readCORSQuestion(&r.head, string(r.ctx.Method())); ok {
		if rule, origin := answers(b.cors, &q); rule != nil {
			r.allowOrigin(rule, origin, &q)
		}
	}
}

const methodOptions = "OPTIONS"

// preflight is OPTIONS, at any bucket or key. It is not signed: it says what the rules allow, and does nothing.
var preflight = &operation{row: row{method: methodOptions, level: levelObject, name: "Preflight", action: "none", handle: (*request).answerPreflight}}

// beginPreflight makes the request a preflight, if it is one.
func (r *request) beginPreflight() bool {
	if string(r.ctx.Method()) != methodOptions || r.isAdmin() {
		return false
	}
	found, err := r.target.resolve(r.host, r.srv.domains)
	if err != nil || found.level == levelService {
		return false
	}
	r.resource, r.op, r.identity, r.auth = found, preflight, anonymous, new(sigv4.Auth)
	return true
}

// answerPreflight answers OPTIONS.
func (r *request) answerPreflight() error {
	if r.head.get("origin") == "" {
		return errBadRequest.message("Insufficient information. Origin request header needed.")
	}
	q, ok := readCORSQuestion(&r.head, methodOptions)
	refuse := func(text string, kind level) error {
		return errAccessForbidden.message("CORSResponse: "+text).with("Method", printable(q.method)).with("ResourceType", strings.ToUpper(kind.String()))
	}
	b, err := r.srv.bucketState(r.bucket)
	switch {
	case err != nil && toAPI(err).code == errNoSuchBucket.code:
		return refuse("Bucket not found", levelBucket)
	case err != nil:
		return err
	case len(b.cors) == 0:
		return refuse("CORS is not enabled for this bucket.", levelBucket)
	case q.method == methodOptions:
		return errBadRequest.message("Invalid Access-Control-Request-Method: null")
	case !slices.Contains(corsMethods, q.method):
		return errBadRequest.message("Invalid Access-Control-Request-Method: " + printable(q.method))
	}
	r.setHeader("Vary", corsVary)
	var rule *corsRule
	var origin string
	if ok {
		rule, origin = answers(b.cors, &q)
	}
	if rule == nil {
		return refuse("This CORS request is not allowed. This is usually because the evalution of Origin, request method / "+
			"Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.", r.level)
	}
	r.allowOrigin(rule, origin, &q)
	return r.answerEmpty(200)
}
