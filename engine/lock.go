package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock/meta"
)

// Versions can be locked: until a time in one of two modes, and by a hold that lasts until it is lifted. A locked version cannot be
// removed, by nobody and by no means; what says so is kept in attributes, and where these cannot be read the version is locked.

// Attributes that the store itself reads, beside AttrVersioning.
const (
	AttrObjectLock = "object-lock" // Of a bucket: LockConfig's text. Once set it can be changed and no longer removed.
	AttrLockMode   = "lock-mode"   // Of a version: LockGovernance or LockCompliance; with AttrLockUntil.
	AttrLockUntil  = "lock-until"  // When the mode ends, as in RFC 3339.
	AttrLegalHold  = "legal-hold"  // LegalHoldOn while a hold is placed; LegalHoldOff once it was lifted.
)

// The modes of a lock and the states of a hold.
const (
	LockGovernance = "GOVERNANCE" // Who may bypass it can remove the version and shorten the lock.
	LockCompliance = "COMPLIANCE" // Nobody can, before its time.
	LegalHoldOn    = "ON"
	LegalHoldOff   = "OFF"
)

var (
	errLocked         = errors.New("the version is locked")
	errUnreadableLock = errors.New("what says whether the version is locked cannot be read, so it is")
	errNoLock         = errors.New("the bucket has no lock")
	errLockAttrs      = errors.New("a lock is changed by SetLock alone")
	errLockConfig     = errors.New("a lock needs versioning, and stays")
)

// Lock is what is set of a version's lock. The zero Lock is none.
type Lock struct {
	Mode  string    // "" for none.
	Until time.Time // Set with Mode.
	Hold  string    // LegalHoldOn, LegalHoldOff, or "" if none was ever placed.
}

// LockOf reads a version's lock.
func LockOf(attrs []Attr) (l Lock, err error) {
	for _, a := range attrs {
		switch a.Name {
		case AttrLockMode:
			if l.Mode = a.Value; l.Mode != LockGovernance && l.Mode != LockCompliance {
				return Lock{}, fmt.Errorf("mode %q: %w", l.Mode, errUnreadableLock)
			}
		case AttrLockUntil:
			if l.Until, err = time.Parse(time.RFC3339, a.Value); err != nil {
				return Lock{}, fmt.Errorf("%w: %w", err, errUnreadableLock)
			}
		case AttrLegalHold:
			if l.Hold = a.Value; l.Hold != LegalHoldOn && l.Hold != LegalHoldOff {
				return Lock{}, fmt.Errorf("legal hold %q: %w", l.Hold, errUnreadableLock)
			}
		}
	}
	if (l.Mode == "") != l.Until.IsZero() {
		return Lock{}, fmt.Errorf("mode %q until %v: %w", l.Mode, l.Until, errUnreadableLock)
	}
	return l, nil
}

// Attrs returns attrs with this lock in place of the one that they have.
func (l Lock) Attrs(attrs []Attr) []Attr {
	attrs = slices.DeleteFunc(slices.Clone(attrs), isLockAttr)
	if l.Mode != "" {
		attrs = append(attrs, Attr{Name: AttrLockMode, Value: l.Mode}, Attr{Name: AttrLockUntil, Value: l.Until.UTC().Format(time.RFC3339Nano)})
	}
	if l.Hold != "" {
		attrs = append(attrs, Attr{Name: AttrLegalHold, Value: l.Hold})
	}
	return attrs
}

func isLockAttr(a Attr) bool {
	return a.Name == AttrLockMode || a.Name == AttrLockUntil || a.Name == AttrLegalHold
}

// holds reports whether the lock keeps a version from being removed at that time.
func (l Lock) holds(now time.Time, bypass bool) bool {
	return l.Hold == LegalHoldOn || l.Mode != "" && now.Before(l.Until) && !(bypass && l.Mode == LockGovernance)
}

// admits reports whether the lock may become next at that time. A hold is no matter of time.
func (l Lock) admits(next Lock, now time.Time, bypass bool) bool {
	if l.Mode == "" || !now.Before(l.Until) {
		return true
	}
	longer := next.Mode == l.Mode && !next.Until.Before(l.Until)
	return longer || bypass && l.Mode == LockGovernance
}

// LockConfig is what a bucket with a lock gives its new versions: a mode and how long, or nothing.
type LockConfig struct {
	Mode  string
	Days  int // One of the two with Mode.
	Years int
}

// Its text: "enabled", or "enabled MODE n days", or "enabled MODE n years".

// Attr is the value of the bucket's attribute.
func (c LockConfig) Attr() string {
	switch {
	case c.Mode == "":
		return "enabled"
	case c.Days > 0:
		return fmt.Sprintf("enabled %s %d days", c.Mode, c.Days)
	}
	return fmt.Sprintf("enabled %s %d years", c.Mode, c.Years)
}

