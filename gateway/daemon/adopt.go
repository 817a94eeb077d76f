package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"fieldferry/gateway/config"
)

// Why there is nothing to adopt.
var (
	ErrNothingKept = errors.New("no configuration is kept there")
	ErrOnTrial     = errors.New("a configuration is being put in place or tried; wait until it is confirmed")
	ErrInFile      = errors.New("what runs is the site's file: nothing is to be done")
	ErrFileChanged = errors.New("the file was changed since the configuration was put in its place, and counts from the next start on; move it away to adopt the other one")
)

// Adopted is what an adoption has done to the site's files.
type Adopted struct {
	Written []string
	Moved   []string // files of conf.d that the configuration does not have, by their new names
}

// Adopt writes the confirmed configuration into the site's files, with those of
// its parts that are not there or are others. Files of conf.d that it does not
// have are moved away: they would add to it. A person calls it, never the
// daemon: what is in /etc belongs to the site.
func (s Store) Adopt(path string) (did Adopted, err error) {
	st := s.State()
	file, _ := config.ReadSite(path)
	switch {
	case st.Confirmed == "":
		return did, ErrNothingKept
	case st.Pending != "":
		return did, ErrOnTrial
	case st.Site == "":
		return did, ErrInFile
	case file != nil && sum(file) != st.Site && !interrupted(path):
		return did, ErrFileChanged
	}
	k, err := s.Get(st.Confirmed)
	if err != nil {
		return did, err
	}
	for _, name := range slices.Sorted(maps.Keys(k.parts)) {
		data, err := os.ReadFile(k.parts[name])
		if err != nil {
			return did, err
		}
		if there, err := os.ReadFile(name); err == nil && sum(there) == sum(data) {
			continue
		}
		if err := replaceFile(name, data, path); err != nil {
			return did, err
		}
		did.Written = append(did.Written, name)
	}
	// The parts first: a file that names others than there are does not start.
	return did, did.adopt(path, config.Pieces(k.text))
}

// adopt puts the pieces of a text in the place of the site's files.
func (did *Adopted) adopt(path string, pieces []config.Piece) error {
	folder := filepath.Join(filepath.Dir(path), config.DropInFolder)
	there, err := config.DropInsBeside(path)
	if err != nil {
		return err
	}
	if len(there)+len(pieces) > 1 { // several files cannot be replaced at once
		if err := replaceFile(filepath.Join(folder, guardFile), []byte(guardText), path); err != nil {
			return err
		}
	}
	for _, name := range there {
		if name != guardFile && !slices.ContainsFunc(pieces, func(s config.Piece) bool { return s.Name == name }) {
			away, err := moveAway(filepath.Join(folder, name))
			if err != nil {
				return err
			}
			did.Moved = append(did.Moved, away)
		}
	}
	for _, s := range slices.Backward(pieces) {
		at := path
		if s.Name != "" {
			at = filepath.Join(folder, s.Name)
		}
		if old, err := os.ReadFile(at); err == nil && sum(old) == sum(s.Text) {
			continue
		}
		if err := replaceFile(at, s.Text, path); err != nil {
			return err
		}
		did.Written = append(did.Written, at)
	}
	if err := os.Remove(filepath.Join(folder, guardFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// While the guard is there no start takes the site's files, which are half of
// the one and half of the other configuration: what was confirmed continues.
const (
	guardFile = "adopt-interrupted.yaml"
	guardText = "# fieldferry config adopt was interrupted here. Run it again: it removes this file.\nadopt_interrupted: true\n"
)

// interrupted reports whether an adoption has not ended.
func interrupted(path string) bool {
	_, err := os.Lstat(filepath.Join(filepath.Dir(path), config.DropInFolder, guardFile))
	return err == nil
}

// moveAway gives a file a name that is not read, and that nothing has.
func moveAway(path string) (away string, err error) {
	away = path + ".replaced"
	for n := 2; ; n++ {
		if _, err := os.Lstat(away); errors.Is(err, fs.ErrNotExist) {
			return away, os.Rename(path, away)
		}
		away = fmt.Sprintf("%s.replaced.%d", path, n)
	}
}

// replaceFile puts data in the place of a file, whole or not at all. It belongs to
// whom the old one did; a new one is as the one that it is like.
func replaceFile(path string, data []byte, like string) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(like)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if info != nil {
		err = errors.Join(err, belong(f, info))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func belong(f *os.File, like fs.FileInfo) error {
	err := f.Chmod(like.Mode().Perm())
	if st, ok := like.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = errors.Join(f.Chown(int(st.Uid), int(st.Gid)), err)
	}
	return err
}
