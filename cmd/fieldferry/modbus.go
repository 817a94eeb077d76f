package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/commission"
	"fieldferry/bus/modbus/rtu"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) newModbusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "modbus",
		Short: "Commission a Modbus line: find devices, read, write and decode registers, simulate slaves",
		Long: `The verbs for the person in front of the cabinet. They use a port by themselves:
stop the daemon first, or it has the port; only read --line reads through it.

A port is a serial device (/dev/ttyS1), tcp://host:502 for Modbus TCP, or
rtu+tcp://host:port for a serial device server.`,
	}
	c.AddCommand(
		a.newModbusReadCommand(),
		a.newModbusDecodeCommand(),
		a.newModbusScanCommand(),
		a.newModbusWriteCommand(),
		a.newModbusSimulateCommand(),
		a.newModbusTemplatesCommand(),
	)
	return group(c)
}

// lineOptions are the flags that name a line and how it is set.
type lineOptions struct {
	_ [0]func() // nobody compares them: saves the code for it

	port, parity        string
	baud, stopBits      int
	timeout, turnaround time.Duration
	retries             int
	rs485               bool
}

func (o *lineOptions) addFlags(f *pflag.FlagSet) {
	o.addPortFlags(f)
	f.IntVar(&o.baud, "baud", modbus.DefaultBaudRate, "baud `RATE`")
	f.StringVar(&o.parity, "parity", "E", "`PARITY`: N, E or O")
	f.IntVar(&o.stopBits, "stop-bits", 1, "stop `BITS`: 1 or 2")
	o.addTimeout(f, "`TIME` for the reply to one request, as 300ms or 2s")
	f.IntVar(&o.retries, "retries", 1, "further `TRIES` of a failed request")
	aliases := map[string]string{"baud-rate": "baud", "baudrate": "baud", "stopbits": "stop-bits"}
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if ours, ok := aliases[name]; ok {
			name = ours
		}
		return pflag.NormalizedName(name)
	})
}

// addTimeout adds the flag with the daemon's default, which depends on the
// port: a device that one of them finds the others find too.
func (o *lineOptions) addTimeout(f *pflag.FlagSet, usage string) {
	f.DurationVar(&o.timeout, "timeout", 0, usage+fmt.Sprintf(" (default %v, over a network %v)", modbus.SerialTimeout, modbus.NetworkTimeout))
}

func (o *lineOptions) addPortFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.port, "port", "p", "", "`PORT`: serial device, tcp://host:502 or rtu+tcp://host:port")
	f.DurationVar(&o.turnaround, "turnaround", 0, "silence of this `TIME` before each request, beyond t3.5")
	f.BoolVar(&o.rs485, "rs485", false, "switch the direction by RTS: by the driver (TIOCSRS485) if it can, otherwise by fieldferry")
}

func parseParity(s string) (byte, error) {
	switch strings.ToLower(s) {
	case "n", "none":
		return 'N', nil
	case "e", "even":
		return 'E', nil
	case "o", "odd":
		return 'O', nil
	}
	return 0, usageError("parity %q is not known; use N, E or O", s)
}

// session is what the flags say, checked.
func (o *lineOptions) session() (cfg commission.Config, err error) {
	parity, err := parseParity(o.parity)
	if err != nil {
		return cfg, err
	}
	if o.timeout == 0 {
		o.timeout = modbus.DefaultTimeout(o.port)
	}
	cfg = commission.Config{
		Port: o.port, Timeout: o.timeout, Retries: o.retries, Turnaround: o.turnaround,
		Mode:  rtu.Mode{BaudRate: o.baud, DataBits: 8, Parity: parity, StopBits: o.stopBits},
		RS485: rtu.RS485{Enabled: o.rs485, RTSHighDuringSend: true},
	}
	switch {
	case o.port == "":
		err = usageError("--port is missing; give the line, as in --port /dev/ttyUSB0")
	case o.baud < modbus.MinBaudRate || o.baud > modbus.MaxBaudRate:
		err = usageError("--baud %d is out of range", o.baud)
	case o.stopBits != 1 && o.stopBits != 2:
		err = usageError("--stop-bits %d: use 1 or 2", o.stopBits)
	case o.timeout < time.Millisecond || o.timeout > modbus.MaxTimeout:
		err = usageError("--timeout %v: use a time from 1ms to 1m, such as 300ms", o.timeout)
	case o.retries < 0 || o.retries > modbus.MaxRetries:
		err = usageError("--retries %d: use 0 to %d", o.retries, modbus.MaxRetries)
	case o.turnaround < 0 || o.turnaround > modbus.MaxTurnaround:
		err = usageError("--turnaround %v: use a time up to %v", o.turnaround, modbus.MaxTurnaround)
	}
	if err == nil {
		if _, wrong := modbus.ParseEndpoint(o.port); wrong != nil {
			err = usageError("--port: %w", wrong)
		}
	}
	return cfg, err
}

