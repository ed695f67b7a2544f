package policytest

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"penstock/fastapi/policy"
)

// Request is a request as the specification sees it: text alone.
type Request struct {
	Action    string
	Resource  string // The whole ARN.
	Principal policy.Principal
	Context   map[string][]string // By key in lower case; tags keep the case of their name.
}

// Policies are the policies that bear on it.
type Policies struct {
	Root       bool
	Granted    bool
	Restricted bool
	Identity   []string
	Bucket     string
	Boundary   string
	Session    []string
}

// Decide says whether a request is allowed.
func Decide(p Policies, r Request) bool {
	denied := false
	allows := func(document string) bool {
		allow, deny := evaluate(document, r)
		denied = denied || deny
		return allow
	}
	union := p.Root || p.Granted
	for _, document := range p.Identity {
		union = allows(document) || union
	}
	if p.Bucket != "" {
		ok := allows(p.Bucket)
		if p.Restricted && r.Principal.Kind == policy.Anonymous {
			ok = false
		}
		union = ok || union
	}
	within := true
	if p.Boundary != "" {
		within = allows(p.Boundary)
	}
	for _, document := range p.Session {
		within = allows(document) && within
	}
	return union && within && !denied
}

func evaluate(document string, r Request) (allow, deny bool) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		panic(err)
	}
	variables := doc["Version"] == "2012-10-17"
	for _, s := range list(doc["Statement"]) {
		statement := s.(map[string]any)
		isAllow := statement["Effect"] == "Allow"
		if !applies(statement, r, variables, isAllow) {
			continue
		}
		if isAllow {
			allow = true
		} else {
			deny = true
		}
	}
	return allow, deny
}

