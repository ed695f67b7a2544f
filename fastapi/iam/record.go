package iam

import (
	"time"
)

// The records below are what the store keeps, as JSON, under the names that the package comment lists. Fields may be added; one that is
// not known is kept out of the way of older versions by being left alone.

const (
	userPrefix     = "iam/user/"
	groupPrefix    = "iam/group/"
	policyPrefix   = "iam/policy/"
	keyPrefix      = "iam/key/"
	rolePrefix     = "iam/role/"
	providerPrefix = "iam/provider/"
	allPrefix      = "iam/"
)

// User is somebody who has access keys.
type User struct {
	Name     string    `json:"name"`
	ID       string    `json:"id"` // Never used again, also when a user of the same name follows.
	Created  time.Time `json:"created"`
	Disabled bool      `json:"disabled,omitempty"`
	Groups   []string  `json:"groups,omitempty"`
	Policies []string  `json:"policies,omitempty"` // Attached, by name.
	Boundary string    `json:"boundary,omitempty"` // The name of a policy.
	// Since is when the user's sessions begin to count: those issued before are revoked.
	Since time.Time `json:"since,omitzero"`
}

// Group gives its members policies.
type Group struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Policies []string  `json:"policies,omitempty"`
}

// Policy is a document with a name.
type Policy struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
	Document string    `json:"document"`
	Canned   bool      `json:"-"` // Every store has it, and nobody can change it.
}

// Key is an access key.
type Key struct {
	AccessKey   string    `json:"access_key"`
	User        string    `json:"user,omitempty"`    // "" for root.
	UserID      string    `json:"user_id,omitempty"` // Of the user it was made for.
	Sealed      string    `json:"secret"`            // See seal.go.
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"`
	Disabled    bool      `json:"disabled,omitempty"`
	Description string    `json:"description,omitempty"`
	// Policies are documents that narrow what the user may: its own, and those of the credentials it was made with.
	Policies []string `json:"policies,omitempty"`
	Own      bool     `json:"own,omitempty"` // The last of Policies was given with the key itself.
}

// Role is what others may become for a while.
type Role struct {
	Name     string    `json:"name"`
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	Policies []string  `json:"policies,omitempty"`
	Boundary string    `json:"boundary,omitempty"`
	Trust    string    `json:"trust"` // The document that says who may assume it.
	// Trusted are the ids of those whom Trust names, by ARN. nil is whoever has the names when the role is put.
	Trusted     map[string]string `json:"trusted,omitempty"`
	MaxDuration int               `json:"max_seconds,omitempty"`
	Since       time.Time         `json:"since,omitzero"` // As of a user.
}

// Provider is an issuer of web identities that is trusted to say who somebody is.
type Provider struct {
	Name      string    `json:"name"` // The issuer without its scheme.
	Issuer    string    `json:"issuer"`
	Audiences []string  `json:"audiences"` // Tokens must be made for one of them.
	Created   time.Time `json:"created"`
	// Private allows the issuer to be at an address that is not public.
	Private bool `json:"private,omitempty"`
}
