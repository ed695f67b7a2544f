package iam

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock/engine"
	"penstock/fastapi/policy"
)

// Store keeps named values. *engine.Store is one.
type Store interface {
	Config(name string) (string, error) // "" when it is not set.
	Configs(prefix, after string, limit int) ([]engine.ConfigValue, bool, error)
	SetConfig(ctx context.Context, name, value string) error // "" removes it.
}

// Options configure a Directory.
type Options struct {
	Store   Store    // Required.
	Keyring *Keyring // Required.

	RootAccessKey, RootSecret string // Required.

	Clock  func() time.Time // nil means time.Now.
	Logger *slog.Logger     // nil discards.
	Web    WebOptions       // How providers of web identities are reached.
}

// Limits keep the memory of a directory bounded: about 1 KiB each.
const (
	maxUsers       = 50_000
	maxKeys        = 100_000
	maxKeysOfUser  = 1_000 // A service account for each job of a large cluster.
	maxGroups      = 5_000
	maxPolicies    = 10_000
	maxRoles       = 5_000
	maxProviders   = 100
	maxAttachments = 20 // Policies of one user, group or role; and groups of a user.
)

// Directory knows everybody. It is safe for concurrent use.
type Directory struct {
	opts Options
	root root
	web  web

	// change is held from before a change is checked until it stands in memory, across the store's commit.
	change sync.Mutex
	unsure map[string]bool // Names whose last change ended in an error. Guarded by change.

	// revision counts changes; what was derived from the maps holds as long as it stays the same.
	revision atomic.Uint64

	mu        sync.RWMutex // Guards the maps. What they point to never changes.
	users     map[string]*User
	groups    map[string]*Group
	policies  map[string]*compiled
	keys      map[string]*credential
	roles     map[string]*roleState
	providers map[string]*Provider

	sessions sessionCache
}

type root struct {
	accessKey, secret string
	version           uint64
	identity          *Identity
}

type compiled struct {
	Policy
	policy *policy.Policy
}

type roleState struct {
	Role
	trust *policy.Policy
}

// credential is an access key with what is derived from it.
type credential struct {
	Key
	secret  string
	version uint64
	narrow  []policy.Named // Of Key.Policies.

	identity atomic.Pointer[derivedIdentity]
}

// derivedIdentity is an identity as of a revision.
type derivedIdentity struct {
	revision uint64
	*Identity
}

