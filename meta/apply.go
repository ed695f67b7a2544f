package meta

import (
	"cmp"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Applied is a record of a committed batch on its way into the index.
type Applied struct {
	LSN     LSN // Where it stands in the journal.
	Origin  LSN // Of a relocated record: the LSN it was first written at. 0 for all others.
	Loc     RecordLoc
	Payload []byte // The record's encoding, inline bytes included.
}

// origin returns the LSN that decides which record of an entity is the newest.
func (a *Applied) origin() LSN {
	if a.Origin != 0 {
		return a.Origin
	}
	return a.LSN
}

// Effects tells the caller of Apply what it may have to act on.
type Effects struct {
	// DeadVolumes lost their last live byte. A journal volume among them may still hold tombstones, see VolumeUsage.
	DeadVolumes []VolumeID
	// Ignored lists put part records whose upload was no longer there. They changed nothing, and the blobs they
	// brought along or were alone to reference are gone.
	Ignored []LSN
}

// Apply brings the index from its position to pos by the records between them, in LSN order: all of them or none. Records
// that the index reflects already are passed over, so a replay may begin anywhere at or before its position. Payloads are not kept.
//
// An error leaves the index as it was. One that wraps ErrUnknownRecord, ErrCorrupt, ErrDangling or ErrInconsistent
// will come again; none of them is expected of records this package wrote.
func (x *Index) Apply(pos Position, recs []Applied) (Effects, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rebuilding {
		return Effects{}, fmt.Errorf("%w: a rebuild is under way", ErrInconsistent)
	}
	reflected := x.Position()
	if !reflected.before(pos) {
		return Effects{}, nil
	}
	t := &x.tx
	if err := t.begin(); err != nil {
		return Effects{}, err
	}
	defer t.reset()
	for i := range recs {
		a := &recs[i]
		if a.LSN <= reflected.LSN {
			continue
		}
		if err := t.apply(a); err != nil {
			return Effects{}, fmt.Errorf("apply LSN %d: %w", a.LSN, err)
		}
	}
	if err := t.commit(pos); err != nil {
		return Effects{}, fmt.Errorf("apply up to LSN %d: %w", pos.LSN, err)
	}
	x.position.Store(&pos)
	return t.effects, nil
}

// before reports whether p comes before q in the journal.
func (p Position) before(q Position) bool {
	return cmp.Or(cmp.Compare(p.LSN, q.LSN), cmp.Compare(p.Volume, q.Volume), cmp.Compare(p.Batch, q.Batch)) < 0
}

// tx gathers the changes of one Apply in one Pebble batch, through which it also reads. It belongs
// to the index, which reuses its memory; Index.mu guards it.
type tx struct {
	x       *Index
	batch   *pebble.Batch
	key     []byte // For the key at hand.
	val     []byte // For the value being written.
	got     []byte // What get returned last.
	put     put
	head    []byte // The value of the current version of the key at hand.
	refs    refSet
	counted countedBlobs
	volumes map[VolumeID]volumeChange
	buckets map[BucketID]*usageChange
	effects Effects
}

func (t *tx) init(x *Index) {
	t.x = x
	t.volumes = map[VolumeID]volumeChange{}
	t.buckets = map[BucketID]*usageChange{}
	t.refs.index = map[BlobID]int{}
	t.counted.max = maxCounted
}

func (t *tx) begin() error {
	if err := t.counted.load(t.x.db); err != nil {
		return err
	}
	t.batch = t.x.db.NewIndexedBatch()
	t.effects = Effects{}
	return nil
}

func (t *tx) reset() {
	t.batch.Close()
	t.batch = nil
	clear(t.volumes)
	clear(t.buckets)
	t.refs.reset()
	t.counted.abandon()
}

// commit adds the sums of the changes and the position, and applies the batch.
func (t *tx) commit(pos Position) error {
	if err := t.writeBuckets(); err != nil {
		return err
	}
	if err := t.writeVolumes(); err != nil {
		return err
	}
	t.val = appendPosition(t.val[:0], pos)
	if err := t.set([]byte(keyPosition), t.val); err != nil {
		return err
	}
	if err := t.x.admit(t.batch.Len()); err != nil {
		return err
	}
	if err := t.batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	t.counted.settle()
	return nil
}

func (t *tx) apply(a *Applied) error {
	k, r, err := openRecord(a.Payload)
	if err != nil {
		return err
	}
	switch k {
	case KindPutBlobs, KindPutObject, KindPutPart, KindCompleteUpload, KindRelocate:
		return t.applyPut(a)
	case KindDeleteObject:
		bucket, key, version := BucketID(r.uvarint()), r.strMax(MaxKeyLen), VersionID(r.size())
		if !r.done() {
			return malformed(k)
		}
		return t.deleteObject(a, bucket, key, version)
	}
	rec, err := Parse(a.Payload)
	if err != nil {
		return err
	}
	switch rec := rec.(type) {
	case *PutBucket:
		return t.putBucket(a, &rec.Bucket)
	case *DeleteBucket:
		return t.deleteBucket(a, rec.ID)
	case *CreateUpload:
		return t.createUpload(a, &rec.Upload)
	case *AbortUpload:
		t.tombstone(a)
		if err := t.removeUpload(a.origin(), rec.Upload); err != nil {
			return err
		}
		return t.settleRefs()
	case *DropBlobs:
		return t.dropBlobs(rec.IDs)
	case *Config:
		return t.config(a, rec)
	case *Missing:
		return t.missing(a, rec)
	case *Look:
		return t.look(rec)
	case *JournalStart:
		return t.journalStart(a)
	case *JournalFreed:
		return t.forgetVolumes(rec.Volumes)
	default:
		return fmt.Errorf("%w: %v", ErrUnknownRecord, k)
	}
}

// get reads key as the batch sees it. The value is valid until the next get.
func (t *tx) get(key []byte) (value []byte, found bool, err error) {
	v, closer, err := t.batch.Get(key)
	if err == pebble.ErrNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, readError(err)
	}
	t.got = append(t.got[:0], v...)
	return t.got, true, closer.Close()
}

