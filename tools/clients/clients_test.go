package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTable holds that every client has its script, and every directory with a script its client.
func TestTable(t *testing.T) {
	scripts := map[string]bool{}
	for _, c := range clients {
		dir := c.directory()
		for _, word := range c.script {
			if strings.Contains(word, ".") {
				scripts[dir] = true
				if _, err := os.Stat(filepath.Join(dir, word)); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	inGo := []string{"awssdkgo", "miniogo", "corpus"}
	for _, e := range entries {
		if e.IsDir() && !scripts[e.Name()] && !slices.Contains(append(inGo, "python"), e.Name()) {
			t.Errorf("directory %s belongs to no client", e.Name())
		}
	}
}

func TestChoose(t *testing.T) {
	all, err := choose(nil, false)
	if err != nil || len(all) != len(clients) {
		t.Errorf("all: %d of %d clients, %v", len(all), len(clients), err)
	}
	some, err := choose(nil, true)
	if err != nil || len(some) == 0 || len(some) == len(all) || slices.ContainsFunc(some, func(c client) bool { return !c.ci }) {
		t.Errorf("those for ci: %d of %d clients, %v", len(some), len(all), err)
	}
	one, err := choose([]string{"mosaicml-streaming"}, true) // Named ones are run whatever they cost.
	if err != nil || len(one) != 1 || one[0].name != "mosaicml-streaming" {
		t.Errorf("one by name: %v, %v", one, err)
	}
	if none, err := choose([]string{"boto3", "boto4"}, false); err == nil {
		t.Errorf("an unknown name: %v; want an error", none)
	}
}

func TestPrepare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "env")
	builds := 0
	build := func() error { builds++; return nil }
	broken := errors.New("no network")
	for i, c := range []struct {
		want   string
		build  func() error
		err    error
		builds int
	}{
		{"a b", func() error { return broken }, broken, 0},
		{"a b", build, nil, 1}, // What failed half-way is made anew.
		{"a b", build, nil, 1}, // What is there is left alone.
		{"a c", build, nil, 2}, // Other packages, another environment.
	} {
		if err := prepare(dir, c.want, c.build); !errors.Is(err, c.err) || builds != c.builds {
			t.Errorf("step %d: %v after %d builds; want %v after %d", i, err, builds, c.err, c.builds)
		}
	}
}

func TestPrintTable(t *testing.T) {
	var b strings.Builder
	err := printTable(&b, []result{
		{client: client{name: "one"}, version: "1.0", verdict: "passed", took: 1500 * time.Millisecond},
		{client: client{name: "two"}, version: "-", verdict: "not run", reason: "needs java"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one     1.0      passed   1.5", "two     -        not run  0.0      needs java"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}

// TestCommandError holds that the reason shown for a client that is not run is the one the program gave.
func TestCommandError(t *testing.T) {
	_, err := command(t.Context(), t.TempDir(), "sh", "-c", "echo working; echo no such package >&2; echo; exit 3")
	if err == nil || !strings.Contains(err.Error(), "no such package") || strings.Contains(err.Error(), "working") {
		t.Errorf("got %v; want the last line", err)
	}
	if err := need("sh", "no-such-program-here"); err == nil || !strings.Contains(err.Error(), "no-such-program-here") {
		t.Errorf("got %v; want the program that is missing", err)
	}
}

func TestWriteCorpus(t *testing.T) {
	dir := t.TempDir()
	if err := writeCorpus(dir); err != nil {
		t.Fatal(err)
	}
	sizes, err := os.ReadDir(filepath.Join(dir, "sizes"))
	if err != nil || len(sizes) < 8 {
		t.Fatalf("%d bodies, %v", len(sizes), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "sizes", "67108864")); err != nil || info.Size() != 64<<20 {
		t.Errorf("the large body: %v, %v", info, err)
	}
}
