package bench

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
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
		List:        ListOptions{PageLen: 7},
		Delete:      DeleteOptions{Batch: 9},
		Mix:         []Share{{Get, 4}, {Head, 3}, {Put, 2}, {Delete, 1}},
		Multipart:   MultipartOptions{PartLen: 2500},
		Epoch:       EpochOptions{Ranks: 2, Workers: 2, BatchLen: 3, Prefetch: 2, Step: time.Microsecond},
		Checkpoint:  CheckpointOptions{Writers: 2, Len: 10_000, Every: time.Millisecond},
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
		{"delete", DeleteBatch, 5, 0},
		{"multipart", Upload, 40, 400_000},
		{"multipart", UploadPart, 160, 400_000},
		{"epoch", Get, 40, 400_000},
	} {
		t.Run(test.op, func(t *testing.T) {
			fake, o := startFake(t, test.op)
			o.Verify = true
			report := mustRun(t, o)
			got := find(t, report, test.kind)
			if got.Ops != test.ops || got.Bytes != test.bytes || got.Errors != 0 || got.Latency.Count != test.ops {
				t.Errorf("got %d requests, %d bytes, %d errors, %d latencies; want %d, %d, 0, %[4]d", got.Ops, got.Bytes, got.Errors, got.Latency.Count,
					test.ops, test.bytes)
			}
			if keys, ok := fake.Keys("bkt"); ok {
				t.Errorf("the bucket was left, with %d objects", len(keys))
			}
		})
	}
}

// TestDeleteSingly deletes what was made, one object at a time.
func TestDeleteSingly(t *testing.T) {
	fake, o := startFake(t, "delete")
	o.Delete.Batch, o.Duration = 1, time.Hour // Ends when all are gone, all the same.
	if got := find(t, mustRun(t, o), Delete); got.Ops != 40 || got.Errors != 0 || fake.Requests("DELETE") != 41 {
		t.Errorf("got %d deleted, %d errors, %d requests", got.Ops, got.Errors, fake.Requests("DELETE"))
	}
}

// TestList walks through all keys and compares them; tokens have what must be encoded.
func TestList(t *testing.T) {
	fake, o := startFake(t, "list")
	o.Concurrency, o.Verify, o.Prefix = 1, true, "some/where"
	if got := find(t, mustRun(t, o), List); got.Ops != 6 || got.Errors != 0 {
		t.Errorf("got %d pages, %d errors; want 6 and none", got.Ops, got.Errors)
	}
	// A key that is missing, and one that is another, are seen.
	o.Keep = true
	mustRun(t, o)
	o.Reuse = true
	for _, spoil := range []func(){
		func() { fake.Remove("bkt", "some/where/0000000005") },
		func() { fake.Put("bkt", "some/where/0000000005x", nil) },
	} {
		spoil()
		report := mustRun(t, o)
		if _, errors := report.Requests(); errors == 0 {
			t.Error("a listing with other keys was accepted")
		}
	}
}

// TestMixed: reads find what they look for whatever is deleted at the same time.
func TestMixed(t *testing.T) {
	fake, o := startFake(t, "mixed")
	o.Verify, o.Objects = true, 400
	report := mustRun(t, o)
	ops, errors := report.Requests()
	if ops != 400 || errors != 0 {
		t.Errorf("got %d requests, %d errors: %+v", ops, errors, report.Failures)
	}
	if gets, puts := find(t, report, Get).Ops, find(t, report, Put).Ops; gets < puts || find(t, report, Head).Ops < 60 || find(t, report, Delete).Ops < 10 {
		t.Errorf("got %+v", report.Results)
	}
	if _, ok := fake.Keys("bkt"); ok {
		t.Error("the bucket was left")
	}
}

func TestEpoch(t *testing.T) {
	_, o := startFake(t, "epoch")
	o.Objects = 41 // One is dropped, so that the ranks have equal shares.
	report := mustRun(t, o)
	e := report.Extra.Epoch
	if got := find(t, report, Get); got.Ops != 40 || e.Samples != 40 || e.Steps != 7 || find(t, report, Batch).Ops != 7 {
		t.Errorf("got %d reads, %+v", got.Ops, e)
	}
	if e.Wait <= 0 || e.Compute < 7e-6 || e.Wait+e.Compute > report.Seconds() {
		t.Errorf("of %v s, waited %v and computed %v", report.Seconds(), e.Wait, e.Compute)
	}
	// A slow accelerator hardly waits: batches are read ahead.
	o.Epoch.Step = 30 * time.Millisecond
	if e := mustRun(t, o).Extra.Epoch; e.Compute < 0.21 {
		t.Errorf("7 steps of 30 ms computed for %v s", e.Compute)
	}
}

