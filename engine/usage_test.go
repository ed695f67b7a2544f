package engine

import (
	"context"
	"fmt"
	"testing"
)

// walkUsage counts what a bucket holds by looking at all of it.
func walkUsage(ctx context.Context, s *Store, bucket string) (u Usage, err error) {
	for o := (VersionListOptions{Max: 7}); ; {
		page, err := s.ListVersions(ctx, bucket, o)
		if err != nil {
			return u, err
		}
		for _, v := range page.Versions {
			switch {
			case v.Marker:
				u.Markers++
			case v.Current:
				u.Objects++
				fallthrough
			default:
				u.Versions++
			}
			u.Bytes += v.Size
		}
		if !page.Truncated {
			break
		}
		o.After, o.AfterVersion, o.SkipPrefix = page.NextAfter, page.NextVersion, page.NextIsPrefix
	}
	uploads, err := s.ListUploads(ctx, bucket, UploadListOptions{Max: 1000})
	if err != nil {
		return u, err
	}
	for _, upload := range uploads.Uploads {
		u.Uploads++
		parts, err := s.ListParts(ctx, bucket, upload.Key, upload.ID, 0, 1000)
		if err != nil {
			return u, err
		}
		for _, p := range parts.Parts {
			u.Parts++
			u.PartBytes += p.Size
		}
	}
	return u, nil
}

// checkUsage compares what is counted of a bucket with what is there. Nobody may write to it meanwhile.
func checkUsage(ctx context.Context, s *Store, bucket string) error {
	want, err := walkUsage(ctx, s, bucket)
	if err != nil {
		return err
	}
	got, err := s.BucketUsage(ctx, bucket)
	if err != nil {
		return err
	}
	if got.Usage != want {
		return fmt.Errorf("bucket %s holds %+v, and its usage says %+v", bucket, want, got.Usage)
	}
	all, err := s.BucketUsages(ctx)
	if err != nil {
		return err
	}
	for _, one := range all {
		if one.Name == bucket && one == got {
			return nil
		}
	}
	return fmt.Errorf("bucket %s holds %+v, and the usage of all says %+v", bucket, got, all)
}

func mustUsage(t testing.TB, s *Store, bucket string) Usage {
	t.Helper()
	if err := checkUsage(t.Context(), s, bucket); err != nil {
		t.Fatal(err)
	}
	u, err := s.BucketUsage(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return u.Usage
}

// TestUsage follows the count through everything that changes it.
func TestUsage(t *testing.T) {
	ctx := t.Context()
	s := newTestStore(t, 3, 1)
	mustBucket(t, s, testBucket)
	var want Usage
	expect := func(what string) {
		t.Helper()
		if got := mustUsage(t, s, testBucket); got != want {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("an empty bucket")
	mustPut(t, s, testBucket, "a", payload(1, 1000))
	want = Usage{Objects: 1, Versions: 1, Bytes: 1000}
	expect("a put")
	mustPut(t, s, testBucket, "a", payload(1, 300_000))
	want.Bytes = 300_000
	expect("an overwrite")
	must(copyObject(ctx, s, "a", "b"))
	want = Usage{Objects: 2, Versions: 2, Bytes: 600_000}
	expect("a copy, which shares the bytes")
	id, err := s.CreateUpload(ctx, testBucket, "c", nil)
	must(err)
	want.Uploads = 1
	expect("an upload")
	must(putPart(ctx, s, "c", id, 1, payload(2, 5<<20)))
	must(putPart(ctx, s, "c", id, 2, payload(3, 200)))
	must(putPart(ctx, s, "c", id, 2, payload(4, 100)))
	must(putPart(ctx, s, "c", id, 9, payload(5, 50)))
	want.Parts, want.PartBytes = 3, 5<<20+150
	expect("parts, one of them replaced")
	_, err = s.CompleteUpload(ctx, testBucket, "c", id, CompleteOptions{
		Parts:  []CompletePart{{1, etagOf(payload(2, 5<<20))}, {2, etagOf(payload(4, 100))}},
		Finish: func([]PartInfo, []Attr) (Final, error) { return Final{ETag: "whole"}, nil },
	})
	must(err)
	want.Uploads, want.Parts, want.PartBytes = 0, 0, 0
	want.Objects, want.Versions, want.Bytes = 3, 3, want.Bytes+5<<20+100
	expect("a completion, without the part that it did not name")
	id, err = s.CreateUpload(ctx, testBucket, "d", nil)
	must(err)
	must(putPart(ctx, s, "d", id, 1, payload(2, 1000)))
	must(s.AbortUpload(ctx, testBucket, "d", id))
	expect("an upload aborted")
	must(s.UpdateBucket(ctx, testBucket, func(b BucketInfo) ([]Attr, error) {
		return WithAttr(b.Attrs, AttrVersioning, VersioningEnabled), nil
	}))
	mustPut(t, s, testBucket, "a", payload(1, 10))
	want.Versions, want.Bytes = 4, want.Bytes+10
	expect("another version")
	must(deleteKey(ctx, s, testBucket, "a"))
	want.Objects, want.Markers = 2, 1
	expect("a delete marker")
	must(deleteKey(ctx, s, testBucket, "never was"))
	want.Markers = 2
	expect("a delete marker of nothing")
	_, err = s.Delete(ctx, testBucket, "a", NullVersion, DeleteOptions{})
	must(err)
	want.Versions, want.Bytes = 3, want.Bytes-300_000
	expect("the null version removed")

	before := want
	if got := mustUsage(t, s, testBucket); got != before {
		t.Fatalf("got %+v, want %+v", got, before)
	}
	mustBucket(t, s, "another")
	all, err := s.BucketUsages(ctx)
	must(err)
	if len(all) != 2 || all[0].Name != "another" || all[0].Usage != (Usage{}) || all[1].Usage != want {
		t.Errorf("all buckets: got %+v", all)
	}
	if _, err := s.BucketUsage(ctx, "none"); KindOf(err) != KindNoSuchBucket {
		t.Errorf("no such bucket: got %v", err)
	}
}
