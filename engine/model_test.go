package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"penstock/engine/drive"
)

// A step is one operation of a history. Its answer is text, so that any two stores can be compared.
type step struct {
	op       string
	key, src string
	part     int
	seed     uint64
	size     int
	off, n   int64
	version  int // Which of the key's versions, the newest first.
	list     ListOptions
}

func (s step) String() string {
	return fmt.Sprintf("%s key=%q src=%q part=%d version=%d seed=%d size=%d off=%d n=%d list=%+v", s.op, s.key, s.src, s.part, s.version, s.seed, s.size, s.off, s.n, s.list)
}

// sizes are those at which something changes: nothing, inline, the pack threshold, narrow rows, several stripes.
var sizes = []int{0, 1, 4096, 70_000, PackThreshold - 1, PackThreshold, PackThreshold + 1, 300_000, 1<<20 + 1, 3_000_000}

// randomHistory makes up n steps. Those of a versioned one may enable and suspend versioning.
func randomHistory(rng *rand.Rand, n int, versioned bool) []step {
	keys := []string{"a", "a/", "a/b", "a/b/c", "a//b", "b", "b/1", "b/2", "c\x00d", "\xff", "z"}
	key := func() string { return keys[rng.IntN(len(keys))] }
	history := make([]step, n)
	for i := range history {
		s := step{key: key(), src: key(), seed: rng.Uint64(), size: sizes[rng.IntN(len(sizes))], part: 1 + rng.IntN(4), version: rng.IntN(5)}
		if versioned && rng.IntN(4) == 0 {
			s.op = []string{"versioning", "get-version", "delete-version", "delete-version", "copy-version", "attrs", "list-versions", "rebuild"}[rng.IntN(8)]
			s.list = ListOptions{Prefix: []string{"", "a", "b/"}[rng.IntN(3)], Delimiter: []string{"", "/"}[rng.IntN(2)], Max: 1 + rng.IntN(6)}
			history[i] = s
			continue
		}
		switch r := rng.IntN(100); {
		case r < 25:
			s.op = "put"
		case r < 30:
			s.op = "put-if-none"
		case r < 34:
			s.op = "put-unsized"
		case r < 50:
			s.op, s.off, s.n = "get", rng.Int64N(1<<21), rng.Int64N(1<<21)
		case r < 58:
			s.op = "delete"
		case r < 66:
			s.op = "copy"
		case r < 70:
			s.op = "create-upload"
		case r < 78:
			s.op = "put-part"
		case r < 81:
			s.op, s.off, s.n = "copy-part", rng.Int64N(1<<20), rng.Int64N(1<<20)
		case r < 86:
			s.op = "complete"
		case r < 88:
			s.op = "abort"
		case r < 97:
			s.op = "list"
			s.list = ListOptions{
				Prefix: []string{"", "a", "a/", "b", "x"}[rng.IntN(5)], Delimiter: []string{"", "/", "//"}[rng.IntN(3)],
				After: []string{"", "a/", "a/b", "b"}[rng.IntN(4)], Max: 1 + rng.IntN(5),
			}
		default:
			s.op = "reopen"
		}
		history[i] = s
	}
	return history
}

// player plays a history and collects the answers.
type player interface {
	play(s step) string
}

// model is the specification: maps, no drives.
type model struct {
	versioning string
	objects    map[string][]modelVersion // The versions of each key, the newest first.
	uploads    map[string]map[int][]byte // By key: one upload at a time.
}

type modelVersion struct {
	null, marker bool
	data         []byte
	attr         string
}

func newModel() *model {
	return &model{objects: map[string][]modelVersion{}, uploads: map[string]map[int][]byte{}}
}

// put makes a version the newest of its key.
func (m *model) put(key string, v modelVersion) {
	if m.versioning != VersioningEnabled {
		v.null = true
		m.removeNull(key)
	}
	m.objects[key] = slices.Insert(m.objects[key], 0, v)
}

func (m *model) removeNull(key string) {
	m.objects[key] = slices.DeleteFunc(m.objects[key], func(v modelVersion) bool { return v.null })
}

// get returns the current version of a key, if it is not a delete marker.
func (m *model) get(key string) (modelVersion, bool) {
	if all := m.objects[key]; len(all) > 0 && !all[0].marker {
		return all[0], true
	}
	return modelVersion{}, false
}

