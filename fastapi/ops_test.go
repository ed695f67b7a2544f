package fastapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"penstock/engine"
)

func TestEveryOperationAnswersOrSaysItsName(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/key", "x")
	h.must("PUT", "/bucket/source", "x")
	ops, targets := h.every()
	for i, op := range ops {
		r := h.do(op.method, targets[i], "", op.testHeaders()...)
		switch {
		case op.level == levelAdmin && r.status == 501: // No program stands behind the test.
		case !op.there() && (r.status != 501 || r.code() != "NotImplemented" || element(r.body, "Operation") != op.name):
			t.Errorf("%s: got %v, want 501 with its name", op.name, r)
		case op.there() && (r.status == 501 && op.level != levelAdmin || r.status == 405): // No process stands behind the administration API here.
			t.Errorf("%s: got %v", op.name, r)
		}
		// What a sub-resource lacks for another method is not allowed, and never taken for the plain operation.
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"} {
			if op.selector == "" {
				continue
			}
			r := h.do(method, targets[i], "", "x-amz-object-attributes", "ETag")
			if r.status < 300 && !slices.ContainsFunc(ops, func(o *operation) bool {
				return o.there() && o.method == method && o.level == op.level && o.selector == op.selector
			}) {
				t.Errorf("%s %s: got %v", method, targets[i], r)
			}
		}
	}
}

// there reports whether the operation is implemented.
func (op *operation) there() bool {
	return fmt.Sprintf("%p", op.handle) != fmt.Sprintf("%p", unavailable)
}

func TestRouting(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	for _, c := range []struct {
		method, target string
		status         int
		code           string
	}{
		{"PATCH", "/bucket/k", 405, "MethodNotAllowed"},
		{"POST", "/bucket/k", 405, "MethodNotAllowed"},
		{"POST", "/", 405, "MethodNotAllowed"},
		{"DELETE", "/", 405, "MethodNotAllowed"},
		{"DELETE", "/bucket?location", 405, "MethodNotAllowed"},
		{"PUT", "/bucket/k?policy", 405, "MethodNotAllowed"},
		{"GET", "/bucket/k?lifecycle", 405, "MethodNotAllowed"},
		{"HEAD", "/bucket/k?acl", 405, ""},
		{"GET", "/bucket?acl&policy", 400, "InvalidArgument"},
		{"GET", "/bucket/k?uploads&uploadId=x", 400, "InvalidArgument"},
		{"GET", "/bucket?ACL", 501, "NotImplemented"},
		{"GET", "/bucket?list-type=2&uploads", 200, ""},
		{"GET", "/bucket?list-type=1", 200, ""},
		{"GET", "/bucket?versionId=null", 200, ""},
		{"GET", "/bucket/k?versionId=null", 200, ""},
		{"GET", "/bucket/k?versionId=abc", 400, "InvalidArgument"},
		{"GET", "/bucket/k?versionId=", 400, "InvalidArgument"},
		{"DELETE", "/bucket/k?versionId=abc", 400, "InvalidArgument"},
		{"GET", "/bucket/k?versionId=" + formatVersion(9), 404, "NoSuchVersion"},
		{"DELETE", "/bucket/k?versionId=" + formatVersion(9), 204, ""},
		{"GET", "/bucket/k?response-content-type=", 200, ""},
		{"DELETE", "/bucket/k?versionId=null", 204, ""},
	} {
		r := h.do(c.method, c.target, "")
		if r.status != c.status || r.code() != c.code {
			t.Errorf("%s %s: got %v, want %d %s", c.method, c.target, r, c.status, c.code)
		}
		if c.status == 405 && r.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", c.method, c.target)
		}
	}
}

// TestUnsupportedHeadersAreRefused: nobody may believe that bytes were encrypted or shared when they were not.
func TestUnsupportedHeadersAreRefused(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"x-amz-server-side-encryption", "AES256", false},
		{"x-amz-server-side-encryption-customer-algorithm", "AES256", false},
		{"x-amz-server-side-encryption-aws-kms-key-id", "k", false},
		{"x-amz-tagging", "a=b", true},
		{"x-amz-tagging", "", true},
		{"x-amz-acl", "private", true},
		{"x-amz-acl", "bucket-owner-full-control", true},
		{"x-amz-website-redirect-location", "/x", false},
		{"x-amz-write-offset-bytes", "0", false},
		{"x-amz-expected-bucket-owner", ownerAccount, true},
		{"x-amz-request-payer", "requester", true},
	} {
		for _, target := range []string{"/bucket/k", "/bucket/k?uploads"} {
			method := "PUT"
			if strings.Contains(target, "?") {
				method = "POST"
			}
			r := h.do(method, target, "", c.name, c.value)
			if c.ok != (r.status == 200) || !c.ok && (r.status != 501 || element(r.body, "Header") != c.name) {
				t.Errorf("%s %s with %s: %s: got %v", method, target, c.name, c.value, r)
			}
		}
	}
	h.want(403, "AccessDenied", "PUT", "/bucket/k", "", "x-amz-expected-bucket-owner", "123456789012")
	h.must("PUT", "/unlocked", "", "x-amz-object-ownership", "BucketOwnerEnforced")
}

