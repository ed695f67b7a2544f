package main

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// versionKeys is how many keys with versions each worker has, and maxVersions from how many versions of one it removes some.
const (
	versionKeys = 3
	maxVersions = 6
)

// A version is an attempt to add one: an object's, or a delete marker.
type version struct {
	id      string // "" while not acknowledged.
	marker  bool
	value   value
	leaving bool // Its removal was sent, and it is not known what became of it.
}

// A history knows which versions a key may have. Its worker alone changes it.
type history struct {
	key string

	mu       sync.Mutex // Guards the field below: checks read it.
	versions []*version // Oldest first.
}

// versions adds a version to one of the worker's keys, or reads or removes one.
func (w *worker) versions(ctx context.Context) error {
	h := w.histories[w.index][w.rng.IntN(versionKeys)]
	var known []*version
	for _, v := range h.versions {
		if v.id != "" && !v.leaving {
			known = append(known, v)
		}
	}
	switch p := w.rng.IntN(100); {
	case len(known) > 0 && p < 25:
		return w.readVersion(ctx, h, known[w.rng.IntN(len(known))])
	case len(known) > 0 && (p < 40 || len(h.versions) >= maxVersions):
		return w.removeVersion(ctx, h, known[w.rng.IntN(len(known))])
	case p < 55:
		return w.mark(ctx, h)
	}
	p := w.piece(w.size())
	v := h.begin(&version{value: value{pieces: []piece{p}}})
	out, err := w.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(versionedBucket), Key: &h.key, Body: bytes.NewReader(p.bytes())})
	if err != nil {
		return w.settleVersion(h, v, nil, err)
	}
	return w.settleVersion(h, v, out.VersionId, nil)
}

// mark deletes the key, which adds a delete marker.
func (w *worker) mark(ctx context.Context, h *history) error {
	v := h.begin(&version{marker: true})
	out, err := w.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(versionedBucket), Key: &h.key})
	if err != nil {
		return w.settleVersion(h, v, nil, err)
	}
	return w.settleVersion(h, v, out.VersionId, nil)
}

func (w *worker) settleVersion(h *history, v *version, id *string, err error) error {
	switch answerOf(err) {
	case success:
		if aws.ToString(id) == "" {
			return wrong("%s has a new version without an id", h.key)
		}
		h.mu.Lock()
		v.id = *id
		h.mu.Unlock()
	case refused:
		h.drop(v)
	}
	return w.count(err)
}

func (w *worker) removeVersion(ctx context.Context, h *history, v *version) error {
	h.mu.Lock()
	v.leaving = true
	h.mu.Unlock()
	_, err := w.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(versionedBucket), Key: &h.key, VersionId: &v.id})
	switch answerOf(err) {
	case success:
		h.drop(v)
	case refused:
		h.mu.Lock()
		v.leaving = false
		h.mu.Unlock()
	}
	return w.count(err)
}

func (w *worker) readVersion(ctx context.Context, h *history, v *version) error {
	if v.marker {
		return nil
	}
	body, _, err := get(ctx, w.client, &s3.GetObjectInput{Bucket: aws.String(versionedBucket), Key: &h.key, VersionId: &v.id})
	switch {
	case answerOf(err) == refused:
		return nil
	case err != nil:
		return err
	case !v.value.is(body):
		return wrong("version %s of %s: got %d bytes, present %v; want %v", v.id, h.key, len(body), body != nil, v.value)
	}
	w.reads.Add(1)
	return nil
}

func (h *history) begin(v *version) *version {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.versions = append(h.versions, v)
	return v
}

func (h *history) drop(v *version) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.versions = slices.DeleteFunc(h.versions, func(other *version) bool { return other == v })
}

// A listedVersion is a line of the listing of versions.
type listedVersion struct {
	id     string
	marker bool
	latest bool
}

// checkVersions holds the listing of versions, and what can be read of them, against the histories.
func (k *checker) checkVersions(ctx context.Context) error {
	listed, err := k.listVersions(ctx)
	if err != nil {
		return err
	}
	for i := range k.histories {
		for _, h := range k.histories[i] {
			if err := k.checkHistory(ctx, h, listed[h.key]); err != nil {
				return err
			}
			delete(listed, h.key)
		}
	}
	for key := range listed {
		return wrong("LIST of versions shows %q, which was never written", key)
	}
	return nil
}

