package main

import (
	"testing"

	"fieldferry/bus/modbus"
)

// A device that one of scan, read and run finds the others find: they wait
// equally long.
func TestTimeoutsAgree(t *testing.T) {
	for _, port := range []string{"/dev/ttyS1", "tcp://plc", "rtu+tcp://moxa:4001"} {
		want := modbus.DefaultTimeout(port)
		read := lineOptions{port: port, baud: 9600, parity: "E", stopBits: 1}
		if cfg, err := read.session(); err != nil || cfg.Timeout != want {
			t.Errorf("read from %s: %v, %v; want %v", port, cfg.Timeout, err, want)
		}
		scan := scanOptions{bauds: []int{9600}, parities: []string{"E"}, stops: []int{1}, units: "1-2", probes: []string{"holding:0"}}
		scan.port = port
		if cfg, err := scan.config(); err != nil || cfg.Timeout != want {
			t.Errorf("scan of %s: %v, %v; want %v", port, cfg.Timeout, err, want)
		}
	}
}
