package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"penstock/bench/hist"
)

// quantiles are those that tables and CSV have.
var quantiles = []struct {
	name string
	q    float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	r.describe(&b)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	r.resultRows(table, "", r.Results)
	if len(r.Hosts) > 1 {
		for _, host := range r.Hosts {
			r.resultRows(table, host.Host, host.Results)
		}
	}
	table.Flush()
	r.describeExtra(&b)
	r.describeCosts(&b)
	r.describeCeilings(&b)
	r.describeFailures(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) describe(b *strings.Builder) {
	l := r.Load
	parts := []string{l.Op, l.Size, l.Payload, "cache " + string(l.Cache), strconv.Itoa(l.Concurrency) + " clients"}
	if l.Details != "" {
		parts = append(parts, l.Details)
	}
	if l.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%g/s asked for", l.Rate))
	}
	if l.TLS {
		parts = append(parts, "TLS")
	}
	if l.Verified {
		parts = append(parts, "every byte compared")
	}
	if r.Generators > 1 {
		parts = append(parts, strconv.Itoa(r.Generators)+" load generators")
	}
	fmt.Fprintf(b, "%s; %.1f s", strings.Join(parts, ", "), r.Seconds())
	if r.Interrupted {
		b.WriteString(", interrupted")
	}
	b.WriteString("\n\n")
}

func (r *Report) resultRows(table *tabwriter.Writer, title string, results []Result) {
	fmt.Fprintf(table, "%s\trequests\terrors\t/s\tMiB/s\tmean\t", title)
	for _, q := range quantiles {
		fmt.Fprintf(table, "%s\t", q.name)
	}
	fmt.Fprint(table, "max\tfirst byte p50\tp99\t\n")
	for _, result := range results {
		rate, mib := "", ""
		if seconds := r.SecondsOf(result.Kind); seconds > 0 {
			rate = formatCount(float64(result.Ops) / seconds)
			mib = formatCount(float64(result.Bytes) / seconds / (1 << 20))
		}
		if result.Bytes == 0 {
			mib = ""
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\t", result.Kind, result.Ops, result.Errors, rate, mib, FormatDuration(result.Latency.Mean()))
		for _, q := range quantiles {
			fmt.Fprintf(table, "%s\t", quantile(result.Latency, q.q))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t\n", FormatDuration(result.Latency.Max), quantile(result.FirstByte, 0.5), quantile(result.FirstByte, 0.99))
	}
}

// quantile writes a quantile, or nothing when too few were counted for it to say more than the maximum does.
func quantile(s *hist.Snapshot, q float64) string {
	if float64(s.Count)*(1-q) < 1 {
		return "-"
	}
	return FormatDuration(s.Quantile(q))
}

func (r *Report) describeExtra(b *strings.Builder) {
	if e := r.Extra.Epoch; e != nil {
		fmt.Fprintf(b, "\n%s samples/s; waited for storage %s of the time", formatCount(perSecond(float64(e.Samples), r.Seconds())),
			formatShare(e.Wait, e.Wait+e.Compute))
		fmt.Fprintf(b, "; %.2f epochs, %d steps\n", e.Epochs, e.Steps)
	}
	if c := r.Extra.Checkpoint; c != nil {
		fmt.Fprintf(b, "\n%d checkpoints, uploaded during %s of the time; rates are those of their part of it\n", c.Count, formatShare(c.Seconds, r.Seconds()))
	}
}

func formatShare(part, whole float64) string {
	if whole <= 0 {
		return "0 %"
	}
	return strconv.FormatFloat(100*part/whole, 'f', 1, 64) + " %"
}

func (r *Report) describeCosts(b *strings.Builder) {
	ops, _ := r.Requests()
	if ops == 0 || r.Seconds() == 0 {
		return
	}
	b.WriteByte('\n')
	perUnit := func(who string, cpu float64) {
		fmt.Fprintf(b, "%s CPU  %s a request", who, FormatDuration(seconds(cpu/float64(ops))))
		if bytes := r.Bytes(); bytes > 0 {
			fmt.Fprintf(b, ", %.3f s a GiB", cpu/(float64(bytes)/(1<<30)))
		}
		fmt.Fprintf(b, ", %.2f cores\n", cpu/r.Seconds())
	}
	c := r.Costs
	perUnit("client", c.ClientCPU)
	if c.Server != "" {
		perUnit("server", c.ServerCPU)
	}
	if c.Missing != "" {
		fmt.Fprintf(b, "server costs unknown: %s\n", c.Missing)
	}
	var counted []string
	for _, show := range perRequest {
		if grown := c.Counters[show.counter]; grown > 0 {
			counted = append(counted, formatCount(grown/float64(ops))+" "+show.name)
		}
	}
	if len(counted) > 0 {
		fmt.Fprintf(b, "server, for a request: %s\n", strings.Join(counted, ", "))
		fmt.Fprintf(b, "server, collecting garbage: %s of its CPU\n", formatShare(c.Counters["go.gc_cpu_seconds"], c.ServerCPU))
	}
	if r.Late != nil {
		fmt.Fprintf(b, "sent after it was due: p50 %s, p99 %s, max %s; never sent: %d\n", FormatDuration(r.Late.Delay.Quantile(0.5)),
			FormatDuration(r.Late.Delay.Quantile(0.99)), FormatDuration(r.Late.Delay.Max), r.Late.Unsent)
	}
}

func (r *Report) describeCeilings(b *strings.Builder) {
	for i, c := range r.Ceilings {
		lead := "nearest ceiling"
		if i > 0 {
			lead = "next           "
		}
		fmt.Fprintf(b, "%s  %s: at %s (%s)\n", lead, c.Name, formatShare(c.Share, 1), c.Made)
	}
	if cores, ok := r.LineRateCores(); ok {
		fmt.Fprintf(b, "100 GbE would take %.1f cores at this cost of a byte\n", cores)
	}
}

func (r *Report) describeFailures(b *strings.Builder) {
	for i, f := range r.Failures {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "%d × %s on %s: %s: %s\n", f.Count, f.Kind, f.Host, f.Class, f.Sample)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// FormatDuration writes a duration with three digits.
func FormatDuration(d time.Duration) string {
	switch {
	case d >= 100*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + "s"
	case d >= time.Millisecond:
		return threeDigits(float64(d)/float64(time.Millisecond)) + "ms"
	}
	return threeDigits(float64(d)/float64(time.Microsecond)) + "µs"
}

// formatCount writes a number with three digits at least.
func formatCount(v float64) string { return threeDigits(v) }

func threeDigits(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}
