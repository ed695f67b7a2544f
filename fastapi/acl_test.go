package fastapi

import (
	"fmt"
	"strings"
	"testing"

	"penstock/fastapi/iam"
)

// withLists creates a bucket whose access control lists count and may be public.
func (h *harness) withLists(bucket string) {
	h.t.Helper()
	h.must("PUT", "/"+bucket, "", "x-amz-object-ownership", "ObjectWriter")
	h.open(bucket)
}

// TestListsAreDisabled: as with Amazon today, a new bucket's access control lists mean nothing and cannot be set.
func TestListsAreDisabled(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	if r := h.must("GET", "/bucket?ownershipControls", ""); element(r.body, "ObjectOwnership") != "BucketOwnerEnforced" {
		t.Errorf("ownership: %v", r)
	}
	id := `id="` + ownerID + `"`
	for _, c := range []struct{ method, target string }{{"PUT", "/bucket?acl"}, {"PUT", "/bucket/k?acl"}, {"PUT", "/bucket/new"}, {"POST", "/bucket/new?uploads"}, {"PUT", "/bucket/copy"}} {
		var source []string
		if strings.HasSuffix(c.target, "copy") {
			source = []string{"x-amz-copy-source", "/bucket/k"}
		}
		for _, headers := range [][]string{{"x-amz-acl", "private"}, {"x-amz-acl", "bucket-owner-full-control"}, {"x-amz-grant-full-control", id}} {
			h.must(c.method, c.target, "", append(source, headers...)...)
		}
		for _, headers := range [][]string{{"x-amz-acl", "public-read"}, {"x-amz-acl", "authenticated-read"}, {"x-amz-grant-read", id}, {"x-amz-grant-read", `uri="` + groupURIs[groupAll] + `"`}} {
			h.want(400, "AccessControlListNotSupported", c.method, c.target, "", append(source, headers...)...)
		}
	}
	h.want(400, "InvalidBucketAclWithObjectOwnership", "PUT", "/new", "", "x-amz-acl", "public-read")
	h.want(400, "InvalidBucketAclWithBlockPublicAccessError", "PUT", "/new", "", "x-amz-acl", "public-read", "x-amz-object-ownership", "ObjectWriter")
	h.want(400, "InvalidArgument", "PUT", "/new", "", "x-amz-object-ownership", "Nobody")
	h.want(404, "NoSuchBucket", "GET", "/new", "")
	for _, target := range []string{"/bucket?acl", "/bucket/k?acl"} {
		if r := h.must("GET", target, ""); element(r.body, "Permission") != "FULL_CONTROL" || strings.Count(r.body, "<Grant>") != 1 {
			t.Errorf("%s: %v", target, r)
		}
	}
}

// TestOwnershipControls: the rule can be read, set and removed, and cannot forget lists that others depend on.
func TestOwnershipControls(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "", "x-amz-object-ownership", "BucketOwnerPreferred")
	rule := func(o string) string {
		return "<OwnershipControls xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ObjectOwnership>" + o + "</ObjectOwnership></Rule></OwnershipControls>"
	}
	for _, o := range []string{"BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"} {
		h.must("PUT", "/bucket?ownershipControls", rule(o))
		if r := h.must("GET", "/bucket?ownershipControls", ""); element(r.body, "ObjectOwnership") != o {
			t.Errorf("%s: %v", o, r)
		}
	}
	for _, doc := range []string{"<x/>", rule("Nobody"), "<OwnershipControls></OwnershipControls>", strings.Replace(rule("ObjectWriter"), "</Rule>", "</Rule><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>", 1)} {
		h.want(400, "MalformedXML", "PUT", "/bucket?ownershipControls", doc)
	}
	h.must("DELETE", "/bucket?ownershipControls", "")
	h.want(404, "OwnershipControlsNotFoundError", "GET", "/bucket?ownershipControls", "")
	h.open("bucket")
	h.must("PUT", "/bucket?acl", "", "x-amz-acl", "public-read") // Without a rule they count, as they did before there was one.
	h.want(400, "InvalidBucketAclWithObjectOwnership", "PUT", "/bucket?ownershipControls", rule("BucketOwnerEnforced"))
	h.must("PUT", "/bucket?acl", "", "x-amz-acl", "private")
	h.must("PUT", "/bucket?ownershipControls", rule("BucketOwnerEnforced"))
}

