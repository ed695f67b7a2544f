package fastapi

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"penstock/engine"
)

func TestVersionID(t *testing.T) {
	for _, v := range []engine.VersionID{engine.NullVersion, 1, 3, 1<<33 | 1, 1<<63 - 1} {
		id := formatVersion(v)
		if got, ok := parseVersion(id); !ok || got != v {
			t.Errorf("%d: %q came back as %d, %v", v, id, got, ok)
		}
	}
	if formatVersion(1<<33|1) == formatVersion(1<<33|3) || strings.HasPrefix(formatVersion(1<<33|1), formatVersion(1<<33 | 3)[:4]) {
		t.Error("consecutive versions look alike")
	}
	good := formatVersion(77)
	for _, id := range []string{"", "NULL", "abc", good + "0", good[1:], strings.ToUpper(good), "0" + good[1:], good[:19] + "v", formatVersion(78), formatVersion(engine.CurrentVersion), strings.Repeat("x", 1024)} {
		if v, ok := parseVersion(id); ok {
			t.Errorf("%q is version %d", id, v)
		}
	}
}

func FuzzVersionID(f *testing.F) {
	f.Add("null")
	f.Add(formatVersion(77))
	f.Fuzz(func(t *testing.T, id string) {
		if v, ok := parseVersion(id); ok && formatVersion(v) != id {
			t.Errorf("%q is version %d, which is %q", id, v, formatVersion(v))
		}
	})
}

const (
	enableVersioning  = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
	suspendVersioning = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
)

// versionList renders a listing of versions: key, body or "-" for a delete marker, and which is the latest.
func (h *harness) versionList(query string) string {
	h.t.Helper()
	r := h.must("GET", "/bucket?versions"+query, "")
	var out []string
	for _, m := range regexp.MustCompile(`<(Version|DeleteMarker|CommonPrefixes)>(.*?)</(?:Version|DeleteMarker|CommonPrefixes)>`).FindAllStringSubmatch(r.body, -1) {
		switch m[1] {
		case "CommonPrefixes":
			out = append(out, element(m[2], "Prefix"))
			continue
		case "DeleteMarker":
			out = append(out, element(m[2], "Key")+"=-")
		default:
			body := h.must("GET", "/bucket/"+element(m[2], "Key")+"?versionId="+element(m[2], "VersionId"), "").body
			out = append(out, element(m[2], "Key")+"="+body)
		}
		if element(m[2], "VersionId") == "null" {
			out[len(out)-1] += "(null)"
		}
		if element(m[2], "IsLatest") == "true" {
			out[len(out)-1] += "*"
		}
	}
	return strings.Join(out, " ")
}

func (h *harness) wantVersions(want string) {
	h.t.Helper()
	if got := h.versionList(""); got != want {
		h.t.Errorf("versions are %s, want %s", got, want)
	}
}

