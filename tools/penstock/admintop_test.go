package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"penstock/fastapi/admin"
)

func sampleTop() *top {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var before, last reading
	before.Time, last.Time = at, at.Add(2*time.Second)
	before.Cost.Requests = map[string]admin.Operation{"GetObject": {Calls: 1000, Seconds: 1, Sent: 0}}
	last.Cost.Requests = map[string]admin.Operation{
		"GetObject": {Calls: 3000, Seconds: 5, Sent: 4 << 20, P50: 0.001, P99: 0.004},
		"PutObject": {Calls: 20, ServerErrors: 4, Received: 8 << 20, Seconds: 1},
	}
	before.Info.Drives = []admin.Drive{{ID: "a", Path: "/d1", State: "ok", Total: 100, Free: 100}, {ID: "b", Path: "/d2", State: "ok"}}
	last.Info.Drives = []admin.Drive{{ID: "a", Path: "/d1", State: "ok", Total: 100, Free: 25, Reads: 200, ReadTime: 0.1}, {ID: "b", Path: "/d2", State: "fenced", Reason: "hangs"}}
	return &top{server: "http://n1:9000", interval: 2 * time.Second, before: before, last: last, width: 120}
}

func lineWith(page, text string) string {
	for line := range strings.Lines(page) {
		if strings.Contains(line, text) {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}

func TestTopPage(t *testing.T) {
	page := sampleTop().page(plain)
	for text, want := range map[string]string{
		"GetObject": "GetObject 1,000 0 0B 2.0MiB 2ms 1ms 4ms",
		"PutObject": "PutObject 10 2.0 4.0MiB 0B 50ms 0s 0s",
		"/d1":       "/d1 ok 100 0 0B 0B 500µs - 0 75%",
		"/d2":       "/d2 fenced 0 0 0B 0B - - 0 0% hangs",
	} {
		if got := lineWith(page, text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

// TestTopKeys works the page as somebody at a terminal does.
func TestTopKeys(t *testing.T) {
	m := sampleTop()
	press := func(key rune, text string) tea.Cmd {
		_, cmd := m.Update(tea.KeyPressMsg{Code: key, Text: text})
		return cmd
	}
	if press('s', "s"); lineWith(m.page(plain), "REQUESTS by IN/S") == "" || strings.Index(m.page(plain), "PutObject") > strings.Index(m.page(plain), "GetObject") {
		t.Error("s does not sort by what came in")
	}
	if press('+', "+"); m.interval != 4*time.Second {
		t.Errorf("+: every %v", m.interval)
	}
	press('-', "-")
	m.read = func() (reading, error) { return reading{}, errors.New("it is\ngone") }
	_, cmd := m.Update(due{})
	m.Update(cmd())
	if got := lineWith(m.page(plain), "no answer"); got != "no answer: it is gone" {
		t.Errorf("a failed reading shows as %q", got)
	}
	if lineWith(m.page(plain), "GetObject") == "" {
		t.Error("a failed reading takes the last good one from the page")
	}
	press(tea.KeySpace, " ")
	if m.Update(slowCall{Operation: "GetObject", Seconds: 9}); !m.held || len(m.slow) != 0 {
		t.Error("space does not hold the page")
	}
	press(tea.KeySpace, " ")
	for i := range 30 {
		m.Update(slowCall{Operation: "PutObject", Seconds: float64(i), Time: m.last.Time})
	}
	m.Update(slowCall{Operation: "Old", Seconds: 1, Time: m.last.Time.Add(-2 * time.Minute)})
	if len(m.slow) != slowMost || m.slow[0].Seconds != 29 {
		t.Errorf("%d slow calls, the first of %v s", len(m.slow), m.slow[0].Seconds)
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 12})
	if got := strings.Count(m.page(plain), "\n") + 1; got != 12 {
		t.Errorf("%d lines on a terminal of 12", got)
	}
	if cmd := press('q', "q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not end it")
	}
}

func TestTopOnce(t *testing.T) {
	r := newRig(t, 3)
	r.start()
	defer r.stop()
	out := r.good("top", "--interval", "200ms")
	if strings.Contains(out, "\x1b") || lineWith(out, "/d1 ") == "" || lineWith(out, "journal") == "" {
		t.Errorf("no terminal, and got %q", out)
	}
	var readings []reading
	if err := json.Unmarshal([]byte(r.good("top", "--interval", "200ms", "--json")), &readings); err != nil || len(readings) != 2 || len(readings[1].Info.Drives) != 3 {
		t.Errorf("as JSON: %v, %d readings", err, len(readings))
	}
}
