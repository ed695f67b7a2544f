package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"penstock/tools/harness"
)

// TestTable holds that each line that a mutation takes out is there, and each test that must fail then.
func TestTable(t *testing.T) {
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, m := range mutations {
		seen[m.invariant] = true
		text, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := m.apply(text); err != nil {
			t.Error(err)
		}
		tests := packageTests(t, filepath.Join(root, m.pkg))
		for name := range strings.SplitSeq(m.test, "|") {
			if !regexp.MustCompile(`(?m)^func ` + name).MatchString(tests) {
				t.Errorf("invariant %d: there is no test %s in %s", m.invariant, name, m.pkg)
			}
		}
	}
	const invariants = 12
	for n := 1; n <= invariants; n++ {
		if !seen[n] {
			t.Errorf("invariant %d has no mutation", n)
		}
	}
}

// packageTests returns the text of all test files of a package.
func packageTests(t *testing.T, dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
