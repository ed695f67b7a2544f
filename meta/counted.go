package meta

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// countedBlobs knows which blobs have an entry that counts their references. Nearly none has: one that is referenced once needs none, and those
// that an upload under way or a copy leaves otherwise are few. Without it each removal and each overwrite would look for an entry
// that is not there, which costs as much as finding one. It may know blobs that have no entry, never miss one that has. Index.mu guards it.
type countedBlobs struct {
	loaded bool
	many   bool // There were more than max once, so every blob is taken for one of them.
	max    int
	blobs  map[BlobID]struct{}

	// changed says of the blobs whose entry the batch at hand writes or removes which it is. What is written is in blobs at once, what is removed
	// leaves it when the batch is in the index.
	changed map[BlobID]bool
}

// maxCounted bounds what is known, to a few megabytes.
const maxCounted = 100_000

// load reads what the index has, once.
func (c *countedBlobs) load(db pebble.Reader) error {
	if c.loaded {
		return nil
	}
	blobs := map[BlobID]struct{}{}
	err := scanOf(db, []byte{spaceRefs}, func(key, _ []byte) (bool, error) {
		if len(key) != 9 {
			return false, corruptEntry(key)
		}
		blobs[BlobID(binary.BigEndian.Uint64(key[1:]))] = struct{}{}
		return len(blobs) <= c.max, nil
	})
	if err != nil {
		return err
	}
	*c = countedBlobs{loaded: true, max: c.max, blobs: blobs, changed: map[BlobID]bool{}}
	c.bound()
	return nil
}

// bound gives up when there are too many.
func (c *countedBlobs) bound() {
	if len(c.blobs) > c.max {
		c.many, c.blobs = true, nil
	}
}

// forget makes the next batch load anew.
func (c *countedBlobs) forget() { c.loaded = false }

// may reports whether a blob may have an entry.
func (c *countedBlobs) may(id BlobID) bool {
	if c.many {
		return true
	}
	_, ok := c.blobs[id]
	return ok
}

// change notes that the batch at hand writes the entry of a blob, or removes it.
func (c *countedBlobs) change(id BlobID, written bool) {
	if c.many {
		return
	}
	c.changed[id] = written
	if written {
		c.blobs[id] = struct{}{}
		c.bound()
	}
}

// settle takes in that the batch is in the index.
func (c *countedBlobs) settle() {
	for id, written := range c.changed {
		if !written {
			delete(c.blobs, id)
		}
	}
	clear(c.changed)
}

// abandon forgets the batch, whether or not it is in the index.
func (c *countedBlobs) abandon() { clear(c.changed) }
