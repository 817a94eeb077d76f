package config

import (
	"strings"
	"testing"
)

func TestOverrides(t *testing.T) {
	opts := surroundings()
	opts.Set = []string{
		"gateway.id=gw-02",
		"uplink.servers.0=mqtts://other",
		"uplink.servers.3=mqtts://fourth",
		"uplink.password=0123",
		"buffer.path=spool",
		"buffer.max_size=64MiB",
		"modbus[0].baudrate=9600",
		"modbus.0.devices.0.slave=${UNIT}",
		"can.1={interface: can7}",
		"can.2.interface=can8",
		"uplink.topic={gateway}/x",
	}
	cfg := load(t, "testdata/good/full.yaml", opts)
	got := []string{
		cfg.Gateway.ID, strings.Join(cfg.Uplink.Servers, " "), cfg.Uplink.Password.Reveal(), cfg.Buffer.Dir,
		cfg.CAN[1].Name, cfg.CAN[2].Name, cfg.Uplink.Topic,
	}
	want := []string{
		"gw-02", "mqtts://other mqtts://[2001:db8::1]:8883 wss://broker.example/mqtt mqtts://fourth", "0123", "testdata/good/spool",
		"can7", "can8", "{gateway}/x",
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
	if cfg.Buffer.MaxSize != 64<<20 || cfg.Modbus[0].BaudRate != 9600 || cfg.Modbus[0].Devices[0].UnitID != 17 {
		t.Errorf("max_size %d, baud_rate %d, unit_id %d", cfg.Buffer.MaxSize, cfg.Modbus[0].BaudRate, cfg.Modbus[0].Devices[0].UnitID)
	}
}

func TestOverridesOfNothing(t *testing.T) {
	opts := surroundings()
	opts.Set = []string{"can.0.interface=can0", "uplink.servers.0=mqtt://localhost"}
	cfg, problems := Parse("empty.yaml", nil, opts)
	if cfg == nil || len(problems) > 0 {
		t.Fatal(lines(problems))
	}
}

func TestBadOverrides(t *testing.T) {
	for set, want := range map[string]string{
		"nonsense":                        "--set: nonsense is not path=value; write such as uplink.servers.0=mqtt://localhost",
		"=x":                              `--set: "" is not path=value; write such as uplink.servers.0=mqtt://localhost`,
		"gateway.name=x":                  "--set: gateway.name: unknown key; the keys here are id",
		"uplink.servers.9=mqtt://x":       "--set: uplink.servers.9: 9 is not an item of a list of 3; count items from 0",
		"gateway.id.x=1":                  "--set: gateway.id.x: there is no x below a single value; correct the path",
		"modbus.0.devices.0.unit_id=0":    "--set: modbus[0].devices[0].unit_id: 0 is the broadcast address, which nobody answers; write the device's unit id, 1 to 247",
		"buffer.sync_interval=5":          `--set: buffer.sync_interval: "5" has no unit; write ms, s, m or h after the number, such as 1s`,
		"uplink.servers=[":                "--set: uplink.servers: a list is wanted here",
		"uplink.password=":                "--set: uplink.password: is empty; give it a value or remove the key",
		"uplink.servers.0=mqtt://u:p@x":   `--set: uplink.servers[0]: "mqtt://******@x" contains a user name or password; use username and password_file`,
		"gateway.id=a\nb":                 "--set: gateway.id: the value contains a control character or is not UTF-8; write one line of text",
		"modbus.0.devices.0.registers=[]": "--set: modbus[0].devices[0].registers: the device has no register; add one, or remove the device",
		"uplink.servers=x":                "--set: uplink.servers: a list is wanted here; write [ ... ], or one item a line with a leading -",
	} {
		opts := surroundings()
		opts.Set = []string{set}
		cfg, problems := Load("testdata/good/full.yaml", opts)
		if cfg != nil || len(problems) != 1 || !strings.HasPrefix(problems[0].String(), want) {
			t.Errorf("%s\nwant %s\ngot  %s", set, want, lines(problems))
		}
	}
}
