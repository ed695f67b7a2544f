package miniogo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"penstock/tools/clients/corpus"
	"penstock/tools/harness"
)

// A session is a client with a bucket of its own.
type session struct {
	*minio.Client
	server harness.Server
	bucket string
}

// TestClient runs every scenario over HTTP and over TLS, with and without checksums in trailers.
func TestClient(t *testing.T) {
	scenarios := []struct {
		name string
		run  func(*testing.T, session)
	}{
		{"bodies", testBodies},
		{"keys", testKeys},
		{"multipart", testMultipart},
		{"streams", testStreams},
		{"copies", testCopies},
		{"conditions", testConditions},
		{"ranges", testRanges},
		{"presigned", testPresigned},
		{"checksums", testChecksums},
		{"metadata", testMetadata},
	}
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			server := harness.Serve(t, secure)
			for _, trailing := range []bool{false, true} {
				for _, s := range scenarios {
					if s.name == "checksums" && !trailing {
						continue // minio-go refuses to send any then.
					}
					t.Run(fmt.Sprintf("trailers=%v/%s", trailing, s.name), func(t *testing.T) {
						s.run(t, newSession(t, server, secure, trailing, s.name))
					})
				}
			}
		})
	}
}

func newSession(t *testing.T, server harness.Server, secure, trailing bool, name string) session {
	endpoint, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:           credentials.NewStaticV4(harness.AccessKey, harness.SecretKey, ""),
		Secure:          secure,
		Transport:       server.HTTP.Transport,
		TrailingHeaders: trailing,
		MaxRetries:      1, // A retry would hide a failure.
	})
	if err != nil {
		t.Fatal(err)
	}
	bucket := fmt.Sprintf("minio-%s-%v", name, trailing)
	if err := client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return session{client, server, bucket}
}

func (s session) put(t *testing.T, key string, body []byte, o minio.PutObjectOptions) minio.UploadInfo {
	t.Helper()
	info, err := s.PutObject(t.Context(), s.bucket, key, bytes.NewReader(body), int64(len(body)), o)
	if err != nil {
		t.Fatalf("PutObject %q of %d bytes: %v", key, len(body), err)
	}
	return info
}

func (s session) get(t *testing.T, key string) []byte {
	t.Helper()
	object, err := s.GetObject(t.Context(), s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	body, err := io.ReadAll(object)
	if err != nil {
		t.Fatalf("GetObject %q: %v", key, err)
	}
	return body
}

// checkBody compares bodies without printing megabytes.
func checkBody(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		i := 0
		for i < len(got) && i < len(want) && got[i] == want[i] {
			i++
		}
		t.Errorf("%s: got %d bytes, want %d; they differ from byte %d on", what, len(got), len(want), i)
	}
}

// checkError holds that err is the server's answer with that status and code.
func checkError(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	response, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok || response.StatusCode != status || response.Code != code {
		t.Errorf("%s: got %v (%d %s); want %d %s", what, err, response.StatusCode, response.Code, status, code)
	}
}

func (s session) list(t *testing.T, o minio.ListObjectsOptions) (keys []string) {
	t.Helper()
	for object := range s.ListObjectsIter(t.Context(), s.bucket, o) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		keys = append(keys, object.Key)
	}
	return keys
}

func testBodies(t *testing.T, s session) {
	// The longest chunk that minio-go signs is 64 KiB; bodies end before, on and after its border.
	for i, size := range append(slices.Clone(corpus.Sizes), 64<<10, 64<<10+1, 15<<20) {
		key, body := fmt.Sprintf("size-%d", size), corpus.Body(uint64(i), size)
		put := s.put(t, key, body, minio.PutObjectOptions{})
		checkBody(t, key, s.get(t, key), body)
		stat, err := s.StatObject(t.Context(), s.bucket, key, minio.StatObjectOptions{})
		if err != nil || stat.Size != int64(size) || stat.ETag != put.ETag {
			t.Errorf("StatObject %s: got %+v, %v; want %d bytes, ETag %s", key, stat, err, size, put.ETag)
		}
	}
}

