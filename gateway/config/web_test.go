package config

import (
	"strings"
	"testing"

	"fieldferry/gateway/web"
)

func TestWeb(t *testing.T) {
	const base = "gateway: {id: gw}\ncan: [{interface: can0}]\nuplink: {servers: [\"mqtt://h\"]}\n"
	cfg, problems := Parse("f.yaml", []byte(base), Options{})
	if cfg == nil || cfg.Web.Listen != "" {
		t.Fatalf("without the block something listens: %+v %v", cfg, problems)
	}
	for text, want := range map[string]string{
		"web: {}\n": "", "web: {listen: \"0.0.0.0:8443\", max_clients: 5000, hosts: [gw.example]}\n": "",
		"web: {listen: 8090}\n":                                            `f.yaml:4:15: web.listen: "8090" is not an address with a port; write 127.0.0.1:8090`,
		"web: {max_clients: 5001}\n":                                       "f.yaml:4:20: web.max_clients: 5001 is out of range; write a number from 1 to 5000",
		"web: {insecure: true}\n":                                          "f.yaml:4:17: web.insecure: loopback needs no TLS; remove the key",
		"web: {tls: {cert: /none, key: /none}}\n":                          "web.tls.cert: ",
		"web: {listen: \"unix:/run/fieldferry/page\", group: www-data}\n":  "",
		"web: {listen: \"unix:page\"}\n":                                   `f.yaml:4:15: web.listen: "page" is not the absolute path of a socket; write unix:/run/fieldferry/page`,
		"web: {listen: \"unix:/run/../page\"}\n":                           `"/run/../page" is not the absolute path of a socket`,
		"web: {listen: \"unix:/" + strings.Repeat("a", 107) + "\"}\n":      "web.listen: the path has 108 bytes, and a socket takes 107; write a shorter one",
		"web: {listen: \"unix:/run/page\", group: \"a b\"}\n":              `web.group: "a b" is not the name of a group`,
		"web: {listen: \"unix:/run/page\", insecure: true}\n":              "web.insecure: a socket in the file system needs no TLS; remove the key",
		"web: {group: adm}\n":                                              "web.group: only a socket in the file system belongs to a group",
		"web: {password: secret}\n":                                        "web.password: unknown key",
		"web: {metrics: {open: always}}\n":                                 "web.metrics.open: ",
		"web: {metrics: {signals: [" + strings.Repeat("a,", 201) + "]}}\n": "web.metrics.signals: there are 201 values; write at most 200",
	} {
		cfg, problems := Parse("f.yaml", []byte(base+text), Options{})
		var all []string
		for _, p := range problems {
			all = append(all, p.String())
		}
		if got := strings.Join(all, "\n"); (cfg != nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %q", text, got, want)
		}
	}
	cfg, _ = Parse("f.yaml", []byte(base+"web: {}\n"), Options{})
	if cfg.Web.Listen != web.DefaultListen || cfg.Web.MaxClients != web.DefaultClients {
		t.Errorf("defaults: %+v", cfg.Web)
	}
}

// A value whose course and metric would stay empty is named when the
// configuration is read; it does not keep the gateway from running.
func TestFollowedValues(t *testing.T) {
	const base = `gateway: {id: gw}
can: [{interface: can0, dbc: testdata/good/engine.dbc}, {interface: can1}]
modbus: [{name: line1, port: /dev/ttyS1, devices: [{name: meter, unit_id: 1, registers: [{name: u, address: 0}, {name: i, address: 1}]}]}]
uplink: {servers: ["mqtt://h"]}
web: {metrics: {signals: ["`
	for name, want := range map[string]string{
		"can0/EngineSpeed":      "",
		"line1/meter/u":         "",
		"can0/EngineSped":       `f.yaml:5:27: web.metrics.signals[0]: warning: there is no signal with the name "EngineSped"; did you mean EngineSpeed?`,
		"can1/EngineSpeed":      `there is no signal with the name "EngineSpeed"; there is none`,
		"can2/EngineSpeed":      `there is no source with the name "can2"; did you mean can0?`,
		"can0/EEC1/EngineSpeed": `"can0/EEC1/EngineSpeed" names no value; write SOURCE/NAME for a signal`,
		"line1/u":               `"line1/u" names no value; write`,
		"line1/metre/u":         `there is no device with the name "metre"; did you mean meter?`,
		"line1/meter/power":     `there is no register of meter with the name "power"; there are u, i`,
		"line1":                 `"line1" names no value`,
	} {
		cfg, problems := Parse("f.yaml", []byte(base+name+"\"]}}\n"), Options{})
		if got := lines(problems); cfg == nil || (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q\nwant %q", name, got, want)
		}
	}
}
