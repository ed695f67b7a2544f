package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newExplainCommand returns the commands that ask a node why it does what it does.
func newExplainCommand(p *process) *cobra.Command {
	c := &adminClient{getenv: p.getenv, stdout: p.stdout}
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Ask a running node why it does what it does",
		Args:  cobra.NoArgs,
	}
	c.addFlags(cmd.PersistentFlags())
	cmd.AddCommand(newExplainAccessCommand(c), newExplainLifecycleCommand(c))
	return cmd
}

func newExplainAccessCommand(c *adminClient) *cobra.Command {
	var q admin.Question
	var conditions []string
	cmd := &cobra.Command{
		Use:   "access ACTION [RESOURCE]",
		Short: "Whether somebody may do something, and the statement that decides",
		Long: "Ask whether somebody may do something, and which statement of which policy decides. Nothing is done.\n\n" +
			"ACTION is one of S3 or of the administration, such as s3:GetObject; RESOURCE is BUCKET, BUCKET/KEY or the ARN of either. Conditions are\n" +
			"judged by the values given with --condition, and by what every request has.\n" +
			"Exit code 0 says that it is allowed, 1 that it is not.",
		Example: `  penstock explain access --as user/alice s3:GetObject datasets/train/000.tar
  penstock explain access --as anonymous s3:ListBucket public
  penstock explain access --as AKIAEXAMPLE --condition aws:SourceIp=10.1.2.3 s3:PutObject datasets/new`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Action, q.Conditions = args[0], map[string][]string{}
			if len(args) == 2 {
				q.Resource = strings.TrimPrefix(args[1], "arn:aws:s3:::")
			}
			for _, text := range conditions {
				key, value, ok := strings.Cut(text, "=")
				if !ok {
					return fmt.Errorf("--condition %q is not KEY=VALUE", text)
				}
				q.Conditions[key] = append(q.Conditions[key], value)
			}
			return c.explainAccess(cmd, q)
		},
	}
	cmd.Flags().StringVar(&q.As, "as", "", "who: root, anonymous, user/NAME, role/NAME, or an access key")
	cmd.Flags().StringArrayVar(&conditions, "condition", nil, "KEY=VALUE of a condition key; may be given more than once")
	if err := cmd.MarkFlagRequired("as"); err != nil {
		panic(err)
	}
	return cmd
}

// explainAccess asks and prints. What is not allowed is a failure, so that scripts can tell.
func (c *adminClient) explainAccess(cmd *cobra.Command, q admin.Question) error {
	var e admin.Explanation
	answer, err := c.fetch(cmd.Context(), "POST", "/explain/access", nil, q, &e)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if c.json {
		if _, err := w.Write(answer); err != nil {
			return fail(err)
		}
	} else {
		verdict, statement := "allowed", ""
		if !e.Allowed {
			verdict = "denied"
		}
		if e.Index != nil {
			if statement = fmt.Sprintf("number %d", *e.Index+1); e.Sid != "" {
				statement += fmt.Sprintf(" (%s)", e.Sid)
			}
		}
		if err := printFields(w, "verdict", verdict, "reason", e.Reason, "decided by", e.Layer, "policy", e.Policy, "statement", statement); err != nil {
			return err
		}
		if e.Statement != nil {
			if err := printDocument(w, "", e.Statement); err != nil {
				return err
			}
		}
	}
	if !e.Allowed {
		return fail(fmt.Errorf("%s may not %s on %q", q.As, q.Action, q.Resource))
	}
	return nil
}
