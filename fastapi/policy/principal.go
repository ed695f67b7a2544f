package policy

import "strings"

// Account is the one account there is: every identity and every bucket belongs to it.
const Account = "000000000000"

// Kind is what a principal is.
type Kind uint8

const (
	Anonymous Kind = iota
	Root
	User
	Session   // Of an assumed role.
	Federated // Somebody whom an identity provider vouches for, and who has not assumed a role yet.
)

var kindNames = [...]string{Anonymous: "Anonymous", Root: "Account", User: "User", Session: "AssumedRole", Federated: "FederatedUser"}

// String returns the value of aws:PrincipalType.
func (k Kind) String() string { return kindNames[k] }

// Principal is who makes a request.
type Principal struct {
	Kind Kind
	ARN  string
	Role string // The ARN of a session's role.
	ID   string // Of the user, or of the session's role; nobody else ever has it.
	// CanonicalID is what access control lists and CanonicalUser name.
	CanonicalID string
	// Provider is the ARN of the identity provider that vouches for somebody federated.
	Provider string
}

// ARNs of the identities of the account.
const (
	arnPrefix  = "arn:aws:iam::" + Account + ":"
	RootARN    = arnPrefix + "root"
	stsPrefix  = "arn:aws:sts::" + Account + ":"
	rolePrefix = "assumed-role/"
)

// UserARN returns the ARN of a user.
func UserARN(name string) string { return arnPrefix + "user/" + name }

// RoleARN returns the ARN of a role.
func RoleARN(name string) string { return arnPrefix + "role/" + name }

// SessionARN returns the ARN of a session of a role.
func SessionARN(role, session string) string { return stsPrefix + rolePrefix + role + "/" + session }

// ProviderARN returns the ARN of an identity provider, whose name is its URL without the scheme.
func ProviderARN(name string) string { return arnPrefix + "oidc-provider/" + name }

// principals is the Principal or NotPrincipal of a statement.
type principals struct {
	anyone    bool
	account   bool    // The account as a whole: its root, and in a Deny everybody of it.
	arns      []bound // Users, roles, sessions.
	canonical []string
	providers []string
}

// bound is an ARN, and the id that whoever is meant has. A name can be given to somebody else later, an id cannot; "" is whoever has the name.
type bound struct{ arn, id string }

// parsePrincipals reads the value of Principal or NotPrincipal.
func parsePrincipals(n *node) (*principals, error) {
	p := new(principals)
	if n.kind == stringNode {
		if n.text != "*" {
			return nil, errPrincipal
		}
		p.anyone = true
		return p, nil
	}
	if n.kind != objectNode || len(n.members) == 0 {
		return nil, errPrincipal
	}
	for i := range n.members {
		values, ok := n.members[i].value.texts()
		if !ok || len(values) == 0 {
			return nil, errPrincipal
		}
		for _, v := range values {
			if err := p.add(n.members[i].name, v); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

var errPrincipal = malformed("Invalid principal in policy")

func (p *principals) add(kind, value string) error {
	switch kind {
	case "AWS":
		return p.addAWS(value)
	case "CanonicalUser":
		if len(value) != 64 || strings.Trim(value, "0123456789abcdef") != "" {
			return errPrincipal
		}
		p.canonical = append(p.canonical, value)
	case "Federated":
		if value == "" || strings.ContainsAny(value, "*?") {
			return errPrincipal
		}
		p.providers = append(p.providers, value)
	case "Service":
		// No service of Amazon's calls here, so it names nobody.
		if !strings.Contains(value, ".") || strings.ContainsAny(value, "*? /") {
			return errPrincipal
		}
	default:
		return errPrincipal
	}
	return nil
}

// addAWS reads "*", an account, or the ARN of an identity. An account left empty means the one there is.
func (p *principals) addAWS(value string) error {
	if value == "*" {
		p.anyone = true
		return nil
	}
	if value == Account {
		p.account = true
		return nil
	}
	if strings.ContainsAny(value, "*? \t\r\n") {
		return errPrincipal // A name is whole or it is everyone.
	}
	parts := strings.SplitN(value, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] != "aws" || parts[3] != "" || parts[4] != "" && parts[4] != Account {
		return errPrincipal
	}
	kind, name, _ := strings.Cut(parts[5], "/")
	switch {
	case parts[2] == "iam" && parts[5] == "root":
		p.account = true
		return nil
	case parts[2] == "iam" && (kind == "user" || kind == "role") && name != "":
		value = arnPrefix + parts[5]
	case parts[2] == "sts" && kind == "assumed-role" && strings.Count(name, "/") == 1:
		value = stsPrefix + parts[5]
	default:
		return errPrincipal
	}
	p.arns = append(p.arns, bound{arn: value})
	return nil
}

// whom is how a principal is named.
type whom uint8

const (
	notNamed      whom = iota
	namedAccount       // By the account it belongs to.
	namedDirectly      // By itself, by its role, or by "*".
)

func (p *principals) names(who *Principal) whom {
	if p.anyone {
		return namedDirectly
	}
	for _, b := range p.arns {
		if (b.arn == who.ARN && who.ARN != "" || b.arn == who.Role && who.Role != "") && (b.id == "" || b.id == who.ID) {
			return namedDirectly
		}
	}
	for _, id := range p.canonical {
		if id == who.CanonicalID {
			return namedDirectly
		}
	}
	for _, provider := range p.providers {
		if provider == who.Provider {
			return namedDirectly
		}
	}
	switch {
	case !p.account || who.Kind == Anonymous || who.Kind == Federated:
		return notNamed
	case who.Kind == Root:
		return namedDirectly
	}
	return namedAccount
}
