package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestAdminBucketETags(t *testing.T) {
	r := newRig(t, 1)
	client := r.start()
	defer func() { r.stop() }()
	const bucket = "tagged"
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	opaque := func() bool {
		t.Helper()
		out, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: bytes.NewReader([]byte("x"))})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(*out.ETag, "-")
	}
	if got := r.good("bucket", "etag", bucket); got != "md5 (the server's default)\n" || opaque() {
		t.Errorf("at first: %q", got)
	}
	if got := r.good("bucket", "etag", "opaque", bucket); got != "opaque\n" || !opaque() {
		t.Errorf("after choosing opaque ones: %q", got)
	}
	r.stop()
	client = r.start()
	if got := r.good("bucket", "etag", bucket); got != "opaque\n" || !opaque() {
		t.Errorf("after a restart: %q", got)
	}
	if got := r.good("bucket", "etag", "default", bucket); got != "md5 (the server's default)\n" || opaque() {
		t.Errorf("after going back: %q", got)
	}
	r.refused("sha1", "bucket", "etag", "sha1", bucket)
	r.refused("bucket", "bucket", "etag", "other")
}
