package fastapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/admin"
)

func lifecycle(rules ...string) string {
	return "<LifecycleConfiguration>" + strings.Join(rules, "") + "</LifecycleConfiguration>"
}

// aRule is a rule called "r" that is enabled.
func aRule(parts string) string {
	return "<Rule><ID>r</ID><Status>Enabled</Status>" + parts + "</Rule>"
}

const (
	everything = "<Filter><Prefix></Prefix></Filter>"
	inThree    = "<Expiration><Days>3</Days></Expiration>"
)

// TestLifecycleDocuments: what is taken comes back as it means, what is not is refused as Amazon refuses it.
func TestLifecycleDocuments(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.want(404, "NoSuchLifecycleConfiguration", "GET", "/bucket?lifecycle", "")
		tag := func(key string) string { return "<Tag><Key>" + key + "</Key><Value>v</Value></Tag>" }
		filter := func(conditions string) string { return aRule("<Filter>" + conditions + "</Filter>" + inThree) }
		for _, c := range []struct{ rule, code string }{
			{aRule("<Prefix>logs/</Prefix>" + inThree), ""},
			{aRule("<Filter></Filter>" + inThree), ""},
			{aRule(everything + inThree), ""},
			{filter("<Prefix>a&amp;b</Prefix>"), ""},
			{filter(tag("k")), ""},
			{filter("<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan>"), ""},
			{filter("<ObjectSizeLessThan>500</ObjectSizeLessThan>"), ""},
			{filter("<And><Prefix>a</Prefix>" + tag("a") + tag("b") + "<ObjectSizeGreaterThan>1</ObjectSizeGreaterThan><ObjectSizeLessThan>2</ObjectSizeLessThan></And>"), ""},
			{aRule(everything + "<Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>"), ""},
			{aRule(everything + "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), ""},
			{aRule(everything + "<Expiration><ExpiredObjectDeleteMarker>false</ExpiredObjectDeleteMarker></Expiration>"), ""},
			{aRule(everything + "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>100</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), ""},
			{aRule(everything + "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), ""},
			{strings.Replace(aRule(everything+inThree), "Enabled", "Disabled", 1), ""},
			{strings.Replace(aRule(everything+inThree), ">r<", ">"+strings.Repeat("i", 255)+"<", 1), ""},

			{"", "MalformedXML"},
			{"<Other/>", "MalformedXML"},
			{aRule(everything), "InvalidRequest"},
			{aRule(inThree), "MalformedXML"},
			{aRule(everything + "<Prefix></Prefix>" + inThree), "MalformedXML"},
			{aRule(everything + everything + inThree), "MalformedXML"},
			{aRule(everything + inThree + inThree), "MalformedXML"},
			{aRule(everything + inThree + "<Other/>"), "MalformedXML"},
			{"<Rule>" + everything + inThree + "</Rule>", "MalformedXML"},
			{strings.Replace(aRule(everything+inThree), "Enabled", "enabled", 1), "MalformedXML"},
			{strings.Replace(aRule(everything+inThree), ">r<", ">"+strings.Repeat("i", 256)+"<", 1), "InvalidArgument"},
			{aRule(everything+inThree) + aRule("<Prefix>other</Prefix>"+inThree), "InvalidArgument"},
			{aRule("<Prefix>" + strings.Repeat("p", 1025) + "</Prefix>" + inThree), "InvalidRequest"},
			{filter("<Prefix>a</Prefix>" + tag("k")), "MalformedXML"},
			{filter("<And></And>"), "MalformedXML"},
			{filter("<And><And>" + tag("k") + "</And></And>"), "MalformedXML"},
			{filter("<And><Prefix>a</Prefix><Prefix>b</Prefix></And>"), "MalformedXML"},
			{filter("<And>" + tag("k") + tag("k") + "</And>"), "InvalidRequest"},
			{filter("<Tag><Key>k</Key></Tag>"), "MalformedXML"},
			{filter(tag("aws:x")), "InvalidTag"},
			{filter("<Other/>"), "MalformedXML"},
			{filter("<ObjectSizeGreaterThan>x</ObjectSizeGreaterThan>"), "MalformedXML"},
			{filter("<ObjectSizeGreaterThan>-1</ObjectSizeGreaterThan>"), "InvalidRequest"},
			{filter("<And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>5</ObjectSizeLessThan></And>"), "InvalidRequest"},
			{aRule(everything + "<Expiration><Days>0</Days></Expiration>"), "InvalidArgument"},
			{aRule(everything + "<Expiration><Days>-1</Days></Expiration>"), "InvalidArgument"},
			{aRule(everything + "<Expiration><Days>2147483648</Days></Expiration>"), "InvalidArgument"},
			{aRule(everything + "<Expiration><Days>1.5</Days></Expiration>"), "MalformedXML"},
			{aRule(everything + "<Expiration></Expiration>"), "MalformedXML"},
			{aRule(everything + "<Expiration><Days>1</Days><Date>2030-01-01T00:00:00Z</Date></Expiration>"), "MalformedXML"},
			{aRule(everything + "<Expiration><Days>1</Days><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), "MalformedXML"},
			{aRule(everything + "<Expiration><ExpiredObjectDeleteMarker>yes</ExpiredObjectDeleteMarker></Expiration>"), "MalformedXML"},
			{aRule(everything + "<Expiration><Date>20200101</Date></Expiration>"), "MalformedXML"},
			{aRule(everything + "<Expiration><Date>2030-01-01T01:00:00Z</Date></Expiration>"), "InvalidArgument"},
			{aRule("<Filter>" + tag("k") + "</Filter><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), "InvalidRequest"},
			{aRule(everything + "<NoncurrentVersionExpiration><NoncurrentDays>0</NoncurrentDays></NoncurrentVersionExpiration>"), "InvalidArgument"},
			{aRule(everything + "<NoncurrentVersionExpiration><NewerNoncurrentVersions>5</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), "MalformedXML"},
			{aRule(everything + "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>101</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), "InvalidArgument"},
			{aRule(everything + "<AbortIncompleteMultipartUpload><DaysAfterInitiation>0</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "InvalidArgument"},
			{aRule(everything + "<AbortIncompleteMultipartUpload></AbortIncompleteMultipartUpload>"), "MalformedXML"},
			{aRule("<Filter>" + tag("k") + "</Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "InvalidRequest"},
			{aRule("<Filter><ObjectSizeLessThan>500</ObjectSizeLessThan></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "InvalidRequest"},
			{aRule(everything + "<Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>"), "NotImplemented"},
			{aRule(everything + "<NoncurrentVersionTransition><NoncurrentDays>30</NoncurrentDays><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>"), "NotImplemented"},
		} {
			before := h.do("GET", "/bucket?lifecycle", "").body
			r := h.do("PUT", "/bucket?lifecycle", lifecycle(c.rule))
			after := h.do("GET", "/bucket?lifecycle", "")
			if r.code() != c.code || (r.status == 200) != (c.code == "") {
				t.Errorf("%s: got %v, want %q", c.rule, r, c.code)
			}
			if c.code != "" {
				if after.body != before && element(after.body, "Code") == "" {
					t.Errorf("%s was refused and changed the configuration to %s", c.rule, after.body)
				}
				continue
			}
			want := strings.Replace(c.rule, "<Status>Enabled</Status>", "", 1)
			got := strings.Replace(after.body, "<Status>Enabled</Status>", "", 1)
			want, got = strings.Replace(want, "<Status>Disabled</Status>", "", 1), strings.Replace(got, "<Status>Disabled</Status>", "", 1)
			if !strings.Contains(got, want) || after.header.Get(headerMinimum) != minimumDefault {
				t.Errorf("%s came back as %v", c.rule, after)
			}
		}
		h.want(400, "MissingRequestBodyError", "PUT", "/bucket?lifecycle", "")
		h.want(400, "InvalidRequest", "PUT", "/bucket?lifecycle", lifecycle(strings.Repeat("<Rule><Status>Enabled</Status>"+everything+inThree+"</Rule>", 1001)))
		h.must("PUT", "/bucket?lifecycle", lifecycle(strings.Repeat("<Rule><Status>Enabled</Status>"+everything+inThree+"</Rule>", 1000)), headerMinimum, minimumVaries)
		r := h.must("GET", "/bucket?lifecycle", "")
		if n := strings.Count(r.body, "<ID>"); n != 1000 || element(r.body, "ID") == "" || r.header.Get(headerMinimum) != minimumVaries {
			t.Errorf("%d rules without an ID were given one, %v", n, r.header)
		}
		h.want(400, "InvalidArgument", "PUT", "/bucket?lifecycle", lifecycle(aRule(everything+inThree)), headerMinimum, "1MB")
		if r := h.must("DELETE", "/bucket?lifecycle", ""); r.status != 204 {
			t.Errorf("got %v", r)
		}
		h.must("DELETE", "/bucket?lifecycle", "")
		h.want(404, "NoSuchLifecycleConfiguration", "GET", "/bucket?lifecycle", "")
	})
}

// TestLifecycleHeaders: answers say when what they are about expires, by which rule.
func TestLifecycleHeaders(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.must("PUT", "/bucket?versioning", enableVersioning)
		h.must("PUT", "/bucket?lifecycle", lifecycle(
			`<Rule><ID>in three, "soon"</ID><Status>Enabled</Status><Filter><Prefix>a</Prefix></Filter>`+inThree+`</Rule>`,
			"<Rule><ID>off</ID><Status>Disabled</Status>"+everything+"<Expiration><Days>1</Days></Expiration></Rule>",
			"<Rule><ID>tagged</ID><Status>Enabled</Status><Filter><Tag><Key>k</Key><Value>v w</Value></Tag></Filter><Expiration><Date>2020-01-01T00:00:00Z</Date></Expiration></Rule>",
			"<Rule><ID>abort</ID><Status>Enabled</Status>"+everything+"<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>",
		))
		h.must("PUT", "/bucket/now", "x")
		now, err := time.Parse(time.RFC1123, h.must("HEAD", "/bucket/now", "").header.Get("Last-Modified")) // By the store's clock.
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, r *reply, rule string, days int) {
			t.Helper()
			got := r.header.Get(headerExpiration)
			if rule == "" {
				if got != "" {
					t.Errorf("%s: %s", what, got)
				}
				return
			}
			date, id, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(got, `expiry-date="`), `"`), `", rule-id="`)
			at, err := time.Parse(time.RFC1123, date)
			if !ok || err != nil || id != rule {
				t.Errorf("%s: %q", what, got)
				return
			}
			if ahead := at.Sub(now); days > 0 && (ahead < time.Duration(days)*24*time.Hour-time.Minute || ahead > time.Duration(days+1)*24*time.Hour) || at.Unix()%86400 != 0 {
				t.Errorf("%s: %q", what, got)
			}
		}
		const soon = "in%20three%2C%20%22soon%22"
		check("put", h.must("PUT", "/bucket/a", "x"), soon, 3)
		check("put, other key", h.must("PUT", "/bucket/b", "x"), "", 0)
		tagged := h.must("PUT", "/bucket/c", "x", "x-amz-tagging", "k=v%20w")
		check("put, tags", tagged, "tagged", 0)
		for _, method := range []string{"GET", "HEAD"} {
			check(method, h.must(method, "/bucket/a", ""), soon, 3)
			check(method+", tags", h.must(method, "/bucket/c", ""), "tagged", 0)
			check(method+", other key", h.must(method, "/bucket/b", ""), "", 0)
			check(method+", a version", h.must(method, "/bucket/c?versionId="+tagged.header.Get("x-amz-version-id"), ""), "", 0)
		}
		check("copy", h.must("PUT", "/bucket/a2", "", "x-amz-copy-source", "/bucket/b"), soon, 3)
		check("completion", h.upload("/bucket/a3", []string{"x"}, nil, nil), soon, 3)
		upload := h.must("POST", "/bucket/u?uploads", "")
		parts := h.must("GET", "/bucket/u?uploadId="+element(upload.body, "UploadId"), "")
		for what, r := range map[string]*reply{"create upload": upload, "list parts": parts} {
			at, err := time.Parse(time.RFC1123, r.header.Get("x-amz-abort-date"))
			if err != nil || r.header.Get("x-amz-abort-rule-id") != "abort" || at.Sub(now) > 73*time.Hour || at.Sub(now) < 47*time.Hour {
				t.Errorf("%s: %v", what, r.header)
			}
		}
	})
}

// TestLifecycleActs: with a day of a second, what is due goes.
func TestLifecycleActs(t *testing.T) {
	store := newRealStore(t, func(o *engine.Options) { o.Day = time.Second })
	h := newHarness(t, func(o *Options) { o.Store, o.Day = store, time.Second })
	h.must("PUT", "/bucket", "")
	for i := range 5 {
		h.must("PUT", fmt.Sprint("/bucket/old/", i), "x")
	}
	h.must("PUT", "/bucket/kept", "x")
	h.must("PUT", "/bucket?lifecycle", lifecycle(aRule("<Filter><Prefix>old/</Prefix></Filter><Expiration><Days>1</Days></Expiration>")))
	deadline := time.Now().Add(time.Minute)
	for element(h.must("GET", "/bucket?list-type=2", "").body, "KeyCount") != "1" {
		if time.Now().After(deadline) {
			t.Fatalf("nothing expires: %v", h.must("GET", "/bucket?list-type=2", ""))
		}
		time.Sleep(50 * time.Millisecond)
	}
	h.must("GET", "/bucket/kept", "")
}

// TestExplainLifecycle: what the store forecasts, grouped by version and upload.
func TestExplainLifecycle(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	var l admin.Lifecycle
	if err := json.Unmarshal([]byte(h.must("GET", admin.Prefix+"/explain/lifecycle?bucket=bucket&key=k", "").body), &l); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, item := range l.Items {
		line := fmt.Sprint(item.What, " ", item.Place, item.Upload, ":")
		for _, r := range item.Rules {
			line += fmt.Sprint(" ", r.Rule, " ", r.Action, r.Why, r.Locked)
		}
		lines = append(lines, line)
	}
	want := "current version 0: a expirefalse b nonenofalse|former version 1: a nonenofalse b removetrue|upload 0u: a nonenofalse b abortfalse"
	if got := strings.Join(lines, "|"); got != want || l.First == nil || l.First.Action != "remove" || l.First.At.Unix() != 1.9e9 {
		t.Errorf("got %s, first %+v, want %s", got, l.First, want)
	}
	h.want(404, "", "GET", admin.Prefix+"/explain/lifecycle?bucket=none&key=k", "")
}

// FuzzLifecycle: whatever is taken is written so that it is taken again, and means the same.
func FuzzLifecycle(f *testing.F) {
	f.Add(lifecycle(aRule(everything + inThree)))
	f.Add(lifecycle(aRule("<Filter><And><Tag><Key>k</Key><Value/></Tag><ObjectSizeLessThan>5</ObjectSizeLessThan></And></Filter><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>")))
	f.Add(lifecycle(aRule("<Prefix>p</Prefix><Expiration><Date>2030-01-01</Date></Expiration>")))
	f.Fuzz(func(t *testing.T, doc string) {
		rules, err := parseLifecycle(doc)
		if err != nil {
			return
		}
		text := string(lifecycleDocument(rules))
		again, err := parseLifecycle(text)
		if err != nil || string(lifecycleDocument(again)) != text {
			t.Fatalf("%q is written as %q, which is %v, %v", doc, text, again, err)
		}
		for i := range rules {
			a, b := engine.EncodeRules([]engine.Rule{rules[i].Rule}), engine.EncodeRules([]engine.Rule{again[i].Rule})
			if a[strings.Index(a, `"rules"`):] != b[strings.Index(b, `"rules"`):] {
				t.Errorf("%q: rule %d is %s and then %s", doc, i, a, b)
			}
		}
	})
}
