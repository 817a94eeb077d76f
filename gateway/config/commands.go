package config

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode"

	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	decimal "fieldferry/bus/scalar"
	"fieldferry/gateway/command"
)

// Commands is what may be done to the buses; the zero value: nothing.
type Commands struct {
	Enabled      bool
	MaxTTL       time.Duration
	MaxPerMinute int
	Signers      map[string]ed25519.PublicKey
	Points       []Point
	Read         *Reads // nil: nothing but the points can be read on demand
}

// Reads says who may read configured registers on demand.
type Reads struct {
	Allow        []string // nil: everybody
	MaxPerMinute int
}

// Point is one thing that may be written.
type Point struct {
	Name        string
	Source      string // of the bus
	Allow       []string
	MaxChange   string // a number; empty: any
	MinInterval time.Duration
	Fallback    *command.Fallback
	Rounding    bool           // a register may get the nearest value that it can hold
	OnlyIf      *OnlyIf        // nil: whatever else is so
	Register    *RegisterPoint // or
	Frame       *FramePoint
}

// OnlyIf is a register of the device that has to hold a value.
type OnlyIf struct {
	Register modbus.Register
	Value    string // JSON
}

// Limits are the values that may be written; numbers as they stand in the file.
type Limits struct{ Min, Max, Step string }

// RegisterPoint is a register, or a coil, of a Modbus device.
type RegisterPoint struct {
	Device    string
	Unit      uint8
	Register  modbus.Register
	Limits    Limits
	ReadBack  bool
	Tolerance string        // how far what is read back may be off; empty: not at all
	Delay     time.Duration // from the write to reading back
}

// FramePoint is a message on a CAN interface.
type FramePoint struct {
	Interface string
	Message   *dbc.Message // nil: the raw frame that follows
	Signals   []SignalPoint
	ID        uint32
	Extended  bool
	Length    int           // bytes
	FD        bool          // the interface carries CAN FD
	BRS       bool          // and a faster bit rate for the data
	Repeat    time.Duration // how often it is sent while the request's time lasts; 0: once
}

// SignalPoint is a signal of a message.
type SignalPoint struct {
	Name   string
	Limits Limits
}

// Spans of a point's times.
var (
	commandTTL    = span{low: command.MinTTL, high: command.MaxTTL, example: "30s"}
	minInterval   = span{low: time.Millisecond, high: command.MaxMinInterval, zero: true, example: "10s"}
	fallbackAfter = span{low: command.MinFallback, high: command.MaxFallback, example: "5m"}
	readBackDelay = span{low: time.Millisecond, high: 5 * time.Second, zero: true, example: "100ms"}
	repeatEvery   = span{low: 5 * time.Millisecond, high: 10 * time.Second, example: "100ms"}
)

func (l *loader) commands(v value, cfg *Config) Commands {
	if !v.has {
		return Commands{}
	}
	f := v.fields("enabled", "max_ttl", "max_per_minute", "signers", "points", "read")
	c := Commands{
		Enabled:      f.at("enabled").boolean(false),
		MaxTTL:       f.at("max_ttl").duration(commandTTL, command.DefaultTTL),
		MaxPerMinute: int(f.at("max_per_minute").integer(1, command.MostPerMinute, command.DefaultPerMinute)),
		Signers:      l.signers(f.at("signers")),
	}
	names := map[string]value{}
	points := f.at("points")
	for _, item := range points.list() {
		if p, ok := l.point(item, cfg, names); ok {
			c.Points = append(c.Points, p)
		}
	}
	if len(c.Points) > command.MaxPoints {
		points.fail(fmt.Sprintf("has %d points; at most %d are possible", len(c.Points), command.MaxPoints), "remove some")
	}
	if r := f.at("read"); r.has {
		in := r.fields("allow", "max_per_minute")
		c.Read = &Reads{Allow: in.at("allow").who(), MaxPerMinute: int(in.at("max_per_minute").integer(1, command.MostPerMinute, command.DefaultPerMinute))}
	}
	if c.Enabled && c.Read == nil && (!points.has || points.n.kind == list && len(points.n.items) == 0) { // none, rather than none that is right
		f.at("enabled").warn("there is nothing to do: commands has no points and no read", "add points, or remove commands")
	}
	f.unused("enabled", "enabled: true", "points", "read")
	return c
}

// who returns a list of names that must not be empty: nobody could match it.
func (v value) who() []string {
	if !v.has {
		return nil
	}
	var names []string
	for _, item := range v.list() {
		name := item.text("")
		switch {
		case name == "": // reported
		case len(name) > 64 || strings.ContainsFunc(name, unicode.IsControl):
			item.fail(shown(name)+" is not a name that anybody can have", "write 1 to 64 characters")
		case strings.ContainsAny(name, "/+#"):
			item.fail(shown(name)+" contains /, + or #: a name is one level of a topic, and nobody can have this one", "correct it")
		default:
			names = append(names, name)
		}
	}
	if v.n.kind == list && len(v.n.items) == 0 {
		v.fail("is empty, so nobody may", "name somebody, or remove the point")
	}
	return names
}

