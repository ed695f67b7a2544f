package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"penstock/tools/penstock/doctor"
)

// TestDoctor asks about a machine whose drives are directories, with a node and without.
func TestDoctor(t *testing.T) {
	r := newRig(t, 3)
	r.start()
	environment := map[string]string{serverEnv: r.node.Endpoint, "AWS_ACCESS_KEY_ID": r.access, "AWS_SECRET_ACCESS_KEY": r.secret, "HOME": t.TempDir()}
	ask := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append(append([]string{"doctor"}, args...), r.options.Drives...), func(name string) string { return environment[name] }, &out, &errs)
		return code, out.String(), errs.String()
	}
	code, out, errs := ask("--live")
	if code != exitAiling && code != exitLost || !strings.Contains(out, r.options.Drives[0]) || !strings.Contains(out, "2+1 over 3 drives") || strings.Contains(out, "\x1b") {
		t.Errorf("exit code %d, %q, %s", code, errs, out)
	}
	_, out, _ = ask("--live", "--json")
	var d struct {
		Severity string
		Findings []struct{ Check, Severity, Text, Advice string }
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil || len(d.Findings) < 8 || d.Severity == doctor.Good.String() {
		t.Errorf("as JSON: %v, %s", err, out)
	}
	r.stop()
	if code, out, _ = ask("--live"); code != exitLost || !strings.Contains(out, "refused") {
		t.Errorf("without a node: exit code %d, %s", code, out)
	}
	if code, _, errs = ask("--memory", "lots"); code != exitMistake || !strings.Contains(errs, "lots") {
		t.Errorf("a mistake: exit code %d, %q", code, errs)
	}
}
