package iam

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock/fastapi/policy"
	"penstock/fastapi/policy/policytest"
)

type policyRequest = policy.Request

var derived = flag.Int("derived", 500, "random policies to derive credentials with")

func newRNG(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed = must(strconv.ParseUint(s, 10, 64))
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// randomDocument returns a policy that parses.
func randomDocument(rng *rand.Rand) string {
	for {
		document := policytest.RandomPolicy(rng, policy.ForIdentity, "bucket")
		if _, err := policy.Parse([]byte(document), policy.ForIdentity, ""); err == nil {
			return document
		}
	}
}

// TestDerivedIsNeverMore covers CVE-2021-43858, CVE-2024-24747, CVE-2025-62506, CVE-2024-55949 and their like: what credentials derived
// from others may do is what those may and the new policy allows, judged by an evaluator that shares no code, along
// chains of keys and sessions.
func TestDerivedIsNeverMore(t *testing.T) {
	rng := newRNG(t)
	f := newFixture(t)
	ctx := t.Context()
	allowed := 0
	for n := 0; n < *derived; {
		document, boundary := randomDocument(rng), ""
		must(f.PutPolicy(ctx, f.root, "p", document))
		user := User{Name: "u", Policies: []string{"p"}}
		specification := policytest.Policies{Identity: []string{document}}
		if rng.IntN(3) == 0 {
			boundary = randomDocument(rng)
			must(f.PutPolicy(ctx, f.root, "b", boundary))
			user.Boundary, specification.Boundary = "b", boundary
		}
		n += 2
		must(f.PutUser(ctx, f.root, user))
		first, _, err := f.CreateKey(ctx, f.root, NewKey{User: "u"})
		if err != nil {
			t.Fatal(err)
		}
		id := f.whoIs(first.AccessKey, "")
		for range rng.IntN(4) {
			narrower := randomDocument(rng)
			n++
			k, _, err := f.CreateKey(ctx, id, NewKey{Policy: narrower})
			if err != nil {
				t.Fatal(err)
			}
			specification.Session = append(specification.Session, narrower)
			id = f.whoIs(k.AccessKey, "")
		}
		if rng.IntN(2) == 0 {
			narrower := randomDocument(rng)
			n++
			s, err := f.Assume(id, AssumeRole{Policy: narrower, Request: new(policyRequest)})
			if err == nil { // A policy may deny even that.
				specification.Session = append(specification.Session, narrower)
				id = f.whoIs(s.AccessKey, s.Token)
			}
		}
		for range 8 {
			r := policytest.RandomRequest(rng, "bucket")
			r.Principal = id.Principal
			r.Context["aws:username"] = []string{"u"}
			r.Context["aws:principalarn"] = []string{id.Principal.ARN}
			want := policytest.Decide(specification, r)
			got := id.Set.Decide(&policy.Request{
				Action: policy.MustAction(r.Action), Resource: strings.TrimPrefix(r.Resource, policy.ResourcePrefix), Principal: r.Principal, Values: policytest.Values(r.Context),
			})
			if got.Allowed != want {
				t.Fatalf("policies %+v\nrequest %+v\ngot %+v, want %v", specification, r, got, want)
			}
			if want {
				allowed++
			}
		}
		if err := f.DeleteUser(ctx, f.root, "u"); err != nil {
			t.Fatal(err)
		}
	}
	if allowed == 0 {
		t.Error("nothing was ever allowed; the comparison says nothing")
	}
}

// TestWhoMayChangeIdentities covers CVE-2020-11012, CVE-2022-24842, CVE-2026-22042 and CVE-2026-22043: whoever is narrowed makes nobody who
// is not, and nobody acts for others without leave.
func TestWhoMayChangeIdentities(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	key, _ := f.user("alice", "admin")
	f.user("bob", "readonly")
	denyOnly := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*"}]}`
	alice := f.whoIs(key, "")
	child, _, err := f.CreateKey(ctx, alice, NewKey{Policy: denyOnly})
	if err != nil {
		t.Fatal(err)
	}
	session := must(f.Assume(alice, AssumeRole{Policy: denyOnly, Request: new(policyRequest)}))
	rootChild, _, err := f.CreateKey(ctx, f.root, NewKey{Policy: denyOnly})
	if err != nil {
		t.Fatal(err)
	}
	must(f.PutUser(ctx, f.root, User{Name: "carol", Policies: []string{"admin"}, Boundary: "admin"}))
	bounded, _, err := f.CreateKey(ctx, f.root, NewKey{User: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	for who, id := range map[string]*Identity{
		"narrowed key": f.whoIs(child.AccessKey, ""), "session": f.whoIs(session.AccessKey, session.Token),
		"narrowed key of root": f.whoIs(rootChild.AccessKey, ""), "bounded user": f.whoIs(bounded.AccessKey, ""),
	} {
		for what, do := range map[string]func() error{
			"PutUser": func() error { _, err := f.PutUser(ctx, id, User{Name: "eve", Policies: []string{"admin"}}); return err },
			"PutUser itself": func() error {
				_, err := f.PutUser(ctx, id, User{Name: id.User, Policies: []string{"admin"}})
				return err
			},
			"DeleteUser":         func() error { return f.DeleteUser(ctx, id, "bob") },
			"RevokeSessions":     func() error { return f.RevokeSessions(ctx, id, "bob") },
			"PutGroup":           func() error { _, err := f.PutGroup(ctx, id, Group{Name: "g", Policies: []string{"admin"}}); return err },
			"DeleteGroup":        func() error { return f.DeleteGroup(ctx, id, "g") },
			"PutPolicy":          func() error { _, err := f.PutPolicy(ctx, id, "p", allow("*", "*")); return err },
			"DeletePolicy":       func() error { return f.DeletePolicy(ctx, id, "p") },
			"PutRole":            func() error { _, err := f.PutRole(ctx, id, Role{Name: "r"}); return err },
			"DeleteRole":         func() error { return f.DeleteRole(ctx, id, "r") },
			"RevokeRoleSessions": func() error { return f.RevokeRoleSessions(ctx, id, "r") },
			"PutProvider":        func() error { _, err := f.PutProvider(ctx, id, Provider{Issuer: "https://x"}); return err },
			"DeleteProvider":     func() error { return f.DeleteProvider(ctx, id, "x") },
			"CreateKey of bob":   func() error { _, _, err := f.CreateKey(ctx, id, NewKey{User: "bob"}); return err },
			"UpdateKey":          func() error { _, err := f.UpdateKey(ctx, id, child.AccessKey, KeyChange{Disabled: &yes}); return err },
			"DeleteKey":          func() error { return f.DeleteKey(ctx, id, rootChild.AccessKey) },
		} {
			wantKind(t, who+": "+what, do(), Denied)
		}
	}
	id := f.whoIs(child.AccessKey, "")
	grandchild, _, err := f.CreateKey(ctx, id, NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	if id := f.whoIs(grandchild.AccessKey, ""); may(id, "s3:DeleteObject", "b/k") || !may(id, "s3:GetObject", "b/k") || id.User != "alice" {
		t.Errorf("a key that a narrowed key made: %+v", id)
	}
	if _, _, err := f.CreateKey(ctx, f.whoIs(session.AccessKey, session.Token), NewKey{}); err == nil {
		t.Error("a session outlives itself in a key")
	}
	soon := f.clock.Now().Add(time.Hour)
	ending, _, err := f.CreateKey(ctx, alice, NewKey{Expires: soon})
	if err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []time.Time{{}, soon.Add(time.Hour)} {
		if k, _, err := f.CreateKey(ctx, f.whoIs(ending.AccessKey, ""), NewKey{Expires: wanted}); err != nil || !k.Expires.Equal(soon) {
			t.Errorf("a key that ends makes one that ends at %v: %v", k.Expires, err)
		}
	}
	if err := f.DeleteKey(ctx, id, grandchild.AccessKey); err != nil {
		t.Errorf("a user cannot remove a key of its own: %v", err)
	}
}
