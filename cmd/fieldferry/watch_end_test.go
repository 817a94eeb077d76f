package main

import (
	"bytes"
	"errors"
	"fmt"
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
