package bench

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"penstock/bench/client"
)

// bodiesMem bounds how much is hashed to prepare bodies: half a second of work.
const bodiesMem = 512 << 20

// Numbers of bodies: enough that two objects seldom have the same, few enough that their digests are computed once and kept. Primes, so that no
// regular choice of objects meets few bodies.
const (
	minBodies = 7
	maxBodies = 1021
)

// Objects are those that a run writes and reads. The n-th has its name and its bytes from n alone, so any run can compute them.
type objects struct {
	bucket  string
	prefix  string // Of keys, before the number.
	bodies  []*client.Body
	written atomic.Uint64 // All numbers below it may be there.
}

func newObjects(o *Options, prefix string, sizes Sizes) *objects {
	all := &objects{bucket: o.Bucket, prefix: prefix + "/"}
	pattern := client.NewPattern(o.Seed)
	rng := rand.New(rand.NewPCG(o.Seed, 0x73697a6573))
	count := min(max(int(bodiesMem/max(sizes.Mean(), 1)), minBodies), maxBodies)
	for n := range count {
		all.bodies = append(all.bodies, pattern.Body(uint64(n), sizes.draw(rng)))
	}
	return all
}

// wrote remembers that the n-th object may be there.
func (o *objects) wrote(n uint64) {
	for old := o.written.Load(); n >= old && !o.written.CompareAndSwap(old, n+1); old = o.written.Load() {
	}
}

// prepareBodies computes the digests that sending the bodies needs.
func prepareBodies(bodies []*client.Body, p client.Payload) error {
	var group sync.WaitGroup
	errs := make(chan error, 1)
	for worker := range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := worker; i < len(bodies); i += runtime.GOMAXPROCS(0) {
				if err := bodies[i].Prepare(p); err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return fmt.Errorf("bodies: %w", err)
	default:
		return nil
	}
}

// body returns the bytes of the n-th object.
func (o *objects) body(n uint64) *client.Body { return o.bodies[n%uint64(len(o.bodies))] }

// keyDigits: names of one length sort by number.
const keyDigits = 10

// appendPath appends the path of the n-th object.
func (o *objects) appendPath(dst []byte, n uint64) []byte {
	dst = append(append(dst, '/'), o.bucket...)
	return o.appendKey(append(dst, '/'), n)
}

// appendKey appends the key of the n-th object.
func (o *objects) appendKey(dst []byte, n uint64) []byte {
	return appendNumber(append(dst, o.prefix...), n)
}

func appendNumber(dst []byte, n uint64) []byte {
	var digits [keyDigits]byte
	for i := keyDigits - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, digits[:]...)
}
