package bench

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock/bench/client"
	"penstock/bench/fakes3"
	"penstock/fastapi/sigv4"
)

// startFake starts a server in memory and returns options for a small load on it.
func startFake(t *testing.T, op string) (*fakes3.Server, Options) {
	t.Helper()
	fake := &fakes3.Server{AccessKey: "access", Secret: "secret"}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	return fake, Options{
		Op: op, Hosts: []string{server.Listener.Addr().String()}, Bucket: "bkt", Sizes: Fixed(10_000), Concurrency: 4, Objects: 40, Cache: AsIs,
		Credentials: client.Credentials{AccessKey: "access", Secret: "secret", Region: "us-east-1"},
		Payload:     client.Payload{ChunkLen: 64 << 10, Checksum: "crc32c"},
		Range:       RangeOptions{Len: 1000, Align: 1},
		Seed:        1,
	}
}

func mustRun(t *testing.T, o Options) *Report {
	t.Helper()
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func find(t *testing.T, r *Report, kind Kind) Result {
	t.Helper()
	for _, result := range r.Results {
		if result.Kind == kind {
			return result
		}
	}
	t.Fatalf("no %s in %+v", kind, r.Results)
	return Result{}
}

// TestOnce runs each operation until every object was had once: the counts are known.
func TestOnce(t *testing.T) {
	for _, test := range []struct {
		op    string
		kind  Kind
		ops   uint64
		bytes int64
	}{
		{"put", Put, 40, 400_000},
		{"get", Get, 40, 400_000},
		{"range", GetRange, 40, 40_000},
		{"stat", Head, 40, 0},
	} {
		t.Run(test.op, func(t *testing.T) {
			fake, o := startFake(t, test.op)
			o.Verify = true
			report := mustRun(t, o)
			got := find(t, report, test.kind)
			if got.Ops != test.ops || got.Bytes != test.bytes || got.Errors != 0 || got.Latency.Count != test.ops || got.FirstByte.Count != test.ops {
				t.Errorf("got %d requests, %d bytes, %d errors, %d latencies; want %d, %d, 0, %[4]d", got.Ops, got.Bytes, got.Errors, got.Latency.Count,
					test.ops, test.bytes)
			}
			if keys, ok := fake.Keys("bkt"); ok {
				t.Errorf("the bucket was left, with %d objects", len(keys))
			}
		})
	}
}

// TestKeepAndReuse: what one run leaves, another finds, compares and leaves.
func TestKeepAndReuse(t *testing.T) {
	fake, o := startFake(t, "put")
	sizes, err := Between(0, 50_000)
	if err != nil {
		t.Fatal(err)
	}
	o.Sizes, o.Prefix, o.Keep = sizes, "a/b", true
	mustRun(t, o)
	puts := fake.Requests("PUT")
	o.Op, o.Keep, o.Reuse, o.Verify = "get", false, true, true
	report := mustRun(t, o)
	if got := find(t, report, Get); got.Ops != 40 || fake.Requests("PUT") != puts {
		t.Errorf("got %d objects, and %d more uploads", got.Ops, fake.Requests("PUT")-puts)
	}
	if keys, _ := fake.Keys("bkt"); len(keys) != 40 || keys[0] != "a/b/0000000000" {
		t.Errorf("left %d objects: %q", len(keys), keys)
	}
}

// TestWrongBytes: an object with a byte turned is an error each time it is read, and no success.
func TestWrongBytes(t *testing.T) {
	fake, o := startFake(t, "get")
	o.Verify = true
	var spoilt atomic.Int64
	fake.Spoil = func(key string, b []byte) []byte {
		if strings.HasSuffix(key, "7") {
			spoilt.Add(1)
			b[len(b)/2] ^= 1
		}
		return b
	}
	report := mustRun(t, o)
	got := find(t, report, Get)
	if got.Errors != 4 || spoilt.Load() != 4 || got.Ops != 36 || got.Latency.Count != 36 {
		t.Errorf("got %d errors of %d spoilt objects, %d successes", got.Errors, spoilt.Load(), got.Ops)
	}
	if len(report.Failures) != 1 || report.Failures[0].Class != "wrong answer" || report.Failures[0].Count != 4 {
		t.Errorf("got failures %+v", report.Failures)
	}
}

// TestErrorsCount: every request that is refused is counted, under what the server called it.
func TestErrorsCount(t *testing.T) {
	fake, o := startFake(t, "get")
	var n atomic.Int64
	fake.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "GET" && n.Add(1)%4 == 0 {
			w.WriteHeader(503)
			w.Write([]byte("<Error><Code>SlowDown</Code><Message>later</Message></Error>"))
			return true
		}
		return false
	}
	report := mustRun(t, o)
	if got := find(t, report, Get); got.Errors != 10 || got.Ops != 30 {
		t.Errorf("got %d errors and %d successes; want 10 and 30", got.Errors, got.Ops)
	}
	if len(report.Failures) != 1 || report.Failures[0].Class != "503 SlowDown" {
		t.Errorf("got failures %+v", report.Failures)
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil || !strings.Contains(table.String(), "10 × GET") {
		t.Errorf("the table does not say so: %v\n%s", err, &table)
	}
}

// TestHosts deals workers out to hosts, and reports each host's part.
func TestHosts(t *testing.T) {
	fake, o := startFake(t, "put")
	second := httptest.NewServer(fake)
	defer second.Close()
	o.Hosts = append(o.Hosts, second.Listener.Addr().String())
	report := mustRun(t, o)
	if len(report.Hosts) != 2 {
		t.Fatalf("got %d hosts", len(report.Hosts))
	}
	var sum uint64
	for _, host := range report.Hosts {
		if len(host.Results) != 1 || host.Results[0].Ops == 0 {
			t.Fatalf("host %s: %+v", host.Host, host.Results)
		}
		sum += host.Results[0].Ops
	}
	if sum != 40 {
		t.Errorf("the hosts' parts are %d requests; want 40", sum)
	}
}

// TestRate: requests come when they are due, and a latency counts from there.
func TestRate(t *testing.T) {
	fake, o := startFake(t, "stat")
	o.Concurrency, o.Rate = 1, 1000
	const stall = 300 * time.Millisecond
	var n atomic.Int64
	fake.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/bkt/") && r.Method == "HEAD" && n.Add(1) == 1 {
			time.Sleep(stall)
		}
		return false
	}
	report := mustRun(t, o)
	got := find(t, report, Head)
	if got.Ops != 40 || report.Late == nil || report.Late.Delay.Count != 40 {
		t.Fatalf("got %d requests; late %+v", got.Ops, report.Late)
	}
	// The 40 were due within 40 ms, so the stall of the first is in the latency of each but for those 40 ms.
	if least := stall - 40*time.Millisecond; got.Latency.Min < least {
		t.Errorf("the least latency is %v; want %v at least: the stall was omitted", got.Latency.Min, least)
	}
}

