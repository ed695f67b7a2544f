package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newAdminCommand returns the commands that are clients of the administration API, and nothing more.
func newAdminCommand(p *process) *cobra.Command {
	c := &adminClient{getenv: p.getenv, stdout: p.stdout}
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Ask a running node, and tell it what to do",
		Long: "Ask a running node, and tell it what to do, by its administration API.\n\n" +
			"Credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, or else " + accessKeyEnv + " and\n" +
			secretKeyEnv + ", each also with _FILE after the name.",
		Example: `  penstock admin info
  penstock admin user add alice --policy readonly
  penstock admin key add alice
  penstock admin heal status --wait
  penstock admin drive list
  penstock admin info --server https://node1:9000 --json`,
		Args: cobra.NoArgs,
	}
	c.addFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		newAdminInfoCommand(c),
		newAdminUserCommand(c),
		newAdminGroupCommand(c),
		newAdminBucketCommand(c),
		newAdminKeyCommand(c),
		newAdminPolicyCommand(c),
		newAdminRoleCommand(c),
		newAdminProviderCommand(c),
		newHealCommand(c, p.stderr),
		newScrubCommand(c),
		newAdminVerifyCommand(c, p.stderr),
		newAdminCompactCommand(c),
		newAdminDriveCommand(c, p.stderr),
	)
	cmd.AddCommand(newAdminNodeCommands(c)...)
	cmd.AddCommand(newAdminTopCommand(c))
	return cmd
}

func newAdminInfoCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "What the node is, and the state of its drives",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var info admin.Info
			if err := c.call(cmd.Context(), "GET", "/info", nil, nil, &info); err != nil || c.json {
				return err
			}
			return printInfo(cmd.OutOrStdout(), &info)
		},
	}
}

func printInfo(w io.Writer, i *admin.Info) error {
	direct := "direct"
	if !i.Direct {
		direct = "through the page cache"
	}
	fmt.Fprintf(w, "cluster %s, up %s, %s over %d drives in %d cells, I/O %s, %s\n\n",
		i.Cluster, (time.Duration(i.Uptime) * time.Second).String(), i.Geometry, len(i.Drives), i.Cells, i.IO, direct)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DRIVE\tSTATE\tFREE\tOF\tPATH\tREASON")
	for _, d := range i.Drives {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.State, humanize.IBytes(uint64(d.Free)), humanize.IBytes(uint64(d.Total)), d.Path, d.Reason)
	}
	return t.Flush()
}
