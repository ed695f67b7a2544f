package fastapi

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/admin"
	"penstock/fastapi/iam"
	"penstock/fastapi/sigv4"
)

// Attempts at what is nobody's right, each as somebody would make it who has read the documentation.

// TestFormGrantsNeedTheirAction: the grants of a form are an access control list as much as its field acl is.
func TestFormGrantsNeedTheirAction(t *testing.T) {
	h := newHarness(t)
	h.withLists("bucket")
	h.must("PUT", "/bucket?publicAccessBlock", `<PublicAccessBlockConfiguration/>`)
	h.must("PUT", "/bucket?policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*"}]}`)
	for _, f := range []uploadForm{
		{fields: []string{"key", "k", "acl", "public-read", "file", "x"}},
		{fields: []string{"key", "k", "x-amz-grant-read", `uri="http://acs.amazonaws.com/groups/global/AllUsers"`, "file", "x"}},
		{fields: []string{"key", "k", "X-Amz-Grant-Full-Control", `id="` + ownerID + `"`, "file", "x"}},
	} {
		if r := h.post("/bucket", f); r.status != 403 {
			t.Errorf("%q: got %v", f.fields, r)
		}
	}
	if r := h.post("/bucket", uploadForm{fields: []string{"key", "k", "file", "x"}}); r.status != 204 {
		t.Errorf("without a list: got %v", r)
	}
}

// TestFormDigestIsVerified: a form that its request signs is the form that was signed, or nothing is stored.
func TestFormDigestIsVerified(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	contentType, body := uploadForm{fields: []string{"key", "k", "file", "what was signed"}}.body()
	for _, c := range []struct {
		name string
		body []byte
		want int
	}{
		{"as signed", body, 204},
		{"another file", bytes.Replace(body, []byte("what was signed"), []byte("what was forged"), 1), 400},
		{"another key", bytes.Replace(body, []byte("\r\nk\r\n"), []byte("\r\nj\r\n"), 1), 400},
		{"more behind it", append(bytes.Clone(body), "more"...), 400},
		{"more behind it than is read", append(bytes.Clone(body), bytes.Repeat([]byte("x"), 1<<20)...), 400},
	} {
		q := h.build("POST", "/bucket", body, "Content-Type", contentType)
		q.body = c.body
		for i := range q.headers {
			if strings.EqualFold(string(q.headers[i].Name), "content-length") {
				q.headers[i].Value = []byte(itoa(len(c.body)))
			}
		}
		if r := h.send(q); r.status != c.want {
			t.Errorf("%s: got %v", c.name, r)
		}
		if keys := h.store.keys("bucket"); len(keys) != 0 != (c.want == 204) {
			t.Errorf("%s: stored %v", c.name, keys)
		}
		h.must("DELETE", "/bucket/k", "")
	}
}

// TestWhatFollowsAFormIsNoRequest: bytes behind the last boundary belong to the form, however many.
func TestWhatFollowsAFormIsNoRequest(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket?publicAccessBlock", `<PublicAccessBlockConfiguration/>`)
	h.must("PUT", "/bucket?policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*"}]}`)
	inner := "PUT /bucket/smuggled HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
	for _, n := range []int{0, 100, 4 << 10, 60 << 10, 64 << 10, 70 << 10, 1 << 20} {
		contentType, body := uploadForm{fields: []string{"key", "k", "file", "x"}}.body()
		body = append(body, bytes.Repeat([]byte("\r\n"), n/2)...)
		body = append(body, strings.Repeat(inner, 20)...)
		q := &wireRequest{method: "POST", target: "/bucket", host: h.host, body: body}
		q.add("Content-Type", contentType)
		q.add("Content-Length", itoa(len(body)))
		s := &session{h: h}
		if r := s.send(q); r.status != 204 {
			t.Errorf("%d bytes: got %v", n, r)
		}
		s.send(&wireRequest{method: "GET", target: "/bucket/k", host: h.host}) // Whatever is answered, it is the answer to this.
		if keys := h.store.keys("bucket"); len(keys) != 1 || keys[0] != "k" {
			t.Fatalf("%d bytes: stored %v", n, keys)
		}
	}
}

