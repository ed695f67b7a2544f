package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock/tools/harness"
)

func main() {
	var chosen []int
	for _, arg := range os.Args[1:] {
		n, err := strconv.Atoi(arg)
		if err != nil {
			fmt.Fprintf(os.Stderr, "mutation: %q is not the number of an invariant\n", arg)
			os.Exit(2)
		}
		chosen = append(chosen, n)
	}
	survived, err := run(chosen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(2)
	}
	if survived > 0 {
		fmt.Printf("%d mutations survived\n", survived)
		os.Exit(1)
	}
}

// run tries the mutations chosen, or all, and returns how many no test noticed.
func run(chosen []int) (survived int, err error) {
	root, err := harness.Root()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "penstock-mutation-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(root, dir); err != nil {
		return 0, err
	}
	for _, m := range mutations {
		if len(chosen) > 0 && !slices.Contains(chosen, m.invariant) {
			continue
		}
		began := time.Now()
		verdict, err := m.try(dir)
		if err != nil {
			return survived, err
		}
		if verdict != red {
			survived++
		}
		fmt.Printf("%2d  %-9s  %s %s  (%s: %s)  %v\n", m.invariant, verdict, m.pkg, m.test, m.file, m.check, time.Since(began).Round(time.Second))
	}
	return survived, nil
}

// copyTree copies what git knows of the tree, as it is in the working directory.
func copyTree(root, dir string) error {
	list := exec.Command("git", "ls-files", "-z")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the files of the tree: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil || !info.Mode().IsRegular() {
			continue // Removed, or a link, which no package needs.
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// The verdicts on a mutation.
const (
	red      = "red"      // The test failed: it sees the invariant broken.
	survives = "SURVIVES" // The test passed.
	unfit    = "UNFIT"    // It does not compile, which says nothing.
)

// testLimit ends a test that a mutation keeps from ending, which is as good as a failure.
const testLimit = "3m"

// try applies the mutation to the copy, runs its test, and takes it back.
func (m *mutation) try(dir string) (verdict string, err error) {
	file := filepath.Join(dir, m.file)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	mutated, err := m.apply(text)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(file, mutated, 0o644); err != nil {
		return "", err
	}
	defer os.WriteFile(file, text, 0o644) // The copy is thrown away; only the next mutation cares.
	build := exec.Command("go", "test", "-c", "-tags", "invariants", "-o", os.DevNull, m.pkg)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("%s", out)
		return unfit, nil
	}
	test := exec.Command("go", "test", "-count", "1", "-tags", "invariants", "-timeout", testLimit, "-run", "^("+m.test+")", m.pkg)
	test.Dir = dir
	if test.Run() == nil {
		return survives, nil
	}
	return red, nil
}

// apply returns the text of the file with the mutation.
func (m *mutation) apply(text []byte) ([]byte, error) {
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("invariant %d: %s has %q %d times, not once", m.invariant, m.file, m.old, n)
	}
	return bytes.Replace(text, []byte(m.old), []byte(m.new), 1), nil
}
