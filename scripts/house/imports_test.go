package house

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "fieldferry"

// rig starts the programs that tests run. It imports nothing of the product.
const rig = module + "/scripts/test/rig"

// room is a top-level directory and what it may import besides the standard
// library and itself.
type room struct {
	rooms   []string          // other rooms
	modules map[string]string // modules of others, by the packages below: why they are there
	reason  string            // why it may not import more
}

// The star: cmd -> gateway -> {bus, buffer, uplink}.
var rooms = map[string]room{
	"bus": {
		modules: map[string]string{
			"go.einride.tech/can":         "frame vocabulary and error frames",
			"github.com/mdlayher/netlink": "state of CAN interfaces",
			"github.com/goburrow/modbus":  "Modbus client API and RTU framing",
		},
		reason: "a bus knows nothing but its wire: no buffering, no MQTT, no retry policy",
	},
	"buffer": {
		modules: map[string]string{
			"go.etcd.io/bbolt":              "the segments",
			"github.com/klauspost/compress": "records on disk",
		},
		reason: "the buffer keeps bytes: it knows no frames, no JSON and no MQTT",
	},
	"uplink": {
		modules: map[string]string{
			"github.com/eclipse/paho.mqtt.golang": "the packets of MQTT 3.1.1 that are sent",
			"github.com/eclipse/paho.golang":      "the packets of MQTT 5 that are sent",
			"github.com/mdlayher/netlink":         "news of the network",
			"github.com/gorilla/websocket":        "MQTT over WebSocket",
			"github.com/klauspost/compress":       "payloads on the wire",
		},
		reason: "the uplink delivers messages: it knows no frames and no bbolt",
	},
	"gateway": {
		rooms: []string{"bus", "buffer", "uplink"},
		modules: map[string]string{
			"golang.org/x/sync":             "one errgroup",
			"github.com/goccy/go-yaml":      "the configuration",
			"github.com/klauspost/compress": "payloads on the wire",
		},
		reason: "the gateway wires the rooms: sockets, bbolt pages and MQTT packets are theirs",
	},
	"cmd": {
		rooms: []string{"bus", "buffer", "uplink", "gateway"},
		modules: map[string]string{
			"github.com/spf13/cobra": "the command line",
			"github.com/spf13/pflag": "the command line",
			"golang.org/x/sync":      "one errgroup",
		},
		reason: "a verb is flags, output and an exit status: the work is done in the rooms",
	},
	"scripts": {
		rooms: []string{"bus", "buffer", "uplink", "gateway"},
		modules: map[string]string{
			"github.com/eclipse/paho.mqtt.golang": "an independent subscriber",
			"github.com/mochi-mqtt/server/v2":     "a broker for measurements",
			"go.etcd.io/bbolt":                    "the naive program of the measurements",
		},
		reason: "scripts are not needed at run time, and cmd is a program",
	},
}

// What every room may import: the kernel's interface. Who may open sockets
// with it is the business of TestOnlyBusesOpenSockets.
var forAll = map[string]string{
	"golang.org/x/sys/unix": "system calls",
}

// What fakes and simulators may import besides what their room may.
var forFakes = map[string]string{
	"github.com/mochi-mqtt/server/v2": "the embedded broker",
}

// What tests may import besides what their package may.
var forTests = map[string]string{
	"go.uber.org/goleak":       "no goroutine is left behind",
	"github.com/google/go-cmp": "readable differences",
	"golang.org/x/sync":        "groups of goroutines",
}

// pkg is what go list says about a package.
type pkg struct {
	ImportPath, Name, Doc, Dir         string
	GoFiles, TestGoFiles               []string
	Imports, TestImports, XTestImports []string
	Standard                           bool
}

func packages(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	cmd.Dir = "../.."
	b, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(b))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// place is where a package stands: its room, and whether it is a fake.
func place(importPath string) (roomName string, fake bool) {
	parts := strings.Split(importPath, "/")
	if parts[0] != module || len(parts) < 2 {
		return "", false
	}
	return parts[1], strings.HasSuffix(path.Base(importPath), "test")
}

// within says whether an import path is one of the modules' packages.
func within(importPath string, modules map[string]string) bool {
	for m := range modules {
		if importPath == m || strings.HasPrefix(importPath, m+"/") {
			return true
		}
	}
	return false
}

