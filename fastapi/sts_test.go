package fastapi

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/iam"
	"penstock/fastapi/sigv4"
)

// sts posts a form to the token service, signed by somebody, or by nobody.
func (h *harness) sts(signer *sigv4.Signer, fields ...string) *reply {
	h.t.Helper()
	form := url.Values{"Version": {stsVersion}}
	for i := 0; i < len(fields); i += 2 {
		form[fields[i]] = append(form[fields[i]], fields[i+1])
	}
	return h.send(h.stsRequest(signer, form.Encode()))
}

func (h *harness) stsRequest(signer *sigv4.Signer, body string) *wireRequest {
	h.t.Helper()
	q := &wireRequest{method: "POST", target: "/", host: h.host, body: []byte(body)}
	q.add("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if signer != nil {
		s := *signer
		s.Service = "sts"
		now := time.Now().UTC()
		q.add("X-Amz-Date", now.Format("20060102T150405Z"))
		if s.Token != "" {
			q.add("X-Amz-Security-Token", s.Token)
		}
		sum := sha256.Sum256(q.body)
		r := &sigv4.Request{Method: []byte("POST"), RawPath: []byte("/"), Host: []byte(h.host), Headers: q.headers}
		if _, err := s.SignAsIs(r, now, hex.EncodeToString(sum[:])); err != nil {
			h.t.Fatal(err)
		}
		q.headers = r.Headers
	}
	q.add("Content-Length", itoa(len(q.body)))
	return q
}

// signerOf is what signs with the credentials in an answer of the token service.
func signerOf(r *reply) sigv4.Signer {
	return sigv4.Signer{AccessKey: element(r.body, "AccessKeyId"), Secret: element(r.body, "SecretAccessKey"), Token: element(r.body, "SessionToken"), Region: "us-east-1"}
}

// assume returns what signs as a session of a role.
func (h *harness) assume(signer sigv4.Signer, role, session string) sigv4.Signer {
	h.t.Helper()
	r := h.sts(&signer, "Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:role/"+role, "RoleSessionName", session)
	if r.status != 200 {
		h.t.Fatalf("AssumeRole: %v", r)
	}
	return signerOf(r)
}

// TestSTS: temporary credentials, from the wire to the request they sign.
func TestSTS(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	alice := h.user("alice", "readwrite")
	if _, err := h.people.PutRole(t.Context(), h.root(), iam.Role{Name: "loader", Policies: []string{"readonly"}, Trust: `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/alice"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"42"},"StringLike":{"sts:RoleSessionName":"job-*"}}}]}`}); err != nil {
		t.Fatal(err)
	}
	const role = "arn:aws:iam::000000000000:role/loader"
	r := h.sts(&alice, "Action", "AssumeRole", "RoleArn", role, "RoleSessionName", "job-1", "ExternalId", "42", "DurationSeconds", "900")
	if r.status != 200 || element(r.body, "Arn") != "arn:aws:sts::000000000000:assumed-role/loader/job-1" || !strings.HasPrefix(element(r.body, "AccessKeyId"), "ASIA") || r.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %v", r)
	}
	if ends, err := time.Parse(time.RFC3339, element(r.body, "Expiration")); err != nil || time.Until(ends) > 16*time.Minute || time.Until(ends) < 13*time.Minute {
		t.Errorf("ends %v, %v", ends, err)
	}
	session := h.as(signerOf(r))
	session.must("GET", "/bucket/k", "")
	session.want(403, "AccessDenied", "PUT", "/bucket/new", "x")
	if r := h.send(&wireRequest{method: "GET", target: session.presign("GET", "/bucket/k"), host: h.host}); r.status != 200 {
		t.Errorf("presigned: %v", r)
	}
	for what, change := range map[string]func(s *sigv4.Signer){
		"InvalidToken":       func(s *sigv4.Signer) { s.Token = s.Token[:len(s.Token)-2] },
		"InvalidAccessKeyId": func(s *sigv4.Signer) { s.Token = "" },
	} {
		s := session.signer
		change(&s)
		if r := h.as(s).do("GET", "/bucket/k", ""); r.status/100 != 4 || r.code() != what {
			t.Errorf("%s: %v", what, r)
		}
	}
	for _, fields := range [][]string{
		{"RoleArn", role, "RoleSessionName", "job-1"},                     // Without the external id.
		{"RoleArn", role, "RoleSessionName", "other", "ExternalId", "42"}, // Of another name.
		{"RoleArn", role + "x", "RoleSessionName", "job-1"},               // There is none.
		{"RoleArn", "arn:aws:iam::000000000000:user/bob", "RoleSessionName", "job-1"},
	} {
		if r := h.sts(&alice, append([]string{"Action", "AssumeRole"}, fields...)...); r.status != 403 || element(r.body, "Code") != "AccessDenied" || !strings.Contains(r.body, "<ErrorResponse") {
			t.Errorf("%v: %v", fields, r)
		}
	}
	narrowed := h.sts(&alice, "Action", "AssumeRole", "Policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`)
	h.as(signerOf(narrowed)).must("GET", "/bucket/k", "")
	h.as(signerOf(narrowed)).want(403, "AccessDenied", "PUT", "/bucket/new", "x")
	own := signerOf(h.sts(&alice, "Action", "GetSessionToken"))
	h.as(own).must("PUT", "/bucket/new", "x")
	who := h.sts(&own, "Action", "GetCallerIdentity")
	if element(who.body, "Arn") != "arn:aws:iam::000000000000:user/alice" || element(who.body, "Account") != "000000000000" {
		t.Errorf("GetCallerIdentity: %v", who)
	}
	h.clock.advance(2 * time.Hour)
	h.as(own).want(400, "ExpiredToken", "GET", "/bucket/k", "")
	if r := h.sts(&own, "Action", "GetCallerIdentity"); r.status != 400 || element(r.body, "Code") != "ExpiredToken" {
		t.Errorf("expired: %v", r)
	}
}

