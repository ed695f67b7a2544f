package fastapi

import (
	"fmt"
	"strings"
	"testing"
)

// A conformanceCase is one request and what Amazon answers to it: the status, and the code of an error.
type conformanceCase struct {
	method, target string
	body           string
	headers        []string
	status         int
	code           string
}

func (h *harness) conform(t *testing.T, cases []conformanceCase) {
	t.Helper()
	for _, c := range cases {
		r := h.do(c.method, c.target, c.body, c.headers...)
		code := r.code()
		if c.method == "HEAD" {
			code = c.code
		}
		if r.status != c.status || code != c.code {
			t.Errorf("%s %s %.100q %.80q: got %d %s %s, want %d %s", c.method, c.target, c.headers, c.body, r.status, r.code(), element(r.body, "Message"), c.status, c.code)
		}
		if r.status >= 400 && c.method != "HEAD" && (element(r.body, "RequestId") != r.header.Get("x-amz-request-id") || element(r.body, "Message") == "") {
			t.Errorf("%s %s: got %s, want an error with a message and the request's id", c.method, c.target, r.body)
		}
	}
}

// onRealStore runs a test against a real store with a bucket "bucket" in it.
func onRealStore(t *testing.T) *harness {
	t.Helper()
	store := newRealStore(t)
	h := newHarness(t, func(o *Options) { o.Store = store })
	h.must("PUT", "/bucket", "")
	return h
}

func TestConformanceBucketNames(t *testing.T) {
	h := onRealStore(t)
	var cases []conformanceCase
	for _, name := range []string{
		"abc", "a-b", "a.b", "123", "a--b", "1.2.3", "my.bucket.name", "1a2", strings.Repeat("a", 63), "bucket-1.example", "test.1.2.3.4", "192.168.5.4a",
	} {
		cases = append(cases, conformanceCase{"PUT", "/" + name, "", nil, 200, ""}, conformanceCase{"DELETE", "/" + name, "", nil, 204, ""})
	}
	for _, name := range []string{
		"ab", "a", strings.Repeat("a", 64), "Abc", "ABC", "a_b", "a..b", ".abc", "abc.", "-abc", "abc-", "192.168.5.4", "1.2.3.4", "a.-b", "a-.b", "xn--abc", "sthree-abc", "sthree-configurator",
		"amzn-s3-demo-abc", "abc-s3alias", "abc--ol-s3", "abc.mrap", "abc--x-s3", "abc--table-s3", "a%20b", "a%2Bb", "%C3%A4bc", "a%00b", "a!b", "a*b", "a:b", "a@b", "a~b",
	} {
		cases = append(cases, conformanceCase{"PUT", "/" + name, "", nil, 400, "InvalidBucketName"})
	}
	cases = append(cases,
		conformanceCase{"PUT", "/bucket", "", nil, 409, "BucketAlreadyOwnedByYou"},
		conformanceCase{"HEAD", "/none", "", nil, 404, ""},
		conformanceCase{"DELETE", "/none", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"GET", "/none", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"GET", "/none?location", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"PUT", "/none/k", "x", nil, 404, "NoSuchBucket"},
		conformanceCase{"GET", "/none/k", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"HEAD", "/none/k", "", nil, 404, ""},
		conformanceCase{"DELETE", "/none/k", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"POST", "/none/k?uploads", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"GET", "/none?uploads", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"GET", "/none?versions", "", nil, 404, "NoSuchBucket"},
		conformanceCase{"PUT", "/region", "<CreateBucketConfiguration><LocationConstraint>nowhere-!</LocationConstraint></CreateBucketConfiguration>", nil, 400, "InvalidLocationConstraint"},
		conformanceCase{"PUT", "/region", "<CreateBucketConfiguration", nil, 400, "MalformedXML"},
	)
	h.conform(t, cases)
}

