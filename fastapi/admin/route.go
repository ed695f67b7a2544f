package admin

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"penstock/fastapi/iam"
)

// Prefix is where the API is: every path begins with it.
const Prefix = "/penstock/admin/v1"

// Route is one row of the table: something that an administrator may ask of a node.
type Route struct {
	Method  string
	Path    string // Below Prefix. {name} stands for one segment, which the call has under that name.
	Name    string // Of the operation.
	Action  string // What the caller must be allowed to do; never empty.
	Summary string // For the description: one line.
	Params  []Param
	Body    any    // A zero document of what must be sent, or nil for none.
	Answer  any    // A zero document of the answer; for a Stream, of each line; or nil where the answer is none.
	Type    string // Content type of the answer; "" means JSON.
	handle  func(*API, *Call) (any, error)
}

// Param is a query parameter.
type Param struct {
	Name, Summary string
	Required      bool
}

// Routes returns the table.
func Routes() []*Route { return routes }

// routes is the table. The first row whose method and path fit is the one.
var routes []*Route

func init() { // Not an initialiser: the description, which is one of the answers, is made from the table.
	routes = slices.Concat([]*Route{
		{Method: "GET", Path: "/openapi.json", Name: "OpenAPI", Action: "admin:OpenAPI", Summary: "This description.", Type: "application/json", handle: (*API).openAPI},
		{Method: "GET", Path: "/info", Name: "Info", Action: "admin:Info", Summary: "What this node is, and the state of its drives.", Answer: Info{}, handle: (*API).info},
		{Method: "GET", Path: "/cost", Name: "Cost", Action: "admin:Cost", Summary: "Counters of what serving has cost since the start.", Answer: Cost{}, handle: (*API).cost},
	}, healingRoutes(), driveRoutes(), compactRoutes(), bucketRoutes(), etagRoutes(), identityRoutes(), keyRoutes(), explainRoutes(), watchRoutes(), processRoutes(), supportRoutes())
}

// Match finds the route of a request. path is as it came over the wire, below Prefix. Where no row has the path, allowed is empty; where
// only the method is wrong, it names those that are right.
func Match(method, path string) (route *Route, args map[string]string, allowed []string) {
	for _, r := range routes {
		args, ok := r.match(path)
		switch {
		case !ok:
		case r.Method == method:
			return r, args, nil
		case !slices.Contains(allowed, r.Method):
			allowed = append(allowed, r.Method)
		}
	}
	return nil, nil, allowed
}

func (r *Route) match(path string) (args map[string]string, ok bool) {
	want := r.Path
	for want != "" {
		var name, segment string
		name, want = cutSegment(want)
		segment, path = cutSegment(path)
		segment, err := url.PathUnescape(segment)
		switch {
		case err != nil || segment == "":
			return nil, false
		case name[0] != '{':
			if name != segment {
				return nil, false
			}
		default:
			if args == nil {
				args = make(map[string]string)
			}
			args[strings.Trim(name, "{}")] = segment
		}
	}
	return args, path == ""
}

// cutSegment takes the first segment from a path that begins with a slash.
func cutSegment(path string) (segment, rest string) {
	path, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", path
	}
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// Call is one call of the API: authenticated, authorised, and with its body read.
type Call struct {
	Context context.Context
	Route   *Route
	Args    map[string]string   // Of the path.
	Query   func(string) string // Value of a parameter, "" if it was not given.
	Body    string
	Caller  string // The access key.

	Identity *iam.Identity // Whom that speaks for.
}

// Serve carries out a call. The answer is nil, a document to be sent as JSON, or a Stream.
func (a *API) Serve(c *Call) (any, error) {
	for _, p := range c.Route.Params {
		if p.Required && c.Query(p.Name) == "" {
			return nil, invalid("the parameter %q is missing", p.Name)
		}
	}
	return c.Route.handle(a, c)
}

// Stream is an answer that is written piece by piece. It ends with ctx, which ends with the node, or when w fails because the caller
// has gone. Each write is sent at once.
type Stream func(ctx context.Context, w io.Writer) error

// Error is a failure as the caller is told of it.
type Error struct {
	Status  int    // Of HTTP.
	Code    string // For programs.
	Message string // For people.
	Err     error  // The cause, for the log, if Message does not have it.
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }
func (e *Error) Unwrap() error { return e.Err }

// Failure is the document of an answer that is not 2xx.
type Failure struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
}

func invalid(format string, args ...any) error {
	return &Error{Status: 400, Code: "InvalidRequest", Message: fmt.Sprintf(format, args...)}
}
