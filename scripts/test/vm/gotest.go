package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Suite is the tests of one package, compiled for a guest.
type Suite struct {
	Package string            // import path
	Files   map[string]string // for [Config.Files]
	dir     string            // of the package, in the guest
}

// BuildSuite compiles the tests of the package pkg (a path as go test takes
// it) into the directory tmp, and collects the package's testdata.
func (k Kind) BuildSuite(ctx context.Context, pkg, tmp string) (*Suite, error) {
	list := exec.CommandContext(ctx, "go", "list", "-f", "{{.ImportPath}}\n{{.Dir}}", pkg)
	list.Stderr = os.Stderr
	b, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pkg, err)
	}
	importPath, dir, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	s := &Suite{Package: importPath, Files: map[string]string{}, dir: path.Join("/src", importPath)}
	binary := filepath.Join(tmp, strings.ReplaceAll(importPath, "/", "-")+".test")
	if err := k.BuildTest(ctx, pkg, binary); err != nil {
		return nil, err
	}
	s.Files[s.binary()] = binary
	data := filepath.Join(dir, "testdata")
	err = filepath.WalkDir(data, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, p)
			s.Files[path.Join(s.dir, filepath.ToSlash(rel))] = p
		}
		return err
	})
	return s, err
}

func (s *Suite) binary() string { return path.Join(s.dir, "package.test") }

// RunSuite runs the tests of a suite whose files are in the guest, with
// arguments as a test binary takes them, and writes what they say to out.
// A test that fails is an error, and so is one that skips, and a run without
// a test.
func (g *Guest) RunSuite(ctx context.Context, s *Suite, out io.Writer, args ...string) error {
	var v verdict
	status, err := g.Run(ctx, Command{
		Argv:   append([]string{s.binary(), "-test.v"}, args...),
		Dir:    s.dir,
		Output: io.MultiWriter(out, &v),
	})
	if err != nil {
		return fmt.Errorf("tests of %s: %w", s.Package, err)
	}
	return v.judge(s.Package, status)
}

// verdict reads the output of a test binary run with -test.v.
type verdict struct {
	line    []byte
	ran     int
	skipped []string
}

// Write takes a piece of the output.
func (v *verdict) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, found := bytes.Cut(b, []byte{'\n'})
		v.line = append(v.line, line...)
		if !found {
			return n, nil
		}
		text := strings.TrimSpace(string(v.line))
		if strings.HasPrefix(text, "=== RUN ") {
			v.ran++
		}
		if name, ok := strings.CutPrefix(text, "--- SKIP: "); ok {
			v.skipped = append(v.skipped, name)
		}
		v.line, b = v.line[:0], rest
	}
}

func (v *verdict) judge(pkg string, status int) error {
	switch {
	case status != 0:
		return fmt.Errorf("tests of %s failed in the guest: exit status %d", pkg, status)
	case len(v.skipped) > 0:
		return fmt.Errorf("tests of %s skipped in the guest, where nothing may be missing: %s", pkg, strings.Join(v.skipped, ", "))
	case v.ran == 0:
		return fmt.Errorf("tests of %s: none ran", pkg)
	}
	return nil
}
