package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
)

// signingKey is what requests of one day, region and secret are signed with.
type signingKey [sha256.Size]byte

func deriveKey(secret, date, region, service string) signingKey {
	key := hmacSHA256([]byte("AWS4"+secret), date)
	for _, part := range []string{region, service, terminator} {
		key = hmacSHA256(key[:], part)
	}
	return key
}

func hmacSHA256(key []byte, message string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	mac.Sum(sum[:0])
	return sum
}

const (
	// maxKeys bounds each generation of the cache. More access keys than this in use in one day
	// cost four HMACs a miss.
	maxKeys = 4096

	// maxKeyNameLen bounds an entry: names come from requests that are not verified yet. With it
	// the cache stays below 4 MB.
	maxKeyNameLen = 256
)

// keyCache remembers signing keys. Forgetting is in two generations: when the young one is full it
// becomes the old one, and what the old one held and nobody asked for since is gone.
//
// A key is found only under the version of its secret, which comes from [Secrets] with each request,
// so a secret that was changed or deleted is not honoured for one request longer.
type keyCache struct {
	mu         sync.RWMutex // Guards the fields below.
	young, old map[keyName]signingKey
}

type keyName struct {
	accessKey string
	version   uint64
	date      string
	region    string
	service   string
}

func (c *keyCache) get(accessKey []byte, version uint64, secret string, date, region []byte, service string) signingKey {
	if len(accessKey)+len(region) > maxKeyNameLen {
		return deriveKey(secret, string(date), string(region), service)
	}
	c.mu.RLock()
	key, ok := c.young[keyName{string(accessKey), version, string(date), string(region), service}]
	c.mu.RUnlock()
	if ok {
		return key
	}
	name := keyName{string(accessKey), version, string(date), string(region), service}
	c.mu.Lock()
	defer c.mu.Unlock()
	if key, ok = c.old[name]; !ok {
		key = deriveKey(secret, name.date, name.region, service)
	}
	if len(c.young) >= maxKeys {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[keyName]signingKey)
	}
	c.young[name] = key
	return key
}
