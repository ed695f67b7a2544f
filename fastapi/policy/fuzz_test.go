package policy

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: a document is a policy that can be asked anything, or an *Error. What is a policy is JSON to others too.
func FuzzParse(f *testing.F) {
	f.Add([]byte(twentyStatements()), uint8(0))
	f.Add([]byte(`{"Statement":[{"Effect":"Deny","NotPrincipal":{"AWS":"*"},"NotAction":"s3:Get*","NotResource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"],"Condition":{"ForAnyValue:StringNotLikeIfExists":{"s3:RequestObjectTagKeys":["${aws:username, 'x'}*",""]}}}]}`), uint8(1))
	f.Add([]byte(`{"Statement":[{"Effect":"Allow","Principal":{"Federated":"x"},"Action":"sts:*","Condition":{"StringEquals":{"id:aud":"x"}}}]}`), uint8(2))
	f.Fuzz(func(t *testing.T, document []byte, use uint8) {
		p, err := Parse(document, Use(use%3), "bucket")
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || p != nil {
				t.Fatalf("got %v, %v", p, err)
			}
			return
		}
		if !json.Valid(document) {
			t.Fatal("a policy that is not JSON")
		}
		p.Public()
		p.Identities()
		for _, who := range []Principal{{}, {Kind: Root, ARN: RootARN}, {Kind: User, ARN: UserARN("alice")}, {Kind: Session, ARN: SessionARN("r", "s"), Role: RoleARN("r")}} {
			r := Request{Action: MustAction("s3:GetObject"), Resource: "bucket/a/b", Principal: who, Values: mapValues{"aws:username": {"a*"}, "s3:requestobjecttagkeys": {"a", "b"}, "s3:prefix": {""}}}
			if effect, err := p.Evaluate(&r); err != nil || effect > Denies {
				t.Fatalf("got %v, %v", effect, err)
			}
		}
	})
}

// FuzzPattern compares the matcher with a regular expression.
func FuzzPattern(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*", "")
	f.Add("**a**", "bab")
	f.Add("?é*", "xé")
	f.Fuzz(func(t *testing.T, text, s string) {
		if len(text) > 200 || len(s) > 200 || !utf8.ValidString(text) || !utf8.ValidString(s) {
			return // A regular expression reads broken text by other rules.
		}
		expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(text))
		want := regexp.MustCompile("(?s)^" + expression + "$").MatchString(s)
		p := wildcards(text)
		if got := p.match(nil, s) == matchYes; got != want {
			t.Errorf("%q on %q: got %v, want %v", text, s, got, want)
		}
	})
}
