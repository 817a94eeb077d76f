package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxMarks bounds the characters that can begin a YAML token, and with them
// the memory a parse takes: about 300 bytes for each.
const maxMarks = 60_000

// marks are the characters that structure YAML.
const marks = "\n[]{},:-?#&*!|>%@'\""

// place is a position in a text: line and column from 1.
type place struct{ line, col int }

// placeOf returns where the byte at offset stands, columns in characters.
func placeOf(text []byte, offset int) place {
	before := text[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return place{1 + bytes.Count(before, []byte{'\n'}), 1 + utf8.RuneCount(before[start:])}
}

// normalize refuses what is not text, and returns the text without byte order
// mark and with \n line ends.
func (l *loader) normalize(data []byte) (string, bool) {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		l.failAt(place{1, 1}, "", "the file is UTF-16", "save it as UTF-8")
		return "", false
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	ok := l.checkCharacters(data) && l.checkMarks(data)
	return string(data), ok
}

// checkCharacters reports the first byte that is not text, and all tabs that
// indent, by line.
func (l *loader) checkCharacters(data []byte) bool {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			l.failAt(placeOf(data, i), "", fmt.Sprintf("byte 0x%02X is not UTF-8", data[i]), "save the file as UTF-8")
			return false
		case r == 0:
			l.failAt(placeOf(data, i), "", "NUL byte", "remove it; the file may be damaged or not text")
			return false
		case r < ' ' && r != '\t' && r != '\n', r == 0x7f:
			l.failAt(placeOf(data, i), "", fmt.Sprintf("control character 0x%02X", r), "remove it")
			return false
		}
		i += size
	}
	return l.checkTabs(string(data))
}

func (l *loader) checkTabs(text string) bool {
	ok, n := true, 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		rest := strings.TrimLeft(line, " ")
		if !strings.HasPrefix(rest, "\t") {
			continue
		}
		if content := strings.TrimLeft(rest, " \t"); content == "" || content[0] == '#' {
			continue
		}
		l.failAt(place{n, len(line) - len(rest) + 1}, "", "the line is indented with a tab", "use spaces")
		ok = false
	}
	return ok
}

func (l *loader) checkMarks(data []byte) bool {
	n := 0
	for i, c := range data {
		if strings.IndexByte(marks, c) < 0 {
			continue
		}
		if n++; n > maxMarks {
			l.failAt(placeOf(data, i), "", "the file is too large to be a configuration", "name the right file")
			return false
		}
	}
	return true
}
