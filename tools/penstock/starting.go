package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

// Paths that load balancers and orchestrators ask. Live: the process runs. Ready: it serves every request.
const (
	livePath  = "/penstock/health/live"
	readyPath = "/penstock/health/ready"
)

// starting answers on the listeners while the store opens: live but not ready, and 503 to every request, with the
// error that S3 clients wait and retry on. It takes the port before the drives are touched, so that a port in use is
// found out at once, and a client that is early gets an answer instead of a refused connection.
//
// It is net/http's server, not the front end's: it must not depend on anything that is still being opened.
type starting struct {
	listeners []net.Listener
	server    *http.Server
	done      chan struct{} // One value for each listener whose Serve returned.
}

// serveStarting begins to answer at the doors. Their listeners must have deadlines, as those of TCP have.
func serveStarting(doors []door) *starting {
	s := &starting{
		server: &http.Server{
			Handler:           http.HandlerFunc(answerStarting),
			ReadHeaderTimeout: 5 * time.Second,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          log.New(io.Discard, "", 0), // What early clients do wrong is theirs to see.
		},
		done: make(chan struct{}, len(doors)),
	}
	s.server.SetKeepAlivesEnabled(false) // No connection outlives this server: each belongs to the next one.
	for _, d := range doors {
		s.listeners = append(s.listeners, d.Listener)
		var lent net.Listener = lent{d.Listener}
		if d.secure != nil {
			lent = tls.NewListener(lent, d.secure)
		}
		go func() {
			s.server.Serve(lent) // Its error is always that of hand-over.
			s.done <- struct{}{}
		}()
	}
	return s
}

// handOver stops answering and leaves the listeners to the caller, open, with whatever connection already waits in their queues.
func (s *starting) handOver() error {
	for _, listener := range s.listeners {
		if err := listener.(deadliner).SetDeadline(time.Now()); err != nil {
			return err
		}
	}
	for range s.listeners {
		<-s.done
	}
	// Answers under way are short; a client too slow to take one is cut off.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
	for _, listener := range s.listeners {
		if err := listener.(deadliner).SetDeadline(time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

type deadliner interface{ SetDeadline(time.Time) error }

// lent is a listener that its server cannot close, and whose deadline ends the server.
type lent struct{ net.Listener }

func (l lent) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = net.ErrClosed // The server would take a timeout for a passing trouble and try again.
	}
	return conn, err
}

func (l lent) Close() error { return nil }

func answerStarting(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "Penstock")
	if r.URL.Path == livePath {
		return
	}
	w.Header().Set("Retry-After", "1")
	if r.URL.Path == readyPath {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method != http.MethodHead {
		io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+
			"<Error><Code>ServiceUnavailable</Code><Message>The service is starting. Please try again.</Message></Error>")
	}
}
