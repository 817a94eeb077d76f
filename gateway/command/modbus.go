package command

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/permit"
	"fieldferry/bus/scalar"
)

// ModbusLine is what a point needs of a line; [modbus.Line] is one.
type ModbusLine interface {
	Write(ctx context.Context, o modbus.Order) (modbus.Written, error)
	Read(ctx context.Context, q modbus.Query) ([]uint16, error)
}

// ModbusPoint is a register or coil as a [Target].
type ModbusPoint struct {
	Line      ModbusLine
	Codec     *modbus.Codec
	Permit    permit.Register
	ReadBack  bool          // after each write
	Tolerance *big.Rat      // how far what is read back may be away; nil: not at all
	Delay     time.Duration // before reading back
	OnlyIf    *Condition    // nil: none
}

// Condition is what a register of the device has to hold so that a point is
// written.
type Condition struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name  string // of the register
	Codec *modbus.Codec
	Value string // JSON
}

// guard is the condition for a line.
func (c *Condition) guard(unit uint8) *modbus.Guard {
	if c == nil {
		return nil
	}
	q := modbus.Query{Unit: unit, Table: c.Codec.Table(), Address: c.Codec.Address(), Count: c.Codec.Count()}
	return &modbus.Guard{Query: q, Holds: func(words []uint16) error {
		is, err := c.Codec.Decode(words)
		switch {
		case err != nil:
			return refuse(Conflict, "not written, since %s, which only_if names, has no value: %w", c.Name, err)
		case !equal(is, c.Value):
			return refuse(Conflict, "not written, since %s is %s, and only_if wants %s", c.Name, is, c.Value)
		}
		return nil
	}}
}

// Check implements [Target].
func (m *ModbusPoint) Check(value string) error {
	if err := m.Codec.Check(value); err != nil {
		return scalarRefusal(err)
	}
	return nil
}

// Rounded implements [Rounder].
func (m *ModbusPoint) Rounded(value string) string {
	if !m.Codec.Rounds() {
		return value
	}
	words, err := m.Codec.Encode(value, nil)
	if err != nil {
		return value
	}
	text, err := m.Codec.Decode(words)
	if err != nil || equal(text, value) {
		return value
	}
	return text
}

func scalarRefusal(err error) error {
	var no *scalar.Refusal
	if errors.As(err, &no) {
		return &Refusal{Code: Code(no.Code), Err: err}
	}
	return &Refusal{Code: Type, Err: err}
}

// Read implements [Target].
func (m *ModbusPoint) Read(ctx context.Context) (string, error) {
	s := m.Permit.Scope()
	words, err := m.Line.Read(ctx, modbus.Query{Unit: s.Unit, Table: m.Codec.Table(), Address: s.Address, Count: s.Count})
	if err != nil {
		return "", modbusRefusal(err)
	}
	return m.Codec.Decode(words)
}

type urgentKey struct{}

// urgent marks what is written so that it goes ahead of what others ask.
func urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

// Write implements [Target]. A write that nothing confirmed is read back too, if
// the point is: that says what is there, not that it was this write.
func (m *ModbusPoint) Write(ctx context.Context, value string, _ time.Time) Outcome {
	got, err := m.Line.Write(ctx, modbus.Order{
		Permit: m.Permit, Guard: m.OnlyIf.guard(m.Permit.Scope().Unit), Before: m.Codec.Partial(), After: m.ReadBack, Delay: m.Delay, Urgent: ctx.Value(urgentKey{}) != nil,
		Words: func(held []uint16) ([]uint16, error) { return m.Codec.Encode(value, held) },
	})
	out := Outcome{Sent: got.Sent}
	if err != nil {
		out.Err = modbusRefusal(err)
	}
	switch {
	case got.Read != nil:
		m.compare(&out, value, got)
	case m.ReadBack && err == nil:
		out.Err = &Refusal{Code: NoReply, Err: fmt.Errorf("the device confirmed the write, but reading it back failed: %w", got.ReadErr)}
	}
	return out
}

// compare judges what was read back.
func (m *ModbusPoint) compare(out *Outcome, value string, got modbus.Written) {
	text, err := m.Codec.Decode(got.Read)
	if err != nil {
		if out.Err == nil {
			out.Err = &Refusal{Code: Mismatch, Err: fmt.Errorf("the device took the value, and what it holds is not one: %w", err)}
		}
		return
	}
	out.Read = text
	wrote, err := m.Codec.Decode(got.Words)
	out.Verified = err == nil && m.near(text, wrote)
}

func (m *ModbusPoint) near(a, b string) bool {
	if equal(a, b) {
		return true
	}
	x, y := number(a), number(b)
	return m.Tolerance != nil && x != nil && y != nil && !apart(x, y, m.Tolerance)
}

// modbusRefusal gives an error of a line its code.
func modbusRefusal(err error) error {
	var (
		exception *rtu.ExceptionError
		uncertain *modbus.UncertainError
		noise     *rtu.BusyError
		no        *scalar.Refusal
		own       *Refusal
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, modbus.ErrOffline), errors.Is(err, modbus.ErrNotOpen):
		return &Refusal{Code: Offline, Err: err}
	case errors.Is(err, modbus.ErrQueueFull):
		return &Refusal{Code: Busy, Err: err}
	case errors.As(err, &no):
		return scalarRefusal(err)
	case errors.Is(err, permit.ErrNotPermitted):
		return &Refusal{Code: NotAllowed, Err: err}
	case errors.As(err, &uncertain):
		return &Refusal{Code: NoReply, Err: err}
	case errors.As(err, &exception) && !exception.Doubtful:
		return &Refusal{Code: Exception, Exception: int(exception.Code), Err: err}
	case errors.As(err, &noise):
		return &Refusal{Code: Busy, Err: err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Refusal{Code: Busy, Err: fmt.Errorf("the line was not free in time: %w", err)}
	}
	return &Refusal{Code: NoReply, Err: err}
}

// ModbusRegister is a register of a device as a [Register], for reading only.
type ModbusRegister struct {
	_ [0]func() // nobody compares them: saves the code for it

	Line  ModbusLine
	Unit  uint8
	Codec *modbus.Codec
}

// Read implements [Register].
func (m *ModbusRegister) Read(ctx context.Context) (string, error) {
	q := modbus.Query{Unit: m.Unit, Table: m.Codec.Table(), Address: m.Codec.Address(), Count: m.Codec.Count()}
	words, err := m.Line.Read(ctx, q)
	if err != nil {
		return "", modbusRefusal(err)
	}
	at, scaled := m.Codec.ScaleRegister()
	if !scaled {
		return m.Codec.Decode(words)
	}
	// The scale is of the moment of the value only if it has not changed since.
	last, known := uint16(0), false
	for range 3 {
		power, err := m.Line.Read(ctx, modbus.Query{Unit: m.Unit, Table: q.Table, Address: at, Count: 1})
		switch {
		case err != nil:
			return "", modbusRefusal(err)
		case known && power[0] == last:
			return m.Codec.DecodeScaled(words, power[0])
		}
		last, known = power[0], true
		if words, err = m.Line.Read(ctx, q); err != nil {
			return "", modbusRefusal(err)
		}
	}
	return "", &Refusal{Code: NoReply, Err: errors.New("the scale factor changes while the value is read")}
}
