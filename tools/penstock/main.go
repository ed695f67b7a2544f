package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"penstock/engine"
)

// Exit codes; the package comment says what each asks of a supervisor.
const (
	exitOK      = 0
	exitFailure = 1
	exitMistake = 2
	exitAiling  = 3 // A verification found what healing makes good,
	exitLost    = 4 // or what nothing does.
	exitRestart = 5 // Of run alone, never of the process.
)

func main() {
	code := run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if code == exitRestart {
		code = restart(os.Stderr)
	}
	os.Exit(code)
}

// restart starts the program in the place of this process, as it is on disk now. Below systemd it fails instead, so that systemd does it: that
// knows a start from a node that hangs.
func restart(stderr io.Writer) int {
	if os.Getenv("NOTIFY_SOCKET") != "" {
		return exitFailure
	}
	program, err := exec.LookPath(os.Args[0])
	if err == nil {
		err = syscall.Exec(program, os.Args, os.Environ())
	}
	fmt.Fprintln(stderr, "penstock: not started again: "+oneLine(err))
	return exitFailure
}

// run is the whole program but for its process: it returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	root := newRoot(&process{getenv: getenv, stdout: stdout, stderr: stderr, openStore: openStore, newFront: newFront})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errRestart) {
		return exitRestart
	}
	fmt.Fprintln(stderr, "penstock: "+oneLine(err))
	if f, failed := errors.AsType[*failure](err); failed {
		return cmp.Or(f.code, exitFailure)
	}
	return exitMistake
}

// A process is what a command may use of the process it runs in, and the parts it puts together.
type process struct {
	getenv         func(string) string
	stdout, stderr io.Writer

	openStore func(context.Context, engine.Options) (store, error)
	newFront  func(*settings, store, credentials, *tls.Config, *controls, *slog.Logger) (front, error)
}

// A failure is an error that is nobody's mistake: it may be gone at the next try. Every other error that reaches run is one in what the operator
// gave: flags, file, drives.
type failure struct {
	err  error
	code int // To exit with; 0 means exitFailure.
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err: err}
}

// oneLine joins the lines of a message, for logs and scripts that read the last line.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

func newRoot(p *process) *cobra.Command {
	root := &cobra.Command{
		Use:   "penstock",
		Short: "S3 data node for bare metal",
		Long: "Penstock stores objects erasure-coded on the drives of this machine and serves them over S3.\n\n" +
			"Every flag can also be set as an environment variable (--log-level as PENSTOCK_LOG_LEVEL) or as a line of a YAML file\n" +
			"given with --config (log-level: info). A flag wins over the environment, the environment over the file.",
		Example: `  # Serve from six drives, two of which may fail
  penstock server /mnt/nvme{1...6}

  # Try it without drives of its own
  mkdir -p data/d1 data/d2 data/d3 && penstock server data/d{1...3}`,
		SilenceErrors: true, // run prints them, in one line.
		SilenceUsage:  true, // A page of usage would bury that line.
	}
	root.AddCommand(
		newServerCommand(p),
		newRebuildCommand(p),
		newVerifyCommand(p),
		newAdminCommand(p),
		newDriveCommand(p),
		newExplainCommand(p),
		newDoctorCommand(p),
		newBenchCommand(p),
		newHealthCommand(),
		newVersionCommand(),
	)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %q)", err, cmd.CommandPath()+" --help")
	})
	return root
}

func newServerCommand(p *process) *cobra.Command {
	s, flags := newSettings()
	cmd := &cobra.Command{
		Use:   "server [flags] DRIVE...",
		Short: "Serve S3 from these drives",
		Long: "Serve S3 from the drives, directories on a file system of their own each.\n" +
			"{1...6} in a name counts, {01...12} with leading zeros, and several of them combine.\n\n" +
			"Empty drives are formatted at the first start. A drive that holds anything else is refused.\n\n" +
			"The root credentials are " + accessKeyEnv + " and " + secretKeyEnv + " of the environment, or the\n" +
			"content of the files named by these with _FILE after the name. Unless set, a pair is generated at the first start,\n" +
			"shown once, and kept on the drives in " + rootFile + ", mode 0600.",
		Example: `  # Six drives, on every interface
  penstock server --address :9000 /mnt/nvme{1...6}

  # Four parity drives of twelve, 16 GiB of buffers and cache
  penstock server --parity 4 --memory 16GiB /mnt/rack{1...2}/nvme{01...06}

  # One node for each half of a two-socket server
  penstock server --numa-node 0 --address :9000 /mnt/nvme{0...3}
  penstock server --numa-node 1 --address :9001 /mnt/nvme{4...7}

  # HTTPS, buckets as host names, everything from a file
  penstock server --config /etc/penstock.yaml

  # /etc/penstock.yaml
  #   address: ":443"
  #   drives: /mnt/nvme{1...6}
  #   domain: [s3.example.com]
  #   tls-cert: /etc/penstock/tls.crt
  #   tls-key: /etc/penstock/tls.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := resolve(s, flags, args, p.getenv); err != nil {
				return err
			}
			return serve(cmd.Context(), s, p)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().AddFlagSet(flags)
	return cmd
}

func newRebuildCommand(p *process) *cobra.Command {
	s, all := newSettings()
	cmd := &cobra.Command{
		Use:   "rebuild-index [flags] DRIVE...",
		Short: "Build the index anew from the journals of these drives",
		Long: "Throw the index away and build it anew from the journals on the drives. No server may be using them.\n\n" +
			"A server does the same by itself when its index is lost; this is for one that is there but not to be trusted.\n" +
			"The drives themselves are the truth and are not changed.",
		Example: `  penstock rebuild-index /mnt/nvme{1...6}`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := resolve(s, all, args, p.getenv); err != nil {
				return err
			}
			return rebuildIndex(cmd.Context(), s, p)
		},
	}
	cmd.Flags().SortFlags = false
	for _, name := range []string{"memory", "numa-node", "index-dir", "io", "log-level", "log-format", "config"} {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	return cmd
}
