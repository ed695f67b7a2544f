package engine

import (
	"strings"
	"time"

	"penstock/meta"
)

// What is due is found without a walk: whatever changes a key in a bucket with rules says, in the same batch of the journal, when
// something may be due because of it (meta.Look). It says so from the rules and the change alone: better a look too many than to read
// all versions for each write. The look itself reads them, and says when the next one is.

// change is what happens to a key.
type change uint8

const (
	changePut    change = iota // A version becomes current, or a delete marker.
	changeRemove               // A version goes.
	changeAttrs                // A version gets other attributes: tags, or a lock.
	changeUpload               // An upload begins.
)

// look returns the look that a change makes necessary, nil for none. o is the version that is put, or changed. The caller has entered b.
func (s *Store) look(b *bucket, what change, key string, o *meta.Object, now time.Time) *meta.Look {
	state := b.state.Load()
	if state.rules == nil {
		return nil
	}
	day := s.opts.day()
	// Never sooner than the midnight to come: an earlier look might be taken for one that is being settled now.
	soon := dueAfter(time.UnixMilli(max(now.UnixMilli(), s.looked.Load())+1), 0, day)
	var first time.Time
	at := func(t time.Time) {
		if t.Before(soon) {
			t = soon
		}
		first = earlier(first, t)
	}
	if what == changeUpload {
		if d := state.rules.Abort(key, now, day); d.Action != 0 {
			at(d.At)
		}
		return lookAt(b, key, first)
	}
	for i := range state.rules.List {
		r := &state.rules.List[i]
		switch {
		case r.Off || !strings.HasPrefix(key, r.Prefix):
			continue
		case what == changeAttrs:
			at(soon)
			continue
		case what == changeRemove:
			if state.versioning != "" && (r.Days > 0 || !r.Date.IsZero() || r.Markers) {
				at(soon) // What comes to be current may be due, or a delete marker be all that is left.
			}
			continue
		}
		if r.mismatch(key, o) == "" {
			if t, _, ok := r.deadline(o, place{only: true}, day); ok {
				at(t)
			}
		}
		if r.NoncurrentDays > 0 && state.versioning != "" {
			days := r.NoncurrentDays
			if r.Keep > 0 {
				days = 0 // An older one may be beyond those to keep now.
			}
			at(dueAfter(now, days, day))
		}
	}
	return lookAt(b, key, first)
}

func lookAt(b *bucket, key string, at time.Time) *meta.Look {
	if at.IsZero() {
		return nil
	}
	return &meta.Look{Bucket: b.id, Key: key, At: at}
}
