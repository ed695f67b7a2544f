package fastapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"penstock/engine"
	"penstock/fastapi/admin"
	"penstock/fastapi/policy"
	"penstock/fastapi/sigv4"
)

// adminOperations continues the table of operations with the routes of the administration API, so that a call of it is
// authenticated, authorised and counted as every other request.
var adminOperations = func() map[*admin.Route]*operation {
	m := make(map[*admin.Route]*operation)
	for _, route := range admin.Routes() {
		op := newAdminOperation(row{method: route.Method, level: levelAdmin, name: route.Name, action: route.Action, handle: (*request).serveAdmin})
		m[route] = &op
	}
	return m
}()

// newAdminOperation completes a row of the administration API. An action that policies do not know by its name, they know as admin:Other,
// which nobody has who was not given all of admin:*.
func newAdminOperation(r row) operation {
	act, ok := policy.ActionOf(r.action)
	if !ok {
		act = policy.MustAction("admin:Other")
	}
	return operation{row: r, act: act}
}

// maxAdminDoc bounds the document that comes with a call. The longest are policies.
const maxAdminDoc = 1 << 20

// isAdmin reports whether the request is for the administration API, whether or not it has such a path.
func (r *request) isAdmin() bool {
	if r.srv.admin == nil || !strings.HasPrefix(r.rawPath, admin.Prefix+"/") && r.rawPath != metricsPath {
		return false
	}
	_, virtual := virtualBucket(r.host, r.srv.domains)
	return !virtual
}

// routeAdmin finds the operation of a call of the administration API.
func (r *request) routeAdmin() (*operation, error) {
	r.level = levelAdmin
	if r.rawPath == metricsPath {
		if !isRead(r) {
			return nil, errMethodNotAllowed
		}
		return metricsOperation, nil
	}
	if r.srv.opts.AdminCertificates {
		if state := r.ctx.TLSConnectionState(); state == nil || len(state.VerifiedChains) == 0 {
			return nil, errAccessDenied.message("The administration API of this node serves only clients that show a certificate of an authority it trusts.")
		}
	}
	route, args, allowed := admin.Match(string(r.ctx.Method()), strings.TrimPrefix(r.rawPath, admin.Prefix))
	switch {
	case route != nil:
		r.admin.Route, r.admin.Args = route, args
		return adminOperations[route], nil
	case len(allowed) > 0:
		return nil, errMethodNotAllowed
	}
	return nil, &admin.Error{Status: 404, Code: "NoSuchRoute", Message: "the administration API has no " + r.rawPath + "; GET " + admin.Prefix + "/openapi.json describes what it has"}
}

// serveAdmin answers a call of the administration API.
func (r *request) serveAdmin() error {
	c := &r.admin
	if r.auth.Presigned {
		// Such a link is made to be passed on, and ends in histories and logs.
		return errAccessDenied.message("Calls of the administration API are signed in their headers, never in the URL.")
	}
	if c.Route.Body != nil {
		if r.auth.Payload.Mode != sigv4.Signed && !r.ctx.IsTLS() {
			return errAccessDenied.message("Without TLS, the body of a call of the administration API must be signed.")
		}
		var err error
		if c.Body, err = r.readDocument(maxAdminDoc, checksum{}); err != nil {
			return err
		}
	}
	r.setHeader("Cache-Control", "no-store") // One of the answers holds a secret.
	c.Context, c.Query, c.Caller = r.srv.ctx, r.param, r.identity.AccessKey
	c.Identity = r.identity
	answer, err := r.srv.admin.Serve(c)
	if err != nil {
		return err
	}
	switch answer := answer.(type) {
	case nil:
		r.ctx.Response.SetStatusCode(204)
		return nil
	case admin.Stream:
		r.ctx.Response.Header.SetContentType(cmp.Or(c.Route.Type, "application/json"))
		r.answerStream(&adminStream{write: answer, srv: r.srv}, -1)
		return nil
	case []byte:
		err := r.answerJSON(200, answer)
		r.ctx.Response.Header.SetContentType(cmp.Or(c.Route.Type, "application/json"))
		return err
	}
	doc, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return r.answerJSON(200, append(doc, '\n'))
}

func (r *request) answerJSON(status int, doc []byte) error {
	r.ctx.Response.SetStatusCode(status)
	r.ctx.Response.Header.SetContentType("application/json")
	r.ctx.Response.SetBodyRaw(doc)
	return nil
}

// adminError answers a call of the administration API with a failure.
func (r *request) adminError(err error) *apiError {
	e, ok := errors.AsType[*admin.Error](err)
	if !ok {
		a := toAPI(err)
		e = &admin.Error{Status: a.status, Code: a.code, Message: a.text, Err: a.cause}
		if failure, ok := errors.AsType[*engine.Error](err); ok && failure.Err != nil {
			e.Message = failure.Err.Error() // An administrator may know.
		}
	}
	return &apiError{status: e.Status, code: e.Code, text: e.Message, cause: e.Err}
}

// adminFailure is the body of a failed call.
func adminFailure(e *apiError, requestID string) []byte {
	doc, err := json.Marshal(admin.Failure{Code: e.code, Message: e.text, RequestID: requestID})
	if err != nil {
		panic("fastapi: three strings do not marshal: " + err.Error())
	}
	return append(doc, '\n')
}

// adminStream is the body of an answer that is written piece by piece.
type adminStream struct {
	write admin.Stream
	srv   *Server
}

func (s *adminStream) SupportsBodyWriteTo() bool { return true }

func (s *adminStream) Read([]byte) (int, error) {
	return 0, fmt.Errorf("fastapi: a stream is written, not read")
}

// WriteTo writes until the stream ends, the caller goes away, or the server is asked to stop. fasthttp sends each write as a chunk.
func (s *adminStream) WriteTo(w io.Writer) (n int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.srv.log.Error("panic while serving a request", "panic", p, "stack", string(debug.Stack()))
			err = errInternal
		}
	}()
	ctx, cancel := context.WithCancel(s.srv.ctx)
	defer cancel()
	stop := context.AfterFunc(s.srv.stopping, cancel)
	defer stop()
	counted := &countingWriter{w: w}
	err = s.write(ctx, counted)
	return counted.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
