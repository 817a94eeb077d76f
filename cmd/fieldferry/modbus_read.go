package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/commission"
	"fieldferry/gateway/payload/native"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type readOptions struct {
	lineOptions
	valueOptions
	config configOptions // with line: read through the daemon
	line   string
	unit   int
	pause  time.Duration
	every  time.Duration
	count  uint64 // rounds; 0: one, or with every until Ctrl-C
	trace  bool
	asJSON bool

	configured []configured // what the items are of, if there are none in the arguments
	stamped    bool         // each line begins with the time
	failed     bool         // an item of this round was not read, or is not of its type
	settings   string       // of a serial port that was opened for this
}

func (a *app) newModbusReadCommand() *cobra.Command {
	var o readOptions
	c := &cobra.Command{
		Use:   "read {--port PORT | -c FILE --line NAME} --unit UNIT TABLE:ADDRESS[:COUNT]...",
		Short: "Read registers, once or again and again, in the order given",
		Long: `read asks for each item in turn and prints what came. TABLE is holding, input,
coil or discrete, ADDRESS the 0-based one of the wire, in decimal or hex. Numbers
of manuals work too: 40101 is holding:100, 30001 is input:0. An item of another
unit is written UNIT/TABLE:ADDRESS:COUNT.

A line of a register is: unit, table, address, and the value as a number without
sign, in hex and as a number with sign; with --type the value in that type.

--every reads again and again, with the time before each line; --trace shows the
bytes on the line as they pass, on stderr.

A reply is shown only if it can be no other request's: after a timeout read
waits for the late reply before it asks for as many registers of that unit
again. The exit code is 1 when an item could not be read, or is not of its type.

While the daemon runs it has the port. With --line (or -c FILE, where there is
one line) the daemon reads: between two of its own requests, with the settings
of the line. Only root and the daemon's user may ask it. Without an item it reads
all registers that are configured on the line, or on --unit, by their names.`,
		Example: `  fieldferry modbus read --port /dev/ttyUSB0 --baud 9600 --parity N --unit 17 holding:352
  fieldferry modbus read -p /dev/ttyUSB0 --unit 1 --type float32 input:0:6 2/input:0:2
  fieldferry modbus read -p tcp://192.168.1.20 --unit 1 --json holding:0:10 coil:0:8
  fieldferry modbus read -p /dev/ttyUSB0 --unit 17 --every 1s --trace 40353
  fieldferry modbus read --line line1 --unit 17 holding:352
  fieldferry modbus read --line line1`,
		RunE: func(c *cobra.Command, args []string) error {
			daemon, err := throughDaemon(c.Flags())
			if err != nil {
				return err
			}
			return a.modbusRead(c.Context(), o, args, daemon)
		},
	}
	f := c.Flags()
	o.lineOptions.addFlags(f)
	o.valueOptions.addFlags(f)
	addUnit(f, &o.unit)
	f.DurationVar(&o.pause, "pause", 0, "`TIME` between two items")
	f.DurationVar(&o.every, "every", 0, "read all again after this `TIME`, until Ctrl-C")
	addCount(f, &o.count, "rounds of --every")
	f.BoolVar(&o.trace, "trace", false, "print the bytes that pass, with the time, on stderr")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON object an item")
	f.StringVar(&o.line, "line", "", "`NAME` of a line of the configuration: read through the daemon")
	o.config.addFlags(c)
	return c
}

// throughDaemon reports whether the daemon is to read; its line has settings of
// its own.
func throughDaemon(f *pflag.FlagSet) (daemon bool, err error) {
	if daemon = f.Changed("line") || f.Changed("config"); !daemon {
		return false, nil
	}
	for _, ours := range []string{"port", "baud", "parity", "stop-bits", "timeout", "retries", "turnaround", "rs485", "trace"} {
		if f.Changed(ours) {
			return true, usageError("--%s is for reading without the daemon; leave it out, or --line and --config", ours)
		}
	}
	return true, nil
}