// LockConfigOf reads a bucket's lock. ok is false when it has none.
func LockConfigOf(attrs []Attr) (c LockConfig, ok bool, err error) {
	text := attrOf(attrs, AttrObjectLock)
	if text == "" {
		return c, false, nil
	}
	words := strings.Split(text, " ")
	if len(words) == 4 {
		n, _ := strconv.Atoi(words[2])
		switch c.Mode = words[1]; words[3] {
		case "days":
			c.Days = n
		case "years":
			c.Years = n
		}
	}
	if c.Attr() != text || c.Mode != "" && (c.Mode != LockGovernance && c.Mode != LockCompliance || c.Days <= 0 && c.Years <= 0) {
		return LockConfig{}, true, fmt.Errorf("lock of the bucket %q: %w", text, errUnreadableLock)
	}
	return c, true, nil
}

// end returns until when a version is locked that is written at that time with no lock of its own. c has a mode.
func (c LockConfig) end(now time.Time) time.Time { return now.AddDate(c.Years, 0, c.Days) }

// checkLock refuses a change of a bucket's lock that cannot be.
func checkLock(old, now []Attr) error {
	_, had := findAttr(old, AttrObjectLock)
	_, has, err := LockConfigOf(now)
	switch {
	case err != nil:
		return err
	case had && !has, has && attrOf(now, AttrVersioning) != VersioningEnabled:
		return errLockConfig
	}
	return nil
}

func findAttr(attrs []Attr, name string) (string, bool) {
	i := slices.IndexFunc(attrs, func(a Attr) bool { return a.Name == name })
	if i < 0 {
		return "", false
	}
	return attrs[i].Value, true
}

// checkNewLock refuses attributes of a new object whose lock cannot be. The caller has entered the bucket.
func (b *bucket) checkNewLock(attrs []Attr) (Lock, error) {
	state := b.state.Load()
	if state.lockErr != nil {
		return Lock{}, state.lockErr
	}
	lock, err := LockOf(attrs)
	if err == nil && !state.locks && lock != (Lock{}) {
		err = errNoLock
	}
	return lock, err
}

// lockNew gives an object that is about to be written the lock that it must have. The caller has entered the bucket.
func (s *Store) lockNew(b *bucket, object *meta.Object) error {
	lock, err := b.checkNewLock(object.Attrs)
	state := b.state.Load()
	switch {
	case err != nil:
		return err
	case !state.locks:
		return nil
	case object.Version.IsNull():
		return errLocked // It would replace another, of which nobody knows whether it is locked.
	case lock.Mode == "" && state.lock.Mode != "":
		lock.Mode, lock.Until = state.lock.Mode, state.lock.end(s.lockTime.latest())
		object.Attrs = lock.Attrs(object.Attrs)
	}
	return nil
}

// checkUnlocked refuses the removal of a version that is locked. The caller has entered the bucket.
func (s *Store) checkUnlocked(b *bucket, object *meta.Object, bypass bool) error {
	if object.Marker {
		return nil
	}
	if err := b.state.Load().lockErr; err != nil {
		return err
	}
	lock, err := LockOf(object.Attrs)
	if err == nil && lock != (Lock{}) && lock.holds(s.lockTime.now(), bypass) {
		err = errLocked
	}
	return err
}

// SetLock gives a version the lock that change returns for what it has, if that may be: a lock can always become longer, and before its
// time not shorter, except that bypass overcomes governance. An error of change is the cause of a KindPrecondition. change
// must not call the store.
func (s *Store) SetLock(ctx context.Context, name, key string, version VersionID, bypass bool, change func(Lock) (Lock, error)) (ObjectInfo, error) {
	const op = "SetLock"
	return s.updateAttrs(ctx, op, name, key, version, func(b *bucket, o *ObjectInfo) ([]Attr, error) {
		state := b.state.Load()
		if state.lockErr != nil {
			return nil, state.lockErr
		}
		if !state.locks {
			return nil, errNoLock
		}
		old, err := LockOf(o.Attrs)
		if err != nil {
			return nil, err
		}
		next, err := change(old)
		if err != nil {
			return nil, refusedError{err}
		}
		if next == old {
			return o.Attrs, nil
		}
		if !old.admits(next, s.lockTime.now(), bypass) {
			return nil, errLocked
		}
		attrs := next.Attrs(o.Attrs)
		if again, err := LockOf(attrs); err != nil || !again.Until.Equal(next.Until) {
			return nil, fmt.Errorf("lock %+v: %w", next, errUnreadableLock)
		}
		return attrs, nil
	})
}