// TestCopiedTagsNeedLeave: tags that a copy takes along are read from the source and given to the copy, and whoever copies must be allowed both.
func TestCopiedTagsNeedLeave(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/tagged", "x", "x-amz-tagging", "clearance=none")
	h.must("PUT", "/bucket/plain", "x")
	base := "s3:GetObject s3:PutObject s3:ListBucket"
	for i, c := range []struct {
		actions, source, directive string
		want                       int
	}{
		{base, "plain", "", 200}, {base, "tagged", "", 403}, {base, "tagged", "COPY", 403}, {base, "tagged", "REPLACE", 200},
		{base + " s3:GetObjectTagging", "tagged", "", 403}, {base + " s3:PutObjectTagging", "tagged", "", 403}, {base + " s3:GetObjectTagging s3:PutObjectTagging", "tagged", "", 200},
	} {
		name := fmt.Sprintf("copier-%d", i)
		user := h.as(h.user(name, h.policy(name, allow(c.actions, "*"))))
		headers := []string{"x-amz-copy-source", "/bucket/" + c.source}
		if c.directive != "" {
			headers = append(headers, "x-amz-tagging-directive", c.directive)
		}
		if r := user.do("PUT", "/bucket/copy", "", headers...); r.status != c.want {
			t.Errorf("%+v: got %v", c, r)
		}
	}
	// A policy that wants a tag is not satisfied by one that the copy does not get.
	user := h.as(h.user("tagger", h.policy("tagger", allow("s3:GetObject* s3:ListBucket s3:PutObjectTagging", "*"),
		`{"Effect":"Allow","Action":"s3:PutObject","Resource":"*","Condition":{"StringEquals":{"s3:RequestObjectTag/team":"a"}}}`)))
	user.must("PUT", "/bucket/new", "x", "x-amz-tagging", "team=a")
	user.want(403, "AccessDenied", "PUT", "/bucket/new", "x", "x-amz-tagging", "team=b")
	user.want(403, "AccessDenied", "PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/tagged", "x-amz-tagging", "team=a")
	user.must("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/tagged", "x-amz-tagging", "team=a", "x-amz-tagging-directive", "REPLACE")
}

// TestSessionsAreNotWidened: what is meant to narrow a session narrows it, or there is none.
func TestSessionsAreNotWidened(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	alice := h.user("alice", "readwrite")
	narrow := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:ListBucket","sts:*","admin:*"],"Resource":"*"}]}`
	for _, fields := range [][]string{
		{"Action", "GetSessionToken", "Policy", narrow}, {"Action", "GetSessionToken", "RoleArn", "arn:aws:iam::000000000000:user/alice"}, {"Action", "AssumeRole", "policy", narrow}, {"Action", "AssumeRole", "PolicyArns.member.1.arn", "x"},
		{"Action", "AssumeRole", "Policy", "{"}, {"Action", "AssumeRole", "Policy", narrow, "Policy", narrow}, {"Action", "AssumeRole", "durationseconds", "900"}, {"Action", "AssumeRole", "DurationSeconds", "99999999"}, {"Action", "AssumeRole", "DurationSeconds", "0"},
	} {
		if r := h.sts(&alice, fields...); r.status != 400 {
			t.Errorf("%q: got %v", fields, r)
		}
	}
	session := h.as(signerOf(h.sts(&alice, "Action", "AssumeRole", "Policy", narrow)))
	session.must("GET", "/bucket", "")
	session.want(403, "AccessDenied", "GET", "/bucket/k", "")
	for _, fields := range [][]string{{"Action", "AssumeRole"}, {"Action", "GetSessionToken"}, {"Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:user/alice"}, {"Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:root", "RoleSessionName", "xx"}} {
		if r := h.sts(&session.signer, fields...); r.status != 403 && r.status != 400 {
			t.Errorf("a session asks for %q: got %v", fields, r)
		}
	}
	if r := session.call("POST", "/keys", "{}", nil); r.status != 403 {
		t.Errorf("a session makes a key: %v", r)
	}
}

