package fastapi

import (
	"fmt"
	"strings"
	"testing"

	"penstock/fastapi/iam"
)

const publicRead = `{"Version":"2012-10-17","Statement":[{"Sid":"r","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}`

// open lets a bucket be public.
func (h *harness) open(bucket string) {
	h.t.Helper()
	h.must("DELETE", "/"+bucket+"?publicAccessBlock", "")
}

// TestBucketPolicy: a policy is kept as it was sent, and enforced from the answer on.
func TestBucketPolicy(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "public")
	h.want(404, "NoSuchBucketPolicy", "GET", "/bucket?policy", "")
	h.want(404, "NoSuchBucketPolicy", "GET", "/bucket?policyStatus", "")
	h.want(404, "NoSuchBucket", "PUT", "/none?policy", publicRead)
	h.open("bucket")
	if r := h.must("PUT", "/bucket?policy", publicRead); r.status != 204 || r.body != "" {
		t.Errorf("PutBucketPolicy: %v", r)
	}
	if r := h.must("GET", "/bucket?policy", ""); r.body != publicRead || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("GetBucketPolicy: %v", r)
	}
	if r := h.must("GET", "/bucket?policyStatus", ""); element(r.body, "IsPublic") != "true" {
		t.Errorf("GetBucketPolicyStatus: %v", r)
	}
	if r := h.anonymously("GET", "/bucket/k", ""); r.status != 200 || r.body != "public" {
		t.Errorf("anonymous: %v", r)
	}
	for _, target := range []string{"/bucket", "/bucket/k?acl", "/bucket/k?versionId=null", "/bucket?policy"} {
		if r := h.anonymously("GET", target, ""); r.status != 403 {
			t.Errorf("anonymous %s: %v", target, r)
		}
	}
	if r := h.anonymously("GET", "/bucket/none", ""); r.status != 403 || r.code() != "AccessDenied" {
		t.Errorf("anonymous, what is missing: %v", r)
	}
	// Overrides of headers need a signature (CVE-2020-1760).
	if r := h.anonymously("GET", "/bucket/k?response-content-type=text/html", ""); r.status != 400 || r.code() != "InvalidRequest" {
		t.Errorf("anonymous override: %v", r)
	}
	h.must("GET", "/bucket/k?response-content-type=text/html", "")
	if r := h.must("DELETE", "/bucket?policy", ""); r.status != 204 {
		t.Errorf("DeleteBucketPolicy: %v", r)
	}
	if r := h.anonymously("GET", "/bucket/k", ""); r.status != 403 {
		t.Errorf("anonymous afterwards: %v", r)
	}

	// A bucket of the same name later is another one.
	h.must("PUT", "/bucket?policy", publicRead)
	h.must("DELETE", "/bucket/k", "")
	h.must("DELETE", "/bucket", "")
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "private")
	if r := h.anonymously("GET", "/bucket/k", ""); r.status != 403 {
		t.Errorf("anonymous, another bucket: %v", r)
	}
}

// TestBadBucketPolicies: what is no policy for this bucket is refused and changes nothing.
func TestBadBucketPolicies(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.open("bucket")
	h.must("PUT", "/bucket?policy", publicRead)
	h.user("alice")
	for document, message := range map[string]string{
		"{}": "Missing required field Statement",
		"x":  "Policies must be valid JSON and the first byte must be '{'",
		strings.ReplaceAll(publicRead, "bucket", "other"):                                                "Policy has invalid resource",
		strings.Replace(publicRead, `"*"`, `{"AWS":"arn:aws:iam::000000000000:user/nobody"}`, 1):         "Invalid principal in policy",
		strings.Replace(publicRead, `"*"`, `{"AWS":"arn:aws:iam::000000000000:role/nothing"}`, 1):        "Invalid principal in policy",
		strings.Replace(publicRead, `"*"`, `{"CanonicalUser":"`+strings.Repeat("0", 64)+`"}`, 1):         "Invalid principal in policy",
		strings.Replace(publicRead, "s3:GetObject", "s3:GetObjekt", 1):                                   "Policy has invalid action",
		strings.Replace(publicRead, `"Sid":"r"`, `"Condition":{"StringEquals":{"s3:x":"y"}}`, 1):         "Policy has an invalid condition key",
		strings.Replace(publicRead, `"Sid":"r"`, `"Sid":"`+strings.Repeat("x", 21<<10)+`"`, 1):           "Policy document must not exceed the maximum size of 20480 bytes",
		`{"Version":"2012-10-17","Statement":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`: "The policy is nested deeper than 16 levels",
		strings.Replace(publicRead, `"Sid":"r"`, `"Effect":"Deny"`, 1):                                   "Duplicate field Effect",
	} {
		if r := h.want(400, "MalformedPolicy", "PUT", "/bucket?policy", document); element(r.body, "Message") != strings.ReplaceAll(message, `"`, "&quot;") {
			t.Errorf("%.100s: %v", document, r)
		}
	}
	h.want(400, "MissingRequestBodyError", "PUT", "/bucket?policy", "")
	if r := h.must("GET", "/bucket?policy", ""); r.body != publicRead {
		t.Errorf("the policy is now %v", r)
	}
	h.must("PUT", "/bucket?policy", strings.Replace(publicRead, `"*"`, `{"AWS":["arn:aws:iam::000000000000:user/alice","000000000000"],"CanonicalUser":"`+ownerID+`"}`, 1))
}

