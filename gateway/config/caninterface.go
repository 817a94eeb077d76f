package config

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
)

const (
	replayScheme = "replay"
	simScheme    = "sim"
)

// canInterface is what can[].interface says: DEVICE, replay:FILE?options or
// sim:NAME?options.
type canInterface struct{ scheme, name, options string }

// String is the interface as it is written in the configuration.
func (i canInterface) String() string {
	text := i.name
	if i.scheme != "" {
		text = i.scheme + ":" + text
	}
	if i.options != "" {
		text += "?" + i.options
	}
	return text
}

// sourceName is the name of a source that has none: the interface, without
// options and the directories of a log.
func (i canInterface) sourceName() string {
	if i.scheme == replayScheme {
		i.name = path.Base(i.name)
	}
	i.options = ""
	return i.String()
}

// parseInterface takes an interface apart and says what is wrong with it.
func parseInterface(text string) (i canInterface, what, fix string) {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || scheme != replayScheme && scheme != simScheme {
		if what := interfaceTrouble(text); what != "" {
			return i, shown(text) + " " + what, "name a CAN interface as in ip link, such as can0, or replay:FILE or sim:NAME"
		}
		return canInterface{name: text}, "", ""
	}
	i = canInterface{scheme: scheme, name: rest}
	// The last question mark counts: the name of a file may hold others.
	if cut := strings.LastIndexByte(rest, '?'); cut >= 0 {
		i.name, i.options = rest[:cut], rest[cut+1:]
	}
	check, known := replayOption, "the options are speed=N, loop and time=log, joined by &"
	switch {
	case scheme == replayScheme && (i.name == "" || strings.ContainsRune(i.name, 0)):
		return i, "replay: names no file", "write such as replay:drive.log?speed=10"
	case scheme == simScheme && i.name == "ramp":
		check, known = rampOption, "the option is rate=N, from 1 to 100000 frames a second"
	case scheme == simScheme && i.name == "engine":
		check, known = func(string, string, bool) bool { return false }, "sim:engine has no options"
	case scheme == simScheme:
		return i, "there is no simulation " + shown(i.name), "write sim:engine or sim:ramp"
	}
	return i, optionTrouble(i.options, check), known
}

// optionTrouble checks key=value pairs joined by &, none twice.
func optionTrouble(options string, check func(key, val string, has bool) bool) string {
	if options == "" {
		return ""
	}
	seen := map[string]bool{}
	for option := range strings.SplitSeq(options, "&") {
		key, val, has := strings.Cut(option, "=")
		if seen[key] {
			return fmt.Sprintf("the option %s is given twice", shown(key))
		}
		seen[key] = true
		if !check(key, val, has) {
			return fmt.Sprintf("the option %s is not known or its value is not", shown(option))
		}
	}
	return ""
}

func replayOption(key, val string, has bool) bool {
	switch key {
	case "loop":
		return !has || val == "true" || val == "false" || val == "1" || val == "0"
	case "time":
		return val == "log" || val == "now"
	case "speed":
		speed, err := strconv.ParseFloat(val, 64)
		return val == "max" || err == nil && speed >= 0.001 && speed <= 1e6
	}
	return false
}

func rampOption(key, val string, _ bool) bool {
	rate, err := strconv.Atoi(val)
	return key == "rate" && err == nil && rate >= 1 && rate <= 100_000
}

// maxInterface is IFNAMSIZ without the NUL.
const maxInterface = 15

// interfaceTrouble says why no interface can have that name, by the rules of
// the kernel (dev_valid_name) and of candump's logs.
func interfaceTrouble(name string) string {
	switch {
	case len(name) > maxInterface:
		return fmt.Sprintf("is longer than the %d characters an interface name can have", maxInterface)
	case name == "." || name == "..":
		return "is no interface name"
	case strings.ContainsAny(name, "/:"):
		return "contains / or :, which no interface name can"
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > unicode.MaxASCII || !unicode.IsPrint(r) }):
		return "contains a character that cannot stand in an interface name"
	}
	return ""
}
