// Package rtu is the half-duplex serial line of Modbus over Serial Line
// V1.02 in RTU framing: the port, the timing, the frames, and the exchange of
// one request for one reply.
//
// # Nouns
//
// A [SerialPort] is a serial device in raw mode. A [Reader] finds the reply
// to one request in whatever bytes arrive; it is pure and does no I/O. A
// [Transporter] sends a request and returns its reply; it fits goburrow's
// modbus.Transporter.
//
// # What the Transporter promises
//
// A reply is accepted only if its unit, function, byte count and CRC are
// right. A reply that comes too late never becomes the answer to another
// request: the line must be quiet before the next request, and a request whose
// reply would look like one still owed by the same unit waits until that can
// no longer come (see [Transporter.Hold]). No call outlasts its deadline,
// whatever the line does.
//
// # Caveats
//
// One goroutine owns a Transporter. Two masters on one line, or two slaves of
// the same unit id, cannot be told apart in every case by any master; where
// they can, the request fails instead of returning a doubtful value. Linux only.
package rtu

import "time"

// Limits of the protocol.
const (
	MaxADU       = 256 // bytes of the longest frame, with unit id and CRC
	MaxRegisters = 125 // registers in one read
	MinBaudRate  = 50
	MaxBaudRate  = 20_000_000
	MaxBits      = 2000
)

// Function codes this package knows the reply length of.
const (
	ReadCoils            = 1
	ReadDiscreteInputs   = 2
	ReadHoldingRegisters = 3
	ReadInputRegisters   = 4
	WriteSingleCoil      = 5
	WriteSingleRegister  = 6
	WriteCoils           = 15
	WriteRegisters       = 16
)

const exceptionBit = 0x80

// Mode is how a line is set.
type Mode struct {
	BaudRate int
	DataBits int  // 8; RTU carries whole bytes
	Parity   byte // 'N', 'E' or 'O'
	StopBits int  // 1 or 2
}

// CharTime is how long one character is on the wire: start bit, data bits,
// parity and stop bits. It is 0 when the baud rate is not set.
func (m Mode) CharTime() time.Duration {
	if m.BaudRate <= 0 {
		return 0
	}
	bits := 1 + m.DataBits + m.StopBits
	if m.Parity == 'E' || m.Parity == 'O' {
		bits++
	}
	return time.Duration(bits) * time.Second / time.Duration(m.BaudRate)
}

// Silence is t3.5, the pause that separates frames: 3.5 characters, and fixed
// at 1.75 ms above 19200 baud (Serial Line V1.02, 2.5.1.1).
func (m Mode) Silence() time.Duration {
	if m.BaudRate <= 0 || m.BaudRate > 19200 {
		return 1750 * time.Microsecond
	}
	return m.CharTime() * 7 / 2
}

// WireTime is how long a read of count registers or bits occupies the line at
// best: request, silence, reply, silence.
func (m Mode) WireTime(function byte, count int) time.Duration {
	chars := requestLen + ReplyLen(function, count)
	return time.Duration(chars)*m.CharTime() + 2*m.Silence()
}
