package blackbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"penstock/tools/harness"
)

// limited returns a program that starts the binary with at most so many descriptors, as a careless service file does.
func limited(t *testing.T, files int) string {
	t.Helper()
	path, err := binary()
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

// TestFewDescriptors runs a node that may open 256 files, and opens more connections than that. It must live on, and
// serve again when they are gone.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	n := start(t, setup{binary: limited(t, 256)})
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/bkt/before", []byte("before"))
	base := n.usage(t)
	// Connections beyond the limit wait in the kernel's queue, so opening them succeeds.
	var conns []*wire
	for range 400 {
		w, err := n.dial()
		if err != nil {
			break // The queue is full: as good.
		}
		conns = append(conns, w)
	}
	if len(conns) < 300 {
		t.Fatalf("%d connections", len(conns))
	}
	eventually(t, 10*time.Second, func() string {
		if files := n.usage(t).files; files < 250 {
			return fmt.Sprintf("%d descriptors in use; the limit was not reached", files)
		}
		return ""
	})
	// One that was taken is served while others wait.
	if r, err := conns[0].roundTrip(n.signed("GET", "/bkt/before", nil)); err != nil || r.status != 200 {
		t.Errorf("at the limit: %v, %v", r, err)
	}
	for _, w := range conns {
		w.Close()
	}
	n.closeIdle()
	eventually(t, 10*time.Second, func() string {
		r, err := n.call("PUT", "/bkt/after", []byte("after"))
		if err != nil || r.status != 200 {
			return fmt.Sprintf("after the limit was reached: %v, %v", r, err)
		}
		return ""
	})
	n.settles(t, base)
	// A larger object needs no descriptor that is not there.
	n.must(t, "PUT", "/bkt/large", make([]byte, 1<<20))
}

// TestTooFewDescriptors starts a node that may open next to no files: it says so, or it serves.
func TestTooFewDescriptors(t *testing.T) {
	t.Parallel()
	for _, files := range []int{8, 16, 24, 32, 48, 64} {
		drives, err := harness.Drives(t.TempDir(), 6)
		if err != nil {
			t.Fatal(err)
		}
		n, err := harness.Launch(harness.Options{Binary: limited(t, files), Drives: drives, Args: []string{"--memory", "128MiB"}})
		if err != nil {
			t.Fatal(err)
		}
		err = n.WaitReady(t.Context())
		if err == nil {
			_, err = n.Stop()
			t.Logf("%d descriptors: serves; stop: %v", files, err)
			continue
		}
		n.Kill()
		(&node{Node: n}).checkLog(t)
		t.Logf("%d descriptors: %v", files, err)
	}
}
