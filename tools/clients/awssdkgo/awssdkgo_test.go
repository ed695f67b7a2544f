package awssdkgo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"penstock/tools/clients/corpus"
	"penstock/tools/harness"
)

// A session is a client with a bucket of its own.
type session struct {
	*s3.Client
	server harness.Server
	bucket *string
}

// TestClient runs every scenario over HTTP and over TLS, each in its own bucket.
func TestClient(t *testing.T) {
	scenarios := []struct {
		name string
		run  func(*testing.T, session)
	}{
		{"bodies", testBodies},
		{"keys", testKeys},
		{"delimiter", testDelimiter},
		{"multipart", testMultipart},
		{"uploads", testUploads},
		{"copies", testCopies},
		{"conditions", testConditions},
		{"ranges", testRanges},
		{"presigned", testPresigned},
		{"checksums", testChecksums},
		{"metadata", testMetadata},
		{"buckets", testBuckets},
	}
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			server := harness.Serve(t, secure)
			for _, s := range scenarios {
				t.Run(s.name, func(t *testing.T) {
					s.run(t, newSession(t, server, s.name))
				})
			}
		})
	}
}

func newSession(t *testing.T, server harness.Server, name string) session {
	client := s3.New(s3.Options{
		BaseEndpoint: &server.Endpoint,
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(harness.AccessKey, harness.SecretKey, ""),
		HTTPClient:   server.HTTP,
		Retryer:      aws.NopRetryer{}, // A retry would hide a failure.
	})
	bucket := "aws-" + name
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	return session{client, server, &bucket}
}

func (s session) put(t *testing.T, key string, body []byte) *s3.PutObjectOutput {
	t.Helper()
	out, err := s.PutObject(t.Context(), &s3.PutObjectInput{Bucket: s.bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatalf("PutObject %q of %d bytes: %v", key, len(body), err)
	}
	return out
}

func (s session) get(t *testing.T, key string) []byte {
	t.Helper()
	out, err := s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: s.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		t.Fatalf("GetObject %q: %v", key, err)
	}
	return readAll(t, out.Body)
}

func readAll(t *testing.T, r io.ReadCloser) []byte {
	t.Helper()
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
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

// checkError holds that err is the server's answer with that status and code. A HEAD has no code.
func checkError(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	response, _ := errors.AsType[*awshttp.ResponseError](err)
	api, isAPI := errors.AsType[smithy.APIError](err)
	if response == nil || !isAPI || response.HTTPStatusCode() != status || api.ErrorCode() != code {
		t.Errorf("%s: got %v; want status %d, %s", what, err, status, code)
	}
}

// listAll lists the bucket in pages of a size that is no divisor of anything.
func (s session) listAll(t *testing.T) (keys []string, sizes map[string]int64) {
	t.Helper()
	sizes = map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(s.Client, &s3.ListObjectsV2Input{
		Bucket: s.bucket, MaxKeys: aws.Int32(7), EncodingType: types.EncodingTypeUrl,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range page.Contents {
			key := decode(t, *object.Key)
			keys = append(keys, key)
			sizes[key] = *object.Size
		}
	}
	return keys, sizes
}

func testBodies(t *testing.T, s session) {
	for i, size := range append(slices.Clone(corpus.Sizes), 5<<20+1) {
		key, body := fmt.Sprintf("size-%d", size), corpus.Body(uint64(i), size)
		put := s.put(t, key, body)
		checkBody(t, key, s.get(t, key), body)
		head, err := s.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: s.bucket, Key: &key})
		if err != nil || *head.ContentLength != int64(size) || *head.ETag != *put.ETag {
			t.Errorf("HeadObject %s: got %+v, %v; want length %d, ETag %s", key, head, err, size, *put.ETag)
		}
	}
	key := "size-1"
	body := corpus.Body(99, 3000) // Another length: nothing of the old body may show.
	s.put(t, key, body)
	checkBody(t, "overwritten", s.get(t, key), body)
}

func testKeys(t *testing.T, s session) {
	for _, key := range corpus.Keys {
		s.put(t, key, []byte("body of "+key))
	}
	keys, sizes := s.listAll(t)
	want := slices.Sorted(slices.Values(corpus.Keys))
	if !slices.Equal(keys, want) {
		t.Errorf("ListObjectsV2: got %q; want %q", keys, want)
	}
	if v1 := s.listAllV1(t); !slices.Equal(v1, want) {
		t.Errorf("ListObjects: got %q; want %q", v1, want)
	}
	var ids []types.ObjectIdentifier
	for _, key := range corpus.Keys {
		if got := string(s.get(t, key)); got != "body of "+key || sizes[key] != int64(len(got)) {
			t.Errorf("key %q: got body %q, listed with %d bytes", key, got, sizes[key])
		}
		ids = append(ids, types.ObjectIdentifier{Key: &key})
	}
	out, err := s.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: s.bucket, Delete: &types.Delete{Objects: ids}})
	if err != nil || len(out.Deleted) != len(ids) || len(out.Errors) != 0 {
		t.Errorf("DeleteObjects of %d keys: got %+v, %v", len(ids), out, err)
	}
	if keys, _ := s.listAll(t); len(keys) != 0 {
		t.Errorf("after DeleteObjects there are still %q", keys)
	}
	_, err = s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: s.bucket, Key: aws.String("a/b")})
	checkError(t, "GetObject of a deleted key", err, 404, "NoSuchKey")
}

