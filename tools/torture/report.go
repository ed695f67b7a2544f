package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// A report counts over all campaigns.
type report struct {
	kills, duringStart, cuts, faults, checks, verified, untold atomic.Int64

	mu         sync.Mutex // Guards the fields below.
	rounds     map[string]*tally
	starts     tally
	heals      tally
	campaigns  int
	states     []*state
	left       map[string]bool // What this machine cannot do, and why.
	violations []string
}

// A tally counts something that takes time.
type tally struct {
	count int
	sum   time.Duration
	most  time.Duration
}

func (t *tally) add(d time.Duration) {
	t.count++
	t.sum += d
	t.most = max(t.most, d)
}

func (t *tally) mean() time.Duration {
	if t.count == 0 {
		return 0
	}
	return (t.sum / time.Duration(t.count)).Round(time.Millisecond)
}

func newReport() *report {
	return &report{rounds: map[string]*tally{}, left: map[string]bool{}}
}

func (r *report) round(name string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rounds[name] == nil {
		r.rounds[name] = &tally{}
	}
	r.rounds[name].add(took)
}

func (r *report) started(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts.add(took)
}

func (r *report) healing(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heals.add(took)
}

// leave notes what is left out.
func (r *report) leave(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left[reason] = true
}

// violation notes what was found.
func (r *report) violation(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violations = append(r.violations, text)
}

// campaign notes that one begins.
func (r *report) campaign(s *state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.campaigns++
	r.states = append(r.states, s)
}

// found returns how many violations there are.
func (r *report) found() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.violations)
}

// print writes the report.
func (r *report) print(out io.Writer, seed uint64, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var acknowledged, unknown, refusals, reads int64
	for _, s := range r.states {
		acknowledged += s.acknowledged.Load()
		unknown += s.unknown.Load()
		refusals += s.refusals.Load()
		reads += s.reads.Load()
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "seeds\t%d to %d\n", seed, seed+uint64(max(r.campaigns, 1))-1)
	fmt.Fprintf(w, "time\t%v\n", took.Round(time.Second))
	fmt.Fprintf(w, "campaigns\t%d\n", r.campaigns)
	fmt.Fprintf(w, "writes\t%d acknowledged, %d refused, %d nobody knows the end of\n", acknowledged, refusals, unknown)
	fmt.Fprintf(w, "reads held against the oracle\t%d, and %d checks of everything; %d questions had no answer while drives were gone\n",
		reads, r.checks.Load(), r.untold.Load())
	fmt.Fprintf(w, "kill -9\t%d, %d of them and of the power cuts during start\n", r.kills.Load(), r.duringStart.Load())
	fmt.Fprintf(w, "power cuts\t%d\n", r.cuts.Load())
	fmt.Fprintf(w, "drives struck\t%d\n", r.faults.Load())
	fmt.Fprintf(w, "starts\t%d, mean %v, longest %v\n", r.starts.count, r.starts.mean(), r.starts.most.Round(time.Millisecond))
	fmt.Fprintf(w, "healings\t%d, mean %v, longest %v\n", r.heals.count, r.heals.mean(), r.heals.most.Round(time.Millisecond))
	var rounds []string
	for _, name := range slices.Sorted(maps.Keys(r.rounds)) {
		rounds = append(rounds, fmt.Sprintf("%s %d", name, r.rounds[name].count))
	}
	fmt.Fprintf(w, "rounds\t%s\n", strings.Join(rounds, ", "))
	for _, reason := range slices.Sorted(maps.Keys(r.left)) {
		fmt.Fprintf(w, "left out\t%s\n", reason)
	}
	fmt.Fprintf(w, "verified at rest\t%d times\n", r.verified.Load())
	fmt.Fprintf(w, "violations\t%d\n", len(r.violations))
	for _, v := range r.violations {
		fmt.Fprintf(w, "\n%s\n", v)
	}
}