func testKeys(t *testing.T, s session) {
	for _, key := range corpus.Keys {
		s.put(t, key, []byte("body of "+key), minio.PutObjectOptions{})
	}
	want := slices.Sorted(slices.Values(corpus.Keys))
	for _, v1 := range []bool{false, true} {
		if keys := s.list(t, minio.ListObjectsOptions{Recursive: true, UseV1: v1, MaxKeys: 7}); !slices.Equal(keys, want) {
			t.Errorf("listing, version 1 %v: got %q; want %q", v1, keys, want)
		}
	}
	for _, key := range corpus.Keys {
		if got := string(s.get(t, key)); got != "body of "+key {
			t.Errorf("key %q: got body %q", key, got)
		}
	}
	objects := make(chan minio.ObjectInfo)
	go func() {
		defer close(objects)
		for _, key := range corpus.Keys {
			objects <- minio.ObjectInfo{Key: key}
		}
	}()
	for e := range s.RemoveObjects(t.Context(), s.bucket, objects, minio.RemoveObjectsOptions{}) {
		t.Errorf("RemoveObjects: %q: %v", e.ObjectName, e.Err)
	}
	if keys := s.list(t, minio.ListObjectsOptions{Recursive: true}); len(keys) != 0 {
		t.Errorf("after RemoveObjects there are still %q", keys)
	}
	_, err := s.StatObject(t.Context(), s.bucket, "a/b", minio.StatObjectOptions{})
	checkError(t, "StatObject of a removed key", err, 404, "NoSuchKey")
	if err := s.RemoveBucket(t.Context(), s.bucket); err != nil {
		t.Errorf("RemoveBucket: %v", err)
	}
}

func testMultipart(t *testing.T, s session) {
	key, body := "large", corpus.Body(8, corpus.LargeLen)
	info := s.put(t, key, body, minio.PutObjectOptions{PartSize: 16 << 20, NumThreads: 4})
	if !strings.HasSuffix(info.ETag, "-4") {
		t.Errorf("ETag %s of four parts", info.ETag)
	}
	checkBody(t, key, s.get(t, key), body)
	attributes, err := s.GetObjectAttributes(t.Context(), s.bucket, key, minio.ObjectAttributesOptions{})
	if err == nil && attributes.ObjectSize != len(body) {
		t.Errorf("GetObjectAttributes: %+v", attributes)
	}
	if err != nil { // Not required of the server so far, but then it must say so.
		checkError(t, "GetObjectAttributes", err, 501, "NotImplemented")
	}
	if err := s.RemoveIncompleteUpload(t.Context(), s.bucket, key); err != nil {
		t.Errorf("RemoveIncompleteUpload with none: %v", err)
	}
	for upload := range s.ListIncompleteUploads(t.Context(), s.bucket, "", true) {
		t.Errorf("an upload is left: %+v", upload)
	}
}

// testStreams uploads what has no known length, which minio-go sends in parts.
func testStreams(t *testing.T, s session) {
	for _, size := range []int{0, 1000, 20 << 20} {
		key, body := fmt.Sprintf("stream-%d", size), corpus.Body(9, size)
		_, err := s.PutObject(t.Context(), s.bucket, key, io.MultiReader(bytes.NewReader(body)), -1, minio.PutObjectOptions{PartSize: 16 << 20})
		if err != nil {
			t.Errorf("PutObject of a stream of %d bytes: %v", size, err)
			continue
		}
		checkBody(t, key, s.get(t, key), body)
	}
}

