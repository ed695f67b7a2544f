package fastapi

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape sends a request without a signature.
func (h *harness) scrape(authorization string) *reply {
	h.t.Helper()
	q := &wireRequest{method: "GET", target: metricsPath, host: h.host}
	if authorization != "" {
		q.add("Authorization", authorization)
	}
	return h.send(q)
}

// TestMetricsAccess: whoever may not read the metrics gets none of them.
func TestMetricsAccess(t *testing.T) {
	const token = "one-two-three"
	for _, test := range []struct {
		about         Metrics
		authorization string
		status        int
	}{
		{Metrics{}, "", 403},
		{Metrics{}, "Bearer ", 400}, // An empty token is none.
		{Metrics{}, "Bearer " + token, 400},
		{Metrics{Token: token}, "", 403},
		{Metrics{Token: token}, "Bearer " + token, 200},
		{Metrics{Token: token}, "bearer  " + token, 200},
		{Metrics{Token: token}, "Bearer " + token + "x", 400},
		{Metrics{Token: token}, "Basic " + token, 400},
		{Metrics{Open: true}, "", 200},
		{Metrics{Open: true}, "Bearer x", 200},
	} {
		h := newHarness(t, func(o *Options) { o.Metrics = test.about })
		r := h.scrape(test.authorization)
		if got := strings.Contains(r.body, "penstock_"); r.status != test.status || got != (test.status == 200) {
			t.Errorf("%+v, %q: got %v", test.about, test.authorization, r)
		}
	}
	h := newHarness(t)
	if r := h.must("GET", metricsPath, ""); !strings.Contains(r.body, "penstock_") {
		t.Errorf("signed: got %v", r)
	}
	if r := h.do("POST", metricsPath, ""); r.status != 405 || r.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %v", r)
	}
	if r := h.do("GET", metricsPath+"/x", ""); r.status < 400 {
		t.Errorf("below it: got %v", r)
	}
}

// TestMetrics reads what was counted back through Prometheus' own parser.
func TestMetrics(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/key", "12345")
	h.want(404, "NoSuchKey", "GET", "/bucket/none", "")
	r := h.must("GET", metricsPath, "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string, labels ...string) float64 {
		t.Helper()
		family := families[name]
		if family == nil {
			t.Errorf("there is no %s", name)
			return -1
		}
	series:
		for _, m := range family.GetMetric() {
			for i := 0; i < len(labels); i += 2 {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !found {
					continue series
				}
			}
			if histogram := m.GetHistogram(); histogram != nil {
				return float64(histogram.GetSampleCount())
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		t.Errorf("%s has no series %q", name, labels)
		return -1
	}
	for _, want := range []struct {
		name   string
		labels []string
		value  float64
	}{
		{"penstock_requests_total", []string{"operation", "PutObject", "class", "success"}, 1},
		{"penstock_requests_total", []string{"operation", "GetObject", "class", "client_error"}, 1},
		{"penstock_requests_total", []string{"operation", "DeleteObject", "class", "success"}, 0},
		{"penstock_request_duration_seconds", []string{"operation", "PutObject"}, 1},
		{"penstock_received_bytes_total", []string{"operation", "PutObject"}, 5},
		{"penstock_ring_operations_total", []string{"cell", "0", "kind", "read"}, 5},
		{"penstock_journal_lag_records", []string{"cell", "0"}, 6},
		{"penstock_drive_up", []string{"drive", "one", "path", "/d1", "state", "ok"}, 1},
		{"penstock_drive_up", []string{"drive", "two", "state", "missing"}, 0},
		{"penstock_drive_free_bytes", []string{"drive", "one"}, 9},
		{"penstock_drive_operation_seconds", []string{"drive", "one", "call", "read"}, 3},
		{"penstock_drive_bytes_total", []string{"drive", "one", "call", "read"}, 4},
	} {
		if got := value(want.name, want.labels...); got != want.value {
			t.Errorf("%s %q is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	if value("go_goroutines") < 1 || value("penstock_connections") < 1 {
		t.Error("nothing runs")
	}
}