// TestListsAreEnforced: where lists count, they allow what they say and nothing else.
func TestListsAreEnforced(t *testing.T) {
	h := newHarness(t)
	alice := h.user("alice")
	aliceID := iam.CanonicalID(mustUser(t, h, "alice").ID)
	everybody := []struct {
		name string
		do   func(method, target, body string, headers ...string) *reply
	}{{"anonymous", h.anonymously}, {"alice", h.as(alice).do}, {"bob", h.as(h.user("bob")).do}}
	for _, c := range []struct {
		headers              []string
		list, put, read, acl string // Who may: of the bucket's list, and of the object's.
	}{
		{[]string{"x-amz-acl", "private"}, "", "", "", ""},
		{[]string{"x-amz-acl", "public-read"}, "anonymous alice bob", "", "anonymous alice bob", ""},
		{[]string{"x-amz-acl", "public-read-write"}, "anonymous alice bob", "anonymous alice bob", "anonymous alice bob", ""},
		{[]string{"x-amz-acl", "authenticated-read"}, "alice bob", "", "alice bob", ""},
		{[]string{"x-amz-acl", "bucket-owner-read"}, "", "", "", ""},
		{[]string{"x-amz-grant-read", `id="` + aliceID + `"`}, "alice", "", "alice", ""},
		{[]string{"x-amz-grant-write", `id="` + aliceID + `"`}, "", "alice", "", ""},
		{[]string{"x-amz-grant-read-acp", `id="` + aliceID + `", uri="` + groupURIs[groupAuthenticated] + `"`}, "", "", "", "alice bob"},
		{[]string{"x-amz-grant-full-control", `id=` + aliceID}, "alice", "alice", "alice", "alice"},
		{[]string{"x-amz-grant-read", `uri="` + groupURIs[groupLogs] + `"`}, "", "", "", ""},
	} {
		name := fmt.Sprintf("bucket%d", len(h.store.buckets))
		h.withLists(name)
		h.must("PUT", "/"+name+"/k", "x", c.headers...)
		h.must("PUT", "/"+name+"?acl", "", c.headers...)
		who := func(method, target string) string {
			var may []string
			for _, w := range everybody {
				if r := w.do(method, target, ""); r.status < 300 {
					may = append(may, w.name)
				} else if r.status != 403 {
					t.Errorf("%v: %s %s as %s: %v", c.headers, method, target, w.name, r)
				}
			}
			return strings.Join(may, " ")
		}
		for _, try := range []struct{ method, target, want string }{
			{"GET", "/" + name, c.list}, {"GET", "/" + name + "?versions", c.list}, {"PUT", "/" + name + "/new", c.put}, {"DELETE", "/" + name + "/new", c.put},
			{"GET", "/" + name + "/k", c.read}, {"HEAD", "/" + name + "/k", c.read}, {"GET", "/" + name + "/k?acl", c.acl}, {"GET", "/" + name + "?acl", c.acl},
			{"GET", "/" + name + "?policy", ""}, {"GET", "/" + name + "/k?tagging", ""}, {"DELETE", "/" + name, ""},
		} {
			if got := who(try.method, try.target); got != try.want {
				t.Errorf("%v: %s %s: %q may, want %q", c.headers, try.method, try.target, got, try.want)
			}
		}
		// Whoever may list may know what is missing.
		for _, w := range everybody {
			want := 403
			if strings.Contains(c.list, w.name) {
				want = 404
			}
			if r := w.do("GET", "/"+name+"/missing", ""); r.status != want {
				t.Errorf("%v: what is missing, as %s: %v, want %d", c.headers, w.name, r, want)
			}
		}
	}
}

