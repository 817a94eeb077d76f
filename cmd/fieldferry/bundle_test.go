package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// canary is a secret that must be in no file.
const canary = "CANARY-7f3a"

// No secret that stands in the file, in a URL or in a secret file gets into the
// bundle, whether the configuration can be used or not.
func TestBundleHasNoSecrets(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(canary+"-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := "gateway: {id: gw-plant-7}\ncan: [{interface: \"sim:ramp\"}]\nbuffer: {path: " + dir + "}\nuplink:\n  servers: [\"mqtt://broker.example\"]\n  username: anna\n"
	for what, text := range map[string]string{
		"password": good + "  password: " + canary + "\n",
		"file":     good + "  password_file: " + secret + "\n",
		"broken":   good + "  password: [" + canary + "\n  passwort: " + canary + "\n",
		"url":      strings.Replace(good, "mqtt://", "mqtt://anna:"+canary+"@", 1),
	} {
		t.Run(what, func(t *testing.T) {
			path := write(t, "f.yaml", text)
			out := filepath.Join(t.TempDir(), "b.tar.gz")
			r := fieldferry(t.Context(), nil, "bundle", "-c", path, "-o", out, "--mask")
			if r.code != exitFailed || !strings.Contains(r.stderr, "status.jsonl") { // no daemon runs
				t.Fatalf("%+v", r)
			}
			all := ""
			f, err := os.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			z, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			names := ""
			for a := tar.NewReader(z); ; {
				h, err := a.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(a)
				if strings.Contains(string(b), canary) {
					t.Errorf("%s has the secret:\n%s", h.Name, b)
				}
				all += string(b)
				names += h.Name + "\n"
			}
			for _, want := range []string{"MANIFEST", "version.json", "system.txt", "config.yaml", "check.txt", "links.txt"} {
				if !strings.Contains(names, want) {
					t.Errorf("%s is missing in\n%s", want, names)
				}
			}
			if what == "password" && (strings.Contains(all, "gw-plant-7") || strings.Contains(all, "broker.example")) {
				t.Error("names are not masked")
			}
			if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", info.Mode(), err)
			}
		})
	}
}
