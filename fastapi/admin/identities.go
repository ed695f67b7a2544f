package admin

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"penstock/fastapi/iam"
)

// The documents about identities. What a PUT sends is all of it: what is left out is taken away.

// User is somebody who has access keys.
type User struct {
	Name        string     `json:"name"`
	ID          string     `json:"id"`
	ARN         string     `json:"arn"`          // As policies name the user.
	CanonicalID string     `json:"canonical_id"` // As access control lists do.
	Created     time.Time  `json:"created"`
	Disabled    bool       `json:"disabled"`
	Groups      []string   `json:"groups"`
	Policies    []string   `json:"policies"`
	Boundary    string     `json:"boundary,omitempty"`
	Revoked     *time.Time `json:"sessions_revoked,omitempty"` // When the sessions there were until then were ended.
}

// UserSettings are what can be said of a user.
type UserSettings struct {
	Disabled bool     `json:"disabled,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Policies []string `json:"policies,omitempty"`
	Boundary string   `json:"boundary,omitempty"`
}

// UserChange says what of a user to change. What is left out stays.
type UserChange struct {
	Attach   []string `json:"attach,omitempty"` // Policies.
	Detach   []string `json:"detach,omitempty"`
	Join     []string `json:"join,omitempty"` // Groups.
	Leave    []string `json:"leave,omitempty"`
	Boundary *string  `json:"boundary,omitempty"` // "" takes it away.
	Disabled *bool    `json:"disabled,omitempty"`
}

// Group gives its members policies.
type Group struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Policies []string  `json:"policies"`
	Members  []string  `json:"members"`
}

// GroupSettings are what can be said of a group.
type GroupSettings struct {
	Policies []string `json:"policies,omitempty"`
}

// GroupChange says what of a group to change. What is left out stays.
type GroupChange struct {
	Attach []string `json:"attach,omitempty"` // Policies.
	Detach []string `json:"detach,omitempty"`
}

// Policy is a document with a name.
type Policy struct {
	Name     string          `json:"name"`
	Canned   bool            `json:"canned"` // Every store has it, and it cannot be changed.
	Created  *time.Time      `json:"created,omitempty"`
	Updated  *time.Time      `json:"updated,omitempty"`
	Document json.RawMessage `json:"document"`
}

// PolicySettings are what a policy says.
type PolicySettings struct {
	Document json.RawMessage `json:"document"`
}

// Role is what others may become for a while.
type Role struct {
	Name        string          `json:"name"`
	ID          string          `json:"id"`
	ARN         string          `json:"arn"`
	Created     time.Time       `json:"created"`
	Policies    []string        `json:"policies"`
	Boundary    string          `json:"boundary,omitempty"`
	Trust       json.RawMessage `json:"trust"`
	MaxDuration int             `json:"max_seconds,omitempty"`
	Revoked     *time.Time      `json:"sessions_revoked,omitempty"`
}

// RoleSettings are what can be said of a role.
type RoleSettings struct {
	Policies    []string        `json:"policies,omitempty"`
	Boundary    string          `json:"boundary,omitempty"`
	Trust       json.RawMessage `json:"trust"`                 // The document that says who may assume it.
	MaxDuration int             `json:"max_seconds,omitempty"` // Of a session; an hour if it is not given.
}

// RoleChange says what of a role to change. What is left out stays.
type RoleChange struct {
	Attach      []string        `json:"attach,omitempty"` // Policies.
	Detach      []string        `json:"detach,omitempty"`
	Boundary    *string         `json:"boundary,omitempty"` // "" takes it away.
	Trust       json.RawMessage `json:"trust,omitempty"`
	MaxDuration *int            `json:"max_seconds,omitempty"`
}

// Provider is an issuer of web identities that is trusted.
type Provider struct {
	Name      string    `json:"name"`
	Issuer    string    `json:"issuer"`
	ARN       string    `json:"arn"` // As the trust of roles names it.
	Audiences []string  `json:"audiences"`
	Private   bool      `json:"private"`
	Created   time.Time `json:"created"`
}

// ProviderSettings are what can be said of a provider.
type ProviderSettings struct {
	Issuer    string   `json:"issuer"`            // The URL, as its tokens have it.
	Audiences []string `json:"audiences"`         // Tokens must be made for one of them.
	Private   bool     `json:"private,omitempty"` // It may be at an address that is not public.
}

// onlyNew is for calls that also change what is there already.
var onlyNew = []Param{{Name: "new", Summary: "true refuses where there is one of that name already."}}

// identityRoutes are the rows about identities.
func identityRoutes() []*Route {
	return []*Route{
		{Method: "GET", Path: "/users", Name: "ListUsers", Action: "admin:ListUsers", Summary: "Everybody there is but root.", Answer: []User{}, handle: (*API).listUsers},
		{Method: "GET", Path: "/users/{user}", Name: "GetUser", Action: "admin:GetUser", Summary: "One user.", Answer: User{}, handle: (*API).getUser},
		{Method: "PUT", Path: "/users/{user}", Name: "PutUser", Action: "admin:PutUser", Summary: "Create a user, or say anew all of what one is.", Params: onlyNew, Body: UserSettings{}, Answer: User{}, handle: (*API).putUser},
		{Method: "PATCH", Path: "/users/{user}", Name: "UpdateUser", Action: "admin:UpdateUser", Summary: "Attach and detach policies, join and leave groups, set or take away a boundary, disable or enable.", Body: UserChange{}, Answer: User{}, handle: (*API).updateUser},
		{Method: "DELETE", Path: "/users/{user}", Name: "DeleteUser", Action: "admin:DeleteUser", Summary: "Remove a user with all access keys.", handle: (*API).deleteUser},
		{Method: "POST", Path: "/users/{user}/revoke-sessions", Name: "RevokeUserSessions", Action: "admin:RevokeUserSessions", Summary: "End the temporary credentials that a user has.", handle: (*API).revokeUser},
		{Method: "GET", Path: "/groups", Name: "ListGroups", Action: "admin:ListGroups", Summary: "All groups.", Answer: []Group{}, handle: (*API).listGroups},
		{Method: "GET", Path: "/groups/{group}", Name: "GetGroup", Action: "admin:GetGroup", Summary: "One group.", Answer: Group{}, handle: (*API).getGroup},
		{Method: "PUT", Path: "/groups/{group}", Name: "PutGroup", Action: "admin:PutGroup", Summary: "Create a group, or say anew all of its policies.", Params: onlyNew, Body: GroupSettings{}, Answer: Group{}, handle: (*API).putGroup},
		{Method: "PATCH", Path: "/groups/{group}", Name: "UpdateGroup", Action: "admin:UpdateGroup", Summary: "Attach and detach policies.", Body: GroupChange{}, Answer: Group{}, handle: (*API).updateGroup},
		{Method: "DELETE", Path: "/groups/{group}", Name: "DeleteGroup", Action: "admin:DeleteGroup", Summary: "Remove a group that has no members.", handle: (*API).deleteGroup},
		{Method: "GET", Path: "/policies", Name: "ListPolicies", Action: "admin:ListPolicies", Summary: "All policies with a name.", Answer: []Policy{}, handle: (*API).listPolicies},
		{Method: "GET", Path: "/policies/{policy}", Name: "GetPolicy", Action: "admin:GetPolicy", Summary: "One policy.", Answer: Policy{}, handle: (*API).getPolicy},
		{Method: "PUT", Path: "/policies/{policy}", Name: "PutPolicy", Action: "admin:PutPolicy", Summary: "Create or replace a policy.", Body: PolicySettings{}, Answer: Policy{}, handle: (*API).putPolicy},
		{Method: "DELETE", Path: "/policies/{policy}", Name: "DeletePolicy", Action: "admin:DeletePolicy", Summary: "Remove a policy that nobody has.", handle: (*API).deletePolicy},
		{Method: "GET", Path: "/roles", Name: "ListRoles", Action: "admin:ListRoles", Summary: "All roles.", Answer: []Role{}, handle: (*API).listRoles},
		{Method: "GET", Path: "/roles/{role}", Name: "GetRole", Action: "admin:GetRole", Summary: "One role.", Answer: Role{}, handle: (*API).getRole},
		{Method: "PUT", Path: "/roles/{role}", Name: "PutRole", Action: "admin:PutRole", Summary: "Create a role, or say anew what it is and who may assume it.", Body: RoleSettings{}, Answer: Role{}, handle: (*API).putRole},
		{Method: "PATCH", Path: "/roles/{role}", Name: "UpdateRole", Action: "admin:UpdateRole", Summary: "Attach and detach policies, change the boundary, who may assume it, and how long its sessions last.", Body: RoleChange{}, Answer: Role{}, handle: (*API).updateRole},
		{Method: "DELETE", Path: "/roles/{role}", Name: "DeleteRole", Action: "admin:DeleteRole", Summary: "Remove a role and end its sessions.", handle: (*API).deleteRole},
		{Method: "POST", Path: "/roles/{role}/revoke-sessions", Name: "RevokeRoleSessions", Action: "admin:RevokeRoleSessions", Summary: "End the sessions that a role has.", handle: (*API).revokeRole},
		{Method: "GET", Path: "/providers/{provider}", Name: "GetProvider", Action: "admin:GetProvider", Summary: "One issuer that is trusted.", Answer: Provider{}, handle: (*API).getProvider},
		{Method: "GET", Path: "/providers", Name: "ListProviders", Action: "admin:ListProviders", Summary: "The issuers of web identities that are trusted.", Answer: []Provider{}, handle: (*API).listProviders},
		{Method: "PUT", Path: "/providers", Name: "PutProvider", Action: "admin:PutProvider", Summary: "Trust an issuer of web identities.", Body: ProviderSettings{}, Answer: Provider{}, handle: (*API).putProvider},
		{Method: "DELETE", Path: "/providers/{provider}", Name: "DeleteProvider", Action: "admin:DeleteProvider", Summary: "Trust an issuer no longer, and end the sessions it vouched for.", handle: (*API).deleteProvider},
	}
}

// decode reads the document of a call. A field that is not known is a mistake that would otherwise be made in silence.
func decode(body string, into any) error {
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return invalid("the document is not what is wanted: %v", err)
	}
	if d.More() {
		return invalid("there is more than one document")
	}
	return nil
}

// refusals are what a refusal of the directory is to whoever calls.
var refusals = map[iam.Kind]Error{
	iam.Invalid:  {Status: 400, Code: "InvalidRequest"},
	iam.NotFound: {Status: 404, Code: "NoSuchEntity"},
	iam.Exists:   {Status: 409, Code: "EntityAlreadyExists"},
	iam.InUse:    {Status: 409, Code: "DeleteConflict"},
	iam.Denied:   {Status: 403, Code: "AccessDenied"},
	iam.Limit:    {Status: 409, Code: "LimitExceeded"},
}

// refused makes an answer of an error of the directory.
func refused(err error) error {
	e, ok := errors.AsType[*iam.Error](err)
	if !ok {
		return err
	}
	r := refusals[e.Kind]
	r.Message = e.Message
	return &r
}

// answer is for calls that end in a record and an error.
func answer[Record, Document any](document func(Record) Document) func(Record, error) (any, error) {
	return func(r Record, err error) (any, error) {
		if err != nil {
			return nil, refused(err)
		}
		return document(r), nil
	}
}

func each[Record, Document any](records []Record, document func(Record) Document) (any, error) {
	all := make([]Document, 0, len(records))
	for _, r := range records {
		all = append(all, document(r))
	}
	return all, nil
}

func whenever(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func list(names []string) []string { return append([]string{}, names...) }
