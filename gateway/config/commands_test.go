package config

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const plantText = `gateway: {id: gw}
can:
  - {interface: can0, bitrate: 250000, listen_only: false, dbc: [plant.dbc]}
  - {interface: can1, bitrate: 250000}
  - {interface: "sim:ramp", name: ramp}
modbus:
  - name: line1
    port: /dev/ttyS1
    devices:
      - name: boiler
        unit_id: 3
        registers:
          - {name: setpoint, register: holding, address: 0, type: int16, scale: 0.5}
          - {name: measured, register: input, address: 0}
          - {name: pump, register: coil, address: 4}
          - {name: scaled, register: holding, address: 5, scale_register: 6}
uplink: {servers: ["mqtt://h"]}
`

const plantDBC = `VERSION ""
BU_: A
BO_ 291 FanCmd: 8 A
 SG_ Enable : 0|1@1+ (1,0) [0|1] "" A
 SG_ Speed : 8|16@1+ (0.5,0) [0|3000] "rpm" A
 SG_ Free : 24|8@1+ (1,0) [0|0] "" A
`

// What switches a section off without a word is warned of, and a section whose
// entries are refused is not said to be empty.
func TestCommandsWarnings(t *testing.T) {
	const off, empty = "has no effect: enabled is missing", "there is nothing to do"
	pump := "points: [{name: a, line: line1, device: boiler, register: pump}]"
	for text, want := range map[string]string{
		"commands: {" + pump + "}\n":                                  off,
		"commands: {read: {allow: [a]}}\n":                            off,
		"commands: {enabled: false, " + pump + "}\n":                  "",
		"commands: {enabled: true, " + pump + "}\n":                   "",
		"commands: {signers: {ops: ops.pub}}\n":                       "",
		"commands: {enabled: true}\n":                                 empty,
		"commands: {enabled: true, points: []}\n":                     empty,
		"commands: {enabled: true, points: [{name: a}]}\n":            "",
		"remote_config: {allow: [can]}\n":                             "has no effect: mode is missing",
		"remote_config: {mode: report, allow: [can]}\n":               "",
		"commands: {enabled: true, read: {allow: [\"a/b\", \"\"]}}\n": "",
	} {
		_, problems := plantFile(t, text)
		var warned []string
		for _, p := range problems {
			if p.Warning || strings.Contains(p.What, "nobody may") {
				warned = append(warned, p.What)
			}
		}
		if got := strings.Join(warned, "\n"); want == "" && got != "" || !strings.HasPrefix(got, want) || len(warned) > 1 {
			t.Errorf("%s: warned of %q, want %q", text, got, want)
		}
	}
}

// plantFile is a configuration of a plant, with what follows.
func plantFile(t *testing.T, more string) (*Config, []Problem) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "f.yaml")
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"f.yaml": plantText + more, "plant.dbc": plantDBC,
		"ops.pub": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"raw.pub": base64.StdEncoding.EncodeToString(public) + "\n",
		"bad.pub": "ssh-rsa AAAA\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(path, Options{SerialDir: dir})
}

