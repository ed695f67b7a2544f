package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"penstock/fastapi/iam"
)

// Where the root pair comes from when the operator sets it. With _FILE after the name the value is in a file instead,
// as container secrets are.
const (
	accessKeyEnv = envPrefix + "ROOT_ACCESS_KEY"
	secretKeyEnv = envPrefix + "ROOT_SECRET_KEY"
)

// The least that is taken as a root pair, and the most: Amazon's own are 20 and 40 long, and what others use fits between.
const (
	minAccessKeyLen = 3
	maxAccessKeyLen = 128
	minSecretKeyLen = 8
	maxSecretKeyLen = 128
)

// accessKeySeparators end an access key where a signed request names it.
const accessKeySeparators = "/,="

// rootFile is the name under which the store keeps the root pair it generated, mode 0600 on every drive.
const rootFile = "root.json"

// credentials are a root pair. The zero value is none.
type credentials struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// String keeps the secret out of whatever prints or logs a pair.
func (c credentials) String() string   { return c.AccessKey }
func (c credentials) GoString() string { return c.AccessKey }

func (c credentials) none() bool { return c == credentials{} }

// givenCredentials reads the root pair from the environment: both halves or neither.
func givenCredentials(getenv func(string) string) (credentials, error) {
	var c credentials
	for _, half := range []struct {
		env         string
		to          *string
		least, most int
		without     string
	}{
		{accessKeyEnv, &c.AccessKey, minAccessKeyLen, maxAccessKeyLen, accessKeySeparators},
		{secretKeyEnv, &c.SecretKey, minSecretKeyLen, maxSecretKeyLen, ""},
	} {
		text, err := secretEnv(half.env, getenv)
		if err != nil {
			return credentials{}, err
		}
		if text != "" {
			if err := checkKey(text, half.least, half.most, half.without); err != nil {
				return credentials{}, fmt.Errorf("%s %w", half.env, err)
			}
		}
		*half.to = text
	}
	switch {
	case c.AccessKey != "" && c.SecretKey == "":
		return credentials{}, fmt.Errorf("%s is set and %s is not: set both or neither", accessKeyEnv, secretKeyEnv)
	case c.AccessKey == "" && c.SecretKey != "":
		return credentials{}, fmt.Errorf("%s is set and %s is not: set both or neither", secretKeyEnv, accessKeyEnv)
	}
	return c, nil
}

// secretEnv reads a variable, or the file that its _FILE form names, less the newline at its end.
func secretEnv(name string, getenv func(string) string) (string, error) {
	text, file := getenv(name), getenv(name+"_FILE")
	if file == "" {
		return text, nil
	}
	if text != "" {
		return "", fmt.Errorf("%s and %s_FILE are both set", name, name)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	text = strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return "", fmt.Errorf("%s_FILE: %s is empty", name, file)
	}
	return text, nil
}

// checkKey never repeats the key: it may be a secret, and the message ends in a log.
func checkKey(key string, least, most int, without string) error {
	if len(key) < least || len(key) > most {
		return fmt.Errorf("must be %d to %d characters long", least, most)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return fmt.Errorf("must be printable ASCII without spaces")
		}
	}
	if strings.ContainsAny(key, without) {
		return fmt.Errorf("must not contain any of %s", without)
	}
	return nil
}

// A keeper keeps small files on every drive, readable by their owner alone.
type keeper interface {
	Meta(name string) ([]byte, error) // nil when there is none.
	SetMeta(name string, data []byte) error
}

// rootCredentials returns the root pair: the one given, else the one kept on the drives, else a new one, which is then
// kept there. fresh says that it is new, so that it is shown this once.
func rootCredentials(given credentials, drives keeper) (c credentials, fresh bool, err error) {
	if !given.none() {
		return given, false, nil
	}
	data, err := drives.Meta(rootFile)
	if err != nil {
		return credentials{}, false, fmt.Errorf("root credentials: %w", err)
	}
	if data != nil {
		if err := json.Unmarshal(data, &c); err != nil || c.AccessKey == "" || c.SecretKey == "" {
			// The file's content is left out: it may be half of a secret.
			return credentials{}, false, fmt.Errorf("%s on the drives does not hold a root pair; set %s and %s, or remove it",
				rootFile, accessKeyEnv, secretKeyEnv)
		}
		return c, false, nil
	}
	c = generateCredentials()
	data, err = json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = drives.SetMeta(rootFile, append(data, '\n'))
	}
	if err != nil {
		return credentials{}, false, fmt.Errorf("keep the root credentials: %w", err)
	}
	return c, true, nil
}

// keyringFile is the name under which the store keeps what secrets and session tokens are sealed with, mode 0600 on every drive.
const keyringFile = "keyring.json"

// sealingKeys returns the keys kept on the drives, or at the first start new ones, which are then kept there. They are never in the journal,
// where what they seal is.
func sealingKeys(drives keeper) (*iam.Keyring, error) {
	data, err := drives.Meta(keyringFile)
	if err != nil {
		return nil, fmt.Errorf("sealing keys: %w", err)
	}
	if data != nil {
		ring, err := iam.ParseKeyring(data)
		if err != nil {
			// A new one would make every access key worthless, so that is for somebody to decide.
			return nil, fmt.Errorf("%s on the drives: %w; restore it, or remove it and create all access keys anew", keyringFile, err)
		}
		return ring, nil
	}
	ring := iam.NewKeyring()
	if data, err = ring.Marshal(); err == nil {
		err = drives.SetMeta(keyringFile, append(data, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("keep the sealing keys: %w", err)
	}
	return ring, nil
}

// generateCredentials makes a pair of the usual lengths, 20 and 40, of letters and digits that every shell, URL and
// configuration file takes as they are: 100 and 200 random bits.
func generateCredentials() credentials {
	// 32 symbols, so that a byte's low five bits choose evenly. I, L, O and U are left out, as they misread.
	const symbols = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	text := func(length int) string {
		random := make([]byte, length)
		rand.Read(random) // Never fails: the runtime ends the process instead.
		for i, b := range random {
			random[i] = symbols[b%32]
		}
		return string(random)
	}
	return credentials{AccessKey: text(20), SecretKey: text(40)}
}
