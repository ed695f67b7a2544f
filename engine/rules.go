package engine

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"penstock/meta"
)

// Rules say what becomes of versions and uploads with time. A bucket keeps them in an attribute; what they ask for is done by itself
// (lifecycle.go).

// AttrRules is the attribute of a bucket that holds its rules, a text of EncodeRules.
const AttrRules = "rules"

// AttrTags is the attribute of a version that holds its tags, as a URL query. Rules may ask for them.
const AttrTags = "tagging"

// Day is what rules count in, unless Options say otherwise for a test.
const Day = 24 * time.Hour

func (o *Options) day() time.Duration {
	if o.Day > 0 {
		return o.Day
	}
	return Day
}

// Rule is one rule. It has at least one of its deadlines.
type Rule struct {
	ID  string `json:"id"`
	Off bool   `json:"off,omitempty"`

	// What it is about: keys that begin with Prefix, and versions of them that have all Tags and a size between the two, which are outside.
	Prefix string `json:"prefix,omitempty"`
	Tags   []Attr `json:"tags,omitempty"`
	Above  *int64 `json:"above,omitempty"`
	Below  *int64 `json:"below,omitempty"`

	// Its deadlines, each "none" when zero. All are at the first midnight at or after their time.
	Days           int       `json:"days,omitempty"`           // Of a current version after it was written.
	Date           time.Time `json:"date,omitzero"`            // The same for all at once.
	Markers        bool      `json:"markers,omitempty"`        // Of a delete marker that is all there is of its key.
	NoncurrentDays int       `json:"noncurrentDays,omitempty"` // Of a version after another became current, unless it is among
	Keep           int       `json:"keep,omitempty"`           // the newest so many that are not.
	AbortDays      int       `json:"abortDays,omitempty"`      // Of an upload after it was begun.
}

// Rules are the rules of a bucket.
type Rules struct {
	// Plan tells one setting of rules from every other, be they the same: what is written while a bucket has none is looked at when
	// it is given them again.
	Plan string `json:"plan"`
	List []Rule `json:"rules"`
}

// EncodeRules returns the attribute for rules.
func EncodeRules(list []Rule) string {
	text, err := json.Marshal(Rules{rand.Text(), list})
	if err != nil {
		panic(err) // Nothing in a Rule can fail.
	}
	return string(text)
}

// RulesOf reads a bucket's rules, nil for none.
func RulesOf(attrs []Attr) (*Rules, error) {
	text := attrOf(attrs, AttrRules)
	if text == "" {
		return nil, nil
	}
	rules := new(Rules)
	if err := json.Unmarshal([]byte(text), rules); err != nil {
		return nil, fmt.Errorf("the rules of the bucket: %w: %w", err, errRules)
	}
	if rules.Plan == "" || len(rules.List) == 0 {
		return nil, errRules
	}
	return rules, nil
}

var errRules = errors.New("rules that cannot be read")

// Action is what a rule does when its time has come.
type Action uint8

const (
	ActionExpire Action = iota + 1 // The current version: it is deleted as a client would, in a bucket with versions by a delete marker.
	ActionRemove                   // A version that is not current, or a lone delete marker: it is removed for good.
	ActionAbort                    // An upload.
)

func (a Action) String() string {
	return [...]string{"none", "expire", "remove", "abort"}[a]
}

// Deadline is when a rule will act on something. The zero Deadline is "never".
type Deadline struct {
	At     time.Time
	Action Action
	Rule   string // Its ID.
}

// sooner takes over another deadline if that comes first.
func (d *Deadline) sooner(at time.Time, action Action, r *Rule) {
	if d.Action == 0 || at.Before(d.At) {
		*d = Deadline{at, action, r.ID}
	}
}

// dueAfter returns the first midnight that is a number of days or more after a time. Days begin at midnight in UTC.
func dueAfter(t time.Time, days int, day time.Duration) time.Time {
	t = t.Add(time.Duration(days) * day)
	if midnight := t.Truncate(day); midnight.Equal(t) {
		return midnight
	}
	return t.Truncate(day).Add(day)
}

// mismatch says why a rule is not about a version, nil for an upload; "" if it is.
func (r *Rule) mismatch(key string, o *meta.Object) string {
	filtered := len(r.Tags) > 0 || r.Above != nil || r.Below != nil
	switch {
	case r.Off:
		return "the rule is disabled"
	case !strings.HasPrefix(key, r.Prefix):
		return fmt.Sprintf("the key does not begin with %q", r.Prefix)
	case filtered && (o == nil || o.Marker):
		return "the rule asks for tags or a size, which uploads and delete markers do not have"
	case o == nil:
		return ""
	case r.Above != nil && o.Size <= *r.Above:
		return fmt.Sprintf("its size of %d is not above %d", o.Size, *r.Above)
	case r.Below != nil && o.Size >= *r.Below:
		return fmt.Sprintf("its size of %d is not below %d", o.Size, *r.Below)
	case len(r.Tags) > 0:
		return r.missingTag(attrOf(o.Attrs, AttrTags))
	}
	return ""
}

// missingTag names a tag of the rule that is not among tags. Where these cannot be read, none is.
func (r *Rule) missingTag(tags string) string {
	have, err := url.ParseQuery(tags)
	if err != nil {
		have = nil
	}
	for _, want := range r.Tags {
		if !slices.Equal(have[want.Name], []string{want.Value}) {
			return fmt.Sprintf("it does not have the tag %s=%s", want.Name, want.Value)
		}
	}
	return ""
}

// place is where a version stands among those of its key.
type place struct {
	index int       // 0 for the current one, then older and older ones.
	since time.Time // Of one that is not current: when the next newer one was written.
	only  bool      // There is no other.
}

// deadline returns when the rule acts on a version that it is about, false for never.
func (r *Rule) deadline(o *meta.Object, p place, day time.Duration) (at time.Time, action Action, ok bool) {
	switch {
	case p.index > 0:
		return dueAfter(p.since, r.NoncurrentDays, day), ActionRemove, r.NoncurrentDays > 0 && p.index > r.Keep
	case o.Marker && !p.only:
		return at, 0, false
	case o.Marker && r.Markers:
		return dueAfter(o.Modified, 0, day), ActionRemove, true
	}
	action = ActionExpire
	if o.Marker {
		action = ActionRemove
	}
	if r.Days > 0 {
		return dueAfter(o.Modified, r.Days, day), action, true
	}
	return r.Date, action, !r.Date.IsZero()
}

// version returns when the first of the rules acts on a version.
func (rs *Rules) version(o *meta.Object, p place, day time.Duration) (d Deadline) {
	for i := range rs.List {
		r := &rs.List[i]
		if r.mismatch(o.Key, o) != "" {
			continue
		}
		if at, action, ok := r.deadline(o, p, day); ok {
			d.sooner(at, action, r)
		}
	}
	return d
}

// Expiry returns when the current version of a key expires.
func (rs *Rules) Expiry(info *ObjectInfo, day time.Duration) Deadline {
	if rs == nil || info.Marker {
		return Deadline{}
	}
	o := meta.Object{Key: info.Key, Size: info.Size, Modified: info.Modified, Attrs: info.Attrs}
	return rs.version(&o, place{}, day)
}

// Abort returns when an upload is aborted.
func (rs *Rules) Abort(key string, initiated time.Time, day time.Duration) (d Deadline) {
	if rs == nil {
		return d
	}
	for i := range rs.List {
		if r := &rs.List[i]; r.AbortDays > 0 && r.mismatch(key, nil) == "" {
			d.sooner(dueAfter(initiated, r.AbortDays, day), ActionAbort, r)
		}
	}
	return d
}