// absent is the answer about a key that names nothing.
func (m *model) absent(key string) string {
	if len(m.objects[key]) > 0 {
		return KindDeleteMarker.String()
	}
	return KindNoSuchObject.String()
}

// version returns the index of the version that a step means, -1 for none.
func (m *model) version(s step) int {
	if len(m.objects[s.key]) == 0 {
		return -1
	}
	return s.version % len(m.objects[s.key])
}

func (v modelVersion) String() string {
	return fmt.Sprintf("%d bytes, %s, attr %q", len(v.data), etagOf(v.data), v.attr)
}

func (m *model) play(s step) string {
	switch s.op {
	case "put", "put-unsized":
		m.put(s.key, modelVersion{data: payload(s.seed, s.size)})
		return "ok"
	case "put-if-none":
		if _, ok := m.get(s.key); ok {
			return KindPrecondition.String()
		}
		m.put(s.key, modelVersion{data: payload(s.seed, s.size)})
		return "ok"
	case "get":
		v, ok := m.get(s.key)
		if !ok {
			return m.absent(s.key)
		}
		off, n := clip(s.off, s.n, int64(len(v.data)))
		return fmt.Sprintf("%d bytes, %s", len(v.data), etagOf(v.data[off:off+n]))
	case "delete":
		if m.versioning != "" {
			m.put(s.key, modelVersion{marker: true})
		} else {
			m.removeNull(s.key)
		}
		return "ok"
	case "copy", "copy-version":
		v, ok := m.get(s.src)
		if !ok && s.op == "copy" {
			return m.absent(s.src)
		}
		if s.op == "copy-version" {
			i := m.version(s)
			if i < 0 {
				return "none"
			}
			if v = m.objects[s.key][i]; v.marker {
				return KindDeleteMarker.String()
			}
		}
		dst := s.key
		if s.op == "copy-version" {
			dst = s.src
		}
		m.put(dst, modelVersion{data: v.data})
		return "ok"
	case "create-upload":
		m.uploads[s.key] = map[int][]byte{}
		return "ok"
	case "put-part":
		if m.uploads[s.key] == nil {
			return KindNoSuchUpload.String()
		}
		m.uploads[s.key][s.part] = payload(s.seed, s.size)
		return "ok"
	case "copy-part":
		v, ok := m.get(s.src)
		if m.uploads[s.key] == nil {
			return KindNoSuchUpload.String()
		}
		if !ok {
			return m.absent(s.src)
		}
		off, n := clip(s.off, s.n, int64(len(v.data)))
		m.uploads[s.key][s.part] = v.data[off : off+n]
		return "ok"
	case "complete":
		parts := m.uploads[s.key]
		if parts == nil {
			return KindNoSuchUpload.String()
		}
		if len(parts) == 0 {
			return KindInvalidPart.String()
		}
		b := wholeOf(parts)
		m.put(s.key, modelVersion{data: b})
		delete(m.uploads, s.key)
		return fmt.Sprintf("%d bytes", len(b))
	case "abort":
		if m.uploads[s.key] == nil {
			return KindNoSuchUpload.String()
		}
		delete(m.uploads, s.key)
		return "ok"
	case "list":
		return m.list(s.list)
	case "list-versions":
		return m.listVersions(s.list)
	case "versioning":
		m.versioning = versioningOf(s)
		return "ok"
	case "get-version", "delete-version", "attrs":
		i := m.version(s)
		if i < 0 {
			return "none"
		}
		v := &m.objects[s.key][i]
		switch {
		case s.op == "delete-version":
			marker := v.marker
			m.objects[s.key] = slices.Delete(m.objects[s.key], i, i+1)
			return fmt.Sprint("deleted, marker ", marker)
		case v.marker:
			return KindDeleteMarker.String()
		case s.op == "attrs":
			v.attr = fmt.Sprint(s.seed)
			return "ok"
		}
		return v.String()
	case "reopen", "rebuild":
		return "ok"
	}
	panic(s.op)
}

func versioningOf(s step) string {
	if s.seed%3 == 0 {
		return VersioningSuspended
	}
	return VersioningEnabled
}

