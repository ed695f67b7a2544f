package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The root pair that Start sets, unless told otherwise.
const (
	AccessKey = "penstock-test-access"
	SecretKey = "penstock-test-secret"
)

// readyLimit is how long a start may take. Ten times what the slowest machine needs: it only ends a wait for what never comes.
const readyLimit = 60 * time.Second

// stopLimit is the same for an orderly stop, which promises five seconds.
const stopLimit = 15 * time.Second

// Options say how to start the binary.
type Options struct {
	Binary  string   // From Build.
	Drives  []string // Directories; see Drives.
	Args    []string // Further arguments of "server".
	Env     []string // Further environment, NAME=value.
	NoRoot  bool     // Set no root pair, so that the node generates one.
	LogFile string   // Also append the log to this file; "" = keep it in memory alone.
}

// Drives makes n directories d1 … dn below dir and returns them.
func Drives(dir string, n int) ([]string, error) {
	var drives []string
	for i := range n {
		drive := filepath.Join(dir, fmt.Sprintf("d%d", i+1))
		if err := os.MkdirAll(drive, 0o755); err != nil {
			return nil, err
		}
		drives = append(drives, drive)
	}
	return drives, nil
}

// A Node is a running binary.
type Node struct {
	Endpoint string         // http://127.0.0.1:port
	Ready    map[string]any // The attributes of its "ready" line.
	Started  time.Duration  // From the start of the process to that line.

	cmd    *exec.Cmd
	output output
	exited chan struct{} // Closed once the process is gone and waitErr is set.
	err    error         // What Wait said; read after exited.
}

// ErrExited is in the error of a Start whose process ended before it was ready.
var ErrExited = errors.New("the process ended")

// Launch starts the binary and returns at once; Node.WaitReady must come before its endpoint is used.
func Launch(o Options) (*Node, error) {
	args := append([]string{"server", "--address", "127.0.0.1:0", "--log-format", "json"}, o.Args...)
	cmd := exec.Command(o.Binary, append(args, o.Drives...)...)
	// The caller's own settings must not leak in.
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PENSTOCK_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	if !o.NoRoot {
		cmd.Env = append(cmd.Env, "PENSTOCK_ROOT_ACCESS_KEY="+AccessKey, "PENSTOCK_ROOT_SECRET_KEY="+SecretKey)
	}
	cmd.Env = append(cmd.Env, o.Env...)
	n := &Node{cmd: cmd, exited: make(chan struct{})}
	n.output.ready = make(chan struct{})
	if o.LogFile != "" {
		file, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		n.output.file = file
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = &n.output.stdout
	// If the test process dies, so does the node it started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.output.begun = time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		n.output.read(stderr)
		n.err = cmd.Wait()
		n.output.close()
		close(n.exited)
	}()
	return n, nil
}

// Start starts the binary and waits until it is ready.
func Start(ctx context.Context, o Options) (*Node, error) {
	n, err := Launch(o)
	if err != nil {
		return nil, err
	}
	if err := n.WaitReady(ctx); err != nil {
		n.Kill()
		return nil, err
	}
	return n, nil
}

// WaitReady waits for the line that says that the node serves every request.
func (n *Node) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	select {
	case <-n.output.ready:
		n.Ready, n.Started = n.output.attrs, n.output.took
		n.Endpoint, _ = n.Ready["endpoint"].(string)
		return nil
	case <-n.exited:
		return fmt.Errorf("%w before it was ready: %v\n%s", ErrExited, n.err, n.Log())
	case <-ctx.Done():
		return fmt.Errorf("not ready: %w\n%s", ctx.Err(), n.Log())
	}
}

// Stop asks the node to stop as an operator does, and returns how long that took. An exit code other than 0 is an error.
func (n *Node) Stop() (time.Duration, error) {
	begun := time.Now()
	if err := n.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-n.exited:
	case <-time.After(stopLimit):
		n.Kill()
		return time.Since(begun), fmt.Errorf("did not stop within %v\n%s", stopLimit, n.Log())
	}
	if n.err != nil {
		return time.Since(begun), fmt.Errorf("stopped with %w\n%s", n.err, n.Log())
	}
	return time.Since(begun), nil
}

// Kill ends the node with SIGKILL, as a crash would, and waits until it is gone. A node that is gone stays gone.
func (n *Node) Kill() {
	n.cmd.Process.Kill() // Fails only when the process has ended already.
	<-n.exited
}

// Signal sends the node a signal.
func (n *Node) Signal(s os.Signal) error { return n.cmd.Process.Signal(s) }

// Exited is closed once the process is gone.
func (n *Node) Exited() <-chan struct{} { return n.exited }

// ExitCode is the exit code of a process that is gone, -1 when a signal ended it.
func (n *Node) ExitCode() int {
	<-n.exited
	return n.cmd.ProcessState.ExitCode()
}

// Log returns what the node has written to standard error, the last mebibyte of it.
func (n *Node) Log() string { return n.output.text() }

// Stdout returns what the node has written to standard output; it is complete once the node has exited.
func (n *Node) Stdout() string { return n.output.stdout.String() }

// Pid returns the process id.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// output collects what a node writes.
type output struct {
	begun  time.Time
	ready  chan struct{} // Closed at the "ready" line, after attrs and took are set.
	attrs  map[string]any
	took   time.Duration
	stdout syncBuffer

	mu   sync.Mutex // Guards log and file.
	log  bytes.Buffer
	file *os.File
}

// maxLogLen bounds what is kept of a log, as a node under load may write for hours.
const maxLogLen = 1 << 20

func (o *output) read(r io.Reader) {
	reader := bufio.NewReader(r)
	seen := false
	for {
		line, err := reader.ReadBytes('\n')
		o.add(line)
		if !seen && bytes.Contains(line, []byte(`"msg":"ready"`)) {
			if json.Unmarshal(line, &o.attrs) == nil {
				o.took = time.Since(o.begun)
				seen = true
				close(o.ready)
			}
		}
		if err != nil {
			return
		}
	}
}

func (o *output) add(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		o.file.Write(line) // A log for reading; losing a line of it loses nothing.
	}
	o.log.Write(line)
	if o.log.Len() > 2*maxLogLen {
		o.log.Next(o.log.Len() - maxLogLen)
	}
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log.String()
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
}

// syncBuffer is a bytes.Buffer that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex // Guards buf.
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