// verdict says why the package from may not import to; empty when it may.
func verdict(from, to string, test bool) string {
	fromRoom, fromFake := place(from)
	toRoom, toFake := place(to)
	rules, known := rooms[fromRoom]
	switch {
	case !known:
		return "it stands in no room of the house (" + strings.Join(slices.Sorted(maps.Keys(rooms)), ", ") + ")"
	case toRoom == "" && !strings.Contains(strings.Split(to, "/")[0], "."):
		return "" // the standard library
	case toRoom == "":
		allowed := within(to, forAll) || within(to, rules.modules) || fromFake && within(to, forFakes) ||
			test && (within(to, forTests) || within(to, forFakes))
		if !allowed {
			return "this module has no place in " + fromRoom + ": " + rules.reason
		}
		return ""
	case from == rig && toRoom != "":
		return "every room's tests use it: it imports nothing of the product"
	case toRoom == "cmd" && fromRoom != "cmd":
		return "nothing imports cmd: it is the program, not a library"
	case toFake && !test && !fromFake && fromRoom != "cmd" && fromRoom != "scripts":
		return "a fake belongs into tests, and into the demo and the simulators of cmd; never into the daemon"
	case !test && innerVerdict(from, to) != "":
		return innerVerdict(from, to)
	case toRoom == fromRoom || slices.Contains(rules.rooms, toRoom):
		return ""
	case test && (toFake && fromRoom == "gateway" || to == rig):
		return ""
	}
	return fromRoom + " may not import " + toRoom + ": " + rules.reason
}

func TestImportsFormAStar(t *testing.T) {
	for _, p := range packages(t, "./...") {
		_, listed := inner[p.ImportPath]
		if _, fake := place(p.ImportPath); !listed && !fake && strings.HasPrefix(p.ImportPath, module+"/gateway/") {
			t.Errorf("%s has no rule in scripts/house/innerrooms_test.go: state what it may import, and why not more", p.ImportPath)
		}
		check := func(imports []string, test bool) {
			for _, to := range imports {
				if why := verdict(p.ImportPath, to, test); why != "" {
					t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
				}
			}
		}
		check(p.Imports, false)
		check(p.TestImports, true)
		check(p.XTestImports, true)
	}
}

// The rules themselves have to be able to fail.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		from, to string
		test     bool
		want     string // in the reason; empty: allowed
	}{
		{"fieldferry/gateway", "fieldferry/buffer", false, ""},
		{"fieldferry/cmd/fieldferry", "fieldferry/gateway/config", false, ""},
		{"fieldferry/cmd/fieldferry", "fieldferry/uplink/uplinktest", false, ""},
		{"fieldferry/bus/can", "fieldferry/bus", false, ""},
		{"fieldferry/bus/can", "golang.org/x/sys/unix", false, ""},
		{"fieldferry/uplink", "net/http", false, ""},
		{"fieldferry/uplink", "fieldferry/uplink/uplinktest", true, ""},
		{"fieldferry/uplink", rig, true, ""},
		{"fieldferry/uplink", rig, false, "no frames"},
		{"fieldferry/uplink", "fieldferry/scripts/test/vm", true, "no frames"},
		{rig, "fieldferry/bus", false, "every room's tests"},
		{"fieldferry/uplink/uplinktest", "github.com/mochi-mqtt/server/v2/listeners", false, ""},
		{"fieldferry/gateway", "fieldferry/uplink/uplinktest", true, ""},
		{"fieldferry/buffer", "fieldferry/bus", false, "no frames"},
		{"fieldferry/buffer", "fieldferry/bus", true, "no frames"},
		{"fieldferry/uplink", "fieldferry/buffer", false, "no bbolt"},
		{"fieldferry/bus/modbus", "fieldferry/gateway", false, "nothing but its wire"},
		{"fieldferry/gateway", "fieldferry/cmd/fieldferry", true, "nothing imports cmd"},
		{"fieldferry/scripts/test/e2e", "fieldferry/cmd/fieldferry", true, "nothing imports cmd"},
		{"fieldferry/gateway", "fieldferry/uplink/uplinktest", false, "fake"},
		{"fieldferry/gateway", "go.etcd.io/bbolt", false, "no place"},
		{"fieldferry/gateway", "go.einride.tech/can", false, "no place"},
		{"fieldferry/cmd/fieldferry", "github.com/eclipse/paho.mqtt.golang", false, "no place"},
		{"fieldferry/uplink", "github.com/mochi-mqtt/server/v2", false, "no place"},
		{"fieldferry/uplink", "github.com/spf13/cobra", true, "no place"},
		{"fieldferry/kitchen", "fmt", false, "no room"},
		{"fieldferry/gateway/web", "fieldferry/gateway/live", false, ""},
		{"fieldferry/gateway/config", "fieldferry/gateway/web", false, ""},
		{"fieldferry/gateway/live", "fieldferry/bus/can/dbc", false, ""},
		{"fieldferry/gateway/control", "fieldferry/bus/modbus", true, ""},
		{"fieldferry/cmd/fieldferry", "fieldferry/bus/can/send", false, ""},
		{"fieldferry/gateway/command", "fieldferry/bus/can/write", false, ""},
		{"fieldferry/gateway/command", "fieldferry/bus/modbus/commission", false, "without a permit"},
		{"fieldferry/gateway/command", "fieldferry/bus/can/send", false, "without a permit"},
		{"fieldferry/gateway/source", "fieldferry/bus/can/write", false, "carries permits"},
		{"fieldferry/cmd/fieldferry", "fieldferry/bus/can/write", false, "carries permits"},
		{"fieldferry/gateway/web", "fieldferry/bus/can", false, "a door"},
		{"fieldferry/gateway/web", "fieldferry/buffer", false, "a door"},
		{"fieldferry/gateway/control", "fieldferry/bus/modbus", false, "a door"},
		{"fieldferry/gateway/control", "fieldferry/bus/modbus/rtu", false, "a door"},
		{"fieldferry/gateway/control", "fieldferry/uplink", false, "a door"},
		{"fieldferry/gateway/live", "fieldferry/buffer", false, "last values"},
		{"fieldferry/gateway/live", "fieldferry/uplink", false, "last values"},
		{"fieldferry/gateway/live", "fieldferry/gateway/config", false, "last values"},
		{"fieldferry/gateway/payload/native", "fieldferry/uplink", false, "a form of a record"},
		{"fieldferry/gateway/statedir", "fieldferry/gateway/clock", false, "a leaf"},
		{"fieldferry/gateway/statedir", "fieldferry/buffer", false, "a leaf"},
		{"fieldferry/gateway/alarm", "fieldferry/gateway", false, "alarms"},
		{"fieldferry/gateway/config", "fieldferry/gateway", false, "vocabulary"},
		{"fieldferry/gateway/daemon", "fieldferry/uplink", false, "one gateway at a time"},
		{"fieldferry/gateway/clock", "fieldferry/bus", false, "a leaf"},
		{"fieldferry/gateway", "fieldferry/bus/can/send", false, "without a permit"},
		{"fieldferry/gateway/config", "fieldferry/bus/modbus/commission", false, "without a permit"},
		{"fieldferry/bus/can", "fieldferry/bus/can/send", false, "without a permit"},
		{"fieldferry/uplink", "fieldferry/uplink/mqtt", false, ""},
		{"fieldferry/uplink/mqtt", "fieldferry/uplink/internal/wsconn", false, ""},
		{"fieldferry/uplink/mqtt", "fieldferry/uplink", false, "one connection"},
		{"fieldferry/gateway", "fieldferry/uplink/mqtt", false, "no queue"},
	} {
		if got := verdict(c.from, c.to, c.test); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s (test: %v): got %q, want %q", c.from, c.to, c.test, got, c.want)
		}
	}
}

