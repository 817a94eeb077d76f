package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/uplink"
)

func TestHeadersAndProxy(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"token": "Bearer s3cr3t\r\n", "lines": "a\nb\n", "odd": "a\x01b\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts := surroundings()
	opts.Getenv = func(k string) (string, bool) { return "s3cr3t", k == "TOKEN" }
	for more, want := range map[string]string{
		"headers: {authorization: \"Bearer ${TOKEN}\"}": "",
		"headers: {Authorization: {file: token}}":       "",
		"proxy: http://proxy:3128":                      "",
		"proxy: \"http://bob:${TOKEN}@proxy\"":          "",
		"proxy: environment":                            "",
		"headers: {A: {file: lines}}":                   "uplink.headers.A.file: DIR/lines has more than one line; write the password into it, on one line",
		"headers: {A: {file: odd}}":                     "uplink.headers.A.file: DIR/odd contains control characters; ",
		"headers: {A: {file: missing}}":                 "uplink.headers.A.file: DIR/missing does not exist; ",
		"headers: {A: \"s3cr3t\\nB: c\"}":               "uplink.headers.A: is too long, or contains control characters; ",
		"headers: {\"A:\": s3cr3t}":                     "uplink.headers.A:: is not the name of a header; ",
		"headers: {sec-websocket-key: s3cr3t}":          "uplink.headers.sec-websocket-key: is a header that the handshake sets itself; ",
		"headers: {a: s3cr3t, A: s3cr3t}":               "uplink.headers.A: is there twice; ",
		"headers: [s3cr3t]":                             "uplink.headers: ",
		"headers: {A: [s3cr3t]}":                        "uplink.headers.A: ",
		"headers: {A: \"\"}":                            "uplink.headers.A: is empty; ",
		"proxy: https://bob:s3cr3t@proxy":               "uplink.proxy: is not a proxy with http://; ",
		"proxy: \"http://bob:s3cr3t@:3128\"":            "uplink.proxy: is not the address of a proxy; ",
		"proxy: proxy:3128":                             "uplink.proxy: is not a ",
		"proxy: [http://s3cr3t@proxy]":                  "uplink.proxy: ",
		"proxy: \"http://bob:s3cr3t@proxy/\\x7f\"":      "uplink.proxy: is not a URL; ",
		"servers: [mqtts://h]\n  headers: {A: s3cr3t}":  "uplink.headers: warning: no server is ws or wss, so that no header is sent; ",
	} {
		if !strings.HasPrefix(more, "servers") {
			more = "servers: [wss://h]\n  " + more
		}
		text := "can: [{interface: can0}]\nuplink:\n  " + more + "\n"
		cfg, problems := Parse(filepath.Join(dir, "f.yaml"), []byte(text), opts)
		got := strings.ReplaceAll(lines(problems), dir, "DIR")
		if strings.Contains(got, "s3cr3t") {
			t.Errorf("%s\nshows a secret: %s", more, got)
		}
		if (want == "") != (got == "") || !strings.Contains(got, ": "+want) && want != "" {
			t.Errorf("%s\ngot  %s\nwant %s", more, got, want)
		}
		if want != "" || cfg == nil {
			continue
		}
		h, err := cfg.Uplink.ReadHeaders()
		if err != nil || strings.Contains(more, "headers") && h.Get("Authorization") != "Bearer s3cr3t" {
			t.Errorf("%s: %v, %v", more, h, err)
		}
		s, err := uplink.ParseServer("wss://h")
		if err != nil {
			t.Fatal(err)
		}
		p, err := cfg.Uplink.ProxyTo(s)
		if err != nil || strings.Contains(more, "//bob") && p.User.String() != "bob:s3cr3t" || strings.Contains(more, "headers") && p != nil {
			t.Errorf("%s: %v, %v", more, p, err)
		}
	}
}