func wholeOf(parts map[int][]byte) (b []byte) {
	for _, n := range sortedKeys(parts) {
		b = append(b, parts[n]...)
	}
	return b
}

func (m *model) list(o ListOptions) string {
	var out []string
	seen := map[string]bool{}
	for _, key := range sortedKeys(m.objects) {
		v, ok := m.get(key)
		if !ok || !strings.HasPrefix(key, o.Prefix) || key <= o.After {
			continue
		}
		if o.Delimiter != "" {
			if i := strings.Index(key[len(o.Prefix):], o.Delimiter); i >= 0 {
				p := key[:len(o.Prefix)+i+len(o.Delimiter)]
				if !seen[p] {
					out = append(out, "prefix "+p)
				}
				seen[p] = true
				continue
			}
		}
		out = append(out, fmt.Sprintf("%s %d %s", key, len(v.data), etagOf(v.data)))
	}
	return strings.Join(out, "\n")
}

func (m *model) listVersions(o ListOptions) string {
	var out []string
	for _, key := range sortedKeys(m.objects) {
		if len(m.objects[key]) == 0 || !strings.HasPrefix(key, o.Prefix) {
			continue
		}
		if i := strings.Index(key[len(o.Prefix):], o.Delimiter); o.Delimiter != "" && i >= 0 {
			if p := "prefix " + key[:len(o.Prefix)+i+len(o.Delimiter)]; len(out) == 0 || out[len(out)-1] != p {
				out = append(out, p)
			}
			continue
		}
		for i, v := range m.objects[key] {
			out = append(out, versionLine(key, len(v.data), v.null, v.marker, i == 0))
		}
	}
	return strings.Join(out, "\n")
}

func versionLine(key string, size int, null, marker, current bool) string {
	return fmt.Sprintf("%s %d null %v marker %v current %v", key, size, null, marker, current)
}

