package iam

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"penstock/fastapi/policy"
)

// Providers returns the providers of web identities that are trusted, by name.
func (d *Directory) Providers() []Provider {
	return listed(d, d.providers, func(p *Provider) Provider { return *p })
}

// Provider returns one provider.
func (d *Directory) Provider(name string) (Provider, error) {
	return one(d, d.providers, "provider", name)
}

// ProviderName returns the name of the provider of an issuer's URL: without the scheme, as Amazon names it.
func ProviderName(issuer string) string {
	_, name, _ := strings.Cut(issuer, "://")
	return name
}

// PutProvider trusts an issuer of web identities. Who of them may be what is for the trust of roles to say.
func (d *Directory) PutProvider(ctx context.Context, by *Identity, p Provider) (Provider, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return Provider{}, err
	}
	u, err := url.Parse(p.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(p.Issuer) > 200:
		return Provider{}, refuse(Invalid, "the issuer is not the URL of one")
	case u.Scheme != "https" && !(p.Private && u.Scheme == "http"):
		return Provider{}, refuse(Invalid, "the issuer's URL must begin with https://")
	case len(p.Audiences) == 0 || len(p.Audiences) > 100 || slices.Contains(p.Audiences, ""):
		return Provider{}, refuse(Invalid, "a provider needs 1 to 100 audiences that its tokens are made for")
	}
	p.Name = ProviderName(p.Issuer)
	have, err := d.Provider(p.Name)
	if err != nil {
		if len(d.providers) >= maxProviders {
			return Provider{}, refuse(Limit, "there are %d providers already", maxProviders)
		}
		have.Created = d.now()
	}
	p.Created = have.Created
	return p, d.save(ctx, providerPrefix+p.Name, p)
}

// DeleteProvider trusts an issuer no longer, and ends the sessions it vouched for.
func (d *Directory) DeleteProvider(ctx context.Context, by *Identity, name string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.Acting(by); err != nil {
		return err
	}
	if _, err := d.Provider(name); err != nil {
		return err
	}
	return d.save(ctx, providerPrefix+name, nil)
}

// WebToken is what somebody with a web identity asks with.
type WebToken struct {
	AssumeRole
	Token string
}

// WebSession is what it gets.
type WebSession struct {
	Session
	Subject, Audience, Provider string
}

// Failures of web identities. Their texts say no more than whoever asks knows.
var (
	errWebToken   = refuse(Invalid, "The web identity token that was passed could not be validated.")
	errWebExpired = refuse(Invalid, "The web identity token that was passed is expired.")
)

// IsExpired reports whether a web identity was refused because its token has ended.
func IsExpired(err error) bool { return errors.Is(err, errWebExpired) }

// IsWebToken reports whether a web identity was refused because of its token.
func IsWebToken(err error) bool { return errors.Is(err, errWebToken) }

// maxWebTokenLen is Amazon's bound.
const maxWebTokenLen = 20_000

// AssumeWithWebIdentity makes a session of a role for somebody whom a provider vouches for. Nobody has signed for the call: the
// token is the whole of it.
func (d *Directory) AssumeWithWebIdentity(ctx context.Context, a WebToken) (WebSession, error) {
	issuer, ok := issuerOf(a.Token)
	if !ok {
		return WebSession{}, errWebToken
	}
	p, err := d.Provider(ProviderName(issuer))
	if err != nil || p.Issuer != issuer {
		return WebSession{}, errWebToken
	}
	token, err := d.web.verify(ctx, &p, a.Token)
	if err != nil {
		d.opts.Logger.Info("a web identity is refused", "issuer", p.Issuer, "err", err)
		if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
			return WebSession{}, errWebExpired
		}
		return WebSession{}, errWebToken
	}
	claims, err := claimsOf(&p, token)
	if err != nil {
		return WebSession{}, errWebToken
	}
	by := &Identity{
		Principal: policy.Principal{Kind: policy.Federated, Provider: policy.ProviderARN(p.Name)},
		Provider:  p.Name, Claims: claims,
	}
	role, err := d.assumableByWeb(by, a.AssumeRole)
	if err != nil {
		return WebSession{}, err
	}
	duration, err := d.duration(a.Duration, role.longest())
	if err != nil {
		return WebSession{}, err
	}
	narrow, err := d.narrowed(nil, a.Policy)
	if err != nil {
		return WebSession{}, err
	}
	session, err := d.issue(sessionRecord{Role: role.Name, RoleID: role.ID, Name: a.Name, From: p.Name, Claims: claims, Narrow: narrow}, duration)
	return WebSession{session, token.Subject, strings.Join(token.Audience, " "), p.Name}, err
}

// assumableByWeb returns the role that somebody may assume whom a provider vouches for.
func (d *Directory) assumableByWeb(by *Identity, a AssumeRole) (*Role, error) {
	role := d.roleOf(a.RoleARN)
	if role == nil {
		return nil, errAssume
	}
	r := *a.Request
	r.Action, r.Resource, r.Principal = policy.MustAction("sts:AssumeRoleWithWebIdentity"), a.RoleARN, by.Principal
	r.Values = claimValues{by.Claims, r.Values}
	effect, err := role.trust.Evaluate(&r)
	if err != nil {
		return nil, err
	}
	if effect != policy.Allows {
		return nil, errAssume
	}
	return &role.Role, nil
}

