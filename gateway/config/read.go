package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxFileSize bounds a configuration file; comments count, so it is roomy.
const maxFileSize = 1 << 20

// errTooBig says that a file has more bytes than it may.
type errTooBig struct{ limit int64 }

func (e errTooBig) Error() string { return "larger than " + bytesText(e.limit) }

// errKind says that a path leads to something that is not a regular file.
type errKind struct{ mode fs.FileMode }

func (e errKind) Error() string {
	switch {
	case e.mode.IsDir():
		return "is a directory"
	case e.mode&fs.ModeNamedPipe != 0:
		return "is a named pipe"
	case e.mode&fs.ModeSocket != 0:
		return "is a socket"
	case e.mode&fs.ModeDevice != 0:
		return "is a device"
	default:
		return "is not a regular file"
	}
}

// readRegular returns the content of a regular file of at most limit bytes.
// It never blocks on a pipe and never reads a device.
func readRegular(path string, limit int64) ([]byte, fs.FileInfo, error) {
	// O_NONBLOCK: opening a pipe nobody writes to would wait for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errKind{info.Mode()}
	}
	if info.Size() > limit {
		return nil, info, errTooBig{limit}
	}
	var data bytes.Buffer
	data.Grow(int(info.Size()) + bytes.MinRead) // io.ReadAll would copy it again and again
	_, err = data.ReadFrom(io.LimitReader(f, limit+1))
	if err == nil && int64(data.Len()) > limit {
		err = errTooBig{limit}
	}
	return data.Bytes(), info, err
}

// fileTrouble words an error of readRegular and says what to do about it.
func fileTrouble(what string, err error) (wrong, fix string) {
	var kind errKind
	var big errTooBig
	switch {
	case errors.As(err, &kind):
		return what + " " + kind.Error(), "name a regular file"
	case errors.As(err, &big):
		return what + " is " + big.Error(), "name the right file"
	case errors.Is(err, fs.ErrNotExist):
		return what + " does not exist", "create it or correct the path"
	case errors.Is(err, fs.ErrPermission):
		return what + " may not be read by this user", "correct its owner or mode"
	default:
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return what + " cannot be read: " + err.Error(), "correct the path or the file system"
	}
}
