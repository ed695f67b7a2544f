package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/dustin/go-humanize"

	"penstock/fastapi/admin"
)

// A paint gives text one of few meanings.
type paint func(m meaning, text string) string

type meaning int

const (
	heading meaning = iota
	good
	warning
	bad
	faint
)

var styles = map[meaning]lipgloss.Style{
	heading: lipgloss.NewStyle().Bold(true).Reverse(true),
	good:    lipgloss.NewStyle().Foreground(lipgloss.Green),
	warning: lipgloss.NewStyle().Foreground(lipgloss.Yellow).Bold(true),
	bad:     lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	faint:   lipgloss.NewStyle().Faint(true),
}

func coloured(m meaning, text string) string { return styles[m].Render(text) }
func plain(_ meaning, text string) string    { return text }

// requestColumns are what requests may be sorted by; the first is where it begins.
var requestColumns = []struct {
	name string
	by   func(operationRate) float64
}{
	{"REQ/S", func(r operationRate) float64 { return r.calls }},
	{"IN/S", func(r operationRate) float64 { return r.received }},
	{"OUT/S", func(r operationRate) float64 { return r.sent }},
	{"MEAN", func(r operationRate) float64 { return r.mean.Seconds() }},
	{"ERR/S", func(r operationRate) float64 { return r.errors }},
}

// An operationRate is what became of an operation between two readings, a second.
type operationRate struct {
	name                          string
	calls, errors, received, sent float64
	mean                          time.Duration // Of a call in between.
	p50, p99                      time.Duration // Since the start.
}

