package config

import (
	"crypto/sha256"
	"io/fs"
	"slices"
)

// File is a file or directory that a configuration names.
type File struct {
	Key  string // where it is named, as in [Problem].Path; empty: it is the configuration itself
	Path string
	Kind FileKind
	Sum  [sha256.Size]byte // of a part, as it was read
}

// FileKind says what a file is to the configuration.
type FileKind uint8

// The kinds of files.
const (
	FilePart   FileKind = iota + 1 // the configuration is made of it: a DBC file, a template, a CA
	FileSecret                     // a password, a key, the certificate to it
	FileLog                        // a log that is replayed
	FileDir                        // the directory of templates
)

// Files are the files that the configuration names, itself first.
func (c *Config) Files() []File {
	return append([]File{{Path: c.file}}, c.files...)
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
	from := path
	if kept, ok := l.opts.Parts[path]; ok {
		from = kept
	}
	data, info, err := readRegular(from, limit)
	if err == nil {
		l.noteFile(File{Key: key, Path: path, Kind: FilePart, Sum: sha256.Sum256(data)})
	}
	return data, info, err
}

func (l *loader) noteFile(f File) {
	if !slices.ContainsFunc(l.files, func(o File) bool { return o.Path == f.Path && o.Kind == f.Kind }) {
		l.files = append(l.files, f)
	}
}

// keptCA is the file of authorities to use: the site's as long as it can be
// used, since it is read again at every connection and may have been renewed.
func (l *loader) keptCA(v value, path string) string {
	use := path
	_, text, bad := readCerts(path)
	if kept, ok := l.opts.Parts[path]; ok && bad != nil {
		use = kept
		_, text, bad = readCerts(kept)
	}
	if v.located(); bad == nil {
		l.noteFile(File{Key: v.path, Path: path, Kind: FilePart, Sum: sha256.Sum256(text)})
	}
	return use
}
