package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// bar is a progress bar, on a terminal only.
type bar struct {
	out   io.Writer
	live  bool
	name  string
	start time.Time
	shown time.Time
}

const (
	barWidth   = 30
	barRefresh = 100 * time.Millisecond
)

func (a *app) newBar(name string) *bar {
	return &bar{out: a.stderr, live: isTerminal(a.stderr), name: name, start: time.Now()}
}

func (b *bar) show(done, all int, note string) {
	now := time.Now()
	if !b.live || all <= 0 || now.Sub(b.shown) < barRefresh {
		return
	}
	b.shown = now
	full := barWidth * done / all
	left := ""
	if done > 0 {
		rest := now.Sub(b.start) * time.Duration(all-done) / time.Duration(done)
		left = ", " + rest.Round(time.Second).String() + " left"
	}
	fmt.Fprintf(b.out, "\r\x1b[K%s [%s%s] %d/%d, %s%s", b.name, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), done, all, note, left)
}

// clear removes the bar; the next show draws it again.
func (b *bar) clear() {
	if b.live && !b.shown.IsZero() {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.shown = time.Time{}
	}
}
