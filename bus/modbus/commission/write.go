package commission

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/rtu"
)

// ErrReadOnly is the answer to Write on a session without Writes.
var ErrReadOnly = errors.New("the session was opened for reading only")

// The most one request writes (Application Protocol V1.1b3, 6.11 and 6.12).
const (
	mostWords = 123
	mostBits  = 1968
)

// Write writes words to holding registers, or bits (0 or 1) to coils, from
// item's address on; its count is that of the words. A failed write is not
// tried again: it may have happened.
func (s *Session) Write(ctx context.Context, item Item, words []uint16) error {
	if !s.cfg.Writes {
		return ErrReadOnly
	}
	request, err := writeRequest(item, words)
	if err != nil {
		return err
	}
	_, err = s.exchange(ctx, request, 1)
	return err
}

func writeRequest(item Item, words []uint16) ([]byte, error) {
	most := mostWords
	switch item.Table {
	case modbus.Holding:
	case modbus.Coil:
		most = mostBits
	default:
		return nil, fmt.Errorf("%v registers cannot be written; only holding registers and coils can", item.Table)
	}
	if len(words) < 1 || len(words) > most || int(item.Address)+len(words) > 1<<16 {
		return nil, fmt.Errorf("%d values from address %d: one request writes 1 to %d, up to address 65535", len(words), item.Address, most)
	}
	p := []byte{item.Unit, 0}
	p = binary.BigEndian.AppendUint16(p, item.Address)
	single := len(words) == 1
	switch {
	case item.Table == modbus.Coil && single:
		p[1] = rtu.WriteSingleCoil
		p = append(p, 0xFF*byte(words[0]&1), 0)
	case item.Table == modbus.Coil:
		p[1] = rtu.WriteCoils
		p = appendBits(binary.BigEndian.AppendUint16(p, uint16(len(words))), words)
	case single:
		p[1] = rtu.WriteSingleRegister
		p = binary.BigEndian.AppendUint16(p, words[0])
	default:
		p[1] = rtu.WriteRegisters
		p = append(binary.BigEndian.AppendUint16(p, uint16(len(words))), byte(2*len(words)))
		for _, w := range words {
			p = binary.BigEndian.AppendUint16(p, w)
		}
	}
	return rtu.AppendCRC(p), nil
}

func appendBits(p []byte, words []uint16) []byte {
	n := (len(words) + 7) / 8
	p = append(p, byte(n))
	at := len(p)
	p = append(p, make([]byte, n)...)
	for i, w := range words {
		p[at+i/8] |= byte(w&1) << (i % 8)
	}
	return p
}

// Encode makes the words of a value as typed by a person. Types without a
// number, such as string, are not for writing.
func Encode(text string, typ modbus.Type, order modbus.ByteOrder) ([]uint16, error) {
	raw, err := encode(text, typ)
	if err != nil {
		return nil, err
	}
	n := typ.Registers()
	words := make([]uint16, n)
	for i := range words {
		words[i] = uint16(raw >> (16 * (n - 1 - i)))
		if order == modbus.BADC || order == modbus.DCBA {
			words[i] = words[i]<<8 | words[i]>>8
		}
	}
	if order == modbus.CDAB || order == modbus.DCBA {
		for i, j := 0, n-1; i < j; i, j = i+1, j-1 {
			words[i], words[j] = words[j], words[i]
		}
	}
	return words, nil
}

func encode(text string, typ modbus.Type) (raw uint64, err error) {
	size := 16 * typ.Registers()
	bad := func(err error) error { return fmt.Errorf("%q is not a valid %v: %w", text, typ, errors.Unwrap(err)) }
	switch typ {
	case modbus.Bool:
		switch text {
		case "1", "true", "on":
			return 1, nil
		case "0", "false", "off":
			return 0, nil
		}
		return 0, fmt.Errorf("%q is not a bool: write 0 or 1", text)
	case modbus.Uint16, modbus.Uint32, modbus.Uint64:
		if raw, err = strconv.ParseUint(text, 0, size); err != nil {
			return 0, bad(err)
		}
		return raw, nil
	case modbus.Int16, modbus.Int32, modbus.Int64:
		i, err := strconv.ParseInt(text, 0, size)
		if err != nil {
			return 0, bad(err)
		}
		return uint64(i), nil
	case modbus.Float32:
		f, err := strconv.ParseFloat(text, 32)
		if err != nil {
			return 0, bad(err)
		}
		return uint64(math.Float32bits(float32(f))), nil
	case modbus.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, bad(err)
		}
		return math.Float64bits(f), nil
	}
	return 0, fmt.Errorf("values of type %v cannot be written; write the words as uint16", typ)
}
