package iam

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"penstock/fastapi/policy"
)

// Identity is who signed a request, and all that holds it. It does not change.
type Identity struct {
	Principal policy.Principal
	AccessKey string
	Name      string     // For logs and lists: "root", a user's name, or "role/session".
	User      string     // aws:username: users alone have one.
	UserID    string     // aws:userid.
	Set       policy.Set // What its own policies say; the bucket's is for the caller to add.

	Issued, Expires time.Time           // Of temporary credentials.
	Provider        string              // aws:FederatedProvider.
	Claims          map[string][]string // Of a web identity, by "issuer:claim".

	narrow []string // The documents of Set.Session, for what is derived from this identity.
	parent string   // The access key that a session was made with, "" for none.
}

// Root reports whether this is root itself, held by nothing.
func (id *Identity) Root() bool { return id.Principal.Kind == policy.Root && len(id.Set.Session) == 0 }

// Acting reports whether an identity may change others, as far as that is not for policies to say: what is held by a boundary or a session
// policy cannot, or it would make somebody who is not.
func (d *Directory) Acting(id *Identity) error {
	if id.Set.Boundary != nil || len(id.Set.Session) > 0 {
		return refuse(Denied, "credentials that a boundary or a session policy narrows cannot change identities")
	}
	return nil
}

// CanonicalID returns the canonical user id of a user, which access control lists name it by.
func CanonicalID(userID string) string {
	sum := sha256.Sum256([]byte("canonical user id of " + userID))
	return hex.EncodeToString(sum[:])
}

// Refusal is why there are no credentials for an access key.
type Refusal uint8

const (
	Accepted     Refusal = iota
	UnknownKey           // There is none of that name, or no longer.
	InvalidToken         // The session token is not one of ours, or not for that key.
	ExpiredToken
)

// Credential is what is needed to verify a signature, and whose it is.
type Credential struct {
	Secret   string
	Version  uint64 // Another one for another secret.
	Identity *Identity
}

// Credential returns the secret of an access key. Temporary ones come with the session token that was issued with them.
func (d *Directory) Credential(accessKey, token string) (Credential, Refusal) {
	if token != "" {
		return d.session(accessKey, token)
	}
	if accessKey == d.root.accessKey {
		return Credential{d.root.secret, d.root.version, d.root.identity}, Accepted
	}
	d.mu.RLock()
	c := d.keys[accessKey]
	d.mu.RUnlock()
	if c == nil {
		return Credential{}, UnknownKey
	}
	id := d.identityOf(c)
	if id == nil || !c.Expires.IsZero() && !d.opts.Clock().Before(c.Expires) {
		return Credential{}, UnknownKey
	}
	return Credential{c.secret, c.version, id}, Accepted
}

// identityOf returns whom an access key speaks for, or nil if that is nobody any more. When it ends is for the caller to check.
func (d *Directory) identityOf(c *credential) *Identity {
	// The revision is read first: what is derived from later maps is marked as older than it is, and derived again.
	revision := d.revision.Load()
	if have := c.identity.Load(); have != nil && have.revision == revision {
		return have.Identity
	}
	d.mu.RLock()
	id := d.derive(c)
	d.mu.RUnlock()
	c.identity.Store(&derivedIdentity{revision, id})
	return id
}

// derive makes the identity of an access key. The caller holds mu.
func (d *Directory) derive(c *credential) *Identity {
	if c.Disabled {
		return nil
	}
	var id *Identity
	if c.User == "" {
		own := *d.root.identity
		id = &own
	} else if u := d.users[c.User]; u != nil && u.ID == c.UserID && !u.Disabled {
		id = d.ofUser(u)
	} else {
		return nil
	}
	id.AccessKey = c.AccessKey
	id.Set.Session = c.narrow
	id.narrow = c.Policies
	return id
}

