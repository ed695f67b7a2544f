package fastapi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/sigv4"
)

// uploadForm is a form as a browser sends it.
type uploadForm struct {
	fields   []string // Alternating names and values; "file" and then the content ends them.
	filename string
	boundary string
}

// formPolicyOf writes a policy that ends in an hour.
func formPolicyOf(conditions ...string) string {
	return fmt.Sprintf(`{"expiration":%q,"conditions":[%s]}`, time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z"), strings.Join(conditions, ","))
}

// signed adds a policy and its signature to the fields.
func (f uploadForm) signed(signer sigv4.Signer, policy string) uploadForm {
	s := &sigv4.Form{Policy: base64.StdEncoding.EncodeToString([]byte(policy))}
	signer.SignForm(s, time.Now())
	extra := []string{"policy", s.Policy, "x-amz-algorithm", s.Algorithm, "x-amz-credential", s.Credential, "x-amz-date", s.Date, "x-amz-signature", s.Signature}
	if s.Token != "" {
		extra = append(extra, "x-amz-security-token", s.Token)
	}
	f.fields = append(extra, f.fields...)
	return f
}

// signatureConditions are what a policy says of the fields of its own signature.
var signatureConditions = []string{`["starts-with","$x-amz-algorithm",""]`, `["starts-with","$x-amz-credential",""]`, `["starts-with","$x-amz-date",""]`}

func (f uploadForm) body() (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if f.boundary != "" {
		if err := w.SetBoundary(f.boundary); err != nil {
			panic(err)
		}
	}
	for i := 0; i < len(f.fields); i += 2 {
		header := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name="%s"`, f.fields[i])
		if f.fields[i] == "file" {
			disposition += fmt.Sprintf(`; filename="%s"`, strings.ReplaceAll(f.filename, `\`, `\\`))
			header.Set("Content-Type", "application/x-anything")
		}
		header.Set("Content-Disposition", disposition)
		part, err := w.CreatePart(header)
		if err != nil {
			panic(err)
		}
		part.Write([]byte(f.fields[i+1]))
	}
	w.Close()
	return w.FormDataContentType(), b.Bytes()
}

// post sends a form that only its fields sign.
func (h *harness) post(target string, f uploadForm) *reply {
	h.t.Helper()
	contentType, body := f.body()
	return h.anonymously("POST", target, string(body), "Content-Type", contentType)
}

// TestPostObject: uploads by form, and the three ways to be told.
func TestPostObject(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	conditions := append([]string{`{"bucket":"bucket"}`, `["starts-with","$key","up/"]`, `["starts-with","$Content-Type","image/"]`, `{"x-amz-meta-color":"blue"}`, `["content-length-range",1,20]`, `["eq","$success_action_status","201"]`, `["starts-with","$x-amz-checksum-sha256",""]`}, signatureConditions...)
	f := uploadForm{filename: `C:\photos\cat.png`, fields: []string{"key", "up/${filename}", "Content-Type", "image/png", "x-amz-meta-color", "blue", "success_action_status", "201", "x-amz-checksum-sha256", sumOf(algSHA256, "meow"), "x-ignore-this", "x", "file", "meow", "submit", "Upload"}}
	r := h.post("/bucket", f.signed(h.signer, formPolicyOf(conditions...)))
	if r.status != 201 || element(r.body, "Key") != "up/cat.png" || element(r.body, "Bucket") != "bucket" || r.header.Get("ETag") != `"4a4be40c96ac6314e91d93f38043a634"` ||
		r.header.Get("Location") != "http://"+h.host+"/bucket/up/cat.png" || element(r.body, "Location") != r.header.Get("Location") {
		t.Fatalf("got %v", r)
	}
	got := h.must("GET", "/bucket/up/cat.png", "", "x-amz-checksum-mode", "ENABLED")
	if got.body != "meow" || got.header.Get("Content-Type") != "image/png" || got.header.Get("x-amz-meta-color") != "blue" || got.header.Get("x-amz-checksum-sha256") != sumOf(algSHA256, "meow") {
		t.Errorf("got %v", got)
	}
	plain := append([]string{`{"bucket":"bucket"}`, `["starts-with","$key",""]`, `["starts-with","$success_action_redirect",""]`, `["starts-with","$success_action_status",""]`}, signatureConditions...)
	for _, c := range []struct {
		status, redirect string
		want             int
	}{
		{"", "", 204}, {"200", "", 200}, {"204", "", 204}, {"404", "", 204}, {"x", "", 204}, {"200", "https://example.com/done?a=b", 303}, {"201", "javascript:alert(1)", 201}, {"", "//example.com", 204}, {"", "https://example.com/\r\nX: y", 204}, {"200", "/relative", 200},
	} {
		f := uploadForm{fields: []string{"key", "k%20 ü&", "success_action_status", c.status, "success_action_redirect", c.redirect, "file", "x"}}
		r := h.post("/bucket", f.signed(h.signer, formPolicyOf(plain...)))
		if r.status != c.want || r.header.Get("X") != "" {
			t.Errorf("%+v: got %v", c, r)
		}
		if c.want == 303 {
			u, err := url.Parse(r.header.Get("Location"))
			if err != nil || u.Host != "example.com" || u.Query().Get("a") != "b" || u.Query().Get("bucket") != "bucket" || u.Query().Get("key") != "k%20 ü&" || u.Query().Get("etag") != r.header.Get("ETag") {
				t.Errorf("redirected to %v, %v", r.header.Get("Location"), err)
			}
		}
		h.must("DELETE", "/bucket/"+url.PathEscape("k%20 ü&"), "")
	}
	// A long file goes by and the connection lives on.
	long := uploadForm{fields: []string{"key", "long", "success_action_redirect", "", "success_action_status", "", "file", strings.Repeat("x", 3<<20)}}
	contentType, body := long.signed(h.signer, formPolicyOf(plain...)).body()
	s := &session{h: h}
	for range 2 {
		q := &wireRequest{method: "POST", target: "/bucket", host: h.host, body: body}
		q.add("Content-Type", contentType)
		q.add("Content-Length", itoa(len(body)))
		if r := s.send(q); r.status != 204 || r.closed {
			t.Errorf("a long file: %v", r)
		}
	}
	if o := h.store.stored("bucket", "long"); o == nil || o.info.Size != 3<<20 {
		t.Errorf("stored %+v", o)
	}
}

// TestPostConditions covers GHSA-w5fh and CVE-2023-43040: everything that a form's policy says is held, and what it does not speak of is refused.
func TestPostConditions(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/other", "")
	base := append([]string{`{"bucket":"bucket"}`, `["starts-with","$key","up/"]`}, signatureConditions...)
	with := func(more ...string) string { return formPolicyOf(append(more, base...)...) }
	fields := func(more ...string) []string {
		return append(append([]string{"key", "up/k"}, more...), "file", "12345")
	}
	for _, c := range []struct {
		name   string
		policy string
		fields []string
		target string
		want   int
		code   string
	}{
		{"all well", with(), fields(), "", 204, ""},
		{"case of names", with(`["eq","$ACL","private"]`), fields("acl", "private"), "", 204, ""},
		{"exact", with(`{"x-amz-meta-a":"b"}`), fields("x-amz-meta-a", "b"), "", 204, ""},
		{"another value", with(`{"x-amz-meta-a":"b"}`), fields("x-amz-meta-a", "c"), "", 403, "AccessDenied"},
		{"value in another case", with(`{"x-amz-meta-a":"b"}`), fields("x-amz-meta-a", "B"), "", 403, "AccessDenied"},
		{"missing field", with(`{"x-amz-meta-a":"b"}`), fields(), "", 403, "AccessDenied"},
		{"any value, but missing", with(`["starts-with","$x-amz-meta-a",""]`), fields(), "", 403, "AccessDenied"},
		{"another prefix", with(), []string{"key", "down/k", "file", "x"}, "", 403, "AccessDenied"},
		{"a field that is not spoken of", with(), fields("x-amz-meta-a", "b"), "", 403, "AccessDenied"},
		{"an access list that is not spoken of", with(), fields("acl", "public-read"), "", 403, "AccessDenied"},
		{"a content type that is not spoken of", with(), fields("Content-Type", "text/html"), "", 403, "AccessDenied"},
		{"two content types", with(`["starts-with","$Content-Type","image/"]`), fields("Content-Type", "image/png, text/html"), "", 403, "AccessDenied"},
		{"one condition of two", with(`["starts-with","$x-amz-meta-a","b"]`, `["eq","$x-amz-meta-a","bc"]`), fields("x-amz-meta-a", "bd"), "", 403, "AccessDenied"},
		{"too short", with(`["content-length-range",6,10]`), fields(), "", 400, "EntityTooSmall"},
		{"too long", with(`["content-length-range",0,4]`), fields(), "", 400, "EntityTooLarge"},
		{"of the right length", with(`["content-length-range","5","5"]`), fields(), "", 204, ""},
		{"two ranges", with(`["content-length-range",0,10]`, `["content-length-range",0,4]`), fields(), "", 400, "EntityTooLarge"},
		{"a range that is none", with(`["content-length-range",10,1]`), fields(), "", 400, "InvalidPolicyDocument"},
		{"a negative range", with(`["content-length-range",-1,10]`), fields(), "", 400, "InvalidPolicyDocument"},
		{"another bucket in the URL", with(), fields(), "/other", 403, "AccessDenied"},
		{"another bucket in the form", with(), fields("bucket", "other"), "", 403, "AccessDenied"},
		{"no word of the bucket", formPolicyOf(append([]string{`["starts-with","$key","up/"]`}, signatureConditions...)...), fields(), "", 403, "AccessDenied"},
		{"no word of the key", formPolicyOf(append([]string{`{"bucket":"bucket"}`}, signatureConditions...)...), fields(), "", 403, "AccessDenied"},
		{"no word of the credential", formPolicyOf(`{"bucket":"bucket"}`, `["starts-with","$key",""]`), fields(), "", 403, "AccessDenied"},
		{"expired", strings.Replace(with(), `"expiration":"2`, `"expiration":"1`, 1), fields(), "", 403, "AccessDenied"},
		{"no expiration", `{"conditions":[` + strings.Join(base, ",") + `]}`, fields(), "", 400, "InvalidPolicyDocument"},
		{"an expiration that is none", strings.Replace(with(), "T", " ", 1), fields(), "", 400, "InvalidPolicyDocument"},
		{"no conditions", `{"expiration":"2099-01-01T00:00:00Z"}`, fields(), "", 400, "InvalidPolicyDocument"},
		{"conditions twice", strings.Replace(with(), "{", `{"conditions":[],"Conditions":[],`, 1), fields(), "", 400, "InvalidPolicyDocument"},
		{"an unknown condition", with(`["ends-with","$key","k"]`), fields(), "", 400, "InvalidPolicyDocument"},
		{"a condition of two", with(`["eq","$key"]`), fields(), "", 400, "InvalidPolicyDocument"},
		{"a condition without a dollar", with(`["eq","key","up/k"]`), fields(), "", 400, "InvalidPolicyDocument"},
		{"a condition that is a number", with(`7`), fields(), "", 400, "InvalidPolicyDocument"},
		{"an empty condition", with(`{}`), fields(), "", 400, "InvalidPolicyDocument"},
		{"more after the policy", with() + "x", fields(), "", 400, "InvalidPolicyDocument"},
		{"no JSON", "conditions: none", fields(), "", 400, "InvalidPolicyDocument"},
	} {
		target := c.target
		if target == "" {
			target = "/bucket"
		}
		r := h.post(target, uploadForm{fields: c.fields}.signed(h.signer, c.policy))
		if r.status != c.want || r.code() != c.code {
			t.Errorf("%s: got %v, want %d %s", c.name, r, c.want, c.code)
		}
		if (h.store.stored("bucket", "up/k") != nil) != (c.want == 204) || len(h.store.keys("other")) > 0 {
			t.Errorf("%s: stored %v, %v", c.name, h.store.keys("bucket"), h.store.keys("other"))
		}
		h.must("DELETE", "/bucket/up/k", "")
	}
}

// TestPostIsAuthorisedAsPut covers CVE-2021-21362: a form is a PutObject, whoever has signed it.
func TestPostIsAuthorisedAsPut(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	reader := h.user("reader", "readonly")
	writer := h.user("writer", h.policy("up", allow("s3:PutObject", "arn:aws:s3:::bucket/up/*")))
	narrow := h.user("narrow", h.policy("narrow", `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"s3:authType":"POST","s3:x-amz-storage-class":"STANDARD_IA"}}}`))
	wrong := writer
	wrong.Secret += "x"
	gone := h.user("gone", "readwrite")
	if err := h.people.DeleteUser(t.Context(), h.root(), "gone"); err != nil {
		t.Fatal(err)
	}
	expired := h.expired()
	policy := formPolicyOf(append([]string{`{"bucket":"bucket"}`, `["starts-with","$key",""]`, `["starts-with","$x-amz-storage-class",""]`, `["starts-with","$x-amz-security-token",""]`}, signatureConditions...)...)
	plain := strings.Replace(policy, `,["starts-with","$x-amz-security-token",""]`, "", 1)
	form := func(key, class string) uploadForm {
		return uploadForm{fields: []string{"key", key, "x-amz-storage-class", class, "file", "x"}}
	}
	for _, c := range []struct {
		name string
		form uploadForm
		want int
		code string
	}{
		{"reader", form("up/k", "STANDARD").signed(reader, plain), 403, "AccessDenied"},
		{"writer", form("up/k", "STANDARD").signed(writer, plain), 204, ""},
		{"writer elsewhere", form("k", "STANDARD").signed(writer, plain), 403, "AccessDenied"},
		{"writer, by the file's name", uploadForm{filename: "k", fields: []string{"key", "${filename}", "x-amz-storage-class", "STANDARD", "file", "x"}}.signed(writer, plain), 403, "AccessDenied"},
		{"conditions", form("k", "STANDARD_IA").signed(narrow, plain), 204, ""},
		{"other conditions", form("k", "STANDARD").signed(narrow, plain), 403, "AccessDenied"},
		{"wrong secret", form("up/k", "STANDARD").signed(wrong, plain), 403, "SignatureDoesNotMatch"},
		{"deleted user", form("up/k", "STANDARD").signed(gone, plain), 403, "InvalidAccessKeyId"},
		{"expired session", form("up/k", "STANDARD").signed(expired, policy), 400, "ExpiredToken"},
		{"nobody", uploadForm{fields: []string{"key", "up/k", "file", "x"}}, 403, "AccessDenied"},
		{"policy without signature", uploadForm{fields: []string{"key", "up/k", "policy", base64.StdEncoding.EncodeToString([]byte(policy)), "file", "x"}}, 400, "InvalidArgument"},
		{"signature without policy", uploadForm{fields: append([]string{"key", "up/k"}, form("up/k", "").signed(writer, plain).fields[2:10]...)}, 400, "InvalidArgument"},
		{"version 2", uploadForm{fields: []string{"key", "up/k", "AWSAccessKeyId", writer.AccessKey, "policy", "e30=", "signature", "x", "file", "x"}}, 400, "InvalidRequest"},
	} {
		if c.name == "signature without policy" {
			c.form.fields = append(c.form.fields, "file", "x")
		}
		if r := h.post("/bucket", c.form); r.status != c.want || r.code() != c.code {
			t.Errorf("%s: got %v, want %d %s", c.name, r, c.want, c.code)
		}
	}
	// Whoever signs the request instead needs no policy; signing both is one too many.
	contentType, body := uploadForm{fields: []string{"key", "direct", "file", "x"}}.body()
	h.must("POST", "/bucket", string(body), "Content-Type", contentType)
	contentType, body = form("up/k", "STANDARD").signed(writer, plain).body()
	h.want(400, "InvalidArgument", "POST", "/bucket", string(body), "Content-Type", contentType)
	// Nobody, where a policy of the bucket lets everybody.
	h.open("bucket")
	h.must("PUT", "/bucket?policy", strings.Replace(publicRead, "s3:GetObject", "s3:PutObject", 1))
	if r := h.post("/bucket", uploadForm{fields: []string{"key", "anybody", "file", "x"}}); r.status != 204 {
		t.Errorf("an open bucket: %v", r)
	}
	if r := h.post("/bucket", uploadForm{fields: []string{"key", "anybody", "acl", "public-read", "file", "x"}}); r.status != 403 {
		t.Errorf("an open bucket, with an access list: %v", r)
	}
}

// TestBadForms covers CVE-2018-1000538 and the malformed POSTs of Ceph: what is no form is refused, in bounded memory.
func TestBadForms(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.open("bucket")
	h.must("PUT", "/bucket?policy", strings.Replace(publicRead, "s3:GetObject", "s3:PutObject", 1))
	good := uploadForm{boundary: "b", fields: []string{"key", "k", "file", "x"}}
	contentType, body := good.body()
	many := []string{"key", "k"}
	for i := range 3000 {
		many = append(many, fmt.Sprint("x-ignore-", i), "")
	}
	for _, c := range []struct {
		name, contentType, body string
		want                    int
		code                    string
	}{
		{"no type", "", string(body), 412, "PreconditionFailed"},
		{"another type", "application/json", string(body), 412, "PreconditionFailed"},
		{"a url-encoded form", "application/x-www-form-urlencoded", "key=k&file=x", 412, "PreconditionFailed"},
		{"no boundary", "multipart/form-data", string(body), 412, "PreconditionFailed"},
		{"another boundary", "multipart/form-data; boundary=other", string(body), 400, ""},
		{"cut short", contentType, string(body[:len(body)-20]), 400, ""},
		{"empty", contentType, "", 400, ""},
		{"no file", contentType, string(second(uploadForm{boundary: "b", fields: []string{"key", "k"}}.body())), 400, "InvalidArgument"},
		{"no key", contentType, string(second(uploadForm{boundary: "b", fields: []string{"file", "x"}}.body())), 400, "InvalidArgument"},
		{"key after the file", contentType, string(second(uploadForm{boundary: "b", fields: []string{"file", "x", "key", "k"}}.body())), 400, "InvalidArgument"},
		{"an empty key", contentType, string(second(uploadForm{boundary: "b", fields: []string{"key", "", "file", "x"}}.body())), 400, "InvalidArgument"},
		{"two keys", contentType, string(second(uploadForm{boundary: "b", fields: []string{"key", "k", "Key", "j", "file", "x"}}.body())), 400, "InvalidArgument"},
		{"a long key", contentType, string(second(uploadForm{boundary: "b", fields: []string{"key", strings.Repeat("k", 1025), "file", "x"}}.body())), 400, "KeyTooLongError"},
		{"a key that is not UTF-8", contentType, string(second(uploadForm{boundary: "b", fields: []string{"key", "\xff", "file", "x"}}.body())), 400, "InvalidURI"},
		{"a long field", contentType, string(second(uploadForm{boundary: "b", fields: []string{"key", "k", "x-ignore-a", strings.Repeat("x", 21<<10), "file", "x"}}.body())), 400, "MaxPostPreDataLengthExceeded"},
		{"many fields", contentType, string(second(uploadForm{boundary: "b", fields: append(many, "file", "x")}.body())), 400, "MaxPostPreDataLengthExceeded"},
		{"endless headers of a part", contentType, "--b\r\nContent-Disposition: form-data; name=\"key\"\r\nX: " + strings.Repeat("x", 200<<10), 400, ""},
		{"metadata with a line break", contentType, string(second(uploadForm{boundary: "b", fields: []string{"key", "k", "x-amz-meta-a", "b\r\nSet-Cookie: c", "file", "x"}}.body())), 204, ""},
	} {
		headers := []string{"Content-Type", c.contentType}
		if c.contentType == "" {
			headers = nil
		}
		r := h.anonymously("POST", "/bucket", c.body, headers...)
		if r.status != c.want || c.code != "" && r.code() != c.code {
			t.Errorf("%s: got %v, want %d %s", c.name, r, c.want, c.code)
		}
	}
	if r := h.must("GET", "/bucket/k", ""); r.header.Get("Set-Cookie") != "" {
		t.Errorf("injected: %v", r)
	}
	q := &wireRequest{method: "POST", target: "/bucket", host: h.host, body: []byte("--b")}
	q.add("Content-Type", contentType)
	q.add("Content-Length", fmt.Sprint(int64(engine.MaxPutLen)+1<<20))
	if r := h.send(q); r.status != 400 || r.code() != "EntityTooLarge" {
		t.Errorf("too long: %v", r)
	}
	if r := h.anonymously("POST", "/bucket/k", string(body), "Content-Type", contentType); r.status != http.StatusMethodNotAllowed {
		t.Errorf("to a key: %v", r)
	}
}

func second[A, B any](_ A, b B) B { return b }

// FuzzForm: a form is put or refused, and never makes anything but what it names.
func FuzzForm(f *testing.F) {
	contentType, body := uploadForm{boundary: "b", fields: []string{"key", "k/${filename}", "acl", "private", "success_action_status", "201", "file", "x"}, filename: "a.txt"}.body()
	f.Add(contentType, body)
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\n\r\n--b--"))
	h := newHarness(f)
	h.must("PUT", "/bucket", "")
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if strings.ContainsAny(contentType, "\r\n\x00") || len(contentType) > 1000 {
			return
		}
		own := *h
		own.t = t
		q := own.build("POST", "/bucket", body, "Content-Type", contentType)
		if r := own.send(q); r.status >= 500 && r.status != 501 {
			t.Errorf("got %v", r)
		}
	})
}

// FuzzFormPolicy: a policy of a form is read, or refused as that.
func FuzzFormPolicy(f *testing.F) {
	f.Add([]byte(formPolicyOf(`{"bucket":"b"}`, `["starts-with","$key","a"]`, `["content-length-range",1,"2"]`)))
	f.Add([]byte(`{"expiration":"2099-01-01T00:00:00Z","conditions":[["eq","$key",1]]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		p, err := parseFormPolicy(base64.StdEncoding.EncodeToString(document))
		if err != nil {
			if !errInvalidPolicy.Is(err) {
				t.Fatalf("got %v", err)
			}
			return
		}
		var form form
		if err := p.check(&form, "bucket", "key", p.expires.Add(-time.Second)); err == nil && len(p.conditions) == 0 {
			t.Fatal("nothing is said of the bucket, and all is well")
		}
		if p.check(&form, "bucket", "key", p.expires) == nil {
			t.Fatal("it has expired, and all is well")
		}
	})
}
