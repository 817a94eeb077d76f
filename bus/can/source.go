package can

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// SourceKind is the sort of a [Source].
type SourceKind uint8

// The kinds of a [Source].
const (
	Device SourceKind = iota // a SocketCAN network device
	Replay                   // a candump -l log
	Sim                      // a simulation
)

// The names of the simulations.
const (
	SimEngine = "engine"
	SimRamp   = "ramp"
)

// The limits and defaults of a source's options.
const (
	MaxInterfaceName = 15 // characters of a network device's name (IFNAMSIZ less its NUL)
	MinSpeed         = 0.001
	MaxSpeed         = 1e6
	DefaultRampRate  = 100    // frames per second
	MaxRampRate      = 100000 // frames per second
)

// AnyInterface is candump's word for all CAN interfaces. No [Source] is.
const AnyInterface = "any"

// Source is what [Config].Interface names, taken apart by [ParseInterface].
type Source struct {
	Kind    SourceKind
	Name    string  // the device, the path of the log, or the simulation
	Speed   float64 // Replay: 1 is the log's own timing, +Inf as fast as it can be read
	Loop    bool    // Replay: begin again at the end
	LogTime bool    // Replay: stamp frames with the log's times
	Bus     string  // Replay: the interface of the log whose frames are played; empty: the first
	Rate    int     // sim:ramp: frames per second
}

// ParseInterface takes an interface apart and says what is wrong with it, in a
// *[SyntaxError]. It looks at the text only: whether the device or file exists
// shows when [Bus.Run] opens it.
func ParseInterface(s string) (Source, error) {
	if rest, ok := strings.CutPrefix(s, "replay:"); ok {
		return parseReplay(rest)
	}
	if rest, ok := strings.CutPrefix(s, "sim:"); ok {
		return parseSim(rest)
	}
	return Source{Kind: Device, Name: s}, checkDeviceName(s)
}

// String returns the interface that [ParseInterface] reads as this source.
func (s Source) String() string {
	var opts []string
	switch s.Kind {
	case Replay:
		if math.IsInf(s.Speed, 1) {
			opts = append(opts, "speed=max")
		} else if s.Speed != 1 {
			opts = append(opts, "speed="+strconv.FormatFloat(s.Speed, 'g', -1, 64))
		}
		if s.Loop {
			opts = append(opts, "loop")
		}
		if s.LogTime {
			opts = append(opts, "time=log")
		}
		if s.Bus != "" {
			opts = append(opts, "bus="+s.Bus)
		}
		if len(opts) == 0 && strings.Contains(s.Name, "?") {
			opts = append(opts, "speed=1") // the last question mark begins the options
		}
		return "replay:" + s.Name + joinOptions(opts)
	case Sim:
		if s.Name == SimRamp && s.Rate != DefaultRampRate {
			opts = append(opts, "rate="+strconv.Itoa(s.Rate))
		}
		return "sim:" + s.Name + joinOptions(opts)
	default:
		return s.Name
	}
}

func joinOptions(opts []string) string {
	if len(opts) == 0 {
		return ""
	}
	return "?" + strings.Join(opts, "&")
}

// checkDeviceName applies the kernel's dev_valid_name, and refuses what cannot be read in a log.
func checkDeviceName(s string) error {
	what := ""
	switch {
	case s == "" || s == "." || s == "..":
		what = "is not an interface name"
	case s == AnyInterface:
		return &SyntaxError{s, "means all CAN interfaces to candump; here it is one interface", "name one, such as can0; each further one is a source of its own"}
	case len(s) > MaxInterfaceName:
		what = fmt.Sprintf("is longer than the %d characters an interface name can have", MaxInterfaceName)
	case strings.ContainsAny(s, "/:"):
		what = "contains / or :, which no interface name can"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		what = "contains a character that cannot stand in an interface name"
	default:
		return nil
	}
	return &SyntaxError{s, what, "name a CAN interface as in ip link, such as can0, or replay:FILE or sim:NAME"}
}

func parseReplay(rest string) (Source, error) {
	src := Source{Kind: Replay, Name: rest, Speed: 1}
	opts := ""
	// The last question mark counts, so that a file name may hold others.
	if i := strings.LastIndexByte(rest, '?'); i >= 0 {
		src.Name, opts = rest[:i], rest[i+1:]
	}
	if src.Name == "" || strings.ContainsRune(src.Name, 0) {
		return src, &SyntaxError{"replay:" + rest, "names no file", "write such as replay:drive.log?speed=10"}
	}
	return src, eachOption(opts, "the options are speed=N or speed=max, loop, time=log and bus=NAME, joined by &", func(key, value string, bare bool) (ok bool) {
		switch key {
		case "speed":
			src.Speed, ok = parseSpeed(value)
		case "loop":
			src.Loop = bare || value == "true" || value == "1"
			ok = src.Loop || value == "false" || value == "0"
		case "time":
			src.LogTime = value == "log"
			ok = src.LogTime || value == "now"
		case "bus":
			src.Bus = value
			ok = value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f })
		}
		return ok
	})
}

func parseSim(rest string) (Source, error) {
	name, opts, _ := strings.Cut(rest, "?")
	src := Source{Kind: Sim, Name: name, Speed: 1}
	fix := "sim:engine has no options"
	switch name {
	case SimEngine:
	case SimRamp:
		src.Rate = DefaultRampRate
		fix = fmt.Sprintf("the option is rate=N, from 1 to %d frames a second", MaxRampRate)
	default:
		return src, &SyntaxError{name, "is not a simulation", "write sim:" + SimEngine + " or sim:" + SimRamp}
	}
	return src, eachOption(opts, fix, func(key, value string, _ bool) bool {
		var err error
		src.Rate, err = strconv.Atoi(value)
		return name == SimRamp && key == "rate" && err == nil && src.Rate >= 1 && src.Rate <= MaxRampRate
	})
}

// eachOption calls set for key=value pairs joined by &, none twice. fix says
// which there are.
func eachOption(opts, fix string, set func(key, value string, bare bool) (ok bool)) error {
	if opts == "" {
		return nil
	}
	seen := map[string]bool{}
	for opt := range strings.SplitSeq(opts, "&") {
		key, value, ok := strings.Cut(opt, "=")
		if seen[key] {
			return &SyntaxError{key, "is given twice as an option", fix}
		}
		seen[key] = true
		if !set(key, value, !ok) {
			return &SyntaxError{opt, "is not an option, or its value is not one of it", fix}
		}
	}
	return nil
}

func parseSpeed(s string) (speed float64, ok bool) {
	if s == "max" {
		return math.Inf(1), true
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && v >= MinSpeed && v <= MaxSpeed // not NaN
}
