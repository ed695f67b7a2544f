package sigv4_test

import (
	"errors"
	"testing"
	"time"

	"penstock/fastapi/sigv4"
)

// TestVerifyForm signs the policy of the example in the S3 API reference, and changes each field.
func TestVerifyForm(t *testing.T) {
	// The policy of the example is long; what is signed is its base64, whatever that says.
	const policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiIH0="
	v := newVerifier(t, exampleOptions())
	signer := sigv4.Signer{AccessKey: exampleKey, Secret: exampleSecret, Region: "us-east-1"}
	for _, c := range []struct {
		name   string
		signer func(*sigv4.Signer)
		change func(*sigv4.Form)
		age    time.Duration
		want   sigv4.Code
	}{
		{name: "good", want: accepted},
		{name: "a week old", age: 7 * 24 * time.Hour, want: accepted},
		{name: "older", age: 7*24*time.Hour + time.Second, want: sigv4.AccessDenied},
		{name: "from the future", age: -16 * time.Minute, want: sigv4.AccessDenied},
		{name: "good token", signer: token(exampleToken), want: accepted},
		{name: "foreign token", signer: token("foreign"), want: sigv4.InvalidToken},
		{name: "wrong secret", signer: func(s *sigv4.Signer) { s.Secret += "x" }, want: sigv4.SignatureDoesNotMatch},
		{name: "unknown key", signer: func(s *sigv4.Signer) { s.AccessKey = "AKIANOBODY" }, want: sigv4.InvalidAccessKeyID},
		{name: "wrong region", signer: func(s *sigv4.Signer) { s.Region = "mars-1" }, want: sigv4.AuthorizationQueryParametersError},
		{name: "wrong service", signer: func(s *sigv4.Signer) { s.Service = "sts" }, want: sigv4.AuthorizationQueryParametersError},
		{name: "policy changed", change: func(f *sigv4.Form) { f.Policy = "e30=" }, want: sigv4.SignatureDoesNotMatch},
		{name: "policy empty", change: func(f *sigv4.Form) { f.Policy = "" }, want: sigv4.SignatureDoesNotMatch},
		{name: "signature empty", change: func(f *sigv4.Form) { f.Signature = "" }, want: sigv4.SignatureDoesNotMatch},
		{name: "date of another day", change: func(f *sigv4.Form) { f.Date = "20130523T000000Z" }, want: sigv4.AuthorizationQueryParametersError},
		{name: "no date", change: func(f *sigv4.Form) { f.Date = "" }, want: sigv4.AuthorizationQueryParametersError},
		{name: "no credential", change: func(f *sigv4.Form) { f.Credential = "" }, want: sigv4.AuthorizationQueryParametersError},
		{name: "no algorithm", change: func(f *sigv4.Form) { f.Algorithm = "" }, want: sigv4.InvalidRequest},
		{name: "version 2", change: func(f *sigv4.Form) { f.Algorithm = "AWS" }, want: sigv4.InvalidRequest},
	} {
		s := signer
		if c.signer != nil {
			c.signer(&s)
		}
		form := &sigv4.Form{Policy: policy}
		s.SignForm(form, exampleTime.Add(-c.age))
		if c.change != nil {
			c.change(form)
		}
		id, err := v.VerifyForm(form)
		got := accepted
		if e, ok := errors.AsType[*sigv4.Error](err); ok {
			got = e.Code
		}
		if got != c.want || (got == accepted) != (id.Holder == exampleHolder) {
			t.Errorf("%s: got %+v, %v, want %v", c.name, id, err, c.want)
		}
	}
}
