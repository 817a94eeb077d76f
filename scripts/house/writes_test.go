package house

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writer is the only package that can change a Modbus device.
const writer = "fieldferry/bus/modbus/commission"

// The daemon is unable to write to a Modbus device: it contains no code that
// makes a writing request, and its transport lets none pass.
func TestTheDaemonCannotWriteToModbus(t *testing.T) {
	for _, p := range packages(t, "-deps", "./gateway/...") {
		if p.ImportPath == writer {
			t.Errorf("the gateway depends on %s, which writes", writer)
		}
	}
	for _, p := range packages(t, "./...") {
		for _, file := range p.GoFiles {
			path := filepath.Join(p.Dir, file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// Setting the field, not declaring or asking for it.
			if p.ImportPath != writer && (strings.Contains(string(text), "AllowWrites: ") || strings.Contains(string(text), "AllowWrites =")) {
				t.Errorf("%s allows writes; only %s may", path, writer)
			}
		}
	}
}
