package fastapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/admin"
	"penstock/fastapi/sigv4"
)

// call makes a call of the administration API and reads its answer into out, if there is one.
func (h *harness) call(method, path, body string, out any) *reply {
	h.t.Helper()
	r := h.do(method, admin.Prefix+path, body)
	if out != nil && r.status == 200 {
		if err := json.Unmarshal([]byte(r.body), out); err != nil {
			h.t.Fatalf("%s %s: %v: %v", method, path, r, err)
		}
	}
	return r
}

// TestIdentitiesByAdministration: a user's life through the API, from nothing to a request that is allowed, and back.
func TestIdentitiesByAdministration(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	expect := func(status int, method, path, body string, out any) {
		t.Helper()
		if r := h.call(method, path, body, out); r.status != status {
			t.Fatalf("%s %s %s: got %v, want %d", method, path, body, r, status)
		}
	}
	document := `{"Version":"2012-10-17","Statement":[{"Sid":"read","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}`
	var p admin.Policy
	expect(200, "PUT", "/policies/read", `{"document":`+document+`}`, &p)
	if string(p.Document) != document || p.Canned || p.Created == nil {
		t.Errorf("got %+v", p)
	}
	expect(200, "PUT", "/groups/staff?new=true", `{"policies":["read"]}`, nil)
	var u admin.User
	expect(200, "PUT", "/users/alice?new=true", `{"groups":["staff"]}`, &u)
	if u.ARN != "arn:aws:iam::000000000000:user/alice" || len(u.CanonicalID) != 64 || u.ID == "" {
		t.Errorf("got %+v", u)
	}
	var g admin.Group
	if expect(200, "GET", "/groups/staff", "", &g); fmt.Sprint(g.Members) != "[alice]" {
		t.Errorf("got %+v", g)
	}
	var k admin.Key
	if r := h.call("POST", "/users/alice/keys", `{"description":"of a test"}`, &k); r.status != 200 || r.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %v", r)
	}
	alice := h.as(sigv4.Signer{AccessKey: k.AccessKey, Secret: k.SecretKey, Region: "us-east-1"})
	alice.must("GET", "/bucket/k", "")
	alice.want(403, "AccessDenied", "PUT", "/bucket/k", "")
	var again admin.Key
	if expect(200, "GET", "/users/alice/keys/"+k.AccessKey, "", &again); again.SecretKey != "" || again.Description != "of a test" {
		t.Errorf("got %+v", again)
	}
	if r := h.call("GET", "/users/alice/keys", "", nil); strings.Contains(r.body, k.SecretKey) || !strings.Contains(r.body, k.AccessKey) {
		t.Errorf("got %v", r)
	}
	expect(200, "PATCH", "/users/alice/keys/"+k.AccessKey, `{"disabled":true}`, nil)
	alice.want(403, "InvalidAccessKeyId", "GET", "/bucket/k", "")
	expect(200, "PATCH", "/users/alice/keys/"+k.AccessKey, `{"disabled":false,"policy":{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}}`, nil)
	alice.want(403, "AccessDenied", "GET", "/bucket/k", "")
	expect(200, "PATCH", "/users/alice/keys/"+k.AccessKey, `{"policy":null}`, nil)
	alice.must("GET", "/bucket/k", "")
	expect(200, "PUT", "/roles/loader", `{"policies":["read"],"trust":{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/alice"},"Action":"sts:AssumeRole"}]},"max_seconds":7200}`, nil)
	h.as(h.assume(alice.signer, "loader", "job")).must("GET", "/bucket/k", "")
	expect(200, "PUT", "/providers", `{"issuer":"https://id.example.com/realm","audiences":["a"]}`, nil)
	expect(204, "DELETE", "/providers/id.example.com%2Frealm", "", nil)
	for _, c := range []struct {
		status                   int
		code, method, path, body string
	}{
		{404, "NoSuchEntity", "GET", "/users/bob", ""}, {404, "NoSuchEntity", "GET", "/users/bob/keys", ""}, {404, "NoSuchEntity", "POST", "/users/bob/keys", "{}"},
		{404, "NoSuchEntity", "GET", "/users/bob/keys/" + k.AccessKey, ""}, {404, "NoSuchEntity", "DELETE", "/users/bob/keys/" + k.AccessKey, ""},
		{409, "DeleteConflict", "DELETE", "/groups/staff", ""}, {409, "DeleteConflict", "DELETE", "/policies/read", ""}, {403, "AccessDenied", "DELETE", "/policies/admin", ""},
		{403, "AccessDenied", "PUT", "/policies/readonly", `{"document":` + document + `}`}, {400, "InvalidRequest", "PUT", "/policies/bad", `{"document":{}}`},
		{400, "InvalidRequest", "PUT", "/users/root", "{}"}, {400, "InvalidRequest", "PUT", "/users/bob", `{"policy":["read"]}`}, {400, "InvalidRequest", "PUT", "/users/bob", `{}{}`}, {400, "InvalidRequest", "PUT", "/users/bob", ``},
		{409, "EntityAlreadyExists", "POST", "/users/alice/keys", `{"access_key":"` + k.AccessKey + `","secret_key":"12345678"}`}, {409, "EntityAlreadyExists", "POST", "/users/alice/keys", `{"access_key":"` + testAccessKey + `","secret_key":"12345678"}`},
		{400, "InvalidRequest", "POST", "/users/alice/keys", `{"expires":"2001-01-01T00:00:00Z"}`}, {404, "NoSuchEntity", "POST", "/roles/x/revoke-sessions", ""}, {404, "NoSuchEntity", "GET", "/roles/x", ""}, {404, "NoSuchEntity", "DELETE", "/providers/x", ""},
		{405, "MethodNotAllowed", "POST", "/users/alice", ""}, {409, "EntityAlreadyExists", "PUT", "/users/alice?new=true", "{}"}, {409, "EntityAlreadyExists", "PUT", "/groups/staff?new=true", "{}"},
		{404, "NoSuchEntity", "PATCH", "/users/bob", "{}"}, {404, "NoSuchEntity", "PATCH", "/users/alice", `{"attach":["none"]}`}, {404, "NoSuchEntity", "PATCH", "/users/alice", `{"join":["none"]}`}, {404, "NoSuchEntity", "PATCH", "/users/alice", `{"boundary":"none"}`},
		{404, "NoSuchEntity", "PATCH", "/groups/none", "{}"}, {404, "NoSuchEntity", "PATCH", "/roles/none", "{}"}, {400, "InvalidRequest", "PATCH", "/roles/loader", `{"max_seconds":5}`}, {400, "InvalidRequest", "PATCH", "/roles/loader", `{"trust":{}}`}, {404, "NoSuchEntity", "GET", "/providers/none", ""},
	} {
		if r := h.call(c.method, c.path, c.body, nil); r.status != c.status || r.failure(t).Code != c.code {
			t.Errorf("%s %s %s: got %v, want %d %s", c.method, c.path, c.body, r, c.status, c.code)
		}
	}
	expect(200, "PATCH", "/users/alice", `{"attach":["readonly","writeonly"],"detach":["writeonly"],"boundary":"readonly","disabled":true}`, &u)
	if fmt.Sprintf("%v %v %v %v", u.Policies, u.Groups, u.Boundary, u.Disabled) != "[readonly] [staff] readonly true" {
		t.Errorf("got %+v", u)
	}
	alice.want(403, "InvalidAccessKeyId", "GET", "/bucket/k", "")
	expect(200, "PATCH", "/users/alice", `{"detach":["readonly"],"leave":["staff"],"boundary":"","disabled":false}`, &u)
	alice.want(403, "AccessDenied", "GET", "/bucket/k", "")
	expect(200, "PATCH", "/users/alice", `{"join":["staff"]}`, nil)
	alice.must("GET", "/bucket/k", "")
	expect(200, "PATCH", "/groups/staff", `{"detach":["read"],"attach":["writeonly"]}`, &g)
	alice.want(403, "AccessDenied", "GET", "/bucket/k", "")
	expect(200, "PATCH", "/groups/staff", `{"attach":["read"]}`, &g)
	var role admin.Role
	expect(200, "PATCH", "/roles/loader", `{"attach":["readonly"],"detach":["read"],"boundary":"readonly","max_seconds":3600}`, &role)
	if fmt.Sprintf("%v %v %v %v", g.Policies, role.Policies, role.Boundary, role.MaxDuration) != "[read writeonly] [readonly] readonly 3600" || !strings.Contains(string(role.Trust), "alice") {
		t.Errorf("got %+v, %+v", g, role)
	}
	for _, path := range []string{"/users", "/groups", "/policies", "/roles", "/providers", "/keys"} {
		var all []json.RawMessage
		expect(200, "GET", path, "", &all)
	}
	expect(204, "POST", "/users/alice/revoke-sessions", "", nil)
	expect(204, "POST", "/roles/loader/revoke-sessions", "", nil)
	expect(204, "DELETE", "/roles/loader", "", nil)
	expect(204, "DELETE", "/users/alice", "", nil)
	alice.want(403, "InvalidAccessKeyId", "GET", "/bucket/k", "")
	expect(204, "DELETE", "/groups/staff", "", nil)
	expect(204, "DELETE", "/policies/read", "", nil)
	if strings.Contains(h.logs.String(), k.SecretKey) {
		t.Error("a secret is in the log")
	}
}

