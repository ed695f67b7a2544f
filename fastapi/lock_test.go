package fastapi

import (
	"crypto/md5"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock/engine"
)

const lockBucket = "x-amz-bucket-object-lock-enabled"

func lockConfig(rule string) string {
	return "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>" + rule + "</ObjectLockConfiguration>"
}

func defaultRetention(mode, period string) string {
	return "<Rule><DefaultRetention><Mode>" + mode + "</Mode>" + period + "</DefaultRetention></Rule>"
}

func retention(mode string, until time.Time) string {
	return "<Retention><Mode>" + mode + "</Mode><RetainUntilDate>" + until.UTC().Format(time.RFC3339) + "</RetainUntilDate></Retention>"
}

func legalHold(status string) string { return "<LegalHold><Status>" + status + "</Status></LegalHold>" }

// inDays is a time some days ahead, in whole seconds as headers have it.
func inDays(n int) time.Time { return time.Now().UTC().Truncate(time.Second).AddDate(0, 0, n) }

func md5Header(doc string) string {
	sum := md5.Sum([]byte(doc))
	return b64(sum[:])
}

// locked puts an object with a lock and returns its version.
func (h *harness) locked(target, body string, headers ...string) string {
	h.t.Helper()
	return h.must("PUT", target, body, append(headers, "x-amz-checksum-sha256", sumOf(algSHA256, body))...).header.Get("x-amz-version-id")
}

// TestLockConfiguration: a bucket's lock is given with the bucket or later, wants versioning, and stays.
func TestLockConfiguration(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.want(404, "ObjectLockConfigurationNotFoundError", "GET", "/bucket?object-lock", "")
		h.want(409, "InvalidBucketState", "PUT", "/bucket?object-lock", lockConfig(""))
		h.want(400, "InvalidRequest", "GET", "/bucket/k?retention", "")
		h.want(400, "InvalidRequest", "GET", "/bucket/k?legal-hold", "")
		h.must("PUT", "/bucket/k", "before")
		h.want(400, "InvalidRequest", "PUT", "/bucket/k?retention", retention("GOVERNANCE", inDays(1)))
		h.want(400, "InvalidRequest", "PUT", "/bucket/k?legal-hold", legalHold("ON"))
		h.want(400, "InvalidRequest", "PUT", "/bucket/k", "x", "x-amz-object-lock-legal-hold", "ON", "x-amz-checksum-sha256", sumOf(algSHA256, "x"))
		h.want(400, "InvalidRequest", "POST", "/bucket/k?uploads", "", "x-amz-object-lock-legal-hold", "ON")
		h.must("PUT", "/bucket?versioning", enableVersioning)
		h.must("PUT", "/bucket?object-lock", lockConfig(""))
		if r := h.must("GET", "/bucket?object-lock", ""); element(r.body, "ObjectLockEnabled") != "Enabled" || strings.Contains(r.body, "Rule") {
			t.Errorf("got %v", r)
		}
		h.want(409, "InvalidBucketState", "PUT", "/bucket?versioning", suspendVersioning)
		h.must("PUT", "/bucket?versioning", enableVersioning)
		for _, c := range []struct{ doc, code string }{
			{lockConfig(defaultRetention("GOVERNANCE", "<Days>1</Days>")), ""},
			{lockConfig(defaultRetention("COMPLIANCE", "<Years>3</Years>")), ""},
			{lockConfig(defaultRetention("COMPLIANCE", "<Days>36500</Days>")), ""},
			{lockConfig(defaultRetention("GOVERNANCE", "<Days>0</Days>")), "InvalidRetentionPeriod"},
			{lockConfig(defaultRetention("GOVERNANCE", "<Years>-1</Years>")), "InvalidRetentionPeriod"},
			{lockConfig(defaultRetention("GOVERNANCE", "<Days>36501</Days>")), "InvalidRetentionPeriod"},
			{lockConfig(defaultRetention("GOVERNANCE", "<Years>101</Years>")), "InvalidRetentionPeriod"},
			{lockConfig(defaultRetention("GOVERNANCE", "<Days>one</Days>")), "MalformedXML"},
			{lockConfig(defaultRetention("GOVERNANCE", "<Days>1</Days><Years>1</Years>")), "MalformedXML"},
			{lockConfig(defaultRetention("GOVERNANCE", "")), "MalformedXML"},
			{lockConfig(defaultRetention("governance", "<Days>1</Days>")), "MalformedXML"},
			{lockConfig(defaultRetention("", "<Days>1</Days>")), "MalformedXML"},
			{lockConfig("<Rule></Rule>"), "MalformedXML"},
			{lockConfig("<Rule><Other/></Rule>"), "MalformedXML"},
			{lockConfig("<Other/>"), "MalformedXML"},
			{lockConfig(strings.Repeat(defaultRetention("GOVERNANCE", "<Days>1</Days>"), 2)), "MalformedXML"},
			{"<ObjectLockConfiguration></ObjectLockConfiguration>", "MalformedXML"},
			{"<ObjectLockConfiguration><ObjectLockEnabled>Disabled</ObjectLockEnabled></ObjectLockConfiguration>", "MalformedXML"},
			{"<Other/>", "MalformedXML"},
			{"", "MissingRequestBodyError"},
		} {
			before := h.must("GET", "/bucket?object-lock", "").body
			r := h.do("PUT", "/bucket?object-lock", c.doc)
			after := h.must("GET", "/bucket?object-lock", "").body
			if r.code() != c.code || (r.status == 200) != (c.code == "") || c.code != "" && after != before {
				t.Errorf("%s: got %v, configuration %s", c.doc, r, after)
			}
			if c.code == "" && !strings.Contains(after, c.doc[strings.Index(c.doc, "<ObjectLockEnabled>"):]) {
				t.Errorf("%s came back as %s", c.doc, after)
			}
		}

		h.must("PUT", "/locked", "", lockBucket, "true")
		if r := h.must("GET", "/locked?object-lock", ""); element(r.body, "ObjectLockEnabled") != "Enabled" {
			t.Errorf("got %v", r)
		}
		if r := h.must("GET", "/locked?versioning", ""); element(r.body, "Status") != "Enabled" {
			t.Errorf("got %v", r)
		}
		h.must("PUT", "/unlocked", "", lockBucket, "false")
		h.want(404, "ObjectLockConfigurationNotFoundError", "GET", "/unlocked?object-lock", "")
	})
}

