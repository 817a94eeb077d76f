package commission

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/rtu"
)

// ErrReadOnly is the answer to Write on a session without Writes.
var ErrReadOnly = errors.New("the session was opened for reading only")

// Function is how a value goes to a unit.
type Function uint8

// The functions: one register by 6 or one coil by 5, several by 16 or 15.
const (
	AutoFunction Function = iota // one by the first, and by the second if the unit does not know that
	OneFunction                  // refuses several
	SeveralFunction
)

// Write writes words to holding registers, or bits (0 or 1) to coils, from
// item's address on; its count is that of the words. A failed write is not
// tried again: it may have happened. The exception is a unit that does not know
// the function: it has done nothing, and is asked by the other one.
func (s *Session) Write(ctx context.Context, item Item, words []uint16, by Function) error {
	if !s.cfg.Writes {
		return ErrReadOnly
	}
	request, err := writeRequest(item, words, by)
	if err != nil {
		return err
	}
	_, err = s.exchange(ctx, request, 1)
	if refused := (&rtu.ExceptionError{}); by == AutoFunction && len(words) == 1 && errors.As(err, &refused) && refused.Code == illegalFunction {
		if request, err = writeRequest(item, words, SeveralFunction); err != nil {
			return err
		}
		_, err = s.exchange(ctx, request, 1)
	}
	return err
}

const illegalFunction = 1

// Refused reports whether a unit has refused a write for good, so that nothing
// has been written (Application Protocol V1.1b3, 7).
func Refused(err error) bool {
	var e *rtu.ExceptionError
	return errors.As(err, &e) && e.Code >= illegalFunction && e.Code <= 3
}

func writeRequest(item Item, words []uint16, by Function) ([]byte, error) {
	most, single, several := rtu.MaxWriteRegisters, byte(rtu.WriteSingleRegister), byte(rtu.WriteRegisters)
	switch item.Table {
	case modbus.Holding:
	case modbus.Coil:
		most, single, several = rtu.MaxWriteBits, rtu.WriteSingleCoil, rtu.WriteCoils
	default:
		return nil, fmt.Errorf("%v registers cannot be written; only holding registers and coils can", item.Table)
	}
	if by == OneFunction {
		most = 1
	}
	if len(words) < 1 || len(words) > most || int(item.Address)+len(words) > 1<<16 {
		return nil, fmt.Errorf("%d values from address %d: one request writes 1 to %d, up to address 65535", len(words), item.Address, most)
	}
	if len(words) > 1 || by == SeveralFunction {
		single = several
	}
	return rtu.AppendWriteRequest(nil, item.Unit, single, item.Address, words), nil
}

// Encode makes the words of a value as typed by a person. Types without a
// number, such as string, and those that are a part of a register are not for
// writing.
func Encode(text string, typ modbus.Type, order modbus.ByteOrder) ([]uint16, error) {
	r := modbus.Register{Type: typ, ByteOrder: order}
	switch typ {
	case modbus.Bool:
		switch text {
		case "1", "true", "on":
			return r.EncodeExact(big.NewRat(1, 1))
		case "0", "false", "off":
			return r.EncodeExact(new(big.Rat))
		}
		return nil, fmt.Errorf("%q is not a bool: write 0 or 1", text)
	case modbus.Float32, modbus.Float64:
		f, err := strconv.ParseFloat(text, 16*typ.Registers())
		if err != nil {
			return nil, fmt.Errorf("%q is not a valid %v: %w", text, typ, errors.Unwrap(err))
		}
		return r.Encode(f, nil) // the nearest there is
	case modbus.Uint16, modbus.Uint32, modbus.Uint64, modbus.Int16, modbus.Int32, modbus.Int64,
		modbus.Int48, modbus.Uint48, modbus.BCD16, modbus.BCD32, modbus.BCD64, modbus.SignMagnitude16, modbus.SignMagnitude32:
		i, ok := new(big.Int), len(text) <= 100
		if octal(text) {
			return nil, fmt.Errorf("%s %w", text, ErrOctal)
		}
		if ok {
			_, ok = i.SetString(text, 0)
		}
		if !ok {
			return nil, fmt.Errorf("%q is not a valid %v: invalid syntax", text, typ)
		}
		words, err := r.EncodeExact(new(big.Rat).SetInt(i))
		if err != nil {
			return nil, fmt.Errorf("%q is not a valid %v: value out of range", text, typ)
		}
		return words, nil
	}
	return nil, fmt.Errorf("values of type %v cannot be written; write the words as uint16", typ)
}
