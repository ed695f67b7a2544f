package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newAdminKeyCommand returns the commands about access keys. Where a user may be left out, it is whoever asks.
func newAdminKeyCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Access keys: of users, and one's own",
		Long: "Access keys: of users, and one's own.\n\n" +
			"The secret of a key is in the answer to its making, and cannot be had again. A key may end by itself, and may be narrowed\n" +
			"by a policy of its own to less than its user may. Made with a narrowed key, a key is as narrow, and ends with it.",
		Example: `  penstock admin key add alice --description "loader of cluster 7" --expires 90d
  penstock admin key add --policy read-one-bucket.json
  penstock admin key disable alice AKIAEXAMPLE`,
		Args: cobra.NoArgs,
	}
	change := func(use, short string, disabled bool) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return c.accessKey(cmd, "PATCH", keyPath(args), admin.KeySettings{Disabled: &disabled})
		}}
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list [USER]", Short: "The access keys of a user, or one's own", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			var keys []admin.Key
			if err := c.call(cmd.Context(), "GET", keysPath(args), nil, nil, &keys); err != nil || c.json {
				return err
			}
			var rows [][]string
			for _, k := range keys {
				rows = append(rows, []string{k.AccessKey, enabled(k.Disabled), dated(k.Expires), narrowed(&k), dated(&k.Created), k.Description})
			}
			return printTable(cmd.OutOrStdout(), "KEY STATE EXPIRES NARROWED CREATED DESCRIPTION", rows)
		}},
		&cobra.Command{Use: "show USER KEY", Short: "One access key, with the policies that narrow it", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return c.accessKey(cmd, "GET", keyPath(args), nil)
		}},
		newKeyAddCommand(c),
		newKeyChangeCommand(c),
		change("disable USER KEY", "Refuse every request of an access key", true),
		change("enable USER KEY", "Undo disable", false),
		&cobra.Command{Use: "remove [USER] KEY", Short: "Remove an access key, of a user or one's own, and end the sessions made with it", Args: cobra.RangeArgs(1, 2), RunE: func(cmd *cobra.Command, args []string) error {
			path := "/keys/" + segment(args[0])
			if len(args) == 2 {
				path = keyPath(args)
			}
			return c.call(cmd.Context(), "DELETE", path, nil, nil, nil)
		}},
	)
	return cmd
}

// keysPath is where the keys of a user are, or, if none is given, those of whoever asks.
func keysPath(args []string) string {
	if len(args) == 0 {
		return "/keys"
	}
	return "/users/" + segment(args[0]) + "/keys"
}

// keyPath is where a user's key is.
func keyPath(args []string) string { return keysPath(args) + "/" + segment(args[1]) }

func narrowed(k *admin.Key) string {
	if len(k.Policies) == 0 {
		return "-"
	}
	return "yes"
}

func newKeyAddCommand(c *adminClient) *cobra.Command {
	var n admin.NewKey
	var expires, file, secretFile string
	cmd := &cobra.Command{
		Use: "add [USER]", Short: "Make an access key for a user, or for oneself, and show its secret this once", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if n.Expires, err = optionalEnd(expires); err != nil {
				return err
			}
			if file != "" {
				if n.Policy, err = readPolicy(file, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if secretFile != "" {
				secret, err := os.ReadFile(secretFile)
				if err != nil {
					return err
				}
				n.SecretKey = strings.TrimRight(string(secret), "\r\n")
			}
			return c.accessKey(cmd, "POST", keysPath(args), n)
		},
	}
	cmd.Flags().StringVar(&n.Description, "description", "", "what it is for")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends, such as 90d, 12h, 2030-01-31 or 2030-01-31T12:00:00Z (default never)")
	cmd.Flags().StringVar(&file, "policy", "", "file with a policy that narrows what it may, - for the standard input")
	cmd.Flags().StringVar(&n.AccessKey, "access-key", "", "take this access key (default a new one)")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "take the secret that this file holds (default a new one)")
	cmd.MarkFlagsRequiredTogether("access-key", "secret-file")
	return cmd
}

func newKeyChangeCommand(c *adminClient) *cobra.Command {
	var expires, file, description string
	cmd := &cobra.Command{
		Use: "change USER KEY", Short: "Change when an access key ends, what narrows it, what is said of it", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var s admin.KeySettings
			switch {
			case expires == "never":
				s.Expires = new(time.Time)
			default:
				if s.Expires, err = optionalEnd(expires); err != nil {
					return err
				}
			}
			switch file {
			case "":
			case "none":
				s.Policy = json.RawMessage("null")
			default:
				if s.Policy, err = readPolicy(file, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("description") {
				s.Description = &description
			}
			return c.accessKey(cmd, "PATCH", keyPath(args), s)
		},
	}
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends, such as 90d, 2030-01-31 or never")
	cmd.Flags().StringVar(&file, "policy", "", "file with the policy that narrows what it may, - for the standard input, none to take it away")
	cmd.MarkFlagsOneRequired("description", "expires", "policy")
	return cmd
}

func optionalEnd(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	return parseEnd(text, time.Now())
}

// accessKey makes a call that is answered with an access key, and prints it.
func (c *adminClient) accessKey(cmd *cobra.Command, method, path string, in any) error {
	var k admin.Key
	if err := c.call(cmd.Context(), method, path, nil, in, &k); err != nil || c.json {
		return err
	}
	expires := ""
	if k.Expires != nil {
		expires = dated(k.Expires)
	}
	w := cmd.OutOrStdout()
	if err := printFields(w, "access key", k.AccessKey, "secret key", k.SecretKey, "user", k.User, "state", enabled(k.Disabled), "expires", expires, "description", k.Description, "created", dated(&k.Created)); err != nil {
		return err
	}
	for _, policy := range k.Policies {
		if err := printDocument(w, "narrowed by", policy); err != nil {
			return err
		}
	}
	if k.SecretKey != "" {
		cmd.PrintErrln("The secret key is shown this once, and kept sealed; nobody can show it again.")
	}
	return nil
}

// printDocument prints a policy, indented.
func printDocument(w io.Writer, what string, document json.RawMessage) error {
	var b bytes.Buffer
	if what != "" {
		b.WriteString(what + "\n")
	}
	if err := json.Indent(&b, document, "", "  "); err != nil {
		return fail(err)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return fail(err)
}
