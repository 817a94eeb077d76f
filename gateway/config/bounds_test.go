package config_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fieldferry/gateway"
	"fieldferry/gateway/config"
)

// everything has each block once, so that each key with bounds is read.
const everything = `gateway: {id: g}
can:
  - {interface: can0, name: c, fd: true, bitrate: 500000, dbitrate: 2000000, limit: {on_change: true}}
  - {interface: "sim:ramp", name: s}
modbus:
  - name: l
    port: /dev/ttyS1
    rs485: {enabled: true}
    devices:
      - name: d
        unit_id: 1
        registers:
          - {name: r, address: 10, type: float32, on_change: true}
          - {name: t, address: 20, type: string, length: 4}
          - {name: b, address: 30, type: bit, bit: 3}
          - {name: i, address: 40, scale_register: 41}
  - {name: n, port: "tcp://127.0.0.1:1", devices: [{name: e, unit_id: 1, registers: [{name: r, address: 0}]}]}
buffer: {path: none}
uplink: {servers: ["mqtt://127.0.0.1:1"], batch: {max_delay: 1s}, backlog: {order: oldest_first}}
web: {listen: "127.0.0.1:0"}
`

// Just beyond a bound every key is refused, and whatever is accepted, at the
// bounds and elsewhere, opens a gateway.
func TestWhatIsAcceptedOpens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "buffer")
	parse := func(opts config.Options, set ...string) (*config.Config, []config.Problem) {
		opts.Set = append([]string{"buffer.path=" + dir}, set...)
		return config.Parse("f.yaml", []byte(everything), opts)
	}
	type bounds struct{ at, beyond []string }
	keys := map[string]bounds{}
	if cfg, problems := parse(config.WithBounds(config.Options{}, func(path string, at, beyond []string) {
		keys[path] = bounds{at, beyond}
	})); cfg == nil {
		t.Fatal(problems)
	}
	if len(keys) < 50 {
		t.Errorf("only %d keys have bounds: %v", len(keys), slices.Sorted(maps.Keys(keys)))
	}
	// Bounds of 8, 16 and 32 bits, wherever they may lurk.
	others := []string{"0", "1", "255", "256", "65535", "65536", "2147483647", "4294967296"}
	accepted, refused := 0, []string{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		for _, text := range keys[key].beyond {
			if cfg, _ := parse(config.Options{}, key+"="+text); cfg != nil {
				t.Errorf("%s: %s is accepted", key, text)
			}
		}
		for i, text := range append(slices.Clone(keys[key].at), others...) {
			cfg, problems := parse(config.Options{}, key+"="+text)
			if cfg == nil {
				if i < len(keys[key].at) {
					refused = append(refused, key+"="+text+": "+problems[0].What)
				}
				continue
			}
			accepted++
			g, err := gateway.Open(cfg, gateway.Options{})
			if err != nil {
				t.Errorf("%s: %s is accepted and does not open: %v", key, text, err)
				continue
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d keys, %d values opened; refused at a bound, for another reason:\n%s", len(keys), accepted, strings.Join(refused, "\n"))
	if accepted < 2*len(keys) {
		t.Errorf("only %d values of %d keys are accepted", accepted, len(keys))
	}
}