func TestConformanceListings(t *testing.T) {
	h := onRealStore(t)
	for _, key := range []string{"a", "a+b", "b/1", "b/2", "c d", "e/f/g", "z"} {
		h.must("PUT", "/bucket/"+string(appendURLEncoded(nil, key)), "x")
	}
	var cases []conformanceCase
	for _, list := range []string{"?max-keys=", "?list-type=2&max-keys=", "?versions&max-keys="} {
		for value, code := range map[string]string{
			"0": "", "1": "", "1000": "", "1001": "", "2147483647": "", "": "",
			"-1": "InvalidArgument", "2147483648": "InvalidArgument", "x": "InvalidArgument", "1.0": "InvalidArgument", "%2B1": "InvalidArgument", "0x1": "InvalidArgument", "blah": "InvalidArgument",
		} {
			status := 200
			if code != "" {
				status = 400
			}
			cases = append(cases, conformanceCase{"GET", "/bucket" + list + value, "", nil, status, code})
		}
	}
	for _, target := range []string{
		"?encoding-type=URL", "?encoding-type=base64", "?list-type=2&encoding-type=x", "?versions&encoding-type=x", "?uploads&encoding-type=x",
		"?list-type=0", "?list-type=3", "?list-type=two", "?list-type=2&continuation-token=", "?list-type=2&continuation-token=nonsense", "?list-type=2&continuation-token=AAAA",
		"?versions&version-id-marker=x", "?versions&key-marker=a&version-id-marker=nonsense", "?versions&key-marker=a&version-id-marker=",
		"?uploads&max-uploads=-1", "?uploads&max-uploads=x", "?uploads&max-uploads=2147483648", "?uploads&key-marker=a&upload-id-marker=nonsense",
	} {
		cases = append(cases, conformanceCase{"GET", "/bucket" + target, "", nil, 400, "InvalidArgument"})
	}
	for _, target := range []string{
		"?encoding-type=", "?delimiter=", "?prefix=", "?marker=", "?list-type=2&start-after=", "?list-type=2&fetch-owner=", "?list-type=2&fetch-owner=maybe", "?marker=zzz", "?marker=%F4%8F%BF%BF",
		"?uploads&max-uploads=0", "?uploads&max-uploads=5000", "?uploads&upload-id-marker=nonsense", "?uploads&key-marker=zzz", "?versions&key-marker=zzz", "?unknown=1", "?x-id=ListObjects", "?list-type=",
	} {
		if target == "?list-type=" {
			cases = append(cases, conformanceCase{"GET", "/bucket" + target, "", nil, 400, "InvalidArgument"})
			continue
		}
		cases = append(cases, conformanceCase{"GET", "/bucket" + target, "", nil, 200, ""})
	}
	h.conform(t, cases)

	for _, c := range []struct {
		target       string
		has, without []string
	}{
		{"?max-keys=2", []string{"<MaxKeys>2<", "<IsTruncated>true<", "<Marker></Marker>", "<Prefix></Prefix>", "<Name>bucket<", "<Owner>"}, []string{"NextMarker", "KeyCount", "Delimiter", "EncodingType"}},
		{"?max-keys=2&delimiter=%2F", []string{"<NextMarker>a+b</NextMarker>", "<Delimiter>/<"}, nil},
		{"?max-keys=3&delimiter=%2F", []string{"<NextMarker>b/</NextMarker>", "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"}, nil},
		{"?max-keys=3&delimiter=%2F&encoding-type=url&marker=a%2Bb", []string{"<NextMarker>e/</NextMarker>", "<Marker>a%2Bb</Marker>", "<Key>c%20d</Key>", "<EncodingType>url<", "<Delimiter>/<"}, []string{"a+b"}},
		{"?max-keys=0", []string{"<MaxKeys>0<", "<IsTruncated>false<"}, []string{"<Contents>", "NextMarker"}},
		{"?max-keys=5000", []string{"<MaxKeys>1000<"}, nil},
		{"?prefix=b%2F&delimiter=%2F", []string{"<Key>b/1<", "<Key>b/2<", "<Prefix>b/</Prefix>"}, []string{"CommonPrefixes", "<Key>a<"}},
		{"?prefix=e&delimiter=f", []string{"<CommonPrefixes><Prefix>e/f</Prefix></CommonPrefixes>"}, []string{"<Contents>"}},
		{"?delimiter=%25", []string{"<Delimiter>%<", "<Key>b/1<"}, []string{"CommonPrefixes"}},
		{"?prefix=nothing", []string{"<IsTruncated>false<"}, []string{"<Contents>", "CommonPrefixes"}},
		{"?list-type=2", []string{"<KeyCount>7<", "<MaxKeys>1000<"}, []string{"<Owner>", "Marker", "ContinuationToken", "StartAfter"}},
		{"?list-type=2&fetch-owner=true", []string{"<Owner>"}, nil},
		{"?list-type=2&fetch-owner=false", nil, []string{"<Owner>"}},
		{"?list-type=2&start-after=c%20d&encoding-type=url", []string{"<StartAfter>c%20d<", "<KeyCount>2<", "<Key>e/f/g<"}, []string{"<Key>c"}},
		{"?list-type=2&max-keys=1&delimiter=%2F&start-after=b", []string{"<KeyCount>1<", "<Prefix>b/</Prefix>", "<NextContinuationToken>"}, []string{"<Contents>"}},
		{"?list-type=2&max-keys=0", []string{"<KeyCount>0<", "<IsTruncated>false<"}, []string{"NextContinuationToken"}},
		{"?versions&max-keys=2", []string{"<NextKeyMarker>a+b<", "<NextVersionIdMarker>null<", "<KeyMarker></KeyMarker>", "<VersionIdMarker></VersionIdMarker>", "<IsLatest>true<", "<VersionId>null<"}, nil},
		{"?uploads", []string{"<NextKeyMarker></NextKeyMarker>", "<NextUploadIdMarker></NextUploadIdMarker>", "<MaxUploads>1000<", "<KeyMarker></KeyMarker>", "<UploadIdMarker></UploadIdMarker>"}, []string{"<Upload>", "<Prefix>", "<Delimiter>"}},
	} {
		body := h.must("GET", "/bucket"+c.target, "").body
		for _, want := range c.has {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s is not in %s", c.target, want, body)
			}
		}
		for _, bad := range c.without {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %s is in %s", c.target, bad, body)
			}
		}
		if i := strings.Index(body, "<LastModified>"); i >= 0 && !strings.HasSuffix(element(body, "LastModified"), ":"+element(body, "LastModified")[17:19]+".000Z") {
			t.Errorf("%s: %s has fractions of a second, and Last-Modified of the object has none", c.target, element(body, "LastModified"))
		}
	}
	token := element(h.must("GET", "/bucket?list-type=2&max-keys=2&start-after=a", "").body, "NextContinuationToken")
	body := h.must("GET", "/bucket?list-type=2&start-after=a&continuation-token="+string(appendURLEncoded(nil, token)), "").body
	if strings.Contains(body, "StartAfter") || element(body, "ContinuationToken") != token || element(body, "Key") != "b/2" {
		t.Errorf("a token together with start-after: got %s", body)
	}
}

