package meta

import (
	"fmt"
)

func (t *tx) putBucket(a *Applied, b *Bucket) error {
	t.key = appendBucketName(t.key[:0], b.Name)
	if v, found, err := t.get(t.key); err != nil {
		return err
	} else if found {
		r := view(v)
		if r.held(); BucketID(r.uvarint()) != b.ID || !r.ok() {
			return fmt.Errorf("%w: bucket name %q is taken", ErrInconsistent, b.Name)
		}
	}
	idKey := appendBucketID(nil, b.ID)
	if v, found, err := t.get(idKey); err != nil {
		return err
	} else if found && string(v) != b.Name {
		return fmt.Errorf("%w: bucket %#x is named %q, not %q", ErrInconsistent, uint64(b.ID), v, b.Name)
	}
	put, err := t.putWhole(a, t.key, appendBucket(nil, b))
	if err != nil || !put {
		return err
	}
	return t.set(idKey, []byte(b.Name))
}

func (t *tx) deleteBucket(a *Applied, id BucketID) error {
	t.tombstone(a)
	idKey := appendBucketID(nil, id)
	name, found, err := t.get(idKey)
	if err != nil || !found {
		return err
	}
	t.key = appendBucketName(t.key[:0], string(name))
	gone, err := t.removeWhole(a, t.key)
	if err != nil || !gone {
		return err
	}
	return t.del(idKey)
}

// removeWhole removes the entity at key unless it is newer than the record a.
func (t *tx) removeWhole(a *Applied, key []byte) (bool, error) {
	v, found, err := t.get(key)
	if err != nil || !found {
		return false, err
	}
	r := view(v)
	old := r.held()
	if !r.ok() {
		return false, corruptEntry(key)
	}
	if old.lsn >= a.origin() {
		return false, nil
	}
	t.live(old.volume, -old.share)
	return true, t.del(key)
}

func (t *tx) config(a *Applied, rec *Config) error {
	t.key = appendConfigKey(t.key[:0], rec.Name)
	if rec.Value == "" {
		t.tombstone(a)
		_, err := t.removeWhole(a, t.key)
		return err
	}
	_, err := t.putWhole(a, t.key, appendStr(nil, rec.Value))
	return err
}

// journalStart keeps the newest record of its kind as it is, less the two bytes that say what it is.
func (t *tx) journalStart(a *Applied) error {
	_, err := t.putWhole(a, []byte(keyJournal), a.Payload[2:])
	return err
}

// removeUpload removes an upload and all its parts, as of the record with this origin. The parts' references are
// noted, not settled: an object put by the same record may have taken them over.
func (t *tx) removeUpload(origin LSN, id UploadID) error {
	key := appendUploadKey(nil, id)
	v, found, err := t.get(key)
	if err != nil || !found {
		return err
	}
	r := view(append([]byte(nil), v...))
	old, u := r.held(), r.upload()
	if !r.done() {
		return corruptEntry(key)
	}
	if old.lsn >= origin {
		return nil
	}
	t.live(old.volume, -old.share)
	if err := t.del(key); err != nil {
		return err
	}
	if err := t.del(appendUploadOrder(nil, &u)); err != nil {
		return err
	}
	usage, err := t.usage(u.Bucket)
	if err != nil {
		return err
	}
	usage.now.Uploads--
	return t.removeParts(id, usage)
}

func (t *tx) removeParts(id UploadID, usage *usageChange) error {
	lower := append([]byte{spacePart}, id[:]...)
	it, err := t.batch.NewIter(prefixOptions(lower))
	if err != nil {
		return readError(err)
	}
	defer it.Close()
	for valid := it.First(); valid; valid = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		r := view(v)
		old, head := r.held(), r.skipUploadPart()
		if !r.done() {
			return corruptEntry(it.Key())
		}
		t.live(old.volume, -old.share)
		usage.now.addPart(head.size, -1)
		t.refs.addAll(head.refs, -1)
		// The iterator does not see what the batch gains while it is open.
		if err := t.del(it.Key()); err != nil {
			return err
		}
	}
	return readError(it.Error())
}

func (t *tx) createUpload(a *Applied, u *Upload) error {
	usage, err := t.usage(u.Bucket)
	if err != nil {
		return err
	}
	t.key = appendUploadKey(t.key[:0], u.ID)
	_, known, err := t.get(t.key)
	if err != nil {
		return err
	}
	put, err := t.putWhole(a, t.key, appendUpload(nil, u))
	if err != nil || !put {
		return err
	}
	if !known {
		usage.now.Uploads++
	}
	return t.set(appendUploadOrder(nil, u), appendAttrs(nil, u.Attrs))
}
