package engine

import (
	"context"
	"errors"
	"strings"

	"penstock/meta"
)

// List returns a page of a bucket's objects.
func (s *Store) List(_ context.Context, bucket string, o ListOptions) (ListPage, error) {
	const op = "List"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return ListPage{}, err
	}
	if o.Max = min(o.Max, MaxListEntries); o.Max <= 0 {
		return ListPage{}, nil
	}
	pages := make([]meta.ListPage, len(s.cells))
	for i, c := range s.cells {
		pages[i], err = c.listObjects(b.id, meta.ListOptions{
			Prefix: o.Prefix, Delimiter: o.Delimiter, After: o.After, AfterPrefix: o.SkipPrefix, Max: o.Max,
		})
		if err != nil {
			return ListPage{}, storeError(op, bucket, "", err)
		}
	}
	return mergePages(pages, o.Max), nil
}

func (c *cell) listObjects(bucket meta.BucketID, o meta.ListOptions) (meta.ListPage, error) {
	b, err := c.enter()
	if err != nil {
		return meta.ListPage{}, err
	}
	defer b.leave()
	return b.index.ListObjects(bucket, o)
}

// mergePages merges pages of the same listing that hold different keys. Each has up to max entries and is complete up to its last one.
func mergePages(pages []meta.ListPage, max int) ListPage {
	var out ListPage
	object, prefix := make([]int, len(pages)), make([]int, len(pages))
	for count := 0; ; count++ {
		best, bestIsPrefix, bestPage := "", false, -1
		for i := range pages {
			if j := object[i]; j < len(pages[i].Objects) {
				if key := pages[i].Objects[j].Key; bestPage < 0 || strings.Compare(key, best) < 0 {
					best, bestIsPrefix, bestPage = key, false, i
				}
			}
			if j := prefix[i]; j < len(pages[i].Prefixes) {
				if p := pages[i].Prefixes[j]; bestPage < 0 || strings.Compare(p, best) < 0 {
					best, bestIsPrefix, bestPage = p, true, i
				}
			}
		}
		if bestPage < 0 {
			break
		}
		if count == max {
			out.Truncated = true
			return out
		}
		out.NextAfter, out.NextIsPrefix = best, bestIsPrefix
		if !bestIsPrefix {
			out.Objects = append(out.Objects, objectInfo(&pages[bestPage].Objects[object[bestPage]]))
			object[bestPage]++
			continue
		}
		out.Prefixes = append(out.Prefixes, best)
		for i := range pages { // Several cells have keys below the same prefix.
			if j := prefix[i]; j < len(pages[i].Prefixes) && pages[i].Prefixes[j] == best {
				prefix[i]++
			}
		}
	}
	for i := range pages {
		out.Truncated = out.Truncated || pages[i].Truncated
	}
	return out
}

// ListBuckets returns a page of buckets whose names begin with prefix and follow after.
func (s *Store) ListBuckets(_ context.Context, prefix, after string, max int) (BucketPage, error) {
	s.mu.RLock()
	names := make([]string, 0, len(s.buckets))
	for name := range s.buckets {
		if strings.HasPrefix(name, prefix) && name > after {
			names = append(names, name)
		}
	}
	s.mu.RUnlock()
	return s.bucketPage(names, max), nil
}

// ListUploads returns a page of the uploads in progress in a bucket.
func (s *Store) ListUploads(_ context.Context, bucket string, o UploadListOptions) (UploadPage, error) {
	const op = "ListUploads"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return UploadPage{}, err
	}
	marker, err := s.uploadMarker(op, b, o)
	if err != nil {
		return UploadPage{}, err
	}
	isPrefix := o.IDMarker == "" && o.Delimiter != "" && len(o.KeyMarker) > len(o.Prefix) && strings.HasSuffix(o.KeyMarker, o.Delimiter)
	if o.Max = min(o.Max, MaxListEntries); o.Max <= 0 {
		return UploadPage{}, nil
	}
	pages := make([]meta.UploadPage, len(s.cells))
	for i, c := range s.cells {
		pages[i], err = c.listUploads(b.id, meta.UploadListOptions{
			Prefix: o.Prefix, Delimiter: o.Delimiter, KeyMarker: o.KeyMarker, After: marker, AfterPrefix: isPrefix, Max: o.Max,
		})
		if err != nil {
			return UploadPage{}, storeError(op, bucket, "", err)
		}
	}
	return mergeUploads(pages, o.Max), nil
}

func (c *cell) listUploads(bucket meta.BucketID, o meta.UploadListOptions) (meta.UploadPage, error) {
	b, err := c.enter()
	if err != nil {
		return meta.UploadPage{}, err
	}
	defer b.leave()
	return b.index.ListUploads(bucket, o)
}

// uploadMarker finds where a listing goes on. An upload that is gone by now leaves the page to go on after its key: what began
// before it under that key was listed, and what began after it is younger than the listing.
func (s *Store) uploadMarker(op string, b *bucket, o UploadListOptions) (meta.UploadMarker, error) {
	if o.IDMarker == "" {
		return meta.UploadMarker{}, nil
	}
	id, ok := parseUploadID(o.IDMarker)
	if !ok {
		return meta.UploadMarker{}, &Error{Op: op, Bucket: b.name, Kind: KindNoSuchUpload, Err: errUploadMarker}
	}
	upload, found, err := s.cellOf(b, o.KeyMarker).upload(id)
	if err != nil {
		return meta.UploadMarker{}, storeError(op, b.name, o.KeyMarker, err)
	}
	if !found {
		return meta.UploadMarker{}, nil
	}
	return meta.UploadMarker{Initiated: upload.Initiated, ID: id}, nil
}

var errUploadMarker = errors.New("the upload id marker is not an upload id")

func mergeUploads(pages []meta.UploadPage, max int) UploadPage {
	var out UploadPage
	upload, prefix := make([]int, len(pages)), make([]int, len(pages))
	for count := 0; ; count++ {
		best, bestIsPrefix, bestPage := "", false, -1
		for i := range pages {
			if j := upload[i]; j < len(pages[i].Uploads) {
				if key := pages[i].Uploads[j].Key; bestPage < 0 || key < best {
					best, bestIsPrefix, bestPage = key, false, i
				}
			}
			if j := prefix[i]; j < len(pages[i].Prefixes) {
				if p := pages[i].Prefixes[j]; bestPage < 0 || p < best {
					best, bestIsPrefix, bestPage = p, true, i
				}
			}
		}
		if bestPage < 0 {
			break
		}
		if count == max {
			out.Truncated = true
			return out
		}
		out.NextKey, out.NextID = best, ""
		if !bestIsPrefix {
			u := &pages[bestPage].Uploads[upload[bestPage]]
			out.Uploads = append(out.Uploads, uploadInfo(u))
			out.NextID = formatUploadID(u.ID)
			upload[bestPage]++
			continue
		}
		out.Prefixes = append(out.Prefixes, best)
		for i := range pages {
			if j := prefix[i]; j < len(pages[i].Prefixes) && pages[i].Prefixes[j] == best {
				prefix[i]++
			}
		}
	}
	for i := range pages {
		out.Truncated = out.Truncated || pages[i].Truncated
	}
	return out
}
