package fastapi

import (
	"strings"
	"time"

	"penstock/engine"
)

// conditions are the conditional headers of a request, or of a copy's source.
type conditions struct {
	ifMatch, ifNoneMatch       string
	ifModified, ifUnmodified   time.Time
	hasIfMatch, hasIfNoneMatch bool
}

// readConditions reads the four headers whose names start with prefix. A date that does not parse is ignored (RFC 9110, 13.1.3).
func readConditions(h *headers, prefix string) conditions {
	var c conditions
	// Most requests have none of them; one look at the names costs less than four searches.
	for i := range h.fields {
		name, ok := strings.CutPrefix(h.fields[i].name, prefix)
		if !ok || !strings.HasPrefix(name, "if-") {
			continue
		}
		value := h.fields[i].value
		switch name {
		case "if-match":
			c.ifMatch, c.hasIfMatch = value, true
		case "if-none-match":
			c.ifNoneMatch, c.hasIfNoneMatch = value, true
		case "if-modified-since":
			c.ifModified = parseHTTPDate(value)
		case "if-unmodified-since":
			c.ifUnmodified = parseHTTPDate(value)
		}
	}
	return c
}

// checkRead evaluates the conditions of a GET or HEAD in the order of RFC 9110, 13.2.2.
// Dates count in seconds, which is all that Last-Modified shows.
func (c *conditions) checkRead(etag string, modified time.Time) error {
	modified = modified.Truncate(time.Second)
	if c.hasIfMatch {
		if !etagMatches(c.ifMatch, etag) {
			return errPrecondition.with("Condition", "If-Match")
		}
	} else if !c.ifUnmodified.IsZero() && modified.After(c.ifUnmodified) {
		return errPrecondition.with("Condition", "If-Unmodified-Since")
	}
	if c.hasIfNoneMatch {
		if etagMatches(c.ifNoneMatch, etag) {
			return errNotModified
		}
	} else if !c.ifModified.IsZero() && !modified.After(c.ifModified) {
		return errNotModified
	}
	return nil
}

// checkSource is checkRead for the source of a copy, where nothing is "not modified".
func (c *conditions) checkSource(src *engine.ObjectInfo) error {
	err := c.checkRead(src.ETag, src.Modified)
	if err == errNotModified {
		name := "x-amz-copy-source-If-Modified-Since"
		if c.hasIfNoneMatch {
			name = "x-amz-copy-source-If-None-Match"
		}
		return errPrecondition.with("Condition", name)
	}
	return err
}

// writeCheck returns the engine's check for a conditional write, or nil when the write is unconditional.
// As with Amazon, If-None-Match takes only the asterisk.
func (c *conditions) writeCheck() (engine.Check, error) {
	if !c.hasIfMatch && !c.hasIfNoneMatch {
		return nil, nil
	}
	if c.hasIfNoneMatch && c.ifNoneMatch != "*" {
		return nil, notImplemented("Header", "If-None-Match")
	}
	if c.hasIfMatch && c.hasIfNoneMatch {
		return nil, errInvalidRequest.message("If-Match and If-None-Match cannot be given together.")
	}
	match, none := c.ifMatch, c.hasIfNoneMatch
	return func(current *engine.ObjectInfo) error {
		switch {
		case none && current != nil:
			return errPrecondition.with("Condition", "If-None-Match")
		case none:
			return nil
		case current == nil:
			return errNoSuchKey
		case !etagMatches(match, current.ETag):
			return errPrecondition.with("Condition", "If-Match")
		}
		return nil
	}, nil
}

// etagMatches reports whether a list of ETags holds etag or is the asterisk. Clients leave the quotes out, or mark
// the tag as weak; neither makes it another tag.
func etagMatches(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(trimSpace(one), "W/")
		if one == "*" || unquote(one) == etag {
			return true
		}
	}
	return false
}

// unquote takes an ETag out of its quotes.
func unquote(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}

// parseHTTPDate reads a date in any of the three formats of RFC 9110; the zero time is "none".
func parseHTTPDate(s string) time.Time {
	for _, layout := range [...]string{httpDate, time.RFC850, time.ANSIC, time.RFC1123Z} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"
