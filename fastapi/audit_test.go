package fastapi

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

// auditTrail collects entries.
type auditTrail struct {
	mu      sync.Mutex
	entries []*AuditEntry
}

func (a *auditTrail) record(e *AuditEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries, e)
}

// of returns the entry of a request.
func (a *auditTrail) of(id string) *AuditEntry {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.entries {
		if e.RequestID == id {
			return e
		}
	}
	return nil
}

// TestAudit: every request leaves one entry, which says what happened and holds no secret.
func TestAudit(t *testing.T) {
	var trail auditTrail
	h := newHarness(t, func(o *Options) { o.Audit = trail.record })
	large := strings.Repeat("x", 1<<20)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/a%20key", large, "User-Agent", "trainer/1")
	forged := h.build("GET", "/bucket/a%20key", nil)
	for i := range forged.headers {
		if string(forged.headers[i].Name) == "Authorization" {
			forged.headers[i].Value[len(forged.headers[i].Value)-1] ^= 1
		}
	}
	for _, test := range []struct {
		reply *reply
		want  AuditEntry
	}{
		{h.do("GET", "/bucket/a%20key", ""), AuditEntry{AccessKey: testAccessKey, Operation: "GetObject", Method: "GET", Bucket: "bucket", Key: "a key", Path: "/bucket/a%20key", Status: 200, Sent: 1 << 20}},
		{h.do("PUT", "/bucket/b", "12345"), AuditEntry{AccessKey: testAccessKey, Operation: "PutObject", Method: "PUT", Bucket: "bucket", Key: "b", Path: "/bucket/b", Status: 200, Received: 5}},
		{h.do("GET", "/bucket/none?versionId=null", ""), AuditEntry{AccessKey: testAccessKey, Operation: "GetObject", Method: "GET", Bucket: "bucket", Key: "none", Path: "/bucket/none", VersionID: "null", Status: 404, ErrorCode: "NoSuchVersion", Sent: -1}},
		{h.do("HEAD", "/bucket/none", ""), AuditEntry{AccessKey: testAccessKey, Operation: "HeadObject", Method: "HEAD", Bucket: "bucket", Key: "none", Path: "/bucket/none", Status: 404, ErrorCode: "NoSuchKey"}},
		{h.send(forged), AuditEntry{Operation: "Unknown", Method: "GET", Path: "/bucket/a%20key", Status: 403, ErrorCode: "SignatureDoesNotMatch", Sent: -1}},
		{h.scrape(""), AuditEntry{Operation: "Unknown", Method: "GET", Path: metricsPath, Status: 403, ErrorCode: "AccessDenied", Sent: -1}},
	} {
		id := test.reply.header.Get("x-amz-request-id")
		// The last byte reaches the client before the entry is made.
		got := trail.of(id)
		for end := time.Now().Add(time.Minute); got == nil; got = trail.of(id) {
			if time.Now().After(end) {
				t.Fatalf("no entry for %v", test.reply)
			}
			time.Sleep(time.Millisecond)
		}
		want := test.want
		want.Time, want.RequestID, want.Remote, want.Seconds, want.UserAgent, want.Action = got.Time, id, got.Remote, got.Seconds, got.UserAgent, got.Action
		if want.AccessKey != "" {
			want.Identity = "root"
		}
		if want.Sent < 0 {
			want.Sent = int64(len(test.reply.body))
		}
		if *got != want {
			t.Errorf("got  %+v\nwant %+v", *got, want)
		}
		if got.Time.IsZero() || got.Seconds <= 0 || !strings.HasPrefix(got.Remote, "127.0.0.1:") {
			t.Errorf("%+v", *got)
		}
	}
	// A presigned target's signature is a credential while it is valid.
	h.send(&wireRequest{method: "GET", target: h.presign("GET", "/bucket/b"), host: h.host})
	trail.mu.Lock()
	defer trail.mu.Unlock()
	text, err := json.Marshal(trail.entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{testSecret, "X-Amz-Signature", "Signature="} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the audit log holds %q", secret)
		}
	}
	if !strings.Contains(string(text), `"user_agent":"trainer/1"`) {
		t.Error("no user agent")
	}
}
