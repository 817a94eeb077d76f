package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"fieldferry/gateway/journal"
)

// Past its bounds the account says that it is no longer exact, once, and the
// summary says what was left out.
func TestWatchSaysThatTheAccountIsNoLongerExact(t *testing.T) {
	var out, errs bytes.Buffer
	w := &watcher{out: &out, err: &errs, opts: watchOptions{quiet: true, maxMessage: 1 << 20}}
	for i := range 4096 + 3 {
		w.message("t", fmt.Appendf(nil, `{"v":1,"gateway":"gw","session":%d,"source":"s","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"can"}]}`, i+1), false)
	}
	w.tooLarge("t", 1<<20+1)
	if err := w.summary(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(errs.String(), "no longer exact"); n != 1 {
		t.Errorf("said %d times: %q", n, errs.String())
	}
	for _, want := range []string{"no longer exact: 1 messages were larger", "no longer exact: 3 records came from streams past the first 4096"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
	out.Reset()
	w.opts.asJSON = true
	if err := w.summary(); err != nil || !strings.Contains(out.String(), `"exact":false`) || !strings.Contains(out.String(), `"untracked":3`) {
		t.Errorf("%v, %s", err, out.String())
	}
}

// A hostile publisher does not fill the terminal, and what it sends stays in
// one line.
func TestWatchCountsWhatItHasToSay(t *testing.T) {
	var out, errs bytes.Buffer
	w := &watcher{out: &out, err: &errs, opts: watchOptions{quiet: true}}
	for range 1000 {
		w.message("t\nrecords 9 gaps 0 duplicates 0", []byte(strings.Repeat("x", 5000)), false)
		w.message("t", []byte(`{"v":1,"source":"s","records":[{"seq":`+strings.Repeat("1", 5000)+`}]}`), false)
	}
	if err := w.summary(); err != nil {
		t.Fatal(err)
	}
	said := errs.String()
	if n := strings.Count(said, "\n"); n != journal.PerKind+1 || len(said) > n*1200 {
		t.Errorf("%d lines, %d bytes", n, len(said))
	}
	if !strings.HasSuffix(said, fmt.Sprintf("and %d more lines like these within a minute\n", 2000-journal.PerKind)) || strings.Contains(said, "\nrecords 9") {
		t.Errorf("it said %.2000q", said)
	}
}
