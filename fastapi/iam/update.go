package iam

import (
	"context"
	"slices"
)

// A Put says all of what somebody is, whether or not there was one. Here is what minds what there was: to create refuses where there is
// one, and to update says a part and leaves the rest as it is, whatever others change at the same time.

// CreateUser is PutUser where there is no user of that name yet.
func (d *Directory) CreateUser(ctx context.Context, by *Identity, u User) (User, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return User{}, err
	}
	if _, err := d.User(u.Name); err == nil {
		return User{}, refuse(Exists, "there is a user %q already", u.Name)
	}
	return d.putUser(ctx, u)
}

// CreateGroup is PutGroup where there is no group of that name yet.
func (d *Directory) CreateGroup(ctx context.Context, by *Identity, g Group) (Group, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Group{}, err
	}
	if _, err := d.Group(g.Name); err == nil {
		return Group{}, refuse(Exists, "there is a group %q already", g.Name)
	}
	return d.putGroup(ctx, g)
}

// UpdateUser has change make another user of the one there is.
func (d *Directory) UpdateUser(ctx context.Context, by *Identity, name string, change func(*User)) (User, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return User{}, err
	}
	u, err := d.User(name)
	if err != nil {
		return User{}, err
	}
	u.Groups, u.Policies = slices.Clone(u.Groups), slices.Clone(u.Policies)
	change(&u)
	u.Name = name
	return d.putUser(ctx, u)
}

// UpdateGroup has change make another group of the one there is.
func (d *Directory) UpdateGroup(ctx context.Context, by *Identity, name string, change func(*Group)) (Group, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Group{}, err
	}
	g, err := d.Group(name)
	if err != nil {
		return Group{}, err
	}
	g.Policies = slices.Clone(g.Policies)
	change(&g)
	g.Name = name
	return d.putGroup(ctx, g)
}

// UpdateRole has change make another role of the one there is.
func (d *Directory) UpdateRole(ctx context.Context, by *Identity, name string, change func(*Role)) (Role, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Role{}, err
	}
	r, err := d.Role(name)
	if err != nil {
		return Role{}, err
	}
	r.Policies = slices.Clone(r.Policies)
	change(&r)
	r.Name = name
	return d.putRole(ctx, r)
}
