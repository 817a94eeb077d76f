package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"fieldferry/gateway/config"

	"golang.org/x/sys/unix"
)

const good = "gateway: {id: g}\ncan: [{interface: \"sim:ramp\", name: a}]\nuplink: {servers: [\"mqtt://127.0.0.1:1\"]}\n"

func TestStore(t *testing.T) {
	state := t.TempDir()
	s := In(state)
	if s.Last("f.yaml", config.Options{}) != nil {
		t.Error("a configuration out of nothing")
	}
	// What a power cut has left of a write is in the way of nobody.
	if err := os.Mkdir(filepath.Join(state, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "config", ".confirmed.yaml.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Keep([]byte(good)); err != nil {
			t.Fatal(err)
		}
	}
	if cfg := s.Last("f.yaml", config.Options{}); cfg == nil || cfg.Gateway.ID != "g" {
		t.Errorf("got %v", cfg)
	}
	file := filepath.Join(state, "config", "confirmed.yaml")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if s.Last("f.yaml", config.Options{}) != nil {
		t.Error("a configuration out of a pipe")
	}
	if In("").Keep([]byte(good)) != nil || In("").Last("f.yaml", config.Options{}) != nil {
		t.Error("no directory, yet it keeps something")
	}
}