// TestNobodyIsLockedOut: root can always mend a policy, and others must confirm that they give that up.
func TestNobodyIsLockedOut(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	denyAll := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]}`
	admin := h.as(h.user("chief", "admin"))
	admin.want(403, "AccessDenied", "PUT", "/bucket?policy", denyAll)
	admin.must("PUT", "/bucket?policy", denyAll, "x-amz-confirm-remove-self-bucket-access", "true")
	for _, who := range []*harness{h, admin} {
		who.want(403, "AccessDenied", "GET", "/bucket/k", "")
		who.want(403, "AccessDenied", "DELETE", "/bucket", "")
	}
	admin.want(403, "AccessDenied", "DELETE", "/bucket?policy", "")
	h.must("GET", "/bucket?policy", "")
	h.must("PUT", "/bucket?policy", denyAll)
	h.must("DELETE", "/bucket?policy", "")
	h.must("GET", "/bucket/k", "")
}

// TestPublicAccessBlock: a new bucket blocks all public access; each setting does what it says.
func TestPublicAccessBlock(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	get := func() (settings []string) {
		r := h.must("GET", "/bucket?publicAccessBlock", "")
		for _, name := range blockNames {
			settings = append(settings, element(r.body, name))
		}
		return settings
	}
	put := func(which int) {
		doc := "<PublicAccessBlockConfiguration>"
		for i, name := range blockNames {
			doc += fmt.Sprintf("<%s>%v</%s>", name, i == which, name)
		}
		h.must("PUT", "/bucket?publicAccessBlock", doc+"</PublicAccessBlockConfiguration>")
	}
	if got := fmt.Sprint(get()); got != "[true true true true]" {
		t.Errorf("a new bucket has %s", got)
	}
	h.want(403, "AccessDenied", "PUT", "/bucket?policy", publicRead)
	for which := range blockNames {
		put(which)
		for i, text := range get() {
			if (text == "true") != (i == which) {
				t.Errorf("%s: got %v", blockNames[which], get())
			}
		}
		r := h.do("PUT", "/bucket?policy", publicRead)
		if blocked := blockNames[which] == "BlockPublicPolicy"; blocked != (r.status == 403) {
			t.Errorf("%s: PutBucketPolicy: %v", blockNames[which], r)
		}
		if r.status == 204 {
			r := h.anonymously("GET", "/bucket/k", "")
			if restricted := blockNames[which] == "RestrictPublicBuckets"; restricted != (r.status == 403) {
				t.Errorf("%s: anonymous: %v", blockNames[which], r)
			}
		}
		h.must("DELETE", "/bucket?policy", "")
	}
	// With a public policy in a bucket that is restricted, those who are known may still do what it allows.
	h.open("bucket")
	h.must("PUT", "/bucket?policy", publicRead)
	put(3)
	if r := h.as(h.user("alice")).do("GET", "/bucket/k", ""); r.status != 200 {
		t.Errorf("somebody who is known: %v", r)
	}
	h.must("DELETE", "/bucket?publicAccessBlock", "")
	h.want(404, "NoSuchPublicAccessBlockConfiguration", "GET", "/bucket?publicAccessBlock", "")
	for _, doc := range []string{"<x/>", "<PublicAccessBlockConfiguration><BlockPublicAcls>maybe</BlockPublicAcls></PublicAccessBlockConfiguration>", "<PublicAccessBlockConfiguration><Other>true</Other></PublicAccessBlockConfiguration>"} {
		h.want(400, "MalformedXML", "PUT", "/bucket?publicAccessBlock", doc)
	}
}

// TestPoliciesAboutPrincipals: bucket policies name users, roles, sessions and the account.
func TestPoliciesAboutPrincipals(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	alice, bob := h.user("alice"), h.user("bob", "readonly")
	id, err := h.people.PutRole(t.Context(), h.root(), iam.Role{Name: "loader", Trust: `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/alice"},"Action":"sts:AssumeRole"}]}`})
	if err != nil {
		t.Fatal(err)
	}
	loader := h.assume(alice, "loader", "job")
	for principal, want := range map[string]string{ // Of root, alice, bob, and a session of loader: who may read.
		`{"AWS":"arn:aws:iam::000000000000:user/alice"}`:                          "root alice bob",
		`{"AWS":"arn:aws:iam::000000000000:role/loader"}`:                         "root bob loader",
		`{"AWS":"arn:aws:sts::000000000000:assumed-role/loader/job"}`:             "root bob loader",
		`{"AWS":"arn:aws:sts::000000000000:assumed-role/loader/another"}`:         "root bob",
		`{"AWS":"000000000000"}`:                                                  "root bob", // It leaves the decision to their own policies.
		`{"CanonicalUser":"` + iam.CanonicalID(mustUser(t, h, "alice").ID) + `"}`: "root alice bob",
	} {
		h.must("PUT", "/bucket?policy", strings.Replace(publicRead, `"*"`, principal, 1))
		got := []string{}
		for _, w := range []struct {
			name string
			h    *harness
		}{{"root", h}, {"alice", h.as(alice)}, {"bob", h.as(bob)}, {"loader", h.as(loader)}} {
			if w.h.do("GET", "/bucket/k", "").status == 200 {
				got = append(got, w.name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v may read, want %s", principal, got, want)
		}
	}
	deny := strings.NewReplacer(`"Allow"`, `"Deny"`, `"Principal":"*"`, `"NotPrincipal":{"AWS":["arn:aws:iam::000000000000:user/bob","000000000000"]}`).Replace(publicRead)
	h.must("PUT", "/bucket?policy", deny)
	h.as(bob).must("GET", "/bucket/k", "")
	h.must("GET", "/bucket/k", "")
	h.as(loader).want(403, "AccessDenied", "GET", "/bucket/k", "")
	_ = id
}

func mustUser(t *testing.T, h *harness, name string) iam.User {
	t.Helper()
	u, err := h.people.User(name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
