package admin

import (
	"context"
	"sync"
	"time"

	"penstock/engine"
	"penstock/fastapi/iam"
)

// Store is what the API needs of the object store.
type Store interface {
	Forecaster
	Info() engine.Info
	Stats() engine.Stats
	Gauges() engine.Gauges
	Healing
	Buckets
	Compaction
	DriveKeeping
}

// Front is what the API needs of the front end.
type Front interface {
	// Operations counts the calls of every operation that was called since the start, by name.
	Operations() []Operation
	// Sockets counts what connections have done since the start.
	Sockets() Sockets
	// Watch returns the requests that a filter takes, as they end, until ctx does. Whoever lags far behind misses some.
	Watch(context.Context, Filter) <-chan *Request
	// Draining reports whether load balancers are told that the node is going away; SetDraining tells them so, or no more.
	Draining() bool
	SetDraining(bool)
	// Metrics returns what a scrape would.
	Metrics() ([]byte, error)
	// Explain says how a request would be decided. Its error is an *Error.
	Explain(Question) (Explanation, error)
	// BucketETags says what ETags of a bucket are; SetBucketETags chooses.
	BucketETags(ctx context.Context, bucket string) (BucketETags, error)
	SetBucketETags(ctx context.Context, bucket, etags string) error
}

// API answers calls. It is safe for concurrent use.
type API struct {
	opts      Options
	began     time.Time
	profiling sync.Mutex // Held while a profile is taken that only one can be of at a time.
	verifying sync.Mutex // Held while a verification is under way.
}

// Options are what an API works on.
type Options struct {
	Store      Store          // Required.
	Front      Front          // Required.
	Identities *iam.Directory // Required.
	Process    Process        // nil is none: calls that need it answer 501.
}

// New returns an API.
func New(opts Options) *API { return &API{opts: opts, began: time.Now()} }
