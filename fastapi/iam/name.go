package iam

import (
	"crypto/rand"
	"strings"
)

// Bounds of names, as Amazon has them.
const (
	maxUserNameLen  = 64
	maxGroupNameLen = 128
	maxNameLen      = 128 // Of policies and roles.
	maxTextLen      = 256 // Of a description.
)

// checkName refuses what Amazon would: anything but letters, digits and a few signs.
func checkName(what, name string, longest int) error {
	if name == "" || len(name) > longest {
		return refuse(Invalid, "the name of a %s has 1 to %d characters", what, longest)
	}
	if name == "." || name == ".." {
		return refuse(Invalid, "a %s cannot have this name: in a path it is no name", what)
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && !strings.ContainsRune("_+=,.@-", rune(c)) {
			return refuse(Invalid, "the name of a %s has letters, digits and _+=,.@- alone", what)
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// reservedNames belong to nobody: they mean root, or everybody, somewhere.
var reservedNames = [...]string{"root", "anonymous", "everyone", "administrator"}

// checkUserName refuses names that could be taken for somebody else.
func (d *Directory) checkUserName(name string) error {
	if err := checkName("user", name, maxUserNameLen); err != nil {
		return err
	}
	for _, r := range reservedNames {
		if strings.EqualFold(name, r) {
			return refuse(Invalid, "the name %q is reserved", name)
		}
	}
	if strings.EqualFold(name, d.root.accessKey) {
		return refuse(Invalid, "a user cannot be named as the root access key is")
	}
	return nil
}

// Bounds of access keys and secrets that are given rather than generated, the same as for the root pair.
const (
	minAccessKeyLen = 3
	maxAccessKeyLen = 128
	minSecretLen    = 8
	maxSecretLen    = 128
)

// checkPair refuses an access key or a secret that clients could not use, or that is somebody else's. It repeats neither.
func (d *Directory) checkPair(accessKey, secret string) error {
	switch {
	case len(accessKey) < minAccessKeyLen || len(accessKey) > maxAccessKeyLen:
		return refuse(Invalid, "an access key has %d to %d characters", minAccessKeyLen, maxAccessKeyLen)
	case len(secret) < minSecretLen || len(secret) > maxSecretLen:
		return refuse(Invalid, "a secret key has %d to %d characters", minSecretLen, maxSecretLen)
	case !printable(accessKey) || strings.ContainsAny(accessKey, "/,="):
		return refuse(Invalid, "an access key is printable ASCII without spaces and /,=")
	case !printable(secret):
		return refuse(Invalid, "a secret key is printable ASCII without spaces")
	case strings.EqualFold(accessKey, d.root.accessKey):
		return refuse(Exists, "the access key is the root access key")
	case strings.HasPrefix(strings.ToUpper(accessKey), sessionKeyPrefix):
		return refuse(Invalid, "access keys that begin with %s are those of sessions", sessionKeyPrefix)
	case accessKey == secret:
		return refuse(Invalid, "the secret key is the access key")
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Prefixes say what an id names, as Amazon's do.
const (
	accessKeyPrefix  = "AKIA"
	sessionKeyPrefix = "ASIA"
	userIDPrefix     = "AIDA"
	roleIDPrefix     = "AROA"
)

// newID returns a prefix and 16 random characters: 80 bits.
func newID(prefix string) string { return prefix + randomText(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") }

// newSecret returns 40 random characters: 240 bits. They survive every shell and configuration file.
func newSecret() string {
	return randomText(40, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}

// randomText takes symbols whose number is a power of two, so that each is as likely.
func randomText(length int, symbols string) string {
	random := make([]byte, length)
	rand.Read(random) // Never fails: crypto/rand ends the process instead.
	for i, b := range random {
		random[i] = symbols[int(b)%len(symbols)]
	}
	return string(random)
}
