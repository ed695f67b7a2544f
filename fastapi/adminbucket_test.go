package fastapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"penstock/fastapi/admin"
)

// TestBucketUsageAndQuota sets quotas by the administration API and meets them by S3.
func TestBucketUsageAndQuota(t *testing.T) {
	store := newRealStore(t)
	h := newHarness(t, func(o *Options) { o.Store, o.Admin = store, store })
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket?tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>")
	const quota = admin.Prefix + "/buckets/bucket/quota"
	h.must("PUT", quota, `{"bytes":100}`)
	h.must("PUT", "/bucket/a", strings.Repeat("x", 60))
	h.must("PUT", "/bucket/b", strings.Repeat("x", 40))
	long := strings.Repeat("x", 61)
	h.want(403, "QuotaExceeded", "PUT", "/bucket/a", long)
	if r := h.send(h.build("PUT", "/bucket/a", []byte(long), "Expect", "100-continue")); r.code() != "QuotaExceeded" {
		t.Errorf("asking first: got %v", r)
	}
	h.want(403, "QuotaExceeded", "PUT", "/bucket/c", "", "x-amz-copy-source", "/bucket/b")
	h.must("PUT", "/bucket/a", strings.Repeat("y", 60))
	h.must("PUT", "/bucket/empty", "")
	upload := element(h.must("POST", "/bucket/c?uploads", "").body, "UploadId")
	h.want(403, "QuotaExceeded", "PUT", "/bucket/c?partNumber=1&uploadId="+upload, "x")
	h.must("DELETE", "/bucket/b", "")
	h.must("PUT", "/bucket/c?partNumber=1&uploadId="+upload, strings.Repeat("x", 40))
	h.want(403, "QuotaExceeded", "PUT", "/bucket/c?partNumber=2&uploadId="+upload, "", "x-amz-copy-source", "/bucket/a")
	var got admin.BucketUsage
	if err := json.Unmarshal([]byte(h.must("GET", admin.Prefix+"/buckets/bucket", "").body), &got); err != nil {
		t.Fatal(err)
	}
	if want := (admin.BucketUsage{Bucket: "bucket", Objects: 2, Versions: 2, Bytes: 60, Uploads: 1, Parts: 1, PartBytes: 40, Quota: 100}); got != want {
		t.Errorf("usage: got %+v, want %+v", got, want)
	}
	// Other attributes of the bucket are as they were, and a quota is none of S3's business.
	if r := h.must("GET", "/bucket?tagging", ""); element(r.body, "Key") != "a" {
		t.Errorf("tags: got %v", r)
	}
	for _, bad := range []string{`{"bytes":0}`, `{"bytes":-1}`, `{"bytes":1.5}`, `{}`, `{"objects":1}`, `1`} {
		if r := h.do("PUT", quota, bad); r.status != 400 || r.failure(t).Code != "InvalidRequest" {
			t.Errorf("%s: got %v", bad, r)
		}
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if r := h.do(method, admin.Prefix+"/buckets/none/quota", `{"bytes":1}`); r.status != 404 || r.failure(t).Code != "NoSuchBucket" {
			t.Errorf("%s of no bucket: got %v", method, r)
		}
	}
	h.must("DELETE", quota, "")
	if r := h.must("GET", quota, ""); r.body != `{"bytes":0}`+"\n" {
		t.Errorf("no quota: got %v", r)
	}
	h.must("PUT", "/bucket/b", long+long)
}

// TestBucketMetrics makes more buckets than have series of their own: the rest are counted together.
func TestBucketMetrics(t *testing.T) {
	store := newRealStore(t)
	h := newHarness(t, func(o *Options) { o.Store, o.Admin = store, store })
	for i := range 103 {
		h.must("PUT", fmt.Sprint("/bucket", i), "")
		h.must("PUT", fmt.Sprint("/bucket", i, "/k"), strings.Repeat("x", i+1))
	}
	text := h.must("GET", metricsPath, "").body
	for _, line := range []string{
		"penstock_buckets 103", `penstock_bucket_bytes{bucket="bucket102"} 103`, `penstock_bucket_bytes{bucket="bucket3"} 4`,
		`penstock_bucket_bytes{bucket="_others"} 6`, `penstock_bucket_objects{bucket="_others"} 3`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if n := strings.Count(text, "\npenstock_bucket_bytes{"); n != 101 {
		t.Errorf("%d series, want 101", n)
	}
}