func sortedKeys[K int | string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func clip(off, n, size int64) (int64, int64) {
	off = min(off, size)
	return off, min(n, size-off)
}

// subject is a store under test.
type subject struct {
	t       *testing.T
	s       *Store
	drives  []drive.Drive
	opts    Options
	uploads map[string]string
	parts   map[string]map[int][]byte // What the uploads have.
}

const testBucket = "bucket"

func newSubject(t *testing.T, n, parity int, seed uint64) *subject {
	x := &subject{t: t, drives: memDrives(n, seed), opts: testOptions(t, parity), uploads: map[string]string{}, parts: map[string]map[int][]byte{}}
	x.open()
	mustBucket(t, x.s, testBucket)
	return x
}

func (x *subject) open() {
	x.s = mustOpen(x.t, x.opts, x.drives)
	x.s.minPart = 0
}

func (x *subject) play(s step) string {
	ctx := x.t.Context()
	answer := func(err error) string {
		if err != nil {
			if KindOf(err) == KindInternal {
				x.t.Errorf("%v: %v", s, err)
			}
			return KindOf(err).String()
		}
		return "ok"
	}
	final := func(b []byte) func(Sums) (Final, error) {
		return func(sums Sums) (Final, error) {
			if sums.Size != int64(len(b)) {
				return Final{}, fmt.Errorf("%d bytes of %d", sums.Size, len(b))
			}
			return Final{ETag: etagOf(b)}, nil
		}
	}
	switch s.op {
	case "put":
		_, err := putBytes(ctx, x.s, testBucket, s.key, payload(s.seed, s.size), nil)
		return answer(err)
	case "put-unsized":
		b := payload(s.seed, s.size)
		_, err := x.s.Put(ctx, testBucket, s.key, reader{bytes.NewReader(b)}, PutOptions{Size: -1, Finish: final(b)})
		return answer(err)
	case "put-if-none":
		_, err := putBytes(ctx, x.s, testBucket, s.key, payload(s.seed, s.size), func(o *ObjectInfo) error {
			if o != nil {
				return fmt.Errorf("there is one")
			}
			return nil
		})
		return answer(err)
	case "get":
		info, err := x.s.Head(ctx, testBucket, s.key, CurrentVersion)
		if err != nil {
			return answer(err)
		}
		off, n := clip(s.off, s.n, info.Size)
		b, err := getRange(ctx, x.s, testBucket, s.key, off, n)
		if err != nil {
			return answer(err)
		}
		return fmt.Sprintf("%d bytes, %s", info.Size, etagOf(b))
	case "delete":
		return answer(deleteKey(ctx, x.s, testBucket, s.key))
	case "copy":
		return answer(copyObject(ctx, x.s, s.src, s.key))
	case "versioning", "get-version", "delete-version", "copy-version", "attrs":
		return x.playVersion(s, answer)
	case "list-versions":
		return x.listVersions(s.list)
	case "create-upload":
		if id, ok := x.uploads[s.key]; ok {
			if err := x.s.AbortUpload(ctx, testBucket, s.key, id); err != nil {
				x.t.Error(err)
			}
		}
		id, err := x.s.CreateUpload(ctx, testBucket, s.key, nil)
		x.uploads[s.key], x.parts[s.key] = id, map[int][]byte{}
		return answer(err)
	case "put-part":
		b := payload(s.seed, s.size)
		_, err := x.s.PutPart(ctx, testBucket, s.key, x.uploads[s.key], s.part, bytes.NewReader(b), PutOptions{Size: int64(len(b)), Finish: final(b)})
		if err == nil {
			x.parts[s.key][s.part] = b
		}
		return answer(err)
	case "copy-part":
		var src ObjectInfo
		if info, err := x.s.Head(ctx, testBucket, s.src, CurrentVersion); err == nil {
			src = info
		}
		off, n := clip(s.off, s.n, src.Size)
		_, err := x.s.CopyPart(ctx, testBucket, s.src, CurrentVersion, testBucket, s.key, x.uploads[s.key], s.part, CopyPartOptions{
			Off: off, Len: n, Source: func(*ObjectInfo) error { return nil },
			Finish: func(sums Sums) (Final, error) { return Final{ETag: fmt.Sprint(s.seed)}, nil },
		})
		if err == nil {
			if x.parts[s.key][s.part], err = getRange(ctx, x.s, testBucket, s.src, off, n); err != nil {
				x.t.Error(err)
			}
		}
		return answer(err)
	case "complete":
		page, err := x.s.ListParts(ctx, testBucket, s.key, x.uploads[s.key], 0, 1000)
		if err != nil {
			return answer(err)
		}
		var o CompleteOptions
		for _, p := range page.Parts {
			o.Parts = append(o.Parts, CompletePart{Number: p.Number, ETag: p.ETag})
		}
		// The listing shows the ETag; the model's is the MD5 of the whole.
		o.Finish = func([]PartInfo, []Attr) (Final, error) { return Final{ETag: etagOf(wholeOf(x.parts[s.key]))}, nil }
		info, err := x.s.CompleteUpload(ctx, testBucket, s.key, x.uploads[s.key], o)
		if err != nil {
			return answer(err)
		}
		delete(x.uploads, s.key)
		return fmt.Sprintf("%d bytes", info.Size)
	case "abort":
		err := x.s.AbortUpload(ctx, testBucket, s.key, x.uploads[s.key])
		delete(x.uploads, s.key)
		return answer(err)
	case "list":
		return x.list(s.list)
	case "reopen", "rebuild":
		x.s = restart(x.t, x.s, x.opts, x.drives, s.op == "rebuild")
		x.s.minPart = 0
		return "ok"
	}
	panic(s.op)
}

// version returns the version that a step means, false for none.
func (x *subject) version(s step) (VersionID, bool) {
	page, err := x.s.ListVersions(x.t.Context(), testBucket, VersionListOptions{Prefix: s.key, Max: MaxListEntries})
	if err != nil {
		x.t.Fatal(err)
	}
	all := slices.DeleteFunc(page.Versions, func(v ObjectInfo) bool { return v.Key != s.key })
	if len(all) == 0 {
		return 0, false
	}
	return all[s.version%len(all)].Version, true
}

func (x *subject) playVersion(s step, answer func(error) string) string {
	ctx := x.t.Context()
	if s.op == "versioning" {
		return answer(x.s.UpdateBucket(ctx, testBucket, func(b BucketInfo) ([]Attr, error) {
			return WithAttr(b.Attrs, AttrVersioning, versioningOf(s)), nil
		}))
	}
	version, ok := x.version(s)
	if !ok {
		return "none"
	}
	switch s.op {
	case "delete-version":
		deleted, err := x.s.Delete(ctx, testBucket, s.key, version, DeleteOptions{})
		if err != nil {
			return answer(err)
		}
		return fmt.Sprint("deleted, marker ", deleted.Marker)
	case "copy-version":
		_, err := x.s.Copy(ctx, testBucket, s.key, version, testBucket, s.src, CopyOptions{
			Source: func(src *ObjectInfo) (Final, error) { return Final{ETag: src.ETag}, nil },
		})
		return answer(err)
	case "attrs":
		_, err := x.s.UpdateObjectAttrs(ctx, testBucket, s.key, version, func(o *ObjectInfo) ([]Attr, error) {
			return WithAttr(o.Attrs, "attr", fmt.Sprint(s.seed)), nil
		})
		return answer(err)
	}
	h, err := x.s.Open(ctx, testBucket, s.key, version)
	if err != nil {
		return answer(err)
	}
	defer h.Close()
	body, err := h.Body(ctx, 0, h.Info().Size)
	if err != nil {
		return answer(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return answer(err)
	}
	return modelVersion{data: b, attr: h.Info().Attr("attr")}.String()
}

func (x *subject) listVersions(o ListOptions) string {
	type entry struct{ key, text string }
	var out []entry
	v := VersionListOptions{Prefix: o.Prefix, Delimiter: o.Delimiter, Max: o.Max}
	for {
		page, err := x.s.ListVersions(x.t.Context(), testBucket, v)
		if err != nil {
			return KindOf(err).String()
		}
		for _, i := range page.Versions {
			out = append(out, entry{i.Key, versionLine(i.Key, int(i.Size), i.Version == NullVersion, i.Marker, i.Current)})
		}
		for _, p := range page.Prefixes {
			out = append(out, entry{p, "prefix " + p})
		}
		if !page.Truncated {
			break
		}
		v.After, v.AfterVersion, v.HasVersion, v.SkipPrefix = page.NextAfter, page.NextVersion, !page.NextIsPrefix, page.NextIsPrefix
	}
	slices.SortStableFunc(out, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	var lines []string
	for _, e := range out {
		lines = append(lines, e.text)
	}
	return strings.Join(lines, "\n")
}

func (x *subject) list(o ListOptions) string {
	type entry struct{ sort, text string }
	var out []entry
	for {
		page, err := x.s.List(context.Background(), testBucket, o)
		if err != nil {
			return KindOf(err).String()
		}
		for _, object := range page.Objects {
			out = append(out, entry{object.Key, fmt.Sprintf("%s %d %s", object.Key, object.Size, object.ETag)})
		}
		for _, p := range page.Prefixes {
			out = append(out, entry{p, "prefix " + p})
		}
		if !page.Truncated {
			break
		}
		o.After, o.SkipPrefix = page.NextAfter, page.NextIsPrefix
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].sort < out[j].sort })
	var lines []string
	for _, e := range out {
		lines = append(lines, e.text)
	}
	return strings.Join(lines, "\n")
}

// TestMetamorphic plays one random history against the model and against stores that differ only in how they keep the bytes.
// All must give the same answers.
func TestMetamorphic(t *testing.T) {
	rng := newRNG(t)
	for _, versioned := range []bool{false, true} {
		history := randomHistory(rng, 250, versioned)
		m := newModel()
		want := make([]string, len(history))
		for i, s := range history {
			want[i] = m.play(s)
		}
		for _, geometry := range []struct{ n, parity int }{{1, 0}, {2, 1}, {4, 2}, {6, 2}, {12, 4}} {
			if versioned && geometry.n > 4 {
				continue // Versions are names: they know nothing of geometry.
			}
			t.Run(fmt.Sprintf("versions=%v/k=%d/m=%d", versioned, geometry.n-geometry.parity, geometry.parity), func(t *testing.T) {
				x := newSubject(t, geometry.n, geometry.parity, rng.Uint64())
				for i, s := range history {
					if got := x.play(s); got != want[i] {
						t.Fatalf("step %d, %v:\ngot  %q\nwant %q", i, s, got, want[i])
					}
				}
				closeStore(t, x.s)
			})
		}
	}
}
