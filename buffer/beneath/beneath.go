// Package beneath opens files in a directory that another account may write
// to: a program of root must not be led out of it by a link, nor be held up by
// a pipe.
//
// The directory is opened first, links on the way to it included, and the name
// in it relative to that: never through a link, never waiting, and only a
// regular file of the directory's owner or of this process. No handle of the
// directory is kept, so that its disk can be mounted again.
package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrRefused says that a name is not a file that may be opened.
var ErrRefused = errors.New("it is not a regular file of this directory's owner")

// Open opens a file to be read.
func Open(path string) (*os.File, error) { return OpenFile(path, os.O_RDONLY, 0) }

// OpenFile opens a file with the flags of [os.OpenFile]; a file that is cut is
// cut only once it is known to be one of ours.
func OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	fail := func(err error) (*os.File, error) { return nil, &os.PathError{Op: "open", Path: path, Err: err} }
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = unix.Close(dir) }() // nothing was written by it
	const always = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, filepath.Base(path), flag&^os.O_TRUNC|always, uint32(mode.Perm()))
	switch {
	case errors.Is(err, unix.ELOOP):
		return fail(fmt.Errorf("%w: it is a link; remove it", ErrRefused))
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
		return fail(fmt.Errorf("%w: it is a pipe, a socket, a device or a directory; remove it", ErrRefused))
	case err != nil:
		return fail(err)
	}
	err = allowed(dir, fd)
	if err == nil && flag&os.O_TRUNC != 0 {
		err = unix.Ftruncate(fd, 0)
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = unix.Close(fd)
		return fail(err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// allowed says why an open file is refused. A file of this process that has
// further names may be one that somebody else has linked here.
func allowed(dir, fd int) error {
	var d, f unix.Stat_t
	if err := errors.Join(unix.Fstat(dir, &d), unix.Fstat(fd, &f)); err != nil {
		return err
	}
	mine := f.Uid == uint32(os.Geteuid()) && f.Nlink <= 1
	switch {
	case f.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: it is a pipe, a device or a directory; remove it", ErrRefused)
	case f.Uid != d.Uid && !mine:
		return fmt.Errorf("%w: it belongs to user %d, the directory to user %d; give it to that user by chown, or remove it", ErrRefused, f.Uid, d.Uid)
	}
	return nil
}

// WriteFile puts a new file with data in the place of what has the name.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
