package fastapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// corsRules makes a CORSConfiguration. Each rule is written as "name value" pairs, one a line.
func corsRules(rules ...string) string {
	var doc strings.Builder
	doc.WriteString(`<CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for _, rule := range rules {
		doc.WriteString("<CORSRule>")
		for line := range strings.SplitSeq(rule, "\n") {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			fmt.Fprintf(&doc, "<%s>%s</%s>", name, value, name)
		}
		doc.WriteString("</CORSRule>")
	}
	doc.WriteString("</CORSConfiguration>")
	return doc.String()
}

func TestCORSConfiguration(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		if r := h.want(404, "NoSuchCORSConfiguration", "GET", "/bucket?cors", ""); element(r.body, "BucketName") != "bucket" {
			t.Errorf("got %v, want the bucket's name in it", r)
		}
		h.must("DELETE", "/bucket?cors", "")
		doc := corsRules("ID one\nAllowedOrigin https://*.example.com\nAllowedMethod GET\nAllowedMethod PUT\nAllowedHeader x-*\nExposeHeader ETag\nMaxAgeSeconds 0", "AllowedOrigin \nAllowedMethod HEAD")
		h.must("PUT", "/bucket?cors", doc)
		got := h.must("GET", "/bucket?cors", "").body
		for _, want := range []string{
			"<ID>one</ID><AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>0</MaxAgeSeconds></CORSRule>",
			"<CORSRule><AllowedOrigin></AllowedOrigin><AllowedMethod>HEAD</AllowedMethod></CORSRule>",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("got %s, want %s in it", got, want)
			}
		}
		for _, c := range []struct{ name, doc, code, text string }{
			{"nothing", "", "MissingRequestBodyError", ""},
			{"no rule", corsRules(), "MalformedXML", ""},
			{"no origin", corsRules("AllowedMethod GET"), "MalformedXML", ""},
			{"no method", corsRules("AllowedOrigin *"), "MalformedXML", ""},
			{"another element", corsRules("AllowedOrigin *\nAllowedMethod GET\nColor blue"), "MalformedXML", ""},
			{"another root", "<CORS></CORS>", "MalformedXML", ""},
			{"an age that is none", corsRules("AllowedOrigin *\nAllowedMethod GET\nMaxAgeSeconds soon"), "MalformedXML", ""},
			{"a negative age", corsRules("AllowedOrigin *\nAllowedMethod GET\nMaxAgeSeconds -1"), "MalformedXML", ""},
			{"a method that is none", corsRules("AllowedOrigin *\nAllowedMethod OPTIONS"), "InvalidRequest", "Found unsupported HTTP method in CORS config. Unsupported method is OPTIONS"},
			{"a method in small letters", corsRules("AllowedOrigin *\nAllowedMethod get"), "InvalidRequest", "Found unsupported HTTP method in CORS config. Unsupported method is get"},
			{"two asterisks in an origin", corsRules("AllowedOrigin http://*.*.com\nAllowedMethod GET"), "InvalidRequest", `AllowedOrigin &quot;http://*.*.com&quot; can not have more than one wildcard.`},
			{"two asterisks in a header", corsRules("AllowedOrigin *\nAllowedMethod GET\nAllowedHeader *x*"), "InvalidRequest", `AllowedHeader &quot;*x*&quot; can not have more than one wildcard.`},
			{"an asterisk in what is exposed", corsRules("AllowedOrigin *\nAllowedMethod GET\nExposeHeader x-*"), "InvalidRequest", `ExposeHeader &quot;x-*&quot; contains wildcard. We currently do not support wildcard for ExposeHeader.`},
			{"CVE-2020-10753: a line break in what is exposed", corsRules("AllowedOrigin *\nAllowedMethod GET\nExposeHeader a&#13;&#10;Set-Cookie:x"), "InvalidRequest", ""},
			{"CVE-2021-3524: a carriage return in what is exposed", corsRules("AllowedOrigin *\nAllowedMethod GET\nExposeHeader a&#13;x"), "InvalidRequest", ""},
			{"a long id", corsRules("ID " + strings.Repeat("x", 256) + "\nAllowedOrigin *\nAllowedMethod GET"), "InvalidRequest", ""},
			{"101 rules", corsRules(slices.Repeat([]string{"AllowedOrigin *\nAllowedMethod GET"}, 101)...), "InvalidRequest", "The number of CORS rules should not exceed allowed limit of 100 rules."},
		} {
			r := h.want(400, c.code, "PUT", "/bucket?cors", c.doc)
			if c.text != "" && element(r.body, "Message") != c.text {
				t.Errorf("%s: got %q, want %q", c.name, element(r.body, "Message"), c.text)
			}
		}
		if again := h.must("GET", "/bucket?cors", "").body; again != got {
			t.Errorf("what was refused changed the configuration: %s", again)
		}
		h.must("PUT", "/bucket?cors", corsRules(slices.Repeat([]string{"AllowedOrigin *\nAllowedMethod GET"}, 100)...))
		h.want(400, "BadDigest", "PUT", "/bucket?cors", doc, "Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")
		h.want(404, "NoSuchBucket", "PUT", "/none?cors", doc)
		h.want(404, "NoSuchBucket", "GET", "/none?cors", "")
		if r := h.must("DELETE", "/bucket?cors", ""); r.status != 204 {
			t.Errorf("got %v, want 204", r)
		}
		h.want(404, "NoSuchCORSConfiguration", "GET", "/bucket?cors", "")
	})
}

