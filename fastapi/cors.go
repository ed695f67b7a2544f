package fastapi

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"penstock/engine"
)

// A bucket may say which pages of other origins browsers let at it. Browsers ask beforehand, without a signature, by OPTIONS; and every
// answer to a request with an Origin says what its page may see. None of it is a permission: whoever is no browser does not ask.

// Amazon's limits.
const (
	maxCORSRules = 100
	maxCORSID    = 255 // Characters.
)

// corsRule is one rule of a bucket's configuration.
type corsRule struct {
	id      string
	origins []string // Each with one asterisk at most.
	methods []string
	headers []string // That requests may have, in lower case; each with one asterisk at most.
	expose  []string // Headers of answers that pages may see.
	maxAge  int      // Seconds for which the answer to OPTIONS holds; -1 where it says nothing.
}

// corsMethods are those that can be allowed.
var corsMethods = []string{"GET", "PUT", "POST", "DELETE", "HEAD"}

// putBucketCors answers PutBucketCors.
func (r *request) putBucketCors() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	if _, err := parseCORS(doc); err != nil {
		return err
	}
	if err := r.setBucketAttr(attrCORS, doc, nil); err != nil {
		return err
	}
	return r.answerEmpty(200)
}

// getBucketCors answers GetBucketCors.
func (r *request) getBucketCors() error {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	if len(b.cors) == 0 {
		return errNoCORS.with("BucketName", r.bucket)
	}
	w := newXML("CORSConfiguration", 256*len(b.cors))
	for i := range b.cors {
		b.cors[i].write(&w)
	}
	w.close("CORSConfiguration")
	return r.answerXML(w)
}

// deleteBucketCors answers DeleteBucketCors.
func (r *request) deleteBucketCors() error {
	if err := r.setBucketAttr(attrCORS, "", nil); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

func (c *corsRule) write(w *xmlWriter) {
	w.open("CORSRule")
	w.optional("ID", c.id)
	for _, list := range [...]struct {
		name  string
		items []string
	}{{"AllowedOrigin", c.origins}, {"AllowedMethod", c.methods}, {"AllowedHeader", c.headers}, {"ExposeHeader", c.expose}} {
		for _, item := range list.items {
			w.text(list.name, item)
		}
	}
	if c.maxAge >= 0 {
		w.int("MaxAgeSeconds", int64(c.maxAge))
	}
	w.close("CORSRule")
}

// storedCORS returns the rules among a bucket's attributes.
func storedCORS(info *engine.BucketInfo) ([]corsRule, error) {
	doc := info.Attr(attrCORS)
	if doc == "" {
		return nil, nil
	}
	rules, err := parseCORS(doc)
	if err != nil {
		return nil, errInternal.because(err)
	}
	return rules, nil
}

// parseCORS reads a CORSConfiguration document.
func parseCORS(doc string) (rules []corsRule, err error) {
	x := newXMLReader(doc)
	x.root("CORSConfiguration")
	for name := x.child(); name != ""; name = x.child() {
		if name != "CORSRule" {
			return nil, errMalformedXML
		}
		if len(rules) == maxCORSRules {
			return nil, errInvalidRequest.message("The number of CORS rules should not exceed allowed limit of 100 rules.")
		}
		rule, err := parseCORSRule(x)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if err := x.end(); err != nil {
		return nil, err
	}
	if len(rules) == 0 {
		return nil, errMalformedXML
	}
	for i := range rules {
		if err := rules[i].check(); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func parseCORSRule(x *xmlReader) (c corsRule, err error) {
	c.maxAge = -1
	for name := x.child(); name != ""; name = x.child() {
		text := x.text()
		switch name {
		case "ID":
			c.id = text
		case "AllowedOrigin":
			c.origins = append(c.origins, text)
		case "AllowedMethod":
			c.methods = append(c.methods, text)
		case "AllowedHeader":
			c.headers = append(c.headers, text)
		case "ExposeHeader":
			c.expose = append(c.expose, text)
		case "MaxAgeSeconds":
			n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
			if err != nil || n < 0 {
				return c, errMalformedXML
			}
			c.maxAge = int(n)
		default:
			return c, errMalformedXML
		}
	}
	if len(c.origins) == 0 || len(c.methods) == 0 {
		return c, errMalformedXML
	}
	return c, nil
}

// check judges the values of a rule whose elements are as they should be.
func (c *corsRule) check() error {
	if utf8.RuneCountInString(c.id) > maxCORSID {
		return errInvalidRequest.message("The ID of a CORS rule should not exceed allowed limit of 255 characters.")
	}
	for _, method := range c.methods {
		if !slices.Contains(corsMethods, method) {
			return errInvalidRequest.message("Found unsupported HTTP method in CORS config. Unsupported method is " + method)
		}
	}
	for _, origin := range c.origins {
		if strings.Count(origin, "*") > 1 {
			return errInvalidRequest.message(`AllowedOrigin "` + origin + `" can not have more than one wildcard.`)
		}
	}
	for _, header := range c.headers {
		switch {
		case strings.Count(header, "*") > 1:
			return errInvalidRequest.message(`AllowedHeader "` + header + `" can not have more than one wildcard.`)
		case !isToken(header):
			return errInvalidRequest.message(`AllowedHeader "` + header + `" contains invalid character.`)
		}
	}
	for _, header := range c.expose {
		switch {
		case strings.Contains(header, "*"):
			return errInvalidRequest.message(`ExposeHeader "` + header + `" contains wildcard. We currently do not support wildcard for ExposeHeader.`)
		case !isToken(header):
			// It is put in a header of answers, where a line break would begin another one.
			return errInvalidRequest.message(`ExposeHeader "` + header + `" contains invalid character.`)
		}
	}
	return nil
}

// isToken reports whether s can be the name of a header.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
