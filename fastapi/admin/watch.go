package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Request says who did what, from where, and how it ended. It holds no credential: of a presigned target only the path is kept.
type Request struct {
	Time      time.Time `json:"time"`       // When the request began.
	RequestID string    `json:"request_id"` // The answer's x-amz-request-id, and the server log's.
	Remote    string    `json:"remote"`
	AccessKey string    `json:"access_key,omitempty"` // Whose signature was right; empty for nobody's.
	Identity  string    `json:"identity,omitempty"`   // Whom that key speaks for: "root", a user, or a role and its session.
	Operation string    `json:"operation"`
	Action    string    `json:"action,omitempty"`
	Method    string    `json:"method"`
	Bucket    string    `json:"bucket,omitempty"`
	Key       string    `json:"key,omitempty"`
	Path      string    `json:"path"` // As it came, without the query.
	VersionID string    `json:"version_id,omitempty"`
	Status    int       `json:"status"`
	ErrorCode string    `json:"error_code,omitempty"`
	Received  int64     `json:"received_bytes"`
	Sent      int64     `json:"sent_bytes"`
	Seconds   float64   `json:"seconds"`
	UserAgent string    `json:"user_agent,omitempty"`
	TLS       bool      `json:"tls"`
}

// Filter chooses requests. Its zero value takes all.
type Filter struct {
	Operation, Method, Bucket, Prefix, Key string // Key is an access key.
	Remote                                 string // An address, without its port.
	Failed                                 bool
	Slower                                 time.Duration
}

// Takes reports whether the filter lets a request through.
func (f *Filter) Takes(r *Request) bool {
	switch {
	case f.Operation != "" && !strings.EqualFold(f.Operation, r.Operation),
		f.Method != "" && !strings.EqualFold(f.Method, r.Method),
		f.Bucket != "" && f.Bucket != r.Bucket,
		!strings.HasPrefix(r.Key, f.Prefix),
		f.Key != "" && f.Key != r.AccessKey,
		f.Failed && r.Status < 400,
		r.Seconds < f.Slower.Seconds():
		return false
	}
	if f.Remote == "" {
		return true
	}
	from, err := netip.ParseAddrPort(r.Remote)
	return err == nil && from.Addr().Unmap().String() == f.Remote
}

func watchRoutes() []*Route {
	return []*Route{{
		Method: "GET", Path: "/requests", Name: "WatchRequests", Action: "admin:WatchRequests",
		Summary: "Requests as they end, a document on a line each, until the caller goes away; empty lines show that the node lives.",
		Params: []Param{
			{Name: "operation", Summary: "Only these, such as GetObject."},
			{Name: "method", Summary: "Only with this method of HTTP."},
			{Name: "bucket", Summary: "Only of this bucket."},
			{Name: "prefix", Summary: "Only of keys that begin so."},
			{Name: "access-key", Summary: "Only signed with this access key."},
			{Name: "remote", Summary: "Only from this address."},
			{Name: "failed", Summary: "true: only those with a status of 400 or above."},
			{Name: "slower", Summary: "Only those that took as long, such as 50ms."},
		},
		Answer: Request{}, Type: "application/x-ndjson", handle: (*API).watchRequests,
	}}
}

// watchPulse is how often a stream shows that it lives. It is also how soon a caller is missed who went away while nothing happened.
const watchPulse = 5 * time.Second

func (a *API) watchRequests(c *Call) (any, error) {
	f := Filter{
		Operation: c.Query("operation"), Method: c.Query("method"), Bucket: c.Query("bucket"), Prefix: c.Query("prefix"),
		Key: c.Query("access-key"), Remote: c.Query("remote"),
	}
	if text := c.Query("failed"); text != "" {
		var err error
		if f.Failed, err = strconv.ParseBool(text); err != nil {
			return nil, invalid("failed is %q, want true or false", text)
		}
	}
	if text := c.Query("slower"); text != "" {
		var err error
		if f.Slower, err = time.ParseDuration(text); err != nil || f.Slower < 0 {
			return nil, invalid("slower is %q, want a duration such as 50ms", text)
		}
	}
	if f.Remote != "" {
		addr, err := netip.ParseAddr(f.Remote)
		if err != nil {
			return nil, invalid("remote is %q, want an address", f.Remote)
		}
		f.Remote = addr.Unmap().String()
	}
	return Stream(func(ctx context.Context, w io.Writer) error {
		requests := a.opts.Front.Watch(ctx, f)
		pulse := time.NewTicker(watchPulse)
		defer pulse.Stop()
		if _, err := io.WriteString(w, "\n"); err != nil { // The caller knows by it that nothing will be missed from here on.
			return err
		}
		for {
			line := []byte("\n")
			select {
			case <-ctx.Done():
				return nil
			case r := <-requests:
				doc, err := json.Marshal(r)
				if err != nil {
					return err
				}
				line = append(doc, '\n')
			case <-pulse.C:
			}
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
	}), nil
}
