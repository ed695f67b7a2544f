package fastapi

import (
	"fmt"
	"strings"
	"testing"

	"penstock/engine"
)

func TestMultipart(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	id := element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target := "/bucket/k?uploadId=" + id
	parts := longParts(3)
	tags := make([]string, len(parts))
	for i, p := range parts {
		tags[i] = h.must("PUT", fmt.Sprintf("%s&partNumber=%d", target, i+1), p).header.Get("ETag")
		if tags[i] != `"`+md5Of(p)+`"` {
			t.Errorf("part %d: ETag %s", i+1, tags[i])
		}
	}
	complete := func(list ...string) string {
		doc := "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
		for i := 0; i < len(list); i += 2 {
			doc += "<Part><ETag>" + string(appendEscaped(nil, list[i+1])) + "</ETag><PartNumber>" + list[i] + "</PartNumber></Part>"
		}
		return doc + "</CompleteMultipartUpload>"
	}
	for _, c := range []struct {
		doc     string
		status  int
		code    string
		headers []string
	}{
		{"", 400, "InvalidRequest", nil},
		{"<CompleteMultipartUpload/>", 400, "MalformedXML", nil},
		{"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>", 400, "MalformedXML", nil},
		{"<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>", 400, "MalformedXML", nil},
		{complete("x", tags[0]), 400, "MalformedXML", nil},
		{complete("0", tags[0]), 400, "InvalidArgument", nil},
		{complete("10001", tags[0]), 400, "InvalidArgument", nil},
		{complete("2", tags[1], "1", tags[0]), 400, "InvalidPartOrder", nil},
		{complete("1", tags[0], "1", tags[0]), 400, "InvalidPartOrder", nil},
		{complete("1", tags[1]), 400, "InvalidPart", nil},
		{complete("4", tags[0]), 400, "InvalidPart", nil},
		{complete("1", tags[0], "2", tags[1], "3", tags[2]), 400, "InvalidRequest", []string{"x-amz-mp-object-size", "5"}},
		{strings.Replace(complete("1", tags[0]), "<ETag>", "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ETag>", 1), 400, "InvalidPart", nil},
		{complete("1", tags[0], "3", strings.Trim(tags[2], `"`)), 200, "", nil},
	} {
		if r := h.do("POST", target, c.doc, c.headers...); r.status != c.status || r.code() != c.code {
			t.Errorf("%.300s: got %v, want %d %s", c.doc, r, c.status, c.code)
		}
	}
	if r := h.must("GET", "/bucket/k", ""); r.body != parts[0]+parts[2] {
		t.Errorf("the object has %d bytes", len(r.body))
	}
	h.want(404, "NoSuchUpload", "POST", target, complete("1", tags[0]))
	h.want(404, "NoSuchUpload", "PUT", target+"&partNumber=1", "x")
	h.want(404, "NoSuchUpload", "DELETE", target, "")
	h.want(404, "NoSuchUpload", "GET", target, "")

	// A short part that is not the last.
	id = element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target = "/bucket/k?uploadId=" + id
	a, b := h.must("PUT", target+"&partNumber=1", "short").header.Get("ETag"), h.must("PUT", target+"&partNumber=2", "short").header.Get("ETag")
	h.want(400, "EntityTooSmall", "POST", target, complete("1", a, "2", b))
	for _, number := range []string{"0", "-1", "10001", "x", "", "+1"} {
		h.want(400, "InvalidArgument", "PUT", target+"&partNumber="+number, "x")
	}
	h.want(400, "InvalidArgument", "PUT", target, "x")
	h.want(404, "NoSuchUpload", "PUT", "/bucket/other?partNumber=1&uploadId="+id, "x")
	if r := h.must("DELETE", target, ""); r.status != 204 {
		t.Errorf("abort: %v", r)
	}
	// A part replaced.
	id = element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target = "/bucket/k?uploadId=" + id
	h.must("PUT", target+"&partNumber=1", "old")
	tag := h.must("PUT", target+"&partNumber=1", "new").header.Get("ETag")
	r := h.must("POST", target, complete("1", tag))
	if element(r.body, "Location") != "http://"+h.host+"/bucket/k" || element(r.body, "Bucket") != "bucket" || element(r.body, "Key") != "k" {
		t.Errorf("completion: %v", r)
	}
	if r := h.must("GET", "/bucket/k", ""); r.body != "new" {
		t.Errorf("got %v", r)
	}
	// The checksum of a part must be of the kind that the upload was created for.
	id = element(h.must("POST", "/bucket/k?uploads", "", "x-amz-checksum-algorithm", "CRC32").body, "UploadId")
	target = "/bucket/k?uploadId=" + id
	h.want(400, "InvalidRequest", "PUT", target+"&partNumber=1", "x", "x-amz-checksum-sha1", sumOf(algSHA1, "x"))
	r = h.must("PUT", target+"&partNumber=1", "x")
	if r.header.Get("x-amz-checksum-crc32") != sumOf(algCRC32, "x") {
		t.Errorf("part without a checksum: %v", r)
	}
	doc := strings.Replace(complete("1", r.header.Get("ETag")), "<ETag>", "<ChecksumCRC32>"+sumOf(algCRC32, "x")+"</ChecksumCRC32><ETag>", 1)
	h.want(400, "InvalidRequest", "POST", target, doc, "x-amz-checksum-type", "FULL_OBJECT")
	h.must("POST", target, doc)
	for _, bad := range [][]string{{"x-amz-checksum-algorithm", "MD5"}, {"x-amz-checksum-type", "COMPOSITE"}, {"x-amz-checksum-algorithm", "CRC32", "x-amz-checksum-type", "HALF"}} {
		h.want(400, "InvalidRequest", "POST", "/bucket/k?uploads", "", bad...)
	}
}

