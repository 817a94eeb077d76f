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

	canErrorMask = 1<<29 - 1 // the classes of error frames
)

// parseFilter reads a filter as candump writes it into set: id:mask passes,
// id~mask keeps out; eight digits of id mean an extended id. #mask is the
// classes of error frames, j joins the filters. It returns what is wrong.
func parseFilter(text string, set *can.FilterSet) (what string) {
	if strings.EqualFold(text, "j") {
		set.Join = true
		return ""
	}
	if classes, ok := strings.CutPrefix(text, "#"); ok {
		mask, ok := hex32(classes)
		if !ok {
			return "has no mask of one to eight hexadecimal digits"
		}
		set.Errors = true
		set.ErrorClasses |= mask & canErrorMask
		return ""
	}
	sep := strings.IndexAny(text, ":~")
	if sep < 0 {
		return "has no mask"
	}
	id, okID := hex32(text[:sep])
	mask, okMask := hex32(text[sep+1:])
	switch {
	case !okID:
		return "has no id of one to eight hexadecimal digits"
	case !okMask:
		return "has no mask of one to eight hexadecimal digits"
	}
	if id&canERR != 0 {
		return "has the flag 20000000 in its id, which no data frame has"
	}
	if sep == 8 {
		id |= canEFF
	}
	set.Filters = append(set.Filters, can.Filter{ID: id, Mask: mask &^ canERR, Invert: text[sep] == '~'})
	return ""
}

func hex32(text string) (uint32, bool) {
	if len(text) > 8 || strings.ContainsAny(text, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 16, 32)
	return uint32(n), err == nil
}