func TestInterrupted(t *testing.T) {
	fake, o := startFake(t, "put")
	o.Objects, o.Duration = 0, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	fake.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if fake.Requests("PUT") == 30 {
			cancel()
		}
		return false
	}
	report, err := Run(ctx, o)
	if err != nil || !report.Interrupted {
		t.Fatalf("got %+v, %v; want an interrupted report", report, err)
	}
	if got := find(t, report, Put); got.Ops < 25 {
		t.Errorf("got %d requests", got.Ops)
	}
	if _, ok := fake.Keys("bkt"); ok {
		t.Error("the bucket was left")
	}
}

func TestWarm(t *testing.T) {
	fake, o := startFake(t, "get")
	o.Cache = Warm
	report := mustRun(t, o)
	if got := find(t, report, Get); got.Ops != 40 || fake.Requests("GET") != 80 {
		t.Errorf("got %d requests counted, %d sent; want 40 and 80", got.Ops, fake.Requests("GET"))
	}
	if report.Load.Cache != Warm {
		t.Errorf("labelled %q", report.Load.Cache)
	}
}

func TestCold(t *testing.T) {
	_, o := startFake(t, "get")
	emptied := false
	o.Cache, o.Duration = Cold, time.Hour // Ends when each was read once, all the same.
	o.ColdAction = func() error { emptied = true; return nil }
	report := mustRun(t, o)
	if got := find(t, report, Get); got.Ops != 40 || !emptied {
		t.Errorf("got %d requests, emptied %v", got.Ops, emptied)
	}
	o.ColdAction = func() error { return errors.New("no right") }
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no right") {
		t.Errorf("got %v; want that caches could not be emptied", err)
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Op = "eat" }, "no operation"},
		{func(o *Options) { o.Hosts = nil }, "no host"},
		{func(o *Options) { o.Concurrency = 0 }, "0 requests at a time"},
		{func(o *Options) { o.Objects = 0 }, "when to end"},
		{func(o *Options) { o.Objects, o.Duration = 0, time.Second }, "number of objects"},
		{func(o *Options) { o.WarmUp = time.Second }, "warm-up"},
		{func(o *Options) { o.Bucket = "a/b" }, "bucket"},
		{func(o *Options) { o.Prefix = "a b" }, "prefix"},
		{func(o *Options) { o.Prefix = "/a" }, "prefix"},
		{func(o *Options) { o.Cache = Cold }, "empty"},
		{func(o *Options) { o.Cache = "hot" }, "state of caches"},
		{func(o *Options) { o.Op, o.Cache = "put", Warm }, "reads nothing"},
		{func(o *Options) { o.Op, o.Range.Len = "range", 0 }, "ranges of 0"},
		{func(o *Options) { o.Op, o.Sizes = "range", Fixed(0) }, "without bytes"},
		{func(o *Options) { o.Credentials, o.Payload.Mode = client.Credentials{}, sigv4.StreamingSigned }, "need credentials"},
		{func(o *Options) { o.Rate = -1 }, "below 0"},
		{func(o *Options) { o.Stable.Over = time.Second }, "tolerance"},
	} {
		_, o := startFake(t, "get")
		test.change(&o)
		_, err := Run(t.Context(), o)
		var mistake *OptionError
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v; want a mistake with %q", err, test.want)
		}
	}
}

// TestReportFile: what is written is what is read back, and the CSV has a value under each name.
func TestReportFile(t *testing.T) {
	_, o := startFake(t, "get")
	o.ServerPID = os.Getpid()
	report := mustRun(t, o)
	var file, again bytes.Buffer
	if err := report.WriteJSON(&file); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	back, err := ReadReport(&file)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.WriteJSON(&again); err != nil || again.String() != text {
		t.Errorf("read and written again it differs: %v\n%s\n%s", err, text, &again)
	}
	if report.Costs.Server != "process" || report.Costs.ServerCPU <= 0 || report.Costs.ClientCPU <= 0 {
		t.Errorf("costs: got %+v", report.Costs)
	}
	var table bytes.Buffer
	if err := report.WriteCSV(&table); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&table).ReadAll() // Fails when a line has more or fewer fields than the first.
	if err != nil || len(lines) != 2 {
		t.Errorf("got %d lines of CSV, %v", len(lines), err)
	}
	for _, bad := range []string{"", "{}", `{"format":"penstock-bench-1","results":[{"kind":"GET"}]}`, `{"format":"other"}`} {
		if _, err := ReadReport(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read as a report", bad)
		}
	}
}
