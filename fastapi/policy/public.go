package policy

import (
	"net/netip"
	"strings"
)

// Public reports whether a bucket's policy is public as Amazon defines it: some statement allows everybody, and no condition of it
// holds them to fixed values of who they are or where they come from.
func (p *Policy) Public() bool {
	for i := range p.statements {
		s := &p.statements[i]
		if !s.deny && s.who != nil && (s.who.anyone || s.notWho) && !s.restricted() {
			return true
		}
	}
	return false
}

func (s *statement) restricted() bool {
	for i := range s.conditions {
		if s.conditions[i].restricts() {
			return true
		}
	}
	return false
}

// restrictingKeys are those that a stranger cannot choose the value of. The ones that belong to parts of the service that are
// not here restrict too: nobody has them.
var restrictingKeys = map[string]bool{
	"aws:sourcearn": true, "aws:sourcevpc": true, "aws:sourcevpce": true, "aws:sourceowner": true, "aws:sourceaccount": true,
	"aws:principalorgid": true, "aws:principalorgpaths": true, "aws:principalarn": true, "aws:principalaccount": true, "aws:userid": true, "aws:username": true,
	"s3:dataaccesspointarn": true, "s3:dataaccesspointaccount": true, "s3:x-amz-server-side-encryption-aws-kms-key-id": true,
}

// restricts reports whether a condition holds a request to fixed values.
func (c *condition) restricts() bool {
	if c.negated || c.ifExists || c.quantity == forAll {
		return false
	}
	if c.op == opAddr && c.key.ID == KeySourceIP {
		for _, network := range c.networks {
			if wide(network) {
				return false
			}
		}
		return len(c.networks) > 0
	}
	if !c.restricting {
		return false
	}
	for i := range c.patterns {
		if !c.patterns[i].fixed() || c.key.ID == KeyUserID && strings.HasSuffix(c.patterns[i].exact, ":*") {
			return false
		}
	}
	return len(c.patterns) > 0
}

// wide reports whether a network is so large that it is no restriction: more than a /8, or a /32 of IPv6, unless it is private.
func wide(network netip.Prefix) bool {
	switch {
	case network.Addr().Is4():
		return network.Bits() < 8
	case network.Addr().IsPrivate():
		return network.Bits() < 7
	}
	return network.Bits() < 32
}

// Identities returns the ARNs of users and roles that a policy names, and the canonical ids, for its keeper to check that they exist.
func (p *Policy) Identities() (arns, canonical []string) {
	for i := range p.statements {
		if who := p.statements[i].who; who != nil {
			for _, b := range who.arns {
				arns = append(arns, b.arn)
			}
			canonical = append(canonical, who.canonical...)
		}
	}
	return arns, canonical
}

// Bind has a policy mean, by the ARNs that it names, those who have these ids. It is called before the policy is used.
func (p *Policy) Bind(ids map[string]string) {
	for i := range p.statements {
		if who := p.statements[i].who; who != nil {
			for j := range who.arns {
				who.arns[j].id = ids[who.arns[j].arn]
			}
		}
	}
}