func TestMetadata(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	sent := []string{
		"Content-Type", "text/html; charset=utf-8", "Cache-Control", "max-age=5", "Content-Disposition", `attachment; filename="ä.txt"`, "Content-Encoding", "gzip",
		"Content-Language", "de, en", "Expires", "Thu, 01 Dec 2033 16:00:00 GMT", "x-amz-storage-class", "STANDARD_IA",
		"x-amz-meta-plain", "value", "x-amz-meta-utf8", "grüße 😀", "x-amz-meta-latin1", "gr\xfc\xdfe", "x-amz-meta-rfc2047", "=?UTF-8?B?ZsO8cg==?=", "x-amz-meta-spaces", "a   b", "x-amz-meta-empty", "",
	}
	compare := func(where string, r *reply) {
		t.Helper()
		for i := 0; i < len(sent); i += 2 {
			if got := r.header.Get(sent[i]); got != sent[i+1] {
				t.Errorf("%s: %s is %q, want %q", where, sent[i], got, sent[i+1])
			}
		}
	}
	h.must("PUT", "/bucket/k", "x", sent...)
	compare("GET", h.must("GET", "/bucket/k", ""))
	compare("HEAD", h.must("HEAD", "/bucket/k", ""))
	compare("206", h.must("GET", "/bucket/k", "", "Range", "bytes=0-0"))
	h.upload("/bucket/m", []string{"x"}, sent, nil)
	compare("multipart", h.must("GET", "/bucket/m", ""))
	h.must("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/k", "x-amz-storage-class", "STANDARD_IA")
	compare("copy", h.must("GET", "/bucket/copy", ""))
	h.must("PUT", "/bucket/fresh", "", append([]string{"x-amz-copy-source", "/bucket/m", "x-amz-metadata-directive", "REPLACE"}, sent...)...)
	compare("replaced", h.must("GET", "/bucket/fresh", ""))
	if r := h.must("GET", "/bucket?list-type=2&prefix=k", ""); element(r.body, "StorageClass") != "STANDARD_IA" {
		t.Errorf("list: %v", r)
	}

	if r := h.must("PUT", "/bucket/bare", "x"); r.status != 200 {
		t.Fatal(r)
	}
	r := h.must("GET", "/bucket/bare", "")
	if r.header.Get("Content-Type") != "binary/octet-stream" || r.header.Get("x-amz-storage-class") != "" || r.header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("bare: %v", r.header)
	}
	h.want(400, "InvalidStorageClass", "PUT", "/bucket/k", "x", "x-amz-storage-class", "GOLD")
}

func TestDeleteObjects(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	fill := func(n int) string {
		doc := ""
		for i := range n {
			doc += fmt.Sprintf("<Object><Key>k%04d</Key></Object>", i)
		}
		return doc
	}
	h.must("PUT", "/bucket/k0000", "x")
	r := h.must("POST", "/bucket?delete", "<Delete>"+fill(1000)+"</Delete>")
	if n := strings.Count(r.body, "<Deleted>"); n != 1000 {
		t.Errorf("%d keys deleted", n)
	}
	h.want(400, "MalformedXML", "POST", "/bucket?delete", "<Delete>"+fill(1001)+"</Delete>")
	r = h.must("POST", "/bucket?delete", "<Delete><Quiet>true</Quiet>"+fill(3)+"</Delete>")
	if strings.Contains(r.body, "<Deleted>") {
		t.Errorf("quiet: %v", r)
	}
	tag := h.must("PUT", "/bucket/a", "x").header.Get("ETag")
	h.must("PUT", "/bucket/b", "x")
	h.must("PUT", "/bucket/c", "x")
	r = h.must("POST", "/bucket?delete", "<Delete>"+
		"<Object><Key>a</Key><ETag>"+string(appendEscaped(nil, tag))+"</ETag></Object>"+
		"<Object><Key>b</Key><ETag>other</ETag></Object>"+
		"<Object><Key>c</Key><VersionId>v1</VersionId></Object>"+
		"<Object><Key>d</Key><VersionId>null</VersionId></Object>"+
		"<Object><Key>"+strings.Repeat("k", 1025)+"</Key></Object>"+
		"<Object><Key>e</Key><Size>5</Size></Object></Delete>")
	for _, want := range []string{"<Deleted><Key>a</Key></Deleted>", "<Error><Key>b</Key><Code>PreconditionFailed</Code>", "<Error><Key>c</Key><VersionId>v1</VersionId><Code>InvalidArgument</Code>",
		"<Deleted><Key>d</Key><VersionId>null</VersionId></Deleted>", "<Code>KeyTooLongError</Code>", "<Error><Key>e</Key><Code>NoSuchKey</Code>"} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %s in %s", want, r.body)
		}
	}
	if got := fmt.Sprint(h.store.keys("bucket")); got != "[b c]" {
		t.Errorf("left: %s", got)
	}
	h.store.setFail(func(op, key string) error {
		if op == "Delete" && key == "b" {
			return kindError(engine.KindUnavailable, "bucket", key)
		}
		return nil
	})
	r = h.must("POST", "/bucket?delete", "<Delete><Object><Key>b</Key></Object><Object><Key>c</Key></Object></Delete>")
	if !strings.Contains(r.body, "<Error><Key>b</Key><Code>ServiceUnavailable</Code>") || !strings.Contains(r.body, "<Deleted><Key>c</Key></Deleted>") {
		t.Errorf("one failure: %v", r)
	}
}

func TestIDs(t *testing.T) {
	h := newHarness(t)
	seen := map[string]bool{}
	for range 50 {
		r := h.do("GET", "/", "")
		id := r.header.Get("x-amz-request-id")
		if len(id) != 16 || seen[id] || r.header.Get("x-amz-id-2") == "" {
			t.Errorf("id %q", id)
		}
		seen[id] = true
	}
}
