package meta_test

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"penstock/meta"
)

// TestModel plays a random history and compares everything the index answers with the model.
func TestModel(t *testing.T) {
	h := newHistory(newRNG(t))
	x := newIndex(t)
	dead := map[meta.VolumeID]bool{}
	for i := range 6000 {
		h.step()
		if h.rng.IntN(8) > 0 {
			continue
		}
		b := h.cut()
		effects, err := x.Apply(b.pos, b.recs)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		for _, v := range effects.DeadVolumes {
			dead[v] = true
		}
		if x.Position() != b.pos {
			t.Fatalf("step %d: position %+v, want %+v", i, x.Position(), b.pos)
		}
		if h.rng.IntN(20) == 0 {
			h.compact(t, x)
		}
		if len(h.pending) == 0 && h.rng.IntN(10) == 0 {
			h.roll()
		}
		if h.rng.IntN(20) == 0 {
			for _, v := range h.freeDead(t, x) {
				if u, _ := x.VolumeUsage(v); u.Live == 0 && !dead[v] && h.hadLive(v) {
					t.Errorf("volume %#x died and was not among the effects", uint64(v))
				}
			}
		}
		if h.rng.IntN(40) == 0 && len(h.pending) == 0 {
			h.check(t, x)
		}
	}
	b := h.cut()
	_, err := x.Apply(b.pos, b.recs)
	mustNot(t, err)
	h.check(t, x)
}

// hadLive reports whether any record of v held something when it was applied.
func (h *history) hadLive(v meta.VolumeID) bool {
	for _, a := range h.log {
		if k := meta.Kind(a.Payload[0]); a.Loc.Volume == v && a.Origin == 0 && (k == meta.KindPutObject || k == meta.KindJournalStart) {
			return true
		}
	}
	return false
}

// equal compares two answers.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// check compares all of x with the model.
func (h *history) check(t testing.TB, x *meta.Index) {
	t.Helper()
	h.checkBuckets(t, x)
	for id := range h.buckets {
		h.checkObjects(t, x, id)
		h.checkListing(t, x, id)
		h.checkVersions(t, x, id)
		h.checkUploadListing(t, x, id)
	}
	h.checkUploads(t, x)
	h.checkBlobs(t, x)
	for i := range 4 {
		name := fmt.Sprint("name", i)
		value, err := x.Config(name)
		mustNot(t, err)
		equal(t, "config", value, h.config[name])
	}
	var names []string
	for more, after := true, ""; more; {
		var page []meta.Config
		var err error
		page, more, err = x.ListConfig(after, "name", 3)
		mustNot(t, err)
		for _, c := range page {
			names, after = append(names, c.Name), c.Name
			equal(t, "listed config", c.Value, h.config[c.Name])
		}
	}
	equal(t, "config names", names, slices.Sorted(maps.Keys(h.config)))
	entries := 0
	mustNot(t, x.Missing(func(m meta.Missing) bool {
		entries++
		want := h.missing[[2]uint64{uint64(m.Volume), uint64(m.Shard)}]
		if want == nil {
			t.Errorf("ledger entry %+v of a shard that is whole", m)
		} else {
			equal(t, "ledger entry", m, *want)
		}
		return true
	}))
	equal(t, "ledger entries", entries, len(h.missing))
	start, lsn, err := x.NewestJournalStart()
	mustNot(t, err)
	equal(t, "journal start", start, h.start)
	if lsn == 0 {
		t.Error("journal start has no LSN")
	}
}

func (h *history) checkBuckets(t testing.TB, x *meta.Index) {
	t.Helper()
	var want []meta.Bucket
	for _, b := range h.buckets {
		want = append(want, *b)
		got, found, err := x.GetBucket(b.Name)
		mustNot(t, err)
		equal(t, "bucket found", found, true)
		equal(t, "bucket", got, *b)
	}
	slices.SortFunc(want, func(a, b meta.Bucket) int { return strings.Compare(a.Name, b.Name) })
	var got []meta.Bucket
	for more, after := true, ""; more; {
		var page []meta.Bucket
		var err error
		page, more, err = x.ListBuckets(after, "bucket-", 1+h.rng.IntN(3))
		mustNot(t, err)
		got = append(got, page...)
		after = page[len(page)-1].Name
	}
	equal(t, "buckets", got, want)
}

