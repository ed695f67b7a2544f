package meta

import (
	"slices"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"
)

// ListOptions select a page of a bucket's objects.
type ListOptions struct {
	Prefix    string
	Delimiter string // Keys that have it after Prefix are rolled up to what ends with its first occurrence; "" rolls up nothing.
	After     string // Only keys after this one; "" means from the start.
	// AfterPrefix says that After is a rolled-up prefix of an earlier page: every key that begins with it is passed over.
	AfterPrefix bool
	Max         int // Objects and prefixes together.
}

// ListPage is a page of objects (without blobs and parts) and prefixes, each in byte order. Together they are in byte
// order too, so pages of several indexes merge by comparing.
type ListPage struct {
	Objects   []Object
	Prefixes  []string
	Truncated bool
	// NextAfter and NextAfterPrefix continue a truncated listing.
	NextAfter       string
	NextAfterPrefix bool
}

// ListObjects returns a page of a bucket. It reads no more entries than the page has: what is rolled up is passed over with one seek.
func (x *Index) ListObjects(bucket BucketID, o ListOptions) (ListPage, error) {
	var page ListPage
	if o.Max <= 0 {
		return page, nil
	}
	bounds := prefixOptions(appendObjectKey(nil, bucket, o.Prefix))
	it, err := x.db.NewIter(bounds)
	if err != nil {
		return page, readError(err)
	}
	defer it.Close()

	const base = 1 + 8 // Bytes of an index key before the object's.
	page.Objects = make([]Object, 0, min(o.Max, firstObjects))
	var mem arena
	for valid := listFrom(it, bucket, &o); valid; {
		if len(page.Objects)+len(page.Prefixes) == o.Max {
			page.Truncated = true
			return page, nil
		}
		key := it.Key()[base:]
		if end, ok := rollUp(key, o.Prefix, o.Delimiter); ok {
			prefix := mem.str(key[:end])
			page.Prefixes = append(page.Prefixes, prefix)
			page.NextAfter, page.NextAfterPrefix = prefix, true
			next := successor(appendObjectKey(nil, bucket, prefix))
			valid = next != nil && it.SeekGE(next)
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return ListPage{}, readError(err)
		}
		if len(page.Objects) == cap(page.Objects) {
			page.Objects = slices.Grow(page.Objects, o.Max-len(page.Objects))
		}
		page.Objects = append(page.Objects, Object{Key: mem.str(key)})
		obj := &page.Objects[len(page.Objects)-1]
		if !mem.listing(v, obj) {
			return ListPage{}, corruptEntry(it.Key())
		}
		page.NextAfter, page.NextAfterPrefix = obj.Key, false
		valid = it.Next()
	}
	return page, readError(it.Error())
}

// listFrom positions it at the first key of the listing.
func listFrom(it *pebble.Iterator, bucket BucketID, o *ListOptions) bool {
	switch {
	case o.After == "":
		return it.First()
	case o.AfterPrefix:
		from := successor(appendObjectKey(nil, bucket, o.After))
		return from != nil && it.SeekGE(from)
	default:
		return it.SeekGE(append(appendObjectKey(nil, bucket, o.After), 0))
	}
}

// arena holds the strings and attributes of a page in a few large pieces instead of thousands of small ones. A piece lives as
// long as any string in it.
type arena struct {
	bytes []byte // Filled up to its length; what is filled never changes.
	attrs []Attr
}

const (
	arenaPiece = 16 << 10
	// wholeEntry: an entry up to this long is kept whole, as finding out where the listed part of it ends takes as
	// long as reading that part.
	wholeEntry = 512
	// firstObjects: many listings are short; one that is not gets room for all it may return, as growing by doubling
	// allocates three times as much (BenchmarkList).
	firstObjects = 64
)

func (m *arena) str(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if cap(m.bytes)-len(m.bytes) < len(b) {
		m.bytes = make([]byte, 0, max(arenaPiece, len(b)))
	}
	start := len(m.bytes)
	m.bytes = append(m.bytes, b...)
	return unsafe.String(&m.bytes[start], len(b))
}

// listing reads the fields of an object that listings show from an entry's value.
func (m *arena) listing(value []byte, o *Object) bool {
	r := view(value)
	o.LSN = r.held().lsn
	shown := value[len(value)-len(r.s):]
	if len(shown) > wholeEntry {
		r.uvarint()
		r.varint()
		r.size()
		r.str()
		r.skipAttrs()
		shown = shown[:len(shown)-len(r.s)]
	}
	if cap(m.attrs) == 0 {
		m.attrs = make([]Attr, 0, 256)
	}
	kept := reader{s: m.str(shown)}
	kept.listing(o, &m.attrs)
	return r.ok() && kept.ok()
}
