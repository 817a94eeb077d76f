package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func isTerminal(w io.Writer) bool {
	f, ok := exact(w).(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	}
}

// harmful reports whether a character does something to a terminal, or to how
// the text around it reads, instead of showing: control characters, separators
// of lines that are not line feeds, and the marks that turn the direction of
// text (Unicode Technical Report 36, 3.6; CVE-2021-42574).
func harmful(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7F && r < 0xA0,
		r == 0x061C, r == 0x200E, r == 0x200F, r >= 0x2028 && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// printable keeps what came from outside from playing tricks on a terminal, and
// within one line: harmful characters are shown as JSON writes them.
func printable(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7F {
			return string(appendPrintable([]byte(s[:i]), []byte(s[i:]), false))
		}
	}
	return s
}

// errorText is an error for people. Errors that were joined stand on lines of
// their own; within one, a line feed came from outside, as in the name of a
// file, and must not forge a line.
func errorText(err error) string {
	const edge = "\x00" // in no name of a file
	text := strings.ReplaceAll(err.Error(), edge, "\ufffd")
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case interface{ Unwrap() []error }:
			parts := make([]string, 0, len(e.Unwrap()))
			for _, part := range e.Unwrap() {
				parts = append(parts, part.Error())
			}
			if joined := strings.Join(parts, "\n"); joined == err.Error() { // of errors.Join
				text = strings.Replace(text, joined, strings.Join(parts, edge), 1)
			}
			for _, part := range e.Unwrap() {
				walk(part)
			}
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		}
	}
	walk(err)
	lines := strings.Split(text, edge)
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// appendPrintable appends text with harmful characters as \uXXXX and bytes that
// are not UTF-8 as the replacement character. With lines, line feeds and tabs stay.
func appendPrintable(dst, text []byte, lines bool) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = utf8.AppendRune(dst, utf8.RuneError)
		case lines && (r == '\n' || r == '\t'), !harmful(r):
			dst = append(dst, text[:n]...)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		text = text[n:]
	}
	return dst
}

// safeWriter passes text on with its harmful characters made visible. All that
// the verbs print goes through one, so no verb can forget it. JSON keeps its
// meaning: there these characters stand in strings only, and \uXXXX is how JSON
// writes them. Output that is not text, or commands the terminal, goes to what
// exact returns.
type safeWriter struct {
	w io.Writer

	mu   sync.Mutex
	held []byte // the beginning of a character whose rest is still to come
	buf  []byte
}

// exact returns where a safeWriter writes to.
func exact(w io.Writer) io.Writer {
	if s, ok := w.(*safeWriter); ok {
		return s.w
	}
	return w
}

func (s *safeWriter) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) == 0 && plain(text) {
		return s.w.Write(text)
	}
	whole := append(s.held, text...)
	end := len(whole) - unfinished(whole)
	s.buf = appendPrintable(s.buf[:0], whole[:end], true)
	s.held = append([]byte(nil), whole[end:]...)
	if _, err := s.w.Write(s.buf); err != nil {
		return 0, err
	}
	return len(text), nil
}

// end writes what is left of a character that was cut off. It does not wait for
// a write that hangs.
func (s *safeWriter) end() {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if len(s.held) > 0 {
		_, _ = s.w.Write(appendPrintable(nil, s.held, true))
		s.held = nil
	}
}

// plain reports whether text can be passed on as it is, at the least cost.
func plain(text []byte) bool {
	for _, c := range text {
		if c < 0x20 && c != '\n' && c != '\t' || c >= 0x7F {
			return false
		}
	}
	return true
}

// unfinished returns how many bytes at the end begin a character.
func unfinished(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if c := text[len(text)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(text[len(text)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
