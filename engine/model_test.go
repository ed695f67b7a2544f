package engine

import (
	"bytes"
	"context"
	"fmt"
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
	list     ListOptions
	reopen   bool
}

func (s step) String() string {
	return fmt.Sprintf("%s key=%q src=%q part=%d seed=%d size=%d off=%d n=%d list=%+v", s.op, s.key, s.src, s.part, s.seed, s.size, s.off, s.n, s.list)
}

// sizes are those at which something changes: nothing, inline, the pack threshold, narrow rows, several stripes.
var sizes = []int{0, 1, 4096, 70_000, PackThreshold - 1, PackThreshold, PackThreshold + 1, 300_000, 1<<20 + 1, 3_000_000}

func randomHistory(rng *rand.Rand, n int) []step {
	keys := []string{"a", "a/", "a/b", "a/b/c", "a//b", "b", "b/1", "b/2", "c\x00d", "\xff", "z"}
	key := func() string { return keys[rng.IntN(len(keys))] }
	history := make([]step, n)
	for i := range history {
		s := step{key: key(), src: key(), seed: rng.Uint64(), size: sizes[rng.IntN(len(sizes))], part: 1 + rng.IntN(4)}
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
	objects map[string][]byte
	uploads map[string]map[int][]byte // By key: one upload at a time.
}

func newModel() *model {
	return &model{objects: map[string][]byte{}, uploads: map[string]map[int][]byte{}}
}

func (m *model) play(s step) string {
	switch s.op {
	case "put", "put-unsized":
		m.objects[s.key] = payload(s.seed, s.size)
		return "ok"
	case "put-if-none":
		if _, ok := m.objects[s.key]; ok {
			return KindPrecondition.String()
		}
		m.objects[s.key] = payload(s.seed, s.size)
		return "ok"
	case "get":
		b, ok := m.objects[s.key]
		if !ok {
			return KindNoSuchObject.String()
		}
		off, n := clip(s.off, s.n, int64(len(b)))
		return fmt.Sprintf("%d bytes, %s", len(b), etagOf(b[off:off+n]))
	case "delete":
		delete(m.objects, s.key)
		return "ok"
	case "copy":
		b, ok := m.objects[s.src]
		if !ok {
			return KindNoSuchObject.String()
		}
		m.objects[s.key] = b
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
		b, ok := m.objects[s.src]
		if m.uploads[s.key] == nil {
			return KindNoSuchUpload.String()
		}
		if !ok {
			return KindNoSuchObject.String()
		}
		off, n := clip(s.off, s.n, int64(len(b)))
		m.uploads[s.key][s.part] = b[off : off+n]
		return "ok"
	case "complete":
		parts := m.uploads[s.key]
		if parts == nil {
			return KindNoSuchUpload.String()
		}
		if len(parts) == 0 {
			return KindInvalidPart.String()
		}
		var b []byte
		for _, n := range sortedKeys(parts) {
			b = append(b, parts[n]...)
		}
		m.objects[s.key] = b
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
	case "reopen":
		return "ok"
	}
	panic(s.op)
}

func (m *model) list(o ListOptions) string {
	var out []string
	seen := map[string]bool{}
	for _, key := range sortedKeys(m.objects) {
		if !strings.HasPrefix(key, o.Prefix) || key <= o.After {
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
		out = append(out, fmt.Sprintf("%s %d %s", key, len(m.objects[key]), etagOf(m.objects[key])))
	}
	return strings.Join(out, "\n")
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
}

const testBucket = "bucket"

func newSubject(t *testing.T, n, parity int, seed uint64) *subject {
	x := &subject{t: t, drives: memDrives(n, seed), opts: testOptions(t, parity), uploads: map[string]string{}}
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
		_, err := x.s.Copy(ctx, testBucket, s.src, CurrentVersion, testBucket, s.key, CopyOptions{
			Source: func(src *ObjectInfo) (Final, error) { return Final{ETag: src.ETag}, nil },
		})
		return answer(err)
	case "create-upload":
		if id, ok := x.uploads[s.key]; ok {
			if err := x.s.AbortUpload(ctx, testBucket, s.key, id); err != nil {
				x.t.Error(err)
			}
		}
		id, err := x.s.CreateUpload(ctx, testBucket, s.key, nil)
		x.uploads[s.key] = id
		return answer(err)
	case "put-part":
		b := payload(s.seed, s.size)
		_, err := x.s.PutPart(ctx, testBucket, s.key, x.uploads[s.key], s.part, bytes.NewReader(b), PutOptions{Size: int64(len(b)), Finish: final(b)})
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
		o.Finish = func(parts []PartInfo, _ []Attr) (Final, error) { return Final{ETag: x.wholeETag(s.key)}, nil }
		info, err := x.s.CompleteUpload(ctx, testBucket, s.key, x.uploads[s.key], o)
		if err != nil {
			return answer(err)
		}
		delete(x.uploads, s.key)
		x.retag(s.key)
		return fmt.Sprintf("%d bytes", info.Size)
	case "abort":
		err := x.s.AbortUpload(ctx, testBucket, s.key, x.uploads[s.key])
		delete(x.uploads, s.key)
		return answer(err)
	case "list":
		return x.list(s.list)
	case "reopen":
		closeStore(x.t, x.s)
		for _, d := range x.drives {
			d.(*drive.Mem).Reopen()
		}
		x.open()
		return "ok"
	}
	panic(s.op)
}

func (x *subject) wholeETag(string) string { return "pending" }

// retag gives a completed object the ETag that the model compares: the MD5 of its bytes.
func (x *subject) retag(key string) {
	b, err := getBytes(x.t.Context(), x.s, testBucket, key)
	if err != nil {
		x.t.Errorf("read back %q: %v", key, err)
		return
	}
	_, err = x.s.Copy(x.t.Context(), testBucket, key, CurrentVersion, testBucket, key, CopyOptions{
		Source: func(*ObjectInfo) (Final, error) { return Final{ETag: etagOf(b)}, nil },
	})
	if err != nil {
		x.t.Errorf("retag %q: %v", key, err)
	}
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
	history := randomHistory(rng, 250)
	m := newModel()
	want := make([]string, len(history))
	for i, s := range history {
		want[i] = m.play(s)
	}
	for _, geometry := range []struct{ n, parity int }{{1, 0}, {2, 1}, {4, 2}, {6, 2}, {12, 4}} {
		t.Run(fmt.Sprintf("k=%d/m=%d", geometry.n-geometry.parity, geometry.parity), func(t *testing.T) {
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