// Only permits send on a CAN bus from the daemon: what makes it does not hold the
// code that sends without one, and system calls that send are in one package,
// which only those that check, and the verbs of a person, can import.
func TestTheGatewaySendsOnCANByPermitsOnly(t *testing.T) {
	const sending, socket = module + "/bus/can/send", module + "/bus/can/internal/tx"
	seen := false
	for _, p := range packages(t, "-deps", "./gateway/...", "./bus/can") {
		if p.ImportPath == sending || strings.HasSuffix(p.ImportPath, "/cantest") {
			t.Errorf("the gateway depends on %s", p.ImportPath)
		}
		seen = seen || p.ImportPath == module+"/bus/can"
	}
	if !seen {
		t.Error("the gateway reads no CAN bus: the test looks at the wrong packages")
	}
	for _, p := range packages(t, "./bus/...") {
		if slices.Contains(p.Imports, socket) && p.ImportPath != sending && p.ImportPath != module+"/bus/can/write" {
			t.Errorf("%s imports %s: only bus/can/write, by permits, and bus/can/send, for a person, send", p.ImportPath, socket)
		}
	}
	writes := []string{"Write", "Writev", "Pwrite", "Sendto", "Sendmsg", "SendmsgN", "Send"}
	files(t, ".go", func(path string, content []byte) {
		rel, _ := filepath.Rel(root, path)
		dir := filepath.ToSlash(filepath.Dir(rel))
		if dir != "bus/can" && !strings.HasPrefix(dir, "bus/can/") || dir == "bus/can/internal/tx" || strings.HasSuffix(dir, "test") || strings.HasSuffix(rel, "_test.go") {
			return
		}
		eachSelector(t, path, content, func(pkg, name string) {
			if pkg == "unix" && (slices.Contains(writes, name) || strings.HasPrefix(name, "SYS_WRITE") || strings.HasPrefix(name, "SYS_SEND")) {
				t.Errorf("%s uses unix.%s: only bus/can/internal/tx writes to a bus", rel, name)
			}
		})
	})
}

// What a room imports brings more along; nothing of it may turn the arrow round.
func TestNoRoomReachesAnotherByDetour(t *testing.T) {
	for _, name := range []string{"bus", "buffer", "uplink"} {
		for _, p := range packages(t, "-deps", "./"+name+"/...") {
			if r, _ := place(p.ImportPath); r != "" && r != name {
				t.Errorf("%s depends on %s by way of others: %s", name, p.ImportPath, rooms[name].reason)
			}
		}
	}
}
