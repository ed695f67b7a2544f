package engine

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/meta"
)

// yard is a store whose recycler does what the test says and nothing by itself.
type yard struct {
	t      *testing.T
	s      *Store
	c      *cell
	r      *recycler
	drives []drive.Drive
	opts   Options
	filler int
}

func newYard(t *testing.T) *yard {
	y := &yard{t: t, drives: memDrives(4, 0), opts: quiet(testOptions(t, -1)).tuned(still).tuned(func(c *cell) {
		c.limits.look, c.limits.flush, c.limits.soonest, c.limits.checkpoint = 0, 0, time.Hour, time.Hour
	})}
	y.open()
	mustBucket(t, y.s, testBucket)
	return y
}

func (y *yard) open() {
	y.s = mustOpen(y.t, y.opts, y.drives)
	y.s.minPart = 0
	y.c = y.s.cells[0]
	y.r = newRecycler(y.c.base.Load())
	y.t.Cleanup(func() {
		if y.s != nil {
			closeStore(y.t, y.s)
		}
	})
}

func (y *yard) restart(lose ...string) {
	y.t.Helper()
	closeStore(y.t, y.s)
	y.s = nil
	reopen(y.drives)
	for _, d := range y.drives {
		for _, name := range lose {
			fs, root := d.FS()
			if err := fs.RemoveAll(fs.PathJoin(root, name)); err != nil {
				y.t.Fatal(err)
			}
		}
	}
	y.open()
}

// rounds runs the recycler until it has nothing left to do.
func (y *yard) rounds() {
	y.t.Helper()
	for range 5 {
		if err := y.r.round(y.t.Context()); err != nil {
			y.t.Fatal(err)
		}
	}
}

// volumeOf returns the volume that holds the first byte of a key.
func (y *yard) volumeOf(key string) meta.VolumeID {
	y.t.Helper()
	h, err := y.s.Open(y.t.Context(), testBucket, key, CurrentVersion)
	if err != nil {
		y.t.Fatal(err)
	}
	defer h.Close()
	blob, err := h.(*handle).blob(0)
	if err != nil {
		y.t.Fatal(err)
	}
	return blob.Extents[0].Volume
}

// retireBulk has the open bulk volume closed, as one that is full is.
func (y *yard) retireBulk() {
	y.c.bulk.mu.Lock()
	vol := y.c.bulk.vol
	y.c.bulk.mu.Unlock()
	y.c.bulk.retire(vol)
}

// rollJournal has journal volumes follow each other until the one given is no longer open, with objects that are then deleted in the volume
// where they lie, so that nothing holds it.
func (y *yard) rollJournal(past meta.VolumeID) {
	y.t.Helper()
	for {
		infos := y.c.base.Load().journal.Volumes()
		if infos[len(infos)-1].ID > past {
			return
		}
		y.filler++
		mustPut(y.t, y.s, testBucket, "filler", payload(uint64(y.filler), PackThreshold))
	}
}

func (y *yard) openJournal() meta.VolumeID {
	infos := y.c.base.Load().journal.Volumes()
	return infos[len(infos)-1].ID
}

func (y *yard) gone(id meta.VolumeID) bool { return y.c.set.Get(id) == nil }

func (y *yard) mustBeThere(id meta.VolumeID, why string) {
	y.t.Helper()
	if y.gone(id) {
		y.t.Fatalf("volume %s was recycled: %s", volume.Name(id), why)
	}
}

func (y *yard) mustBeGone(id meta.VolumeID, why string) {
	y.t.Helper()
	if !y.gone(id) {
		used, err := y.c.base.Load().index.VolumeUsage(id)
		y.t.Fatalf("volume %s was not recycled: %s (%+v, %v)", volume.Name(id), why, used, err)
	}
}

// deadBulk makes a bulk volume that nothing refers to any more.
func (y *yard) deadBulk(key string) meta.VolumeID {
	y.t.Helper()
	mustPut(y.t, y.s, testBucket, key, payload(1, 1<<20))
	id := y.volumeOf(key)
	y.retireBulk()
	if err := deleteKey(y.t.Context(), y.s, testBucket, key); err != nil {
		y.t.Fatal(err)
	}
	return id
}

