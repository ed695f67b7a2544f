package main

import (
	"cmp"
	"net/url"

	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

// newAdminUserCommand returns the commands about users. Each is one call.
func newAdminUserCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Users: who they are, what policies they have, what groups they belong to",
		Example: `  penstock admin user add alice --policy readonly
  penstock admin key add alice
  penstock admin user attach alice team-data
  penstock admin user disable alice`,
		Args: cobra.NoArgs,
	}
	change := func(use, short string, least int, of func(args []string) admin.UserChange) *cobra.Command {
		args := cobra.MinimumNArgs(least)
		if least == 1 {
			args = cobra.ExactArgs(1)
		}
		return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			return c.user(cmd, "PATCH", "/users/"+segment(args[0]), nil, of(args[1:]))
		}}
	}
	yes, no := true, false
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "Everybody there is but root", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var users []admin.User
			if err := c.call(cmd.Context(), "GET", "/users", nil, nil, &users); err != nil || c.json {
				return err
			}
			var rows [][]string
			for _, u := range users {
				rows = append(rows, []string{u.Name, enabled(u.Disabled), listed(u.Groups), listed(u.Policies), cmp.Or(u.Boundary, "-"), dated(&u.Created)})
			}
			return printTable(cmd.OutOrStdout(), "USER STATE GROUPS POLICIES BOUNDARY CREATED", rows)
		}},
		&cobra.Command{Use: "show USER", Short: "One user", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.user(cmd, "GET", "/users/"+segment(args[0]), nil, nil)
		}},
		newUserAddCommand(c),
		change("attach USER POLICY...", "Give a user policies", 2, func(names []string) admin.UserChange { return admin.UserChange{Attach: names} }),
		change("detach USER POLICY...", "Take policies from a user", 2, func(names []string) admin.UserChange { return admin.UserChange{Detach: names} }),
		change("join USER GROUP...", "Put a user into groups", 2, func(names []string) admin.UserChange { return admin.UserChange{Join: names} }),
		change("leave USER GROUP...", "Take a user out of groups", 2, func(names []string) admin.UserChange { return admin.UserChange{Leave: names} }),
		change("disable USER", "Refuse every request of a user, whatever the access key", 1, func([]string) admin.UserChange { return admin.UserChange{Disabled: &yes} }),
		change("enable USER", "Undo disable", 1, func([]string) admin.UserChange { return admin.UserChange{Disabled: &no} }),
		&cobra.Command{Use: "boundary USER [POLICY]", Short: "Set the policy that bounds what a user may, or without one take it away", Args: cobra.RangeArgs(1, 2), RunE: func(cmd *cobra.Command, args []string) error {
			boundary := ""
			if len(args) == 2 {
				boundary = args[1]
			}
			return c.user(cmd, "PATCH", "/users/"+segment(args[0]), nil, admin.UserChange{Boundary: &boundary})
		}},
		&cobra.Command{Use: "revoke USER", Short: "End the temporary credentials that a user has", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "POST", "/users/"+segment(args[0])+"/revoke-sessions", nil, nil, nil)
		}},
		&cobra.Command{Use: "remove USER", Short: "Remove a user with all access keys", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "DELETE", "/users/"+segment(args[0]), nil, nil, nil)
		}},
	)
	return cmd
}

func newUserAddCommand(c *adminClient) *cobra.Command {
	var s admin.UserSettings
	cmd := &cobra.Command{
		Use: "add USER", Short: "Make a user; access keys come with \"key add\"", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.user(cmd, "PUT", "/users/"+segment(args[0]), url.Values{"new": {"true"}}, s)
		},
	}
	cmd.Flags().StringSliceVar(&s.Policies, "policy", nil, "policy to attach; may be given more than once")
	cmd.Flags().StringSliceVar(&s.Groups, "group", nil, "group to join; may be given more than once")
	cmd.Flags().StringVar(&s.Boundary, "boundary", "", "policy that bounds what the user may")
	return cmd
}

// user makes a call that is answered with a user, and prints it.
func (c *adminClient) user(cmd *cobra.Command, method, path string, params url.Values, in any) error {
	var u admin.User
	if err := c.call(cmd.Context(), method, path, params, in, &u); err != nil || c.json {
		return err
	}
	revoked := ""
	if u.Revoked != nil {
		revoked = dated(u.Revoked)
	}
	return printFields(cmd.OutOrStdout(), "user", u.Name, "state", enabled(u.Disabled), "groups", listed(u.Groups), "policies", listed(u.Policies), "boundary", u.Boundary,
		"arn", u.ARN, "canonical id", u.CanonicalID, "created", dated(&u.Created), "sessions revoked", revoked)
}

// newAdminGroupCommand returns the commands about groups.
func newAdminGroupCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Groups: the policies that their members have besides their own",
		Example: `  penstock admin group add staff --policy readonly
  penstock admin user join alice staff`,
		Args: cobra.NoArgs,
	}
	group := func(cmd *cobra.Command, method, path string, params url.Values, in any) error {
		var g admin.Group
		if err := c.call(cmd.Context(), method, path, params, in, &g); err != nil || c.json {
			return err
		}
		return printFields(cmd.OutOrStdout(), "group", g.Name, "policies", listed(g.Policies), "members", listed(g.Members), "created", dated(&g.Created))
	}
	var s admin.GroupSettings
	add := &cobra.Command{Use: "add GROUP", Short: "Make a group", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return group(cmd, "PUT", "/groups/"+segment(args[0]), url.Values{"new": {"true"}}, s)
	}}
	add.Flags().StringSliceVar(&s.Policies, "policy", nil, "policy to attach; may be given more than once")
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "All groups", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var groups []admin.Group
			if err := c.call(cmd.Context(), "GET", "/groups", nil, nil, &groups); err != nil || c.json {
				return err
			}
			var rows [][]string
			for _, g := range groups {
				rows = append(rows, []string{g.Name, listed(g.Policies), listed(g.Members), dated(&g.Created)})
			}
			return printTable(cmd.OutOrStdout(), "GROUP POLICIES MEMBERS CREATED", rows)
		}},
		&cobra.Command{Use: "show GROUP", Short: "One group", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return group(cmd, "GET", "/groups/"+segment(args[0]), nil, nil)
		}},
		add,
		&cobra.Command{Use: "attach GROUP POLICY...", Short: "Give a group policies", Args: cobra.MinimumNArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return group(cmd, "PATCH", "/groups/"+segment(args[0]), nil, admin.GroupChange{Attach: args[1:]})
		}},
		&cobra.Command{Use: "detach GROUP POLICY...", Short: "Take policies from a group", Args: cobra.MinimumNArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return group(cmd, "PATCH", "/groups/"+segment(args[0]), nil, admin.GroupChange{Detach: args[1:]})
		}},
		&cobra.Command{Use: "remove GROUP", Short: "Remove a group that has no members", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd.Context(), "DELETE", "/groups/"+segment(args[0]), nil, nil, nil)
		}},
	)
	return cmd
}
