package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/admin"
)

// adminJSON runs "penstock admin" and decodes what it prints.
func (r *rig) adminJSON(out any, args ...string) (code int) {
	r.t.Helper()
	code, stdout, stderr := r.admin(append(args, "--json")...)
	if err := json.Unmarshal([]byte(stdout), out); err != nil {
		r.fatal("%v: exit code %d, %v\n%s%s", args, code, err, stdout, stderr)
	}
	return code
}

// until polls for a condition.
func (r *rig) until(what string, reached func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.fatal("after a minute, still not: %s", what)
		}
	}
}

// TestAdminHeal has a node lose a drive and get it back, and follows healing, scrubbing and verifying by their commands.
func TestAdminHeal(t *testing.T) {
	r := newRig(t, 4, "--journal-segment", "8MiB", "--bulk-segment", "8MiB")
	client := r.start()
	objects := r.fill(client)
	if code, out, errs := r.admin("heal", "status", "--wait"); code != exitOK || !strings.HasPrefix(out, "nothing is missing\n") {
		r.fatal("well: exit code %d\n%s%s", code, out, errs)
	}
	r.stop()
	away := r.options.Drives[3] + ".away"
	if err := os.Rename(r.options.Drives[3], away); err != nil {
		t.Fatal(err)
	}
	client = r.start()
	var heal admin.Heal
	r.until("the ledger has what is missing", func() bool {
		r.adminJSON(&heal, "heal", "status")
		return heal.Shards > 0 && heal.Waiting == heal.Volumes
	})
	if len(heal.Ailing) != heal.Shards || heal.Left == 0 || heal.Ailing[0].Reason == "" || heal.Cut {
		t.Errorf("%+v", heal)
	}
	if code, out, errs := r.admin("heal", "status"); code != exitOK || !strings.Contains(out, "waiting") || !strings.Contains(out, heal.Ailing[0].Volume) {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := r.admin("heal", "status", "--wait", "--timeout", "10ms"); code != exitAiling || !strings.Contains(errs, "not whole after 10ms") {
		t.Errorf("waiting for what cannot be: exit code %d\n%s", code, errs)
	}
	if code := r.adminJSON(&heal, "heal", "stop"); code != exitOK || !heal.Stopped {
		t.Errorf("stop: exit code %d, %+v", code, heal)
	}
	if code, out, _ := r.admin("heal", "status"); code != exitOK || !strings.Contains(out, "healing is stopped") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if code := r.adminJSON(&heal, "heal", "start"); code != exitOK || heal.Stopped {
		t.Errorf("start: exit code %d, %+v", code, heal)
	}
	var report engine.VerifyReport
	if code := r.adminJSON(&report, "verify"); code != exitAiling || report.Missing == 0 || report.Lost != 0 {
		t.Errorf("verify without a drive: exit code %d, %+v", code, report)
	}
	r.check(objects, client, "without a drive")
	r.stop()

	if err := os.Rename(away, r.options.Drives[3]); err != nil {
		t.Fatal(err)
	}
	client = r.start()
	if code := r.adminJSON(&heal, "heal", "start", "--wait"); code != exitOK || heal.Shards != 0 {
		r.fatal("wait: exit code %d, %+v", code, heal)
	}
	report = engine.VerifyReport{}
	if code := r.adminJSON(&report, "verify"); code != exitOK || !report.OK() || report.Index.Objects != int64(len(objects)) {
		t.Errorf("verify: exit code %d, %+v", code, report)
	}
	if code, out, errs := r.admin("verify"); code != exitOK || !strings.Contains(out, "4 here, 0 missing") || errs != "" {
		t.Errorf("verify for people: exit code %d\n%s%s", code, out, errs)
	}
	var scrub admin.Scrub
	if code := r.adminJSON(&scrub, "scrub", "stop"); code != exitOK || !scrub.Stopped || scrub.Period != (14*24*time.Hour).Seconds() {
		t.Errorf("stop: exit code %d, %+v", code, scrub)
	}
	scrub = admin.Scrub{}
	if code := r.adminJSON(&scrub, "scrub", "start"); code != exitOK || scrub.Stopped {
		t.Errorf("start: exit code %d, %+v", code, scrub)
	}
	r.adminJSON(&scrub, "scrub", "start", "--now")
	began := time.Now().Add(-time.Minute)
	r.until("a round has ended", func() bool {
		scrub = admin.Scrub{}
		r.adminJSON(&scrub, "scrub", "status")
		return scrub.LastEnded != nil && scrub.LastEnded.After(began) && !scrub.Running
	})
	if scrub.Read == 0 || scrub.Found != 0 || scrub.Volumes == 0 {
		t.Errorf("%+v", scrub)
	}
	if code, out, _ := r.admin("scrub", "status"); code != exitOK || !strings.Contains(out, "every segment within 14 days") || !strings.Contains(out, "found 0") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	r.check(objects, client, "in the end")
	r.stop()
}