// TestVersioning follows a bucket from unversioned to enabled to suspended.
func TestVersioning(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		if r := h.must("PUT", "/bucket/k", "zero"); r.header.Get("x-amz-version-id") != "" {
			t.Errorf("put without versioning: %v", r)
		}
		if r := h.must("GET", "/bucket/k", ""); r.header.Get("x-amz-version-id") != "" {
			t.Errorf("get without versioning: %v", r)
		}
		if r := h.must("GET", "/bucket?versioning", ""); strings.Contains(r.body, "Status") {
			t.Errorf("versioning of a new bucket: %v", r)
		}
		h.must("PUT", "/bucket?versioning", enableVersioning)
		if r := h.must("GET", "/bucket?versioning", ""); element(r.body, "Status") != "Enabled" {
			t.Errorf("versioning: %v", r)
		}
		if r := h.must("GET", "/bucket/k", ""); r.header.Get("x-amz-version-id") != "null" || r.body != "zero" {
			t.Errorf("get of what was there before: %v", r)
		}
		one := h.must("PUT", "/bucket/k", "one").header.Get("x-amz-version-id")
		two := h.must("PUT", "/bucket/k", "two").header.Get("x-amz-version-id")
		if one == "" || two == "" || one == two {
			t.Fatalf("versions %q and %q", one, two)
		}
		h.wantVersions("k=two* k=one k=zero(null)")
		for id, body := range map[string]string{"": "two", "?versionId=" + one: "one", "?versionId=" + two: "two", "?versionId=null": "zero"} {
			r := h.must("GET", "/bucket/k"+id, "")
			if want := strings.TrimPrefix(id, "?versionId="); r.body != body || want != "" && r.header.Get("x-amz-version-id") != want {
				t.Errorf("get %q: %v", id, r)
			}
			if head := h.must("HEAD", "/bucket/k"+id, ""); head.header.Get("x-amz-version-id") != r.header.Get("x-amz-version-id") || head.header.Get("Content-Length") != fmt.Sprint(len(body)) {
				t.Errorf("head %q: %v", id, head)
			}
		}

		// A delete marker is the current version, and not for reading.
		r := h.must("DELETE", "/bucket/k", "")
		marker := r.header.Get("x-amz-version-id")
		if r.status != 204 || marker == "" || r.header.Get("x-amz-delete-marker") != "true" {
			t.Fatalf("delete: %v", r)
		}
		h.wantVersions("k=-* k=two k=one k=zero(null)")
		for _, method := range []string{"GET", "HEAD"} {
			r := h.want(404, "NoSuchKey", method, "/bucket/k", "")
			if r.header.Get("x-amz-delete-marker") != "true" || r.header.Get("x-amz-version-id") != marker {
				t.Errorf("%s of a deleted key: %v", method, r)
			}
			r = h.want(405, "MethodNotAllowed", method, "/bucket/k?versionId="+marker, "")
			if r.header.Get("x-amz-delete-marker") != "true" || r.header.Get("x-amz-version-id") != marker || r.header.Get("Allow") != "DELETE" || r.header.Get("Last-Modified") == "" {
				t.Errorf("%s of a delete marker: %v", method, r)
			}
		}
		if r := h.must("GET", "/bucket?list-type=2", ""); element(r.body, "KeyCount") != "0" {
			t.Errorf("list of deleted keys: %v", r)
		}
		h.want(409, "BucketNotEmpty", "DELETE", "/bucket", "")

		// Removing the marker brings the key back, as does removing it twice.
		for range 2 {
			r = h.must("DELETE", "/bucket/k?versionId="+marker, "")
			if r.header.Get("x-amz-version-id") != marker {
				t.Errorf("delete of a delete marker: %v", r)
			}
		}
		h.wantVersions("k=two* k=one k=zero(null)")
		h.must("DELETE", "/bucket/k?versionId="+two, "")
		h.wantVersions("k=one* k=zero(null)")
		r = h.want(404, "NoSuchVersion", "GET", "/bucket/k?versionId="+two, "")
		if element(r.body, "VersionId") != two || element(r.body, "Key") != "k" {
			t.Errorf("get of a removed version: %v", r)
		}
		h.want(404, "NoSuchVersion", "GET", "/bucket/none?versionId="+two, "")

		// Suspended, writes replace the null version and nothing else.
		h.must("PUT", "/bucket?versioning", suspendVersioning)
		if r := h.must("PUT", "/bucket/k", "three"); r.header.Get("x-amz-version-id") != "" {
			t.Errorf("put while suspended: %v", r)
		}
		h.wantVersions("k=three(null)* k=one")
		if r := h.must("GET", "/bucket/k", ""); r.header.Get("x-amz-version-id") != "null" {
			t.Errorf("get while suspended: %v", r)
		}
		r = h.must("DELETE", "/bucket/k", "")
		if r.header.Get("x-amz-version-id") != "null" || r.header.Get("x-amz-delete-marker") != "true" {
			t.Errorf("delete while suspended: %v", r)
		}
		h.wantVersions("k=-(null)* k=one")
		h.must("DELETE", "/bucket/k", "")
		h.wantVersions("k=-(null)* k=one")
		if r := h.must("DELETE", "/bucket/k?versionId=null", ""); r.header.Get("x-amz-delete-marker") != "true" {
			t.Errorf("delete of the null delete marker: %v", r)
		}
		h.wantVersions("k=one*")

		// Deleting what never was makes a delete marker all the same.
		h.must("PUT", "/bucket?versioning", enableVersioning)
		never := h.must("DELETE", "/bucket/never", "").header.Get("x-amz-version-id")
		h.wantVersions("k=one* never=-*")
		h.must("DELETE", "/bucket/never?versionId="+never, "")
		h.must("DELETE", "/bucket/k?versionId="+one, "")
		h.wantVersions("")
		h.must("DELETE", "/bucket", "")
	})
}

