package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/gateway/config"
	"fieldferry/gateway/packaged"
	"fieldferry/uplink/uplinktest"
)

// Every file that a configuration names is judged, under the key that names it.
func TestServiceProblems(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dbc, err := os.ReadFile("demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	put("demo.dbc", string(dbc))
	put("secret", "x\n")
	put("run.log", "(1.0) can0 100#00\n")
	put("tpl/own.yaml", "description: d\nsource: s\nregisters: [{name: r, address: 0}]\n")
	put("f.yaml", `gateway: {id: g}
can: [{interface: "sim:engine", name: e, dbc: [demo.dbc]}, {interface: "replay:run.log", name: r}]
modbus: [{name: l, port: /dev/ttyS1, devices: [{name: d, unit_id: 1, template: own}]}]
templates: tpl
buffer: {path: buffer}
uplink: {servers: ["mqtt://127.0.0.1:1"], username: u, password_file: secret}
`)
	cfg, problems := config.Load(filepath.Join(dir, "f.yaml"), config.Options{})
	if cfg == nil {
		t.Fatal(problems)
	}
	closed := func(path string) (packaged.Node, error) {
		if strings.HasPrefix(path, dir) && path != dir && filepath.Ext(path) != "" || strings.HasSuffix(path, "/secret") || strings.HasSuffix(path, "/tpl") {
			if filepath.Base(path) == "tpl" {
				return packaged.Node{Mode: fs.ModeDir | 0o711}, nil
			}
			return packaged.Node{Mode: 0o600}, nil
		}
		return packaged.Node{Mode: fs.ModeDir | 0o755}, nil
	}
	s := &packaged.Service{User: "ff", UID: 990, Groups: []uint32{990}, ReadOnly: true, Writable: []string{"/var/lib/ff"}, State: "/var/lib/ff"}
	want := map[string]bool{"": true, "can[0].dbc[0]": true, "can[1].interface": true, "templates": true, "buffer.path": true, "uplink.password_file": true}
	for _, strict := range []bool{true, false} {
		got := map[string]bool{}
		o := checkOptions{configOptions: configOptions{path: filepath.Join(dir, "f.yaml")}}
		if strict {
			o.user = s.User
		}
		for _, p := range serviceProblems(cfg, s, closed, &o) {
			got[p.Path] = true
			if p.Warning == strict || p.Fix == "" || p.Path != "" && p.Line == 0 {
				t.Errorf("%+v", p)
			}
		}
		if len(got) != len(want) {
			t.Errorf("problems of %v, want %v", got, want)
		}
		for key := range want {
			if !got[key] {
				t.Errorf("nothing said of %q", key)
			}
		}
	}
	s.Groups = append(s.Groups, 0)
	open := func(string) (packaged.Node, error) { return packaged.Node{Mode: fs.ModeDir | 0o755}, nil }
	s.ReadOnly, s.UID = false, 0
	if list := serviceProblems(cfg, s, open, &checkOptions{}); len(list) > 0 {
		t.Error(list)
	}
}

func TestCheckLive(t *testing.T) {
	broker, err := uplinktest.NewFaultBroker(uplinktest.Transport{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	file := filepath.Join(t.TempDir(), "f.yaml")
	write := func(port, server, iface string) {
		t.Helper()
		text := "gateway: {id: g}\nbuffer: {path: buffer}\ncan: [{interface: \"" + iface + "\", name: c}]\nmodbus: [{name: l, port: \"" + port +
			"\", devices: [{name: d, unit_id: 1, registers: [{name: r, address: 0}]}]}]\nuplink: {servers: [\"" + server + "\"]}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(pty.Path, "mqtt://"+broker.Addr(), "sim:ramp")
	if r := fieldferry(t.Context(), nil, "check", "--live", "-c", file); r.code != 0 || !strings.Contains(r.stdout, ": ok, 2 sources; nothing that it needs is missing here") {
		t.Errorf("%+v", r)
	}
	if n := len(broker.Received()); n != 0 {
		t.Errorf("%d messages", n)
	}
	write(filepath.Join(t.TempDir(), "none"), "mqtt://127.0.0.1:1", "nosuch0")
	if r := fieldferry(t.Context(), nil, "check", "-c", file); r.code != 0 {
		t.Errorf("%+v", r)
	}
	r := fieldferry(t.Context(), nil, "check", "--live", "-c", file)
	for _, want := range []string{":3:7: can[0].interface: ", "there is no CAN interface nosuch0; ", ":4:10: modbus[0].port: ", "no such file or directory; ", "uplink.servers[0]: ", "check the adapter and its driver"} {
		if r.code != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in %+v", want, r)
		}
	}
	r = fieldferry(t.Context(), nil, "check", "--live", "--json", "-c", file)
	var report checkReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || report.OK || len(report.Live) != 3 || r.code != 1 {
		t.Errorf("%v %+v", err, r)
	}
	if r := fieldferry(t.Context(), nil, "check", "--as-user", "nobody-of-that-name", "-c", file); r.code != 2 {
		t.Errorf("%+v", r)
	}
}
