package gateway

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"fieldferry/buffer/beneath"
	"fieldferry/gateway/statedir"
)

// ownFiles are the gateway's own files. What an older version has left of them
// beside the buffer's is read as long as there is nothing newer.
type ownFiles struct {
	_ [0]func() // nobody compares them: saves the code for it

	statedir.Dir
	earlier string // the directory of the buffer
}

// Read implements [alarm.Files].
func (o ownFiles) Read(name string) ([]byte, error) {
	b, err := o.Dir.Read(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	f, err := beneath.Open(filepath.Join(o.earlier, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, statedir.MaxSize))
}