// TestLockHeaders: what new objects are given by headers and by their bucket, on every way in, and how it is shown.
func TestLockHeaders(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "", lockBucket, "true")
		until := inDays(5)
		date := until.Format(time.RFC3339)
		sum := sumOf(algSHA256, "x")
		for _, c := range []struct{ mode, date, hold, code string }{
			{"GOVERNANCE", date, "", ""},
			{"COMPLIANCE", until.Format("2006-01-02T15:04:05.000Z"), "ON", ""},
			{"", "", "OFF", ""},
			{"GOVERNANCE", "", "", "InvalidArgument"},
			{"", date, "", "InvalidArgument"},
			{"governance", date, "", "InvalidArgument"},
			{"GOVERNANCE", "tomorrow", "", "InvalidArgument"},
			{"GOVERNANCE", inDays(-1).Format(time.RFC3339), "", "InvalidArgument"},
			{"", "", "on", "InvalidArgument"},
		} {
			var headers []string
			for name, value := range map[string]string{headerLockMode: c.mode, headerLockUntil: c.date, headerLegalHold: c.hold} {
				if value != "" {
					headers = append(headers, name, value)
				}
			}
			r := h.do("PUT", "/bucket/k", "x", append(headers, "x-amz-checksum-sha256", sum)...)
			upload := h.do("POST", "/bucket/k?uploads", "", headers...)
			if r.code() != c.code || upload.code() != c.code || (r.status == 200) != (c.code == "") || (upload.status == 200) != (c.code == "") {
				t.Errorf("%+v: got %v and %v", c, r, upload)
			}
			if c.code != "" {
				continue
			}
			for _, method := range []string{"HEAD", "GET"} {
				r := h.must(method, "/bucket/k", "")
				shown, _ := time.Parse(time.RFC3339, r.header.Get(headerLockUntil))
				if r.header.Get(headerLockMode) != c.mode || c.mode != "" && !shown.Equal(until) || r.header.Get(headerLegalHold) != c.hold {
					t.Errorf("%s of %+v: got %v", method, c, r)
				}
			}
		}
		h.want(400, "InvalidRequest", "PUT", "/bucket/k", "x", headerLegalHold, "ON") // Nothing vouches for its bytes.

		locked := []string{headerLockMode, "GOVERNANCE", headerLockUntil, date, headerLegalHold, "ON"}
		h.must("PUT", "/bucket/copy", "", append(locked, "x-amz-copy-source", "/bucket/k")...)
		h.upload("/bucket/parts", []string{"x"}, locked, nil)
		for _, key := range []string{"copy", "parts"} {
			if r := h.must("GET", "/bucket/"+key, ""); r.body != "x" || r.header.Get(headerLockMode) != "GOVERNANCE" || r.header.Get(headerLegalHold) != "ON" {
				t.Errorf("%s: got %v", key, r)
			}
		}
		// A copy has no lock of its source's; a bucket's rule is for whatever brings none.
		h.must("PUT", "/bucket/bare", "", "x-amz-copy-source", "/bucket/copy")
		if r := h.must("HEAD", "/bucket/bare", ""); r.header.Get(headerLockMode) != "" || r.header.Get(headerLegalHold) != "" {
			t.Errorf("copy of what is locked: got %v", r)
		}
		h.want(404, "NoSuchObjectLockConfiguration", "GET", "/bucket/bare?retention", "")
		h.want(404, "NoSuchObjectLockConfiguration", "GET", "/bucket/bare?legal-hold", "")
		h.must("PUT", "/bucket?object-lock", lockConfig(defaultRetention("GOVERNANCE", "<Days>10</Days>")))
		h.must("PUT", "/bucket/put", "x")
		h.must("PUT", "/bucket/copied", "", "x-amz-copy-source", "/bucket/k")
		h.upload("/bucket/uploaded", []string{"x"}, nil, nil)
		for _, key := range []string{"put", "copied", "uploaded"} {
			r := h.must("GET", "/bucket/"+key+"?retention", "")
			end, err := time.Parse(time.RFC3339, element(r.body, "RetainUntilDate"))
			if element(r.body, "Mode") != "GOVERNANCE" || err != nil || end.Before(inDays(9)) || end.After(inDays(11)) {
				t.Errorf("default for %s: got %v", key, r)
			}
		}
		if r := h.must("GET", "/bucket/copy?retention", ""); element(r.body, "RetainUntilDate") != until.Format("2006-01-02T15:04:05.000Z") {
			t.Errorf("what was there before the default: got %v", r)
		}
	})
}

