package main

import (
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var (
	duration = flag.Duration("duration", 45*time.Second, "how long TestTorture goes on")
	seed     = flag.Uint64("seed", 0, "seed of its first campaign; 0 = by the clock")
)

// TestTorture runs the command for a short while.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("kills real processes for a while; left out by -short")
	}
	binary := filepath.Join(t.TempDir(), "torture")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary,
		"-duration", duration.String(), "-seed", fmt.Sprint(*seed), "-logs", t.ArtifactDir()).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
