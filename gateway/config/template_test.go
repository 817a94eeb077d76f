package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// parsed checks a line with one device.
func parsed(t *testing.T, dir, device string) (*Config, string) {
	t.Helper()
	text := fmt.Sprintf("templates: %s\nmodbus: [{port: /dev/ttyS1, name: l, interval: 5s, devices: [%s]}]\nuplink: {servers: [mqtt://localhost]}\n", dir, device)
	cfg, problems := Parse("/x/fieldferry.yaml", []byte(text), surroundings())
	return cfg, lines(problems)
}

// Every template of fieldferry itself is right and names its source.
func TestOwnTemplates(t *testing.T) {
	list, problems := Templates("")
	if len(problems) > 0 || len(list) < 2 {
		t.Fatalf("%d templates:\n%s", len(list), lines(problems))
	}
	for _, own := range list {
		if own.Description == "" || own.Source == "" || own.Registers == 0 || own.File != "" {
			t.Errorf("%+v", own)
		}
		cfg, problems := parsed(t, t.TempDir(), "{name: d, unit_id: 1, template: "+own.Name+"}")
		if problems != "" {
			t.Errorf("%s:\n%s", own.Name, problems)
			continue
		}
		if n := len(cfg.Modbus[0].Devices[0].Registers); n != own.Registers {
			t.Errorf("%s: %d registers of %d", own.Name, n, own.Registers)
		}
		if err := cfg.Modbus[0].Validate(); err != nil {
			t.Errorf("%s: %v", own.Name, err)
		}
	}
}

func TestTemplateAndDevice(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mine", "description: d\nsource: s\nbyte_order: CDAB\nmax_gap: 3\ntimeout: 2s\nregisters:\n  - {name: a, address: 1}\n  - {name: b, address: 2, interval: 1m}\n")
	write("bad", "registers:\n  - {name: a, address: 70000}\n  - {nam: b}\n")
	write("eastron-sdm120", "registers: [{name: other, address: 9}]\n")

	cfg, problems := parsed(t, dir, "{name: d, unit_id: 1, template: mine, max_gap: 5, registers: [{name: b, address: 20}, {name: c, address: 30}]}")
	if problems != "" {
		t.Fatal(problems)
	}
	d := cfg.Modbus[0].Devices[0]
	got := ""
	for _, r := range d.Registers {
		got += fmt.Sprint(r.Name, r.Address, " ", r.ByteOrder, " ", r.Interval, "; ")
	}
	if want := "a1 CDAB 5s; b20 CDAB 5s; c30 CDAB 5s; "; got != want || d.MaxGap != 5 || d.Timeout != 2*time.Second {
		t.Errorf("got %s, %+v", got, d)
	}
	if cfg, problems := parsed(t, dir, "{name: d, unit_id: 1, template: eastron-sdm120}"); cfg == nil || cfg.Modbus[0].Devices[0].Registers[0].Name != "other" {
		t.Errorf("the site's template does not replace ours: %s", problems)
	}
	for device, want := range map[string]string{
		"{name: d, unit_id: 1, template: bad}":                                                    filepath.Join(dir, "bad.yaml") + ":2:24: registers[0].address: 70000 is out of range",
		"{name: d, unit_id: 1, template: eastron-sdm12}":                                          "did you mean eastron-sdm120?",
		"{name: d, unit_id: 1, template: ../../../etc/passwd}":                                    "there is no template",
		"{name: d, unit_id: 1, template: mine, registers: [{name: e, address: 1, type: uint32}]}": "overlaps",
	} {
		if _, problems := parsed(t, dir, device); !strings.Contains(problems, want) {
			t.Errorf("%s: want %q in\n%s", device, want, problems)
		}
	}
}
