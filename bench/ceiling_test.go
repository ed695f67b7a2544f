package bench

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"penstock/bench/client"
	"penstock/bench/roofline"
	"penstock/fastapi/sigv4"
)

// TestCeilings computes by hand what a load of a known rate takes of a machine of round numbers.
func TestCeilings(t *testing.T) {
	const gib = 1 << 30
	host := &roofline.Host{
		Cores: 4, K: 4, M: 2, Encode: 10 * gib, CRC64: 15 * gib, MD5: gib / 2, MD5Many: 4 * gib, SHA256: gib, AESGCM: 4 * gib,
		Send: 5 * gib, Receive: 5 * gib, Exchange: 1e-5,
		Drives: []roofline.Drive{{Write: gib, Read: 2 * gib}, {Write: gib, Read: 2 * gib}},
	}
	load := func(kind Kind, bytes int64) *Report {
		r := made(1000, time.Millisecond, someTime) // Of ten seconds.
		r.Results[0].Kind, r.Results[0].Bytes = kind, bytes
		r.Costs.ServerCPU = 20
		return r
	}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	o := Options{Concurrency: 1, Payload: client.Payload{Mode: sigv4.Signed}}
	// A GiB a second up: receive 0.2, encode 0.1, CRC 1.5 / 15, MD5 2, SHA-256 1, requests 100 × 10 µs.
	all := load(Put, 10*gib).ceilings(&o, Roof{Host: host, Cores: 4})
	if len(all) != 2 || all[0].Name != "4 server cores" || !near(all[0].Share, (0.2+0.1+0.1+2+1+0.001)/4) {
		t.Errorf("upload: got %+v", all)
	}
	if all[1].Name != "drives, writing" || !near(all[1].Share, 0.75) {
		t.Errorf("drives: got %+v", all[1])
	}
	o.Concurrency = 16 // Lanes: 0.25 instead of 2; then the drives bind.
	if all = load(Put, 10*gib).ceilings(&o, Roof{Host: host, Cores: 4}); all[0].Name != "drives, writing" || !near(all[1].Share, (0.2+0.1+0.1+0.25+1+0.001)/4) {
		t.Errorf("lanes: got %+v", all)
	}
	if all = load(Put, 10*gib).ceilings(&o, Roof{Host: host, Cores: 4, OpaqueETag: true}); !near(all[1].Share, (0.2+0.1+0.1+1+0.001)/4) {
		t.Errorf("opaque ETag: got %+v", all)
	}
	// Half a GiB a second down.
	if all = load(Get, 5*gib).ceilings(&o, Roof{Host: host}); len(all) != 2 || all[0].Name != "drives, reading" || !near(all[0].Share, 0.125) || !near(all[1].Share, (0.1+0.5/15+0.001)/4) {
		t.Errorf("download: got %+v", all)
	}
	o.Cache = Warm
	if all = load(Get, 5*gib).ceilings(&o, Roof{Host: host}); len(all) != 1 {
		t.Errorf("from the cache: got %+v; want no drives", all)
	}
	r := load(Get, 5*gib)
	if cores, ok := r.LineRateCores(); !ok || !near(cores, 4*roofline.LineRate/gib) {
		t.Errorf("100 GbE: got %v, %v", cores, ok)
	}
	r.Ceilings = all
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "nearest ceiling  4 server cores: at 3.4 %") || !strings.Contains(table.String(), "46.6 cores") {
		t.Errorf("%v\n%s", err, &table)
	}
	if all := load(Get, 1).ceilings(&o, Roof{}); all != nil {
		t.Errorf("of an unknown machine: got %+v", all)
	}
}