// TestVersioningConfiguration: what cannot be set is refused.
func TestVersioningConfiguration(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, c := range []struct {
		body   string
		status int
		code   string
	}{
		{"", 400, "MissingRequestBodyError"},
		{"x", 400, "MalformedXML"},
		{"<VersioningConfiguration/>", 400, "IllegalVersioningConfigurationException"},
		{"<VersioningConfiguration><MfaDelete>Disabled</MfaDelete></VersioningConfiguration>", 400, "IllegalVersioningConfigurationException"},
		{"<VersioningConfiguration><Status>enabled</Status></VersioningConfiguration>", 400, "MalformedXML"},
		{"<VersioningConfiguration><Status>Disabled</Status></VersioningConfiguration>", 400, "MalformedXML"},
		{"<VersioningConfiguration><Status>Enabled</Status><X>y</X></VersioningConfiguration>", 400, "MalformedXML"},
		{"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>", 501, "NotImplemented"},
	} {
		h.want(c.status, c.code, "PUT", "/bucket?versioning", c.body)
	}
	if r := h.must("GET", "/bucket?versioning", ""); strings.Contains(r.body, "Status") {
		t.Errorf("versioning: %v", r)
	}
	h.must("PUT", "/bucket?versioning", `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><MfaDelete>Disabled</MfaDelete><Status>Enabled</Status></VersioningConfiguration>`)
	h.want(501, "NotImplemented", "DELETE", "/bucket/k", "", "x-amz-mfa", "serial 123456")
	h.want(404, "NoSuchBucket", "PUT", "/none?versioning", enableVersioning)
	h.want(404, "NoSuchBucket", "GET", "/none?versions", "")
}

