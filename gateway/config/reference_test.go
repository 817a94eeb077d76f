package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const referenceFile = "../../docs/reference.md"

// contexts are configurations in which every key is read by one of them: some
// keys are only asked for beside others.
var contexts = []string{
	`gateway: {id: g}
log: {}
can: [{interface: can0, name: c, fd: true, bitrate: 500000, dbitrate: 2000000, limit: {on_change: true}}]
modbus: [{name: l, port: /dev/ttyS1, rs485: {enabled: true}, devices: [{name: d, unit_id: 1, registers: [{name: r, address: 10, on_change: true}]}]}]
buffer: {path: none}
uplink: {servers: ["mqtts://127.0.0.1:1"], username: u, batch: {}, backlog: {}}
web: {listen: "127.0.0.1:1", metrics: {}}
remote_config: {mode: apply}
commands: {enabled: true, read: {allow: [a]}, points: [{name: p, allow: [a], line: l, device: d, register: r, fallback: {value: 1, after: 10s}}, {name: q, allow: [a], can: c, message: M, signals: [{name: s}]}]}
`,
	`gateway: {id: g}
modbus: [{name: l, port: "tcp://127.0.0.1:1", devices: [{name: d, unit_id: 1, registers: [{name: r, address: 10, type: string, length: 4}]}]}]
uplink: {servers: ["mqtt://127.0.0.1:1"]}
`,
	`gateway: {id: g}
can: [{interface: can0, name: c, dbc: testdata/good/canlimit.dbc, limit: {on_change: true}, messages: {EEC1: {limit: {on_change: true}}}}]
modbus: [{name: l, port: /dev/ttyS1, devices: [{name: d, unit_id: 1, registers: [{name: r, address: 10, type: bit, bit: 3}]}]}]
uplink: {servers: ["mqtt://127.0.0.1:1"]}
commands: {enabled: true, points: [{name: q, allow: [a], can: c, message: EEC1, signals: [{name: EngineSpeed}]}]}
`,
	`gateway: {id: g}
can:
  - {interface: can0, name: c, bitrate: 500000, listen_only: false}
  - {interface: can1, name: f, fd: true, bitrate: 1000, dbitrate: 1000, listen_only: false}
modbus:
  - name: l
    port: /dev/ttyS1
    devices:
      - name: d
        unit_id: 1
        registers: [{name: r, address: 10, type: float32}, {name: b, address: 20, type: int8}, {name: "s{n}", address: 30, repeat: {count: 2, stride: 2}}]
      - {name: e, unit_id: 2, address_format: modicon, registers: [{name: r, address: 40001}]}
buffer: {path: none, max_size: 1TiB}
uplink: {servers: ["mqtt://127.0.0.1:1"]}
web: {listen: "0.0.0.0:8443"}
commands: {enabled: true, points: [{name: q, allow: [a], can: c, id: 0x123, length: 8}, {name: p, allow: [a], can: f, id: 0x124, length: 8}]}
`,
}

// byHand are the keys whose answer to a wrong value does not say what they take.
var byHand = map[string]string{
	"modbus[].devices[].unit_id": "whole number, 1 to 255, of which those beyond 247 are reserved; over a network 0 to 255",
	"uplink.tls.cert":            "file", "uplink.tls.key": "file", "web.tls.cert": "file", "web.tls.key": "file",
	"can[].limit.deadband":               "number, share such as 1%, or names of signals with these",
	"can[].messages.NAME.limit.deadband": "number, share such as 1%, or names of signals with these",
	"uplink.headers":                     "names, each with a text or {file: FILE}",
	"can[].sample_point":                 "part of the bit, 0.5 to 0.99", "can[].dsample_point": "part of the bit, 0.5 to 0.99",
	"modbus[].devices[].registers[].address": "whole number, 0 to 65535; with address_format: modicon a number such as 40001 or 400001",
	"modbus[].devices[].registers[].invalid": "number, NaN, or the raw value such as 0x8000 or -32768; or a list of these",
	"modbus[].devices[].registers[].enum":    "numbers, each with a label", "modbus[].devices[].registers[].flags": "numbers of bits, each with a label",
	"modbus[].devices[].template": "name of a template",
	"commands.signers":            "names, each with the file of a public key",
	"commands.points[].id":        "arbitration id, such as 0x123 or 0x18FEF100",
	"can[].dbc":                   "file, or a list of files",
	"web.listen":                  "address with a port, or unix:PATH",
	"uplink.proxy":                "address such as http://proxy.example:3128, or environment",
	"templates":                   "directory", "buffer.path": "directory",
	"buffer.quota":             "size from 64KiB, at most half of max_size; or none",
	"commands.points[].length": "whole number, 0 to 8; with CAN FD 0 to 64",
}

