package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func mustParse(t testing.TB, document string, use Use) *Policy {
	t.Helper()
	p, err := Parse([]byte(document), use, "bucket")
	if err != nil {
		t.Fatalf("Parse(%s): %v", document, err)
	}
	return p
}

// TestParseErrors holds what is refused, and in whose words.
func TestParseErrors(t *testing.T) {
	const rest = `"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"`
	wrap := func(statement string) string { return `{"Version":"2012-10-17","Statement":[` + statement + `]}` }
	deep := strings.Repeat("[", 20) + strings.Repeat("]", 20)
	for _, c := range []struct {
		use      Use
		document string
		want     string
	}{
		{ForIdentity, "", "Policies must be valid JSON and the first byte must be '{'"},
		{ForIdentity, " {}", "Policies must be valid JSON and the first byte must be '{'"},
		{ForIdentity, "[]", "Policies must be valid JSON and the first byte must be '{'"},
		{ForIdentity, "{", "This policy contains invalid Json"},
		{ForIdentity, wrap("{"+rest+"}") + "x", "This policy contains invalid Json"},
		{ForIdentity, "{\"Id\":\"\xff\"}", "This policy contains invalid Json"},
		{ForIdentity, "{}", "Missing required field Statement"},
		{ForIdentity, `{"Statement":[]}`, "Could not parse the policy: Statement is empty!"},
		{ForIdentity, `{"Statement":"x"}`, "Invalid policy syntax."},
		{ForIdentity, `{"Version":"2020-01-01","Statement":[]}`, "The policy must contain a valid version string"},
		{ForIdentity, `{"Statements":[]}`, "Unknown field Statements"},
		{ForIdentity, wrap("{" + rest + `,"Extra":1}`), "Unknown field Extra"},
		{ForIdentity, wrap("{" + rest + `,"Effect":"Deny"}`), "Duplicate field Effect"},
		{ForIdentity, wrap("{" + rest + `,"NotAction":"s3:*"}`), "A statement has either Action or NotAction"},
		{ForIdentity, wrap(`{"Action":"s3:*","Resource":"*"}`), "Missing required field Effect"},
		{ForIdentity, wrap(`{"Effect":"allow","Action":"s3:*","Resource":"*"}`), "Invalid effect: allow"},
		{ForIdentity, wrap(`{"Effect":"Allow","Resource":"*"}`), "Missing required field Action"},
		{ForIdentity, wrap(`{"Effect":"Allow","Action":"s3:*"}`), "Missing required field Resource"},
		{ForIdentity, wrap(`{"Effect":"Allow","Action":"GetObject","Resource":"*"}`), "Policy has invalid action"},
		{ForIdentity, wrap(`{"Effect":"Allow","Action":[],"Resource":"*"}`), "Policy has invalid action"},
		{ForIdentity, wrap(`{"Effect":"Allow","Action":"s3:*","Resource":"bucket/*"}`), "Policy has invalid resource"},
		{ForIdentity, wrap(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username"}`), "Policy has invalid resource"},
		{ForIdentity, wrap("{" + rest + `,"Principal":"*"}`), "Policy document should not specify a principal."},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"StringIs":{"s3:prefix":"a"}}}`), "Invalid Condition type : StringIs"},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"NullIfExists":{"s3:prefix":"true"}}}`), "Invalid Condition type : NullIfExists"},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"ForAnyValue:Null":{"s3:prefix":"true"}}}`), "Invalid Condition type : ForAnyValue:Null"},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"NumericEquals":{"s3:max-keys":"${aws:username}"}}}`), `Invalid value "${aws:username}" for condition NumericEquals`},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0"}}}`), `Invalid value "10.0.0" for condition IpAddress`},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"DateEquals":{"aws:CurrentTime":"soon"}}}`), `Invalid value "soon" for condition DateEquals`},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"Bool":{"aws:SecureTransport":"yes"}}}`), `Invalid value "yes" for condition Bool`},
		{ForIdentity, wrap("{" + rest + `,"Condition":{"StringEquals":{"s3:prefix":{}}}}`), "Invalid policy syntax."},
		{ForIdentity, wrap("{" + rest + `,"Condition":[]}`), "Invalid policy syntax."},
		{ForIdentity, wrap(`{"Sid":"a",` + rest + `},{"Sid":"a",` + rest + `}`), "Statement IDs (SID) in a single policy must be unique."},
		{ForIdentity, wrap(`{"Sid":` + deep + `}`), "The policy is nested deeper than 16 levels"},
		{ForIdentity, `{"Id":"` + strings.Repeat("x", MaxLen) + `"}`, "Policy document must not exceed the maximum size of 20480 bytes"},

		{ForBucket, wrap("{" + rest + "}"), "Missing required field Principal"},
		{ForBucket, wrap(`{"Principal":"everyone",` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":{},` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":{"AWS":[]},` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":{"AWS":"arn:aws:iam::000000000000:user/*"},` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":{"AWS":"arn:aws:iam::123456789012:user/a"},` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":{"AWS":"123456789012"},` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":{"CanonicalUser":"xyz"},` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":{"Planet":"x"},` + rest + "}"), "Invalid principal in policy"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:GetObjekt","Resource":"arn:aws:s3:::bucket/*"}`), "Policy has invalid action"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"iam:GetUser","Resource":"arn:aws:s3:::bucket/*"}`), "Policy has invalid action"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"admin:Info","Resource":"arn:aws:s3:::bucket/*"}`), "Policy has invalid action"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:*","Resource":"*"}`), "Policy has invalid resource"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::*"}`), "Policy has invalid resource"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bucket2/*"}`), "Policy has invalid resource"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bucket?/*"}`), "Policy has invalid resource"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bucket${aws:username}"}`), "Policy has invalid resource"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket"}`), "Action does not apply to any resource(s) in statement"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"arn:aws:s3:::bucket/*"}`), "Action does not apply to any resource(s) in statement"},
		{ForBucket, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"arn:aws:s3:::bucket"}`), "Action does not apply to any resource(s) in statement"},
		{ForBucket, wrap(`{"Principal":"*",` + rest + `,"Condition":{"StringEquals":{"s3:nonsense":"a"}}}`), "Policy has an invalid condition key"},
		{ForBucket, wrap(`{"Principal":"*",` + rest + `,"Condition":{"StringEquals":{"s3:ExistingObjectTag":"a"}}}`), "Policy has an invalid condition key"},
		{ForBucket, wrap(`{"Principal":"*",` + rest + `,"Condition":{"StringEquals":{"X-Forwarded-For":"a"}}}`), "Policy has an invalid condition key"},

		{ForTrust, wrap(`{"Principal":"*",` + rest + "}"), "Has prohibited field Resource"},
		{ForTrust, wrap(`{"Principal":"*","Effect":"Allow","Action":"s3:GetObject"}`), "AssumeRole policy may only specify STS AssumeRole actions."},
	} {
		_, err := Parse([]byte(c.document), c.use, "bucket")
		e, _ := errors.AsType[*Error](err)
		if e == nil || e.Message != c.want {
			t.Errorf("Parse(%.200s): got %v, want %s", c.document, err, c.want)
		}
	}
}

// TestParseAccepts holds what must be taken, as Amazon takes it.
func TestParseAccepts(t *testing.T) {
	for _, c := range []struct {
		use      Use
		document string
	}{
		{ForIdentity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`},
		{ForIdentity, `{"Statement":[{"Effect":"Allow","Action":["ec2:*","s3:NotYetKnown"],"Resource":"arn:aws:sqs:us-east-1:1:q"}]}`},
		{ForIdentity, `{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"ec2:Region":"x","aws:NotYetKnown":"y"}}}]}`},
		{ForIdentity, `{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true},"NumericLessThan":{"s3:max-keys":10}}}]}`},
		{ForIdentity, `{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${"}]}`},
		{ForBucket, `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["000000000000","arn:aws:iam:::user/x"]},"Action":"s3:*","Resource":"arn:aws:s3:::bucket*"}]}`},
		{ForBucket, `{"Id":"x","Statement":[{"Sid":"any thing!","Effect":"Deny","NotPrincipal":{"AWS":"*"},"NotAction":"s3:Get*","NotResource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]}`},
		{ForBucket, `{"Statement":[{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*"}]}`},
		{ForBucket, `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}}]}`},
		{ForTrust, `{"Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::000000000000:oidc-provider/id.example.com"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"id.example.com:aud":"x"}}}]}`},
	} {
		if _, err := Parse([]byte(c.document), c.use, "bucket"); err != nil {
			t.Errorf("Parse(%s): %v", c.document, err)
		}
	}
	for _, name := range CannedNames() {
		document, _ := Canned(name)
		mustParse(t, document, ForIdentity)
	}
}

