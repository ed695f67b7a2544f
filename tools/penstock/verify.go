package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"penstock/engine"
)

// verifyOptions are what verify alone may be told.
type verifyOptions struct {
	asJSON  bool
	scratch string
	quiet   bool
}

func newVerifyCommand(p *process) *cobra.Command {
	s, all := newSettings()
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [flags] DRIVE...",
		Short: "Read and verify everything on these drives",
		Long: "Read every segment, every journal and the index on the drives, verify all of it, and report what is missing, corrupt or orphaned.\n" +
			"No server may be using them, and nothing on them is changed. An index is made anew from the journals, in a scratch\n" +
			"directory, and compared with the one that is there.\n\n" +
			"Exit codes: 0 nothing is missing or corrupt, 1 not everything could be verified, 2 a mistake in what was given, 3 something is\n" +
			"missing or corrupt and healing makes it good, 4 something is lost: no combination of shards yields it.\n" +
			"What is orphaned takes space and does no harm.",
		Example: `  penstock verify /mnt/nvme{1...6}

  # For a program to read
  penstock verify --json /mnt/nvme{1...6}`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := resolve(s, all, args, p.getenv); err != nil {
				return err
			}
			return verify(cmd.Context(), s, o, p)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "report in JSON")
	cmd.Flags().BoolVar(&o.quiet, "quiet", false, "do not show how far it is")
	cmd.Flags().StringVar(&o.scratch, "scratch", "", "directory for the index that is made anew, about as large as the one there; the system's for such things unless set")
	for _, name := range []string{"memory", "numa-node", "index-dir", "io", "log-level", "log-format", "config"} {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	return cmd
}

// verify verifies drives and reports.
func verify(ctx context.Context, s *settings, o verifyOptions, p *process) error {
	logger := newLogger(p.stderr, s.logLevel, s.logFormat)
	topology, node, err := placement(s.numaNode, logger)
	if err != nil {
		return err
	}
	s.setMemory(node)
	signals := watchSignals(ctx, false, logger)
	defer signals.stop()
	var show func(engine.VerifyProgress)
	bar := newProgressBar(p.stderr, isTerminal(p.stderr), time.Now)
	if !o.quiet && !o.asJSON {
		show = func(p engine.VerifyProgress) { bar.show(p.Phase, p.Read, p.Total) }
	}
	report, err := engine.VerifyDrives(signals.ctx, s.storeOptions(topology, logger), o.scratch, show)
	bar.clear()
	if _, mistake := errors.AsType[*engine.UsageError](err); mistake {
		return err
	}
	if werr := showReport(p.stdout, &report, o.asJSON); werr != nil {
		return fail(werr)
	}
	return verdict(&report, err)
}

// verdict makes of a report, and of the error that kept the verification from its end, what the command returns.
func verdict(r *engine.VerifyReport, err error) error {
	switch {
	case err != nil:
		return fail(fmt.Errorf("not everything was verified: %w", err))
	case r.Lost > 0:
		return &failure{errors.New("something is lost"), exitLost}
	case !r.OK():
		return &failure{errors.New("something is missing or corrupt; nothing is lost"), exitAiling}
	}
	return nil
}

func showReport(w io.Writer, r *engine.VerifyReport, asJSON bool) error {
	if !asJSON {
		return writeReport(w, r)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// writeReport writes a report for people.
func writeReport(w io.Writer, r *engine.VerifyReport) error {
	for _, p := range r.Problems {
		if _, err := fmt.Fprintf(w, "%s: %s\n", p.Kind, p.What); err != nil {
			return err
		}
	}
	if len(r.Problems) == engine.MaxProblems {
		if _, err := fmt.Fprintf(w, "only the first %d problems are listed\n", engine.MaxProblems); err != nil {
			return err
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		name string
		text string
	}{
		{"drives", fmt.Sprintf("%d here, %d missing or failed", r.Drives, r.DrivesMissing)},
		{"segments", fmt.Sprintf("%d: %d free, %d with damaged headers, %d stale", r.Segments, r.Unused, r.Damaged, r.Stale)},
		{"volumes", fmt.Sprintf("%d, of which %d hold nothing live", r.Volumes, r.Dead)},
		{"journals", fmt.Sprintf("%d batches, %d records, %d blocks", r.Batches, r.Records, r.Blocks)},
		{"stripes", fmt.Sprintf("%d, %d units", r.Stripes, r.Units)},
		{"index", fmt.Sprintf("%d buckets, %d objects, %d versions, %d uploads, %d parts, %d blobs, %s",
			r.Index.Buckets, r.Index.Objects, r.Index.Versions, r.Index.Uploads, r.Index.Parts, r.Index.Blobs, bytesText(r.Index.Bytes))},
		{"read", fmt.Sprintf("%s in %v", bytesText(r.Read), r.Took.Round(time.Millisecond))},
		{"missing", fmt.Sprint(r.Missing)},
		{"corrupt", fmt.Sprint(r.Corrupt)},
		{"lost", fmt.Sprint(r.Lost)},
		{"orphaned", fmt.Sprint(r.Orphaned)},
	} {
		if _, err := fmt.Fprintf(t, "%s\t%s\n", row.name, row.text); err != nil {
			return err
		}
	}
	return t.Flush()
}
