package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A name of a file that has a line feed in it does not make a line of its own,
// whichever verb speaks of it.
func TestNoNameForgesALine(t *testing.T) {
	const forged = "fieldferry: all is well"
	dir := t.TempDir()
	demo, err := filepath.Abs("demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // where a bundle would be written
	name := filepath.Join(dir, "x\n"+forged+"\n\x1b[2J.yaml")
	missing := filepath.Join(dir, "y\n"+forged+"\n.dbc")
	text := fmt.Sprintf("can: [{interface: can0, dbc: [%q]}]\nbuffer: {path: %q}\nuplink: {servers: [\"mqtt://h\"]}\nstrange: 1\n", missing, filepath.Join(dir, "buffer"))
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "f\n"+forged+"\n")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "z\n"+forged+"\n"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "-c", name}, {"check", "-c", missing}, {"run", "-c", name}, {"run", "-c", missing}, {"status", "-c", name}, {"status", "--socket", missing},
		{"decode", "--dbc", missing, "-"}, {"decode", "--dbc", name, "-"}, {"decode", "--dbc", demo, missing}, {"can", "dump", "replay:" + missing},
		{"can", "replay", missing, "vcan0"}, {"buffer", "info", missing}, {"buffer", "verify", folder}, {"buffer", "info", folder}, {"buffer", "dump", folder}, {"buffer", "compact", folder},
		{"bundle", "-c", name}, {"web", "list", "-c", name}, {"modbus", "read", "--port", missing, "1:h:0:uint16"}, {"modbus", "templates", missing},
		{"watch", "--server", "mqtt://x\n" + forged + "\n"}, {"watch", "--server", "mqtt://127.0.0.1:1", "--password-file", missing, "--for", "1s"}, {missing}, {"check", "--" + missing},
		{"demo", "--dir", name}, {"check", "-c", folder},
	} {
		r := fieldferry(t.Context(), nil, args...)
		for line := range strings.Lines(r.stdout + r.stderr) {
			if strings.HasPrefix(line, forged) {
				t.Errorf("%q: forged a line of\n%s%s", args, r.stdout, r.stderr)
				break
			}
		}
		if r.code == 0 && args[0] != "watch" && args[1] != "info" && args[1] != "verify" && args[1] != "dump" {
			t.Errorf("%q: it works: %s", args, r.stdout)
		}
	}
}

func TestErrorText(t *testing.T) {
	inner := errors.Join(errors.New("a\nx"), fmt.Errorf("b: %w", &os.PathError{Op: "open", Path: "n\x1b\nm", Err: os.ErrNotExist}))
	for err, want := range map[error]string{
		errors.New("plain"):                                   "plain",
		errors.New("a\nb"):                                    `a\u000ab`,
		fmt.Errorf("all: %w", inner):                          "all: a\\u000ax\nb: open n\\u001b\\u000am: file does not exist",
		errors.Join(inner, errors.New("c")):                   "a\\u000ax\nb: open n\\u001b\\u000am: file does not exist\nc",
		fmt.Errorf("%w and %w", inner, errors.ErrUnsupported): "a\\u000ax\nb: open n\\u001b\\u000am: file does not exist and unsupported operation",
	} {
		if got := errorText(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
