package iam

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestIdentities walks through the life of identities, and opens the directory anew after each step: what was acknowledged is there.
func TestIdentities(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	must(f.PutPolicy(ctx, f.root, "home", allow("s3:*", "arn:aws:s3:::home/${aws:username}/*")))
	must(f.PutGroup(ctx, f.root, Group{Name: "staff", Policies: []string{"home"}}))
	key, secret := f.user("alice")
	f.open()
	if c, refusal := f.Credential(key, ""); refusal != Accepted || c.Secret != secret {
		t.Fatalf("got %+v, %d", c, refusal)
	}
	if may(f.whoIs(key, ""), "s3:ListAllMyBuckets", "") {
		t.Error("a user without policies may do something")
	}
	must(f.PutUser(ctx, f.root, User{Name: "alice", Groups: []string{"staff"}, Policies: []string{"readonly"}}))
	for range 2 {
		id := f.whoIs(key, "")
		if may(id, "s3:PutObject", "home/alice/x") || !may(id, "s3:GetObject", "b/k") || id.Name != "alice" || id.UserID == "" {
			t.Errorf("got %+v", id) // Variables need the values of a request, which there are none of here.
		}
		f.open()
	}
	must(f.PutGroup(ctx, f.root, Group{Name: "staff", Policies: []string{"writeonly"}}))
	if !may(f.whoIs(key, ""), "s3:PutObject", "b/k") {
		t.Error("a group's new policy does not reach its members")
	}
	must(f.PutUser(ctx, f.root, User{Name: "alice", Groups: []string{"staff"}, Policies: []string{"readonly"}, Boundary: "readonly"}))
	if id := f.whoIs(key, ""); may(id, "s3:PutObject", "b/k") || !may(id, "s3:GetObject", "b/k") {
		t.Error("the boundary does not hold")
	}
	wantKind(t, "DeletePolicy in use", f.DeletePolicy(ctx, f.root, "readonly"), Denied)
	wantKind(t, "DeleteGroup in use", f.DeleteGroup(ctx, f.root, "staff"), InUse)
	must(f.PutUser(ctx, f.root, User{Name: "alice"}))
	for what, err := range map[string]error{"group": f.DeleteGroup(ctx, f.root, "staff"), "policy": f.DeletePolicy(ctx, f.root, "home"), "user": f.DeleteUser(ctx, f.root, "alice")} {
		if err != nil {
			t.Errorf("delete the %s: %v", what, err)
		}
	}
	f.refused(UnknownKey, key, "")
	f.open()
	f.refused(UnknownKey, key, "")
	if len(f.store.values) != 0 {
		t.Errorf("left behind: %v", f.store.values)
	}
}

// TestRevocation: what is taken away is gone with the answer that it is.
func TestRevocation(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	disabled, enabled := true, false
	key, _ := f.user("alice", "readwrite")
	f.whoIs(key, "")
	must(f.UpdateKey(ctx, f.root, key, KeyChange{Disabled: &disabled}))
	f.refused(UnknownKey, key, "")
	must(f.UpdateKey(ctx, f.root, key, KeyChange{Disabled: &enabled}))
	f.whoIs(key, "")
	must(f.PutUser(ctx, f.root, User{Name: "alice", Disabled: true}))
	f.refused(UnknownKey, key, "")
	must(f.PutUser(ctx, f.root, User{Name: "alice"}))
	f.whoIs(key, "")
	soon := f.clock.Now().Add(time.Minute)
	must(f.UpdateKey(ctx, f.root, key, KeyChange{Expires: &soon}))
	f.whoIs(key, "")
	f.clock.advance(time.Minute)
	f.refused(UnknownKey, key, "")
	never := time.Time{}
	must(f.UpdateKey(ctx, f.root, key, KeyChange{Expires: &never}))
	f.whoIs(key, "")
	if err := f.DeleteKey(ctx, f.root, key); err != nil {
		t.Fatal(err)
	}
	f.refused(UnknownKey, key, "")
	wantKind(t, "DeleteKey again", f.DeleteKey(ctx, f.root, key), NotFound)
}

// TestSameNameIsNotSamePerson: whoever gets the name of somebody who left gets neither keys nor sessions of theirs.
func TestSameNameIsNotSamePerson(t *testing.T) {
	f := newFixture(t)
	key, _ := f.user("alice", "readwrite")
	session := must(f.Assume(f.whoIs(key, ""), AssumeRole{Request: new(policyRequest)}))
	kept := f.store.values[keyPrefix+key]
	if err := f.DeleteUser(t.Context(), f.root, "alice"); err != nil {
		t.Fatal(err)
	}
	f.store.values[keyPrefix+key] = kept // As if the node had stopped before the keys were removed.
	f.user("alice", "admin")
	f.open()
	f.refused(UnknownKey, key, "")
	f.refused(InvalidToken, session.AccessKey, session.Token)
}

