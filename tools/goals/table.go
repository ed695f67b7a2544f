package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"penstock/bench"
)

// read returns a figure of a report.
func (f figure) read(r *bench.Report) float64 {
	ops, _ := r.Requests()
	switch f {
	case cpuPerOp:
		return r.Costs.ServerCPU * 1e3 / float64(ops)
	case cpuPerGiB:
		return r.Costs.ServerCPU / (float64(r.Bytes()) / (1 << 30))
	case perSecond:
		return float64(ops) / r.Seconds()
	case tail:
		l := r.Results[0].Latency
		return float64(l.Quantile(0.999)) / float64(l.Quantile(0.5))
	}
	panic("goals: no figure is called " + string(f))
}

// format writes a figure with the digits that mean something.
func format(v float64) string {
	switch {
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}

// spread is what several repetitions gave: sorted.
type spread []float64

func (s spread) median() float64 { return (s[(len(s)-1)/2] + s[len(s)/2]) / 2 }

func collect(samples []sample, build, name string, f figure) (all spread) {
	for _, s := range samples {
		if s.build == build && s.load.name == name {
			all = append(all, f.read(s.report))
		}
	}
	slices.Sort(all)
	return all
}

// writeTable writes goals and what was reached, in Markdown.
func writeTable(w io.Writer, loads []load, samples []sample) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "| Load | Figure | Goal | Median | Range | |\n|---|---|---|---|---|---|\n")
	for _, l := range loads {
		for _, g := range l.goals {
			all := collect(samples, "new", l.name, g.figure)
			if len(all) == 0 {
				continue
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s – %s | %s |\n", l.name, g.figure, g.text(), format(all.median()), format(all[0]), format(all[len(all)-1]),
				g.verdict(all.median()))
		}
	}
	for _, rel := range relations {
		a, over := collect(samples, "new", rel.a, rel.figure), collect(samples, "new", rel.b, rel.figure)
		if len(a) == 0 || len(over) == 0 {
			continue
		}
		ratio := a.median() / over.median()
		fmt.Fprintf(b, "| %s | %s over %s | ≤ %g | %s | | %s |\n", rel.name, rel.a, rel.b, rel.factor, format(ratio), verdict(ratio <= rel.factor))
	}
	return b.Flush()
}

func (g goal) text() string {
	text := g.note
	if g.limit > 0 {
		sign := "≤"
		if g.figure.atLeast() {
			sign = "≥"
		}
		text = strings.TrimSuffix(fmt.Sprintf("%s %g, %s", sign, g.limit, g.note), ", ")
	}
	return text
}

func (g goal) verdict(median float64) string {
	if g.limit == 0 {
		return ""
	}
	return verdict(g.figure.atLeast() && median >= g.limit || !g.figure.atLeast() && median <= g.limit)
}

func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "missed"
}

// writeBench writes the samples of each build as a file of benchmark results.
func writeBench(dir string, builds []build, samples []sample) error {
	for _, b := range builds {
		file, err := os.Create(filepath.Join(dir, b.name+".txt"))
		if err != nil {
			return err
		}
		for _, s := range samples {
			if s.build != b.name {
				continue
			}
			ops, _ := s.report.Requests()
			fmt.Fprintf(file, "%s %d", s.load.benchName(), ops)
			for _, g := range s.load.goals {
				fmt.Fprintf(file, " %g %s", g.figure.read(s.report), strings.ReplaceAll(string(g.figure), " ", "-"))
			}
			fmt.Fprintln(file)
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			return err
		}
	}
	return nil
}