// TestRetention: what PutObjectRetention and PutObjectLegalHold may change of a lock, and what a lock keeps from being deleted.
func TestRetention(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "", lockBucket, "true")
		const bypass = "x-amz-bypass-governance-retention"
		for _, c := range []struct {
			mode, doc       string
			bypass          bool
			status          int
			code, modeAfter string
		}{
			{"GOVERNANCE", retention("GOVERNANCE", inDays(9)), false, 200, "", "GOVERNANCE"},
			{"GOVERNANCE", retention("GOVERNANCE", inDays(2)), false, 403, "AccessDenied", "GOVERNANCE"},
			{"GOVERNANCE", retention("GOVERNANCE", inDays(2)), true, 200, "", "GOVERNANCE"},
			{"GOVERNANCE", retention("COMPLIANCE", inDays(9)), false, 403, "AccessDenied", "GOVERNANCE"},
			{"GOVERNANCE", retention("COMPLIANCE", inDays(9)), true, 200, "", "COMPLIANCE"},
			{"GOVERNANCE", "<Retention/>", false, 403, "AccessDenied", "GOVERNANCE"},
			{"GOVERNANCE", "<Retention/>", true, 200, "", ""},
			{"COMPLIANCE", retention("COMPLIANCE", inDays(9)), false, 200, "", "COMPLIANCE"},
			{"COMPLIANCE", retention("COMPLIANCE", inDays(2)), true, 403, "AccessDenied", "COMPLIANCE"},
			{"COMPLIANCE", retention("GOVERNANCE", inDays(9)), true, 403, "AccessDenied", "COMPLIANCE"},
			{"COMPLIANCE", "<Retention/>", true, 403, "AccessDenied", "COMPLIANCE"},
			{"", retention("COMPLIANCE", inDays(1)), false, 200, "", "COMPLIANCE"},
			{"", retention("COMPLIANCE", inDays(-1)), false, 400, "InvalidArgument", ""},
			{"", "<Retention><Mode>GOVERNANCE</Mode></Retention>", false, 400, "MalformedXML", ""},
			{"", strings.Replace(retention("GOVERNANCE", inDays(1)), "GOV", "gov", 1), false, 400, "MalformedXML", ""},
			{"", "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate></Retention>", false, 400, "MalformedXML", ""},
			{"", "<Retention><Other/></Retention>", false, 400, "MalformedXML", ""},
			{"", legalHold("ON"), false, 400, "MalformedXML", ""},
		} {
			var headers, lock []string
			if c.mode != "" {
				lock = []string{headerLockMode, c.mode, headerLockUntil, inDays(5).Format(time.RFC3339)}
			}
			if c.bypass {
				headers = []string{bypass, "true"}
			}
			version := h.locked("/bucket/k", "x", lock...)
			r := h.do("PUT", "/bucket/k?retention&versionId="+version, c.doc, headers...)
			if r.status != c.status || r.code() != c.code {
				t.Errorf("%s, %s, bypass %v: got %v", c.mode, c.doc, c.bypass, r)
			}
			if r := h.do("GET", "/bucket/k?retention", ""); element(r.body, "Mode") != c.modeAfter {
				t.Errorf("%s, %s, bypass %v: then got %v", c.mode, c.doc, c.bypass, r)
			}
		}
		for doc, code := range map[string]string{legalHold("on"): "MalformedXML", legalHold(""): "MalformedXML", "<LegalHold><Other/></LegalHold>": "MalformedXML", "": "MissingRequestBodyError"} {
			h.want(400, code, "PUT", "/bucket/k?legal-hold", doc)
		}
		h.want(404, "NoSuchKey", "PUT", "/bucket/none?legal-hold", legalHold("ON"))
		h.want(404, "NoSuchKey", "GET", "/bucket/none?retention", "")
		h.want(404, "NoSuchVersion", "GET", "/bucket/k?retention&versionId="+formatVersion(1<<40|1), "")

		// Deleting.
		for _, c := range []struct {
			name, mode, hold string
			plain, bypassed  bool // Can be deleted.
		}{
			{"governance", "GOVERNANCE", "", false, true},
			{"compliance", "COMPLIANCE", "", false, false},
			{"hold", "", "ON", false, false},
			{"governance and hold", "GOVERNANCE", "ON", false, false},
			{"lifted", "", "OFF", true, true},
		} {
			for _, with := range []bool{false, true} {
				for _, batch := range []bool{false, true} {
					var lock, headers []string
					if c.mode != "" {
						lock = append(lock, headerLockMode, c.mode, headerLockUntil, inDays(5).Format(time.RFC3339))
					}
					if c.hold != "" {
						lock = append(lock, headerLegalHold, c.hold)
					}
					if with {
						headers = []string{bypass, "true"}
					}
					version := h.locked("/bucket/d", c.name, lock...)
					var code string
					if batch {
						doc := "<Delete><Object><Key>d</Key><VersionId>" + version + "</VersionId></Object></Delete>"
						code = element(h.must("POST", "/bucket?delete", doc, append(headers, "Content-MD5", md5Header(doc))...).body, "Code")
					} else {
						code = h.do("DELETE", "/bucket/d?versionId="+version, "", headers...).code()
					}
					want := "AccessDenied"
					if c.plain || with && c.bypassed {
						want = ""
					}
					r := h.do("GET", "/bucket/d?versionId="+version, "")
					if code != want || (r.status == 200) != (want != "") || want != "" && r.body != c.name {
						t.Errorf("%s, bypass %v, batch %v: deleting got %q, want %q; then %v", c.name, with, batch, code, want, r)
					}
				}
			}
		}
		// A delete marker removes nothing, and the bucket stays while there is a version.
		marker := h.must("DELETE", "/bucket/d", "").header.Get("x-amz-version-id")
		h.want(409, "BucketNotEmpty", "DELETE", "/bucket", "")
		h.want(404, "NoSuchKey", "PUT", "/bucket/d?legal-hold", legalHold("ON"))
		h.want(405, "MethodNotAllowed", "PUT", "/bucket/d?legal-hold&versionId="+marker, legalHold("ON"))

		// A hold is lifted at any time, and what it was is shown.
		version := h.locked("/bucket/h", "x", headerLegalHold, "ON")
		h.want(403, "AccessDenied", "DELETE", "/bucket/h?versionId="+version, "")
		h.must("PUT", "/bucket/h?legal-hold", legalHold("OFF"))
		if r := h.must("GET", "/bucket/h?legal-hold", ""); element(r.body, "Status") != "OFF" {
			t.Errorf("got %v", r)
		}
		h.must("DELETE", "/bucket/h?versionId="+version, "")
	})
}

