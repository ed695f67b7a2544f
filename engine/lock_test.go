package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/meta"
)

// lockClock is a clock that can be set, and a monotonic one that cannot.
type lockClock struct {
	mu   sync.Mutex
	wall time.Time
	mono time.Duration
}

func newLockClock() *lockClock { return &lockClock{wall: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *lockClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// pass lets time go by; set sets the clock on or back.
func (c *lockClock) pass(d time.Duration) { c.move(d, d) }
func (c *lockClock) set(d time.Duration)  { c.move(d, 0) }

func (c *lockClock) move(wall, mono time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(wall), c.mono+mono
}

// drive makes a store that is open go by the clock.
func (c *lockClock) drive(t testing.TB, s *Store) {
	t.Helper()
	s.lockTime.mu.Lock()
	defer s.lockTime.mu.Unlock()
	s.lockTime.mono = func() time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mono
	}
	s.lockTime.at = s.lockTime.mono()
	s.lockTime.since, s.lockTime.warned = s.lockTime.at, s.lockTime.at
}

const day = 24 * time.Hour

// locker is a store with a bucket that has a lock, and a clock.
type locker struct {
	t      *testing.T
	s      *Store
	clock  *lockClock
	drives []drive.Drive
	opts   Options
}

func newLocker(t *testing.T, config LockConfig) *locker {
	l := &locker{t: t, clock: newLockClock(), drives: memDrives(1, 0), opts: testOptions(t, -1)}
	l.opts.Clock = l.clock.now
	l.s = mustOpen(t, l.opts, l.drives)
	l.clock.drive(t, l.s)
	err := l.s.CreateBucket(t.Context(), testBucket, []Attr{{Name: AttrVersioning, Value: VersioningEnabled}, {Name: AttrObjectLock, Value: config.Attr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, l.s) })
	return l
}

func (l *locker) restart() {
	l.t.Helper()
	l.s = restart(l.t, l.s, l.opts, l.drives, false)
	l.clock.drive(l.t, l.s)
}

func (l *locker) put(key string, lock Lock) ObjectInfo {
	l.t.Helper()
	info, err := l.s.Put(l.t.Context(), testBucket, key, strings.NewReader("x"), PutOptions{
		Size: 1, Attrs: lock.Attrs(nil), Finish: func(Sums) (Final, error) { return Final{ETag: "x"}, nil },
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return info
}

// remove tries to remove a version for good, and returns the kind of failure, "" for none.
func (l *locker) remove(key string, version VersionID, bypass bool) string {
	_, err := l.s.Delete(l.t.Context(), testBucket, key, version, DeleteOptions{Bypass: bypass})
	return kindText(err)
}

func (l *locker) set(key string, version VersionID, bypass bool, lock Lock) string {
	_, err := l.s.SetLock(l.t.Context(), testBucket, key, version, bypass, func(Lock) (Lock, error) { return lock, nil })
	return kindText(err)
}

func kindText(err error) string {
	if err == nil {
		return ""
	}
	return KindOf(err).String()
}

// TestLockMatrix: what can be done to a version in each state of its lock, with and without leave to bypass governance.
func TestLockMatrix(t *testing.T) {
	l := newLocker(t, LockConfig{})
	until := l.clock.now().Add(30 * day)
	past := l.clock.now().Add(-day)
	locks := map[string]Lock{
		"none":                {},
		"governance":          {Mode: LockGovernance, Until: until},
		"compliance":          {Mode: LockCompliance, Until: until},
		"expired compliance":  {Mode: LockCompliance, Until: past},
		"hold":                {Hold: LegalHoldOn},
		"lifted hold":         {Hold: LegalHoldOff},
		"hold and governance": {Mode: LockGovernance, Until: until, Hold: LegalHoldOn},
	}
	const no = "locked"
	// The columns: remove, remove with bypass, shorten, shorten with bypass, lengthen, other mode, other mode with bypass, take away, take
	// away with bypass.
	for name, want := range map[string][9]string{
		"none":                {},
		"governance":          {no, "", no, "", "", no, "", no, ""},
		"compliance":          {no, no, no, no, "", no, no, no, no},
		"expired compliance":  {},
		"hold":                {no, no},
		"lifted hold":         {},
		"hold and governance": {no, no, no, "", "", no, "", no, ""},
	} {
		lock := locks[name]
		with := func(mode string, until time.Time) Lock {
			next := Lock{Mode: mode, Until: until, Hold: lock.Hold}
			if mode == "" {
				next.Until = time.Time{}
			}
			return next
		}
		mode := lock.Mode
		if mode == "" {
			mode = LockGovernance
		}
		other := map[string]string{LockGovernance: LockCompliance, LockCompliance: LockGovernance}[mode]
		for i, try := range []func(v VersionID) string{
			func(v VersionID) string { return l.remove(name, v, false) },
			func(v VersionID) string { return l.remove(name, v, true) },
			func(v VersionID) string { return l.set(name, v, false, with(mode, until.Add(-time.Second))) },
			func(v VersionID) string { return l.set(name, v, true, with(mode, until.Add(-time.Second))) },
			func(v VersionID) string { return l.set(name, v, false, with(mode, until.Add(time.Second))) },
			func(v VersionID) string { return l.set(name, v, false, with(other, until.Add(time.Second))) },
			func(v VersionID) string { return l.set(name, v, true, with(other, until.Add(time.Second))) },
			func(v VersionID) string { return l.set(name, v, false, with("", until)) },
			func(v VersionID) string { return l.set(name, v, true, with("", until)) },
		} {
			before := l.put(name, lock)
			if got := try(before.Version); got != want[i] {
				t.Errorf("%s, column %d: got %q, want %q", name, i, got, want[i])
			}
			after, err := l.s.Head(t.Context(), testBucket, name, before.Version)
			if want[i] != "" && (err != nil || fmt.Sprint(after.Attrs) != fmt.Sprint(before.Attrs)) {
				t.Errorf("%s, column %d: %+v became %+v, %v", name, i, before, after, err)
			}
			// A delete marker, another version and attributes that are no lock can always be had.
			if deleted, err := l.s.Delete(t.Context(), testBucket, name, CurrentVersion, DeleteOptions{}); err != nil || !deleted.Marker {
				t.Errorf("%s: delete marker: %+v, %v", name, deleted, err)
			}
			if i > 1 {
				_, err = l.s.UpdateObjectAttrs(t.Context(), testBucket, name, before.Version, func(o *ObjectInfo) ([]Attr, error) { return WithAttr(o.Attrs, "tag", "x"), nil })
				if err != nil {
					t.Errorf("%s: another attribute: %v", name, err)
				}
			}
			// A hold is placed and lifted whatever else there is, and the lock is not to be had by another door.
			if i == 4 {
				_, err := l.s.UpdateObjectAttrs(t.Context(), testBucket, name, before.Version, func(o *ObjectInfo) ([]Attr, error) { return nil, nil })
				if got := kindText(err); got != no {
					t.Errorf("%s: attributes without the lock: %q", name, got)
				}
				locked, _ := LockOf(after.Attrs)
				locked.Hold = LegalHoldOff
				if got := l.set(name, before.Version, false, locked); got != "" {
					t.Errorf("%s: lift the hold: %q", name, got)
				}
			}
		}
	}
	if err := l.s.DeleteBucket(t.Context(), testBucket); KindOf(err) != KindBucketNotEmpty {
		t.Errorf("delete of the bucket: %v", err)
	}
}

// TestLockDefault: what a bucket gives new versions, by every way of writing one.
func TestLockDefault(t *testing.T) {
	for _, c := range []struct {
		config LockConfig
		until  time.Time
	}{
		{LockConfig{}, time.Time{}},
		{LockConfig{Mode: LockGovernance, Days: 1}, time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)},
		{LockConfig{Mode: LockCompliance, Years: 3}, time.Date(2033, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		l := newLocker(t, c.config)
		l.s.minPart = 0
		check := func(what string, info ObjectInfo, mode string, until time.Time) {
			t.Helper()
			if lock, err := LockOf(info.Attrs); err != nil || lock.Mode != mode || !lock.Until.Equal(until) {
				t.Errorf("%+v, %s: lock %+v, %v", c.config, what, lock, err)
			}
		}
		check("put", l.put("k", Lock{}), c.config.Mode, c.until)
		own := l.clock.now().Add(5 * day)
		check("put with a lock", l.put("own", Lock{Mode: LockGovernance, Until: own}), LockGovernance, own)
		check("put with a hold", l.put("hold", Lock{Hold: LegalHoldOn}), c.config.Mode, c.until)
		copied, err := l.s.Copy(t.Context(), testBucket, "own", CurrentVersion, testBucket, "copy", CopyOptions{
			Source: func(src *ObjectInfo) (Final, error) { return Final{ETag: src.ETag}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		check("copy", copied, c.config.Mode, c.until)
		id, err := l.s.CreateUpload(t.Context(), testBucket, "m", nil)
		if err != nil {
			t.Fatal(err)
		}
		part, err := l.s.PutPart(t.Context(), testBucket, "m", id, 1, strings.NewReader("x"), PutOptions{Size: 1, Finish: func(Sums) (Final, error) { return Final{ETag: "x"}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		completed, err := l.s.CompleteUpload(t.Context(), testBucket, "m", id, CompleteOptions{
			Parts: []CompletePart{{part.Number, part.ETag}}, Finish: func([]PartInfo, []Attr) (Final, error) { return Final{ETag: "x-1"}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		check("completion", completed, c.config.Mode, c.until)
	}
}

// TestLockConfig: a lock is given once, later too, needs versioning, and stays.
func TestLockConfig(t *testing.T) {
	s := newTestStore(t, 1, 0)
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "k", payload(1, 10))
	update := func(versioning, lock string) string {
		return kindText(s.UpdateBucket(t.Context(), testBucket, func(b BucketInfo) ([]Attr, error) {
			return WithAttr(WithAttr(b.Attrs, AttrVersioning, versioning), AttrObjectLock, lock), nil
		}))
	}
	config := LockConfig{Mode: LockGovernance, Days: 1}
	if _, err := s.CreateUpload(t.Context(), testBucket, "k", []Attr{{Name: AttrLegalHold, Value: LegalHoldOn}}); KindOf(err) != KindNoLock {
		t.Errorf("upload with a lock in a bucket without: %v", err)
	}
	if _, err := s.SetLock(t.Context(), testBucket, "k", NullVersion, true, func(Lock) (Lock, error) { return Lock{Hold: LegalHoldOn}, nil }); KindOf(err) != KindNoLock {
		t.Errorf("lock in a bucket without: %v", err)
	}
	_, err := s.Put(t.Context(), testBucket, "k", strings.NewReader("x"), PutOptions{Size: 1, Attrs: []Attr{{Name: AttrLegalHold, Value: LegalHoldOn}}, Finish: func(Sums) (Final, error) { return Final{}, nil }})
	if KindOf(err) != KindNoLock {
		t.Errorf("put with a lock in a bucket without: %v", err)
	}
	for _, c := range []struct{ versioning, lock, want string }{
		{"", "enabled", "precondition"},
		{VersioningSuspended, "enabled", "precondition"},
		{VersioningEnabled, "on", "locked"},
		{VersioningEnabled, "enabled GOVERNANCE 0 days", "locked"},
		{VersioningEnabled, "enabled GOVERNANCE 1 weeks", "locked"},
		{VersioningEnabled, "enabled governance 1 days", "locked"},
		{VersioningEnabled, config.Attr(), ""},
		{VersioningSuspended, config.Attr(), "precondition"},
		{VersioningEnabled, "", "precondition"},
		{VersioningEnabled, LockConfig{Mode: LockCompliance, Years: 2}.Attr(), ""},
		{VersioningEnabled, LockConfig{}.Attr(), ""},
	} {
		if got := update(c.versioning, c.lock); got != c.want {
			t.Errorf("versioning %q, lock %q: got %q, want %q", c.versioning, c.lock, got, c.want)
		}
	}
	// What was there before has no lock until it is given one.
	refusal := errors.New("no")
	if _, err := s.SetLock(t.Context(), testBucket, "k", NullVersion, false, func(Lock) (Lock, error) { return Lock{}, refusal }); KindOf(err) != KindPrecondition || !errors.Is(err, refusal) {
		t.Errorf("refused change: %v", err)
	}
	if _, err := s.SetLock(t.Context(), testBucket, "k", NullVersion, false, func(Lock) (Lock, error) { return Lock{Hold: LegalHoldOn}, nil }); err != nil {
		t.Error(err)
	}
	if _, err := s.Delete(t.Context(), testBucket, "k", NullVersion, DeleteOptions{Bypass: true}); KindOf(err) != KindLocked {
		t.Errorf("delete of a null version on hold: %v", err)
	}
}

// TestLockUnreadable: where what says so cannot be read, everything is locked.
func TestLockUnreadable(t *testing.T) {
	for _, attrs := range [][]Attr{
		{{Name: AttrLockMode, Value: "governance"}, {Name: AttrLockUntil, Value: "2020-01-01T00:00:00Z"}},
		{{Name: AttrLockMode, Value: LockGovernance}, {Name: AttrLockUntil, Value: "soon"}},
		{{Name: AttrLockMode, Value: LockGovernance}},
		{{Name: AttrLockUntil, Value: "2020-01-01T00:00:00Z"}},
		{{Name: AttrLegalHold, Value: "maybe"}},
	} {
		l := newLocker(t, LockConfig{})
		good := l.put("k", Lock{Mode: LockGovernance, Until: l.clock.now().Add(-day)})
		l.corrupt(&meta.PutObject{Bucket: l.bucket().id, Object: meta.Object{Key: "k", Version: good.Version, Attrs: attrs}})
		for _, bypass := range []bool{false, true} {
			if got := l.remove("k", good.Version, bypass); got != "locked" {
				t.Errorf("%v: remove: %q", attrs, got)
			}
			if got := l.set("k", good.Version, bypass, Lock{}); got != "locked" {
				t.Errorf("%v: set: %q", attrs, got)
			}
		}
	}
	l := newLocker(t, LockConfig{})
	plain := l.put("k", Lock{})
	b := l.bucket()
	l.corrupt(&meta.PutBucket{Bucket: meta.Bucket{ID: b.id, Name: testBucket, Attrs: []Attr{{Name: AttrVersioning, Value: VersioningEnabled}, {Name: AttrObjectLock, Value: "enabled?"}}}})
	l.restart()
	if got := l.remove("k", plain.Version, true); got != "locked" {
		t.Errorf("remove in a bucket whose lock cannot be read: %q", got)
	}
	_, err := l.s.Put(t.Context(), testBucket, "k", strings.NewReader("x"), PutOptions{Size: 1, Finish: func(Sums) (Final, error) { return Final{}, nil }})
	if KindOf(err) != KindLocked {
		t.Errorf("put in a bucket whose lock cannot be read: %v", err)
	}
}

func (l *locker) bucket() *bucket {
	b, err := l.s.bucketOf("Test", testBucket)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// corrupt writes what no caller could.
func (l *locker) corrupt(r meta.Record) {
	l.t.Helper()
	if err := l.s.cells[0].commit(r); err != nil {
		l.t.Fatal(err)
	}
}

// TestLockTime: whatever is done to the clock, within a run or between two, ends no lock before its time.
func TestLockTime(t *testing.T) {
	for name, do := range map[string]func(l *locker){
		"set back":                  func(l *locker) { l.clock.set(-400 * day) },
		"set back over a restart":   func(l *locker) { l.clock.set(-400 * day); l.restart() },
		"set back after a restart":  func(l *locker) { l.restart(); l.clock.set(-400 * day) },
		"jump ahead":                func(l *locker) { l.clock.set(3650 * day) },
		"jump ahead over a restart": func(l *locker) { l.clock.set(3650 * day); l.restart() },
		"jump ahead, put right":     func(l *locker) { l.clock.set(3650 * day); l.clock.pass(23 * time.Hour); l.clock.set(-3650 * day) },
		"one jump after another": func(l *locker) {
			l.clock.set(3650 * day)
			l.clock.pass(23 * time.Hour)
			l.s.lockTime.now()
			l.clock.set(10 * day)
			l.clock.pass(23 * time.Hour)
		},
		"jump ahead, restart, not a day": func(l *locker) {
			l.clock.set(3650 * day)
			l.clock.pass(23 * time.Hour)
			l.restart()
			l.clock.pass(3 * time.Hour)
		},
		"jump ahead and a new lock, back": func(l *locker) { l.clock.set(3650 * day); l.put("other", Lock{}); l.clock.set(-3650 * day) },
	} {
		l := newLocker(t, LockConfig{Mode: LockCompliance, Days: 30})
		v := l.put("k", Lock{})
		do(l)
		hours := 10 * day / time.Hour
		if strings.Contains(name, "jump") {
			hours = 20 // From a day on the jump is believed.
		}
		for ; hours > 0; hours -= 5 {
			if got := l.remove("k", v.Version, true); got != "locked" {
				t.Fatalf("%s, %d hours left: %q", name, hours, got)
			}
			l.clock.pass(5 * time.Hour)
		}
	}
}

// TestLockTimePasses: a lock ends when its time is over, by a clock that runs, was set back, or has kept to a jump for a day.
func TestLockTimePasses(t *testing.T) {
	for name, do := range map[string]func(l *locker){
		"running":              func(l *locker) { l.clock.pass(30 * day) },
		"over short restarts":  func(l *locker) { l.clock.pass(29 * day); l.clock.set(50 * time.Minute); l.restart(); l.clock.pass(day) },
		"set back a while":     func(l *locker) { l.clock.set(-365 * day); l.clock.pass(30 * day) },
		"believed after a day": func(l *locker) { l.clock.set(40 * day); l.restart(); l.s.lockTime.now(); l.clock.pass(25 * time.Hour) },
		"a hold lifted":        func(l *locker) { l.clock.pass(30 * day) },
	} {
		l := newLocker(t, LockConfig{Mode: LockCompliance, Days: 30})
		v := l.put("k", Lock{})
		if got := l.remove("k", v.Version, true); got != "locked" {
			t.Fatalf("%s: at once: %q", name, got)
		}
		do(l)
		if got := l.remove("k", v.Version, false); got != "" {
			t.Errorf("%s: after 30 days: %q", name, got)
		}
	}
}

// TestLockTimeTold: a clock that jumps is in the log, when it does and when it is believed.
func TestLockTimeTold(t *testing.T) {
	var messages []string
	clock := newLockClock()
	lt := newLockTime(clock.now, listen(func(message string, _ map[string]string) { messages = append(messages, message) }))
	lt.mono = func() time.Duration { return clock.mono }
	if err := lt.start(""); err != nil {
		t.Fatal(err)
	}
	lt.use()
	lt.now()
	if len(messages) != 0 {
		t.Errorf("logged %q", messages)
	}
	clock.set(10 * day)
	for range 26 {
		lt.now()
		clock.pass(time.Hour)
	}
	count := func(part string) (n int) {
		for _, m := range messages {
			if strings.Contains(m, part) {
				n++
			}
		}
		return n
	}
	if count("has jumped") != 1 || count("still ahead") < 20 || count("believed") != 1 {
		t.Errorf("logged %q", messages)
	}
	if err := newLockTime(clock.now, slog.New(slog.DiscardHandler)).start("yesterday"); !errors.Is(err, errCorrupt) {
		t.Errorf("a time that cannot be read: %v", err)
	}
}

func FuzzLock(f *testing.F) {
	f.Add("GOVERNANCE", "2030-01-01T00:00:00Z", "ON", "enabled COMPLIANCE 3 years")
	f.Add("", "", "", "enabled")
	f.Fuzz(func(t *testing.T, mode, until, hold, config string) {
		attrs := []Attr{{Name: AttrLockMode, Value: mode}, {Name: AttrLockUntil, Value: until}, {Name: AttrLegalHold, Value: hold}}
		if lock, err := LockOf(attrs); err == nil {
			if again, err := LockOf(lock.Attrs(attrs)); err != nil || again.Mode != lock.Mode || again.Hold != lock.Hold || !again.Until.Equal(lock.Until) {
				t.Errorf("%v is %+v, which came back as %+v, %v", attrs, lock, again, err)
			}
		}
		if c, ok, err := LockConfigOf([]Attr{{Name: AttrObjectLock, Value: config}}); ok && err == nil && c.Attr() != config {
			t.Errorf("%q is %+v, which is %q", config, c, c.Attr())
		}
	})
}
