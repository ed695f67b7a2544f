package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Sizes say how large objects are.
type Sizes struct {
	classes []sizeClass
	text    string
}

// A sizeClass is a share of all objects. Lengths within it are spread evenly over their logarithm, so that there are as many
// from 1 to 2 MiB as from 2 to 4 MiB.
type sizeClass struct {
	from, to int64 // Both included.
	weight   float64
}

// Fixed are objects of one size.
func Fixed(n int64) Sizes {
	return Sizes{[]sizeClass{{n, n, 1}}, FormatBytes(n)}
}

// Between are objects of sizes from one to the other.
func Between(from, to int64) (Sizes, error) {
	if from < 0 || to < from {
		return Sizes{}, fmt.Errorf("sizes from %d to %d", from, to)
	}
	return Sizes{[]sizeClass{{from, to, 1}}, FormatBytes(from) + "-" + FormatBytes(to)}, nil
}

// ReadHistogram reads sizes from lines of a size or a range of sizes, and its weight: "64KiB 30" or "1MiB-4MiB 0.5". What follows a '#' is
// a comment.
func ReadHistogram(name string, r io.Reader, parse func(string) (int64, error)) (Sizes, error) {
	s := Sizes{text: "histogram " + name}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		class, err := parseClass(words, parse)
		if err != nil {
			return Sizes{}, fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		s.classes = append(s.classes, class)
	}
	if err := lines.Err(); err != nil {
		return Sizes{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(s.classes) == 0 {
		return Sizes{}, fmt.Errorf("%s: no sizes", name)
	}
	return s, nil
}

func parseClass(words []string, parse func(string) (int64, error)) (c sizeClass, err error) {
	if len(words) != 2 {
		return c, errors.New("not a size and a weight")
	}
	from, to, ranged := strings.Cut(words[0], "-")
	if c.from, err = parse(from); err != nil {
		return c, err
	}
	c.to = c.from
	if ranged {
		if c.to, err = parse(to); err != nil {
			return c, err
		}
	}
	if c.to < c.from {
		return c, fmt.Errorf("range %s ends before it begins", words[0])
	}
	if c.weight, err = strconv.ParseFloat(words[1], 64); err != nil || !(c.weight > 0) || math.IsInf(c.weight, 0) {
		return c, fmt.Errorf("weight %q is not a number above 0", words[1])
	}
	return c, nil
}

func (s Sizes) String() string { return s.text }

// Max is the largest size there is.
func (s Sizes) Max() int64 {
	return slices.MaxFunc(s.classes, func(a, b sizeClass) int { return int(min(max(a.to-b.to, -1), 1)) }).to
}

// fixed returns the one size there is.
func (s Sizes) fixed() (n int64, ok bool) {
	if len(s.classes) != 1 || s.classes[0].from != s.classes[0].to {
		return 0, false
	}
	return s.classes[0].from, true
}

// Mean is what objects have on average.
func (s Sizes) Mean() float64 {
	var sum, weights float64
	for _, c := range s.classes {
		mean := float64(c.from)
		if c.to > c.from {
			low, high := float64(c.from)+1, float64(c.to)+1
			mean = (high-low)/math.Log(high/low) - 1
		}
		sum += mean * c.weight
		weights += c.weight
	}
	return sum / weights
}

// draw returns a size.
func (s Sizes) draw(rng *rand.Rand) int64 {
	var weights float64
	for _, c := range s.classes {
		weights += c.weight
	}
	at := rng.Float64() * weights
	c := s.classes[len(s.classes)-1]
	for _, candidate := range s.classes {
		if at < candidate.weight {
			c = candidate
			break
		}
		at -= candidate.weight
	}
	if c.from == c.to {
		return c.from
	}
	low, high := float64(c.from)+1, float64(c.to)+1
	return min(max(int64(low*math.Pow(high/low, rng.Float64()))-1, c.from), c.to)
}

// FormatBytes writes a number of bytes in the unit that leaves the fewest digits.
func FormatBytes(n int64) string {
	units := []string{"TiB", "GiB", "MiB", "KiB"}
	for i, unit := range units {
		size := int64(1) << (10 * (len(units) - i))
		if n >= size {
			return strconv.FormatFloat(float64(n)/float64(size), 'g', 4, 64) + unit
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
