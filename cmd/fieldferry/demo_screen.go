//go:build !arm && !arm64

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"fieldferry/gateway"
)

// barScale is how many records a full bar stands for, at least: what the demo
// reads in one cut.
const barScale = 1600

// screen shows the demo: on a terminal a picture that is redrawn in place,
// else a line a second.
type screen struct {
	out     io.Writer
	live    bool
	refresh time.Duration
	lines   int // of the picture on the terminal now
	peak    uint64
	last    map[string]uint64
	lastAt  time.Time
	rates   map[string]float64
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, live: isTerminal(out), refresh: time.Second, last: map[string]uint64{}, rates: map[string]float64{}}
	if s.live {
		s.out = exact(out)
		s.refresh = 250 * time.Millisecond
	}
	return s
}

// color wraps s for a terminal and leaves it alone elsewhere.
func (s *screen) color(code, text string) string {
	if !s.live {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) intro(d *demo) {
	fmt.Fprintln(s.out, "fieldferry demo: a simulated engine on CAN and two Modbus slaves, an MQTT broker, a buffer on disk")
	fmt.Fprintf(s.out, "  look at it     %s   (this machine only; no login in the demo)\n", d.page)
	fmt.Fprintf(s.out, "  configuration  %s\n", printable(filepath.Join(d.dir, "fieldferry.yaml")))
	fmt.Fprintf(s.out, "  see the data   fieldferry watch --server mqtt://%s\n", d.broker.Addr())
	fmt.Fprintf(s.out, "  set a value    fieldferry command pump.target 5 -c %s\n", printable(filepath.Join(d.dir, "fieldferry.yaml")))
	if d.opts.duration == 0 {
		fmt.Fprintln(s.out, "  end with       Ctrl-C")
	}
	fmt.Fprintln(s.out)
}

// note prints a line that stays.
func (s *screen) note(text string) {
	s.erase()
	fmt.Fprintf(s.out, "%s\n", s.color("1", "-- "+printable(text)))
}

func (s *screen) erase() {
	if s.lines > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
}

func (s *screen) show(d *demo, st gateway.Stats) {
	s.measure(st)
	d.mu.Lock()
	delivered, cut, latest := d.ledger.Records, d.cut, [2]string{d.latest["can"], d.latest["modbus"]}
	d.mu.Unlock()
	s.peak = max(s.peak, st.Buffer.Pending)
	if s.live {
		s.draw(d, st, delivered, cut, latest)
		return
	}
	state := "up "
	if cut {
		state = "CUT"
	}
	fmt.Fprintf(s.out, "%4.0f s  uplink %s  records in %7d  in the buffer %6d  delivered %7d\n",
		time.Since(d.began).Seconds(), state, st.Buffer.Appended, st.Buffer.Pending, delivered)
}

// measure keeps the rates of the sources over about a second.
func (s *screen) measure(st gateway.Stats) {
	now := time.Now()
	since := now.Sub(s.lastAt)
	if since < time.Second {
		return
	}
	for _, src := range st.Sources {
		if before, ok := s.last[src.Name]; ok && !s.lastAt.IsZero() {
			s.rates[src.Name] = float64(src.Last-before) / since.Seconds()
		}
		s.last[src.Name] = src.Last
	}
	s.lastAt = now
}

func (s *screen) draw(d *demo, st gateway.Stats, delivered uint64, cut bool, latest [2]string) {
	var b strings.Builder
	uplinkText := s.color("32", "connected")
	if !st.Uplink.Connected {
		uplinkText = s.color("33", "connecting")
	}
	if cut {
		uplinkText = s.color("31;1", "CUT")
	}
	fmt.Fprintf(&b, "\n  %-10s %6s %12s\n", "source", "rec/s", "records in")
	for _, src := range st.Sources {
		fmt.Fprintf(&b, "  %-10s %6.0f %12d\n", printable(src.Name), s.rates[src.Name], src.Last)
	}
	fmt.Fprintf(&b, "\n  buffer     %s %d records waiting, %s on disk\n",
		s.bar(st.Buffer.Pending, s.peak, 30), st.Buffer.Pending, bytesText(st.Buffer.DiskBytes))
	fmt.Fprintf(&b, "  uplink     %s, %d messages in flight\n", uplinkText, st.Uplink.InFlight)
	fmt.Fprintf(&b, "  delivered  %d\n  latest     %.95s\n             %.95s\n  time       %.0f s\n", delivered, printable(latest[0]), printable(latest[1]), time.Since(d.began).Seconds())
	s.erase()
	s.lines = strings.Count(b.String(), "\n")
	fmt.Fprint(s.out, b.String())
}

// bar draws n of full in width cells.
func (s *screen) bar(n, full uint64, width int) string {
	filled := min(width, int(n*uint64(width)/max(full, barScale)))
	return s.color("36", strings.Repeat("█", filled)) + strings.Repeat("░", width-filled)
}

func (s *screen) end(d *demo, v verdict, st gateway.Stats) {
	s.erase()
	fmt.Fprintf(s.out, "\n  connections  %d\n  written      %s of records to disk, for %d records\n", st.Uplink.Connects,
		bytesText(int64(st.Buffer.WrittenBytes)), st.Buffer.Appended)
	if d.opts.dir != "" {
		fmt.Fprintf(s.out, "  kept         %s\n", printable(d.dir))
	}
	fmt.Fprintf(s.out, "\ndelivered %d records, lost %d, duplicates %d\n", v.delivered, v.lost, v.duplicates)
}
