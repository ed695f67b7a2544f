package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/meta"
)

// newCompactYard is a yard in which nothing is compacted but what the test says.
func newCompactYard(t *testing.T) *yard {
	y := &yard{t: t, drives: memDrives(4, 0), opts: quiet(testOptions(t, -1)).tuned(still).tuned(func(c *cell) {
		c.limits.look, c.limits.flush, c.limits.soonest, c.limits.checkpoint = 0, 0, 0, 0
	})}
	y.open()
	mustBucket(t, y.s, testBucket)
	return y
}

// tryCompact compacts one volume.
func (y *yard) tryCompact(ctx context.Context, id meta.VolumeID) error {
	k := newCompactor(y.c.base.Load())
	k.settle()
	found := false
	err := k.pass(ctx, func(s *spaceSurvey) *sparse {
		for _, v := range s.all {
			if v.vol.ID() == id {
				found = true
				return v
			}
		}
		return nil
	})
	if err == nil && !found {
		y.t.Fatalf("volume %s cannot be compacted: it is open, dead or in use", volume.Name(id))
	}
	return err
}

func (y *yard) compact(id meta.VolumeID) {
	y.t.Helper()
	must(y.t, y.tryCompact(y.t.Context(), id))
	mustRebuild(y.t, y.s)
}

// clear lets everything go that nothing may still need.
func (y *yard) clear() {
	y.t.Helper()
	y.rounds()
	if y.r.wantCheckpoint {
		must(y.t, y.r.checkpoint(y.t.Context()))
		y.rounds()
	}
	mustRebuild(y.t, y.s)
}

// nextJournal has the journal go on in another volume, and returns the one that was open.
func (y *yard) nextJournal() meta.VolumeID {
	id := y.openJournal()
	y.rollJournal(id)
	return id
}

func (y *yard) remove(key string) {
	y.t.Helper()
	must(y.t, deleteKey(y.t.Context(), y.s, testBucket, key))
}

func (y *yard) mustBeAbsent(key string) {
	y.t.Helper()
	if _, err := getBytes(y.t.Context(), y.s, testBucket, key); KindOf(err) != KindNoSuchObject || err == nil {
		y.t.Fatalf("a deleted object is back: %v", err)
	}
}

func (y *yard) usage(id meta.VolumeID) meta.VolumeUsage {
	y.t.Helper()
	u, err := y.c.base.Load().index.VolumeUsage(id)
	must(y.t, err)
	return u
}

// TestCompactTombstones: a tombstone is written again as long as an older volume may hold what it removed, and no longer.
func TestCompactTombstones(t *testing.T) {
	y := newCompactYard(t)
	mustPut(t, y.s, testBucket, "keep", payload(1, 3000))
	mustPut(t, y.s, testBucket, "removed", payload(2, 3000))
	first := y.nextJournal()
	y.remove("removed")
	second := y.nextJournal()
	y.clear()
	y.mustBeThere(first, "an object is in it")
	y.mustBeThere(second, "its tombstone is needed")

	open := y.openJournal()
	before := y.usage(open).Tombstones
	y.compact(second)
	if got := y.usage(open).Tombstones - before; got != 1 {
		t.Fatalf("%d tombstones were written again", got)
	}
	y.clear()
	y.mustBeGone(second, "what mattered in it was written again")
	y.mustBeThere(first, "an object is in it")
	y.restart("index")
	y.mustBeAbsent("removed")

	y.compact(first)
	y.clear()
	y.mustBeGone(first, "what mattered in it was written again")
	y.rollJournal(open)
	last := y.openJournal()
	y.compact(open)
	if got := y.usage(last).Tombstones; got != 0 {
		t.Errorf("%d tombstones were written again for nothing", got)
	}
	y.clear()
	y.mustBeGone(open, "everything older has gone")
	y.restart("index")
	y.mustBeAbsent("removed")
	mustGet(t, y.s, testBucket, "keep", payload(1, 3000))
}

