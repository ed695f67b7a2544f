package killtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// check compares the restarted node with what is known, and learns from it what was unknown. Keys that were written since the
// last check are read whole, and of the others those that sample chooses.
func (s *state) check(ctx context.Context, client *s3.Client, sample func() bool) error {
	listed, err := list(ctx, client)
	if err != nil {
		return err
	}
	for key := range listed {
		if s.keys[key] == nil {
			return wrong("LIST shows %q, which was never written", key)
		}
	}
	for index := range s.uploads {
		if err := s.checkUpload(ctx, client, index); err != nil {
			return err
		}
	}
	if err := s.abortStrangers(ctx, client); err != nil {
		return err
	}
	for key, r := range s.keys {
		object, there := listed[key]
		w, certain := r.known()
		if certain && !r.fresh && !sample() {
			// Nothing happened to it: that it is listed as it was is enough this time.
			if there == w.value.absent || there && (*object.Size != int64(w.value.size()) || w.etag != "" && *object.ETag != w.etag) {
				return wrong("LIST has %s as %v, %v; want %v, ETag %s", key, there, object, w.value, w.etag)
			}
			continue
		}
		if err := s.checkKey(ctx, client, key, object, there); err != nil {
			return err
		}
	}
	return s.checkBuckets(ctx, client)
}

// checkKey reads a key with GET and HEAD, and holds both against the oracle and against its line in LIST.
func (s *state) checkKey(ctx context.Context, client *s3.Client, key string, object types.Object, there bool) error {
	body, etag, err := get(ctx, client, key)
	if err != nil {
		return err
	}
	if err := s.keys[key].observe(body, etag); err != nil {
		return wrong("GET %s: %v", key, err)
	}
	if there != (body != nil) || there && (*object.Size != int64(len(body)) || *object.ETag != etag) {
		return wrong("%s: GET gives %d bytes, ETag %s, present %v; LIST has present %v, %v", key, len(body), etag, body != nil, there, object)
	}
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key})
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
func list(ctx context.Context, client *s3.Client) (map[string]types.Object, error) {
	objects := map[string]types.Object{}
	last := ""
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), MaxKeys: aws.Int32(101)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, object := range page.Contents {
			if *object.Key <= last {
				return nil, wrong("LIST has %q after %q", *object.Key, last)
			}
			last = *object.Key
			objects[last] = object
		}
	}
	return objects, nil
}

// checkUpload holds that a worker's upload is there with every part it acknowledged, or, when its end was cut off, that it
// ended as a whole.
func (s *state) checkUpload(ctx context.Context, client *s3.Client, index int) error {
	u := s.uploads[index]
	if u == nil {
		return nil
	}
	out, err := client.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String(bucket), Key: &u.key, UploadId: &u.id})
	if isCode(err, "NoSuchUpload") {
		s.uploads[index] = nil
		switch {
		case u.completing != nil:
			// It happened: then it is what the key holds, and nothing else.
			s.keys[u.key].acknowledge(u.completing, "")
			return nil
		case u.aborting:
			return nil
		}
		return wrong("upload of %s with parts %v is gone", u.key, u.parts)
	}
	if err != nil {
		return err
	}
	if u.completing != nil {
		s.keys[u.key].refuse(u.completing) // It did not happen: the upload is still there.
		u.completing = nil
	}
	for i, want := range u.parts {
		at := slices.IndexFunc(out.Parts, func(p types.Part) bool { return *p.PartNumber == int32(i+1) })
		switch {
		case want.etag == "": // Cut off: old, new or absent. Either way it is sent anew.
		case at < 0:
			return wrong("upload of %s has lost part %d", u.key, i+1)
		case *out.Parts[at].ETag != want.etag || *out.Parts[at].Size != int64(want.size):
			return wrong("upload of %s, part %d: %d bytes, ETag %s; want %d, %s",
				u.key, i+1, *out.Parts[at].Size, *out.Parts[at].ETag, want.size, want.etag)
		}
	}
	if n := len(u.parts); n > 0 && u.parts[n-1].etag == "" {
		u.parts = u.parts[:n-1]
		// A completion names the parts before it; what there is of this one is dropped then.
	}
	if len(out.Parts) > len(u.parts)+1 {
		return wrong("upload of %s has %d parts; %d were acknowledged", u.key, len(out.Parts), len(u.parts))
	}
	u.aborting = false
	return nil
}

// abortStrangers aborts uploads whose creation was cut off: nobody knows their ids. There is one for each worker at most.
func (s *state) abortStrangers(ctx context.Context, client *s3.Client) error {
	out, err := client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: aws.String(bucket)})
	if err != nil {
		return err
	}
	known := 0
	for _, u := range out.Uploads {
		if slices.ContainsFunc(s.uploads[:], func(own *upload) bool { return own != nil && own.id == *u.UploadId }) {
			known++
			continue
		}
		_, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(bucket), Key: u.Key, UploadId: u.UploadId})
		if err != nil {
			return fmt.Errorf("abort an upload nobody knows: %w", err)
		}
	}
	for _, u := range s.uploads {
		if u != nil {
			known--
		}
	}
	if known != 0 || len(out.Uploads) > 2*workers {
		return wrong("LIST of uploads shows %d, and %d of those known are missing", len(out.Uploads), -known)
	}
	return nil
}

func (s *state) checkBuckets(ctx context.Context, client *s3.Client) error {
	out, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return err
	}
	for w, r := range s.buckets {
		there := slices.ContainsFunc(out.Buckets, func(b types.Bucket) bool { return *b.Name == *bucketName(w) })
		var body []byte
		if there {
			body = []byte{}
		}
		if err := r.observe(body, ""); err != nil {
			return wrong("LIST of buckets, %s: %v", *bucketName(w), err)
		}
		_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucketName(w)})
		if there && err != nil || !there && !isCode(err, "NotFound") {
			return wrong("HEAD of bucket %s, listed %v: %v", *bucketName(w), there, err)
		}
	}
	return nil
}

// everything chooses each key; some, about one in eight.
func everything() bool { return true }

func some(rng *rand.Rand) func() bool { return func() bool { return rng.IntN(8) == 0 } }