// TestListVersions pages through versions of every page size, with and without prefix and delimiter.
func TestListVersions(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.must("PUT", "/bucket/a", "1")
		h.must("PUT", "/bucket?versioning", enableVersioning)
		for i, key := range []string{"a", "a", "b/1", "b/1", "b/2", "c%2B", "d"} {
			h.must("PUT", "/bucket/"+key, fmt.Sprint(i+2))
		}
		h.must("DELETE", "/bucket/b/2", "")
		h.must("DELETE", "/bucket/a", "")
		h.must("PUT", "/bucket?versioning", suspendVersioning)
		h.must("PUT", "/bucket/b/1", "9")
		for _, c := range []struct{ query, want string }{
			{"", "a=-* a=3 a=2 a=1(null) b/1=9(null)* b/1=5 b/1=4 b/2=-* b/2=6 c+=7* d=8*"},
			{"&prefix=b/", "b/1=9(null)* b/1=5 b/1=4 b/2=-* b/2=6"},
			{"&delimiter=/", "a=-* a=3 a=2 a=1(null) c+=7* d=8* b/"},
			{"&key-marker=a", "b/1=9(null)* b/1=5 b/1=4 b/2=-* b/2=6 c+=7* d=8*"},
			{"&key-marker=a&version-id-marker=null", "b/1=9(null)* b/1=5 b/1=4 b/2=-* b/2=6 c+=7* d=8*"},
			{"&key-marker=b/1&version-id-marker=null", "b/1=5 b/1=4 b/2=-* b/2=6 c+=7* d=8*"},
			{"&key-marker=b/&delimiter=/", "c+=7* d=8*"},
			{"&max-keys=0", ""},
			{"&prefix=x", ""},
		} {
			if got := h.versionList(c.query); got != c.want {
				t.Errorf("list%s: got %s, want %s", c.query, got, c.want)
			}
		}
		for _, query := range []string{"", "&delimiter=/", "&prefix=b/"} {
			for size := 1; size <= 12; size++ {
				var got []string
				next := ""
				for {
					page := query + fmt.Sprintf("&max-keys=%d", size) + next
					if entries := h.versionList(page); entries != "" {
						got = append(got, strings.Split(entries, " ")...)
					}
					r := h.must("GET", "/bucket?versions"+page, "")
					if n := strings.Count(r.body, "<Version>") + strings.Count(r.body, "<DeleteMarker>") + strings.Count(r.body, "<CommonPrefixes>"); n > size {
						t.Fatalf("%d entries of at most %d: %v", n, size, r)
					}
					if element(r.body, "IsTruncated") != "true" {
						break
					}
					next = "&key-marker=" + string(appendURLEncoded(nil, element(r.body, "NextKeyMarker")))
					if id := element(r.body, "NextVersionIdMarker"); id != "" {
						next += "&version-id-marker=" + id
					}
				}
				// Prefixes stand behind the versions of each page.
				if got, want := strings.Join(sortedWords(got), " "), strings.Join(sortedWords(strings.Split(h.versionList(query), " ")), " "); got != want {
					t.Errorf("list%s by %d: got %s, want %s", query, size, got, want)
				}
			}
		}
		r := h.must("GET", "/bucket?versions&encoding-type=url&prefix=c%2B", "")
		if element(r.body, "Key") != "c%2B" || element(r.body, "Prefix") != "c%2B" || element(r.body, "EncodingType") != "url" {
			t.Errorf("encoded: %v", r)
		}
		for _, query := range []string{"&version-id-marker=null", "&key-marker=a&version-id-marker=", "&key-marker=a&version-id-marker=v1", "&max-keys=-1", "&max-keys=x", "&encoding-type=x"} {
			h.want(400, "InvalidArgument", "GET", "/bucket?versions"+query, "")
		}
	})
}

func sortedWords(words []string) []string {
	counts := map[string]int{}
	for _, w := range words {
		counts[w]++
	}
	var out []string
	for _, w := range sortedKeys(counts) {
		out = append(out, fmt.Sprint(w, "×", counts[w]))
	}
	return out
}

// TestDeleteObjectsVersions deletes versions, markers and current versions together.
func TestDeleteObjectsVersions(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.must("PUT", "/bucket?versioning", enableVersioning)
		one := h.must("PUT", "/bucket/a", "1").header.Get("x-amz-version-id")
		h.must("PUT", "/bucket/a", "2")
		h.must("PUT", "/bucket/b", "3")
		marker := h.must("DELETE", "/bucket/c", "").header.Get("x-amz-version-id")
		doc := "<Delete><Object><Key>a</Key><VersionId>" + one + "</VersionId></Object><Object><Key>b</Key></Object><Object><Key>c</Key><VersionId>" + marker +
			"</VersionId></Object><Object><Key>d</Key><VersionId>bad</VersionId></Object></Delete>"
		r := h.must("POST", "/bucket?delete", doc)
		for _, want := range []string{
			"<Deleted><Key>a</Key><VersionId>" + one + "</VersionId></Deleted>",
			"<Deleted><Key>b</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>",
			"<Deleted><Key>c</Key><VersionId>" + marker + "</VersionId><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>" + marker + "</DeleteMarkerVersionId></Deleted>",
			"<Error><Key>d</Key><VersionId>bad</VersionId><Code>InvalidArgument</Code>",
		} {
			if !strings.Contains(r.body, want) {
				t.Errorf("no %s in %v", want, r)
			}
		}
		h.wantVersions("a=2* b=-* b=3")
	})
}

