package config

import (
	"strconv"
	"strings"

	"fieldferry/bus/can"
)

// The flag bits in a kernel filter (linux/can.h).
const (
	canEFF = 1 << 31 // extended frame format
	canERR = 1 << 29 // error frames; they have a filter of their own
)

// parseFilter reads a filter as candump writes it: id:mask passes, id~mask
// keeps out; eight digits of id mean an extended id. It returns what is wrong.
func parseFilter(text string) (f can.Filter, what string) {
	sep := strings.IndexAny(text, ":~")
	switch {
	case strings.HasPrefix(text, "#"):
		return f, "asks for error frames, which are always read and counted"
	case strings.EqualFold(text, "j"):
		return f, "joins filters, which is not in this version"
	case sep < 0:
		return f, "has no mask"
	}
	id, okID := hex32(text[:sep])
	mask, okMask := hex32(text[sep+1:])
	switch {
	case !okID:
		return f, "has no id of one to eight hexadecimal digits"
	case !okMask:
		return f, "has no mask of one to eight hexadecimal digits"
	}
	if id&canERR != 0 {
		return f, "has the flag 20000000 in its id, which no data frame has"
	}
	if sep == 8 {
		id |= canEFF
	}
	return can.Filter{ID: id, Mask: mask &^ canERR, Invert: text[sep] == '~'}, ""
}

func hex32(text string) (uint32, bool) {
	if len(text) > 8 || strings.ContainsAny(text, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 16, 32)
	return uint32(n), err == nil
}
