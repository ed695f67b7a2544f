package hist

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	last := -1
	for d := int64(0); d < 1<<42; d += 1 + d/300 {
		b := bucketOf(d)
		if b < last || b >= buckets {
			t.Fatalf("bucketOf(%d): got %d after %d", d, b, last)
		}
		last = b
		if m := middle(b); d < 1<<maxBits && math.Abs(float64(m-d)) > float64(d)/100 {
			t.Fatalf("%d counts as %d", d, m)
		}
		if bucketOf(middle(b)) != b {
			t.Fatalf("the middle of bucket %d lies in bucket %d", b, bucketOf(middle(b)))
		}
	}
	if last != buckets-1 {
		t.Errorf("the longest duration counts in bucket %d of %d", last, buckets)
	}
}

func TestQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(math.Exp(rng.NormFloat64()*2 + 12))
		all = append(all, d)
		h.Record(d)
	}
	slices.Sort(all)
	s := h.Snapshot()
	for _, q := range []float64{0, 0.001, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1} {
		want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
		got := s.Quantile(q)
		if math.Abs(float64(got-want)) > float64(want)/100 {
			t.Errorf("Quantile(%v): got %v; want %v within a hundredth", q, got, want)
		}
	}
	if s.Min != all[0] || s.Max != all[len(all)-1] || s.Count != uint64(len(all)) {
		t.Errorf("got min %v max %v count %d; want %v %v %d", s.Min, s.Max, s.Count, all[0], all[len(all)-1], len(all))
	}
}

func TestEmpty(t *testing.T) {
	var h Histogram
	s := h.Snapshot()
	if s.Quantile(0.99) != 0 || s.Mean() != 0 || s.Count != 0 {
		t.Errorf("got %+v; want nothing", s)
	}
}

// TestMerge splits durations over two histograms at random; merged, and through JSON, they must be as one that saw all.
func TestMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 2, 1000} {
		var whole Histogram
		parts := []*Histogram{new(Histogram), new(Histogram)}
		for range n {
			d := time.Duration(rng.Int64N(int64(time.Second)))
			whole.Record(d)
			parts[rng.IntN(2)].Record(d)
		}
		got := new(Snapshot)
		for _, p := range parts {
			data, err := json.Marshal(p.Snapshot())
			if err != nil {
				t.Fatal(err)
			}
			var back Snapshot
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			got.Merge(&back)
		}
		if want := whole.Snapshot(); !reflect.DeepEqual(got, want) {
			t.Errorf("%d durations: got %+v; want %+v", n, got, want)
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for _, data := range []string{`{}`, `{"buckets":"other"}`, `{"buckets":"log64","counts":[[999999,1]]}`,
		`{"buckets":"log64","counts":[[3,1],[2,1]]}`, `{"buckets":"log64","counts":[[3,0]]}`, `[]`} {
		if err := json.Unmarshal([]byte(data), new(Snapshot)); err == nil {
			t.Errorf("%s: got no error", data)
		}
	}
}

func TestConcurrent(t *testing.T) {
	var h Histogram
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 1000 {
				h.Record(time.Duration(i + 1))
			}
		})
	}
	group.Wait()
	s := h.Snapshot()
	if s.Count != 8000 || s.Min != 1 || s.Max != 1000 || s.Sum != 8*500500 {
		t.Errorf("got %d counted, min %v, max %v, sum %v", s.Count, s.Min, s.Max, s.Sum)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