// TestCompletionOfTenThousandParts: the longest document that there is.
func TestCompletionOfTenThousandParts(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("<CompleteMultipartUpload>")
	for i := range engine.MaxPartNumber {
		fmt.Fprintf(&doc, "<Part><ETag>&quot;%032x&quot;</ETag><ChecksumSHA256>%s</ChecksumSHA256><PartNumber>%d</PartNumber></Part>", i, sumOf(algSHA256, "x"), i+1)
	}
	whole := doc.String()
	if len(whole)+30 > maxCompleteLen {
		t.Errorf("an honest document has %d bytes, the limit is %d", len(whole), maxCompleteLen)
	}
	var c completion
	if err := c.parse(whole + "</CompleteMultipartUpload>"); err != nil || len(c.parts) != engine.MaxPartNumber {
		t.Errorf("%d parts, %v", len(c.parts), err)
	}
	one := "<Part><ETag>x</ETag><PartNumber>1</PartNumber></Part>"
	if err := (&completion{}).parse("<CompleteMultipartUpload>" + strings.Repeat(one, engine.MaxPartNumber+1) + "</CompleteMultipartUpload>"); !sameError(err, errMalformedXML) {
		t.Errorf("one part more: %v", err)
	}
}

func TestListParts(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	id := element(h.must("POST", "/bucket/a%20b?uploads", "", "x-amz-checksum-algorithm", "SHA256", "x-amz-storage-class", "GLACIER").body, "UploadId")
	target := "/bucket/a%20b?uploadId=" + id
	for _, n := range []int{1, 3, 5, 7, 10000} {
		h.must("PUT", fmt.Sprintf("%s&partNumber=%d", target, n), fmt.Sprint(n))
	}
	numbers, marker := "", "0"
	for range 5 {
		r := h.must("GET", target+"&max-parts=2&part-number-marker="+marker, "")
		for _, p := range strings.Split(r.body, "<Part>")[1:] {
			n := element(p, "PartNumber")
			numbers += n + " "
			if element(p, "ETag") != "&quot;"+md5Of(n)+"&quot;" || element(p, "Size") != fmt.Sprint(len(n)) || element(p, "ChecksumSHA256") != sumOf(algSHA256, n) {
				t.Errorf("part %s: %s", n, p)
			}
		}
		if element(r.body, "StorageClass") != "GLACIER" || element(r.body, "ChecksumAlgorithm") != "SHA256" || element(r.body, "ChecksumType") != "COMPOSITE" || element(r.body, "MaxParts") != "2" ||
			element(r.body, "Key") != "a b" || element(r.body, "UploadId") != id || element(r.body, "PartNumberMarker") != marker {
			t.Errorf("page after %s: %s", marker, r.body)
		}
		if element(r.body, "IsTruncated") != "true" {
			break
		}
		marker = element(r.body, "NextPartNumberMarker")
	}
	if numbers != "1 3 5 7 10000 " {
		t.Errorf("parts: %s", numbers)
	}
	if r := h.must("GET", target+"&max-parts=0&encoding-type=url", ""); strings.Contains(r.body, "<Part>") || element(r.body, "Key") != "a%20b" {
		t.Errorf("no parts: %v", r)
	}
	h.want(404, "NoSuchUpload", "GET", "/bucket/k?max-parts=0&uploadId=none", "")
	h.want(400, "InvalidArgument", "GET", target+"&max-parts=x", "")
	h.want(400, "InvalidArgument", "GET", target+"&part-number-marker=-1", "")
}

