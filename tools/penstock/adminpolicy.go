package main

import (
	"cmp"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newAdminPolicyCommand returns the commands about policies with a name.
func newAdminPolicyCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Policies: what those who have them may do, in the language of AWS IAM",
		Example: `  penstock admin policy set team-data team-data.json
  penstock admin user attach alice team-data
  penstock admin policy show readwrite`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "All policies with a name", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var policies []admin.Policy
			if err := c.call(cmd.Context(), "GET", "/policies", nil, nil, &policies); err != nil || c.json {
				return err
			}
			var rows [][]string
			for _, p := range policies {
				kind := "own"
				if p.Canned {
					kind = "canned"
				}
				rows = append(rows, []string{p.Name, kind, dated(p.Updated)})
			}
			return printTable(cmd.OutOrStdout(), "POLICY KIND UPDATED", rows)
		}},
		&cobra.Command{Use: "show POLICY", Short: "The document of a policy", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			var p admin.Policy
			if err := c.call(cmd.Context(), "GET", "/policies/"+segment(args[0]), nil, nil, &p); err != nil || c.json {
				return err
			}
			return printDocument(cmd.OutOrStdout(), "", p.Document)
		}},
		&cobra.Command{Use: "set POLICY FILE", Short: "Make or replace a policy with the document of a file, - for the standard input", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			document, err := readPolicy(args[1], cmd.InOrStdin())
			if err != nil {
				return err
			}
			return c.call(cmd.Context(), "PUT", "/policies/"+segment(args[0]), nil, admin.PolicySettings{Document: document}, nil)
		}},
		&cobra.Command{Use: "remove POLICY", Short: "Remove a policy that nobody has", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "DELETE", "/policies/"+segment(args[0]), nil, nil, nil)
		}},
	)
	return cmd
}

// newAdminRoleCommand returns the commands about roles.
func newAdminRoleCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "role",
		Short: "Roles: what others may become for a while, through STS",
		Example: `  penstock admin role set loader --trust trust.json --policy readonly --longest 4h
  penstock admin role revoke loader`,
		Args: cobra.NoArgs,
	}
	change := func(use, short string, of func(names []string) admin.RoleChange) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.MinimumNArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return c.role(cmd, "PATCH", "/roles/"+segment(args[0]), of(args[1:]))
		}}
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "All roles", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var roles []admin.Role
			if err := c.call(cmd.Context(), "GET", "/roles", nil, nil, &roles); err != nil || c.json {
				return err
			}
			var rows [][]string
			for _, r := range roles {
				rows = append(rows, []string{r.Name, listed(r.Policies), cmp.Or(r.Boundary, "-"), longest(&r), dated(&r.Created)})
			}
			return printTable(cmd.OutOrStdout(), "ROLE POLICIES BOUNDARY LONGEST CREATED", rows)
		}},
		&cobra.Command{Use: "show ROLE", Short: "One role, with who may assume it", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.role(cmd, "GET", "/roles/"+segment(args[0]), nil)
		}},
		newRoleSetCommand(c),
		change("attach ROLE POLICY...", "Give a role policies", func(names []string) admin.RoleChange { return admin.RoleChange{Attach: names} }),
		change("detach ROLE POLICY...", "Take policies from a role", func(names []string) admin.RoleChange { return admin.RoleChange{Detach: names} }),
		&cobra.Command{Use: "revoke ROLE", Short: "End the sessions that a role has", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "POST", "/roles/"+segment(args[0])+"/revoke-sessions", nil, nil, nil)
		}},
		&cobra.Command{Use: "remove ROLE", Short: "Remove a role and end its sessions", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "DELETE", "/roles/"+segment(args[0]), nil, nil, nil)
		}},
	)
	return cmd
}

