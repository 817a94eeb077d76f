package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"fieldferry/buffer"
	"fieldferry/gateway/ledger"
	"fieldferry/gateway/live"
	"fieldferry/gateway/payload/native"
)

// hostile holds what does something to a terminal: colours, a title, a bell,
// the C1 form of an escape sequence, marks that turn the text, a separator of
// lines, and bytes that are not UTF-8.
const hostile = "x\x1b[31m\x1b]0;owned\a\b\r\u009b2J\u202Eevil\u2066\u2069\u200E\u200F\u061C\u2028\x7f\xff\xc3y"

// assertPrintable fails if text has a character that a terminal obeys.
func assertPrintable(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not UTF-8: %q", what, text)
	}
	for _, r := range text {
		if harmful(r) && r != '\n' && r != '\t' {
			t.Errorf("%s has %U: %q", what, r, text)
			return
		}
	}
}

// hostileFile makes a file with a name as hostile as the file system allows.
func hostileFile(t *testing.T, suffix, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), hostile+suffix)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNothingHostileIsPrinted gives each verb hostile text in what it takes:
// arguments, names of files, their content, and what peers say.
func TestNothingHostileIsPrinted(t *testing.T) {
	quoted := strings.NewReplacer("\r", "", "\x1b", "\x1b").Replace(hostile)
	dbc := hostileFile(t, ".dbc", "VERSION \""+quoted+"\"\nBU_: E\nBO_ 291 M"+hostile+": 8 E\n SG_ S : 0|8@1+ (1,0) [0|0] \""+quoted+
		"\" E\nBO_ 292 N: 8 E\n SG_ T : 0|8@1+ (1,0) [0|0] \""+quoted+"\" E\nVAL_ 292 T 1 \""+quoted+"\" ;\n"+
		"BA_DEF_ BO_ \"SystemMessageLongSymbol\" STRING ;\nBA_ \"SystemMessageLongSymbol\" BO_ 292 \"N"+quoted+"\";\n")
	log := hostileFile(t, ".log", "(1.5) can0"+hostile+" 124#0100000000000000\n"+hostile+"\n(1.6) can0 124#0100000000000000\n")
	yaml := hostileFile(t, ".yaml", "gateway: {id: \""+hostile+"\"}\n"+hostile+": 1\n")
	named := hostileFile(t, ".yaml", strings.ReplaceAll(goodConfig, "name: meter", `name: "m\e[31m\u202Eeter"`))
	junk := hostileFile(t, ".seg", hostile)
	templates := t.TempDir()
	if err := os.WriteFile(filepath.Join(templates, "t"+hostile+".yaml"), []byte("description: \"x\\e[31m\\u202E\"\n"+hostile+": 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, args := range [][]string{
		{hostile}, {"version", "--" + hostile}, {"can", hostile},
		{"check", "-c", yaml}, {"check", "-c", yaml, "--json"}, {"check", "-c", named}, {"check", "-c", hostile},
		{"run", "-c", yaml}, {"run", "-c", yaml, "--log-level", hostile}, {"status", "-c", yaml}, {"web", "accounts", "-c", yaml}, {"web", "token", hostile, "-c", yaml},
		{"web", "password", hostile, "-c", yaml}, {"web", "remove", hostile, "-c", yaml}, {"can", "down", hostile},
		{"decode", "--dbc", dbc, log}, {"decode", "--dbc", dbc, hostile}, {"decode", "--strict", "--dbc", dbc, log},
		{"decode", "--dbc", dbc, "--keep-reserved", hostile, log}, {"decode", "--dbc", "demo.dbc", "--match", hostile, log},
		{"can", "dump", "replay:" + log, "--for", "200ms"}, {"can", "dump", "replay:" + log, "--dbc", dbc, "--for", "200ms"},
		{"can", "dump", "replay:" + log, "--json", "--for", "200ms"}, {"can", "dump", hostile}, {"can", "dump", "can0", "--filter", hostile},
		{"can", "watch", hostile}, {"can", "watch", "replay:" + log, "--dbc", dbc, "--for", "200ms"},
		{"can", "list", hostile}, {"can", "up", hostile, "--bitrate", "500000"}, {"can", "send", hostile, "123#00"}, {"can", "send", "can0", hostile},
		{"can", "replay", log, hostile},
		{"modbus", "read", hostile, "1", "1"}, {"modbus", "read", "--port", hostile, "--unit", "1", "--address", "0"},
		{"modbus", "scan", "--port", hostile}, {"modbus", "scan", hostile}, {"modbus", "simulate", hostile}, {"modbus", "simulate", yaml},
		{"modbus", "templates", "--templates", templates}, {"modbus", "templates", hostile}, {"modbus", "templates", "--templates", templates, "--json"},
		{"modbus", "decode", hostile}, {"modbus", "write", hostile, "1"},
		{"watch", "--server", hostile}, {"watch", "--server", "mqtt://127.0.0.1:1", "--topic", hostile, "--for", "1ms"},
		{"buffer", "info", filepath.Dir(junk)}, {"buffer", "info", junk}, {"buffer", "dump", junk}, {"buffer", "verify", junk}, {"buffer", "compact", junk},
		{"bundle", "-c", yaml, "--out", junk}, {"demo", "--dir", junk}, {"help", hostile}, {hostile}, {"modbus", hostile},
		{"command", hostile}, {"command", "-c", yaml, hostile, hostile}, {"commands", "pause", hostile}, {"commands", "resume", hostile},
		{"config", "show", "-c", yaml}, {"config", "show", hostile}, {"config", "history", hostile}, {"config", "diff", hostile, "-c", yaml}, {"config", "keep", hostile},
		{"config", "rollback", hostile}, {"config", "apply", hostile}, {"config", "apply", yaml, "--socket", hostile}, {"config", "adopt", "-c", hostile, "--config-store", hostile},
		{"completion", "bash", hostile}, {"completion", "zsh", hostile}, {"completion", "fish", hostile}, {"completion", "powershell", hostile},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		r := fieldferry(ctx, nil, args...)
		cancel()
		for n := range args {
			tried["fieldferry "+strings.Join(args[:n], " ")] = true
		}
		assertPrintable(t, strings.Join(args[:min(2, len(args))], " ")+": stdout", r.stdout)
		assertPrintable(t, strings.Join(args[:min(2, len(args))], " ")+": stderr", r.stderr)
	}
	var untried func(c *cobra.Command)
	untried = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			untried(sub)
		}
		if !c.HasSubCommands() && !tried[c.CommandPath()] {
			t.Errorf("%s is not tried: give it something hostile", c.CommandPath())
		}
	}
	untried((&app{stdout: io.Discard, stderr: io.Discard}).newRootCommand())
}

