package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fieldferry/gateway/ledger"
)

// Of a J1939 message longer than a frame that arrives as frames of its own id, decode
// and can dump say once that they are only parts, as the daemon does.
func TestVerbsNameParts(t *testing.T) {
	log := write(t, "parts.log", "(1.0) can0 18FECA10#0102030405060708\n(1.1) can0 18FECA11#0102030405060708\n(1.2) can0 18FECA10#R\n")
	const db = "../../bus/can/dbc/testdata/j1939.dbc"
	for _, args := range [][]string{{"decode", "--dbc", db, log}, {"can", "dump", "replay:" + log + "?speed=max", "--dbc", db}, {"can", "dump", "replay:" + log + "?speed=max", "--dbc", db, "--json"}} {
		if r := fieldferry(t.Context(), nil, args...); r.code != 0 || strings.Count(r.stderr, "message DM1 (PGN FECA) is longer than a frame but arrives as single frames") != 1 {
			t.Errorf("%v: code %d\n%s", args, r.code, r.stderr)
		}
	}
}

// A log means the same to every verb that decodes it: each joins the long J1939
// messages, and each says who sent a message.
func TestVerbsDecodeAlike(t *testing.T) {
	dir := filepath.Join("..", "..", "bus", "can", "dbc", "testdata")
	log, db := filepath.Join(dir, "j1939.log"), filepath.Join(dir, "j1939.dbc")
	replay := "replay:" + log + "?speed=max&time=log"
	type line struct {
		TS      json.Number
		ID      string
		Packets bool
		Name    string
		PGN, SA *uint32
		Signals json.RawMessage
	}
	lines := func(stdout string) (out []string) {
		for text := range strings.Lines(stdout) {
			var l line
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				t.Fatal(err, text)
			}
			b, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(b))
		}
		return out
	}
	decoded, _, _ := verb("decode", "--dbc", db, log)
	want := lines(decoded)
	joined := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return !strings.Contains(s, `"Packets":true`) })
	if len(joined) != 2 || !strings.Contains(joined[0], `"PGN":65226,"SA":16`) || !strings.Contains(joined[1], `"PGN":65226,"SA":17`) {
		t.Errorf("decode joins %q", joined)
	}
	stdout, _, _ := verb("can", "dump", replay, "--dbc", db, "--json")
	if got := lines(stdout); !slices.Equal(got, want) {
		t.Errorf("can dump --json differs from decode:\n%s\n%s", stdout, decoded)
	}
	const long = ":: DM1(Lamp: 1, FarAway: 4884, Beyond: 4625)\n"
	text, _, _ := verb("can", "dump", replay, "--dbc", db, "-t", "a")
	if strings.Count(text, "\t(0000000001.150000) replay  1CFECA10  20 bytes joined  "+long) != 1 || strings.Count(text, long) != 2 ||
		strings.Count(text, ":: J1939 transport TP.CM\n")+strings.Count(text, ":: J1939 transport TP.DT\n") != strings.Count(text, "  1CE") {
		t.Errorf("can dump prints\n%s", text)
	}
	again, stderr, _ := verb("decode", "--dbc", db, write(t, "again.log", text))
	if got := lines(again); !slices.Equal(got, want) || stderr != "" {
		t.Errorf("decode reads can dump as\n%s%s", again, stderr)
	}
	watched, _, _ := verb("can", "watch", replay, "--dbc", db)
	if !strings.Contains(watched, "replay  1CFECA10  [20]  01 02 03 04 05 06 07 08 ...         -       1  "+long) || strings.Count(watched, long) != 2 {
		t.Errorf("can watch prints\n%s", watched)
	}
	for _, args := range [][]string{{"can", "dump", replay, "--dbc", db, "--match", "id"}, {"can", "dump", replay}, {"can", "watch", replay}} {
		if stdout, _, _ := verb(args...); strings.Contains(stdout, "DM1") || strings.Contains(stdout, "TP.") {
			t.Errorf("%v: joined without a message to find\n%s", args, stdout)
		}
	}
}

// Two that send the same message are told apart, and a value that is missing has
// a reason.
func TestWatchNamesTheSender(t *testing.T) {
	for raw, want := range map[string]string{
		`{"id":"0CF00400","name":"EEC1","pgn":61444,"sa":0,"signals":{"Speed":1500}}`:                                     `EEC1 0CF00400 sa 0 {"Speed":1500}`,
		`{"id":"0CF00421","name":"EEC1","pgn":61444,"sa":33,"signals":{"Speed":null},"errors":{"Speed":"not available"}}`: `EEC1 0CF00421 sa 33 {"Speed":null} errors: {"Speed":"not available"}`,
		`{"id":"100","name":"Tank","signals":{"Level":5}}`:                                                                `Tank {"Level":5}`,
	} {
		if got := describe(json.RawMessage(raw), ledger.Entry{Head: ledger.Head{Type: "can"}}); got != want {
			t.Errorf("%s\n got  %s\n want %s", raw, got, want)
		}
	}
}
