package engine

import (
	"context"
	"fmt"
	"time"

	"penstock/meta"
)

// Forecast says what one rule will do to one version or upload of a key, or why it does nothing.
type Forecast struct {
	Rule    string
	Version VersionID // Of a version.
	Marker  bool      // It is a delete marker.
	Current bool      // It is the current one.
	Upload  string    // The ID of an upload.

	Action Action
	At     time.Time
	Locked bool   // A lock keeps it at that time, as far as it is known now.
	Why    string // Why the rule does nothing.
}

// maxForecasts bounds an answer: nobody reads more.
const maxForecasts = 1000

// Forecast says of each rule of a bucket what it will do to each version and upload of a key.
func (s *Store) Forecast(ctx context.Context, bucket, key string) (out []Forecast, err error) {
	const op = "Forecast"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return nil, err
	}
	if err := checkKey(op, b, key); err != nil {
		return nil, err
	}
	rules := b.state.Load().rules
	if rules == nil {
		return nil, nil
	}
	c := s.cellOf(b, key)
	base, err := c.enter()
	if err != nil {
		return nil, storeError(op, bucket, key, err)
	}
	defer base.leave()
	err = base.eachVersion(b, key, func(o *meta.Object, p place) bool {
		for i := range rules.List {
			out = append(out, s.forecast(b, &rules.List[i], o, p))
		}
		return len(out) < maxForecasts
	})
	if err != nil {
		return nil, storeError(op, bucket, key, err)
	}
	page, err := base.index.ListUploads(b.id, meta.UploadListOptions{Prefix: key, Max: MaxListEntries})
	if err != nil {
		return nil, storeError(op, bucket, key, err)
	}
	for i := range page.Uploads {
		u := &page.Uploads[i]
		if u.Key != key || len(out) >= maxForecasts {
			break
		}
		for j := range rules.List {
			out = append(out, s.forecastUpload(&rules.List[j], u))
		}
	}
	return out, nil
}

func (s *Store) forecast(b *bucket, r *Rule, o *meta.Object, p place) Forecast {
	f := Forecast{Rule: r.ID, Version: shownVersion(o.Version), Marker: o.Marker, Current: p.index == 0}
	if f.Why = r.mismatch(o.Key, o); f.Why != "" {
		return f
	}
	at, action, ok := r.deadline(o, p, s.opts.day())
	if !ok {
		f.Why = r.idle(o, p)
		return f
	}
	f.At, f.Action = at, action
	if action != ActionExpire || !b.versioned() {
		lock, err := LockOf(o.Attrs)
		f.Locked = err != nil || lock.holds(at, false)
	}
	return f
}

// idle says why a rule that is about a version does nothing to it.
func (r *Rule) idle(o *meta.Object, p place) string {
	ages := r.Days > 0 || !r.Date.IsZero()
	switch {
	case p.index > 0 && r.NoncurrentDays > 0:
		return fmt.Sprintf("it is among the newest %d versions that are not current, which the rule keeps", r.Keep)
	case p.index > 0:
		return "the rule says nothing of versions that are not current"
	case o.Marker && (ages || r.Markers):
		return "the delete marker is not all there is of the key"
	case o.Marker:
		return "the rule says nothing of delete markers"
	}
	return "the rule says nothing of current versions"
}

func (s *Store) forecastUpload(r *Rule, u *meta.Upload) Forecast {
	f := Forecast{Rule: r.ID, Upload: formatUploadID(u.ID)}
	if f.Why = r.mismatch(u.Key, nil); f.Why != "" {
		return f
	}
	if r.AbortDays == 0 {
		f.Why = "the rule says nothing of uploads"
		return f
	}
	f.At, f.Action = dueAfter(u.Initiated, r.AbortDays, s.opts.day()), ActionAbort
	return f
}
