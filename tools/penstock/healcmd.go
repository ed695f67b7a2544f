package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// healPoll is how often a node is asked whether it has healed.
const healPoll = time.Second

func newHealCommand(c *adminClient, stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heal",
		Short: "What is missing, and making it good",
		Long: "The heal ledger names every shard that is not what it should be. The node makes them good by itself, at most at its --heal-rate\n" +
			"and with clients first; these commands show that, stop it, and let it go on.",
		Args: cobra.NoArgs,
	}
	for _, sub := range []struct{ name, short, method, path string }{
		{"status", "What is missing, and what healing makes of it", "GET", "/heal"},
		{"start", "Go on after a stop, and try at once what waits", "POST", "/heal/start"},
		{"stop", "Heal nothing until told to start, or restarted; the ledger is kept", "POST", "/heal/stop"},
	} {
		var wait bool
		var limit time.Duration
		command := &cobra.Command{Use: sub.name, Short: sub.short, Args: cobra.NoArgs}
		command.RunE = func(cmd *cobra.Command, _ []string) error {
			if !wait {
				var status admin.Heal
				if err := c.call(cmd.Context(), sub.method, sub.path, nil, nil, &status); err != nil || c.json {
					return err
				}
				return printHeal(cmd.OutOrStdout(), &status)
			}
			return waitHealed(cmd.Context(), c, sub.method, sub.path, limit, stderr)
		}
		if sub.name != "stop" {
			command.Flags().BoolVar(&wait, "wait", false, fmt.Sprintf("return when nothing is missing any more; exit code %d if that is not so within --timeout", exitAiling))
			command.Flags().DurationVar(&limit, "timeout", 0, "how long to wait at most; 0 is for ever")
		}
		cmd.AddCommand(command)
	}
	return cmd
}

// waitHealed makes a call and then waits until the heal ledger is empty.
func waitHealed(ctx context.Context, c *adminClient, method, path string, limit time.Duration, stderr io.Writer) error {
	quiet := *c
	quiet.json = false
	var status admin.Heal
	if err := quiet.call(ctx, method, path, nil, nil, &status); err != nil {
		return err
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	bar := newProgressBar(stderr, isTerminal(stderr), time.Now)
	poll := time.NewTicker(healPoll)
	defer poll.Stop()
	for total := status.Left; status.Shards > 0; {
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
		var next admin.Heal
		err := ctx.Err()
		if err == nil {
			err = quiet.call(ctx, "GET", "/heal", nil, nil, &next)
		}
		if ctx.Err() != nil {
			bar.clear()
			err := printHeal(c.stdout, &status)
			return errors.Join(&failure{fmt.Errorf("%s not whole after %v", plural(status.Shards, "shard"), limit), exitAiling}, err)
		}
		if err != nil {
			return err
		}
		status = next
		total = max(total, status.Left)
		what := fmt.Sprintf("%s left, %d volumes being healed, %d waiting", plural(status.Shards, "shard"), status.Healing, status.Waiting)
		if status.Stopped {
			what += ", stopped"
		}
		bar.show(what, total-status.Left, total)
	}
	bar.clear()
	if c.json {
		return fail(json.NewEncoder(c.stdout).Encode(status))
	}
	return printHeal(c.stdout, &status)
}

func printHeal(w io.Writer, h *admin.Heal) error {
	switch {
	case h.Shards == 0:
		fmt.Fprintln(w, "nothing is missing")
	default:
		fmt.Fprintf(w, "%s of %s not what they should be, at most %s: %d volumes being healed, %d waiting\n",
			plural(h.Shards, "shard"), plural(h.Volumes, "volume"), bytesText(h.Left), h.Healing, h.Waiting)
	}
	if h.Narrow > 0 {
		fmt.Fprintf(w, "%s less parity than new ones, as drives were away when they were made; what lives in them is being written again\n", narrowText(h.Narrow))
	}
	if h.Stopped {
		fmt.Fprintln(w, "healing is stopped: penstock admin heal start lets it go on")
	}
	fmt.Fprintf(w, "since the start: %d entries noted, %d done with; %d shards made anew (%s), %s written again in place\n",
		h.Noted, h.Done, h.Moved, bytesText(h.MovedLen), bytesText(h.MendLen))
	if len(h.Ailing) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nVOLUME\tCLASS\tSHARD\tCAUSES\tSINCE\tDRIVE\tSTATE\tREASON")
	for _, s := range h.Ailing {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", s.Volume, s.Class, s.Shard, s.Causes, s.Since.Format(time.RFC3339), s.Drive, s.State, s.Reason)
	}
	if h.Cut {
		fmt.Fprintf(t, "and %d more\n", h.Shards-len(h.Ailing))
	}
	return t.Flush()
}

func newScrubCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Verifying every segment, in rounds",
		Long: "The node reads everything it holds within --scrub-days, at most at --scrub-rate, and enters in the heal ledger what is not what was written.\n" +
			"These commands show how far it is, stop it, and let it go on.",
		Args: cobra.NoArgs,
	}
	for _, sub := range []struct{ name, short, method, path string }{
		{"status", "How far the round is, and what was found", "GET", "/scrub"},
		{"start", "Go on after a stop", "POST", "/scrub/start"},
		{"stop", "Scrub nothing until told to start, or restarted", "POST", "/scrub/stop"},
	} {
		var now bool
		command := &cobra.Command{Use: sub.name, Short: sub.short, Args: cobra.NoArgs}
		command.RunE = func(cmd *cobra.Command, _ []string) error {
			params := url.Values{}
			if now {
				params.Set("now", "true")
			}
			var status admin.Scrub
			if err := c.call(cmd.Context(), sub.method, sub.path, params, nil, &status); err != nil || c.json {
				return err
			}
			return printScrub(cmd.OutOrStdout(), &status)
		}
		if sub.name == "start" {
			command.Flags().BoolVar(&now, "now", false, "begin a round at once, as fast as it may go")
		}
		cmd.AddCommand(command)
	}
	return cmd
}

