package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// A progressBar shows on one line of a terminal how far something is. On anything else it is a line now and then.
type progressBar struct {
	w     io.Writer
	live  bool
	now   func() time.Time
	began time.Time
	last  time.Time
	shown bool
}

const (
	barLen = 30
	// barEvery is how often a line is written where there is no terminal.
	barEvery = 10 * time.Second
	// barTick is how often a terminal shows something new.
	barTick = 200 * time.Millisecond
)

func newProgressBar(w io.Writer, live bool, now func() time.Time) *progressBar {
	t := now()
	return &progressBar{w: w, live: live, now: now, began: t, last: t}
}

// show says that done bytes of about total have been dealt with, and what is being done.
func (b *progressBar) show(what string, done, total int64) {
	t := b.now()
	every := barEvery
	if b.live {
		every = barTick
	}
	if t.Sub(b.last) < every {
		return
	}
	b.last = t
	took := t.Sub(b.began)
	text := fmt.Sprintf("%s: %s of about %s, %s a second", what, bytesText(done), bytesText(total), bytesText(int64(float64(done)/took.Seconds())))
	if done > 0 && done < total {
		left := time.Duration(float64(took) * float64(total-done) / float64(done))
		text += ", about " + max(left, time.Second).Round(time.Second).String() + " left"
	}
	if !b.live {
		fmt.Fprintln(b.w, text)
		return
	}
	full := 0
	if total > 0 {
		full = int(min(done*barLen/total, barLen))
	}
	fmt.Fprintf(b.w, "\r\x1b[K[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", barLen-full), text)
	b.shown = true
}

// clear removes the line from the terminal.
func (b *progressBar) clear() {
	if b.shown {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

func bytesText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