// TestSTSRefuses covers GHSA-5qfg and GHSA-3473 among others: what is not signed, or not well-formed, gets nothing.
func TestSTSRefuses(t *testing.T) {
	h := newHarness(t)
	alice := h.user("alice", "readwrite")
	wrong := alice
	wrong.Secret += "x"
	unknown := alice
	unknown.AccessKey = "AKIDNOBODYNOBODY"
	for _, action := range []string{"AssumeRole", "GetSessionToken", "GetCallerIdentity"} {
		for code, signer := range map[string]*sigv4.Signer{"MissingAuthenticationToken": nil, "SignatureDoesNotMatch": &wrong, "InvalidClientTokenId": &unknown} {
			if r := h.sts(signer, "Action", action); r.status != 403 || element(r.body, "Code") != code {
				t.Errorf("%s: %v, want %s", action, r, code)
			}
		}
	}
	// A signature for S3 is not one for the token service, and the other way round.
	q := h.build("POST", "/", []byte("Action=GetCallerIdentity&Version="+stsVersion), "Content-Type", "application/x-www-form-urlencoded")
	if r := h.send(q); r.status/100 != 4 || strings.Contains(r.body, "Arn") {
		t.Errorf("signed for s3: %v", r)
	}
	s := alice
	s.Service = "sts"
	h.as(s).want(400, "AuthorizationHeaderMalformed", "GET", "/", "")
	// The body is signed.
	q = h.stsRequest(&alice, "Action=GetCallerIdentity&Version="+stsVersion)
	q.body = []byte("Action=GetSessionToken&XVersion=" + stsVersion)
	q.headers[len(q.headers)-1].Value = []byte(itoa(len(q.body)))
	if r := h.send(q); r.status != 403 || element(r.body, "Code") != "SignatureDoesNotMatch" {
		t.Errorf("another body: %v", r)
	}
	for _, c := range []struct {
		code   string
		fields []string
	}{
		{"InvalidAction", []string{"Action", "GetFederationToken"}}, {"InvalidAction", nil}, {"InvalidAction", []string{"Action", "AssumeRole", "Version", "2010-01-01"}},
		{"ValidationError", []string{"Action", "AssumeRole", "DurationSeconds", "60"}}, {"ValidationError", []string{"Action", "AssumeRole", "DurationSeconds", "x"}},
		{"ValidationError", []string{"Action", "AssumeRole", "Policy", "{"}}, {"ValidationError", []string{"Action", "AssumeRole", "RoleSessionName", "a b"}},
		{"ValidationError", []string{"Action", "AssumeRole", "PolicyArns.member.1.arn", "x"}}, {"ValidationError", []string{"Action", "AssumeRole", "Tags.member.1.Key", "x"}},
		{"ValidationError", []string{"Action", "AssumeRole", "RoleArn", "a", "RoleArn", "b"}}, {"ValidationError", []string{"Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:role/x"}},
		{"ValidationError", []string{"Action", "AssumeRoleWithWebIdentity", "WebIdentityToken", "x"}},
		{"InvalidIdentityToken", []string{"Action", "AssumeRoleWithWebIdentity", "WebIdentityToken", "x.y.z", "RoleArn", "arn:aws:iam::000000000000:role/x", "RoleSessionName", "ab"}},
	} {
		r := h.sts(&alice, c.fields...)
		if len(c.fields) > 3 && c.fields[2] == "Version" {
			form := url.Values{"Action": {"AssumeRole"}, "Version": {"2010-01-01"}}
			r = h.send(h.stsRequest(&alice, form.Encode()))
		}
		if r.status != 400 || element(r.body, "Code") != c.code {
			t.Errorf("%v: %v, want %s", c.fields, r, c.code)
		}
	}
	if r := h.send(h.stsRequest(&alice, "Action=AssumeRole&Policy="+strings.Repeat("x", maxSTSLen))); r.status != 400 {
		t.Errorf("a long body: %v", r)
	}
	if strings.Contains(h.logs.String(), alice.Secret) {
		t.Error("a secret is in the log")
	}
}