// mapValues are values by key in lower case.
type mapValues map[string][]string

func (m mapValues) Lookup(key Key, dst []Value) ([]Value, error) {
	name, tag, named := strings.Cut(key.String(), "/")
	if name = strings.ToLower(name); named {
		name += "/" + tag
	}
	for _, text := range m[name] {
		dst = append(dst, Text(text))
	}
	return dst, nil
}

// TestConditions holds the operators and the rules for missing and many values, by hand and apart from the random comparison.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		condition string
		values    mapValues
		want      bool
	}{
		{`"StringEquals":{"aws:username":"a"}`, mapValues{"aws:username": {"a"}}, true},
		{`"StringEquals":{"aws:username":["b","a"]}`, mapValues{"aws:username": {"a"}}, true},
		{`"StringEquals":{"aws:username":"a*"}`, mapValues{"aws:username": {"ab"}}, false},
		{`"StringEquals":{"aws:username":"a"}`, nil, false},
		{`"StringEquals":{"aws:username":[]}`, mapValues{"aws:username": {"a"}}, false},
		{`"StringNotEquals":{"aws:username":[]}`, mapValues{"aws:username": {"a"}}, true},
		{`"StringEqualsIfExists":{"aws:username":"a"}`, nil, true},
		{`"StringNotEquals":{"aws:username":"a"}`, nil, true},
		{`"StringNotEquals":{"aws:username":["a","b"]}`, mapValues{"aws:username": {"b"}}, false}, // None of them, not one of them not.
		{`"StringEqualsIgnoreCase":{"aws:username":"ÄB"}`, mapValues{"aws:username": {"äb"}}, true},
		{`"StringLike":{"s3:prefix":"home/*/?"}`, mapValues{"s3:prefix": {"home/a/b/c"}}, true},
		{`"StringLike":{"s3:prefix":"?"}`, mapValues{"s3:prefix": {"é"}}, true}, // A character, not a byte.
		{`"StringLike":{"s3:prefix":"?"}`, mapValues{"s3:prefix": {""}}, false},
		{`"StringEquals":{"s3:prefix":""}`, mapValues{"s3:prefix": {""}}, true}, // Given and empty is not missing.
		{`"StringLike":{"s3:prefix":"${aws:username}/*"}`, mapValues{"s3:prefix": {"bob/x"}, "aws:username": {"*"}}, false},
		{`"StringLike":{"s3:prefix":"${aws:username}/*"}`, mapValues{"s3:prefix": {"*/x"}, "aws:username": {"*"}}, true},
		{`"StringEquals":{"s3:prefix":"${aws:username, 'guest'}"}`, mapValues{"s3:prefix": {"guest"}}, true},
		{`"StringNotEquals":{"s3:prefix":"${aws:username}"}`, mapValues{"s3:prefix": {"x"}}, false}, // No value: an Allow must not widen.
		{`"NumericLessThanEquals":{"s3:max-keys":"10"}`, mapValues{"s3:max-keys": {"10"}}, true},
		{`"NumericLessThan":{"s3:max-keys":"10"}`, mapValues{"s3:max-keys": {"9.5"}}, true},
		{`"NumericEquals":{"s3:max-keys":"10"}`, mapValues{"s3:max-keys": {"ten"}}, false},
		{`"NumericNotEquals":{"s3:max-keys":"10"}`, mapValues{"s3:max-keys": {"ten"}}, true},
		{`"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`, mapValues{"aws:currenttime": {"2026-01-01T00:00:01Z"}}, true},
		{`"DateLessThan":{"aws:CurrentTime":"1767225600"}`, mapValues{"aws:currenttime": {"2026-01-01T00:00:01Z"}}, false},
		{`"DateEquals":{"aws:CurrentTime":"2026-01-01T01:00:00+01:00"}`, mapValues{"aws:currenttime": {"2026-01-01T00:00:00Z"}}, true},
		{`"Bool":{"aws:SecureTransport":"false"}`, mapValues{"aws:securetransport": {"false"}}, true},
		{`"Bool":{"aws:SecureTransport":["false","true"]}`, mapValues{"aws:securetransport": {"true"}}, true},
		{`"BinaryEquals":{"aws:UserAgent":"YQ=="}`, mapValues{"aws:useragent": {"YQ=="}}, true},
		{`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, mapValues{"aws:sourceip": {"10.200.0.1"}}, true},
		{`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, mapValues{"aws:sourceip": {"::ffff:10.200.0.1"}}, true},
		{`"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}`, mapValues{"aws:sourceip": {"2001:db8::1"}}, false},
		{`"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]}`, mapValues{"aws:sourceip": {"2001:db8::1"}}, false},
		{`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/a*"}`, mapValues{"aws:principalarn": {UserARN("ab:c")}}, true},
		{`"ArnLike":{"aws:PrincipalArn":"arn:*:user/a"}`, mapValues{"aws:principalarn": {UserARN("a")}}, false}, // A star stays in its part.
		{`"ArnNotEquals":{"aws:PrincipalArn":"` + UserARN("a") + `"}`, mapValues{"aws:principalarn": {UserARN("b")}}, true},
		{`"Null":{"s3:prefix":"true"}`, nil, true},
		{`"Null":{"s3:prefix":true}`, mapValues{"s3:prefix": {""}}, false},
		{`"Null":{"s3:prefix":"false"}`, mapValues{"s3:prefix": {"x"}}, true},
		{`"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a","b"]}`, mapValues{"s3:requestobjecttagkeys": {"a", "b", "a"}}, true},
		{`"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a","b"]}`, mapValues{"s3:requestobjecttagkeys": {"a", "c"}}, false},
		{`"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a"]}`, nil, true},
		{`"ForAllValues:StringNotEquals":{"s3:RequestObjectTagKeys":["a"]}`, mapValues{"s3:requestobjecttagkeys": {"b", "a"}}, false},
		{`"ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":["a"]}`, mapValues{"s3:requestobjecttagkeys": {"b", "a"}}, true},
		{`"ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":["a"]}`, nil, false},
		{`"ForAnyValue:StringNotEquals":{"s3:RequestObjectTagKeys":["a"]}`, mapValues{"s3:requestobjecttagkeys": {"a", "b"}}, true},
		{`"ForAnyValue:StringNotEquals":{"s3:RequestObjectTagKeys":["a"]}`, mapValues{"s3:requestobjecttagkeys": {"a"}}, false},
		{`"ForAnyValue:StringNotEquals":{"s3:RequestObjectTagKeys":["a"]}`, nil, false},
		{`"ForAnyValue:StringEqualsIfExists":{"s3:RequestObjectTagKeys":["a"]}`, nil, true},
		{`"StringEquals":{"s3:RequestObjectTagKeys":"a"}`, mapValues{"s3:requestobjecttagkeys": {"b", "a"}}, true},
		{`"StringNotEquals":{"s3:RequestObjectTagKeys":"a"}`, mapValues{"s3:requestobjecttagkeys": {"b", "a"}}, false}, // The opposite of the line above.
		{`"StringEquals":{"s3:ExistingObjectTag/team":"x","s3:prefix":"y"}`, mapValues{"s3:existingobjecttag/team": {"x"}}, false},
		{`"StringEquals":{"S3:EXISTINGOBJECTTAG/team":"x"}`, mapValues{"s3:existingobjecttag/team": {"x"}}, true},
		{`"StringEquals":{"aws:SourceArn":"x"}`, mapValues{"aws:sourcearn": {"x"}}, false}, // Nothing of that kind calls here.
		{`"StringEquals":{"sourceip":"x"}`, mapValues{"sourceip": {"x"}}, false},           // No such key, whatever the request holds.
	} {
		p := mustParse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{`+c.condition+`}}]}`, ForIdentity)
		effect, err := p.Evaluate(&Request{Action: MustAction("s3:ListBucket"), Resource: "bucket", Values: c.values})
		if err != nil || (effect == Allows) != c.want {
			t.Errorf("%s with %v: got %v, %v; want %v", c.condition, c.values, effect, err, c.want)
		}
	}
}

// TestDecide holds the order of the layers, and that a decision names its statement.
func TestDecide(t *testing.T) {
	policy := func(statement string) *Policy {
		return mustParse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"},`+statement+`]}`, ForIdentity)
	}
	bucket := func(statement string) *Policy {
		return mustParse(t, `{"Version":"2012-10-17","Statement":[`+statement+`]}`, ForBucket)
	}
	allow := policy(`{"Sid":"yes","Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::bucket/*"}`)
	deny := policy(`{"Sid":"no","Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::bucket/a"}`)
	other := policy(`{"Effect":"Allow","Action":"s3:Put*","Resource":"*"}`)
	toAll := bucket(`{"Sid":"all","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}`)
	toAlice := bucket(`{"Sid":"alice","Effect":"Allow","Principal":{"AWS":"` + UserARN("alice") + `"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}`)
	toAccount := bucket(`{"Sid":"account","Effect":"Allow","Principal":{"AWS":"` + Account + `"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}`)
	denyAccount := bucket(`{"Sid":"account","Effect":"Deny","Principal":{"AWS":"` + Account + `"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}`)
	butAlice := bucket(`{"Sid":"rest","Effect":"Deny","NotPrincipal":{"AWS":"` + UserARN("alice") + `"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}`)
	alice := Principal{Kind: User, ARN: UserARN("alice")}
	bob := Principal{Kind: User, ARN: UserARN("bob")}
	root := Principal{Kind: Root, ARN: RootARN}
	for i, c := range []struct {
		set  Set
		who  Principal
		want string
	}{
		{Set{}, alice, "false false nothing  -1 "},
		{Set{Root: true}, root, "true false root  -1 "},
		{Set{Identity: []Named{{"p", allow}}}, alice, "true false identity policy p 1 yes"},
		{Set{Identity: []Named{{"p", allow}, {"q", deny}}}, alice, "false true identity policy q 1 no"},
		{Set{Identity: []Named{{"q", deny}, {"p", allow}}}, alice, "false true identity policy q 1 no"},
		{Set{Root: true, Bucket: butAlice}, root, "false true bucket policy  0 rest"},
		{Set{Bucket: toAlice}, alice, "true false bucket policy  0 alice"},
		{Set{Bucket: toAlice}, bob, "false false nothing  -1 "},
		{Set{Bucket: toAccount}, bob, "false false nothing  -1 "},
		{Set{Bucket: denyAccount, Identity: []Named{{"p", allow}}}, bob, "false true bucket policy  0 account"},
		{Set{Bucket: butAlice, Identity: []Named{{"p", allow}}}, alice, "true false identity policy p 1 yes"},
		{Set{Bucket: toAll}, Principal{}, "true false bucket policy  0 all"},
		{Set{Bucket: toAll, Restricted: true}, Principal{}, "false false nothing  -1 "},
		{Set{Bucket: toAll, Restricted: true}, bob, "true false bucket policy  0 all"},
		{Set{Granted: true}, Principal{}, "true false access control list  -1 "},
		{Set{Identity: []Named{{"p", allow}}, Boundary: &Named{"b", other}}, alice, "false false permissions boundary b -1 "},
		{Set{Bucket: toAlice, Boundary: &Named{"b", other}}, alice, "false false permissions boundary b -1 "},
		{Set{Identity: []Named{{"p", allow}}, Boundary: &Named{"b", allow}}, alice, "true false identity policy p 1 yes"},
		{Set{Identity: []Named{{"p", allow}}, Session: []Named{{"s", allow}, {"t", other}}}, alice, "false false session policy t -1 "},
		{Set{Root: true, Session: []Named{{"s", other}}}, root, "false false session policy s -1 "}, // A session of root is not root.
		{Set{Root: true, Granted: true, Bucket: toAll, Session: []Named{{"s", deny}}}, root, "false true session policy s 1 no"},
	} {
		d := c.set.Decide(&Request{Action: MustAction("s3:GetObject"), Resource: "bucket/a", Principal: c.who})
		if got := fmt.Sprintf("%v %v %v %s %d %s", d.Allowed, d.Explicit, d.Layer, d.Policy, d.Statement, d.Sid); got != c.want {
			t.Errorf("case %d: got %q, want %q", i, got, c.want)
		}
	}
}

