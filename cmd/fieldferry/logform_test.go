package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fieldferry/buffer"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/config"
)

// The form of the log is that of the configuration that runs, and a change of it
// is no change to the gateway: it costs no session. Flags stand above it.
func TestLogOfTheConfiguration(t *testing.T) {
	good := runConfigWithDBC(t)
	m := manage(t, good, nil)
	m.write(good + "log: {level: warn, format: json}\n")
	m.reload()
	m.write(good + "log: {level: loud}\n")
	m.reload()
	m.write(good + "log: {level: info}\n")
	m.reload()
	log := m.done()
	for _, want := range []string{" level=INFO msg=ready ", `"level":"ERROR","msg":"` + m.config + `:`, `"level":"ERROR","msg":"the new configuration was rejected`, " level=INFO msg=stopped"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log, `"level":"INFO","msg":"alarm`) {
		t.Errorf("lines below the level:\n%s", log)
	}
	var sessions int
	for _, e := range m.events("buffer") {
		if strings.Contains(e, " started ") {
			sessions++
		}
	}
	if sessions != 1 {
		t.Errorf("%d sessions: %q", sessions, m.events("buffer"))
	}
}

func TestLogFlagsStandAboveTheConfiguration(t *testing.T) {
	var out bytes.Buffer
	form := &logForm{level: "warn"}
	form.configure(config.Log{Level: "debug", Format: "json"})
	log := newLogger(&out, form, false).With("part", "x").WithGroup("g")
	log.Info("quiet")
	log.Warn("said", "k", 1)
	if s := out.String(); strings.Contains(s, "quiet") || !strings.Contains(s, `"msg":"said","part":"x","g":{"k":1}`) {
		t.Error(s)
	}
	out.Reset()
	form.configure(config.Log{Level: "debug", Format: "text"})
	if log.Warn("said", "k", 1); !strings.Contains(out.String(), "msg=said part=x g.k=1") {
		t.Error(out.String())
	}
}

// A critical alarm has a level with a name, in each form, and its priority in the
// journal.
func TestCriticalInTheLog(t *testing.T) {
	for format, want := range map[string]string{"text": "<2>level=CRITICAL msg=x", "json": `<2>{"level":"CRITICAL","msg":"x"`} {
		form := new(logForm)
		form.configure(config.Log{Level: "error", Format: format})
		var b bytes.Buffer
		newLogger(&b, form, true).Log(t.Context(), alarm.LevelCritical, "x", "level", "of somebody else")
		if !strings.HasPrefix(b.String(), want) {
			t.Errorf("%s: %s", format, &b)
		}
	}
}

// A time that something takes reads the same in both forms.
func TestDurationsInTheLog(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		form := new(logForm)
		form.configure(config.Log{Level: "info", Format: format})
		var b bytes.Buffer
		newLogger(&b, form, false).Info("x", "valid", 15*time.Minute)
		if !strings.Contains(b.String(), "15m0s") || strings.Contains(b.String(), "900000000000") {
			t.Errorf("%s: %s", format, &b)
		}
	}
}

// Where the log is to be JSON each line of stderr is, whatever ends the daemon and
// whatever is wrong with its configuration, as far as its log section is known.
func TestEveryLineOfAJSONLogIsJSON(t *testing.T) {
	good := runConfigWithDBC(t)
	const section = "log: {format: json}\n"
	busy, err := os.MkdirTemp("", "ferry")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(busy) })
	held, err := buffer.Open(buffer.Config{Dir: filepath.Join(busy, "buffer")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	for what, c := range map[string]struct {
		text string
		args []string
		mode os.FileMode
		code int
		says string
	}{
		"a warning":                {good + section, nil, 0o644, 0, "warning: "},
		"an unknown key":           {good + section + "nonsense: 1\n", nil, 0o600, exitUsage, "nonsense"},
		"a value":                  {section + strings.Replace(good, "50ms", "many", 1), nil, 0o600, exitUsage, "sync_interval"},
		"no YAML, and the flag":    {"a: [", []string{"--log-format", "json"}, 0o600, exitUsage, "f.yaml"},
		"a file that is not there": {"", []string{"--log-format", "json"}, 0o600, exitUsage, "does not exist"},
		"a buffer in use":          {good + section, []string{"--set", "buffer.path=" + filepath.Join(busy, "buffer")}, 0o600, exitFailed, "ERROR"},
	} {
		file := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(file, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if c.text == "" {
			os.Remove(file)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop() // as soon as it runs
		r := fieldferry(ctx, nil, append([]string{"run", "-c", file}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s", what, r.code, c.code, c.says, r.stderr)
		}
		for line := range strings.Lines(r.stderr) {
			if !json.Valid([]byte(line)) || line[0] != '{' {
				t.Errorf("%s: %s", what, line)
			}
		}
	}
}
