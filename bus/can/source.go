package can

import (
	"errors"
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

// Source is what [Config].Interface names, taken apart by [ParseInterface].
type Source struct {
	Kind    SourceKind
	Name    string  // the device, the path of the log, or the simulation
	Speed   float64 // Replay: 1 is the log's own timing, +Inf as fast as it can be read
	Loop    bool    // Replay: begin again at the end
	LogTime bool    // Replay: stamp frames with the log's times
	Rate    int     // sim:ramp: frames per second
}

// ParseInterface takes an interface apart and says what is wrong with it. It
// looks at the text only: whether the device or file exists shows when
// [Bus.Run] opens it.
func ParseInterface(s string) (Source, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case !ok:
		return Source{Kind: Device, Name: s}, checkDeviceName(s)
	case scheme == "replay":
		return parseReplay(rest)
	case scheme == "sim":
		return parseSim(rest)
	}
	return Source{}, fmt.Errorf("can: interface %q: unknown form %q; use a device such as can0, replay:FILE or sim:NAME", s, scheme+":")
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
	bad := func(why string) error {
		return fmt.Errorf("can: interface %q: %s; give the name of a SocketCAN device such as can0", s, why)
	}
	switch {
	case s == "":
		return bad("the name is empty")
	case len(s) > MaxInterfaceName:
		return bad(fmt.Sprintf("%d characters, at most %d are possible", len(s), MaxInterfaceName))
	case s == "." || s == "..":
		return bad("not a name")
	}
	for _, c := range s {
		if c <= ' ' || c == '/' || c == 0x7f || c > 0x7f {
			return bad(fmt.Sprintf("%q cannot stand in an interface name", c))
		}
	}
	return nil
}

func parseReplay(rest string) (Source, error) {
	src := Source{Kind: Replay, Name: rest, Speed: 1}
	opts := ""
	// The last question mark counts, so that a file name may hold others.
	if i := strings.LastIndexByte(rest, '?'); i >= 0 {
		src.Name, opts = rest[:i], rest[i+1:]
	}
	if src.Name == "" {
		return src, errors.New("can: replay: the file is missing; write replay:FILE")
	}
	if strings.ContainsRune(src.Name, 0) {
		return src, errors.New("can: replay: a file name cannot hold a NUL")
	}
	return src, eachOption("replay", opts, func(key, value string, bare bool) (err error) {
		switch key {
		case "speed":
			src.Speed, err = parseSpeed(value)
		case "loop":
			src.Loop = true
			if !bare {
				src.Loop, err = parseBool(value)
			}
		case "time":
			src.LogTime = value == "log"
			if value != "log" && value != "now" {
				err = errors.New("use log or now")
			}
		default:
			err = errors.New("unknown option; known are speed, loop and time")
		}
		return err
	})
}

func parseSim(rest string) (Source, error) {
	name, opts, _ := strings.Cut(rest, "?")
	src := Source{Kind: Sim, Name: name, Speed: 1}
	switch name {
	case SimEngine:
	case SimRamp:
		src.Rate = DefaultRampRate
	default:
		return src, fmt.Errorf("can: sim:%s: unknown simulation; known are %s and %s", name, SimEngine, SimRamp)
	}
	return src, eachOption("sim:"+name, opts, func(key, value string, _ bool) (err error) {
		if name != SimRamp || key != "rate" {
			return errors.New("unknown option; sim:ramp knows rate, sim:engine none")
		}
		src.Rate, err = strconv.Atoi(value)
		if err != nil || src.Rate < 1 || src.Rate > MaxRampRate {
			return fmt.Errorf("use 1 to %d frames per second", MaxRampRate)
		}
		return nil
	})
}

func eachOption(what, opts string, set func(key, value string, bare bool) error) error {
	if opts == "" {
		return nil
	}
	seen := map[string]bool{}
	for opt := range strings.SplitSeq(opts, "&") {
		key, value, ok := strings.Cut(opt, "=")
		if seen[key] {
			return fmt.Errorf("can: %s: option %q is given twice", what, key)
		}
		seen[key] = true
		if err := set(key, value, !ok); err != nil {
			return fmt.Errorf("can: %s: option %q: %w", what, opt, err)
		}
	}
	return nil
}

func parseSpeed(s string) (float64, error) {
	if s == "max" {
		return math.Inf(1), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= MinSpeed && v <= MaxSpeed) { // NaN fails too
		return 1, fmt.Errorf("use a factor from %g to %g, or max", MinSpeed, MaxSpeed)
	}
	return v, nil
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("use true or false")
}
