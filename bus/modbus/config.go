package modbus

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// The values a zero field of a configuration stands for.
const (
	DefaultBaudRate     = 19200
	DefaultInterval     = time.Second
	DefaultMaxRegisters = MaxRegisters
)

// Bounds of a [LineConfig] and its devices.
const (
	MinBaudRate     = rtu.MinBaudRate
	MaxBaudRate     = rtu.MaxBaudRate
	MaxTimeout      = time.Minute
	MaxRetries      = 10
	MaxTurnaround   = time.Second
	MaxConnectDelay = 30 * time.Second
	MaxRegisters    = rtu.MaxRegisters // in one request
	MaxGap          = rtu.MaxBits
)

// withDefaults returns cfg with its zero fields filled in. The defaults are
// those of Serial Line V1.02, 3.3: 19200 baud, even parity.
func (cfg LineConfig) withDefaults() LineConfig {
	set(&cfg.BaudRate, DefaultBaudRate)
	set(&cfg.DataBits, 8)
	set(&cfg.Parity, 'E')
	set(&cfg.StopBits, 1)
	set(&cfg.Timeout, DefaultTimeout(cfg.Port))
	devices := make([]Device, len(cfg.Devices))
	for i, d := range cfg.Devices {
		set(&d.MaxRegisters, DefaultMaxRegisters)
		registers := make([]Register, len(d.Registers))
		for j, r := range d.Registers {
			set(&r.Scale, 1)
			set(&r.Interval, DefaultInterval)
			registers[j] = r
		}
		d.Registers = registers
		devices[i] = d
	}
	cfg.Devices = devices
	return cfg
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate checks a configuration without any I/O and returns all that is
// wrong with it, joined. Zero fields that have a default are right.
func (cfg LineConfig) Validate() error {
	c := cfg.withDefaults()
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Port == "" {
		fail("port: missing; name a serial device, such as /dev/ttyS1 or one of /dev/serial/by-id")
	}
	if _, err := ParseEndpoint(c.Port); c.Port != "" && err != nil {
		errs = append(errs, err)
	}
	if c.BaudRate < MinBaudRate || c.BaudRate > MaxBaudRate {
		fail("baud rate %d: out of range", c.BaudRate)
	}
	if c.DataBits != 8 {
		fail("data bits %d: RTU carries whole bytes; use 8", c.DataBits)
	}
	if c.Parity != 'N' && c.Parity != 'E' && c.Parity != 'O' {
		fail("parity %q: use N, E or O", c.Parity)
	}
	if c.StopBits != 1 && c.StopBits != 2 {
		fail("stop bits %d: use 1 or 2", c.StopBits)
	}
	if c.Timeout < 0 || c.Timeout > MaxTimeout {
		fail("timeout %v: use a time up to 1m, such as 300ms", c.Timeout)
	}
	if c.Retries < 0 || c.Retries > MaxRetries {
		fail("retries %d: use 0 to %d", c.Retries, MaxRetries)
	}
	if c.Turnaround < 0 || c.Turnaround > MaxTurnaround {
		fail("turnaround %v: use a time up to %v", c.Turnaround, MaxTurnaround)
	}
	if c.ConnectDelay < 0 || c.ConnectDelay > MaxConnectDelay {
		fail("connect delay %v: use a time up to %v", c.ConnectDelay, MaxConnectDelay)
	}
	names := map[string]bool{}
	for i := range c.Devices {
		d := &c.Devices[i]
		if d.Name == "" || names[d.Name] {
			fail("device %d: its name %q is missing or used twice", i+1, d.Name)
		}
		names[d.Name] = true
		for _, err := range d.validate(strings.HasPrefix(c.Port, tcpScheme)) {
			errs = append(errs, fmt.Errorf("device %s: %w", d.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Device) validate(tcp bool) (errs []error) {
	if d.Timeout < 0 || d.Timeout > MaxTimeout {
		errs = append(errs, fmt.Errorf("timeout %v: use a time up to 1m, such as 300ms", d.Timeout))
	}
	// On TCP 0 means the far end itself. 248 to 255 are reserved, and used all the same.
	if d.UnitID == 0 && !tcp {
		errs = append(errs, errors.New("unit id 0: use 1 to 247"))
	}
	if d.MaxRegisters < 1 || d.MaxRegisters > MaxRegisters {
		errs = append(errs, fmt.Errorf("max registers %d: use 1 to %d", d.MaxRegisters, MaxRegisters))
	}
	if d.MaxGap < 0 || d.MaxGap > MaxGap {
		errs = append(errs, fmt.Errorf("max gap %d: use 0 to %d", d.MaxGap, MaxGap))
	}
	names := map[string]bool{}
	for i := range d.Registers {
		r := &d.Registers[i]
		if r.Name == "" || names[r.Name] {
			errs = append(errs, fmt.Errorf("register %d: its name %q is missing or used twice", i+1, r.Name))
		}
		names[r.Name] = true
		if err := r.validate(d.MaxRegisters); err != nil {
			errs = append(errs, fmt.Errorf("register %s: %w", r.Name, err))
		}
	}
	return errs
}

func (r *Register) validate(maxRegisters int) error {
	width := r.Width()
	switch {
	case int(r.Table) >= len(tableNames):
		return fmt.Errorf("%v: unknown", r.Table)
	case int(r.Type) >= len(typeNames):
		return fmt.Errorf("%v: unknown", r.Type)
	case int(r.ByteOrder) >= len(byteOrderNames):
		return fmt.Errorf("%v: unknown", r.ByteOrder)
	case r.Table.Bits() && r.Type != Bool:
		return fmt.Errorf("type %v: a %v is one bit; use bool", r.Type, r.Table)
	case int(r.Address)+width > 1<<16:
		return fmt.Errorf("address %d: a %v there would reach past 65535", r.Address, r.Type)
	case !r.Table.Bits() && width > maxRegisters:
		return fmt.Errorf("type %v: takes %d registers, but one request reads at most %d", r.Type, width, maxRegisters)
	case math.IsNaN(r.Scale) || math.IsInf(r.Scale, 0) || math.IsNaN(r.Offset) || math.IsInf(r.Offset, 0):
		return fmt.Errorf("scale %v and offset %v: use numbers", r.Scale, r.Offset)
	case r.Type == String && (r.Length < 1 || r.Length > 2*rtu.MaxRegisters):
		return fmt.Errorf("length %d: a string has 1 to %d characters", r.Length, 2*rtu.MaxRegisters)
	case r.Type == Modulo10000 && (r.Length < 1 || r.Length > 4):
		return fmt.Errorf("length %d: a %v has 1 to 4 registers", r.Length, r.Type)
	case r.BitCount > 0 && r.Type == Uint24 && r.BitLow+r.BitCount > r.Type.Size():
		return fmt.Errorf("bits %d to %d: a %v has bits 0 to %d", r.BitLow, r.BitLow+r.BitCount-1, r.Type, r.Type.Size()-1)
	case r.BitLow < 0 || r.BitCount < 0 || r.BitLow+max(r.BitCount, 1) > 16*min(width, 4):
		return fmt.Errorf("bits %d to %d: a %v has bits 0 to %d", r.BitLow, r.BitLow+max(r.BitCount, 1)-1, r.Type, 16*min(width, 4)-1)
	case r.HasScaleRegister && r.Table.Bits():
		return fmt.Errorf("scale register: a %v cannot be scaled", r.Table)
	case r.Limit.Deadband < 0 || math.IsNaN(r.Limit.Deadband) || r.Limit.MinInterval < 0 || r.Limit.MaxInterval < 0:
		return fmt.Errorf("deadband and limits of the rate: use positive numbers")
	case r.Interval < time.Millisecond:
		return fmt.Errorf("interval %v: use 1ms or more, such as 1s", r.Interval)
	}
	return nil
}

func (cfg LineConfig) mode() rtu.Mode {
	return rtu.Mode{BaudRate: cfg.BaudRate, DataBits: cfg.DataBits, Parity: cfg.Parity, StopBits: cfg.StopBits}
}
