package fastapi

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/admin"
	"penstock/fastapi/awschunk"
	"penstock/fastapi/policy"
	"penstock/fastapi/sigv4"
)

// every returns one well-formed request for each row of the table of operations: method, target, body.
func (h *harness) every() (requests []*operation, targets []string) {
	base := map[level]string{levelService: "/", levelBucket: "/bucket", levelObject: "/bucket/key"}
	for i := range operations {
		op := &operations[i]
		target := base[op.level]
		if op.selector != "" {
			target += "?" + op.selector
			if op.selector == "uploadId" {
				target += "=upload-0001&partNumber=1"
			}
		}
		requests = append(requests, op)
		targets = append(targets, target)
	}
	for _, route := range admin.Routes() {
		requests = append(requests, adminOperations[route])
		target := admin.Prefix + strings.NewReplacer("{", "", "}", "").Replace(route.Path)
		if route.Name == "WatchRequests" {
			target += "?slower=never" // A mistake, which is found once it is known that the caller may: the answer else has no end.
		}
		targets = append(targets, target)
	}
	return requests, targets
}

func (op *operation) testHeaders() []string {
	switch {
	case op.copies:
		return []string{"x-amz-copy-source", "/bucket/source"}
	case op.name == "GetObjectAttributes":
		return []string{"x-amz-object-attributes", "ETag"}
	}
	return nil
}

// TestEveryRouteHasAnAction is the rule that authorisation can rest on.
func TestEveryRouteHasAnAction(t *testing.T) {
	for i := range operations {
		op := &operations[i]
		if op.action == "" || op.name == "" || op.handle == nil || op.method == "" {
			t.Errorf("row %d is incomplete: %+v", i, op)
		}
		for j := range operations[:i] {
			if o := &operations[j]; o.method == op.method && o.level == op.level && o.selector == op.selector && o.copies == op.copies {
				t.Errorf("%s and %s are the same route", o.name, op.name)
			}
		}
	}
}

// TestEveryAdminRouteHasAnAction is the same for the administration API. Its actions are of their own kind: no policy about buckets grants one.
func TestEveryAdminRouteHasAnAction(t *testing.T) {
	names, actions := map[string]bool{}, map[string]bool{}
	for _, route := range admin.Routes() {
		op := adminOperations[route]
		if op == nil || !strings.HasPrefix(op.action, "admin:") || op.level != levelAdmin || op.handle == nil {
			t.Errorf("%s %s is incomplete: %+v", route.Method, route.Path, op)
		}
		if names[route.Name] || actions[route.Action] {
			t.Errorf("%s, or its action %s, stands for two routes", route.Name, route.Action)
		}
		names[route.Name], actions[route.Action] = true, true
		if _, ok := policy.ActionOf(route.Action); !ok {
			t.Errorf("policies do not know the action %s of %s: name it in the table of actions", route.Action, route.Name)
		}
	}
}