// TestListsGiveWay: a denial, an ignored list and a bucket whose lists do not count win over what a list says.
func TestListsGiveWay(t *testing.T) {
	h := newHarness(t)
	h.withLists("bucket")
	h.must("PUT", "/bucket/k", "x", "x-amz-acl", "public-read")
	read := func(want int) {
		t.Helper()
		if r := h.anonymously("GET", "/bucket/k", ""); r.status != want {
			t.Errorf("got %v, want %d", r, want)
		}
	}
	read(200)
	h.must("PUT", "/bucket?policy", strings.Replace(publicRead, `"Allow"`, `"Deny"`, 1))
	read(403)
	h.must("DELETE", "/bucket?policy", "")
	read(200)
	h.must("PUT", "/bucket?publicAccessBlock", "<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>")
	read(403)
	h.must("PUT", "/bucket?publicAccessBlock", "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>")
	read(200) // It keeps new ones out, and leaves those that are there.
	h.want(403, "AccessDenied", "PUT", "/bucket/k?acl", "", "x-amz-acl", "public-read")
	h.want(403, "AccessDenied", "PUT", "/bucket/new", "", "x-amz-acl", "authenticated-read")
	h.want(403, "AccessDenied", "PUT", "/bucket?acl", "", "x-amz-acl", "public-read")
	h.must("PUT", "/bucket?ownershipControls", "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>")
	read(403)
	if r := h.must("GET", "/bucket/k?acl", ""); strings.Contains(r.body, "AllUsers") {
		t.Errorf("a list that does not count is shown: %v", r)
	}
}

// TestListsOfCopies: a copy and an upload have the list that their request gives them, not that of what they were made from.
func TestListsOfCopies(t *testing.T) {
	h := newHarness(t)
	h.withLists("bucket")
	h.must("PUT", "/bucket/k", "x", "x-amz-acl", "public-read")
	h.must("PUT", "/bucket/plain", "", "x-amz-copy-source", "/bucket/k")
	h.must("PUT", "/bucket/public", "", "x-amz-copy-source", "/bucket/k", "x-amz-acl", "public-read")
	h.must("PUT", "/bucket/k", "y") // Written anew it is private.
	id := element(h.must("POST", "/bucket/upload?uploads", "", "x-amz-acl", "public-read").body, "UploadId")
	tag := h.must("PUT", "/bucket/upload?partNumber=1&uploadId="+id, "x").header.Get("ETag")
	h.must("POST", "/bucket/upload?uploadId="+id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+tag+"</ETag></Part></CompleteMultipartUpload>")
	for key, want := range map[string]int{"k": 403, "plain": 403, "public": 200, "upload": 200} {
		if r := h.anonymously("GET", "/bucket/"+key, ""); r.status != want {
			t.Errorf("%s: %v, want %d", key, r, want)
		}
	}
}

