package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// env is an environment for one test.
type env map[string]string

func (e env) get(name string) string { return e[name] }

func TestGivenCredentials(t *testing.T) {
	const access, secret = "PENSTOCK_ROOT_ACCESS_KEY", "PENSTOCK_ROOT_SECRET_KEY"
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("x", 129)
	for _, c := range []struct {
		env  env
		want credentials
		err  string // Part of the message, when it is refused.
	}{
		{env: env{}},
		{env: env{access: "", secret: ""}}, // Empty is absent.
		{env: env{access: "abc", secret: "12345678"}, want: credentials{"abc", "12345678"}},
		{env: env{access: "abc", secret: "a/b+c=d,e"}, want: credentials{"abc", "a/b+c=d,e"}},
		{env: env{access: "abc"}, err: secret + " is not"},
		{env: env{secret: "12345678"}, err: access + " is not"},
		{env: env{access: "ab", secret: "12345678"}, err: access + " must be 3"},
		{env: env{access: "abc", secret: "1234567"}, err: secret + " must be 8"},
		{env: env{access: long, secret: "12345678"}, err: access + " must be"},
		{env: env{access: "abc", secret: long}, err: secret + " must be"},
		{env: env{access: "a c", secret: "12345678"}, err: "printable"},
		{env: env{access: "abc", secret: "12345678\x00"}, err: "printable"},
		{env: env{access: "abc", secret: "pässword1"}, err: "printable"},
		{env: env{access: "a/c", secret: "12345678"}, err: "must not contain"},
		{env: env{access: "a=c", secret: "12345678"}, err: "must not contain"},
		{env: env{access + "_FILE": file("a", "abc\n"), secret + "_FILE": file("s", "12345678\r\n")}, want: credentials{"abc", "12345678"}},
		{env: env{access: "abc", secret + "_FILE": file("s2", "12345678")}, want: credentials{"abc", "12345678"}},
		{env: env{access: "abc", secret: "12345678", secret + "_FILE": file("s3", "12345678")}, err: "both set"},
		{env: env{access: "abc", secret + "_FILE": file("empty", "\n")}, err: "is empty"},
		{env: env{access: "abc", secret + "_FILE": filepath.Join(dir, "absent")}, err: "no such file"},
	} {
		got, err := givenCredentials(c.env.get)
		if c.err == "" && (err != nil || got != c.want) {
			t.Errorf("%v: got %v, %v; want %v", c.env, got, err, c.want)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v: got %v, %v; want an error with %q", c.env, got, err, c.err)
		}
		if s := c.env[secret]; err != nil && s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%v: error %q repeats the secret", c.env, err)
		}
	}
}

// drawer is a keeper in memory.
type drawer struct {
	files map[string][]byte
	err   error // Of every call, when set.
	sets  int
}

func (d *drawer) Meta(name string) ([]byte, error) { return d.files[name], d.err }
func (d *drawer) SetMeta(name string, data []byte) error {
	d.sets++
	if d.err == nil {
		d.files[name] = data
	}
	return d.err
}

func TestRootCredentials(t *testing.T) {
	d := &drawer{files: map[string][]byte{}}
	given := credentials{"given", "given-secret"}
	if got, fresh, err := rootCredentials(given, d); got != given || fresh || err != nil || d.sets != 0 {
		t.Fatalf("given: got %v, fresh %v, %v after %d writes; want the same back and nothing written", got, fresh, err, d.sets)
	}
	first, fresh, err := rootCredentials(credentials{}, d)
	if err != nil || !fresh || len(first.AccessKey) != 20 || len(first.SecretKey) != 40 {
		t.Fatalf("first start: got a pair of %d and %d, fresh %v, %v", len(first.AccessKey), len(first.SecretKey), fresh, err)
	}
	if err := checkKey(first.AccessKey, minAccessKeyLen, maxAccessKeyLen, accessKeySeparators); err != nil {
		t.Errorf("generated access key %v", err)
	}
	if second, fresh, err := rootCredentials(credentials{}, d); second != first || fresh || err != nil {
		t.Errorf("second start: got %v, fresh %v, %v; want the pair of the first", second, fresh, err)
	}
	if got, _, _ := rootCredentials(given, d); got != given {
		t.Errorf("given after a generated pair: got %v; want the given one", got)
	}
	if other := generateCredentials(); other == first {
		t.Error("two generated pairs are the same")
	}
	if text := fmt.Sprintf("%v %+v %#v %s", first, first, first, first); strings.Contains(text, first.SecretKey) {
		t.Errorf("printing a pair shows the secret: %s", text)
	}
}

func TestRootCredentialsRefuses(t *testing.T) {
	for _, content := range []string{"", "{", "[]", `{"access_key":"abc"}`, `{"secret_key":"canary-secret"}`, `{"access_key":1,"secret_key":"canary-secret"}`} {
		d := &drawer{files: map[string][]byte{rootFile: []byte(content)}}
		_, _, err := rootCredentials(credentials{}, d)
		if err == nil || strings.Contains(err.Error(), "canary") || d.sets != 0 {
			t.Errorf("%q: got error %v after %d writes; want one without the secret, and none", content, err, d.sets)
		}
	}
	broken := errors.New("drives are gone")
	if _, _, err := rootCredentials(credentials{}, &drawer{err: broken}); !errors.Is(err, broken) {
		t.Errorf("unreadable drives: got %v; want their error, never a new pair", err)
	}
}