// TestLockPermissions covers CVE-2023-25812: who may bypass governance, and who may see and set what is locked.
func TestLockPermissions(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "", lockBucket, "true")
	until := inDays(5).Format(time.RFC3339)
	governed := func() string {
		return h.locked("/bucket/k", "x", headerLockMode, "GOVERNANCE", headerLockUntil, until)
	}
	const deletion = "s3:DeleteObject s3:DeleteObjectVersion s3:ListBucket s3:GetObject s3:PutObject"
	deny := `{"Effect":"Deny","Action":"s3:BypassGovernanceRetention","Resource":"*"}`
	for i, c := range []struct {
		statements []string
		may        bool
	}{
		{[]string{allow(deletion, "*")}, false},
		{[]string{allow(deletion+" s3:BypassGovernanceRetention", "*")}, true},
		{[]string{allow(deletion+" s3:BypassGovernanceRetention", "*"), deny}, false},
		{[]string{allow("*", "*"), deny}, false},
		{[]string{allow(deletion, "*"), allow("s3:BypassGovernanceRetention", "arn:aws:s3:::bucket/other*")}, false},
	} {
		name := fmt.Sprint("user", i)
		who := h.as(h.user(name, h.policy(name, c.statements...)))
		for _, batch := range []bool{false, true} {
			version := governed()
			var code string
			if batch {
				doc := "<Delete><Object><Key>k</Key><VersionId>" + version + "</VersionId></Object></Delete>"
				code = element(who.must("POST", "/bucket?delete", doc, "x-amz-bypass-governance-retention", "true", "Content-MD5", md5Header(doc)).body, "Code")
			} else {
				code = who.do("DELETE", "/bucket/k?versionId="+version, "", "x-amz-bypass-governance-retention", "true").code()
			}
			if c.may != (code == "") {
				t.Errorf("%v, batch %v: got %q", c.statements, batch, code)
			}
		}
	}
	version := governed()
	plain := h.as(h.user("plain", h.policy("plain", allow(deletion, "*"))))
	if r := plain.must("GET", "/bucket/k", ""); r.header.Get(headerLockMode) != "" {
		t.Errorf("a lock is shown to who may not see it: %v", r)
	}
	plain.want(403, "AccessDenied", "PUT", "/bucket/k?retention&versionId="+version, "<Retention/>", "x-amz-bypass-governance-retention", "true")
	plain.want(403, "AccessDenied", "PUT", "/bucket/k", "x", headerLegalHold, "ON", "x-amz-checksum-sha256", sumOf(algSHA256, "x"))
	plain.want(403, "AccessDenied", "PUT", "/new", "", lockBucket, "true")
	setter := h.as(h.user("setter", h.policy("setter", allow("s3:PutObjectRetention", "*"))))
	setter.want(403, "AccessDenied", "PUT", "/bucket/k?retention&versionId="+version, "<Retention/>", "x-amz-bypass-governance-retention", "true")
	setter.must("PUT", "/bucket/k?retention&versionId="+version, retention("GOVERNANCE", inDays(6)))
}

