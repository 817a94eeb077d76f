package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// bar shows on a terminal how far something has come that takes long.
type bar struct {
	out   io.Writer
	what  string
	count func(int64) string // puts the whole into words
	note  string             // what was found so far; may be empty
	begun time.Time
	shown time.Time
}

const (
	barWidth   = 30
	barAfter   = time.Second // how long something has to take to be worth a bar
	barRefresh = 100 * time.Millisecond
)

func (a *app) newBar(what string, count func(int64) string) *bar {
	b := &bar{out: io.Discard, what: what, count: count, begun: time.Now()}
	if isTerminal(a.stderr) {
		b.out = exact(a.stderr)
	}
	return b
}

func (b *bar) show(done, total int64) {
	now := time.Now()
	if now.Sub(b.begun) < barAfter || now.Sub(b.shown) < barRefresh || total <= 0 {
		return
	}
	b.shown = now
	full := int(min(done, total) * barWidth / total)
	left := ""
	if done > 0 {
		rest := time.Duration(float64(now.Sub(b.begun)) * float64(total-done) / float64(done))
		left = ", " + rest.Round(time.Second).String() + " left"
	}
	fmt.Fprintf(b.out, "\r\x1b[K%s [%s%s] %d %% of %s%s%s", printable(b.what), strings.Repeat("#", full), strings.Repeat(".", barWidth-full),
		done*100/total, b.count(total), printable(b.note), left)
}

// clear removes the bar; the next show draws it again.
func (b *bar) clear() {
	if !b.shown.IsZero() {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.shown = time.Time{}
	}
}
