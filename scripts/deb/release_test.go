package deb

import (
	"bytes"
	"debug/buildinfo"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var docLink = regexp.MustCompile(`\]\(([^)\s]+)\)|src="([^"]+)"`)

// checkLinks makes sure that a document in the package leads to files of the
// package: whoever installs it has no source.
func checkLinks(t *testing.T, doc string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(doc, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range docLink.FindAllSubmatch(text, -1) {
			target, _, _ := strings.Cut(string(m[1])+string(m[2]), "#")
			if target == "" || strings.Contains(target, ":") {
				continue
			}
			n++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil {
				t.Errorf("%s leads to %s, which is not in the package", strings.TrimPrefix(path, doc), target)
			}
		}
		return err
	})
	if err != nil || n == 0 {
		t.Errorf("%d links, error %v", n, err)
	}
}

// checkNotices compares the notices with the modules that are linked into the
// binary beside them.
func checkNotices(t *testing.T, binary, notices string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(notices)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), strings.Repeat("=", 78)+"\n")
	for _, m := range info.Deps {
		var part string
		for _, p := range parts[1:] {
			if strings.HasPrefix(p, m.Path+" "+m.Version+"\n") {
				part = p
			}
		}
		switch {
		case !strings.Contains(part, "Source: ") || len(part) < 400:
			t.Errorf("%s has no notice of %s %s", notices, m.Path, m.Version)
		case strings.Contains(m.Path, "/eclipse/paho.") && !strings.Contains(part, "Eclipse Public License - v 2.0"):
			t.Errorf("%s: the notice of %s has no Eclipse Public License", notices, m.Path)
		}
	}
	if want := len(info.Deps) + 2; len(parts) != want {
		t.Errorf("%s has %d parts; want %d, the head, one for each module, and Go's own", notices, len(parts), want)
	}
}

// The same commit gives the same packages in another folder.
func TestPackagesAreReproducible(t *testing.T) {
	need(t, "dpkg-deb")
	if testing.Short() {
		t.Skip("it builds everything twice")
	}
	need(t, "git")
	if err := exec.Command("git", "-C", root, "diff", "--quiet", "HEAD").Run(); err != nil {
		t.Skip("SKIPPED: the tree has changes that no commit has")
	}
	var built []string
	for _, name := range []string{"one", "another/place"} {
		tree, out := filepath.Join(t.TempDir(), name), t.TempDir()
		output(t, "git", "clone", "-q", root, tree)
		output(t, "make", "-s", "-C", tree, "cross", "CROSS=armv7:arm:7:4096", "DIST="+out)
		binary := filepath.Join(out, "fieldferry-linux-armv7")
		output(t, filepath.Join(tree, "scripts/deb/build"), "armhf", binary, out)
		output(t, filepath.Join(tree, "scripts/deb/archive"), "armv7", binary, out)
		built = append(built, out)
	}
	files, err := os.ReadDir(built[0])
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, error %v; want a binary, a package and an archive", files, err)
	}
	for _, f := range files {
		a, err := os.ReadFile(filepath.Join(built[0], f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(built[1], f.Name()))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs; error %v", f.Name(), err)
		}
	}
}

func TestArchiveInstalls(t *testing.T) {
	top, dest := unpack(t, "022", archive(t)), filepath.Join(t.TempDir(), "image")
	checkNotices(t, os.Args[0], filepath.Join(top, "THIRD_PARTY.txt"))
	if text, err := os.ReadFile(filepath.Join(top, "VERSION")); err != nil || filepath.Base(top) != "fieldferry-"+strings.TrimSpace(string(text))+"-linux-test" {
		t.Errorf("VERSION of %s says %q; error %v", filepath.Base(top), text, err)
	}
	install := func(verb string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(top, "install.sh"), verb)
		cmd.Env = append(os.Environ(), "DESTDIR="+dest)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("install.sh %s: %v\n%s", verb, err, out)
		}
	}
	install("install")
	install("install") // again, over itself
	for _, want := range []string{"usr/bin/fieldferry", "usr/lib/systemd/system/fieldferry.service", "usr/share/fieldferry/fieldferry.yaml", "usr/share/man/man1/fieldferry.1.gz"} {
		if st, err := os.Stat(filepath.Join(dest, want)); err != nil || st.Mode()&0o444 != 0o444 {
			t.Errorf("%s: %v, error %v", want, st, err)
		}
	}
	install("uninstall")
	_ = filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("uninstall left %s", path)
		}
		return nil
	})
}

func TestLintian(t *testing.T) {
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip("SKIPPED: lintian is missing (apt-get install lintian)")
	}
	debs, complete := packages(t)
	if !complete {
		t.Skip("SKIPPED: it judges complete packages; make deb has it")
	}
	for arch, deb := range debs {
		if b, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", deb).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", arch, err, b)
		}
	}
}

// TestCompletions has the shells read what the package gives them.
func TestCompletions(t *testing.T) {
	dir := t.TempDir()
	output(t, "./stage", os.Args[0], "0.0.0", dir)
	for shell, file := range map[string]string{"bash": "bash-completion/completions/fieldferry", "zsh": "zsh/vendor-completions/_fieldferry", "fish": "fish/vendor_completions.d/fieldferry.fish"} {
		path := filepath.Join(dir, "usr/share", file)
		if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("fieldferry")) {
			t.Errorf("%s: error %v", path, err)
		}
		if _, err := exec.LookPath(shell); err == nil {
			output(t, shell, "-n", path)
		}
	}
}