func printScrub(w io.Writer, s *admin.Scrub) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	period := "only when asked for"
	if s.Period > 0 {
		period = fmt.Sprintf("every segment within %s", plural(int(s.Period/(24*time.Hour).Seconds()), "day"))
	}
	fmt.Fprintf(t, "period\t%s\n", period)
	state := "waiting for the next round"
	switch {
	case s.Stopped:
		state = "stopped: penstock admin scrub start lets it go on"
	case s.Running:
		state = fmt.Sprintf("%d of %d volumes done", s.Done, s.Volumes)
	case s.Begun == nil:
		state = "no round has begun yet"
	}
	fmt.Fprintf(t, "round\t%s\n", state)
	if s.Begun != nil {
		fmt.Fprintf(t, "begun\t%s\n", s.Begun.Format(time.RFC3339))
	}
	if s.LastEnded != nil {
		fmt.Fprintf(t, "last round\tended %s, found %d\n", s.LastEnded.Format(time.RFC3339), s.LastFound)
	}
	fmt.Fprintf(t, "since the start\t%s read, %d units and blocks found not to be what was written\n", bytesText(s.Read), s.Found)
	return t.Flush()
}

func newAdminVerifyCommand(c *adminClient, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read and verify everything while the node serves",
		Long: "Read every segment, every journal and the index of a node while it serves, verify all of it, and report what is missing,\n" +
			"corrupt or orphaned. Nothing is changed, and clients go first. Interrupting the command ends the verification.\n\n" +
			"The exit codes are those of penstock verify, which does the same for drives that no node serves.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			last, err := c.verify(cmd.Context(), newProgressBar(stderr, isTerminal(stderr), time.Now))
			if err != nil {
				return err
			}
			if last.Error != "" {
				err = errors.New(last.Error)
			}
			if last.Report == nil {
				return fail(err)
			}
			if werr := showReport(cmd.OutOrStdout(), last.Report, c.json); werr != nil {
				return fail(werr)
			}
			return verdict(last.Report, err)
		},
	}
}

// verify has the node verify everything, and returns its last line.
func (c *adminClient) verify(ctx context.Context, bar *progressBar) (last admin.Verification, err error) {
	body, err := c.open(ctx, "POST", "/verify", nil, nil)
	if err != nil {
		return last, err
	}
	defer body.Close()
	defer bar.clear() // Before the report.
	lines := json.NewDecoder(bufio.NewReader(body))
	for {
		var line admin.Verification
		if err := lines.Decode(&line); err != nil {
			return last, fail(fmt.Errorf("%s: the answer broke off: %w", c.base, err))
		}
		if line.Report != nil || line.Error != "" {
			return line, nil
		}
		bar.show(line.Phase, line.Read, line.Total)
	}
}

func narrowText(n int) string {
	if n == 1 {
		return "1 volume has"
	}
	return plural(n, "volume") + " have"
}
