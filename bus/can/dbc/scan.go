package dbc

import "bytes"

// scanner reads words, marks and strings. It works on offsets alone, so that
// any place can be gone back to; lines are counted only for diagnostics.
type scanner struct {
	data []byte
	pos  int
	// What was searched last, so that a faulty file is not searched again for
	// each of its faults.
	closing, quote, newline, line found
}

// found is where a search that began at from ended: one that begins in
// between ends there too.
type found struct{ from, to int }

// next returns where search, from an offset on, finds what it looks for, or
// the end of the data. Offsets only grow from statement to statement, so that
// all searches of one kind together take linear time.
func (s *scanner) next(f *found, from int, search func(rest []byte) int) int {
	if from < f.from || from > f.to || f.to == 0 {
		f.from, f.to = from, len(s.data)
		if n := search(s.data[from:]); n >= 0 {
			f.to = from + n
		}
	}
	return f.to
}

// delimiter marks the bytes that end a word.
var delimiter = func() (t [256]bool) {
	for _, c := range []byte(" \t\r\n\v\f\x00:;,|@()[]\"") {
		t[c] = true
	}
	return t
}()

func isSpace(c byte) bool { return c == ' ' || c-'\t' <= '\r'-'\t' || c == 0 }

func isNewline(c byte) bool { return c == '\n' || c == '\r' }

func (s *scanner) eof() bool { return s.pos >= len(s.data) }

// peek returns the byte at the position, or 0 at the end.
func (s *scanner) peek() byte {
	if s.eof() {
		return 0
	}
	return s.data[s.pos]
}

// space passes over white space and // comments.
func (s *scanner) space() {
	for !s.eof() {
		switch c := s.data[s.pos]; {
		case isSpace(c):
			s.pos++
		case c == '/' && s.pos+1 < len(s.data) && s.data[s.pos+1] == '/':
			s.lineEnd()
		default:
			return
		}
	}
}

// blank passes over white space within the line.
func (s *scanner) blank() {
	for !s.eof() && isSpace(s.data[s.pos]) && !isNewline(s.data[s.pos]) {
		s.pos++
	}
}

// lineEnd goes to the end of the line, before its newline.
func (s *scanner) lineEnd() {
	for !s.eof() && !isNewline(s.data[s.pos]) {
		s.pos++
	}
}

// word reads up to the next delimiter. It is empty at one.
func (s *scanner) word() []byte {
	s.space()
	start := s.pos
	for !s.eof() && !delimiter[s.data[s.pos]] {
		s.pos++
	}
	return s.data[start:s.pos]
}

// peekWord returns the word at the position without reading it.
func (s *scanner) peekWord() []byte {
	start := s.pos
	w := s.word()
	s.pos = start
	return w
}

// mark reads the mark c after white space and reports whether it was there.
func (s *scanner) mark(c byte) bool {
	start := s.pos
	s.space()
	if s.peek() == c && !s.eof() {
		s.pos++
		return true
	}
	s.pos = start
	return false
}

// lineString reads a string that ends on its line, as names and units do.
func (s *scanner) lineString() (raw []byte, ok bool) {
	start := s.pos
	if !s.mark('"') {
		return nil, false
	}
	body := s.pos
	lineEnd := s.next(&s.newline, body, func(b []byte) int { return bytes.IndexAny(b, "\r\n") })
	end := s.next(&s.closing, body, closing)
	if end >= lineEnd {
		// A backslash at the end of a text is one, if no other end is there.
		end = s.next(&s.quote, body, func(b []byte) int { return bytes.IndexByte(b, '"') })
	}
	if end >= lineEnd {
		s.pos = start
		return nil, false
	}
	s.pos = end + 1
	return s.data[body:end], true
}

// closing finds the quotation mark that ends a string: one with an even
// number of backslashes before it.
func closing(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// text reads a string that may have several lines. One that was never closed
// is known by a line within it that begins a statement, while what follows its
// end could not follow a string.
func (s *scanner) text() (raw []byte, ok bool) {
	start := s.pos
	if !s.mark('"') {
		return nil, false
	}
	body := s.pos
	end := s.next(&s.closing, body, closing)
	if end < len(s.data) && (end < s.keywordLine(body) || s.follows(end+1)) {
		s.pos = end + 1
		return s.data[body:end], true
	}
	s.pos = start
	if raw, ok = s.lineString(); ok && s.follows(s.pos) {
		return raw, true
	}
	s.pos = start
	return nil, false
}

// keywordLine returns the offset of the next line that begins with a
// statement's keyword, or that of the end.
func (s *scanner) keywordLine(from int) int {
	return s.next(&s.line, from, func(rest []byte) int {
		for i, c := range rest {
			if isNewline(c) && s.keywordAt(from+i+1) {
				return i + 1
			}
		}
		return -1
	})
}

// keywordAt reports whether a line beginning at the offset begins a statement.
func (s *scanner) keywordAt(at int) bool {
	i := at
	for i < len(s.data) && i < at+64 && (s.data[i] == ' ' || s.data[i] == '\t') {
		i++
	}
	start := i
	for i < len(s.data) && i < start+maxKeywordLen+1 && !delimiter[s.data[i]] {
		i++
	}
	return i > start && isKeyword(s.data[start:i])
}

// follows reports whether what stands at the offset can follow a text of
// several lines: a semicolon, or a new statement.
func (s *scanner) follows(at int) bool {
	const most = 256
	for i := at; i < len(s.data) && i < at+most; i++ {
		switch c := s.data[i]; {
		case isNewline(c) && s.keywordAt(i+1):
			return true
		case isSpace(c):
		case c == ';':
			return true
		default:
			return false
		}
	}
	return true
}

// skip goes to the end of a statement that begins at from: behind its
// semicolon, or before the next line that begins a statement.
func (s *scanner) skip(from int) {
	s.pos = from
	for !s.eof() {
		switch c := s.data[s.pos]; {
		case c == ';':
			s.pos++
			return
		case c == '"':
			if _, ok := s.text(); !ok {
				s.pos++
			}
		case isNewline(c):
			s.pos++
			if s.keywordAt(s.pos) {
				return
			}
		default:
			s.pos++
		}
	}
}