// TestRevokedAtOnce: what is taken away is refused with the next request, also on a connection that has served its holder before, and
// also where a link was made and signed before.
func TestRevokedAtOnce(t *testing.T) {
	yes := true
	past := time.Now().Add(-time.Hour)
	for name, revoke := range map[string]func(h *harness, key string) error{
		"key removed": func(h *harness, key string) error { return h.people.DeleteKey(h.t.Context(), h.root(), key) },
		"key disabled": func(h *harness, key string) error {
			_, err := h.people.UpdateKey(h.t.Context(), h.root(), key, iam.KeyChange{Disabled: &yes})
			return err
		},
		"key ended": func(h *harness, key string) error {
			_, err := h.people.UpdateKey(h.t.Context(), h.root(), key, iam.KeyChange{Expires: &past})
			return err
		},
		"user removed": func(h *harness, _ string) error { return h.people.DeleteUser(h.t.Context(), h.root(), "alice") },
		"user disabled": func(h *harness, _ string) error {
			_, err := h.people.UpdateUser(h.t.Context(), h.root(), "alice", func(u *iam.User) { u.Disabled = true })
			return err
		},
		"policy taken away": func(h *harness, _ string) error {
			_, err := h.people.UpdateUser(h.t.Context(), h.root(), "alice", func(u *iam.User) { u.Policies = nil })
			return err
		},
		"policy changed": func(h *harness, _ string) error {
			_, err := h.people.PutPolicy(h.t.Context(), h.root(), "mine", `{"Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}`)
			return err
		},
		"sessions revoked": nil,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.must("PUT", "/bucket", "")
			h.must("PUT", "/bucket/k", "x")
			alice := h.as(h.user("alice", h.policy("mine", allow("s3:* sts:*", "*"))))
			temporary := h.as(signerOf(h.sts(&alice.signer, "Action", "AssumeRole")))
			type way struct {
				name string
				conn *session
				ask  func() *wireRequest
			}
			var ways []way
			for _, who := range []*harness{alice, temporary} {
				if revoke == nil && who == alice {
					continue
				}
				link := &wireRequest{method: "GET", target: who.presign("GET", "/bucket/k"), host: h.host}
				ways = append(ways,
					way{"header", &session{h: h}, func() *wireRequest { return who.build("GET", "/bucket/k", nil) }},
					way{"link", &session{h: h}, func() *wireRequest { return link }})
			}
			for i := range ways {
				if r := ways[i].conn.send(ways[i].ask()); r.status != 200 || r.closed {
					t.Fatalf("before, %s: got %v", ways[i].name, r)
				}
			}
			if revoke == nil {
				h.clock.advance(time.Second) // Sessions are issued at whole seconds.
				if err := h.people.RevokeSessions(t.Context(), h.root(), "alice"); err != nil {
					t.Fatal(err)
				}
			} else if err := revoke(h, alice.signer.AccessKey); err != nil {
				t.Fatal(err)
			}
			for i := range ways {
				if r := ways[i].conn.send(ways[i].ask()); r.status != 403 && r.code() != "InvalidToken" {
					t.Errorf("after, %s %d: got %v", ways[i].name, i, r)
				}
			}
		})
	}
}

