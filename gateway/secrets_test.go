package gateway

import (
	"os"
	"path/filepath"
	"testing"

	"fieldferry/gateway/config"
)

func TestAReplacedSecretIsNoticed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := secretFiles(&config.Uplink{PasswordFile: write("password", "one"), TLS: &config.TLS{Cert: write("cert", "a"), Key: filepath.Join(dir, "key")}})
	if len(files) != 3 {
		t.Fatalf("watches %q", files)
	}
	before := stampsOf(files)
	if !stampsOf(files).same(before) {
		t.Error("nothing has changed, and it says so not")
	}
	// As certbot and kubelet do it: a new file takes the place of the old one.
	if err := os.Rename(write("new", "two"), files[0]); err != nil {
		t.Fatal(err)
	}
	if stampsOf(files).same(before) {
		t.Error("a replaced password was not noticed")
	}
	before = stampsOf(files)
	write("key", "k")
	if stampsOf(files).same(before) {
		t.Error("a key that appeared was not noticed")
	}
	if got := secretFiles(&config.Uplink{}); got != nil {
		t.Errorf("nothing to watch, and watches %q", got)
	}
}
