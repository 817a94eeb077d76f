package config

import (
	"cmp"
	"crypto/sha256"
	"io/fs"
	"path/filepath"
	"slices"

	"fieldferry/bus/can/dbc"
)

// File is a file or directory that a configuration names.
type File struct {
	_ [0]func() // nobody compares them: saves the code for it

	Key  string // where it is named, as in [Problem].Path; empty: it is the configuration itself, or of its folder
	Path string
	Kind FileKind
	Sum  [sha256.Size]byte // of a part, as it was read
}

// MaxPart is how many bytes a part may have.
const MaxPart = dbc.DefaultMaxSize

// FileKind says what a file is to the configuration.
type FileKind uint8

// The kinds of files.
const (
	FilePart   FileKind = iota + 1 // the configuration is made of it: a DBC file, a template, a CA
	FileSecret                     // a password, a key, the certificate to it
	FileLog                        // a log that is replayed
	FileDir                        // the directory of templates
)

// Absolute is the path from the root on.
func (f File) Absolute() string { return absolute(f.Path) }

// Files are the files that the configuration names, itself first and then those
// of its folder.
func (c *Config) Files() []File {
	return append([]File{{Path: c.file}}, c.files...)
}

// Part is a file that a configuration is made of, and where it was read.
type Part struct{ Name, At string }

// Parts are the files that the configuration is made of, by absolute names.
func (c *Config) Parts() (list []Part) {
	for _, f := range c.files {
		if f.Kind == FilePart {
			name := absolute(f.Path)
			list = append(list, Part{name, cmp.Or(c.copies[name], name)})
		}
	}
	return list
}

// ReadPart returns what is in a part of the configuration now, or in the copy
// that was read in its place.
func (c *Config) ReadPart(f File) ([]byte, error) {
	data, _, err := readRegular(cmp.Or(c.copies[absolute(f.Path)], f.Path), MaxPart)
	if err == nil && sha256.Sum256(data) != f.Sum {
		if data, _, other := readRegular(f.Path, MaxPart); other == nil {
			return data, nil // the site's authorities are read, not the copy, as long as they can be used
		}
	}
	return data, err
}

// ReadFile returns a configuration file as it is now.
func ReadFile(path string) ([]byte, error) {
	data, _, err := readRegular(path, maxFileSize)
	return data, err
}

// copyOf is where the copy of a part is; empty: there is none.
func (l *loader) copyOf(path string) string { return l.opts.Parts[absolute(path)] }

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// names notes that the value names a file.
func (v value) names(path string, kind FileKind) {
	if path != "" {
		v.located()
		v.l.noteFile(File{Key: v.path, Path: path, Kind: kind})
	}
}

// located remembers where the value stands, for [Config.Problem].
func (v value) located() {
	if v.n != nil && !v.n.set {
		v.l.places[v.path] = v.n.at
	}
}

// part returns what is in a part of the configuration, or in the copy of it.
func (l *loader) part(key, path string, limit int64) ([]byte, fs.FileInfo, error) {
	data, info, err := readRegular(cmp.Or(l.copyOf(path), path), limit)
	if err == nil {
		l.noteFile(File{Key: key, Path: path, Kind: FilePart, Sum: sha256.Sum256(data)})
	}
	return data, info, err
}

// noteFile notes a file, one with a secret at each place where it is named: what it is
// sent as depends on that.
func (l *loader) noteFile(f File) {
	if !slices.ContainsFunc(l.files, func(o File) bool {
		return o.Path == f.Path && o.Kind == f.Kind && (o.Key == f.Key || f.Kind != FileSecret)
	}) {
		l.files = append(l.files, f)
	}
}

// keptCA is the file of authorities to use: the site's as long as it can be
// used, since it is read again at every connection and may have been renewed.
func (l *loader) keptCA(v value, path string) string {
	use := path
	_, text, bad := readCerts(path)
	if kept := l.copyOf(path); kept != "" && bad != nil {
		use = kept
		_, text, bad = readCerts(kept)
	}
	if v.located(); bad == nil {
		l.noteFile(File{Key: v.path, Path: path, Kind: FilePart, Sum: sha256.Sum256(text)})
	}
	return use
}
