package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"penstock/engine/drive"
	"penstock/erasure"
)

// TestSpill stores bodies of more units than one blob takes. What is spilled is dropped again if the body comes to nothing.
func TestSpill(t *testing.T) {
	y := newYard(t)
	y.c.maxBlobUnits = 100 // A little more than a stripe of 64 units on 2+2.
	want := payload(1, 12<<20+777)
	for _, size := range []int64{int64(len(want)), -1} {
		key := fmt.Sprint("size", size)
		info, err := y.s.Put(t.Context(), testBucket, key, reader{bytes.NewReader(want)}, PutOptions{
			Size: size,
			Finish: func(sums Sums) (Final, error) {
				if sums.Size != int64(len(want)) || !sums.HasCRC || sums.CRC64NVME != erasure.Checksum(want) {
					t.Errorf("%+v", sums)
				}
				return Final{ETag: etagOf(want)}, nil
			},
		})
		if err != nil || info.Size != int64(len(want)) {
			t.Fatal(info, err)
		}
		h, err := y.s.Open(t.Context(), testBucket, key, CurrentVersion)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(h.(*handle).refs); n < 6 {
			t.Errorf("%d blobs", n)
		}
		h.Close()
		mustGet(t, y.s, testBucket, key, want)
	}
	for name, body := range map[string]io.Reader{
		"error": io.MultiReader(bytes.NewReader(want[:10<<20]), errorReader{}),
		"short": bytes.NewReader(want[:10<<20]),
		"long":  io.MultiReader(bytes.NewReader(want), bytes.NewReader(want)),
	} {
		if _, err := y.s.Put(t.Context(), testBucket, "fails", body, PutOptions{Size: int64(len(want))}); err == nil {
			t.Errorf("%s: stored", name)
		}
	}
	_, err := y.s.Put(t.Context(), testBucket, "fails", bytes.NewReader(want), PutOptions{
		Size: int64(len(want)), Finish: func(Sums) (Final, error) { return Final{}, errors.New("no") },
	})
	if KindOf(err) != KindBody {
		t.Error(err)
	}
	if _, err := putBytes(t.Context(), y.s, testBucket, "fails", want, func(*ObjectInfo) error { return errors.New("no") }); KindOf(err) != KindPrecondition {
		t.Error(err)
	}
	if ids, err := y.c.base.Load().index.UnreferencedBlobs(0, 10); err != nil || len(ids) > 0 {
		t.Errorf("blobs %x of failed uploads are left, %v", ids, err)
	}
	for _, vol := range y.c.set.Volumes() {
		if vol.Pins() > 0 {
			t.Errorf("volume %x is pinned", vol.ID())
		}
	}
	// Once the objects are deleted, nothing is left of all that.
	for _, size := range []int{len(want), -1} {
		if err := deleteKey(t.Context(), y.s, testBucket, fmt.Sprint("size", size)); err != nil {
			t.Fatal(err)
		}
	}
	y.retireBulk()
	y.rounds()
	for _, vol := range y.c.set.Volumes() {
		if vol.Class().String() == "bulk" {
			t.Errorf("volume %x is left", vol.ID())
		}
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("the client has gone") }

// TestSweep: what a crash leaves of uploads under way is dropped at the next start.
func TestSweep(t *testing.T) {
	domain := drive.NewDomain(identities(4), 0, drive.DomainOptions{})
	opts := testOptions(t, -1).tuned(func(c *cell) { c.maxBlobUnits = 100 })
	s := mustOpen(t, opts, domain.Drives())
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "k", payload(1, 1<<20))
	body, feed := slowBody(payload(2, 12<<20))
	ended := make(chan error, 1)
	go func() {
		_, err := s.Put(t.Context(), testBucket, "slow", body, PutOptions{Size: 12 << 20, Finish: func(Sums) (Final, error) { return Final{}, io.EOF }})
		ended <- err
	}()
	feed(11 << 20)
	eventually(t, "blobs are spilled", func() bool {
		ids, err := s.cells[0].base.Load().index.UnreferencedBlobs(0, 10)
		return err == nil && len(ids) >= 2
	})
	image := domain.Cut(drive.Choice{})
	feed(1 << 20)
	<-ended
	closeStore(t, s)

	s = mustOpen(t, opts, image.Drives())
	defer closeStore(t, s)
	c := s.cells[0]
	if ids, err := c.base.Load().index.UnreferencedBlobs(0, 10); err != nil || len(ids) > 0 {
		t.Errorf("blobs %x are left, %v", ids, err)
	}
	mustGet(t, s, testBucket, "k", payload(1, 1<<20))
	// Bulk volumes that only the upload used go; the other is cut behind its last stripe.
	eventually(t, "one bulk volume is left", func() bool {
		n := 0
		for _, vol := range c.set.Volumes() {
			if vol.Class().String() == "bulk" {
				n++
			}
		}
		return n == 1
	})
	for _, vol := range c.set.Volumes() {
		if vol.Class().String() == "bulk" && longer(vol, 4096+512<<10) {
			t.Errorf("%v keeps room that it does not use", vol)
		}
	}
}

