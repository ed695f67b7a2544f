package iam

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"penstock/fastapi/policy"
)

// Changes of users, groups and policies. Each checks under the change lock that what it refers to is there, so that nothing ever
// refers to what is not.

// Users returns everybody, by name.
func (d *Directory) Users() []User { return listed(d, d.users, func(u *User) User { return *u }) }

// Groups returns all groups, by name.
func (d *Directory) Groups() []Group { return listed(d, d.groups, func(g *Group) Group { return *g }) }

// Policies returns all policies, by name.
func (d *Directory) Policies() []Policy {
	return listed(d, d.policies, func(p *compiled) Policy { return p.Policy })
}

func listed[State, Record any](d *Directory, m map[string]*State, record func(*State) Record) []Record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]Record, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, record(m[name]))
	}
	return all
}

// User returns one user.
func (d *Directory) User(name string) (User, error) { return one(d, d.users, "user", name) }

// Group returns one group.
func (d *Directory) Group(name string) (Group, error) { return one(d, d.groups, "group", name) }

// Policy returns one policy.
func (d *Directory) Policy(name string) (Policy, error) {
	p, err := one(d, d.policies, "policy", name)
	return p.Policy, err
}

func one[State any](d *Directory, m map[string]*State, what, name string) (none State, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if s := m[name]; s != nil {
		return *s, nil
	}
	return none, refuse(NotFound, "there is no %s %q", what, name)
}

// PutUser creates a user, or gives one other groups, policies and boundary.
func (d *Directory) PutUser(ctx context.Context, by *Identity, u User) (User, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return User{}, err
	}
	return d.putUser(ctx, u)
}

// putUser is PutUser. The caller holds change.
func (d *Directory) putUser(ctx context.Context, u User) (User, error) {
	if err := d.checkUserName(u.Name); err != nil {
		return User{}, err
	}
	have, err := d.User(u.Name)
	if err != nil {
		if len(d.users) >= maxUsers {
			return User{}, refuse(Limit, "there are %d users already", maxUsers)
		}
		if d.keys[u.Name] != nil {
			return User{}, refuse(Exists, "%q is an access key", u.Name)
		}
		have = User{ID: newID(userIDPrefix), Created: d.now()}
	}
	u.ID, u.Created, u.Since = have.ID, have.Created, have.Since
	if u.Groups, err = d.references(u.Groups, "group", func(name string) bool { return d.groups[name] != nil }); err != nil {
		return User{}, err
	}
	if err := d.attachable(&u.Policies, u.Boundary); err != nil {
		return User{}, err
	}
	return u, d.save(ctx, userPrefix+u.Name, u)
}

// references sorts names, drops those that come twice, and refuses those that name nothing.
func (d *Directory) references(names []string, what string, there func(string) bool) ([]string, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) > maxAttachments {
		return nil, refuse(Limit, "at most %d of kind %s can be given", maxAttachments, what)
	}
	for _, name := range names {
		if !there(name) {
			return nil, refuse(NotFound, "there is no %s %q", what, name)
		}
	}
	return names, nil
}

// attachable checks the policies of a user, group or role. The caller holds change, under which the maps only change by itself.
func (d *Directory) attachable(names *[]string, boundary string) (err error) {
	there := func(name string) bool { return d.policies[name] != nil }
	if *names, err = d.references(*names, "policy", there); err != nil {
		return err
	}
	if boundary != "" && !there(boundary) {
		return refuse(NotFound, "there is no policy %q", boundary)
	}
	return nil
}

// DeleteUser removes a user and then its access keys, which are worth nothing from the first moment on.
func (d *Directory) DeleteUser(ctx context.Context, by *Identity, name string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return err
	}
	if _, err := d.User(name); err != nil {
		return err
	}
	if err := d.save(ctx, userPrefix+name, nil); err != nil {
		return err
	}
	for _, k := range d.Keys(name) {
		if err := d.save(ctx, keyPrefix+k.AccessKey, nil); err != nil {
			return err
		}
	}
	return nil
}

// RevokeSessions ends the sessions that a user has made so far.
func (d *Directory) RevokeSessions(ctx context.Context, by *Identity, name string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return err
	}
	u, err := d.User(name)
	if err != nil {
		return err
	}
	u.Since = d.now()
	return d.save(ctx, userPrefix+name, u)
}

