package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"penstock/tools/harness"
)

// options are what the command line says, and what was found out about this machine.
type options struct {
	duration time.Duration
	seed     uint64
	only     []string // Names of troubles; none = all.
	layout   string   // Part of the name of the layouts; "" = all.
	parallel int
	dir      string
	logs     string
	verbose  bool
	binary   string
	refill   bool // Empty drives are filled again.

	mu sync.Mutex // Guards standard output.
}

func (o *options) printf(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

func main() {
	os.Exit(run())
}

// run returns the exit code: 1 when something was found, 2 when it could not be looked for.
func run() int {
	o := &options{}
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "how long")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the first campaign, the next ones count up; 0 = by the clock")
	only := flag.String("only", "", "only these troubles, separated by commas: "+names())
	flag.StringVar(&o.layout, "layout", "", "only layouts with this in their name")
	flag.IntVar(&o.parallel, "parallel", runtime.NumCPU(), "campaigns at a time: a node waits for its drives much of the time")
	flag.StringVar(&o.dir, "dir", "", "where the drives are; by default in memory if there is room, else in the directory for temporary files")
	flag.StringVar(&o.logs, "logs", os.TempDir(), "where the logs of nodes go of which something was found")
	flag.BoolVar(&o.verbose, "v", false, "print every round")
	flag.Parse()
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(troubles, func(t trouble) bool { return t.name == name }) {
			fmt.Fprintf(os.Stderr, "torture: %q is none of %s\n", name, names())
			return 2
		}
	}
	if code, done := inNamespace(); done {
		return code
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) & 0xffffffff
	}
	if o.dir == "" {
		o.dir = roomy()
	}
	// The first signal ends the campaigns where they are; mounts end with the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.binary, err = harness.Build(ctx, "invariants"); err == nil {
		o.refill, err = takesEmpty(ctx, o.binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 2
	}
	began := time.Now()
	r := torture(ctx, o)
	r.print(os.Stdout, o.seed, time.Since(began))
	if r.found() > 0 {
		return 1
	}
	return 0
}

func names() string {
	var all []string
	for _, t := range troubles {
		all = append(all, t.name)
	}
	return strings.Join(all, ",")
}

// torture runs campaigns, one after another and some at a time, until the time is over or something is found.
func torture(ctx context.Context, o *options) *report {
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	r := newReport()
	usable := usableLayouts(o, r)
	var next atomic.Int64
	var all sync.WaitGroup
	for range o.parallel {
		all.Go(func() {
			for ctx.Err() == nil && len(usable) > 0 {
				number := int(next.Add(1) - 1)
				// The layout goes with the seed, so that a seed alone brings a campaign back.
				l := usable[(o.seed+uint64(number))%uint64(len(usable))]
				if err := campaignOf(ctx, o, number, l, r); err != nil {
					r.violation(err.Error())
					cancel()
				}
			}
		})
	}
	all.Wait()
	return r
}

// campaignOf runs one campaign.
func campaignOf(ctx context.Context, o *options, number int, l layout, r *report) (err error) {
	c, err := newCampaign(o, number, l, r)
	if err != nil {
		return err
	}
	r.campaign(c.state)
	defer func() {
		log := ""
		if err != nil && c.node != nil {
			log = tail(c.node.Log(), 8<<10)
		}
		closed := c.close()
		if err != nil {
			err = fmt.Errorf("seed %d (%s): %w\nlog in %s, which ends with:\n%s", c.seed, l.name, err, c.log, log)
			return
		}
		os.Remove(c.log)
		err = closed
	}()
	return c.run(ctx, o)
}

func tail(s string, most int) string { return s[max(0, len(s)-most):] }

// usableLayouts returns the layouts that were asked for and that this machine can have.
func usableLayouts(o *options, r *report) []layout {
	if !o.refill {
		r.leave("empty: this binary has no " + refillFlag)
	}
	broken := map[string]error{"": nil}
	for _, kind := range []string{"ext4", "xfs"} {
		broken[kind] = tryFilesystem(o.dir, kind)
	}
	var usable []layout
	for _, l := range layouts {
		if !strings.Contains(l.name, o.layout) {
			continue
		}
		if err := broken[l.kind]; err != nil {
			r.leave(fmt.Sprintf("%s: %v", l.name, err))
			continue
		}
		if slices.ContainsFunc(troubles, func(t trouble) bool { return t.fits(l, o) }) {
			usable = append(usable, l)
		}
	}
	return usable
}

// tryFilesystem makes a file system and stops it, to see whether that can be done here.
func tryFilesystem(dir, kind string) error {
	if os.Geteuid() != 0 {
		return errors.New("mounting file systems needs root")
	}
	dir, err := os.MkdirTemp(dir, "penstock-torture-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := makeFilesystem(dir, kind, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.shutdown(shutdownNoLogFlush), f.down())
}

// room is what drives take while campaigns go on.
const room = 4 << 30

// roomy returns a directory for drives: in memory, if there is plenty, because kills and power cuts then take a fraction of the time.
func roomy() string {
	const memory = "/dev/shm"
	var fs unix.Statfs_t
	var info unix.Sysinfo_t
	if unix.Statfs(memory, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= room && unix.Sysinfo(&info) == nil && uint64(info.Freeram)*uint64(info.Unit) >= 2*room {
		return memory
	}
	return os.TempDir()
}

// refillFlag has a node take an empty drive for the one that was there.
const refillFlag = "--replace-empty"

// takesEmpty reports whether the binary has that flag.
func takesEmpty(ctx context.Context, binary string) (bool, error) {
	help, err := exec.CommandContext(ctx, binary, "help", "server").CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("%s help server: %w", filepath.Base(binary), err)
	}
	return strings.Contains(string(help), refillFlag), nil
}

// namespaceEnv tells the process that it has a mount namespace of its own.
const namespaceEnv = "PENSTOCK_TORTURE_NAMESPACE"

// inNamespace runs this program again in a mount namespace of its own, which ends with it and takes all mounts along, and returns its exit code.
func inNamespace() (code int, done bool) {
	if os.Geteuid() != 0 {
		return 0, false
	}
	if os.Getenv(namespaceEnv) != "" {
		os.Unsetenv(namespaceEnv)
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "torture: keep mounts private:", err)
			return 2, true
		}
		return 0, false
	}
	self, err := os.Executable()
	if err != nil {
		return 0, false
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	// Signals of the terminal reach the child by themselves; others are passed on.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	runtime.LockOSThread() // The child's death signal comes with the end of the thread that started it.
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, false // Without the right to: then mounts fail as well, and say so.
	}
	go func() {
		for s := range signals {
			if s == syscall.SIGTERM {
				cmd.Process.Signal(s)
			}
		}
	}()
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), true
}

// fetch returns what a URL answers.
func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(text), err
}