// TestACLDocuments: lists as XML, there and back; and what is none.
func TestACLDocuments(t *testing.T) {
	h := newHarness(t)
	h.withLists("bucket")
	h.must("PUT", "/bucket/k", "x")
	h.user("alice")
	aliceID := iam.CanonicalID(mustUser(t, h, "alice").ID)
	const xsi = `xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"`
	grant := func(kind, element, value, permission string) string {
		return `<Grant><Grantee ` + xsi + ` xsi:type="` + kind + `"><` + element + `>` + value + `</` + element + `></Grantee><Permission>` + permission + `</Permission></Grant>`
	}
	doc := func(owner string, grants ...string) string {
		return `<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>` + owner + `</ID></Owner><AccessControlList>` + strings.Join(grants, "") + `</AccessControlList></AccessControlPolicy>`
	}
	list := []string{grant("CanonicalUser", "ID", ownerID, "FULL_CONTROL"), grant("CanonicalUser", "ID", aliceID, "WRITE_ACP"), grant("Group", "URI", groupURIs[groupAll], "READ")}
	for _, target := range []string{"/bucket?acl", "/bucket/k?acl"} {
		h.must("PUT", target, doc(ownerID, list...))
		r := h.must("GET", target, "")
		for _, want := range []string{`xsi:type="CanonicalUser"><ID>` + aliceID + `</ID><DisplayName>alice</DisplayName></Grantee><Permission>WRITE_ACP<`, `xsi:type="Group"><URI>` + groupURIs[groupAll] + `</URI></Grantee><Permission>READ<`, "<Permission>FULL_CONTROL<"} {
			if !strings.Contains(r.body, want) {
				t.Errorf("%s: %v lacks %s", target, r, want)
			}
		}
		h.must("PUT", target, r.body) // What was read can be written.
		h.must("PUT", target, doc(ownerID))
		if r := h.must("GET", target, ""); strings.Contains(r.body, "<Grant>") {
			t.Errorf("%s: an empty list is %v", target, r)
		}
		for _, c := range []struct {
			status     int
			code, body string
			headers    []string
		}{
			{403, "AccessDenied", doc(aliceID, list...), nil},
			{400, "MalformedACLError", "<x/>", nil},
			{400, "MalformedACLError", doc(ownerID, grant("CanonicalUser", "ID", ownerID, "EVERYTHING")), nil},
			{400, "MalformedACLError", doc(ownerID, "<Grant><Permission>READ</Permission></Grant>"), nil},
			{400, "InvalidArgument", doc(ownerID, grant("CanonicalUser", "ID", strings.Repeat("0", 64), "READ")), nil},
			{400, "InvalidArgument", doc(ownerID, grant("Group", "URI", "http://acs.amazonaws.com/groups/global/Nobody", "READ")), nil},
			{405, "MethodNotAllowed", doc(ownerID, grant("AmazonCustomerByEmail", "EmailAddress", "a@example.com", "READ")), nil},
			{400, "MissingSecurityHeader", "", nil},
			{400, "UnexpectedContent", doc(ownerID, list...), []string{"x-amz-acl", "private"}},
			{400, "InvalidArgument", "", []string{"x-amz-acl", "public"}},
			{400, "InvalidArgument", "", []string{"x-amz-grant-read", "alice"}},
			{400, "InvalidArgument", "", []string{"x-amz-grant-read", `id="alice"`}},
			{400, "InvalidRequest", "", []string{"x-amz-acl", "private", "x-amz-grant-read", `id="` + aliceID + `"`}},
			{400, "InvalidRequest", doc(ownerID, strings.Repeat(list[0], 101)), nil},
		} {
			h.want(c.status, c.code, "PUT", target, c.body, c.headers...)
		}
	}
	h.want(404, "NoSuchKey", "PUT", "/bucket/none?acl", "", "x-amz-acl", "private")
}

// TestOpenBuckets: where the node is told to, buckets are created as they were before 2023.
func TestOpenBuckets(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.OpenBuckets = true })
	h.must("PUT", "/bucket", "", "x-amz-acl", "public-read")
	h.must("PUT", "/bucket/k", "x", "x-amz-acl", "public-read")
	if r := h.anonymously("GET", "/bucket/k", ""); r.status != 200 {
		t.Errorf("got %v", r)
	}
	h.want(404, "NoSuchPublicAccessBlockConfiguration", "GET", "/bucket?publicAccessBlock", "")
	h.must("PUT", "/strict", "", "x-amz-object-ownership", "BucketOwnerEnforced")
	h.want(400, "AccessControlListNotSupported", "PUT", "/strict/k", "x", "x-amz-acl", "public-read")
}

// TestBrokenConfiguration: a bucket whose configuration cannot be read lets nobody in.
func TestBrokenConfiguration(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{attrPolicy, attrPublicBlock, attrACL} {
		h.must("PUT", "/bucket", "")
		h.store.setBucketAttrs("bucket", withAttr(nil, name, "{what is this"))
		if r := h.do("GET", "/bucket", ""); r.status != 500 {
			t.Errorf("%s: %v", name, r)
		}
		if r := h.anonymously("GET", "/bucket/k", ""); r.status != 500 {
			t.Errorf("%s, anonymous: %v", name, r)
		}
		h.store.setBucketAttrs("bucket", nil)
		h.must("DELETE", "/bucket", "")
	}
}