func TestCommands(t *testing.T) {
	cfg, problems := plantFile(t, `commands:
  enabled: true
  max_ttl: 30s
  signers: {ops: ops.pub, raw: raw.pub}
  read: {allow: [scada]}
  points:
    - {name: boiler.setpoint, line: line1, device: boiler, register: setpoint, min: 40, max: 75.50, step: 0.5, max_change: 10,
       min_interval: 10s, allow: [alice, scada], tolerance: 0.5, delay: 100ms, retries: 0, fallback: {value: 50, after: 5m}}
    - {name: pump, line: line1, device: boiler, register: pump, readback: none}
    - {name: fan, can: can0, message: FanCmd, signals: [Enable, Speed, {name: Free, min: 0, max: 9}], repeat: 100ms,
       fallback: {value: {Enable: 0, Speed: 0, Free: 0}, after: 10s}}
    - {name: raw, can: can0, id: 0x18FEF100, length: 8}
`)
	if cfg == nil {
		t.Fatal(problems)
	}
	c := cfg.Commands
	if !c.Enabled || c.MaxTTL != 30*time.Second || c.MaxPerMinute != 60 || len(c.Points) != 4 || c.Read == nil || c.Read.MaxPerMinute != 60 {
		t.Errorf("%+v", c)
	}
	if d := cmp.Diff(c.Signers["ops"], c.Signers["raw"]); d != "" || len(c.Signers["ops"]) != ed25519.PublicKeySize {
		t.Errorf("signers %v", c.Signers)
	}
	p := c.Points[0]
	if r := p.Register; p.Source != "line1" || r.Unit != 3 || r.Register.Name != "setpoint" || r.Limits != (Limits{"40", "75.50", "0.5"}) || !r.ReadBack || p.MaxChange != "10" || p.Fallback.Value != "50" {
		t.Errorf("%+v %+v", p, p.Register)
	}
	if f := c.Points[2].Frame; f.Message.Name != "FanCmd" || c.Points[2].Fallback.Value != `{"Enable":0,"Speed":0,"Free":0}` ||
		!cmp.Equal(f.Signals, []SignalPoint{{"Enable", Limits{"0", "1", ""}}, {"Speed", Limits{"0", "3000", ""}}, {"Free", Limits{"0", "9", ""}}}) {
		t.Errorf("%+v %s", f, c.Points[2].Fallback.Value)
	}
	if f := c.Points[3].Frame; f.ID != 0x18FEF100 || !f.Extended || f.Length != 8 {
		t.Errorf("%+v", f)
	}
	// A point that rounds is another point, and its limits need not be on the raster.
	rounds, problems := plantFile(t, `commands:
  enabled: true
  points:
    - {name: boiler.setpoint, line: line1, device: boiler, register: setpoint, min: 40.1, max: 75.1, step: 1, rounding: nearest, fallback: {value: 50.1, after: 5m},
       only_if: {register: measured, value: 3}}
`)
	if rounds == nil {
		t.Fatal(problems)
	}
	if r := &rounds.Commands.Points[0]; !r.Rounding {
		t.Errorf("%+v", r)
	} else {
		all := map[string]bool{r.Identity(): true}
		r.OnlyIf.Value = "4"
		all[r.Identity()] = true
		r.OnlyIf = nil
		all[r.Identity()] = true
		r.Rounding = false
		if all[r.Identity()] = true; len(all) != 4 {
			t.Errorf("%d points of four", len(all))
		}
	}
	same, _ := plantFile(t, "commands: {}\n")
	if same == nil || same.Commands.Enabled || same.Commands.MaxTTL != time.Minute {
		t.Errorf("an empty block: %+v", same)
	}
}

