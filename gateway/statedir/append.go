package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Append writes data behind the first size bytes of a file that Write has made,
// and throws away what else was there. It is on disk when Append has returned.
func (d Dir) Append(name string, size int64, data []byte) error {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return err
	}
	defer root.Close()
	f, info, err := d.open(root, name, os.O_WRONLY)
	if err != nil {
		return err
	}
	switch {
	case info.Size() < size:
		err = fmt.Errorf("%s has become shorter than it was written", filepath.Join(d.path, name))
	case info.Size() > size:
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.WriteAt(data, size)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
