package meta

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Look says that something about a key may be due at a time: its versions and uploads are to be looked at then. What that is, the caller
// knows. Looks let it find what is due without a walk over what is not.
//
// They come with the records that make them necessary. But they are made of other things that are in the journal, so it holds nothing of
// them: a rebuild leaves them all out, with the plans, and their absence tells the caller to make them again. Settling them makes no record:
// an index that comes back from an earlier state has what was settled since to do again, as one does more than once without harm. Dumps
// leave all this out.
//
//	uvarint bucket | str key | time
type Look struct {
	Bucket BucketID
	Key    string
	At     time.Time // Millisecond precision.
}

func (*Look) Kind() Kind { return KindLook }

func (l *Look) AppendTo(dst []byte) []byte {
	if n := len(l.Key); n == 0 || n > MaxKeyLen {
		bug("object key of %d bytes", len(l.Key))
	}
	dst = binary.AppendUvarint(begin(dst, KindLook), uint64(l.Bucket))
	return appendTime(appendStr(dst, l.Key), l.At)
}

func (r *reader) look() *Look {
	return &Look{Bucket: BucketID(r.uvarint()), Key: r.strMax(MaxKeyLen), At: r.time()}
}

func appendLookKey(dst []byte, l *Look) []byte {
	dst = appendInitiated(append(dst, spaceLook), l.At.UnixMilli())
	return append(binary.BigEndian.AppendUint64(dst, uint64(l.Bucket)), l.Key...)
}

const lookKeyHead = 1 + 8 + 8 // Bytes before the object's key.

// DueLooks returns up to limit looks that are due at that time, in order of time, bucket and key: those after one, or the first ones if that is nil.
func (x *Index) DueLooks(after *Look, until time.Time, limit int) (due []Look, err error) {
	from := []byte{spaceLook}
	if after != nil {
		from = append(appendLookKey(nil, after), 0)
	}
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: appendInitiated([]byte{spaceLook}, until.UnixMilli()+1)})
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	for valid := it.First(); valid && len(due) < limit; valid = it.Next() {
		key := it.Key()
		if len(key) <= lookKeyHead {
			return nil, corruptEntry(key)
		}
		at := time.UnixMilli(int64(binary.BigEndian.Uint64(key[1:]) ^ 1<<63)).UTC()
		due = append(due, Look{Bucket: BucketID(binary.BigEndian.Uint64(key[9:])), Key: string(key[lookKeyHead:]), At: at})
	}
	return due, readError(it.Error())
}

// Plan returns what was last said of a bucket's looks, "" for nothing.
func (x *Index) Plan(bucket BucketID) (plan string, err error) {
	_, err = x.entry(appendID(nil, spacePlan, uint64(bucket)), func(r *reader) { plan = r.str() })
	return plan, err
}

// SettleLooks takes looks that are done away and enters others, at once and without a record.
func (x *Index) SettleLooks(done, next []Look) error { return x.settleLooks(done, next, nil, "") }

// SetPlan enters looks and says of the looks of a bucket how far they are made.
func (x *Index) SetPlan(bucket BucketID, plan string, looks []Look) error {
	return x.settleLooks(nil, looks, appendID(nil, spacePlan, uint64(bucket)), plan)
}

func (x *Index) settleLooks(done, next []Look, planKey []byte, plan string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rebuilding {
		return fmt.Errorf("%w: a rebuild is under way", ErrInconsistent)
	}
	t := &x.tx
	t.begin()
	defer t.reset()
	for i := range done {
		t.key = appendLookKey(t.key[:0], &done[i])
		if err := t.del(t.key); err != nil {
			return err
		}
	}
	for i := range next {
		if err := t.look(&next[i]); err != nil {
			return err
		}
	}
	if planKey != nil {
		if err := t.set(planKey, appendStr(nil, plan)); err != nil {
			return err
		}
	}
	if err := x.admit(t.batch.Len()); err != nil {
		return err
	}
	return t.batch.Commit(pebble.NoSync)
}

func (t *tx) look(l *Look) error {
	t.key = appendLookKey(t.key[:0], l)
	return t.set(t.key, nil)
}
