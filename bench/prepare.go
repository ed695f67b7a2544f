package bench

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"penstock/bench/client"
	"penstock/fastapi/sigv4"
)

const (
	// prepareTries: what is not measured may be tried again; a server that starts up or is overloaded says no a few times.
	prepareTries = 5

	// cleanLimit is how long removing what was made may take, however the run ended.
	cleanLimit = 5 * time.Minute
)

// prepare brings the bucket and the objects into the state that the window begins with.
func (r *run) prepare(ctx context.Context) error {
	for _, all := range r.sets() {
		if err := prepareBodies(all.bodies, r.opts.Payload); err != nil {
			return err
		}
	}
	if err := r.makeBucket(ctx); err != nil {
		return err
	}
	if r.op.needs && !r.opts.Reuse {
		err := r.each(ctx, "preparing", uint64(r.opts.Objects), func(w *worker, n uint64) error { return w.put(r.objects, n) })
		if err != nil {
			return fmt.Errorf("preparing objects: %w", err)
		}
	}
	switch r.opts.Cache {
	case Warm:
		err := r.each(ctx, "warming", uint64(r.opts.Objects), func(w *worker, n uint64) error { return w.get(Get, n) })
		if err != nil {
			return fmt.Errorf("reading objects once: %w", err)
		}
	case Cold:
		r.closeWorkers() // The server may be restarted.
		if err := r.opts.ColdAction(); err != nil {
			return fmt.Errorf("emptying the caches: %w", err)
		}
	}
	return nil
}

// sets are the objects of the run, of every kind.
func (r *run) sets() []*objects {
	if r.uploads != nil {
		return []*objects{r.objects, r.uploads}
	}
	return []*objects{r.objects}
}

// each has all workers do something for the numbers below count. The first error that does not go away ends it.
func (r *run) each(ctx context.Context, phase string, count uint64, do func(*worker, uint64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Uint64
	var group sync.WaitGroup
	begun := time.Now()
	for _, w := range r.workers {
		group.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= count || ctx.Err() != nil {
					return
				}
				if err := w.patiently(ctx, n, do); err != nil {
					cancel(err)
					return
				}
				done.Add(1)
			}
		})
	}
	finished := make(chan struct{})
	go func() { group.Wait(); close(finished) }()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			if done.Load() < count {
				return context.Cause(ctx)
			}
			return nil
		case <-tick.C:
			r.progress(Progress{Phase: phase, Done: int64(done.Load()), Of: int64(count), Elapsed: time.Since(begun)})
		}
	}
}

func (w *worker) patiently(ctx context.Context, n uint64, do func(*worker, uint64) error) error {
	for try := 1; ; try++ {
		err := do(w, n)
		if err == nil {
			return nil
		}
		var wrong *client.WrongAnswerError
		if try == prepareTries || ctx.Err() != nil || errors.As(err, &wrong) || denied(err) {
			return err
		}
		w.pause(ctx)
	}
}

func statusOf(err error) int {
	if status, ok := errors.AsType[*client.StatusError](err); ok {
		return status.Status
	}
	return 0
}

// denied reports whether trying again is of no use.
func denied(err error) bool {
	status := statusOf(err)
	return status >= 300 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout
}

func (r *run) makeBucket(ctx context.Context) error {
	w := r.workers[0]
	path := []byte("/" + r.opts.Bucket)
	for try := 1; ; try++ {
		q := w.begin("HEAD")
		q.Path = path
		err := w.conn.Do(ctx, q, &w.resp)
		switch {
		case err == nil:
			return nil
		case statusOf(err) == http.StatusNotFound && r.opts.Reuse:
			return fmt.Errorf("bucket %s is not there", r.opts.Bucket)
		case statusOf(err) == http.StatusNotFound:
			q := w.begin("PUT")
			q.Path = path
			if err = w.conn.Do(ctx, q, &w.resp); err == nil {
				r.madeBucket = true
				return nil
			}
		}
		if try == prepareTries || denied(err) || statusOf(err) == 0 || ctx.Err() != nil {
			if r.opts.Credentials.AccessKey == "" && statusOf(err) == http.StatusForbidden {
				return fmt.Errorf("bucket %s: %w, without credentials", r.opts.Bucket, err)
			}
			return fmt.Errorf("bucket %s: %w", r.opts.Bucket, err)
		}
		w.failed = try
		w.pause(ctx)
	}
}

// clean removes what was made.
func (r *run) clean() error {
	if r.opts.Keep || r.opts.Reuse {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, cleanLimit)
	defer cancel()
	r.rec.live.Store(false)
	var err error
	for _, all := range r.sets() {
		written := all.written.Load()
		batches := (written + maxPage - 1) / maxPage
		err = errors.Join(err, r.each(ctx, "cleaning up", batches, func(w *worker, n uint64) error {
			return w.deleteBatch(all, n*maxPage, min((n+1)*maxPage, written))
		}))
	}
	if err == nil && r.madeBucket {
		w := r.workers[0]
		q := w.begin("DELETE")
		q.Path = []byte("/" + r.opts.Bucket)
		if err = w.conn.Do(ctx, q, &w.resp); statusOf(err) == http.StatusConflict {
			err = nil // Somebody else uses the bucket meanwhile.
		}
	}
	if err != nil {
		return fmt.Errorf("removing what was made: %w", err)
	}
	return nil
}

// deleteBatch removes the objects from one number up to another in one request. That some are not there is no error to S3.
func (w *worker) deleteBatch(all *objects, from, to uint64) error {
	w.text = append(w.text[:0], "<Delete><Quiet>true</Quiet>"...)
	for n := from; n < to; n++ {
		w.text = append(w.text, "<Object><Key>"...)
		w.text = all.appendKey(w.text, n)
		w.text = append(w.text, "</Key></Object>"...)
	}
	w.text = append(w.text, "</Delete>"...)
	w.path = append(append(w.path[:0], '/'), all.bucket...)
	r := w.begin("POST")
	r.Path, r.Query = w.path, deleteQuery
	if err := w.document(r, w.text); err != nil {
		return err
	}
	return w.do(DeleteBatch, 0)
}

var deleteQuery = []byte("delete=")

// document makes b the body of a request that is not an upload, and has the answer looked at: it may say 200 and then no. S3 wants the MD5 of
// some documents.
func (w *worker) document(r *client.Request, b []byte) error {
	r.Check = xmlError
	r.Body = client.NewBody(b)
	r.Payload = client.Payload{Mode: sigv4.Signed, ContentMD5: true}
	return r.Body.Prepare(r.Payload)
}

// xmlError is what a document in an answer with status 200 says went wrong; nil if it says nothing of the kind.
func xmlError(document []byte) error {
	var found struct {
		XMLName xml.Name
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
		Errors  []struct {
			Key, Code, Message string
		} `xml:"Error"`
	}
	if err := xml.Unmarshal(document, &found); err != nil {
		return &client.WrongAnswerError{What: "not XML: " + err.Error()}
	}
	switch {
	case found.XMLName.Local == "Error":
		return &client.StatusError{Status: http.StatusOK, Code: found.Code, Message: found.Message}
	case len(found.Errors) > 0:
		first := found.Errors[0]
		return &client.StatusError{Status: http.StatusOK, Code: first.Code, Message: first.Key + ": " + first.Message + ", and " +
			strconv.Itoa(len(found.Errors)-1) + " more"}
	}
	return nil
}
