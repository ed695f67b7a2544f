package killtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"penstock/tools/harness"
)

// The shape of the load. A key is written by its worker alone, so that its state is nearly always certain, except for the shared
// ones, on which all workers collide.
const (
	workers       = 8
	keysPerWorker = 24
	sharedKeys    = 4
	minPart       = 5 << 20
)

const bucket = "killtest"

// A state is what is known of everything that the load may touch. It outlives the process under test.
type state struct {
	keys    map[string]*register
	buckets [workers]*register // Whether each worker's own bucket exists: absent or empty.
	uploads [workers]*upload   // In progress; nil for none. Owned by the worker while it runs.
	seeds   atomic.Uint64      // Of bodies: every one is different.

	acknowledged, unknown atomic.Int64
}

// An upload is a multipart upload in progress, as far as it was acknowledged.
type upload struct {
	key   string
	id    string
	parts []uploadPart // 1, 2, …, acknowledged, except perhaps the last.
	// completing is the write of a completion that was sent and not answered; aborting, that an abort was.
	completing *write
	aborting   bool
}

type uploadPart struct {
	piece
	etag string // "" while not acknowledged.
}

func newState(seed uint64) *state {
	s := &state{keys: map[string]*register{}}
	for w := range workers {
		s.buckets[w] = newRegister()
		for k := range keysPerWorker {
			s.keys[keyName(w, k)] = newRegister()
		}
	}
	for k := range sharedKeys {
		s.keys[sharedName(k)] = newRegister()
	}
	s.seeds.Store(seed << 32)
	return s
}

func keyName(worker, k int) string  { return fmt.Sprintf("w%d/key %02d", worker, k) }
func sharedName(k int) string       { return fmt.Sprintf("shared/%d", k) }
func bucketName(worker int) *string { return aws.String(fmt.Sprintf("killtest-own-%d", worker)) }

// newClient returns a client that never tries again: the oracle must know of each attempt.
func newClient(endpoint string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint,
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(harness.AccessKey, harness.SecretKey, ""),
		HTTPClient:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers, DisableCompression: true}},
		Retryer:      aws.NopRetryer{},
	})
}

// errWrong is in the errors of answers that contradict what is known, as opposed to those of a node that is gone.
var errWrong = errors.New("wrong answer")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errWrong, fmt.Sprintf(format, args...))
}

// A worker sends one request after another until the node is gone.
type worker struct {
	*state
	index  int
	client *s3.Client
	rng    *rand.Rand
}

// run works until an error, and returns it. What is in flight then stays unknown in the state.
func (w *worker) run(ctx context.Context) error {
	for {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
}

func (w *worker) step(ctx context.Context) error {
	key := keyName(w.index, w.rng.IntN(keysPerWorker))
	switch p := w.rng.IntN(100); {
	case p < 40:
		return w.put(ctx, key, w.size())
	case p < 48:
		return w.put(ctx, sharedName(w.rng.IntN(sharedKeys)), w.rng.IntN(20_000))
	case p < 62:
		return w.remove(ctx, key)
	case p < 72:
		return w.copy(ctx, keyName(w.index, w.rng.IntN(keysPerWorker)), key)
	case p < 76:
		return w.create(ctx, key)
	case p < 88:
		return w.readBack(ctx, key)
	case p < 92:
		return w.toggleBucket(ctx)
	}
	return w.multipart(ctx, key)
}

// size mostly chooses bodies that live in the journal, some near the border, and some that take stripes.
func (w *worker) size() int {
	switch p := w.rng.IntN(100); {
	case p < 5:
		return 0
	case p < 70:
		return w.rng.IntN(32 << 10)
	case p < 80:
		return 128<<10 - 8 + w.rng.IntN(16)
	case p < 95:
		return w.rng.IntN(400 << 10)
	}
	return 1<<20 + w.rng.IntN(2<<20)
}

func (w *worker) piece(size int) piece { return piece{seed: w.seeds.Add(1), size: size} }

// settle notes how an attempt ended: done, refused for want of room or buffers, or unknown.
func (w *worker) settle(r *register, attempt *write, etag *string, err error) error {
	switch {
	case err == nil:
		w.acknowledged.Add(1)
		r.acknowledge(attempt, aws.ToString(etag))
	case isCode(err, "SlowDown"):
		r.refuse(attempt)
		return nil
	default:
		w.unknown.Add(1)
	}
	return err
}

func isCode(err error, codes ...string) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if api.ErrorCode() == code {
			return true
		}
	}
	return false
}

func (w *worker) put(ctx context.Context, key string, size int) error {
	p := w.piece(size)
	r := w.keys[key]
	attempt := r.begin(value{pieces: []piece{p}})
	out, err := w.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(p.bytes())})
	if err != nil {
		return w.settle(r, attempt, nil, err)
	}
	return w.settle(r, attempt, out.ETag, nil)
}

