package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/bus/modbus/modbustest"
)

// check --live leaves to the daemon the ports that it has, and says so of no others.
func TestLiveCheckBesideADaemon(t *testing.T) {
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broker.Close() // nobody listens: it is known at once
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step { return nil })
	head := "gateway: {id: g}\nbuffer: {path: buffer, max_size: 16MiB}\nuplink: {servers: [\"mqtt://" + broker.Addr().String() + "\"]}\n"
	can := "can: [{interface: \"sim:ramp\", name: c}]\n"
	line := func(port string) string {
		return "modbus: [{name: l, port: \"" + port + "\", devices: [{name: d, unit_id: 1, registers: [{name: r, address: 0}]}]}]\n"
	}
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		runs, checked string
		has, missing  bool
	}{
		{can, can, false, false},
		{can, can + line(none), false, true},
		{line(port), can, false, false},
		{line(port), line(port), true, false},
		{line(port), line(none), false, true},
	} {
		m := manage(t, head+c.runs, nil)
		file := filepath.Join(m.dir, "checked.yaml")
		if err := os.WriteFile(file, []byte(head+c.checked), 0o600); err != nil {
			t.Fatal(err)
		}
		r := fieldferry(t.Context(), nil, "check", "--live", "-c", file)
		m.done()
		if has := strings.Contains(r.stderr, "the daemon runs and has "+port); has != c.has || strings.Contains(r.stderr, "the daemon runs") != c.has {
			t.Errorf("beside %q of %q:\n%s", c.runs, c.checked, r.stderr)
		}
		if missing := strings.Contains(r.stderr, "no such file"); missing != c.missing {
			t.Errorf("beside %q of %q:\n%s", c.runs, c.checked, r.stderr)
		}
	}
}
