package fastapi

import (
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"
)

// answerAfter is how long an answer may take before its status is sent without it, and how often a sign of life follows.
// Clients that stream model weights give up after a second of silence.
const answerAfter = 700 * time.Millisecond

// document is an answer that takes its time.
type document struct {
	xml     xmlWriter
	headers []detail // Left out when the status had to be sent before they were known.
}

// slowly answers with the document that work returns. As Amazon does for completions and copies, it sends status 200 and
// then white space while the work goes on for longer; a failure after that is an Error document below status 200.
//
// work runs beyond the handler, so it must not touch the request; id is for the log.
func (r *request) slowly(work func() (document, error)) error {
	done := make(chan slowResult, 1)
	log, id := r.srv.log, r.id
	missing := r.mask(errNoSuchKey)
	r.srv.work.Go(func() {
		doc, err := guardedWork(work, log, id)
		if absent(err) && missing != errNoSuchKey {
			err = missing // The answer may be written when there is no request any more to mask it for.
		}
		done <- slowResult{doc, err}
	})
	timer := time.NewTimer(answerAfter)
	defer timer.Stop()
	// HTTP/1.0 has no way to send a body of unknown length and keep the connection; such a client waits.
	if !r.ctx.Request.Header.IsHTTP11() {
		return r.answerResult(<-done)
	}
	select {
	case result := <-done:
		return r.answerResult(result)
	case <-timer.C:
	}
	r.ctx.Response.Header.SetContentType(xmlType)
	r.answerStream(&slowAnswer{done: done, log: log, id: id, resource: r.path(), hostID: r.srv.hostID}, -1)
	return nil
}

type slowResult struct {
	doc document
	err error
}

func (r *request) answerResult(result slowResult) error {
	if result.err != nil {
		return result.err
	}
	for _, h := range result.doc.headers {
		r.setHeader(h.name, h.value)
	}
	return r.answerXML(result.doc.xml)
}

func guardedWork(work func() (document, error), log *slog.Logger, id requestID) (doc document, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic while serving a request", "request", string(id[:]), "panic", p, "stack", string(debug.Stack()))
			err = errInternal
		}
	}()
	return work()
}

// slowAnswer is the body of an answer that is not there yet.
type slowAnswer struct {
	done             chan slowResult
	log              *slog.Logger
	id               requestID
	resource, hostID string
	started          bool
}

var _ fasthttp.BodyWriterTo = (*slowAnswer)(nil)

func (a *slowAnswer) SupportsBodyWriteTo() bool { return true }

// Read exists because a body stream is a reader; fasthttp uses WriteTo.
func (a *slowAnswer) Read([]byte) (int, error) {
	return 0, fmt.Errorf("fastapi: a slow answer is written, not read")
}

// WriteTo writes the XML declaration, a line feed every answerAfter, and the document once it is there. fasthttp flushes
// each write as a chunk.
func (a *slowAnswer) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	write := func(p []byte) error {
		n, err := w.Write(p)
		total += int64(n)
		return err
	}
	if err := write([]byte(xmlHeader)); err != nil {
		return total, err
	}
	ticker := time.NewTicker(answerAfter)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := write([]byte("\n")); err != nil {
				return total, err
			}
		case result := <-a.done:
			doc := result.doc.xml
			if result.err != nil {
				e := toAPI(result.err)
				a.log.Error("request failed after its status was sent", "request", string(a.id[:]), "code", e.code, "err", result.err)
				doc = errorBody(e, a.resource, string(a.id[:]), a.hostID)
			}
			return total, write(doc[len(xmlHeader):])
		}
	}
}
