package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DropInFolder is the folder beside a configuration whose files NAME.yaml are parts
// of it.
const DropInFolder = "conf.d"

// Bounds of the folder. All files together may have maxFileSize.
const (
	maxDropIns = 100
	maxEntries = 1000 // of any kind
)

var (
	errTogether = errors.New("the configuration and the files of " + DropInFolder + " together are larger than " + bytesText(maxFileSize))
	dropInName  = lazily(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.yaml$`)
)

// siteFile is one of the files that are a site's configuration.
type siteFile struct {
	name   string // in the folder; empty: the configuration itself
	data   []byte
	public bool // everybody on the machine may read it
}

// site is what was read of a site's configuration.
type site struct {
	files    []siteFile // the configuration first, then by name
	folder   bool       // the folder is there
	problems []Problem
}

// ReadSite returns the configuration at path with the files of its folder
// conf.d, as one text that [Parse] takes: each of these begins at a line
// "--- # conf.d/NAME". Without such files it is the configuration as it is.
// With a [SiteError] it is what could be read.
func ReadSite(path string) ([]byte, error) {
	data, _, err := readRegular(path, maxFileSize)
	if err != nil {
		return nil, err
	}
	s := &site{files: []siteFile{{data: data}}}
	s.addFolder(filepath.Join(filepath.Dir(path), DropInFolder))
	if HasErrors(s.problems) {
		return s.text(), SiteError(s.problems)
	}
	return s.text(), nil
}

// SiteError are files of the folder that cannot be read.
type SiteError []Problem

func (e SiteError) Error() string {
	var text []string
	for _, p := range e {
		text = append(text, p.String())
	}
	return strings.Join(text, "\n")
}

// addFolder reads the files of the folder.
func (s *site) addFolder(dir string) {
	fail := func(file, what, fix string) {
		s.problems = append(s.problems, Problem{File: file, What: what, Fix: fix})
	}
	names, err := dropInsIn(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		what, fix := fileTrouble("the folder", err)
		fail(dir, what, fix)
		return
	case len(names) > maxDropIns:
		fail(dir, fmt.Sprintf("has more than %d files that end in .yaml", maxDropIns), "join some of them")
		return
	}
	s.folder = true
	left := int64(maxFileSize - len(s.files[0].data))
	for _, name := range names {
		file := filepath.Join(dir, name)
		if labelTrouble(name) != "" {
			file = strconv.Quote(file)
		}
		if strings.HasSuffix(name, ".yml") {
			s.problems = append(s.problems, Problem{File: file, What: "is not read: its name does not end in .yaml", Fix: "rename it, or remove it", Warning: true})
			continue
		}
		if !dropInName().MatchString(name) {
			fail(file, "the name of the file has other signs than letters, digits, . - and _, or is longer than 100", "rename it")
			continue
		}
		data, info, err := readRegular(filepath.Join(dir, name), left)
		var big errTooBig
		switch {
		case errors.As(err, &big):
			fail(file, errTogether.Error(), "this is not a configuration of fieldferry")
			return
		case err != nil:
			what, fix := fileTrouble("the file", err)
			fail(file, what, fix)
			continue
		}
		if bytes.Contains(data, []byte(dropInMark)) && markLine().Match(data) {
			fail(file, "the file has a line that begins another one: "+dropInMark+"NAME", "remove the line")
			continue
		}
		if left -= int64(len(data)) + int64(len(name)+len(dropInMark)+2); left < 0 {
			fail(file, errTogether.Error(), "this is not a configuration of fieldferry")
			return
		}
		s.files = append(s.files, siteFile{name, data, info.Mode().Perm()&0o004 != 0})
	}
}

// DropInsBeside lists the files of the folder conf.d beside the configuration at
// path that are read with it.
func DropInsBeside(path string) ([]string, error) {
	names, err := dropInsIn(filepath.Join(filepath.Dir(path), DropInFolder))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".yaml") }), err
}

// dropInsIn lists what in a folder is read, or looks as if it should be. Hidden
// files, and what editors and dpkg leave behind, have other endings.
func dropInsIn(dir string) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0) // a pipe of this name is not waited for
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	names, err := f.Readdirnames(maxEntries + 1)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case len(names) > maxEntries:
		return nil, fmt.Errorf("it has more than %d entries", maxEntries)
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		return n[0] == '.' || !strings.HasSuffix(n, ".yaml") && !strings.HasSuffix(n, ".yml")
	})
	slices.Sort(names)
	return names, nil
}

// dropInMark begins the line that a file of the folder begins with in a text.
const dropInMark = "--- # " + DropInFolder + "/"

// text is the files as one.
func (s *site) text() []byte {
	out := s.files[0].data
	for _, f := range s.files[1:] {
		out = slices.Clip(out) // it is somebody else's
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
		out = append(out, dropInMark+f.name+"\n"...)
		out = append(out, f.data...)
	}
	return out
}

// section is where one file of a configuration stands in its text.
type section struct {
	name   string // in the folder; empty: the configuration itself
	before int    // lines of the text before it
	text   []byte
	inline bool // it stands in the configuration itself, as a text that was saved
}

// list names what was read beside the configuration itself.
func (s *site) list(folder string) (files []File) {
	if s.folder {
		files = append(files, File{Path: folder, Kind: FileDir})
	}
	for _, f := range s.files[1:] {
		files = append(files, File{Path: filepath.Join(folder, f.name)})
	}
	return files
}

// has reports whether a file was read.
func (s *site) has(name string) bool {
	return slices.ContainsFunc(s.files, func(f siteFile) bool { return f.name == name })
}

// sections are the files of a configuration in the order of the text.
type sections []section

var markLine = lazily(`(?m)^` + regexp.QuoteMeta(dropInMark) + `(\S+)[ \t]*\r?(?:\n|\z)`)

// split finds the files in a text.
func split(text []byte) (list sections) {
	if !bytes.Contains(text, []byte(dropInMark)) { // most have none
		return sections{{text: text}}
	}
	name, begin, before := "", 0, 0
	add := func(end int) {
		list = append(list, section{name: name, before: before, text: text[begin:end]})
	}
	for _, m := range markLine().FindAllSubmatchIndex(text, -1) {
		add(m[0])
		before += lineEnds(text[begin:m[1]])
		name, begin = string(text[m[2]:m[3]]), m[1]
	}
	add(len(text))
	return list
}

// Piece is one of the files that a text of [ReadSite] was put together from.
type Piece struct {
	Name string // in the folder conf.d; empty: the configuration itself, which comes first
	Text []byte
}

// Pieces takes a text apart into the files that it was put together from.
func Pieces(text []byte) (list []Piece) {
	for _, s := range split(text) {
		list = append(list, Piece{s.name, s.text})
	}
	return list
}

// DropIns are the files of the folder that the configuration has, by name.
func (c *Config) DropIns() (names []string) {
	for _, s := range c.sections {
		if s.name != "" && !s.inline {
			names = append(names, s.name)
		}
	}
	return names
}

// lineEnds counts the line ends that normalize makes of a text.
func lineEnds(text []byte) int {
	return bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) - bytes.Count(text, []byte("\r\n"))
}

// at is the file that has a line of the text.
func (s sections) at(line int) section {
	for i := len(s) - 1; i > 0; i-- {
		if line > s[i].before && !s[i].inline {
			return s[i]
		}
	}
	return section{}
}

// where names a line in the message about another one.
func (s sections) where(file string, line int) string {
	in := s.at(line)
	switch {
	case len(s) < 2:
		return fmt.Sprintf("on line %d", line)
	case in.name == "":
		return fmt.Sprintf("on line %d of %s", line, printable(filepath.Base(file)))
	}
	return fmt.Sprintf("on line %d of %s/%s", line-in.before, DropInFolder, in.name)
}

// InText is where a problem stands in the text of all files, as [ReadSite] puts
// them together, and which of the folder's files that is; empty: none.
func (p Problem) InText() (line int, file string) {
	if p.textLine == 0 {
		return p.Line, ""
	}
	return p.textLine, DropInFolder + "/" + filepath.Base(p.File)
}

// place makes the problem of a line of the text one of the file that has it.
func (s sections) place(file, folder string, p Problem) Problem {
	if in := s.at(p.Line); p.File == file && p.Line > 0 && in.name != "" {
		p.File, p.Line, p.textLine = filepath.Join(folder, in.name), p.Line-in.before, p.Line
	}
	return p
}
