package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgressBar(t *testing.T) {
	now := time.UnixMilli(1.7e12)
	clock := func() time.Time { return now }
	var out bytes.Buffer
	bar := newProgressBar(&out, false, clock)
	bar.show("stripes", 1, 1<<40)
	now = now.Add(10 * time.Second)
	bar.show("stripes", 5<<30, 15<<30)
	bar.show("stripes", 6<<30, 15<<30)
	bar.clear()
	if want := "stripes: 5.0 GiB of about 15 GiB, 512 MiB a second, about 20s left\n"; out.String() != want {
		t.Errorf("to a file: %q, want %q", out.String(), want)
	}
	for _, c := range []struct {
		done, total int64
		bar         string
	}{{0, 0, "[" + strings.Repeat(".", 30) + "]"}, {1 << 20, 2 << 20, "[" + strings.Repeat("#", 15) + strings.Repeat(".", 15) + "]"},
		{3, 2, "[" + strings.Repeat("#", 30) + "]"}, // What there is was underrated.
	} {
		out.Reset()
		bar := newProgressBar(&out, true, clock)
		now = now.Add(time.Second)
		bar.show("x", c.done, c.total)
		if got := out.String(); !strings.HasPrefix(got, "\r\x1b[K"+c.bar) || strings.Contains(got, "\n") {
			t.Errorf("%d of %d on a terminal: %q", c.done, c.total, got)
		}
		out.Reset()
		if bar.clear(); out.String() != "\r\x1b[K" {
			t.Errorf("cleared by %q", out.String())
		}
	}
}
