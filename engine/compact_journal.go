package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"penstock/engine/journal"
	"penstock/meta"
)

const (
	// poolLen is how many bytes of records that live are gathered before they are written again. Lone records come together in it, and
	// there is a choice of which ones to put side by side.
	poolLen = 4 << 20

	// groupLen is how many of them are written at once: a good batch, but not one that requests would notice waiting for.
	groupLen = 1 << 20
)

// recordPool holds copies of records on their way.
type recordPool struct {
	room int    // Bytes, but for a longer record.
	mem  []byte // Of that capacity.
	recs []pooledRecord
}

// pooledRecord is a record of which something lived when it was read.
type pooledRecord struct {
	meta.Applied
	tombstone bool // Some older volume may still hold what it removed.
}

func (p *recordPool) reset() {
	clear(p.recs)
	p.mem, p.recs = p.mem[:0], p.recs[:0]
}

// add copies a record into the pool and reports whether there was room.
func (p *recordPool) add(r pooledRecord) bool {
	if n := len(r.Payload); len(p.mem)+n > cap(p.mem) {
		if len(p.recs) > 0 {
			return false
		}
		p.mem = make([]byte, 0, max(n, p.room))
	}
	from := len(p.mem)
	p.mem = append(p.mem, r.Payload...)
	r.Payload = p.mem[from:len(p.mem):len(p.mem)]
	p.recs = append(p.recs, r)
	return true
}

// moveJournal writes again what lives of a journal volume. It always leaves nothing behind, or fails.
func (k *compactor) moveJournal(ctx context.Context, victim *sparse) (whole bool, err error) {
	id := victim.vol.ID()
	infos := k.b.journal.Volumes()
	at := slices.IndexFunc(infos, func(v journal.VolumeInfo) bool { return v.ID == id })
	if at < 0 {
		return false, nil
	}
	defer func() { k.pool = recordPool{room: k.pool.room} }()
	err = k.b.journal.ScanIn(ctx, k.c.spare, infos[at], func(b *journal.Batch) error {
		n := int64(0)
		for i := range b.Records {
			n += int64(meta.FramedLen(len(b.Records[i].Payload)))
		}
		if err := k.gather(ctx, b, infos, at); err != nil {
			return err
		}
		k.update(func(s *CompactStatus) { s.ReadLen += n })
		return k.pace.pause(ctx, n)
	})
	if err == nil {
		err = k.empty(ctx)
	}
	switch {
	case errors.Is(err, journal.ErrDamaged):
		err = errors.Join(err, errCorrupt)
	case errors.Is(err, journal.ErrUnavailable) && k.b.journal.Err() == nil:
		err = errors.Join(err, errUnreadable)
	}
	return err == nil, err
}

