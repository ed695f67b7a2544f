package fastapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/admin"
)

// fakeHealth is the health of a fakeStore.
type fakeHealth struct {
	lock       sync.Mutex // Guards stopped and scrub.
	stopped    bool
	scrub      string
	verifyEnds chan error    // If not nil, a verification goes on until there is something in it, and returns that.
	verifyLeft chan struct{} // One was left alone.
}

func newFakeHealth() *fakeHealth {
	return &fakeHealth{verifyLeft: make(chan struct{}, 1)}
}

func (a *fakeHealth) HealStatus() engine.HealStatus {
	a.lock.Lock()
	defer a.lock.Unlock()
	return engine.HealStatus{Stopped: a.stopped, Shards: 2, Volumes: 1, Left: 5, Ailing: []engine.AilingShard{{Volume: "1-1", Shard: 3, Causes: "lost", State: "waiting", Reason: "no drive"}}}
}

func (a *fakeHealth) setHealing(stopped bool) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.stopped = stopped
}

func (a *fakeHealth) StartHealing() { a.setHealing(false) }
func (a *fakeHealth) StopHealing()  { a.setHealing(true) }

func (a *fakeHealth) ScrubStatus() engine.ScrubStatus {
	a.lock.Lock()
	defer a.lock.Unlock()
	return engine.ScrubStatus{Stopped: a.scrub == "stopped", Running: a.scrub == "now", Period: time.Hour, LastEnded: time.UnixMilli(1.7e12)}
}

func (a *fakeHealth) setScrub(state string) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.scrub = state
}

func (a *fakeHealth) StartScrub() { a.setScrub("") }
func (a *fakeHealth) StopScrub()  { a.setScrub("stopped") }
func (a *fakeHealth) ScrubNow()   { a.setScrub("now") }

func (a *fakeHealth) Verify(ctx context.Context, progress func(engine.VerifyProgress)) (engine.VerifyReport, error) {
	progress(engine.VerifyProgress{Phase: "journals", Read: 1, Total: 9})
	progress(engine.VerifyProgress{Phase: "stripes", Read: 2, Total: 9})
	report := engine.VerifyReport{Corrupt: 1, Read: 9}
	if a.verifyEnds == nil {
		return report, nil
	}
	select {
	case err := <-a.verifyEnds:
		return report, err
	case <-ctx.Done():
		a.verifyLeft <- struct{}{}
		return report, ctx.Err()
	}
}

func TestAdminHealing(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct {
		method, path string
		stopped      bool
	}{{"GET", "/heal", false}, {"POST", "/heal/stop", true}, {"GET", "/heal", true}, {"POST", "/heal/start", false}} {
		var heal admin.Heal
		r := h.must(c.method, admin.Prefix+c.path, "")
		if err := json.Unmarshal([]byte(r.body), &heal); err != nil || heal.Stopped != c.stopped || heal.Shards != 2 || len(heal.Ailing) != 1 || !heal.Cut || heal.Ailing[0].Reason != "no drive" {
			t.Errorf("%s %s: %v, %v", c.method, c.path, r, err)
		}
	}
	for _, c := range []struct {
		method, path     string
		stopped, running bool
	}{
		{"GET", "/scrub", false, false}, {"POST", "/scrub/stop", true, false}, {"POST", "/scrub/start", false, false},
		{"POST", "/scrub/start?now=true", false, true}, {"POST", "/scrub/start?now=false", false, false},
	} {
		var scrub admin.Scrub
		r := h.must(c.method, admin.Prefix+c.path, "")
		if err := json.Unmarshal([]byte(r.body), &scrub); err != nil || scrub.Stopped != c.stopped || scrub.Running != c.running || scrub.Period != 3600 || scrub.LastEnded == nil || scrub.Begun != nil {
			t.Errorf("%s %s: %v, %v", c.method, c.path, r, err)
		}
	}
	if r := h.do("POST", admin.Prefix+"/scrub/start?now=soon", ""); r.status != 400 || r.failure(t).Code != "InvalidRequest" {
		t.Errorf("got %v", r)
	}
}

// TestAdminVerify: lines come while a verification goes on, the last one has the report; there is one at a time, and it ends when its caller goes away.
func TestAdminVerify(t *testing.T) {
	h := newHarness(t)
	lines := func(body string) (all []admin.Verification) {
		for line := range strings.Lines(body) {
			var v admin.Verification
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			all = append(all, v)
		}
		return all
	}
	h.health.verifyEnds = make(chan error, 1)
	for _, end := range []error{nil, errors.New("a drive is on fire")} {
		h.health.verifyEnds <- end
		r := h.must("POST", admin.Prefix+"/verify", "")
		all := lines(r.body)
		last := all[len(all)-1]
		if r.header.Get("Content-Type") != "application/x-ndjson" || len(all) < 2 || all[0].Phase != "start" || last.Report == nil || last.Report.Corrupt != 1 || (last.Error != "") != (end != nil) {
			t.Errorf("ends with %v: %v", end, r)
		}
	}

	c := h.dial()
	q := h.build("POST", admin.Prefix+"/verify", nil)
	if _, err := c.Write(q.head()); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for line := ""; !strings.Contains(line, `"stripes"`); {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	r := h.must("POST", admin.Prefix+"/verify", "")
	if all := lines(r.body); len(all) != 1 || !strings.Contains(all[0].Error, "under way") {
		t.Errorf("a second one: %v", r)
	}
	c.Close()
	select {
	case <-h.health.verifyLeft:
	case <-time.After(time.Minute):
		t.Fatal("the verification goes on though nobody listens")
	}
}
