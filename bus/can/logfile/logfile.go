// Package logfile reads the logs of other programs as candump -l would have
// written them: Vector ASC, CSV of SavvyCAN and of python-can, and all of them
// compressed with gzip.
//
// # Nouns
//
// A [Kind] is what a file was found to be, by its first bytes and never by its
// name. A reader yields one line for each line of the file, so that a line
// number names the same line in both: an empty one where the file has something
// else than a frame, and [NotAFrame] where it has a frame that cannot be read.
//
// # Caveats
//
// The times of an ASC file are its date, in this machine's time zone, and what
// has passed since. Its channel 1 is can0, as python-can has it.
package logfile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// NotAFrame is the line that stands for one that should hold a frame and does
// not.
const NotAFrame = "?"

// Kind is the format of a log.
type Kind uint8

// The kinds.
const (
	Candump Kind = iota // or nothing that is known
	ASC                 // Vector
	SavvyCAN
	PythonCAN // its CSV
)

// sniffed is how much of a file is looked at, at most.
const sniffed = 4 << 10

// ErrForeign is wrapped by the error of a file that is known and not read.
var ErrForeign = errors.New("not a log that can be read")

// unread are the files that people try, and what to do with them.
var unread = []struct{ magic, what, fix string }{
	{"LOGG", "a Vector BLF file", "convert it: can_logconvert FILE.blf FILE.log (of python-can)"},
	{";$FILEVERSION", "a PEAK trace", "convert it: can_logconvert FILE.trc FILE.log (of python-can)"},
	{"MDF ", "an MDF file", "convert it: can_logconvert FILE.mf4 FILE.log (of python-can, with asammdf)"},
	{"PK\x03\x04", "a zip file", "unpack it: unzip FILE"},
	{"\xfd7zXZ", "an xz file", "unpack it: unxz FILE"},
	{"BZh", "a bzip2 file", "unpack it: bunzip2 FILE"},
	{"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it: unzstd FILE"},
	{"VERSION \"", "a DBC file", "give it with --dbc, and the log as the argument"},
}

// NewReader returns the log in r in candump's form. An error that wraps
// [ErrForeign] says what the file is and how it is converted. It reads no more
// of r than the first line needs, so that a pipe is read as it comes.
func NewReader(r io.Reader) (io.Reader, Kind, error) { return newReader(r, true) }

func newReader(r io.Reader, compressed bool) (io.Reader, Kind, error) {
	head, err := peek(r)
	if err != nil {
		return nil, Candump, err
	}
	head = bytes.TrimPrefix(head, []byte("\ufeff"))
	whole := io.MultiReader(bytes.NewReader(head), r)
	if compressed && bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(whole)
		if err != nil {
			return nil, Candump, fmt.Errorf("%w: a damaged gzip file: %w", ErrForeign, err)
		}
		return newReader(z, false)
	}
	for _, u := range unread {
		if bytes.HasPrefix(head, []byte(u.magic)) {
			return nil, Candump, fmt.Errorf("%w: it is %s; %s", ErrForeign, u.what, u.fix)
		}
	}
	kind, parse := recognise(head)
	if parse == nil {
		return whole, kind, nil
	}
	return newConverter(whole, parse), kind, nil
}

// peek reads until something can be said of a file.
func peek(r io.Reader) (head []byte, err error) {
	buf := make([]byte, sniffed)
	for n := 0; n < len(buf); {
		m, err := r.Read(buf[n:])
		n += m
		head = buf[:n]
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if err != nil || n > 0 && (head[0] == '(' || head[0] == ' ') || bytes.IndexByte(head, '\n') >= 0 {
			return head, nil
		}
	}
	return head, nil
}

// recognise goes by the first line that is not empty. parse is nil for candump.
func recognise(head []byte) (Kind, lineParser) {
	head = bytes.TrimLeft(head, "\r\n\t ")
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.ToLower(bytes.TrimSpace(line))
	for _, begin := range []string{"date ", "base hex", "base dec", "// version", "internal events", "no internal events", "begin trigger"} {
		if bytes.HasPrefix(line, []byte(begin)) {
			return ASC, &ascFile{}
		}
	}
	columns := bytes.Split(line, []byte(","))
	switch {
	case len(columns) > 4 && string(columns[0]) == "time stamp" && string(columns[1]) == "id":
		return SavvyCAN, &savvyFile{columns: indexed(columns)}
	case len(columns) > 4 && string(columns[0]) == "timestamp" && string(columns[1]) == "arbitration_id":
		return PythonCAN, &pythonFile{columns: indexed(columns)}
	}
	return Candump, nil
}

func indexed(columns [][]byte) map[string]int {
	index := map[string]int{}
	for i, c := range columns {
		index[string(bytes.TrimSpace(c))] = i
	}
	return index
}