func TestConformanceMultipart(t *testing.T) {
	h := onRealStore(t)
	h.must("PUT", "/bucket/source", strings.Repeat("s", 100))
	id := element(h.must("POST", "/bucket/m?uploads", "").body, "UploadId")
	upload := "/bucket/m?uploadId=" + id
	etag := h.must("PUT", upload+"&partNumber=1", "small").header.Get("ETag")
	h.must("PUT", upload+"&partNumber=2", "also small")
	part := func(n, etag string) string {
		return "<Part><PartNumber>" + n + "</PartNumber><ETag>" + etag + "</ETag></Part>"
	}
	complete := func(parts ...string) string {
		return "<CompleteMultipartUpload>" + strings.Join(parts, "") + "</CompleteMultipartUpload>"
	}
	one, two := part("1", etag), part("2", `"`+"00000000000000000000000000000000"+`"`)
	const nobody = "bm9uZW5vbmVub25lbm9uZQ"
	h.conform(t, []conformanceCase{
		{"PUT", upload + "&partNumber=0", "x", nil, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=10001", "x", nil, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=-1", "x", nil, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=x", "x", nil, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=", "x", nil, 400, "InvalidArgument"},
		{"PUT", "/bucket/m?partNumber=1&uploadId=" + nobody, "x", nil, 404, "NoSuchUpload"},
		{"PUT", "/bucket/m?partNumber=1&uploadId=x", "x", nil, 404, "NoSuchUpload"},
		{"PUT", "/bucket/other?partNumber=1&uploadId=" + id, "x", nil, 404, "NoSuchUpload"},
		{"PUT", upload + "&partNumber=3", "x", []string{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}, 400, "BadDigest"},
		{"PUT", upload + "&partNumber=3", "x", []string{"Content-MD5", "nonsense"}, 400, "InvalidDigest"},
		{"PUT", upload + "&partNumber=3", "x", []string{"x-amz-checksum-crc32", "AAAAAA=="}, 400, "BadDigest"},
		{"GET", upload + "&max-parts=x", "", nil, 400, "InvalidArgument"},
		{"GET", upload + "&max-parts=-1", "", nil, 400, "InvalidArgument"},
		{"GET", upload + "&part-number-marker=x", "", nil, 400, "InvalidArgument"},
		{"GET", upload + "&part-number-marker=-1", "", nil, 400, "InvalidArgument"},
		{"GET", upload + "&part-number-marker=", "", nil, 200, ""},
		{"GET", upload + "&max-parts=", "", nil, 200, ""},
		{"GET", upload + "&max-parts=0", "", nil, 200, ""},
		{"GET", "/bucket/m?uploadId=" + nobody, "", nil, 404, "NoSuchUpload"},
		{"DELETE", "/bucket/m?uploadId=" + nobody, "", nil, 404, "NoSuchUpload"},
		{"POST", "/bucket/m?uploadId=" + nobody, complete(one), nil, 404, "NoSuchUpload"},
		{"POST", upload, "", nil, 400, "InvalidRequest"},
		{"POST", upload, complete(), nil, 400, "MalformedXML"},
		{"POST", upload, "<CompleteMultipartUpload><Part/></CompleteMultipartUpload>", nil, 400, "MalformedXML"},
		{"POST", upload, complete(part("0", etag)), nil, 400, "InvalidArgument"},
		{"POST", upload, complete(part("10001", etag)), nil, 400, "InvalidArgument"},
		{"POST", upload, complete(part("x", etag)), nil, 400, "MalformedXML"},
		{"POST", upload, complete(one, two), nil, 400, "InvalidPart"},
		{"POST", upload, complete(part("3", etag)), nil, 400, "InvalidPart"},
		{"POST", upload, complete(part("2", etag), one), nil, 400, "InvalidPartOrder"},
		{"POST", upload, complete(one, one), nil, 400, "InvalidPartOrder"},
		{"POST", upload, complete(one, part("2", h.must("PUT", upload+"&partNumber=2", "also small").header.Get("ETag"))), nil, 400, "EntityTooSmall"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/none"}, 404, "NoSuchKey"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/none/k"}, 404, "NoSuchBucket"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/source", "x-amz-copy-source-range", "bytes=0-100"}, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/source", "x-amz-copy-source-range", "bytes=0-"}, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/source", "x-amz-copy-source-range", "bytes=-5"}, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/source", "x-amz-copy-source-range", "bytes=5-4"}, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/source", "x-amz-copy-source-range", "0-5"}, 400, "InvalidArgument"},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/source", "x-amz-copy-source-range", "bytes=0-99"}, 200, ""},
		{"PUT", upload + "&partNumber=3", "", []string{"x-amz-copy-source", "/bucket/source", "x-amz-copy-source-if-match", `"x"`}, 412, "PreconditionFailed"},
	})
	for _, c := range []struct{ target, next, truncated string }{
		{"", "3", "false"}, {"&max-parts=1", "1", "true"}, {"&part-number-marker=3", "0", "false"}, {"&part-number-marker=10&max-parts=1", "0", "false"}, {"&max-parts=2&part-number-marker=1", "3", "false"},
	} {
		body := h.must("GET", upload+c.target, "").body
		if element(body, "NextPartNumberMarker") != c.next || element(body, "IsTruncated") != c.truncated {
			t.Errorf("%s: got %s, want next %s, truncated %s", c.target, body, c.next, c.truncated)
		}
	}
	body := h.must("GET", "/bucket?uploads", "").body
	if element(body, "NextKeyMarker") != "m" || element(body, "NextUploadIdMarker") != id || element(body, "IsTruncated") != "false" {
		t.Errorf("uploads: got %s", body)
	}
	h.must("POST", upload, complete(one))
	h.conform(t, []conformanceCase{
		{"POST", upload, complete(part("1", `"`+strings.Repeat("0", 32)+`"`)), nil, 404, "NoSuchUpload"},
		{"DELETE", upload, "", nil, 404, "NoSuchUpload"},
		{"GET", upload, "", nil, 404, "NoSuchUpload"},
		{"HEAD", "/bucket/m?partNumber=1", "", nil, 206, ""},
		{"GET", "/bucket/m?partNumber=2", "", nil, 416, "InvalidPartNumber"},
		{"GET", "/bucket/m?partNumber=0", "", nil, 400, "InvalidArgument"},
		{"GET", "/bucket/m?partNumber=10001", "", nil, 400, "InvalidArgument"},
		{"GET", "/bucket/m?partNumber=1", "", []string{"Range", "bytes=0-1"}, 400, "InvalidRequest"},
		{"GET", "/bucket/source?partNumber=1", "", nil, 206, ""},
		{"GET", "/bucket/source?partNumber=2", "", nil, 416, "InvalidPartNumber"},
	})
}

