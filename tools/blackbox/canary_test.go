package blackbox

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock/fastapi/sigv4"
	"penstock/tools/harness"
)

// hidden is a secret in the forms in which it could slip out.
type hidden []string

func hide(secret string) hidden {
	return hidden{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)), secret[4 : len(secret)-4]}
}

// check fails if the text holds the secret.
func (h hidden) check(t *testing.T, where, text string) {
	t.Helper()
	for _, form := range h {
		if strings.Contains(text, form) {
			t.Errorf("%s holds the root secret", where)
			return
		}
	}
}

// crawl is what somebody without credentials asks for first (CVE-2023-28432).
var crawl = []string{
	"/", "/minio/bootstrap/v1/verify", "/minio/health/cluster", "/minio/admin/v3/info", "/penstock/health/live", "/penstock/health/ready",
	"/penstock/", "/penstock/health/", "/penstock/health/../root.json", "/penstock/debug/pprof/", "/debug/pprof/", "/debug/pprof/heap",
	"/debug/vars", "/debug/requests", "/metrics", "/penstock/metrics", "/config", "/.env", "/root.json", "/drive.json", "/bkt", "/bkt/",
	"/bkt/../root.json", "/bkt/%2e%2e/root.json", "/bkt/..%2froot.json", "/?Action=ListUsers", "/?Action=GetSessionToken", "/bkt?policy", "/bkt?acl",
	"/bkt/there?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + harness.AccessKey, "/favicon.ico", "/index.html", "/swagger.json",
}

// TestSecretStaysSecret makes the node say all that it says, at its most talkative, and looks for the root secret in it.
func TestSecretStaysSecret(t *testing.T) {
	t.Parallel()
	n := start(t, setup{args: []string{"--log-level", "debug"}})
	secret := hide(harness.SecretKey)
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/bkt/there", []byte("there"))
	var said strings.Builder
	say := func(r *reply, err error) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&said, "%d %v\n%s\n", r.status, r.header, r.body)
	}
	for _, target := range crawl {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"} {
			r, err := n.do(n.unsigned(method, target, nil))
			say(r, err)
			// Health, and the answer to a preflight, tell nothing; everything else needs to know who asks.
			if r.status < 400 && !strings.HasPrefix(target, "/penstock/health/") {
				t.Errorf("%s %s without credentials: %v", method, target, r)
			}
		}
		say(n.do(n.signed("GET", target, nil)))
	}
	for _, f := range forgeries {
		q := n.unsigned("PUT", "/bkt/forged", []byte("forged"))
		f.forge(n.client, q, sigv4.Digest(q.body))
		say(n.do(q))
	}
	// A client that takes the secret for something else.
	q := n.unsigned("GET", "/bkt/there", nil, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(harness.AccessKey+":"+harness.SecretKey)))
	r, err := n.do(q)
	if err != nil {
		t.Fatal(err)
	}
	secret.check(t, "the log after basic authentication", n.Log())
	secret.check(t, "an answer to basic authentication", string(r.body))

	proc := filepath.Join("/proc", fmt.Sprint(n.Pid()))
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	secret.check(t, "the command line", string(line))
	secret.check(t, "an answer", said.String())
	n.end(t)
	secret.check(t, "the log", n.Log())
	secret.check(t, "standard output", n.Stdout())
	secret.search(t, n.dir)
}

// search looks into every file of the drives but those that keep the root pair.
func (h hidden) search(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "root.json" {
			return err
		}
		// Segments are preallocated: what was never written reads as zeros, so the first part is all there is.
		text, err := readStart(path, 1<<20)
		h.check(t, path, text)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func readStart(path string, n int) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, n)
	got, _ := f.Read(buf) // Shorter files are read to their end.
	return string(buf[:got]), nil
}

// TestGeneratedSecret: the pair that a node makes for itself is shown once, never logged, and kept where only its owner reads it.
func TestGeneratedSecret(t *testing.T) {
	t.Parallel()
	n := start(t, setup{args: []string{"--log-level", "debug"}, noRoot: true})
	text, err := os.ReadFile(filepath.Join(n.drives[0], "root.json"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `"secret_key":`)
	secret := strings.Trim(strings.SplitN(rest, ",", 2)[0], " \"}\n")
	if len(secret) < 32 {
		t.Fatalf("secret of %d characters", len(secret))
	}
	for _, drive := range n.drives {
		info, err := os.Stat(filepath.Join(drive, "root.json"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
	for range 2 { // The first start shows it on standard output, the second does not.
		n.end(t)
		hide(secret).check(t, "the log", n.Log())
		if shown := strings.Contains(n.Stdout(), secret); shown != (n.starts == 1) {
			t.Errorf("start %d: shown: %v", n.starts, shown)
		}
		n.launch(t)
	}
}