// TestSignaturesAreBoundToAll covers GHSA-c667: a signature is for one method, path, query and host, and for no other.
func TestSignaturesAreBoundToAll(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	calls := newCallCount(h.store)
	for _, presigned := range []bool{false, true} {
		for name, change := range map[string]func(q *wireRequest){
			"HEAD": func(q *wireRequest) { q.method = "HEAD" }, "DELETE": func(q *wireRequest) { q.method = "DELETE" },
			"PUT":         func(q *wireRequest) { q.method = "PUT"; q.add("Content-Length", "0") },
			"lower case":  func(q *wireRequest) { q.method = "get" },
			"another key": func(q *wireRequest) { q.target = strings.Replace(q.target, "/k", "/j", 1) }, "slash added": func(q *wireRequest) { q.target = strings.Replace(q.target, "/bucket", "//bucket", 1) },
			"dot added": func(q *wireRequest) { q.target = strings.Replace(q.target, "/k", "/./k", 1) }, "escaped twice": func(q *wireRequest) { q.target = strings.Replace(q.target, "/k", "/%256B", 1) },
			"subresource": func(q *wireRequest) { q.target += sep(q.target) + "acl" }, "version": func(q *wireRequest) { q.target += sep(q.target) + "versionId=null" }, "override": func(q *wireRequest) { q.target += sep(q.target) + "response-content-type=text/html" },
			"another host": func(q *wireRequest) { q.host = "bucket.example.com" },
		} {
			q := h.build("GET", "/bucket/k", nil)
			if presigned {
				q = &wireRequest{method: "GET", target: h.presign("GET", "/bucket/k"), host: h.host}
			}
			calls.take()
			change(q)
			if r := h.send(q); r.status != 403 && !(name == "lower case" && r.status >= 400) {
				t.Errorf("presigned %v, %s: got %v", presigned, name, r)
			}
			if made := calls.take(); len(made) > 0 {
				t.Errorf("presigned %v, %s: calls of the store: %v", presigned, name, made)
			}
		}
	}
}

// TestPrefixConditions: who may list below a prefix alone lists below it alone, however the request is put.
func TestPrefixConditions(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/home/alice/k", "x")
	h.must("PUT", "/bucket/home/bob/secret", "x")
	h.must("POST", "/bucket/home/bob/secret-upload?uploads", "")
	alice := h.as(h.user("alice", h.policy("home", `{"Effect":"Allow","Action":["s3:ListBucket","s3:ListBucketVersions","s3:ListBucketMultipartUploads"],"Resource":"arn:aws:s3:::bucket","Condition":{"StringLike":{"s3:prefix":"home/${aws:username}/*"},"NumericLessThanEquals":{"s3:max-keys":"10"}}}`)))
	own := "prefix=home%2Falice%2F&max-keys=10"
	for _, kind := range []string{"", "list-type=2&", "list-type=1&", "versions&", "uploads&"} {
		if r := alice.do("GET", "/bucket?"+kind+own, ""); r.status != 200 {
			t.Errorf("%s%s: got %v", kind, own, r)
		}
		for _, query := range []string{
			"", "max-keys=10", "prefix=&max-keys=10", "prefix&max-keys=10", "prefix=home%2F&max-keys=10", "prefix=home%2Falice&max-keys=10", "prefix=home%2Fbob%2F&max-keys=10", "prefix=home%2FALICE%2F&max-keys=10",
			"prefix=home/bob/&" + own, "Prefix=home%2Falice%2F&max-keys=10", "prefix=home%252Falice%252F&max-keys=10", "pre%66ix=home/bob/&" + own, "prefix=home%2Falice%2F", "prefix=home%2Falice%2F&max-keys=11", "max-keys=1000&" + own, "prefix=home/*/&max-keys=10",
		} {
			if r := alice.do("GET", "/bucket?"+kind+query, ""); r.status != 403 {
				t.Errorf("%s%s: got %v", kind, query, r)
			}
		}
		// Of what comes twice, what is judged is what is done.
		for _, query := range []string{own + "&prefix=home/bob/", own + "&prefix=&max-keys=1000"} {
			if r := alice.do("GET", "/bucket?"+kind+query, ""); r.status == 200 && strings.Contains(r.body, "secret") {
				t.Errorf("%s%s: got %v", kind, query, r)
			}
		}
	}
}

