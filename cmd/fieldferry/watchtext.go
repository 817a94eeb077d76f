package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"fieldferry/gateway/journal"
	"fieldferry/gateway/ledger"
)

// complaints counts what watch has to say on messages by kind, so that a hostile
// publisher does not fill the terminal or a log. The zero value is ready.
type complaints struct {
	begin time.Time
	said  map[string]int
}

// allow reports whether one more line of a kind may be written now.
func (c *complaints) allow(kind string, now time.Time, out io.Writer) bool {
	if since := now.Sub(c.begin); since >= time.Minute || since < 0 {
		c.flush(out)
		c.begin, c.said = now, map[string]int{}
	}
	c.said[kind]++
	return c.said[kind] <= journal.PerKind
}

// flush says how many lines were left out.
func (c *complaints) flush(out io.Writer) {
	left := 0
	for _, n := range c.said {
		left += max(0, n-journal.PerKind)
	}
	if left > 0 {
		fmt.Fprintf(out, "and %d more lines like these within a minute\n", left)
	}
	c.said = nil
}

// complain writes a line on a message, unless there were many of its kind.
func (w *watcher) complain(kind string, now time.Time, format string, args ...any) {
	if w.says.allow(kind, now, w.err) {
		fmt.Fprintln(w.err, printable(clippedTo(fmt.Sprintf(format, args...), 1000)))
	}
}

// maxShown is how much of a text from outside a line of watch shows.
const maxShown = 16 << 10

// clipped is the beginning of a text.
func clipped[T ~string | ~[]byte](s T) string { return clippedTo(s, maxShown) }

func clippedTo[T ~string | ~[]byte](s T, most int) string {
	if len(s) <= most {
		return string(s)
	}
	return fmt.Sprintf("%s... (%d bytes)", string(s[:most]), len(s))
}

// describe is a record in a few words.
func describe(raw json.RawMessage, e ledger.Entry) string {
	if e.Type == "event" { // its id is a number
		var ev struct {
			Event, State, Subject string
			Detail                json.RawMessage
		}
		_ = json.Unmarshal(raw, &ev)
		return printable(strings.TrimSpace(fmt.Sprintf("event %s %s %s %s", clipped(ev.Event), clipped(ev.State), clipped(ev.Subject), clipped(ev.Detail))))
	}
	var r struct {
		ID, Data, Device, Name  string
		RTR                     bool
		SA                      *uint8
		Values, Signals, Errors json.RawMessage
	}
	_ = json.Unmarshal(raw, &r)
	switch e.Type {
	case "can":
		if r.RTR {
			return printable(clipped(r.ID) + "#R")
		}
		if r.Name != "" {
			s := clipped(r.Name) + " "
			if r.SA != nil { // one of several that send this
				s += fmt.Sprintf("%s sa %d ", clipped(r.ID), *r.SA)
			}
			s += clipped(r.Signals)
			if len(r.Errors) > 0 {
				s += " errors: " + clipped(r.Errors)
			}
			return printable(s)
		}
		return printable(clipped(r.ID) + "#" + clipped(r.Data))
	case "modbus":
		s := clipped(r.Device) + " " + clipped(r.Values)
		if n := ledger.Elements(r.Errors); n > 0 {
			s += fmt.Sprintf(" errors: %d", n)
		}
		return printable(s)
	case "loss":
		return printable(fmt.Sprintf("loss of %d to %d (%d records): %s", e.From, e.To, e.Count, clipped(e.Reason)))
	default:
		return printable(clipped(raw))
	}
}