// stranger is a key and a value that nothing is like.
const strangerKey = "zzqqxxzz"

// probe asks the loader about itself: what it says of a key that it does not
// know, and of values that it does not take.
type probe struct {
	t     *testing.T
	keys  map[string]*keyFacts // by path with [] for every index
	order []string
	at    []string // the bounds of the key that was asked for last
}

// keyFacts are what the loader says of one key.
type keyFacts struct {
	takes string
	at    []string // its bounds
	usual []string // its defaults
	asked []question
}

var index = regexp.MustCompile(`\[\d+\]`)

// ask sets a key in a context, and returns what is said of it.
func (p *probe) ask(context, path, value string) (said []Problem) {
	p.at = nil
	_, problems := Parse("f.yaml", []byte(context), Options{Hostname: "h", Set: []string{path + "=" + value}, bounds: func(at string, bounds, _ []string) {
		if at == path {
			p.at = bounds
		}
	}})
	for _, problem := range problems {
		if problem.Path == path || strings.HasPrefix(problem.Path, path+".") || strings.HasPrefix(problem.Path, path+"[") {
			said = append(said, problem)
		}
	}
	return said
}

var theKeys = regexp.MustCompile(`^the keys here are (.*)$`)

// question is a key in a context.
type question struct{ context, path string }

// walk notes every key of a map, and goes into those that are maps or lists.
func (p *probe) walk(context, path string) {
	for _, key := range p.known(context, path) {
		p.key(context, join(path, key))
	}
}

// known are the keys that a map takes.
func (p *probe) known(context, path string) []string {
	for _, s := range p.ask(context, join(path, strangerKey), "1") {
		if m := theKeys.FindStringSubmatch(s.Fix); m != nil {
			return strings.Split(m[1], ", ")
		}
	}
	return nil
}

// ownNames stand for the keys of a map that have the names of somebody's own.
var ownNames = []string{"NAME", "EEC1"}

// shownAs is a path as the table has it.
func shownAs(path string) string {
	return strings.ReplaceAll(index.ReplaceAllString(path, "[]"), ".EEC1", ".NAME")
}

