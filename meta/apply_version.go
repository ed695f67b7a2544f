package meta

import "encoding/binary"

// The versions of a key lie in three spaces: the current one under o, or under d if it is a delete marker, all others under v. Puts and
// removals keep it so, whatever order the versions come and go in: each decides by the versions' numbers alone.

// version is a version in the index, as far as applying a record needs to know it.
type version struct {
	found bool
	space byte
	held  held
	head  objectHead
}

func (t *tx) parseVersion(space byte, value []byte) (v version, err error) {
	r := view(value)
	v = version{found: true, space: space, held: r.held(), head: r.skipObject()}
	if !r.done() {
		return version{}, corruptEntry(t.key)
	}
	return v, nil
}

// current returns the current version of a key. Its value stays in t.head.
func (t *tx) current(bucket BucketID, key string) (version, error) {
	usage, err := t.usage(bucket)
	if err != nil {
		return version{}, err
	}
	for _, space := range [...]byte{spaceObject, spaceMarker} {
		if space == spaceMarker && usage.now.Markers == 0 {
			break // In a bucket without versioning a put of a new key costs one look and not two.
		}
		t.key = appendHeadKey(t.key[:0], space, bucket, key)
		v, found, err := t.get(t.key)
		if err != nil {
			return version{}, err
		}
		if found {
			t.head = append(t.head[:0], v...)
			return t.parseVersion(space, t.head)
		}
	}
	return version{}, nil
}

// former returns a version of a key that is not current.
func (t *tx) former(bucket BucketID, key string, id VersionID) (version, error) {
	if id.IsNull() {
		t.key = appendHeadKey(t.key[:0], spaceNull, bucket, key)
		v, found, err := t.get(t.key)
		if err != nil || !found {
			return version{}, err
		}
		r := view(v)
		if id = VersionID(r.uvarint()); !r.done() {
			return version{}, corruptEntry(t.key)
		}
	}
	t.key = appendVersionKey(t.key[:0], bucket, key, id)
	v, found, err := t.get(t.key)
	if err != nil || !found {
		return version{}, err
	}
	return t.parseVersion(spaceVersion, v)
}

// find returns the version of a key that id names, given the current one.
func (t *tx) find(bucket BucketID, key string, id VersionID, current *version) (version, error) {
	switch {
	case !current.found || current.head.version.same(id):
		return *current, nil
	case current.head.version == NullVersion || !id.IsNull() && id > current.head.version:
		return version{}, nil // Nothing is older than the one, or newer than the other.
	}
	return t.former(bucket, key, id)
}

// putObject puts the version of the record at hand, or moves it.
func (t *tx) putObject(a *Applied) error {
	p := &t.put
	current, err := t.current(p.bucket, p.key)
	if err != nil {
		return err
	}
	old, err := t.find(p.bucket, p.key, p.object.version, &current)
	if err != nil {
		return err
	}
	now := a.held(p.share)
	turn := a.decide(old.held, old.found)
	if turn == stale {
		return nil
	}
	t.hold(old.held, old.found, now)
	t.val = append(appendHeld(t.val[:0], now), p.body...)
	if turn == moves {
		return t.writeVersion(old.space, p.bucket, p.key, old.head.version, t.val)
	}
	t.refs.addAll(p.object.refs, +1)
	if old.found {
		t.refs.addAll(old.head.refs, -1)
		if old.space != spaceVersion && p.object.version >= old.head.version {
			return t.overwrite(p.bucket, p.key, &p.object, t.val, &old)
		}
		if current, err = t.takeOut(p.bucket, p.key, &old, &current); err != nil {
			return err
		}
	}
	return t.insert(p.bucket, p.key, &p.object, t.val, &current)
}

// overwrite puts a version in place of old, the current one, which leaves it the current one.
func (t *tx) overwrite(bucket BucketID, key string, h *objectHead, value []byte, old *version) error {
	space := headSpace(h)
	t.count(bucket, old.space, &old.head, -1)
	t.count(bucket, space, h, +1)
	if space != old.space {
		t.key = appendHeadKey(t.key[:0], old.space, bucket, key)
		if err := t.del(t.key); err != nil {
			return err
		}
	}
	return t.writeVersion(space, bucket, key, h.version, value)
}

// headSpace is where a version lies that is current.
func headSpace(h *objectHead) byte {
	if h.marker {
		return spaceMarker
	}
	return spaceObject
}

// insert adds a version to those of a key, given the current one.
func (t *tx) insert(bucket BucketID, key string, h *objectHead, value []byte, current *version) error {
	space := headSpace(h)
	switch {
	case !current.found:
	case h.version < current.head.version:
		space = spaceVersion
	default:
		if err := t.replaceCurrent(bucket, key, current); err != nil {
			return err
		}
	}
	t.count(bucket, space, h, +1)
	return t.writeVersion(space, bucket, key, h.version, value)
}

