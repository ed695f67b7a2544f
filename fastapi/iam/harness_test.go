package iam

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/policy"
)

const (
	rootKey    = "ROOTROOTROOTROOT"
	rootSecret = "root-secret-canary"
)

// memoryStore is a Store in a map.
type memoryStore struct {
	mu     sync.Mutex
	values map[string]string
	fail   func(name string) (error, bool) // What SetConfig returns, and whether it happens all the same.
	down   error                           // What Config returns.
}

func newMemoryStore() *memoryStore { return &memoryStore{values: map[string]string{}} }

func (s *memoryStore) Config(name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[name], s.down
}

func (s *memoryStore) Configs(prefix, after string, limit int) ([]engine.ConfigValue, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var page []engine.ConfigValue
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if strings.HasPrefix(name, prefix) && name > after {
			if len(page) == limit {
				return page, true, nil
			}
			page = append(page, engine.ConfigValue{Name: name, Value: s.values[name]})
		}
	}
	return page, false, nil
}

func (s *memoryStore) SetConfig(_ context.Context, name, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.fail != nil {
		happens := false
		if err, happens = s.fail(name); err != nil && !happens {
			return err
		}
	}
	if value == "" {
		delete(s.values, name)
	} else {
		s.values[name] = value
	}
	return err
}

// everything is all that the store holds.
func (s *memoryStore) everything() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for name, value := range s.values {
		b.WriteString(name + "\n" + value + "\n")
	}
	return b.String()
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a directory over a store in memory.
type fixture struct {
	*Directory
	t     testing.TB
	store *memoryStore
	ring  *Keyring
	clock *clock
	root  *Identity
}

func newFixture(t testing.TB, adjust ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, store: newMemoryStore(), ring: NewKeyring(), clock: &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}}
	f.open(adjust...)
	return f
}

func (f *fixture) open(adjust ...func(*Options)) {
	f.t.Helper()
	o := Options{Store: f.store, Keyring: f.ring, RootAccessKey: rootKey, RootSecret: rootSecret, Clock: f.clock.Now}
	for _, a := range adjust {
		a(&o)
	}
	var err error
	if f.Directory, err = Open(o); err != nil {
		f.t.Fatal(err)
	}
	f.root = f.whoIs(rootKey, "")
}

// whoIs returns the identity of credentials that must be accepted.
func (f *fixture) whoIs(accessKey, token string) *Identity {
	f.t.Helper()
	c, refusal := f.Credential(accessKey, token)
	if refusal != Accepted {
		f.t.Fatalf("Credential(%s): refused: %d", accessKey, refusal)
	}
	return c.Identity
}

func (f *fixture) refused(want Refusal, accessKey, token string) {
	f.t.Helper()
	if c, refusal := f.Credential(accessKey, token); refusal != want || c != (Credential{}) {
		f.t.Errorf("Credential(%s): got %+v, %d; want refusal %d", accessKey, c, refusal, want)
	}
}

// must fails the test on an error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// user makes a user with policies and one access key.
func (f *fixture) user(name string, policies ...string) (accessKey, secret string) {
	f.t.Helper()
	must(f.PutUser(f.t.Context(), f.root, User{Name: name, Policies: policies}))
	k, secret, err := f.CreateKey(f.t.Context(), f.root, NewKey{User: name})
	if err != nil {
		f.t.Fatal(err)
	}
	return k.AccessKey, secret
}

func wantKind(t testing.TB, what string, err error, want Kind) {
	t.Helper()
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != want {
		t.Errorf("%s: got %v, want kind %d", what, err, want)
	}
}

// may reports what an identity may do by its own policies.
func may(id *Identity, action, resource string) bool {
	return id.Set.Decide(&policy.Request{Action: policy.MustAction(action), Resource: resource, Principal: id.Principal}).Allowed
}

func allow(action, resource string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}]}`
}