func (h *history) checkObjects(t testing.TB, x *meta.Index, bucket meta.BucketID) {
	t.Helper()
	var usage meta.BucketUsage
	for key, all := range h.objects[bucket] {
		for _, want := range all {
			usage.Bytes += want.Size
			if want.Marker {
				usage.Markers++
			} else {
				usage.Versions++
			}
			got, found, err := x.GetObject(bucket, key, nameOf(want.Version))
			mustNot(t, err)
			equal(t, "version found", found, true)
			equal(t, "version", got, *want)
			h.checkRange(t, x, bucket, want)
		}
		want := all.current()
		got, found, err := x.GetObject(bucket, key, meta.CurrentVersion)
		mustNot(t, err)
		equal(t, "object found", found, !want.Marker)
		if !found {
			got, found, err = x.GetDeleteMarker(bucket, key)
			mustNot(t, err)
			equal(t, "delete marker found", found, true)
			equal(t, "delete marker", got, *want)
			continue
		}
		usage.Objects++
		equal(t, "object", got, *want)
		head, _, err := x.GetObjectHead(bucket, key, meta.CurrentVersion)
		mustNot(t, err)
		equal(t, "object head", head, headOf(want))
	}
	for range 20 {
		key, version := h.key(), meta.VersionID(h.rng.IntN(4))
		_, found, err := x.GetObject(bucket, key, version)
		mustNot(t, err)
		equal(t, "version found", found, h.objects[bucket][key][nameOf(version)] != nil)
	}
	for id, u := range h.uploads {
		if u.Bucket == bucket {
			usage.Uploads++
			for _, p := range h.parts[id] {
				usage.Parts++
				usage.PartBytes += p.Size
			}
		}
	}
	got, err := x.BucketUsage(bucket)
	mustNot(t, err)
	equal(t, "usage", got, usage)
	isEmpty, err := x.BucketEmpty(bucket)
	mustNot(t, err)
	equal(t, "empty", isEmpty, len(h.objects[bucket]) == 0)
}

func headOf(o *meta.Object) meta.Object {
	head := *o
	head.Blobs, head.Parts = nil, nil
	return head
}

// checkRange asks for a range of an object and expects the references that overlap it.
func (h *history) checkRange(t testing.TB, x *meta.Index, bucket meta.BucketID, o *meta.Object) {
	t.Helper()
	off, n := h.rng.Int64N(o.Size+1), h.rng.Int64N(o.Size+2)
	got, first, _, err := x.GetObjectRange(bucket, o.Key, nameOf(o.Version), off, n)
	mustNot(t, err)
	want, wantFirst := headOf(o), int64(0)
	var at int64
	for _, r := range o.Blobs {
		if at < off+n && at+r.Len > off {
			if want.Blobs == nil {
				wantFirst = at
			}
			want.Blobs = append(want.Blobs, r)
		}
		at += r.Len
	}
	equal(t, fmt.Sprintf("range %d+%d of %+v", off, n, o.Blobs), got, want)
	equal(t, "first", first, wantFirst)
}

// entry is a line of a listing.
type entry struct {
	name   string
	prefix bool
}

// naiveList is the specification of listings: look at every key.
func naiveList(keys []string, prefix, delimiter string) (list []entry) {
	slices.Sort(keys)
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		e := entry{name: k}
		if i := strings.Index(k[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			e = entry{k[:len(prefix)+i+len(delimiter)], true}
		}
		if len(list) == 0 || list[len(list)-1] != e {
			list = append(list, e)
		}
	}
	return list
}

// text returns a random string that occurs in keys now and then.
func (h *history) text() string {
	k := h.key()
	from := h.rng.IntN(len(k))
	if h.rng.IntN(2) == 0 {
		from = 0
	}
	return k[from : from+h.rng.IntN(len(k)-from+1)]
}

func (h *history) checkListing(t testing.TB, x *meta.Index, bucket meta.BucketID) {
	t.Helper()
	for range 6 {
		o := meta.ListOptions{Prefix: h.text(), Delimiter: h.text(), Max: 1 + h.rng.IntN(5)}
		if h.rng.IntN(3) == 0 {
			o.Prefix, o.Delimiter = "", "/"
		}
		var keys []string
		for key, all := range h.objects[bucket] {
			if !all.current().Marker {
				keys = append(keys, key)
			}
		}
		if h.rng.IntN(2) == 0 {
			o.After = h.text()
			keys = slices.DeleteFunc(keys, func(k string) bool { return k <= o.After })
		}
		what := fmt.Sprintf("list %+v of %q", o, keys)
		want := naiveList(keys, o.Prefix, o.Delimiter)
		var got []entry
		for more := true; more; {
			page, err := x.ListObjects(bucket, o)
			mustNot(t, err)
			lines := h.pageLines(t, bucket, &page)
			if len(lines) > o.Max || page.Truncated && len(lines) < o.Max {
				t.Fatalf("%s: page of %d entries", what, len(lines))
			}
			got = append(got, lines...)
			o.After, o.AfterPrefix, more = page.NextAfter, page.NextAfterPrefix, page.Truncated
		}
		equal(t, what, got, want)
	}
}

