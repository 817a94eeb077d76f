package config

import (
	"strings"
	"testing"
)

const withSecrets = `gateway: {id: gw}
can: [{interface: can0}]
uplink:
  servers: ["mqtts://u:hunter2@broker"]
  username: gw
  password: hunter2
web:
  listen: 127.0.0.1:8090
`

// What is in effect has the overrides, the variables and the defaults, and no secret.
func TestEffective(t *testing.T) {
	text := strings.Replace(withSecrets, "id: gw", `id: "${ID}"`, 1)
	list := Effective("f.yaml", []byte(text), Options{Set: []string{"buffer.sync_interval=123ms"}, Getenv: func(name string) (string, bool) { return "gw-" + name, true }})
	have := map[string]Setting{}
	for _, s := range list {
		if strings.Contains(s.Value, "hunter2") {
			t.Errorf("%+v", s)
		}
		if _, twice := have[s.Key]; twice {
			t.Errorf("%s is there twice", s.Key)
		}
		have[s.Key] = s
	}
	for key, want := range map[string]Setting{
		"gateway.id":           {Value: "gw-ID"},
		"buffer.sync_interval": {Value: "123ms"},
		"uplink.password":      {Value: hidden},
		"uplink.servers[0]":    {Value: "mqtts://" + hidden + "@broker"},
		"uplink.keep_alive":    {Value: "30s", Default: true},
		"remote_config.mode":   {},
	} {
		got := have[key]
		if want.Value == "" {
			if _, there := have[key]; there {
				t.Errorf("%s is there: the section is not", key)
			}
			continue
		}
		if got.Value != want.Value || got.Default != want.Default {
			t.Errorf("%s: %+v, want %+v", key, got, want)
		}
	}
}

// A text that was edited without its secrets has them again, or a problem.
func TestRestore(t *testing.T) {
	shown := string(Redact([]byte(withSecrets)))
	if strings.Contains(shown, "hunter2") {
		t.Fatal(shown)
	}
	edited := strings.Replace(shown, "id: gw", "id: other", 1)
	got, problems := Restore("f.yaml", []byte(edited), []byte(withSecrets))
	if want := strings.Replace(withSecrets, "id: gw", "id: other", 1); string(got) != want || problems != nil {
		t.Errorf("%s %v", got, problems)
	}
	// Lines that move keep theirs.
	moved := "web:\n  listen: 127.0.0.1:8090\n" + strings.Split(shown, "web:")[0]
	if got, problems := Restore("f.yaml", []byte(moved), []byte(withSecrets)); problems != nil || strings.Count(string(got), "hunter2") != 2 {
		t.Errorf("%s %v", got, problems)
	}
	// One that was changed has no secret.
	_, problems = Restore("f.yaml", []byte(strings.Replace(shown, "@broker", "@elsewhere", 1)), []byte(withSecrets))
	if len(problems) != 1 || problems[0].Line != 4 {
		t.Errorf("%v", problems)
	}
	// Nor have two of the same form with different secrets, one of them gone.
	two := []byte("a:\n  password: one\nb:\n  password: two\n")
	if _, problems = Restore("f.yaml", []byte("b:\n  password: "+hidden+"\n"), two); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}
