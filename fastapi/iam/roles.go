package iam

import (
	"context"
	"strings"
	"time"

	"penstock/fastapi/policy"
)

// Roles returns all roles, by name.
func (d *Directory) Roles() []Role {
	return listed(d, d.roles, func(r *roleState) Role { return r.Role })
}

// Role returns one role.
func (d *Directory) Role(name string) (Role, error) {
	r, err := one(d, d.roles, "role", name)
	return r.Role, err
}

// PutRole creates a role, or changes what one is and who may assume it.
func (d *Directory) PutRole(ctx context.Context, by *Identity, r Role) (Role, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Role{}, err
	}
	return d.putRole(ctx, r)
}

// putRole is PutRole. The caller holds change.
func (d *Directory) putRole(ctx context.Context, r Role) (Role, error) {
	if err := checkName("role", r.Name, maxUserNameLen); err != nil {
		return Role{}, err
	}
	trust, err := policy.Parse([]byte(r.Trust), policy.ForTrust, "")
	if err != nil {
		return Role{}, refuse(Invalid, "%s", err)
	}
	if r.Trusted == nil {
		arns, _ := trust.Identities()
		ids, unknown := d.Meant(arns)
		if unknown != "" {
			return Role{}, refuse(NotFound, "there is nobody of the name %q", unknown)
		}
		r.Trusted = ids
	}
	if r.MaxDuration != 0 && (r.MaxDuration < int(MinDuration.Seconds()) || r.MaxDuration > int(MaxDuration.Seconds())) {
		return Role{}, refuse(Invalid, "a role's sessions last %v to %v at most", MinDuration, MaxDuration)
	}
	have, err := d.Role(r.Name)
	if err != nil {
		if len(d.roles) >= maxRoles {
			return Role{}, refuse(Limit, "there are %d roles already", maxRoles)
		}
		have = Role{ID: newID(roleIDPrefix), Created: d.now()}
	}
	r.ID, r.Created, r.Since = have.ID, have.Created, have.Since
	if err := d.attachable(&r.Policies, r.Boundary); err != nil {
		return Role{}, err
	}
	return r, d.save(ctx, rolePrefix+r.Name, r)
}

// DeleteRole removes a role and ends its sessions.
func (d *Directory) DeleteRole(ctx context.Context, by *Identity, name string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return err
	}
	if _, err := d.Role(name); err != nil {
		return err
	}
	return d.save(ctx, rolePrefix+name, nil)
}

// RevokeRoleSessions ends the sessions of a role that there are so far.
func (d *Directory) RevokeRoleSessions(ctx context.Context, by *Identity, name string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return err
	}
	r, err := d.Role(name)
	if err != nil {
		return err
	}
	r.Since = d.now()
	return d.save(ctx, rolePrefix+name, r)
}

// AssumeRole asks for temporary credentials.
type AssumeRole struct {
	RoleARN  string // "" is whoever asks.
	Name     string // Of the session.
	Policy   string // A document that narrows the session; "" for none.
	Duration time.Duration
	Request  *policy.Request // The request as policies see it; its Action and Resource are set here.
}

