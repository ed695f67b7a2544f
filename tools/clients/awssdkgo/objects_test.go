package awssdkgo

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"penstock/tools/clients/corpus"
)

// decode undoes encoding-type=url.
func decode(t *testing.T, key string) string {
	t.Helper()
	decoded, err := url.QueryUnescape(key)
	if err != nil {
		t.Fatalf("listed key %q: %v", key, err)
	}
	return decoded
}

func testMultipart(t *testing.T, s session) {
	key, body := "large/64 MiB", corpus.Body(7, corpus.LargeLen)
	const partLen = 5 << 20
	uploader := manager.NewUploader(s.Client, func(u *manager.Uploader) { u.PartSize, u.Concurrency = partLen, 4 })
	if _, err := uploader.Upload(t.Context(), &s3.PutObjectInput{Bucket: s.bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	buffer := manager.NewWriteAtBuffer(make([]byte, 0, len(body)))
	downloader := manager.NewDownloader(s.Client, func(d *manager.Downloader) { d.PartSize, d.Concurrency = 7<<20, 4 })
	if _, err := downloader.Download(t.Context(), buffer, &s3.GetObjectInput{Bucket: s.bucket, Key: &key}); err != nil {
		t.Fatal(err)
	}
	checkBody(t, "downloaded in ranges", buffer.Bytes(), body)
	checkBody(t, "downloaded whole", s.get(t, key), body)

	head, err := s.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: s.bucket, Key: &key})
	if want := multipartETag(body, partLen); err != nil || *head.ETag != want || *head.ContentLength != int64(len(body)) {
		t.Errorf("HeadObject: got %+v, %v; want ETag %s", head, err, want)
	}
	for _, number := range []int32{1, 7, 13} {
		out, err := s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: s.bucket, Key: &key, PartNumber: &number})
		if err != nil {
			t.Fatalf("GetObject of part %d: %v", number, err)
		}
		first := (int(number) - 1) * partLen
		checkBody(t, fmt.Sprintf("part %d", number), readAll(t, out.Body), body[first:min(first+partLen, len(body))])
		if out.PartsCount == nil || *out.PartsCount != 13 {
			t.Errorf("GetObject of part %d: PartsCount %v; want 13", number, out.PartsCount)
		}
	}
}

// multipartETag is the ETag that Amazon gives an object uploaded in parts of that length.
func multipartETag(body []byte, partLen int) string {
	var sums []byte
	count := 0
	for off := 0; off < len(body); off += partLen {
		sum := md5.Sum(body[off:min(off+partLen, len(body))])
		sums = append(sums, sum[:]...)
		count++
	}
	sum := md5.Sum(sums)
	return fmt.Sprintf("\"%s-%d\"", hex.EncodeToString(sum[:]), count)
}

// begin creates an upload and returns its id.
func (s session) begin(t *testing.T, key string) *string {
	t.Helper()
	out, err := s.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: s.bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	return out.UploadId
}

func (s session) part(t *testing.T, key string, id *string, number int32, body []byte) types.CompletedPart {
	t.Helper()
	out, err := s.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: s.bucket, Key: &key, UploadId: id, PartNumber: &number, Body: bytes.NewReader(body),
	})
	if err != nil {
		t.Fatal(err)
	}
	return types.CompletedPart{
		PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC64NVME: out.ChecksumCRC64NVME,
	}
}

func (s session) complete(t *testing.T, key string, id *string, parts ...types.CompletedPart) error {
	_, err := s.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: s.bucket, Key: &key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

func testUploads(t *testing.T, s session) {
	const key = "in parts"
	big, small := corpus.Body(1, 5<<20), corpus.Body(2, 1000)
	id := s.begin(t, key)
	one, three := s.part(t, key, id, 1, big), s.part(t, key, id, 3, small)
	two := s.part(t, key, id, 2, small)

	list, err := s.ListParts(t.Context(), &s3.ListPartsInput{Bucket: s.bucket, Key: aws.String(key), UploadId: id})
	if err != nil || len(list.Parts) != 3 || *list.Parts[2].PartNumber != 3 || *list.Parts[0].Size != 5<<20 || *list.Parts[1].ETag != *two.ETag {
		t.Errorf("ListParts: got %+v, %v", list, err)
	}
	uploads, err := s.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: s.bucket})
	if err != nil || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *id || *uploads.Uploads[0].Key != key {
		t.Errorf("ListMultipartUploads: got %+v, %v", uploads, err)
	}
	checkError(t, "complete out of order", s.complete(t, key, id, three, one), 400, "InvalidPartOrder")
	checkError(t, "complete with a small part inside", s.complete(t, key, id, one, two, three), 400, "EntityTooSmall")
	wrong := three
	wrong.ETag = one.ETag
	checkError(t, "complete with a wrong ETag", s.complete(t, key, id, one, wrong), 400, "InvalidPart")
	if err := s.complete(t, key, id, one, three); err != nil { // Part 2 is left out, as is allowed.
		t.Fatal(err)
	}
	checkBody(t, key, s.get(t, key), append(bytes.Clone(big), small...))

	id = s.begin(t, key)
	s.part(t, key, id, 1, big)
	abort := &s3.AbortMultipartUploadInput{Bucket: s.bucket, Key: aws.String(key), UploadId: id}
	if _, err := s.AbortMultipartUpload(t.Context(), abort); err != nil {
		t.Error(err)
	}
	_, err = s.ListParts(t.Context(), &s3.ListPartsInput{Bucket: s.bucket, Key: aws.String(key), UploadId: id})
	checkError(t, "ListParts after abort", err, 404, "NoSuchUpload")
	checkBody(t, "after another upload's abort", s.get(t, key), append(bytes.Clone(big), small...))
}