func list(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

func applies(s map[string]any, r Request, variables, allow bool) bool {
	if v, ok := s["Action"]; ok && !actions(v, r.Action) {
		return false
	}
	if v, ok := s["NotAction"]; ok && actions(v, r.Action) {
		return false
	}
	if v, ok := s["Principal"]; ok {
		direct, account := principals(v, r.Principal)
		if !direct && !(account && !allow) {
			return false
		}
	}
	if v, ok := s["NotPrincipal"]; ok {
		direct, account := principals(v, r.Principal)
		if direct || account && allow {
			return false
		}
	}
	if v, ok := s["Resource"]; ok {
		if matched, _ := resources(v, r, variables); !matched {
			return false
		}
	}
	if v, ok := s["NotResource"]; ok {
		matched, unknown := resources(v, r, variables)
		if matched || unknown && allow {
			return false
		}
	}
	if v, ok := s["Condition"]; ok {
		for operator, block := range v.(map[string]any) {
			for key, values := range block.(map[string]any) {
				if !condition(operator, key, list(values), r, variables, allow) {
					return false
				}
			}
		}
	}
	return true
}

func actions(v any, action string) bool {
	for _, one := range list(v) {
		if glob(strings.ToLower(one.(string)), true).MatchString(strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// glob makes a regular expression of a pattern.
func glob(pattern string, wildcards bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s)^")
	for _, c := range pattern {
		switch {
		case wildcards && c == '*':
			b.WriteString(".*")
		case wildcards && c == '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString("$")
	return compile(b.String())
}

// compile remembers what it compiled, the one thing here that is for speed.
func compile(expression string) *regexp.Regexp {
	re, ok := expressions.Load(expression)
	if !ok {
		re, _ = expressions.LoadOrStore(expression, regexp.MustCompile(expression))
	}
	return re.(*regexp.Regexp)
}

var expressions sync.Map

func principals(v any, who policy.Principal) (direct, account bool) {
	if v == "*" {
		return true, false
	}
	for kind, values := range v.(map[string]any) {
		for _, value := range list(values) {
			switch text := value.(string); {
			case kind == "AWS" && text == "*":
				direct = true
			case kind == "AWS" && (text == policy.Account || text == "arn:aws:iam::"+policy.Account+":root"):
				switch who.Kind {
				case policy.Root:
					direct = true
				case policy.User, policy.Session:
					account = true
				}
			case kind == "AWS":
				direct = direct || text == who.ARN || text == who.Role
			case kind == "CanonicalUser":
				direct = direct || text == who.CanonicalID
			case kind == "Federated":
				direct = direct || text == who.Provider
			}
		}
	}
	return direct, account
}

func resources(v any, r Request, variables bool) (matched, unknown bool) {
	for _, one := range list(v) {
		re, ok := pattern(one.(string), true, variables, r)
		if !ok {
			unknown = true
		} else if re.MatchString(r.Resource) {
			matched = true
		}
	}
	return matched, unknown
}

var variable = regexp.MustCompile(`\$\{([^},]*)(?:,\s*'([^']*)')?\}`)

// pattern makes a regular expression of a pattern with variables; ok is false if one has no value.
func pattern(pattern string, wildcards, variables bool, r Request) (re *regexp.Regexp, ok bool) {
	var b strings.Builder
	b.WriteString("(?s)^")
	plain := func(s string) {
		re := glob(s, wildcards).String()
		b.WriteString(re[len("(?s)^") : len(re)-1])
	}
	for variables {
		at := variable.FindStringSubmatchIndex(pattern)
		if at == nil {
			break
		}
		plain(pattern[:at[0]])
		name := pattern[at[2]:at[3]]
		values := r.Context[contextKey(name)]
		switch {
		case name == "*" || name == "?" || name == "$":
			b.WriteString(regexp.QuoteMeta(name))
		case len(values) == 1 && !multi[contextKey(name)]:
			b.WriteString(regexp.QuoteMeta(values[0]))
		case at[4] >= 0:
			b.WriteString(regexp.QuoteMeta(pattern[at[4]:at[5]]))
		default:
			return nil, false
		}
		pattern = pattern[at[1]:]
	}
	plain(pattern)
	b.WriteString("$")
	return compile(b.String()), true
}

var multi = map[string]bool{"s3:requestobjecttagkeys": true, "aws:tagkeys": true}

func contextKey(name string) string {
	before, tag, found := strings.Cut(name, "/")
	if found {
		return strings.ToLower(before) + "/" + tag
	}
	return strings.ToLower(before)
}

func condition(operator, key string, want []any, r Request, variables, allow bool) bool {
	have := r.Context[contextKey(key)]
	if operator == "Null" {
		absent := len(have) == 0
		return slices.ContainsFunc(want, func(w any) bool { return text(w) == strconv.FormatBool(absent) })
	}
	operator, isAll := strings.CutPrefix(operator, "ForAllValues:")
	operator, isAny := strings.CutPrefix(operator, "ForAnyValue:")
	operator, ifExists := strings.CutSuffix(operator, "IfExists")
	base := strings.Replace(operator, "Not", "", 1)
	negated := base != operator
	if operator == "NotIpAddress" {
		base = "IpAddress"
	}
	if len(have) == 0 {
		return ifExists || isAll || negated && !isAny
	}
	// one is the plain operator on one value of the request.
	one := func(value string) bool {
		unknown := false
		for _, w := range want {
			matched, ok := match(base, value, text(w), r, variables)
			if matched {
				return true
			}
			unknown = unknown || !ok
		}
		return unknown && negated && allow
	}
	holds := func(value string) bool { return one(value) != negated }
	switch {
	case isAll:
		return !slices.ContainsFunc(have, func(v string) bool { return !holds(v) })
	case isAny:
		return slices.ContainsFunc(have, holds)
	}
	return slices.ContainsFunc(have, one) != negated
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	}
	text, _ := json.Marshal(v)
	return string(text)
}

// match compares one value of the request with one of the policy. ok is false if a variable has no value.
func match(base, have, want string, r Request, variables bool) (matched, ok bool) {
	switch base {
	case "StringEquals":
		re, ok := pattern(want, false, variables, r)
		return ok && re.MatchString(have), ok
	case "StringLike":
		re, ok := pattern(want, true, variables, r)
		return ok && re.MatchString(have), ok
	case "StringEqualsIgnoreCase":
		re, ok := pattern(want, false, variables, r)
		return ok && compile("(?i)"+re.String()).MatchString(have), ok
	case "ArnEquals", "ArnLike":
		// Six parts, each compared by itself; the last may hold colons.
		if _, ok := pattern(want, true, variables, r); !ok {
			return false, false
		}
		w, h := strings.SplitN(want, ":", 6), strings.SplitN(have, ":", 6)
		if len(w) != len(h) {
			return false, true
		}
		for i := range w {
			if re, _ := pattern(w[i], true, variables, r); !re.MatchString(h[i]) {
				return false, true
			}
		}
		return true, true
	case "Bool":
		return strings.EqualFold(have, want), true
	case "BinaryEquals":
		h, err := base64.StdEncoding.DecodeString(have)
		w, _ := base64.StdEncoding.DecodeString(want)
		return err == nil && string(h) == string(w), true
	case "IpAddress":
		network, err := netip.ParsePrefix(want)
		if err != nil {
			addr := netip.MustParseAddr(want)
			network = netip.PrefixFrom(addr, addr.BitLen())
		}
		addr, err := netip.ParseAddr(have)
		return err == nil && network.Contains(addr), true
	}
	kind, comparison, _ := strings.Cut(base, "ic")
	compare := func(c int) bool {
		switch comparison {
		case "Equals":
			return c == 0
		case "LessThan":
			return c < 0
		case "LessThanEquals":
			return c <= 0
		case "GreaterThan":
			return c > 0
		}
		return c >= 0
	}
	if kind == "Numer" {
		h, err := strconv.ParseFloat(have, 64)
		w, _ := strconv.ParseFloat(want, 64)
		return err == nil && compare(cmpFloat(h, w)), true
	}
	comparison = strings.TrimPrefix(base, "Date")
	h, hok := date(have)
	w, _ := date(want)
	return hok && compare(h.Compare(w)), true
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func date(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) != 4 {
		return time.Unix(n, 0), true
	}
	for _, format := range []string{time.RFC3339, "2006-01-02", "2006"} {
		if t, err := time.Parse(format, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
