package policy

import (
	"encoding/base64"
	"net/netip"
	"strings"
)

// operator is how a condition compares.
type operator uint8

const (
	opString operator = iota
	opStringFold
	opStringLike
	opNumberEqual
	opNumberLess
	opNumberLessEqual
	opNumberGreater
	opNumberGreaterEqual
	opDateEqual
	opDateLess
	opDateLessEqual
	opDateGreater
	opDateGreaterEqual
	opBool
	opBinary
	opAddr
	opARN
	opNull
)

// operators are the names of conditions. A negated one is the opposite of the operator beside it.
var operators = map[string]struct {
	op      operator
	negated bool
}{
	"StringEquals":              {opString, false},
	"StringNotEquals":           {opString, true},
	"StringEqualsIgnoreCase":    {opStringFold, false},
	"StringNotEqualsIgnoreCase": {opStringFold, true},
	"StringLike":                {opStringLike, false},
	"StringNotLike":             {opStringLike, true},
	"NumericEquals":             {opNumberEqual, false},
	"NumericNotEquals":          {opNumberEqual, true},
	"NumericLessThan":           {opNumberLess, false},
	"NumericLessThanEquals":     {opNumberLessEqual, false},
	"NumericGreaterThan":        {opNumberGreater, false},
	"NumericGreaterThanEquals":  {opNumberGreaterEqual, false},
	"DateEquals":                {opDateEqual, false},
	"DateNotEquals":             {opDateEqual, true},
	"DateLessThan":              {opDateLess, false},
	"DateLessThanEquals":        {opDateLessEqual, false},
	"DateGreaterThan":           {opDateGreater, false},
	"DateGreaterThanEquals":     {opDateGreaterEqual, false},
	"Bool":                      {opBool, false},
	"BinaryEquals":              {opBinary, false},
	"IpAddress":                 {opAddr, false},
	"NotIpAddress":              {opAddr, true},
	"ArnEquals":                 {opARN, false}, // As documented, the same as ArnLike.
	"ArnNotEquals":              {opARN, true},
	"ArnLike":                   {opARN, false},
	"ArnNotLike":                {opARN, true},
	"Null":                      {opNull, false},
}

// quantifier says how a condition treats several values of a request.
type quantifier uint8

const (
	plain quantifier = iota
	forAll
	forAny
)

// condition is one key of one operator: all that a statement lists must hold.
type condition struct {
	name     string // Of the operator, as written.
	op       operator
	negated  bool
	ifExists bool
	quantity quantifier
	key      Key
	// restricting says that the key is one that a stranger cannot choose the value of.
	restricting bool

	// The values that the policy lists, in the form that the operator needs.
	patterns []pattern
	numbers  []float64
	dates    []int64
	networks []netip.Prefix
	blobs    []string
	truths   [2]bool // Whether false is listed, and true.
}

// parseOperator reads an operator's name with what may stand before and after it.
func parseOperator(name string) (c condition, ok bool) {
	c.name = name
	base := name
	if rest, found := strings.CutPrefix(base, "ForAllValues:"); found {
		base, c.quantity = rest, forAll
	} else if rest, found := strings.CutPrefix(base, "ForAnyValue:"); found {
		base, c.quantity = rest, forAny
	}
	base, c.ifExists = strings.CutSuffix(base, "IfExists")
	o, ok := operators[base]
	if !ok || o.op == opNull && (c.ifExists || c.quantity != plain) {
		return c, false
	}
	c.op, c.negated = o.op, o.negated
	return c, true
}

// addValues reads the values that the policy lists. Variables work in texts and ARNs alone.
func (c *condition) addValues(values []string, variables bool) error {
	for _, v := range values {
		if !c.addValue(v, variables) {
			return malformed("Invalid value %q for condition %s", v, c.name)
		}
	}
	return nil
}