// checkUnit refuses unit ids nobody can have on the line.
func (o *lineOptions) checkUnit(unit int) error {
	lowest := 1
	if strings.HasPrefix(o.port, "tcp://") {
		lowest = 0 // the gateway itself, in some
	}
	if unit < lowest || unit > 255 {
		return usageError("unit %d: use 1 to 247", unit)
	}
	return nil
}

// valueOptions say how words become values.
type valueOptions struct {
	_ [0]func() // nobody compares them: saves the code for it

	typ, order    string
	scale, offset float64
	bit           int
	byteOf        string // low or high; of a string: one character in each register
	highByte      bool
}

func (o *valueOptions) addFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.typ, "type", "t", "", "`TYPE` of the values: "+strings.Join(modbus.Types(), " "))
	f.StringVar(&o.order, "byte-order", "", "`ORDER` of the bytes: ABCD, CDAB, BADC or DCBA")
	f.Float64Var(&o.scale, "scale", 1, "multiply by this `NUMBER`")
	f.Float64Var(&o.offset, "offset", 0, "add this `NUMBER`, after --scale")
	f.IntVar(&o.bit, "bit", 0, "`BIT` of the type bit, 0 to 15")
	f.StringVar(&o.byteOf, "byte", "", "`BYTE` of the register, low or high: of int8, uint8 and bcd8; of a string it says that each register holds one character")
	f.BoolVar(&o.highByte, "high-byte", false, "as --byte high")
	_ = f.MarkHidden("high-byte")
}

// register is a register of that type; count words are there for it.
func (o *valueOptions) register(count int) (modbus.Register, []modbus.ByteOrder, error) {
	var r modbus.Register
	typ, err := modbus.ParseType(strings.ToLower(o.typ))
	if err != nil {
		return r, nil, usageError("--type: %w", err)
	}
	orders := []modbus.ByteOrder{modbus.ABCD, modbus.CDAB, modbus.BADC, modbus.DCBA}
	if o.order != "" {
		order, err := modbus.ParseByteOrder(strings.ToUpper(o.order))
		if err != nil {
			return r, nil, usageError("--byte-order: %w", err)
		}
		orders = []modbus.ByteOrder{order}
	}
	if o.bit < 0 || o.bit > 15 {
		return r, nil, usageError("--bit %d: a register has bits 0 to 15", o.bit)
	}
	r = modbus.Register{Type: typ, Scale: o.scale, Offset: o.offset, HighByte: o.highByte || o.byteOf == "high"}
	switch {
	case o.byteOf != "" && o.byteOf != "low" && o.byteOf != "high":
		return r, nil, usageError("--byte %q: use low or high", o.byteOf)
	case o.byteOf != "" && typ != modbus.String && !typ.InByte():
		return r, nil, usageError("--byte is of int8, uint8, bcd8 and string, not of %v", typ)
	}
	if o.scale == 0 {
		return r, nil, usageError("--scale 0 would make every value the same")
	}
	switch typ {
	case modbus.String:
		if r.PerRegister = o.byteOf != ""; r.PerRegister {
			r.Length = count
		} else {
			r.Length = max(2*count, 1)
		}
	case modbus.Modulo10000:
		if r.Length = count; count > 4 {
			return r, nil, usageError("a %v has 1 to 4 registers, not %d", typ, count)
		}
	case modbus.Bit:
		r.BitLow = o.bit
	}
	return r, orders, nil
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// warn tells the person something beside the output: one line, whatever stands
// in what it is about.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintln(a.stderr, printable(fmt.Sprintf(format, args...)))
}
