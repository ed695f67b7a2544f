package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock/engine"
)

// TestVerifyCommand verifies the drives of a node: refused while it serves, well when it has stopped, and not when bytes were changed. The drives are
// byte for byte what they were.
func TestVerifyCommand(t *testing.T) {
	r := newRig(t, 4, "--journal-segment", "8MiB", "--bulk-segment", "8MiB")
	client := r.start()
	r.fill(client)
	verify := func(flags ...string) (code int, stdout, stderr string) {
		var out, log bytes.Buffer
		args := append(append([]string{"verify", "--memory", "128MiB", "--scratch", t.TempDir()}, flags...), r.options.Drives...)
		code = run(t.Context(), args, env{}.get, &out, &log)
		return code, out.String(), log.String()
	}
	if code, _, stderr := verify(); code != exitMistake || !strings.Contains(stderr, r.options.Drives[0]) {
		t.Errorf("while the node serves: exit code %d\n%s", code, stderr)
	}
	r.stop()
	before := snapshot(t, r.options.Drives)
	code, stdout, stderr := verify()
	if code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, want := range []string{"missing   0\n", "corrupt   0\n", "lost      0\n", "4 here, 0 missing", "1 buckets"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the report lacks %q:\n%s", want, stdout)
		}
	}
	code, stdout, _ = verify("--json")
	var report engine.VerifyReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitOK || report.Drives != 4 || report.Stripes == 0 || report.Index.Objects == 0 || !report.OK() {
		t.Errorf("exit code %d, %v\n%s", code, err, stdout)
	}
	for path, was := range before {
		if now, err := os.ReadFile(path); err != nil || sha256.Sum256(now) != was {
			t.Errorf("%s was changed: %v", path, err)
		}
	}

	// Every second byte of one drive's segments, headers apart.
	segments, err := filepath.Glob(filepath.Join(r.options.Drives[1], "segments", "*"))
	if err != nil || len(segments) < 2 {
		t.Fatal(segments, err)
	}
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4096; i < len(b); i += 2 {
			b[i] ^= 0xff
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr = verify("--json")
	report = engine.VerifyReport{}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitAiling || report.Corrupt < 5 || report.Lost != 0 || len(report.Problems) == 0 {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	// Of four drives two may go. One that is not named is looked for where it was.
	rename(t, r.options.Drives[3], r.options.Drives[3]+".away")
	r.options.Drives = r.options.Drives[:3]
	if code, stdout, _ := verify(); code != exitAiling || !strings.Contains(stdout, "3 here, 1 missing") || !strings.Contains(stdout, "\nmissing   ") {
		t.Errorf("without a drive: exit code %d\n%s", code, stdout)
	}
	if code, _, stderr := verify("--no-such-flag"); code != exitMistake {
		t.Errorf("a flag that does not exist: exit code %d\n%s", code, stderr)
	}
}

// snapshot returns the checksums of all segments, index files and identities of drives.
func snapshot(t *testing.T, drives []string) map[string][sha256.Size]byte {
	t.Helper()
	files := make(map[string][sha256.Size]byte)
	for _, d := range drives {
		paths, err := filepath.Glob(filepath.Join(d, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range append(paths, filepath.Join(d, "drive.json")) {
			if info, err := os.Stat(path); err != nil || info.IsDir() {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = sha256.Sum256(b)
		}
	}
	return files
}

// TestVerifySeesDamage damages the segments of one drive, one at a time and in every way a file can be, then the index, then more drives than there is parity,
// and puts everything back each time.
func TestVerifySeesDamage(t *testing.T) {
	r := newRig(t, 4, "--journal-segment", "8MiB", "--bulk-segment", "8MiB")
	r.fill(r.start())
	r.stop()
	verify := func() (code int, report engine.VerifyReport) {
		var out, log bytes.Buffer
		code = run(t.Context(), append([]string{"verify", "--json", "--memory", "128MiB", "--scratch", t.TempDir()}, r.options.Drives...), env{}.get, &out, &log)
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("exit code %d: %v\n%s", code, err, log.Bytes())
		}
		return code, report
	}
	if code, report := verify(); code != exitOK || !report.OK() {
		t.Fatalf("before: exit code %d, %+v", code, report)
	}
	segments := func(drive int) []string {
		list, err := filepath.Glob(filepath.Join(r.options.Drives[drive], "segments", "*"))
		if err != nil || len(list) < 2 {
			t.Fatal(list, err)
		}
		return list
	}
	// with changes a file for the time that do runs; nil removes it.
	with := func(path string, change func([]byte) []byte, do func()) {
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if now := change(bytes.Clone(was)); now != nil {
			err = os.WriteFile(path, now, 0o600)
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		do()
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spoil := func(from int) func([]byte) []byte {
		return func(b []byte) []byte {
			for i := from; i < len(b); i += 512 {
				b[i] ^= 4
			}
			return b
		}
	}
	inUse := 0
	for _, path := range segments(2) {
		if inUse == 3 {
			break // The first is of the journal, the others are bulk.
		}
		var lost engine.VerifyReport
		code := 0
		with(path, func([]byte) []byte { return nil }, func() { code, lost = verify() })
		if lost.OK() {
			continue // Free: nobody misses it.
		}
		if inUse++; code != exitAiling || lost.Missing != 1 || lost.Corrupt != 0 || lost.Lost != 0 {
			t.Errorf("without %s: exit code %d, %+v", path, code, lost)
		}
		for _, damage := range []struct {
			name     string
			change   func([]byte) []byte
			min, max int64 // Of what is corrupt.
			missing  int64
		}{
			{"a bit of the header", func(b []byte) []byte { b[100] ^= 1; return b }, 1, 1, 1},
			{"a bit of every sector but the header", spoil(4096), 1, 1 << 20, 0},
			{"zeros", func(b []byte) []byte { clear(b); return b }, 0, 0, 1},
			{"an empty file", func([]byte) []byte { return []byte{} }, 0, 1, 1},
			{"the header alone", func(b []byte) []byte { return b[:4096] }, 1, 1 << 20, 0},
		} {
			with(path, damage.change, func() {
				code, report := verify()
				if code != exitAiling || report.Corrupt < damage.min || report.Corrupt > damage.max || report.Missing != damage.missing || report.Lost != 0 {
					t.Errorf("%s, %s: exit code %d, %d corrupt, %d missing, %d lost: %v", path, damage.name, code, report.Corrupt, report.Missing, report.Lost, report.Problems)
				}
			})
		}
	}
	if inUse < 2 {
		t.Errorf("%d segments were in use", inUse)
	}
	// Three of four have the same kind of damage.
	for drive := range 3 {
		for _, path := range segments(drive) {
			with(path, spoil(4096), func() {
				if err := os.Rename(path, path+".spoilt"); err != nil {
					t.Fatal(err)
				}
			})
			if err := os.Rename(path, path+".sound"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".spoilt", path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code, report := verify(); code != exitLost || report.Lost == 0 {
		t.Errorf("three of four drives spoilt: exit code %d, %+v", code, report)
	}
}
