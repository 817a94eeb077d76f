package main

import (
	"bytes"
	"strings"
	"testing"
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