// TestListingsAreNotVersions covers GHSA-x298: whoever may list a bucket, be it everybody, may not for that list its versions or uploads.
func TestListingsAreNotVersions(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket?publicAccessBlock", `<PublicAccessBlockConfiguration/>`)
	h.must("PUT", "/bucket?policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:ListBucket","s3:GetObject"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]}`)
	for target, want := range map[string]int{"/bucket": 200, "/bucket?list-type=2": 200, "/bucket?versions": 403, "/bucket?uploads": 403, "/bucket?policy": 403, "/bucket?acl": 403, "/bucket/k?versionId=null": 403, "/": 403} {
		if r := h.anonymously("GET", target, ""); r.status != want {
			t.Errorf("GET %s: got %v", target, r)
		}
	}
}

// TestArchivesAreObjects covers GHSA-f4vq: an archive that asks to be taken apart is stored as it is, and makes nothing else.
func TestArchivesAreObjects(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/other", "")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"../other/k", "/other/k", "k"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: 1}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("x"))
	}
	w.Close()
	h.must("PUT", "/bucket/a.tar", b.String(), "X-Amz-Meta-Snowball-Auto-Extract", "true", "X-Amz-Meta-Minio-Snowball-Prefix", "../other")
	if keys := fmt.Sprint(h.store.keys("bucket"), h.store.keys("other")); keys != "[a.tar] []" {
		t.Errorf("stored %s", keys)
	}
}

// TestMetadataIsNotAttributes covers CVE-2026-34204: no header of a client becomes what the server keeps for itself.
func TestMetadataIsNotAttributes(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x", "acl", "READ=AllUsers", "tagging", "a=b", "storage-class", "GLACIER", "crc32", "AAAAAA==", "checksum-type", "COMPOSITE", "x-minio-internal-server-side-encryption-iv", "x", "x-minio-source-etag", "forged",
		"x-minio-source-mtime", "2001-01-01T00:00:00Z", "x-amz-replication-status", "REPLICA", "x-amz-meta-acl", "READ=AllUsers", "x-amz-meta-tagging", "c=d")
	r := h.must("GET", "/bucket/k", "", "x-amz-checksum-mode", "ENABLED")
	if r.header.Get("x-amz-storage-class") != "" || r.header.Get("x-amz-tagging-count") != "" || r.header.Get("x-amz-checksum-crc32") != "" || r.header.Get("x-amz-replication-status") != "" || strings.Contains(fmt.Sprint(r.header), "forged") || strings.Contains(r.header.Get("Last-Modified"), "2001") {
		t.Errorf("got %v", r)
	}
	if r := h.must("GET", "/bucket/k?tagging", ""); strings.Contains(r.body, "<Key>") {
		t.Errorf("got %v", r)
	}
	if o := h.store.stored("bucket", "k"); o.info.Attr(attrACL) != "" || o.info.Attr(attrTagging) != "" {
		t.Errorf("attributes %+v", o.info.Attrs)
	}
}

// strangePaths are where other servers have answered what nobody should be told.
var strangePaths = []string{
	"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/metrics", "/minio/v2/metrics/cluster", "/minio/bootstrap/v1/verify", "/minio/admin/v3/info", "/minio/health/cluster", "/rustfs/admin/v3/metrics", "/rustfs/rpc/read_file_stream", "/env", "/config",
	"/penstock", "/penstock/", "/penstock/debug", "/penstock/admin", "/penstock/admin/", "/penstock/admin/v1", "/penstock/admin/v1/", "/penstock/admin/v1/nothing", "/penstock/admin/v2/info", "/penstock/admin/v1/../v1/info", "/penstock/health", "/penstock/health/", "/penstock/health/live/..", "/penstock/health/../metrics",
	"/penstock/admin%2Fv1/info", "/%70enstock/admin/v1/info", "//penstock/admin/v1/info", "/penstock//admin/v1/info", "/penstock/admin/v1/info/", "/penstock/admin/v1/info?x", "/penstock/admin/v1/info#", "/PENSTOCK/admin/v1/info", "/.well-known/x", "/index.html", "/favicon.ico", "/robots.txt", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd",
}

// TestStrangersAreToldNothing covers GHSA-jqmc, GHSA-8784, GHSA-f5cv, GHSA-796f and GHSA-pfcq: no path answers somebody who has not signed, but for the two health
// checks, and what is said of each is the same.
func TestStrangersAreToldNothing(t *testing.T) {
	h := newHarness(t)
	for _, path := range strangePaths {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH"} {
			r := h.anonymously(method, path, "")
			if r.status < 400 || strings.Contains(r.body, "goroutine") || strings.Contains(r.body, "drive") || strings.Contains(r.body, testAccessKey) || strings.Contains(r.body, "penstock_") {
				t.Errorf("%s %s: got %v", method, path, r)
			}
		}
	}
	for _, path := range []string{"/penstock/health/live", "/penstock/health/ready"} {
		if r := h.anonymously("GET", path, ""); r.status != 200 || len(r.body) > 10 {
			t.Errorf("GET %s: got %v", path, r)
		}
		for _, method := range []string{"PUT", "POST", "DELETE"} {
			if r := h.anonymously(method, path, ""); r.status < 400 {
				t.Errorf("%s %s: got %v", method, path, r)
			}
		}
	}
}

// TestAdminNamesAreNoPaths covers CVE-2022-35919 and CVE-2026-42600: a name in a call of the administration API is a name, and leads to no file.
func TestAdminNamesAreNoPaths(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{"../../../../etc/passwd", "/etc/passwd", "..", ".", "%2e%2e", "a/../../b", `..\..\x`, "\x00", "a\nb", "", strings.Repeat("a", 5000)} {
		for _, route := range admin.Routes() {
			if !strings.Contains(route.Path, "{") {
				continue
			}
			path := route.Path
			for i := strings.IndexByte(path, '{'); i >= 0; i = strings.IndexByte(path, '{') {
				path = path[:i] + url.PathEscape(name) + path[strings.IndexByte(path, '}')+1:]
			}
			body := ""
			if route.Body != nil {
				body = "{}"
			}
			r := h.do(route.Method, admin.Prefix+path, body)
			if r.status/100 != 4 || strings.Contains(r.body, "root:") {
				t.Errorf("%s of %q: got %v", route.Name, name, r)
			}
		}
	}
	if got := len(h.people.Users()) + len(h.people.Groups()) + len(h.people.Roles()); got != 0 {
		t.Errorf("%d were made", got)
	}
}

// TestParentsAreNotChosen covers GHSA-566f and GHSA-vcwh: whose a new key is follows from the path and from who asks, and from nothing in the document.
func TestParentsAreNotChosen(t *testing.T) {
	h := newHarness(t)
	h.user("bob", "admin")
	alice := h.as(h.user("alice", "readwrite"))
	for _, body := range []string{`{"user":"bob"}`, `{"User":"bob"}`, `{"parent":"bob"}`, `{"user_id":"x"}`, `{"policies":[]}`, `{"own":true}`, `{"description":"x","user":""}`} {
		if r := alice.call("POST", "/keys", body, nil); r.status != 400 {
			t.Errorf("%s: got %v", body, r)
		}
	}
	for _, key := range []string{testAccessKey, strings.ToLower(testAccessKey), "bob", "alice"} {
		if r := alice.call("POST", "/keys", `{"access_key":"`+key+`","secret_key":"12345678"}`, nil); r.status != 409 && r.status != 400 {
			t.Errorf("access key %q: got %v", key, r)
		}
	}
	var k admin.Key
	if r := alice.call("POST", "/keys", `{}`, &k); r.status != 200 || k.User != "alice" {
		t.Errorf("got %v", r)
	}
}

// TestNamesAreNotInherited: who gets the name of somebody who is gone gets nothing that was given to that one.
func TestNamesAreNotInherited(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	const arn, role = "arn:aws:iam::000000000000:user/alice", "arn:aws:iam::000000000000:role/loader"
	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + arn + `","` + role + `"]},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}`
	trust := `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"` + arn + `"},"Action":"sts:AssumeRole"}]}`
	var made admin.Role
	put := func() (alice *harness) {
		alice = h.as(h.user("alice"))
		if r := h.call("PUT", "/roles/loader", `{"trust":`+trust+`}`, &made); r.status != 200 {
			t.Fatal(r)
		}
		h.must("PUT", "/bucket?policy", document)
		return alice
	}
	alice := put()
	alice.must("GET", "/bucket/k", "")
	session := h.as(h.assume(alice.signer, "loader", "job"))
	session.must("GET", "/bucket/k", "")
	if r := h.call("DELETE", "/users/alice", "", nil); r.status != 204 {
		t.Fatal(r)
	}
	alice = h.as(h.user("alice"))
	alice.want(403, "AccessDenied", "GET", "/bucket/k", "")
	if r := h.sts(&alice.signer, "Action", "AssumeRole", "RoleArn", role, "RoleSessionName", "job"); r.status != 403 {
		t.Errorf("the role of the other alice: %v", r)
	}
	// A change of something else names nobody anew, and is not refused for who is gone.
	if r := h.call("PATCH", "/roles/loader", `{"attach":["readonly"]}`, nil); r.status != 200 {
		t.Errorf("got %v", r)
	}
	if r := h.sts(&alice.signer, "Action", "AssumeRole", "RoleArn", role, "RoleSessionName", "job"); r.status != 403 {
		t.Errorf("the role of the other alice, changed: %v", r)
	}
	// Said again, it means the new one; and so does the name of a role.
	alice = put()
	alice.must("GET", "/bucket/k", "")
	h.as(h.assume(alice.signer, "loader", "job")).must("GET", "/bucket/k", "")
	h.call("DELETE", "/roles/loader", "", nil)
	h.call("PUT", "/roles/loader", `{"trust":`+trust+`}`, nil)
	h.as(h.assume(alice.signer, "loader", "job")).want(403, "AccessDenied", "GET", "/bucket/k", "")
	if r := h.must("GET", "/bucket?policy", ""); r.body != document {
		t.Errorf("got %v", r)
	}
	h.must("DELETE", "/bucket?policy", "")
	if info, err := h.store.Bucket(t.Context(), "bucket"); err != nil || info.Attr(attrPrincipals) != "" || info.Attr(attrPolicy) != "" {
		t.Errorf("left: %+v, %v", info, err)
	}
}