// accessControl returns the headers of an answer that concern other origins, sorted, as one string.
func accessControl(r *reply) string {
	var all []string
	for name, values := range r.header {
		if short, ok := strings.CutPrefix(name, "Access-Control-"); ok {
			all = append(all, short+"="+strings.Join(values, "|"))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestPreflight asks what pages may do. What Amazon answers was recorded by others.
func TestPreflight(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Domains = []string{"s3.example.com"} })
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/plain", "")
	h.must("PUT", "/bucket?cors", corsRules(
		"AllowedOrigin https://app.example.com\nAllowedOrigin http://*.dev.example.com\nAllowedMethod GET\nAllowedMethod PUT\nAllowedHeader Content-*\nAllowedHeader x-AMZ-date\nExposeHeader ETag\nExposeHeader x-amz-request-id\nMaxAgeSeconds 3000",
		"AllowedOrigin *\nAllowedMethod HEAD\nAllowedHeader *"))
	const notAllowed = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource&#x27;s CORS spec."
	for _, c := range []struct {
		target, origin, method, headers string
		status                          int
		want                            string // Headers of the answer, or the code, method and resource type of an error.
	}{
		{"/bucket/k", "", "GET", "", 400, "BadRequest"},
		{"/plain/k", "", "GET", "", 400, "BadRequest"},
		{"/plain/k", "https://x", "GET", "", 403, "AccessForbidden GET BUCKET"},
		{"/plain/k", "https://x", "", "", 403, "AccessForbidden OPTIONS BUCKET"},
		{"/none/k", "https://x", "", "", 403, "AccessForbidden OPTIONS BUCKET"},
		{"/bucket/k", "https://app.example.com", "", "", 400, "BadRequest"},
		{"/bucket/k", "https://app.example.com", "PATCH", "", 400, "BadRequest"},
		{"/bucket/k", "https://app.example.com", "GET", "", 200, "Allow-Credentials=true Allow-Methods=GET, PUT Allow-Origin=https://app.example.com Expose-Headers=ETag, x-amz-request-id Max-Age=3000"},
		{"/bucket", "https://app.example.com", "GET", "", 200, "Allow-Credentials=true Allow-Methods=GET, PUT Allow-Origin=https://app.example.com Expose-Headers=ETag, x-amz-request-id Max-Age=3000"},
		{"/bucket?uploads", "https://app.example.com", "GET", "", 200, "Allow-Credentials=true Allow-Methods=GET, PUT Allow-Origin=https://app.example.com Expose-Headers=ETag, x-amz-request-id Max-Age=3000"},
		{"/bucket/k", "http://a.b.dev.example.com", "PUT", "content-type,X-Amz-Date", 200, "Allow-Credentials=true Allow-Headers=content-type, x-amz-date Allow-Methods=GET, PUT Allow-Origin=http://a.b.dev.example.com Expose-Headers=ETag, x-amz-request-id Max-Age=3000"},
		{"/bucket/k", "http://.dev.example.com", "PUT", "", 200, "Allow-Credentials=true Allow-Methods=GET, PUT Allow-Origin=http://.dev.example.com Expose-Headers=ETag, x-amz-request-id Max-Age=3000"},
		{"/bucket/k", "http://dev.example.com", "PUT", "", 403, "AccessForbidden PUT OBJECT"},
		{"/bucket/k", "https://app.example.com.evil.org", "GET", "", 403, "AccessForbidden GET OBJECT"},
		{"/bucket/k", "https://APP.example.com", "GET", "", 403, "AccessForbidden GET OBJECT"},
		{"/bucket", "https://other", "GET", "", 403, "AccessForbidden GET BUCKET"},
		{"/bucket/k", "https://app.example.com", "DELETE", "", 403, "AccessForbidden DELETE OBJECT"},
		{"/bucket/k", "https://app.example.com", "GET", "content-type, x-amz-acl", 403, "AccessForbidden GET OBJECT"},
		{"/bucket/k", "https://anybody", "HEAD", "x-anything , ,y", 200, "Allow-Headers=x-anything, y Allow-Methods=HEAD Allow-Origin=*"},
		{"/bucket/k", "https://anybody", "HEAD", "bad header", 403, "AccessForbidden HEAD OBJECT"},
		{"/bucket/k", "null", "HEAD", "", 200, "Allow-Methods=HEAD Allow-Origin=*"},
	} {
		var headers []string
		for name, value := range map[string]string{"Origin": c.origin, "Access-Control-Request-Method": c.method, "Access-Control-Request-Headers": c.headers} {
			if value != "" {
				headers = append(headers, name, value)
			}
		}
		r := h.anonymously("OPTIONS", c.target, "", headers...)
		got := accessControl(r)
		if r.status != 200 {
			got = strings.TrimSpace(strings.Join([]string{r.code(), element(r.body, "Method"), element(r.body, "ResourceType")}, " ")) + got
		}
		if r.status != c.status || got != c.want {
			t.Errorf("OPTIONS %s from %q for %s %q: got %d %s, want %d %s", c.target, c.origin, c.method, c.headers, r.status, got, c.status, c.want)
		}
		if r.status == 200 && (r.header.Get("Vary") != corsVary || r.body != "") {
			t.Errorf("OPTIONS %s from %q: got %v, want Vary and no body", c.target, c.origin, r)
		}
		if strings.HasSuffix(c.want, "OBJECT") && strings.ReplaceAll(element(r.body, "Message"), "'", "&#x27;") != notAllowed {
			t.Errorf("got %s, want %s", element(r.body, "Message"), notAllowed)
		}
	}
	q := &wireRequest{method: "OPTIONS", target: "/a//b", host: "bucket.s3.example.com"}
	q.add("Origin", "https://x")
	q.add("Access-Control-Request-Method", "HEAD")
	if r := h.send(q); r.status != 200 || r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("by virtual host: got %v", r)
	}
	if r := h.anonymously("OPTIONS", "/", ""); r.status != 405 {
		t.Errorf("OPTIONS of the service: got %v", r)
	}
}