// TestServicesApart: naming every bucket, or every role, allows nothing that is done to something else.
func TestServicesApart(t *testing.T) {
	for _, c := range []struct {
		resource, action, to string
		want                 bool
	}{
		{"*", "s3:GetObject", "b/k", true},
		{"*", "admin:Info", "", true},
		{"*", "sts:AssumeRole", RoleARN("r"), true},
		{"arn:aws:s3:::*", "s3:GetObject", "b/k", true},
		{"arn:aws:s3:::*", "s3:ListAllMyBuckets", "", true},
		{"arn:aws:s3:::*", "admin:Info", "", false},
		{"arn:aws:s3:::*", "sts:AssumeRole", RoleARN("r"), false},
		{"arn:aws:iam::*:role/*", "sts:AssumeRole", RoleARN("r"), true},
		{"arn:aws:iam::*:role/x*", "sts:AssumeRole", RoleARN("r"), false},
		{"arn:aws:iam::*", "sts:AssumeRole", RoleARN("r"), false},
		{"arn:aws:iam::*:*", "s3:GetObject", "b/k", false},
		{"arn:aws:sqs:::*", "s3:GetObject", "b/k", false},
	} {
		p, err := Parse([]byte(`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"`+c.resource+`"}]}`), ForIdentity, "")
		if err != nil {
			if c.want {
				t.Errorf("%s: %v", c.resource, err)
			}
			continue
		}
		if effect, err := p.Evaluate(&Request{Action: MustAction(c.action), Resource: c.to}); err != nil || (effect == Allows) != c.want {
			t.Errorf("%s on %q with resource %s: got %v, %v", c.action, c.to, c.resource, effect, err)
		}
	}
}

