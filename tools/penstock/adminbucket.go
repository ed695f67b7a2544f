package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newAdminBucketCommand returns the commands about buckets.
func newAdminBucketCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bucket",
		Short: "Buckets: what they hold, how much they may, and what ETags are",
		Example: `  penstock admin bucket usage
  penstock admin bucket usage data --json
  penstock admin bucket quota set data 10TiB
  penstock admin bucket quota clear data
  penstock admin bucket etag opaque data`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newBucketUsageCommand(c), newBucketQuotaCommand(c), newBucketETagCommand(c))
	return cmd
}

func newBucketUsageCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use:   "usage [BUCKET]",
		Short: "What a bucket holds, or every one: exactly, as of now",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				var u admin.BucketUsage
				if err := c.call(cmd.Context(), "GET", "/buckets/"+segment(args[0]), nil, nil, &u); err != nil || c.json {
					return err
				}
				return printUsage(cmd.OutOrStdout(), []admin.BucketUsage{u})
			}
			var all []admin.BucketUsage
			if err := c.call(cmd.Context(), "GET", "/buckets", nil, nil, &all); err != nil || c.json {
				return err
			}
			return printUsage(cmd.OutOrStdout(), all)
		},
	}
}

func printUsage(w io.Writer, all []admin.BucketUsage) error {
	var rows [][]string
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, u := range all {
		rows = append(rows, []string{
			u.Bucket, count(u.Objects), count(u.Versions), count(u.Markers), count(u.Bytes), humanize.IBytes(uint64(u.Bytes)),
			count(u.Uploads), count(u.Parts), count(u.PartBytes), quotaText(u.Quota),
		})
	}
	return printTable(w, "BUCKET OBJECTS VERSIONS MARKERS BYTES ABOUT UPLOADS PARTS PART-BYTES QUOTA", rows)
}

func quotaText(bytes int64) string {
	if bytes == 0 {
		return "none"
	}
	return formatSize(bytes)
}

func newBucketQuotaCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quota",
		Short: "How many bytes a bucket may hold",
		Long: "How many bytes a bucket may hold: all versions, and the parts of uploads in progress, together. A write that would exceed it\n" +
			"is refused with 403 QuotaExceeded before its body is read. What is there when a quota is set stays.",
		Args: cobra.NoArgs,
	}
	path := func(bucket string) string { return "/buckets/" + segment(bucket) + "/quota" }
	cmd.AddCommand(
		&cobra.Command{Use: "get BUCKET", Short: "The quota of a bucket", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			var q admin.Quota
			if err := c.call(cmd.Context(), "GET", path(args[0]), nil, nil, &q); err != nil || c.json {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), quotaText(q.Bytes))
			return err
		}},
		&cobra.Command{Use: "set BUCKET SIZE", Short: "Give a bucket a quota, such as 512MiB or 10TiB", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			n, err := parseSize(args[1])
			if err != nil {
				return err
			}
			return c.call(cmd.Context(), "PUT", path(args[0]), nil, admin.Quota{Bytes: n}, nil)
		}},
		&cobra.Command{Use: "clear BUCKET", Short: "Let a bucket hold any number of bytes", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "DELETE", path(args[0]), nil, nil, nil)
		}},
	)
	return cmd
}
