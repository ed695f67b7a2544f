package admin

import (
	"encoding/json"
	"slices"

	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
)

func userOf(u iam.User) User {
	return User{
		Name: u.Name, ID: u.ID, ARN: policy.UserARN(u.Name), CanonicalID: iam.CanonicalID(u.ID), Created: u.Created, Disabled: u.Disabled,
		Groups: list(u.Groups), Policies: list(u.Policies), Boundary: u.Boundary, Revoked: whenever(u.Since),
	}
}

func (a *API) listUsers(*Call) (any, error) { return each(a.opts.Identities.Users(), userOf) }

func (a *API) getUser(c *Call) (any, error) {
	return answer(userOf)(a.opts.Identities.User(c.Args["user"]))
}

func (a *API) putUser(c *Call) (any, error) {
	var s UserSettings
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	put := a.opts.Identities.PutUser
	if c.Query("new") == "true" {
		put = a.opts.Identities.CreateUser
	}
	return answer(userOf)(put(c.Context, c.Identity, iam.User{
		Name: c.Args["user"], Disabled: s.Disabled, Groups: s.Groups, Policies: s.Policies, Boundary: s.Boundary,
	}))
}

func (a *API) updateUser(c *Call) (any, error) {
	var s UserChange
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	return answer(userOf)(a.opts.Identities.UpdateUser(c.Context, c.Identity, c.Args["user"], func(u *iam.User) {
		u.Policies, u.Groups = changed(u.Policies, s.Attach, s.Detach), changed(u.Groups, s.Join, s.Leave)
		set(&u.Boundary, s.Boundary)
		set(&u.Disabled, s.Disabled)
	}))
}

// changed is a list of names with some more and without others. One that is in both goes.
func changed(names, more, fewer []string) []string {
	return slices.DeleteFunc(append(names, more...), func(name string) bool { return slices.Contains(fewer, name) })
}

// set changes what was given.
func set[T any](of *T, given *T) {
	if given != nil {
		*of = *given
	}
}

func (a *API) deleteUser(c *Call) (any, error) {
	return nil, refused(a.opts.Identities.DeleteUser(c.Context, c.Identity, c.Args["user"]))
}

func (a *API) revokeUser(c *Call) (any, error) {
	return nil, refused(a.opts.Identities.RevokeSessions(c.Context, c.Identity, c.Args["user"]))
}

// groupOf describes a group with those of users who belong to it.
func groupOf(users []iam.User) func(iam.Group) Group {
	return func(g iam.Group) Group {
		members := []string{}
		for _, u := range users {
			if slices.Contains(u.Groups, g.Name) {
				members = append(members, u.Name)
			}
		}
		return Group{Name: g.Name, Created: g.Created, Policies: list(g.Policies), Members: members}
	}
}

func (a *API) listGroups(*Call) (any, error) {
	return each(a.opts.Identities.Groups(), groupOf(a.opts.Identities.Users()))
}

func (a *API) getGroup(c *Call) (any, error) {
	return answer(groupOf(a.opts.Identities.Users()))(a.opts.Identities.Group(c.Args["group"]))
}

func (a *API) putGroup(c *Call) (any, error) {
	var s GroupSettings
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	put := a.opts.Identities.PutGroup
	if c.Query("new") == "true" {
		put = a.opts.Identities.CreateGroup
	}
	return answer(groupOf(a.opts.Identities.Users()))(put(c.Context, c.Identity, iam.Group{Name: c.Args["group"], Policies: s.Policies}))
}

func (a *API) updateGroup(c *Call) (any, error) {
	var s GroupChange
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	return answer(groupOf(a.opts.Identities.Users()))(a.opts.Identities.UpdateGroup(c.Context, c.Identity, c.Args["group"], func(g *iam.Group) {
		g.Policies = changed(g.Policies, s.Attach, s.Detach)
	}))
}