// create puts only if the key is absent.
func (w *worker) create(ctx context.Context, key string) error {
	r := w.keys[key]
	before, certain := r.known()
	p := w.piece(w.rng.IntN(8 << 10))
	attempt := r.begin(value{pieces: []piece{p}})
	out, err := w.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(p.bytes()), IfNoneMatch: aws.String("*"),
	})
	if isCode(err, "PreconditionFailed") {
		r.refuse(attempt)
		if certain && before.value.absent {
			return wrong("create of %s, which is absent, was refused", key)
		}
		return nil
	}
	if err != nil {
		return w.settle(r, attempt, nil, err)
	}
	if certain && !before.value.absent {
		return wrong("create of %s, which is there, was accepted", key)
	}
	return w.settle(r, attempt, out.ETag, nil)
}

func (w *worker) remove(ctx context.Context, key string) error {
	r := w.keys[key]
	attempt := r.begin(value{absent: true})
	_, err := w.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key})
	return w.settle(r, attempt, nil, err)
}

func (w *worker) copy(ctx context.Context, from, to string) error {
	source, certain := w.keys[from].known()
	if !certain || source.value.absent || from == to {
		return nil
	}
	r := w.keys[to]
	attempt := r.begin(source.value)
	out, err := w.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: aws.String(bucket), Key: &to, CopySource: aws.String(bucket + "/" + from),
	})
	if err != nil {
		return w.settle(r, attempt, nil, err)
	}
	return w.settle(r, attempt, out.CopyObjectResult.ETag, nil)
}

func (w *worker) readBack(ctx context.Context, key string) error {
	if _, certain := w.keys[key].known(); !certain {
		return nil
	}
	body, etag, err := get(ctx, w.client, key)
	if err != nil {
		return err
	}
	if err := w.keys[key].observe(body, etag); err != nil {
		return wrong("GET %s: %v", key, err)
	}
	return nil
}

// get returns an object's bytes and ETag; the bytes are nil when it is absent.
func get(ctx context.Context, client *s3.Client, key string) ([]byte, string, error) {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if isCode(err, "NoSuchKey") {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer out.Body.Close()
	body := make([]byte, 0, *out.ContentLength)
	buffer := bytes.NewBuffer(body)
	if _, err := io.Copy(buffer, out.Body); err != nil {
		return nil, "", err
	}
	return buffer.Bytes()[:buffer.Len():buffer.Len()], *out.ETag, nil
}

// toggleBucket creates or deletes the worker's own bucket, which is always empty.
func (w *worker) toggleBucket(ctx context.Context) error {
	r := w.buckets[w.index]
	now, certain := r.known()
	if !certain {
		return nil
	}
	attempt := r.begin(value{absent: !now.value.absent})
	var err error
	if now.value.absent {
		_, err = w.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucketName(w.index)})
	} else {
		_, err = w.client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucketName(w.index)})
	}
	return w.settle(r, attempt, nil, err)
}

// multipart takes the worker's upload one step further, or begins one.
func (w *worker) multipart(ctx context.Context, key string) error {
	u := w.uploads[w.index]
	if u == nil {
		out, err := w.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: &key})
		if err != nil {
			return err // Should it exist all the same, the next check aborts it.
		}
		w.uploads[w.index] = &upload{key: key, id: *out.UploadId}
		return nil
	}
	switch p := w.rng.IntN(100); {
	case len(u.parts) == 0 || len(u.parts) < 3 && p < 50:
		return w.uploadPart(ctx, u)
	case p < 90:
		return w.complete(ctx, u)
	}
	u.aborting = true
	_, err := w.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(bucket), Key: &u.key, UploadId: &u.id})
	if err != nil {
		return err
	}
	w.uploads[w.index] = nil
	return nil
}

// uploadPart sends the next part. Its predecessor, if any, is long enough to have one after it.
func (w *worker) uploadPart(ctx context.Context, u *upload) error {
	size := w.rng.IntN(300 << 10)
	if w.rng.IntN(3) == 0 {
		size = minPart + w.rng.IntN(1000)
	}
	number := len(u.parts)
	if number == 0 || u.parts[number-1].size >= minPart {
		u.parts = append(u.parts, uploadPart{})
		number++
	}
	// Else the last part is sent anew, with other bytes: parts may be overwritten.
	before := u.parts[number-1]
	part := w.piece(size)
	u.parts[number-1] = uploadPart{piece: part}
	out, err := w.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: aws.String(bucket), Key: &u.key, UploadId: &u.id, PartNumber: aws.Int32(int32(number)), Body: bytes.NewReader(part.bytes()),
	})
	switch {
	case isCode(err, "SlowDown"):
		if u.parts[number-1] = before; before.etag == "" {
			u.parts = u.parts[:number-1]
		}
		return nil
	case err != nil:
		w.unknown.Add(1)
		return err
	}
	w.acknowledged.Add(1)
	u.parts[number-1].etag = *out.ETag
	return nil
}

func (w *worker) complete(ctx context.Context, u *upload) error {
	var v value
	var named []types.CompletedPart
	for i, p := range u.parts {
		v.pieces = append(v.pieces, p.piece)
		named = append(named, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: &p.etag})
	}
	r := w.keys[u.key]
	u.completing = r.begin(v)
	out, err := w.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(bucket), Key: &u.key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: named},
	})
	if err != nil {
		return w.settle(r, u.completing, nil, err)
	}
	w.uploads[w.index] = nil
	return w.settle(r, u.completing, out.ETag, nil)
}