func testCopies(t *testing.T, s session) {
	source, body := "source 100% +/😀", corpus.Body(3, 12<<20)
	s.put(t, source, body, minio.PutObjectOptions{UserMetadata: map[string]string{"Kind": "source"}})
	if _, err := s.CopyObject(t.Context(), minio.CopyDestOptions{Bucket: s.bucket, Object: "copy"},
		minio.CopySrcOptions{Bucket: s.bucket, Object: source}); err != nil {
		t.Fatal(err)
	}
	checkBody(t, "copy", s.get(t, "copy"), body)
	// Composing copies ranges of sources as parts.
	_, err := s.ComposeObject(t.Context(), minio.CopyDestOptions{Bucket: s.bucket, Object: "composed"},
		minio.CopySrcOptions{Bucket: s.bucket, Object: source, MatchRange: true, Start: 1 << 20, End: 8<<20 - 1},
		minio.CopySrcOptions{Bucket: s.bucket, Object: "copy", MatchRange: true, Start: 5, End: 99},
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveObject(t.Context(), s.bucket, source, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	checkBody(t, "composed, after the source is gone", s.get(t, "composed"), append(bytes.Clone(body[1<<20:8<<20]), body[5:100]...))
	stat, err := s.StatObject(t.Context(), s.bucket, "copy", minio.StatObjectOptions{})
	if err != nil || stat.UserMetadata["Kind"] != "source" {
		t.Errorf("StatObject of a copy: %+v, %v; want the metadata of the source", stat, err)
	}
}

func testConditions(t *testing.T, s session) {
	const key = "manifest"
	write := func(body string, set func(*minio.PutObjectOptions)) error {
		var o minio.PutObjectOptions
		set(&o)
		_, err := s.PutObject(t.Context(), s.bucket, key, strings.NewReader(body), int64(len(body)), o)
		return err
	}
	absent := func(o *minio.PutObjectOptions) { o.SetMatchETagExcept("*") }
	if err := write("one", absent); err != nil {
		t.Fatal(err)
	}
	checkError(t, "second write of what must be absent", write("two", absent), 412, "PreconditionFailed")
	stat, err := s.StatObject(t.Context(), s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, "write with a wrong ETag", write("three", func(o *minio.PutObjectOptions) {
		o.SetMatchETag("0123456789abcdef0123456789abcdef")
	}), 412, "PreconditionFailed")
	if err := write("four", func(o *minio.PutObjectOptions) { o.SetMatchETag(stat.ETag) }); err != nil {
		t.Errorf("write with the right ETag: %v", err)
	}
	if got := string(s.get(t, key)); got != "four" {
		t.Errorf("the body is %q; want four", got)
	}
	var unchanged minio.GetObjectOptions
	if err := unchanged.SetModified(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err = s.StatObject(t.Context(), s.bucket, key, minio.StatObjectOptions(unchanged))
	if response := minio.ToErrorResponse(err); response.StatusCode != http.StatusNotModified {
		t.Errorf("StatObject if modified since the future: %v; want 304", err)
	}
}

func testRanges(t *testing.T, s session) {
	body := corpus.Body(4, 3<<20+17)
	s.put(t, "ranges", body, minio.PutObjectOptions{})
	object, err := s.GetObject(t.Context(), s.bucket, "ranges", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	for _, c := range []struct{ off, n int }{{0, 1}, {65530, 20}, {1<<20 - 1, 1<<20 + 2}, {len(body) - 5, 5}, {2 << 20, 1 << 20}} {
		got := make([]byte, c.n)
		if _, err := object.ReadAt(got, int64(c.off)); err != nil && err != io.EOF {
			t.Fatalf("ReadAt %d, %d bytes: %v", c.off, c.n, err)
		}
		checkBody(t, fmt.Sprintf("%d bytes at %d", c.n, c.off), got, body[c.off:c.off+c.n])
	}
	if _, err := object.Seek(-7, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	tail, err := io.ReadAll(object)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, "after a seek", tail, body[len(body)-7:])
}

func testPresigned(t *testing.T, s session) {
	key, body := "presigned/with space+😀", corpus.Body(5, 70000)
	put, err := s.PresignedPutObject(t.Context(), s.bucket, key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("PUT", put.String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := s.do(t, request); status != 200 {
		t.Fatalf("presigned PUT: %d", status)
	}
	get, err := s.PresignedGetObject(t.Context(), s.bucket, key, time.Minute, url.Values{"response-content-type": {"text/x-test"}})
	if err != nil {
		t.Fatal(err)
	}
	request, err = http.NewRequest("GET", get.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.do(t, request)
	if status != 200 {
		t.Fatalf("presigned GET: %d %.300q", status, answer)
	}
	checkBody(t, "presigned GET", answer, body)
}

func (s session) do(t *testing.T, request *http.Request) (int, []byte) {
	t.Helper()
	response, err := s.server.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func testChecksums(t *testing.T, s session) {
	body := corpus.Body(6, 200_000)
	for _, kind := range []minio.ChecksumType{
		minio.ChecksumCRC32, minio.ChecksumCRC32C, minio.ChecksumCRC64NVME, minio.ChecksumSHA1, minio.ChecksumSHA256,
	} {
		key := "sum-" + kind.String()
		sum := kind.ChecksumBytes(body).Encoded()
		header := s.put(t, key, body, minio.PutObjectOptions{UserMetadata: map[string]string{kind.Key(): sum}, DisableMultipart: true})
		stat, err := s.StatObject(t.Context(), s.bucket, key, minio.StatObjectOptions{Checksum: true})
		if err != nil {
			t.Errorf("%v: %v", kind, err)
			continue
		}
		if got := checksumOf(stat, kind); got != sum {
			t.Errorf("%v: stored %q, answered to the PUT %+v; want %s", kind, got, header, sum)
		}
		_, err = s.PutObject(t.Context(), s.bucket, "wrong", bytes.NewReader(body[1:]), int64(len(body)-1),
			minio.PutObjectOptions{UserMetadata: map[string]string{kind.Key(): sum}, DisableMultipart: true})
		if response := minio.ToErrorResponse(err); response.StatusCode != 400 {
			t.Errorf("a wrong %v: got %v; want 400", kind, err)
		}
		// Over HTTP or TLS, with trailers or without: the client chooses how to send it.
		s.put(t, key+"-auto", body, minio.PutObjectOptions{AutoChecksum: kind})
		checkBody(t, key+"-auto", s.get(t, key+"-auto"), body)
	}
	if _, err := s.StatObject(t.Context(), s.bucket, "wrong", minio.StatObjectOptions{}); minio.ToErrorResponse(err).StatusCode != 404 {
		t.Errorf("a body with a wrong checksum was stored: %v", err)
	}
}

func checksumOf(info minio.ObjectInfo, kind minio.ChecksumType) string {
	switch kind {
	case minio.ChecksumCRC32:
		return info.ChecksumCRC32
	case minio.ChecksumCRC32C:
		return info.ChecksumCRC32C
	case minio.ChecksumCRC64NVME:
		return info.ChecksumCRC64NVME
	case minio.ChecksumSHA1:
		return info.ChecksumSHA1
	}
	return info.ChecksumSHA256
}

func testMetadata(t *testing.T, s session) {
	s.put(t, "described", []byte("x"), minio.PutObjectOptions{
		ContentType: "image/x-test", CacheControl: "max-age=5", ContentEncoding: "zstd", ContentLanguage: "de",
		ContentDisposition: `attachment; filename="a b.txt"`, StorageClass: "STANDARD",
		UserMetadata: map[string]string{"camera": "X 100", "Mixed-Case": "Value"},
	})
	stat, err := s.StatObject(t.Context(), s.bucket, "described", minio.StatObjectOptions{})
	if err != nil || stat.ContentType != "image/x-test" || stat.Metadata.Get("Cache-Control") != "max-age=5" ||
		stat.Metadata.Get("Content-Encoding") != "zstd" || stat.Metadata.Get("Content-Language") != "de" ||
		stat.Metadata.Get("Content-Disposition") != `attachment; filename="a b.txt"` ||
		stat.UserMetadata["Camera"] != "X 100" || stat.UserMetadata["Mixed-Case"] != "Value" {
		t.Errorf("StatObject: got %+v, %v", stat, err)
	}
}