func testCopies(t *testing.T, s session) {
	source, body := "source 100% +/😀", corpus.Body(3, 6<<20)
	s.put(t, source, body)
	from := *s.bucket + "/" + url.PathEscape(source)
	if _, err := s.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: s.bucket, Key: aws.String("copy"), CopySource: &from}); err != nil {
		t.Fatal(err)
	}
	checkBody(t, "copy", s.get(t, "copy"), body)

	const key = "copied in parts"
	id := s.begin(t, key)
	var parts []types.CompletedPart
	for i, span := range []string{"bytes=1048576-6291455", "bytes=0-99"} {
		out, err := s.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
			Bucket: s.bucket, Key: aws.String(key), UploadId: id, PartNumber: aws.Int32(int32(i + 1)),
			CopySource: &from, CopySourceRange: &span,
		})
		if err != nil {
			t.Fatalf("UploadPartCopy %s: %v", span, err)
		}
		parts = append(parts, types.CompletedPart{
			PartNumber: aws.Int32(int32(i + 1)), ETag: out.CopyPartResult.ETag,
			ChecksumCRC32: out.CopyPartResult.ChecksumCRC32, ChecksumCRC64NVME: out.CopyPartResult.ChecksumCRC64NVME,
		})
	}
	if err := s.complete(t, key, id, parts...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: s.bucket, Key: &source}); err != nil {
		t.Fatal(err)
	}
	checkBody(t, "copied parts after the source is gone", s.get(t, key), append(bytes.Clone(body[1<<20:]), body[:100]...))
	checkBody(t, "copy after the source is gone", s.get(t, "copy"), body)
}

func testConditions(t *testing.T, s session) {
	const key = "manifest"
	write := func(ifMatch, ifNone *string, body string) error {
		_, err := s.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: s.bucket, Key: aws.String(key), Body: strings.NewReader(body), IfMatch: ifMatch, IfNoneMatch: ifNone,
		})
		return err
	}
	if err := write(nil, aws.String("*"), "one"); err != nil {
		t.Fatalf("first write: %v", err)
	}
	checkError(t, "second write with If-None-Match: *", write(nil, aws.String("*"), "two"), 412, "PreconditionFailed")
	head, err := s.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: s.bucket, Key: aws.String(key)})
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, "write with a wrong If-Match", write(aws.String(`"0123456789abcdef0123456789abcdef"`), nil, "three"), 412, "PreconditionFailed")
	if err := write(head.ETag, nil, "four"); err != nil {
		t.Errorf("write with the right If-Match: %v", err)
	}
	if got := string(s.get(t, key)); got != "four" {
		t.Errorf("after the conditional writes the body is %q; want four", got)
	}
	_, err = s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: s.bucket, Key: aws.String(key), IfMatch: head.ETag})
	checkError(t, "read with an old If-Match", err, 412, "PreconditionFailed")
}

func testRanges(t *testing.T, s session) {
	const key = "ranges"
	body := corpus.Body(4, 3<<20+17)
	s.put(t, key, body)
	last := len(body) - 1
	for _, c := range []struct {
		span     string
		from, to int // Inclusive.
	}{
		{"bytes=0-0", 0, 0},
		{"bytes=0-", 0, last},
		{"bytes=-1", last, last},
		{"bytes=65530-65550", 65530, 65550},
		{"bytes=1048575-2097153", 1048575, 2097153},
		{fmt.Sprintf("bytes=%d-", last), last, last},
		{"bytes=3000000-999999999999", 3000000, last},
		{"bytes=-99999999", 0, last},
	} {
		out, err := s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: s.bucket, Key: aws.String(key), Range: &c.span})
		if err != nil {
			t.Errorf("%s: %v", c.span, err)
			continue
		}
		checkBody(t, c.span, readAll(t, out.Body), body[c.from:c.to+1])
		if want := fmt.Sprintf("bytes %d-%d/%d", c.from, c.to, len(body)); aws.ToString(out.ContentRange) != want {
			t.Errorf("%s: Content-Range %q; want %q", c.span, aws.ToString(out.ContentRange), want)
		}
	}
	_, err := s.GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: s.bucket, Key: aws.String(key), Range: aws.String(fmt.Sprintf("bytes=%d-", len(body))),
	})
	checkError(t, "a range past the end", err, 416, "InvalidRange")
}

