package documents

import (
	"bytes"
	flags "flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"fieldferry/gateway/config"
)

const root = "../../.."

type block struct{ file, lang, text string }

// blocks are the fenced blocks of all documents for readers.
func blocks(t *testing.T) (list []block) {
	t.Helper()
	files, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("%q, error %v", files, err)
	}
	fence := regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```$")
	for _, f := range append(files, root+"/README.md", root+"/docs/consume/README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllSubmatch(text, -1) {
			list = append(list, block{f, string(m[1]), dedent(string(m[2]))})
		}
	}
	return list
}

// dedent takes the indent of the first line, as of a block in a list, off all.
func dedent(text string) string {
	n := len(text) - len(strings.TrimLeft(text, " "))
	return regexp.MustCompile(`(?m)^ {0,`+string(rune('0'+min(n, 9)))+`}`).ReplaceAllString(text, "")
}

// Whoever copies a whole configuration out of a document gets one that works.
func TestConfigurationsPassCheck(t *testing.T) {
	n := 0
	for _, b := range blocks(t) {
		if b.lang != "yaml" || !regexp.MustCompile(`(?m)^uplink:`).MatchString(b.text) || !regexp.MustCompile(`(?m)^(can|modbus):`).MatchString(b.text) {
			continue
		}
		n++
		path := filepath.Join(t.TempDir(), "fieldferry.yaml")
		if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, problems := config.Load(path, config.Options{})
		if cfg == nil {
			t.Errorf("%s: %v\n%s", b.file, problems, b.text)
		}
	}
	if n < 2 {
		t.Errorf("%d configurations", n)
	}
}

// Parts of configurations name keys that there are.
func TestPartsOfConfigurationsHaveKeysThatThereAre(t *testing.T) {
	for _, b := range blocks(t) {
		if b.lang != "yaml" || !regexp.MustCompile(`(?m)^(gateway|can|modbus|buffer|uplink|web|commands):`).MatchString(b.text) {
			continue
		}
		path := filepath.Join(t.TempDir(), "fieldferry.yaml")
		if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problems := config.Load(path, config.Options{Hostname: "gw"})
		for _, p := range problems {
			if strings.Contains(p.What, "unknown key") || strings.Contains(p.What, "is not a key") {
				t.Errorf("%s: %v\n%s", b.file, p, b.text)
			}
		}
	}
}

var (
	command = regexp.MustCompile(`(?:^|[\s(|;&\x60])fieldferry ((?:[a-z]+ ?)+)?([^\x60\n#|&;)>]*)`)
	flag    = regexp.MustCompile(`(?:^|\s)(--[a-z][a-z-]*|-[a-zA-Z])\b`)
	section = regexp.MustCompile(`(?m)^## (fieldferry.*)$`)
)

var update = flags.Bool("update", false, "write docs/cli.md")

// manual is the reference of the command line as the program writes it.
func manual(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "run", "-tags", "manual", "fieldferry/cmd/fieldferry")
	cmd.Env = append(os.Environ(), "FIELDFERRY_MANUAL="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The reference of the command line is what the program says.
func TestCommandLineReference(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the demo is another one elsewhere")
	}
	const file = root + "/docs/cli.md"
	is := manual(t)
	if *update {
		if err := os.WriteFile(file, is, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(text, is) {
		t.Errorf("%s is not what the program says (%v); run go test ./scripts/test/documents -run CommandLine -update", file, err)
	}
}

// Every variable that the program looks at stands in the reference.
func TestEveryVariableIsInTheReference(t *testing.T) {
	text, err := os.ReadFile(root + "/docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(root + "/cmd/fieldferry/*.go")
	if err != nil || len(files) < 20 {
		t.Fatalf("%q, error %v", files, err)
	}
	n := 0
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") || bytes.Contains(source, []byte("//go:build manual")) {
			continue
		}
		for _, m := range regexp.MustCompile(`[gG]etenv\("([A-Z_]+)"\)`).FindAllSubmatch(source, -1) {
			n++
			if !bytes.Contains(text, append(append([]byte("`"), m[1]...), '`')) {
				t.Errorf("%s looks at %s, of which docs/reference.md says nothing", f, m[1])
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d variables were found", n)
	}
}

// verbs are the flags of each verb, as the program's own manual has them.
func verbs(t *testing.T) map[string]string {
	t.Helper()
	text := manual(t)
	list := map[string]string{}
	at := section.FindAllSubmatchIndex(text, -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		list[string(text[m[2]:m[3]])] = string(text[m[1]:end])
	}
	return list
}

func TestCommandsNameVerbsAndFlagsThatThereAre(t *testing.T) {
	known := verbs(t)
	n := 0
	try := func(file, line string) {
		for _, m := range command.FindAllStringSubmatch(line, -1) {
			name := "fieldferry"
			words := strings.Fields(m[1])
			for len(words) > 0 && known[name+" "+words[0]] != "" {
				name, words = name+" "+words[0], words[1:]
			}
			if name == "fieldferry" && len(words) > 0 {
				t.Errorf("%s: %q has no verb of fieldferry", file, strings.TrimSpace(m[0]))
				continue
			}
			n++
			for _, f := range flag.FindAllStringSubmatch(" "+m[2], -1) {
				if f[1] != "--help" && f[1] != "-h" && f[1] != "--version" && !regexp.MustCompile(`(?m)(^|[\s,])`+regexp.QuoteMeta(f[1])+`\b`).MatchString(known[name]) {
					t.Errorf("%s: %s does not know %s", file, name, f[1])
				}
			}
		}
	}
	inline := regexp.MustCompile("`((?:sudo )?fieldferry [a-z][^`\n]*)`")
	for _, b := range blocks(t) {
		if b.lang == "sh" {
			for line := range strings.Lines(b.text) {
				if strings.HasPrefix(strings.TrimPrefix(strings.TrimSpace(line), "sudo "), "fieldferry ") {
					try(b.file, line)
				}
			}
		}
	}
	files, _ := filepath.Glob(root + "/docs/*.md")
	for _, f := range append(files, root+"/README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inline.FindAllSubmatch(text, -1) {
			try(f, string(m[1]))
		}
	}
	if n < 30 {
		t.Errorf("only %d commands were found", n)
	}
}

// Every key that the loader takes is described.
func TestEveryKeyIsDescribed(t *testing.T) {
	var described strings.Builder
	for _, f := range []string{"CONFIGURATION.md", "COMMANDS.md"} {
		text, err := os.ReadFile(root + "/docs/" + f)
		if err != nil {
			t.Fatal(err)
		}
		described.Write(text)
	}
	files, err := filepath.Glob(root + "/gateway/config/*.go")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`(?s)\.fields\(("[^)]*)\)`)
	n := 0
	for _, f := range files {
		if filepath.Base(f) == "simulation.go" {
			continue // the map of modbus simulate, which its help describes
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllSubmatch(text, -1) {
			for _, k := range regexp.MustCompile(`"([a-z0-9_]+)"`).FindAllSubmatch(m[1], -1) {
				n++
				if !regexp.MustCompile(`\b` + string(k[1]) + `\b`).MatchString(described.String()) {
					t.Errorf("%s: no document describes the key %s", filepath.Base(f), k[1])
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d keys were found", n)
	}
}

// Nobody guesses that a document exists: each is reached from the README by links.
func TestEveryDocumentIsReachedFromTheReadme(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+\.md)(?:#[^)]*)?\)`)
	reached := map[string]bool{}
	var follow func(path string)
	follow = func(path string) {
		if reached[path] {
			return
		}
		reached[path] = true
		text, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("a link leads to %s: %v", path, err)
			return
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(m[1], "://") {
				follow(filepath.Join(filepath.Dir(path), m[1]))
			}
		}
	}
	follow(filepath.Join(root, "README.md"))
	all, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(all) < 20 {
		t.Fatalf("%q, error %v", all, err)
	}
	for _, path := range all {
		if !reached[filepath.Clean(path)] {
			t.Errorf("no link leads from the README to %s", path)
		}
	}
}
