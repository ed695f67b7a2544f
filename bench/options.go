package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"penstock/bench/client"
)

// Options describe one load.
type Options struct {
	Op      string   // One of Operations.
	Hosts   []string // host:port of each; workers are dealt out to them in turn.
	TLS     *tls.Config
	Bucket  string // Made if it is not there, and then removed again.
	Prefix  string // Of all keys; "" = one that no other run has.
	Seed    uint64 // Decides bodies, sizes and order; runs with the same seed do the same.
	Sizes   Sizes
	Payload client.Payload

	Credentials client.Credentials

	Concurrency int           // Workers, with a connection each.
	WarmUp      time.Duration // How long requests are sent before they count.
	Duration    time.Duration // How long requests are begun; 0 = until each object has been had once.
	Objects     int           // Objects to read, list or delete; of uploads, how many names are written in turn, 0 = a new one each time.
	Rate        float64       // Requests a second, in all; 0 = as many as the workers get done.
	Stable      Stability     // When to end before Duration is over.

	Cache      CacheState
	ColdAction func() error // Empties the caches, after the objects were made; required for Cold.

	Verify bool // Compare every byte that comes back with what was stored.
	Keep   bool // Leave what was made.
	Reuse  bool // Take the objects as a run with the same Prefix, Seed, Sizes and Objects left them.

	Range      RangeOptions
	List       ListOptions
	Delete     DeleteOptions
	Mix        []Share
	Multipart  MultipartOptions
	Epoch      EpochOptions
	Checkpoint CheckpointOptions

	Roof       Roof           // What the servers' machine could do at best.
	ServerPID  int            // Process whose CPU time is the server's, on this machine; 0 = unknown.
	ServerCost bool           // Ask the hosts what they spent.
	Progress   func(Progress) // Called once a second, and while objects are made; may be nil.
}

// RangeOptions are those of "range".
type RangeOptions struct {
	Len   int64 // Bytes to read.
	Align int64 // Where ranges begin: at multiples of it.
}

// ListOptions are those of "list".
type ListOptions struct {
	PageLen int // Keys asked for at a time.
}

// DeleteOptions are those of "delete".
type DeleteOptions struct {
	Batch int // Keys in a request; 1 = a DELETE of each.
}

// A Share is how often a kind of request comes in "mixed", compared with the others.
type Share struct {
	Kind   Kind // Get, Head, Put or Delete.
	Weight int
}

// MultipartOptions are those of "multipart", and of the uploads of "checkpoint".
type MultipartOptions struct {
	PartLen int64
}

// EpochOptions are those of "epoch". Ranks are processes that train together, each with loader workers that fetch whole
// batches ahead.
type EpochOptions struct {
	Ranks    int
	Workers  int           // Of each rank; Ranks × Workers is the Concurrency.
	BatchLen int           // Samples.
	Prefetch int           // Batches that a worker is ahead at most.
	Step     time.Duration // How long the accelerators compute for each batch.
}

// CheckpointOptions are those of "checkpoint".
type CheckpointOptions struct {
	Writers int           // Each uploads one object, over a connection of its own.
	Len     int64         // Of each object.
	Every   time.Duration // From the beginning of a checkpoint to that of the next; the first begins after half of it.
}

// CacheState is what is known of the caches when the window opens. Results of different states are not compared.
type CacheState string

// The states.
const (
	AsIs CacheState = "as is" // Nothing: what preparing left in them.
	Warm CacheState = "warm"  // Each object was read before.
	Cold CacheState = "cold"  // They were emptied, and each object is read once at most.
)

// Stability is when a throughput counts as settled: when every sixth of the last Over lies within Within of their mean.
type Stability struct {
	Over   time.Duration // 0 = never.
	Within float64
}

// Progress is how far a run is.
type Progress struct {
	Phase      string
	Done, Of   int64         // Of the phase; Of is 0 when it has no known end.
	Elapsed    time.Duration // Of the phase.
	PerSecond  float64       // Requests in the last second,
	BytesASec  float64       // and their bytes.
	Errors     uint64
	Concluding bool // No new requests begin.
}

// maxPage bounds what S3 returns and takes in one request.
const maxPage = 1000

// An OptionError says that Options contradict themselves, or ask for what there is not.
type OptionError struct{ err error }

func (e *OptionError) Error() string { return e.err.Error() }
func (e *OptionError) Unwrap() error { return e.err }

func (o *Options) check() error {
	op, ok := operations[o.Op]
	switch {
	case !ok:
		return fmt.Errorf("there is no operation %q", o.Op)
	case len(o.Hosts) == 0:
		return errors.New("no host to measure")
	case o.Concurrency < 1:
		return fmt.Errorf("%d requests at a time", o.Concurrency)
	case o.Duration < 0 || o.WarmUp < 0 || o.Objects < 0 || o.Rate < 0:
		return errors.New("durations, objects and rate cannot be below 0")
	case o.Duration == 0 && o.Objects == 0:
		return errors.New("neither a duration nor a number of objects says when to end")
	case op.needs && o.Objects == 0:
		return fmt.Errorf("%s needs a number of objects", o.Op)
	case o.Duration == 0 && o.WarmUp > 0:
		return errors.New("a warm-up needs a duration: without one, each object is had once")
	case o.Credentials.AccessKey == "" && o.Payload.Mode.ChunksSigned():
		return errors.New("signed chunks need credentials")
	case o.Stable.Over > 0 && !(o.Stable.Within > 0):
		return errors.New("a stable throughput needs a tolerance above 0")
	}
	if err := checkName("bucket", o.Bucket); err != nil {
		return err
	}
	if o.Prefix != "" {
		if err := checkName("prefix", o.Prefix); err != nil {
			return err
		}
	}
	if err := o.checkCache(op); err != nil {
		return err
	}
	if op.check != nil {
		return op.check(o)
	}
	return nil
}

func (o *Options) checkCache(op operation) error {
	switch o.Cache {
	case AsIs:
		return nil
	case Warm:
		if !op.reads {
			return fmt.Errorf("%s reads nothing that could be warm", o.Op)
		}
		return nil
	case Cold:
		switch {
		case !op.reads:
			return fmt.Errorf("%s reads nothing that could be cold", o.Op)
		case o.ColdAction == nil:
			return errors.New("cold caches need a way to empty them")
		case o.WarmUp > 0:
			return errors.New("a warm-up would warm the caches")
		}
		return nil
	}
	return fmt.Errorf("%q is not a state of caches", o.Cache)
}

// checkName accepts what needs no encoding in a path: keys are built for each request.
func checkName(what, name string) error {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '/' && what != "bucket":
		default:
			return fmt.Errorf("%s %q: only letters, digits, '-', '.' and '_'", what, name)
		}
	}
	if name == "" || name[0] == '/' || name[len(name)-1] == '/' {
		return fmt.Errorf("%s %q is empty, or begins or ends with a slash", what, name)
	}
	return nil
}
