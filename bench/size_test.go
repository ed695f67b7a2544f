package bench

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func parseNumber(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

func TestHistogram(t *testing.T) {
	sizes, err := ReadHistogram("f", strings.NewReader("# sizes\n100 3\n\n1000-4000 1 # few\n"), parseNumber)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var small, low, sum float64
	const n = 100_000
	for range n {
		size := sizes.draw(rng)
		sum += float64(size)
		switch {
		case size == 100:
			small++
		case size < 1000 || size > 4000:
			t.Fatalf("drew %d", size)
		case size < 2000:
			low++
		}
	}
	if math.Abs(small/n-0.75) > 0.01 || math.Abs(low/n-0.125) > 0.01 {
		t.Errorf("got %v of 100 and %v below 2000; want 0.75 and 0.125", small/n, low/n)
	}
	if mean := sum / n; math.Abs(sizes.Mean()-mean) > mean/50 {
		t.Errorf("Mean: got %v; drew %v", sizes.Mean(), mean)
	}
	if sizes.Max() != 4000 {
		t.Errorf("Max: got %d; want 4000", sizes.Max())
	}
	for _, bad := range []string{"", "# none\n", "100\n", "100 0\n", "100 -1\n", "x 1\n", "200-100 1\n", "100 1 1\n", "1-y 1\n", "5 Inf\n", "5 NaN\n"} {
		if _, err := ReadHistogram("f", strings.NewReader(bad), parseNumber); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

func TestBetween(t *testing.T) {
	for _, test := range [][2]int64{{0, 0}, {0, 1}, {1, 1 << 20}, {5, 6}} {
		sizes, err := Between(test[0], test[1])
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		for range 1000 {
			if n := sizes.draw(rng); n < test[0] || n > test[1] {
				t.Fatalf("%v: drew %d", test, n)
			}
		}
	}
	if _, err := Between(2, 1); err == nil {
		t.Error("from 2 to 1: got no error")
	}
}

func TestStability(t *testing.T) {
	s := Stability{Over: 12 * sampleEvery, Within: 0.05}
	flat := func(n int, v float64) []float64 {
		var all []float64
		for range n {
			all = append(all, v)
		}
		return all
	}
	for _, test := range []struct {
		name    string
		samples []float64
		want    bool
	}{
		{"too few", flat(11, 100), false},
		{"flat", flat(12, 100), true},
		{"nothing happens", flat(12, 0), false},
		{"a slow start that is over", append(flat(5, 10), flat(12, 100)...), true},
		{"a slow start that is not", append(flat(3, 10), flat(9, 100)...), false},
		{"noise within a part", []float64{90, 110, 110, 90, 90, 110, 110, 90, 90, 110, 110, 90}, true},
		{"a slope", []float64{80, 84, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124}, false},
		{"a dip at the end", append(flat(10, 100), 80, 80), false},
	} {
		if got := s.reached(test.samples); got != test.want {
			t.Errorf("%s: got %v; want %v", test.name, got, test.want)
		}
	}
	if (Stability{}).reached(flat(100, 1)) {
		t.Error("switched off, it was reached")
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 64 << 20: "64MiB", 1 << 40: "1TiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d): got %s; want %s", n, got, want)
		}
	}
}