// TestSecretsAreSealed: no secret is in the store, in the log, or in what is listed; and without the keyring none can be had.
func TestSecretsAreSealed(t *testing.T) {
	f := newFixture(t)
	log := new(bytes.Buffer)
	logged := func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	f.open(logged)
	const given = "a-secret-canary-given-by-hand"
	if _, _, err := f.CreateKey(t.Context(), f.root, NewKey{AccessKey: "GIVEN", Secret: given}); err != nil {
		t.Fatal(err)
	}
	key, secret := f.user("alice", "readwrite")
	session := must(f.Assume(f.whoIs(key, ""), AssumeRole{Request: new(policyRequest)}))
	f.whoIs(session.AccessKey, session.Token)
	shown := fmt.Sprintf("%+v %+v %v %#v", f.AllKeys(), must(f.Key(key)), f.ring, f.ring)
	for where, text := range map[string]string{"the store": f.store.everything(), "the log": log.String(), "what is shown": shown} {
		for _, s := range []string{secret, given, rootSecret, session.Secret, session.Token} {
			if strings.Contains(text, s) {
				t.Errorf("a secret is in %s", where)
			}
		}
	}
	if !strings.Contains(f.store.everything(), key) {
		t.Error("the key is not in the store, so this test saw nothing")
	}
	ring := f.ring
	f.ring = NewKeyring()
	f.open(logged)
	f.refused(UnknownKey, key, "")
	f.refused(InvalidToken, session.AccessKey, session.Token)
	f.ring = must(ParseKeyring(must(ring.Marshal())))
	f.open(logged)
	f.whoIs(key, "")
	f.whoIs(session.AccessKey, session.Token)
	// A sealed secret belongs to its key alone.
	f.store.values[keyPrefix+"MOVED"] = strings.ReplaceAll(f.store.values[keyPrefix+key], key, "MOVED")
	f.open(logged)
	f.refused(UnknownKey, "MOVED", "")
}

