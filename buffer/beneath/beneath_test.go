package beneath

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever else has the name is refused at once, and what a link names stays
// as it was.
func TestOnlyRegularFilesOfTheOwner(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		root bool
		make func(path string) error
	}{
		"pipe":          {false, func(p string) error { return unix.Mkfifo(p, 0o600) }},
		"link":          {false, func(p string) error { return os.Symlink(outside, p) }},
		"dangling link": {false, func(p string) error { return os.Symlink(outside+"2", p) }},
		"directory":     {false, func(p string) error { return os.Mkdir(p, 0o700) }},
		"second name":   {true, func(p string) error { return errors.Join(os.Chown(filepath.Dir(p), 65534, 65534), os.Link(outside, p)) }},
		"foreign owner": {true, func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Chown(p, 65534, 65534)) }},
		"device":        {true, func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }},
	} {
		for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_TRUNC} {
			t.Run(name, func(t *testing.T) {
				if c.root && os.Geteuid() != 0 {
					t.Skip("needs root")
				}
				path := filepath.Join(t.TempDir(), "state")
				if err := c.make(path); err != nil {
					t.Skip(err)
				}
				if f, err := OpenFile(path, flag, 0o600); !errors.Is(err, ErrRefused) {
					t.Errorf("flags %x: %v, %v", flag, f, err)
				}
				if b, err := os.ReadFile(outside); string(b) != "keep" {
					t.Errorf("the file outside has %q, %v", b, err)
				}
				if _, err := os.Lstat(outside + "2"); err == nil {
					t.Error("a file was made outside")
				}
			})
		}
	}
	path := filepath.Join(t.TempDir(), "state")
	if err := errors.Join(WriteFile(path, []byte("long"), 0o600), WriteFile(path, []byte("new"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != 3 || f.Name() != path {
		t.Errorf("%v, %v", info, err)
	}
}
