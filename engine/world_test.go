package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// world is what a store holds, in the terms of its clients: the specification of the crash and fault tests.
type world struct {
	buckets map[string]map[string]thing // Objects by bucket and key.
	uploads map[string]map[int][]byte   // Parts by key, of testBucket: one upload of a key at a time.
}

// thing is an object.
type thing struct {
	b    []byte
	etag string
}

func plain(b []byte) thing { return thing{b, etagOf(b)} }

// The keys and buckets of the tests. All that operations touch is here, so that what must be absent is looked for, too.
var (
	worldKeys    = []string{"a", "b", "c", "m", "o", "u"}
	worldBuckets = []string{testBucket, "new", "spare"}
)

// newWorld has one of everything that an operation may want to find.
func newWorld() *world {
	return &world{
		buckets: map[string]map[string]thing{
			testBucket: {"o": plain(payload(1, PackThreshold+5000)), "u": plain(payload(2, 700))},
			"spare":    {},
		},
		uploads: map[string]map[int][]byte{"m": {1: payload(3, 3000), 2: payload(4, PackThreshold+1)}},
	}
}

// build makes a store hold what the world does.
func (w *world) build(ctx context.Context, s *Store) error {
	for _, name := range sortedKeys(w.buckets) {
		if err := s.CreateBucket(ctx, name, nil); err != nil {
			return err
		}
		for _, key := range sortedKeys(w.buckets[name]) {
			if _, err := putBytes(ctx, s, name, key, w.buckets[name][key].b, nil); err != nil {
				return err
			}
		}
	}
	for _, key := range sortedKeys(w.uploads) {
		id, err := s.CreateUpload(ctx, testBucket, key, nil)
		if err != nil {
			return err
		}
		for _, number := range sortedKeys(w.uploads[key]) {
			if err := putPart(ctx, s, key, id, number, w.uploads[key][number]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) clone() *world {
	c := &world{buckets: map[string]map[string]thing{}, uploads: map[string]map[int][]byte{}}
	for name, objects := range w.buckets {
		c.buckets[name] = maps.Clone(objects)
	}
	for key, parts := range w.uploads {
		c.uploads[key] = maps.Clone(parts)
	}
	return c
}

// text is the world in a form in which view describes a store.
func (w *world) text() string {
	var out strings.Builder
	for _, name := range sortedKeys(w.buckets) {
		fmt.Fprintf(&out, "bucket %s\n", name)
		for _, key := range sortedKeys(w.buckets[name]) {
			o := w.buckets[name][key]
			fmt.Fprintf(&out, "object %s/%s %d %s %s\n", name, key, len(o.b), etagOf(o.b), o.etag)
		}
	}
	for _, key := range sortedKeys(w.uploads) {
		fmt.Fprintf(&out, "upload %s\n", key)
		for _, number := range sortedKeys(w.uploads[key]) {
			b := w.uploads[key][number]
			fmt.Fprintf(&out, "part %d %d %s\n", number, len(b), etagOf(b))
		}
	}
	return out.String()
}

// view describes what a store holds. It asks in every way there is, and an error says that two of them disagree or that one gave none.
func view(ctx context.Context, s *Store) (string, error) {
	var out strings.Builder
	page, err := s.ListBuckets(ctx, "", "", 1000)
	if err != nil {
		return "", err
	}
	for _, b := range page.Buckets {
		fmt.Fprintf(&out, "bucket %s\n", b.Name)
		if _, err := s.Bucket(ctx, b.Name); err != nil {
			return "", fmt.Errorf("bucket %s is listed: %w", b.Name, err)
		}
		if err := viewBucket(ctx, s, b.Name, &out); err != nil {
			return "", err
		}
	}
	for _, name := range worldBuckets {
		listed := slices.ContainsFunc(page.Buckets, func(b BucketInfo) bool { return b.Name == name })
		if _, err := s.Bucket(ctx, name); listed != (err == nil) {
			return "", fmt.Errorf("bucket %s: listed %v, %v", name, listed, err)
		}
	}
	if !strings.Contains(out.String(), "bucket "+testBucket+"\n") {
		return out.String(), nil
	}
	uploads, err := s.ListUploads(ctx, testBucket, UploadListOptions{Max: 1000})
	if err != nil {
		return "", err
	}
	for _, u := range uploads.Uploads {
		fmt.Fprintf(&out, "upload %s\n", u.Key)
		parts, err := s.ListParts(ctx, testBucket, u.Key, u.ID, 0, 1000)
		if err != nil {
			return "", err
		}
		for _, p := range parts.Parts {
			fmt.Fprintf(&out, "part %d %d %s\n", p.Number, p.Size, p.ETag)
		}
	}
	return out.String(), nil
}

func viewBucket(ctx context.Context, s *Store, name string, out *strings.Builder) error {
	var listed []ObjectInfo
	for o := (ListOptions{Max: 2}); ; {
		page, err := s.List(ctx, name, o)
		if err != nil {
			return err
		}
		listed = append(listed, page.Objects...)
		if !page.Truncated {
			break
		}
		o.After = page.NextAfter
	}
	for _, key := range worldKeys {
		if slices.ContainsFunc(listed, func(o ObjectInfo) bool { return o.Key == key }) {
			continue
		}
		if _, err := s.Head(ctx, name, key, CurrentVersion); err == nil || KindOf(err) != KindNoSuchObject {
			return fmt.Errorf("%s/%s is not listed, and Head says: %w", name, key, err)
		}
	}
	for _, o := range listed {
		head, err := s.Head(ctx, name, o.Key, CurrentVersion)
		if err != nil {
			return fmt.Errorf("%s/%s is listed: %w", name, o.Key, err)
		}
		b, err := getBytes(ctx, s, name, o.Key)
		if err != nil {
			return fmt.Errorf("%s/%s is listed: %w", name, o.Key, err)
		}
		if n := int64(len(b)); head.Size != n || o.Size != n || head.ETag != o.ETag {
			return fmt.Errorf("%s/%s: %d bytes; Head says %d, %s; List %d, %s", name, o.Key, n, head.Size, head.ETag, o.Size, o.ETag)
		}
		fmt.Fprintf(out, "object %s/%s %d %s %s\n", name, o.Key, len(b), etagOf(b), o.ETag)
	}
	return checkUsage(ctx, s, name)
}

// deed is one of the kinds of operations: what it does to a store and what that means. Bodies depend on the seed.
type deed struct {
	name string
	do   func(ctx context.Context, s *Store, seed uint64) error
	// mean changes the world and returns the answer, as answerOf has it.
	mean func(w *world, seed uint64) string
}

const done = "done"

func answerOf(err error) string {
	if err == nil {
		return done
	}
	return KindOf(err).String()
}

// theUpload is the upload of a key; there is one at most.
func theUpload(ctx context.Context, s *Store, key string) (string, error) {
	page, err := s.ListUploads(ctx, testBucket, UploadListOptions{Prefix: key, Max: 10})
	if err != nil {
		return "", err
	}
	if len(page.Uploads) == 0 {
		return formatUploadID([16]byte{1}), nil
	}
	return page.Uploads[0].ID, nil
}

func putPart(ctx context.Context, s *Store, key, id string, number int, b []byte) error {
	_, err := s.PutPart(ctx, testBucket, key, id, number, bytes.NewReader(b), PutOptions{
		Size: int64(len(b)), Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(b)}, nil },
	})
	return err
}

func deedPut(name, key string, size int, check Check) deed {
	return deed{
		name,
		func(ctx context.Context, s *Store, seed uint64) error {
			_, err := putBytes(ctx, s, testBucket, key, payload(seed, size), check)
			return err
		},
		func(w *world, seed uint64) string {
			if _, there := w.buckets[testBucket][key]; there && check != nil {
				return KindPrecondition.String()
			}
			w.buckets[testBucket][key] = plain(payload(seed, size))
			return done
		},
	}
}

// deeds are the operation kinds of clients.
var deeds = []deed{
	deedPut("put small", "a", 3000, nil),
	deedPut("put large", "b", PackThreshold+1, nil),
	deedPut("overwrite", "o", 900, nil),
	deedPut("create", "c", 5000, ifNone),
	{
		"delete",
		func(ctx context.Context, s *Store, _ uint64) error { return deleteKey(ctx, s, testBucket, "o") },
		func(w *world, _ uint64) string { delete(w.buckets[testBucket], "o"); return done },
	},
	{
		"copy",
		func(ctx context.Context, s *Store, _ uint64) error { return copyObject(ctx, s, "o", "c") },
		func(w *world, _ uint64) string {
			b, ok := w.buckets[testBucket]["o"]
			if !ok {
				return KindNoSuchObject.String()
			}
			w.buckets[testBucket]["c"] = b
			return done
		},
	},
	{
		"upload",
		func(ctx context.Context, s *Store, _ uint64) error {
			_, err := s.CreateUpload(ctx, testBucket, "u", nil)
			return err
		},
		func(w *world, _ uint64) string {
			if w.uploads["u"] != nil {
				return twice
			}
			w.uploads["u"] = map[int][]byte{}
			return done
		},
	},
	deedPart(1, 2000),
	{
		"complete",
		func(ctx context.Context, s *Store, _ uint64) error {
			id, err := theUpload(ctx, s, "m")
			if err != nil {
				return err
			}
			return completeAll(ctx, s, "m", id)
		},
		func(w *world, _ uint64) string {
			parts := w.uploads["m"]
			switch {
			case parts == nil:
				return KindNoSuchUpload.String()
			case len(parts) == 0:
				return KindInvalidPart.String()
			}
			var o thing
			var etags []string
			for _, number := range sortedKeys(parts) {
				o.b = append(o.b, parts[number]...)
				etags = append(etags, etagOf(parts[number]))
			}
			o.etag = joinETags(etags...)
			w.buckets[testBucket]["m"] = o
			delete(w.uploads, "m")
			return done
		},
	},
	{
		"abort",
		func(ctx context.Context, s *Store, _ uint64) error {
			id, err := theUpload(ctx, s, "m")
			if err != nil {
				return err
			}
			return s.AbortUpload(ctx, testBucket, "m", id)
		},
		func(w *world, _ uint64) string {
			if w.uploads["m"] == nil {
				return KindNoSuchUpload.String()
			}
			delete(w.uploads, "m")
			return done
		},
	},
	deedToggle("new"),
	deedToggle("spare"),
}

// createUpload begins the upload that parts are put to.
var createUpload = deed{
	"upload m",
	func(ctx context.Context, s *Store, _ uint64) error {
		_, err := s.CreateUpload(ctx, testBucket, "m", nil)
		return err
	},
	func(w *world, _ uint64) string {
		if w.uploads["m"] != nil {
			return twice
		}
		w.uploads["m"] = map[int][]byte{}
		return done
	},
}

func deedPart(number, size int) deed {
	return deed{
		fmt.Sprint("part ", number),
		func(ctx context.Context, s *Store, seed uint64) error {
			id, err := theUpload(ctx, s, "m")
			if err != nil {
				return err
			}
			return putPart(ctx, s, "m", id, number, payload(seed, size))
		},
		func(w *world, seed uint64) string {
			if w.uploads["m"] == nil {
				return KindNoSuchUpload.String()
			}
			w.uploads["m"][number] = payload(seed, size)
			return done
		},
	}
}

// deedToggle deletes a bucket if it is there and creates it if not.
func deedToggle(name string) deed {
	return deed{
		"toggle bucket " + name,
		func(ctx context.Context, s *Store, _ uint64) error {
			if _, err := s.Bucket(ctx, name); err == nil {
				return s.DeleteBucket(ctx, name)
			}
			return s.CreateBucket(ctx, name, nil)
		},
		func(w *world, _ uint64) string {
			if w.buckets[name] != nil {
				delete(w.buckets, name)
			} else {
				w.buckets[name] = map[string]thing{}
			}
			return done
		},
	}
}

// twice is the answer of a deed that the world cannot describe when it is done again; such a step is left out.
const twice = "twice"

// completeAll completes an upload with the parts it has.
func completeAll(ctx context.Context, s *Store, key, id string) error {
	page, err := s.ListParts(ctx, testBucket, key, id, 0, 1000)
	if err != nil {
		return err
	}
	var o CompleteOptions
	var etags []string
	for _, p := range page.Parts {
		o.Parts = append(o.Parts, CompletePart{Number: p.Number, ETag: p.ETag})
		etags = append(etags, p.ETag)
	}
	o.Finish = func([]PartInfo, []Attr) (Final, error) { return Final{ETag: joinETags(etags...)}, nil }
	_, err = s.CompleteUpload(ctx, testBucket, key, id, o)
	return err
}

// joinETags is the ETag of what parts with these were completed to.
func joinETags(etags ...string) string { return strings.Join(etags, "-") }
