package bench

import (
	"fmt"
	"slices"
	"time"

	"penstock/bench/hist"
)

// minOverlap is the share of the whole window that all generators must have been at work in: rates of loads that came one after the other do not
// add up.
const minOverlap = 0.5

// Merge makes one report of those of several load generators that loaded the same servers at the same time.
func Merge(reports []*Report) (*Report, error) {
	if len(reports) < 2 {
		return nil, fmt.Errorf("%d reports; merging takes two", len(reports))
	}
	merged := *reports[0]
	load := &merged.Load
	common := [2]time.Time{merged.Begun, merged.Ended}
	for _, r := range reports[1:] {
		l := r.Load
		l.Concurrency, l.Rate = reports[0].Load.Concurrency, reports[0].Load.Rate
		if l != reports[0].Load {
			return nil, fmt.Errorf("these reports are of different loads: %+v and %+v", reports[0].Load, r.Load)
		}
		load.Concurrency += r.Load.Concurrency
		load.Rate += r.Load.Rate
		merged.Generators += r.Generators
		merged.Interrupted = merged.Interrupted || r.Interrupted
		merged.Begun, common[0] = earlier(merged.Begun, r.Begun), later(common[0], r.Begun)
		merged.Ended, common[1] = later(merged.Ended, r.Ended), earlier(common[1], r.Ended)
	}
	if overlap := common[1].Sub(common[0]); overlap < time.Duration(minOverlap*float64(merged.Ended.Sub(merged.Begun))) {
		return nil, fmt.Errorf("these loads were not at the same time: all were at work for %v of %v", max(overlap, 0).Round(time.Millisecond),
			merged.Ended.Sub(merged.Begun).Round(time.Millisecond))
	}
	merged.Results, merged.Hosts, merged.Failures, merged.Late = nil, nil, nil, nil
	merged.Costs = Costs{}
	merged.Extra, merged.Ceilings = Extra{}, nil
	for _, r := range reports {
		merged.Results = addResults(merged.Results, r.Results)
		merged.addHosts(r.Hosts)
		merged.addFailures(r.Failures)
		merged.addLateness(r.Late)
		merged.addCosts(r.Costs)
		merged.addExtra(r.Extra)
	}
	merged.Samples = mergeSamples(merged.Begun, reports)
	slices.SortFunc(merged.Failures, compareFailures)
	return &merged, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// addResults adds results to those of the same kind, without changing what either points to.
func addResults(sum, results []Result) []Result {
	for _, result := range results {
		i := slices.IndexFunc(sum, func(other Result) bool { return other.Kind == result.Kind })
		if i < 0 {
			sum = append(sum, Result{Kind: result.Kind, Latency: new(hist.Snapshot), FirstByte: new(hist.Snapshot)})
			i = len(sum) - 1
		}
		s := &sum[i]
		s.Ops += result.Ops
		s.Errors += result.Errors
		s.Bytes += result.Bytes
		s.Latency.Merge(result.Latency)
		s.FirstByte.Merge(result.FirstByte)
	}
	slices.SortFunc(sum, func(a, b Result) int { return int(a.Kind) - int(b.Kind) })
	return sum
}

func (r *Report) addHosts(hosts []HostResult) {
	for _, host := range hosts {
		i := slices.IndexFunc(r.Hosts, func(other HostResult) bool { return other.Host == host.Host })
		if i < 0 {
			r.Hosts = append(r.Hosts, HostResult{Host: host.Host})
			i = len(r.Hosts) - 1
		}
		r.Hosts[i].Results = addResults(r.Hosts[i].Results, host.Results)
	}
}

func (r *Report) addFailures(failures []Failure) {
	for _, f := range failures {
		i := slices.IndexFunc(r.Failures, func(other Failure) bool {
			return other.Kind == f.Kind && other.Host == f.Host && other.Class == f.Class
		})
		if i < 0 {
			r.Failures = append(r.Failures, f)
		} else {
			r.Failures[i].Count += f.Count
		}
	}
}

func (r *Report) addLateness(late *Lateness) {
	if late == nil {
		return
	}
	if r.Late == nil {
		r.Late = &Lateness{Delay: new(hist.Snapshot)}
	}
	r.Late.Delay.Merge(late.Delay)
	r.Late.Unsent += late.Unsent
}

// addCosts adds what the generators cost. What the servers cost, each generator has seen all of, so the largest is taken.
func (r *Report) addCosts(c Costs) {
	r.Costs.ClientCPU += c.ClientCPU
	if c.Server != "" && c.ServerCPU > r.Costs.ServerCPU {
		r.Costs.Server, r.Costs.ServerCPU, r.Costs.Counters = c.Server, c.ServerCPU, c.Counters
	}
	if r.Costs.Missing == "" {
		r.Costs.Missing = c.Missing
	}
}

func (r *Report) addExtra(e Extra) {
	if e.Epoch != nil {
		if r.Extra.Epoch == nil {
			r.Extra.Epoch = new(EpochExtra)
		}
		sum := r.Extra.Epoch
		sum.Epochs += e.Epoch.Epochs
		sum.Steps += e.Epoch.Steps
		sum.Samples += e.Epoch.Samples
		sum.Compute += e.Epoch.Compute
		sum.Wait += e.Epoch.Wait
	}
	if e.Checkpoint != nil {
		if r.Extra.Checkpoint == nil {
			r.Extra.Checkpoint = new(CheckpointExtra)
		}
		r.Extra.Checkpoint.Count += e.Checkpoint.Count
		r.Extra.Checkpoint.Seconds = max(r.Extra.Checkpoint.Seconds, e.Checkpoint.Seconds)
	}
}

// mergeSamples adds up the samples of each second since begun.
func mergeSamples(begun time.Time, reports []*Report) (merged []Sample) {
	for _, r := range reports {
		offset := r.Begun.Sub(begun).Seconds()
		for _, s := range r.Samples {
			second := int(offset + s.At - 0.5) // The one that most of it lies in.
			for len(merged) <= second {
				merged = append(merged, Sample{At: float64(len(merged) + 1)})
			}
			m := &merged[max(second, 0)]
			m.Ops += s.Ops
			m.Bytes += s.Bytes
			m.Errors += s.Errors
		}
	}
	return merged
}
