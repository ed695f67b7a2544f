package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock/bench"
	"penstock/bench/hist"
	"penstock/tools/harness"
)

// TestLoads: names are different, relations name loads, and every load runs on a node that is started.
func TestLoads(t *testing.T) {
	seen := make(map[string]load)
	for _, l := range loads {
		if _, twice := seen[l.name]; twice {
			t.Errorf("two loads are called %s", l.name)
		}
		seen[l.name] = l
		if len(l.goals) == 0 {
			t.Errorf("nothing is read off %s", l.name)
		}
		known := false
		for _, start := range starts {
			known = known || start == l.start
		}
		if !known {
			t.Errorf("%s runs on a node %q", l.name, l.start)
		}
	}
	for _, rel := range relations {
		for _, name := range []string{rel.a, rel.b} {
			if _, ok := seen[name]; !ok {
				t.Errorf("%s: there is no load %s", rel.name, name)
			}
		}
	}
}

func made(cpu float64, ops uint64) *bench.Report {
	var h hist.Histogram
	for range ops {
		h.Record(time.Millisecond)
	}
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &bench.Report{
		Begun: begun, Ended: begun.Add(2 * time.Second),
		Results: []bench.Result{{Kind: bench.Get, Ops: ops, Bytes: int64(ops) << 20, Latency: h.Snapshot(), FirstByte: h.Snapshot()}},
		Costs:   bench.Costs{Server: "process", ServerCPU: cpu},
	}
}

// TestTable reads figures off made-up reports, and tells goals that were reached from others.
func TestTable(t *testing.T) {
	l := load{name: "L", args: "get", goals: []goal{{cpuPerOp, 2, ""}, {cpuPerGiB, 1, "x"}, {perSecond, 600, ""}, {tail, 10, ""}, {cpuPerOp, 0, "y"}}}
	var samples []sample
	for _, cpu := range []float64{3, 1, 2} { // The median is 2 s for 1024 requests.
		samples = append(samples, sample{l, "new", made(cpu, 1024)}, sample{l, "base", made(9, 1024)})
	}
	var b bytes.Buffer
	if err := writeTable(&b, []load{l}, samples); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| L | CPU ms/op | ≤ 2 | 1.95 | 0.9766 – 2.93 | reached |",
		"| L | CPU s/GiB | ≤ 1, x | 2.00 | 1.00 – 3.00 | missed |",
		"| L | op/s | ≥ 600 | 512.0 | 512.0 – 512.0 | missed |",
		"| L | p99.9/p50 | ≤ 10 | 1.00 | 1.00 – 1.00 | reached |",
		"| L | CPU ms/op | y | 1.95 | 0.9766 – 2.93 |  |",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
	dir := t.TempDir()
	if err := writeBench(dir, []build{{"base", ""}, {"new", ""}}, samples); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "base.txt"))
	if err != nil || strings.Count(string(text), "BenchmarkNode/L 1024 8.7890625 CPU-ms/op 9 CPU-s/GiB 512 op/s") != 3 {
		t.Errorf("got %s, %v", text, err)
	}
}

// TestCampaign measures the real binary for a moment, on every kind of node.
func TestCampaign(t *testing.T) {
	binary, err := harness.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	small := []goal{{cpuPerOp, 0, ""}}
	c := campaign{
		generator: binary, binaries: []build{{"new", binary}}, reps: 1, window: 100 * time.Millisecond, dir: t.TempDir(), progress: &progress,
		loads: []load{
			{"plain", "stat --size 1KiB --objects 20", "", small},
			{"secure", "put --size 1KiB --objects 20", "tls", small},
			{"degraded", "get --size 300KiB --objects 10 --prefix degraded --reuse", "degraded", small},
			{"deleted", "delete --objects 20", "", small},
		},
	}
	samples, err := c.run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	for i, s := range samples {
		if ops, failed := s.report.Requests(); ops == 0 || failed > 0 || s.load.name != c.loads[i].name {
			t.Errorf("%s: %d requests, %d failed", s.load.name, ops, failed)
		}
	}
	if err := run(t.Context(), []string{"-run", "nothing of this name"}, &progress, &progress); err == nil {
		t.Error("measured no load")
	}
}