// TestForgedSignaturesReachNothing covers CVE-2026-41145, CVE-2026-40344 and CVE-2025-31489: a payload mode or a place for credentials for
// which the signature was not checked, or not on every route.
func TestForgedSignaturesReachNothing(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	// What a bucket is decides what those may who have not signed. Nothing else of the store is asked.
	calls := newCallCount(h.store)
	body := []byte("<x/>")
	forge := map[string]func(q *wireRequest){
		"anonymous": func(q *wireRequest) { q.headers = nil },
		"wrong secret": func(q *wireRequest) {
			for i := range q.headers {
				if string(q.headers[i].Name) == "Authorization" {
					v := bytes.Clone(q.headers[i].Value)
					v[len(v)-1] ^= 1
					q.headers[i].Value = v
				}
			}
		},
		"unknown key": func(q *wireRequest) {
			for i := range q.headers {
				if string(q.headers[i].Name) == "Authorization" {
					q.headers[i].Value = bytes.Replace(q.headers[i].Value, []byte(testAccessKey), []byte("AKIDNOBODYNOBODY"), 1)
				}
			}
		},
		"signed for another path":   func(q *wireRequest) { q.target = strings.Replace(q.target, "/", "//", 1) },
		"unsigned header added":     func(q *wireRequest) { q.add("x-amz-meta-added", "x") },
		"query credentials added":   func(q *wireRequest) { q.target += sep(q.target) + "X-Amz-Signature=00&X-Amz-Credential=x" },
		"access key in a parameter": func(q *wireRequest) { q.headers = nil; q.target += sep(q.target) + "AWSAccessKeyId=" + testAccessKey },
		"unsigned presigned": func(q *wireRequest) {
			q.headers = nil
			q.target += sep(q.target) + "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + testAccessKey + "%2F" + time.Now().UTC().Format("20060102") +
				"%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=" + time.Now().UTC().Format("20060102T150405Z") + "&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=" + strings.Repeat("0", 64)
		},
	}
	payloads := []string{sigv4.Digest(body), "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
	ops, targets := h.every()
	conn := &session{h: h}
	sent := 0
	for i, op := range ops {
		for name, f := range forge {
			for j, payload := range payloads {
				if j > 0 && !op.there() {
					continue
				}
				q := h.build(op.method, targets[i], nil, append(op.testHeaders(), "x-amz-content-sha256", payload, "x-amz-decoded-content-length", "4")...)
				f(q)
				if op.method == "PUT" || op.method == "POST" {
					if name == "anonymous" || strings.Contains(name, "presigned") || strings.Contains(name, "parameter") {
						q.add("Content-Length", "0")
					}
				}
				sent++
				// A form is signed in its body, so one that is not a form is refused as that.
				if r := conn.send(q); r.status != 403 && r.status != 400 && !(op.name == "PostObject" && r.status == 412) {
					t.Errorf("%s, %s, %s: got %v, want 403", op.name, name, payload, r)
				}
			}
		}
	}
	if made := calls.take(); len(made) != 0 {
		t.Errorf("%d forged requests made calls of the store: %v", sent, made)
	}
}

func sep(target string) string {
	if strings.Contains(target, "?") {
		return "&"
	}
	return "?"
}

// TestChunksCannotBeTamperedWith covers CVE-2021-21390: flip any byte, drop, repeat or swap chunks.
func TestChunksCannotBeTamperedWith(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("a", 64<<10) + strings.Repeat("b", 64<<10) + "c"
	for _, mode := range []sigv4.Mode{sigv4.StreamingSigned, sigv4.StreamingSignedTrailer} {
		var tr []awschunk.Trailer
		if mode.HasTrailer() {
			tr = []awschunk.Trailer{{Name: "x-amz-checksum-sha1", Value: sumOf(algSHA1, body)}}
		}
		good := h.chunked(mode, "PUT", "/bucket/k", body, tr)
		good.add("Content-Length", fmt.Sprint(len(good.body)))
		head := bytes.Index(good.body, []byte("\r\n")) + 2
		chunk := head + 64<<10 + 2
		positions := []int{0, 3, 5, 12, 25, 40, head - 2, head, head + 1000, chunk - 2, chunk, chunk + 20, chunk + head + 5, len(good.body) - 1, len(good.body) - 20, len(good.body) - 90}
		for _, at := range positions {
			q := *good
			q.body = bytes.Clone(good.body)
			q.body[at] ^= 0x01
			if r := h.send(&q); r.status < 400 {
				t.Errorf("%s, byte %d changed: got %v", mode.HeaderValue(), at, r)
			}
		}
		swapped := *good
		swapped.body = append(append(append([]byte{}, good.body[chunk:2*chunk]...), good.body[:chunk]...), good.body[2*chunk:]...)
		repeated := *good
		repeated.body = append(append([]byte{}, good.body[:chunk]...), good.body[:len(good.body)]...)
		repeated.headers = append([]sigv4.Header{}, good.headers[:len(good.headers)-1]...)
		repeated.add("Content-Length", fmt.Sprint(len(repeated.body)))
		for _, q := range []*wireRequest{&swapped, &repeated} {
			if r := h.send(q); r.status < 400 {
				t.Errorf("%s, chunks moved: got %v", mode.HeaderValue(), r)
			}
		}
		h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
		if r := h.send(good); r.status != 200 {
			t.Errorf("%s, untouched: got %v", mode.HeaderValue(), r)
		}
		h.must("DELETE", "/bucket/k", "")
	}
}

// TestUploadRoutesAreAuthorisedAsOperations covers CVE-2021-21362 and CVE-2021-41137: the decision is made on the operation.
func TestUploadRoutesAreAuthorisedAsOperations(t *testing.T) {
	for i := range operations {
		op := &operations[i]
		writes := op.method == "PUT" || op.method == "POST" || op.method == "DELETE"
		read := strings.Contains(op.action, ":Get") || strings.Contains(op.action, ":List")
		if writes && read && op.name != "SelectObjectContent" {
			t.Errorf("%s asks only for %s", op.name, op.action)
		}
	}
}

// TestTraversal covers CVE-2023-28434, CVE-2026-54917 and their like: no spelling of a path leaves its bucket.
func TestTraversal(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/victim", "")
	h.must("PUT", "/victim/secret", "canary")
	for _, key := range []string{
		"../victim/secret", "..%2fvictim/secret", "%2e%2e/victim/secret", "%2e%2e%2fvictim%2fsecret", `..\victim\secret`, "..%5cvictim%5csecret",
		"./../victim/secret", "x/../../victim/secret", "..;/victim/secret", "%00/../victim/secret", "..%c0%afvictim/secret", "%252e%252e%252fvictim/secret",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			r := h.do(method, "/bucket/"+key, "")
			if strings.Contains(r.body, "canary") {
				t.Errorf("%s /bucket/%s: got %v", method, key, r)
			}
		}
		if r := h.do("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/"+key); r.status == 200 && h.store.stored("bucket", "copy").info.Size != 0 {
			t.Errorf("copy of /bucket/%s: got %v", key, r)
		}
	}
	if o := h.store.stored("victim", "secret"); len(h.store.keys("victim")) != 1 || o == nil || o.info.Size != 6 {
		t.Errorf("the other bucket was touched: %v", h.store.keys("victim"))
	}
}

