package policytest

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock/fastapi/policy"
)

// Values gives a request of the reference to the package, in the kinds that the server gives.
type Values map[string][]string

func (m Values) Lookup(key policy.Key, dst []policy.Value) ([]policy.Value, error) {
	name, tag, named := strings.Cut(key.String(), "/")
	name = strings.ToLower(name)
	if named {
		name += "/" + tag
	}
	for _, text := range m[name] {
		v := policy.Text(text)
		switch key.ID {
		case policy.KeySourceIP:
			v = policy.Addr(netip.MustParseAddr(text))
		case policy.KeyCurrentTime:
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, err
			}
			v = policy.Time(t)
		case policy.KeyMaxKeys:
			if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
				v = policy.Int(n)
			}
		}
		dst = append(dst, v)
	}
	return dst, nil
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

func some[T any](rng *rand.Rand, from ...T) any {
	if rng.IntN(2) == 0 {
		return pick(rng, from...)
	}
	list := []T{}
	for range rng.IntN(3) + 1 {
		list = append(list, pick(rng, from...))
	}
	return list
}

var (
	randomActions  = []string{"s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:GetObjectVersion", "s3:DeleteObject", "s3:ListAllMyBuckets"}
	randomPatterns = []string{"s3:GetObject", "s3:Get*", "s3:*", "*", "s3:PutObject", "S3:getobject", "s3:?etObject", "s3:List*", "s3:*Object", "s3:DeleteObject", "iam:GetUser"}
	randomKeys     = []string{"a", "a/b", "home/alice/x", "home/bob/y", "home/*/z", "é/1", "x?y", "a:b:c:d:e:f:g"}
	Users          = []policy.Principal{
		{Kind: policy.Anonymous},
		{Kind: policy.Root, ARN: policy.RootARN, CanonicalID: strings.Repeat("0", 64)},
		{Kind: policy.User, ARN: policy.UserARN("alice"), CanonicalID: strings.Repeat("a", 64)},
		{Kind: policy.User, ARN: policy.UserARN("*"), CanonicalID: strings.Repeat("b", 64)},
		{Kind: policy.Session, ARN: policy.SessionARN("loader", "s1"), Role: policy.RoleARN("loader")},
	}
	randomTexts = []string{"", "a", "alice", "home/", "home/alice/", "A", "home/*/", "true", "x?y", "é"}
	randomLikes = []string{"", "*", "a*", "?", "*/*", "home/${aws:username}/*", "${aws:username}", "${s3:prefix, 'a'}", "${*}", "x${?}y", "h*e/?*", "${aws:PrincipalTag/team}", "a${$}"}
	randomARNs  = []string{policy.RootARN, policy.UserARN("alice"), "arn:aws:iam::*:user/*", "arn:aws:*::" + policy.Account + ":*", "*:*:*:*:*:*", "arn:aws:iam::" + policy.Account + ":user/${aws:username}", "*", "arn:aws:sts::*:assumed-role/loader/*"}
	randomNets  = []string{"10.0.0.0/8", "10.1.2.3", "192.168.0.0/16", "2001:db8::/32", "0.0.0.0/0", "::/0"}
	randomAddrs = []string{"10.1.2.3", "10.1.2.4", "192.168.7.7", "2001:db8::1", "8.8.8.8"}
	randomDates = []string{"2026-01-01T00:00:00Z", "2026-06-01T12:30:00Z", "2026-06-01T14:30:00+02:00", "1780000000", "2027", "2026-06-01"}
	randomNums  = []string{"0", "1", "10", "1000", "1.5", "-1", "007"}
	randomTags  = []string{"team", "stage", "Team"}
)

func randomResource(rng *rand.Rand, bucket string) string {
	return pick(rng, "*", "arn:aws:s3:::*", "arn:aws:s3:::"+bucket, "arn:aws:s3:::"+bucket+"/*", "arn:aws:s3:::"+bucket+"/a", "arn:aws:s3:::"+bucket+"/home/${aws:username}/*",
		"arn:aws:s3:::other/*", "arn:*:s3:::"+bucket+"/?", "arn:aws:s3:::"+bucket+"/a*/*b", "arn:aws:s3:::"+bucket+"*", "arn:aws:s3:::"+bucket+"/${aws:PrincipalTag/team}/*",
		"arn:aws:s3:::"+bucket+"/home/${*}/*", "arn:aws:sqs:us-east-1:1:queue", "arn:aws:s3:::"+bucket+"/*:*")
}

func randomPrincipal(rng *rand.Rand) any {
	if rng.IntN(3) == 0 {
		return "*"
	}
	return map[string]any{
		pick(rng, "AWS", "AWS", "AWS", "CanonicalUser"): nil,
	}
}

func fillPrincipal(rng *rand.Rand, v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for kind := range m {
		if kind == "AWS" {
			m[kind] = some(rng, "*", policy.Account, policy.RootARN, policy.UserARN("alice"), policy.UserARN("carol"), policy.RoleARN("loader"), policy.SessionARN("loader", "s1"), policy.SessionARN("loader", "s2"))
		} else {
			m[kind] = some(rng, strings.Repeat("0", 64), strings.Repeat("a", 64), strings.Repeat("f", 64))
		}
	}
	return m
}

// operators are the names of conditions, without what may stand before and after.
var operators = []string{
	"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike",
	"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals",
	"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals",
	"Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike", "Null",
}