func (p *probe) key(context, path string) {
	name := shownAs(path)
	takes, at := p.takes(context, path)
	r := p.keys[name]
	if r == nil {
		r = &keyFacts{takes: takes}
		p.keys[name], p.order = r, append(p.order, name)
	}
	r.asked = append(r.asked, question{context, path})
	if r.at == nil {
		r.at = at
	}
	if strings.HasPrefix(r.takes, "?") || r.takes == "text" { // said in another context
		r.takes = takes
	}
	switch {
	case strings.HasSuffix(path, ".registers[0].registers"): // they are those around it again
	case takes == keyed && p.known(context, path) == nil:
		at := slices.IndexFunc(ownNames, func(n string) bool { return p.known(context, join(path, n)) != nil })
		if at >= 0 {
			r.takes = "names, each with keys"
			p.walk(context, join(path, ownNames[at]))
		} else if !strings.HasPrefix(r.takes, "names") {
			r.takes = "names with values"
		}
	case takes == keyed:
		p.walk(context, path)
	case takes == listed:
		for i := range 4 {
			p.walk(context, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

const (
	keyed  = "keys"
	listed = "a list of keys"
)

// takes says in a few words what a key takes, and between which bounds.
func (p *probe) takes(context, path string) (takes string, at []string) {
	what, fix := "", ""
	for _, s := range p.ask(context, path, "§§§§") {
		if s.Path == path && !s.Warning {
			what, fix = s.What, s.Fix
			break
		}
	}
	at = p.at
	switch {
	case strings.Contains(what, "keys and values is wanted"):
		return keyed, at
	case strings.Contains(what, "a list is wanted"):
		if inner := p.ask(context, path, "[{"+strangerKey+": 1}]"); slices.ContainsFunc(inner, func(s Problem) bool { return theKeys.MatchString(s.Fix) }) {
			return listed, at
		}
		return "a list", at
	case strings.Contains(what, "neither true nor false"):
		return "true or false", at
	case strings.Contains(what, "is not known") && strings.HasPrefix(fix, "write "):
		return strings.TrimPrefix(fix, "write "), at
	case at != nil: // a number of some kind
		return numberOf(what), at
	case strings.Contains(what, "does not exist"):
		return "file", at
	case strings.HasPrefix(fix, "write "):
		return strings.TrimPrefix(fix, "write "), at
	case what != "":
		return "? " + fix, at
	}
	return "text", at
}

// numberOf is the kind of a number that has bounds, by what is said of a text.
func numberOf(what string) string {
	for _, kind := range [][2]string{
		{"is not a whole number", "whole number"}, {"is not a duration", "duration"}, {"is not a rate", "size a second"},
		{"is not a size", "size"}, {"is not a finite number", "share, such as 5% or 0.05"},
	} {
		if strings.Contains(what, kind[0]) {
			return kind[1]
		}
	}
	return "? " + what
}

// add keeps what is not there yet.
func add(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// outOf reports whether a default of nothing is out of the bounds: the key is not
// there then.
func (r *keyFacts) outOf(usual string) bool {
	return (usual == "0" || usual == "0s") && len(r.at) > 0 && !slices.Contains(r.at, "0")
}

// bound is a bound as people write it.
func bound(text string) string {
	var n int64
	var unit string
	if _, err := fmt.Sscanf(text, "%dB%s", &n, &unit); err == nil || strings.HasSuffix(text, "B") && n > 0 {
		return bytesText(n) + unit
	}
	if d, err := time.ParseDuration(text); err == nil && strings.Trim(text, "0123456789") != "" {
		return DurationText(d)
	}
	return text
}

// row is a row of the table.
func (r *keyFacts) row(name string) string {
	takes := r.takes
	if strings.HasPrefix(takes, "?") {
		takes = "text"
	}
	if hand := byHand[name]; hand != "" {
		takes = hand
	} else if len(r.at) >= 2 && r.at[0] == r.at[1] {
		takes = r.at[0]
	} else if len(r.at) >= 2 {
		takes += ", " + bound(r.at[0]) + " to " + bound(r.at[1])
		if len(r.at) > 2 {
			takes += ", or " + r.at[2]
		}
	}
	usual := strings.Join(slices.DeleteFunc(r.usual, r.outOf), " or ")
	if usual == "0s" {
		usual = "0"
	}
	return "| `" + name + "` | " + strings.ReplaceAll(takes, "|", "\\|") + " | " + usual + " |\n"
}

// print writes the rows below a key, each followed by those below it.
func (p *probe) print(table *strings.Builder, above string) {
	for _, name := range p.order {
		parent := strings.TrimSuffix(name[:max(0, strings.LastIndexByte(name, '.'))], "[]")
		if strings.TrimSuffix(parent, ".NAME") != above {
			continue
		}
		if above == "" {
			fmt.Fprintf(table, "\n### %s\n\n| key | takes | default |\n| --- | --- | --- |\n", name)
		}
		table.WriteString(p.keys[name].row(name))
		p.print(table, name)
	}
}

// newProbe has asked for every key.
func newProbe(t *testing.T) *probe {
	p := &probe{t: t, keys: map[string]*keyFacts{}}
	for _, c := range contexts {
		p.walk(c, "")
	}
	return p
}

// The reference of the configuration is what the loader says of itself: which keys
// a map takes, what it answers to a value that it does not take, the bounds that it
// compares with, and the defaults that it puts in. go test -run Reference -update
// writes it.
func TestReference(t *testing.T) {
	p := newProbe(t)
	for _, c := range contexts {
		opts := Options{Hostname: "the host name"}
		for _, s := range Effective("f.yaml", []byte(c), opts) {
			if r := p.keys[shownAs(s.Key)]; r != nil && s.Default {
				r.usual = add(r.usual, s.Value)
			}
		}
	}
	var table strings.Builder
	p.print(&table, "")
	for name := range byHand {
		if p.keys[name] == nil {
			t.Errorf("%s is not a key", name)
		}
	}
	if len(p.order) < 150 {
		t.Errorf("only %d keys", len(p.order))
	}
	const begin, end = "<!-- keys: written by go test ./gateway/config -run Reference -update -->\n", "\n<!-- end of keys -->\n"
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	is, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the keys", referenceFile)
	}
	if *update {
		if err := os.WriteFile(referenceFile, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if is != table.String() {
		t.Errorf("%s is not what the loader says; run go test ./gateway/config -run Reference -update", referenceFile)
	}
}
