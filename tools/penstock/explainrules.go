package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

func newExplainLifecycleCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use:   "lifecycle BUCKET/KEY",
		Short: "What the lifecycle rules of a bucket will do to a key, and when, or why nothing",
		Long: "Ask what each lifecycle rule of a bucket will do to each version and upload of a key, and when, or why it does nothing. Nothing is\n" +
			"done. Rules are followed soon after midnight in UTC.",
		Example: "  penstock explain lifecycle logs/2026/01/31.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bucket, key, ok := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(args[0], "s3://"), "arn:aws:s3:::"), "/")
			if !ok || bucket == "" || key == "" {
				return fmt.Errorf("%q is not BUCKET/KEY", args[0])
			}
			var answer admin.Lifecycle
			query := url.Values{"bucket": {bucket}, "key": {key}}
			if err := c.call(cmd.Context(), "GET", "/explain/lifecycle", query, nil, &answer); err != nil || c.json {
				return err
			}
			return printLifecycle(cmd.OutOrStdout(), &answer)
		},
	}
}

// printLifecycle prints what comes first, and then what each rule does.
func printLifecycle(w io.Writer, l *admin.Lifecycle) error {
	var b strings.Builder
	switch {
	case len(l.Items) == 0:
		fmt.Fprintf(&b, "Nothing: either the bucket %s has no rules, or there is neither a version nor an upload of that key.\n", l.Bucket)
	case l.First == nil:
		b.WriteString("Nothing will be done.\n")
	default:
		fmt.Fprintf(&b, "First: %s.\n", outlook(l.First))
	}
	for i := range l.Items {
		item := &l.Items[i]
		b.WriteString("\n" + item.What)
		switch {
		case item.Upload != "":
			b.WriteString(" " + item.Upload)
		case item.Null:
			b.WriteString(" (null)")
		case item.Place > 0:
			fmt.Fprintf(&b, " (%d newer)", item.Place)
		}
		b.WriteString("\n")
		for j := range item.Rules {
			fmt.Fprintf(&b, "  %s\n", outlook(&item.Rules[j]))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func outlook(o *admin.Outlook) string {
	if o.At == nil {
		return fmt.Sprintf("rule %q does nothing: %s", o.Rule, o.Why)
	}
	what := map[string]string{"expire": "expires it", "remove": "removes it for good", "abort": "aborts it"}[o.Action]
	text := fmt.Sprintf("rule %q %s at %s", o.Rule, what, o.At.UTC().Format(time.RFC3339))
	if o.Locked {
		text += ", or once its lock has ended, which is later"
	}
	return text
}
