package blackbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock/tools/clients/corpus"
)

// traversals are targets, as they go over the wire, that would leave the bucket or the drives if any part of a key were
// taken for a path (CVE-2026-54917, CVE-2023-28434, CVE-2023-28433). Below /bkt/ each is a key like any other, or is refused.
var traversals = []string{
	"/bkt/../other/secret", "/bkt/..%2fother/secret", "/bkt/%2e%2e/other/secret", "/bkt/%2e%2e%2fother%2fsecret", "/bkt/.%2e/other/secret", "/bkt/%252e%252e/other/secret",
	"/bkt/..%5cother%5csecret", "/bkt/..\\other\\secret", "/bkt/..%c0%af..%c0%afetc", "/bkt/a/../../other/secret", "/bkt/./../other/secret", "/bkt//../other/secret",
	"/bkt/....//other/secret", "/bkt/..;/other/secret", "/bkt/%00../other/secret", "/bkt/..%00/other/secret", "/bkt/secret%00.txt", "/bkt/%00", "/bkt/..%ef%bc%8fother",
	"/bkt/../../../../../../../../tmp/escaped", "/bkt/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/tmp/escaped", "/bkt//tmp/escaped", "/bkt/%2ftmp%2fescaped",
	"/bkt/~root", "/bkt/.git/config", "/bkt/.minio.sys/config", "/bkt/drive.json", "/bkt/../drive.json", "/bkt/../../d1/drive.json", "/bkt/segments/00000001", "/bkt/con", "/bkt/a:b",
	"/../bkt/escaped", "/./bkt/escaped", "//bkt/escaped", "/%2e%2e/bkt/escaped", "/bkt%2f..%2fother/secret", "/bkt%00/secret", "/%62kt/encoded-bucket", "/BKT/upper", "/.minio.sys/config",
	"/penstock/escaped", "/.penstock/escaped", "/segments/00000001", "/index/CURRENT", "/drive.json", "/other/../bkt/escaped",
}

// TestKeysComeBack stores, lists, reads and deletes keys that other servers change on the way.
func TestKeysComeBack(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	keys := append(slices.Clone(corpus.Keys), "a%00b", "%2e%2e/x", "..\\..\\x", "a/../../b", "//", "///", "/.", "/..", "./", "../", strings.Repeat("/", 1024), strings.Repeat("../", 341)+"x",
		"\ttab", "line\nfeed", "return\r", "\x01\x02\x7f", "<&>\"'", "\u2028", "\ufeff", "\u202ertl", "a\u0000b")
	// XML has no way to write some characters; such a key can be stored, and listed only with encoding-type=url.
	for i, key := range keys {
		if r := n.get(t, "PUT", "/bkt/"+pathEscape(key), corpus.Body(uint64(i), 50)); r.status != 200 {
			t.Errorf("%.60q: %v", key, r)
		}
	}
	for i, key := range keys {
		r := n.get(t, "GET", "/bkt/"+pathEscape(key), nil)
		if r.status != 200 || string(r.body) != string(corpus.Body(uint64(i), 50)) {
			t.Errorf("%.60q: %v", key, r)
		}
	}
	slices.Sort(keys)
	var listed []string
	for after := ""; ; {
		target := "/bkt?list-type=2&encoding-type=url&max-keys=7"
		if after != "" {
			target += "&continuation-token=" + queryEscape(after)
		}
		doc := string(n.must(t, "GET", target, nil).body)
		for _, key := range elements(doc, "Key") {
			listed = append(listed, unescape(t, key))
		}
		if element(doc, "IsTruncated") != "true" {
			break
		}
		after = element(doc, "NextContinuationToken")
	}
	for i, key := range keys {
		if i >= len(listed) || listed[i] != key {
			t.Fatalf("key %d of %d is listed as %.60q, want %.60q", i, len(keys), append(listed, make([]string, len(keys))...)[i], key)
		}
	}
	for _, key := range keys {
		if r := n.get(t, "DELETE", "/bkt/"+pathEscape(key), nil); r.status != 204 {
			t.Errorf("%.60q: %v", key, r)
		}
	}
	if left := n.keys(t, "bkt"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	for _, key := range []string{strings.Repeat("k", 1025), "\xff", "a\xc0\xafb"} {
		if r := n.get(t, "PUT", "/bkt/"+pathEscape(key), nil); r.status != 400 {
			t.Errorf("%.60q: %v", key, r)
		}
	}
}

// unescape resolves the escapes of a listing.
func unescape(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		hi, lo := strings.IndexByte("0123456789ABCDEF", s[i+1]), strings.IndexByte("0123456789ABCDEF", s[i+2])
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String()
}

// tree lists every path below dir.
func tree(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestTraversal writes, copies and deletes at targets that look like paths. Another bucket stays as it is, and
// no file comes to be outside of the drives, nor in them under a name that a client chose.
func TestTraversal(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	for _, target := range []string{"/bkt", "/other"} {
		n.must(t, "PUT", target, nil)
	}
	n.must(t, "PUT", "/other/secret", []byte("secret"))
	outside := []string{filepath.Dir(n.dir), "/tmp/escaped"}
	before := tree(t, filepath.Dir(n.dir))
	mark := []byte("canary of a traversal")
	for _, target := range traversals {
		r := n.get(t, "PUT", target, mark)
		stored := r.status == 200
		if !stored && (r.status < 400 || r.status > 405) {
			t.Errorf("PUT %s: %v", target, r)
		}
		got := n.get(t, "GET", target, nil)
		if stored && string(got.body) != string(mark) || strings.Contains(string(got.body), `"secret"`) || string(got.body) == "secret" {
			t.Errorf("GET %s: %v", target, got)
		}
		// The same as a copy source: a header, not a target.
		if r := n.get(t, "PUT", "/bkt/copy", nil, "X-Amz-Copy-Source", target); r.status == 200 {
			if got := n.get(t, "GET", "/bkt/copy", nil); string(got.body) != string(mark) {
				t.Errorf("copy of %s: %q", target, got.body)
			}
		}
		if r := n.get(t, "DELETE", target, nil); stored != (r.status == 204) && r.status < 400 {
			t.Errorf("DELETE %s: %v", target, r)
		}
	}
	if r := n.must(t, "GET", "/other/secret", nil); string(r.body) != "secret" {
		t.Errorf("the other bucket's object is now %q", r.body)
	}
	if keys := n.keys(t, "other"); !slices.Equal(keys, []string{"secret"}) {
		t.Errorf("the other bucket has %q", keys)
	}
	if _, err := os.Lstat(outside[1]); err == nil {
		t.Errorf("%s was made", outside[1])
	}
	// Segments, tables of the index and what goes with them; every other name would be a client's.
	for _, path := range tree(t, filepath.Dir(n.dir)) {
		name := filepath.Base(path)
		dir := filepath.Base(filepath.Dir(path))
		if !slices.Contains(before, path) && dir != "segments" && dir != "index" && !strings.Contains(path, "/checkpoint") {
			t.Errorf("%s was made", name)
		}
	}
}
