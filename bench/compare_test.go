package bench

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock/bench/hist"
)

// made is a report of a load whose requests all took the same time.
func made(ops int, each time.Duration, begun time.Time) *Report {
	var h hist.Histogram
	for range ops {
		h.Record(each)
	}
	result := Result{Kind: Get, Ops: uint64(ops), Bytes: int64(ops) << 20, Latency: h.Snapshot(), FirstByte: h.Snapshot()}
	return &Report{
		Format: reportFormat, Load: Load{Op: "get", Size: "1MiB", Cache: AsIs, Concurrency: 4}, Generators: 1,
		Begun: begun, Ended: begun.Add(10 * time.Second),
		Results: []Result{result}, Hosts: []HostResult{{"a:1", []Result{result}}},
		Samples: []Sample{{At: 1, Ops: float64(ops) / 10}, {At: 2, Ops: float64(ops) / 10}},
		Costs:   Costs{ClientCPU: 1, Server: "process", ServerCPU: 2},
	}
}

var someTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func compareText(t *testing.T, before, after []*Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Compare(&b, before, after); err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestCompare(t *testing.T) {
	slow, fast := made(1000, 4*time.Millisecond, someTime), made(2000, 2*time.Millisecond, someTime)
	text := compareText(t, []*Report{slow}, []*Report{fast})
	for _, want := range []string{
		"GET /s 100 200 +100.0 % better", "MiB/s 100 200 +100.0 % better", "mean 4.00ms 2.00ms -50.0 % better",
		"server CPU a request 2.00ms 1.00ms -50.0 % better", "server CPU s a GiB 2.05 1.02 -50.0 % better",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if text := compareText(t, []*Report{fast}, []*Report{slow}); !strings.Contains(text, "mean 2.00ms 4.00ms +100.0 % worse") {
		t.Errorf("got %s", text)
	}
	if strings.Contains(text, "errors") || strings.Contains(text, "different") {
		t.Errorf("got %s", text)
	}
}

// TestCompareSeveral: medians are compared, and a change within the noise is none.
func TestCompareSeveral(t *testing.T) {
	var before, noisy, better []*Report
	for _, ops := range []int{900, 1000, 1500} {
		before = append(before, made(ops, time.Millisecond, someTime))
		noisy = append(noisy, made(ops+200, time.Millisecond, someTime))
		better = append(better, made(ops+1000, time.Millisecond, someTime))
	}
	if text := compareText(t, before, noisy); !strings.Contains(text, "GET /s 100 120 ~") {
		t.Errorf("got %s", text)
	}
	if text := compareText(t, before, better); !strings.Contains(text, "GET /s 100 200 +100.0 % better") {
		t.Errorf("got %s", text)
	}
}

func TestCompareRefuses(t *testing.T) {
	for _, change := range []func(*Report){
		func(r *Report) { r.Load.Op = "put" },
		func(r *Report) { r.Load.Cache = Cold },
	} {
		other := made(10, time.Second, someTime)
		change(other)
		if err := Compare(new(bytes.Buffer), []*Report{made(10, time.Second, someTime)}, []*Report{other}); err == nil {
			t.Errorf("compared with %+v", other.Load)
		}
	}
	other := made(10, time.Second, someTime)
	other.Load.Concurrency = 99
	if text := compareText(t, []*Report{made(10, time.Second, someTime)}, []*Report{other}); !strings.Contains(text, "different: clients: 4, then 99") {
		t.Errorf("got %s", text)
	}
}

func TestMerge(t *testing.T) {
	a, b := made(1000, time.Millisecond, someTime), made(500, 3*time.Millisecond, someTime.Add(time.Second))
	b.Hosts[0].Host = "b:1"
	b.Failures = []Failure{{Kind: Get, Host: "b:1", Class: "timeout", Count: 3}}
	b.Costs.ServerCPU = 3
	want := a.Results[0].Latency.Count
	merged, err := Merge([]*Report{a, b})
	if err != nil {
		t.Fatal(err)
	}
	got := merged.Results[0]
	if got.Ops != 1500 || got.Latency.Count != 1500 || got.Latency.Max != 3*time.Millisecond || got.Latency.Min != time.Millisecond {
		t.Errorf("got %+v", got)
	}
	if merged.Seconds() != 11 || merged.Generators != 2 || merged.Load.Concurrency != 8 || len(merged.Hosts) != 2 || len(merged.Failures) != 1 {
		t.Errorf("got %+v", merged)
	}
	if merged.Costs.ClientCPU != 2 || merged.Costs.ServerCPU != 3 {
		t.Errorf("costs: got %+v; want the clients' sum and the larger of the servers'", merged.Costs)
	}
	var ops []float64
	for _, s := range merged.Samples {
		ops = append(ops, s.Ops)
	}
	if !slices.Equal(ops, []float64{100, 150, 50}) {
		t.Errorf("samples: got %v", ops)
	}
	if a.Results[0].Latency.Count != want {
		t.Error("merging changed a report")
	}
	// What was merged is a report like any other.
	var file bytes.Buffer
	if err := merged.WriteJSON(&file); err != nil {
		t.Fatal(err)
	}
	back, err := ReadReport(&file)
	if err != nil {
		t.Fatal(err)
	}
	if text := compareText(t, []*Report{merged}, []*Report{back}); strings.Contains(text, "%") {
		t.Errorf("through a file it changed: %s", text)
	}
}

func TestMergeRefuses(t *testing.T) {
	other := made(10, time.Second, someTime)
	other.Load.Size = "2MiB"
	if _, err := Merge([]*Report{made(10, time.Second, someTime), other}); err == nil {
		t.Error("different loads were merged")
	}
	if _, err := Merge([]*Report{made(10, time.Second, someTime), made(10, time.Second, someTime.Add(8*time.Second))}); err == nil {
		t.Error("loads that hardly overlap were merged")
	}
	if _, err := Merge([]*Report{made(10, time.Second, someTime)}); err == nil {
		t.Error("one report was merged")
	}
}
