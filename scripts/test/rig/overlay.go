package rig

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Overlay breaks the product for go build -overlay FILE: in a source file the
// text old, which must be there once, is replaced. It returns FILE.
func Overlay(tb testing.TB, source, old, replacement string) string {
	tb.Helper()
	path, err := filepath.Abs(source)
	if err != nil {
		tb.Fatal(err)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if n := strings.Count(string(src), old); n != 1 {
		tb.Fatalf("%s has %q %d times", source, old, n)
	}
	dir := tb.TempDir()
	broken, overlay := filepath.Join(dir, filepath.Base(path)), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		tb.Fatal(err)
	}
	err = errors.Join(os.WriteFile(broken, []byte(strings.Replace(string(src), old, replacement, 1)), 0o600), os.WriteFile(overlay, replace, 0o600))
	if err != nil {
		tb.Fatal(err)
	}
	return overlay
}
