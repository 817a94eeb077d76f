package config

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"

	"fieldferry/bus/can"
)

const (
	replayPrefix = "replay:"
	simPrefix    = "sim:"
)

func (l *loader) can(v value, taken sources) []CAN {
	var out []CAN
	for _, item := range v.list() {
		out = append(out, l.canSource(item, taken))
	}
	return out
}

func (l *loader) canSource(v value, taken sources) CAN {
	f := v.fields("interface", "name", "filters", "fd")
	if !v.is(object) {
		return CAN{}
	}
	iface := f.need("interface", "write interface: can0")
	var c CAN
	c.Bus.Interface = iface.canInterface()
	name := f.at("name")
	if name.has {
		c.Name = name.level("")
	} else {
		name = iface
		c.Name = canSourceName(iface.n.text)
		if what := levelTrouble(c.Name); what != "" && c.Bus.Interface != "" {
			iface.fail(fmt.Sprintf("cannot stand for the name: %s %s", shown(c.Name), what), "add name: NAME")
		}
	}
	if c.Bus.Interface != "" || f.at("name").has {
		taken.add(c.Name, name)
	}
	c.Bus.Filters = f.at("filters").canFilters()
	c.Bus.FD = f.at("fd").boolean(false)
	return c
}

// canSourceName is the source name of an interface: the interface, without
// the options and directories of a log to replay.
func canSourceName(iface string) string {
	if file, ok := strings.CutPrefix(iface, replayPrefix); ok {
		file, _, _ = strings.Cut(file, "?")
		return replayPrefix + path.Base(file)
	}
	return iface
}

// canInterface returns the checked interface, a log's path resolved.
func (v value) canInterface() string {
	text := v.text("")
	if file, ok := strings.CutPrefix(text, replayPrefix); ok {
		return v.replay(file)
	}
	if name, ok := strings.CutPrefix(text, simPrefix); ok {
		if what := levelTrouble(name); what != "" {
			v.fail("the name of the simulation "+what, "write such as sim:engine")
			return ""
		}
		return text
	}
	if what := interfaceTrouble(text); what != "" {
		v.fail(shown(text)+" "+what, "name a CAN interface as in ip link, such as can0")
		return ""
	}
	return text
}

// maxInterface is IFNAMSIZ without the NUL.
const maxInterface = 15

// interfaceTrouble says why no interface can have that name, by the rules of
// the kernel (dev_valid_name).
func interfaceTrouble(name string) string {
	switch {
	case name == "": // reported already
		return ""
	case len(name) > maxInterface:
		return fmt.Sprintf("is longer than the %d characters an interface name can have", maxInterface)
	case name == "." || name == "..":
		return "is no interface name"
	case strings.ContainsAny(name, "/:"):
		return "contains / or :, which no interface name can"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "contains a space or a control character, which no interface name can"
	}
	return ""
}

// replay checks FILE?option&option and that the log is there.
func (v value) replay(text string) string {
	file, query, _ := strings.Cut(text, "?")
	if file == "" {
		v.fail("replay: names no file", "write such as replay:drive.log?speed=10")
		return ""
	}
	for option := range strings.SplitSeq(query, "&") {
		key, val, _ := strings.Cut(option, "=")
		val, err := url.QueryUnescape(val)
		speed, notNumber := strconv.ParseFloat(val, 64)
		switch {
		case option == "" && query == "":
		case key == "loop" && option == "loop":
		case key == "time" && val == "log":
		case key == "speed" && err == nil && notNumber == nil && speed >= 0.001 && speed <= 1e6:
		case key == "speed":
			v.fail(fmt.Sprintf("the speed %s is no number from 0.001 to 1000000", shown(val)), "write such as ?speed=10")
			return ""
		default:
			v.fail(fmt.Sprintf("unknown replay option %s", shown(option)), "the options are speed=N, loop and time=log, joined by &")
			return ""
		}
	}
	file = v.l.resolve(file)
	if what, fix := regularTrouble("the log", file); what != "" {
		v.fail(what, fix)
		return ""
	}
	if query != "" {
		file += "?" + query
	}
	return replayPrefix + file
}

// maxFilters is CAN_RAW_FILTER_MAX.
const maxFilters = 512

func (v value) canFilters() []can.Filter {
	items := v.list()
	if len(items) > maxFilters {
		v.fail(fmt.Sprintf("%d filters are more than the %d the kernel takes", len(items), maxFilters), "use masks that cover several ids")
	}
	var out []can.Filter
	for _, item := range items {
		text := item.text("")
		if text == "" {
			continue
		}
		filter, what := parseFilter(text)
		if what != "" {
			item.fail(shown(text)+" "+what, `write id:mask or id~mask in hexadecimal, such as "100:7F0" or "0CF00400:1FFFFFFF"`)
			continue
		}
		out = append(out, filter)
	}
	return out
}
