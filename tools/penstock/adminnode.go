package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newAdminNodeCommands returns the commands that are about the process: its requests, settings, log, profiles and end.
func newAdminNodeCommands(c *adminClient) []*cobra.Command {
	return []*cobra.Command{
		newAdminTraceCommand(c), newAdminConfigCommand(c), newAdminLogCommand(c), newAdminProfileCommand(c), newAdminServiceCommand(c), newAdminSupportCommand(c),
	}
}

func newAdminTraceCommand(c *adminClient) *cobra.Command {
	var f admin.Filter
	var most int
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show requests as they end",
		Example: `  penstock admin trace --bucket training --slower 50ms
  penstock admin trace --failed --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			params := url.Values{}
			for name, text := range map[string]string{
				"operation": f.Operation, "method": f.Method, "bucket": f.Bucket, "prefix": f.Prefix, "access-key": f.Key, "remote": f.Remote,
			} {
				if text != "" {
					params.Set(name, text)
				}
			}
			if f.Failed {
				params.Set("failed", "true")
			}
			if f.Slower > 0 {
				params.Set("slower", f.Slower.String())
			}
			body, err := c.open(cmd.Context(), "GET", "/requests", params, nil)
			if err != nil {
				return err
			}
			defer body.Close()
			if !c.json {
				fmt.Fprintf(c.stdout, "%-12s  %-3s  %9s  %8s  %-28s  %-21s  %s\n", "TIME", "", "TOOK", "BYTES", "OPERATION", "FROM", "WHAT")
			}
			return fail(eachRequest(body, func(line []byte, r *admin.Request) (bool, error) {
				most--
				return most != 0, c.printRequest(line, r)
			}))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Operation, "operation", "", "only these, such as GetObject")
	flags.StringVar(&f.Method, "method", "", "only with this method of HTTP")
	flags.StringVar(&f.Bucket, "bucket", "", "only of this bucket")
	flags.StringVar(&f.Prefix, "prefix", "", "only of keys that begin so")
	flags.StringVar(&f.Key, "access-key", "", "only signed with this access key")
	flags.StringVar(&f.Remote, "remote", "", "only from this address")
	flags.BoolVar(&f.Failed, "failed", false, "only those with a status of 400 or above")
	flags.DurationVar(&f.Slower, "slower", 0, "only those that took as long")
	flags.IntVar(&most, "count", 0, "end after so many (default never)")
	return cmd
}

// eachRequest reads requests from a stream until take wants no more or the stream ends.
func eachRequest(stream io.Reader, take func(line []byte, r *admin.Request) (more bool, err error)) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 { // The node's pulse.
			continue
		}
		var r admin.Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("the node sent what is no request: %w", err)
		}
		if more, err := take(lines.Bytes(), &r); err != nil || !more {
			return err
		}
	}
	return lines.Err()
}

func (c *adminClient) printRequest(line []byte, r *admin.Request) error {
	if c.json {
		_, err := fmt.Fprintf(c.stdout, "%s\n", line)
		return err
	}
	what := printable(r.Path)
	if r.ErrorCode != "" {
		what += "  " + r.ErrorCode
	}
	_, err := fmt.Fprintf(c.stdout, "%-12s  %3d  %9s  %8s  %-28s  %-21s  %s\n", r.Time.Local().Format("15:04:05.000"), r.Status,
		shortDuration(time.Duration(r.Seconds*float64(time.Second))), humanize.IBytes(uint64(max(r.Sent, 0)+max(r.Received, 0))), r.Operation, r.Remote, what)
	return err
}

// printable keeps what a stranger sent from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// shortDuration has three digits or so.
func shortDuration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

func newAdminConfigCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "See and change the settings of a running node", Args: cobra.NoArgs}
	cmd.AddCommand(&cobra.Command{
		Use:   "get [NAME]",
		Short: "Show every setting, or the value of one",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []admin.Setting
			if err := c.call(cmd.Context(), "GET", "/config", nil, nil, &all); err != nil || c.json {
				return err
			}
			if len(args) == 1 {
				for _, s := range all {
					if s.Name == args[0] {
						fmt.Fprintln(c.stdout, s.Value)
						return nil
					}
				}
				return fmt.Errorf("there is no setting %s", args[0])
			}
			t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "SETTING\tVALUE\tFROM\tCHANGES")
			for _, s := range all {
				changes := "at start"
				if s.Dynamic {
					changes = "at once"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, s.Value, s.Source, changes)
			}
			return fail(t.Flush())
		},
	}, &cobra.Command{
		Use:     "set NAME VALUE",
		Short:   "Change a setting until the next start; the configuration file is not touched",
		Example: `  penstock admin config set log-level debug`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "PUT", "/config/"+url.PathEscape(args[0]), nil, admin.SettingValue{Value: args[1]}, nil)
		},
	})
	return cmd
}

func newAdminLogCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show the latest lines of the node's log",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := c.open(cmd.Context(), "GET", "/log", nil, nil)
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(c.stdout, body)
			return fail(err)
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:       "level [LEVEL]",
		Short:     "Show the least level that is logged, or change it until the next start",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"debug", "info", "warn", "error"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return c.call(cmd.Context(), "PUT", "/config/log-level", nil, admin.SettingValue{Value: args[0]}, nil)
			}
			var all []admin.Setting
			if err := c.call(cmd.Context(), "GET", "/config", nil, nil, &all); err != nil || c.json {
				return err
			}
			for _, s := range all {
				if s.Name == "log-level" {
					fmt.Fprintln(c.stdout, s.Value)
				}
			}
			return nil
		},
	})
	return cmd
}

func newAdminProfileCommand(c *adminClient) *cobra.Command {
	var seconds int
	var output string
	cmd := &cobra.Command{
		Use:   "profile KIND",
		Short: "Take a profile of the node, for go tool pprof",
		Long: "Take a profile of the node, for go tool pprof: cpu, heap, allocs, goroutine, mutex, block or threadcreate; or trace, for go tool trace.\n" +
			"cpu, mutex, block and trace watch for --seconds.",
		Example: `  penstock admin profile cpu --seconds 30 --output cpu.pprof && go tool pprof -top cpu.pprof`,
		Args:    cobra.ExactArgs(1), ValidArgs: []string{"cpu", "heap", "allocs", "goroutine", "mutex", "block", "threadcreate", "trace"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				output = "penstock-" + args[0] + ".pprof"
			}
			return c.keep(cmd.Context(), output, "/profile/"+url.PathEscape(args[0]), url.Values{"seconds": {fmt.Sprint(seconds)}})
		},
	}
	cmd.Flags().IntVar(&seconds, "seconds", 10, "how long to watch")
	cmd.Flags().StringVar(&output, "output", "", "file to write (default penstock-KIND.pprof)")
	return cmd
}

func newAdminSupportCommand(c *adminClient) *cobra.Command {
	var output string
	bundle := &cobra.Command{
		Use:   "bundle",
		Short: "Get an archive of what helps to find out what is wrong",
		Long: "Get an archive of state, settings, latest log, metrics, profiles and what the machine says of itself. It holds no keys and no\n" +
			"passwords, and no names of objects but those in the log. Look into it before you pass it on: it is plain text but for a profile.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "" {
				output = "penstock-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			}
			return c.keep(cmd.Context(), output, "/support", nil)
		},
	}
	bundle.Flags().StringVar(&output, "output", "", "file to write (default penstock-TIME.tar.gz)")
	cmd := &cobra.Command{Use: "support", Short: "Help those who help", Args: cobra.NoArgs}
	cmd.AddCommand(bundle)
	return cmd
}

// keep writes what the node answers to a new file, and says so; "-" is the standard output. Half of a file does not stay. The file is made
// first: what cannot be kept is not asked for.
func (c *adminClient) keep(ctx context.Context, name, path string, params url.Values) error {
	var to io.Writer = c.stdout
	if name != "-" {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		to = file
	}
	n, err := c.copyTo(ctx, to, path, params)
	if name == "-" {
		return err
	}
	if file := to.(*os.File); err == nil {
		err = fail(file.Close())
	}
	if err != nil {
		os.Remove(name)
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s, %s\n", name, humanize.IBytes(uint64(n)))
	return err
}

func (c *adminClient) copyTo(ctx context.Context, to io.Writer, path string, params url.Values) (int64, error) {
	body, err := c.open(ctx, "GET", path, params, nil)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.Copy(to, body)
	return n, fail(err)
}

func newAdminServiceCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{Use: "service", Short: "Drain, stop and restart the node", Args: cobra.NoArgs}
	for _, s := range []struct {
		use, short, method, path string
		doc                      any
	}{
		{"stop", "Finish what is in flight and end the process", "POST", "/service/stop", nil},
		{"restart", "Finish what is in flight and start the program anew, as it now is on disk", "POST", "/service/restart", nil},
		{"drain", "Tell load balancers to send requests elsewhere; those that come are served", "PUT", "/drain", admin.Draining{Draining: true}},
		{"undrain", "Tell load balancers that the node is back", "PUT", "/drain", admin.Draining{}},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: s.use, Short: s.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return c.call(cmd.Context(), s.method, s.path, nil, s.doc, nil)
			},
		})
	}
	return cmd
}
