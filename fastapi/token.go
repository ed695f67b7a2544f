package fastapi

import (
	"crypto/sha256"
	"encoding/base64"
	"unicode/utf8"

	"penstock/engine"
)

// A continuation token says where a listing goes on. It holds all that is needed, so it outlives a restart:
//
//	0         1       2         10
//	| version | flags | check   | key or prefix …
//
// flags bit 0 is set when the rest is a rolled-up prefix. check is the start of the SHA-256 of the other bytes: it
// tells a token of ours from anything else. It is no secret, and need not be: start-after can ask for the same page.
const (
	tokenVersion  = 1
	tokenIsPrefix = 1
	tokenCheckLen = 8
	tokenHeadLen  = 2 + tokenCheckLen
)

func encodeToken(after string, isPrefix bool) string {
	raw := make([]byte, tokenHeadLen, tokenHeadLen+len(after))
	raw[0] = tokenVersion
	if isPrefix {
		raw[1] = tokenIsPrefix
	}
	raw = append(raw, after...)
	check := tokenCheck(raw)
	copy(raw[2:], check[:tokenCheckLen])
	return base64.RawURLEncoding.EncodeToString(raw)
}

func decodeToken(token string) (after string, isPrefix bool, err error) {
	raw, decodeErr := base64.RawURLEncoding.Strict().DecodeString(token)
	if decodeErr != nil || len(raw) < tokenHeadLen || len(raw) > tokenHeadLen+engine.MaxKeyLen || raw[0] != tokenVersion || raw[1] > tokenIsPrefix {
		return "", false, errInvalidToken(token)
	}
	var check [tokenCheckLen]byte
	copy(check[:], raw[2:])
	clear(raw[2:tokenHeadLen])
	if want := tokenCheck(raw); check != [tokenCheckLen]byte(want[:tokenCheckLen]) || !utf8.Valid(raw[tokenHeadLen:]) {
		return "", false, errInvalidToken(token)
	}
	return string(raw[tokenHeadLen:]), raw[1] == tokenIsPrefix, nil
}

// tokenCheck hashes a token whose check bytes are zero.
func tokenCheck(raw []byte) [sha256.Size]byte { return sha256.Sum256(raw) }

func errInvalidToken(token string) error {
	return invalidArgument("The continuation token provided is incorrect", "continuation-token", token)
}