func TestParseKeyring(t *testing.T) {
	for _, data := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"id":"a","use":"secrets","key":"AAAA"}]}`,
		`{"keys":[{"id":"a.b","use":"secrets","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`,
		`{"keys":[{"id":"a","use":"secrets","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`} {
		if _, err := ParseKeyring([]byte(data)); err == nil {
			t.Errorf("%s is taken for a keyring", data)
		}
	}
	ring := NewKeyring()
	sealed := ring.seal(sealSecrets, "a", "text")
	for _, c := range []struct {
		use             use
		context, sealed string
	}{{sealSessions, "a", sealed}, {sealSecrets, "b", sealed}, {sealSecrets, "a", sealed + "A"}, {sealSecrets, "a", "v2" + sealed[2:]}, {sealSecrets, "a", ""}, {sealSecrets, "a", "v1.x.y"}} {
		if text, err := ring.open(c.use, c.context, c.sealed); err == nil {
			t.Errorf("opened %+v: %q", c, text)
		}
	}
	if text, err := ring.open(sealSecrets, "a", sealed); err != nil || text != "text" {
		t.Errorf("got %q, %v", text, err)
	}
	if ring.seal(sealSecrets, "a", "text") == sealed {
		t.Error("the same text is sealed the same way twice")
	}
}

// TestNames covers CVE-2023-27589 and its like: nobody gets a name that means somebody else.
func TestNames(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	key, _ := f.user("alice")
	for _, name := range []string{"", "root", "Root", "anonymous", rootKey, strings.ToLower(rootKey), "a/b", "a b", "a:b", "ä", "*", "a*", "${aws:username}", "../x", ".", "..", strings.Repeat("x", 65), "a\x00b", key} {
		if _, err := f.PutUser(ctx, f.root, User{Name: name}); err == nil {
			t.Errorf("a user is called %q", name)
		}
	}
	for _, pair := range [][2]string{
		{rootKey, "12345678"}, {strings.ToLower(rootKey), "12345678"}, {"alice", "12345678"}, {key, "12345678"}, {"AB", "12345678"}, {"ABC", "1234567"}, {"A/BC", "12345678"},
		{"A,BC", "12345678"}, {"A=BC", "12345678"}, {"A BC", "12345678"}, {"ABC", "1234 5678"}, {"ABC", ""}, {"", "12345678"}, {"ASIAABC", "12345678"}, {"asiaabc", "12345678"}, {"12345678", "12345678"},
		{strings.Repeat("x", 129), "12345678"}, {"ABC", strings.Repeat("x", 129)}, {"ABC", "1234567\x7f"},
	} {
		if _, _, err := f.CreateKey(ctx, f.root, NewKey{AccessKey: pair[0], Secret: pair[1]}); err == nil {
			t.Errorf("a key is %q, %q", pair[0], pair[1])
		} else if len(pair[1]) >= 7 && strings.Contains(err.Error(), pair[1]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	for _, name := range []string{"admin", "readwrite", "", "a/b"} {
		if _, err := f.PutPolicy(ctx, f.root, name, allow("s3:*", "*")); err == nil {
			t.Errorf("a policy is called %q", name)
		}
	}
	f.whoIs(rootKey, "")
}

// TestReferences: nothing refers to what is not there.
func TestReferences(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	for what, f := range map[string]func() error{
		"user's policy":   func() error { _, err := f.PutUser(ctx, f.root, User{Name: "u", Policies: []string{"x"}}); return err },
		"user's group":    func() error { _, err := f.PutUser(ctx, f.root, User{Name: "u", Groups: []string{"x"}}); return err },
		"user's boundary": func() error { _, err := f.PutUser(ctx, f.root, User{Name: "u", Boundary: "x"}); return err },
		"group's policy":  func() error { _, err := f.PutGroup(ctx, f.root, Group{Name: "g", Policies: []string{"x"}}); return err },
		"key's user":      func() error { _, _, err := f.CreateKey(ctx, f.root, NewKey{User: "x"}); return err },
		"role's principal": func() error {
			_, err := f.PutRole(ctx, f.root, Role{Name: "r", Trust: `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/x"},"Action":"sts:AssumeRole"}]}`})
			return err
		},
		"deleted user": func() error { return f.DeleteUser(ctx, f.root, "x") },
		"deleted role": func() error { return f.DeleteRole(ctx, f.root, "x") },
	} {
		wantKind(t, what, f(), NotFound)
	}
	for i := range 25 {
		must(f.PutPolicy(ctx, f.root, fmt.Sprint("p", i), allow("s3:*", "*")))
	}
	var names []string
	for i := range 25 {
		names = append(names, fmt.Sprint("p", i))
	}
	_, err := f.PutUser(ctx, f.root, User{Name: "u", Policies: names})
	wantKind(t, "too many policies", err, Limit)
	_, err = f.PutPolicy(ctx, f.root, "p", `{"Statement":[]}`)
	wantKind(t, "no policy", err, Invalid)
}

// TestUnknownOutcome: after a commit that may or may not have happened, the directory is what the store is.
func TestUnknownOutcome(t *testing.T) {
	for _, happens := range []bool{false, true} {
		f := newFixture(t)
		key, _ := f.user("alice", "readonly")
		lost := errors.New("the outcome is not known")
		f.store.fail = func(string) (error, bool) { return lost, happens }
		f.store.down = lost // Nor can it be asked.
		if err := f.DeleteKey(t.Context(), f.root, key); !errors.Is(err, lost) {
			t.Fatalf("got %v", err)
		}
		if _, err := f.PutGroup(t.Context(), f.root, Group{Name: "g"}); !errors.Is(err, lost) {
			t.Errorf("changed on unsure ground: %v", err)
		}
		f.store.fail, f.store.down = nil, nil
		must(f.PutGroup(t.Context(), f.root, Group{Name: "g"}))
		if _, refusal := f.Credential(key, ""); (refusal == Accepted) == happens {
			t.Errorf("happened %v: refusal %d", happens, refusal)
		}
	}
}

// TestBrokenRecords: what cannot be read is nobody, and takes nobody else with it.
func TestBrokenRecords(t *testing.T) {
	f := newFixture(t)
	key, _ := f.user("alice", "readonly")
	must(f.PutPolicy(t.Context(), f.root, "p", allow("s3:*", "*")))
	must(f.PutUser(t.Context(), f.root, User{Name: "alice", Policies: []string{"p", "readonly"}}))
	f.store.values[policyPrefix+"p"] = strings.Replace(f.store.values[policyPrefix+"p"], "2012-10-17", "2112-10-17", 1)
	f.store.values[userPrefix+"bob"] = "{"
	f.store.values[keyPrefix+"K"] = `{"access_key":"K","secret":"v1.x.y"}`
	f.store.values["iam/later/x"] = "something of a later version"
	f.open()
	if may(f.whoIs(key, ""), "s3:GetObject", "b/k") {
		t.Error("a policy that cannot be read does not deny")
	}
	f.refused(UnknownKey, "K", "")
}