func TestListUploads(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, key := range []string{"a", "a", "b/x", "b/y", "c%20d"} {
		h.must("POST", "/bucket/"+key+"?uploads", "")
	}
	var keys []string
	marker := ""
	for range 9 {
		r := h.must("GET", "/bucket?uploads&max-uploads=1&encoding-type=url"+marker, "")
		for _, u := range strings.Split(r.body, "<Upload>")[1:] {
			keys = append(keys, element(u, "Key")+":"+element(u, "UploadId"))
		}
		if element(r.body, "IsTruncated") != "true" {
			break
		}
		marker = "&key-marker=" + element(r.body, "NextKeyMarker") + "&upload-id-marker=" + element(r.body, "NextUploadIdMarker")
	}
	if got := fmt.Sprint(keys); got != "[a:upload-0001 a:upload-0002 b/x:upload-0003 b/y:upload-0004 c%20d:upload-0005]" {
		t.Errorf("pages: %s", got)
	}
	r := h.must("GET", "/bucket?uploads&delimiter=/", "")
	if strings.Count(r.body, "<Upload>") != 3 || !strings.Contains(r.body, "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>") {
		t.Errorf("delimiter: %v", r)
	}
	if r := h.must("GET", "/bucket?uploads&prefix=b/", ""); strings.Count(r.body, "<Upload>") != 2 {
		t.Errorf("prefix: %v", r)
	}
	if r := h.must("GET", "/bucket?uploads&max-uploads=0", ""); strings.Contains(r.body, "<Upload>") {
		t.Errorf("none: %v", r)
	}
	if r := h.must("GET", "/bucket?uploads&upload-id-marker=garbage", ""); strings.Count(r.body, "<Upload>") != 5 {
		t.Errorf("an id marker without a key marker: %v", r)
	}
	h.want(400, "InvalidArgument", "GET", "/bucket?uploads&key-marker=a&upload-id-marker=garbage", "")
	h.want(400, "InvalidArgument", "GET", "/bucket?uploads&max-uploads=x", "")
}

// TestManyUploadsShareLanes: bodies hashed in lanes have the same ETags as bodies hashed alone.
func TestManyUploadsShareLanes(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const n = 8
	bodies := make([]string, n)
	release, waiting := make(chan struct{}), make(chan struct{}, n)
	h.store.setBefore(func(op string) {
		if op == "Put" {
			waiting <- struct{}{}
			<-release
		}
	})
	answers := make(chan *reply, n)
	for i := range n {
		bodies[i] = strings.Repeat(fmt.Sprint(i), minLaneLen+i*1001)
		q := h.build("PUT", fmt.Sprintf("/bucket/k%d", i), []byte(bodies[i]))
		go func() { answers <- h.send(q) }()
	}
	for range n {
		<-waiting // All of them are about to read.
	}
	close(release)
	for range n {
		if r := <-answers; r.status != 200 {
			t.Errorf("got %v", r)
		}
	}
	for i, body := range bodies {
		if got := h.store.stored("bucket", fmt.Sprintf("k%d", i)).info.ETag; got != md5Of(body) {
			t.Errorf("body %d: ETag %s, want %s", i, got, md5Of(body))
		}
	}
}
