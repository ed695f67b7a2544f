package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// drivePoll is how often a node is asked how far a drive is.
const drivePoll = time.Second

// newDriveCommand returns the commands about drives with flags of their own, for they are wanted in a hurry.
func newDriveCommand(p *process) *cobra.Command {
	c := &adminClient{getenv: p.getenv, stdout: p.stdout}
	cmd := newAdminDriveCommand(c, p.stderr)
	cmd.Long += "\n\nThey are commands of " + `"penstock admin"` + " as well, and clients of the administration API like those."
	c.addFlags(cmd.PersistentFlags())
	return cmd
}

func newAdminDriveCommand(c *adminClient, stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drive",
		Short: "Add, drain, remove and replace drives of a running node",
		Long: "Add, drain, remove and replace drives of a running node. Nothing is restarted, and no request fails.\n\n" +
			"A drive goes by its id, by the beginning of its id, or by its path. The node knows where its drives are, also those that have joined\n" +
			"since it was started, and needs no other command line for them.",
		Example: `  penstock drive list
  penstock drive add /mnt/nvme7
  penstock drive drain /mnt/nvme3 --remove
  penstock drive replace 5ef2 /mnt/nvme8`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newDriveListCommand(c), newDriveAddCommand(c), newDriveDrainCommand(c, stderr), newDriveRemoveCommand(c), newDriveReplaceCommand(c))
	return cmd
}

func newDriveListCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "All drives, present or not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list admin.DriveList
			if err := c.call(cmd.Context(), "GET", "/drives", nil, nil, &list); err != nil || c.json {
				return err
			}
			return printDrives(c.stdout, list.Drives)
		},
	}
}

func newDriveAddCommand(c *adminClient) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "add PATH",
		Short: "Make an empty directory a drive of the store",
		Long: "Make an empty directory, best the root of a file system of its own, a drive of the store. New data uses it at once.\n" +
			"The directory is one of the machine that the node runs on.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return changeDrive(cmd.Context(), c, "POST", "/drives", nil, admin.NewDrive{Path: path, Force: force}, "drive %s has joined as %s\n")
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also a plain directory although all other drives are file systems of their own, or one where a drive of the store was")
	return cmd
}

func newDriveDrainCommand(c *adminClient, stderr io.Writer) *cobra.Command {
	var remove, detach, stop bool
	cmd := &cobra.Command{
		Use:   "drain DRIVE",
		Short: "Move everything off a drive, so that it can be taken out",
		Long: "Move everything off a drive, at most at the node's --heal-rate and with clients first, and show how far it is until it is empty.\n" +
			"Neither the end of this command nor a restart of the node ends the draining; --cancel does.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/drives/" + driveName(args[0]) + "/drain"
			switch {
			case stop:
				return changeDrive(cmd.Context(), c, "DELETE", path, nil, nil, "drive %s, %s, is used again\n")
			case detach:
				return changeDrive(cmd.Context(), c, "POST", path, drainParams(remove), nil, "drive %s, %s, is being drained\n")
			}
			return waitDrained(cmd.Context(), c, path, drainParams(remove), stderr)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the drive when it is empty")
	cmd.Flags().BoolVar(&detach, "detach", false, "return at once; the list says how far it is")
	cmd.Flags().BoolVar(&stop, "cancel", false, "drain the drive no more, and use it again")
	cmd.MarkFlagsMutuallyExclusive("remove", "cancel")
	cmd.MarkFlagsMutuallyExclusive("detach", "cancel")
	return cmd
}

func drainParams(remove bool) url.Values {
	if remove {
		return url.Values{"remove": {"true"}}
	}
	return nil
}

func newDriveRemoveCommand(c *adminClient) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove DRIVE",
		Short: "Take a drive that holds nothing out of the store, for ever",
		Long: "Take a drive out of the store, for ever: one that was drained, or that is missing and whose shards are elsewhere by now.\n" +
			"When this returns it may be unmounted, unless a slow reader still has it open.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			params := url.Values{}
			if force {
				params.Set("force", "true")
			}
			if err := c.call(cmd.Context(), "DELETE", "/drives/"+driveName(args[0]), params, nil, nil); err != nil || c.json {
				return err
			}
			_, err := fmt.Fprintf(c.stdout, "drive %s has left\n", args[0])
			return fail(err)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "give up shards that are nowhere else, and have them made anew; refused if anything could not be read then")
	return cmd
}

