package dbc

import (
	"bytes"
	"unicode/utf8"
)

// windows1252 are the characters of the bytes 0x80 to 0x9F; the rest of the
// code page equals Unicode.
var windows1252 = [32]rune{
	'€', utf8.RuneError, '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', utf8.RuneError, 'Ž', utf8.RuneError,
	utf8.RuneError, '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', utf8.RuneError, 'ž', 'Ÿ',
}

// toUTF8 returns b as valid UTF-8: bytes that are none are read as Windows-1252.
func toUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out := make([]byte, 0, len(b)+len(b)/4)
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			switch c := b[0]; {
			case c < 0xA0:
				r = windows1252[c-0x80]
			default:
				r = rune(c)
			}
		}
		out = utf8.AppendRune(out, r)
		b = b[size:]
	}
	return string(out)
}

// unquote returns the text of a string: \" is a quotation mark, any other
// backslash is itself. Line ends are written as \n.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = bytes.ReplaceAll(raw, []byte(`\"`), []byte(`"`))
	}
	if bytes.IndexByte(raw, '\r') >= 0 {
		raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
		raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("\n"))
	}
	return toUTF8(raw)
}

const upperHex = "0123456789ABCDEF"

// appendString appends s as a JSON string (RFC 8259 section 7). What is not
// UTF-8 becomes U+FFFD.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(append(dst, s[start:i]...), "\uFFFD"...)
		} else {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, `\n`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, `\u00`...)
				dst = append(dst, upperHex[c>>4], upperHex[c&15])
			}
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// quote returns s as a JSON string and s itself as a part of it where they
// are alike, so that both cost the memory of one.
func quote(s string) (quoted, text string) {
	q := string(appendString(make([]byte, 0, len(s)+2), s))
	if len(q) == len(s)+2 {
		return q, q[1 : len(q)-1]
	}
	return q, s
}

// quoteKey is quote for the name of a JSON member, with its colon.
func quoteKey(s string) (key, text string) {
	k := string(append(appendString(make([]byte, 0, len(s)+3), s), ':'))
	if len(k) == len(s)+3 {
		return k, k[1 : len(k)-2]
	}
	return k, s
}
