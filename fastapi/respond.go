package fastapi

import (
	"github.com/valyala/fasthttp"
)

// setIDs puts the ids on a response; every one has them.
func (s *Server) setIDs(ctx *fasthttp.RequestCtx, id *requestID) {
	h := &ctx.Response.Header
	h.SetBytesV("x-amz-request-id", id[:])
	h.Set("x-amz-id-2", s.hostID)
}

// fail answers with an error, whatever was prepared before.
func (r *request) fail(err error) {
	if r.level != levelAdmin {
		err = r.mask(err)
	}
	e := toAPI(err)
	if r.isAdmin() {
		e = r.adminError(err)
	}
	r.failure = e.code
	switch {
	case e.code == errSlowDown.code:
		// There may be thousands a second, and they are no fault: they are what keeps the node up.
		r.log().Debug("request refused", "method", string(r.ctx.Method()), "path", r.path(), "err", err)
	case e.status >= 500 && e.status != 501 && (e.status != 503 || e.cause != nil):
		r.log().Error("request failed", "method", string(r.ctx.Method()), "path", r.path(), "code", e.code, "err", err)
	}
	resp := &r.ctx.Response
	resp.Reset()
	resp.Header.DisableNormalizing()
	resp.Header.SetNoDefaultContentType(true)
	resp.SetStatusCode(e.status)
	switch {
	case e.status == 503:
		resp.Header.Set("Retry-After", "1")
	case e.status == 405:
		resp.Header.Set("Allow", allowedMethods(r))
	}
	for _, h := range e.headers {
		resp.Header.Set(h.name, h.value)
	}
	for i := range e.details {
		if e.details[i].name == "ActualObjectSize" {
			resp.Header.Set("Content-Range", "bytes */"+e.details[i].value)
		}
	}
	if !r.framed || !r.bodyDone && r.mayBeSending() {
		// What the client still sends cannot be told from a next request unless it is read, so the connection ends here,
		// once the client had its chance to read the answer.
		resp.Header.SetConnectionClose()
		if r.conn != nil {
			r.conn.linger.Store(true)
		}
	}
	if string(r.ctx.Method()) == "HEAD" {
		resp.SkipBody = true
		return
	}
	if r.isAdmin() {
		r.answerJSON(e.status, adminFailure(e, string(r.id[:])))
		return
	}
	resp.Header.SetContentType(xmlType)
	if r.op == stsOperation {
		resp.SetBodyRaw(stsErrorBody(e, string(r.id[:])))
		return
	}
	resp.SetBodyRaw(errorBody(e, r.path(), string(r.id[:]), r.srv.hostID))
}

// maxDrainLen is how much of an unread body fasthttp reads away to keep a connection.
const maxDrainLen = 64 << 10

// mayBeSending reports whether the request announced a body that is too long to be read away, or of unknown length.
func (r *request) mayBeSending() bool {
	n := r.ctx.Request.Header.ContentLength()
	return n == -1 || n > maxDrainLen
}

// errorBody writes an error as S3 does.
func errorBody(e *apiError, resource, requestID, hostID string) xmlWriter {
	w := make(xmlWriter, 0, 512)
	w = append(w, xmlHeader...)
	w.open("Error")
	w.text("Code", e.code)
	w.text("Message", e.text)
	for _, d := range e.details {
		w.text(d.name, d.value)
	}
	w.text("Resource", resource)
	w.text("RequestId", requestID)
	w.text("HostId", hostID)
	w.close("Error")
	return w
}
