package drive

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// latencyBuckets covers 1 µs to 2^24 µs (17 s) in quarters of an octave, within 19 % of the truth.
const latencyBuckets = 24 * 4

// Latency is a histogram of durations.
type Latency [latencyBuckets]uint64

// bucketOf returns the bucket of a duration: the octave of its quarter-microseconds, and the two bits below.
func bucketOf(d time.Duration) int {
	quarters := uint64(max(d*4/time.Microsecond, 4))
	octave := bits.Len64(quarters) - 3
	return min(octave*4+int(quarters>>octave&3), latencyBuckets-1)
}

// BucketBound returns the duration below which all of bucket i lies.
func BucketBound(i int) time.Duration {
	octave, quarter := i/4, i%4
	return time.Duration(5+quarter) << octave * time.Microsecond / 4
}

// Count returns how many durations the histogram holds.
func (l *Latency) Count() uint64 {
	var n uint64
	for _, c := range l {
		n += c
	}
	return n
}

// Quantile returns a bound that the fraction q of the durations lies below, or 0 for none.
func (l *Latency) Quantile(q float64) time.Duration {
	n := l.Count()
	if n == 0 {
		return 0
	}
	want := uint64(q * float64(n))
	var seen uint64
	for i, c := range l {
		if seen += c; seen > want || seen == n {
			return BucketBound(i)
		}
	}
	return BucketBound(latencyBuckets - 1)
}

// OpStats counts the ops of one kind since the drive was opened.
type OpStats struct {
	Ops     uint64
	Bytes   uint64 // Carried over, of failed ops too.
	Errors  uint64
	Time    time.Duration // Sum over all ops.
	Latency Latency
}

// Stats is what a drive has done since it was opened.
type Stats struct {
	Reads, Writes OpStats
}

// counters is the live form of Stats.
type counters [Write + 1]opCounters

type opCounters struct {
	ops, bytes, errors, time atomic.Uint64
	latency                  [latencyBuckets]atomic.Uint64
}

func (c *counters) count(k Kind, n int, d time.Duration, err error) {
	o := &c[k]
	o.ops.Add(1)
	o.bytes.Add(uint64(n))
	o.time.Add(uint64(d))
	if err != nil {
		o.errors.Add(1)
	}
	o.latency[bucketOf(d)].Add(1)
}

// Stats returns a copy. Its fields are each right, not all of one instant.
func (c *counters) Stats() Stats { return Stats{Reads: c[Read].stats(), Writes: c[Write].stats()} }

func (o *opCounters) stats() OpStats {
	s := OpStats{Ops: o.ops.Load(), Bytes: o.bytes.Load(), Errors: o.errors.Load(), Time: time.Duration(o.time.Load())}
	for i := range o.latency {
		s.Latency[i] = o.latency[i].Load()
	}
	return s
}