func randomCondition(rng *rand.Rand) (operator, key string, values any) {
	base := pick(rng, operators...)
	text := pick(rng, "s3:prefix", "aws:username", "S3:Delimiter", "aws:UserAgent", "s3:RequestObjectTagKeys", "aws:TagKeys", "s3:ExistingObjectTag/team", "s3:RequestObjectTag/stage", "aws:PrincipalTag/team")
	switch {
	case base == "Null":
		key, values = text, some(rng, "true", "false")
	case base == "Bool":
		key, values = pick(rng, "aws:SecureTransport", text), any(rng.IntN(2) == 0)
	case base == "BinaryEquals":
		key, values = text, some(rng, "YQ==", "aG9tZS8=", "")
	case strings.HasSuffix(base, "IpAddress"):
		key, values = pick(rng, "aws:SourceIp", "aws:sourceip"), some(rng, randomNets...)
	case strings.HasPrefix(base, "Numeric"):
		key, values = pick(rng, "s3:max-keys", "s3:signatureAge", text), some(rng, randomNums...)
	case strings.HasPrefix(base, "Date"):
		key, values = pick(rng, "aws:CurrentTime", "s3:object-lock-retain-until-date"), some(rng, randomDates...)
	case strings.HasPrefix(base, "Arn"):
		key, values = pick(rng, "aws:PrincipalArn", "aws:SourceArn"), some(rng, randomARNs...)
	default:
		key, values = text, some(rng, append(slices.Clone(randomTexts), randomLikes...)...)
	}
	if base != "Null" {
		base = pick(rng, "", "", "", "ForAllValues:", "ForAnyValue:") + base + pick(rng, "", "", "IfExists")
	}
	return base, key, values
}

// RandomPolicy returns a document, which Parse may refuse.
func RandomPolicy(rng *rand.Rand, use policy.Use, bucket string) string {
	var statements []any
	for range rng.IntN(4) + 1 {
		s := map[string]any{"Effect": pick(rng, "Allow", "Allow", "Allow", "Deny")}
		s[pick(rng, "Action", "Action", "Action", "NotAction")] = some(rng, randomPatterns...)
		s[pick(rng, "Resource", "Resource", "Resource", "NotResource")] = func() any {
			list := []string{}
			for range rng.IntN(2) + 1 {
				list = append(list, randomResource(rng, bucket))
			}
			return list
		}()
		if use == policy.ForBucket {
			s[pick(rng, "Principal", "Principal", "NotPrincipal")] = fillPrincipal(rng, randomPrincipal(rng))
		}
		for range rng.IntN(3) {
			operator, key, values := randomCondition(rng)
			conditions, _ := s["Condition"].(map[string]any)
			if conditions == nil {
				conditions = map[string]any{}
				s["Condition"] = conditions
			}
			conditions[operator] = map[string]any{key: values}
		}
		statements = append(statements, s)
	}
	doc := map[string]any{"Statement": statements}
	if v := pick(rng, "2012-10-17", "2012-10-17", "2008-10-17", ""); v != "" {
		doc["Version"] = v
	}
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func RandomRequest(rng *rand.Rand, bucket string) Request {
	r := Request{Action: pick(rng, randomActions...), Principal: pick(rng, Users...), Context: map[string][]string{}}
	switch policy.MustAction(r.Action).Level() {
	case policy.OnService:
		r.Resource = policy.ResourcePrefix
	case policy.OnBucket:
		r.Resource = policy.ResourcePrefix + bucket
	default:
		r.Resource = policy.ResourcePrefix + bucket + "/" + pick(rng, randomKeys...)
	}
	set := func(key string, values ...string) {
		if rng.IntN(3) > 0 {
			r.Context[key] = values
		}
	}
	list := func(from []string) (values []string) {
		for range rng.IntN(3) + 1 {
			values = append(values, pick(rng, from...))
		}
		return values
	}
	set("s3:prefix", pick(rng, randomTexts...))
	set("s3:delimiter", pick(rng, "/", ""))
	set("aws:useragent", pick(rng, randomTexts...))
	set("aws:securetransport", pick(rng, "true", "false"))
	set("aws:sourceip", pick(rng, randomAddrs...))
	set("aws:currenttime", pick(rng, "2026-06-01T12:30:00Z", "2025-01-01T00:00:00Z", "2028-01-01T00:00:00Z"))
	set("s3:max-keys", pick(rng, append([]string{"x"}, randomNums...)...))
	set("s3:signatureage", pick(rng, randomNums...))
	set("s3:object-lock-retain-until-date", pick(rng, "2026-06-01T12:30:00Z", "never", "2026-06-01"))
	set("s3:requestobjecttagkeys", list(randomTags)...)
	set("aws:tagkeys", list(randomTags)...)
	for _, tag := range randomTags {
		set("s3:existingobjecttag/"+tag, pick(rng, randomTexts...))
		set("s3:requestobjecttag/"+tag, pick(rng, randomTexts...))
		set("aws:principaltag/"+tag, pick(rng, randomTexts...))
	}
	if r.Principal.Kind == policy.User {
		r.Context["aws:username"] = []string{strings.TrimPrefix(r.Principal.ARN, policy.UserARN(""))}
	}
	if r.Principal.Kind != policy.Anonymous {
		r.Context["aws:principalarn"] = []string{r.Principal.ARN}
	}
	return r
}
