package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const afarBase = `gateway: {id: gw}
can: [{interface: can0, name: "${CAN}"}]
uplink: {servers: ["mqtt://h"], username: u, password: "${P}"}
`

func TestRemoteConfig(t *testing.T) {
	get := func(name string) (string, bool) { return "can-a", name != "" }
	for text, want := range map[string]Remote{
		"":                              {},
		"remote_config: {}":             {Allow: remoteDefault},
		"remote_config: {mode: off}":    {Allow: remoteDefault},
		"remote_config: {mode: report}": {Mode: RemoteReport, Allow: remoteDefault},
		"remote_config: {mode: apply, allow: [can]}":         {Mode: RemoteApply, Allow: []string{"can"}},
		"remote_config: {mode: apply, allow: [web, uplink]}": {Mode: RemoteApply, Allow: []string{"uplink", "web"}},
	} {
		cfg, problems := Parse("f.yaml", []byte(afarBase+text), Options{Getenv: get})
		if cfg == nil || cfg.Remote.Mode != want.Mode || !slices.Equal(cfg.Remote.Allow, want.Allow) {
			t.Errorf("%s: %+v %v", text, cfg, problems)
		}
	}
	for text, want := range map[string]string{
		"remote_config: {mode: on}":                             "f.yaml:4:23: remote_config.mode: ",
		"remote_config: {mode: apply, allow: [cans]}":           `"cans" is not known; write can`,
		"remote_config: {mode: apply, allow: [can, can]}":       "is there twice",
		"remote_config: {mode: apply, allow: [can], watch: 1m}": "watch",
	} {
		cfg, problems := Parse("f.yaml", []byte(afarBase+text), Options{Getenv: get})
		if cfg != nil || !strings.Contains(all(problems), want) {
			t.Errorf("%s: %v", text, problems)
		}
	}
	cfg, problems := Parse("f.yaml", []byte(afarBase+"remote_config: {mode: apply, allow: [commands]}"), Options{Getenv: get})
	if cfg == nil || !strings.Contains(all(problems), "only by a signed document") {
		t.Errorf("%v", problems)
	}
}

func all(problems []Problem) (text string) {
	for _, p := range problems {
		text += p.String() + "\n"
	}
	return text
}

