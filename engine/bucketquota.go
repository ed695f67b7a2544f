package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"penstock/meta"
)

// AttrQuota is the attribute of a bucket that says how many bytes its versions, and the parts of its uploads in progress, may have together,
// in decimal. Without it they may have any number. What is there when it is set stays.
//
// The index counts what there is; see Usage. What is on its way is reserved, with the length that was announced, before its first byte is
// read, and until it is in the index or has failed: so writes that go on side by side never exceed the quota together, and one that cannot
// fit is refused before it is received. What would replace something is counted by the difference. Whoever adds nothing is never refused.
const AttrQuota = "quota"

var (
	errQuota     = errors.New("the bucket's quota is reached")
	errQuotaAttr = errors.New("a quota is a number of bytes from 1")
)

// parseQuota reads the attribute; 0 stands for no quota.
func parseQuota(attr string) (int64, error) {
	if attr == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(attr, 10, 64)
	if err != nil || n < 1 || attr[0] == '+' {
		return 0, fmt.Errorf("quota %q: %w", attr, errQuotaAttr)
	}
	return n, nil
}

// Quota returns the most bytes that the bucket may hold, or 0.
func (b *BucketInfo) Quota() int64 {
	n, err := parseQuota(b.Attr(AttrQuota))
	if err != nil {
		return 1 // It cannot come to this: what is no quota is refused when it is set. The least lets nobody in.
	}
	return n
}

// quota returns the most bytes that the bucket may hold, or 0.
func (b *bucket) quota() int64 { return b.state.Load().quota }

// reserved are the bytes on their way into a bucket.
type reserved struct {
	mu    sync.Mutex // Guards bytes. Held while the index is looked at, so that nobody counts what is reserved and not yet there twice or never.
	bytes int64
}

// reservation is one write's share of these. Its zero value reserves nothing.
type reservation struct {
	s     *Store
	b     *bucket
	bytes int64
}

// reserve reserves room for a write that makes something of n bytes; replaced says how many bytes that takes the place of. n below 0 is not
// known: the room is then sought when it is. The caller holds no lock, and releases the reservation.
func (s *Store) reserve(b *bucket, n int64, replaced func() (int64, error)) (reservation, error) {
	r := reservation{s: s, b: b}
	if b.quota() == 0 || n <= 0 {
		return r, nil
	}
	old, err := replaced()
	if err != nil {
		return r, err
	}
	err = r.grow(n - old)
	return r, err
}

// grow reserves until n bytes are. The caller holds no lock.
func (r *reservation) grow(n int64) error {
	err := r.tryGrow(n)
	if errors.Is(err, errDown) {
		if _, err = r.s.usageOf(r.b); err != nil { // It waits for what is being replaced.
			return err
		}
		err = r.tryGrow(n)
	}
	if !isUnsure(err) {
		return err
	}
	// Once nobody is inside the gate, all that is reserved is still to come.
	r.b.gate.Lock()
	defer r.b.gate.Unlock()
	if err = r.tryGrow(n); isUnsure(err) {
		err = errQuota
	}
	return err
}

// unsureError says that there is no room for so many bytes if all that is reserved is still to come. Some of it may be in the index already, its
// writer about to release it.
type unsureError struct{ bytes int64 }

func (unsureError) Error() string { return "the bucket's quota may be reached" }

func isUnsure(err error) bool {
	_, unsure := errors.AsType[unsureError](err)
	return unsure
}

// tryGrow is grow for a caller that may hold locks, and have entered a base.
func (r *reservation) tryGrow(n int64) error {
	quota := r.b.quota()
	if quota == 0 || n <= r.bytes {
		return nil
	}
	r.b.reserved.mu.Lock()
	defer r.b.reserved.mu.Unlock()
	u, err := r.s.usageNow(r.b)
	if err != nil {
		return err
	}
	more, free := n-r.bytes, quota-u.Bytes-u.PartBytes
	switch {
	case n > free:
		return errQuota
	case more > free-r.b.reserved.bytes:
		return unsureError{n}
	}
	r.b.reserved.bytes += more
	r.bytes = n
	return nil
}

// cover makes sure that the reservation is enough for a write that adds n bytes. The caller holds the bucket's gate for reading, and what
// keeps n from changing.
func (r *reservation) cover(n int64) error { return r.tryGrow(n) }

// release gives the room back: what is written is in the index now. It may be called again. A writer calls it before it leaves the bucket's gate.
func (r *reservation) release() {
	if r.bytes == 0 {
		return
	}
	r.b.reserved.mu.Lock()
	defer r.b.reserved.mu.Unlock()
	r.b.reserved.bytes -= r.bytes
	r.bytes = 0
}

// quotaTries bounds how often a write seeks more room because what it replaces became smaller while it did.
const quotaTries = 3

// within carries out a write within its reservation: once, unless it turns out that more room is needed. The write has released the
// reservation unless its error is an unsureError.
func (r *reservation) within(write func() error) error {
	for range quotaTries {
		err := write()
		unsure, ok := errors.AsType[unsureError](err)
		if !ok {
			return err
		}
		if err := r.grow(unsure.bytes); err != nil {
			return err
		}
	}
	return errQuota
}

// done releases the reservation of a write unless that is to be tried again.
func (r *reservation) done(err error) {
	if !isUnsure(err) {
		r.release()
	}
}

// reserveObject reserves room for an object of n bytes.
func (s *Store) reserveObject(b *bucket, c *cell, key string, n int64) (reservation, error) {
	return s.reserve(b, n, func() (int64, error) {
		base, err := c.enter()
		if err != nil {
			return 0, err
		}
		defer base.leave()
		return b.replacedLen(base, key)
	})
}

// replacedLen returns the bytes of what a write to the key replaces. The caller has entered base.
func (b *bucket) replacedLen(base *base, key string) (int64, error) {
	if b.state.Load().versioning == VersioningEnabled {
		return 0, nil
	}
	old, _, err := base.index.GetObjectHead(b.id, key, NullVersion)
	return old.Size, err
}

// coverObject makes sure that a reservation is enough for an object. The caller holds the bucket's gate and the key's lock and has entered base.
func (b *bucket) coverObject(base *base, object *meta.Object, room *reservation) error {
	if b.quota() == 0 {
		return nil
	}
	old, err := b.replacedLen(base, object.Key)
	if err != nil {
		return err
	}
	return room.cover(object.Size - old)
}

// reservePart reserves room for a part of n bytes.
func (s *Store) reservePart(b *bucket, c *cell, id meta.UploadID, number int, n int64) (reservation, error) {
	return s.reserve(b, n, func() (int64, error) {
		base, err := c.enter()
		if err != nil {
			return 0, err
		}
		defer base.leave()
		old, _, err := base.index.GetPart(id, number)
		return old.Size, err
	})
}

// coverPart makes sure that a reservation is enough for a part, and returns what keeps the part it replaces as it is until the function
// returned is called. The caller holds the bucket's gate and the upload's, and has entered no base.
func (s *Store) coverPart(ctx context.Context, b *bucket, c *cell, id meta.UploadID, part *meta.UploadPart, room *reservation) (unlock func(), err error) {
	if b.quota() == 0 {
		return func() {}, nil
	}
	if unlock, err = c.locks.lock(ctx, string(id[:])+strconv.Itoa(part.Number)); err != nil {
		return nil, err
	}
	base, err := c.enter()
	if err != nil {
		unlock()
		return nil, err
	}
	defer base.leave()
	old, _, err := base.index.GetPart(id, part.Number)
	if err == nil {
		err = room.cover(part.Size - old.Size)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}
