package iam

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Keyring holds the keys that secrets and session tokens are sealed with: one for each use, named so that a key can be replaced
// while what older ones sealed is still opened. It does not change.
type Keyring struct {
	keys    map[string]cipher.AEAD // By id.
	newest  map[use]string
	sources []sealingKey
}

// use says what a key seals. A key of one use opens nothing of another.
type use string

const (
	sealSecrets  use = "secrets"
	sealSessions use = "sessions"
)

// sealingKey is a key as it is kept.
type sealingKey struct {
	ID  string `json:"id"`
	Use use    `json:"use"`
	Key []byte `json:"key"`
}

const sealingKeyLen = 32

// NewKeyring makes new keys.
func NewKeyring() *Keyring {
	var keys []sealingKey
	for _, u := range []use{sealSecrets, sealSessions} {
		random := make([]byte, sealingKeyLen+6)
		rand.Read(random) // Never fails: crypto/rand ends the process instead.
		keys = append(keys, sealingKey{base64.RawURLEncoding.EncodeToString(random[sealingKeyLen:]), u, random[:sealingKeyLen]})
	}
	k, err := newKeyring(keys)
	if err != nil {
		panic("iam: a new key is none: " + err.Error())
	}
	return k
}

// ParseKeyring reads what Marshal wrote. Its errors hold nothing of the keys.
func ParseKeyring(data []byte) (*Keyring, error) {
	var doc struct {
		Keys []sealingKey `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, errors.New("it is not JSON of the right form")
	}
	return newKeyring(doc.Keys)
}

func newKeyring(keys []sealingKey) (*Keyring, error) {
	k := &Keyring{keys: make(map[string]cipher.AEAD), newest: make(map[use]string), sources: keys}
	for _, s := range keys {
		if len(s.Key) != sealingKeyLen || s.ID == "" || strings.Contains(s.ID, ".") || k.keys[s.ID] != nil {
			return nil, fmt.Errorf("key %q is not %d bytes with a name of its own", s.ID, sealingKeyLen)
		}
		block, err := aes.NewCipher(s.Key)
		if err != nil {
			return nil, err
		}
		if k.keys[s.ID], err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
		k.newest[s.Use] = s.ID // The last one of the file seals.
	}
	for _, u := range []use{sealSecrets, sealSessions} {
		if k.newest[u] == "" {
			return nil, fmt.Errorf("it has no key for %s", u)
		}
	}
	return k, nil
}

// Marshal writes the keys for a file that nobody else may read.
func (k *Keyring) Marshal() ([]byte, error) {
	return json.MarshalIndent(map[string]any{"keys": k.sources}, "", "  ")
}

// String keeps the keys out of whatever a Keyring is printed to.
func (k *Keyring) String() string { return "iam.Keyring" }

// GoString does so for %#v.
func (k *Keyring) GoString() string { return k.String() }

// seal encrypts text and binds it to a context, which is needed again to open it:
//
//	v1.<key id>.<base64url of nonce, ciphertext and tag>
func (k *Keyring) seal(u use, context, text string) string {
	id := k.newest[u]
	aead := k.keys[id]
	sealed := make([]byte, aead.NonceSize(), aead.NonceSize()+len(text)+aead.Overhead())
	rand.Read(sealed)
	sealed = aead.Seal(sealed, sealed, []byte(text), []byte(string(u)+"\x00"+context))
	return sealVersion + "." + id + "." + base64.RawURLEncoding.EncodeToString(sealed)
}

const sealVersion = "v1"

var errSealed = errors.New("it was not sealed with a key that is here, or was changed since")

// open is the opposite of seal.
func (k *Keyring) open(u use, context, sealed string) (string, error) {
	version, rest, _ := strings.Cut(sealed, ".")
	id, text, _ := strings.Cut(rest, ".")
	aead := k.keys[id]
	if version != sealVersion || aead == nil {
		return "", errSealed
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < aead.NonceSize() {
		return "", errSealed
	}
	plain, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], []byte(string(u)+"\x00"+context))
	if err != nil {
		return "", errSealed
	}
	return string(plain), nil
}