// TestCrossOriginAnswers: answers, errors among them, say what the page that asked may see.
func TestCrossOriginAnswers(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/plain", "")
	h.must("PUT", "/bucket/k", "hello")
	h.must("PUT", "/plain/k", "hello")
	h.must("PUT", "/bucket?cors", corsRules("AllowedOrigin https://app\nAllowedMethod GET\nExposeHeader ETag\nAllowedHeader x-one", "AllowedOrigin https://put\nAllowedMethod PUT"))
	const allowed = "Allow-Credentials=true Allow-Methods=GET Allow-Origin=https://app Expose-Headers=ETag"
	for _, c := range []struct {
		name, method, target string
		headers              []string
		status               int
		want                 string
	}{
		{"a read", "GET", "/bucket/k", []string{"Origin", "https://app"}, 200, allowed},
		{"a range", "GET", "/bucket/k", []string{"Origin", "https://app", "Range", "bytes=1-2"}, 206, allowed},
		{"nothing new", "GET", "/bucket/k", []string{"Origin", "https://app", "If-None-Match", "*"}, 304, allowed},
		{"a list", "GET", "/bucket", []string{"Origin", "https://app"}, 200, allowed},
		{"no such key", "GET", "/bucket/none", []string{"Origin", "https://app"}, 404, allowed},
		{"no such version", "GET", "/bucket/k?versionId=x", []string{"Origin", "https://app"}, 400, allowed},
		{"another origin", "GET", "/bucket/k", []string{"Origin", "https://other"}, 200, ""},
		{"no origin", "GET", "/bucket/k", nil, 200, ""},
		{"another method", "HEAD", "/bucket/k", []string{"Origin", "https://app"}, 200, ""},
		{"a method that is asked about", "GET", "/bucket/k", []string{"Origin", "https://app", "Access-Control-Request-Method", "PUT"}, 200, ""},
		{"a method that is asked about, and allowed", "PUT", "/bucket/k", []string{"Origin", "https://app", "Access-Control-Request-Method", "GET"}, 200, allowed},
		{"a header that is asked about", "GET", "/bucket/k", []string{"Origin", "https://app", "Access-Control-Request-Headers", "x-two"}, 200, ""},
		{"a header that is asked about, and allowed", "GET", "/bucket/k", []string{"Origin", "https://app", "Access-Control-Request-Headers", "x-one"}, 200, "Allow-Credentials=true Allow-Headers=x-one Allow-Methods=GET Allow-Origin=https://app Expose-Headers=ETag"},
		{"a write", "PUT", "/bucket/w", []string{"Origin", "https://put"}, 200, "Allow-Credentials=true Allow-Methods=PUT Allow-Origin=https://put"},
		{"a bucket without rules", "GET", "/plain/k", []string{"Origin", "https://app"}, 200, ""},
		{"no such bucket", "GET", "/none/k", []string{"Origin", "https://app"}, 404, ""},
	} {
		r := h.do(c.method, c.target, "", c.headers...)
		if got := accessControl(r); r.status != c.status || got != c.want {
			t.Errorf("%s: got %d %q, want %d %q", c.name, r.status, got, c.status, c.want)
		}
		vary := ""
		if strings.HasPrefix(c.target, "/bucket") {
			vary = corsVary
		}
		if got := r.header.Get("Vary"); got != vary {
			t.Errorf("%s: Vary %q, want %q", c.name, got, vary)
		}
	}
	// Who may not is told so, in an answer that the page can read.
	if r := h.anonymously("GET", "/bucket/k", "", "Origin", "https://app"); r.status != 403 || accessControl(r) != allowed {
		t.Errorf("anonymously: got %v", r)
	}
	if r := h.anonymously("PUT", "/bucket/k", "x", "Origin", "https://put", "Expect", "100-continue"); r.status != 403 || r.header.Get("Access-Control-Allow-Origin") != "https://put" {
		t.Errorf("anonymously, and asking first: got %v", r)
	}
	bad := h.signer
	bad.Secret += "x"
	if r := h.as(bad).do("GET", "/bucket/k", "", "Origin", "https://app"); r.code() != "SignatureDoesNotMatch" {
		t.Errorf("with a bad signature: got %v", r)
	}
	q := &wireRequest{method: "GET", target: h.presign("GET", "/bucket/k"), host: h.host}
	q.add("Origin", "https://app")
	if r := h.send(q); r.status != 200 || accessControl(r) != allowed {
		t.Errorf("presigned: got %v", r)
	}
}