// TestUnreadableLock covers GHSA-j548: a lock that cannot be read locks.
func TestUnreadableLock(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "", lockBucket, "true")
	version := h.locked("/bucket/k", "x", headerLegalHold, "OFF")
	o := h.store.stored("bucket", "k")
	h.store.mu.Lock()
	o.info.Attrs = engine.WithAttr(o.info.Attrs, engine.AttrLegalHold, "PERHAPS")
	h.store.mu.Unlock()
	h.want(403, "AccessDenied", "DELETE", "/bucket/k?versionId="+version, "")
	h.want(403, "AccessDenied", "PUT", "/bucket/k?legal-hold", legalHold("OFF"))
	h.want(500, "InternalError", "GET", "/bucket/k?legal-hold", "")
	h.must("GET", "/bucket/k", "")
}

// FuzzLockDocuments: whatever is taken for a document is written as it was meant.
func FuzzLockDocuments(f *testing.F) {
	f.Add(lockConfig(defaultRetention("GOVERNANCE", "<Days>1</Days>")))
	f.Add(retention("COMPLIANCE", time.Unix(2e9, 0)))
	f.Add("<Retention/>")
	f.Fuzz(func(t *testing.T, doc string) {
		if c, err := parseLockConfig(doc); err == nil {
			again, ok, err := engine.LockConfigOf([]engine.Attr{{Name: engine.AttrObjectLock, Value: c.Attr()}})
			if err != nil || !ok || again != c {
				t.Errorf("%q is %+v, kept as %+v, %v, %v", doc, c, again, ok, err)
			}
		}
		if mode, until, err := parseRetention(doc); err == nil && (mode == "") != until.IsZero() {
			t.Errorf("%q is %q until %v", doc, mode, until)
		}
	})
}
