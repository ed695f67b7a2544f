package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock/fastapi/admin"
)

// admin runs "penstock admin" with the arguments against the node.
func (r *rig) admin(args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	var out, errs bytes.Buffer
	environment := map[string]string{serverEnv: r.node.Endpoint, "AWS_ACCESS_KEY_ID": r.access, "AWS_SECRET_ACCESS_KEY": r.secret}
	code = run(r.t.Context(), append([]string{"admin"}, args...), func(name string) string { return environment[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

func TestAdminInfo(t *testing.T) {
	r := newRig(t, 6)
	r.start()
	defer r.stop()
	code, out, errs := r.admin("info")
	if code != exitOK || strings.Count(out, " ok ") != 6 || !strings.Contains(out, "4+2 over 6 drives") || errs != "" {
		t.Errorf("info: exit code %d, %q, %s", code, errs, out)
	}
	code, out, _ = r.admin("info", "--json")
	var info admin.Info
	if err := json.Unmarshal([]byte(out), &info); code != exitOK || err != nil || len(info.Drives) != 6 {
		t.Errorf("info --json: exit code %d, %v, %s", code, err, out)
	}
	r.secret = "not the secret at all"
	if code, out, errs = r.admin("info"); code != exitMistake || out != "" || !strings.Contains(errs, "SignatureDoesNotMatch") {
		t.Errorf("a wrong secret: exit code %d, %q, %q", code, out, errs)
	}
}

// TestAdminMistakes gives the client what it cannot work with: each is named in one line.
func TestAdminMistakes(t *testing.T) {
	pair := map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte(`{"access_key":"only"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name        string
		environment map[string]string
		args        []string
		code        int
		says        string
	}{
		{"no credentials", nil, nil, exitMistake, "set AWS_ACCESS_KEY_ID"},
		{"half a pair", map[string]string{"AWS_ACCESS_KEY_ID": "key"}, nil, exitMistake, "go together"},
		{"not a file of credentials", nil, []string{"--credentials", broken}, exitMistake, "holds no access_key"},
		{"no URL", pair, []string{"--server", "node1:9000"}, exitMistake, "not the URL of a node"},
		{"a URL with a path", pair, []string{"--server", "http://127.0.0.1:9/bucket"}, exitMistake, "not the URL of a node"},
		{"certificates that are none", pair, []string{"--ca", broken}, exitMistake, "no certificate"},
		{"a certificate without its key", pair, []string{"--client-cert", broken}, exitMistake, "go together"},
		{"nobody there", pair, []string{"--server", "http://127.0.0.1:1"}, exitFailure, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"admin", "info"}, test.args...), func(name string) string { return test.environment[name] }, &out, &errs)
			if code != test.code || !strings.Contains(errs.String(), test.says) || strings.Count(errs.String(), "\n") != 1 {
				t.Errorf("exit code %d, %q", code, errs.String())
			}
		})
	}
}

// TestAdminPaths sends names that a path must escape, and parameters: the node sees them as they were meant.
func TestAdminPaths(t *testing.T) {
	seen := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(`{"code":"NotYet","message":"It starts.","request_id":"1F"}`))
	}))
	defer server.Close()
	c := &adminClient{server: server.URL, region: "us-east-1", getenv: func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}[name]
	}}
	err := c.call(t.Context(), "PUT", "/users/a%2Fb%20c", map[string][]string{"mode": {"a b+c"}}, map[string]int{"n": 1}, nil)
	r := <-seen
	if r.URL.EscapedPath() != admin.Prefix+"/users/a%2Fb%20c" || r.URL.RawQuery != "mode=a%20b%2Bc" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		t.Errorf("sent %s?%s, %q", r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Authorization"))
	}
	if err == nil || err.Error() != "It starts (NotYet, request 1F)" {
		t.Errorf("refused with %v", err)
	}
}
