package meta

import (
	"encoding/binary"
	"fmt"
)

// A blob lives as long as something references it, counting each BlobRef of each object and part. Most blobs have one
// reference in all their life, so the count is in the index only when it is another one.

// refChange is what a record does to the references of one blob.
type refChange struct {
	id    BlobID
	delta int
	end   int64 // No reference added reaches past this offset.
	fresh bool  // The record brings the blob: it had no references before.
	size  int64 // Of a fresh blob.
}

// refSet gathers the changes of one record, so that a reference that only changes hands, as all of them do when
// an upload is completed, costs nothing.
type refSet struct {
	list  []refChange
	index map[BlobID]int // Into list, once it is long.
}

const refSetLinear = 8 // Up to this many are found faster by looking at all.

func (s *refSet) reset() {
	if len(s.list) > refSetLinear {
		clear(s.index)
	}
	s.list = s.list[:0]
}

// at returns the entry of id, which is valid until the next call.
func (s *refSet) at(id BlobID) *refChange {
	if len(s.list) <= refSetLinear {
		for i := range s.list {
			if s.list[i].id == id {
				return &s.list[i]
			}
		}
	} else if i, ok := s.index[id]; ok {
		return &s.list[i]
	}
	s.list = append(s.list, refChange{id: id})
	switch n := len(s.list); {
	case n == refSetLinear+1:
		for i := range s.list {
			s.index[s.list[i].id] = i
		}
	case n > refSetLinear:
		s.index[id] = n - 1
	}
	return &s.list[len(s.list)-1]
}

func (s *refSet) bring(id BlobID, size int64) {
	c := s.at(id)
	c.fresh, c.size = true, size
}

// addAll adds sign for each reference of the list, which was parsed before.
func (s *refSet) addAll(list refs, sign int) {
	for ref, ok := list.next(); ok; ref, ok = list.next() {
		c := s.at(ref.Blob)
		c.delta += sign
		if sign > 0 {
			c.end = max(c.end, ref.Off+ref.Len)
		}
	}
}

// settleRefs writes the new counts and removes the blobs whose last reference went.
func (t *tx) settleRefs() error {
	for i := range t.refs.list {
		if err := t.settle(&t.refs.list[i]); err != nil {
			return err
		}
	}
	t.refs.reset()
	return nil
}

func (t *tx) settle(c *refChange) error {
	if c.fresh {
		if c.end > c.size {
			return outside(c)
		}
		return t.setRefs(c.id, 1, int64(c.delta))
	}
	if c.delta == 0 {
		return nil
	}
	if c.delta > 0 {
		if err := t.checkRef(c); err != nil {
			return err
		}
	}
	count, err := t.countRefs(c.id)
	if err != nil {
		return err
	}
	now := count + int64(c.delta)
	if now == 0 {
		return t.dropBlob(c.id, count)
	}
	return t.setRefs(c.id, count, now)
}

func outside(c *refChange) error {
	return fmt.Errorf("%w: up to byte %d of blob %#x, which has %d", ErrDangling, c.end, uint64(c.id), c.size)
}

// checkRef makes sure that a blob is there and has the bytes that new references name.
func (t *tx) checkRef(c *refChange) error {
	t.key = appendBlobKey(t.key[:0], c.id)
	v, found, err := t.get(t.key)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: blob %#x", ErrDangling, uint64(c.id))
	}
	r := view(v)
	r.held()
	c.size, _ = r.blobHead()
	if !r.ok() {
		return corruptEntry(t.key)
	}
	if c.end > c.size {
		return outside(c)
	}
	return nil
}

// countRefs returns the references of a blob that is there.
func (t *tx) countRefs(id BlobID) (int64, error) {
	if !t.counted.may(id) {
		return 1, nil
	}
	t.key = appendRefsKey(t.key[:0], id)
	v, found, err := t.get(t.key)
	if err != nil || !found {
		return 1, err
	}
	return parseRefCount(t.key, v)
}

func parseRefCount(key, v []byte) (int64, error) {
	r := view(v)
	n := r.size()
	if !r.done() || n == 1 {
		return 0, corruptEntry(key)
	}
	return n, nil
}

// setRefs changes the count of a blob from was to now, as the index has it.
func (t *tx) setRefs(id BlobID, was, now int64) error {
	if now < 0 {
		return fmt.Errorf("%w: blob %#x would have %d references", ErrInconsistent, uint64(id), now)
	}
	if was == now {
		return nil
	}
	key := appendUnreferred(nil, id)
	var err error
	switch {
	case now == 0:
		err = t.set(key, nil)
	case was == 0:
		err = t.del(key)
	}
	if err != nil {
		return err
	}
	key[0] = spaceRefs
	t.counted.change(id, now != 1)
	if now == 1 {
		return t.del(key)
	}
	return t.set(key, binary.AppendUvarint(nil, uint64(now)))
}

// dropBlob removes a blob that has lost its last reference, or never had one.
func (t *tx) dropBlob(id BlobID, was int64) error {
	if err := t.setRefs(id, was, 1); err != nil { // That is, no entry.
		return err
	}
	t.key = appendBlobKey(t.key[:0], id)
	v, found, err := t.get(t.key)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: no blob %#x to drop", ErrInconsistent, uint64(id))
	}
	r := view(v)
	old := r.held()
	if err := t.del(t.key); err != nil {
		return err
	}
	t.live(old.volume, -old.share)
	return t.extents(&r, id, -1)
}

// dropBlobs removes those of the blobs that are there and have no references.
func (t *tx) dropBlobs(ids []BlobID) error {
	for _, id := range ids {
		t.key = appendUnreferred(t.key[:0], id)
		_, found, err := t.get(t.key)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := t.dropBlob(id, 0); err != nil {
			return err
		}
	}
	return nil
}

// appendExtentOwner encodes whose extent one is: uvarint blob.
func appendExtentOwner(dst []byte, id BlobID) []byte { return binary.AppendUvarint(dst, uint64(id)) }
