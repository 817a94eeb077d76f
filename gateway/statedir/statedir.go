// Package statedir keeps the gateway's own small files: alarms, accounts, the
// key of the page. They lie in a directory of their own below buffer.path.
//
// # Promise
//
// A file is replaced whole or not at all, whatever happens in between, and is on
// disk when Write has returned. Only the service's user can read it.
//
// # Caveats
//
// Nothing is followed out of the directory, and nothing but a regular file of
// limited size is read: what lies there may be somebody's trap.
package statedir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Name is the directory below buffer.path.
const Name = "gateway"

// MaxSize is how large a file may be, in bytes.
const MaxSize = 4 << 20

// Dir is the directory of one gateway. It need not exist yet. Its methods may be
// called from any goroutine; two writers of one file do not mix.
type Dir struct{ path string }

// In returns the directory of the gateway whose buffer is in path.
func In(buffer string) Dir { return Dir{filepath.Join(buffer, Name)} }

// Path is where the directory is.
func (d Dir) Path() string { return d.path }

// Read returns a file. An error of a missing one wraps [fs.ErrNotExist].
func (d Dir) Read(name string) ([]byte, error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, _, err := d.open(root, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(b) > MaxSize {
		err = fmt.Errorf("%s has more than %d bytes; remove it", filepath.Join(d.path, name), MaxSize)
	}
	return b, err
}

// open opens a regular file that is there, whatever somebody may have put in its
// place.
func (d Dir) open(root *os.Root, name string, flag int) (*os.File, fs.FileInfo, error) {
	named, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	f, err := root.OpenFile(name, flag|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || !os.SameFile(named, info)) { // Root follows links that stay inside
		err = fmt.Errorf("%s is not a regular file; remove it", filepath.Join(d.path, name))
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Write replaces a file. The directory is made if its parent is there. Root
// leaves the file to whom the directory belongs to.
func (d Dir) Write(name string, data []byte) error {
	if err := d.make(); err != nil {
		return err
	}
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return err
	}
	defer root.Close()
	temp := "." + name + ".new"
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, d.leave(f), f.Sync(), f.Close())
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		_ = root.Remove(temp)
		return err
	}
	return d.sync(root)
}

// sync puts the directory itself on disk.
func (d Dir) sync(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// make makes the directory, for whom its parent belongs to.
func (d Dir) make() error {
	err := os.Mkdir(d.path, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist yet; the daemon makes it: start it once, and try again: %w", filepath.Dir(d.path), err)
	}
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	return chown(filepath.Dir(d.path), func(uid, gid int) error { return os.Lchown(d.path, uid, gid) })
}

// leave gives a file that root has made to the owner of the directory.
func (d Dir) leave(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return chown(d.path, f.Chown)
}

func chown(like string, set func(uid, gid int) error) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return set(int(st.Uid), int(st.Gid))
}