// replaceCurrent makes the current version, whose value is in t.head, one of the others.
func (t *tx) replaceCurrent(bucket BucketID, key string, current *version) error {
	t.count(bucket, current.space, &current.head, -1)
	t.count(bucket, spaceVersion, &current.head, +1)
	if err := t.writeVersion(spaceVersion, bucket, key, current.head.version, t.head); err != nil {
		return err
	}
	t.key = appendHeadKey(t.key[:0], current.space, bucket, key)
	return t.del(t.key)
}

// takeOut removes a version of a key from where it lies, and returns the version that is current then. Its value is in t.head.
func (t *tx) takeOut(bucket BucketID, key string, v, current *version) (version, error) {
	t.count(bucket, v.space, &v.head, -1)
	if v.space == spaceVersion {
		if err := t.deleteFormer(bucket, key, v.head.version); err != nil {
			return version{}, err
		}
		return *current, nil
	}
	t.key = appendHeadKey(t.key[:0], v.space, bucket, key)
	if err := t.del(t.key); err != nil {
		return version{}, err
	}
	if v.head.version == NullVersion {
		return version{}, nil // The oldest there can be.
	}
	return t.promote(bucket, key)
}

// deleteFormer removes the entries of a version that is not current.
func (t *tx) deleteFormer(bucket BucketID, key string, id VersionID) error {
	if id.IsNull() {
		t.key = appendHeadKey(t.key[:0], spaceNull, bucket, key)
		if err := t.del(t.key); err != nil {
			return err
		}
	}
	t.key = appendVersionKey(t.key[:0], bucket, key, id)
	return t.del(t.key)
}

// promote makes the newest of a key's other versions the current one, and returns it with its value in t.head.
func (t *tx) promote(bucket BucketID, key string) (version, error) {
	value, err := t.newest(bucket, key)
	if err != nil || value == nil {
		return version{}, err
	}
	t.head = append(t.head[:0], value...)
	v, err := t.parseVersion(spaceVersion, t.head)
	if err != nil {
		return version{}, err
	}
	t.count(bucket, spaceVersion, &v.head, -1)
	if err := t.deleteFormer(bucket, key, v.head.version); err != nil {
		return version{}, err
	}
	v.space = headSpace(&v.head)
	t.count(bucket, v.space, &v.head, +1)
	return v, t.writeVersion(v.space, bucket, key, v.head.version, t.head)
}

// newest returns the value of the newest of a key's versions that are not current, nil if there is none.
func (t *tx) newest(bucket BucketID, key string) ([]byte, error) {
	t.key = appendVersionsKey(t.key[:0], bucket, key)
	it, err := t.batch.NewIter(prefixOptions(t.key))
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	if !it.First() {
		return nil, readError(it.Error())
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return nil, readError(err)
	}
	t.got = append(t.got[:0], value...)
	return t.got, nil
}

// writeVersion writes the value of a version where it lies in space.
func (t *tx) writeVersion(space byte, bucket BucketID, key string, id VersionID, value []byte) error {
	if space != spaceVersion {
		t.key = appendHeadKey(t.key[:0], space, bucket, key)
		return t.set(t.key, value)
	}
	if id.IsNull() {
		t.key = appendHeadKey(t.key[:0], spaceNull, bucket, key)
		if err := t.set(t.key, binary.AppendUvarint(nil, uint64(id))); err != nil {
			return err
		}
	}
	t.key = appendVersionKey(t.key[:0], bucket, key, id)
	return t.set(t.key, value)
}

func (t *tx) deleteObject(a *Applied, bucket BucketID, key string, id VersionID) error {
	t.tombstone(a)
	current, err := t.current(bucket, key)
	if err != nil || !current.found {
		return err
	}
	v, err := t.find(bucket, key, id, &current)
	if err != nil || !v.found || v.held.lsn >= a.origin() {
		return err
	}
	t.live(v.held.volume, -v.held.share)
	t.refs.addAll(v.head.refs, -1)
	if _, err := t.takeOut(bucket, key, &v, &current); err != nil {
		return err
	}
	return t.settleRefs()
}

// cutVersionKey takes the index key of a version that is not current apart. The key is appended to dst.
func cutVersionKey(dst, indexKey []byte) (key []byte, id VersionID, ok bool) {
	key, tail, ok := cutEscaped(dst, indexKey[1+8:])
	if !ok || len(tail) != 8 {
		return nil, 0, false
	}
	return key, VersionID(^binary.BigEndian.Uint64(tail)), true
}