// Assume makes a session for somebody who signed for it: of a role that trusts it, or of itself. What the session may do is
// narrowed by what narrows the credentials that ask, by the document, and, for a role, is what the role may.
func (d *Directory) Assume(by *Identity, a AssumeRole) (Session, error) {
	record := sessionRecord{Parent: by.AccessKey, Name: a.Name}
	longest := MaxDuration
	if a.RoleARN == "" || a.RoleARN == by.Principal.ARN {
		if by.Principal.Kind != policy.User && by.Principal.Kind != policy.Root {
			return Session{}, errAssume
		}
		record.User = by.User
		if by.User != "" {
			record.UserID = by.UserID
		}
		record.Narrow, longest = by.narrow, MaxUserDuration
		if !by.Expires.IsZero() {
			return Session{}, refuse(Denied, "temporary credentials cannot make more of their own")
		}
		// Everybody may, as with Amazon's GetSessionToken, whom nothing forbids it.
		r := *a.Request
		r.Action, r.Resource, r.Principal = policy.MustAction("sts:AssumeRole"), by.Principal.ARN, by.Principal
		if decision := by.Set.Decide(&r); decision.Explicit || decision.Err != nil {
			return Session{}, errAssume
		}
	} else {
		role, err := d.assumable(by, a)
		if err != nil {
			return Session{}, err
		}
		record.Role, record.RoleID = role.Name, role.ID
		longest = role.longest()
	}
	if !by.Expires.IsZero() {
		// A session that becomes a role stands on the key that made it, and lasts no longer than an hour, as with Amazon.
		record.Parent, longest = by.parent, DefaultDuration
	}
	duration, err := d.duration(a.Duration, longest)
	if err != nil {
		return Session{}, err
	}
	if record.Narrow, err = d.narrowed(record.Narrow, a.Policy); err != nil {
		return Session{}, err
	}
	record.Version = d.versionOfKey(record.Parent)
	if record.Parent == "" {
		record.From, record.Claims = by.Provider, by.Claims
	}
	return d.issue(record, duration)
}

var errAssume = refuse(Denied, "you may not assume the role, or there is none of that name")

// assumable returns the role that somebody may assume: one that trusts it by name, or one that trusts the account if
// its own policies allow it. Either way nothing may deny it.
func (d *Directory) assumable(by *Identity, a AssumeRole) (*Role, error) {
	role := d.roleOf(a.RoleARN)
	if role == nil {
		return nil, errAssume
	}
	r := *a.Request
	r.Action, r.Resource, r.Principal = policy.MustAction("sts:AssumeRole"), a.RoleARN, by.Principal
	// The trust takes the place that the policy of a bucket has there.
	set := by.Set
	set.Bucket = role.trust
	set.Root = false // Trust decides, also for root.
	decision := set.Decide(&r)
	if decision.Err != nil {
		return nil, decision.Err
	}
	if !decision.Allowed || decision.Layer != policy.BucketLayer && !d.trustsAccount(role, by, r) {
		return nil, errAssume
	}
	return &role.Role, nil
}

// roleOf returns the role of an ARN, or nil.
func (d *Directory) roleOf(arn string) *roleState {
	name, ok := strings.CutPrefix(arn, policy.RoleARN(""))
	if !ok {
		return nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.roles[name]
}

// trustsAccount reports whether a role leaves it to the account's own policies who may assume it: it would trust the account's root.
func (d *Directory) trustsAccount(role *roleState, by *Identity, r policy.Request) bool {
	if by.Principal.Kind == policy.Session {
		r.Principal.Role = ""
	}
	r.Principal.Kind, r.Principal.ARN, r.Principal.CanonicalID = policy.Root, policy.RootARN, RootCanonicalID
	effect, err := role.trust.Evaluate(&r)
	return err == nil && effect == policy.Allows
}

func (r *Role) longest() time.Duration {
	if r.MaxDuration > 0 {
		return time.Duration(r.MaxDuration) * time.Second
	}
	return DefaultDuration
}

func (d *Directory) duration(wanted, longest time.Duration) (time.Duration, error) {
	if wanted == 0 {
		wanted = min(DefaultDuration, longest)
	}
	if wanted < MinDuration || wanted > longest {
		return 0, refuse(Invalid, "the session must last %v to %v", MinDuration, longest)
	}
	return wanted, nil
}

// narrowed adds a document to those that narrow a session already.
func (d *Directory) narrowed(have []string, document string) ([]string, error) {
	if document == "" {
		return have, nil
	}
	if err := checkNarrowing(document, len(have)); err != nil {
		return nil, err
	}
	return append(have[:len(have):len(have)], document), nil
}

func (d *Directory) versionOfKey(accessKey string) uint64 {
	if accessKey == d.root.accessKey {
		return d.root.version
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if c := d.keys[accessKey]; c != nil {
		return c.version
	}
	return 0
}