// TestNoSecretsAnywhere covers CVE-2023-28432 and CVE-2018-16889: crawl every route with and without credentials and look for
// a planted secret in answers and logs.
func TestNoSecretsAnywhere(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	ops, targets := h.every()
	seen := new(strings.Builder)
	for i, op := range ops {
		q := h.build(op.method, targets[i], nil, op.testHeaders()...)
		r := h.send(q)
		fmt.Fprintln(seen, r)
		q.headers = nil
		if op.method == "PUT" || op.method == "POST" {
			q.add("Content-Length", "0")
		}
		fmt.Fprintln(seen, h.send(q))
		q = h.build(op.method, targets[i], nil, op.testHeaders()...)
		q.target += sep(q.target) + "more=1"
		fmt.Fprintln(seen, h.send(q))
	}
	for _, path := range []string{"/", "/penstock", "/penstock/", "/penstock/health", "/penstock/health/", "/penstock/health/live", "/penstock/health/ready", "/penstock/health/config",
		"/minio/health/cluster", "/debug/pprof/", "/metrics", "/bootstrap", "/.env", "/admin", "/penstock/health/../../bucket"} {
		for _, method := range []string{"GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE"} {
			q := &wireRequest{method: method, target: path, host: h.host}
			if method == "POST" || method == "PUT" {
				q.add("Content-Length", "0")
			}
			r := h.send(q)
			fmt.Fprintln(seen, r)
			health := path == "/penstock/health/live" || path == "/penstock/health/ready"
			if ok := r.status < 300; ok != (health && (method == "GET" || method == "HEAD")) {
				t.Errorf("anonymous %s %s: got %v", method, path, r)
			}
		}
	}
	for name, text := range map[string]string{"an answer": seen.String(), "the log": h.logs.String()} {
		if strings.Contains(text, testSecret) {
			t.Errorf("the secret is in %s", name)
		}
	}
}

// TestNoHeaderInjection covers CVE-2020-10753, CVE-2021-3524 and CVE-2015-5245: no line break in an answer's header, from whatever was stored.
func TestNoHeaderInjection(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	evil := "a\r\nSet-Cookie: evil\x00\nb\rc"
	o := h.store.stored("bucket", "k")
	for _, name := range append(systemHeaders[:], "x-amz-meta-a", attrStorageClass) {
		o.info.Attrs = append(o.info.Attrs, engine.Attr{Name: name, Value: evil})
	}
	o.info.Attrs = append(o.info.Attrs, engine.Attr{Name: "x-amz-meta-a\r\nSet-Cookie: evil", Value: "x"})
	r := h.must("GET", "/bucket/k", "")
	if r.header.Get("Set-Cookie") != "" {
		t.Errorf("injected: %v", r.header)
	}
	for name, values := range r.header {
		if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
			t.Errorf("%s: %q", name, values)
		}
	}
}