// failingValues cannot look anything up.
type failingValues struct{}

func (failingValues) Lookup(_ Key, dst []Value) ([]Value, error) {
	return dst, errors.New("the drive is gone")
}

// TestDecideFailsClosed: a value that cannot be had refuses the request, also to root and whatever else allows it.
func TestDecideFailsClosed(t *testing.T) {
	for _, condition := range []string{`"StringNotEquals":{"s3:ExistingObjectTag/secret":"yes"}`, `"StringLike":{"s3:prefix":"${aws:username, '*'}"}`, `"Null":{"s3:ExistingObjectTag/a":"true"}`} {
		for _, effect := range []string{"Allow", "Deny"} {
			p := mustParse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"`+effect+`","Action":"s3:*","Resource":"*","Condition":{`+condition+`}}]}`, ForIdentity)
			set := Set{Root: true, Identity: []Named{{"p", p}}}
			if d := set.Decide(&Request{Action: MustAction("s3:GetObject"), Resource: "b/k", Values: failingValues{}}); d.Allowed || d.Err == nil {
				t.Errorf("%s %s: got %+v", effect, condition, d)
			}
		}
	}
}

func TestPublic(t *testing.T) {
	for condition, want := range map[string]bool{
		``: true,
		`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`:                       false,
		`"IpAddress":{"aws:SourceIp":["203.0.113.0/24","0.0.0.0/1"]}`:         true,
		`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`:                           false,
		`"IpAddress":{"aws:SourceIp":"10.0.0.0/7"}`:                           true,
		`"IpAddress":{"aws:SourceIp":"2001:db8::/31"}`:                        true,
		`"IpAddress":{"aws:SourceIp":"2001:db8::/32"}`:                        false,
		`"IpAddressIfExists":{"aws:SourceIp":"203.0.113.0/24"}`:               true,
		`"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`:                    true,
		`"StringEquals":{"aws:PrincipalOrgID":"o-1"}`:                         false,
		`"StringEquals":{"aws:SourceVpc":"vpc-1"}`:                            false,
		`"StringLike":{"aws:SourceVpc":"vpc-*"}`:                              true,
		`"StringNotEquals":{"aws:SourceVpc":"vpc-1"}`:                         true,
		`"ForAllValues:StringEquals":{"aws:PrincipalOrgPaths":"o-1"}`:         true,
		`"StringEquals":{"aws:userid":"AROLEID:*"}`:                           true,
		`"StringEquals":{"aws:userid":"AIDA1"}`:                               false,
		`"StringEquals":{"aws:Referer":"https://example.com/"}`:               true, // Anybody can send that.
		`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::000000000000:user/a"}`: false,
	} {
		p := mustParse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*","Condition":{`+condition+`}}]}`, ForBucket)
		if p.Public() != want {
			t.Errorf("with condition %s: public is %v", condition, !want)
		}
	}
	for statement, want := range map[string]bool{
		`"Effect":"Deny","Principal":"*"`:                             false,
		`"Effect":"Allow","Principal":{"AWS":"000000000000"}`:         false,
		`"Effect":"Allow","NotPrincipal":{"AWS":"000000000000"}`:      true,
		`"Effect":"Allow","Principal":{"AWS":["000000000000","*"]}`:   true,
		`"Effect":"Allow","Principal":{"Service":"logs.example.com"}`: false,
	} {
		p := mustParse(t, `{"Statement":[{`+statement+`,"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}`, ForBucket)
		if p.Public() != want {
			t.Errorf("%s: public is %v", statement, !want)
		}
	}
}

