package statedir

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteAndRead(t *testing.T) {
	d := In(t.TempDir())
	if _, err := d.Read("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	for _, text := range []string{"one", "", strings.Repeat("x", MaxSize)} {
		if err := d.Write("a", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := d.Read("a"); err != nil || !bytes.Equal(b, []byte(text)) {
			t.Errorf("%d bytes come back as %d, %v", len(text), len(b), err)
		}
	}
	if err := d.Write("a", make([]byte, MaxSize+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("a"); err == nil {
		t.Error("too large a file is read")
	}
	entries, _ := os.ReadDir(d.Path())
	info, _ := os.Stat(filepath.Join(d.Path(), "a"))
	dir, _ := os.Stat(d.Path())
	if len(entries) != 1 || info.Mode().Perm() != 0o600 || dir.Mode().Perm() != 0o700 {
		t.Errorf("%v, file %v, directory %v", entries, info.Mode(), dir.Mode())
	}
}

// What somebody has put there in place of a file harms nobody.
func TestTraps(t *testing.T) {
	base := t.TempDir()
	d := In(base)
	if err := d.Write("ok", nil); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(base, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, set := range map[string]func(string) error{
		"link":      func(p string) error { return os.Symlink(victim, p) },
		"relative":  func(p string) error { return os.Symlink("../victim", p) },
		"inner":     func(p string) error { return os.Symlink("ok", p) },
		"fifo":      func(p string) error { return unix.Mkfifo(p, 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		path := filepath.Join(d.Path(), what)
		if err := set(path); err != nil {
			t.Fatal(err)
		}
		if b, err := d.Read(what); err == nil {
			t.Errorf("%s: reads %q", what, b)
		}
		temp := filepath.Join(d.Path(), "."+what+".new")
		if err := set(temp); err != nil {
			t.Fatal(err)
		}
		err := d.Write(what, []byte("new"))
		if (err == nil) != (what != "directory") {
			t.Errorf("%s: write: %v", what, err)
		}
		if b, err := d.Read(what); what != "directory" && (err != nil || string(b) != "new") {
			t.Errorf("%s: reads %q, %v after it was replaced", what, b, err)
		}
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "mine" {
		t.Errorf("the file outside has %q, %v", b, err)
	}
}

func TestAppend(t *testing.T) {
	d := In(t.TempDir())
	if err := d.Append("a", 0, nil); err == nil {
		t.Error("there is nothing to append to")
	}
	if err := d.Write("a", []byte("one")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		size       int64
		data, want string
	}{{3, " two", "one two"}, {3, " 2", "one 2"}, {0, "", ""}} {
		if err := d.Append("a", step.size, []byte(step.data)); err != nil {
			t.Fatal(err)
		}
		if b, _ := d.Read("a"); string(b) != step.want {
			t.Errorf("%q, want %q", b, step.want)
		}
	}
	if err := d.Append("a", 1, []byte("x")); err == nil {
		t.Error("the file is shorter, and nobody is told")
	}
	if err := os.Symlink("a", filepath.Join(d.Path(), "link")); err != nil {
		t.Fatal(err)
	}
	if err := d.Append("link", 0, []byte("x")); err == nil {
		t.Error("a link is written to")
	}
}
