package policy

// Set is everything that decides what one principal may do in one bucket.
type Set struct {
	// Root may do whatever nothing denies.
	Root     bool
	Identity []Named // Of the user, of its groups, or of the role.
	Bucket   *Policy // nil if there is none.
	Granted  bool    // An access control list allows it.
	Boundary *Named  // nil if there is none.
	Session  []Named // Each of them must allow.
	// Restricted means that the bucket's policy is public and the bucket wants none: it allows nothing to people nobody knows.
	Restricted bool
}

// Named is a policy and what it is called.
type Named struct {
	Name string
	*Policy
}

// Layer is where a decision was made.
type Layer uint8

const (
	NoLayer Layer = iota // Nothing spoke of the request.
	RootLayer
	IdentityLayer
	BucketLayer
	GrantLayer
	BoundaryLayer
	SessionLayer
)

var layerNames = [...]string{"nothing", "root", "identity policy", "bucket policy", "access control list", "permissions boundary", "session policy"}

func (l Layer) String() string { return layerNames[l] }

// Decision is a judgement and its reason.
type Decision struct {
	Allowed  bool
	Explicit bool   // Refused by a statement that denies, not for want of one that allows.
	Layer    Layer  // Where the statement is; or the layer that did not allow.
	Policy   string // The name of its policy, if it has one.
	// Statement counts from 0, and is -1 if the decision is no statement's. Sid is its name, if it has one.
	Statement int
	Sid       string
	Err       error // A value that could not be looked up; the request is refused.
}

// Decide judges a request.
func (s *Set) Decide(r *Request) Decision {
	e := begin(r)
	d := s.decide(&e)
	if e.err != nil {
		return Decision{Statement: -1, Err: e.err}
	}
	return d
}

func (s *Set) decide(e *evaluation) Decision {
	// Every layer is asked before anything is decided: a denial anywhere wins.
	allowed, boundary := Decision{Statement: -1}, Decision{Statement: -1}
	if s.Root {
		allowed = Decision{Allowed: true, Layer: RootLayer, Statement: -1}
	}
	if s.Bucket != nil {
		d := judge(e, &Named{Policy: s.Bucket}, BucketLayer)
		if d.Explicit {
			return d
		}
		if d.Allowed && !allowed.Allowed && !(s.Restricted && e.r.Principal.Kind == Anonymous) {
			allowed = d
		}
	}
	for i := range s.Identity {
		d := judge(e, &s.Identity[i], IdentityLayer)
		if d.Explicit {
			return d
		}
		if d.Allowed && !allowed.Allowed {
			allowed = d
		}
	}
	if s.Boundary != nil {
		if boundary = judge(e, s.Boundary, BoundaryLayer); boundary.Explicit {
			return boundary
		}
	}
	session := Decision{Allowed: true}
	for i := range s.Session {
		d := judge(e, &s.Session[i], SessionLayer)
		if d.Explicit {
			return d
		}
		if !d.Allowed && session.Allowed {
			session = d
		}
	}
	if s.Granted && !allowed.Allowed {
		allowed = Decision{Allowed: true, Layer: GrantLayer, Statement: -1}
	}
	switch {
	case !allowed.Allowed:
		return allowed
	case s.Boundary != nil && !boundary.Allowed:
		return boundary
	case !session.Allowed:
		return session
	}
	return allowed
}

// judge asks one policy.
func judge(e *evaluation, p *Named, layer Layer) Decision {
	effect, at := p.evaluate(e)
	d := Decision{Allowed: effect == Allows, Explicit: effect == Denies, Layer: layer, Policy: p.Name, Statement: -1}
	if effect != Neither {
		d.Statement, d.Sid = at, p.statements[at].sid
	}
	return d
}