func TestCheckpoint(t *testing.T) {
	fake, o := startFake(t, "checkpoint")
	o.Duration = 500 * time.Millisecond
	report := mustRun(t, o)
	c := report.Extra.Checkpoint
	got := find(t, report, Checkpoint)
	if c.Count == 0 || int(got.Ops) != c.Count || got.Bytes != int64(c.Count)*20_000 || c.Seconds <= 0 || c.Seconds > report.Seconds() {
		t.Errorf("got %+v, %d checkpoints of %d bytes in all", c, got.Ops, got.Bytes)
	}
	if find(t, report, UploadPart).Ops != uint64(c.Count)*8 || find(t, report, GetCheckpoint).Ops == 0 {
		t.Errorf("got %+v", report.Results)
	}
	if _, ok := fake.Keys("bkt"); ok {
		t.Error("the bucket was left")
	}
}

// TestFailedUpload: an upload whose part fails is an error, and is not left.
func TestFailedUpload(t *testing.T) {
	fake, o := startFake(t, "multipart")
	o.Objects = 4
	fake.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") == "3" {
			w.WriteHeader(500)
			return true
		}
		return false
	}
	report := mustRun(t, o)
	if got := find(t, report, Upload); got.Errors != 4 || got.Ops != 0 {
		t.Errorf("got %d uploads, %d errors", got.Ops, got.Errors)
	}
	if left := fake.OpenUploads(); left != 0 {
		t.Errorf("%d uploads were left open", left)
	}
}

// TestRefusedKeys: a batch of deletes that is answered with 200 and an error inside is an error.
func TestRefusedKeys(t *testing.T) {
	fake, o := startFake(t, "delete")
	var n atomic.Int64
	fake.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "POST" && n.Add(1) == 1 {
			w.Write([]byte("<DeleteResult><Error><Key>k</Key><Code>InternalError</Code><Message>no</Message></Error></DeleteResult>"))
			return true
		}
		return false
	}
	report := mustRun(t, o)
	if got := find(t, report, DeleteBatch); got.Errors != 1 || got.Ops != 4 || report.Failures[0].Class != "200 InternalError" {
		t.Errorf("got %d batches, %d errors, %+v", got.Ops, got.Errors, report.Failures)
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
		{func(o *Options) { o.Op, o.List.PageLen = "list", 1001 }, "pages of 1001"},
		{func(o *Options) { o.Op, o.Delete.Batch = "delete", 0 }, "batches of 0"},
		{func(o *Options) { o.Op, o.Mix = "mixed", nil }, "shares"},
		{func(o *Options) { o.Op, o.Mix = "mixed", []Share{{List, 1}} }, "no part of mixed"},
		{func(o *Options) { o.Op, o.Multipart.PartLen = "multipart", 3000 }, "not a number of parts"},
		{func(o *Options) { o.Op, o.Multipart.PartLen = "multipart", 0 }, "parts of 0"},
		{func(o *Options) { o.Op, o.Epoch.Ranks = "epoch", 3 }, "are not 4 requests"},
		{func(o *Options) { o.Op, o.Epoch.Prefetch = "epoch", 0 }, "0 batches ahead"},
		{func(o *Options) { o.Op = "checkpoint" }, "duration"},
		{func(o *Options) { o.Op, o.Duration, o.Checkpoint.Writers = "checkpoint", time.Second, 0 }, "0 writers"},
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

// TestServerCosts reads what a server tells of itself before and after the window, and counts the difference.
func TestServerCosts(t *testing.T) {
	fake, o := startFake(t, "get")
	o.ServerCost = true
	var asked atomic.Int64
	fake.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != costPath {
			return false
		}
		n := asked.Add(1)
		fmt.Fprintf(w, `{"time":"now","cpu":{"user_seconds":%d,"system_seconds":0.5},"rings":{"enters":%d},"arena":{"used_bytes":%d}}`, n, 80*n, 100-n)
		return true
	}
	report := mustRun(t, o)
	c := report.Costs
	if asked.Load() != 2 || c.Server != "admin endpoint" || c.ServerCPU != 1 || c.Counters["rings.enters"] != 80 || c.Counters["arena.used_bytes"] != 0 {
		t.Errorf("asked %d times, got %+v", asked.Load(), c)
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil || !strings.Contains(table.String(), "2.00 ring enters") {
		t.Errorf("%v\n%s", err, &table)
	}
}
