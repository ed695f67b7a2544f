package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/fastapi/admin"
)

// TestAdminBucket bounds a bucket of the real binary by the commands alone, and looks at what it holds before and after a restart.
func TestAdminBucket(t *testing.T) {
	r := newRig(t, 3)
	root := r.start()
	ctx := t.Context()
	for _, name := range []string{"data", "other"} {
		if _, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
			t.Fatal(err)
		}
	}
	put := func(key string, size int) error {
		_, err := root.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("data"), Key: &key, Body: strings.NewReader(strings.Repeat("x", size))})
		return err
	}
	say := func(code int, args ...string) string {
		out, errs := r.command(code, r.access, r.secret, append([]string{"admin", "bucket"}, args...)...)
		return out + errs
	}
	if out := say(exitOK, "quota", "get", "data"); out != "none\n" {
		t.Errorf("no quota: got %q", out)
	}
	say(exitOK, "quota", "set", "data", "10KiB")
	if out := say(exitOK, "quota", "get", "data"); out != formatSize(10<<10)+"\n" {
		t.Errorf("a quota: got %q", out)
	}
	if err := put("a", 10_000); err != nil {
		t.Fatal(err)
	}
	if err := put("b", 241); err == nil || !strings.Contains(err.Error(), "QuotaExceeded") || !strings.Contains(err.Error(), "403") {
		t.Errorf("more than the quota: got %v", err)
	}
	if err := put("b", 240); err != nil {
		t.Errorf("all of the quota: got %v", err)
	}
	if _, err := root.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("data"), Key: aws.String("c")}); err != nil {
		t.Fatal(err)
	}
	want := admin.BucketUsage{Bucket: "data", Objects: 2, Versions: 2, Bytes: 10 << 10, Uploads: 1, Quota: 10 << 10}
	check := func() {
		t.Helper()
		var got admin.BucketUsage
		if err := json.Unmarshal([]byte(say(exitOK, "usage", "data", "--json")), &got); err != nil || got != want {
			t.Errorf("usage: got %+v, %v, want %+v", got, err, want)
		}
		out := say(exitOK, "usage")
		if lines := strings.Split(out, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[1], "data ") || !strings.HasPrefix(lines[2], "other ") || !strings.Contains(lines[1], " 10240 ") {
			t.Errorf("usage of all: got %s", out)
		}
	}
	check()
	r.stop()
	root = r.start()
	defer r.stop()
	check()
	say(exitOK, "quota", "clear", "data")
	if err := put("b", 5000); err != nil {
		t.Errorf("no quota any more: got %v", err)
	}
	for args, code := range map[string]string{
		"usage none": "NoSuchBucket", "quota get none": "NoSuchBucket", "quota set none 1": "NoSuchBucket", "quota clear none": "NoSuchBucket",
		"quota set data 0": "InvalidRequest", "quota set data much": "is not a size",
	} {
		if out := say(exitMistake, strings.Fields(args)...); !strings.Contains(out, code) {
			t.Errorf("%s: got %q, want %s", args, out, code)
		}
	}
}