func TestRecycleBulk(t *testing.T) {
	y := newYard(t)
	id := y.deadBulk("k")
	y.rounds()
	y.mustBeGone(id, "nothing refers to it")
	// Its segments serve again.
	segments := y.c.set.Drives()[0].Segments
	for i := range 5 {
		y.deadBulk(fmt.Sprint(i))
		y.rounds()
	}
	if now := y.c.set.Drives()[0].Segments; now > segments {
		t.Errorf("%d segments after five more volumes came and went, %d before", now, segments)
	}
}

// TestRecycleOpen: the volume that new stripes go to is not dead, however empty.
func TestRecycleOpen(t *testing.T) {
	y := newYard(t)
	mustPut(t, y.s, testBucket, "k", payload(1, 1<<20))
	id := y.volumeOf("k")
	if err := deleteKey(t.Context(), y.s, testBucket, "k"); err != nil {
		t.Fatal(err)
	}
	y.rounds()
	y.mustBeThere(id, "it is open")
	mustPut(t, y.s, testBucket, "l", payload(2, 1<<20))
	if y.volumeOf("l") != id {
		t.Fatal("the next stripe did not go to the open volume")
	}
	y.rounds()
	mustGet(t, y.s, testBucket, "l", payload(2, 1<<20))
}

// TestRecyclePinned: an upload's stripes are durable before its record is, and their volume counts no live byte meanwhile.
func TestRecyclePinned(t *testing.T) {
	y := newYard(t)
	want := payload(3, 1<<20)
	_, err := y.s.Put(t.Context(), testBucket, "slow", bytes.NewReader(want), PutOptions{
		Size: int64(len(want)),
		Finish: func(Sums) (Final, error) {
			y.retireBulk()
			y.rounds()
			return Final{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	y.rounds()
	mustGet(t, y.s, testBucket, "slow", want)
	// An upload that fails gives its volume back.
	var id meta.VolumeID
	_, err = y.s.Put(t.Context(), testBucket, "fails", bytes.NewReader(want), PutOptions{
		Size: int64(len(want)),
		Finish: func(Sums) (Final, error) {
			for _, vol := range y.c.set.Volumes() {
				if vol.Pins() > 0 {
					id = vol.ID()
				}
			}
			y.retireBulk()
			return Final{}, io.ErrUnexpectedEOF
		},
	})
	if KindOf(err) != KindBody || id == 0 {
		t.Fatal(err, id)
	}
	y.rounds()
	y.mustBeGone(id, "its only upload has failed")
}

// TestRecycleReader: who has opened an object reads it to the end, even through recycling.
func TestRecycleReader(t *testing.T) {
	y := newYard(t)
	want := payload(4, 5<<20)
	mustPut(t, y.s, testBucket, "k", want)
	id := y.volumeOf("k")
	h, err := y.s.Open(t.Context(), testBucket, "k", CurrentVersion)
	if err != nil {
		t.Fatal(err)
	}
	body, err := h.Body(t.Context(), 0, int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	if _, err := io.ReadFull(body, got); err != nil {
		t.Fatal(err)
	}
	y.retireBulk()
	if err := deleteKey(t.Context(), y.s, testBucket, "k"); err != nil {
		t.Fatal(err)
	}
	y.rounds()
	y.mustBeThere(id, "a reader is not through with it")
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(append(got, rest...), want) {
		t.Errorf("%d bytes, %v", len(got)+len(rest), err)
	}
	body.Close()
	y.rounds()
	y.mustBeThere(id, "the reader may ask for another range")
	h.Close()
	y.rounds()
	y.mustBeGone(id, "the reader has gone")
}

// TestRecycleReferences: what a copy, a part or a completed object still refers to is live.
func TestRecycleReferences(t *testing.T) {
	y := newYard(t)
	want := payload(5, 1<<20)
	mustPut(t, y.s, testBucket, "k", want)
	id := y.volumeOf("k")
	y.retireBulk()
	upload, err := y.s.CreateUpload(t.Context(), testBucket, "u", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := copyObject(t.Context(), y.s, "k", "copy"); err != nil {
		t.Fatal(err)
	}
	part, err := y.s.CopyPart(t.Context(), testBucket, "k", CurrentVersion, testBucket, "u", upload, 1, CopyPartOptions{
		Off: 100, Len: 5000, Source: func(*ObjectInfo) error { return nil },
		Finish: func(Sums) (Final, error) { return Final{ETag: "part"}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	remove := func(key string) {
		if err := deleteKey(t.Context(), y.s, testBucket, key); err != nil {
			t.Fatal(err)
		}
		y.rounds()
	}
	remove("k")
	y.mustBeThere(id, "a copy refers to it")
	mustGet(t, y.s, testBucket, "copy", want)
	remove("copy")
	y.mustBeThere(id, "a part refers to it")
	if _, err := y.s.CompleteUpload(t.Context(), testBucket, "u", upload, CompleteOptions{
		Parts:  []CompletePart{{Number: 1, ETag: part.ETag}},
		Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, nil },
	}); err != nil {
		t.Fatal(err)
	}
	y.rounds()
	y.mustBeThere(id, "the completed object refers to it")
	mustGet(t, y.s, testBucket, "u", want[100:5100])
	remove("u")
	y.mustBeGone(id, "nothing refers to it")
}

// TestRecycleFlushed: the index that the next start would begin from must know that the volume is dead.
func TestRecycleFlushed(t *testing.T) {
	y := newYard(t)
	y.c.limits.flush, y.r.flushed = time.Hour, time.Now()
	id := y.deadBulk("k")
	y.rounds()
	y.mustBeThere(id, "the flushed index still refers to it")
	if err := y.c.base.Load().index.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	y.rounds()
	y.mustBeGone(id, "the index is flushed")
}

// TestRecycleCheckpoint: so must every checkpoint.
func TestRecycleCheckpoint(t *testing.T) {
	y := newYard(t)
	mustPut(t, y.s, testBucket, "k", payload(1, 1<<20))
	id := y.volumeOf("k")
	y.retireBulk()
	if err := y.r.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := deleteKey(t.Context(), y.s, testBucket, "k"); err != nil {
		t.Fatal(err)
	}
	y.rounds()
	y.mustBeThere(id, "a checkpoint still refers to it")
	if y.r.checkpointDue() {
		t.Error("a checkpoint is due at once, though there is plenty of room")
	}
	y.c.limits.soonest = 0
	if !y.r.checkpointDue() {
		t.Error("no checkpoint is due, though one would free space")
	}
	y.restart() // It knows of the checkpoint again.
	y.rounds()
	y.mustBeThere(id, "a checkpoint still refers to it after a restart")
	if err := y.r.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	y.rounds()
	y.mustBeGone(id, "a checkpoint knows that it is dead")
}

// TestRecycleJournal: a journal volume goes when nothing in it counts, and the index can be rebuilt without it.
func TestRecycleJournal(t *testing.T) {
	y := newYard(t)
	first := y.openJournal()
	y.rollJournal(first)
	second := y.openJournal()
	mustPut(t, y.s, testBucket, "keep", payload(6, 5000))
	y.rollJournal(second)
	third := y.openJournal()
	y.rollJournal(third)
	y.rounds()
	y.mustBeThere(first, "the bucket's record is in it")
	y.mustBeThere(second, "an object is in it")
	y.mustBeGone(third, "all of its objects were overwritten")
	for _, lost := range []string{"index", "nothing", "index"} {
		y.restart(lost)
		y.rounds()
		mustGet(t, y.s, testBucket, "keep", payload(6, 5000))
		mustGet(t, y.s, testBucket, "filler", payload(uint64(y.filler), PackThreshold))
	}
	if err := deleteKey(t.Context(), y.s, testBucket, "keep"); err != nil {
		t.Fatal(err)
	}
	y.rounds()
	y.mustBeGone(second, "its object is deleted")
	y.restart("index")
	if _, err := getBytes(t.Context(), y.s, testBucket, "keep"); KindOf(err) != KindNoSuchObject {
		t.Errorf("a deleted object is back: %v", err)
	}
}

// TestRecycleTombstones: a volume that says what was removed stays as long as an older one may hold it.
func TestRecycleTombstones(t *testing.T) {
	y := newYard(t)
	first := y.openJournal()
	mustPut(t, y.s, testBucket, "removed", payload(7, 5000))
	y.rollJournal(first)
	second := y.openJournal()
	if err := deleteKey(t.Context(), y.s, testBucket, "removed"); err != nil {
		t.Fatal(err)
	}
	y.rollJournal(second)
	y.rollJournal(y.openJournal())
	y.rounds()
	y.restart("index")
	if _, err := getBytes(t.Context(), y.s, testBucket, "removed"); KindOf(err) != KindNoSuchObject {
		t.Errorf("a deleted object is back: %v", err)
	}
	mustGet(t, y.s, testBucket, "filler", payload(uint64(y.filler), PackThreshold))
}
