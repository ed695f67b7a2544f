package iam

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/fastapi/policy"
)

// issuerServer is a provider of web identities.
type issuerServer struct {
	*httptest.Server
	key *rsa.PrivateKey
	ec  *ecdsa.PrivateKey

	mu       sync.Mutex
	asked    int
	algs     []string
	redirect string
	jwks     string // Where its keys are, "" for where they are.
}

func newIssuer(t testing.TB) *issuerServer {
	t.Helper()
	s := &issuerServer{key: must(rsa.GenerateKey(rand.Reader, 2048)), ec: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), algs: []string{"RS256", "ES256", "HS256", "none"}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		if s.redirect != "" {
			http.Redirect(w, r, s.redirect, http.StatusFound)
			return
		}
		jwks := s.URL + "/keys"
		if s.jwks != "" {
			jwks = s.jwks
		}
		json.NewEncoder(w).Encode(map[string]any{"issuer": s.URL, "jwks_uri": jwks, "id_token_signing_alg_values_supported": s.algs})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		b64 := base64.RawURLEncoding.EncodeToString
		point := must(s.ec.PublicKey.Bytes())
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{
			map[string]any{"kty": "RSA", "kid": "rsa", "use": "sig", "n": b64(s.key.N.Bytes()), "e": b64(big.NewInt(int64(s.key.E)).Bytes())},
			map[string]any{"kty": "EC", "kid": "ec", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		}})
	})
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *issuerServer) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func encode(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }

func rs256(key *rsa.PrivateKey) func(string) []byte {
	return func(text string) []byte {
		sum := sha256.Sum256([]byte(text))
		return must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]))
	}
}

