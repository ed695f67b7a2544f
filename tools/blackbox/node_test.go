package blackbox

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/tools/harness"
)

var long = flag.Bool("long", false, "run the long forms: minutes, and thousands of clients")

// scale is the number of repetitions: few in a test run, many in the long form.
func scale(short, longForm int) int {
	if *long {
		return longForm
	}
	return short
}

// built is the binary, built once for all tests: even a build with nothing to do takes seconds on a busy machine.
var built = sync.OnceValues(func() (string, error) { return harness.Build(context.Background()) })

// A node is a running binary with a client for it.
type node struct {
	*harness.Node
	*client
	dir     string // Holds the drives and nothing else.
	drives  []string
	options harness.Options
	starts  int
	sockets int  // Open when no client is there: the listeners.
	ended   bool // The test has ended the process itself.
}

// setup says how a node is started; its zero value is six drives and 256 MiB.
type setup struct {
	args   []string
	env    []string
	memory string
	drives []string
	secure bool   // Over TLS.
	binary string // Instead of the one built from the tree.
	noRoot bool   // The node makes a root pair for itself; the client cannot sign.
}

// start starts a node, and stops it when the test ends. The stop must be orderly, and nothing may have panicked.
func start(t testing.TB, s setup) *node {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	if s.binary != "" {
		path = s.binary
	}
	n := &node{dir: t.TempDir(), drives: s.drives}
	if n.drives == nil {
		if n.drives, err = harness.Drives(n.dir, 6); err != nil {
			t.Fatal(err)
		}
	}
	if s.memory == "" {
		s.memory = "256MiB"
	}
	n.options = harness.Options{Binary: path, Drives: n.drives, Args: append([]string{"--memory", s.memory}, s.args...), Env: s.env, NoRoot: s.noRoot}
	n.client = newClient()
	if s.secure {
		certificate, err := harness.NewCertificate(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		n.options.Args = append(n.options.Args, "--tls-cert", certificate.CertFile, "--tls-key", certificate.KeyFile)
		n.client.trust(certificate.Pool)
	}
	n.launch(t)
	t.Cleanup(func() { n.end(t) })
	return n
}

// launch starts the process on the drives, again after it was ended.
func (n *node) launch(t testing.TB) {
	t.Helper()
	var err error
	if n.Node, err = harness.Start(t.Context(), n.options); err != nil {
		t.Fatal(err)
	}
	n.ended = false
	n.starts++
	n.client.use(n.Node.Endpoint)
	n.sockets = n.usage(t).sockets
}

// end stops the process in an orderly way. That fails when a buffer has not come back.
func (n *node) end(t testing.TB) {
	t.Helper()
	if n.ended {
		return
	}
	n.ended = true
	n.client.closeIdle()
	if _, err := n.Stop(); err != nil {
		t.Error(err)
	}
	n.checkLog(t)
}

// checkLog fails if anything panicked.
func (n *node) checkLog(t testing.TB) {
	t.Helper()
	log := n.Log()
	for _, word := range []string{"panic", "fatal error", "DATA RACE"} {
		if at := strings.Index(log, word); at >= 0 {
			t.Errorf("the log says %q: %.4000s", word, log[max(0, at-200):])
		}
	}
}

// usage is what the operating system says of a process.
type usage struct {
	rss, peak int64 // Bytes.
	files     int   // Open descriptors.
	sockets   int   // Those of them that are sockets.
	threads   int
	cpu       time.Duration
}

func (u usage) String() string {
	return fmt.Sprintf("rss %d MiB, peak %d MiB, %d descriptors, %d threads, %.2f s of CPU", u.rss>>20, u.peak>>20, u.files, u.threads, u.cpu.Seconds())
}

// usage reads it from /proc.
func (n *node) usage(t testing.TB) (u usage) {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(n.Pid()))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		number, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			u.rss = number << 10
		case "VmHWM":
			u.peak = number << 10
		case "Threads":
			u.threads = int(number)
		}
	}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	u.files = len(files)
	for _, f := range files {
		if to, err := os.Readlink(filepath.Join(proc, "fd", f.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			u.sockets++
		}
	}
	u.cpu = n.cpu(t)
	return u
}

// clockTick is the unit of times in /proc/PID/stat, on every architecture that Go knows.
const clockTick = 10 * time.Millisecond

// cpu is the CPU time of the process, in user and kernel mode.
func (n *node) cpu(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(stat, []byte(") ")) // The name may hold spaces.
	fields := bytes.Fields(rest)
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err1 != nil || err2 != nil {
		t.Fatalf("stat: %q", stat)
	}
	return time.Duration(user+system) * clockTick
}

// eventually waits until the condition holds; what it returns otherwise is the reason. The process is looked at from
// outside, so there is nothing to be woken by.
func eventually(t testing.TB, limit time.Duration, reason func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		why := reason()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("after %v: %s", limit, why)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// settles waits until every connection has ended, which is when its last request has, and checks that no other
// descriptors have become more than there may be.
func (n *node) settles(t testing.TB, base usage) {
	t.Helper()
	n.client.closeIdle()
	eventually(t, 60*time.Second, func() string {
		if now := n.usage(t); now.sockets > n.sockets {
			return fmt.Sprintf("%d sockets are open, %d before", now.sockets, n.sockets)
		}
		return ""
	})
	if now := n.usage(t); now.files > base.files+spareFiles {
		t.Errorf("%d descriptors, %d before", now.files, base.files)
	}
}

// spareFiles is how many descriptors a node may have gained while clients came and went: segments of volumes
// opened meanwhile, and tables of the index.
const spareFiles = 64