// Open reads who there is.
func Open(opts Options) (*Directory, error) {
	if opts.Store == nil || opts.Keyring == nil || opts.RootAccessKey == "" || opts.RootSecret == "" {
		return nil, errors.New("iam: Store, Keyring and the root pair are required")
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Directory{
		opts: opts, unsure: map[string]bool{},
		users: map[string]*User{}, groups: map[string]*Group{}, policies: map[string]*compiled{},
		keys: map[string]*credential{}, roles: map[string]*roleState{}, providers: map[string]*Provider{},
	}
	d.root = root{accessKey: opts.RootAccessKey, secret: opts.RootSecret, version: versionOf(opts.RootSecret)}
	d.root.identity = &Identity{
		Principal: policy.Principal{Kind: policy.Root, ARN: policy.RootARN, CanonicalID: RootCanonicalID},
		AccessKey: opts.RootAccessKey, UserID: policy.Account, Name: "root", Set: policy.Set{Root: true},
	}
	d.web.init(d, opts.Web)
	for _, name := range policy.CannedNames() {
		document, _ := policy.Canned(name)
		p, err := policy.Parse([]byte(document), policy.ForIdentity, "")
		if err != nil {
			return nil, fmt.Errorf("iam: policy %s: %w", name, err)
		}
		d.policies[name] = &compiled{Policy{Name: name, Document: document, Canned: true}, p}
	}
	for after, more := "", true; more; {
		var page []engine.ConfigValue
		var err error
		if page, more, err = opts.Store.Configs(allPrefix, after, 1000); err != nil {
			return nil, fmt.Errorf("iam: %w", err)
		}
		for _, v := range page {
			d.load(v.Name, v.Value)
			after = v.Name
		}
		more = more && len(page) > 0
	}
	return d, nil
}

// RootCanonicalID is the canonical user id of the account, and so of its root: 64 hex digits, as those of Amazon have.
const RootCanonicalID = "5f0c4e2a6d7b81f3905e6a1c2b4d8e7f60912a3b4c5d6e7f8091a2b3c4d5e6f7"

// versionOf names a secret without telling it.
func versionOf(secret string) uint64 {
	sum := sha256.Sum256([]byte("version of " + secret))
	return binary.LittleEndian.Uint64(sum[:])
}

// load brings one value of the store into memory. What cannot be read is nobody, or allows nothing.
func (d *Directory) load(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.revision.Add(1)
	var err error
	switch {
	case strings.HasPrefix(name, userPrefix):
		err = loadInto(d.users, name[len(userPrefix):], value, func(u *User) *User { return u })
	case strings.HasPrefix(name, groupPrefix):
		err = loadInto(d.groups, name[len(groupPrefix):], value, func(g *Group) *Group { return g })
	case strings.HasPrefix(name, providerPrefix):
		err = loadInto(d.providers, name[len(providerPrefix):], value, func(p *Provider) *Provider { return p })
	case strings.HasPrefix(name, policyPrefix):
		if short := name[len(policyPrefix):]; d.policies[short] == nil || !d.policies[short].Canned {
			err = loadInto(d.policies, short, value, d.compile)
		}
	case strings.HasPrefix(name, rolePrefix):
		err = loadInto(d.roles, name[len(rolePrefix):], value, d.compileRole)
	case strings.HasPrefix(name, keyPrefix):
		err = loadInto(d.keys, name[len(keyPrefix):], value, d.openKey)
	}
	if err != nil {
		d.opts.Logger.Error("an identity cannot be read and is left out", "name", name, "err", err)
	}
}

// loadInto puts what make makes of a record into a map, or takes out what is not there any more.
func loadInto[Record, State any](m map[string]*State, name, value string, make func(*Record) *State) error {
	if value == "" {
		delete(m, name)
		return nil
	}
	record := new(Record)
	if err := json.Unmarshal([]byte(value), record); err != nil {
		delete(m, name)
		return err
	}
	if s := make(record); s != nil {
		m[name] = s
	} else {
		delete(m, name)
	}
	return nil
}

// nothing is what stands for a document that cannot be read.
var nothing = func() *policy.Policy {
	p, err := policy.Parse([]byte(`{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`), policy.ForIdentity, "")
	if err != nil {
		panic(err)
	}
	return p
}()

func (d *Directory) parse(document string, use policy.Use, of string) *policy.Policy {
	p, err := policy.Parse([]byte(document), use, "")
	if err != nil {
		d.opts.Logger.Error("a policy cannot be read and denies everything", "of", of, "err", err)
		return nothing
	}
	return p
}

func (d *Directory) compile(p *Policy) *compiled {
	return &compiled{*p, d.parse(p.Document, policy.ForIdentity, "policy "+p.Name)}
}

func (d *Directory) compileRole(r *Role) *roleState {
	trust := d.parse(r.Trust, policy.ForTrust, "role "+r.Name)
	if trust != nothing {
		trust.Bind(r.Trusted)
	}
	return &roleState{*r, trust}
}

func (d *Directory) openKey(k *Key) *credential {
	secret, err := d.opts.Keyring.open(sealSecrets, keyPrefix+k.AccessKey, k.Sealed)
	if err != nil {
		d.opts.Logger.Error("an access key's secret cannot be opened, so it is refused", "access_key", k.AccessKey, "err", err)
		return nil
	}
	return &credential{Key: *k, secret: secret, version: versionOf(secret), narrow: d.narrowing(k.Policies, "access key "+k.AccessKey)}
}

// narrowing compiles the documents that narrow a credential.
func (d *Directory) narrowing(documents []string, of string) []policy.Named {
	var all []policy.Named
	for i, document := range documents {
		all = append(all, policy.Named{Name: fmt.Sprintf("session policy %d of %s", i+1, of), Policy: d.parse(document, policy.ForIdentity, of)})
	}
	return all
}

// save keeps a record and brings it into memory; nil removes it. The caller holds change.
func (d *Directory) save(ctx context.Context, name string, record any) error {
	if err := d.settle(); err != nil {
		return err
	}
	value := ""
	if record != nil {
		raw, err := json.Marshal(record)
		if err != nil {
			return fmt.Errorf("iam: %w", err)
		}
		value = string(raw)
	}
	if err := d.opts.Store.SetConfig(ctx, name, value); err != nil {
		// It may have happened all the same. Until the store can say, nothing else is changed.
		d.unsure[name] = true
		if settleErr := d.settle(); settleErr != nil {
			d.opts.Logger.Error("whether an identity was changed is not known yet", "name", name, "err", settleErr)
		}
		return err
	}
	d.load(name, value)
	return nil
}

// settle asks the store what became of changes that ended in an error.
func (d *Directory) settle() error {
	for name := range d.unsure {
		value, err := d.opts.Store.Config(name)
		if err != nil {
			return err
		}
		d.load(name, value)
		delete(d.unsure, name)
	}
	return nil
}
