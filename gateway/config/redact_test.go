package config

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"uplink:\n  username: gw\n  password: CANARY\n  client_id: a\n", "uplink:\n  username: gw\n  password: ********\n  client_id: a\n"},
		{"  password_file: /etc/x\n", "  password_file: /etc/x\n"},
		{"  password: ${MQTT_PASSWORD}\n", "  password: ${MQTT_PASSWORD}\n"},
		{"  password: ${MQTT_PASSWORD:-CANARY}\n", "  password: ********\n"},
		{"uplink: {username: gw, password: CANARY, client_id: a}\n", "uplink: {username: gw, password: ********\n"},
		{"  servers: [\"mqtt://u:CANARY@h:1883\", 'ws://CANARY@h']\n", "  servers: [\"mqtt://********@h:1883\", 'ws://********@h']\n"},
		{"  password: |\n    CANARY\n    CANARY2\n  next: 1\n", "  password: ********\n    ********\n    ********\n  next: 1\n"},
		{"  password:\n    CANARY\n  next: 1\n", "  password:\n    ********\n  next: 1\n"},
		{"  headers:\n    Authorization: CANARY\n    X-Key: \"CANARY\"\n  next: 1\n", "  headers:\n    ********\n    ********\n  next: 1\n"},
		{"  headers: {Authorization: CANARY}\n", "  headers: ********\n"},
		{"  \"password\": \"CANARY\"\n", "  \"password\": ********\n"},
		{"  PASSWORD : CANARY\r\n  b: 1\r\n", "  PASSWORD : ********\r\n  b: 1\r\n"},
		{"  - password: CANARY # CANARY\n", "  - password: ********\n"},
		{"  key: gw.key\n", "  key: gw.key\n"},
	} {
		got := string(Redact([]byte(c.in)))
		got = strings.ReplaceAll(got, ": ********", ":********")
		want := strings.ReplaceAll(c.want, ": ********", ":********")
		if got != want || strings.Contains(got, "CANARY") {
			t.Errorf("%q\ngot  %q\nwant %q", c.in, got, want)
		}
	}
}

// Whatever the file looks like, no secret that stands behind its key comes out.
func FuzzRedact(f *testing.F) {
	f.Add("uplink:\n", "  ", "CANARY1234")
	f.Add("a: [\n", "", "\"x CANARY1234")
	f.Fuzz(func(t *testing.T, before, indent, value string) {
		if strings.Trim(indent, " ") != "" || !strings.Contains(value, "CANARY1234") || strings.ContainsAny(value, "\r\n") || harmless(value) || strings.Contains(before, "CANARY") {
			t.Skip()
		}
		if out := string(Redact([]byte(before + "\n" + indent + "password: " + value + "\n"))); strings.Contains(out, "CANARY1234") {
			t.Errorf("%q", out)
		}
	})
}
