package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// compactPoll is how often "penstock admin compact --wait" asks how far the node is.
const compactPoll = 500 * time.Millisecond

func newAdminCompactCommand(c *adminClient) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Win the space back that deleted objects still take, now",
		Long: "Win the space back that deleted objects still take, now.\n\n" +
			"The node does this by itself when a tenth of what closed volumes hold is waste, or the drives are full. Asked for it, it goes through\n" +
			"every volume with some waste, as fast as requests allow. It goes on when this command ends.",
		Example: `  penstock admin compact --wait
  penstock admin compact status
  penstock admin compact stop`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var now admin.Compact
			answer, err := c.fetch(cmd.Context(), "POST", "/compact/start", nil, nil, &now)
			for err == nil && wait && (now.Asked || now.Waiting > 0) {
				before := now
				if answer, err = c.pollCompaction(cmd.Context(), &now); err == nil && !c.json {
					err = printCompactStep(cmd.OutOrStdout(), &before, &now)
				}
			}
			if err != nil {
				return err
			}
			if c.json {
				_, err = c.stdout.Write(answer)
			} else {
				err = printCompact(cmd.OutOrStdout(), &now)
			}
			if err == nil && wait && now.AskedError != "" {
				err = errors.New(now.AskedError)
			}
			return fail(err)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "return when the space is free, and say how far it is until then")
	for _, sub := range []struct{ use, short, method, path string }{
		{"status", "What compaction is at", "GET", "/compact"},
		{"stop", "End what was asked for; compaction goes on by itself", "POST", "/compact/stop"},
	} {
		cmd.AddCommand(&cobra.Command{Use: sub.use, Short: sub.short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var now admin.Compact
			if err := c.call(cmd.Context(), sub.method, sub.path, nil, nil, &now); err != nil || c.json {
				return err
			}
			return printCompact(cmd.OutOrStdout(), &now)
		}})
	}
	return cmd
}

// pollCompaction asks how far compaction is, after a while.
func (c *adminClient) pollCompaction(ctx context.Context, now *admin.Compact) ([]byte, error) {
	select {
	case <-ctx.Done():
		return nil, fail(ctx.Err())
	case <-time.After(compactPoll):
	}
	*now = admin.Compact{}
	return c.fetch(ctx, "GET", "/compact", nil, nil, now)
}

// printCompactStep prints what has changed.
func printCompactStep(w io.Writer, before, now *admin.Compact) error {
	var err error
	switch {
	case now.Asked && (now.Volume != before.Volume || now.Volumes != before.Volumes):
		_, err = fmt.Fprintf(w, "moving volume %s: %s emptied, %s written again\n", now.Volume, plural(int(now.Volumes), "volume"), humanize.IBytes(uint64(now.WriteLen)))
	case !now.Asked && now.Waiting > 0 && (before.Asked || now.Waiting != before.Waiting):
		_, err = fmt.Fprintf(w, "%s to be freed\n", plural(now.Waiting, "volume"))
	}
	return err
}

func printCompact(w io.Writer, now *admin.Compact) error {
	state := "idle"
	switch {
	case now.Asked:
		state = "moving everything worthwhile"
	case now.Running:
		state = "moving volume " + now.Volume
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "compaction\t%s\n", state)
	fmt.Fprintf(t, "closed volumes\t%s, of which %s live\n", humanize.IBytes(uint64(now.Used)), humanize.IBytes(uint64(now.Live)))
	fmt.Fprintf(t, "emptied\t%s, %d to be freed, %d not readable in full\n", plural(int(now.Volumes), "volume"), now.Waiting, now.Skipped)
	fmt.Fprintf(t, "moved\t%s and %s, %s read, %s written\n", plural(int(now.Records), "record"), plural(int(now.Extents), "extent"),
		humanize.IBytes(uint64(now.ReadLen)), humanize.IBytes(uint64(now.WriteLen)))
	if now.Error != "" {
		fmt.Fprintf(t, "last failure\t%s\n", now.Error)
	}
	return t.Flush()
}
