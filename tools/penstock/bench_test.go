package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"penstock/bench"
	"penstock/bench/fakes3"
)

// runBenchCommand runs "penstock bench" in this process.
func runBenchCommand(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"bench"}, args...), func(name string) string { return env[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

var benchEnv = map[string]string{"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret"}

func startFake(t *testing.T, secure bool) (*fakes3.Server, *httptest.Server) {
	t.Helper()
	fake := &fakes3.Server{AccessKey: "access", Secret: "secret"}
	server := httptest.NewUnstartedServer(fake)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return fake, server
}

// TestBenchMistakes: each is one line that says what is wrong, and exit code 2.
func TestBenchMistakes(t *testing.T) {
	sizes := filepath.Join(t.TempDir(), "sizes")
	if err := os.WriteFile(sizes, []byte("1KiB 3\n2KiB x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const endpoint = "http://127.0.0.1:1"
	for _, test := range []struct {
		args string
		want string
	}{
		{"", "at least 1 arg"},
		{"eat", `nothing to measure called "eat"`},
		{"get", "no endpoint"},
		{"get 127.0.0.1:9000", "is not http://host:port"},
		{"get ftp://a:1", "is not http://host:port"},
		{"get http://a:1/path", "is not http://host:port"},
		{"get http://a:1 https://b:1", "with and without TLS"},
		{"get http://a:1 http://a:1", "named twice"},
		{"get http://a{1...}:1", "endpoint"},
		{"get --size 1XB " + endpoint, "--size: "},
		{"get --size 2MiB-1MiB " + endpoint, "--size: "},
		{"get --size-file /nowhere/at/all " + endpoint, "--size-file: "},
		{"get --size-file " + sizes + " " + endpoint, "line 2: weight"},
		{"get --concurrent 0 " + endpoint, "0 requests at a time"},
		{"get --concurrent x " + endpoint, "--concurrent"},
		{"get --duration 5 " + endpoint, "--duration"},
		{"get --rate -1 " + endpoint, "below 0"},
		{"get --cache hot " + endpoint, "state of caches"},
		{"get --reuse " + endpoint, "--prefix"},
		{"get --prefix a+b " + endpoint, "prefix"},
		{"get --mix get=1 " + endpoint, "unknown flag"},
		{"put --payload secret " + endpoint, "--payload: "},
		{"put --checksum md4 " + endpoint, "--checksum: "},
		{"put --chunk-size 1 " + endpoint, "chunk-size"},
		{"put --bucket a/b " + endpoint, "bucket"},
		{"range --range-size 0 " + endpoint, "range-size"},
		{"mixed --mix get=x " + endpoint, "--mix: "},
		{"mixed --mix eat=1 " + endpoint, "--mix: "},
		{"mixed --mix get=0 " + endpoint, "needs shares"},
		{"list --page 0 " + endpoint, "pages of 0"},
		{"delete --batch 1001 " + endpoint, "batches of 1001"},
		{"multipart --part-size 3MiB " + endpoint, "not a number of parts"},
		{"epoch --ranks 0 " + endpoint, "0 requests at a time"},
		{"checkpoint --every 0s " + endpoint, "checkpoint"},
		{"get --ca /nowhere/at/all https://a:1", "--ca: "},
		{"compare a.json", "accepts 2 arg"},
		{"compare /nowhere/a.json /nowhere/b.json", "no such file"},
		{"merge a.json", "at least 2"},
		{"merge " + sizes + " " + sizes, "not a report"},
		{"host --parity 20", "--parity 20"},
		{"host --parity 3 /a /b", "--parity 3"},
		{"get --host /nowhere/at/all " + endpoint, "--host: "},
		{"get --json /nowhere/at/all/r.json " + endpoint, "no such file"},
	} {
		code, stdout, stderr := runBenchCommand(t, benchEnv, strings.Fields(test.args)...)
		if code != exitMistake || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("bench %s: got %d, %q, %q; want %d and one line with %q", test.args, code, stdout, stderr, exitMistake, test.want)
		}
	}
	if code, _, stderr := runBenchCommand(t, map[string]string{"AWS_ACCESS_KEY_ID": "a"}, "get", endpoint); code != exitMistake || !strings.Contains(stderr, "go together") {
		t.Errorf("half a pair of credentials: got %d, %q", code, stderr)
	}
	// What may work when tried again is another code.
	if code, _, stderr := runBenchCommand(t, benchEnv, "get", endpoint); code != exitFailure || strings.Count(stderr, "\n") != 1 {
		t.Errorf("nobody there: got %d, %q", code, stderr)
	}
}

// TestBenchTLS reaches a server through TLS with its certificate, without checking it, and not at all.
func TestBenchTLS(t *testing.T) {
	_, server := startFake(t, true)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o644); err != nil {
		t.Fatal(err)
	}
	load := []string{"put", "--objects", "3", "--size", "10KiB", server.URL}
	for _, test := range []struct {
		flags []string
		code  int
	}{{[]string{"--ca", ca}, exitOK}, {[]string{"--insecure"}, exitOK}, {nil, exitFailure}} {
		if code, _, stderr := runBenchCommand(t, benchEnv, append(load, test.flags...)...); code != test.code {
			t.Errorf("%v: got %d, %q; want %d", test.flags, code, stderr, test.code)
		}
	}
}

// TestBenchFiles writes reports, compares them, and merges what was not at the same time: refused.
func TestBenchFiles(t *testing.T) {
	_, server := startFake(t, false)
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		code, _, stderr := runBenchCommand(t, benchEnv, "get", "--objects", "30", "--size", "1KiB-20KiB", "--verify", "--concurrent", "3",
			"--json", filepath.Join(dir, name+".json"), "--csv", filepath.Join(dir, name+".csv"), server.URL)
		if code != exitOK {
			t.Fatalf("got %d, %q", code, stderr)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "a.csv"))
	if err != nil || !strings.HasPrefix(string(table), "op,size,") || strings.Count(string(table), "\n") != 2 {
		t.Errorf("CSV: got %q, %v", table, err)
	}
	a, b := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
	if code, stdout, stderr := runBenchCommand(t, benchEnv, "compare", a, b); code != exitOK || !strings.Contains(stdout, "GET") {
		t.Errorf("compare: got %d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := runBenchCommand(t, benchEnv, "merge", a, b); code != exitMistake || !strings.Contains(stderr, "same time") {
		t.Errorf("merge: got %d, %q", code, stderr)
	}
}

// TestBenchHost measures this machine, and a later report tells its result as a share of it.
func TestBenchHost(t *testing.T) {
	_, server := startFake(t, false)
	file := filepath.Join(t.TempDir(), "host.json")
	code, stdout, stderr := runBenchCommand(t, benchEnv, "host", "--file", file)
	if code != exitOK || !strings.Contains(stdout, "SHA-256") {
		t.Fatalf("got %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, stderr = runBenchCommand(t, benchEnv, "put", "--objects", "20", "--host", file, "--server-pid", strconv.Itoa(os.Getpid()), server.URL)
	if code != exitOK || !strings.Contains(stdout, "nearest ceiling") || !strings.Contains(stdout, "100 GbE would take") {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
}

// TestBenchWrong: wrong bytes are errors in the report and in the exit code.
func TestBenchWrong(t *testing.T) {
	fake, server := startFake(t, false)
	fake.Spoil = func(_ string, b []byte) []byte { b[0]++; return b }
	code, stdout, stderr := runBenchCommand(t, benchEnv, "get", "--objects", "5", "--size", "1KiB", "--verify", server.URL)
	if code != exitFailure || !strings.Contains(stderr, "5 of 5 requests failed") || !strings.Contains(stdout, "5 × GET") {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
}

// TestBenchBinary runs every operation of the real binary against the real server, a few requests each, comparing all that comes
// back.
func TestBenchBinary(t *testing.T) {
	rig := newRig(t, 6)
	rig.start()
	defer rig.stop()
	names, _ := bench.Operations()
	for _, name := range names {
		args := []string{"bench", name, "--size", "20KiB", "--objects", "12", "--concurrent", "3", "--server-pid", strconv.Itoa(rig.node.Pid())}
		switch name {
		case "epoch":
			args = []string{"bench", name, "--size", "10KiB-200KiB", "--objects", "24", "--ranks", "2", "--workers", "2", "--batch", "3", "--step-ms", "1"}
		case "multipart":
			args = append(args, "--size", "6MiB", "--part-size", "6MiB", "--objects", "2")
		case "checkpoint":
			args = append(args, "--duration", "1s", "--every", "400ms", "--checkpoint-size", "6MiB", "--part-size", "6MiB", "--writers", "2")
		case "range":
			args = append(args, "--range-size", "3KiB")
		}
		for _, payload := range []string{"unsigned", "signed", "chunks", "chunks-trailer", "trailer"} {
			if payload != "unsigned" && name != "put" && name != "multipart" {
				continue
			}
			full := append(args, "--payload", payload)
			if name != "put" && name != "multipart" {
				full = append(full, "--verify")
			}
			cmd := exec.CommandContext(t.Context(), rig.options.Binary, append(full, rig.node.Endpoint)...)
			cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+rig.access, "AWS_SECRET_ACCESS_KEY="+rig.secret)
			output, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(output), "client CPU") {
				t.Errorf("%s: %v\n%s", fmt.Sprint(full), err, output)
			}
		}
	}
}
