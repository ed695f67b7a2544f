package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// walker is the specification of rules: lists, and a walk over all of them each midnight.
type walker struct {
	versioning string
	rules      []Rule
	versions   map[string][]walked // Of each key, the newest first.
	uploads    map[string][]time.Time
}

type walked struct {
	id       VersionID
	null     bool
	marker   bool
	size     int
	tag      string
	modified time.Time
}

func (w *walker) put(key string, v walked) {
	if v.null = w.versioning != VersioningEnabled; v.null {
		w.versions[key] = slices.DeleteFunc(w.versions[key], func(v walked) bool { return v.null })
	}
	w.versions[key] = slices.Insert(w.versions[key], 0, v)
}

func (w *walker) delete(key string, now time.Time) {
	if w.versioning != "" {
		w.put(key, walked{marker: true, modified: now})
		return
	}
	delete(w.versions, key)
}

// midnight does what is due at a midnight, until nothing more is.
func (w *walker) midnight(now time.Time) {
	for {
		again := false
		for key := range w.versions {
			again = w.walk(key, now) || again
		}
		if !again {
			break
		}
	}
	for key, begun := range w.uploads {
		w.uploads[key] = slices.DeleteFunc(begun, func(t time.Time) bool {
			return slices.ContainsFunc(w.rules, func(r Rule) bool {
				return w.about(&r, key, nil) && r.AbortDays > 0 && !now.Before(t.Add(time.Duration(r.AbortDays)*day))
			})
		})
	}
}

func (w *walker) about(r *Rule, key string, v *walked) bool {
	if r.Off || !strings.HasPrefix(key, r.Prefix) {
		return false
	}
	if v == nil || v.marker {
		return r.Tags == nil && r.Above == nil && r.Below == nil
	}
	return (r.Tags == nil || v.tag == r.Tags[0].Value) && (r.Above == nil || int64(v.size) > *r.Above) && (r.Below == nil || int64(v.size) < *r.Below)
}

func (w *walker) walk(key string, now time.Time) bool {
	all := w.versions[key]
	var gone []int
	expire := false
	for i := range all {
		v := &all[i]
		remove := false
		for j := range w.rules {
			r := &w.rules[j]
			if !w.about(r, key, v) {
				continue
			}
			aged := r.Days > 0 && !now.Before(v.modified.Add(time.Duration(r.Days)*day)) || !r.Date.IsZero() && !now.Before(r.Date)
			switch {
			case i > 0:
				remove = remove || r.NoncurrentDays > 0 && i > r.Keep && !now.Before(all[i-1].modified.Add(time.Duration(r.NoncurrentDays)*day))
			case v.marker:
				remove = remove || len(all) == 1 && (aged || r.Markers)
			case aged:
				expire = true
			}
		}
		if remove {
			gone = append(gone, i)
		}
	}
	for _, i := range slices.Backward(gone) {
		w.versions[key] = slices.Delete(w.versions[key], i, i+1)
	}
	if expire {
		w.delete(key, now)
	}
	if len(w.versions[key]) == 0 {
		delete(w.versions, key)
	}
	return expire || len(gone) > 0
}

func (w *walker) state() string {
	var out []string
	for _, key := range sortedKeys(w.versions) {
		text := key + ":"
		for _, v := range w.versions[key] {
			if v.marker {
				text += "-"
			} else {
				text += fmt.Sprint(v.size)
			}
		}
		out = append(out, text)
	}
	for _, key := range sortedKeys(w.uploads) {
		for range w.uploads[key] {
			out = append(out, key+"?")
		}
	}
	return strings.Join(out, " ")
}

// TestRulesHistory plays random histories of writes, deletions, tags, uploads, rules, restarts and rebuilds day by day, and compares what is left each
// morning with a walk over everything.
func TestRulesHistory(t *testing.T) {
	rng := newRNG(t)
	for range 4 {
		k := newKeeper(t)
		w := &walker{versions: map[string][]walked{}, uploads: map[string][]time.Time{}}
		keys := []string{"a", "a/1", "b/1", "b/2", "c", "d\x00e"}
		for range 40 {
			for range rng.IntN(8) {
				k.clock.pass(time.Duration(rng.IntN(120)) * time.Minute)
				now := k.clock.now()
				key := keys[rng.IntN(len(keys))]
				switch op := rng.IntN(20); {
				case op < 9:
					tag, n := []string{"", "x", "y"}[rng.IntN(3)], rng.IntN(10)
					tags := ""
					if tag != "" {
						tags = "t=" + tag
					}
					id := k.put(key, n, tags)
					w.put(key, walked{id: id, size: n, tag: tag, modified: now})
				case op < 11:
					if _, err := k.s.Delete(t.Context(), testBucket, key, CurrentVersion, DeleteOptions{}); err != nil {
						t.Fatal(err)
					}
					w.delete(key, now)
				case op < 13:
					all := versionsOf(t, k.s, key)
					if len(all) == 0 {
						continue
					}
					i := rng.IntN(len(all))
					if _, err := k.s.Delete(t.Context(), testBucket, key, all[i].Version, DeleteOptions{}); err != nil {
						t.Fatal(err)
					}
					if w.versions[key] = slices.Delete(w.versions[key], i, i+1); len(w.versions[key]) == 0 {
						delete(w.versions, key)
					}
				case op < 15:
					all := versionsOf(t, k.s, key)
					if len(all) == 0 {
						continue
					}
					i := rng.IntN(len(all))
					if all[i].Marker {
						continue
					}
					_, err := k.s.UpdateObjectAttrs(t.Context(), testBucket, key, all[i].Version, func(o *ObjectInfo) ([]Attr, error) {
						return WithAttr(o.Attrs, AttrTags, "t=x"), nil
					})
					if err != nil {
						t.Fatal(err)
					}
					w.versions[key][i].tag = "x"
				case op < 17:
					if _, err := k.s.CreateUpload(t.Context(), testBucket, key, nil); err != nil {
						t.Fatal(err)
					}
					w.uploads[key] = append(w.uploads[key], now)
				case op < 18:
					if w.versioning = VersioningEnabled; rng.IntN(3) == 0 {
						w.versioning = VersioningSuspended
					}
					k.set(AttrVersioning, w.versioning)
				case op < 19:
					w.rules = nil
					for i := range rng.IntN(4) {
						w.rules = append(w.rules, randomRule(rng, now.Truncate(day), fmt.Sprint("r", i)))
					}
					k.rules(w.rules...)
				default:
					k.restart(rng.IntN(3) == 0)
				}
			}
			midnight := k.clock.now().Truncate(day).Add(day)
			before := w.state()
			k.pass(midnight.Sub(k.clock.now()))
			w.midnight(midnight)
			if got, want := k.state(), w.state(); got != want {
				t.Fatalf("on %v:\nwas  %s\ngot  %s\nwant %s\nrules %+v", midnight, before, got, want, w.rules)
			}
			k.clock.pass(time.Millisecond)
		}
	}
}