func (a *API) deleteGroup(c *Call) (any, error) {
	return nil, refused(a.opts.Identities.DeleteGroup(c.Context, c.Identity, c.Args["group"]))
}

func policyOf(p iam.Policy) Policy {
	return Policy{Name: p.Name, Canned: p.Canned, Created: whenever(p.Created), Updated: whenever(p.Updated), Document: json.RawMessage(p.Document)}
}

func (a *API) listPolicies(*Call) (any, error) { return each(a.opts.Identities.Policies(), policyOf) }

func (a *API) getPolicy(c *Call) (any, error) {
	return answer(policyOf)(a.opts.Identities.Policy(c.Args["policy"]))
}

func (a *API) putPolicy(c *Call) (any, error) {
	var s PolicySettings
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	return answer(policyOf)(a.opts.Identities.PutPolicy(c.Context, c.Identity, c.Args["policy"], string(s.Document)))
}

func (a *API) deletePolicy(c *Call) (any, error) {
	return nil, refused(a.opts.Identities.DeletePolicy(c.Context, c.Identity, c.Args["policy"]))
}

func roleOf(r iam.Role) Role {
	return Role{
		Name: r.Name, ID: r.ID, ARN: policy.RoleARN(r.Name), Created: r.Created, Policies: list(r.Policies), Boundary: r.Boundary,
		Trust: json.RawMessage(r.Trust), MaxDuration: r.MaxDuration, Revoked: whenever(r.Since),
	}
}

func (a *API) listRoles(*Call) (any, error) { return each(a.opts.Identities.Roles(), roleOf) }

func (a *API) getRole(c *Call) (any, error) {
	return answer(roleOf)(a.opts.Identities.Role(c.Args["role"]))
}

func (a *API) putRole(c *Call) (any, error) {
	var s RoleSettings
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	return answer(roleOf)(a.opts.Identities.PutRole(c.Context, c.Identity, iam.Role{
		Name: c.Args["role"], Policies: s.Policies, Boundary: s.Boundary, Trust: string(s.Trust), MaxDuration: s.MaxDuration,
	}))
}

func (a *API) updateRole(c *Call) (any, error) {
	var s RoleChange
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	return answer(roleOf)(a.opts.Identities.UpdateRole(c.Context, c.Identity, c.Args["role"], func(r *iam.Role) {
		r.Policies = changed(r.Policies, s.Attach, s.Detach)
		set(&r.Boundary, s.Boundary)
		set(&r.MaxDuration, s.MaxDuration)
		if s.Trust != nil {
			r.Trust, r.Trusted = string(s.Trust), nil
		}
	}))
}

func (a *API) deleteRole(c *Call) (any, error) {
	return nil, refused(a.opts.Identities.DeleteRole(c.Context, c.Identity, c.Args["role"]))
}

func (a *API) revokeRole(c *Call) (any, error) {
	return nil, refused(a.opts.Identities.RevokeRoleSessions(c.Context, c.Identity, c.Args["role"]))
}

func providerOf(p iam.Provider) Provider {
	return Provider{Name: p.Name, Issuer: p.Issuer, ARN: policy.ProviderARN(p.Name), Audiences: list(p.Audiences), Private: p.Private, Created: p.Created}
}

func (a *API) listProviders(*Call) (any, error) {
	return each(a.opts.Identities.Providers(), providerOf)
}

func (a *API) getProvider(c *Call) (any, error) {
	return answer(providerOf)(a.opts.Identities.Provider(c.Args["provider"]))
}

func (a *API) putProvider(c *Call) (any, error) {
	var s ProviderSettings
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	return answer(providerOf)(a.opts.Identities.PutProvider(c.Context, c.Identity, iam.Provider{Issuer: s.Issuer, Audiences: s.Audiences, Private: s.Private}))
}

func (a *API) deleteProvider(c *Call) (any, error) {
	return nil, refused(a.opts.Identities.DeleteProvider(c.Context, c.Identity, c.Args["provider"]))
}