func TestChanged(t *testing.T) {
	get := func(string) (string, bool) { return "x", true }
	load := func(text string) *Config {
		cfg, problems := Parse("f.yaml", []byte(text), Options{Getenv: get})
		if cfg == nil {
			t.Fatal(problems)
		}
		return cfg
	}
	old := load(afarBase)
	for want, text := range map[string]string{
		"":              "# a comment\n" + afarBase,
		"gateway":       strings.Replace(afarBase, "id: gw", "id: other", 1),
		"can":           strings.Replace(afarBase, "can0", "can1", 1),
		"uplink":        strings.Replace(afarBase, "//h", "//i", 1),
		"buffer":        afarBase + "buffer: {path: elsewhere}\n",
		"web":           afarBase + "web: {}\n",
		"commands":      afarBase + "commands: {max_ttl: 5s}\n",
		"remote_config": afarBase + "remote_config: {mode: apply}\n",
		"modbus":        afarBase + "modbus: [{name: l, port: /dev/ttyS9, devices: [{name: d, unit_id: 1, registers: [{name: u, address: 0}]}]}]\n",
	} {
		switch got := strings.Join(old.Changed(load(text)), " "); {
		case want == "gateway" && got == "gateway uplink": // the client id follows the gateway's
		case got != want:
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// No secret comes from afar, and no variable is carried to where it is published.
func TestAfar(t *testing.T) {
	const up = "uplink: {servers: [\"mqtt://h\"], "
	for text, bad := range map[string]bool{
		afarBase: false,
		strings.Replace(afarBase, `"${P}"`, "hunter2", 1):                         true,
		strings.Replace(afarBase, `"${P}"`, `"${P:-hunter2}"`, 1):                 true,
		strings.Replace(afarBase, `"${P}"`, `"${OTHER}"`, 1):                      false,
		strings.Replace(afarBase, `password: "${P}"`, "password_file: /etc/p", 1): false,
		strings.Replace(afarBase, "mqtt://h", "mqtt://u:hunter2@h", 1):            true,
		strings.Replace(afarBase, "mqtt://h", "mqtt://u:${P}@h", 1):               false,
		strings.Replace(afarBase, "id: gw", `id: "${P}"`, 1):                      true,
		strings.Replace(afarBase, "id: gw", `id: "${CAN}"`, 1):                    false,
		strings.Replace(afarBase, `"${CAN}"`, "a", 1):                             false,
		up + "headers: {Authorization: Bearer abc}}\n":                            true,
		up + "headers: {Authorization: \"Bearer ${T}\"}}\n":                       false,
		up + "headers: {Authorization: {file: /etc/token}}}\n":                    false,
		up + "proxy: \"http://u:hunter2@proxy:3128\"}\n":                          true,
		"uplink: {tls: {key_pem: \"-----BEGIN PRIVATE KEY-----\"}}\n":             true,
		"gateway: {id: '": false, // it is not YAML: check says so
	} {
		if got := Afar("f.yaml", []byte(text), []byte(afarBase), true); (len(got) > 0) != bad {
			t.Errorf("%s: %v", text, got)
		} else if bad && (got[0].Line == 0 || strings.Contains(got[0].String(), "hunter2")) {
			t.Errorf("%v", got[0])
		}
	}
	for text, bad := range map[string]bool{ // not signed: also no variable that is not there yet
		afarBase: false,
		strings.Replace(afarBase, "mqtt://h", "mqtt://i", 1):                               false,
		strings.Replace(afarBase, `"${P}"`, `"${OTHER}"`, 1):                               true,
		strings.Replace(afarBase, "mqtt://h", "mqtt://u:${P}@h", 1):                        true,
		strings.Replace(afarBase, `password: "${P}"`, `headers: {X: "${P}"}`, 1):           true,
		strings.Replace(afarBase, `password: "${P}"`, `password: "${P}", pass: "${O}"`, 1): true,
	} {
		if got := Afar("f.yaml", []byte(text), []byte(afarBase), false); (len(got) > 0) != bad || bad && got[0].Line == 0 {
			t.Errorf("%s: %v", text, got)
		}
	}
	if Secretive([]byte(afarBase)) || !Secretive([]byte(strings.Replace(afarBase, `"${P}"`, "x", 1))) {
		t.Error("secretive")
	}
}

// A file with a secret is new wherever it is named and was not, whatever it was named
// for elsewhere.
func TestNewSecrets(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(uplink string) *Config {
		cfg, problems := Parse(filepath.Join(dir, "f.yaml"), []byte(`{gateway: {id: gw}, can: [{interface: can0}], uplink: {servers: ["wss://h"], username: u, `+uplink+"}}"), Options{})
		if cfg == nil {
			t.Fatal(problems)
		}
		return cfg
	}
	for runs, with := range map[string]map[string]string{
		"password_file: a":                          {"password_file: a": "", "password_file: ./b": "uplink.password_file", "headers: {X: {file: a}}": "uplink.headers.X.file"},
		"headers: {X: {file: a}}":                   {"headers: {X: {file: a}, Y: {file: a}}": "uplink.headers.Y.file", "password_file: a, headers: {X: {file: a}}": "uplink.password_file", "headers: {}": ""},
		"password_file: a, headers: {X: {file: b}}": {"password_file: b, headers: {X: {file: a}}": "uplink.password_file uplink.headers.X.file", "headers: {X: {file: b}}": ""},
	} {
		for text, want := range with {
			var keys []string
			for _, p := range parse(text).NewSecrets(parse(runs)) {
				keys = append(keys, p.Path)
				if p.Warning || p.Line == 0 {
					t.Errorf("%+v", p)
				}
			}
			if got := strings.Join(keys, " "); got != want {
				t.Errorf("%s in the place of %s: %q", text, runs, got)
			}
		}
	}
}

// Who may send the gateway elsewhere by a word at the broker is told so.
func TestAllowWithoutSigners(t *testing.T) {
	const elsewhere = "can send this gateway and its credentials to a broker of theirs"
	for allow, warned := range map[string]bool{"": false, ", allow: [can, web]": false, ", allow: [uplink]": true, ", allow: [remote_config]": true} {
		for _, mode := range []string{"report", "apply"} {
			cfg, problems := Parse("f.yaml", []byte(afarBase+"remote_config: {mode: "+mode+allow+"}\n"), Options{Getenv: func(string) (string, bool) { return "x", true }})
			if cfg == nil || strings.Contains(all(problems), elsewhere) != (warned && mode == "apply") {
				t.Errorf("%s%s: %v", mode, allow, problems)
			}
		}
	}
}