// signers are public keys of Ed25519, each in a file.
func (l *loader) signers(v value) map[string]ed25519.PublicKey {
	if !v.is(object) {
		return nil
	}
	m := map[string]ed25519.PublicKey{}
	for _, fd := range v.n.fields {
		item := value{l, join(v.path, fd.key), fd.value, true}
		if what := levelTrouble(fd.key); what != "" || strings.Contains(fd.key, ":") {
			item.fail("the name of a signer has letters, digits, - and _", "rename it")
			continue
		}
		path := item.file("")
		if path == "" {
			continue
		}
		item.located()
		text, _, err := l.part(item.path, path, maxSecret)
		if err == nil {
			m[fd.key], err = publicKey(text)
		}
		switch {
		case errors.Is(err, errNoKey):
			item.fail(fmt.Sprintf("%s holds no public key of Ed25519", path), "write it by: openssl pkey -in KEY.pem -pubout -out "+path)
		case err != nil:
			item.fail(fileTrouble(path, err))
		}
	}
	if len(v.n.fields) == 0 {
		v.fail("names no signer, so nothing could be signed", "name one, or remove the key")
	}
	return m
}

var errNoKey = errors.New("no public key of Ed25519")

// publicKey reads a key in PEM (RFC 8410), or its 32 bytes in base64.
func publicKey(text []byte) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode(text); block != nil {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if public, is := key.(ed25519.PublicKey); err == nil && is {
			return public, nil
		}
		return nil, errNoKey
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errNoKey
	}
	return ed25519.PublicKey(raw), nil
}

// pointKeys are those of every point, then those of a register, then those of a
// frame, and at last one that asks for what nobody gets.
var pointKeys = []string{
	"name", "allow", "min_interval", "fallback", "min", "max", "step",
	"line", "device", "register", "max_change", "rounding", "only_if", "readback", "tolerance", "delay",
	"can", "message", "signals", "id", "length", "repeat",
	"retries",
}

const keysOfRegister, keysOfFrame, keysEnd = 7, 16, 22 // where they begin

// told are the keys that a point of that kind may have, for who has written
// another one.
func (v value) told() []string {
	var line, can bool
	for i := range v.n.fields {
		line, can = line || v.n.fields[i].key == "line", can || v.n.fields[i].key == "can"
	}
	switch {
	case line && !can:
		return pointKeys[:keysOfFrame]
	case can && !line:
		return append(pointKeys[:keysOfRegister:keysOfRegister], pointKeys[keysOfFrame:keysEnd]...)
	}
	return pointKeys[:keysEnd]
}

func (l *loader) point(v value, cfg *Config, names map[string]value) (p Point, ok bool) {
	before := len(l.problems)
	if !v.is(object) {
		return p, false
	}
	f := v.fieldsTold(pointKeys, v.told())
	v.located()
	name := f.need("name", "write name: boiler.setpoint")
	p = Point{
		Name:        name.label(""),
		Allow:       f.at("allow").who(),
		MinInterval: f.at("min_interval").duration(minInterval, 0),
		MaxChange:   f.at("max_change").decimal(),
		Rounding:    f.at("rounding").choice("none", "nearest") == "nearest",
	}
	if first, twice := names[p.Name]; twice && p.Name != "" {
		name.fail(fmt.Sprintf("another point %s has the name %s", first.where(), shown(p.Name)), "give it a name of its own")
	}
	names[p.Name] = name
	p.Fallback = f.at("fallback").fallback()
	switch line, can := f.at("line"), f.at("can"); {
	case line.has && can.has:
		can.fail("there is a line too; a point is on one bus", "remove one of them")
	case line.has:
		f.refuse(pointKeys[keysOfFrame+1:keysEnd], "is of a CAN frame, and this is a register", "remove the key")
		f.registerPoint(line, cfg, &p)
		p.Source = line.text("")
	case can.has:
		f.refuse(pointKeys[keysOfRegister+1:keysOfFrame], "is of a register, and this is a CAN frame, which cannot be read back", "remove the key")
		f.framePoint(can, cfg, &p)
		p.Source = can.text("")
	default:
		v.fail("says no bus", "write line: NAME, device: NAME and register: NAME; or can: NAME and message: NAME")
	}
	f.at("retries").noRetries()
	return p, len(l.problems) == before || !HasErrors(l.problems[before:])
}

