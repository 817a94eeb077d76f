package house

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	// writer is the only package that changes a Modbus device without a permit.
	writer  = module + "/bus/modbus/commission"
	permits = module + "/bus/permit"
)

// permitHands are the packages that may have a permit in their hands, and why.
var permitHands = map[string]string{
	module + "/gateway/config":  "it makes them",
	module + "/gateway/command": "it carries them",
	module + "/bus/modbus":      "it checks them",
	module + "/bus/modbus/rtu":  "it checks them, last before the wire",
	module + "/bus/modbus/tcp":  "it checks them, last before the wire",
	module + "/bus/can/write":   "it checks them, last before the wire",
}

// mints are the functions that make permits.
var mints = []string{"ForRegister", "ForFrame"}

// permitVerdict says why a package may not import bus/permit, or not make permits;
// empty when it may.
func permitVerdict(from string, makes bool) string {
	switch why, ok := permitHands[from]; {
	case !ok:
		return "a permit goes from the configuration's loader by way of gateway/command to the bus, and through no other hands"
	case makes && from != module+"/gateway/config":
		return "only the loader of the configuration makes permits; of " + from + ": " + why
	}
	return ""
}

// Nothing on a bus is written unless the configuration names it: the gateway
// contains no code that writes without a permit, a permit comes from the
// configuration's loader only, and the transports let nothing else pass.
func TestTheGatewayWritesByPermitsOnly(t *testing.T) {
	for _, p := range packages(t, "-deps", "./gateway/...") {
		if p.ImportPath == writer {
			t.Errorf("the gateway depends on %s, which writes without a permit", writer)
		}
	}
	for _, p := range packages(t, "./...") {
		if slices.Contains(p.Imports, permits) && permitVerdict(p.ImportPath, false) != "" {
			t.Errorf("%s imports %s: %s", p.ImportPath, permits, permitVerdict(p.ImportPath, false))
		}
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
			eachSelector(t, path, text, func(pkg, name string) {
				if pkg == "permit" && slices.Contains(mints, name) && permitVerdict(p.ImportPath, true) != "" {
					t.Errorf("%s makes a permit: %s", path, permitVerdict(p.ImportPath, true))
				}
			})
		}
	}
}

func TestPermitVerdict(t *testing.T) {
	for _, c := range []struct {
		from  string
		makes bool
		ok    bool
	}{
		{"gateway/config", true, true}, {"gateway/command", false, true}, {"bus/modbus", false, true},
		{"gateway/command", true, false}, {"bus/modbus", true, false}, {"gateway/web", false, false}, {"gateway", false, false},
		{"gateway/control", true, false}, {"cmd/fieldferry", false, false}, {"gateway/source", true, false},
	} {
		if why := permitVerdict(module+"/"+c.from, c.makes); (why == "") != c.ok {
			t.Errorf("%+v: %q", c, why)
		}
	}
}
