package fastapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestListBuckets(t *testing.T) {
	h := newHarness(t)
	if r := h.must("GET", "/", ""); !strings.Contains(r.body, "<Buckets></Buckets>") || element(r.body, "DisplayName") != ownerName {
		t.Errorf("none: %v", r)
	}
	for i := range 5 {
		h.must("PUT", fmt.Sprintf("/bucket-%d", i), "")
	}
	h.must("PUT", "/other", "")
	r := h.must("GET", "/?max-buckets=2&prefix=bucket-", "")
	names := ""
	for range 5 {
		for _, b := range strings.Split(r.body, "<Bucket>")[1:] {
			names += element(b, "Name") + " "
		}
		token := element(r.body, "ContinuationToken")
		if token == "" {
			break
		}
		r = h.must("GET", "/?max-buckets=2&prefix=bucket-&continuation-token="+token, "")
	}
	if names != "bucket-0 bucket-1 bucket-2 bucket-3 bucket-4 " {
		t.Errorf("pages: %s", names)
	}
	if r := h.must("GET", "/?bucket-region=us-east-1&max-buckets=1", ""); strings.Count(r.body, "<Bucket>") != 1 || element(r.body, "BucketRegion") != "us-east-1" || element(r.body, "ContinuationToken") == "" {
		t.Errorf("buckets of the region: %v", r)
	}
	if r := h.must("GET", "/?bucket-region=eu-north-1&max-buckets=1", ""); strings.Contains(r.body, "<Bucket>") || element(r.body, "ContinuationToken") != "" {
		t.Errorf("buckets of another region: %v", r)
	}
	h.want(400, "InvalidArgument", "GET", "/?max-buckets=0", "")
	h.want(400, "InvalidArgument", "GET", "/?max-buckets=10001", "")
	if r := h.must("GET", "/?bucket-region=us-west-2", ""); strings.Contains(r.body, "<Bucket>") {
		t.Errorf("another region: %v", r)
	}
}

func TestBuckets(t *testing.T) {
	h := newHarness(t)
	r := h.must("PUT", "/bucket", "")
	if r.header.Get("Location") != "/bucket" {
		t.Errorf("create: %v", r)
	}
	h.want(400, "InvalidBucketName", "PUT", "/192.168.1.1", "")
	h.want(400, "InvalidBucketName", "PUT", "/Capital", "")
	h.want(400, "MalformedXML", "PUT", "/other", "<CreateBucketConfiguration><Location")
	h.want(501, "NotImplemented", "PUT", "/other", "<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>")
	h.want(404, "NoSuchBucket", "DELETE", "/other", "")
	h.want(404, "NoSuchBucket", "PUT", "/other/k", "x")
	h.want(404, "NoSuchBucket", "GET", "/other", "")
	h.want(404, "NoSuchBucket", "GET", "/other?uploads", "")
	h.want(404, "NoSuchBucket", "GET", "/other?versioning", "")
	h.want(404, "NoSuchBucket", "POST", "/other?delete", "<Delete><Object><Key>a</Key></Object></Delete>")
	if r := h.must("GET", "/bucket?versioning", ""); !strings.Contains(r.body, "<VersioningConfiguration") || strings.Contains(r.body, "Status") {
		t.Errorf("versioning: %v", r)
	}
	h.must("HEAD", "/bucket", "")
	if r := h.must("DELETE", "/bucket", ""); r.status != 204 {
		t.Errorf("delete: %v", r)
	}
}

// TestUnset: what was never set has a true answer.
func TestUnset(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	h.must("PUT", "/bucket/a/b", "x")
	for _, target := range []string{"/bucket?acl", "/bucket/k?acl", "/bucket/k?acl&versionId=null"} {
		if r := h.must("GET", target, ""); element(r.body, "Permission") != "FULL_CONTROL" {
			t.Errorf("%s: %v", target, r)
		}
	}
	h.want(404, "NoSuchKey", "GET", "/bucket/none?acl", "")
	h.want(404, "NoSuchVersion", "GET", "/bucket/k?tagging&versionId="+formatVersion(9), "")
	h.want(404, "NoSuchBucket", "GET", "/none?acl", "")

	r := h.must("GET", "/bucket?versions&max-keys=1", "")
	if element(r.body, "Key") != "a/b" || element(r.body, "VersionId") != "null" || element(r.body, "IsLatest") != "true" || element(r.body, "NextVersionIdMarker") != "null" {
		t.Errorf("versions: %v", r)
	}
	r = h.must("GET", "/bucket?versions&key-marker="+element(r.body, "NextKeyMarker")+"&version-id-marker=null", "")
	if element(r.body, "Key") != "k" || element(r.body, "IsTruncated") != "false" {
		t.Errorf("versions, second page: %v", r)
	}
	if r := h.must("GET", "/bucket?versions&delimiter=/", ""); strings.Count(r.body, "<Version>") != 1 || !strings.Contains(r.body, "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>") {
		t.Errorf("versions with delimiter: %v", r)
	}
	h.want(400, "InvalidArgument", "GET", "/bucket?versions&version-id-marker=null", "")
	h.want(400, "InvalidArgument", "GET", "/bucket?versions&key-marker=a&version-id-marker=v1", "")
}
