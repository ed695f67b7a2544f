package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The shape of the load. A key is written by its worker alone, so that its state is nearly always certain, except for the shared
// ones, on which all workers collide.
const (
	workers       = 8
	keysPerWorker = 24
	sharedKeys    = 4
	minPart       = 5 << 20
)

// The buckets that always exist.
const (
	plainBucket     = "torture"
	versionedBucket = "torture-versions"
)

// A state is what is known of everything that the load may touch. It outlives the process under test.
type state struct {
	keys      map[string]*register
	buckets   [workers]*register             // Whether each worker's own bucket exists: absent or empty.
	uploads   [workers]*upload               // In progress; nil for none. Owned by the worker while it runs.
	doubtful  [workers][]*upload             // Of which an answer left open what became of them.
	histories [workers][versionKeys]*history // Of the keys with versions.
	seeds     atomic.Uint64                  // Of bodies: every one is different.
	strangers atomic.Int64                   // Uploads that may exist without anybody knowing their ids.

	calm         atomic.Bool // Nothing is done to the node, so it has no reason to fail.
	acknowledged atomic.Int64
	unknown      atomic.Int64 // Writes that nobody knows the end of.
	refusals     atomic.Int64
	reads        atomic.Int64
}

func newState(seed uint64) *state {
	s := &state{keys: map[string]*register{}}
	for w := range workers {
		s.buckets[w] = newRegister()
		for k := range keysPerWorker {
			s.keys[keyName(w, k)] = newRegister()
		}
		for k := range versionKeys {
			s.histories[w][k] = &history{key: keyName(w, k)}
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
func bucketName(worker int) *string { return aws.String(fmt.Sprintf("torture-own-%d", worker)) }

// A worker sends one request after another.
type worker struct {
	*state
	index  int
	client *s3.Client
	rng    *rand.Rand
}

// run works until the context ends, which is between two requests, or until an error, which it returns. What was in flight then
// stays unknown in the state.
func (w *worker) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := w.step(context.WithoutCancel(ctx))
		if answerOf(err) == failed && !w.calm.Load() {
			select { // As a client would, but sooner.
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) step(ctx context.Context) error {
	key := keyName(w.index, w.rng.IntN(keysPerWorker))
	switch p := w.rng.IntN(100); {
	case p < 32:
		return w.put(ctx, key, w.size())
	case p < 40:
		return w.put(ctx, sharedName(w.rng.IntN(sharedKeys)), w.rng.IntN(20_000))
	case p < 51:
		return w.remove(ctx, key)
	case p < 59:
		return w.copy(ctx, keyName(w.index, w.rng.IntN(keysPerWorker)), key)
	case p < 63:
		return w.create(ctx, key)
	case p < 67:
		return w.replace(ctx, key)
	case p < 75:
		return w.readBack(ctx, key)
	case p < 77:
		return w.readBack(ctx, sharedName(w.rng.IntN(sharedKeys)))
	case p < 79:
		return w.list(ctx)
	case p < 82:
		return w.toggleBucket(ctx)
	case p < 91:
		return w.versions(ctx)
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

// count counts how an attempt to write ended, and returns what is left to say of it: nothing after a refusal, which is no failure.
func (s *state) count(err error) error {
	switch answerOf(err) {
	case success:
		s.acknowledged.Add(1)
	case refused:
		s.refusals.Add(1)
		return nil
	case denied:
		return wrong("%v", err)
	default:
		s.unknown.Add(1)
	}
	return err
}

// settle notes how an attempt to write a key ended.
func (w *worker) settle(r *register, attempt *write, etag *string, err error) error {
	switch answerOf(err) {
	case success:
		r.acknowledge(attempt, aws.ToString(etag))
	case refused:
		if err := r.refuse(attempt); err != nil {
			return err
		}
	}
	return w.count(err)
}

func (w *worker) put(ctx context.Context, key string, size int) error {
	p := w.piece(size)
	r := w.keys[key]
	attempt := r.begin(value{pieces: []piece{p}})
	out, err := w.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(plainBucket), Key: &key, Body: bytes.NewReader(p.bytes())})
	if err != nil {
		return w.settle(r, attempt, nil, err)
	}
	return w.settle(r, attempt, out.ETag, nil)
}

// create puts only if the key is absent.
func (w *worker) create(ctx context.Context, key string) error {
	before, certain := w.keys[key].known()
	return w.putIf(ctx, key, &s3.PutObjectInput{IfNoneMatch: aws.String("*")}, before.value.absent, certain)
}

// replace puts only if the key holds what it should, or, now and then, something that it should not.
func (w *worker) replace(ctx context.Context, key string) error {
	before, certain := w.keys[key].known()
	etag, holds := before.etag, true
	if !certain || before.value.absent || etag == "" {
		return nil
	}
	if w.rng.IntN(3) == 0 {
		etag, holds = `"00000000000000000000000000000000"`, false
	}
	return w.putIf(ctx, key, &s3.PutObjectInput{IfMatch: &etag}, holds, true)
}

// putIf puts on a condition, which holds or not if that is certain.
func (w *worker) putIf(ctx context.Context, key string, in *s3.PutObjectInput, holds, certain bool) error {
	r := w.keys[key]
	p := w.piece(w.rng.IntN(8 << 10))
	attempt := r.begin(value{pieces: []piece{p}})
	in.Bucket, in.Key, in.Body = aws.String(plainBucket), &key, bytes.NewReader(p.bytes())
	out, err := w.client.PutObject(ctx, in)
	if isCode(err, "PreconditionFailed") {
		if certain && holds {
			return wrong("put of %s was refused, and its condition (If-Match %q, If-None-Match %q) holds",
				key, aws.ToString(in.IfMatch), aws.ToString(in.IfNoneMatch))
		}
		return r.refuse(attempt)
	}
	if err != nil {
		return w.settle(r, attempt, nil, err)
	}
	if certain && !holds {
		return wrong("put of %s was accepted, and its condition (If-Match %q, If-None-Match %q) does not hold",
			key, aws.ToString(in.IfMatch), aws.ToString(in.IfNoneMatch))
	}
	return w.settle(r, attempt, out.ETag, nil)
}

func (w *worker) remove(ctx context.Context, key string) error {
	r := w.keys[key]
	attempt := r.begin(value{absent: true})
	_, err := w.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(plainBucket), Key: &key})
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
		Bucket: aws.String(plainBucket), Key: &to, CopySource: aws.String(plainBucket + "/" + from),
	})
	if err != nil {
		return w.settle(r, attempt, nil, err)
	}
	return w.settle(r, attempt, out.CopyObjectResult.ETag, nil)
}

func (w *worker) readBack(ctx context.Context, key string) error {
	r := w.keys[key]
	begun := r.now()
	body, etag, err := get(ctx, w.client, &s3.GetObjectInput{Bucket: aws.String(plainBucket), Key: &key})
	if err != nil {
		if answerOf(err) == refused {
			return nil
		}
		return err
	}
	w.reads.Add(1)
	if err := r.read(begun, body, etag); err != nil {
		return fmt.Errorf("GET %s: %w", key, err)
	}
	return nil
}

// list holds the worker's own keys, which nobody else changes, against their line in LIST.
func (w *worker) list(ctx context.Context) error {
	out, err := w.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(plainBucket), Prefix: aws.String(fmt.Sprintf("w%d/", w.index))})
	if err != nil {
		if answerOf(err) == refused {
			return nil
		}
		return err
	}
	w.reads.Add(1)
	listed := map[string]line{}
	for _, object := range out.Contents {
		listed[*object.Key] = line{size: int(*object.Size), etag: *object.ETag}
	}
	for k := range keysPerWorker {
		key := keyName(w.index, k)
		if err := w.keys[key].checkLine(key, listed); err != nil {
			return err
		}
	}
	return nil
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
