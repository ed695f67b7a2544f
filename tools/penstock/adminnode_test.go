package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/fastapi/admin"
)

// good runs "penstock admin" and returns what it prints; it must end well.
func (r *rig) good(args ...string) string {
	r.t.Helper()
	code, out, errs := r.admin(args...)
	if code != exitOK {
		r.fatal("admin %s: exit code %d, %s", strings.Join(args, " "), code, errs)
	}
	return out
}

// refused runs it, and it must end with a mistake that says so.
func (r *rig) refused(says string, args ...string) {
	r.t.Helper()
	if code, out, errs := r.admin(args...); code != exitMistake || out != "" || !strings.Contains(errs, says) {
		r.t.Errorf("admin %s: exit code %d, %q, %q; want %q", strings.Join(args, " "), code, out, errs, says)
	}
}

// TestAdminNode runs every command that is about the process against a real one.
func TestAdminNode(t *testing.T) {
	r := newRig(t, 3)
	client := r.start()
	const bucket = "admin-node"
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}

	t.Run("config", func(t *testing.T) {
		if got := r.good("config", "get", "memory"); got != "128MiB\n" {
			t.Errorf("memory is %q", got)
		}
		var all []admin.Setting
		if err := json.Unmarshal([]byte(r.good("config", "get", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		sources := map[string]string{}
		for _, s := range all {
			sources[s.Name] = s.Source
		}
		if sources["memory"] != sourceFlag || sources["parity"] != sourceDefault || sources["drives"] != sourceFlag {
			t.Errorf("settings come from %v", sources)
		}
		r.good("config", "set", "log-level", "debug")
		if got := r.good("log", "level"); got != "debug\n" {
			t.Errorf("log level is %q", got)
		}
		r.good("log", "level", "info")
		r.refused("SettingNotDynamic", "config", "set", "memory", "1GiB")
		r.refused("none of debug, info, warn, error", "log", "level", "loud")
		r.refused("NoSuchSetting", "config", "set", "colour", "blue")
	})

	t.Run("trace", func(t *testing.T) {
		done := make(chan string)
		go func() {
			_, out, _ := r.admin("trace", "--bucket", bucket, "--failed", "--count", "1", "--json")
			done <- out
		}()
		// What ends before the stream begins is not seen; so requests come until it was.
		for {
			_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("not/there")})
			if err == nil {
				t.Fatal("there was an object")
			}
			select {
			case out := <-done:
				var request admin.Request
				if err := json.Unmarshal([]byte(out), &request); err != nil {
					t.Fatal(err, out)
				}
				if request.Operation != "GetObject" || request.Key != "not/there" || request.Status != 404 || request.ErrorCode != "NoSuchKey" || request.Identity != "root" {
					t.Errorf("traced %s", out)
				}
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})

	t.Run("profile", func(t *testing.T) {
		for _, kind := range []string{"heap", "cpu", "mutex"} {
			name := filepath.Join(t.TempDir(), kind)
			r.good("profile", kind, "--seconds", "1", "--output", name)
			content, err := os.ReadFile(name)
			if err != nil || len(content) < 100 || content[0] != 0x1f || content[1] != 0x8b { // Profiles are zipped.
				t.Errorf("%s: %d bytes, %v", kind, len(content), err)
			}
			if code, _, _ := r.admin("profile", kind, "--output", name); code == exitOK {
				t.Error("an existing file was written over")
			}
		}
		r.refused("NoSuchProfile", "profile", "happiness", "--output", filepath.Join(t.TempDir(), "x"))
		r.refused("want 1 to 120", "profile", "cpu", "--seconds", "4000", "--output", filepath.Join(t.TempDir(), "x"))
	})

	t.Run("drain", func(t *testing.T) {
		ready := func() int {
			response, err := http.Get(r.node.Endpoint + readyPath)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			return response.StatusCode
		}
		r.good("service", "drain")
		if got := ready(); got != 503 {
			t.Errorf("a node that drains answers %d", got)
		}
		if _, err := client.ListBuckets(t.Context(), &s3.ListBucketsInput{}); err != nil {
			t.Errorf("a node that drains does not serve: %v", err)
		}
		r.good("service", "undrain")
		if got := ready(); got != 200 {
			t.Errorf("a node that is back answers %d", got)
		}
	})

	t.Run("support", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "bundle.tar.gz")
		r.good("support", "bundle", "--output", name)
		files := unpack(t, name)
		for _, want := range []string{"info.json", "settings.json", "log.jsonl", "metrics.txt", "goroutines.txt", "heap.pprof", "machine/proc/meminfo"} {
			if len(files[want]) == 0 {
				t.Errorf("%s is missing", want)
			}
		}
		for name, content := range files {
			if bytes.Contains(content, []byte(r.secret)) {
				t.Errorf("%s holds the secret key", name)
			}
		}
		if !bytes.Contains(files["log.jsonl"], []byte(`"msg":"ready"`)) {
			t.Error("the log does not begin with the start")
		}
	})

	t.Run("restart", func(t *testing.T) {
		r.good("service", "restart")
		deadline := time.Now().Add(60 * time.Second)
		for len(readyLines(r.node.Log())) < 2 {
			if time.Now().After(deadline) {
				r.fatal("not ready again")
			}
			time.Sleep(5 * time.Millisecond)
		}
		r.node.Endpoint = readyLines(r.node.Log())[1] // Another port, as it was told to take any.
		if _, err := r.client().HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(bucket)}); err != nil {
			r.fatal("after a restart: %v", err)
		}
	})

	t.Run("stop", func(t *testing.T) {
		r.good("service", "stop")
		select {
		case <-r.node.Exited():
		case <-time.After(60 * time.Second):
			r.fatal("still there")
		}
		if code := r.node.ExitCode(); code != exitOK {
			r.fatal("exit code %d", code)
		}
	})
}

// readyLines returns the endpoints of the lines of a log that say that a node is ready.
func readyLines(log string) (endpoints []string) {
	for line := range strings.Lines(log) {
		var entry struct{ Msg, Endpoint string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "ready" {
			endpoints = append(endpoints, entry.Endpoint)
		}
	}
	return endpoints
}

// unpack returns the files of an archive, by name below its one folder.
func unpack(t *testing.T, name string) map[string][]byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, below, _ := strings.Cut(header.Name, "/")
		files[below] = content
	}
}

func TestLogTail(t *testing.T) {
	tail := &logTail{most: 10}
	for _, line := range []string{"one\n", "two\n", "three\n", "four\n"} {
		tail.Write([]byte(line))
	}
	if got := string(tail.bytes()); got != "four\n" {
		t.Errorf("kept %q of ten bytes", got)
	}
	tail.Write([]byte("a line longer than all of it\n"))
	if got := string(tail.bytes()); got != "a line longer than all of it\n" {
		t.Errorf("kept %q", got)
	}
}