// TestVersionsElsewhere: every other operation that makes or names a version.
func TestVersionsElsewhere(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.must("PUT", "/bucket?versioning", enableVersioning)
		one := h.must("PUT", "/bucket/a", "one", "x-amz-meta-n", "1").header.Get("x-amz-version-id")
		h.must("PUT", "/bucket/a", "two")

		r := h.must("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/a?versionId="+one)
		if r.header.Get("x-amz-copy-source-version-id") != one || r.header.Get("x-amz-version-id") == "" {
			t.Errorf("copy of a version: %v", r)
		}
		if r := h.must("GET", "/bucket/copy", ""); r.body != "one" || r.header.Get("x-amz-meta-n") != "1" {
			t.Errorf("a copied version: %v", r)
		}
		// Copying a former version onto its key makes it current again.
		h.must("PUT", "/bucket/a", "", "x-amz-copy-source", "/bucket/a?versionId="+one)
		if r := h.must("GET", "/bucket/a", ""); r.body != "one" {
			t.Errorf("restored: %v", r)
		}

		r = h.must("POST", "/bucket/m?uploads", "")
		id := element(r.body, "UploadId")
		r = h.must("PUT", "/bucket/m?partNumber=1&uploadId="+id, "", "x-amz-copy-source", "/bucket/a?versionId="+one)
		if r.header.Get("x-amz-copy-source-version-id") != one {
			t.Errorf("part copied from a version: %v", r)
		}
		r = h.must("POST", "/bucket/m?uploadId="+id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+element(r.body, "ETag")+"</ETag></Part></CompleteMultipartUpload>")
		if r.header.Get("x-amz-version-id") == "" {
			t.Errorf("completion: %v", r)
		}
		if r := h.must("GET", "/bucket/m?versionId="+r.header.Get("x-amz-version-id"), ""); r.body != "one" {
			t.Errorf("completed: %v", r)
		}
		r = h.must("GET", "/bucket/a?attributes&versionId="+one, "", "x-amz-object-attributes", "ObjectSize")
		if r.header.Get("x-amz-version-id") != one || element(r.body, "ObjectSize") != "3" {
			t.Errorf("attributes of a version: %v", r)
		}
		h.must("GET", "/bucket/a?acl&versionId="+one, "")

		marker := h.must("DELETE", "/bucket/a", "").header.Get("x-amz-version-id")
		h.want(404, "NoSuchKey", "PUT", "/bucket/x", "", "x-amz-copy-source", "/bucket/a")
		h.want(400, "InvalidRequest", "PUT", "/bucket/x", "", "x-amz-copy-source", "/bucket/a?versionId="+marker)
		h.want(404, "NoSuchVersion", "PUT", "/bucket/x", "", "x-amz-copy-source", "/bucket/x?versionId="+marker)
		h.want(400, "InvalidArgument", "PUT", "/bucket/x", "", "x-amz-copy-source", "/bucket/a?versionId=bad")
		r = h.want(405, "MethodNotAllowed", "GET", "/bucket/a?attributes&versionId="+marker, "", "x-amz-object-attributes", "ObjectSize")
		if r.header.Get("x-amz-delete-marker") != "true" {
			t.Errorf("attributes of a delete marker: %v", r)
		}
		h.want(404, "NoSuchKey", "GET", "/bucket/a?attributes", "", "x-amz-object-attributes", "ObjectSize")

		// Conditional writes are about the current version; a delete marker is none.
		h.want(404, "NoSuchKey", "PUT", "/bucket/a", "x", "If-Match", `"f97c5d29941bfb1b2fdab0874906ab82"`)
		h.must("PUT", "/bucket/a", "x", "If-None-Match", "*")
		h.want(412, "PreconditionFailed", "PUT", "/bucket/a", "y", "If-None-Match", "*")
		h.want(412, "PreconditionFailed", "DELETE", "/bucket/a", "", "If-Match", `"f97c5d29941bfb1b2fdab0874906ab82"`)
		// That of a version's deletion is, too.
		h.want(412, "PreconditionFailed", "DELETE", "/bucket/a?versionId="+one, "", "If-Match", `"f97c5d29941bfb1b2fdab0874906ab82"`)
		h.must("DELETE", "/bucket/a?versionId="+one, "", "If-Match", `"9dd4e461268c8034f5c8564e155c67a6"`)
	})
}