// noRetries takes 0 alone: a write may have happened although nothing came back.
func (v value) noRetries() {
	v.boundedInteger(0, 0)
	const fix = "remove the key, or write 0; whoever asked decides"
	if v.wholeSuch(0, math.MaxInt32, 0, fix) != 0 {
		v.fail("a write is not tried again by itself: it may have happened", fix)
	}
}

func (v value) fallback() *command.Fallback {
	if !v.has {
		return nil
	}
	f := v.fields("value", "after")
	c := &command.Fallback{Value: f.need("value", "write value: 50").jsonValue(), After: f.need("after", "write after: 5m").duration(fallbackAfter, command.MinFallback)}
	return c
}

// jsonValue returns a scalar as a JSON value; keys and values as an object.
func (v value) jsonValue() string {
	if v.has && v.n.kind == object {
		var parts []string
		for _, fd := range v.n.fields {
			item := value{v.l, join(v.path, fd.key), fd.value, true}
			parts = append(parts, fmt.Sprintf("%q:%s", fd.key, item.jsonValue()))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	if !v.is(scalar) {
		return ""
	}
	text := v.n.text
	if !v.n.quoted && (text == "true" || text == "false" || jsonNumber.MatchString(text)) {
		return text
	}
	return fmt.Sprintf("%q", text)
}

var (
	jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	longest    = 40 // characters of a number
)

// decimal returns a number as it is written, "" when there is none: what is
// compared with values of a bus must not be rounded before.
func (v value) decimal() string {
	if !v.has {
		return ""
	}
	text, ok := v.plain("a number", "0.5")
	switch {
	case !ok:
		return ""
	case !jsonNumber.MatchString(text) || len(text) > longest:
		v.fail(shown(text)+" is not a plain decimal number", "write a number such as 0.5, of at most 40 characters")
		return ""
	}
	return text
}

// limits reads the limits of a number. Those that are there are judged here;
// whether they may be missing depends on what they are for.
func (f fields) limits() Limits {
	c := Limits{f.at("min").decimal(), f.at("max").decimal(), f.at("step").decimal()}
	if c.Min != "" && c.Max != "" {
		_, err := decimal.NewLimits(c.Min, c.Max, c.Step)
		f.limitFault(err)
	}
	return c
}

// limitFault reports which limits are wrong, if that is what err is about.
func (f fields) limitFault(err error) (is bool) {
	if list, several := err.(interface{ Unwrap() []error }); several {
		for _, err := range list.Unwrap() {
			is = f.limitFault(err) || is
		}
		return is
	}
	var no *decimal.Fault
	if is = errors.As(err, &no); is {
		f.at(no.Key).fail(no.What, no.Fix)
	}
	return is
}

// Identity is all that says what a write of the point does: a point with
// another one is another point, whatever its name. It is not for reading.
func (p *Point) Identity() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n%+v\n", p.Source, p.Fallback)
	if p.Rounding { // without it a point is what it was before there was the key
		h.Write([]byte("rounding"))
	}
	if p.OnlyIf != nil {
		fmt.Fprintf(h, "%+v\n", *p.OnlyIf)
	}
	if p.Register != nil {
		fmt.Fprintf(h, "%+v\n", *p.Register)
	}
	if p.Frame != nil {
		f := *p.Frame
		if m := f.Message; m != nil {
			f.Message = nil
			for i := range m.Signals {
				s := &m.Signals[i]
				fmt.Fprintf(h, "%q %d %d %v %v %v %v %v %v\n", s.Name, s.Start, s.Length, s.BigEndian, s.Signed, s.Type, s.Factor, s.Offset, s.When)
			}
		}
		fmt.Fprintf(h, "%+v\n", f)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// NewPoints are the points of c that former does not have as they are.
func (c *Commands) NewPoints(former *Commands) map[string]bool {
	had := map[string]string{}
	if former.Enabled {
		for i := range former.Points {
			had[former.Points[i].Name] = former.Points[i].Identity()
		}
	}
	m := map[string]bool{}
	for i := range c.Points {
		if p := &c.Points[i]; had[p.Name] != p.Identity() {
			m[p.Name] = true
		}
	}
	return m
}

// What says what a write of the point does, for a person.
func (p *Point) What() string {
	switch r, f := p.Register, p.Frame; {
	case r != nil:
		return r.Device + "." + r.Register.Name
	case f == nil:
		return ""
	case f.Message != nil:
		names := listOf(f.Signals, func(s SignalPoint) string { return s.Name })
		return f.Message.Name + " " + strings.Join(names, ", ")
	default:
		return fmt.Sprintf("%X, %d bytes", f.ID, f.Length)
	}
}

// Switch reports whether the value is true or false.
func (r *RegisterPoint) Switch() bool {
	return r.Register.Table == modbus.Coil || r.Register.Type == modbus.Bool
}