// A hostile buffer: records under the name of a source that obeys nobody.
func TestHostileBufferIsPrinted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), hostile)
	b, err := buffer.Open(buffer.Config{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.Source(hostile).Append(time.Now().UnixNano(), []byte(hostile))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"info"}, {"info", "--json"}, {"dump"}, {"dump", "--json"}, {"verify"}, {"compact"}} {
		r := fieldferry(t.Context(), nil, append(append([]string{"buffer"}, args...), dir)...)
		assertPrintable(t, strings.Join(args, " ")+": stdout", r.stdout)
		assertPrintable(t, strings.Join(args, " ")+": stderr", r.stderr)
	}
}

// A hostile publisher, in all that an envelope and its records have room for.
func TestWatchPrintsNothingHostile(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out, errs bytes.Buffer
		w := &watcher{out: &safeWriter{w: &out}, err: &safeWriter{w: &errs}, opts: watchOptions{asJSON: asJSON}}
		text, err := json.Marshal(strings.ToValidUTF8(hostile, "?"))
		if err != nil {
			t.Fatal(err)
		}
		record := func(seq int, kind, more string) json.RawMessage {
			return json.RawMessage(fmt.Sprintf(`{"seq":%d,"ts":"2026-01-02T03:04:05Z","type":%q,"clock":%s,"reason":%s%s}`, seq, kind, text, text, more))
		}
		records := []json.RawMessage{
			record(1, "can", fmt.Sprintf(`,"id":%s,"data":%s`, text, text)), record(2, "can", fmt.Sprintf(`,"name":%s,"signals":{%s:1}`, text, text)),
			record(3, "modbus", fmt.Sprintf(`,"device":%s,"values":{%s:%s}`, text, text, text)),
			record(4, "event", fmt.Sprintf(`,"event":%s,"state":%s,"subject":%s,"detail":%s`, text, text, text, text)),
			record(5, "other", fmt.Sprintf(`,"x":%s`, text)), record(9, "loss", `,"from":8,"to":9,"count":2`),
		}
		message, err := json.Marshal(ledger.Message{V: native.Version, Gateway: hostile, Session: 1, Source: hostile, Seq: 1, Count: len(records), Records: records})
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{message, []byte(hostile), []byte("\x1f\x8b" + hostile), []byte(`{"v":` + string(text) + `}`)} {
			w.message("fieldferry/"+hostile, data, false)
		}
		if err := w.summary(); err != nil || out.Len() == 0 || errs.Len() == 0 {
			t.Fatalf("%v: stdout %q, stderr %q", err, out.String(), errs.String())
		}
		assertPrintable(t, "stdout", out.String())
		assertPrintable(t, "stderr", errs.String())
	}
}

// JSON means the same after it went through: what is escaped stands in strings.
func TestSafeWriterKeepsJSON(t *testing.T) {
	text := strings.ToValidUTF8(hostile, "?") + "Grüße 温度 😀\u00a0"
	want := map[string]string{text: text}
	line, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(io.Writer) error{
		"at once": func(w io.Writer) error { _, err := w.Write(line); return err },
		"byte by byte": func(w io.Writer) error {
			_, err := io.CopyBuffer(struct{ io.Writer }{w}, iotest.OneByteReader(bytes.NewReader(line)), make([]byte, 1))
			return err
		},
	} {
		var out bytes.Buffer
		w := &safeWriter{w: &out}
		if err := write(w); err != nil {
			t.Fatal(err)
		}
		w.end()
		assertPrintable(t, name, out.String())
		var got map[string]string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got[text] != text {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
	}
}

// FuzzSafeWriter: however text is cut, nothing harmful comes out, nothing that
// is harmless changes, and nothing is held for ever.
func FuzzSafeWriter(f *testing.F) {
	f.Add([]byte(hostile), 3)
	f.Add([]byte("Grüße\xe6\xb8"), 7)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var out bytes.Buffer
		w := &safeWriter{w: &out}
		at := 0
		if len(text) > 0 {
			at = int(uint(cut) % uint(len(text)))
		}
		for _, part := range [][]byte{text[:at], text[at:]} {
			if n, err := w.Write(part); err != nil || n != len(part) {
				t.Fatal(n, err)
			}
		}
		w.end()
		assertPrintable(t, "output", out.String())
		if want := string(appendPrintable(nil, text, true)); out.String() != want {
			t.Errorf("%q cut at %d: %q, want %q", text, at, out.String(), want)
		}
	})
}

// The picture of status cannot be left by a name in it.
func TestStatusPrintsNothingHostile(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &safeWriter{w: &out}}
	s := &live.Snapshot{Gateway: hostile, Version: hostile, Sentence: hostile}
	if err := a.printStatus(s, statusOptions{}); err != nil {
		t.Fatal(err)
	}
	assertPrintable(t, "status", out.String())
}