// TestOwnKeys covers CVE-2021-43858, CVE-2022-24842, CVE-2024-55949, CVE-2025-62506 and CVE-2026-22043: who may make keys of its own makes none that may more, and none
// of others.
func TestOwnKeys(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	bob := h.user("bob", "admin")
	alice := h.as(h.user("alice", "readwrite"))
	key := func(h *harness, body string) *harness {
		var k admin.Key
		if r := h.call("POST", "/keys", body, &k); r.status != 200 {
			t.Fatalf("CreateOwnKey: %v", r)
		}
		return h.as(sigv4.Signer{AccessKey: k.AccessKey, Secret: k.SecretKey, Region: "us-east-1"})
	}
	narrow := key(alice, `{"policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","admin:*"],"Resource":"*"}]}}`)
	child := key(narrow, `{"policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}}`)
	for _, h := range []*harness{narrow, child} {
		h.must("GET", "/bucket/k", "")
		h.want(403, "AccessDenied", "PUT", "/bucket/k", "y")
	}
	ends := time.Now().Add(time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	short := key(alice, `{"expires":"`+ends+`"}`)
	key(short, "{}")
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/users/bob/keys", "{}"}, {"POST", "/users/alice/keys", "{}"}, {"GET", "/users/bob/keys", ""}, {"DELETE", "/users/bob/keys/" + bob.AccessKey, ""}, {"PATCH", "/users/alice/keys/" + narrow.signer.AccessKey, `{"policy":null}`},
		{"PUT", "/users/alice", `{"policies":["admin"]}`}, {"PATCH", "/users/alice", `{"attach":["admin"]}`}, {"PATCH", "/users/alice", `{"boundary":""}`}, {"PUT", "/users/eve", `{"policies":["admin"]}`}, {"PUT", "/policies/readwrite", `{"document":{}}`}, {"PUT", "/policies/mine", `{"document":{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}}`},
		{"PUT", "/groups/g", `{"policies":["admin"]}`}, {"PUT", "/roles/r", `{"policies":["admin"],"trust":{}}`}, {"GET", "/users", ""}, {"POST", "/explain/access", `{"as":"root","action":"s3:GetObject","resource":"bucket/k"}`}, {"GET", "/info", ""},
	} {
		for name, h := range map[string]*harness{"alice": alice, "a narrowed key of hers": narrow, "a key that made": child} {
			if r := h.call(c.method, c.path, c.body, nil); r.status != 403 {
				t.Errorf("%s: %s %s: got %v", name, c.method, c.path, r)
			}
		}
	}
	if r := alice.call("DELETE", "/keys/"+bob.AccessKey, "", nil); r.status != 404 {
		t.Errorf("somebody else's key: %v", r)
	}
	if r := alice.call("DELETE", "/keys/"+testAccessKey, "", nil); r.status != 404 {
		t.Errorf("root's key: %v", r)
	}
	var keys []admin.Key
	alice.call("GET", "/keys", "", &keys)
	if len(keys) != 5 {
		t.Errorf("alice has the keys %+v", keys)
	}
	for _, k := range keys {
		if k.Expires != nil && k.Expires.Format(time.RFC3339) != ends {
			t.Errorf("a key made by one that ends: %+v", k)
		}
	}
	if r := alice.call("DELETE", "/keys/"+narrow.signer.AccessKey, "", nil); r.status != 204 {
		t.Errorf("her own: %v", r)
	}
	narrow.want(403, "InvalidAccessKeyId", "GET", "/bucket/k", "")
	// A narrowed administrator changes nobody, whatever its policy says.
	chief := h.as(h.user("chief", "admin"))
	lesser := key(chief, `{"policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*"}]}}`)
	for _, c := range []struct{ method, path, body string }{{"PUT", "/users/eve", "{}"}, {"POST", "/users/bob/keys", "{}"}, {"PUT", "/policies/p", `{"document":{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}}`}, {"PATCH", "/users/chief/keys/" + lesser.signer.AccessKey, `{"policy":null}`}} {
		if r := lesser.call(c.method, c.path, c.body, nil); r.status != 403 {
			t.Errorf("%s %s: got %v", c.method, c.path, r)
		}
	}
	if r := lesser.call("GET", "/users", "", nil); r.status != 200 {
		t.Errorf("reading: %v", r)
	}
}

