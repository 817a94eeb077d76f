package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// aliasBomb expands to 10^9 items where aliases are followed.
func aliasBomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	return b.String() + "can: *a8\n"
}

func wideMap(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	return b.String()
}

func deepBlock(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func hostileFiles() map[string]string {
	const full = maxFileSize
	rep := func(s string) string { return strings.Repeat(s, full/len(s)) }
	return map[string]string{
		"alias bomb":           aliasBomb(),
		"depth 20000 flow":     strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
		"depth 20000 maps":     strings.Repeat("{a: ", 20_000) + strings.Repeat("}", 20_000),
		"depth 20000 dashes":   strings.Repeat("- ", 20_000) + "x",
		"depth 1400 block":     deepBlock(1400),
		"wide block map":       wideMap(80_000),
		"wide flow map":        "{" + rep("a,") + "}",
		"wide flow list":       "can: [" + rep("a,") + "]",
		"many dashes":          "can:\n" + strings.Repeat("-\n", 29_000),
		"many items":           "can:\n" + strings.Repeat("- a\n", 29_000),
		"many registers":       "modbus: [{port: /dev/x, devices: [{name: m, unit_id: 1, registers: [\n" + strings.Repeat("{a: 1, b: 2, c: 3},\n", 6000) + "]}]}]\n",
		"percent signs":        rep("%"),
		"stars":                rep("*"),
		"ampersands":           rep("&"),
		"exclamation marks":    rep("!a "),
		"question marks":       rep("? "),
		"colons":               rep(":"),
		"quotes":               rep("\""),
		"one long word":        "can: " + rep("x"),
		"one long quoted word": "can: \"" + rep("x")[:full-10] + "\"",
		"newlines":             rep("\n"),
		"carriage returns":     rep("\r"),
		"comments":             rep("# a\n"),
	}
}

// TestHostileFilesAreBounded gives the parser what is made to exhaust it. The
// budget is of bytes allocated altogether, garbage included, which bounds the
// time too: nothing here computes without allocating.
func TestHostileFilesAreBounded(t *testing.T) {
	const budget = 192 << 20
	for name, text := range hostileFiles() {
		t.Run(name, func(t *testing.T) {
			data := []byte(text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			cfg, problems := Parse("bad.yaml", data, surroundings())
			runtime.ReadMemStats(&after)
			if cfg != nil || !HasErrors(problems) {
				t.Error("accepted")
			}
			if len(problems) > maxProblems+1 {
				t.Errorf("%d problems", len(problems))
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > budget {
				t.Errorf("%d MB were allocated, more than %d", used>>20, budget>>20)
			}
		})
	}
}

// TestSmallBombsAreCheap holds the three files everybody tries to 64 MB of
// allocations altogether.
func TestSmallBombsAreCheap(t *testing.T) {
	files := hostileFiles()
	for _, name := range []string{"alias bomb", "depth 20000 flow", "depth 20000 maps", "depth 20000 dashes", "100 MB"} {
		path := filepath.Join(t.TempDir(), "bad.yaml")
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "100 MB" {
			if err := os.Truncate(path, 100<<20); err != nil {
				t.Fatal(err)
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, problems := Load(path, surroundings())
		runtime.ReadMemStats(&after)
		if !HasErrors(problems) {
			t.Errorf("%s: accepted", name)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s: %d MB were allocated", name, used>>20)
		}
	}
}

// largeSite is four lines with twenty devices of forty registers each.
func largeSite() string {
	var b strings.Builder
	b.WriteString("uplink: {servers: [mqtt://localhost]}\nmodbus:\n")
	for line := range 4 {
		fmt.Fprintf(&b, "  - port: /dev/ttyS%d\n    interval: 10s\n    devices:\n", line)
		for dev := range 20 {
			fmt.Fprintf(&b, "      - name: meter%d\n        unit_id: %d\n        registers:\n", dev, dev+1)
			for r := range 40 {
				fmt.Fprintf(&b, "          - {name: value_%d, register: input, address: %d, type: float32, scale: 0.1, unit: V}\n", r, 2*r)
			}
		}
	}
	return b.String()
}

func TestLargeSiteIsAccepted(t *testing.T) {
	cfg, problems := Parse("big.yaml", []byte(largeSite()), surroundings())
	if cfg == nil || len(problems) > 0 {
		t.Fatalf("%.2000s", lines(problems))
	}
	if n := len(cfg.Modbus[3].Devices[19].Registers); n != 40 {
		t.Errorf("%d registers in the last device, want 40", n)
	}
}

// TestPathsThatAreNoFiles loads what is not a regular file; a pipe must not
// block and a device must not be read.
func TestPathsThatAreNoFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Skipf("this file system has no pipes: %v", err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "is a directory",
		fifo:                          "is a named pipe",
		"/dev/zero":                   "is a device",
		filepath.Join(dir, "missing"): "does not exist",
		loop:                          "cannot be read",
		"":                            "does not exist",
	} {
		cfg, problems := Load(path, surroundings())
		if cfg != nil || len(problems) != 1 || !strings.Contains(problems[0].What, want) {
			t.Errorf("%q: want %q, got\n%s", path, want, lines(problems))
		}
	}
}

func TestProblemsAreBoundedErrorsFirst(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("can:\n")
	for range 3 * maxProblems {
		b.WriteString("  - 1\n")
	}
	_, problems := Parse("f.yaml", b.Bytes(), surroundings())
	if len(problems) != maxProblems+1 {
		t.Fatalf("%d problems", len(problems))
	}
	if last := problems[maxProblems]; last.Warning || !strings.Contains(last.What, "more problems") {
		t.Errorf("the last one is %s", last)
	}
}

// FuzzParse looks for texts that make Parse panic or contradict itself.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, "uplink.servers.0=mqtt://localhost")
		}
	}
	f.Add([]byte("can: [{interface: can0}]"), "can.1={interface: can1}")
	f.Add([]byte(siteMain+dropInMark+"b.yaml\n"+siteLine+dropInMark+"a.yaml\ncan: [{interface: can1}]\nuplink: {batch: {max_delay: 1s}}\n"), "can.2={interface: can2}")
	f.Add([]byte(siteMain+dropInMark+"a.yaml\ngateway: {id: other}\n"+dropInMark+"../x.yaml\n---\n"), "log.level=warn")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		opts := surroundings()
		opts.Set = []string{set}
		cfg, problems := Parse("testdata/good/fuzz.yaml", data, opts)
		if (cfg == nil) != HasErrors(problems) {
			t.Fatalf("a configuration: %v, problems:\n%s", cfg != nil, lines(problems))
		}
		for _, p := range problems {
			if p.What == "" || p.Fix == "" || strings.ContainsAny(p.String(), "\n\x00") {
				t.Errorf("problem %q", p.String())
			}
			if p.File != setName && p.Line > bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r"))+1 {
				t.Errorf("line %d is past the end: %s", p.Line, p)
			}
		}
		_, again := Parse("testdata/good/fuzz.yaml", data, opts)
		if lines(again) != lines(problems) {
			t.Errorf("not the same twice:\n%s\n%s", lines(problems), lines(again))
		}
	})
}