// putParts stores parts of an upload, some at a time.
func putParts(t testing.TB, s *Store, key, id string, parts [][]byte) []CompletePart {
	t.Helper()
	complete := make([]CompletePart, len(parts))
	var group sync.WaitGroup
	for worker := range 32 {
		group.Go(func() {
			for i := worker; i < len(parts); i += 32 {
				info, err := s.PutPart(t.Context(), testBucket, key, id, i+1, bytes.NewReader(parts[i]), PutOptions{
					Size: int64(len(parts[i])), Attrs: []Attr{{Name: "checksum", Value: etagOf(parts[i])}},
					Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(parts[i])}, nil },
				})
				if err != nil {
					t.Error(err)
					return
				}
				complete[i] = CompletePart{i + 1, info.ETag}
			}
		})
	}
	group.Wait()
	return complete
}

// TestManyParts completes an upload of as many parts as there may be: by one record, and without touching a byte of them. So is a copy of it.
func TestManyParts(t *testing.T) {
	x := newCounted(t)
	s := x.s
	s.minPart = 0
	id, err := s.CreateUpload(t.Context(), testBucket, "k", []Attr{{Name: "type", Value: "many"}})
	if err != nil {
		t.Fatal(err)
	}
	parts := make([][]byte, MaxPartNumber)
	var whole []byte
	for i := range parts {
		parts[i] = payload(uint64(i), 20+i%50)
		if i == 5000 {
			parts[i] = payload(uint64(i), 1<<20+1)
		}
		whole = append(whole, parts[i]...)
	}
	complete := putParts(t, s, "k", id, parts)
	before := s.Stats()
	reads, writes, _, _, writeLen := x.during(func() {
		info, err := s.CompleteUpload(t.Context(), testBucket, "k", id, CompleteOptions{
			Parts:  complete,
			Finish: func(parts []PartInfo, attrs []Attr) (Final, error) { return Final{ETag: fmt.Sprint(len(parts))}, nil },
		})
		if err != nil || info.Size != int64(len(whole)) || len(info.Parts) != MaxPartNumber || info.Attr("type") != "many" {
			t.Fatalf("%d bytes, %d parts, %v", info.Size, len(info.Parts), err)
		}
	})
	if n := s.Stats().JournalRecords - before.JournalRecords; reads != 0 || writes != 3 && writes != 3+6 || n != 1 || writeLen > 3<<21 {
		t.Errorf("completion: %d records, %d reads, %d writes of %d bytes", n, reads, writes, writeLen)
	}
	before = s.Stats()
	reads, writes, _, _, _ = x.during(func() {
		if err := copyObject(t.Context(), s, "k", "copy"); err != nil {
			t.Fatal(err)
		}
	})
	// When so many parts have half filled a journal volume depends on how they came to share batches. Then the headers of the next are written.
	if n := s.Stats().JournalRecords - before.JournalRecords; reads != 0 || writes != 3 && writes != 3+6 || n != 1 {
		t.Errorf("copy: %d records, %d reads, %d writes", n, reads, writes)
	}
	if err := deleteKey(t.Context(), s, testBucket, "k"); err != nil {
		t.Fatal(err)
	}
	mustGet(t, s, testBucket, "copy", whole)
	// Across every kind of boundary.
	offsets := []int64{0, 1, 20, int64(len(whole)) - 1, int64(len(whole))}
	for off, i := int64(0), 0; i < 5002; i++ {
		if off += int64(len(parts[i])); i > 4996 {
			offsets = append(offsets, off-1, off, off+1, off+erasure.UnitLen)
		}
	}
	for i, from := range offsets {
		for j, to := range offsets {
			if from > to || to > int64(len(whole)) || (i+j)%6 != 0 {
				continue
			}
			to = min(to, from+9000)
			got, err := getRange(t.Context(), s, testBucket, "copy", from, to-from)
			if err != nil || !bytes.Equal(got, whole[from:to]) {
				t.Fatalf("%d to %d: %d bytes, %v", from, to, len(got), err)
			}
		}
	}
	// A range reads only what it needs, also at the end of ten thousand parts.
	reads, _, _, _, _ = x.during(func() {
		if _, err := getRange(t.Context(), s, testBucket, "copy", int64(len(whole))-10, 10); err != nil {
			t.Fatal(err)
		}
	})
	if reads != 1 {
		t.Errorf("%d reads for the last ten bytes", reads)
	}
}

