package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"fieldferry/uplink"
)

// A bad end is named, and so is a session that a copy of the buffer uses too.
func TestWatchNamesABadEnd(t *testing.T) {
	var out, errs bytes.Buffer
	w := &watcher{out: &out, err: &errs, opts: watchOptions{quiet: true}}
	start := func(session, detail string) {
		w.message("t", []byte(`{"v":1,"gateway":"gw","session":`+session+`,"source":"gateway","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"event","event":"started","detail":`+detail+`}]}`), false)
	}
	w.message("t", sends(false, 1, 10), false) // of session 1
	start("900", `{"life":"a","previous":"unclean","previous_session":1,"stored":{"engine":12}}`)
	start("900", `{"life":"b","previous":"unclean","previous_session":1,"stored":{"engine":12}}`)
	if !strings.Contains(errs.String(), "gw session 900 is used twice") {
		t.Errorf("it said %q", errs.String())
	}
	if err := w.summary(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gap: engine session 1: 11 to 12\n", "bad end: engine session 1: what was taken within sync_interval behind 12 may be missing\n", "sessions used twice: 1\n", "gaps 2 duplicates 1\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}

// A failure that lasts is said at once, when it changes, and every half minute;
// one that is back after a connection is news again.
func TestFailuresAreNotRepeated(t *testing.T) {
	var l watchedLink
	now := time.Unix(1e9, 0)
	refused := func(port int) error {
		return &uplink.Error{Reason: uplink.ReasonConnRefused, Server: "mqtt://a", Err: fmt.Errorf("from port %d", port)}
	}
	said := 0
	for second := range 600 {
		if l.down(refused(second), now.Add(time.Duration(second)*time.Second)) {
			said++
		}
	}
	if said != 20 {
		t.Errorf("said %d times in ten minutes, want 20", said)
	}
	now = now.Add(600*time.Second - 1)
	other := &uplink.Error{Reason: uplink.ReasonConnRefused, Server: "mqtt://b"}
	if !l.down(other, now) || l.down(other, now) || l.down(refused(0), now) || !l.down(errors.New("x"), now) || !l.down(errors.New("y"), now) {
		t.Error("what is new is not told from what was said")
	}
	l.up(uplink.Server{})
	if !l.down(refused(0), now) {
		t.Error("the end of a new connection is news")
	}
}

// A gateway is killed and starts again while watch has no connection: what passed
// of the end of the one session and of the begin of the next is named, or that
// nobody knows how far the former went.
func TestWatchAcrossARestartThatItMissed(t *testing.T) {
	for name, c := range map[string]struct {
		started string // what comes of the start; empty: it passed unseen
		late    bool
		want    []string
		verdict string
	}{
		"the start passed unseen": {"", false, []string{
			"unseen: engine session 2: 1 to 40\n",
			"end of session 1 of engine not known: any number behind 30 may have passed",
			"unseen: 40 records"}, "40 records may have passed"},
		"it ended badly": {`{"previous":"unclean","previous_session":1,"stored":{"engine":35}}`, true, []string{
			"unseen: engine session 1: 31 to 35\n", "unseen: engine session 2: 1 to 40\n",
			"end of session 1 of engine not known: any number behind 35 may have passed"}, "45 records may have passed"},
		"it ended in order": {`{"previous":"clean","previous_session":1,"stored":{"engine":35}}`, false, []string{
			"unseen: engine session 1: 31 to 35\n", "unseen: engine session 2: 1 to 40\n"}, "45 records may have passed"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			w := &watcher{out: &out, err: &errs, opts: watchOptions{quiet: true}}
			w.link.up(uplink.Server{})
			w.message("t", sends(false, 21, 30), false) // it joins in the middle of session 1
			w.link.down(io.EOF, time.Now())
			w.link.up(uplink.Server{})
			w.message("t", bytes.Replace(sends(false, 41, 50), []byte(`"session":1`), []byte(`"session":2`), 1), false)
			if c.started != "" {
				w.message("t", fmt.Appendf(nil, `{"v":1,"gateway":"gw","session":2,"source":"gateway","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"event","event":"started","late":%v,"detail":%s}]}`, c.late, c.started), false)
			}
			if err := w.summary(); err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in %q", want, out.String())
				}
			}
			if strings.Contains(out.String(), "gap:") || c.verdict == "" || name == "it ended in order" && strings.Contains(out.String(), "not known") {
				t.Errorf("it said %q", out.String())
			}
			if err := w.verdict(); err == nil || !strings.Contains(err.Error(), c.verdict) {
				t.Errorf("verdict: %v, want %q", err, c.verdict)
			}
		})
	}
}

// After a connection that was lost, a source that has been silent since may have
// sent something; once it has spoken, all is well.
func TestWatchDoesNotKnowOfASilentSource(t *testing.T) {
	var out bytes.Buffer
	w := &watcher{out: &out, err: io.Discard, opts: watchOptions{quiet: true}}
	w.link.up(uplink.Server{})
	w.message("t", sends(false, 1, 10), false)
	w.link.down(io.EOF, time.Now())
	w.link.up(uplink.Server{})
	if err := w.verdict(); err == nil || !strings.Contains(err.Error(), "end of a session is not known") {
		t.Errorf("verdict: %v", err)
	}
	w.message("t", sends(true, 11, 15), false)
	w.message("t", sends(false, 16, 20), false)
	if err := w.verdict(); err != nil {
		t.Errorf("verdict: %v", err)
	}
}
