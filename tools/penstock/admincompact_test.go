package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/fastapi/admin"
)

// TestAdminCompact deletes most objects, but some in every volume, and has the node win the space back.
func TestAdminCompact(t *testing.T) {
	r := newRig(t, 3)
	client := r.start()
	defer r.stop()
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucketName)}); err != nil {
		t.Fatal(err)
	}
	objects := content{}
	for i := range 48 {
		key := fmt.Sprint(i)
		r.put(objects, client, key, []byte(strings.Repeat(key+" ", (2<<20)/(len(key)+1))))
	}
	for i := range 48 {
		if i%8 == 0 {
			continue
		}
		key := fmt.Sprint(i)
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketName), Key: &key}); err != nil {
			t.Fatal(err)
		}
		delete(objects, key)
	}
	code, out, errs := r.admin("compact", "--wait")
	if code != exitOK || errs != "" || !strings.Contains(out, "idle") || !strings.Contains(out, "0 to be freed") {
		t.Errorf("compact --wait: exit code %d, %q, %s", code, errs, out)
	}
	r.check(objects, client, "after compaction")

	code, out, errs = r.admin("compact", "status", "--json")
	var now admin.Compact
	if err := json.Unmarshal([]byte(out), &now); code != exitOK || err != nil || now.Volumes == 0 || now.Extents == 0 || now.Asked || now.Waiting > 0 {
		t.Errorf("compact status --json: exit code %d, %v, %s, %s", code, err, errs, out)
	}
	if code, out, errs = r.admin("compact", "--wait", "--json"); code != exitOK || !json.Valid([]byte(out)) {
		t.Errorf("compact --wait --json: exit code %d, %s, %s", code, errs, out)
	}
	if code, out, errs = r.admin("compact", "stop"); code != exitOK || !strings.Contains(out, "compaction") {
		t.Errorf("compact stop: exit code %d, %s, %s", code, errs, out)
	}
}
