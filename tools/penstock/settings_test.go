package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// settle resolves settings from a command line, an environment and the text of a configuration file ("" = none).
func settle(t *testing.T, line string, e env, file string) (*settings, error) {
	t.Helper()
	s, flags := newSettings()
	if file != "" {
		name := filepath.Join(t.TempDir(), "penstock.yaml")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		line += " --config " + name
	}
	if err := flags.Parse(strings.Fields(line)); err != nil {
		return nil, err
	}
	return s, resolve(s, flags, flags.Args(), e.get)
}

// TestPrecedence gives every setting in each of the three places and looks which one wins.
func TestPrecedence(t *testing.T) {
	cert := filepath.Join(t.TempDir(), "c.pem")
	_, flags := newSettings()
	// Per flag: its value in the file, in the environment and on the command line, and what it says of itself then.
	table := map[string][3]string{
		"address":         {"127.0.0.1:1", ":2", "[::1]:3"},
		"parity":          {"1", "2", "0"},
		"memory":          {"1GiB", "2GiB", "128MiB"},
		"numa-node":       {"1", "0", "all"},
		"index-dir":       {"/i1", "/i2", "/i3"},
		"io":              {"ring", "threads", "ring-plain"},
		"region":          {"eu-1", "eu-2", "eu-3"},
		"domain":          {"s3.one", "s3.two", "s3.three"},
		"trusted-proxy":   {"10.0.0.0/8", "192.168.1.1/32", "fd00::/8"},
		"new-buckets":     {"open", "private", "open"},
		"etags":           {"opaque", "md5", "opaque"},
		"zero-copy-send":  {"on", "off", "on"},
		"log-level":       {"debug", "warn", "error"},
		"log-format":      {"json", "text", "auto"},
		"journal-segment": {"8MiB", "16MiB", "auto"},
		"bulk-segment":    {"32MiB", "64MiB", "128MiB"},
		"metrics":         {"open", "admin", "open"},
		"audit-log":       {"/l1", "/l2", "/l3"},
		"audit-log-size":  {"1MiB", "2MiB", "auto"},
		"audit-log-files": {"1", "2", "all"},
		"audit-webhook":   {"http://a/", "https://b/c", "http://d:1/"},
		"balance":         {"5", "20", "never"},
		"heal-rate":       {"1MiB", "64MiB", "all"},
		"scrub-days":      {"7", "30", "never"},
		"scrub-rate":      {"1MiB", "64MiB", "auto"},
		"replace-empty":   {"true", "false", "true"},
		"lifecycle-day":   {"10s", "1m0s", "24h0m0s"},
	}
	const drives = "/a /b /c "
	flags.VisitAll(func(f *pflag.Flag) {
		row, ok := table[f.Name]
		if !ok {
			if !slices.Contains([]string{"config", "tls-cert", "tls-key", "tls-address", "admin-client-ca"}, f.Name) { // Tested on their own.
				t.Errorf("flag --%s has no row in this test", f.Name)
			}
			return
		}
		separator := " "
		if f.NoOptDefVal != "" {
			separator = "=" // The word behind it is a drive.
		}
		file := f.Name + ": \"" + row[0] + "\"\n"
		inEnv := env{"PENSTOCK_" + strings.ReplaceAll(strings.ToUpper(f.Name), "-", "_"): row[1]}
		for _, c := range []struct {
			line string
			env  env
			file string
			want string
		}{
			{drives, nil, "", f.DefValue},
			{drives, nil, file, row[0]},
			{drives, inEnv, file, row[1]},
			{drives, inEnv, "", row[1]},
			{drives + "--" + f.Name + separator + row[2], inEnv, file, row[2]},
			{drives + "--" + f.Name + "=" + row[2], nil, file, row[2]},
		} {
			s, flags := newSettings()
			args := strings.Fields(c.line)
			if c.file != "" {
				name := filepath.Join(t.TempDir(), "f.yaml")
				if err := os.WriteFile(name, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", name)
			}
			err := flags.Parse(args)
			if err == nil {
				err = resolve(s, flags, flags.Args(), c.env.get)
			}
			if got := flags.Lookup(f.Name).Value.String(); err != nil || got != c.want {
				t.Errorf("%q, %v, %q: --%s is %s, %v; want %s", c.line, c.env, c.file, f.Name, got, err, c.want)
			}
		}
	})

	s, err := settle(t, "/a --tls-key "+cert, env{"PENSTOCK_TLS_CERT": cert}, "tls-key: other\n")
	if err != nil || !slices.Equal(s.tlsCert, []string{cert}) || !slices.Equal(s.tlsKey, []string{cert}) {
		t.Errorf("certificate and key: got %q, %q, %v", s.tlsCert, s.tlsKey, err)
	}
}

func TestDrivesPrecedence(t *testing.T) {
	for _, c := range []struct {
		line string
		env  env
		file string
		want string
	}{
		{"/d{1...2}", nil, "", "/d1 /d2"},
		{"", nil, "drives: /f{1...2}", "/f1 /f2"},
		{"", nil, "drives: [/f1, \"/g{1...2}\"]", "/f1 /g1 /g2"},
		{"", nil, "drives:\n  - /f1\n  - /f2\n", "/f1 /f2"},
		{"", env{"PENSTOCK_DRIVES": "/e{1...2} /x,/y"}, "drives: /f1", "/e1 /e2 /x /y"},
		{"/a1", env{"PENSTOCK_DRIVES": "/e1"}, "drives: /f1", "/a1"},
	} {
		s, err := settle(t, c.line, c.env, c.file)
		if err != nil || !slices.Equal(s.drives, strings.Fields(c.want)) {
			t.Errorf("%q, %v, %q: got %v, %v; want %s", c.line, c.env, c.file, s.drives, err, c.want)
		}
	}
}

func TestDomains(t *testing.T) {
	s, err := settle(t, "/a --domain S3.Example.com --domain .b.c. --domain s3.example.com", nil, "")
	if want := []string{"s3.example.com", "b.c"}; err != nil || !slices.Equal(s.domains, want) {
		t.Errorf("got %v, %v; want %v", s.domains, err, want)
	}
	s, err = settle(t, "/a", env{"PENSTOCK_DOMAIN": "a.b, c.d"}, "domain: [x.y]")
	if want := []string{"a.b", "c.d"}; err != nil || !slices.Equal(s.domains, want) {
		t.Errorf("got %v, %v; want %v", s.domains, err, want)
	}
	s, err = settle(t, "/a", nil, "domain: [x.y, z.y]")
	if want := []string{"x.y", "z.y"}; err != nil || !slices.Equal(s.domains, want) {
		t.Errorf("got %v, %v; want %v", s.domains, err, want)
	}
}

// TestMistakes lists what an operator may get wrong, and a part of the one line that says so.
func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		line string
		env  env
		file string
		want string
	}{
		{"", nil, "", "no drives"},
		{"/a --parity x", nil, "", `--parity`},
		{"/a --parity -1", nil, "", `"-1" is not a number from 0 to 16`},
		{"/a --parity 17", nil, "", `--parity`},
		{"/a --parity 1", nil, "", "--parity 1 needs more than 1 drive:"},
		{"/a /b --parity 2", nil, "", "--parity 2 needs more than 2 drives:"},
		{"/a --memory 1MiB", nil, "", "less than the 128MiB"},
		{"/a --memory lots", nil, "", `"lots" is not a size`},
		{"/a --address 9000", nil, "", "not HOST:PORT"},
		{"/a --address :http", nil, "", "port"},
		{"/a --address :65536", nil, "", "port"},
		{"/a --io uring", nil, "", `"uring" is none of auto, ring`},
		{"/a --log-level loud", nil, "", `"loud" is none of debug`},
		{"/a --audit-webhook logs:80", nil, "", `"logs:80" is not a URL`},
		{"/a --metrics all", nil, "", `"all" is none of admin, open`},
		{"/a --domain http://x", nil, "", "not a domain"},
		{"/a --domain 10.0.0.1", nil, "", "not a domain"},
		{"/a --tls-cert x", nil, "", "go together"},
		{"/a --tls-key x", nil, "", "go together"},
		{"/a --tls-cert x --tls-cert y --tls-key x", nil, "", "2 of one and 1 of the other"},
		{"/a --tls-address :9443", nil, "", "--tls-address needs"},
		{"/a --admin-client-ca x", nil, "", "--admin-client-ca needs"},
		{"/a --index-dir=", nil, "", "is empty"},
		{"/a --nonsense", nil, "", "--nonsense"},
		{"/a /a", nil, "", "named twice"},
		{"/d{3...1}", nil, "", "counts down"},
		{"/a", env{"PENSTOCK_PARITY": "many"}, "", `PENSTOCK_PARITY: "many" is not`},
		{"/a", env{"PENSTOCK_MEMORY": "1"}, "", "PENSTOCK_MEMORY: 1 is less"},
		{"", env{"PENSTOCK_DRIVES": "/d{1..2}"}, "", "PENSTOCK_DRIVES: drive"},
		{"/a", env{"PENSTOCK_ROOT_ACCESS_KEY": "abc"}, "", "PENSTOCK_ROOT_SECRET_KEY is not"},
		{"/a", env{"PENSTOCK_CONFIG": "/does/not/exist"}, "", "/does/not/exist"},
		{"/a --config /", nil, "", "--config /: not a file"},
		{"/a", nil, "adress: :9000", `penstock.yaml:1: unknown key "adress"`},
		{"/a", nil, "# comment\naddress: :9000\nparity: 0\nParity: 0\n", `penstock.yaml:4: unknown key "Parity"`},
		{"/a", nil, "config: other.yaml", `:1: unknown key "config"`},
		{"/a", nil, "root-secret-key: x", `:1: unknown key "root-secret-key"`},
		{"/a", nil, "parity: 0\nparity: 0\n", `:2: key "parity" stands here a second time`},
		{"/a", nil, "\nparity: [1]", ":2: parity: want one plain value"},
		{"/a", nil, "parity:", ":1: parity: want one plain value"},
		{"/a", nil, "\n\nparity: lots", `:3: parity: "lots" is not`},
		{"/a", nil, "index-dir: {a: b}", ":1: index-dir: want one plain value"},
		{"", nil, "drives: {a: b}", ":1: drives: want a list"},
		{"", nil, "drives:\n  - /a\n  - [/b]\n", "item in line 3"},
		{"", nil, "parity: 0\ndrives: /d{1..2}\n", `:2: drive "/d{1..2}"`},
		{"/a", nil, "- parity", ":1: want lines"},
		{"/a", nil, "parity: 1\n\tx: y", "penstock.yaml:"},
		{"/a", nil, "parity: \"1", "penstock.yaml:"},
	} {
		s, err := settle(t, c.line, c.env, c.file)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %v, %q: got %+v, %v; want an error with %q", c.line, c.env, c.file, s, err, c.want)
		}
	}
}

// FuzzParseConfig holds that whatever is in the file is parsed or refused with the number of a line.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{"address: :9000\n", "drives: [/a, /b]", "a: &x [1]\nb: *x", "? {}\n: 1", "parity: !!binary aGk="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, flags := newSettings()
		entries, err := parseConfig(text, flags)
		if err != nil {
			if c := err.Error()[0]; c < '0' || c > '9' {
				t.Fatalf("%q: error %q does not begin with a line", text, err)
			}
			return
		}
		for name := range entries {
			if name != drivesKey && flags.Lookup(name) == nil {
				t.Fatalf("%q: accepted key %q", text, name)
			}
		}
	})
}