// ofUser makes the identity of a user. The caller holds mu.
func (d *Directory) ofUser(u *User) *Identity {
	names := slices.Clone(u.Policies)
	for _, g := range u.Groups {
		if group := d.groups[g]; group != nil {
			names = append(names, group.Policies...)
		}
	}
	slices.Sort(names)
	return &Identity{
		Principal: policy.Principal{Kind: policy.User, ARN: policy.UserARN(u.Name), ID: u.ID, CanonicalID: CanonicalID(u.ID)},
		Name:      u.Name, User: u.Name, UserID: u.ID,
		Set: policy.Set{Identity: d.named(slices.Compact(names)), Boundary: d.boundary(u.Boundary)},
	}
}

// named returns the policies of some names. One that is not there allows nothing.
func (d *Directory) named(names []string) []policy.Named {
	var all []policy.Named
	for _, name := range names {
		if p := d.policies[name]; p != nil {
			all = append(all, policy.Named{Name: name, Policy: p.policy})
		}
	}
	return all
}

// boundary returns the boundary of a name; one that is not there lets nothing through.
func (d *Directory) boundary(name string) *policy.Named {
	if name == "" {
		return nil
	}
	if p := d.policies[name]; p != nil {
		return &policy.Named{Name: name, Policy: p.policy}
	}
	return &policy.Named{Name: name, Policy: nothing}
}

// Narrowing returns the documents of Set.Session.
func (id *Identity) Narrowing() []string { return id.narrow }

// Named returns the identity of a name, as a request of it would have it: "root", "user/NAME", "role/NAME", or an access key.
func (d *Directory) Named(name string) (*Identity, bool) {
	kind, rest, _ := strings.Cut(name, "/")
	switch {
	case name == "root":
		return d.root.identity, true
	case kind != "user" && kind != "role":
		c, refusal := d.Credential(name, "")
		return c.Identity, refusal == Accepted
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if kind == "user" {
		if u := d.users[rest]; u != nil {
			return d.ofUser(u), true
		}
		return nil, false
	}
	role := d.roles[rest]
	if role == nil {
		return nil, false
	}
	return d.ofRole(&role.Role, "explained"), true
}

// ofRole makes the identity of a session of a role. The caller holds mu.
func (d *Directory) ofRole(role *Role, session string) *Identity {
	return &Identity{
		Principal: policy.Principal{Kind: policy.Session, ARN: policy.SessionARN(role.Name, session), Role: policy.RoleARN(role.Name), ID: role.ID},
		Name:      role.Name + "/" + session, UserID: role.ID + ":" + session,
		Set: policy.Set{Identity: d.named(role.Policies), Boundary: d.boundary(role.Boundary)},
	}
}

// Meant returns the ids of the users and roles that ARNs name, for policies that name principals: whoever gets such a name later is somebody
// else. unknown is one that names nobody, or "".
func (d *Directory) Meant(arns []string) (ids map[string]string, unknown string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ids = make(map[string]string, len(arns))
	for _, arn := range arns {
		role := ""
		if name, ok := strings.CutPrefix(arn, policy.UserARN("")); ok {
			if u := d.users[name]; u != nil {
				ids[arn] = u.ID
			}
		} else if name, ok := strings.CutPrefix(arn, policy.RoleARN("")); ok {
			role = name
		} else if name, ok := strings.CutPrefix(arn, sessionARNs); ok {
			role, _, _ = strings.Cut(name, "/")
		}
		if r := d.roles[role]; r != nil {
			ids[arn] = r.ID
		}
		if ids[arn] == "" {
			return nil, arn
		}
	}
	return ids, ""
}

// CanonicalName returns the name of whom a canonical user id names.
func (d *Directory) CanonicalName(id string) (name string, ok bool) {
	if id == RootCanonicalID {
		return "root", true
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, u := range d.users {
		if CanonicalID(u.ID) == id {
			return u.Name, true
		}
	}
	return "", false
}

// Revision returns another number after each change.
func (d *Directory) Revision() uint64 { return d.revision.Load() }

var sessionARNs = strings.TrimSuffix(policy.SessionARN("", ""), "/")
