package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"penstock/bench/hist"
)

// A metric is a number that two sides are compared by.
type metric struct {
	name   string
	better int // 1 when more is better, -1 when less is.
	format func(float64) string
	of     func(*Report, Result) (float64, bool) // false when this report does not have it.
}

var metrics = []metric{
	{"/s", 1, formatCount, func(r *Report, result Result) (float64, bool) {
		return perSecond(float64(result.Ops), r.SecondsOf(result.Kind)), true
	}},
	{"MiB/s", 1, formatCount, func(r *Report, result Result) (float64, bool) {
		return perSecond(float64(result.Bytes)/(1<<20), r.SecondsOf(result.Kind)), result.Bytes > 0
	}},
	{"mean", -1, formatNanos, func(_ *Report, result Result) (float64, bool) { return float64(result.Latency.Mean()), result.Ops > 0 }},
	latencyMetric("p50", 0.5), latencyMetric("p90", 0.9), latencyMetric("p99", 0.99), latencyMetric("p99.9", 0.999),
	{"first byte p50", -1, formatNanos, func(_ *Report, result Result) (float64, bool) {
		return float64(result.FirstByte.Quantile(0.5)), result.FirstByte.Count > 0
	}},
	{"errors", -1, formatCount, func(_ *Report, result Result) (float64, bool) { return float64(result.Errors), true }},
}

// wholeMetrics are those of a report as a whole.
var wholeMetrics = []metric{
	{"client CPU a request", -1, formatNanos, func(r *Report, _ Result) (float64, bool) { return r.aRequest(r.Costs.ClientCPU) }},
	{"server CPU a request", -1, formatNanos, func(r *Report, _ Result) (float64, bool) {
		v, ok := r.aRequest(r.Costs.ServerCPU)
		return v, ok && r.Costs.Server != ""
	}},
	{"server CPU s a GiB", -1, formatCount, func(r *Report, _ Result) (float64, bool) {
		return r.Costs.ServerCPU / (float64(r.Bytes()) / (1 << 30)), r.Bytes() > 0 && r.Costs.Server != ""
	}},
}

// aRequest divides CPU seconds by requests, in nanoseconds.
func (r *Report) aRequest(cpu float64) (float64, bool) {
	ops, _ := r.Requests()
	return cpu * float64(time.Second) / float64(ops), ops > 0
}

func latencyMetric(name string, q float64) metric {
	return metric{name, -1, formatNanos, func(_ *Report, result Result) (float64, bool) {
		return float64(result.Latency.Quantile(q)), float64(result.Ops)*(1-q) >= 1
	}}
}

func formatNanos(v float64) string { return FormatDuration(time.Duration(v)) }

// Compare writes what changed from the reports of one side to those of the other. When a side has several, of the same load, their medians are
// compared, and a change counts only when the sides do not overlap.
func Compare(w io.Writer, before, after []*Report) error {
	if len(before) == 0 || len(after) == 0 {
		return fmt.Errorf("nothing to compare")
	}
	all := slices.Concat(before, after)
	for _, r := range all[1:] {
		if what := incomparable(all[0].Load, r.Load); what != "" {
			return fmt.Errorf("these reports cannot be compared: %s", what)
		}
	}
	var b strings.Builder
	for _, what := range differences(before[0], after[0]) {
		fmt.Fprintf(&b, "different: %s\n", what)
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "\t\tbefore\tafter\tchange\t\n")
	for kind := range NumKinds {
		compareRows(table, kind.String(), metrics, collect(before, kind), collect(after, kind))
	}
	compareRows(table, "all", wholeMetrics, wholes(before), wholes(after))
	table.Flush()
	_, err := io.WriteString(w, b.String())
	return err
}

// incomparable says why the loads of two reports are different things; "" when they are not.
func incomparable(a, b Load) string {
	switch {
	case a.Op != b.Op:
		return fmt.Sprintf("one is of %s, one of %s", a.Op, b.Op)
	case a.Cache != b.Cache:
		return fmt.Sprintf("in one the caches are %s, in one %s", a.Cache, b.Cache)
	}
	return ""
}

// differences lists in what else the loads differ: such a comparison may be wanted, and must not be made unknowingly.
func differences(a, b *Report) (all []string) {
	for _, d := range []struct{ name, a, b string }{
		{"size", a.Load.Size, b.Load.Size},
		{"payload", a.Load.Payload, b.Load.Payload},
		{"clients", fmt.Sprint(a.Load.Concurrency), fmt.Sprint(b.Load.Concurrency)},
		{"objects", fmt.Sprint(a.Load.Objects), fmt.Sprint(b.Load.Objects)},
		{"rate", fmt.Sprint(a.Load.Rate), fmt.Sprint(b.Load.Rate)},
		{"TLS", fmt.Sprint(a.Load.TLS), fmt.Sprint(b.Load.TLS)},
		{"details", a.Load.Details, b.Load.Details},
		{"CPU", a.Machine.CPU, b.Machine.CPU},
		{"cores", fmt.Sprint(a.Machine.Cores), fmt.Sprint(b.Machine.Cores)},
		{"kernel", a.Machine.Kernel, b.Machine.Kernel},
	} {
		if d.a != d.b {
			all = append(all, fmt.Sprintf("%s: %s, then %s", d.name, d.a, d.b))
		}
	}
	return all
}

// A side is a report and a result of it.
type side struct {
	report *Report
	result Result
}

func collect(reports []*Report, kind Kind) (sides []side) {
	for _, r := range reports {
		for _, result := range r.Results {
			if result.Kind == kind {
				sides = append(sides, side{r, result})
			}
		}
	}
	return sides
}

func wholes(reports []*Report) (sides []side) {
	for _, r := range reports {
		sides = append(sides, side{r, Result{Latency: new(hist.Snapshot), FirstByte: new(hist.Snapshot)}})
	}
	return sides
}

func compareRows(table *tabwriter.Writer, title string, metrics []metric, before, after []side) {
	for _, m := range metrics {
		a, b := m.values(before), m.values(after)
		if len(a) == 0 || len(b) == 0 || m.name == "errors" && slices.Max(a) == 0 && slices.Max(b) == 0 {
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", title, m.name, m.format(median(a)), m.format(median(b)), change(a, b, m.better))
		title = ""
	}
}

func (m metric) values(sides []side) (values []float64) {
	for _, s := range sides {
		if v, ok := m.of(s.report, s.result); ok {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return values
}

// median returns the middle of sorted values.
func median(values []float64) float64 {
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// change says by how much the median changed, and whether that is better; "~" when the values of both sides overlap, so that it may be chance.
func change(a, b []float64, better int) string {
	before, after := median(a), median(b)
	if len(a) > 1 && len(b) > 1 && slices.Min(b) <= slices.Max(a) && slices.Min(a) <= slices.Max(b) {
		return "~"
	}
	if before == after {
		return "same"
	}
	if before == 0 {
		return "from none"
	}
	percent := 100 * (after/before - 1)
	word := "worse"
	if math.Signbit(percent) == (better < 0) {
		word = "better"
	}
	return fmt.Sprintf("%+.1f %% %s", percent, word)
}
