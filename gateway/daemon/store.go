// Package daemon keeps what outlives one gateway: the configuration that last
// worked, for the start at which the file does not.
//
// # Promise
//
// A configuration is replaced whole or not at all, and is on disk when Keep
// has returned. The file that somebody has written is never changed.
//
// # Caveats
//
// Only the text of the file is kept. The files that it names (DBC files,
// templates, certificates) are read where they are.
package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fieldferry/gateway/config"

	"golang.org/x/sys/unix"
)

// confirmed is the configuration that last ran.
const confirmed = "confirmed.yaml"

// maxSize bounds what is read: a configuration has at most 1 MiB.
const maxSize = 1 << 20

// Store is a directory of configurations. The zero value keeps nothing.
type Store struct{ dir string }

// In returns the store below the state directory of the service; empty: there
// is none, and nothing is kept.
func In(state string) Store {
	if state == "" {
		return Store{}
	}
	return Store{filepath.Join(state, "config")}
}

// Keep stores the text of a configuration that runs. The same text again
// writes nothing.
func (s Store) Keep(text []byte) error {
	if s.dir == "" {
		return nil
	}
	if old, err := s.read(); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	const temp = "." + confirmed + ".new"
	if err := root.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(temp, confirmed)
	}
	if err != nil {
		_ = root.Remove(temp)
		return err
	}
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Last returns the configuration that last ran, nil when there is none that
// can be used. Relative paths are relative to the directory of name.
func (s Store) Last(name string, opts config.Options) *config.Config {
	text, err := s.read()
	if err != nil {
		return nil
	}
	cfg, _ := config.Parse(name, text, opts)
	return cfg
}

func (s Store) read() ([]byte, error) {
	if s.dir == "" {
		return nil, os.ErrNotExist
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return readIn(root, confirmed)
}

// readIn returns a regular file; it waits for no pipe.
func readIn(root *os.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", name))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("%s has more than %d bytes", name, maxSize)
	}
	return text, err
}