func newDriveReplaceCommand(c *adminClient) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "replace DRIVE [PATH]",
		Short: "Make an empty directory a drive in the place of another",
		Long: "Make an empty directory a drive of the store in the place of another; without PATH, the one where that drive was.\n" +
			"What the old one held is moved, or made anew if it is not there any more. Then it is removed.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc := admin.NewDrive{Force: force}
			if len(args) == 2 {
				var err error
				if doc.Path, err = filepath.Abs(args[1]); err != nil {
					return err
				}
			}
			return changeDrive(cmd.Context(), c, "POST", "/drives/"+driveName(args[0])+"/replace", nil, doc, "drive %s has joined as %s; heal status says when the old one is not needed any more\n")
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also a plain directory although all other drives are file systems of their own")
	return cmd
}

// driveName is a drive's name as part of a path of the API.
func driveName(name string) string { return url.PathEscape(name) }

// changeDrive makes a call that answers with a drive, and says in which state it is.
func changeDrive(ctx context.Context, c *adminClient, method, path string, params url.Values, doc any, format string) error {
	var d admin.Drive
	if err := c.call(ctx, method, path, params, doc, &d); err != nil || c.json {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, format, d.Path, d.ID)
	return fail(err)
}

// waitDrained begins to drain a drive and waits until it is empty, or gone.
func waitDrained(ctx context.Context, c *adminClient, path string, params url.Values, stderr io.Writer) error {
	quiet := *c
	quiet.json = false
	var d admin.Drive
	if err := quiet.call(ctx, "POST", path, params, nil, &d); err != nil {
		return err
	}
	bar := newProgressBar(stderr, isTerminal(stderr), time.Now)
	poll := time.NewTicker(drivePoll)
	defer poll.Stop()
	moved := int64(0)
	for total := d.ShardLen; d.Shards > 0 || d.Leaving; {
		select {
		case <-ctx.Done():
			bar.clear()
			return fail(fmt.Errorf("drive %s is still being drained; the list says how far it is", d.Path))
		case <-poll.C:
		}
		var list admin.DriveList
		if err := quiet.call(ctx, "GET", "/drives", nil, nil, &list); err != nil {
			if ctx.Err() != nil {
				continue
			}
			return err
		}
		next := driveOf(list.Drives, d.ID)
		if next == nil {
			d.Shards, d.ShardLen, d.Leaving = 0, 0, false
			break
		}
		d = *next
		if !d.Draining {
			bar.clear()
			return fail(fmt.Errorf("drive %s is not being drained any more", d.Path))
		}
		total = max(total, d.ShardLen)
		moved = total - d.ShardLen
		what := fmt.Sprintf("%s left on %s", plural(d.Shards, "shard"), d.Path)
		if d.Stuck > 0 {
			what += fmt.Sprintf(", %d of volumes that are on all drives", d.Stuck)
		}
		bar.show(what, moved, total)
	}
	bar.clear()
	if c.json {
		return fail(json.NewEncoder(c.stdout).Encode(d))
	}
	_, err := fmt.Fprintf(c.stdout, "drive %s, %s, is empty\n", d.Path, d.ID)
	return fail(err)
}

func driveOf(list []admin.Drive, id string) *admin.Drive {
	for i := range list {
		if list[i].ID == id {
			return &list[i]
		}
	}
	return nil
}

func printDrives(w io.Writer, list []admin.Drive) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DRIVE\tSTATE\tSHARDS\tUSED\tFREE\tOF\tPATH\tNOTE")
	for _, d := range list {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", d.ID, driveState(&d), d.Shards, bytesText(d.ShardLen),
			humanize.IBytes(uint64(d.Free)), humanize.IBytes(uint64(d.Total)), d.Path, d.Reason)
	}
	return t.Flush()
}

// driveState is a drive's state in a word or two.
func driveState(d *admin.Drive) string {
	switch {
	case d.State != "ok" && d.Leaving:
		return d.State + ", leaving"
	case !d.Draining:
		return d.State
	case d.Shards == 0:
		return "drained"
	}
	return fmt.Sprintf("draining %d %%", d.MovedLen*100/max(d.MovedLen+d.ShardLen, 1))
}