func (c *condition) addValue(v string, variables bool) (ok bool) {
	switch c.op {
	case opString, opStringFold, opStringLike, opARN:
		var p pattern
		p, ok = compilePattern(v, patternSyntax{wildcards: c.op == opStringLike || c.op == opARN, variables: variables, arn: c.op == opARN})
		c.patterns = append(c.patterns, p)
	case opNumberEqual, opNumberLess, opNumberLessEqual, opNumberGreater, opNumberGreaterEqual:
		var n float64
		n, ok = parseNumber(v)
		c.numbers = append(c.numbers, n)
	case opDateEqual, opDateLess, opDateLessEqual, opDateGreater, opDateGreaterEqual:
		var n int64
		n, ok = parseDate(v)
		c.dates = append(c.dates, n)
	case opBool, opNull:
		var truth bool
		truth, ok = parseBool(v)
		c.truths[index(truth)] = ok
	case opBinary:
		var blob string
		blob, ok = parseBlob(v)
		c.blobs = append(c.blobs, blob)
	case opAddr:
		var p netip.Prefix
		p, ok = parseNetwork(v)
		c.networks = append(c.networks, p)
	}
	return ok
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

func parseBlob(s string) (string, bool) {
	raw, err := base64.StdEncoding.DecodeString(s)
	return string(raw), err == nil
}

// holds decides a condition for a request. allow says that the statement allows: there a variable without a value must not make
// a negated condition true.
func (c *condition) holds(e *evaluation, allow bool) bool {
	values := e.lookup(c.key)
	if c.op == opNull {
		return c.truths[index(len(values) == 0)]
	}
	if len(values) == 0 {
		switch {
		case c.ifExists, c.quantity == forAll:
			return true
		case c.quantity == forAny:
			return false
		}
		return c.negated
	}
	for i := range values {
		m := c.match(e, &values[i])
		if m == matchUnknown {
			m = yes(c.negated && allow)
		}
		holds := (m == matchYes) != c.negated
		switch {
		case c.quantity == forAll && !holds:
			return false
		case c.quantity == forAny && holds:
			return true
		case c.quantity == plain && m == matchYes:
			return !c.negated
		}
	}
	switch c.quantity {
	case forAll:
		return true
	case forAny:
		return false
	}
	return c.negated
}

// match compares one value of the request with all that the policy lists: one that matches is enough.
func (c *condition) match(e *evaluation, v *Value) match {
	switch c.op {
	case opString, opStringFold, opStringLike, opARN:
		return c.matchText(e, v)
	case opBool:
		truth, ok := parseBool(v.String())
		return yes(ok && c.truths[index(truth)])
	case opBinary:
		blob, ok := parseBlob(v.String())
		for _, want := range c.blobs {
			if ok && blob == want {
				return matchYes
			}
		}
		return matchNo
	case opAddr:
		addr, ok := v.address()
		for _, network := range c.networks {
			if ok && network.Contains(addr) {
				return matchYes
			}
		}
		return matchNo
	}
	return yes(c.matchOrdered(v))
}

func (c *condition) matchText(e *evaluation, v *Value) match {
	text := v.text
	if v.kind != textValue {
		text = v.String()
	}
	result := matchNo
	for i := range c.patterns {
		var m match
		if c.op == opStringFold {
			m = c.patterns[i].matchFold(e, text)
		} else {
			m = c.patterns[i].match(e, text)
		}
		if m == matchYes {
			return matchYes
		}
		if m == matchUnknown {
			result = matchUnknown
		}
	}
	return result
}

// matchOrdered compares numbers and dates.
func (c *condition) matchOrdered(v *Value) bool {
	if c.op >= opDateEqual {
		t, ok := v.time()
		for _, want := range c.dates {
			if ok && ordered(c.op-opDateEqual, t, want) {
				return true
			}
		}
		return false
	}
	n, ok := v.number()
	for _, want := range c.numbers {
		if ok && ordered(c.op-opNumberEqual, n, want) {
			return true
		}
	}
	return false
}

// ordered compares by the distance of an operator from the one for equality.
func ordered[T int64 | float64](by operator, a, b T) bool {
	switch by {
	case opNumberLess - opNumberEqual:
		return a < b
	case opNumberLessEqual - opNumberEqual:
		return a <= b
	case opNumberGreater - opNumberEqual:
		return a > b
	case opNumberGreaterEqual - opNumberEqual:
		return a >= b
	}
	return a == b
}
