package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/journal"
	"fieldferry/uplink/uplinktest"
)

// babbler answers whatever it gets with the same bytes.
func babbler(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for buf := make([]byte, 512); ; {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := conn.Write([]byte(answer)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// Whatever is connected to a gateway, its log has no more lines in a minute
// than the limiter states.
func TestNoHostilePeerFillsTheLog(t *testing.T) {
	nasty := strings.Repeat("\x1b[2J\n<3>level=ERROR ", 9)
	log := write(t, "bad.log", strings.Repeat("(1.0) can0 nonsense\n(2.0) can0 123#01\n", 2000))
	source := "replay:" + log + "?loop&speed=max"
	for name, faults := range map[string][]uplinktest.Fault{
		"rejects":     {{Reason: 0x87, ReasonText: nasty}},
		"gives up":    {{Reason: 0x99, ReasonText: nasty}},
		"disconnects": {{DropAfter: 1}},
		"says so":     {{Disconnect: 0x97, DisconnectAt: 1}},
		"babbles":     {{Garbage: []byte(nasty), GarbageAt: 1}},
		"refuses":     {{Refuse: 0x88}, {Refuse: 0x9C}, {Refuse: 0x81}, {Refuse: 0xFF}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker, err := uplinktest.NewFaultBroker(uplinktest.Transport{}, faults...)
			if err != nil {
				t.Fatal(err)
			}
			defer broker.Close()
			config := write(t, "f.yaml", fmt.Sprintf(`gateway: {id: gw}
can: [{interface: %q, name: bus}]
modbus:
  - {name: line, port: "tcp://%s", devices: [{name: meter, unit_id: 1, interval: 10ms, registers: [{name: u, register: input, address: 0, type: uint16}]}]}
buffer: {path: %q}
uplink: {servers: ["mqtt://%s"], protocol: "5", topic: "site/{source}/{id}"}
`, source, babbler(t, nasty), filepath.Join(t.TempDir(), "buffer"), broker.Addr()))
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			r := fieldferry(ctx, nil, "run", "-c", config, "--log-level", "debug")
			lines := strings.Count(r.stderr, "\n")
			if r.code != 0 || lines > journal.PerMinute {
				t.Errorf("exit code %d, %d lines, want at most %d; they end with\n%s", r.code, lines, journal.PerMinute, r.stderr[max(0, len(r.stderr)-2000):])
			}
			if strings.Contains(r.stderr, "\x1b") || strings.Contains(r.stderr, "\n<3>") {
				t.Error("what a peer said is in the log as it was")
			}
		})
	}
}