// TestOddHeaderValues covers CVE-2024-47866: each header that the server reads, absent, empty, short, long, not UTF-8. No panic, no 500.
func TestOddHeaderValues(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	conn, turn := &session{h: h}, 0
	values := []string{"", " ", "x", ",", "=", "-", "0", "\xff\xfe", strings.Repeat("x", 4000), "%", "/", "//", "?", "bytes=", `"`, `""`, "a\tb", "bytes=0-18446744073709551616"}
	for _, name := range []string{
		"x-amz-copy-source", "x-amz-copy-source-range", "x-amz-metadata-directive", "x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-crc32",
		"x-amz-sdk-checksum-algorithm", "x-amz-trailer", "x-amz-decoded-content-length", "x-amz-storage-class", "x-amz-acl", "x-amz-tagging", "x-amz-object-attributes",
		"x-amz-max-parts", "x-amz-part-number-marker", "x-amz-mp-object-size", "x-amz-expected-bucket-owner", "x-amz-meta-", "x-amz-meta-a", "x-amz-checksum-mode",
		"x-amz-copy-source-if-match", "x-amz-copy-source-if-modified-since", "Content-MD5", "Content-Type", "Content-Encoding", "Range", "If-Range", "If-Match", "If-None-Match",
		"If-Modified-Since", "If-Unmodified-Since", "Expires", "x-amz-website-redirect-location", "x-amz-server-side-encryption", "x-amz-security-token", "x-amz-date", "Date",
	} {
		for _, value := range values {
			turn++
			for i, c := range []struct{ method, target string }{
				{"GET", "/bucket/k"}, {"HEAD", "/bucket/k"}, {"PUT", "/bucket/new"}, {"PUT", "/bucket/new?partNumber=1&uploadId=x"}, {"POST", "/bucket/new?uploads"},
				{"POST", "/bucket/new?uploadId=x"}, {"POST", "/bucket?delete"}, {"GET", "/bucket/k?attributes"}, {"PUT", "/bucket"},
			} {
				if i%3 != turn%3 {
					continue // Each header meets each target with a third of the values, and takes turns.
				}
				q := h.build(c.method, c.target, nil, name, value)
				if r := conn.send(q); r.status >= 500 && r.status != 501 {
					t.Errorf("%s %s with %s: %q: got %v", c.method, c.target, name, value, r)
				}
			}
		}
	}
	if strings.Contains(h.logs.String(), "panic") {
		t.Errorf("something panicked: %s", h.logs.String())
	}
}

// TestDeniedLooksTheSame covers CVE-2024-36107: without permission nothing tells an object that exists from one that does not.
func TestDeniedLooksTheSame(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	tag := h.must("PUT", "/bucket/there", "x").header.Get("ETag")
	for _, headers := range [][]string{nil, {"If-None-Match", tag}, {"If-Modified-Since", time.Now().Add(time.Hour).Format(http.TimeFormat)}, {"Range", "bytes=0-"}} {
		var answers []string
		for _, key := range []string{"there", "gone!"} {
			q := &wireRequest{method: "GET", target: "/bucket/" + key, host: h.host}
			for i := 0; i < len(headers); i += 2 {
				q.add(headers[i], headers[i+1])
			}
			r := h.send(q)
			answers = append(answers, fmt.Sprint(r.status, r.code(), len(r.body), len(r.header)))
		}
		if answers[0] != answers[1] {
			t.Errorf("%q: %v", headers, answers)
		}
	}
}

// TestLargePageParameters covers CVE-2018-16846: no parameter makes a page larger than a thousand entries.
func TestLargePageParameters(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	id := element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	for target, name := range map[string]string{
		"/bucket?max-keys=1000000": "MaxKeys", "/bucket?list-type=2&max-keys=2147483647": "MaxKeys",
		"/bucket?uploads&max-uploads=1000000": "MaxUploads", "/bucket/k?max-parts=1000000&uploadId=" + id: "MaxParts",
	} {
		if r := h.must("GET", target, ""); element(r.body, name) != "1000" {
			t.Errorf("%s: %v", target, r)
		}
	}
}
