package main

import (
	"bytes"
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

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

// multipart takes the worker's upload one step further, or begins one.
func (w *worker) multipart(ctx context.Context, key string) error {
	u := w.uploads[w.index]
	if u == nil {
		return w.createUpload(ctx, key)
	}
	var err error
	switch p := w.rng.IntN(100); {
	case len(u.parts) == 0 || len(u.parts) < 3 && p < 50:
		err = w.uploadPart(ctx, u)
	case p < 80:
		err = w.complete(ctx, u)
	case p < 90:
		err = w.abort(ctx, u)
	default:
		err = w.race(ctx, u)
	}
	if answerOf(err) == failed && w.uploads[w.index] == u {
		// What became of it shows when nothing is under way any more.
		w.uploads[w.index] = nil
		w.doubtful[w.index] = append(w.doubtful[w.index], u)
	}
	return err
}

func (w *worker) createUpload(ctx context.Context, key string) error {
	out, err := w.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(plainBucket), Key: &key})
	if a := answerOf(err); a == failed || a == silent {
		w.strangers.Add(1) // Should it exist all the same, the next check aborts it.
	}
	if err != nil {
		return w.count(err)
	}
	w.uploads[w.index] = &upload{key: key, id: *out.UploadId}
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
		Bucket: aws.String(plainBucket), Key: &u.key, UploadId: &u.id, PartNumber: aws.Int32(int32(number)), Body: bytes.NewReader(part.bytes()),
	})
	switch answerOf(err) {
	case success:
		u.parts[number-1].etag = *out.ETag
	case refused:
		if u.parts[number-1] = before; before.etag == "" {
			u.parts = u.parts[:number-1]
		}
	}
	return w.count(err)
}

// sendComplete completes the upload with the parts that were acknowledged.
func (w *worker) sendComplete(ctx context.Context, u *upload) (*s3.CompleteMultipartUploadOutput, error) {
	var v value
	var named []types.CompletedPart
	for i, p := range u.parts {
		v.pieces = append(v.pieces, p.piece)
		named = append(named, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: &p.etag})
	}
	u.completing = w.keys[u.key].begin(v)
	return w.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(plainBucket), Key: &u.key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: named},
	})
}

func (w *worker) complete(ctx context.Context, u *upload) error {
	if u.parts[len(u.parts)-1].etag == "" {
		return w.uploadPart(ctx, u) // Its last part was cut off.
	}
	r := w.keys[u.key]
	out, err := w.sendComplete(ctx, u)
	switch answerOf(err) {
	case success:
		w.uploads[w.index] = nil
		return w.settle(r, u.completing, out.ETag, nil)
	case refused:
		attempt := u.completing
		u.completing = nil
		return w.settle(r, attempt, nil, err)
	}
	return w.settle(r, u.completing, nil, err)
}

func (w *worker) sendAbort(ctx context.Context, u *upload) error {
	u.aborting = true
	_, err := w.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(plainBucket), Key: &u.key, UploadId: &u.id})
	return err
}

func (w *worker) abort(ctx context.Context, u *upload) error {
	err := w.sendAbort(ctx, u)
	switch answerOf(err) {
	case success:
		w.uploads[w.index] = nil
	case refused:
		u.aborting = false
	}
	return w.count(err)
}

// race completes and aborts the upload at the same time: one of the two happens.
func (w *worker) race(ctx context.Context, u *upload) error {
	if u.parts[len(u.parts)-1].etag == "" {
		return w.uploadPart(ctx, u)
	}
	var aborted error
	var both sync.WaitGroup
	both.Go(func() { aborted = w.sendAbort(ctx, u) })
	out, completed := w.sendComplete(ctx, u)
	both.Wait()
	r := w.keys[u.key]
	late := func(err error) bool { return isCode(err, "NoSuchUpload") }
	switch {
	case completed == nil && aborted == nil:
		return wrong("upload of %s was both completed and aborted", u.key)
	case completed == nil && late(aborted):
		w.uploads[w.index] = nil
		return w.settle(r, u.completing, out.ETag, nil)
	case late(completed) && aborted == nil:
		w.uploads[w.index] = nil
		w.acknowledged.Add(1)
		return r.refuse(u.completing)
	case late(completed) && late(aborted):
		return wrong("upload of %s was neither completed nor aborted, and is gone", u.key)
	}
	// One of them has no answer, or none that tells.
	w.uploads[w.index] = nil
	w.doubtful[w.index] = append(w.doubtful[w.index], u)
	w.unknown.Add(1)
	for _, err := range []error{completed, aborted} {
		if a := answerOf(err); a == silent || a == failed || a == denied && !late(err) {
			return err
		}
	}
	return nil
}