func TestConformanceCopies(t *testing.T) {
	h := onRealStore(t)
	h.must("PUT", "/bucket/s", "source", "x-amz-meta-a", "1", "Content-Type", "text/x")
	etag := h.must("HEAD", "/bucket/s", "").header.Get("ETag")
	from := func(source string, more ...string) []string {
		return append([]string{"x-amz-copy-source", source}, more...)
	}
	h.conform(t, []conformanceCase{
		{"PUT", "/bucket/c", "", from("/bucket/s"), 200, ""},
		{"PUT", "/bucket/c", "", from("bucket/s"), 200, ""},
		{"PUT", "/bucket/c", "", from("/bucket/none"), 404, "NoSuchKey"},
		{"PUT", "/bucket/c", "", from("/none/s"), 404, "NoSuchBucket"},
		{"PUT", "/none/c", "", from("/bucket/s"), 404, "NoSuchBucket"},
		{"PUT", "/bucket/c", "", from(""), 400, "InvalidArgument"},
		{"PUT", "/bucket/c", "", from("/"), 400, "InvalidArgument"},
		{"PUT", "/bucket/c", "", from("bucket"), 400, "InvalidArgument"},
		{"PUT", "/bucket/c", "", from("/bucket/"), 400, "InvalidArgument"},
		{"PUT", "/bucket/c", "", from("/bucket/%zz"), 400, "InvalidArgument"},
		{"PUT", "/bucket/c", "", from("/bucket/s?versionId=null"), 200, ""},
		{"PUT", "/bucket/c", "", from("/bucket/s?versionId=x"), 400, "InvalidArgument"},
		{"PUT", "/bucket/s", "", from("/bucket/s"), 400, "InvalidRequest"},
		{"PUT", "/bucket/s", "", from("/bucket/s", "x-amz-metadata-directive", "COPY"), 400, "InvalidRequest"},
		{"PUT", "/bucket/s", "", from("/bucket/s", "x-amz-metadata-directive", "REPLACE", "x-amz-meta-a", "2"), 200, ""},
		{"PUT", "/bucket/s", "", from("/bucket/s", "x-amz-storage-class", "STANDARD_IA"), 200, ""},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-metadata-directive", "other"), 400, "InvalidArgument"},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-tagging-directive", "other"), 400, "InvalidArgument"},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-copy-source-if-match", etag), 200, ""},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-copy-source-if-match", `"no"`), 412, "PreconditionFailed"},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-copy-source-if-none-match", etag), 412, "PreconditionFailed"},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-copy-source-if-none-match", `"no"`), 200, ""},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-copy-source-if-modified-since", "Wed, 01 Jan 2020 00:00:00 GMT"), 200, ""},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-copy-source-if-unmodified-since", "Wed, 01 Jan 2020 00:00:00 GMT"), 412, "PreconditionFailed"},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-copy-source-if-match", etag, "x-amz-copy-source-if-unmodified-since", "Wed, 01 Jan 2020 00:00:00 GMT"), 200, ""},
		{"PUT", "/bucket/c", "", from("/bucket/s", "x-amz-storage-class", "NONE"), 400, "InvalidStorageClass"},
		{"PUT", "/bucket/c", "", from("/bucket/s", "If-None-Match", "*"), 412, "PreconditionFailed"},
		{"PUT", "/bucket/new", "", from("/bucket/s", "If-None-Match", "*"), 200, ""},
	})
}

