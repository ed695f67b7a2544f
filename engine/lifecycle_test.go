package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
)

// keeper is a store whose rules are followed when the test says so, by a clock that the test moves.
type keeper struct {
	t       *testing.T
	s       *Store
	clock   *lockClock
	drives  []drive.Drive
	opts    Options
	uploads map[string][]string
}

func newKeeper(t *testing.T, attrs ...Attr) *keeper {
	k := &keeper{t: t, clock: newLockClock(), drives: memDrives(1, 0), opts: testOptions(t, -1), uploads: map[string][]string{}}
	k.opts.Clock = k.clock.now
	k.s = mustOpen(t, k.opts, k.drives)
	k.clock.drive(t, k.s)
	if err := k.s.CreateBucket(t.Context(), testBucket, attrs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, k.s) })
	return k
}

func (k *keeper) restart(rebuild bool) {
	k.t.Helper()
	k.s = restart(k.t, k.s, k.opts, k.drives, rebuild)
	k.clock.drive(k.t, k.s)
}

func (k *keeper) set(name, value string) {
	k.t.Helper()
	err := k.s.UpdateBucket(k.t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) { return WithAttr(b.Attrs, name, value), nil })
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeper) rules(list ...Rule) {
	k.t.Helper()
	if len(list) == 0 {
		k.set(AttrRules, "")
		return
	}
	k.set(AttrRules, EncodeRules(list))
}