// TestExplainAccess: the answer names what decides, and is the one that the request itself would get.
func TestExplainAccess(t *testing.T) {
	h := newHarness(t)
	h.withLists("bucket")
	h.must("PUT", "/bucket/k", "x")
	h.must("PUT", "/bucket/public", "x", "x-amz-acl", "public-read")
	h.policy("home", `{"Sid":"list","Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bucket"}`,
		`{"Sid":"office","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}`)
	alice := h.user("alice", "home")
	h.must("PUT", "/bucket?policy", `{"Version":"2012-10-17","Statement":{"Sid":"no","Effect":"Deny","Principal":{"AWS":"arn:aws:iam::000000000000:user/alice"},"Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bucket/*"}}`)
	var narrowed admin.Key
	h.as(h.user("carol", "readwrite")).call("POST", "/keys", `{"policy":{"Version":"2012-10-17","Statement":[{"Sid":"some","Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}}`, &narrowed)
	for _, c := range []struct {
		question string
		want     string // allowed, layer, policy, index, sid
	}{
		{`{"as":"root","action":"s3:GetObject","resource":"bucket/k"}`, "true root  -1 "},
		{`{"as":"user/alice","action":"s3:ListBucket","resource":"bucket"}`, "true identity policy home 0 list"},
		{`{"as":"user/alice","action":"s3:GetObject","resource":"bucket/k"}`, "false nothing  -1 "},
		{`{"as":"user/alice","action":"s3:getobject","resource":"bucket/k","conditions":{"AWS:sourceip":["203.0.113.7"]}}`, "true identity policy home 1 office"},
		{`{"as":"` + alice.AccessKey + `","action":"s3:DeleteObject","resource":"bucket/k"}`, "false bucket policy  0 no"},
		{`{"as":"anonymous","action":"s3:GetObject","resource":"bucket/public"}`, "true access control list  -1 "},
		{`{"as":"anonymous","action":"s3:GetObject","resource":"bucket/k"}`, "false nothing  -1 "},
		{`{"as":"` + narrowed.AccessKey + `","action":"s3:ListBucket","resource":"bucket"}`, "true identity policy readwrite 0 "},
		{`{"as":"` + narrowed.AccessKey + `","action":"s3:GetObject","resource":"bucket/k"}`, "false session policy session policy 1 of access key " + narrowed.AccessKey + " -1 "},
		{`{"as":"user/carol","action":"s3:ListAllMyBuckets","resource":""}`, "true identity policy readwrite 0 "},
		{`{"as":"user/carol","action":"admin:PutUser","resource":""}`, "false nothing  -1 "},
	} {
		var e admin.Explanation
		r := h.call("POST", "/explain/access", c.question, &e)
		index := -1
		if e.Index != nil {
			index = *e.Index
		}
		if got := fmt.Sprint(e.Allowed, " ", e.Layer, " ", e.Policy, " ", index, " ", e.Sid); r.status != 200 || got != c.want {
			t.Errorf("%s: got %q (%v), want %q", c.question, got, r, c.want)
		}
		if (e.Statement != nil) != (index >= 0) || e.Reason == "" || e.Sid != "" && !strings.Contains(string(e.Statement), `"`+e.Sid+`"`) {
			t.Errorf("%s: got %v", c.question, r)
		}
	}
	for question, status := range map[string]int{
		`{"as":"user/nobody","action":"s3:GetObject","resource":"bucket/k"}`: 404, `{"as":"root","action":"s3:Nothing","resource":"bucket/k"}`: 400, `{"as":"root","action":"s3:GetObject","resource":"none/k"}`: 404, `{}`: 400,
	} {
		if r := h.call("POST", "/explain/access", question, nil); r.status != status {
			t.Errorf("%s: got %v, want %d", question, r, status)
		}
	}
}