func TestCommandsThatCannotBe(t *testing.T) {
	point := func(text string) string { return "commands: {points: [" + text + "]}\n" }
	for text, want := range map[string]string{
		point("{name: a, line: line1, device: boiler, register: setpoint}"):                                         "points[0].min: is missing",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 1}"):                                 "points[0].max: is missing",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 9, max: 1}"):                         "9 is more than max, 1",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 1, max: 9, step: 0}"):                "step: must be more than 0",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: .nan, max: 9}"):                      "is not a plain decimal number",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 1e3, max: 9}"):                       "is not a plain decimal number",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 0, max: 20000}"):                     "points[0].max: 20000 is beyond what int16 with this scale and offset holds, -16384 to 16383.5",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: -20000, max: 9}"):                    "points[0].min: -20000 is beyond what int16 with this scale and offset holds, -16384 to 16383.5",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 0, max: 9.2}"):                       "points[0].max: 9.2 is not a whole number of 0.5, as the register counts: the nearest are 9 and 9.5; correct it, or the register, or add rounding: nearest",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 9.1, max: 9.2, rounding: nearest}"):  "points[0].min: 9.1 would be written as 9, which is not within 9.1 to 9.2",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 0, max: 20000, rounding: nearest}"):  "points[0].max: 20000 is beyond what int16 with this scale and offset holds, -16384 to 16383.5; correct it, or the register\n",
		point("{name: a, line: line1, device: boiler, register: pump, rounding: nearest}"):                          "points[0].rounding: is of a number",
		point("{name: a, line: line1, device: boiler, register: pump, only_if: {register: pmup, value: true}}"):     "points[0].only_if.register: there is no register of boiler with the name",
		point("{name: a, line: line1, device: boiler, register: pump, only_if: {register: pump, value: 2}}"):        "points[0].only_if.value: \"2\" is neither true nor false",
		point("{name: a, line: line1, device: boiler, register: pump, only_if: {register: measured, value: auto}}"): "points[0].only_if.value: \"measured\" is a number",
		point("{name: a, line: line1, device: boiler, register: pump, only_if: {register: scaled, value: 1}}"):      "points[0].only_if.register: \"scaled\" has a scale in another register",
		point("{name: a, line: line1, device: boiler, register: pump, only_if: {register: pump}}"):                  "points[0].only_if.value: is missing",
		point("{name: a, can: can0, id: 0x123, length: 8, only_if: {register: pump, value: true}}"):                 "points[0].only_if: is of a register",
		point("{name: a, can: can0, id: 0x123, length: 8, rounding: nearest}"):                                      "points[0].rounding: is of a register",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 1, max: 9, rounding: up}"):           "write none or nearest",
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 0, max: 9, step: 0.3}"):              "points[0].step: 0.3 is not a whole number of 0.5",
		point("{name: a, can: can0, message: FanCmd, signals: [Speed], min: 0, max: 40000}"):                        "points[0].max: 16 bits cannot hold 40000, only 0 to 32767.5",
		point("{name: a, line: line1, device: boiler, register: measured, min: 1, max: 9}"):                         "read-only",
		point("{name: a, line: line1, device: boiler, register: scaled, min: 1, max: 9}"):                           "scale in another register",
		point("{name: a, line: line1, device: boiler, register: setpiont, min: 1, max: 9}"):                         "did you mean setpoint?",
		point("{name: a, line: line1, device: boilr, register: setpoint, min: 1, max: 9}"):                          "did you mean boiler?",
		point("{name: a, line: line2, device: boiler, register: setpoint, min: 1, max: 9}"):                         `there is no Modbus line with the name "line2"`,
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 1, max: 9, repeat: 1s}"):             "is of a CAN frame",
		point("{name: a, line: line1, device: boiler, register: pump, can: can0}"):                                  "a point is on one bus",
		point("{name: a}"): "says no bus",
		point("{name: a, line: line1, device: boiler, register: pump}, {name: a, line: line1, device: boiler, register: pump}"): "has the name",
		point("{name: a, line: line1, device: boiler, register: pump, allow: []}"):                                              "nobody may",
		point("{name: a, line: line1, device: boiler, register: pump, allow: [a/b]}"):                                           "nobody can have this one",
		point("{name: a, line: line1, device: boiler, register: pump, retries: 1}"):                                             "retries: a write is not tried again by itself",
		point("{name: a, line: line1, device: boiler, register: pump, readback: none, tolerance: 1}"):                           "nothing is read back",
		point("{name: a, line: line1, device: boiler, register: pump, fallback: {value: 0}}"):                                   "fallback.after: is missing",
		point("{name: a, can: can1, id: 0x123, length: 8}"):                                                                     "is listen-only",
		point("{name: a, can: ramp, id: 0x123, length: 8}"):                                                                     "is not an interface that frames can be sent to",
		point("{name: a, can: can0, id: 0x20000000, length: 8}"):                                                                "is not an arbitration id",
		point("{name: a, can: can0, id: 0x123, length: 9}"):                                                                     "length: 9 is out of range",
		point("{name: a, can: can0, id: 0x123}"):                                                                                "length: is missing",
		point("{name: a, can: can0, message: FanCmd}"):                                                                          "signals: is missing",
		point("{name: a, can: can0, message: FanCmd, signals: [Free]}"):                                                         "has no limits",
		point("{name: a, can: can0, message: FanCmd, signals: [Sped]}"):                                                         "did you mean Speed?",
		point("{name: a, can: can0, message: Fan, signals: [Speed]}"):                                                           "there is no message",
		point("{name: a, can: can0, message: FanCmd, signals: [Speed], max_change: 1}"):                                         "cannot be read back",
		// All of them at once, each with the keys that a point of its kind may have.
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 0.1, max: 9.2, delay: 1h, zzqq: 1}"): `points[0].min: 0.1 is not a whole number of 0.5`,
		point("{name: a, line: line1, device: boiler, register: setpoint, min: 0.2, max: 9.2, allow: [], zzqq: 1}"): `points[0].max: 9.2 is not a whole number of 0.5`,
		point("{name: a, can: can0, message: FanCmd, signals: [Speed], min: 0, max: 40000, repeat: 1h, zzqq: 1}"):   "16 bits cannot hold 40000",
		point("{name: a, line: line1, zzqq: 1}"):                                        "zzqq: unknown key; the keys here are name, allow, min_interval, fallback, min, max, step, line, device, register, max_change, rounding, only_if, readback, tolerance, delay\n",
		point("{name: a, can: can0, zzqq: 1}"):                                          "zzqq: unknown key; the keys here are name, allow, min_interval, fallback, min, max, step, can, message, signals, id, length, repeat\n",
		point("{name: a, line: line1, device: boiler, register: pump, retries: three}"): `retries: "three" is not a whole number; remove the key`,
		"commands: {max_ttl: 11m}\n":                                                    "max_ttl: 11m",
		"commands: {max_per_minute: 0}\n":                                               "max_per_minute: 0 is out of range",
		"commands: {signers: {ops: bad.pub}}\n":                                         "holds no public key of Ed25519",
		"commands: {signers: {ops: none.pub}}\n":                                        "none.pub",
		"commands: {signers: {}}\n":                                                     "names no signer",
		"commands: {signers: {\"a:b\": ops.pub}}\n":                                     "the name of a signer",
		"commands: {read: {allow: []}}\n":                                               "nobody may",
		"commands: {point: []}\n":                                                       "did you mean points?",
	} {
		cfg, problems := plantFile(t, text)
		var all []string
		for _, p := range problems {
			all = append(all, p.String())
		}
		if got := strings.Join(all, "\n") + "\n"; cfg != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %q", text, got, want)
		}
	}
}