func newRoleSetCommand(c *adminClient) *cobra.Command {
	var s admin.RoleSettings
	var trust string
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "set ROLE", Short: "Make a role, or say anew all of what one is", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if s.Trust, err = readPolicy(trust, cmd.InOrStdin()); err != nil {
				return err
			}
			if limit%time.Second != 0 {
				return errors.New("--longest is whole seconds")
			}
			s.MaxDuration = int(limit / time.Second)
			return c.role(cmd, "PUT", "/roles/"+segment(args[0]), s)
		},
	}
	cmd.Flags().StringVar(&trust, "trust", "", "file with the policy that says who may assume it, - for the standard input")
	cmd.Flags().StringSliceVar(&s.Policies, "policy", nil, "policy to attach; may be given more than once")
	cmd.Flags().StringVar(&s.Boundary, "boundary", "", "policy that bounds what the role may")
	cmd.Flags().DurationVar(&limit, "longest", 0, "how long its sessions last at most (default 1h)")
	if err := cmd.MarkFlagRequired("trust"); err != nil {
		panic(err)
	}
	return cmd
}

func longest(r *admin.Role) string {
	if r.MaxDuration == 0 {
		return time.Hour.String()
	}
	return (time.Duration(r.MaxDuration) * time.Second).String()
}

// role makes a call that is answered with a role, and prints it.
func (c *adminClient) role(cmd *cobra.Command, method, path string, in any) error {
	var r admin.Role
	if err := c.call(cmd.Context(), method, path, nil, in, &r); err != nil || c.json {
		return err
	}
	if err := printFields(cmd.OutOrStdout(), "role", r.Name, "policies", listed(r.Policies), "boundary", r.Boundary, "longest session", longest(&r), "arn", r.ARN, "created", dated(&r.Created)); err != nil {
		return err
	}
	return printDocument(cmd.OutOrStdout(), "trust", r.Trust)
}

// newAdminProviderCommand returns the commands about providers of web identities.
func newAdminProviderCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provider",
		Short: "Issuers of web identities (OpenID Connect) that are trusted to say who somebody is",
		Example: `  penstock admin provider set https://id.example.com/realms/ml --audience penstock
  penstock admin provider remove id.example.com/realms/ml`,
		Args: cobra.NoArgs,
	}
	provider := func(cmd *cobra.Command, method, path string, in any) error {
		var p admin.Provider
		if err := c.call(cmd.Context(), method, path, nil, in, &p); err != nil || c.json {
			return err
		}
		return printFields(cmd.OutOrStdout(), "provider", p.Name, "issuer", p.Issuer, "audiences", listed(p.Audiences), "arn", p.ARN, "created", dated(&p.Created))
	}
	var s admin.ProviderSettings
	set := &cobra.Command{Use: "set URL", Short: "Trust an issuer, or say anew for whom its tokens must be made", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		s.Issuer = args[0]
		return provider(cmd, "PUT", "/providers", s)
	}}
	set.Flags().StringSliceVar(&s.Audiences, "audience", nil, "for whom its tokens must be made; may be given more than once")
	set.Flags().BoolVar(&s.Private, "private", false, "it may be at an address of a private network")
	if err := set.MarkFlagRequired("audience"); err != nil {
		panic(err)
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "All issuers that are trusted", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var providers []admin.Provider
			if err := c.call(cmd.Context(), "GET", "/providers", nil, nil, &providers); err != nil || c.json {
				return err
			}
			var rows [][]string
			for _, p := range providers {
				rows = append(rows, []string{p.Name, listed(p.Audiences), dated(&p.Created)})
			}
			return printTable(cmd.OutOrStdout(), "PROVIDER AUDIENCES CREATED", rows)
		}},
		&cobra.Command{Use: "show PROVIDER", Short: "One issuer", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return provider(cmd, "GET", "/providers/"+segment(args[0]), nil)
		}},
		set,
		&cobra.Command{Use: "remove PROVIDER", Short: "Trust an issuer no longer, and end the sessions it vouched for", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "DELETE", "/providers/"+segment(args[0]), nil, nil, nil)
		}},
	)
	return cmd
}