// TestCompactDeadObject: the bytes of a deleted object that a copy refers to are carried along without the object. Were that named, it
// would be back when its tombstone has gone.
func TestCompactDeadObject(t *testing.T) {
	y := newCompactYard(t)
	want := payload(1, 3000)
	mustPut(t, y.s, testBucket, "dead", want)
	first := y.nextJournal()
	must(t, copyObject(t.Context(), y.s, "dead", "copy"))
	second := y.nextJournal()
	y.remove("dead")
	third := y.nextJournal()
	for _, id := range []meta.VolumeID{first, second, third} {
		if !y.gone(id) {
			y.compact(id)
			y.clear()
		}
		y.mustBeGone(id, "what mattered in it was written again")
		y.mustBeAbsent("dead")
		mustGet(t, y.s, testBucket, "copy", want)
	}
	if _, tombstones := y.total(); tombstones != 0 {
		t.Fatalf("%d tombstones are left: the test shows nothing", tombstones)
	}
	y.restart("index")
	y.mustBeAbsent("dead")
	mustGet(t, y.s, testBucket, "copy", want)
}

func (y *yard) total() (live, tombstones int64) {
	y.t.Helper()
	must(y.t, y.c.base.Load().index.Volumes(func(_ meta.VolumeID, u meta.VolumeUsage) bool {
		live, tombstones = live+u.Live, tombstones+u.Tombstones
		return true
	}))
	return live, tombstones
}

// TestCompactUpload moves an upload, its parts and its completion while it is under way.
func TestCompactUpload(t *testing.T) {
	y := newCompactYard(t)
	var want []byte
	id, err := y.s.CreateUpload(t.Context(), testBucket, "u", nil)
	must(t, err)
	var complete CompleteOptions
	for n := range 4 {
		b := payload(uint64(n), []int{5000, 300_000, 20_000, 1 << 20}[n])
		want = append(want, b...)
		info, err := y.s.PutPart(t.Context(), testBucket, "u", id, n+1, bytes.NewReader(b), PutOptions{
			Size: int64(len(b)), Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(b)}, nil },
		})
		must(t, err)
		complete.Parts = append(complete.Parts, CompletePart{Number: n + 1, ETag: info.ETag})
		if n == 1 {
			y.compact(y.nextJournal())
		}
	}
	y.retireBulk()
	for _, vol := range y.c.set.Volumes() {
		if vol.Class() == volume.Bulk && y.usage(vol.ID()).Live > 0 {
			y.compact(vol.ID())
		}
	}
	y.compact(y.nextJournal())
	y.clear()
	y.restart("index")
	complete.Finish = func([]PartInfo, []Attr) (Final, error) { return Final{ETag: "whole"}, nil }
	_, err = y.s.CompleteUpload(t.Context(), testBucket, "u", id, complete)
	must(t, err)
	mustGet(t, y.s, testBucket, "u", want)
	for range 2 {
		y.compact(y.nextJournal())
		y.clear()
	}
	y.restart("index")
	mustGet(t, y.s, testBucket, "u", want)
	page, err := y.s.ListUploads(t.Context(), testBucket, UploadListOptions{Max: 10})
	must(t, err)
	if len(page.Uploads) > 0 {
		t.Errorf("a completed upload is back: %+v", page.Uploads)
	}
}

// TestCompactBulk: all that refers to a blob, copies, parts and slices, finds it where compaction has put it, once; and who reads where it
// was, reads on.
func TestCompactBulk(t *testing.T) {
	y := newCompactYard(t)
	want := payload(5, 3<<20)
	mustPut(t, y.s, testBucket, "k", want)
	mustPut(t, y.s, testBucket, "small", payload(6, 200_000))
	mustPut(t, y.s, testBucket, "other", payload(7, 2<<20))
	old := y.volumeOf("k")
	y.retireBulk()
	upload, err := y.s.CreateUpload(t.Context(), testBucket, "u", nil)
	must(t, err)
	must(t, copyObject(t.Context(), y.s, "k", "copy"))
	part, err := y.s.CopyPart(t.Context(), testBucket, "k", CurrentVersion, testBucket, "u", upload, 1, CopyPartOptions{
		Off: 100_000, Len: 2_000_000, Source: func(*ObjectInfo) error { return nil },
		Finish: func(Sums) (Final, error) { return Final{ETag: "part"}, nil },
	})
	must(t, err)
	y.remove("other")

	h, err := y.s.Open(t.Context(), testBucket, "k", CurrentVersion)
	must(t, err)
	body, err := h.Body(t.Context(), 0, int64(len(want)))
	must(t, err)
	head := make([]byte, 1000)
	_, err = io.ReadFull(body, head)
	must(t, err)

	y.compact(old)
	now := y.volumeOf("k")
	if now == old || y.volumeOf("copy") != now || y.volumeOf("small") != now {
		t.Fatal("the blobs are where they were")
	}
	if u := y.usage(now); u.Live != int64(len(want)+200_000) {
		t.Errorf("%d live bytes in the new volume", u.Live)
	}
	y.clear()
	y.mustBeThere(old, "somebody reads it")
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(append(head, rest...), want) {
		t.Errorf("a reader has %d bytes, %v", len(head)+len(rest), err)
	}
	body.Close()
	h.Close()
	y.clear()
	y.mustBeGone(old, "nobody reads it any more")

	_, err = y.s.CompleteUpload(t.Context(), testBucket, "u", upload, CompleteOptions{
		Parts:  []CompletePart{{Number: 1, ETag: part.ETag}},
		Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, nil },
	})
	must(t, err)
	for _, lost := range []string{"nothing", "index"} {
		mustGet(t, y.s, testBucket, "k", want)
		mustGet(t, y.s, testBucket, "copy", want)
		mustGet(t, y.s, testBucket, "u", want[100_000:2_100_000])
		mustGet(t, y.s, testBucket, "small", payload(6, 200_000))
		y.restart(lost)
	}
}

