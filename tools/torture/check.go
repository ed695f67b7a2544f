package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// A checker compares what the node says with what is known, while no worker runs.
type checker struct {
	*state
	client *s3.Client
	chosen func() bool // Which keys are read that nothing happened to since they were last read whole.

	// settled: the node was restarted, so nothing is under way any more, and what is found stays.
	settled bool
	// patience is how long the node may answer that it cannot tell now: while a drive fails, and until all is found again.
	patience time.Duration
	// doubt: more drives are gone than the parity makes up for. The node may answer for ever that it cannot tell; what it does
	// tell must be true.
	doubt     bool
	unchecked int // What it did not tell.
}

// enoughDoubt is how many questions go without an answer before a checker in doubt has seen enough: each may take a second.
const enoughDoubt = 8

// errNoAnswer is what a checker in doubt gets from a node that cannot tell.
var errNoAnswer = errors.New("no answer")

// ask asks until there is an answer.
func (k *checker) ask(ctx context.Context, request func() error) error {
	for end := time.Now().Add(k.patience); ; {
		err := request()
		if a := answerOf(err); a != failed && a != refused {
			return err
		}
		if k.doubt {
			k.unchecked++
			return errNoAnswer
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v: %w", k.patience, err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// skips reports whether an error only says that there was no answer, where there need not be one.
func (k *checker) skips(err error) bool { return k.doubt && errors.Is(err, errNoAnswer) }

func (k *checker) get(ctx context.Context, bucket, key, version string) (body []byte, etag string, err error) {
	in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if version != "" {
		in.VersionId = &version
	}
	err = k.ask(ctx, func() error {
		var err error
		body, etag, err = get(ctx, k.client, in)
		return err
	})
	if err != nil && !k.skips(err) {
		err = fmt.Errorf("GET %s/%s %s: %w", bucket, key, version, err)
	}
	return body, etag, err
}

// A line is what LIST says of an object.
type line struct {
	size int
	etag string
}

// checkLine holds a line of LIST, or that there is none, against what is certain of the key.
func (r *register) checkLine(key string, listed map[string]line) error {
	l, there := listed[key]
	w, certain := r.known()
	if !certain || there == !w.value.absent && (!there || l.size == w.value.size() && (w.etag == "" || l.etag == w.etag)) {
		return nil
	}
	return wrong("LIST has %s as %v, present %v; want %v, ETag %s", key, l, there, w.value, w.etag)
}

// check looks at everything, and reads the keys that were written since they were last read whole, and of the others those chosen.
func (k *checker) check(ctx context.Context) error {
	listed, err := k.list(ctx)
	if err != nil && !k.skips(err) {
		return err
	}
	if err == nil {
		for key := range listed {
			if k.keys[key] == nil {
				return wrong("LIST shows %q, which was never written", key)
			}
		}
		for key, r := range k.keys {
			if err := r.checkLine(key, listed); err != nil {
				return err
			}
		}
	}
	if k.settled {
		if err := k.checkUploads(ctx); err != nil {
			return err
		}
	}
	for key, r := range k.keys {
		if k.unchecked >= enoughDoubt {
			return nil
		}
		_, certain := r.known()
		if certain && !r.fresh && !k.chosen() {
			continue // That it is listed as it was is enough this time.
		}
		if err := k.checkKey(ctx, key, listed); err != nil && !k.skips(err) {
			return err
		}
	}
	if err := k.checkVersions(ctx); err != nil && !k.skips(err) {
		return err
	}
	if err := k.checkBuckets(ctx); err != nil && !k.skips(err) {
		return err
	}
	return nil
}

// checkKey reads a key with GET and HEAD, and holds both against the oracle and, when nothing is under way, against each other and LIST.
func (k *checker) checkKey(ctx context.Context, key string, listed map[string]line) error {
	r := k.keys[key]
	begun := r.now()
	body, etag, err := k.get(ctx, plainBucket, key, "")
	if err != nil {
		return err
	}
	k.reads.Add(1)
	if !k.settled {
		if err := r.read(begun, body, etag); err != nil {
			return fmt.Errorf("GET %s: %w", key, err)
		}
		return nil
	}
	if err := r.settle(body, etag); err != nil {
		return fmt.Errorf("GET %s: %w", key, err)
	}
	l, there := listed[key]
	if there != (body != nil) || there && (l.size != len(body) || l.etag != etag) {
		return wrong("%s: GET gives %d bytes, ETag %s, present %v; LIST has present %v, %v", key, len(body), etag, body != nil, there, l)
	}
	var head *s3.HeadObjectOutput
	err = k.ask(ctx, func() (err error) {
		head, err = k.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(plainBucket), Key: &key})
		return err
	})
	switch {
	case body == nil && isCode(err, "NotFound"):
		return nil
	case err != nil:
		return wrong("HEAD %s: %v; GET gave %d bytes, present %v", key, err, len(body), body != nil)
	case body == nil || *head.ContentLength != int64(len(body)) || *head.ETag != etag:
		return wrong("%s: GET gives %d bytes, ETag %s, present %v; HEAD %d, %s", key, len(body), etag, body != nil, *head.ContentLength, *head.ETag)
	}
	return nil
}

// list lists the bucket. The limit of a page is odd, so that pages are continued.
func (k *checker) list(ctx context.Context) (map[string]line, error) {
	listed := map[string]line{}
	last := ""
	in := &s3.ListObjectsV2Input{Bucket: aws.String(plainBucket), MaxKeys: aws.Int32(101)}
	for {
		var page *s3.ListObjectsV2Output
		if err := k.ask(ctx, func() (err error) { page, err = k.client.ListObjectsV2(ctx, in); return err }); err != nil {
			return nil, err
		}
		for _, object := range page.Contents {
			if *object.Key <= last {
				return nil, wrong("LIST has %q after %q", *object.Key, last)
			}
			last = *object.Key
			listed[last] = line{size: int(*object.Size), etag: *object.ETag}
		}
		if !aws.ToBool(page.IsTruncated) {
			return listed, nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

// checkUploads holds that the uploads in progress are what is known of them, and ends those of which nothing more will be known.
func (k *checker) checkUploads(ctx context.Context) error {
	for index := range k.uploads {
		if u := k.uploads[index]; u != nil {
			there, err := k.checkUpload(ctx, u)
			if err != nil {
				return err
			}
			if !there {
				k.uploads[index] = nil
			}
		}
		for _, u := range k.doubtful[index] {
			there, err := k.checkUpload(ctx, u)
			if err != nil {
				return err
			}
			if there {
				if err := k.abort(ctx, u.key, u.id); err != nil {
					return err
				}
			}
		}
		k.doubtful[index] = nil
	}
	return k.abortStrangers(ctx)
}

// checkUpload holds that an upload is there with every part it acknowledged, or, when its end was cut off, that it
// ended as a whole.
func (k *checker) checkUpload(ctx context.Context, u *upload) (there bool, err error) {
	var out *s3.ListPartsOutput
	err = k.ask(ctx, func() (err error) {
		out, err = k.client.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String(plainBucket), Key: &u.key, UploadId: &u.id})
		return err
	})
	if isCode(err, "NoSuchUpload") {
		switch {
		case u.completing != nil && !u.aborting:
			k.keys[u.key].acknowledge(u.completing, "") // It happened, some time before now.
		case u.completing == nil && !u.aborting:
			return false, wrong("upload of %s with parts %v is gone", u.key, u.parts)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if u.completing != nil {
		// It did not happen: the upload is still there.
		if err := k.keys[u.key].refuse(u.completing); err != nil {
			return false, err
		}
		u.completing = nil
	}
	for i, want := range u.parts {
		at := slices.IndexFunc(out.Parts, func(p types.Part) bool { return *p.PartNumber == int32(i+1) })
		switch {
		case want.etag == "": // Cut off: old, new or absent. Either way it is sent anew.
		case at < 0:
			return false, wrong("upload of %s has lost part %d", u.key, i+1)
		case *out.Parts[at].ETag != want.etag || *out.Parts[at].Size != int64(want.size):
			return false, wrong("upload of %s, part %d: %d bytes, ETag %s; want %d, %s",
				u.key, i+1, *out.Parts[at].Size, *out.Parts[at].ETag, want.size, want.etag)
		}
	}
	if n := len(u.parts); n > 0 && u.parts[n-1].etag == "" {
		u.parts = u.parts[:n-1]
		// A completion names the parts before it; what there is of this one is dropped then.
	}
	if len(out.Parts) > len(u.parts)+1 {
		return false, wrong("upload of %s has %d parts; %d were acknowledged", u.key, len(out.Parts), len(u.parts))
	}
	u.aborting = false
	return true, nil
}

func (k *checker) abort(ctx context.Context, key, id string) error {
	return k.ask(ctx, func() error {
		_, err := k.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(plainBucket), Key: &key, UploadId: &id})
		return err
	})
}

// abortStrangers aborts uploads whose creation was cut off: nobody knows their ids.
func (k *checker) abortStrangers(ctx context.Context) error {
	known := map[string]bool{}
	for _, u := range k.uploads {
		if u != nil {
			known[u.id] = true
		}
	}
	in := &s3.ListMultipartUploadsInput{Bucket: aws.String(plainBucket)}
	var strangers []types.MultipartUpload
	for {
		var out *s3.ListMultipartUploadsOutput
		if err := k.ask(ctx, func() (err error) { out, err = k.client.ListMultipartUploads(ctx, in); return err }); err != nil {
			return err
		}
		for _, u := range out.Uploads {
			if !known[*u.UploadId] {
				strangers = append(strangers, u)
			}
			delete(known, *u.UploadId)
		}
		if !aws.ToBool(out.IsTruncated) {
			break
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
	if most := k.strangers.Swap(0); len(known) > 0 || int64(len(strangers)) > most {
		return wrong("LIST of uploads lacks %d of those known, and shows %d that nobody began, of %d that may have been", len(known), len(strangers), most)
	}
	for _, u := range strangers {
		if err := k.abort(ctx, *u.Key, *u.UploadId); err != nil {
			return fmt.Errorf("abort an upload nobody knows: %w", err)
		}
	}
	return nil
}

func (k *checker) checkBuckets(ctx context.Context) error {
	var out *s3.ListBucketsOutput
	if err := k.ask(ctx, func() (err error) { out, err = k.client.ListBuckets(ctx, &s3.ListBucketsInput{}); return err }); err != nil {
		return err
	}
	listed := func(name string) bool {
		return slices.ContainsFunc(out.Buckets, func(b types.Bucket) bool { return *b.Name == name })
	}
	if !listed(plainBucket) || !listed(versionedBucket) {
		return wrong("LIST of buckets lacks %s or %s", plainBucket, versionedBucket)
	}
	for w, r := range k.buckets {
		var body []byte
		there := listed(*bucketName(w))
		if there {
			body = []byte{}
		}
		if !k.settled {
			if err := r.read(r.now(), body, ""); err != nil {
				return fmt.Errorf("LIST of buckets, %s: %w", *bucketName(w), err)
			}
			continue
		}
		if err := r.settle(body, ""); err != nil {
			return fmt.Errorf("LIST of buckets, %s: %w", *bucketName(w), err)
		}
		err := k.ask(ctx, func() error {
			_, err := k.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucketName(w)})
			return err
		})
		if there && err != nil || !there && !isCode(err, "NotFound") {
			return wrong("HEAD of bucket %s, listed %v: %v", *bucketName(w), there, err)
		}
	}
	return nil
}
