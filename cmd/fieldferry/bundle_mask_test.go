package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gathered are the files of a bundle.
func gathered(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for a := tar.NewReader(z); ; {
		h, err := a.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(h.Name)] = string(b)
	}
}

// programs puts programs that print these texts in front of those of the system.
func programs(t *testing.T, says map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range says {
		script := fmt.Sprintf("#!/bin/sh\ncat <<'EOF'\n%s\nEOF\n", text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// No host of the configuration is in a masked bundle, wherever it stands in it and
// whether the file can be used or not.
func TestMaskedBundleHasNoHosts(t *testing.T) {
	const good = `gateway: {id: gw-plant-7}
can: [{interface: "sim:ramp"}]
modbus:
  - {name: line1, port: "tcp://plc.secret.example:502", devices: [{name: a, unit_id: 1, interval: 1s, registers: [{name: x, register: holding, address: 0}]}]}
buffer: {path: DIR}
uplink:
  servers: ["mqtts://broker.secret.example"]
  proxy: "http://anna:pass@proxy.secret.example:3128"
  tls: {server_name: tls.secret.example}
web: {listen: "127.0.0.1:0", hosts: [page.secret.example]}
`
	programs(t, map[string]string{
		"journalctl": "2026-01-01T00:00:00 pc fieldferry[7]: lookup Plc.secret.example: no such host; tls.secret.example, page.secret.example\n... [7]: proxy.secret.example, broker.secret.example",
		"systemctl":  "Loaded: loaded; gw-plant-7 speaks to broker.secret.example",
	})
	for what, text := range map[string]string{
		"good":    good,
		"refused": good + "wbe: {}\n",
		"no YAML": good + "uplink: {\n",
	} {
		t.Run(what, func(t *testing.T) {
			path := write(t, "f.yaml", strings.ReplaceAll(text, "DIR", t.TempDir()))
			out := filepath.Join(t.TempDir(), "b.tar.gz")
			r := fieldferry(t.Context(), nil, "bundle", "-c", path, "-o", out, "--mask")
			if r.code != exitFailed || strings.Count(r.stderr, "not in the bundle") != strings.Count(r.stderr, "\n") {
				t.Fatalf("%+v", r)
			}
			files := gathered(t, out)
			if !strings.Contains(files["config.yaml"], "tcp://host-") || !strings.Contains(files["journal.txt"], "[7]: lookup host-") {
				t.Errorf("nothing to mask in\n%s\n%s", files["config.yaml"], files["journal.txt"])
			}
			for name, text := range files {
				if i := strings.Index(strings.ToLower(text), "secret.example"); i >= 0 {
					t.Errorf("%s: …%s", name, text[max(i-40, 0):min(i+40, len(text))])
				}
				if what != "no YAML" && strings.Contains(text, "gw-plant-7") {
					t.Errorf("%s has the gateway's id", name)
				}
			}
		})
	}
}

// A log that the journal does not have is missing, and said to be, also where the
// programs that were asked are content.
func TestBundleWithoutALogSaysSo(t *testing.T) {
	path := write(t, "f.yaml", "gateway: {id: gw}\ncan: [{interface: \"sim:ramp\"}]\nbuffer: {path: "+t.TempDir()+"}\nuplink: {servers: [\"mqtt://localhost\"]}\n")
	for _, c := range []struct {
		journal, unit string
		missing       bool
	}{
		{"-- No entries --", "Failed to connect to bus: No such file or directory", true},
		{"", "Unit fieldferry.service could not be found.", true},
		{"2026-01-01T00:00:00 pc fieldferry[7]: level=INFO msg=ready", "fieldferry.service\n   Loaded: loaded (/lib/x)\n   Active: active (running)", false},
	} {
		programs(t, map[string]string{"journalctl": c.journal, "systemctl": c.unit})
		out := filepath.Join(t.TempDir(), "b.tar.gz")
		r := fieldferry(t.Context(), nil, "bundle", "-c", path, "-o", out)
		files := gathered(t, out)
		for name, said := range map[string]string{"journal.txt": c.journal, "unit.txt": c.unit} {
			_, line, _ := strings.Cut(files["MANIFEST"], name)
			line, _, _ = strings.Cut(line, "\n")
			if is := strings.Contains(line, "FAILED") && strings.Contains(line, "its own standard error"); is != c.missing || strings.Contains(r.stderr, name) != c.missing {
				t.Errorf("%q: MANIFEST %q, said\n%s", said, line, r.stderr)
			}
			if !strings.Contains(files[name], said) {
				t.Errorf("%s is %q", name, files[name])
			}
		}
		if r.code != exitFailed { // the state is missing in any case
			t.Errorf("code %d", r.code)
		}
	}
}
