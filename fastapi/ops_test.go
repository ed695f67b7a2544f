package fastapi

import (
	"bufio"
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
		case !op.there() && (r.status != 501 || r.code() != "NotImplemented" || element(r.body, "Operation") != op.name):
			t.Errorf("%s: got %v, want 501 with its name", op.name, r)
		case op.there() && (r.status == 501 || r.status == 405):
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
		{"GET", "/bucket/k?versionId=abc", 404, "NoSuchVersion"},
		{"GET", "/bucket/k?versionId=", 400, "InvalidArgument"},
		{"DELETE", "/bucket/k?versionId=abc", 404, "NoSuchVersion"},
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

// TestUnsupportedHeadersAreRefused: nobody may believe that bytes were encrypted, locked or shared when they were not.
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
		{"x-amz-object-lock-mode", "COMPLIANCE", false},
		{"x-amz-object-lock-legal-hold", "ON", false},
		{"x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z", false},
		{"x-amz-tagging", "a=b", false},
		{"x-amz-tagging", "", true},
		{"x-amz-acl", "public-read", false},
		{"x-amz-acl", "private", true},
		{"x-amz-acl", "bucket-owner-full-control", true},
		{"x-amz-grant-read", "id=x", false},
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
	h.want(501, "NotImplemented", "PUT", "/locked", "", "x-amz-bucket-object-lock-enabled", "true")
	h.must("PUT", "/unlocked", "", "x-amz-bucket-object-lock-enabled", "false", "x-amz-object-ownership", "BucketOwnerEnforced")
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

// TestTrapHeaderCase: fasthttp would spell x-amz-meta-FooBar as X-Amz-Meta-Foobar; names leave in lower case, as Amazon sends them.
func TestTrapHeaderCase(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x", "X-AMZ-Meta-FooBar", "Value", "RANGE", "bytes=0-0")
	c := h.dial()
	c.Write(h.build("GET", "/bucket/k", nil, "rAnGe", "bytes=0-0").head())
	raw := ""
	for br := bufio.NewReader(c); !strings.HasSuffix(raw, "\r\n\r\n"); {
		line, err := br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		raw += line
	}
	for _, want := range []string{"\r\nx-amz-meta-foobar: Value\r\n", "\r\nETag: ", "\r\nx-amz-request-id: ", "206 Partial Content\r\n"} {
		if !strings.Contains(raw, want) {
			t.Errorf("no %q in %q", want, raw)
		}
	}
}

// TestTrapDuplicateMetadata: headers sent twice are joined, as the signature has it.
func TestTrapDuplicateMetadata(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x", "x-amz-meta-a", "one", "x-amz-meta-a", "two  three")
	if got := h.must("GET", "/bucket/k", "").header.Get("x-amz-meta-a"); got != "one,two  three" {
		t.Errorf("got %q", got)
	}
}

// TestTrapNothingIsKept: a key or metadata that refers to the request's buffers would change with the next request on the connection.
func TestTrapNothingIsKept(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	s := &session{h: h}
	for i := range 20 {
		s.send(h.build("PUT", fmt.Sprintf("/bucket/key-%02d", i), []byte("x"), "x-amz-meta-n", fmt.Sprintf("value-%02d", i), "Content-Type", fmt.Sprintf("type/%02d", i)))
	}
	for i := range 20 {
		o := h.store.stored("bucket", fmt.Sprintf("key-%02d", i))
		if o == nil || o.info.Key != fmt.Sprintf("key-%02d", i) || o.info.Attr("x-amz-meta-n") != fmt.Sprintf("value-%02d", i) || o.info.Attr("content-type") != fmt.Sprintf("type/%02d", i) {
			t.Errorf("object %d is %+v", i, o)
		}
	}
}

// TestTrapLargeBodies: fasthttp's limit of 4 MiB does not apply, and a multipart form is not taken apart.
func TestTrapLargeBodies(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("0123456789", 1<<20)
	h.must("PUT", "/bucket/k", body)
	if r := h.must("GET", "/bucket/k", ""); r.body != body {
		t.Errorf("read %d bytes", len(r.body))
	}
	form := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nhello\r\n--b--\r\n"
	h.must("PUT", "/bucket/form", form, "Content-Type", "multipart/form-data; boundary=b")
	if r := h.must("GET", "/bucket/form", ""); r.body != form {
		t.Errorf("a form was taken apart: %q", r.body)
	}
}

// TestTrapPipelining: requests that arrive together are answered one after another, with bodies and without.
func TestTrapPipelining(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	var all []byte
	for i := range 10 {
		q := h.build("PUT", fmt.Sprintf("/bucket/k%d", i), []byte(strings.Repeat("x", i*1000)))
		all = append(append(all, q.head()...), q.body...)
		all = append(all, h.build("GET", fmt.Sprintf("/bucket/k%d", i), nil).head()...)
	}
	c := h.dial()
	go c.Write(all)
	br := bufio.NewReader(c)
	for i := range 10 {
		if r := h.read(br, "PUT"); r.status != 200 {
			t.Fatalf("PUT %d: %v", i, r)
		}
		if r := h.read(br, "GET"); len(r.body) != i*1000 {
			t.Fatalf("GET %d: %v", i, r)
		}
	}
}

func TestHTTP10(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", strings.Repeat("x", 100_000))
	q := h.build("GET", "/bucket/k", nil)
	c := h.dial()
	c.Write([]byte(strings.Replace(string(q.head()), "HTTP/1.1", "HTTP/1.0", 1)))
	if r, _ := h.answerOf(c); len(r.body) != 100_000 {
		t.Errorf("got %d bytes", len(r.body))
	}
}

func TestListBuckets(t *testing.T) {
	h := newHarness(t)
	if r := h.must("GET", "/", ""); !strings.Contains(r.body, "<Buckets></Buckets>") || element(r.body, "DisplayName") != ownerName {
		t.Errorf("none: %v", r)
	}
	for i := range 5 {
		h.must("PUT", fmt.Sprintf("/bucket-%d", i), "")
	}
	h.must("PUT", "/other", "")
	r := h.must("GET", "/?max-buckets=2&prefix=bucket-", "")
	names := ""
	for range 5 {
		for _, b := range strings.Split(r.body, "<Bucket>")[1:] {
			names += element(b, "Name") + " "
		}
		token := element(r.body, "ContinuationToken")
		if token == "" {
			break
		}
		r = h.must("GET", "/?max-buckets=2&prefix=bucket-&continuation-token="+token, "")
	}
	if names != "bucket-0 bucket-1 bucket-2 bucket-3 bucket-4 " {
		t.Errorf("pages: %s", names)
	}
	h.want(400, "InvalidArgument", "GET", "/?max-buckets=0", "")
	h.want(400, "InvalidArgument", "GET", "/?max-buckets=10001", "")
	if r := h.must("GET", "/?bucket-region=us-west-2", ""); strings.Contains(r.body, "<Bucket>") {
		t.Errorf("another region: %v", r)
	}
}

func TestBuckets(t *testing.T) {
	h := newHarness(t)
	r := h.must("PUT", "/bucket", "")
	if r.header.Get("Location") != "/bucket" {
		t.Errorf("create: %v", r)
	}
	h.want(400, "InvalidBucketName", "PUT", "/192.168.1.1", "")
	h.want(400, "InvalidBucketName", "PUT", "/Capital", "")
	h.want(400, "MalformedXML", "PUT", "/other", "<CreateBucketConfiguration><Location")
	h.want(501, "NotImplemented", "PUT", "/other", "<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>")
	h.want(404, "NoSuchBucket", "DELETE", "/other", "")
	h.want(404, "NoSuchBucket", "PUT", "/other/k", "x")
	h.want(404, "NoSuchBucket", "GET", "/other", "")
	h.want(404, "NoSuchBucket", "GET", "/other?uploads", "")
	h.want(404, "NoSuchBucket", "GET", "/other?versioning", "")
	h.want(404, "NoSuchBucket", "POST", "/other?delete", "<Delete><Object><Key>a</Key></Object></Delete>")
	if r := h.must("GET", "/bucket?versioning", ""); !strings.Contains(r.body, "<VersioningConfiguration") || strings.Contains(r.body, "Status") {
		t.Errorf("versioning: %v", r)
	}
	h.must("HEAD", "/bucket", "")
	if r := h.must("DELETE", "/bucket", ""); r.status != 204 {
		t.Errorf("delete: %v", r)
	}
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
	for _, want := range []string{"<Deleted><Key>a</Key></Deleted>", "<Error><Key>b</Key><Code>PreconditionFailed</Code>", "<Error><Key>c</Key><VersionId>v1</VersionId><Code>NoSuchVersion</Code>",
		"<Deleted><Key>d</Key><VersionId>null</VersionId></Deleted>", "<Code>KeyTooLongError</Code>", "<Error><Key>e</Key><Code>NotImplemented</Code>"} {
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

func TestMultipart(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	id := element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target := "/bucket/k?uploadId=" + id
	parts := longParts(3)
	tags := make([]string, len(parts))
	for i, p := range parts {
		tags[i] = h.must("PUT", fmt.Sprintf("%s&partNumber=%d", target, i+1), p).header.Get("ETag")
		if tags[i] != `"`+md5Of(p)+`"` {
			t.Errorf("part %d: ETag %s", i+1, tags[i])
		}
	}
	complete := func(list ...string) string {
		doc := "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
		for i := 0; i < len(list); i += 2 {
			doc += "<Part><ETag>" + string(appendEscaped(nil, list[i+1])) + "</ETag><PartNumber>" + list[i] + "</PartNumber></Part>"
		}
		return doc + "</CompleteMultipartUpload>"
	}
	for _, c := range []struct {
		doc     string
		status  int
		code    string
		headers []string
	}{
		{"", 400, "InvalidRequest", nil},
		{"<CompleteMultipartUpload/>", 400, "MalformedXML", nil},
		{"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>", 400, "MalformedXML", nil},
		{"<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>", 400, "MalformedXML", nil},
		{complete("x", tags[0]), 400, "MalformedXML", nil},
		{complete("0", tags[0]), 400, "InvalidArgument", nil},
		{complete("10001", tags[0]), 400, "InvalidArgument", nil},
		{complete("2", tags[1], "1", tags[0]), 400, "InvalidPartOrder", nil},
		{complete("1", tags[0], "1", tags[0]), 400, "InvalidPartOrder", nil},
		{complete("1", tags[1]), 400, "InvalidPart", nil},
		{complete("4", tags[0]), 400, "InvalidPart", nil},
		{complete("1", tags[0], "2", tags[1], "3", tags[2]), 400, "InvalidRequest", []string{"x-amz-mp-object-size", "5"}},
		{strings.Replace(complete("1", tags[0]), "<ETag>", "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ETag>", 1), 400, "InvalidPart", nil},
		{complete("1", tags[0], "3", strings.Trim(tags[2], `"`)), 200, "", nil},
	} {
		if r := h.do("POST", target, c.doc, c.headers...); r.status != c.status || r.code() != c.code {
			t.Errorf("%.300s: got %v, want %d %s", c.doc, r, c.status, c.code)
		}
	}
	if r := h.must("GET", "/bucket/k", ""); r.body != parts[0]+parts[2] {
		t.Errorf("the object has %d bytes", len(r.body))
	}
	h.want(404, "NoSuchUpload", "POST", target, complete("1", tags[0]))
	h.want(404, "NoSuchUpload", "PUT", target+"&partNumber=1", "x")
	h.want(404, "NoSuchUpload", "DELETE", target, "")
	h.want(404, "NoSuchUpload", "GET", target, "")

	// A short part that is not the last.
	id = element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target = "/bucket/k?uploadId=" + id
	a, b := h.must("PUT", target+"&partNumber=1", "short").header.Get("ETag"), h.must("PUT", target+"&partNumber=2", "short").header.Get("ETag")
	h.want(400, "EntityTooSmall", "POST", target, complete("1", a, "2", b))
	for _, number := range []string{"0", "-1", "10001", "x", "", "+1"} {
		h.want(400, "InvalidArgument", "PUT", target+"&partNumber="+number, "x")
	}
	h.want(400, "InvalidArgument", "PUT", target, "x")
	h.want(404, "NoSuchUpload", "PUT", "/bucket/other?partNumber=1&uploadId="+id, "x")
	if r := h.must("DELETE", target, ""); r.status != 204 {
		t.Errorf("abort: %v", r)
	}
	// A part replaced.
	id = element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target = "/bucket/k?uploadId=" + id
	h.must("PUT", target+"&partNumber=1", "old")
	tag := h.must("PUT", target+"&partNumber=1", "new").header.Get("ETag")
	r := h.must("POST", target, complete("1", tag))
	if element(r.body, "Location") != "http://"+h.host+"/bucket/k" || element(r.body, "Bucket") != "bucket" || element(r.body, "Key") != "k" {
		t.Errorf("completion: %v", r)
	}
	if r := h.must("GET", "/bucket/k", ""); r.body != "new" {
		t.Errorf("got %v", r)
	}
	// The checksum of a part must be of the kind that the upload was created for.
	id = element(h.must("POST", "/bucket/k?uploads", "", "x-amz-checksum-algorithm", "CRC32").body, "UploadId")
	target = "/bucket/k?uploadId=" + id
	h.want(400, "InvalidRequest", "PUT", target+"&partNumber=1", "x", "x-amz-checksum-sha1", sumOf(algSHA1, "x"))
	r = h.must("PUT", target+"&partNumber=1", "x")
	if r.header.Get("x-amz-checksum-crc32") != sumOf(algCRC32, "x") {
		t.Errorf("part without a checksum: %v", r)
	}
	doc := strings.Replace(complete("1", r.header.Get("ETag")), "<ETag>", "<ChecksumCRC32>"+sumOf(algCRC32, "x")+"</ChecksumCRC32><ETag>", 1)
	h.want(400, "InvalidRequest", "POST", target, doc, "x-amz-checksum-type", "FULL_OBJECT")
	h.must("POST", target, doc)
	for _, bad := range [][]string{{"x-amz-checksum-algorithm", "MD5"}, {"x-amz-checksum-type", "COMPOSITE"}, {"x-amz-checksum-algorithm", "CRC32", "x-amz-checksum-type", "HALF"}} {
		h.want(400, "InvalidRequest", "POST", "/bucket/k?uploads", "", bad...)
	}
}

// TestCompletionOfTenThousandParts: the longest document that there is.
func TestCompletionOfTenThousandParts(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("<CompleteMultipartUpload>")
	for i := range engine.MaxPartNumber {
		fmt.Fprintf(&doc, "<Part><ETag>&quot;%032x&quot;</ETag><ChecksumSHA256>%s</ChecksumSHA256><PartNumber>%d</PartNumber></Part>", i, sumOf(algSHA256, "x"), i+1)
	}
	whole := doc.String()
	if len(whole)+30 > maxCompleteLen {
		t.Errorf("an honest document has %d bytes, the limit is %d", len(whole), maxCompleteLen)
	}
	var c completion
	if err := c.parse(whole + "</CompleteMultipartUpload>"); err != nil || len(c.parts) != engine.MaxPartNumber {
		t.Errorf("%d parts, %v", len(c.parts), err)
	}
	one := "<Part><ETag>x</ETag><PartNumber>1</PartNumber></Part>"
	if err := (&completion{}).parse("<CompleteMultipartUpload>" + strings.Repeat(one, engine.MaxPartNumber+1) + "</CompleteMultipartUpload>"); !sameError(err, errMalformedXML) {
		t.Errorf("one part more: %v", err)
	}
}

func TestListParts(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	id := element(h.must("POST", "/bucket/a%20b?uploads", "", "x-amz-checksum-algorithm", "SHA256", "x-amz-storage-class", "GLACIER").body, "UploadId")
	target := "/bucket/a%20b?uploadId=" + id
	for _, n := range []int{1, 3, 5, 7, 10000} {
		h.must("PUT", fmt.Sprintf("%s&partNumber=%d", target, n), fmt.Sprint(n))
	}
	numbers, marker := "", "0"
	for range 5 {
		r := h.must("GET", target+"&max-parts=2&part-number-marker="+marker, "")
		for _, p := range strings.Split(r.body, "<Part>")[1:] {
			n := element(p, "PartNumber")
			numbers += n + " "
			if element(p, "ETag") != "&quot;"+md5Of(n)+"&quot;" || element(p, "Size") != fmt.Sprint(len(n)) || element(p, "ChecksumSHA256") != sumOf(algSHA256, n) {
				t.Errorf("part %s: %s", n, p)
			}
		}
		if element(r.body, "StorageClass") != "GLACIER" || element(r.body, "ChecksumAlgorithm") != "SHA256" || element(r.body, "ChecksumType") != "COMPOSITE" || element(r.body, "MaxParts") != "2" ||
			element(r.body, "Key") != "a b" || element(r.body, "UploadId") != id || element(r.body, "PartNumberMarker") != marker {
			t.Errorf("page after %s: %s", marker, r.body)
		}
		if element(r.body, "IsTruncated") != "true" {
			break
		}
		marker = element(r.body, "NextPartNumberMarker")
	}
	if numbers != "1 3 5 7 10000 " {
		t.Errorf("parts: %s", numbers)
	}
	if r := h.must("GET", target+"&max-parts=0&encoding-type=url", ""); strings.Contains(r.body, "<Part>") || element(r.body, "Key") != "a%20b" {
		t.Errorf("no parts: %v", r)
	}
	h.want(404, "NoSuchUpload", "GET", "/bucket/k?max-parts=0&uploadId=none", "")
	h.want(400, "InvalidArgument", "GET", target+"&max-parts=x", "")
	h.want(400, "InvalidArgument", "GET", target+"&part-number-marker=-1", "")
}

func TestListUploads(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, key := range []string{"a", "a", "b/x", "b/y", "c%20d"} {
		h.must("POST", "/bucket/"+key+"?uploads", "")
	}
	var keys []string
	marker := ""
	for range 9 {
		r := h.must("GET", "/bucket?uploads&max-uploads=1&encoding-type=url"+marker, "")
		for _, u := range strings.Split(r.body, "<Upload>")[1:] {
			keys = append(keys, element(u, "Key")+":"+element(u, "UploadId"))
		}
		if element(r.body, "IsTruncated") != "true" {
			break
		}
		marker = "&key-marker=" + element(r.body, "NextKeyMarker") + "&upload-id-marker=" + element(r.body, "NextUploadIdMarker")
	}
	if got := fmt.Sprint(keys); got != "[a:upload-0001 a:upload-0002 b/x:upload-0003 b/y:upload-0004 c%20d:upload-0005]" {
		t.Errorf("pages: %s", got)
	}
	r := h.must("GET", "/bucket?uploads&delimiter=/", "")
	if strings.Count(r.body, "<Upload>") != 3 || !strings.Contains(r.body, "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>") {
		t.Errorf("delimiter: %v", r)
	}
	if r := h.must("GET", "/bucket?uploads&prefix=b/", ""); strings.Count(r.body, "<Upload>") != 2 {
		t.Errorf("prefix: %v", r)
	}
	if r := h.must("GET", "/bucket?uploads&max-uploads=0", ""); strings.Contains(r.body, "<Upload>") {
		t.Errorf("none: %v", r)
	}
	if r := h.must("GET", "/bucket?uploads&upload-id-marker=garbage", ""); strings.Count(r.body, "<Upload>") != 5 {
		t.Errorf("an id marker without a key marker: %v", r)
	}
	h.want(400, "InvalidArgument", "GET", "/bucket?uploads&key-marker=a&upload-id-marker=garbage", "")
	h.want(400, "InvalidArgument", "GET", "/bucket?uploads&max-uploads=x", "")
}

func TestCopy(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/dest", "")
	h.must("PUT", "/bucket/src", "content", "Content-Type", "text/a", "x-amz-meta-a", "1", "x-amz-storage-class", "GLACIER", "x-amz-checksum-sha1", sumOf(algSHA1, "content"))
	r := h.must("PUT", "/dest/copy", "", "x-amz-copy-source", "bucket/src")
	if element(r.body, "ETag") != "&quot;"+md5Of("content")+"&quot;" || element(r.body, "LastModified") == "" || element(r.body, "ChecksumSHA1") != sumOf(algSHA1, "content") {
		t.Errorf("copy: %v", r)
	}
	r = h.must("GET", "/dest/copy", "", "x-amz-checksum-mode", "ENABLED")
	if r.body != "content" || r.header.Get("Content-Type") != "text/a" || r.header.Get("x-amz-meta-a") != "1" || r.header.Get("x-amz-storage-class") != "" ||
		r.header.Get("x-amz-checksum-sha1") != sumOf(algSHA1, "content") {
		t.Errorf("copied: %v", r)
	}
	h.must("PUT", "/dest/copy", "", "x-amz-copy-source", "bucket/src", "x-amz-metadata-directive", "REPLACE", "Content-Type", "text/b", "x-amz-meta-b", "2")
	r = h.must("GET", "/dest/copy", "")
	if r.body != "content" || r.header.Get("Content-Type") != "text/b" || r.header.Get("x-amz-meta-a") != "" || r.header.Get("x-amz-meta-b") != "2" {
		t.Errorf("replaced: %v", r)
	}
	h.must("PUT", "/dest/copy", "", "x-amz-copy-source", "bucket/src", "x-amz-metadata-directive", "COPY", "x-amz-meta-b", "2")
	if r = h.must("GET", "/dest/copy", ""); r.header.Get("x-amz-meta-a") != "1" || r.header.Get("x-amz-meta-b") != "" {
		t.Errorf("directive COPY: %v", r)
	}
	// To itself, only with a change.
	h.want(400, "InvalidRequest", "PUT", "/bucket/src", "", "x-amz-copy-source", "/bucket/src")
	h.must("PUT", "/bucket/src", "", "x-amz-copy-source", "/bucket/src", "x-amz-metadata-directive", "REPLACE", "x-amz-meta-c", "3")
	if r = h.must("GET", "/bucket/src", ""); r.body != "content" || r.header.Get("x-amz-meta-c") != "3" {
		t.Errorf("self-copy: %v", r)
	}
	h.must("PUT", "/bucket/src", "", "x-amz-copy-source", "/bucket/src", "x-amz-storage-class", "STANDARD_IA")
	// A checksum that the source lacks is computed.
	for a := algNone + 1; a < numAlgorithms; a++ {
		r = h.must("PUT", "/dest/sum", "", "x-amz-copy-source", "/bucket/src", "x-amz-checksum-algorithm", a.name())
		if element(r.body, algorithms[a].element) != sumOf(a, "content") || element(r.body, "ChecksumType") != "FULL_OBJECT" {
			t.Errorf("copy with %s: %v", a.name(), r)
		}
		r = h.must("HEAD", "/dest/sum", "", "x-amz-checksum-mode", "ENABLED")
		if r.header.Get(a.header()) != sumOf(a, "content") {
			t.Errorf("copied with %s: %v", a.name(), r)
		}
	}
	h.want(404, "NoSuchKey", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/none")
	h.want(404, "NoSuchBucket", "PUT", "/dest/x", "", "x-amz-copy-source", "/none/none")
	h.want(404, "NoSuchBucket", "PUT", "/none/x", "", "x-amz-copy-source", "/bucket/src")
	h.want(400, "InvalidArgument", "PUT", "/dest/x", "", "x-amz-copy-source", "")
	h.want(400, "InvalidArgument", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/src", "x-amz-metadata-directive", "MOVE")
	h.want(400, "InvalidRequest", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/src", "x-amz-checksum-algorithm", "CRC16")
	h.want(412, "PreconditionFailed", "PUT", "/dest/copy", "", "x-amz-copy-source", "/bucket/src", "If-None-Match", "*")
	// A multipart object keeps its ETag and its parts.
	parts := longParts(2)
	h.upload("/bucket/m", parts, nil, nil)
	h.must("PUT", "/dest/m", "", "x-amz-copy-source", "/bucket/m")
	r = h.must("HEAD", "/dest/m?partNumber=2", "")
	if r.header.Get("ETag") != `"`+multipartETag(parts)+`"` || r.header.Get("x-amz-mp-parts-count") != "2" {
		t.Errorf("copy of a multipart object: %v", r)
	}
	o := h.store.stored("bucket", "src")
	h.store.mu.Lock()
	o.info.Size = maxCopyLen + 1
	h.store.mu.Unlock()
	h.want(400, "InvalidRequest", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/src")
}

func TestUploadPartCopy(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	source := strings.Repeat("0123456789", 600_000)
	tag := h.must("PUT", "/bucket/src", source).header.Get("ETag")
	for _, alg := range []string{"", "CRC32", "SHA256", "CRC64NVME"} {
		var create []string
		if alg != "" {
			create = []string{"x-amz-checksum-algorithm", alg}
		}
		id := element(h.must("POST", "/bucket/k?uploads", "", create...).body, "UploadId")
		target := "/bucket/k?uploadId=" + id
		one := h.must("PUT", target+"&partNumber=1", "", "x-amz-copy-source", "/bucket/src")
		two := h.must("PUT", target+"&partNumber=2", "", "x-amz-copy-source", "/bucket/src", "x-amz-copy-source-range", "bytes=5-14", "x-amz-copy-source-if-match", tag)
		if one.code() != "" || element(one.body, "ETag") != "&quot;"+md5Of(source)+"&quot;" || element(one.body, "LastModified") == "" {
			t.Errorf("%s: part 1: %v", alg, one)
		}
		if a, ok := parseAlgorithm(alg); ok && element(two.body, algorithms[a].element) != sumOf(a, "5678901234") {
			t.Errorf("%s: part 2: %v", alg, two)
		}
		doc := "<CompleteMultipartUpload>"
		for i, r := range []*reply{one, two} {
			doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, element(r.body, "ETag"))
		}
		h.must("POST", target, doc+"</CompleteMultipartUpload>")
		r := h.must("GET", "/bucket/k", "", "x-amz-checksum-mode", "ENABLED")
		if r.body != source+"5678901234" || !strings.HasSuffix(r.header.Get("ETag"), `-2"`) {
			t.Errorf("%s: the object has %d bytes, %v", alg, len(r.body), r.header)
		}
		if alg == "CRC64NVME" && r.header.Get("x-amz-checksum-crc64nvme") != sumOf(algCRC64NVME, r.body) {
			t.Errorf("%s: %v", alg, r.header)
		}
	}
	id := element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target := "/bucket/k?partNumber=1&uploadId=" + id
	for _, c := range []struct {
		status  int
		code    string
		headers []string
	}{
		{404, "NoSuchKey", []string{"x-amz-copy-source", "/bucket/none"}},
		{400, "InvalidArgument", []string{"x-amz-copy-source", "/bucket"}},
		{400, "InvalidArgument", []string{"x-amz-copy-source", "/bucket/src", "x-amz-copy-source-range", "bytes=0-"}},
		{400, "InvalidArgument", []string{"x-amz-copy-source", "/bucket/src", "x-amz-copy-source-range", "bytes=0-6000000"}},
		{412, "PreconditionFailed", []string{"x-amz-copy-source", "/bucket/src", "x-amz-copy-source-if-none-match", tag}},
	} {
		h.want(c.status, c.code, "PUT", target, "", c.headers...)
	}
	h.want(404, "NoSuchUpload", "PUT", "/bucket/k?partNumber=1&uploadId=none", "", "x-amz-copy-source", "/bucket/src")
	// With a length, and what a client could have sent as the part's bytes: they are not looked at.
	h.want(400, "InvalidArgument", "PUT", "/bucket/k?partNumber=0&uploadId="+id, "", "x-amz-copy-source", "/bucket/src")
}

// TestManyUploadsShareLanes: bodies hashed in lanes have the same ETags as bodies hashed alone.
func TestManyUploadsShareLanes(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const n = 8
	bodies := make([]string, n)
	release, waiting := make(chan struct{}), make(chan struct{}, n)
	h.store.setBefore(func(op string) {
		if op == "Put" {
			waiting <- struct{}{}
			<-release
		}
	})
	answers := make(chan *reply, n)
	for i := range n {
		bodies[i] = strings.Repeat(fmt.Sprint(i), minLaneLen+i*1001)
		q := h.build("PUT", fmt.Sprintf("/bucket/k%d", i), []byte(bodies[i]))
		go func() { answers <- h.send(q) }()
	}
	for range n {
		<-waiting // All of them have their hash by now.
	}
	if live := h.srv.hashes.live.Load(); live != n {
		t.Errorf("%d long bodies are live", live)
	}
	close(release)
	for range n {
		if r := <-answers; r.status != 200 {
			t.Errorf("got %v", r)
		}
	}
	for i, body := range bodies {
		if got := h.store.stored("bucket", fmt.Sprintf("k%d", i)).info.ETag; got != md5Of(body) {
			t.Errorf("body %d: ETag %s, want %s", i, got, md5Of(body))
		}
	}
	if live := h.srv.hashes.live.Load(); live != 0 {
		t.Errorf("%d long bodies are still live", live)
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

// TestUnset: what was never set has a true answer.
func TestUnset(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	h.must("PUT", "/bucket/a/b", "x")
	for _, target := range []string{"/bucket?acl", "/bucket/k?acl", "/bucket/k?acl&versionId=null"} {
		if r := h.must("GET", target, ""); element(r.body, "Permission") != "FULL_CONTROL" {
			t.Errorf("%s: %v", target, r)
		}
	}
	if r := h.must("GET", "/bucket/k?tagging", ""); !strings.Contains(r.body, "<TagSet></TagSet>") {
		t.Errorf("tags: %v", r)
	}
	h.must("DELETE", "/bucket/k?tagging", "")
	h.must("GET", "/bucket/k", "")
	for _, sub := range []string{"acl", "tagging"} {
		h.want(404, "NoSuchKey", "GET", "/bucket/none?"+sub, "")
		h.want(501, "NotImplemented", "PUT", "/bucket/k?"+sub, "<x/>")
	}
	h.want(404, "NoSuchVersion", "GET", "/bucket/k?tagging&versionId=v", "")
	h.want(404, "NoSuchBucket", "GET", "/none?acl", "")

	r := h.must("GET", "/bucket?versions&max-keys=1", "")
	if element(r.body, "Key") != "a/b" || element(r.body, "VersionId") != "null" || element(r.body, "IsLatest") != "true" || element(r.body, "NextVersionIdMarker") != "null" {
		t.Errorf("versions: %v", r)
	}
	r = h.must("GET", "/bucket?versions&key-marker="+element(r.body, "NextKeyMarker")+"&version-id-marker=null", "")
	if element(r.body, "Key") != "k" || element(r.body, "IsTruncated") != "false" {
		t.Errorf("versions, second page: %v", r)
	}
	if r := h.must("GET", "/bucket?versions&delimiter=/", ""); strings.Count(r.body, "<Version>") != 1 || !strings.Contains(r.body, "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>") {
		t.Errorf("versions with delimiter: %v", r)
	}
	h.want(400, "InvalidArgument", "GET", "/bucket?versions&version-id-marker=null", "")
	h.want(400, "InvalidArgument", "GET", "/bucket?versions&key-marker=a&version-id-marker=v1", "")
}