func es256(key *ecdsa.PrivateKey) func(string) []byte {
	return func(text string) []byte {
		sum := sha256.Sum256([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func hs256(secret []byte) func(string) []byte {
	return func(text string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
}

func token(header, claims map[string]any, sign func(string) []byte) string {
	text := encode(header) + "." + encode(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

type webFixture struct {
	*fixture
	issuer *issuerServer
	name   string
}

func newWebFixture(t *testing.T) *webFixture {
	w := &webFixture{issuer: newIssuer(t)}
	roots := x509.NewCertPool()
	roots.AddCert(w.issuer.Certificate())
	w.fixture = newFixture(t, func(o *Options) { o.Web.RootCAs = roots })
	w.name = ProviderName(w.issuer.URL)
	must(w.PutProvider(t.Context(), w.root, Provider{Issuer: w.issuer.URL, Audiences: []string{"penstock", "other"}, Private: true}))
	must(w.PutRole(t.Context(), w.root, Role{Name: "web", Policies: []string{"readonly"}, Trust: fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":%q},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"%s:aud":"penstock"},"StringLike":{"%s:sub":"repo:acme/*"}}}]}`,
		policy.ProviderARN(w.name), w.name, w.name)}))
	return w
}

func (w *webFixture) claims(change ...any) map[string]any {
	now := w.clock.Now()
	c := map[string]any{"iss": w.issuer.URL, "sub": "repo:acme/site", "aud": "penstock", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "groups": []string{"a", "b"}}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == nil {
			delete(c, change[i].(string))
		} else {
			c[change[i].(string)] = change[i+1]
		}
	}
	return c
}

func (w *webFixture) assume(token string) (WebSession, error) {
	return w.AssumeWithWebIdentity(w.t.Context(), WebToken{AssumeRole: ask(policy.RoleARN("web")), Token: token})
}

var rsaHeader = map[string]any{"alg": "RS256", "kid": "rsa"}

// TestWebIdentity: who is vouched for gets a session of a role that trusts it.
func TestWebIdentity(t *testing.T) {
	w := newWebFixture(t)
	good := token(rsaHeader, w.claims(), rs256(w.issuer.key))
	s, err := w.assume(good)
	if err != nil {
		t.Fatal(err)
	}
	id := w.whoIs(s.AccessKey, s.Token)
	if s.Subject != "repo:acme/site" || s.Audience != "penstock" || id.Provider != w.name || !may(id, "s3:GetObject", "b/k") || may(id, "s3:PutObject", "b/k") {
		t.Errorf("got %+v, %+v", s, id)
	}
	if got := id.Claims[w.name+":groups"]; len(got) != 2 {
		t.Errorf("claims are %v", id.Claims)
	}
	if _, err := w.assume(token(map[string]any{"alg": "ES256", "kid": "ec"}, w.claims("aud", []string{"x", "penstock"}), es256(w.issuer.ec))); err != nil {
		t.Errorf("signed with an elliptic curve: %v", err)
	}
	if _, err := w.AssumeWithWebIdentity(t.Context(), WebToken{AssumeRole: ask(policy.RoleARN("nobody")), Token: good}); err == nil {
		t.Error("a role that is not there")
	}
	must(w.PutRole(t.Context(), w.root, Role{Name: "hers", Trust: trustAccount}))
	if _, err := w.AssumeWithWebIdentity(t.Context(), WebToken{AssumeRole: ask(policy.RoleARN("hers")), Token: good}); err == nil {
		t.Error("a role that trusts the account alone")
	}
	if asked := w.issuer.questions(); asked > 4 {
		t.Errorf("the issuer was asked %d times", asked)
	}
	if err := w.DeleteProvider(t.Context(), w.root, w.name); err != nil {
		t.Fatal(err)
	}
	w.refused(InvalidToken, s.AccessKey, s.Token)
	if _, err := w.assume(good); err == nil {
		t.Error("a provider that is trusted no longer")
	}
}

// TestForgedWebIdentities covers CVE-2026-33322, GHSA-ccrv, GHSA-48rf, GHSA-xvfh and CVE-2024-48916: algorithms taken for one another, tokens
// that sign themselves, that never end, or are for somebody else.
func TestForgedWebIdentities(t *testing.T) {
	w := newWebFixture(t)
	public := must(x509.MarshalPKIXPublicKey(&w.issuer.key.PublicKey))
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	stranger := must(rsa.GenerateKey(rand.Reader, 2048))
	good := token(rsaHeader, w.claims(), rs256(w.issuer.key))
	parts := strings.Split(good, ".")
	nothing := func(string) []byte { return nil }
	own := map[string]any{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(stranger.N.Bytes()), "e": "AQAB"}
	for what, text := range map[string]string{
		"alg none":                 token(map[string]any{"alg": "none"}, w.claims(), nothing),
		"alg None":                 token(map[string]any{"alg": "None", "kid": "rsa"}, w.claims(), nothing),
		"alg none, signature kept": encode(map[string]any{"alg": "none", "kid": "rsa"}) + "." + parts[1] + "." + parts[2],
		"no alg":                   token(map[string]any{"kid": "rsa"}, w.claims(), rs256(w.issuer.key)),
		"HS256 with the PEM":       token(map[string]any{"alg": "HS256", "kid": "rsa"}, w.claims(), hs256(asPEM)),
		"HS256 with the DER":       token(map[string]any{"alg": "HS256", "kid": "rsa"}, w.claims(), hs256(public)),
		"HS256 with the modulus":   token(map[string]any{"alg": "HS256", "kid": "rsa"}, w.claims(), hs256(w.issuer.key.N.Bytes())),
		"HS256 without a kid":      token(map[string]any{"alg": "HS256"}, w.claims(), hs256(asPEM)),
		"HS256 with nothing":       token(map[string]any{"alg": "HS256", "kid": "rsa"}, w.claims(), hs256(nil)),
		"RS256 with the EC key":    token(map[string]any{"alg": "RS256", "kid": "ec"}, w.claims(), rs256(w.issuer.key)),
		"ES256 with the RSA key":   token(map[string]any{"alg": "ES256", "kid": "rsa"}, w.claims(), es256(w.issuer.ec)),
		"PS256, which it never uses": token(map[string]any{"alg": "PS256", "kid": "rsa"}, w.claims(), func(text string) []byte {
			sum := sha256.Sum256([]byte(text))
			return must(rsa.SignPSS(rand.Reader, w.issuer.key, crypto.SHA256, sum[:], nil))
		}),
		"a stranger's key":           token(rsaHeader, w.claims(), rs256(stranger)),
		"a key of its own":           token(map[string]any{"alg": "RS256", "jwk": own}, w.claims(), rs256(stranger)),
		"a key from elsewhere":       token(map[string]any{"alg": "RS256", "kid": "x", "jku": w.issuer.URL + "/keys"}, w.claims(), rs256(stranger)),
		"an unknown key":             token(map[string]any{"alg": "RS256", "kid": "unknown"}, w.claims(), rs256(w.issuer.key)),
		"a critical extension":       token(map[string]any{"alg": "RS256", "kid": "rsa", "crit": []string{"x"}, "x": 1}, w.claims(), rs256(w.issuer.key)),
		"other claims":               parts[0] + "." + encode(w.claims("sub", "repo:acme/other")) + "." + parts[2],
		"no signature":               parts[0] + "." + parts[1] + ".",
		"two parts":                  parts[0] + "." + parts[1],
		"a signature too many":       good + "." + parts[2],
		"space":                      " " + good,
		"no end":                     token(rsaHeader, w.claims("exp", nil), rs256(w.issuer.key)),
		"an end of 0":                token(rsaHeader, w.claims("exp", 0), rs256(w.issuer.key)),
		"an end that is text":        token(rsaHeader, w.claims("exp", "never"), rs256(w.issuer.key)),
		"ended":                      token(rsaHeader, w.claims("exp", w.clock.Now().Add(-time.Second).Unix()), rs256(w.issuer.key)),
		"not yet":                    token(rsaHeader, w.claims("nbf", w.clock.Now().Add(time.Hour).Unix()), rs256(w.issuer.key)),
		"another audience":           token(rsaHeader, w.claims("aud", "somebody"), rs256(w.issuer.key)),
		"an audience the role lacks": token(rsaHeader, w.claims("aud", "other"), rs256(w.issuer.key)),
		"no audience":                token(rsaHeader, w.claims("aud", nil), rs256(w.issuer.key)),
		"no subject":                 token(rsaHeader, w.claims("sub", nil), rs256(w.issuer.key)),
		"another subject":            token(rsaHeader, w.claims("sub", "repo:evil/site"), rs256(w.issuer.key)),
		"another issuer":             token(rsaHeader, w.claims("iss", "https://evil.example.com"), rs256(w.issuer.key)),
		"the issuer with a slash":    token(rsaHeader, w.claims("iss", w.issuer.URL+"/"), rs256(w.issuer.key)),
		"the issuer without TLS":     token(rsaHeader, w.claims("iss", strings.Replace(w.issuer.URL, "https", "http", 1)), rs256(w.issuer.key)),
		"no issuer":                  token(rsaHeader, w.claims("iss", nil), rs256(w.issuer.key)),
		"nothing":                    "",
		"a long one":                 token(rsaHeader, w.claims("x", strings.Repeat("x", 30_000)), rs256(w.issuer.key)),
		"too many claims to keep":    token(rsaHeader, w.claims("x", strings.Repeat("x", 9_000)), rs256(w.issuer.key)),
	} {
		if s, err := w.assume(text); err == nil {
			t.Errorf("%s: got %+v", what, s)
		} else if IsExpired(err) != strings.Contains(what, "end") {
			if what != "an end that is text" {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if _, err := w.assume(good); err != nil {
		t.Errorf("the good one: %v", err)
	}
	// Whoever sends tokens does not decide how often the issuer is asked.
	before := w.issuer.questions()
	for i := range 3 * maxQuestions {
		w.assume(token(map[string]any{"alg": "RS256", "kid": fmt.Sprint(i)}, w.claims(), rs256(stranger)))
	}
	if asked := w.issuer.questions() - before; asked > maxQuestions {
		t.Errorf("the issuer was asked %d times", asked)
	}
}

// TestOutbound covers CVE-2021-21287, GHSA-9pjf, GHSA-4x2q, GHSA-xvpm, GHSA-m479, GHSA-frwq, GHSA-q9q8 and GHSA-j5c2: this node asks nothing of addresses that are not
// public unless it is told to, and follows nothing to elsewhere.
func TestOutbound(t *testing.T) {
	for text, want := range map[string][2]bool{ // Without and with leave for private networks.
		"8.8.8.8": {true, true}, "2606:4700::1111": {true, true},
		"127.0.0.1": {false, true}, "127.1.2.3": {false, true}, "::1": {false, true}, "::ffff:127.0.0.1": {false, true},
		"10.0.0.1": {false, true}, "172.16.0.1": {false, true}, "172.32.0.1": {true, true}, "192.168.1.1": {false, true}, "100.64.0.1": {false, true}, "fd00::1": {false, true},
		"169.254.169.254": {false, false}, "fe80::1": {false, false}, "fe80::1%eth0": {false, false}, "::ffff:169.254.169.254": {false, false}, "64:ff9b::a9fe:a9fe": {false, false}, "2002:a9fe:a9fe::": {false, false},
		"0.0.0.0": {false, false}, "::": {false, false}, "224.0.0.1": {false, false}, "255.255.255.255": {false, false}, "ff02::1": {false, false},
	} {
		for i, private := range []bool{false, true} {
			if got := mayDial(netip.MustParseAddr(text), private); got != want[i] {
				t.Errorf("%s, private %v: got %v", text, private, got)
			}
		}
	}

	w := newWebFixture(t)
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirection was followed") }))
	defer secret.Close()
	good := token(rsaHeader, w.claims(), rs256(w.issuer.key))
	w.issuer.redirect = secret.URL
	if _, err := w.assume(good); err == nil {
		t.Error("an issuer that redirects")
	}
	w.issuer.mu.Lock()
	w.issuer.redirect = ""
	w.issuer.mu.Unlock()
	w.clock.advance(issuerRetry)
	if _, err := w.assume(good); err != nil {
		t.Errorf("an issuer that has recovered: %v", err)
	}
	before := w.issuer.questions()
	must(w.PutProvider(t.Context(), w.root, Provider{Issuer: w.issuer.URL, Audiences: []string{"penstock"}}))
	if _, err := w.assume(good); err == nil || w.issuer.questions() != before {
		t.Errorf("an issuer on this machine was asked without leave: %v", err)
	}
	for _, p := range []Provider{
		{Issuer: "http://id.example.com", Audiences: []string{"a"}}, {Issuer: "https://id.example.com"}, {Issuer: "id.example.com", Audiences: []string{"a"}},
		{Issuer: "https://user@id.example.com", Audiences: []string{"a"}}, {Issuer: "https://id.example.com?x", Audiences: []string{"a"}}, {Issuer: "file:///etc/passwd", Audiences: []string{"a"}, Private: true},
		{Issuer: "https://id.example.com", Audiences: []string{""}},
	} {
		if _, err := w.PutProvider(t.Context(), w.root, p); err == nil {
			t.Errorf("%+v is a provider", p)
		}
	}
}
