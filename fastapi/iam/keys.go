package iam

import (
	"context"
	"slices"
	"time"

	"penstock/fastapi/policy"
)

// NewKey says what access key to make.
type NewKey struct {
	User              string // "" for whoever asks.
	AccessKey, Secret string // Both or neither; generated when empty.
	Expires           time.Time
	Policy            string // A document that narrows what the user may; "" for none.
	Description       string
}

func (d *Directory) now() time.Time { return d.opts.Clock().UTC().Truncate(time.Second) }

// CreateKey makes an access key and returns its secret, this once. Whoever asks for a key of its own gives it everything that
// narrows the credentials it asks with, and no longer a life; only somebody who is narrowed by nothing makes keys for others.
func (d *Directory) CreateKey(ctx context.Context, by *Identity, n NewKey) (k Key, secret string, err error) {
	d.change.Lock()
	defer d.change.Unlock()
	own := n.User == "" || n.User == by.User && by.User != ""
	if err := d.mayMakeKey(by, own); err != nil {
		return Key{}, "", err
	}
	k = Key{
		AccessKey: n.AccessKey, User: n.User, Created: d.now(), Expires: n.Expires.UTC().Truncate(time.Second),
		Description: n.Description,
	}
	if own {
		k.User, k.Policies = by.User, slices.Clone(by.narrow)
		k.Expires = d.sooner(k.Expires, by)
	}
	if k.User != "" {
		u, err := d.User(k.User)
		if err != nil {
			return Key{}, "", err
		}
		k.UserID = u.ID
	}
	secret = n.Secret
	if k.AccessKey == "" && secret == "" {
		k.AccessKey, secret = newID(accessKeyPrefix), newSecret()
	}
	if err := d.checkNewKey(&k, secret, n.Policy); err != nil {
		return Key{}, "", err
	}
	if n.Policy != "" {
		k.Policies, k.Own = append(k.Policies, n.Policy), true
	}
	k.Sealed = d.opts.Keyring.seal(sealSecrets, keyPrefix+k.AccessKey, secret)
	if err := d.save(ctx, keyPrefix+k.AccessKey, k); err != nil {
		return Key{}, "", err
	}
	k.Sealed = ""
	return k, secret, nil
}

// mayMakeKey refuses credentials that must not make keys. A session of a role belongs to no user, and ends.
func (d *Directory) mayMakeKey(by *Identity, own bool) error {
	switch kind := by.Principal.Kind; {
	case kind != policy.Root && kind != policy.User:
		return refuse(Denied, "a session of a role cannot have access keys")
	case !by.Expires.IsZero():
		return refuse(Denied, "temporary credentials cannot make access keys")
	case !own:
		return d.Acting(by)
	}
	return nil
}

// sooner returns when a key ends that is made with by's: not after it.
func (d *Directory) sooner(wanted time.Time, by *Identity) time.Time {
	if c := d.keys[by.AccessKey]; c != nil && !c.Expires.IsZero() && (wanted.IsZero() || wanted.After(c.Expires)) {
		return c.Expires
	}
	return wanted
}

func (d *Directory) checkNewKey(k *Key, secret, document string) error {
	if err := d.checkPair(k.AccessKey, secret); err != nil {
		return err
	}
	switch {
	case d.keys[k.AccessKey] != nil:
		return refuse(Exists, "there is an access key of that name")
	case d.users[k.AccessKey] != nil:
		return refuse(Exists, "there is a user of that name")
	case len(d.keys) >= maxKeys:
		return refuse(Limit, "there are %d access keys already", maxKeys)
	case len(d.Keys(k.User)) >= maxKeysOfUser:
		return refuse(Limit, "the user has %d access keys already", maxKeysOfUser)
	case len(k.Description) > maxTextLen:
		return refuse(Invalid, "a description has at most %d bytes", maxTextLen)
	case !k.Expires.IsZero() && !k.Expires.After(d.opts.Clock()):
		return refuse(Invalid, "the access key would have ended already")
	}
	return checkNarrowing(document, len(k.Policies))
}

// maxNarrowing bounds the policies that narrow one credential: each is judged with every request.
const maxNarrowing = 10

func checkNarrowing(document string, have int) error {
	if document == "" {
		return nil
	}
	if have >= maxNarrowing {
		return refuse(Limit, "%d policies narrow these credentials already", maxNarrowing)
	}
	if _, err := policy.Parse([]byte(document), policy.ForIdentity, ""); err != nil {
		return refuse(Invalid, "%s", err)
	}
	return nil
}

// Key returns an access key without its secret.
func (d *Directory) Key(accessKey string) (Key, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if c := d.keys[accessKey]; c != nil {
		return c.public(), nil
	}
	return Key{}, refuse(NotFound, "there is no access key %q", accessKey)
}

// KeyChange says what of an access key to change; nil leaves it.
type KeyChange struct {
	Disabled    *bool
	Expires     *time.Time // The zero time is never.
	Description *string
	Policy      *string // Its own; "" for none. Those it inherited stay.
}

// UpdateKey changes an access key. Nobody changes the key that it is made by, and only those who may change identities make
// one mean more than it did.
func (d *Directory) UpdateKey(ctx context.Context, by *Identity, accessKey string, change KeyChange) (Key, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Key{}, err
	}
	c := d.keys[accessKey]
	if c == nil {
		return Key{}, refuse(NotFound, "there is no access key %q", accessKey)
	}
	k := c.Key
	if change.Disabled != nil {
		k.Disabled = *change.Disabled
	}
	if change.Expires != nil {
		k.Expires = change.Expires.UTC().Truncate(time.Second)
	}
	if change.Description != nil {
		if k.Description = *change.Description; len(k.Description) > maxTextLen {
			return Key{}, refuse(Invalid, "a description has at most %d bytes", maxTextLen)
		}
	}
	if change.Policy != nil {
		if k.Own {
			k.Policies, k.Own = slices.Clone(k.Policies[:len(k.Policies)-1]), false
		}
		if err := checkNarrowing(*change.Policy, len(k.Policies)); err != nil {
			return Key{}, err
		}
		if *change.Policy != "" {
			k.Policies, k.Own = append(slices.Clone(k.Policies), *change.Policy), true
		}
	}
	if err := d.save(ctx, keyPrefix+accessKey, k); err != nil {
		return Key{}, err
	}
	k.Sealed = ""
	return k, nil
}

// DeleteKey removes an access key, and with it the sessions that were made with it. Everybody may remove keys of their own.
func (d *Directory) DeleteKey(ctx context.Context, by *Identity, accessKey string) error {
	d.change.Lock()
	defer d.change.Unlock()
	c := d.keys[accessKey]
	if c == nil || c.User != by.User || by.User == "" {
		if err := d.Acting(by); err != nil {
			return err
		}
	}
	if c == nil {
		return refuse(NotFound, "there is no access key %q", accessKey)
	}
	return d.save(ctx, keyPrefix+accessKey, nil)
}
