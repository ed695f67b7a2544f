package policy

import (
	"slices"
	"strings"
)

// Use is what a document is for. It decides which elements it must have and may have.
type Use uint8

const (
	ForIdentity Use = iota // Of a user, group or role, a boundary or a session: no principals.
	ForBucket              // Of a bucket: principals, and resources of that bucket alone.
	ForTrust               // Of a role: who may assume it. No resources.
)

// Policy is a compiled document. It does not change.
type Policy struct {
	statements []statement
}

type statement struct {
	sid         string
	deny        bool
	who         *principals // nil for everybody.
	notWho      bool
	actions     actionSet  // Already inverted for NotAction.
	resources   []resource // Those of services that are here: what names others matches nothing.
	notResource bool
	anyResource bool // A document ForTrust names none.
	conditions  []condition
}

// resource is a pattern for resources of one service: "bucket/key" of S3, a whole ARN of others.
type resource struct {
	pattern
	service service
}

// ResourcePrefix is what the ARN of a bucket or object begins with.
const ResourcePrefix = "arn:aws:s3:::"

// Parse compiles a document. bucket is the bucket of a document ForBucket. The error is an *Error.
func Parse(document []byte, use Use, bucket string) (*Policy, error) {
	root, err := parseJSON(document)
	if err != nil {
		return nil, err
	}
	c := compiler{use: use, bucket: bucket}
	statements, err := c.top(&root)
	if err != nil {
		return nil, err
	}
	p := new(Policy)
	sids := map[string]bool{}
	for i := range statements {
		s, err := c.statement(&statements[i])
		if err != nil {
			return nil, err
		}
		if s.sid != "" && sids[s.sid] && use != ForBucket {
			return nil, malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[s.sid] = true
		p.statements = append(p.statements, s)
	}
	return p, nil
}

// compiler compiles one document.
type compiler struct {
	use       Use
	bucket    string
	variables bool // The document's version has them.
}

// top reads the elements around the statements, and returns those.
func (c *compiler) top(root *node) ([]node, error) {
	var statements []node
	found := false
	for i := range root.members {
		switch m := &root.members[i]; m.name {
		case "Version":
			if m.value.kind != stringNode || m.value.text != "2012-10-17" && m.value.text != "2008-10-17" {
				return nil, malformed("The policy must contain a valid version string")
			}
			c.variables = m.value.text == "2012-10-17"
		case "Id":
			if m.value.kind != stringNode {
				return nil, malformed("Invalid policy syntax.")
			}
		case "Statement":
			found = true
			switch m.value.kind {
			case objectNode:
				statements = []node{m.value}
			case listNode:
				statements = m.value.list
			default:
				return nil, malformed("Invalid policy syntax.")
			}
		default:
			return nil, malformed("Unknown field %s", m.name)
		}
	}
	switch {
	case !found:
		return nil, malformed("Missing required field Statement")
	case len(statements) == 0:
		return nil, malformed("Could not parse the policy: Statement is empty!")
	}
	return statements, nil
}

// elements are the parts of a statement, by name. Of each pair there is at most one.
type elements struct {
	sid, effect, condition      *node
	principal, action, resource *node
	notPrincipal, notAction     bool
	notResource                 bool
}

func (c *compiler) elements(n *node) (e elements, err error) {
	if n.kind != objectNode {
		return e, malformed("Invalid policy syntax.")
	}
	for i := range n.members {
		m := &n.members[i]
		base, not := strings.CutPrefix(m.name, "Not")
		var slot **node
		switch {
		case m.name == "Sid":
			slot = &e.sid
		case m.name == "Effect":
			slot = &e.effect
		case m.name == "Condition":
			slot = &e.condition
		case base == "Principal":
			slot, e.notPrincipal = &e.principal, not
		case base == "Action":
			slot, e.notAction = &e.action, not
		case base == "Resource":
			slot, e.notResource = &e.resource, not
		default:
			return e, malformed("Unknown field %s", m.name)
		}
		if *slot != nil {
			return e, malformed("A statement has either %s or Not%s", base, base)
		}
		*slot = &m.value
	}
	return e, c.required(&e)
}

// required checks which elements there are.
func (c *compiler) required(e *elements) error {
	for _, r := range []struct {
		name     string
		n        *node
		required bool
		allowed  bool
	}{
		{"Effect", e.effect, true, true},
		{"Principal", e.principal, c.use != ForIdentity, c.use != ForIdentity},
		{"Action", e.action, true, true},
		{"Resource", e.resource, c.use != ForTrust, c.use != ForTrust},
	} {
		switch {
		case r.n == nil && r.required:
			return malformed("Missing required field %s", r.name)
		case r.n != nil && !r.allowed && r.name == "Principal":
			return malformed("Policy document should not specify a principal.")
		case r.n != nil && !r.allowed:
			return malformed("Has prohibited field %s", r.name)
		}
	}
	return nil
}

func (c *compiler) statement(n *node) (s statement, err error) {
	e, err := c.elements(n)
	if err != nil {
		return s, err
	}
	if e.sid != nil {
		if e.sid.kind != stringNode {
			return s, malformed("Invalid policy syntax.")
		}
		s.sid = e.sid.text
	}
	switch {
	case e.effect.kind == stringNode && e.effect.text == "Allow":
	case e.effect.kind == stringNode && e.effect.text == "Deny":
		s.deny = true
	default:
		return s, malformed("Invalid effect: %s", e.effect.text)
	}
	if e.principal != nil {
		if s.who, err = parsePrincipals(e.principal); err != nil {
			return s, err
		}
		s.notWho = e.notPrincipal
	}
	if s.anyResource = e.resource == nil; !s.anyResource {
		if s.resources, err = c.resources(e.resource); err != nil {
			return s, err
		}
		s.notResource = e.notResource
	}
	if err := c.actions(&s, e.action, e.notAction); err != nil {
		return s, err
	}
	if e.condition != nil {
		s.conditions, err = c.conditions(e.condition)
	}
	return s, err
}

// resources compiles the ARNs of a statement. What is not of S3 may stand in the policy of an identity, and matches nothing here.
func (c *compiler) resources(n *node) ([]resource, error) {
	names, ok := n.texts()
	if !ok || len(names) == 0 {
		return nil, malformed("Policy has invalid resource")
	}
	var all []resource
	for _, name := range names {
		if c.use == ForBucket && !strings.HasPrefix(name, ResourcePrefix+c.bucket) {
			return nil, malformed("Policy has invalid resource")
		}
		path, of, ours, ok := resourcePath(name)
		if !ok {
			return nil, malformed("Policy has invalid resource")
		}
		if !ours {
			continue
		}
		p, ok := compilePattern(path, patternSyntax{wildcards: true, variables: c.variables, arn: of == stsService || of == adminService})
		if !ok || c.use == ForBucket && !p.within(c.bucket) {
			return nil, malformed("Policy has invalid resource")
		}
		all = append(all, resource{p, of})
	}
	return all, nil
}

// resourcePath takes the part of an ARN of S3 that names bucket and key; of other services that are here, the whole ARN. "*" is every
// resource there is.
func resourcePath(name string) (path string, of service, ours, ok bool) {
	if name == "*" {
		return name, anyService, true, true
	}
	parts := strings.SplitN(name, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] == "" || strings.ContainsAny(parts[2], "*?") {
		return "", 0, false, false
	}
	of, ours = services[parts[2]]
	if !ours || of != s3Service {
		return name, of, ours, true
	}
	for _, part := range [...]struct{ pattern, own string }{{parts[1], "aws"}, {parts[3], ""}, {parts[4], ""}} {
		if p := wildcards(part.pattern); p.match(nil, part.own) != matchYes {
			return "", of, false, true
		}
	}
	return parts[5], of, true, parts[5] != ""
}

// within reports whether everything that a pattern matches is the bucket or something in it.
func (p *pattern) within(bucket string) bool {
	first := p.exact
	if p.kind == piecePattern || p.kind == variablePattern {
		first = p.pieces[0].text
	}
	rest, ok := strings.CutPrefix(first, bucket)
	if !ok {
		return false
	}
	return strings.HasPrefix(rest, "/") || rest == "" && (p.kind == exactPattern || p.followedByRun())
}

// followedByRun reports whether the pattern goes on with a star after its first text.
func (p *pattern) followedByRun() bool {
	return p.kind == prefixPattern || len(p.pieces) > 1 && p.pieces[1].kind == anyRun
}

// forLevel reports whether a pattern can match a resource of a level.
func (p *pattern) forLevel(l Level) bool {
	text, wild := p.exact, p.kind == prefixPattern
	if p.kind == piecePattern || p.kind == variablePattern {
		text, wild = "", true
		for i := range p.pieces {
			text += p.pieces[i].text
		}
	}
	slash := strings.Contains(text, "/")
	return l == OnService && wild || l == OnBucket && !slash || l == OnObject && (slash || wild)
}

func (c *compiler) actions(s *statement, n *node, not bool) error {
	names, ok := n.texts()
	if !ok || len(names) == 0 {
		return malformed("Policy has invalid action")
	}
	for _, name := range names {
		added := s.actions.addPattern(name)
		service, _, ok := strings.Cut(name, ":")
		switch {
		case name != "*" && (!ok || service == ""):
			return malformed("Policy has invalid action")
		case c.use == ForBucket && added.empty(), c.use == ForBucket && name != "*" && !strings.EqualFold(service, "s3"):
			return malformed("Policy has invalid action")
		case c.use == ForTrust && name != "*" && !strings.EqualFold(service, "sts"):
			return malformed("AssumeRole policy may only specify STS AssumeRole actions.")
		case c.use == ForBucket && !not && !s.notResource && !applies(&added, s.resources):
			return malformed("Action does not apply to any resource(s) in statement")
		}
	}
	if not {
		s.actions.invert()
	}
	return nil
}

// applies reports whether some of the actions can be done to some of the resources.
func applies(set *actionSet, resources []resource) bool {
	levels := set.levels()
	return slices.ContainsFunc(resources, func(p resource) bool {
		return levels[OnBucket] && p.forLevel(OnBucket) || levels[OnObject] && p.forLevel(OnObject)
	})
}

func (c *compiler) conditions(n *node) ([]condition, error) {
	if n.kind != objectNode {
		return nil, malformed("Invalid policy syntax.")
	}
	var all []condition
	for i := range n.members {
		operator, ok := parseOperator(n.members[i].name)
		if !ok {
			return nil, malformed("Invalid Condition type : %s", n.members[i].name)
		}
		block := &n.members[i].value
		if block.kind != objectNode {
			return nil, malformed("Invalid policy syntax.")
		}
		for j := range block.members {
			m := &block.members[j]
			one := operator
			key, _, known := parseKey(m.name)
			if c.use == ForBucket && (!known || key.ID == KeyClaim) {
				return nil, malformed("Policy has an invalid condition key")
			}
			one.key, one.restricting = key, restrictingKeys[strings.ToLower(m.name)]
			values, ok := m.value.scalars()
			if !ok {
				return nil, malformed("Invalid policy syntax.")
			}
			if err := one.addValues(values, c.variables); err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	return all, nil
}