// claimValues adds the claims of a web identity to what a request has under condition keys.
type claimValues struct {
	claims map[string][]string
	rest   policy.Values
}

func (v claimValues) Lookup(key policy.Key, dst []policy.Value) ([]policy.Value, error) {
	if key.ID == policy.KeyClaim {
		return AppendClaim(v.claims, key.Name, dst), nil
	}
	if v.rest == nil {
		return dst, nil
	}
	return v.rest.Lookup(key, dst)
}

// AppendClaim appends the values of a claim, named as policies name it.
func AppendClaim(claims map[string][]string, name string, dst []policy.Value) []policy.Value {
	for have, values := range claims {
		if strings.EqualFold(have, name) {
			for _, v := range values {
				dst = append(dst, policy.Text(v))
			}
		}
	}
	return dst
}

// issuerOf reads who a token says has made it, which is believed only after its signature is verified with that issuer's keys.
func issuerOf(token string) (string, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxWebTokenLen || strings.ContainsAny(token, " \t\r\n") {
		return "", false // The library would take white space out.
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	err = json.Unmarshal(raw, &claims)
	return claims.Issuer, err == nil && claims.Issuer != ""
}

// transportClaims say how a token travels and when it ends; they are no property of anybody.
var transportClaims = []string{"iss", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "auth_time"}

// claimsOf returns the claims of a verified token that are texts or lists of them.
func claimsOf(p *Provider, token *oidc.IDToken) (map[string][]string, error) {
	var all map[string]any
	if err := token.Claims(&all); err != nil {
		return nil, err
	}
	claims := map[string][]string{}
	for name, value := range all {
		if slices.Contains(transportClaims, name) {
			continue
		}
		switch v := value.(type) {
		case string:
			claims[p.Name+":"+name] = []string{v}
		case bool:
			claims[p.Name+":"+name] = []string{strconv.FormatBool(v)}
		case []any:
			for _, item := range v {
				if text, ok := item.(string); ok {
					claims[p.Name+":"+name] = append(claims[p.Name+":"+name], text)
				}
			}
		}
	}
	return claims, nil
}

// web verifies tokens with the keys that their issuers publish.
type web struct {
	clock   func() time.Time
	options WebOptions

	mu    sync.Mutex // Guards known.
	known map[string]*issuer
}

// issuer is what is known of a provider.
type issuer struct {
	private bool
	client  *http.Client

	mu       sync.Mutex // Guards the fields below; held while asking, so that many tokens cost one question.
	verifier *oidc.IDTokenVerifier
	asked    time.Time // When the issuer was asked last.
	failed   error     // What came of it.
}

const (
	// issuerTTL is how long what an issuer says of itself is believed. Its keys are asked for again whenever a token names one that
	// is not known.
	issuerTTL = time.Hour
	// issuerRetry is how long an issuer that could not be asked is left alone.
	issuerRetry = 5 * time.Second
)

func (w *web) init(d *Directory, options WebOptions) {
	w.clock, w.options, w.known = d.opts.Clock, options, map[string]*issuer{}
}

// verify verifies a token's signature, issuer, audience and time.
func (w *web) verify(ctx context.Context, p *Provider, token string) (*oidc.IDToken, error) {
	w.mu.Lock()
	i := w.known[p.Issuer]
	if i == nil || i.private != p.Private {
		i = &issuer{private: p.Private, client: w.newClient(p.Private)}
		if len(w.known) >= maxProviders {
			clear(w.known)
		}
		w.known[p.Issuer] = i
	}
	w.mu.Unlock()
	verifier, err := i.ask(ctx, w, p.Issuer)
	if err != nil {
		return nil, err
	}
	verified, err := verifier.Verify(oidc.ClientContext(ctx, i.client), token)
	if err != nil {
		return nil, err
	}
	if verified.Subject == "" || !slices.ContainsFunc(verified.Audience, func(a string) bool { return slices.Contains(p.Audiences, a) }) {
		return nil, errors.New("the token is for another audience, or for nobody")
	}
	return verified, nil
}

// ask returns a verifier for an issuer's tokens. Algorithms are those that the issuer says it signs with, of those that have a public
// key: a shared secret or none at all is never among them.
func (i *issuer) ask(ctx context.Context, w *web, url string) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := w.clock()
	since := now.Sub(i.asked).Abs()
	switch {
	case i.verifier != nil && since < issuerTTL:
		return i.verifier, nil
	case i.failed != nil && since < issuerRetry:
		return nil, i.failed
	}
	i.asked = now
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, i.client), url)
	if i.failed = err; err != nil {
		if i.verifier != nil {
			return i.verifier, nil // What it said before is better than nothing, until it answers again.
		}
		return nil, err
	}
	i.verifier = provider.Verifier(&oidc.Config{SkipClientIDCheck: true, Now: w.clock})
	return i.verifier, nil
}