func TestConformanceReads(t *testing.T) {
	h := onRealStore(t)
	h.must("PUT", "/bucket/k", "0123456789")
	h.must("PUT", "/bucket/empty", "")
	r := h.must("HEAD", "/bucket/k", "")
	etag, modified := r.header.Get("ETag"), r.header.Get("Last-Modified")
	const before = "Wed, 01 Jan 2020 00:00:00 GMT"
	var cases []conformanceCase
	for _, c := range []struct {
		status  int
		code    string
		headers []string
	}{
		{206, "", []string{"Range", "bytes=0-0"}}, {206, "", []string{"Range", "bytes=0-99"}}, {206, "", []string{"Range", "bytes=9-"}}, {206, "", []string{"Range", "bytes=-1"}}, {206, "", []string{"Range", "bytes=-99"}},
		{416, "InvalidRange", []string{"Range", "bytes=10-"}}, {416, "InvalidRange", []string{"Range", "bytes=10-20"}}, {416, "InvalidRange", []string{"Range", "bytes=-0"}},
		{200, "", []string{"Range", "bytes=5-4"}}, {200, "", []string{"Range", "bytes=x"}}, {200, "", []string{"Range", "items=0-1"}}, {200, "", []string{"Range", "bytes=0-1,3-4"}}, {200, "", []string{"Range", "bytes="}}, {200, "", []string{"Range", "0-1"}},
		{200, "", []string{"If-Match", etag}}, {200, "", []string{"If-Match", "*"}}, {200, "", []string{"If-Match", strings.Trim(etag, `"`)}}, {200, "", []string{"If-Match", `"a", ` + etag}}, {412, "PreconditionFailed", []string{"If-Match", `"a"`}},
		{304, "", []string{"If-None-Match", etag}}, {304, "", []string{"If-None-Match", "*"}}, {304, "", []string{"If-None-Match", strings.Trim(etag, `"`)}}, {200, "", []string{"If-None-Match", `"a"`}}, {304, "", []string{"If-None-Match", `"a", ` + etag}},
		{304, "", []string{"If-Modified-Since", modified}}, {200, "", []string{"If-Modified-Since", before}}, {200, "", []string{"If-Modified-Since", "nonsense"}},
		{200, "", []string{"If-Unmodified-Since", modified}}, {412, "PreconditionFailed", []string{"If-Unmodified-Since", before}}, {200, "", []string{"If-Unmodified-Since", "nonsense"}},
		{200, "", []string{"If-Match", etag, "If-Unmodified-Since", before}}, {304, "", []string{"If-None-Match", etag, "If-Modified-Since", before}}, {200, "", []string{"If-None-Match", `"a"`, "If-Modified-Since", modified}},
		{206, "", []string{"Range", "bytes=0-1", "If-Range", etag}}, {200, "", []string{"Range", "bytes=0-1", "If-Range", `"a"`}},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			cases = append(cases, conformanceCase{method, "/bucket/k", "", c.headers, c.status, c.code})
		}
	}
	cases = append(cases,
		conformanceCase{"GET", "/bucket/empty", "", nil, 200, ""},
		conformanceCase{"GET", "/bucket/empty", "", []string{"Range", "bytes=0-0"}, 416, "InvalidRange"},
		conformanceCase{"GET", "/bucket/empty", "", []string{"Range", "bytes=-1"}, 416, "InvalidRange"},
		conformanceCase{"GET", "/bucket/none", "", []string{"If-None-Match", "*"}, 404, "NoSuchKey"},
		conformanceCase{"GET", "/bucket/none", "", []string{"If-Match", `"a"`}, 404, "NoSuchKey"},
		conformanceCase{"GET", "/bucket/none", "", []string{"Range", "bytes=5-"}, 404, "NoSuchKey"},
		conformanceCase{"GET", "/bucket/k?response-content-type=text/x&response-content-language=x&response-expires=x&response-cache-control=x&response-content-disposition=x&response-content-encoding=x", "", nil, 200, ""},
		conformanceCase{"GET", "/bucket/k?attributes", "", nil, 400, "InvalidArgument"},
		conformanceCase{"GET", "/bucket/k?attributes", "", []string{"x-amz-object-attributes", "Color"}, 400, "InvalidArgument"},
		conformanceCase{"GET", "/bucket/none?attributes", "", []string{"x-amz-object-attributes", "ETag"}, 404, "NoSuchKey"},
		conformanceCase{"DELETE", "/bucket/none", "", nil, 204, ""},
	)
	h.conform(t, cases)
	if r := h.do("GET", "/bucket/k", "", "Range", "bytes=20-"); r.header.Get("Content-Range") != "bytes */10" || element(r.body, "ActualObjectSize") != "10" || element(r.body, "RangeRequested") != "bytes=20-" {
		t.Errorf("a range outside: got %v", r)
	}
	if r := h.do("GET", "/bucket/k", "", "If-None-Match", etag); r.header.Get("ETag") != etag || r.header.Get("Last-Modified") != modified || r.body != "" {
		t.Errorf("not modified: got %v", r)
	}
	if r := h.do("GET", "/bucket/k", "", "If-Match", `"a"`); element(r.body, "Condition") != "If-Match" {
		t.Errorf("a condition that fails: got %v", r)
	}
}