// TestWildcardsAreLinear: a thousand stars do not take long. Matched the naive way this would not end.
func TestWildcardsAreLinear(t *testing.T) {
	text := strings.Repeat("a", 1024)
	for _, p := range []string{strings.Repeat("*a", 1000) + "b", strings.Repeat("a*", 1000) + "b", strings.Repeat("*?", 600) + "b", strings.Repeat("*", 1000) + "b",
		"*" + strings.Repeat("?", 512) + "b", strings.Repeat("*aa", 500) + "b"} {
		compiled := wildcards(p)
		start := time.Now()
		if compiled.match(nil, text) != matchNo {
			t.Errorf("%.20s… matches", p)
		}
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("%.20s… took %v", p, d)
		}
	}
}

// TestActionTable: every action is found by its name, in any case, and wildcards find it too.
func TestActionTable(t *testing.T) {
	for _, a := range Actions() {
		name := a.String()
		if got, ok := ActionOf(strings.ToUpper(name)); !ok || got != a {
			t.Errorf("ActionOf(%s) = %v, %v", name, got, ok)
		}
		var s actionSet
		s.addPattern("*")
		if !s.has(a) {
			t.Errorf("* does not hold %s", name)
		}
		s.invert()
		if !s.empty() {
			t.Errorf("not everything is not nothing")
		}
	}
	if _, ok := ActionOf("none"); ok || None.String() != "none" {
		t.Error("None is an action")
	}
}
