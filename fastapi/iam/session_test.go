package iam

import (
	"strings"
	"testing"
	"time"

	"penstock/fastapi/policy"
)

const trustAlice = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/alice"},"Action":"sts:AssumeRole"}]}`
const trustAccount = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}]}`

func ask(roleARN string) AssumeRole {
	return AssumeRole{RoleARN: roleARN, Name: "job-1", Request: new(policyRequest)}
}

// TestSessions: temporary credentials end, and end with what they were made from.
func TestSessions(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	key, _ := f.user("alice", "readwrite")
	alice := f.whoIs(key, "")
	must(f.PutRole(ctx, f.root, Role{Name: "loader", Policies: []string{"readonly"}, Trust: trustAlice}))
	of := func(a AssumeRole) Session { t.Helper(); return must(f.Assume(f.whoIs(key, ""), a)) }

	own := of(ask(""))
	if id := f.whoIs(own.AccessKey, own.Token); id.User != "alice" || id.Principal != alice.Principal || !may(id, "s3:PutObject", "b/k") || id.Expires != own.Expires {
		t.Errorf("a session of its own: %+v", id)
	}
	role := of(ask(policy.RoleARN("loader")))
	if id := f.whoIs(role.AccessKey, role.Token); id.User != "" || id.Principal.ARN != policy.SessionARN("loader", "job-1") || id.Name != "loader/job-1" ||
		may(id, "s3:PutObject", "b/k") || !may(id, "s3:GetObject", "b/k") || !strings.HasSuffix(id.UserID, ":job-1") {
		t.Errorf("a session of the role: %+v", id)
	}
	narrow := ask(policy.RoleARN("loader"))
	narrow.Policy = allow("s3:*", "arn:aws:s3:::b/x/*")
	narrowed := of(narrow)
	if id := f.whoIs(narrowed.AccessKey, narrowed.Token); may(id, "s3:GetObject", "b/k") || may(id, "s3:PutObject", "b/x/k") || !may(id, "s3:GetObject", "b/x/k") {
		t.Errorf("a narrowed session of the role: %+v", id)
	}

	// Foreign, changed, missing.
	f.refused(InvalidToken, own.AccessKey, role.Token)
	f.refused(InvalidToken, key, own.Token)
	f.refused(InvalidToken, rootKey, own.Token)
	f.refused(UnknownKey, own.AccessKey, "")
	f.refused(InvalidToken, own.AccessKey, own.Token[:len(own.Token)-1])
	f.refused(InvalidToken, own.AccessKey, own.Token+"A")
	f.refused(InvalidToken, own.AccessKey, strings.Repeat("x", 100_000))
	f.refused(InvalidToken, own.AccessKey, f.ring.seal(sealSecrets, own.AccessKey, `{"s":"forged-secret","i":1,"e":9999999999}`)) // The wrong key.
	for _, forged := range []string{`{"s":"forged-secret","i":1772600000}`, `{"s":"forged-secret","i":1772600000,"e":9999999999}`, `{"i":1772600000,"e":9999999999,"k":"` + rootKey + `"}`,
		`{"s":"forged-secret","i":1772600000,"e":9999999999,"k":"` + rootKey + `","kv":1}`, `{}`, `null`, ``} {
		f.refused(InvalidToken, own.AccessKey, f.ring.seal(sealSessions, own.AccessKey, forged)) // No end, no origin, no secret, another root secret.
	}

	f.clock.advance(59 * time.Minute)
	f.whoIs(own.AccessKey, own.Token)
	f.clock.advance(time.Minute)
	f.refused(ExpiredToken, own.AccessKey, own.Token)
	f.refused(ExpiredToken, role.AccessKey, role.Token)

	yes, no := true, false
	for _, c := range []struct {
		what      string
		end       func()
		own, role bool // What is refused then.
	}{
		{"user's sessions revoked", func() { f.clock.advance(time.Second); f.RevokeSessions(ctx, f.root, "alice") }, true, false},
		{"role's sessions revoked", func() { f.clock.advance(time.Second); f.RevokeRoleSessions(ctx, f.root, "loader") }, false, true},
		{"user disabled", func() { must(f.PutUser(ctx, f.root, User{Name: "alice", Disabled: true})) }, true, true},
		{"key disabled", func() { must(f.UpdateKey(ctx, f.root, key, KeyChange{Disabled: &yes})) }, true, true},
		{"role removed", func() { f.DeleteRole(ctx, f.root, "loader") }, false, true},
	} {
		must(f.PutUser(ctx, f.root, User{Name: "alice", Policies: []string{"readwrite"}}))
		must(f.PutRole(ctx, f.root, Role{Name: "loader", Policies: []string{"readonly"}, Trust: trustAlice}))
		must(f.UpdateKey(ctx, f.root, key, KeyChange{Disabled: &no}))
		own, role := of(ask("")), of(ask(policy.RoleARN("loader")))
		f.whoIs(own.AccessKey, own.Token)
		f.whoIs(role.AccessKey, role.Token)
		c.end()
		for _, s := range []struct {
			Session
			refused bool
		}{{own, c.own}, {role, c.role}} {
			if _, refusal := f.Credential(s.AccessKey, s.Token); (refusal == InvalidToken) != s.refused {
				t.Errorf("%s: %s: refusal %d", c.what, s.ARN, refusal)
			}
		}
	}

	// Root's sessions stand on its secret.
	session := must(f.Assume(f.root, AssumeRole{Policy: allow("s3:Get*", "*"), Request: new(policyRequest)}))
	if id := f.whoIs(session.AccessKey, session.Token); id.Root() || may(id, "s3:PutObject", "b/k") || !may(id, "s3:GetObject", "b/k") {
		t.Errorf("a session of root: %+v", id)
	}
	f.open(func(o *Options) { o.RootSecret = "another-secret" })
	f.refused(InvalidToken, session.AccessKey, session.Token)
}

// TestAssume: who may assume what, and for how long.
func TestAssume(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	must(f.PutPolicy(ctx, f.root, "assume", allow("sts:AssumeRole", "arn:aws:iam::000000000000:role/open")))
	must(f.PutPolicy(ctx, f.root, "never", `{"Statement":[{"Effect":"Deny","Action":"sts:*","Resource":"*"}]}`))
	aliceKey, _ := f.user("alice", "readonly")
	bobKey, _ := f.user("bob", "assume")
	eveKey, _ := f.user("eve", "assume", "never")
	must(f.PutRole(ctx, f.root, Role{Name: "hers", Trust: trustAlice, MaxDuration: 7200}))
	must(f.PutRole(ctx, f.root, Role{Name: "open", Trust: trustAccount}))
	must(f.PutRole(ctx, f.root, Role{Name: "not-hers", Trust: strings.Replace(trustAccount, `[{`, `[{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::000000000000:user/alice"},"Action":"sts:AssumeRole"},{`, 1)}))
	must(f.PutPolicy(ctx, f.root, "assume-any", allow("sts:AssumeRole", "*")))
	must(f.PutUser(ctx, f.root, User{Name: "alice", Policies: []string{"readonly", "assume-any"}}))
	alice, bob, eve := f.whoIs(aliceKey, ""), f.whoIs(bobKey, ""), f.whoIs(eveKey, "")
	for _, c := range []struct {
		by   *Identity
		role string
		ok   bool
	}{
		{alice, policy.RoleARN("hers"), true},
		{bob, policy.RoleARN("hers"), false}, // It trusts alice.
		{f.root, policy.RoleARN("hers"), false},
		{bob, policy.RoleARN("open"), true},
		{alice, policy.RoleARN("open"), true},
		{f.root, policy.RoleARN("open"), true},
		{eve, policy.RoleARN("open"), false}, // Denied by her own policy.
		{eve, "", false},
		{eve, policy.UserARN("eve"), false},
		{bob, "", true},
		{bob, policy.UserARN("bob"), true},
		{bob, policy.UserARN("alice"), false},
		{bob, policy.RootARN, false},
		{f.root, policy.RootARN, true},
		{alice, policy.RoleARN("not-hers"), false},
		{alice, policy.RoleARN("nobody"), false},
		{alice, "hers", false},
		{alice, "arn:aws:iam::123456789012:role/hers", false},
	} {
		s, err := f.Assume(c.by, ask(c.role))
		if (err == nil) != c.ok {
			t.Errorf("%s assumes %q: %v", c.by.Name, c.role, err)
		}
		if err != nil {
			wantKind(t, c.role, err, Denied)
		} else {
			f.whoIs(s.AccessKey, s.Token)
		}
	}
	for _, c := range []struct {
		role     string
		duration time.Duration
		want     time.Duration // 0 is a refusal.
	}{
		{"", 0, time.Hour}, {"", 36 * time.Hour, 36 * time.Hour}, {"", 37 * time.Hour, 0}, {"", time.Minute, 0}, {"", -time.Hour, 0},
		{"hers", 0, time.Hour}, {"hers", 2 * time.Hour, 2 * time.Hour}, {"hers", 3 * time.Hour, 0}, {"open", 2 * time.Hour, 0},
	} {
		a := AssumeRole{Duration: c.duration, Name: "x", Request: new(policyRequest)}
		if c.role != "" {
			a.RoleARN = policy.RoleARN(c.role)
		}
		s, err := f.Assume(alice, a)
		if got := s.Expires.Sub(f.clock.Now()); err == nil && got != c.want || err != nil && c.want != 0 {
			t.Errorf("%+v: got %v, %v", c, got, err)
		}
	}
	// A session may become a role, for an hour, but not a session of its own again.
	s := must(f.Assume(alice, ask("")))
	id := f.whoIs(s.AccessKey, s.Token)
	if _, err := f.Assume(id, ask("")); err == nil {
		t.Error("a session makes itself another")
	}
	r := must(f.Assume(id, ask(policy.RoleARN("hers"))))
	f.whoIs(r.AccessKey, r.Token)
	long := ask(policy.RoleARN("hers"))
	long.Duration = 2 * time.Hour
	if _, err := f.Assume(id, long); err == nil {
		t.Error("a session becomes a role for longer than an hour")
	}
	if err := f.DeleteKey(ctx, f.root, aliceKey); err != nil {
		t.Fatal(err)
	}
	f.refused(InvalidToken, r.AccessKey, r.Token)
	for _, document := range []string{"{", `{"Statement":[]}`, `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`} {
		a := ask("")
		a.Policy = document
		if _, err := f.Assume(bob, a); err == nil {
			t.Errorf("a session with the policy %s", document)
		}
	}
	a := ask("")
	a.Policy = allow("s3:*", "arn:aws:s3:::"+strings.Repeat("x", 9000))
	_, err := f.Assume(bob, a)
	wantKind(t, "a token that no header holds", err, Invalid)
}

// TestSessionCacheForgets: the cache is bounded, and right when it has forgotten.
func TestSessionCacheForgets(t *testing.T) {
	f := newFixture(t)
	first := must(f.Assume(f.root, ask("")))
	for range 2*maxSessions + 10 {
		s := must(f.Assume(f.root, ask("")))
		f.whoIs(s.AccessKey, s.Token)
	}
	if n := len(f.sessions.young) + len(f.sessions.old); n > 2*maxSessions {
		t.Errorf("%d sessions are remembered", n)
	}
	f.whoIs(first.AccessKey, first.Token)
}
