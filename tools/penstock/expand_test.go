package main

import (
	"slices"
	"strings"
	"testing"
)

func TestExpandDrives(t *testing.T) {
	for _, c := range []struct {
		patterns string // Separated by spaces.
		want     string
	}{
		{"/mnt/a", "/mnt/a"},
		{"/mnt/a /mnt/b", "/mnt/a /mnt/b"},
		{"/d{1...3}", "/d1 /d2 /d3"},
		{"/d{9...11}", "/d9 /d10 /d11"},
		{"/d{01...03}", "/d01 /d02 /d03"},
		{"/d{08...11}", "/d08 /d09 /d10 /d11"},
		{"/d{0...1}", "/d0 /d1"}, // A lone zero asks for no width.
		{"/d{1...010}", "/d001 /d002 /d003 /d004 /d005 /d006 /d007 /d008 /d009 /d010"},
		{"/d{5...5}", "/d5"},
		{"/rack{1...2}/nvme{0...1}/s", "/rack1/nvme0/s /rack1/nvme1/s /rack2/nvme0/s /rack2/nvme1/s"},
		{"./data/d{1...2} ../x/", "data/d1 data/d2 ../x"},
		{"/a//b/./c", "/a/b/c"},
	} {
		got, err := expandDrives(strings.Fields(c.patterns))
		if err != nil || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("expandDrives(%s) = %v, %v; want %s", c.patterns, got, err, c.want)
		}
	}
}

func TestExpandDrivesRefuses(t *testing.T) {
	for _, c := range []struct{ patterns, want string }{
		{"/d{1..3}", "{1..3}"}, // What a shell would have expanded.
		{"/d{a...c}", "{a...c}"},
		{"/d{-1...3}", "{-1...3}"},
		{"/d{1...}", "{1...}"},
		{"/d{}", "{}"},
		{"/d{1....3}", "{1....3}"},
		{"/d{3...1}", "counts down"},
		{"/d{1...3", "{ without its }"},
		{"/d1...3}", "} without its {"},
		{"/d{1...2}/}", "} without its {"},
		{"/d{1...99999999}", "more than 1024"},
		{"/d{1...99999999999999999999}", "two numbers"},
		{"/r{1...100}/d{1...100}", "more than 1024"},
		{"/d1 /d1", "named twice"},
		{"/d{1...3} /d2", "named twice"},
		{"/d1 /d1/", "named twice"},
		{"/d1 /x/../d1", "named twice"},
	} {
		got, err := expandDrives(strings.Fields(c.patterns))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("expandDrives(%s) = %v, %v; want an error with %q", c.patterns, got, err, c.want)
		}
	}
	if got, err := expandDrives([]string{""}); err == nil {
		t.Errorf("expandDrives of an empty name = %v; want an error", got)
	}
}

// FuzzExpandDrives holds that whatever is typed is expanded within bounds or refused, and that names without
// braces stay themselves.
func FuzzExpandDrives(f *testing.F) {
	for _, seed := range []string{"/d{1...6}", "/d{01...12}/e{0...1}", "{", "}", "{...}", "a{1...2}b{3...4}c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		drives, err := expandPattern(pattern)
		if err != nil {
			return
		}
		if len(drives) == 0 || len(drives) > maxDrives {
			t.Fatalf("%q expands to %d drives", pattern, len(drives))
		}
		if !strings.ContainsAny(pattern, "{}") && !slices.Equal(drives, []string{pattern}) {
			t.Fatalf("%q expands to %v", pattern, drives)
		}
		for _, drive := range drives {
			if strings.ContainsAny(drive, "{}") {
				t.Fatalf("%q expands to %q", pattern, drive)
			}
		}
	})
}
