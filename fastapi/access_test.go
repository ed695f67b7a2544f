package fastapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
	"penstock/fastapi/sigv4"
)

// root is the identity that tests change others as.
func (h *harness) root() *iam.Identity {
	c, _ := h.people.Credential(testAccessKey, "")
	return c.Identity
}

// user makes somebody with some policies, and returns what signs for it.
func (h *harness) user(name string, policies ...string) sigv4.Signer {
	h.t.Helper()
	if _, err := h.people.PutUser(h.t.Context(), h.root(), iam.User{Name: name, Policies: policies}); err != nil {
		h.t.Fatal(err)
	}
	k, secret, err := h.people.CreateKey(h.t.Context(), h.root(), iam.NewKey{User: name})
	if err != nil {
		h.t.Fatal(err)
	}
	return sigv4.Signer{AccessKey: k.AccessKey, Secret: secret, Region: "us-east-1"}
}

// policy makes a policy of one statement or more.
func (h *harness) policy(name string, statements ...string) string {
	h.t.Helper()
	document := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	if _, err := h.people.PutPolicy(h.t.Context(), h.root(), name, document); err != nil {
		h.t.Fatal(err)
	}
	return name
}

func allow(actions, resource string) string {
	return `{"Effect":"Allow","Action":["` + strings.ReplaceAll(actions, " ", `","`) + `"],"Resource":["` + strings.ReplaceAll(resource, " ", `","`) + `"]}`
}

// as returns a harness whose requests somebody else signs.
func (h *harness) as(signer sigv4.Signer) *harness {
	other := *h
	other.signer = signer
	return &other
}

// anonymously sends a request that nobody has signed.
func (h *harness) anonymously(method, target, body string, headers ...string) *reply {
	h.t.Helper()
	q := &wireRequest{method: method, target: target, host: h.host, body: []byte(body)}
	for i := 0; i < len(headers); i += 2 {
		q.add(headers[i], headers[i+1])
	}
	if method == "PUT" || method == "POST" {
		q.add("Content-Length", fmt.Sprint(len(body)))
	}
	return h.send(q)
}