func TestConformanceWrites(t *testing.T) {
	h := onRealStore(t)
	h.must("PUT", "/bucket/there", "x")
	const md5OfX = "nd24e8Pk0jlZjACdMIOlqg=="
	meta := func(n int) []string { return []string{"x-amz-meta-a", strings.Repeat("v", n-1)} }
	md5 := md5OfX
	var cases []conformanceCase
	for _, c := range []struct {
		status  int
		code    string
		headers []string
	}{
		{400, "BadDigest", []string{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}}, {400, "InvalidDigest", []string{"Content-MD5", "YWJyYWNhZGFicmE="}}, {400, "InvalidDigest", []string{"Content-MD5", ""}}, {400, "InvalidDigest", []string{"Content-MD5", md5[:20]}},
		{400, "BadDigest", []string{"x-amz-checksum-crc32", "AAAAAA=="}}, {400, "InvalidRequest", []string{"x-amz-checksum-crc32", "AAAA"}}, {400, "InvalidRequest", []string{"x-amz-checksum-sha256", "nonsense!"}}, {400, "BadDigest", []string{"x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
		{400, "InvalidRequest", []string{"x-amz-checksum-crc32", "jdzoDA==", "x-amz-checksum-sha1", "EfatX4iJLi5QwnVSZSBnpeG3y+4="}}, {400, "InvalidRequest", []string{"x-amz-sdk-checksum-algorithm", "MD7"}},
		{400, "MetadataTooLarge", meta(2049)}, {200, "", meta(2048)}, {200, "", []string{"x-amz-meta-", "x"}},
		{400, "InvalidStorageClass", []string{"x-amz-storage-class", "BIG"}}, {200, "", []string{"x-amz-storage-class", "STANDARD"}},
		{501, "NotImplemented", []string{"x-amz-server-side-encryption", "AES256"}}, {501, "NotImplemented", []string{"x-amz-website-redirect-location", "/x"}},
		{400, "InvalidArgument", []string{"x-amz-tagging", "a=b&a=c"}}, {400, "InvalidArgument", []string{"x-amz-acl", "nobody"}}, {200, "", []string{"x-amz-acl", "private"}},
		{412, "PreconditionFailed", []string{"If-None-Match", "*"}}, {412, "PreconditionFailed", []string{"If-Match", `"a"`}}, {501, "NotImplemented", []string{"If-None-Match", `"a"`}},
		{200, "", []string{"Expires", "Thu, 01 Dec 1994 16:00:00 GMT", "Cache-Control", "no-cache", "Content-Disposition", "x", "Content-Encoding", "gzip", "Content-Language", "de"}},
	} {
		cases = append(cases, conformanceCase{"PUT", "/bucket/there", "x", c.headers, c.status, c.code})
	}
	cases = append(cases,
		conformanceCase{"PUT", "/bucket/none", "x", []string{"If-Match", `"a"`}, 404, "NoSuchKey"},
		conformanceCase{"PUT", "/bucket/" + strings.Repeat("k", 1024), "x", nil, 200, ""},
		conformanceCase{"PUT", "/bucket/" + strings.Repeat("k", 1025), "x", nil, 400, "KeyTooLongError"},
		conformanceCase{"PUT", "/bucket/" + strings.Repeat("%C3%A4", 512), "x", nil, 200, ""},
		conformanceCase{"PUT", "/bucket/" + strings.Repeat("%C3%A4", 512) + "k", "x", nil, 400, "KeyTooLongError"},
		conformanceCase{"GET", "/bucket/" + strings.Repeat("k", 1025), "", nil, 400, "KeyTooLongError"},
		conformanceCase{"PUT", "/bucket/%FF", "x", nil, 400, "InvalidURI"},
		conformanceCase{"POST", "/bucket?delete", "", nil, 400, "MalformedXML"},
		conformanceCase{"POST", "/bucket?delete", "<Delete></Delete>", nil, 400, "MalformedXML"},
		conformanceCase{"POST", "/bucket?delete", "<Delete><Object></Object></Delete>", nil, 400, "MalformedXML"},
		conformanceCase{"POST", "/bucket?delete", "<Delete>" + strings.Repeat("<Object><Key>a</Key></Object>", 1001) + "</Delete>", nil, 400, "MalformedXML"},
		conformanceCase{"POST", "/bucket?delete", "<Delete>" + strings.Repeat("<Object><Key>a</Key></Object>", 1000) + "</Delete>", nil, 200, ""},
		conformanceCase{"POST", "/bucket?delete", "<Delete><Object><Key>a</Key></Object></Delete>", []string{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}, 400, "BadDigest"},
		conformanceCase{"PUT", "/bucket/there?tagging", "<Tagging><TagSet></TagSet></Tagging>", nil, 200, ""},
		conformanceCase{"PUT", "/bucket/none?tagging", "<Tagging><TagSet></TagSet></Tagging>", nil, 404, "NoSuchKey"},
		conformanceCase{"PUT", "/bucket/there?tagging", "<Tagging/>", nil, 400, "MalformedXML"},
		conformanceCase{"PUT", "/bucket?versioning", "<VersioningConfiguration/>", nil, 400, "IllegalVersioningConfigurationException"},
		conformanceCase{"PUT", "/bucket?versioning", "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", nil, 400, "MalformedXML"},
		conformanceCase{"DELETE", "/bucket", "", nil, 409, "BucketNotEmpty"},
	)
	h.conform(t, cases)
}

// TestConformanceKeys puts, lists, reads and deletes keys of all sorts: each comes back as it went in.
func TestConformanceKeys(t *testing.T) {
	h := onRealStore(t)
	keys := []string{
		"a", "/", "//", "a//b", "./a", "../a", "a/./b", "a/../b", ".", "..", "a/", "/a", " ", " a ", "a b", "a+b", "a%b", "%41", "a%2Fb", "a&b=c", "a?b", "a#b", "a;b", "a:b@c", "a\\b", "a\"b'c", "<a>", "a,b", "a=b", "a|b", "a^b", "a`b", "{a}", "[a]", "~a", "*", "!", "$", "(a)",
		"\x01", "a\nb", "a\rb", "a\tb", "a\x7fb", "\u0085", "\u2028", "\ufeffa", "ä", "a\u0308", "日本語", "😀", "\U0010ffff", "\ufffd", "penstock", "penstock/health/live", strings.Repeat("/", 1024), strings.Repeat("x", 1024), strings.Repeat("é", 512),
	}
	for i, key := range keys {
		target := "/bucket/" + strings.ReplaceAll(string(appendURLEncoded(nil, key)), "~", "%7E")
		body := fmt.Sprint("body ", i)
		h.must("PUT", target, body)
		if r := h.must("GET", target, ""); r.body != body {
			t.Errorf("%q: got %v", key, r)
		}
		if r := h.must("GET", "/bucket?encoding-type=url&max-keys=1&prefix="+string(appendURLEncoded(nil, key)), ""); element(r.body, "Key") != string(appendURLEncoded(nil, key)) {
			t.Errorf("%q: listed as %s", key, r.body)
		}
		if r := h.must("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/"+string(appendURLEncoded(nil, key))); r.status != 200 {
			t.Errorf("%q: copied: %v", key, r)
		}
		if r := h.must("GET", "/bucket/copy", ""); r.body != body {
			t.Errorf("%q: copied: %v", key, r)
		}
		h.must("DELETE", "/bucket/copy", "")
	}
	if got := len(keysOf(h.must("GET", "/bucket", "").body)); got != len(keys) {
		t.Errorf("%d keys are listed, want %d", got, len(keys))
	}
	for _, key := range keys {
		var doc xmlWriter
		doc.open("Delete")
		doc.open("Object")
		doc.text("Key", key)
		doc.close("Object")
		doc.close("Delete")
		if r := h.must("POST", "/bucket?delete", string(doc)); strings.Contains(r.body, "<Error>") || !strings.Contains(r.body, "<Deleted>") {
			t.Errorf("%q: deleted: %v", key, r)
		}
	}
	h.must("DELETE", "/bucket", "")
}
