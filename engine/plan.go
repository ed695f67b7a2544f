package engine

import (
	"context"
	"strings"
	"time"

	"penstock/meta"
)

// A bucket that is given rules holds versions and uploads for which no look was entered. Planning goes over them once for each setting of
// rules, in order of key, and enters their looks. How far it is lies beside the looks in the index:
//
//	plan ID | " versions " or " uploads " | the key that it is at
//	plan ID | " done"
//
// A rebuilt index has neither, so planning begins anew there.

const (
	planVersions = "versions"
	planUploads  = "uploads"
	planDone     = "done"
)

// progress is how far the plan of a bucket is.
type progress struct{ plan, stage, key string }

func (p progress) text() string {
	if p.stage == planDone {
		return p.plan + " " + planDone
	}
	return p.plan + " " + p.stage + " " + p.key
}

// progressOf reads how far a plan is; another plan has not begun.
func progressOf(plan, text string) progress {
	p := progress{plan: plan, stage: planVersions}
	words := strings.SplitN(text, " ", 3)
	switch {
	case words[0] != plan || len(words) < 2:
	case words[1] == planDone:
		p.stage = planDone
	case len(words) == 3:
		p.stage, p.key = words[1], words[2]
	}
	return p
}

// plan enters the looks for what is in a bucket already, unless that was done.
func (f *follower) plan(ctx context.Context, b *bucket) error {
	before, page := (*base)(nil), planPage{}
	for {
		began := time.Now()
		base, err := f.c.enter()
		if err != nil {
			return err
		}
		if base != before {
			page = planPage{} // What is remembered of the last page is about another index.
		}
		before = base
		done, err := f.planSome(base, b, &page)
		base.leave()
		if done || err != nil {
			return err
		}
		if err := f.pace.pause(ctx, 0, time.Since(began)); err != nil {
			return err
		}
	}
}

// planPage remembers where a page ended, as a key may go on in the next one.
type planPage struct {
	key    string
	going  bool // The next page goes on after:
	before meta.VersionID
	index  int // Of the next version among those of its key.
	since  time.Time
	look   time.Time // The first deadline of the key so far.
}

// planSome goes over a page, and reports whether that was the last one. The caller has entered base.
func (f *follower) planSome(base *base, b *bucket, page *planPage) (bool, error) {
	rules := b.state.Load().rules
	if rules == nil {
		return true, nil
	}
	text, err := base.index.Plan(b.id)
	if err != nil {
		return false, err
	}
	p := progressOf(rules.Plan, text)
	var looks []meta.Look
	switch p.stage {
	case planDone:
		return true, nil
	case planVersions:
		looks, err = f.planVersions(base, b, rules, &p, page)
	default:
		looks, err = f.planUploads(base, b, rules, &p)
	}
	if err != nil {
		return false, err
	}
	return p.stage == planDone, base.index.SetPlan(b.id, p.text(), looks)
}

func (f *follower) planVersions(base *base, b *bucket, rules *Rules, p *progress, page *planPage) ([]meta.Look, error) {
	o := meta.VersionListOptions{KeyMarker: p.key, Before: CurrentVersion, Max: MaxListEntries}
	if page.going {
		o.Before = page.before
	} else {
		*page = planPage{}
	}
	listed, err := base.index.ListVersions(b.id, o)
	if err != nil {
		return nil, err
	}
	var looks []meta.Look
	enter := func() {
		if !page.look.IsZero() {
			looks = append(looks, meta.Look{Bucket: b.id, Key: page.key, At: page.look})
		}
	}
	for i := range listed.Versions {
		v := &listed.Versions[i]
		if v.Key != page.key {
			enter()
			*page = planPage{key: v.Key}
		}
		// Whether a delete marker is all there is the look will see.
		if d := rules.version(&v.Object, place{index: page.index, since: page.since, only: true}, f.s.opts.day()); d.Action != 0 {
			page.look = earlier(page.look, d.At)
		}
		page.index, page.since = page.index+1, v.Modified
	}
	f.planned += len(listed.Versions)
	if listed.Truncated {
		p.key, page.going, page.before = listed.NextKey, true, listed.NextBefore
		return looks, nil // The last key may go on.
	}
	enter()
	p.stage, p.key = planUploads, ""
	return looks, nil
}

func (f *follower) planUploads(base *base, b *bucket, rules *Rules, p *progress) ([]meta.Look, error) {
	// From the next key on: a key's uploads are looked at together, so one look is enough for all of them.
	listed, err := base.index.ListUploads(b.id, meta.UploadListOptions{KeyMarker: p.key, Max: MaxListEntries})
	if err != nil {
		return nil, err
	}
	var looks []meta.Look
	for i := range listed.Uploads {
		u := &listed.Uploads[i]
		if d := rules.Abort(u.Key, u.Initiated, f.s.opts.day()); d.Action != 0 && (len(looks) == 0 || looks[len(looks)-1].Key != u.Key) {
			looks = append(looks, meta.Look{Bucket: b.id, Key: u.Key, At: d.At}) // The first upload of a key is the oldest.
		}
	}
	if p.stage = planDone; listed.Truncated {
		p.stage, p.key = planUploads, listed.NextKey
	}
	return looks, nil
}
