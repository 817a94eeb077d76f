package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/can"
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/record"
	"fieldferry/uplink"
)

// sends makes the message a gateway would send of records from..to.
func sends(late bool, from, to uint64) []byte {
	e := native.Encoder{Late: late}
	body := record.AppendFrame(nil, &can.Frame{ID: 0x123, Len: 1})
	var records []byte
	for seq := from; seq <= to; seq++ {
		if seq > from {
			records = append(records, ',')
		}
		at := time.Now()
		if late {
			at = at.Add(-time.Hour)
		}
		records, _ = e.AppendRecord(records, seq, at.UnixNano(), body, nil)
	}
	return native.Envelope{Gateway: "gw", Session: 1, Source: "engine", Seq: from, Count: int(to - from + 1)}.Append(nil, records)
}

// Live records overtake a backlog: the gap is told once, then how much of it is
// left, and in the end nothing is missing.
func TestWatchWhileABacklogCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		w := &watcher{out: &out, err: &errs}
		say := func(late bool, from, to uint64) { w.message("fieldferry/gw/engine", sends(late, from, to), false) }
		say(false, 1, 10)
		say(false, 1011, 1020)
		for i := range uint64(10) {
			say(true, 11+100*i, 110+100*i)
			say(false, 1021+10*i, 1030+10*i)
			time.Sleep(time.Second)
		}
		say(false, 1121, 1130)
		want := []string{
			"engine session 1: 11 to 1010 have not come yet",
			"catching up: 900 records are still missing",
			"catching up: 700 records are still missing",
			"catching up: 500 records are still missing",
			"catching up: 300 records are still missing",
			"catching up: 100 records are still missing",
			"caught up: nothing is missing",
		}
		if got := strings.TrimSpace(errs.String()); got != strings.Join(want, "\n") {
			t.Errorf("it said\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
		out.Reset()
		if err := w.summary(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != "latency of live records: mean 0s, highest 0s\nrecords 1130 gaps 0 duplicates 0\n" {
			t.Errorf("summary %q", got)
		}
	})
}

// What never comes is a gap in the end.
func TestWatchFindsWhatIsMissingInTheEnd(t *testing.T) {
	var out, errs bytes.Buffer
	w := &watcher{out: &out, err: &errs, opts: watchOptions{quiet: true}}
	w.message("t", sends(false, 1, 10), false)
	w.message("t", sends(false, 21, 30), false)
	w.message("t", sends(true, 11, 15), false)
	if err := w.summary(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "gap: engine session 1: 16 to 20\n") || !strings.HasSuffix(out.String(), "records 25 gaps 5 duplicates 0\n") {
		t.Errorf("summary %q", out.String())
	}
}

// A broker need not say that somebody may not read: watch says once that nothing
// came, and is quiet where something did.
func TestWatchSaysThatNothingCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := 0
		var nothing, something silence
		nothing.begin(func() { said++ })
		nothing.begin(func() { said++ }) // connected again
		w := &watcher{out: io.Discard, err: io.Discard}
		w.silence.begin(func() { t.Error("a record came, and it was said that none did") })
		something.end() // before the connection
		something.begin(func() { t.Error("it was over") })
		time.Sleep(silentFor / 2)
		w.message("fieldferry/gw/engine", sends(false, 1, 1), false)
		time.Sleep(silentFor)
		synctest.Wait()
		nothing.end()
		if said != 1 {
			t.Errorf("said %d times", said)
		}
	})
}

// What cannot be done without a flag names it, unless a configuration has the key.
func TestWatchNamesFlags(t *testing.T) {
	for reason, want := range map[uplink.Reason]string{
		uplink.ReasonUnknownCA: " (--ca FILE)", uplink.ReasonClientCert: " (--cert FILE --key FILE)",
		uplink.ReasonUser: " (--username NAME --password-file FILE)", uplink.ReasonLost: "",
	} {
		err := fmt.Errorf("x: %w", &uplink.Error{Reason: reason})
		if got := (&watchOptions{}).flagsFor(err); got != want {
			t.Errorf("%v: %q, want %q", reason, got, want)
		}
		if got := (&watchOptions{configured: true}).flagsFor(err); got != "" {
			t.Errorf("%v with a configuration: %q", reason, got)
		}
	}
}

// What passes while watch has lost its own connection is not said to be missing;
// what is missing afterwards is.
func TestWatchThatWasNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		w := &watcher{out: &out, err: &errs, opts: watchOptions{quiet: true}}
		say := func(late bool, from, to uint64) { w.message("t", sends(late, from, to), false) }
		w.link.up(uplink.Server{})
		say(false, 1, 10)
		w.link.down(io.EOF, time.Now())
		w.link.down(io.EOF, time.Now())
		w.link.up(uplink.Server{})
		say(false, 31, 40) // 11 to 30 passed, or wait
		say(true, 21, 25)
		time.Sleep(2 * catchUpInterval)
		say(false, 46, 50)
		if got := errs.String(); !strings.Contains(got, "catching up: 15 records are still missing") {
			t.Errorf("it said %s", got)
		}
		if err := w.verdict(); err == nil || err.Error() != "5 records are missing" {
			t.Errorf("verdict: %v", err)
		}
		say(true, 41, 45)
		time.Sleep(2 * catchUpInterval)
		say(false, 51, 60)
		if !strings.HasSuffix(errs.String(), "caught up, except for 15 records that may have passed while watch was not connected\n") {
			t.Errorf("it said %s", errs.String())
		}
		if err := w.verdict(); err == nil || !strings.Contains(err.Error(), "15 records may have passed while watch was not connected") {
			t.Errorf("verdict: %v", err)
		}
		if err := w.summary(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"unseen: engine session 1: 11 to 20\n", "unseen: engine session 1: 26 to 30\n", "(1 times)\n", "records 45 gaps 0 duplicates 0\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("summary %q; want %q in it", out.String(), want)
			}
		}
	})
}
