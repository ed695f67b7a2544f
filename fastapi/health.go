package fastapi

import "strings"

// healthPrefix is the one path that is not S3. No bucket can have its name.
const healthPrefix = "/" + reservedBucket + "/health/"

var (
	liveness  = &operation{row: row{name: "Live", action: "health", handle: (*request).live}}
	readiness = &operation{row: row{name: "Ready", action: "health", handle: (*request).ready}}
)

// health returns the operation of a health check, which needs no credentials and tells no secrets, or nil.
func (s *Server) health(r *request) *operation {
	name, ok := strings.CutPrefix(r.rawPath, healthPrefix)
	if method := string(r.ctx.Method()); !ok || method != "GET" && method != "HEAD" {
		return nil
	}
	switch name {
	case "live":
		return liveness
	case "ready":
		return readiness
	}
	return nil
}

func (r *request) live() error { return r.answerText("live\n") }

// Draining implements admin.Front.
func (s *Server) Draining() bool { return s.drained.Load() || s.draining.Load() }

// SetDraining implements admin.Front.
func (s *Server) SetDraining(on bool) { s.drained.Store(on) }

// ready answers 200 while requests are taken and can be served.
func (r *request) ready() error {
	if r.srv.Draining() {
		return errServiceUnavailable
	}
	if err := r.srv.store.Ready(r.srv.ctx); err != nil {
		return errServiceUnavailable.because(err)
	}
	return r.answerText("ready\n")
}

func (r *request) answerText(text string) error {
	r.ctx.Response.Header.SetContentType("text/plain; charset=utf-8")
	r.ctx.Response.SetBodyString(text)
	return nil
}