// rates compares two readings.
func (t *top) rates() (all []operationRate) {
	took := t.last.Time.Sub(t.before.Time).Seconds()
	for _, name := range slices.Sorted(maps.Keys(t.last.Cost.Requests)) {
		now, was := t.last.Cost.Requests[name], t.before.Cost.Requests[name]
		r := operationRate{
			name: name, calls: rate(now.Calls, was.Calls, took), received: rate(now.Received, was.Received, took), sent: rate(now.Sent, was.Sent, took),
			errors: rate(now.ClientErrors+now.ServerErrors, was.ClientErrors+was.ServerErrors, took), p50: seconds(now.P50), p99: seconds(now.P99),
		}
		if n := now.Calls - was.Calls; n > 0 {
			r.mean = seconds((now.Seconds - was.Seconds) / float64(n))
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b operationRate) int {
		by := requestColumns[t.column].by
		return cmp.Or(cmp.Compare(by(b), by(a)), cmp.Compare(b.calls, a.calls))
	})
	return all
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// rate is the growth of a counter a second; 0 if it began anew.
func rate[N uint64 | int64](now, was N, took float64) float64 {
	if took <= 0 || now < was {
		return 0
	}
	return float64(now-was) / took
}

// page draws everything, as high and wide as the terminal is.
func (t *top) page(p paint) string {
	if t.before.Time.IsZero() { // Everything since the start is no rate.
		t.before = t.last
	}
	lines := slices.Concat(t.header(p), t.requests(p), t.drives(p), t.slowest(p))
	if t.height > 0 && len(lines) > t.height {
		lines = lines[:t.height]
	}
	return strings.Join(lines, "\n")
}

func (t *top) header(p paint) []string {
	now, was := &t.last.Cost, &t.before.Cost
	took := t.last.Time.Sub(t.before.Time).Seconds()
	state := fmt.Sprintf("every %v", t.interval)
	if t.held {
		state = "held"
	}
	lines := []string{
		p(heading, pad(fmt.Sprintf(" penstock %s   %s   up %v   %s", t.server, t.last.Info.Geometry, seconds(t.last.Info.Uptime).Round(time.Second), state), t.width)),
	}
	if t.err != nil {
		lines = append(lines, p(bad, "no answer: "+oneLine(t.err)))
	}
	cores := 0.0
	if took > 0 {
		cores = (now.CPU.User + now.CPU.System - was.CPU.User - was.CPU.System) / took
	}
	arena := 0.0
	if now.Arena.Length > 0 {
		arena = float64(now.Arena.Used) / float64(now.Arena.Length)
	}
	hits := rate(now.Cache.Hits, was.Cache.Hits, took)
	looks := hits + rate(now.Cache.Misses, was.Cache.Misses, took)
	records, writes := rate(now.Journal.Records, was.Journal.Records, took), rate(now.Journal.Writes, was.Journal.Writes, took)
	lines = append(lines,
		fmt.Sprintf("cpu      %5.2f cores, %s of it collecting   goroutines %d   heap %s   resident at most %s",
			cores, percent(now.Go.Share), now.Go.Goroutines, size(float64(now.Go.Heap)), size(float64(now.Go.Resident))),
		fmt.Sprintf("arena    %s %s of %s   waits %s/s", bar(arena, 20), percent(arena), size(float64(now.Arena.Length)), count(rate(now.Arena.Waits, was.Arena.Waits, took))),
		fmt.Sprintf("cache    %s of %s lookups/s hit   %s held", share(hits, looks), count(looks), size(float64(now.Cache.Length))),
		fmt.Sprintf("rings    %s enters/s   drives %s reads/s, %s/s and %s writes/s, %s/s", count(rate(now.Rings.Enters, was.Rings.Enters, took)),
			count(rate(now.Drives.Reads, was.Drives.Reads, took)), size(rate(now.Drives.ReadLen, was.Drives.ReadLen, took)),
			count(rate(now.Drives.Writes, was.Drives.Writes, took)), size(rate(now.Drives.WriteLen, was.Drives.WriteLen, took))),
		fmt.Sprintf("journal  %s records/s in %s writes/s", count(records), count(writes)),
		fmt.Sprintf("network  %d connections   in %s/s   out %s/s", now.Sockets.Open,
			size(rate(now.Sockets.ReadLen, was.Sockets.ReadLen, took)), size(rate(now.Sockets.WriteLen, was.Sockets.WriteLen, took))),
		"")
	return lines
}

func (t *top) requests(p paint) []string {
	lines := []string{p(heading, pad(fmt.Sprintf("%-30s %10s %9s %10s %10s %10s %10s %10s", "REQUESTS by "+requestColumns[t.column].name,
		"REQ/S", "ERR/S", "IN/S", "OUT/S", "MEAN", "P50 all", "P99 all"), t.width))}
	for i, r := range t.rates() {
		if i == 10 {
			break
		}
		line := fmt.Sprintf("%-30s %10s %9s %10s %10s %10s %10s %10s", r.name, count(r.calls), count(r.errors), size(r.received), size(r.sent),
			shortDuration(r.mean), shortDuration(r.p50), shortDuration(r.p99))
		switch {
		case r.errors > 0:
			line = p(warning, line)
		case r.calls == 0:
			line = p(faint, line)
		}
		lines = append(lines, line)
	}
	return append(lines, "")
}

func (t *top) drives(p paint) []string {
	took := t.last.Time.Sub(t.before.Time).Seconds()
	was := make(map[string]admin.Drive)
	for _, d := range t.before.Info.Drives {
		was[d.ID] = d
	}
	lines := []string{p(heading, pad(fmt.Sprintf("%-30s %-9s %8s %8s %10s %10s %8s %8s %7s %7s", "DRIVES", "STATE", "READ/S", "WRITE/S", "IN/S", "OUT/S", "READ", "WRITE", "ERRORS", "FULL"), t.width))}
	for _, d := range t.last.Info.Drives {
		w := was[d.ID]
		full := 0.0
		if d.Total > 0 {
			full = 1 - float64(d.Free)/float64(d.Total)
		}
		line := fmt.Sprintf("%-30s %-9s %8s %8s %10s %10s %8s %8s %7d %7s", tail(d.Path, 30), d.State, count(rate(d.Reads, w.Reads, took)), count(rate(d.Writes, w.Writes, took)),
			size(rate(d.WriteLen, w.WriteLen, took)), size(rate(d.ReadLen, w.ReadLen, took)),
			mean(d.ReadTime-w.ReadTime, d.Reads-w.Reads), mean(d.WriteTime-w.WriteTime, d.Writes-w.Writes), d.Errors, percent(full))
		switch {
		case d.State != "ok":
			line = p(bad, line+"  "+d.Reason)
		case d.Errors > w.Errors:
			line = p(warning, line)
		}
		lines = append(lines, line)
	}
	return append(lines, "")
}

func (t *top) slowest(p paint) []string {
	if len(t.slow) == 0 {
		return nil
	}
	lines := []string{p(heading, pad(fmt.Sprintf("%-30s %10s %4s  %s", "SLOWEST of the last minute", "TOOK", "", "WHAT"), t.width))}
	for _, r := range t.slow {
		line := fmt.Sprintf("%-30s %10s %4d  %s", r.Operation, shortDuration(seconds(r.Seconds)), r.Status, printable(r.Path))
		if t.width > 0 && len(line) > t.width {
			line = line[:t.width]
		}
		lines = append(lines, line)
	}
	return lines
}

// mean is the time of one of n.
func mean(total float64, n int64) string {
	if n <= 0 || total <= 0 {
		return "-"
	}
	return shortDuration(seconds(total / float64(n)))
}

func count(n float64) string {
	if n < 10 && n > 0 {
		return fmt.Sprintf("%.1f", n)
	}
	return humanize.Comma(int64(n + 0.5))
}

func size(n float64) string { return strings.ReplaceAll(humanize.IBytes(uint64(n)), " ", "") }

func percent(x float64) string { return fmt.Sprintf("%.0f%%", 100*x) }

func share(part, whole float64) string {
	if whole == 0 {
		return "-"
	}
	return percent(part / whole)
}

func bar(full float64, width int) string {
	n := min(max(int(full*float64(width)+0.5), 0), width)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}

// tail is the end of a long path.
func tail(s string, width int) string {
	if len(s) > width {
		return "…" + s[len(s)-width+1:]
	}
	return s
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-len([]rune(s)))) }
