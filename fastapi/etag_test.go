package fastapi

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"regexp"
	"testing"

	"penstock/fastapi/admin"
)

var opaqueForm = regexp.MustCompile(`^"[0-9a-f]{32}-1"$`)

func TestOpaqueETags(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		isMD5 := func(what string, r *reply, body string) {
			t.Helper()
			if got := r.header.Get("ETag"); got != `"`+md5Of(body)+`"` {
				t.Errorf("%s: ETag %s, want the MD5", what, got)
			}
		}
		isOpaque := func(what string, r *reply) string {
			t.Helper()
			got := r.header.Get("ETag")
			if !opaqueForm.MatchString(got) {
				t.Errorf("%s: ETag %s, want an opaque one", what, got)
			}
			return got
		}
		set := func(etags string, want admin.BucketETags) {
			t.Helper()
			var got admin.BucketETags
			if r := h.call("PUT", "/buckets/bucket/etags", fmt.Sprintf(`{"etags":%q}`, etags), &got); r.status != 200 || got != want {
				t.Fatalf("choosing %q: got %v, %+v", etags, r, got)
			}
		}
		isMD5("at first", h.must("PUT", "/bucket/old", "body"), "body")

		set("opaque", admin.BucketETags{ETags: "opaque"})
		isMD5("an object that was there", h.must("HEAD", "/bucket/old", ""), "body")
		first := isOpaque("put", h.must("PUT", "/bucket/k", "body"))
		if got := isOpaque("read", h.must("GET", "/bucket/k", "")); got != first {
			t.Errorf("read: ETag %s, put said %s", got, first)
		}
		if again := isOpaque("put again", h.must("PUT", "/bucket/k", "body")); again == first {
			t.Errorf("two objects of the ETag %s", again)
		}
		h.want(412, "PreconditionFailed", "PUT", "/bucket/k", "x", "If-Match", first)

		// A client that sends the MD5 has it verified, and gets it.
		digest := md5.Sum([]byte("body"))
		isMD5("with Content-MD5", h.must("PUT", "/bucket/k", "body", "Content-MD5", base64.StdEncoding.EncodeToString(digest[:])), "body")
		h.want(400, "BadDigest", "PUT", "/bucket/k", "other", "Content-MD5", base64.StdEncoding.EncodeToString(digest[:]))

		// Of parts, opaque and not, is made an ETag as of any parts.
		id := element(h.must("POST", "/bucket/parts?uploads", "").body, "UploadId")
		parts := longParts(2)
		one := isOpaque("part", h.must("PUT", "/bucket/parts?partNumber=1&uploadId="+id, parts[0]))
		set("md5", admin.BucketETags{ETags: "md5"})
		r := h.must("PUT", "/bucket/parts?partNumber=2&uploadId="+id, parts[1])
		isMD5("part", r, parts[1])
		h.must("POST", "/bucket/parts?uploadId="+id, fmt.Sprintf("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"+
			"<Part><PartNumber>2</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>", one, r.header.Get("ETag")))
		whole := h.must("GET", "/bucket/parts", "")
		if got := whole.header.Get("ETag"); !regexp.MustCompile(`^"[0-9a-f]{32}-2"$`).MatchString(got) || whole.body != parts[0]+parts[1] {
			t.Errorf("of two parts: ETag %s, %d bytes", got, len(whole.body))
		}

		set("", admin.BucketETags{ETags: "md5", Default: true})
		for _, c := range []struct {
			status       int
			method, path string
			body         string
		}{
			{400, "PUT", "/buckets/bucket/etags", `{"etags":"sha1"}`},
			{404, "PUT", "/buckets/other/etags", `{"etags":"md5"}`},
			{404, "GET", "/buckets/other/etags", ""},
		} {
			if r := h.call(c.method, c.path, c.body, nil); r.status != c.status {
				t.Errorf("%s %s %s: got %v, want %d", c.method, c.path, c.body, r, c.status)
			}
		}
	})
}

// TestOpaqueETagsByDefault: the server's option is for buckets that say nothing themselves.
func TestOpaqueETagsByDefault(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.OpaqueETags = true })
	h.must("PUT", "/bucket", "")
	if got := h.must("PUT", "/bucket/k", "body").header.Get("ETag"); !opaqueForm.MatchString(got) {
		t.Errorf("ETag %s, want an opaque one", got)
	}
	f := uploadForm{fields: []string{"key", "form", "file", "meow"}}
	r := h.post("/bucket", f.signed(h.signer, formPolicyOf(append([]string{`{"bucket":"bucket"}`, `["starts-with","$key",""]`}, signatureConditions...)...)))
	if got := r.header.Get("ETag"); r.status != 204 || !opaqueForm.MatchString(got) {
		t.Errorf("a form: got %v, want an opaque ETag", r)
	}
	h.call("PUT", "/buckets/bucket/etags", `{"etags":"md5"}`, nil)
	if got := h.must("PUT", "/bucket/k", "body").header.Get("ETag"); got != `"`+md5Of("body")+`"` {
		t.Errorf("ETag %s, want the MD5", got)
	}
}
