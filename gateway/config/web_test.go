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
