package iam

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzSessionToken opens what is no token of ours: nothing of it is believed, and nothing of it is a panic.
func FuzzSessionToken(f *testing.F) {
	x := newFixture(f)
	key, _ := x.user("alice", "readwrite")
	s, err := x.issue(sessionRecord{User: "alice", UserID: x.whoIs(key, "").UserID, Parent: key, Version: x.versionOfKey(key)}, MinDuration)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.AccessKey, s.Token)
	f.Add(s.AccessKey, strings.Replace(s.Token, "v1.", "v2.", 1))
	f.Add(key, "")
	f.Add("ASIA", "v1..")
	f.Fuzz(func(t *testing.T, accessKey, token string) {
		c, refusal := x.Credential(accessKey, token)
		if refusal != Accepted {
			return
		}
		if !(accessKey == s.AccessKey && token == s.Token) && !(accessKey == key && token == "") && !(accessKey == rootKey && token == "") {
			t.Errorf("%q with %q is %+v", accessKey, token, c.Identity)
		}
	})
}

// FuzzRecord reads records as the store gives them back: what cannot be read is nobody and allows nothing.
func FuzzRecord(f *testing.F) {
	for _, seed := range []string{`{"name":"alice","id":"AIDAX","policies":["admin"]}`, `{"name":"p","document":"{}"}`, `{"access_key":"AKIAX","secret":"v1.a.b","user":"alice"}`, `{"name":"r","trust":"{}","trusted":{"a":"b"}}`, `{"issuer":"https://x","audiences":["a"]}`, `null`, `[]`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		x := newFixture(t)
		for _, name := range []string{userPrefix + "alice", groupPrefix + "g", policyPrefix + "p", keyPrefix + "AKIAX", rolePrefix + "r", providerPrefix + "x"} {
			x.load(name, value)
		}
		if c, refusal := x.Credential("AKIAX", ""); refusal == Accepted {
			t.Errorf("a key that nobody sealed is %+v", c.Identity)
		}
		if value != "" && !json.Valid([]byte(value)) && len(x.Users())+len(x.Groups())+len(x.Roles())+len(x.Providers()) != 0 {
			t.Errorf("%q is somebody", value)
		}
	})
}

// FuzzIssuer reads who says that a web identity is theirs.
func FuzzIssuer(f *testing.F) {
	f.Add("e30.eyJpc3MiOiJodHRwczovL2EifQ.x")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if issuer, ok := issuerOf(token); ok && (issuer == "" || len(token) > maxWebTokenLen || strings.Count(token, ".") != 2) {
			t.Errorf("%q is by %q", token, issuer)
		}
	})
}
