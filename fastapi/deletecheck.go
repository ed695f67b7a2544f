package fastapi

import (
	"time"

	"penstock/engine"
)

// deleteConditions are what a deletion may depend on. They are about the current version of the key, whichever version is deleted.
type deleteConditions struct {
	etag     string // Of If-Match, "" for none.
	modified string // Of x-amz-if-match-last-modified-time.
	size     string // Of x-amz-if-match-size.
}

// readDeleteConditions reads the headers.
func readDeleteConditions(h *headers) (c deleteConditions, err error) {
	if _, ok := h.lookup("if-none-match"); ok {
		return c, notImplemented("Header", "If-None-Match")
	}
	c.etag, c.modified, c.size = h.get("if-match"), h.get("x-amz-if-match-last-modified-time"), h.get("x-amz-if-match-size")
	return c, nil
}

// check returns the engine's check, or nil when the deletion depends on nothing.
func (c deleteConditions) check() (engine.Check, error) {
	if c == (deleteConditions{}) {
		return nil, nil
	}
	size := int64(-1)
	if c.size != "" {
		var ok bool
		if size, ok = parseOffset(c.size); !ok {
			return nil, invalidArgument("The size is not a number.", "x-amz-if-match-size", c.size)
		}
	}
	var modified time.Time
	if c.modified != "" {
		if modified = parseDate(c.modified); modified.IsZero() {
			return nil, invalidArgument("The time is not one.", "x-amz-if-match-last-modified-time", c.modified)
		}
	}
	return func(current *engine.ObjectInfo) error {
		switch {
		case current == nil && c.etag == "*":
			return errPrecondition.with("Condition", "If-Match")
		case current == nil:
			return errNoSuchKey
		case c.etag != "" && !etagMatches(c.etag, current.ETag):
			return errPrecondition.with("Condition", "If-Match")
		case size >= 0 && size != current.Size:
			return errPrecondition.with("Condition", "x-amz-if-match-size")
		case !modified.IsZero() && !modified.Truncate(time.Second).Equal(current.Modified.Truncate(time.Second)):
			return errPrecondition.with("Condition", "x-amz-if-match-last-modified-time")
		}
		return nil
	}, nil
}

// parseDate reads a date of a header or of a document; the zero time is "none".
func parseDate(s string) time.Time {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t
	}
	return parseHTTPDate(s)
}