func (s session) listAllV1(t *testing.T) (keys []string) {
	t.Helper()
	in := &s3.ListObjectsInput{Bucket: s.bucket, MaxKeys: aws.Int32(5), EncodingType: types.EncodingTypeUrl}
	for {
		page, err := s.ListObjects(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range page.Contents {
			keys = append(keys, decode(t, *object.Key))
		}
		if !*page.IsTruncated {
			return keys
		}
		in.Marker = &keys[len(keys)-1] // Without a delimiter there is no NextMarker.
	}
}

func testDelimiter(t *testing.T, s session) {
	for _, key := range []string{"top", "photos/1", "photos/2", "photos/2/raw", "photos-old", "videos/x/y", "videos/x/z"} {
		s.put(t, key, nil)
	}
	for _, c := range []struct{ prefix, keys, prefixes string }{
		{"", "photos-old top", "photos/ videos/"},
		{"photos/", "photos/1 photos/2", "photos/2/"},
		{"photos", "photos-old", "photos/"},
		{"videos/", "", "videos/x/"},
		{"none", "", ""},
	} {
		var keys, prefixes []string
		pages := s3.NewListObjectsV2Paginator(s.Client, &s3.ListObjectsV2Input{
			Bucket: s.bucket, Prefix: &c.prefix, Delimiter: aws.String("/"), MaxKeys: aws.Int32(1),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range page.Contents {
				keys = append(keys, *object.Key)
			}
			for _, prefix := range page.CommonPrefixes {
				prefixes = append(prefixes, *prefix.Prefix)
			}
		}
		if got, want := strings.Join(keys, " ")+"|"+strings.Join(prefixes, " "), c.keys+"|"+c.prefixes; got != want {
			t.Errorf("prefix %q: got %s; want %s", c.prefix, got, want)
		}
	}
}

func testBuckets(t *testing.T, s session) {
	ctx := t.Context()
	_, err := s.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: s.bucket})
	checkError(t, "CreateBucket again", err, 409, "BucketAlreadyOwnedByYou")
	_, err = s.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("no-such-bucket-here")})
	checkError(t, "HeadBucket of none", err, 404, "NotFound")
	_, err = s.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("no-such-bucket-here")})
	checkError(t, "ListObjectsV2 of none", err, 404, "NoSuchBucket")
	if _, err := s.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: s.bucket}); err != nil {
		t.Error(err)
	}
	if _, err := s.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: s.bucket}); err != nil {
		t.Error(err)
	}
	s.put(t, "occupied", nil)
	_, err = s.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: s.bucket})
	checkError(t, "DeleteBucket of a full one", err, 409, "BucketNotEmpty")
	if _, err := s.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: s.bucket, Key: aws.String("occupied")}); err != nil {
		t.Error(err)
	}
	if _, err := s.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: s.bucket, Key: aws.String("occupied")}); err != nil {
		t.Errorf("DeleteObject of nothing: %v; want success", err)
	}
	if _, err := s.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: s.bucket}); err != nil {
		t.Error(err)
	}
	list, err := s.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil || slices.ContainsFunc(list.Buckets, func(b types.Bucket) bool { return *b.Name == *s.bucket }) {
		t.Errorf("ListBuckets: got %+v, %v; want it without the deleted one", list, err)
	}
}

func testPresigned(t *testing.T, s session) {
	presigner := s3.NewPresignClient(s.Client)
	key, body := "presigned/with space+😀", corpus.Body(5, 70000)
	put, err := presigner.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: s.bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := s.do(t, put.Method, put.URL, body, nil); status != 200 {
		t.Fatalf("presigned PUT: %d %.300q", status, answer)
	}
	get, err := presigner.PresignGetObject(t.Context(), &s3.GetObjectInput{
		Bucket: s.bucket, Key: &key, ResponseContentType: aws.String("text/x-presigned"),
	})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.do(t, get.Method, get.URL, nil, nil)
	if status != 200 {
		t.Errorf("presigned GET: %d %.300q", status, answer)
	}
	checkBody(t, "presigned GET", answer, body)
	status, answer = s.do(t, get.Method, get.URL, nil, http.Header{"Range": {"bytes=100-199"}})
	if status != 206 {
		t.Errorf("presigned GET of a range: %d %.300q", status, answer)
	}
	checkBody(t, "presigned GET of a range", answer, body[100:200])
	if status, answer := s.do(t, get.Method, strings.Replace(get.URL, "X-Amz-Signature=", "X-Amz-Signature=0", 1), nil, nil); status != 403 {
		t.Errorf("presigned GET with a forged signature: %d %.300q", status, answer)
	}
	if status, answer := s.do(t, "DELETE", get.URL, nil, nil); status != 403 {
		t.Errorf("DELETE with a URL signed for GET: %d %.300q", status, answer)
	}
}

func (s session) do(t *testing.T, method, url string, body []byte, header http.Header) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := s.server.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, readAll(t, response.Body)
}
