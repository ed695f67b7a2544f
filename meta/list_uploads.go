package meta

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// UploadMarker names an upload of a key in listings. With Initiated zero the time is looked up; if the upload has gone by
// then, the listing begins at the first upload of the key: better one upload twice than one left out.
type UploadMarker struct {
	Initiated time.Time
	ID        UploadID
}

// UploadListOptions select a page of a bucket's uploads.
type UploadListOptions struct {
	Prefix, Delimiter string
	KeyMarker         string       // Only uploads of keys after this one, and those of the key itself that After admits.
	After             UploadMarker // With an ID: uploads of KeyMarker that come after it, too.
	// AfterPrefix says that KeyMarker is a rolled-up prefix of an earlier page: every key that begins with it is passed over.
	AfterPrefix bool
	Max         int
}

// UploadPage is a page of uploads, in order of key, then of initiation.
type UploadPage struct {
	Uploads   []Upload
	Prefixes  []string
	Truncated bool
	// The page's last entry, to continue a truncated listing.
	NextKey         string
	Next            UploadMarker // Zero after a prefix.
	NextAfterPrefix bool
}

// ListUploads returns a page of a bucket's uploads.
func (x *Index) ListUploads(bucket BucketID, o UploadListOptions) (UploadPage, error) {
	var page UploadPage
	if o.Max <= 0 {
		return page, nil
	}
	space := func() []byte { return appendID(nil, spaceUploadOrder, uint64(bucket)) }
	it, err := x.db.NewIter(prefixOptions(appendEscaped(space(), o.Prefix)))
	if err != nil {
		return page, readError(err)
	}
	defer it.Close()
	valid, err := x.uploadsFrom(it, space(), &o)
	if err != nil {
		return page, err
	}
	var keyRoom [objectKeyRoom]byte
	for valid {
		if len(page.Uploads)+len(page.Prefixes) == o.Max {
			page.Truncated = true
			return page, nil
		}
		key, tail, ok := cutEscaped(keyRoom[:0], it.Key()[1+8:])
		if !ok || len(tail) != uploadOrderTail {
			return UploadPage{}, errOrderKey
		}
		if end, ok := rollUp(key, o.Prefix, o.Delimiter); ok {
			prefix := string(key[:end])
			page.Prefixes = append(page.Prefixes, prefix)
			page.NextKey, page.Next, page.NextAfterPrefix = prefix, UploadMarker{}, true
			next := successor(appendEscaped(space(), prefix))
			valid = next != nil && it.SeekGE(next)
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return UploadPage{}, readError(err)
		}
		r := reader{s: string(v)}
		u := Upload{Bucket: bucket, Key: string(key), Attrs: r.attrs()}
		u.Initiated = time.UnixMilli(int64(binary.BigEndian.Uint64(tail) ^ 1<<63)).UTC()
		copy(u.ID[:], tail[8:])
		if !r.done() {
			return UploadPage{}, corruptEntry(it.Key())
		}
		page.Uploads = append(page.Uploads, u)
		page.NextKey, page.Next, page.NextAfterPrefix = u.Key, UploadMarker{u.Initiated, u.ID}, false
		valid = it.Next()
	}
	return page, readError(it.Error())
}

// uploadsFrom positions it at the first upload of the listing. space is the bucket's part of the key.
func (x *Index) uploadsFrom(it *pebble.Iterator, space []byte, o *UploadListOptions) (bool, error) {
	if o.KeyMarker == "" {
		return it.First(), nil
	}
	from := appendEscaped(space, o.KeyMarker)
	if o.AfterPrefix {
		from = successor(from)
		return from != nil && it.SeekGE(from), nil
	}
	from = append(from, 0x00, 0x01)
	if o.After.ID == (UploadID{}) {
		from[len(from)-1]++ // Past every upload of the key, before any longer key.
		return it.SeekGE(from), nil
	}
	after := o.After
	if after.Initiated.IsZero() {
		u, found, err := x.GetUpload(after.ID)
		if err != nil {
			return false, err
		}
		if !found || u.Key != o.KeyMarker {
			return it.SeekGE(from), nil
		}
		after.Initiated = u.Initiated
	}
	from = appendInitiated(from, after.Initiated.UnixMilli())
	from = slices.Concat(from, after.ID[:], []byte{0})
	return it.SeekGE(from), nil
}
