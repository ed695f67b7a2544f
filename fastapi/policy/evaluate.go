package policy

// Request is what policies judge: somebody does something to something. A caller may keep one and use it again; it holds memory for
// the evaluation.
type Request struct {
	Action    Action
	Resource  string // "bucket/key", "bucket", or "" for the service; the whole ARN of a role.
	Principal Principal
	Values    Values // nil has no value for any key.

	values []Value // Of one key; reused.
}

// Forget drops what a request refers to, and keeps its memory for the next one.
func (r *Request) Forget() {
	values := r.values[:cap(r.values)]
	clear(values)
	*r = Request{values: values[:0]}
}

// Values tells what a request has under condition keys.
type Values interface {
	// Lookup appends the values of a key to dst; nothing appended means that the request has no such key. Only what a policy
	// asks for is looked up. An error ends the evaluation, and what it was for is refused.
	Lookup(key Key, dst []Value) ([]Value, error)
}

// Effect is what a policy says of a request.
type Effect uint8

const (
	Neither Effect = iota
	Allows
	Denies
)

func (e Effect) String() string { return [...]string{"neither", "allows", "denies"}[e] }

// evaluation is one pass over policies for one request.
type evaluation struct {
	r   *Request
	err error // The first failure to look something up.

	// The variable that was expanded last: a policy that has any mostly has one, in many places.
	variable Key
	text     string
	has      bool
}

// begin prepares to evaluate policies for a request.
func begin(r *Request) evaluation {
	if r.values == nil {
		r.values = make([]Value, 0, 16)
	}
	return evaluation{r: r}
}

// lookup returns the values of a key. They stand until the next one is looked up.
func (e *evaluation) lookup(key Key) []Value {
	if e.r.Values == nil || key.ID == KeyUnknown {
		return nil
	}
	values, err := e.r.Values.Lookup(key, e.r.values[:0])
	e.fail(err)
	e.r.values = values
	return values
}

func (e *evaluation) fail(err error) {
	if err != nil && e.err == nil {
		e.err = err
	}
}

// expand returns the text that stands for a variable.
func (e *evaluation) expand(v *piece) (string, bool) {
	if v.key.ID == KeyUnknown || e.r.Values == nil {
		return v.text, v.fallback
	}
	if e.variable != v.key {
		// The values of the condition that is being judged stay where they are; those of a variable go behind them.
		values, err := e.r.Values.Lookup(v.key, e.r.values[len(e.r.values):])
		e.fail(err)
		e.variable, e.text, e.has = v.key, "", len(values) == 1
		if e.has {
			e.text = values[0].String()
		}
	}
	if !e.has {
		return v.text, v.fallback
	}
	return e.text, true
}

// evaluate returns what a policy says, and by which statement: the first that denies, or else the first that allows.
func (p *Policy) evaluate(e *evaluation) (effect Effect, at int) {
	for i := range p.statements {
		s := &p.statements[i]
		if effect == Allows && !s.deny || !s.applies(e) {
			continue
		}
		if s.deny {
			return Denies, i
		}
		effect, at = Allows, i
	}
	return effect, at
}

// applies reports whether a statement speaks of the request.
func (s *statement) applies(e *evaluation) bool {
	if !s.actions.has(e.r.Action) {
		return false
	}
	if s.who != nil && !s.namesPrincipal(&e.r.Principal) {
		return false
	}
	if !s.anyResource && !s.namesResource(e) {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(e, !s.deny) {
			return false
		}
	}
	return true
}

// namesPrincipal reports whether a statement is about a principal. Naming the account denies everybody of it, and allows
// its root alone: to the others it leaves the decision to their own policies.
func (s *statement) namesPrincipal(who *Principal) bool {
	named := s.who.names(who)
	switch {
	case s.notWho && s.deny:
		return named != namedDirectly
	case s.notWho:
		return named == notNamed
	case s.deny:
		return named != notNamed
	}
	return named == namedDirectly
}

func (s *statement) namesResource(e *evaluation) bool {
	result := matchNo
	of := actions[e.r.Action].service
	for i := range s.resources {
		if s.resources[i].service != of && s.resources[i].service != anyService {
			continue
		}
		m := s.resources[i].match(e, e.r.Resource)
		if m == matchYes {
			result = m
			break
		}
		if m == matchUnknown {
			result = m
		}
	}
	if !s.notResource {
		return result == matchYes
	}
	return result == matchNo || result == matchUnknown && s.deny
}

// Evaluate returns what this one policy says of a request.
func (p *Policy) Evaluate(r *Request) (Effect, error) {
	e := begin(r)
	effect, _ := p.evaluate(&e)
	return effect, e.err
}