func (k *keeper) put(key string, size int, tags string) VersionID {
	k.t.Helper()
	info, err := k.s.Put(k.t.Context(), testBucket, key, strings.NewReader(strings.Repeat("x", size)), PutOptions{
		Size: int64(size), Attrs: WithAttr(nil, AttrTags, tags), Finish: func(Sums) (Final, error) { return Final{ETag: "x"}, nil },
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return info.Version
}

// pass lets days go by and does what is due then.
func (k *keeper) pass(d time.Duration) followed {
	k.t.Helper()
	k.clock.pass(d)
	f := k.s.followOnce(k.t.Context())
	if f.failed > 0 {
		k.t.Errorf("%+v", f)
	}
	return f
}

// state renders all versions and uploads: each key with what there is of it, the newest first, and where a delete marker is, a "-".
func (k *keeper) state() string {
	k.t.Helper()
	page, err := k.s.ListVersions(k.t.Context(), testBucket, VersionListOptions{Max: MaxListEntries})
	if err != nil || page.Truncated {
		k.t.Fatal(err, page.Truncated)
	}
	var out []string
	last := ""
	for _, v := range page.Versions {
		if v.Key != last {
			out = append(out, v.Key+":")
		}
		last = v.Key
		text := fmt.Sprint(v.Size)
		if v.Marker {
			text = "-"
		}
		out[len(out)-1] += text
	}
	uploads, err := k.s.ListUploads(k.t.Context(), testBucket, UploadListOptions{Max: MaxListEntries})
	if err != nil || uploads.Truncated {
		k.t.Fatal(err, uploads.Truncated)
	}
	for _, u := range uploads.Uploads {
		out = append(out, u.Key+"?")
	}
	return strings.Join(out, " ")
}

func (k *keeper) want(what, want string) {
	k.t.Helper()
	if got := k.state(); got != want {
		k.t.Errorf("%s: there is %q, want %q", what, got, want)
	}
}

func size(n int64) *int64 { return &n }

// TestDueAfter: days are added, and then it is the next midnight.
func TestDueAfter(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, c := range []struct {
		from string
		days int
		want string
	}{
		{"2014-01-15T10:30:00Z", 3, "2014-01-19T00:00:00Z"}, // Amazon's own example.
		{"2014-01-15T00:00:00Z", 3, "2014-01-18T00:00:00Z"},
		{"2014-01-15T00:00:00.001Z", 0, "2014-01-16T00:00:00Z"},
		{"2014-02-28T23:59:59.999Z", 1, "2014-03-02T00:00:00Z"},
		{"2014-01-15T23:30:00-05:00", 1, "2014-01-18T00:00:00Z"},
	} {
		if got := dueAfter(at(c.from), c.days, Day); !got.Equal(at(c.want)) {
			t.Errorf("%s and %d days: %v, want %s", c.from, c.days, got, c.want)
		}
	}
}

// TestRules: each kind of rule, on the day before it acts and on the day it does.
func TestRules(t *testing.T) {
	versioned := Attr{Name: AttrVersioning, Value: VersioningEnabled}
	start := newLockClock().now()
	for _, c := range []struct {
		name          string
		attrs         []Attr
		rule          Rule
		days          int // After which it acts.
		before, after string
	}{
		{"days", nil, Rule{Prefix: "a", Days: 3}, 3, "a:1 ab:5 b:1", "b:1"},
		{"days, versions", []Attr{versioned}, Rule{Prefix: "a", Days: 3}, 3, "a:12 ab:5- b:1", "a:-12 ab:-5- b:1"},
		{"date", nil, Rule{Date: start.Add(2 * day)}, 2, "a:1 ab:5 b:1", ""},
		{"off", nil, Rule{Off: true, Days: 1}, 9, "a:1 ab:5 b:1", "a:1 ab:5 b:1"},
		{"tags", nil, Rule{Days: 1, Tags: []Attr{{Name: "k y", Value: "v&"}}}, 1, "a:1 ab:5 b:1", "a:1 b:1"},
		{"other tags", nil, Rule{Days: 1, Tags: []Attr{{Name: "k y", Value: "v&"}, {Name: "x", Value: ""}}}, 9, "a:1 ab:5 b:1", "a:1 ab:5 b:1"},
		{"above", nil, Rule{Days: 1, Above: size(1)}, 1, "a:1 ab:5 b:1", "a:1 b:1"},
		{"below", nil, Rule{Days: 1, Below: size(5)}, 1, "a:1 ab:5 b:1", "ab:5"},
		{"between", nil, Rule{Days: 1, Above: size(0), Below: size(2)}, 1, "a:1 ab:5 b:1", "ab:5"},
		{"noncurrent", []Attr{versioned}, Rule{NoncurrentDays: 2}, 2, "a:12 ab:5- b:1", "a:1 ab:5 b:1"},
		{"keep", []Attr{versioned}, Rule{NoncurrentDays: 2, Keep: 1}, 9, "a:12 ab:5- b:1", "a:12 ab:5- b:1"},
		{"abort", nil, Rule{Prefix: "u", AbortDays: 4}, 4, "a:1 ab:5 b:1", "a:1 ab:5 b:1"},
		{"abort, other key", nil, Rule{Prefix: "v", AbortDays: 1}, 9, "a:1 ab:5 b:1", "a:1 ab:5 b:1"},
		{"abort, tags", nil, Rule{AbortDays: 1, Above: size(0)}, 9, "a:1 ab:5 b:1", "a:1 ab:5 b:1"},
	} {
		for _, late := range []bool{false, true} { // The rule is there first, or comes when all is written.
			k := newKeeper(t, c.attrs...)
			c.rule.ID = "rule"
			if !late {
				k.rules(c.rule)
			}
			for _, key := range []string{"u/1", "u/1", "u/2"} {
				if _, err := k.s.CreateUpload(t.Context(), testBucket, key, nil); err != nil {
					t.Fatal(err)
				}
			}
			if len(c.attrs) > 0 {
				k.put("a", 2, "")
				if _, err := k.s.Delete(t.Context(), testBucket, "ab", CurrentVersion, DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			k.put("a", 1, "")
			k.put("b", 1, "k%20y=other")
			k.put("ab", 5, "k%20y=v%26&z=1")
			if late {
				k.rules(c.rule)
			}
			const uploads = " u/1? u/1? u/2?"
			k.pass(time.Duration(c.days)*day - 2*time.Hour)
			k.want(c.name+", the day before", strings.TrimSpace(c.before+uploads))
			k.pass(2 * time.Hour)
			after := strings.TrimSpace(c.after + uploads)
			if c.name == "abort" {
				after = c.after
			}
			k.want(c.name+", the day", after)
			if f := k.pass(0); f.looked > 0 || f.planned > 0 {
				t.Errorf("%s: again at once: %+v", c.name, f)
			}
		}
	}
}

// TestRulesTellPlan: rules that are changed, taken away and given again hold for all that is there, also for what came while there were none.
func TestRulesTellPlan(t *testing.T) {
	k := newKeeper(t)
	for i := range 30 {
		k.put(fmt.Sprintf("k%02d", i), 1, "")
	}
	rule := Rule{ID: "1", Prefix: "k0", Days: 5}
	k.rules(rule)
	if f := k.pass(day); f.planned != 30 || f.looked != 0 {
		t.Errorf("planned: %+v", f)
	}
	k.rules()
	k.put("k000", 2, "")
	k.rules(rule)
	if f := k.pass(day); f.planned != 31 {
		t.Errorf("planned again: %+v", f)
	}
	k.restart(false)
	if f := k.pass(2 * day); f.planned != 0 || f.looked != 0 {
		t.Errorf("after a restart: %+v", f)
	}
	k.restart(true)
	if f := k.pass(time.Hour); f.planned != 31 {
		t.Errorf("after a rebuild of the index: %+v", f)
	}
	k.rules(Rule{ID: "1", Prefix: "k1", Days: 2}, rule)
	if f := k.pass(0); f.done != 10 || f.planned != 31 {
		t.Errorf("edited: %+v", f)
	}
	if f := k.pass(day); f.done != 10 {
		t.Errorf("the old rule: %+v", f)
	}
	if f := k.pass(10 * day); f.done != 1 || k.state() == "" {
		t.Errorf("what came without rules: %+v, %s", f, k.state())
	}
}

// TestRulesObeyLocks: what is locked stays until it is not, and goes then.
func TestRulesObeyLocks(t *testing.T) {
	k := newKeeper(t, Attr{Name: AttrVersioning, Value: VersioningEnabled}, Attr{Name: AttrObjectLock, Value: LockConfig{}.Attr()})
	k.rules(Rule{ID: "r", Days: 1, NoncurrentDays: 1, Markers: true})
	until := k.clock.now().Add(30*day + time.Hour)
	put := func(key string, lock Lock) VersionID {
		info, err := k.s.Put(t.Context(), testBucket, key, strings.NewReader("x"), PutOptions{Size: 1, Attrs: lock.Attrs(nil), Finish: func(Sums) (Final, error) { return Final{ETag: "x"}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		return info.Version
	}
	put("compliance", Lock{Mode: LockCompliance, Until: until})
	put("governance", Lock{Mode: LockGovernance, Until: until})
	held := put("hold", Lock{Hold: LegalHoldOn})
	put("plain", Lock{})
	for range 9 {
		k.pass(3 * day)
	}
	k.want("locked", "compliance:-1 governance:-1 hold:-1")
	if f := k.pass(day); f.looked != 0 {
		t.Errorf("what is locked is looked at again before its time: %+v", f)
	}
	if _, err := k.s.SetLock(t.Context(), testBucket, "hold", held, false, func(Lock) (Lock, error) { return Lock{Hold: LegalHoldOff}, nil }); err != nil {
		t.Fatal(err)
	}
	k.pass(day)
	k.want("a hold lifted", "compliance:-1 governance:-1")
	k.pass(2 * day)
	k.want("their time over", "")
}

// TestRulesTime: a clock that jumps ahead does not expire anything before it has kept to that for a day.
func TestRulesTime(t *testing.T) {
	k := newKeeper(t)
	k.rules(Rule{ID: "r", Days: 30})
	k.put("a", 1, "")
	k.clock.set(300 * day)
	k.pass(12 * time.Hour)
	k.want("jumped ahead", "a:1")
	k.clock.set(-300 * day)
	k.pass(14 * time.Hour)
	k.want("put right", "a:1")
	k.pass(30 * day)
	k.want("its time over", "")
}

// TestRulesRace: keys that are written while their rules are followed lose no look and no write.
func TestRulesRace(t *testing.T) {
	k := newKeeper(t)
	k.rules(Rule{ID: "r", Date: k.clock.now().Add(-day)})
	k.put("k", 1, "")
	k.clock.pass(day)
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				k.s.followOnce(t.Context())
			}
		}
	}()
	for range 50 {
		k.put("k", 1, "")
		k.clock.pass(time.Hour)
	}
	close(stop)
	<-ended
	k.pass(2 * day)
	k.want("at the end", "")
}

// TestRulesManyVersions: a key with more versions than are read or removed at a time.
func TestRulesManyVersions(t *testing.T) {
	k := newKeeper(t, Attr{Name: AttrVersioning, Value: VersioningEnabled})
	n := tendPage + 2*tendRecords
	for range n {
		k.put("k", 1, "")
	}
	k.rules(Rule{ID: "r", NoncurrentDays: 1, Keep: 3})
	if f := k.pass(2 * day); f.done != n-4 {
		t.Errorf("%+v, want %d", f, n-4)
	}
	k.want("kept", "k:1111")
}

// TestForecast: what is said to come is what comes.
func TestForecast(t *testing.T) {
	k := newKeeper(t, Attr{Name: AttrVersioning, Value: VersioningEnabled})
	k.put("a", 1, "")
	k.put("a", 2, "")
	if _, err := k.s.CreateUpload(t.Context(), testBucket, "a", nil); err != nil {
		t.Fatal(err)
	}
	k.rules(Rule{ID: "expire", Days: 3}, Rule{ID: "old", NoncurrentDays: 2}, Rule{ID: "kept", NoncurrentDays: 1, Keep: 5}, Rule{ID: "off", Off: true, Days: 1}, Rule{ID: "other", Prefix: "b", Days: 1}, Rule{ID: "abort", AbortDays: 4})
	got, err := k.s.Forecast(t.Context(), testBucket, "a")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got {
		what := "former"
		switch {
		case f.Upload != "":
			what = "upload"
		case f.Current:
			what = "current"
		}
		if f.Why != "" {
			lines = append(lines, fmt.Sprintf("%s: %s not: %s", what, f.Rule, f.Why))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %s %v in %v days", what, f.Rule, f.Action, int(f.At.Sub(k.clock.now())/day)))
	}
	want := []string{
		"current: expire expire in 3 days",
		"current: old not: the rule says nothing of current versions",
		"current: kept not: the rule says nothing of current versions",
		"current: off not: the rule is disabled",
		`current: other not: the key does not begin with "b"`,
		"current: abort not: the rule says nothing of current versions",
		"former: expire not: the rule says nothing of versions that are not current",
		"former: old remove in 2 days",
		"former: kept not: it is among the newest 5 versions that are not current, which the rule keeps",
		"former: off not: the rule is disabled",
		`former: other not: the key does not begin with "b"`,
		"former: abort not: the rule says nothing of versions that are not current",
		"upload: expire not: the rule says nothing of uploads",
		"upload: old not: the rule says nothing of uploads",
		"upload: kept not: the rule says nothing of uploads",
		"upload: off not: the rule is disabled",
		`upload: other not: the key does not begin with "b"`,
		"upload: abort abort in 4 days",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// TestRulesCost: a pass looks at what is due and at nothing else, however much there is.
func TestRulesCost(t *testing.T) {
	k := newKeeper(t)
	k.rules(Rule{ID: "r", Prefix: "old/", Days: 1}, Rule{ID: "s", Days: 100})
	for i := range 2000 {
		k.put(fmt.Sprintf("new/%d", i), 1, "")
	}
	for i := range 20 {
		k.put(fmt.Sprintf("old/%d", i), 1, "")
	}
	if f := k.pass(0); f.planned > 0 && f.planned != 2020 || f.looked != 0 {
		t.Errorf("at once: %+v", f)
	}
	if f := k.pass(day); f.looked != 20 || f.done != 20 || f.planned != 0 {
		t.Errorf("after a day: %+v", f)
	}
	if f := k.pass(day); f.looked != 0 {
		t.Errorf("after two: %+v", f)
	}
}

// BenchmarkRules is one pass over a bucket of many objects with few that are due.
func BenchmarkRules(b *testing.B) {
	for _, objects := range []int{10_000, 100_000, 1_000_000} {
		if objects > 100_000 && testing.Short() {
			continue
		}
		for _, due := range []int{0, 100, 1000} {
			b.Run(fmt.Sprintf("objects=%d/due=%d", objects, due), func(b *testing.B) { benchmarkRules(b, objects, due) })
		}
	}
}

func randomRule(rng *rand.Rand, start time.Time, id string) Rule {
	r := Rule{ID: id, Off: rng.IntN(8) == 0, Prefix: []string{"", "", "a", "b/", "c"}[rng.IntN(5)]}
	for r.Days == 0 && r.Date.IsZero() && !r.Markers && r.NoncurrentDays == 0 && r.AbortDays == 0 {
		switch rng.IntN(6) {
		case 0:
			r.Days = 1 + rng.IntN(6)
		case 1:
			r.Date = start.Add(time.Duration(rng.IntN(60)) * day)
		case 2:
			r.Markers = true
		case 3, 4:
			r.NoncurrentDays, r.Keep = 1+rng.IntN(4), rng.IntN(3)
		default:
			r.AbortDays = 1 + rng.IntN(4)
		}
	}
	switch rng.IntN(5) {
	case 0:
		r.Tags = []Attr{{Name: "t", Value: []string{"x", "y"}[rng.IntN(2)]}}
	case 1:
		r.Above = size(int64(rng.IntN(6)))
	case 2:
		r.Below = size(int64(rng.IntN(9)))
	}
	return r
}

func benchmarkRules(b *testing.B, objects, due int) {
	clock := newLockClock()
	opts := testOptions(b, -1)
	opts.Clock, opts.JournalSegment = clock.now, 256<<20
	s := mustOpen(b, opts, memDrives(1, 0))
	defer closeStore(b, s)
	clock.drive(b, s)
	rules := EncodeRules([]Rule{{ID: "due", Prefix: "due/", Days: 1}, {ID: "new", Prefix: "new/", Days: 100_000}})
	if err := s.CreateBucket(b.Context(), testBucket, []Attr{{Name: AttrRules, Value: rules}}); err != nil {
		b.Fatal(err)
	}
	put := func(prefix string, n int) {
		var writers sync.WaitGroup
		for w := range 32 {
			writers.Go(func() {
				for i := w; i < n; i += 32 {
					if _, err := putBytes(b.Context(), s, testBucket, fmt.Sprint(prefix, i), nil, nil); err != nil {
						b.Error(err)
					}
				}
			})
		}
		writers.Wait()
	}
	put("new/", objects)
	s.followOnce(b.Context())
	for b.Loop() {
		b.StopTimer()
		put("due/", due)
		clock.pass(2 * day)
		b.StartTimer()
		if f := s.followOnce(b.Context()); f.done != due || f.looked != due || f.failed > 0 {
			b.Fatalf("%+v, want %d", f, due)
		}
	}
}
