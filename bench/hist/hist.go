// Package hist counts durations so that any quantile can be read afterwards with an error of less than one per cent,
// in fixed memory and without a lock: buckets are logarithmic, each power of two divided into equal steps, as in HdrHistogram.
package hist

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// stepBits: 64 steps to a power of two; the middle of a step is within 0.8 per cent of all in it.
	stepBits = 6
	steps    = 1 << stepBits

	// maxBits: durations from 2^maxBits ns (36 minutes) on count as that.
	maxBits = 41

	buckets = steps * (maxBits - stepBits + 1)
)

// A Histogram counts durations. Any number of goroutines may Record and read at a time.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64
	max    atomic.Int64
	min    atomic.Int64 // The complement of the least, so that zero means none.
}

// bucketOf: durations below 2^stepBits have a bucket each, the rest a step of their power of two.
func bucketOf(d int64) int {
	if d < steps {
		return int(max(d, 0))
	}
	if d >= 1<<maxBits {
		return buckets - 1
	}
	shift := bits.Len64(uint64(d)) - 1 - stepBits
	return (shift+1)<<stepBits + int(d>>shift) - steps
}

// middle is the duration that stands for a bucket.
func middle(bucket int) int64 {
	if bucket < steps {
		return int64(bucket)
	}
	shift := bucket>>stepBits - 1
	low := int64(bucket&(steps-1)+steps) << shift
	return low + (int64(1)<<shift)/2
}

// Record counts d.
func (h *Histogram) Record(d time.Duration) {
	n := max(int64(d), 0)
	h.counts[bucketOf(n)].Add(1)
	h.sum.Add(n)
	for old := h.max.Load(); n > old && !h.max.CompareAndSwap(old, n); old = h.max.Load() {
	}
	for old := h.min.Load(); (old == 0 || n < ^old) && !h.min.CompareAndSwap(old, ^n); old = h.min.Load() {
	}
}

// Snapshot returns what has been counted so far.
func (h *Histogram) Snapshot() *Snapshot {
	s := &Snapshot{Sum: time.Duration(h.sum.Load()), Max: time.Duration(h.max.Load())}
	if least := h.min.Load(); least != 0 {
		s.Min = time.Duration(^least)
	}
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			s.buckets = append(s.buckets, bucketCount{i, n})
			s.Count += n
		}
	}
	return s
}

// A Snapshot is what a Histogram had counted. Its zero value has counted nothing.
type Snapshot struct {
	Count         uint64
	Sum, Min, Max time.Duration
	buckets       []bucketCount // By bucket, without empty ones.
}

type bucketCount struct {
	bucket int
	count  uint64
}

// Quantile returns the duration that a share q of all did not exceed, 0 when nothing was counted.
func (s *Snapshot) Quantile(q float64) time.Duration {
	if s.Count == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(s.Count))), 1)
	if rank >= s.Count {
		return s.Max
	}
	for _, b := range s.buckets {
		if rank <= b.count {
			return min(max(time.Duration(middle(b.bucket)), s.Min), s.Max)
		}
		rank -= b.count
	}
	return s.Max
}

// Mean returns the mean, 0 when nothing was counted.
func (s *Snapshot) Mean() time.Duration {
	if s.Count == 0 {
		return 0
	}
	return s.Sum / time.Duration(s.Count)
}

// Merge adds what another has counted.
func (s *Snapshot) Merge(other *Snapshot) {
	if other.Count == 0 {
		return
	}
	if s.Count == 0 || other.Min < s.Min {
		s.Min = other.Min
	}
	s.Max = max(s.Max, other.Max)
	s.Count += other.Count
	s.Sum += other.Sum
	var merged []bucketCount
	a, b := s.buckets, other.buckets
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].bucket < b[0].bucket:
			merged, a = append(merged, a[0]), a[1:]
		case len(a) == 0 || b[0].bucket < a[0].bucket:
			merged, b = append(merged, b[0]), b[1:]
		default:
			merged = append(merged, bucketCount{a[0].bucket, a[0].count + b[0].count})
			a, b = a[1:], b[1:]
		}
	}
	s.buckets = merged
}

// stored is the form in a file: buckets as pairs of number and count, under a name for how they are numbered.
type stored struct {
	Buckets string      `json:"buckets"`
	Sum     int64       `json:"sum_ns"`
	Min     int64       `json:"min_ns"`
	Max     int64       `json:"max_ns"`
	Counts  [][2]uint64 `json:"counts"`
}

const numbering = "log64"

// MarshalJSON writes all that was counted.
func (s *Snapshot) MarshalJSON() ([]byte, error) {
	f := stored{numbering, int64(s.Sum), int64(s.Min), int64(s.Max), make([][2]uint64, 0, len(s.buckets))}
	for _, b := range s.buckets {
		f.Counts = append(f.Counts, [2]uint64{uint64(b.bucket), b.count})
	}
	return json.Marshal(f)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Snapshot) UnmarshalJSON(data []byte) error {
	var f stored
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	if f.Buckets != numbering {
		return fmt.Errorf("a histogram with buckets %q; this reads %q", f.Buckets, numbering)
	}
	*s = Snapshot{Sum: time.Duration(f.Sum), Min: time.Duration(f.Min), Max: time.Duration(f.Max)}
	for i, c := range f.Counts {
		if c[0] >= buckets || c[1] == 0 || i > 0 && c[0] <= f.Counts[i-1][0] {
			return fmt.Errorf("a histogram with bucket %d out of place", c[0])
		}
		s.buckets = append(s.buckets, bucketCount{int(c[0]), c[1]})
		s.Count += c[1]
	}
	return nil
}
