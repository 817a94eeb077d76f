package config

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLimits goes to the limits of texts and one past them.
func TestLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, c := range map[string]struct{ set, want string }{
		"name of 128":           {"gateway.id=" + long(128), ""},
		"name of 129":           {"gateway.id=" + long(129), "gateway.id: "},
		"unit of 129":           {"modbus.0.devices.0.registers.0.unit=" + long(129), "modbus[0].devices[0].registers[0].unit: "},
		"unit with a newline":   {"modbus.0.devices.0.registers.0={name: x, address: 90, unit: \"a\\nb\"}", "modbus[0].devices[0].registers[0].unit: "},
		"topic of 65535":        {"uplink.topic=" + long(65535), ""},
		"topic of 65536":        {"uplink.topic=" + long(65536), "uplink.topic: "},
		"topic that may grow":   {"uplink.topic=" + long(65500) + "/{source}", "uplink.topic: "},
		"client id of 65535":    {"uplink.client_id=" + long(65535), ""},
		"client id of 65536":    {"uplink.client_id=" + long(65536), "uplink.client_id: "},
		"client id with a bell": {"uplink.client_id=\u0085", "uplink.client_id: "},
		"password of 65536":     {"uplink.password=" + long(65536), "uplink.password: "},
		"host of 254":           {"uplink.servers.0=mqtts://" + long(254), "uplink.servers[0]: "},
		"host with a slash":     {"uplink.servers.0=mqtts://a\\b", "uplink.servers[0]: "},
		"ALPN of 129":           {"uplink.tls.alpn.0=" + long(129), "uplink.tls.alpn[0]: "},
		"port that is no path":  {"modbus.0.port=udp6://x", "modbus[0].port: "},
		"size of a kilobyte":    {"uplink.batch.max_bytes=1KiB", ""},
		"size past 16 MiB":      {"uplink.batch.max_bytes=17MiB", "uplink.batch.max_bytes: "},
		"size in decimal units": {"uplink.batch.max_bytes=128kB", ""},
		"512 filters":           {"can.0.filters=[" + strings.Repeat("\"1:7FF\",", 512) + "]", ""},
		"513 filters":           {"can.0.filters=[" + strings.Repeat("\"1:7FF\",", 513) + "]", "can[0].filters: "},
	} {
		opts := surroundings()
		opts.Set = []string{c.set}
		_, problems := Load("testdata/good/full.yaml", opts)
		switch {
		case c.want == "" && len(problems) > 0:
			t.Errorf("%s: %.300s", name, lines(problems))
		case c.want != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0].String(), setName+": "+c.want)):
			t.Errorf("%s: want a problem of %s, got %.300s", name, c.want, lines(problems))
		}
		if len(lines(problems)) > 500 {
			t.Errorf("%s: the message has %d bytes", name, len(lines(problems)))
		}
	}
}

// TestDiskSizeOfWhatIsMissing asks for a directory that is created later.
func TestDiskSizeOfWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	here, err := diskSize(dir)
	if err != nil {
		t.Fatal(err)
	}
	below, err := diskSize(filepath.Join(dir, "a", "b"))
	if err != nil || below != here || below <= 0 {
		t.Errorf("%d bytes, %v; the directory above has %d", below, err, here)
	}
	opts := surroundings()
	opts.DiskSize = nil
	if cfg, problems := Load("testdata/good/minimal.yaml", opts); cfg == nil && !strings.Contains(lines(problems), "more than the file system") {
		t.Error(lines(problems))
	}
}

// TestHostNameThatIsNoName falls back to nothing rather than to a bad topic.
func TestHostNameThatIsNoName(t *testing.T) {
	for _, host := range []string{"", "a/b", "a+b", long300} {
		opts := surroundings()
		opts.Hostname = host
		_, problems := Load("testdata/good/minimal.yaml", opts)
		if len(problems) != 1 || problems[0].Path != "gateway.id" || problems[0].Line != 1 {
			t.Errorf("%q: %s", host, lines(problems))
		}
	}
}

var long300 = strings.Repeat("x", 300)