// items are what the arguments ask for.
func (o *readOptions) items(args []string) ([]commission.Item, error) {
	var items []commission.Item
	for _, arg := range args {
		unit := o.unit
		if unit < 0 && !strings.Contains(arg, "/") {
			return nil, usageError("--unit is missing; give the device's unit id, as in --unit 17")
		}
		item, err := commission.ParseItem(arg, byte(max(unit, 0)))
		if err != nil {
			return nil, usageError("%w", err)
		}
		if !strings.Contains(arg, "/") {
			err = o.checkUnit(unit)
		} else {
			err = o.checkUnit(int(item.Unit))
		}
		if err != nil {
			return nil, err
		}
		if item.Count == 0 {
			item.Count = 1
			if o.typ != "" && !item.Table.Bits() {
				r, _, err := o.register(1)
				if err != nil {
					return nil, err
				}
				item.Count = r.Width()
			}
		}
		if err := o.fits(arg, item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// fits refuses registers that are not a whole number of values.
func (o *readOptions) fits(arg string, item commission.Item) error {
	if o.typ == "" || item.Table.Bits() {
		return nil
	}
	r, _, err := o.register(item.Count)
	if width := r.Width(); err == nil && item.Count%width != 0 {
		rest := strings.TrimSuffix(arg, fmt.Sprintf(":%d", item.Count))
		err = usageError("%s: a %v takes %d registers, not %d; write %s:%d, or leave the count out", arg, r.Type, width, item.Count, rest, width)
	}
	return err
}

func (a *app) modbusRead(ctx context.Context, o readOptions, args []string, daemon bool) error {
	var (
		line *modbus.LineConfig
		from itemSource
		cfg  commission.Config
		err  error
	)
	switch {
	case daemon:
		var d daemonLine
		d, line, err = a.findLine(o.config, o.line)
		from = d
	case o.port == "":
		err = usageError("--port is missing; give the line, as in --port /dev/ttyUSB0, or --line NAME to read through the daemon")
	case len(args) == 0:
		err = usageError("what? give items such as holding:0:2 or 40001")
	default:
		cfg, err = o.session()
	}
	if err != nil {
		return err
	}
	if line != nil {
		o.port = line.Port
	}
	items, err := o.wanted(args, line)
	if err != nil {
		return err
	}
	if err := o.checkRounds(); err != nil {
		return err
	}
	if daemon {
		return a.readRounds(ctx, &o, from, items)
	}
	if o.trace {
		cfg.Trace = a.trace()
	}
	s, err := commission.Open(ctx, cfg)
	if err != nil {
		return advisePort(o.port, "read through it with --line NAME", err)
	}
	defer s.Close()
	for _, what := range s.Adjusted() {
		a.warn("%s: %s", o.port, what)
	}
	if !strings.Contains(o.port, "://") {
		o.settings = modeText(cfg.Mode)
	}
	return a.readRounds(ctx, &o, s, items)
}

// wanted are the items of the arguments, or all of the line.
func (o *readOptions) wanted(args []string, line *modbus.LineConfig) (items []commission.Item, err error) {
	if len(args) == 0 {
		if o.typ != "" {
			return nil, usageError("--type is for items; the configured registers have types of their own")
		}
		return o.ofLine(line)
	}
	if items, err = o.items(args); err != nil || o.typ == "" {
		return items, err
	}
	_, _, err = o.register(1)
	return items, err
}

func (o *readOptions) checkRounds() error {
	switch {
	case o.every < 0 || o.every > 24*time.Hour:
		return usageError("--every %v: use a time up to 24h, such as 1s", o.every)
	case o.every == 0 && o.count > 1:
		return usageError("--count is of the rounds of --every; say how often, as in --every 1s")
	}
	return nil
}

// readRounds reads all items once, or again and again until ctx ends, which is
// no failure then.
func (a *app) readRounds(ctx context.Context, o *readOptions, s itemSource, items []commission.Item) (err error) {
	o.stamped = o.every > 0
	next := time.Now()
	for round := uint64(1); ; round++ {
		err = a.readItems(ctx, o, s, items)
		if o.every == 0 || round == o.count {
			return err
		}
		var failed *exitError
		if ctx.Err() == nil && err != nil && !errors.As(err, &failed) {
			return err
		}
		now := time.Now()
		for next = next.Add(o.every); next.Before(now); next = next.Add(o.every) { // what could not be held is left out
		}
		if s.Pause(ctx, time.Until(next)) != nil && ctx.Err() != nil {
			return nil
		}
	}
}

func (a *app) readItems(ctx context.Context, o *readOptions, s itemSource, items []commission.Item) error {
	o.failed = false
	answered := false
	for i, item := range items {
		if i > 0 {
			if err := s.Pause(ctx, o.pause); err != nil {
				return fmt.Errorf("interrupted: %w", err)
			}
		}
		r := s.Read(ctx, item)
		if none := (noDaemonError{}); errors.As(r.Err, &none) {
			return none
		}
		o.failed = o.failed || r.Err != nil
		_, refused := r.Exception()
		answered = answered || refused || r.Err == nil
		var err error
		if len(o.configured) > 0 {
			err = a.printConfigured(o, &o.configured[i], &r)
		} else {
			r.Err = adviseManual(item, r.Err)
			err = a.printResult(o, &r)
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", ctx.Err())
		}
	}
	if !answered && o.settings != "" {
		a.warn("nobody has answered at %s; fieldferry modbus scan asks at all unit ids, and with --baud, --parity and --stop-bits at other settings", o.settings)
		o.settings = "" // said
	}
	if o.failed {
		return &exitError{code: exitFailed}
	}
	return nil
}

// adviseManual adds to a refusal of an address that it looks like one of a manual.
func adviseManual(item commission.Item, err error) error {
	const illegalAddress = 2
	r := commission.Result{Err: err}
	if code, ok := r.Exception(); ok && code == illegalAddress {
		if advice := item.Manual(); advice != "" {
			return adviceError{error: err, advice: advice}
		}
	}
	return err
}

// itemJSON is an item for machines.
type itemJSON struct {
	Time      string            `json:"time,omitempty"` // of --every
	Unit      byte              `json:"unit"`
	Register  string            `json:"register"`
	Address   uint16            `json:"address"`
	Count     int               `json:"count"`
	Words     []uint16          `json:"words,omitempty"`
	Bits      []bool            `json:"bits,omitempty"`
	Type      string            `json:"type,omitempty"`
	ByteOrder string            `json:"byte_order,omitempty"`
	Values    []json.RawMessage `json:"values,omitempty"`
	Error     string            `json:"error,omitempty"`
	Exception *byte             `json:"exception,omitempty"`
}

func (a *app) printResult(o *readOptions, r *commission.Result) error {
	if !o.asJSON {
		return a.printItem(o, r)
	}
	j := itemJSON{Time: o.jsonTime(), Unit: r.Unit, Register: r.Table.String(), Address: r.Address, Count: r.Count, Words: r.Words, Bits: r.Bits}
	if r.Err != nil {
		j.Error = r.Err.Error()
		if code, ok := r.Exception(); ok {
			j.Exception = &code
		}
		return a.printJSON(j)
	}
	if o.typ != "" && len(r.Words) > 0 {
		register, orders, err := o.register(len(r.Words))
		if err != nil {
			return err
		}
		j.Type, j.ByteOrder = register.Type.String(), orders[0].String()
		for _, d := range decodeAll(register, orders[:1], r.Words) {
			if j.Values = append(j.Values, d.json()); d.err != nil {
				o.failed, j.Error = true, d.err.Error()
			}
		}
	}
	return a.printJSON(j)
}

func (a *app) printItem(o *readOptions, r *commission.Result) error {
	head := fmt.Sprintf("%sunit %d %v", o.stamp(), r.Unit, r.Table)
	if r.Err != nil {
		_, err := fmt.Fprintf(a.stdout, "%s %d:%d  error: %v\n", head, r.Address, r.Count, r.Err)
		return err
	}
	for i, bit := range r.Bits {
		if _, err := fmt.Fprintf(a.stdout, "%s %5d  %t\n", head, int(r.Address)+i, bit); err != nil {
			return err
		}
	}
	if o.typ == "" || len(r.Words) == 0 {
		for i, w := range r.Words {
			if _, err := fmt.Fprintf(a.stdout, "%s %5d  %5d  0x%04X  %6d\n", head, int(r.Address)+i, w, w, int16(w)); err != nil {
				return err
			}
		}
		return nil
	}
	register, orders, err := o.register(len(r.Words))
	if err != nil {
		return err
	}
	for _, d := range decodeAll(register, orders[:1], r.Words) {
		o.failed = o.failed || d.err != nil
		if _, err := fmt.Fprintf(a.stdout, "%s %5d  %v %v  %s\n", head, int(r.Address)+d.at, register.Type, d.order, d.text()); err != nil {
			return err
		}
	}
	return nil
}

// decoded is a value in one byte order.
type decoded struct {
	at    int // its first word
	order modbus.ByteOrder
	value modbus.Value
	err   error
}

// decodeAll decodes value after value, each in every order. Words that are
// left over make an error.
func decodeAll(r modbus.Register, orders []modbus.ByteOrder, words []uint16) (all []decoded) {
	width := r.Width()
	for at := 0; at < len(words); at += width {
		part := words[at:min(at+width, len(words))]
		for _, order := range orders {
			r.ByteOrder = order
			v, err := r.Decode(part)
			all = append(all, decoded{at, order, v, err})
		}
	}
	return all
}

func (d *decoded) json() json.RawMessage {
	if d.err != nil {
		return json.RawMessage("null")
	}
	return native.AppendValue(nil, &d.value)
}

// text is the value for people.
func (d *decoded) text() string {
	switch {
	case d.err != nil:
		return "error: " + d.err.Error()
	case d.value.Kind == modbus.KindFloat && (d.value.Float != d.value.Float || d.value.Float-d.value.Float != 0):
		return fmt.Sprint(d.value.Float)
	case d.value.Kind == modbus.KindText:
		return fmt.Sprintf("%q", d.value.Text)
	}
	return strings.Trim(string(d.json()), `"`)
}
