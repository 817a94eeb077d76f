package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsAreNotPrinted(t *testing.T) {
	const text = "hunter2"
	type nested struct {
		Public  Secret
		private Secret
	}
	s := NewSecret(text)
	n := nested{s, s}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "nested", n, "pointer", &n)
	js, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %+v %#v %v %#v", s, s, s, s, s, s, s, n, n, n, &n, &n) + log.String() + string(js)
	if strings.Contains(printed, text) || strings.Contains(printed, fmt.Sprintf("%x", text)) {
		t.Errorf("printed: %s", printed)
	}
	if s.Reveal() != text || (Secret{}).Reveal() != "" || (Secret{}).String() != "" {
		t.Error("a secret does not reveal what it was made of")
	}
	cfg := load(t, "testdata/good/full.yaml", surroundings())
	if printed := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg); strings.Contains(printed, "from the environment") {
		t.Errorf("printed: %s", printed)
	}
}

// TestProblemsShowNoSecret breaks everything about a password in turn.
func TestProblemsShowNoSecret(t *testing.T) {
	const secret = "hunter2"
	for _, up := range []string{
		"password: [hunter2]", "password: {hunter2: x}", "password: hunter2\n  password_file: x", "password: hunter2",
		"password: 'hunter2", "password: hunter2: x", "password: \"hunter2\" x", "password: hunter2\n x", "password: ${hunter2",
		"pasword: hunter2", "password: &hunter2 x", "password: !hunter2 x", "password: |\n hunter2\n", "password: @hunter2",
		"password: `hunter2", "servers: [mqtt://u:hunter2@h]", "servers: [mqtt://hunter2@h:x]", "servers: ['u:hunter2@h']",
	} {
		text := "can: [{interface: can0}]\nuplink:\n  username: u\n  servers: [mqtts://h]\n  " + up + "\n"
		_, problems := Parse("f.yaml", []byte(text), surroundings())
		for _, p := range problems {
			// Where the secret stands in place of a key or variable it is no secret.
			if strings.Contains(p.String(), secret) && !strings.Contains(up, "{hunter2") {
				t.Errorf("%s\n%s", up, p)
			}
		}
	}
}

func TestPasswordFile(t *testing.T) {
	dir := t.TempDir()
	text := "can: [{interface: can0}]\nuplink:\n  servers: [mqtts://h]\n  username: u\n  password_file: secret\n"
	for content, want := range map[string]string{
		"pass word\n":                "pass word",
		"password\r\n":               "password",
		"two\nlines\n":               "!f.yaml:5:18: uplink.password_file: " + dir + "/secret has more than one line; write the password into it, on one line",
		"one\rline":                  "!f.yaml:5:18: uplink.password_file: " + dir + "/secret has more than one line; write the password into it, on one line",
		"\ufeffpass word\r\n":        "pass word",
		"\ufeff":                     "!f.yaml:5:18: uplink.password_file: " + dir + "/secret is empty; write the password into it, on one line",
		"no newline":                 "no newline",
		"trailing\n\n":               "!f.yaml:5:18: uplink.password_file: " + dir + "/secret has more than one line; write the password into it, on one line",
		"":                           "!f.yaml:5:18: uplink.password_file: " + dir + "/secret is empty; write the password into it, on one line",
		"\n":                         "!f.yaml:5:18: uplink.password_file: " + dir + "/secret is empty; write the password into it, on one line",
		"a\x00b":                     "!f.yaml:5:18: uplink.password_file: " + dir + "/secret contains a NUL byte; write the password into it, on one line",
		string(make([]byte, 70_000)): "!f.yaml:5:18: uplink.password_file: " + dir + "/secret is larger than 64KiB; name the right file",
	} {
		if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, problems := Parse(filepath.Join(dir, "f.yaml"), []byte(text), surroundings())
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if got := strings.TrimSpace(lines(problems)); got != dir+"/"+wrong {
				t.Errorf("%.20q: got  %s\nwant %s", content, got, wrong)
			}
			continue
		}
		if cfg == nil || len(problems) > 0 {
			t.Errorf("%q: %s", content, lines(problems))
			continue
		}
		if got, err := cfg.Uplink.ReadPassword(); err != nil || got != want {
			t.Errorf("%q: password %q, %v; want %q", content, got, err, want)
		}
	}
}

// TestPublicSecrets warns of secrets everybody on the machine can read.
func TestPublicSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
		return path
	}
	const head = "can: [{interface: can0}]\nuplink:\n  servers: [mqtts://h]\n  username: u\n  "
	write("public", "x", 0o644)
	write("private", "x", 0o640)
	for _, c := range []struct {
		key  string
		mode os.FileMode
		warn bool
	}{
		{"password_file: public", 0o644, true},
		{"password_file: private", 0o644, false},
		{"password: x", 0o644, true},
		{"password: x", 0o640, false},
		{"password: ${MQTT_PASSWORD}", 0o644, false},
	} {
		cfg, problems := Load(write("f.yaml", head+c.key+"\n", c.mode), surroundings())
		if cfg == nil {
			t.Errorf("%s: %s", c.key, lines(problems))
		}
		if warned := len(problems) == 1 && problems[0].Warning && problems[0].Line == 5; warned != c.warn || len(problems) > 1 {
			t.Errorf("%s, mode %o: want a warning: %v, got %s", c.key, c.mode, c.warn, lines(problems))
		}
	}
}
