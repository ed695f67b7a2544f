package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// maxDrives bounds what one pattern may expand to. The largest servers hold about a hundred drives; a range
// beyond that many is a slip of the keyboard, and is told so before it fills the memory.
const maxDrives = 1024

// expandDrives turns the drives as an operator writes them into directories: every {first...last} counts up,
// several of them combine, the rightmost fastest, and leading zeros keep their width.
//
//	/mnt/nvme{1...3}      /mnt/nvme1 /mnt/nvme2 /mnt/nvme3
//	/mnt/{01...02}/d{0...1}  /mnt/01/d0 /mnt/01/d1 /mnt/02/d0 /mnt/02/d1
//
// The three dots are on purpose: shells expand two, and then a quoted and an unquoted pattern would differ.
func expandDrives(patterns []string) ([]string, error) {
	var drives []string
	seen := make(map[string]string)
	for _, pattern := range patterns {
		dirs, err := expandPattern(pattern)
		if err != nil {
			return nil, fmt.Errorf("drive %q: %w", pattern, err)
		}
		for _, dir := range dirs {
			dir = filepath.Clean(dir)
			if from, twice := seen[dir]; twice {
				if from == pattern {
					return nil, fmt.Errorf("drive %s is named twice by %q", dir, pattern)
				}
				return nil, fmt.Errorf("drive %s is named twice, by %q and %q", dir, from, pattern)
			}
			seen[dir] = pattern
			drives = append(drives, dir)
		}
		if len(drives) > maxDrives {
			return nil, fmt.Errorf("drive %q: more than %d drives in all", pattern, maxDrives)
		}
	}
	return drives, nil
}

func expandPattern(pattern string) ([]string, error) {
	if pattern == "" {
		return nil, fmt.Errorf("an empty name is no directory")
	}
	before, rest, found := strings.Cut(pattern, "{")
	if strings.Contains(before, "}") {
		return nil, fmt.Errorf("a } without its {")
	}
	if !found {
		return []string{pattern}, nil
	}
	inner, after, closed := strings.Cut(rest, "}")
	if !closed {
		return nil, fmt.Errorf("a { without its }")
	}
	numbers, err := expandRange(inner)
	if err != nil {
		return nil, err
	}
	tails := []string{""}
	if after != "" {
		if tails, err = expandPattern(after); err != nil {
			return nil, err
		}
	}
	if len(numbers)*len(tails) > maxDrives {
		return nil, fmt.Errorf("more than %d drives", maxDrives)
	}
	var dirs []string
	for _, number := range numbers {
		for _, tail := range tails {
			dirs = append(dirs, before+number+tail)
		}
	}
	return dirs, nil
}

// expandRange expands the inside of a pair of braces.
func expandRange(inner string) ([]string, error) {
	low, high, found := strings.Cut(inner, "...")
	first, errFirst := strconv.ParseUint(low, 10, 31)
	last, errLast := strconv.ParseUint(high, 10, 31)
	if !found || errFirst != nil || errLast != nil {
		return nil, fmt.Errorf("braces hold {first...last}, two numbers and three dots, not {%s}", inner)
	}
	if last < first {
		return nil, fmt.Errorf("{%s} counts down", inner)
	}
	if last-first >= maxDrives {
		return nil, fmt.Errorf("{%s} is more than %d drives", inner, maxDrives)
	}
	// A leading zero asks for a fixed width, the wider of the two.
	width := 0
	if padded(low) || padded(high) {
		width = max(len(low), len(high))
	}
	var numbers []string
	for n := first; n <= last; n++ {
		numbers = append(numbers, fmt.Sprintf("%0*d", width, n))
	}
	return numbers, nil
}

func padded(number string) bool { return len(number) > 1 && number[0] == '0' }