// expired returns what signs with a session that has ended.
func (h *harness) expired() sigv4.Signer {
	h.t.Helper()
	s, err := h.people.Assume(h.root(), iam.AssumeRole{Request: new(policy.Request)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.clock.advance(2 * time.Hour)
	return sigv4.Signer{AccessKey: s.AccessKey, Secret: s.Secret, Token: s.Token, Region: "us-east-1"}
}

// TestAccessMatrix sends a request of every route as everybody there is. Who may not is refused, before the store is asked for anything but
// what the bucket is; who may is not.
func TestAccessMatrix(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/kept", "x") // So that nobody deletes the bucket on the way.
	deleted := h.user("gone", "readwrite")
	if err := h.people.DeleteKey(t.Context(), h.root(), deleted.AccessKey); err != nil {
		t.Fatal(err)
	}
	nothing := h.user("nothing")
	wrong := h.user("wrong", "readwrite")
	wrong.Secret += "x"
	others := h.user("others", h.policy("others", `{"Effect":"Allow","Action":"*","Resource":["arn:aws:s3:::other","arn:aws:s3:::other/*"]}`))
	denied := h.user("denied", "admin", h.policy("denied", `{"Effect":"Deny","Action":"*","Resource":"*"}`))
	expired := h.expired()
	type who struct {
		name   string
		signer *sigv4.Signer // nil for nobody.
		codes  string
	}
	refused := []who{
		{"anonymous", nil, "AccessDenied"}, {"bad signature", &wrong, "SignatureDoesNotMatch"}, {"deleted key", &deleted, "InvalidAccessKeyId"},
		{"expired token", &expired, "ExpiredToken"}, {"no permission", &nothing, "AccessDenied"}, {"permission for another bucket", &others, "AccessDenied"},
		{"everything allowed and everything denied", &denied, "AccessDenied"},
	}
	permitted := h.user("permitted", "admin")
	ops, targets := h.every()
	calls := newCallCount(h.store)
	for i, op := range ops {
		send := func(signer *sigv4.Signer) *reply {
			if signer == nil {
				return h.anonymously(op.method, targets[i], "", op.testHeaders()...)
			}
			return h.as(*signer).do(op.method, targets[i], "", op.testHeaders()...)
		}
		code := func(r *reply) string {
			if op.level == levelAdmin {
				return r.failure(t).Code
			}
			return r.code()
		}
		for _, w := range refused {
			calls.take()
			r := send(w.signer)
			ok := (r.status == 403 || w.codes == "ExpiredToken" && r.status == 400) && (op.method == "HEAD" || code(r) == w.codes)
			switch {
			case op.name == "PostObject" && w.codes == "AccessDenied":
				ok = r.status == 412 // What is no form says nothing of what it wants to put.
			case op.name == "DeleteObjects" && w.signer != nil && w.codes == "AccessDenied":
				ok = r.status == 400 || r.status == 403 // It says which keys in its body, which is empty here.
			}
			if !ok {
				t.Errorf("%s as %s: got %v", op.name, w.name, r)
			}
			if made := calls.take(); len(made) > 0 {
				t.Errorf("%s as %s: calls of the store: %v", op.name, w.name, made)
			}
		}
		if r := send(&permitted); r.status == 403 {
			t.Errorf("%s as somebody who may: got %v", op.name, r)
		}
		h.store.setBucketAttrs("bucket", nil)
	}
}

// TestEachActionAlone: every route is allowed by its own action and no other, all its needs given, and refused by a denial of any of them.
func TestEachActionAlone(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/kept", "x") // So that nobody deletes the bucket on the way.
	user := h.user("alone")
	give := func(statements ...string) {
		h.policy("alone", statements...)
		if _, err := h.people.PutUser(t.Context(), h.root(), iam.User{Name: "alone", Policies: []string{"alone"}}); err != nil {
			t.Fatal(err)
		}
	}
	extra := map[string][]string{ // Beside the row's own.
		"GetObjectAttributes": {"s3:GetObject"}, "CopyObject": {"s3:GetObject"}, "UploadPartCopy": {"s3:GetObject"},
	}
	ops, targets := h.every()
	for i, op := range ops {
		if op.rule.later {
			continue
		}
		all := append([]string{op.action}, extra[op.name]...)
		do := func() *reply { return h.as(user).do(op.method, targets[i], "", op.testHeaders()...) }
		give(`{"Effect":"Allow","NotAction":["` + strings.Join(all, `","`) + `"],"Resource":"*"}`)
		if r := do(); r.status != 403 {
			t.Errorf("%s without %v: got %v", op.name, all, r)
		}
		for j := range all {
			give(allow("*", "*"), `{"Effect":"Deny","Action":"`+all[j]+`","Resource":"*"}`)
			if r := do(); r.status != 403 {
				t.Errorf("%s with %s denied: got %v", op.name, all[j], r)
			}
		}
		give(allow(strings.Join(all, " "), "*"))
		missing := op.level == levelObject && (op.method == "GET" || op.method == "HEAD" || op.copies || op.name == "PutObjectAcl" || op.name == "DeleteObjectTagging")
		if r := do(); r.status == 403 && !missing { // The object is not there, which only who may list learns.
			t.Errorf("%s with %v alone: got %v", op.name, all, r)
		}
		h.store.setBucketAttrs("bucket", nil)
	}
}

// TestVersionsAreAnotherAction covers GHSA-3ppv: whoever may read an object may not for that read its versions.
func TestVersionsAreAnotherAction(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	plain := h.as(h.user("plain", h.policy("plain", allow("s3:ListBucket s3:GetObject s3:GetObjectAcl s3:GetObjectTagging s3:GetObjectAttributes s3:DeleteObject s3:PutObject s3:PutObjectAcl", "*"))))
	versioned := h.as(h.user("versioned", h.policy("versioned", allow("s3:ListBucket s3:GetObjectVersion s3:GetObjectVersionAcl s3:GetObjectVersionTagging s3:GetObjectVersionAttributes s3:PutObject", "*"))))
	for _, c := range []struct{ method, target, header, value string }{
		{"GET", "/bucket/k", "", ""}, {"HEAD", "/bucket/k", "", ""}, {"GET", "/bucket/k?acl", "", ""}, {"GET", "/bucket/k?tagging", "", ""}, {"GET", "/bucket/k?attributes", "x-amz-object-attributes", "ETag"},
		{"PUT", "/bucket/copy", "x-amz-copy-source", "/bucket/k"},
	} {
		var headers, withVersion []string
		target := c.target + sep(c.target) + "versionId=null"
		if c.header != "" {
			headers = []string{c.header, c.value}
			withVersion = headers
		}
		if c.header == "x-amz-copy-source" {
			target, withVersion = c.target, []string{c.header, c.value + "?versionId=null"}
		}
		for _, w := range []struct {
			h           *harness
			target      string
			headers     []string
			want        int
			description string
		}{
			{plain, c.target, headers, 200, "plain"}, {plain, target, withVersion, 403, "version as plain"},
			{versioned, c.target, headers, 403, "plain as versioned"}, {versioned, target, withVersion, 200, "version"},
		} {
			if r := w.h.do(c.method, w.target, "", w.headers...); r.status != w.want {
				t.Errorf("%s %s %v, %s: got %v, want %d", c.method, w.target, w.headers, w.description, r, w.want)
			}
		}
	}
	plain.want(403, "AccessDenied", "DELETE", "/bucket/k?versionId=null", "")
}

// TestCopiesNeedTheirSource covers CVE-2026-39360 and GHSA-wfxj: whoever may write may not for that read.
func TestCopiesNeedTheirSource(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/secret", "")
	h.must("PUT", "/secret/k", "canary")
	writer := h.as(h.user("writer", h.policy("writer", allow("s3:PutObject s3:ListBucket s3:GetObject", "arn:aws:s3:::bucket arn:aws:s3:::bucket/*"))))
	id := element(h.must("POST", "/bucket/up?uploads", "").body, "UploadId")
	for _, target := range []string{"/bucket/copy", "/bucket/up?partNumber=1&uploadId=" + id} {
		for _, source := range []string{"/secret/k", "secret/k", "/secret/none", "/secret%2Fk", "/none/k"} {
			r := writer.do("PUT", target, "", "x-amz-copy-source", source)
			if r.status != 403 && !(source == "/none/k" && r.status == 404) {
				t.Errorf("%s from %s: got %v", target, source, r)
			}
		}
	}
	// The source's bucket may allow it, and may deny it.
	h.must("PUT", "/secret?policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/writer"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::secret/*"}]}`)
	writer.must("PUT", "/bucket/copy", "", "x-amz-copy-source", "/secret/k")
	h.must("PUT", "/secret?policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::secret/*"}]}`)
	h.want(403, "AccessDenied", "PUT", "/bucket/copy", "", "x-amz-copy-source", "/secret/k") // Root too.
}

// TestHeadersNeedTheirActions: what comes with an object and has a permission of its own needs it.
func TestHeadersNeedTheirActions(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	h.must("PUT", "/bucket?ownershipControls", `<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>`)
	writer := h.as(h.user("writer", h.policy("writer", allow("s3:PutObject s3:CreateBucket s3:DeleteObject", "*"))))
	for _, headers := range [][]string{
		{"x-amz-acl", "private"}, {"x-amz-grant-read", `id="` + ownerID + `"`}, {"x-amz-tagging", "a=b"}, {"x-amz-object-lock-mode", "GOVERNANCE"},
		{"x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z"}, {"x-amz-object-lock-legal-hold", "ON"}, {"If-Match", `"x"`},
	} {
		for _, c := range []struct{ method, target string }{{"PUT", "/bucket/new"}, {"POST", "/bucket/new?uploads"}} {
			writer.want(403, "AccessDenied", c.method, c.target, "", headers...)
		}
	}
	writer.want(403, "AccessDenied", "DELETE", "/bucket/k", "", "If-Match", `"x"`)
	for _, headers := range [][]string{{"x-amz-acl", "private"}, {"x-amz-object-ownership", "ObjectWriter"}, {"x-amz-bucket-object-lock-enabled", "true"}} {
		writer.want(403, "AccessDenied", "PUT", "/another", "", headers...)
	}
	writer.must("PUT", "/another", "")
	writer.must("PUT", "/bucket/new", "x")
}

// TestDeletesAreDecidedPerKey: of the keys of one request, each is deleted if it may be.
func TestDeletesAreDecidedPerKey(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, key := range []string{"mine/a", "theirs/b"} {
		h.must("PUT", "/bucket/"+key, "x")
	}
	user := h.as(h.user("user", h.policy("mine", allow("s3:DeleteObject", "arn:aws:s3:::bucket/mine/*"))))
	r := user.must("POST", "/bucket?delete", "<Delete><Object><Key>mine/a</Key></Object><Object><Key>theirs/b</Key></Object><Object><Key>theirs/none</Key></Object><Object><Key>mine/none</Key></Object><Object><Key>mine/v</Key><VersionId>null</VersionId></Object></Delete>")
	if n := strings.Count(r.body, "<Code>AccessDenied</Code>"); n != 3 || strings.Count(r.body, "<Deleted>") != 2 {
		t.Errorf("got %v", r)
	}
	if keys := h.store.keys("bucket"); !slices.Equal(keys, []string{"theirs/b"}) {
		t.Errorf("left: %v", keys)
	}
}

// TestMissingAndForbidden covers CVE-2024-36107 for those who have signed: only who may list learns that there is no such object. The answers to
// others are the same, byte for byte, but for the id of the request.
func TestMissingAndForbidden(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	tag := h.must("PUT", "/bucket/there", "x").header.Get("ETag")
	h.must("PUT", "/bucket/copied", "x")
	lister := h.as(h.user("lister", h.policy("lister", allow("s3:GetObject* s3:PutObject s3:ListBucket s3:ListMultipartUploadParts s3:DeleteObject*", "*"))))
	reader := h.as(h.user("reader", h.policy("reader", allow("s3:GetObject* s3:PutObject s3:ListMultipartUploadParts s3:DeleteObject*", "*"))))
	nobody := h.as(h.user("nobody"))
	for _, headers := range [][]string{nil, {"If-None-Match", tag}, {"If-Match", tag}, {"If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(time.RFC1123)}, {"Range", "bytes=0-"}, {"Range", "bytes=9-"}} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, target := range []string{"", "?acl", "?tagging", "?attributes", "?versionId=null", "?partNumber=1"} {
				if method == "HEAD" && strings.ContainsAny(target, "at") {
					continue
				}
				var answers []string
				for _, key := range []string{"there", "gone!"} {
					r := nobody.do(method, "/bucket/"+key+target, "", append(headers, "x-amz-object-attributes", "ETag")...)
					answers = append(answers, fmt.Sprint(r.status, r.closed, len(r.header), strings.NewReplacer(key, "KEY", element(r.body, "RequestId"), "ID").Replace(r.body)))
				}
				if answers[0] != answers[1] || !strings.HasPrefix(answers[0], "403") {
					t.Errorf("%s %s %q: %q", method, target, headers, answers)
				}
			}
		}
	}
	for _, c := range []struct{ method, target, source string }{
		{"GET", "/bucket/gone", ""}, {"HEAD", "/bucket/gone", ""}, {"GET", "/bucket/gone?acl", ""}, {"GET", "/bucket/gone?versionId=null", ""}, {"GET", "/bucket/there?versionId=" + formatVersion(9), ""},
		{"PUT", "/bucket/copy", "/bucket/gone"},
	} {
		var headers []string
		if c.source != "" {
			headers = []string{"x-amz-copy-source", c.source}
		}
		if r := lister.do(c.method, c.target, "", headers...); r.status != 404 {
			t.Errorf("%s %s as one who may list: got %v", c.method, c.target, r)
		}
		r := reader.do(c.method, c.target, "", headers...)
		if r.status != 403 || c.method != "HEAD" && (r.code() != "AccessDenied" || strings.Contains(r.body, "<Key>") || r.header.Get("x-amz-version-id") != "") {
			t.Errorf("%s %s as one who may not: got %v", c.method, c.target, r)
		}
	}
}

// TestHeadersAreNoConditionKeys covers GHSA-6r96 and CVE-2026-21862: nothing that a client sends takes the place of what a condition key stands for.
func TestHeadersAreNoConditionKeys(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	for i, condition := range []string{
		`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, `"StringEquals":{"aws:username":"admin"}`, `"Bool":{"aws:SecureTransport":"true"}`, `"StringEquals":{"aws:userid":"admin"}`,
		`"StringEquals":{"aws:PrincipalType":"Account"}`, `"StringEquals":{"s3:ExistingObjectTag/public":"yes"}`, `"StringEquals":{"s3:prefix":"x"}`, `"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}`,
	} {
		user := h.as(h.user(fmt.Sprint("user", i), h.policy(fmt.Sprint("policy", i), `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{`+condition+`}}`)))
		for _, headers := range [][]string{
			{"X-Forwarded-For", "203.0.113.7"}, {"X-Real-Ip", "203.0.113.7"}, {"Forwarded", "for=203.0.113.7;proto=https"}, {"X-Forwarded-Proto", "https"}, {"SourceIp", "203.0.113.7"}, {"aws-SourceIp", "203.0.113.7"},
			{"username", "admin"}, {"userid", "admin"}, {"principaltype", "Account"}, {"SecureTransport", "true"}, {"CurrentTime", "2019-01-01T00:00:00Z"}, {"prefix", "x"}, {"ExistingObjectTag", "public=yes"},
			{"x-amz-tagging-directive", "COPY"},
		} {
			user.want(403, "AccessDenied", "GET", "/bucket/k", "", headers...)
			user.want(403, "AccessDenied", "GET", "/bucket/k?username=admin&userid=admin&prefix=x&SourceIp=203.0.113.7&aws%3ASourceIp=203.0.113.7", "", headers...)
		}
	}
}

// TestConditionsOfRequests: each condition key has the value that the request gives it.
func TestConditionsOfRequests(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	user := h.user("user")
	as := h.as(user)
	try := func(condition string, want bool, do func(h *harness) *reply) {
		t.Helper()
		h.policy("condition", `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{`+condition+`}}`)
		if _, err := h.people.PutUser(t.Context(), h.root(), iam.User{Name: "user", Policies: []string{"condition"}}); err != nil {
			t.Fatal(err)
		}
		if r := do(as); (r.status != 403) != want {
			t.Errorf("%s: got %v, want allowed %v", condition, r, want)
		}
	}
	get := func(target string, headers ...string) func(h *harness) *reply {
		return func(h *harness) *reply { return h.do("GET", target, "", headers...) }
	}
	put := func(headers ...string) func(h *harness) *reply {
		return func(h *harness) *reply { return h.do("PUT", "/bucket/new", "", headers...) }
	}
	presigned := func(h *harness) *reply {
		return h.send(&wireRequest{method: "GET", target: h.presign("GET", "/bucket/k"), host: h.host})
	}
	for _, c := range []struct {
		condition string
		yes, no   func(h *harness) *reply // nil for none.
	}{
		{`"StringEquals":{"s3:prefix":"home/"}`, get("/bucket?prefix=home/"), get("/bucket?prefix=x")},
		{`"StringEquals":{"s3:prefix":""}`, get("/bucket?list-type=2&prefix="), get("/bucket?list-type=2")},
		{`"StringEquals":{"s3:delimiter":"/"}`, get("/bucket?versions&delimiter=/"), get("/bucket?versions")},
		{`"NumericLessThanEquals":{"s3:max-keys":"10"}`, get("/bucket?max-keys=10"), get("/bucket?max-keys=11")},
		{`"StringEquals":{"s3:VersionId":"null"}`, get("/bucket/k?versionId=null"), get("/bucket/k")},
		{`"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control"}`, put("x-amz-acl", "bucket-owner-full-control"), put("x-amz-acl", "private")},
		{`"StringEquals":{"s3:x-amz-storage-class":"STANDARD_IA"}`, put("x-amz-storage-class", "STANDARD_IA"), put()},
		{`"StringLike":{"s3:x-amz-copy-source":"bucket/k*"}`, nil, put("x-amz-copy-source", "/bucket/other")},
		{`"StringEqualsIfExists":{"s3:x-amz-metadata-directive":"COPY"}`, put("x-amz-copy-source", "/bucket/k"), put("x-amz-copy-source", "/bucket/k", "x-amz-metadata-directive", "REPLACE")},
		{`"StringEquals":{"s3:RequestObjectTag/team":"a"}`, put("x-amz-tagging", "team=a&x=y"), put("x-amz-tagging", "team=b")},
		{`"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["team"]}`, put("x-amz-tagging", "team=b"), put("x-amz-tagging", "team=b&other=c")},
		{`"StringEquals":{"s3:x-amz-content-sha256":"UNSIGNED-PAYLOAD"}`, put("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), put()},
		{`"StringEquals":{"s3:authType":"REST-HEADER"}`, get("/bucket/k"), presigned},
		{`"StringEquals":{"s3:authType":"REST-QUERY-STRING"}`, presigned, get("/bucket/k")},
		{`"StringEquals":{"s3:signatureversion":"AWS4-HMAC-SHA256"}`, get("/bucket/k"), nil},
		{`"NumericLessThan":{"s3:signatureAge":"600000"}`, get("/bucket/k"), nil},
		{`"NumericGreaterThan":{"s3:signatureAge":"600000"}`, nil, get("/bucket/k")},
		{`"Bool":{"aws:SecureTransport":"false"}`, get("/bucket/k"), nil},
		{`"Bool":{"aws:SecureTransport":"true"}`, nil, get("/bucket/k")},
		{`"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}`, get("/bucket/k"), nil},
		{`"NotIpAddress":{"aws:SourceIp":"127.0.0.0/8"}`, nil, get("/bucket/k")},
		{`"StringLike":{"aws:UserAgent":"loader/*"}`, get("/bucket/k", "User-Agent", "loader/1"), get("/bucket/k")},
		{`"StringLike":{"aws:Referer":"https://example.com/*"}`, get("/bucket/k", "Referer", "https://example.com/x"), get("/bucket/k", "Referer", "https://evil.com/")},
		{`"StringEquals":{"aws:username":"user"}`, get("/bucket/k"), nil},
		{`"StringEquals":{"aws:PrincipalType":"User"}`, get("/bucket/k"), nil},
		{`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::000000000000:user/us*"}`, get("/bucket/k"), nil},
		{`"StringEquals":{"aws:PrincipalAccount":"000000000000","aws:ResourceAccount":"000000000000","aws:RequestedRegion":"us-east-1"}`, get("/bucket/k"), nil},
		{`"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}`, get("/bucket/k"), nil},
		{`"DateLessThan":{"aws:EpochTime":"1577836800"}`, nil, get("/bucket/k")},
		{`"Null":{"aws:TokenIssueTime":"true","s3:TlsVersion":"true","aws:MultiFactorAuthPresent":"true"}`, get("/bucket/k"), nil},
		{`"StringEquals":{"s3:object-lock-mode":"GOVERNANCE"}`, put("x-amz-object-lock-mode", "GOVERNANCE"), put("x-amz-object-lock-mode", "COMPLIANCE")},
		{`"StringEquals":{"s3:if-none-match":"*"}`, put("If-None-Match", "*"), put()},
	} {
		if c.yes != nil {
			try(c.condition, true, c.yes)
		}
		if c.no != nil {
			try(c.condition, false, c.no)
		}
	}
	// A tag that the object has.
	h.store.stored("bucket", "k").info.Attrs = withAttr(h.store.stored("bucket", "k").info.Attrs, attrTagging, "team=a&stage=b+c")
	try(`"StringEquals":{"s3:ExistingObjectTag/stage":"b c"}`, true, get("/bucket/k"))
	try(`"StringEquals":{"s3:ExistingObjectTag/team":"b"}`, false, get("/bucket/k"))
	h.store.setFail(func(op, _ string) error {
		if op == "Head" {
			return kindError(1, "bucket", "k") // It cannot be read now.
		}
		return nil
	})
	try(`"StringNotEquals":{"s3:ExistingObjectTag/team":"b"}`, true, get("/bucket/k")) // Not refused, but not answered either.
	if r := as.do("GET", "/bucket/k", ""); r.status < 500 {
		t.Errorf("a tag that cannot be read: got %v", r)
	}
}

// TestTrustedProxies: the address that a proxy names counts if the proxy is trusted, and then the last one that no trusted proxy has.
func TestTrustedProxies(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.TrustedProxies = prefixesOf("127.0.0.0/8", "10.0.0.0/8") })
	h.must("PUT", "/bucket", "")
	user := h.as(h.user("user", h.policy("p", `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.7"},"Bool":{"aws:SecureTransport":"true"}}}`)))
	for header, want := range map[string]bool{
		"203.0.113.7": true, "198.51.100.1, 203.0.113.7": true, "203.0.113.7, 198.51.100.1": false, "203.0.113.7, 10.1.2.3": true, "203.0.113.7,10.1.2.3,127.0.0.1": true,
		"": false, "x": false, "203.0.113.7, x": false, "::ffff:203.0.113.7": true, "10.1.2.3": false,
	} {
		if r := user.do("GET", "/bucket", "", "X-Forwarded-For", header, "X-Forwarded-Proto", "https"); (r.status == 200) != want {
			t.Errorf("%q: got %v", header, r)
		}
	}
	if r := user.do("GET", "/bucket", "", "X-Forwarded-For", "203.0.113.7"); r.status != 403 {
		t.Errorf("without TLS at the proxy: got %v", r)
	}
}