// TestCopyRanges copies ranges as parts: their checksums are composed where units begin and end, and their bytes are shared.
func TestCopyRanges(t *testing.T) {
	s := newTestStore(t, 6, 2)
	s.minPart = 0
	mustBucket(t, s, testBucket)
	source := payload(1, 3<<20+100)
	mustPut(t, s, testBucket, "source", source)
	id, err := s.CreateUpload(t.Context(), testBucket, "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	rng := newRNG(t)
	whole := make([]byte, 0, 16<<20)
	var complete []CompletePart
	for i := range 30 {
		off, n := rng.Int64N(int64(len(source))), rng.Int64N(256<<10)
		if i%3 == 0 {
			off, n = off&^(erasure.UnitLen-1), (n+erasure.UnitLen)&^(erasure.UnitLen-1)
		}
		n = min(n, int64(len(source))-off)
		want := source[off : off+n]
		hash := &bytes.Buffer{}
		o := CopyPartOptions{Off: off, Len: n, Source: func(*ObjectInfo) error { return nil }}
		if i%2 == 0 {
			o.Hash = hash
		}
		o.Finish = func(sums Sums) (Final, error) {
			if sums.Size != n || sums.HasCRC && sums.CRC64NVME != erasure.Checksum(want) || i%3 == 0 && off+n <= 3<<20 && !sums.HasCRC {
				t.Errorf("%d+%d: %+v", off, n, sums)
			}
			if o.Hash != nil && !bytes.Equal(hash.Bytes(), want) {
				t.Errorf("%d+%d: hashed %d other bytes", off, n, hash.Len())
			}
			return Final{ETag: fmt.Sprint(i)}, nil
		}
		part, err := s.CopyPart(t.Context(), testBucket, "source", CurrentVersion, testBucket, "k", id, i+1, o)
		if err != nil || part.Size != n {
			t.Fatal(part, err)
		}
		whole = append(whole, want...)
		complete = append(complete, CompletePart{i + 1, part.ETag})
	}
	if err := deleteKey(t.Context(), s, testBucket, "source"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CompleteUpload(t.Context(), testBucket, "k", id, CompleteOptions{
		Parts: complete, Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, nil },
	}); err != nil {
		t.Fatal(err)
	}
	mustGet(t, s, testBucket, "k", whole)
	for range 100 {
		off := rng.Int64N(int64(len(whole)))
		n := min(rng.Int64N(int64(len(whole))-off), 300<<10)
		got, err := getRange(t.Context(), s, testBucket, "k", off, n)
		if err != nil || !bytes.Equal(got, whole[off:off+n]) {
			t.Fatalf("%d+%d: %d bytes, %v", off, n, len(got), err)
		}
	}
}

// TestCompleteRefused: what is wrong with a completion is told apart, and the upload stays as it is.
func TestCompleteRefused(t *testing.T) {
	s := newTestStore(t, 4, 2)
	mustBucket(t, s, testBucket)
	id, err := s.CreateUpload(t.Context(), testBucket, "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	parts := putParts(t, s, "k", id, [][]byte{payload(1, 100), payload(2, MinPartLen), payload(3, 100)})
	other := CompletePart{2, "other"}
	for _, test := range []struct {
		parts []CompletePart
		want  Kind
	}{
		{nil, KindInvalidPart},
		{[]CompletePart{parts[1], parts[0]}, KindInvalidPartOrder},
		{[]CompletePart{parts[1], parts[1]}, KindInvalidPartOrder},
		{[]CompletePart{other, parts[0]}, KindInvalidPartOrder}, // Order comes first.
		{[]CompletePart{other}, KindInvalidPart},
		{[]CompletePart{{4, ""}}, KindInvalidPart},
		{parts, KindPartTooSmall},
	} {
		_, err := s.CompleteUpload(t.Context(), testBucket, "k", id, CompleteOptions{Parts: test.parts})
		if err == nil || KindOf(err) != test.want {
			t.Errorf("%v: %v, want %v", test.parts, err, test.want)
		}
	}
	_, err = s.CompleteUpload(t.Context(), testBucket, "k", id, CompleteOptions{
		Parts: parts[1:], Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, errors.New("no") },
	})
	if KindOf(err) != KindBody {
		t.Error(err)
	}
	_, err = s.CompleteUpload(t.Context(), testBucket, "k", id, CompleteOptions{
		Parts: parts[1:], Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, nil },
		Check: func(*ObjectInfo) error { return errors.New("no") },
	})
	if KindOf(err) != KindPrecondition {
		t.Error(err)
	}
	page, err := s.ListParts(t.Context(), testBucket, "k", id, 0, 2)
	if err != nil || !page.Truncated || page.Next != 2 || len(page.Parts) != 2 {
		t.Errorf("%+v, %v", page, err)
	}
	if page, err = s.ListParts(t.Context(), testBucket, "k", id, 0, 0); err != nil || page.Truncated || len(page.Parts) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	if _, err := s.CompleteUpload(t.Context(), testBucket, "k", id, CompleteOptions{
		Parts: parts[1:], Finish: func([]PartInfo, []Attr) (Final, error) { return Final{}, nil },
	}); err != nil {
		t.Fatal(err)
	}
	mustGet(t, s, testBucket, "k", slices.Concat(payload(2, MinPartLen), payload(3, 100)))
	if err := s.AbortUpload(t.Context(), testBucket, "k", id); KindOf(err) != KindNoSuchUpload {
		t.Error(err)
	}
}