func testChecksums(t *testing.T, s session) {
	body := corpus.Body(6, 200_000)
	for _, algorithm := range []types.ChecksumAlgorithm{
		types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme,
		types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256,
	} {
		key := "sum-" + string(algorithm)
		put, err := s.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: s.bucket, Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm,
		})
		if err != nil {
			t.Errorf("PutObject with %s: %v", algorithm, err)
			continue
		}
		get, err := s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: s.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Errorf("GetObject with %s: %v", algorithm, err)
			continue
		}
		checkBody(t, key, readAll(t, get.Body), body) // The client compares the checksum itself while it reads.
		sums := func(crc32, crc32c, crc64, sha1, sha256 *string) string {
			return aws.ToString(crc32) + "," + aws.ToString(crc32c) + "," + aws.ToString(crc64) + "," + aws.ToString(sha1) + "," + aws.ToString(sha256)
		}
		stored := sums(put.ChecksumCRC32, put.ChecksumCRC32C, put.ChecksumCRC64NVME, put.ChecksumSHA1, put.ChecksumSHA256)
		read := sums(get.ChecksumCRC32, get.ChecksumCRC32C, get.ChecksumCRC64NVME, get.ChecksumSHA1, get.ChecksumSHA256)
		if stored != read || len(stored) < 10 {
			t.Errorf("%s: PUT answered %s, GET %s", algorithm, stored, read)
		}
	}
	_, err := s.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: s.bucket, Key: aws.String("wrong"), Body: bytes.NewReader(body), ChecksumCRC32: aws.String("AAAAAA=="),
	})
	checkError(t, "a wrong checksum", err, 400, "BadDigest")
	_, err = s.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: s.bucket, Key: aws.String("wrong")})
	checkError(t, "HeadObject after a wrong checksum", err, 404, "NotFound")
}

func testMetadata(t *testing.T, s session) {
	const key = "described"
	_, err := s.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: s.bucket, Key: aws.String(key), Body: strings.NewReader("x"),
		ContentType: aws.String("image/x-test; q=1"), CacheControl: aws.String("max-age=5"), ContentLanguage: aws.String("de, en"),
		ContentDisposition: aws.String(`attachment; filename="a b.txt"`), ContentEncoding: aws.String("zstd"),
		Metadata: map[string]string{"plain": "value", "camera-model": "X 100", "spaced": "a  b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, head *s3.HeadObjectOutput, err error) {
		t.Helper()
		if err != nil || aws.ToString(head.ContentType) != "image/x-test; q=1" || aws.ToString(head.CacheControl) != "max-age=5" ||
			aws.ToString(head.ContentLanguage) != "de, en" || aws.ToString(head.ContentEncoding) != "zstd" ||
			aws.ToString(head.ContentDisposition) != `attachment; filename="a b.txt"` ||
			head.Metadata["plain"] != "value" || head.Metadata["camera-model"] != "X 100" {
			t.Errorf("%s: got %+v, %v", what, head, err)
		}
	}
	head, err := s.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: s.bucket, Key: aws.String(key)})
	check("HeadObject", head, err)
	from := *s.bucket + "/" + key
	if _, err := s.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: s.bucket, Key: aws.String("same"), CopySource: &from}); err != nil {
		t.Fatal(err)
	}
	head, err = s.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: s.bucket, Key: aws.String("same")})
	check("HeadObject of a copy", head, err)
	_, err = s.CopyObject(t.Context(), &s3.CopyObjectInput{
		Bucket: s.bucket, Key: aws.String(key), CopySource: &from,
		MetadataDirective: types.MetadataDirectiveReplace, ContentType: aws.String("text/new"), Metadata: map[string]string{"new": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	head, err = s.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: s.bucket, Key: aws.String(key)})
	if err != nil || aws.ToString(head.ContentType) != "text/new" || len(head.Metadata) != 1 || head.Metadata["new"] != "1" {
		t.Errorf("after a copy onto itself with new metadata: got %+v, %v", head, err)
	}
}
