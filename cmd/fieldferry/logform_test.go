package main

import (
	"bytes"
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
