package blackbox

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/fastapi/admin"
	"penstock/fastapi/sigv4"
	"penstock/tools/harness"
)

// admin calls the administration API as root and reads the answer into out, unless that is nil.
func (n *node) admin(t testing.TB, method, path string, in, out any) {
	t.Helper()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			t.Fatal(err)
		}
	}
	q := n.unsigned(method, admin.Prefix+path, body)
	n.sign(q, sigv4.Digest(body))
	r, err := n.do(q)
	if err != nil || r.status/100 != 2 {
		t.Fatalf("%s %s: %v, %v", method, path, r, err)
	}
	if out != nil {
		if err := json.Unmarshal(r.body, out); err != nil {
			t.Fatalf("%s %s: %v: %v", method, path, err, r)
		}
	}
}

// as returns a client with other credentials and connections of its own.
func (n *node) as(signer sigv4.Signer) *client {
	return &client{addr: n.addr, signer: signer, tls: n.tls}
}

// member makes a user who may do everything with objects, and returns a key of it.
func (n *node) member(t testing.TB, name string) admin.Key {
	t.Helper()
	n.admin(t, "PUT", "/users/"+name, admin.UserSettings{Policies: []string{"readwrite"}}, nil)
	var k admin.Key
	n.admin(t, "POST", "/users/"+name+"/keys", admin.NewKey{}, &k)
	return k
}

// TestRevokedUnderLoad: once the node has answered that a key is gone, no request that begins after that is served with it, whatever connection it
// comes by and whether its signature is in a header or in a link.
func TestRevokedUnderLoad(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/bkt/k", []byte("x"))
	for round, revoke := range []func(k admin.Key){
		func(k admin.Key) { n.admin(t, "DELETE", "/users/alice0/keys/"+k.AccessKey, nil, nil) },
		func(k admin.Key) {
			yes := true
			n.admin(t, "PATCH", "/users/alice1/keys/"+k.AccessKey, admin.KeySettings{Disabled: &yes}, nil)
		},
		func(k admin.Key) { n.admin(t, "DELETE", "/users/alice2", nil, nil) },
	} {
		k := n.member(t, fmt.Sprint("alice", round))
		alice := n.as(sigv4.Signer{AccessKey: k.AccessKey, Secret: k.SecretKey, Region: "us-east-1"})
		link := alice.unsigned("GET", "/bkt/k", nil)
		alice.presign(link, time.Hour)
		var served, refused atomic.Int64
		var gone atomic.Bool
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() {
				for after := 0; after < 5; {
					q := link
					if i%2 == 0 {
						q = alice.signed("GET", "/bkt/k", nil)
					}
					began := gone.Load()
					r, err := alice.do(q)
					switch {
					case err != nil:
						t.Error(err)
						return
					case r.status == 200 && began:
						t.Errorf("round %d: served after the key was gone", round)
						return
					case r.status == 200:
						served.Add(1)
					case r.status == 403 && r.code() == "InvalidAccessKeyId":
						refused.Add(1)
					case r.status != 503:
						t.Errorf("round %d: %v", round, r)
						return
					}
					if began {
						after++
					}
				}
			})
		}
		for deadline := time.Now().Add(time.Minute); served.Load() < 50 && time.Now().Before(deadline) && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		revoke(k)
		gone.Store(true)
		clients.Wait()
		if served.Load() < 50 || refused.Load() < 40 {
			t.Errorf("round %d: %d served, %d refused", round, served.Load(), refused.Load())
		}
		alice.closeIdle()
	}
}

// TestSecretsOfOthersStaySecret: the secret of an access key, and that of a session, are on no drive and in no log. After a restart the key still signs.
func TestSecretsOfOthersStaySecret(t *testing.T) {
	t.Parallel()
	n := start(t, setup{args: []string{"--log-level", "debug"}})
	n.must(t, "PUT", "/bkt", nil)
	k := n.member(t, "alice")
	signer := sigv4.Signer{AccessKey: k.AccessKey, Secret: k.SecretKey, Region: "us-east-1"}
	n.as(signer).must(t, "PUT", "/bkt/k", []byte("x"))
	secrets := []hidden{hide(k.SecretKey)}

	form := "Action=AssumeRole&Version=2011-06-15"
	q := n.unsigned("POST", "/", []byte(form), "Content-Type", "application/x-www-form-urlencoded")
	sts := n.as(signer)
	sts.signer.Service = "sts"
	sts.sign(q, sigv4.Digest(q.body))
	r, err := sts.do(q)
	if err != nil || r.status != 200 {
		t.Fatalf("AssumeRole: %v, %v", r, err)
	}
	session := sigv4.Signer{AccessKey: element(string(r.body), "AccessKeyId"), Secret: element(string(r.body), "SecretAccessKey"), Token: element(string(r.body), "SessionToken"), Region: "us-east-1"}
	secrets = append(secrets, hide(session.Secret), hide(session.Token))
	n.as(session).must(t, "GET", "/bkt/k", nil)
	bad := session
	bad.Secret += "x"
	if r, err := n.as(bad).call("GET", "/bkt/k", nil); err != nil || r.status != 403 {
		t.Errorf("another secret: %v, %v", r, err)
	}
	// What an administrator hands to others holds none either, nor that of root.
	bundle := n.must(t, "GET", admin.Prefix+"/support", nil)
	zipped, err := gzip.NewReader(bytes.NewReader(bundle.body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zipped)
	if err != nil || !bytes.Contains(text, []byte("goroutines.txt")) {
		t.Fatalf("a bundle of %d bytes, %v", len(text), err)
	}
	for _, s := range append(secrets, hide(harness.SecretKey)) {
		s.check(t, "the bundle", string(text))
	}
	n.end(t)
	for _, s := range secrets {
		s.check(t, "the log", n.Log())
		s.search(t, n.dir)
	}
	n.launch(t)
	n.as(signer).must(t, "GET", "/bkt/k", nil)
	n.as(session).must(t, "GET", "/bkt/k", nil)
}

// TestOneListener covers CVE-2026-73080, CVE-2026-72920, CVE-2025-68926, GHSA-3g29 and GHSA-g3vq: a node listens at the one address that it was given, so there is no second protocol
// that could forget to ask who is there.
func TestOneListener(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	proc := filepath.Join("/proc", strconv.Itoa(n.Pid()))
	own := map[string]bool{}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, err := os.Readlink(filepath.Join(proc, "fd", f.Name())); err == nil && strings.HasPrefix(to, "socket:[") {
			own[strings.Trim(to, "socket:[]")] = true
		}
	}
	_, port, err := net.SplitHostPort(n.addr)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := strconv.Atoi(port)
	found := 0
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(filepath.Join(proc, "net", table))
		if os.IsNotExist(err) {
			continue // A machine without IPv6.
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			const listening = "0A"
			if len(f) < 10 || !own[f[9]] || strings.HasPrefix(table, "tcp") && f[3] != listening {
				continue
			}
			address, hexPort, _ := strings.Cut(f[1], ":")
			if at, err := strconv.ParseInt(hexPort, 16, 32); err != nil || int(at) != want || table != "tcp" || address != "0100007F" {
				t.Errorf("it listens at %s %s", table, f[1])
			}
			found++
		}
	}
	if found == 0 {
		t.Error("not even its own listener was found")
	}
}