func (t *tx) set(key, value []byte) error { return t.batch.Set(key, value, nil) }
func (t *tx) del(key []byte) error        { return t.batch.Delete(key, nil) }

// held is what a record's entity will say of it.
func (a *Applied) held(share int64) held {
	return held{lsn: a.origin(), volume: a.Loc.Volume, share: share}
}

func (a *Applied) wholly() held { return a.held(int64(FramedLen(len(a.Payload)))) }

// turn is what a record means to the entity it puts.
type turn int

const (
	stale    turn = iota // A newer record holds the entity, or it is gone: nothing to do.
	replaces             // The entity becomes what the record says.
	moves                // The same record in a new place: only where it lies changes.
)

// decide compares the record a with what the index holds of its entity. A relocated record cannot bring back what has
// gone: whatever removed it may be in no journal any more.
func (a *Applied) decide(old held, found bool) turn {
	switch origin := a.origin(); {
	case !found && a.Origin == 0:
		return replaces
	case !found || old.lsn > origin:
		return stale
	case old.lsn < origin:
		return replaces
	case a.Origin == 0:
		return stale
	default:
		return moves
	}
}

// hold moves the live bytes of an entity from the record that held it to the one that does now.
func (t *tx) hold(old held, found bool, now held) {
	if found {
		t.live(old.volume, -old.share)
	}
	t.live(now.volume, now.share)
}

// putWhole puts an entity that one record holds wholly, such as a bucket or a config value, under key.
// It reports whether the entity was put or moved.
func (t *tx) putWhole(a *Applied, key, body []byte) (bool, error) {
	v, found, err := t.get(key)
	if err != nil {
		return false, err
	}
	var old held
	if found {
		r := view(v)
		if old = r.held(); !r.ok() {
			return false, corruptEntry(key)
		}
	}
	if a.decide(old, found) == stale {
		return false, nil
	}
	now := a.wholly()
	t.hold(old, found, now)
	t.val = append(appendHeld(t.val[:0], now), body...)
	return true, t.set(key, t.val)
}

func corruptEntry(key []byte) error { return fmt.Errorf("%w: entry %q", ErrCorrupt, key) }
