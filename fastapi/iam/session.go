package iam

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"penstock/fastapi/policy"
)

// A session token is what makes temporary credentials work without being kept anywhere. It is sealed (seal.go) with a key that
// seals nothing else, and bound to the access key it was issued with:
//
//	v1.<key id>.<nonce, AES-256-GCM of the JSON of sessionRecord>
//
// Whoever holds it can neither read nor change it. It is honoured until it ends, and no longer than what it was made from: the user or
// role must still be there and be the same, the access key that asked for it must still be good, and a web identity's provider still
// be trusted.
type sessionRecord struct {
	Secret  string              `json:"s"`
	Issued  int64               `json:"i"` // Seconds since 1970.
	Expires int64               `json:"e"` // Never 0.
	User    string              `json:"u,omitempty"`
	UserID  string              `json:"ui,omitempty"`
	Role    string              `json:"r,omitempty"`
	RoleID  string              `json:"ri,omitempty"`
	Name    string              `json:"n,omitempty"` // Of the session.
	Parent  string              `json:"k,omitempty"` // The access key that it was made with.
	Version uint64              `json:"kv,omitempty"`
	From    string              `json:"p,omitempty"` // The provider that vouched.
	Claims  map[string][]string `json:"c,omitempty"`
	Narrow  []string            `json:"d,omitempty"` // Documents.
}

// maxTokenLen bounds a token, so that it fits the headers of a request with room to spare.
const maxTokenLen = 8 << 10

// Bounds of how long a session lasts, and what it lasts if nobody says.
const (
	MinDuration     = 15 * time.Minute
	MaxDuration     = 12 * time.Hour
	MaxUserDuration = 36 * time.Hour // Of a session that a user makes for itself.
	DefaultDuration = time.Hour
)

// Session is what whoever asks for temporary credentials gets.
type Session struct {
	AccessKey, Secret, Token string
	Expires                  time.Time
	ARN, ID                  string // Of the assumed role or user.
}

// issue makes temporary credentials.
func (d *Directory) issue(r sessionRecord, duration time.Duration) (Session, error) {
	now := d.now()
	accessKey := newID(sessionKeyPrefix)
	r.Secret, r.Issued, r.Expires = newSecret(), now.Unix(), now.Add(duration).Unix()
	raw, err := json.Marshal(&r)
	if err != nil {
		return Session{}, err
	}
	token := d.opts.Keyring.seal(sealSessions, accessKey, string(raw))
	if len(token) > maxTokenLen {
		return Session{}, refuse(Invalid, "the session policies and claims make the session token longer than %d bytes", maxTokenLen)
	}
	s := Session{AccessKey: accessKey, Secret: r.Secret, Token: token, Expires: time.Unix(r.Expires, 0).UTC()}
	switch {
	case r.Role != "":
		s.ARN, s.ID = policy.SessionARN(r.Role, r.Name), r.RoleID+":"+r.Name
	case r.User != "":
		s.ARN, s.ID = policy.UserARN(r.User), r.UserID
	default:
		s.ARN, s.ID = policy.RootARN, policy.Account
	}
	return s, nil
}

// session answers for temporary credentials.
func (d *Directory) session(accessKey, token string) (Credential, Refusal) {
	if len(token) > maxTokenLen || !strings.HasPrefix(accessKey, sessionKeyPrefix) {
		return Credential{}, InvalidToken
	}
	revision := d.revision.Load()
	c, ok := d.sessions.get(accessKey, token, revision)
	if !ok {
		raw, err := d.opts.Keyring.open(sealSessions, accessKey, token)
		if err != nil {
			return Credential{}, InvalidToken
		}
		var r sessionRecord
		if err := json.Unmarshal([]byte(raw), &r); err != nil || r.Secret == "" || r.Expires == 0 || r.Issued == 0 {
			return Credential{}, InvalidToken
		}
		id := d.sessionIdentity(accessKey, &r)
		if id == nil {
			return Credential{}, InvalidToken
		}
		c = Credential{r.Secret, versionOf(r.Secret), id}
		d.sessions.put(accessKey, token, revision, c)
	}
	now := d.opts.Clock()
	if !now.Before(c.Identity.Expires) {
		return Credential{}, ExpiredToken
	}
	// The key that asked may have had an end of its own.
	if parent := c.Identity.parent; parent != "" && parent != d.root.accessKey {
		if _, refusal := d.Credential(parent, ""); refusal != Accepted {
			return Credential{}, InvalidToken
		}
	}
	return c, Accepted
}

// sessionIdentity returns whom a session speaks for, or nil if that is nobody any more.
func (d *Directory) sessionIdentity(accessKey string, r *sessionRecord) *Identity {
	d.mu.RLock()
	defer d.mu.RUnlock()
	issued := time.Unix(r.Issued, 0)
	if !d.parentStands(r) || r.From != "" && d.providers[r.From] == nil {
		return nil
	}
	var id *Identity
	switch {
	case r.Role != "":
		role := d.roles[r.Role]
		if role == nil || role.ID != r.RoleID || issued.Before(role.Since) {
			return nil
		}
		id = d.ofRole(&role.Role, r.Name)
	case r.User != "":
		u := d.users[r.User]
		if u == nil || u.ID != r.UserID || u.Disabled || issued.Before(u.Since) {
			return nil
		}
		id = d.ofUser(u)
	default:
		if r.Parent == "" {
			return nil // Only root's own keys make sessions of root.
		}
		own := *d.root.identity
		id = &own
	}
	id.AccessKey, id.Issued, id.Expires = accessKey, issued.UTC(), time.Unix(r.Expires, 0).UTC()
	id.Provider, id.Claims, id.parent = r.From, r.Claims, r.Parent
	id.narrow = r.Narrow
	id.Set.Session = d.narrowing(r.Narrow, "the session")
	return id
}

// parentStands reports whether the access key that asked for a session is still there with the same secret. The caller holds mu.
func (d *Directory) parentStands(r *sessionRecord) bool {
	switch {
	case r.Parent == "":
		return r.From != "" // Nobody's key vouches, so a provider must.
	case r.Parent == d.root.accessKey:
		return r.Version == d.root.version
	}
	c := d.keys[r.Parent]
	return c != nil && c.version == r.Version
}

// sessionCache remembers what tokens were found to be, so that the requests of a session cost no decryption and no parsing. It
// forgets in two generations: when the young one is full it becomes the old one, and what that held is gone.
type sessionCache struct {
	mu         sync.Mutex // Guards the fields below.
	young, old map[string]cachedSession
}

type cachedSession struct {
	accessKey string
	revision  uint64
	Credential
}

// maxSessions bounds each generation; a session is a few kilobytes.
const maxSessions = 2048

func (c *sessionCache) get(accessKey, token string, revision uint64) (Credential, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.young[token]
	if !ok {
		if s, ok = c.old[token]; ok {
			c.add(token, s)
		}
	}
	if !ok || s.accessKey != accessKey || s.revision != revision {
		return Credential{}, false
	}
	return s.Credential, true
}

func (c *sessionCache) put(accessKey, token string, revision uint64, found Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(token, cachedSession{accessKey, revision, found})
}

func (c *sessionCache) add(token string, s cachedSession) {
	if len(c.young) >= maxSessions {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[string]cachedSession)
	}
	c.young[token] = s
}