// gather takes the records of a batch into the pool of which something lives, emptying that whenever it is full.
func (k *compactor) gather(ctx context.Context, b *journal.Batch, infos []journal.VolumeInfo, victim int) error {
	for i := 0; i < len(b.Records); {
		full, err := k.fillPool(b.Records, &i, infos, victim)
		if err != nil {
			return err
		}
		if full {
			if err := k.empty(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillPool goes on from record i and reports whether the pool is full, with i the record that found no room.
func (k *compactor) fillPool(records []journal.Record, i *int, infos []journal.VolumeInfo, victim int) (full bool, err error) {
	if err := k.b.enter(); err != nil {
		return false, err
	}
	defer k.b.leave()
	for ; *i < len(records); *i++ {
		r := pooledRecord{Applied: appliedOf(&records[*i])}
		r.tombstone = mayHoldOlder(infos, victim, cmp.Or(r.Origin, r.LSN))
		if k.scratch, err = k.b.index.Survivors(k.scratch[:0], &r.Applied, r.tombstone); err != nil {
			return false, err
		}
		if len(k.scratch) > 0 && !k.pool.add(r) {
			return true, nil
		}
	}
	return false, nil
}

// mayHoldOlder reports whether a journal volume other than the victim may hold records of before an LSN, which a tombstone of that LSN
// is needed for. Relocated records are no exception: what a tombstone removed was relocated before it, under the same lock.
func mayHoldOlder(infos []journal.VolumeInfo, victim int, lsn meta.LSN) bool {
	var end meta.LSN // Of the volume before, so that a volume begins behind it.
	for i := range infos {
		if i != victim && end+1 < lsn {
			return true
		}
		end = infos[i].EndLSN
	}
	return false
}

// empty writes the records of the pool again. Neighbours in size share a batch, in which every data shard then gets about as much: a batch
// takes the length of its longest shard on every drive.
func (k *compactor) empty(ctx context.Context) error {
	slices.SortStableFunc(k.pool.recs, func(a, b pooledRecord) int { return cmp.Compare(len(b.Payload), len(a.Payload)) })
	shards, _ := k.c.set.Geometry()
	for rest := k.pool.recs; len(rest) > 0; {
		n, bytes := groupOf(rest, max(shards, 1), min(k.pool.room/(poolLen/groupLen), k.c.maxRecordLen/2), k.c.maxRecordLen/2)
		busy, err := k.moveGroup(rest[:n])
		if err == nil {
			err = k.pace.pause(ctx, bytes)
		}
		if err != nil {
			return err
		}
		for _, r := range busy {
			if err := k.moveBusy(ctx, r); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	k.pool.reset()
	return nil
}

// groupOf returns how many of the records, the longest first, make the next batch of about so many bytes: as many for each data shard if
// that does not take more than most bytes.
func groupOf(recs []pooledRecord, shards, length, most int) (n int, bytes int64) {
	for n < len(recs) && (bytes < int64(length) || n < shards && bytes < int64(most)) {
		bytes += int64(meta.FramedLen(len(recs[n].Payload)))
		n++
	}
	if n < len(recs) {
		for n > shards && n%shards > 0 {
			n--
			bytes -= int64(meta.FramedLen(len(recs[n].Payload)))
		}
	}
	return n, bytes
}

// moveGroup writes a group of records again, under the locks of what they are about, and returns those whose lock somebody else holds.
// They are moved one by one: whoever holds many locks must not wait for another.
func (k *compactor) moveGroup(recs []pooledRecord) (busy []*pooledRecord, err error) {
	if err := k.b.enter(); err != nil {
		return nil, err
	}
	defer k.b.leave()
	var unlocks []func()
	defer func() {
		for _, unlock := range unlocks {
			unlock()
		}
	}()
	var entries []journal.Entry
	for i := range recs {
		r := &recs[i]
		unlock, ok, err := k.tryLock(r)
		if err != nil {
			return nil, err
		}
		if !ok {
			busy = append(busy, r)
			continue
		}
		unlocks = append(unlocks, unlock)
		if entries, err = k.survivors(entries, r); err != nil {
			return nil, err
		}
	}
	return busy, k.append(entries)
}

// moveBusy writes a record again once its lock is free.
func (k *compactor) moveBusy(ctx context.Context, r *pooledRecord) error {
	unlock, err := k.lock(ctx, r)
	if err != nil {
		return err
	}
	defer unlock()
	if err := k.b.enter(); err != nil {
		return err
	}
	defer k.b.leave()
	entries, err := k.survivors(nil, r)
	if err != nil {
		return err
	}
	return k.append(entries)
}

// survivors appends what of a record is to be written again.
func (k *compactor) survivors(entries []journal.Entry, r *pooledRecord) ([]journal.Entry, error) {
	payloads, err := k.b.index.Survivors(k.scratch[:0], &r.Applied, r.tombstone)
	for _, p := range payloads {
		entries = append(entries, journal.Entry{Head: p, Origin: cmp.Or(r.Origin, r.LSN)})
	}
	k.scratch = payloads[:0]
	return entries, err
}

// append writes entries to the journal and waits until they are durable and applied. They need not be in one batch, but are if they fit.
func (k *compactor) append(entries []journal.Entry) error {
	var tickets []*journal.Ticket
	var errs []error
	var sizes []int
	records, moved := int64(len(entries)), int64(0)
	for len(entries) > 0 && errs == nil {
		n, bytes := 0, 0
		sizes = sizes[:0]
		for n < len(entries) && (n == 0 || bytes+meta.FramedLen(len(entries[n].Head)) <= k.c.maxRecordLen*3/4) {
			sizes = append(sizes, len(entries[n].Head))
			bytes += meta.FramedLen(len(entries[n].Head))
			n++
		}
		t, err := k.b.journal.AppendAsync(k.b.ctx, entries[:n]...)
		if err != nil {
			errs = append(errs, err)
			break
		}
		tickets = append(tickets, t)
		k.weigh(sizes, bytes)
		moved += int64(bytes)
		entries = entries[n:]
	}
	for _, t := range tickets {
		if _, err := t.Wait(k.b.ctx); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return k.b.commitError(err)
	}
	k.update(func(s *CompactStatus) { s.Records, s.WriteLen = s.Records+records, s.WriteLen+moved })
	return nil
}

// densitySpan is over how many bytes of records the density is averaged.
const densitySpan = 64 << 20

// weigh notes how densely records of these sizes lie in a batch of their own.
func (k *compactor) weigh(sizes []int, bytes int) {
	shards, _ := k.c.set.Geometry()
	if shards == 0 || bytes == 0 {
		return
	}
	took := float64(journal.BatchLen(shards, sizes)*shards) / float64(bytes)
	k.density += (max(took, 1) - k.density) * min(1, float64(bytes)/densitySpan)
}

// tryLock keeps what a record is about from changing until unlock, unless somebody else does already.
func (k *compactor) tryLock(r *pooledRecord) (unlock func(), ok bool, err error) {
	s, err := meta.SubjectOf(r.Payload)
	if err != nil {
		return nil, false, err
	}
	switch {
	case s.Key != "":
		unlock, ok = k.c.locks.tryLock(lockName(s.Bucket, s.Key))
	case s.Upload != meta.UploadID{}:
		unlock, ok = k.c.uploads.tryShared(s.Upload)
	case s.BucketName != "":
		unlock, ok = k.c.names.tryLock(s.BucketName)
	case s.Config != "":
		unlock, ok = k.c.locks.tryLock(configLock(s.Config))
	default:
		unlock, ok = func() {}, true
	}
	return unlock, ok, nil
}

// lock is tryLock, but waits. The caller holds no other lock.
func (k *compactor) lock(ctx context.Context, r *pooledRecord) (unlock func(), err error) {
	s, err := meta.SubjectOf(r.Payload)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Key != "":
		return k.c.locks.lock(ctx, lockName(s.Bucket, s.Key))
	case s.Upload != meta.UploadID{}:
		return k.c.uploads.shared(s.Upload), nil
	case s.BucketName != "":
		return k.c.names.lock(ctx, s.BucketName)
	case s.Config != "":
		return k.c.locks.lock(ctx, configLock(s.Config))
	}
	return func() {}, nil
}

// configLock names the lock of a config value. No bucket has the id 0.
func configLock(name string) string { return lockName(0, name) }
