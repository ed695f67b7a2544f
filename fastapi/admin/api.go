package admin

import (
	"time"

	"penstock/engine"
	"penstock/fastapi/iam"
)

// Store is what the API needs of the object store.
type Store interface {
	Info() engine.Info
	Stats() engine.Stats
	Gauges() engine.Gauges
}

// Front is what the API needs of the front end.
type Front interface {
	// Operations counts the calls of every operation that was called since the start, by name.
	Operations() []Operation
	// Sockets counts what connections have done since the start.
	Sockets() Sockets
	// Explain says how a request would be decided. Its error is an *Error.
	Explain(Question) (Explanation, error)
}

// API answers calls. It is safe for concurrent use.
type API struct {
	opts  Options
	began time.Time
}

// Options are what an API works on.
type Options struct {
	Store      Store          // Required.
	Front      Front          // Required.
	Identities *iam.Directory // Required.
}

// New returns an API.
func New(opts Options) *API { return &API{opts: opts, began: time.Now()} }
