package house

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// maxLines is how long a Go file may be before it is taken to hold more than
// one idea.
const maxLines = 500

// files calls f for every file of the source tree whose name ends in suffix.
func files(t *testing.T, suffix string, f func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == ".git" || name == ".cache" || name == "bin" || name == "dist") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, suffix) {
			return nil
		}
		b, err := os.ReadFile(p)
		if err == nil {
			f(p, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesHoldOneIdea(t *testing.T) {
	files(t, ".go", func(path string, content []byte) {
		if n := bytes.Count(content, []byte{'\n'}); n > maxLines {
			t.Errorf("%s has %d lines: a file of more than %d holds more than one idea", path, n, maxLines)
		}
	})
}

// What was built is not kept: each clone would carry every version of it.
func TestNothingBuiltIsKept(t *testing.T) {
	list, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Skip("not a checkout of git: ", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		f, err := os.Open(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // about to be removed
		} else if err != nil {
			t.Fatal(err)
		}
		magic := make([]byte, 4)
		n, _ := io.ReadFull(f, magic)
		_ = f.Close()
		if string(magic[:n]) == "\x7fELF" {
			t.Errorf("%s is a program that was built: git rm it", name)
		}
	}
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	for _, p := range packages(t, "./...") {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// Raw sockets belong to the buses; elsewhere package net is enough. Fakes and
// tests hold ports in ways package net does not know, and the bench brings up
// the interfaces of its guests.
func TestOnlyBusesOpenSockets(t *testing.T) {
	files(t, ".go", func(path string, content []byte) {
		rel, _ := filepath.Rel(root, path)
		fake := strings.HasSuffix(filepath.Dir(rel), "test") || strings.HasSuffix(rel, "_test.go")
		if fake || strings.HasPrefix(rel, "bus/") || strings.HasPrefix(rel, "scripts/") {
			return
		}
		eachSelector(t, path, content, func(pkg, name string) {
			if pkg == "unix" && (name == "Socket" || name == "Socketpair" || strings.HasPrefix(name, "AF_")) {
				t.Errorf("%s uses unix.%s: sockets are opened in bus only", rel, name)
			}
		})
	})
}

// What a library takes from the environment, from a global logger or from
// init cannot be seen by who calls it.
func TestOnlyCmdTouchesProcessState(t *testing.T) {
	forbidden := map[string]string{
		"os.Getenv": "only cmd reads the environment", "os.LookupEnv": "only cmd reads the environment",
		"os.Environ": "only cmd reads the environment", "slog.Default": "a logger is passed in",
		"slog.SetDefault": "only cmd chooses the logger", "os.Exit": "only cmd ends the process",
	}
	files(t, ".go", func(path string, content []byte) {
		rel, _ := filepath.Rel(root, path)
		if strings.HasSuffix(rel, "_test.go") || strings.HasPrefix(rel, "cmd/") || strings.HasPrefix(rel, "scripts/") || strings.HasPrefix(rel, "docs/") {
			return
		}
		eachSelector(t, path, content, func(pkg, name string) {
			if why := forbidden[pkg+"."+name]; why != "" {
				t.Errorf("%s uses %s.%s: %s", rel, pkg, name, why)
			}
		})
		if regexp.MustCompile(`(?m)^func init\(\)`).Match(content) {
			t.Errorf("%s has an init function: registration is said where it is used", rel)
		}
	})
}

// eachSelector calls f for every pkg.Name in a file.
func eachSelector(t *testing.T, path string, content []byte, f func(pkg, name string)) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), path, content, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				f(x.Name, s.Sel.Name)
			}
		}
		return true
	})
}

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	makeTarget = regexp.MustCompile("`make ([a-z-]+)")
	rule       = regexp.MustCompile(`(?m)^([a-z-]+):`)
	sourcePath = regexp.MustCompile("`((?:cmd|gateway|bus|buffer|uplink|scripts|systemd|docs)/[A-Za-z0-9_./-]*)`")
)

func TestDocumentsNameWhatExists(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range rule.FindAllSubmatch(makefile, -1) {
		targets[string(m[1])] = true
	}
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	files(t, ".md", func(path string, content []byte) {
		for _, m := range link.FindAllSubmatch(content, -1) {
			target, _, _ := strings.Cut(string(m[1]), "#")
			if target == "" || strings.Contains(target, ":") {
				continue
			}
			if !exists(filepath.Join(filepath.Dir(path), target)) {
				t.Errorf("%s links to %s, which does not exist", path, target)
			}
		}
		for _, m := range makeTarget.FindAllSubmatch(content, -1) {
			if !targets[string(m[1])] {
				t.Errorf("%s speaks of `make %s`, which is no target", path, m[1])
			}
		}
		for _, m := range sourcePath.FindAllSubmatch(content, -1) {
			if p := strings.TrimSuffix(string(m[1]), "..."); !exists(filepath.Join(root, p)) {
				t.Errorf("%s names %s, which does not exist", path, m[1])
			}
		}
	})
}

func TestHelpListsEveryTarget(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range strings.Fields("help run build test test-race lint cross deb vm-test bench fuzz clean") {
		if !regexp.MustCompile(`(?m)^` + target + `:.* ## .+$`).Match(makefile) {
			t.Errorf("make %s does not exist or make help does not explain it", target)
		}
	}
}
