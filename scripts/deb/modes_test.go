package deb

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// umasks are those that root has: a hardened machine's, a careful one's, one that
// shares with its group.
var umasks = []string{"022", "077", "027", "002"}

// unpack unpacks an archive, and returns the folder in it.
func unpack(t *testing.T, umask, archive string) string {
	t.Helper()
	dir := t.TempDir()
	// Who is not root loses the modes of the archive to the umask.
	output(t, "sh", "-c", "umask "+umask+" && tar -C \"$1\" --no-same-permissions -xzf \"$2\"", "sh", dir, archive)
	return filepath.Join(dir, strings.TrimSuffix(filepath.Base(archive), ".tar.gz"))
}

// archive packs one whose program is this test.
func archive(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	output(t, "./archive", "test", os.Args[0], dir)
	match, err := filepath.Glob(filepath.Join(dir, "fieldferry-*-linux-test.tar.gz"))
	if err != nil || len(match) != 1 {
		t.Fatalf("%q, error %v", match, err)
	}
	return match[0]
}

// modes are those of everything below dir, as ls writes them.
func modes(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		st, err := d.Info()
		if err == nil && st.Mode().Type() != fs.ModeSymlink {
			list[strings.TrimPrefix(path, dir)] = st.Mode().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Whatever the umask of root, and of the one who has unpacked the archive, its
// installer leaves the modes that the package has.
func TestTheArchiveInstallsWithTheModesOfThePackage(t *testing.T) {
	need(t, "dpkg-deb")
	deb, packed := t.TempDir(), t.TempDir()
	output(t, "./build", "amd64", os.Args[0], deb)
	match, err := filepath.Glob(filepath.Join(deb, "*.deb"))
	if err != nil || len(match) != 1 {
		t.Fatalf("%q, error %v", match, err)
	}
	output(t, "dpkg-deb", "-x", match[0], packed)
	want, of := modes(t, packed), archive(t)
	for _, umask := range umasks {
		dest := filepath.Join(t.TempDir(), "image")
		if err := os.Mkdir(dest, 0o755); err != nil {
			t.Fatal(err)
		}
		top := unpack(t, umask, of)
		output(t, "sh", "-c", "umask "+umask+" && DESTDIR=\"$1\" \"$2\"", "sh", dest, filepath.Join(top, "install.sh"))
		got := modes(t, dest)
		if len(got) < 50 || got["/usr/bin/fieldferry"] != "-rwxr-xr-x" {
			t.Errorf("umask %s: %d files, the program %s", umask, len(got), got["/usr/bin/fieldferry"])
		}
		for path, mode := range got {
			if mode != want[path] {
				t.Errorf("umask %s: %s is %s, in the package %q", umask, path, mode, want[path])
			}
		}
	}
}

// A copy that fails is not passed over.
func TestTheInstallerEndsWithTheFirstFailure(t *testing.T) {
	top, dest := unpack(t, "022", archive(t)), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dest, "usr/bin/fieldferry.new/fieldferry"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(top, "install.sh"))
	cmd.Env = append(os.Environ(), "DESTDIR="+dest)
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("exit code 0, after\n%s", out)
	}
}

// What is made once has the modes that it is to have, whatever root's umask is.
func TestSetupMakesFilesWithTheirModes(t *testing.T) {
	text, err := os.ReadFile("postinst")
	if err != nil {
		t.Fatal(err)
	}
	staged := t.TempDir()
	output(t, "./stage", os.Args[0], "0.0.0", staged)
	for _, umask := range umasks {
		dir, programs := t.TempDir(), t.TempDir()
		for _, name := range []string{"systemd-sysusers", "chown", "chgrp"} {
			if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		script := filepath.Join(programs, "setup")
		placed := strings.NewReplacer(" /etc/", " "+dir+"/etc/", " /usr/", " "+staged+"/usr/", "=/etc/", "="+dir+"/etc/", "/run/systemd/", dir+"/run/systemd/").Replace(string(text))
		if err := os.WriteFile(script, []byte(placed), 0o755); err != nil {
			t.Fatal(err)
		}
		output(t, "sh", "-c", fmt.Sprintf("umask %s && PATH=%s:$PATH %s configure", umask, programs, script))
		got := modes(t, filepath.Join(dir, "etc"))
		for path, want := range map[string]string{
			"/default": "drwxr-xr-x", "/default/fieldferry": "-rw-------",
			"/fieldferry": "drwxr-x---", "/fieldferry/conf.d": "drwxr-x---", "/fieldferry/fieldferry.yaml": "-rw-r-----",
		} {
			if got[path] != want {
				t.Errorf("umask %s: /etc%s is %s, want %s", umask, path, got[path], want)
			}
		}
	}
}
