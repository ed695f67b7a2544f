package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"penstock/bench"
	"penstock/bench/client"
)

// newBenchCommand is "penstock bench": one command for each operation, and those that work on what came of them.
func newBenchCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure S3 servers",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { // Reached with a name that no command has.
			return fmt.Errorf("there is nothing to measure called %q (see \"penstock bench --help\")", args[0])
		},
		Long: "Measure S3 servers: this one or any other.\n\n" +
			"Credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, or else " + accessKeyEnv + " and\n" +
			secretKeyEnv + "; without any, requests are anonymous. Objects are made before the clock runs and removed afterwards.\n" +
			"The exit code is 1 when any request failed or got a wrong answer.",
		Example: `  # 16 clients upload objects of 4 KiB for ten seconds
  penstock bench put --size 4KiB --concurrent 16 http://127.0.0.1:9000

  # 128 clients read objects of 64 KiB to 4 MiB from four nodes, comparing every byte
  penstock bench get --size 64KiB-4MiB --objects 2000 --concurrent 128 --verify https://node{1...4}:9000

  # 5,000 requests a second, whatever the server makes of it; latency counts from when each was due
  penstock bench get --rate 5000 --concurrent 64 http://127.0.0.1:9000`,
	}
	names, about := bench.Operations()
	for i, name := range names {
		cmd.AddCommand(newLoadCommand(p, name, about[i]))
	}
	cmd.AddCommand(newCompareCommand(p), newMergeCommand(p), newHostCommand(p))
	return cmd
}

func newLoadCommand(p *process, name, about string) *cobra.Command {
	f := &benchFlags{op: name}
	cmd := &cobra.Command{
		Use:   name + " [flags] ENDPOINT...",
		Short: capital(about),
		Long: capital(about) + ". An ENDPOINT is http://host:port or https://host:port; {1...4} in it counts.\n\n" +
			"Without --duration, a run with --objects ends when each object was had once.",
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args, p.getenv)
			if err != nil {
				return err
			}
			return runBench(cmd.Context(), p, f, o)
		},
	}
	cmd.Flags().SortFlags = false
	f.register(cmd.Flags())
	return cmd
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// runBench runs one load and writes what came of it.
func runBench(ctx context.Context, p *process, f *benchFlags, o bench.Options) error {
	files, err := newBenchFiles(f)
	if err != nil {
		return err
	}
	defer files.discard()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // A second signal ends the process.
	show := &progressLine{w: p.stderr, live: isTerminal(p.stderr)}
	o.Progress = show.print
	report, err := bench.Run(ctx, o)
	show.clear()
	if report == nil {
		return benchError(err)
	}
	if werr := report.WriteTable(p.stdout); werr != nil {
		return fail(werr)
	}
	if werr := files.write(report); werr != nil {
		return fail(werr)
	}
	if err != nil {
		return fail(err)
	}
	if ops, failed := report.Requests(); failed > 0 {
		return fail(fmt.Errorf("%d of %d requests failed", failed, ops+failed))
	}
	return nil
}

// benchError tells what the operator can put right from what may work when tried again.
func benchError(err error) error {
	if mistake, ok := errors.AsType[*bench.OptionError](err); ok {
		return mistake
	}
	return fail(err)
}

// A benchFile is a file that a report goes to. It is made before the run, under another name: what cannot be written is better known before it
// than after.
type benchFile struct {
	name  string
	tmp   *os.File // nil once it has its name.
	write func(*bench.Report, io.Writer) error
}

func newBenchFiles(f *benchFlags) (files benchFiles, err error) {
	for _, file := range []benchFile{{name: f.json, write: (*bench.Report).WriteJSON}, {name: f.csv, write: (*bench.Report).WriteCSV}} {
		if file.name == "" {
			continue
		}
		if file.tmp, err = os.CreateTemp(filepath.Dir(file.name), "."+filepath.Base(file.name)+"-"); err != nil {
			files.discard()
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

type benchFiles []benchFile

// write puts the report into the files, and gives them their names.
func (files benchFiles) write(report *bench.Report) error {
	for i := range files {
		file := &files[i]
		err := errors.Join(file.write(report, file.tmp), file.tmp.Chmod(0o644), file.tmp.Close())
		if err == nil {
			err = os.Rename(file.tmp.Name(), file.name)
		}
		if err != nil {
			return err
		}
		file.tmp = nil
	}
	return nil
}

// discard removes what was not written.
func (files benchFiles) discard() {
	for _, file := range files {
		if file.tmp != nil {
			file.tmp.Close()
			os.Remove(file.tmp.Name())
		}
	}
}

// A progressLine shows how far a run is, on a terminal.
type progressLine struct {
	w     io.Writer
	live  bool
	shown bool
}

func (l *progressLine) print(p bench.Progress) {
	if !l.live {
		return
	}
	line := fmt.Sprintf("%s  %s", p.Phase, p.Elapsed.Round(time.Second))
	if p.Of > 0 {
		line += fmt.Sprintf("  %d of %d", p.Done, p.Of)
	} else {
		line += fmt.Sprintf("  %.0f/s  %s/s", p.PerSecond, bench.FormatBytes(int64(p.BytesASec)))
	}
	if p.Errors > 0 {
		line += fmt.Sprintf("  %d errors", p.Errors)
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", line)
	l.shown = true
}

func (l *progressLine) clear() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

// benchCredentials finds the credentials of the environment.
func benchCredentials(getenv func(string) string, region string) (client.Credentials, error) {
	for _, names := range [][2]string{{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, {accessKeyEnv, secretKeyEnv}} {
		access, secret := getenv(names[0]), getenv(names[1])
		switch {
		case access != "" && secret != "":
			return client.Credentials{AccessKey: access, Secret: secret, Region: region}, nil
		case access != "" || secret != "":
			return client.Credentials{}, fmt.Errorf("%s and %s go together: one is set, the other is not", names[0], names[1])
		}
	}
	return client.Credentials{}, nil
}
