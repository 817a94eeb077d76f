package rtu

import (
	"context"
	"encoding/binary"
	"fmt"

	"fieldferry/bus/permit"
)

// The most one request writes (Application Protocol V1.1b3, 6.11 and 6.12).
const (
	MaxWriteRegisters = 123
	MaxWriteBits      = 1968
)

// Writes reports whether a function changes a unit, or may: all but the four
// that read.
func Writes(function byte) bool { return function > ReadInputRegisters || function == 0 }

// AppendWriteRequest appends the request that writes words to registers, or the
// lowest bit of each to coils, from address on, with its CRC. Functions 5 and 6
// write the first one only.
func AppendWriteRequest(p []byte, unit, function byte, address uint16, words []uint16) []byte {
	start := len(p)
	p = append(p, unit, function)
	p = binary.BigEndian.AppendUint16(p, address)
	switch function {
	case WriteSingleCoil:
		p = append(p, 0xFF*byte(words[0]&1), 0)
	case WriteSingleRegister:
		p = binary.BigEndian.AppendUint16(p, words[0])
	case WriteCoils:
		p = appendBits(binary.BigEndian.AppendUint16(p, uint16(len(words))), words)
	default:
		p = append(binary.BigEndian.AppendUint16(p, uint16(len(words))), byte(2*len(words)))
		for _, w := range words {
			p = binary.BigEndian.AppendUint16(p, w)
		}
	}
	return binary.LittleEndian.AppendUint16(p, CRC(p[start:]))
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

// CheckWrite says why a request, a whole frame as it is about to go out, may
// not be written by a permit. It reads what is written out of the frame itself.
func CheckWrite(p permit.Register, request []byte) error {
	coil, address, words, err := written(request)
	if err != nil {
		return err
	}
	return p.Check(request[0], coil, address, words)
}

// written takes a writing request apart.
func written(request []byte) (coil bool, address uint16, words []uint16, err error) {
	bad := func() (bool, uint16, []uint16, error) {
		return false, 0, nil, fmt.Errorf("%w: not a whole request that writes", ErrRequest)
	}
	if len(request) < requestLen || len(request) > MaxADU || !ValidCRC(request) {
		return bad()
	}
	address, count := binary.BigEndian.Uint16(request[2:]), int(binary.BigEndian.Uint16(request[4:]))
	function, data := request[1], request[min(7, len(request)-2):len(request)-2]
	switch function {
	case WriteSingleCoil, WriteSingleRegister:
		value := uint16(count)
		if len(request) != requestLen || function == WriteSingleCoil && value != 0 && value != 0xFF00 {
			return bad()
		}
		if function == WriteSingleCoil {
			value = value >> 8 & 1
		}
		return function == WriteSingleCoil, address, []uint16{value}, nil
	case WriteCoils:
		if count < 1 || count > MaxWriteBits || len(data) != (count+7)/8 || int(request[6]) != len(data) {
			return bad()
		}
		for i := range count {
			words = append(words, uint16(data[i/8]>>(i%8)&1))
		}
		return true, address, words, nil
	case WriteRegisters:
		if count < 1 || count > MaxWriteRegisters || len(data) != 2*count || int(request[6]) != len(data) {
			return bad()
		}
		for i := range count {
			words = append(words, binary.BigEndian.Uint16(data[2*i:]))
		}
		return false, address, words, nil
	}
	return bad()
}

// Write sends a request that writes what p permits, once: it is not sent again
// whatever comes. Its errors are those of [Transporter.SendContext] and
// [permit.ErrNotPermitted]. Whether it was sent, [Transporter.Stats] tells: it
// is one request more, or the error is a *PortLostError of writing.
func (t *Transporter) Write(ctx context.Context, p permit.Register, request []byte) ([]byte, error) {
	if err := CheckWrite(p, request); err != nil {
		return nil, err
	}
	t.permitted = true
	defer func() { t.permitted = false }()
	return t.exchange(ctx, request, false)
}
