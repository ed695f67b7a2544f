package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"penstock/bench"
	"penstock/tools/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "goals:", err)
		os.Exit(1)
	}
}

// A campaign is all loads on all builds, several times.
type campaign struct {
	generator string // Binary of the load generator.
	binaries  []build
	loads     []load
	reps      int
	window    time.Duration
	dir       string // Of the drives.
	cores     cores
	progress  io.Writer
}

// A build is a binary that is measured.
type build struct{ name, path string }

// A sample is one run of a load.
type sample struct {
	load   load
	build  string
	report *bench.Report
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("goals", flag.ContinueOnError)
	flags.SetOutput(stderr)
	base := flags.String("base", "", "binary of another build to measure in turns with this one")
	reps := flags.Int("reps", 5, "repetitions")
	window := flags.Duration("window", 3*time.Second, "length of each run")
	which := flags.String("run", "", "regular expression of the loads to run")
	out := flags.String("out", "", "also write a file for benchstat for each build, base.txt and new.txt, into this directory")
	dir := flags.String("drives", "", "directory for the drives (default a temporary one)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*which)
	if err != nil {
		return err
	}
	if *reps < 1 || flags.NArg() > 0 {
		return errors.New("bad arguments; see -help")
	}
	own, err := harness.Build(ctx)
	if err != nil {
		return err
	}
	c := campaign{generator: own, binaries: []build{{"new", own}}, reps: *reps, window: *window, progress: stderr}
	if *base != "" {
		c.binaries = []build{{"base", *base}, {"new", own}}
	}
	for _, l := range loads {
		if pattern.MatchString(l.name) {
			c.loads = append(c.loads, l)
		}
	}
	if len(c.loads) == 0 {
		return fmt.Errorf("no load matches %q", *which)
	}
	if c.dir, err = os.MkdirTemp(*dir, "goals-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.dir)
	samples, err := c.run(ctx)
	if err != nil {
		return err
	}
	if *out != "" {
		if err := writeBench(*out, c.binaries, samples); err != nil {
			return err
		}
	}
	return writeTable(stdout, c.loads, samples)
}

// run measures everything, in turns.
func (c *campaign) run(ctx context.Context) (samples []sample, err error) {
	var apart bool
	if c.cores, apart, err = chooseCores(); err != nil {
		return nil, err
	}
	if !apart {
		fmt.Fprintln(c.progress, "one core for the node and its clients alike: rates say little")
	}
	type place struct{ build, start string }
	nodes := make(map[place]*node)
	defer func() {
		for _, n := range nodes {
			n.Kill() // Its drives go now.
		}
	}()
	for _, b := range c.binaries {
		for _, kind := range starts {
			if !slices.ContainsFunc(c.loads, func(l load) bool { return l.start == kind }) {
				continue
			}
			dir := filepath.Join(c.dir, b.name+"-"+kind)
			n, err := startNode(ctx, c, b.path, dir, kind)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", b.name, err)
			}
			nodes[place{b.name, kind}] = n
		}
	}
	for rep := range c.reps {
		for _, l := range c.loads {
			for _, b := range c.binaries {
				fmt.Fprintf(c.progress, "%d of %d: %s (%s)\n", rep+1, c.reps, l.name, b.name)
				args := l.args
				if !l.once() {
					args += " --duration " + c.window.String()
				}
				report, err := nodes[place{b.name, l.start}].bench(ctx, c, args)
				if err != nil {
					return nil, err
				}
				samples = append(samples, sample{l, b.name, report})
			}
		}
	}
	return samples, nil
}
