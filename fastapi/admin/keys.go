package admin

import (
	"encoding/json"
	"time"

	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
)

// Key is an access key.
type Key struct {
	AccessKey   string            `json:"access_key"`
	SecretKey   string            `json:"secret_key,omitempty"` // In the answer to its making, and never again.
	User        string            `json:"user,omitempty"`       // Absent of root.
	Created     time.Time         `json:"created"`
	Expires     *time.Time        `json:"expires,omitempty"`
	Disabled    bool              `json:"disabled"`
	Description string            `json:"description,omitempty"`
	Policies    []json.RawMessage `json:"policies,omitempty"` // What narrows it; each must allow.
}

// NewKey says what access key to make.
type NewKey struct {
	AccessKey   string          `json:"access_key,omitempty"` // Both generated unless given.
	SecretKey   string          `json:"secret_key,omitempty"`
	Expires     *time.Time      `json:"expires,omitempty"`
	Policy      json.RawMessage `json:"policy,omitempty"` // A document that narrows what the user may.
	Description string          `json:"description,omitempty"`
}

// KeySettings say what of an access key to change. What is left out stays.
type KeySettings struct {
	Disabled    *bool           `json:"disabled,omitempty"`
	Expires     *time.Time      `json:"expires,omitempty"` // The year 1 is never.
	Description *string         `json:"description,omitempty"`
	Policy      json.RawMessage `json:"policy,omitempty"` // null takes it away.
}

// keyRoutes are the rows about access keys: those of others, and one's own.
func keyRoutes() []*Route {
	return []*Route{
		{Method: "GET", Path: "/keys", Name: "ListOwnKeys", Action: "admin:ListOwnKeys", Summary: "The access keys of whoever asks.", Answer: []Key{}, handle: (*API).listOwnKeys},
		{Method: "POST", Path: "/keys", Name: "CreateOwnKey", Action: "admin:CreateOwnKey", Summary: "Make an access key for whoever asks; it may no more than the one that asks.", Body: NewKey{}, Answer: Key{}, handle: (*API).createOwnKey},
		{Method: "DELETE", Path: "/keys/{key}", Name: "DeleteOwnKey", Action: "admin:DeleteOwnKey", Summary: "Remove an access key of whoever asks.", handle: (*API).deleteOwnKey},
		{Method: "GET", Path: "/users/{user}/keys", Name: "ListKeys", Action: "admin:ListKeys", Summary: "The access keys of a user.", Answer: []Key{}, handle: (*API).listKeys},
		{Method: "POST", Path: "/users/{user}/keys", Name: "CreateKey", Action: "admin:CreateKey", Summary: "Make an access key for a user.", Body: NewKey{}, Answer: Key{}, handle: (*API).createKey},
		{Method: "GET", Path: "/users/{user}/keys/{key}", Name: "GetKey", Action: "admin:GetKey", Summary: "One access key.", Answer: Key{}, handle: (*API).getKey},
		{Method: "PATCH", Path: "/users/{user}/keys/{key}", Name: "UpdateKey", Action: "admin:UpdateKey", Summary: "Change an access key.", Body: KeySettings{}, Answer: Key{}, handle: (*API).updateKey},
		{Method: "DELETE", Path: "/users/{user}/keys/{key}", Name: "DeleteKey", Action: "admin:DeleteKey", Summary: "Remove an access key.", handle: (*API).deleteKey},
	}
}

func keyOf(k iam.Key) Key {
	out := Key{AccessKey: k.AccessKey, User: k.User, Created: k.Created, Expires: whenever(k.Expires), Disabled: k.Disabled, Description: k.Description}
	for _, p := range k.Policies {
		out.Policies = append(out.Policies, json.RawMessage(p))
	}
	return out
}

func (a *API) listOwnKeys(c *Call) (any, error) {
	return each(a.opts.Identities.Keys(c.Identity.User), keyOf)
}

func (a *API) listKeys(c *Call) (any, error) {
	if _, err := a.opts.Identities.User(c.Args["user"]); err != nil {
		return nil, refused(err)
	}
	return each(a.opts.Identities.Keys(c.Args["user"]), keyOf)
}

func (a *API) createOwnKey(c *Call) (any, error) { return a.makeKey(c, "") }

func (a *API) createKey(c *Call) (any, error) { return a.makeKey(c, c.Args["user"]) }

// makeKey makes an access key for a user, or with "" for whoever asks.
func (a *API) makeKey(c *Call, user string) (any, error) {
	var n NewKey
	if err := decode(c.Body, &n); err != nil {
		return nil, err
	}
	wanted := iam.NewKey{User: user, AccessKey: n.AccessKey, Secret: n.SecretKey, Description: n.Description, Policy: document(n.Policy)}
	if n.Expires != nil {
		wanted.Expires = *n.Expires
	}
	k, secret, err := a.opts.Identities.CreateKey(c.Context, c.Identity, wanted)
	if err != nil {
		return nil, refused(err)
	}
	out := keyOf(k)
	out.SecretKey = secret
	return out, nil
}

// document is the text of a policy in a document, "" of none.
func document(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// keyOfUser returns an access key if it is that user's.
func (a *API) keyOfUser(key, user string) (iam.Key, error) {
	k, err := a.opts.Identities.Key(key)
	if err != nil || k.User != user {
		return iam.Key{}, &Error{Status: 404, Code: "NoSuchEntity", Message: "the user has no such access key"}
	}
	return k, nil
}

func (a *API) getKey(c *Call) (any, error) {
	k, err := a.keyOfUser(c.Args["key"], c.Args["user"])
	if err != nil {
		return nil, err
	}
	return keyOf(k), nil
}

func (a *API) updateKey(c *Call) (any, error) {
	if _, err := a.keyOfUser(c.Args["key"], c.Args["user"]); err != nil {
		return nil, err
	}
	var s KeySettings
	if err := decode(c.Body, &s); err != nil {
		return nil, err
	}
	change := iam.KeyChange{Disabled: s.Disabled, Expires: s.Expires, Description: s.Description}
	if s.Policy != nil {
		text := document(s.Policy)
		change.Policy = &text
	}
	return answer(keyOf)(a.opts.Identities.UpdateKey(c.Context, c.Identity, c.Args["key"], change))
}

func (a *API) deleteKey(c *Call) (any, error) {
	if _, err := a.keyOfUser(c.Args["key"], c.Args["user"]); err != nil {
		return nil, err
	}
	return nil, refused(a.opts.Identities.DeleteKey(c.Context, c.Identity, c.Args["key"]))
}

// deleteOwnKey removes a key of whoever asks, and of nobody else: its action is one that many have.
func (a *API) deleteOwnKey(c *Call) (any, error) {
	if kind := c.Identity.Principal.Kind; kind != policy.Root && kind != policy.User {
		return nil, refused(&iam.Error{Kind: iam.Denied, Message: "a session of a role has no access keys"})
	}
	if _, err := a.keyOfUser(c.Args["key"], c.Identity.User); err != nil {
		return nil, err
	}
	return nil, refused(a.opts.Identities.DeleteKey(c.Context, c.Identity, c.Args["key"]))
}