// TestSecondMechanisms: what authenticates in two ways, or in one that is not known, authenticates nobody.
func TestSecondMechanisms(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	link := h.presign("GET", "/bucket/k")
	basic := "Basic " + "cm9vdDpyb290"
	for name, q := range map[string]*wireRequest{
		"header and link":       h.build("GET", link, nil),
		"basic":                 {method: "GET", target: "/bucket/k", host: h.host, headers: []sigv4.Header{{Name: []byte("Authorization"), Value: []byte(basic)}}},
		"bearer":                {method: "GET", target: "/bucket/k", host: h.host, headers: []sigv4.Header{{Name: []byte("Authorization"), Value: []byte("Bearer rustfs rpc")}}},
		"version 2":             {method: "GET", target: "/bucket/k", host: h.host, headers: []sigv4.Header{{Name: []byte("Authorization"), Value: []byte("AWS " + testAccessKey + ":AAAA")}}},
		"version 2 in the link": {method: "GET", target: "/bucket/k?AWSAccessKeyId=" + testAccessKey + "&Signature=AAAA&Expires=9999999999", host: h.host},
		"empty":                 {method: "GET", target: "/bucket/k", host: h.host, headers: []sigv4.Header{{Name: []byte("Authorization"), Value: []byte("")}}},
		"link and empty header": {method: "GET", target: link, host: h.host, headers: []sigv4.Header{{Name: []byte("Authorization"), Value: []byte("")}}},
		"two headers": func() *wireRequest {
			q := h.build("GET", "/bucket/k", nil)
			q.add("Authorization", basic)
			return q
		}(),
		"a token that is none":         {method: "GET", target: link, host: h.host, headers: []sigv4.Header{{Name: []byte("X-Amz-Security-Token"), Value: []byte("x")}}},
		"a token in the link as well":  {method: "GET", target: link + "&X-Amz-Security-Token=x", host: h.host},
		"a cookie, and nothing signed": {method: "GET", target: "/bucket/k", host: h.host, headers: []sigv4.Header{{Name: []byte("Cookie"), Value: []byte("token=" + testSecret)}}},
		"the root pair in the URL":     {method: "GET", target: "/bucket/k?access_key=" + testAccessKey + "&secret_key=" + testSecret, host: h.host},
	} {
		if r := h.send(q); r.status != 400 && r.status != 403 {
			t.Errorf("%s: got %v", name, r)
		}
	}
	if r := h.send(&wireRequest{method: "GET", target: link, host: h.host}); r.status != http.StatusOK {
		t.Errorf("the link itself: got %v", r)
	}
}
