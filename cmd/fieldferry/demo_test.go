//go:build !arm && !arm64

package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The demo loses nothing over a cut, says so in its last line, and leaves
// what it was asked to leave.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	r := fieldferry(t.Context(), nil, "demo", "--for", "3s", "--dir", dir)
	if r.code != 0 || !regexp.MustCompile(`\ndelivered [1-9]\d\d+ records, lost 0, duplicates \d+\n$`).MatchString(r.stdout) {
		t.Errorf("code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, want := range []string{"the uplink is CUT", "the uplink is back"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if !regexp.MustCompile(`look at it +http://127\.0\.0\.1:\d+ `).MatchString(r.stdout) {
		t.Errorf("no address of the page in\n%s", r.stdout)
	}
	if strings.Contains(r.stdout, "\x1b") {
		t.Error("control sequences although nobody watches")
	}
	if info := fieldferry(t.Context(), nil, "buffer", "info", filepath.Join(dir, "buffer")); info.code != 0 {
		t.Errorf("buffer info: %d %s", info.code, info.stderr)
	}
	if check := fieldferry(t.Context(), nil, "check", "-c", filepath.Join(dir, "fieldferry.yaml")); check.code != 0 {
		t.Errorf("check: %s", check.stderr)
	}
}
