package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/fastapi/admin"
)

// command runs "penstock" with the arguments against the node, as somebody, and returns what it printed. The exit code must be code.
func (r *rig) command(code int, access, secret string, args ...string) (stdout, stderr string) {
	r.t.Helper()
	var out, errs bytes.Buffer
	environment := map[string]string{serverEnv: r.node.Endpoint, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
	if got := run(r.t.Context(), args, func(name string) string { return environment[name] }, &out, &errs); got != code {
		r.fatal("penstock %s: exit code %d, want %d: %s%s", strings.Join(args, " "), got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// field returns the value of a line that printFields printed.
func field(out, name string) string {
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// TestAdminIdentities leads a user through a life by the commands alone, on the real binary, over a restart.
func TestAdminIdentities(t *testing.T) {
	r := newRig(t, 3)
	root := r.start()
	ctx := t.Context()
	for _, name := range []string{"data", "other"} {
		if _, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
			t.Fatal(err)
		}
		if _, err := root.PutObject(ctx, &s3.PutObjectInput{Bucket: &name, Key: aws.String("k"), Body: strings.NewReader("x")}); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	do := func(args ...string) string {
		t.Helper()
		out, _ := r.command(exitOK, r.access, r.secret, args...)
		return out
	}
	data := write("data.json", `{"Version":"2012-10-17","Statement":[{"Sid":"list","Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::data"},
		{"Sid":"read","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::data/*"}]}`)
	do("admin", "policy", "set", "data", data)
	if out := do("admin", "policy", "show", "data"); !strings.Contains(out, `"Sid": "read"`) {
		t.Errorf("policy show: %s", out)
	}
	do("admin", "group", "add", "staff", "--policy", "data")
	if out := do("admin", "user", "add", "alice", "--group", "staff"); field(out, "groups") != "staff" || field(out, "arn") != "arn:aws:iam::000000000000:user/alice" {
		t.Errorf("user add: %s", out)
	}
	if _, errs := r.command(exitMistake, r.access, r.secret, "admin", "user", "add", "alice"); !strings.Contains(errs, "EntityAlreadyExists") {
		t.Errorf("user add again: %s", errs)
	}
	out, errs := r.command(exitOK, r.access, r.secret, "admin", "key", "add", "alice", "--description", "of a test", "--expires", "90d")
	access, secret := field(out, "access key"), field(out, "secret key")
	if access == "" || len(secret) != 40 || field(out, "expires") == "" || !strings.Contains(errs, "this once") {
		t.Fatalf("key add: %s%s", out, errs)
	}
	for _, args := range [][]string{{"admin", "key", "show", "alice", access}, {"admin", "key", "list", "alice"}, {"admin", "key", "list", "alice", "--json"}} {
		if out := do(args...); !strings.Contains(out, access) || strings.Contains(out, secret) {
			t.Errorf("%q: %s", args, out)
		}
	}
	// reads says what alice can read.
	reads := func(access, secret string) map[string]bool {
		as := *r
		as.access, as.secret = access, secret
		client := as.client()
		got := map[string]bool{}
		for _, bucket := range []string{"data", "other"} {
			answer, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("k")})
			if got[bucket] = err == nil; err == nil {
				answer.Body.Close()
			}
		}
		return got
	}
	expect := func(when, access, secret string, data, other bool) {
		t.Helper()
		if got := reads(access, secret); !maps.Equal(got, map[string]bool{"data": data, "other": other}) {
			t.Errorf("%s: reads %v", when, got)
		}
	}
	expect("a member of staff", access, secret, true, false)
	r.stop()
	r.start()
	expect("after a restart", access, secret, true, false)
	do("admin", "user", "attach", "alice", "readonly")
	expect("with readonly", access, secret, true, true)
	do("admin", "user", "boundary", "alice", "data")
	expect("within a boundary", access, secret, true, false)
	do("admin", "user", "boundary", "alice")
	do("admin", "user", "disable", "alice")
	expect("disabled", access, secret, false, false)
	do("admin", "user", "enable", "alice")

	if out := do("explain", "access", "--as", access, "s3:GetObject", "data/k"); field(out, "verdict") != "allowed" || field(out, "policy") != "data" || field(out, "statement") != "number 2 (read)" || !strings.Contains(out, `"Sid": "read"`) {
		t.Errorf("explain: %s", out)
	}
	out, errs = r.command(exitFailure, r.access, r.secret, "explain", "access", "--as", "user/alice", "s3:PutObject", "arn:aws:s3:::data/k")
	if field(out, "verdict") != "denied" || field(out, "reason") == "" || !strings.Contains(errs, "user/alice may not") {
		t.Errorf("explain: %s%s", out, errs)
	}
	out, _ = r.command(exitFailure, r.access, r.secret, "explain", "access", "--as", "anonymous", "--json", "s3:GetObject", "data/k")
	var e admin.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Allowed || e.Layer != "nothing" {
		t.Errorf("explain --json: %v, %s", err, out)
	}

	// A key of one's own, narrowed; and what is not one's own.
	do("admin", "user", "attach", "alice", "readwrite")
	narrow := write("narrow.json", `{"Statement":[{"Effect":"Allow","Action":["s3:GetObject","admin:CreateOwnKey"],"Resource":["arn:aws:s3:::other/*"]}]}`)
	out, _ = r.command(exitOK, access, secret, "admin", "key", "add", "--policy", narrow, "--json")
	var own admin.Key
	if err := json.Unmarshal([]byte(out), &own); err != nil || own.User != "alice" || own.SecretKey == "" || own.Expires == nil {
		t.Fatalf("key add of her own: %v, %s", err, out)
	}
	expect("a narrowed key", own.AccessKey, own.SecretKey, false, true)
	for _, args := range [][]string{{"admin", "user", "list"}, {"admin", "user", "attach", "alice", "admin"}, {"admin", "key", "add", "alice"}, {"admin", "policy", "set", "data", narrow}, {"admin", "info"}} {
		if _, errs := r.command(exitMistake, access, secret, args...); !strings.Contains(errs, "AccessDenied") {
			t.Errorf("%q as alice: %s", args, errs)
		}
	}
	do("admin", "key", "change", "alice", own.AccessKey, "--policy", "none", "--expires", "never", "--description", "")
	expect("not narrowed any more", own.AccessKey, own.SecretKey, true, true)
	do("admin", "key", "disable", "alice", own.AccessKey)
	expect("a disabled key", own.AccessKey, own.SecretKey, false, false)
	r.command(exitOK, access, secret, "admin", "key", "remove", own.AccessKey)
	if out, _ := r.command(exitOK, access, secret, "admin", "key", "list"); strings.Contains(out, own.AccessKey) || !strings.Contains(out, access) {
		t.Errorf("key list: %s", out)
	}

	trust := write("trust.json", `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/alice"},"Action":"sts:AssumeRole"}]}`)
	if out := do("admin", "role", "set", "loader", "--trust", trust, "--policy", "readonly", "--longest", "4h"); field(out, "longest session") != "4h0m0s" || !strings.Contains(out, "user/alice") {
		t.Errorf("role set: %s", out)
	}
	do("admin", "role", "attach", "loader", "data")
	do("admin", "role", "detach", "loader", "readonly")
	if out := do("admin", "role", "list"); !strings.Contains(out, "data") || strings.Contains(out, "readonly") {
		t.Errorf("role list: %s", out)
	}
	do("admin", "role", "revoke", "loader")
	do("admin", "role", "remove", "loader")
	do("admin", "provider", "set", "https://id.example.com/realms/ml", "--audience", "penstock")
	if out := do("admin", "provider", "show", "id.example.com/realms/ml"); field(out, "audiences") != "penstock" {
		t.Errorf("provider show: %s", out)
	}
	do("admin", "provider", "remove", "id.example.com/realms/ml")
	for _, what := range []string{"user", "group", "policy", "role", "provider"} {
		if out := do("admin", what, "list", "--json"); !json.Valid([]byte(out)) {
			t.Errorf("%s list --json: %s", what, out)
		}
		if out := do("admin", what, "list"); strings.ToUpper(strings.Fields(out)[0]) != strings.ToUpper(what) {
			t.Errorf("%s list: %s", what, out)
		}
	}
	do("admin", "user", "leave", "alice", "staff")
	do("admin", "group", "remove", "staff")
	do("admin", "user", "revoke", "alice")
	do("admin", "user", "remove", "alice")
	expect("removed", access, secret, false, false)
	do("admin", "policy", "remove", "data")
	if log := r.node.Log(); strings.Contains(log, secret) || strings.Contains(log, own.SecretKey) {
		t.Error("a secret is in the log")
	}
	r.stop()
}

// TestParseEnd reads the forms that a time may have.
func TestParseEnd(t *testing.T) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2030-01-31": time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC), "2030-01-31T12:00:00+02:00": time.Date(2030, 1, 31, 10, 0, 0, 0, time.UTC),
		"12h": now.Add(12 * time.Hour), "90d": now.Add(90 * 24 * time.Hour), "1.5d": now.Add(36 * time.Hour), "20m": now.Add(20 * time.Minute),
	} {
		if got, err := parseEnd(text, now); err != nil || !got.Equal(want) {
			t.Errorf("parseEnd(%q): got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1h", "0d", "d", "90", "2030-13-01", "99999999999999d", "-3d", "infd", "NaNd"} {
		if got, err := parseEnd(text, now); err == nil {
			t.Errorf("parseEnd(%q): got %v", text, got)
		}
	}
}
