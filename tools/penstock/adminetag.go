package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newBucketETagCommand returns the command about the ETags of a bucket.
func newBucketETagCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use:   "etag [md5|opaque|default] BUCKET",
		Short: "Show or choose the ETags of what is put into a bucket",
		Long: "Show or choose the ETags of what is put into a bucket: md5, the hash of the bytes, or opaque, a random value of another form,\n" +
			"which makes writing cheaper by half and more. default leaves it to --etags of the server.\n\n" +
			"Objects that are there keep their ETags. A client that compares an ETag with a hash of its own must be told not to,\n" +
			"as rclone with --s3-use-multipart-etag=false; most look at the form, and leave it.",
		Example: "  penstock admin bucket etag opaque checkpoints\n" +
			"  penstock admin bucket etag checkpoints",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e admin.BucketETags
			path := "/buckets/" + segment(args[len(args)-1]) + "/etags"
			var err error
			if len(args) == 1 {
				err = c.call(cmd.Context(), "GET", path, nil, nil, &e)
			} else {
				kind := args[0]
				if kind == "default" {
					kind = ""
				}
				err = c.call(cmd.Context(), "PUT", path, nil, admin.NewBucketETags{ETags: kind}, &e)
			}
			if err != nil || c.json {
				return err
			}
			if e.Default {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), e.ETags, "(the server's default)")
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), e.ETags)
			}
			return err
		},
	}
}
