package blackbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock/tools/harness"
)

// limited returns a program that starts the binary with at most so many descriptors, as a careless service file does.
func limited(t *testing.T, files int) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "limited")
	text := fmt.Sprintf("#!/bin/sh\nulimit -n %d || exit 97\nexec '%s' \"$@\"\n", files, path)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

// TestFewDescriptors runs a node that may open 256 files, and opens more connections than that. It must tell those it has
// no room for to come back, serve the others, and everyone again when they are gone.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	n := start(t, setup{binary: limited(t, 256)})
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/bkt/before", []byte("before"))
	base := n.usage(t)
	var conns []*wire
	refused := 0
	for range 400 {
		w := n.mustDial(t)
		r, err := w.roundTrip(n.signed("GET", "/bkt/before", nil))
		switch {
		case err == nil && r.status == 200:
			conns = append(conns, w)
		case err == nil && r.status == 503 && r.code() == "SlowDown" && r.header.Get("Retry-After") != "":
			refused++
		case err == nil:
			t.Fatal(r)
		default: // The answer can be lost when it is sent before the request has come.
			refused++
		}
	}
	t.Logf("%d connections taken, %d refused, %v", len(conns), refused, n.usage(t))
	if len(conns) < 128 || refused == 0 {
		t.Errorf("%d connections were taken and %d refused", len(conns), refused)
	}
	// The drives have descriptors left, for a new volume too.
	for i := range 8 {
		if r, err := conns[i].roundTrip(n.signed("PUT", fmt.Sprintf("/bkt/large-%d", i), make([]byte, 8<<20))); err != nil || r.status != 200 {
			t.Errorf("at the limit: %v, %v", r, err)
		}
	}
	for _, w := range conns {
		w.Close()
	}
	eventually(t, 10*time.Second, func() string {
		r, err := n.call("PUT", "/bkt/after", []byte("after"))
		if err != nil || r.status != 200 {
			return fmt.Sprintf("after the limit was reached: %v, %v", r, err)
		}
		return ""
	})
	n.settles(t, base)
}

// TestTooFewDescriptors starts a node that may open next to no files: it says so, or it serves.
func TestTooFewDescriptors(t *testing.T) {
	t.Parallel()
	for _, files := range []int{8, 16, 24, 32, 48} {
		drives, err := harness.Drives(t.TempDir(), 6)
		if err != nil {
			t.Fatal(err)
		}
		n, err := harness.Launch(harness.Options{Binary: limited(t, files), Drives: drives, Args: []string{"--memory", "128MiB"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.WaitReady(t.Context()); err == nil {
			if _, err := n.Stop(); err != nil {
				t.Errorf("%d descriptors: %v", files, err)
			}
			continue
		}
		n.Kill()
		// The last line is what the operator reads.
		lines := strings.Split(strings.TrimSpace(n.Log()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "penstock: ") || !strings.Contains(last, "too many open files") {
			t.Errorf("%d descriptors: ended with %q", files, last)
		}
		(&node{Node: n}).checkLog(t)
	}
}
