package policy

import (
	"encoding/json"
	"errors"
	"testing"
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
		for _, who := range randomUsers {
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
		if len(text) > 200 || len(s) > 200 || !json.Valid([]byte(`"`+"x"+`"`)) {
			return
		}
		for _, c := range []string{text, s} {
			for _, r := range c {
				if r == '\uFFFD' {
					return // A regular expression reads broken text by other rules.
				}
			}
		}
		p := wildcards(text)
		want := refGlob(text, true).MatchString(s)
		delete(refCompiled, refGlob(text, true).String())
		if got := p.match(nil, s) == matchYes; got != want {
			t.Errorf("%q on %q: got %v, want %v", text, s, got, want)
		}
	})
}
