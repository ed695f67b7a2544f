package fastapi

import (
	"encoding/json"
	"testing"

	"penstock/fastapi/admin"
)

// TestAdminCompact: what is asked for reaches the store, and every answer is the status after it.
func TestAdminCompact(t *testing.T) {
	h := newHarness(t)
	for _, step := range []struct {
		method, path string
		asked        bool
	}{
		{"GET", "/compact", false},
		{"POST", "/compact/start", true},
		{"GET", "/compact", true},
		{"POST", "/compact/stop", false},
	} {
		var got admin.Compact
		r := h.must(step.method, admin.Prefix+step.path, "")
		want := admin.Compact{Asked: step.asked, Waiting: 2, Used: 30, Live: 20, Error: "a drive is gone"}
		if err := json.Unmarshal([]byte(r.body), &got); err != nil || got != want {
			t.Errorf("%s %s: %v, %v, want %+v", step.method, step.path, r, err, want)
		}
	}
}