// pageLines merges a page into lines, after checking its objects.
func (h *history) pageLines(t testing.TB, bucket meta.BucketID, page *meta.ListPage) (lines []entry) {
	t.Helper()
	for _, o := range page.Objects {
		equal(t, "listed object", o, headOf(h.objects[bucket][o.Key].current()))
		lines = append(lines, entry{name: o.Key})
	}
	for _, p := range page.Prefixes {
		lines = append(lines, entry{p, true})
	}
	slices.SortFunc(lines, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return lines
}

// compareUploads orders uploads as listings do.
func compareUploads(a, b meta.Upload) int {
	if c := strings.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	if c := a.Initiated.Compare(b.Initiated); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

func (h *history) checkUploadListing(t testing.TB, x *meta.Index, bucket meta.BucketID) {
	t.Helper()
	for range 3 {
		o := meta.UploadListOptions{Prefix: h.text(), Delimiter: h.text(), Max: 1 + h.rng.IntN(3)}
		if h.rng.IntN(2) == 0 {
			o.Prefix, o.Delimiter = "", ""
		}
		if h.rng.IntN(2) == 0 {
			o.KeyMarker = h.text()
		}
		var uploads []meta.Upload
		var keys []string
		for _, u := range h.uploads {
			if u.Bucket == bucket && strings.HasPrefix(u.Key, o.Prefix) && u.Key > o.KeyMarker {
				uploads = append(uploads, *u)
				keys = append(keys, u.Key)
			}
		}
		slices.SortFunc(uploads, compareUploads)
		what := fmt.Sprintf("list uploads %+v of %q", o, keys)
		var prefixes []string
		for _, e := range naiveList(keys, o.Prefix, o.Delimiter) {
			if e.prefix {
				prefixes = append(prefixes, e.name)
				uploads = slices.DeleteFunc(uploads, func(u meta.Upload) bool { return strings.HasPrefix(u.Key, e.name) })
			}
		}
		var got []meta.Upload
		var gotPrefixes []string
		for more := true; more; {
			page, err := x.ListUploads(bucket, o)
			mustNot(t, err)
			got = append(got, page.Uploads...)
			gotPrefixes = append(gotPrefixes, page.Prefixes...)
			o.KeyMarker, o.After, o.AfterPrefix, more = page.NextKey, page.Next, page.NextAfterPrefix, page.Truncated
			if h.rng.IntN(2) == 0 {
				o.After.Initiated = meta.UploadMarker{}.Initiated // A client knows the id alone.
			}
		}
		equal(t, what, fmt.Sprint(got), fmt.Sprint(uploads))
		equal(t, what, gotPrefixes, prefixes)
	}
}

func (h *history) checkUploads(t testing.TB, x *meta.Index) {
	t.Helper()
	for id, want := range h.uploads {
		got, found, err := x.GetUpload(id)
		mustNot(t, err)
		equal(t, "upload found", found, true)
		equal(t, "upload", got, *want)
		var parts, list []meta.UploadPart
		for _, n := range slices.Sorted(maps.Keys(h.parts[id])) {
			p, found, err := x.GetPart(id, n)
			mustNot(t, err)
			equal(t, "part found", found, true)
			equal(t, "part", p, *h.parts[id][n])
			parts = append(parts, p)
		}
		for more, after := true, 0; more; {
			var page []meta.UploadPart
			page, more, err = x.ListParts(id, after, 1+h.rng.IntN(3))
			mustNot(t, err)
			list = append(list, page...)
			if len(page) > 0 {
				after = page[len(page)-1].Number
			}
		}
		equal(t, "parts", list, parts)
	}
}

// checkBlobs compares the blobs and what follows from them: unreferenced blobs, bulk volumes' extents and live bytes, and which
// journal volumes must be kept.
func (h *history) checkBlobs(t testing.TB, x *meta.Index) {
	t.Helper()
	live := map[meta.VolumeID]int64{}
	extents := map[meta.VolumeID]map[int64]meta.BlobID{}
	needed := map[meta.VolumeID]bool{}
	for id, want := range h.blobs {
		got, found, err := x.GetBlob(id)
		mustNot(t, err)
		equal(t, "blob found", found, true)
		equal(t, "blob", got, *want)
		for _, e := range want.Extents {
			if e.Inline {
				needed[e.Volume] = true
				continue
			}
			live[e.Volume] += e.Len
			if extents[e.Volume] == nil {
				extents[e.Volume] = map[int64]meta.BlobID{}
			}
			extents[e.Volume][e.Off] = id
		}
	}
	ids, err := x.UnreferencedBlobs(0, 1<<20)
	mustNot(t, err)
	equal(t, "unreferenced", ids, h.unreferenced())
	mustNot(t, x.Volumes(func(v meta.VolumeID, u meta.VolumeUsage) bool {
		n := u.Live
		if v < 1<<32|1<<20 {
			if n == 0 && needed[v] {
				t.Fatalf("journal volume %#x has inline blobs and no live bytes", uint64(v))
			}
			delete(needed, v)
			return true
		}
		equal(t, fmt.Sprintf("live bytes of bulk volume %#x", uint64(v)), n, live[v])
		delete(live, v)
		got := map[int64]meta.BlobID{}
		mustNot(t, x.VolumeExtents(v, func(off int64, id meta.BlobID) bool { got[off] = id; return true }))
		equal(t, "extents", got, extents[v])
		return true
	}))
	if len(live) > 0 || len(needed) > 0 {
		t.Fatalf("volumes unknown to the index: %v, %v", live, needed)
	}
}
