package sigv4

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDeriveKey is the example of the AWS General Reference.
func TestDeriveKey(t *testing.T) {
	const want = "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378"
	key := deriveKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", service)
	if got := hex.EncodeToString(key[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestKeyCacheIsBounded asks for more keys than the cache holds, under names that anyone can make up.
func TestKeyCacheIsBounded(t *testing.T) {
	var c keyCache
	date := []byte("20130524")
	for i := range 3*maxKeys + 1 {
		name := []byte(strconv.Itoa(i))
		if got, want := c.get(name, 1, "secret", date, []byte("r"), service), deriveKey("secret", "20130524", "r", service); got != want {
			t.Fatalf("key %d: got %x, want %x", i, got, want)
		}
		if n := len(c.young) + len(c.old); n > 2*maxKeys {
			t.Fatalf("%d keys after %d", n, i+1)
		}
	}
	before := len(c.young) + len(c.old)
	c.get(bytes.Repeat([]byte("k"), maxKeyNameLen), 1, "secret", date, []byte("r"), service)
	if after := len(c.young) + len(c.old); after != before {
		t.Error("a name longer than the limit was kept")
	}
}

// TestKeyCacheKeepsWhatIsUsed checks that a key in use outlives any number of made-up ones.
func TestKeyCacheKeepsWhatIsUsed(t *testing.T) {
	var c keyCache
	date, region := []byte("20130524"), []byte("r")
	inUse := keyName{"in use", 1, "20130524", "r", service}
	for i := range 3 * maxKeys {
		c.get([]byte("in use"), 1, "secret", date, region, service)
		c.get([]byte(strconv.Itoa(i)), 1, "secret", date, region, service)
		_, young := c.young[inUse]
		_, old := c.old[inUse]
		if !young && !old {
			t.Fatalf("forgotten after %d others", i+1)
		}
	}
}

// TestSecretsAreNotPrinted prints what holds a secret in every way that a log might.
func TestSecretsAreNotPrinted(t *testing.T) {
	signer := Signer{AccessKey: "AKIAIOSFODNN7EXAMPLE", Secret: "canary", Region: "us-east-1"}
	r := &Request{Method: []byte("GET"), RawPath: []byte("/"), Host: []byte("h")}
	auth, err := signer.Sign(r, time.Unix(0, 0), "UNSIGNED-PAYLOAD")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(strings.Repeat(format+" ", 8), signer, &signer, *auth, auth, Secret{Text: "canary"}, &Secret{Text: "canary"}, Pair{"a", "canary"}, &Pair{"a", "canary"})
		for _, secret := range []string{
			signer.Secret,
			hex.EncodeToString(auth.key[:]),
			fmt.Sprint(auth.key[:3])[1:],                      // Decimal, as %v prints bytes.
			fmt.Sprintf("%#x, %#x", auth.key[0], auth.key[1]), // As %#v does.
		} {
			if strings.Contains(text, strings.TrimSuffix(secret, "]")) {
				t.Errorf("%s prints a secret: %s", format, text)
			}
		}
	}
}