// PutGroup creates a group, or gives one other policies.
func (d *Directory) PutGroup(ctx context.Context, by *Identity, g Group) (Group, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Group{}, err
	}
	return d.putGroup(ctx, g)
}

// putGroup is PutGroup. The caller holds change.
func (d *Directory) putGroup(ctx context.Context, g Group) (Group, error) {
	if err := checkName("group", g.Name, maxGroupNameLen); err != nil {
		return Group{}, err
	}
	have, err := d.Group(g.Name)
	if err != nil {
		if len(d.groups) >= maxGroups {
			return Group{}, refuse(Limit, "there are %d groups already", maxGroups)
		}
		have.Created = d.now()
	}
	g.Created = have.Created
	if err := d.attachable(&g.Policies, ""); err != nil {
		return Group{}, err
	}
	return g, d.save(ctx, groupPrefix+g.Name, g)
}

// DeleteGroup removes a group that nobody belongs to.
func (d *Directory) DeleteGroup(ctx context.Context, by *Identity, name string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return err
	}
	if _, err := d.Group(name); err != nil {
		return err
	}
	for _, u := range d.users {
		if slices.Contains(u.Groups, name) {
			return refuse(InUse, "the user %q belongs to the group", u.Name)
		}
	}
	return d.save(ctx, groupPrefix+name, nil)
}

// PutPolicy creates or replaces a policy. Whoever has it is held by the new one from then on.
func (d *Directory) PutPolicy(ctx context.Context, by *Identity, name, document string) (Policy, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Policy{}, err
	}
	if err := checkName("policy", name, maxNameLen); err != nil {
		return Policy{}, err
	}
	if _, err := policy.Parse([]byte(document), policy.ForIdentity, ""); err != nil {
		return Policy{}, refuse(Invalid, "%s", err)
	}
	have, err := d.Policy(name)
	switch {
	case err == nil && have.Canned:
		return Policy{}, refuse(Denied, "the policy %q cannot be changed", name)
	case err != nil && len(d.policies) >= maxPolicies:
		return Policy{}, refuse(Limit, "there are %d policies already", maxPolicies)
	case err != nil:
		have.Created = d.now()
	}
	p := Policy{Name: name, Created: have.Created, Updated: d.now(), Document: document}
	return p, d.save(ctx, policyPrefix+name, p)
}

// DeletePolicy removes a policy that nobody has.
func (d *Directory) DeletePolicy(ctx context.Context, by *Identity, name string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return err
	}
	p, err := d.Policy(name)
	if err != nil {
		return err
	}
	if p.Canned {
		return refuse(Denied, "the policy %q cannot be removed", name)
	}
	if holder := d.holder(name); holder != "" {
		return refuse(InUse, "%s has the policy", holder)
	}
	return d.save(ctx, policyPrefix+name, nil)
}

// holder names one that has a policy, or "".
func (d *Directory) holder(name string) string {
	for _, u := range d.users {
		if u.Boundary == name || slices.Contains(u.Policies, name) {
			return "the user " + u.Name
		}
	}
	for _, g := range d.groups {
		if slices.Contains(g.Policies, name) {
			return "the group " + g.Name
		}
	}
	for _, r := range d.roles {
		if r.Boundary == name || slices.Contains(r.Policies, name) {
			return "the role " + r.Name
		}
	}
	return ""
}

// Keys returns the access keys of a user, or with "" those of root; by name.
func (d *Directory) Keys(user string) []Key {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []Key
	for _, c := range d.keys {
		if c.User == user {
			all = append(all, c.public())
		}
	}
	slices.SortFunc(all, func(a, b Key) int { return strings.Compare(a.AccessKey, b.AccessKey) })
	return all
}

// AllKeys returns every access key but root's own, by user and name.
func (d *Directory) AllKeys() []Key {
	all := listed(d, d.keys, (*credential).public)
	slices.SortStableFunc(all, func(a, b Key) int { return cmp.Compare(a.User, b.User) })
	return all
}

// public is a key without its secret, sealed or not.
func (c *credential) public() Key {
	k := c.Key
	k.Sealed = ""
	return k
}
