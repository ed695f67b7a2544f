package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"penstock/bench"
	"penstock/tools/harness"
)

// memory is what a node gets: enough for the loads, little enough for a laptop.
const memory = "1GiB"

// cores are where the node and the load generator run.
type cores struct{ server, client int }

// chooseCores takes the first two cores that this process may use.
func chooseCores() (c cores, apart bool, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return c, false, err
	}
	var may []int
	for cpu := range 64 * len(set) {
		if set.IsSet(cpu) {
			may = append(may, cpu)
		}
	}
	if len(may) == 0 {
		return c, false, errors.New("this process may run nowhere")
	}
	return cores{may[0], may[min(1, len(may)-1)]}, len(may) > 1, nil
}

// on runs f with what it starts pinned to a core: a child runs where the thread that forks it runs.
func on(core int, f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return f()
}

// A node is a server under measurement.
type node struct {
	*harness.Node
	options harness.Options
	ca      string // The certificate to trust; "" = plain HTTP.
}

// startNode starts a node of a binary on fresh drives below dir. Of a degraded one a drive is taken away, after objects were written
// that its loads read.
func startNode(ctx context.Context, c *campaign, binary, dir, kind string) (*node, error) {
	drives, err := harness.Drives(dir, driveCount)
	if err != nil {
		return nil, err
	}
	n := &node{options: harness.Options{Binary: binary, Drives: drives, Args: []string{"--memory", memory, "--parity", "2"}}}
	if kind == "tls" {
		certificate, err := harness.NewCertificate(dir)
		if err != nil {
			return nil, err
		}
		n.ca = certificate.CertFile
		n.options.Args = append(n.options.Args, "--tls-cert", certificate.CertFile, "--tls-key", certificate.KeyFile)
	}
	if kind == "opaque" {
		n.options.Args = append(n.options.Args, "--etags", "opaque")
	}
	if err := n.start(ctx, c); err != nil {
		return nil, err
	}
	if kind == "degraded" {
		if err := n.loseDrive(ctx, c); err != nil {
			return nil, fmt.Errorf("taking a drive away: %w", err)
		}
	}
	return n, nil
}

const driveCount = 6

func (n *node) start(ctx context.Context, c *campaign) error {
	return on(c.cores.server, func() (err error) { n.Node, err = harness.Start(ctx, n.options); return err })
}

// loseDrive writes what degraded loads read, stops the node, hides its last drive, and starts it again.
func (n *node) loseDrive(ctx context.Context, c *campaign) error {
	for _, l := range c.loads {
		if l.start != "degraded" {
			continue
		}
		if _, err := n.bench(ctx, c, strings.NewReplacer("get ", "put ", "--reuse", "--keep").Replace(l.args)); err != nil {
			return err
		}
	}
	if _, err := n.Stop(); err != nil {
		return err
	}
	lost := n.options.Drives[driveCount-1]
	if err := os.Rename(lost, lost+".gone"); err != nil {
		return err
	}
	return n.start(ctx, c)
}

// bench runs the load generator of this tree on the node.
func (n *node) bench(ctx context.Context, c *campaign, args string) (*bench.Report, error) {
	out, err := os.CreateTemp("", "goals-*.json")
	if err != nil {
		return nil, err
	}
	out.Close()
	defer os.Remove(out.Name())
	words := append([]string{"bench"}, strings.Fields(args)...)
	words = append(words, "--server-pid", strconv.Itoa(n.Pid()), "--json", out.Name())
	if n.ca != "" {
		words = append(words, "--ca", n.ca)
	}
	cmd := exec.CommandContext(ctx, c.generator, append(words, n.Endpoint)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+harness.AccessKey, "AWS_SECRET_ACCESS_KEY="+harness.SecretKey)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := on(c.cores.client, cmd.Start); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("penstock bench %s: %w\n%s", args, err, &output)
	}
	file, err := os.Open(out.Name())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return bench.ReadReport(file)
}