func (k *checker) listVersions(ctx context.Context) (map[string][]listedVersion, error) {
	listed := map[string][]listedVersion{}
	in := &s3.ListObjectVersionsInput{Bucket: aws.String(versionedBucket), MaxKeys: aws.Int32(31)}
	for {
		var out *s3.ListObjectVersionsOutput
		if err := k.ask(ctx, func() (err error) { out, err = k.client.ListObjectVersions(ctx, in); return err }); err != nil {
			return nil, err
		}
		// Versions and markers of a key come apart; their order within the key is that of the ids' times, which is put
		// together again below.
		versions, markers := out.Versions, out.DeleteMarkers
		for len(versions)+len(markers) > 0 {
			if len(markers) == 0 || len(versions) > 0 && before(versions[0], markers[0]) {
				v := versions[0]
				listed[*v.Key] = append(listed[*v.Key], listedVersion{id: *v.VersionId, latest: *v.IsLatest})
				versions = versions[1:]
				continue
			}
			m := markers[0]
			listed[*m.Key] = append(listed[*m.Key], listedVersion{id: *m.VersionId, marker: true, latest: *m.IsLatest})
			markers = markers[1:]
		}
		if !aws.ToBool(out.IsTruncated) {
			return listed, nil
		}
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
}

// before reports whether a version was listed before a marker, as far as that can be told: times are of seconds or less.
func before(v types.ObjectVersion, m types.DeleteMarkerEntry) bool {
	switch {
	case *v.Key != *m.Key:
		return *v.Key < *m.Key
	case *v.IsLatest || *m.IsLatest:
		return *v.IsLatest
	}
	return !v.LastModified.Before(*m.LastModified)
}

// checkHistory holds the versions listed of a key against its history. When nothing can be under way any more, it learns what became of those that were not certain.
func (k *checker) checkHistory(ctx context.Context, h *history, listed []listedVersion) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var adopted []*version
	last := len(h.versions) // Position of the version before, among those of its kind: markers and versions are listed apart.
	lastMarker := last
	for i, l := range listed {
		if l.latest != (i == 0) {
			return wrong("%s: version %s is number %d in LIST, and latest says %v", h.key, l.id, i, l.latest)
		}
		at := slices.IndexFunc(h.versions, func(v *version) bool { return v.id == l.id })
		if at < 0 {
			v, err := k.adopt(ctx, h, l)
			if err != nil {
				return err
			}
			adopted = append(adopted, v)
			continue
		}
		v := h.versions[at]
		if v.marker != l.marker {
			return wrong("%s: version %s is listed as a marker: %v", h.key, l.id, l.marker)
		}
		previous := &last
		if v.marker {
			previous = &lastMarker
		}
		if at >= *previous {
			return wrong("%s: LIST has version %s after one that is older", h.key, l.id)
		}
		*previous = at
		if !v.marker && k.chosen() {
			body, _, err := k.get(ctx, versionedBucket, h.key, v.id)
			if err != nil {
				return err
			}
			if !v.value.is(body) && !(v.leaving && body == nil) {
				return wrong("version %s of %s: got %d bytes, present %v; want %v", v.id, h.key, len(body), body != nil, v.value)
			}
		}
	}
	for _, v := range h.versions {
		there := slices.ContainsFunc(listed, func(l listedVersion) bool { return l.id == v.id })
		if v.id != "" && !there && !v.leaving {
			return wrong("version %s of %s (%v, marker %v) is gone", v.id, h.key, v.value, v.marker)
		}
	}
	if err := k.checkLatest(ctx, h, listed); err != nil || !k.settled {
		return err
	}
	h.versions = slices.DeleteFunc(h.versions, func(v *version) bool {
		return !slices.ContainsFunc(listed, func(l listedVersion) bool { return l.id == v.id }) && !slices.Contains(adopted, v)
	})
	for _, v := range h.versions {
		v.leaving = false
	}
	return nil
}

// adopt finds the attempt that made a version whose id nobody was told.
func (k *checker) adopt(ctx context.Context, h *history, l listedVersion) (*version, error) {
	var body []byte
	if !l.marker {
		var err error
		if body, _, err = k.get(ctx, versionedBucket, h.key, l.id); err != nil {
			return nil, err
		}
	}
	for _, v := range h.versions {
		if v.id == "" && v.marker == l.marker && (v.marker || v.value.is(body)) {
			v.id = l.id
			return v, nil
		}
	}
	return nil, wrong("%s has version %s (marker %v, %d bytes), which nobody wrote", h.key, l.id, l.marker, len(body))
}

// checkLatest holds what a GET of the key without a version gives against the first line of its listing.
func (k *checker) checkLatest(ctx context.Context, h *history, listed []listedVersion) error {
	body, _, err := k.get(ctx, versionedBucket, h.key, "")
	if err != nil {
		return err
	}
	if len(listed) == 0 || listed[0].marker {
		if body != nil {
			return wrong("%s: GET gives %d bytes; its latest version in LIST is %v", h.key, len(body), listed)
		}
		return nil
	}
	for _, v := range h.versions {
		if v.id == listed[0].id && !v.value.is(body) {
			return wrong("%s: GET gives %d bytes, present %v; its latest version in LIST is %s, which is %v", h.key, len(body), body != nil, v.id, v.value)
		}
	}
	return nil
}