// TestCompactGeometry: with a drive less, what is moved gets full parity on the others.
func TestCompactGeometry(t *testing.T) {
	y := newCompactYard(t)
	want := payload(5, 5<<20)
	mustPut(t, y.s, testBucket, "k", want)
	old := y.volumeOf("k")
	y.retireBulk()
	y.c.set.FailDrive(y.drives[1].ID(), errors.New("pulled"))
	y.compact(old)
	now := y.c.set.Get(y.volumeOf("k"))
	if now.K() != 2 || now.M() != 1 {
		t.Errorf("moved to %d+%d on three drives", now.K(), now.M())
	}
	for i := range now.N() {
		if now.Shard(i) == nil {
			t.Errorf("shard %d is missing", i)
		}
	}
	mustGet(t, y.s, testBucket, "k", want)
}

// TestCompactUnreadable: what cannot be read stays where it is, and everything else is moved.
func TestCompactUnreadable(t *testing.T) {
	plan := drive.NewPlan(1)
	y := &yard{t: t, drives: plan.WrapAll(memDrives(4, 0)), opts: quiet(testOptions(t, -1)).tuned(still)}
	y.open()
	mustBucket(t, y.s, testBucket)
	mustPut(t, y.s, testBucket, "a", payload(1, 1<<20))
	mustPut(t, y.s, testBucket, "b", payload(2, 1<<20))
	old := y.volumeOf("a")
	y.retireBulk()
	h, err := y.s.Open(t.Context(), testBucket, "a", CurrentVersion)
	must(t, err)
	blob, err := h.(*handle).blob(0)
	must(t, err)
	h.Close()
	off := blob.Extents[0].Off
	plan.Add(drive.Rule{On: drive.OnRead, Match: func(e drive.Event) bool { return e.Off == off && e.Len > drive.BlockLen }, Times: -1})
	k := newCompactor(y.c.base.Load())
	must(t, k.pass(t.Context(), func(s *spaceSurvey) *sparse {
		for _, v := range s.all {
			if v.vol.ID() == old {
				return v
			}
		}
		return nil
	}))
	if s := y.s.CompactStatus(); s.Skipped != 1 || s.Err == nil || s.Extents != 1 {
		t.Errorf("%+v", s)
	}
	if y.volumeOf("a") != old || y.volumeOf("b") == old {
		t.Error("the wrong blob was moved")
	}
}

// TestCompactLone: records that each took a block on every drive share batches once they are moved.
func TestCompactLone(t *testing.T) {
	y := newCompactYard(t)
	objects := map[string][]byte{}
	first := y.openJournal()
	for i := range 300 {
		key := fmt.Sprint(i)
		objects[key] = payload(uint64(i), 600)
		mustPut(t, y.s, testBucket, key, objects[key])
	}
	y.restart("nothing") // Which closes the journal.
	before := usedBy(y.c.set.Get(first))
	from := y.journalEnd()
	y.compact(first)
	grown := (y.journalEnd() - from) * 4
	if before < 300*4*4096 || grown*5 > before {
		t.Errorf("300 lone records took %d bytes, and take %d", before, grown)
	}
	y.clear()
	y.mustBeGone(first, "it was compacted")
	y.restart("index")
	checkAll(t, y.s, testBucket, objects)
}

func (y *yard) journalEnd() int64 {
	infos := y.c.base.Load().journal.Volumes()
	return infos[len(infos)-1].End
}
