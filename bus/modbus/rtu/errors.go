package rtu

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/goburrow/modbus"
)

// ErrRequest is a request this package cannot send: too short, too long, or
// of a function whose reply length it does not know.
var ErrRequest = errors.New("not a request this line can send")

// TimeoutError says that no usable reply came within the deadline.
type TimeoutError struct {
	_ [0]func() // nobody compares them: saves the code for it

	Unit     byte
	Timeout  time.Duration
	Received int  // bytes of a reply that was cut short
	Want     int  // bytes the whole reply would have had
	EchoOnly bool // nothing came but our own request
}

func (e *TimeoutError) Error() string {
	switch {
	case e.EchoOnly:
		return fmt.Sprintf("timeout: only our own request came back within %v", e.Timeout)
	case e.Received > 0:
		return fmt.Sprintf("timeout: the reply broke off within %v after %d of %d bytes", e.Timeout, e.Received, e.Want)
	default:
		return fmt.Sprintf("timeout: no reply within %v", e.Timeout)
	}
}

// CRCError says that a reply came whose checksum is wrong.
type CRCError struct{ Unit byte }

func (e *CRCError) Error() string {
	return "CRC error: the reply was damaged on the line"
}

// MismatchError says that something came which is not the reply to the request.
type MismatchError struct {
	_ [0]func() // nobody compares them: saves the code for it

	Unit   byte
	Bytes  int    // bytes received
	Reason string // what they were instead, for people
}

func (e *MismatchError) Error() string { return "wrong reply: " + e.Reason }

// BusyError says that the line did not become quiet, so nothing was sent.
type BusyError struct {
	_ [0]func() // nobody compares them: saves the code for it

	Waited time.Duration
	Bytes  int // bytes that were heard meanwhile
	// OtherMaster means that requests of another master were heard which the
	// replies could not be told apart from.
	OtherMaster bool
}

func (e *BusyError) Error() string {
	if e.OtherMaster {
		return fmt.Sprintf("line busy: another master keeps asking the same device for as much, for %v", e.Waited.Round(time.Millisecond))
	}
	return fmt.Sprintf("line busy: %d bytes nobody asked for within %v; a device babbles or there is a second master", e.Bytes, e.Waited)
}

// ExceptionError is a unit's refusal. It unwraps to goburrow's *ModbusError.
type ExceptionError struct {
	Unit     byte
	Function byte // of the request, without the exception bit
	Code     byte
	// Doubtful means that an earlier request of the unit was not answered, so
	// the refusal may be that request's.
	Doubtful bool
}

func (e *ExceptionError) Error() string {
	if e.Doubtful {
		return "a refusal came that may answer an earlier request"
	}
	return fmt.Sprintf("exception %d: %s", e.Code, ExceptionText(e.Code))
}

// ExceptionCode is Code, for who does not import this package.
func (e *ExceptionError) ExceptionCode() uint8 { return e.Code }

// Unwrap returns the same refusal as goburrow's client reports it.
func (e *ExceptionError) Unwrap() error {
	return &modbus.ModbusError{FunctionCode: e.Function | exceptionBit, ExceptionCode: e.Code}
}

// ExceptionText names an exception code (Application Protocol V1.1b3, 7).
func ExceptionText(code byte) string {
	switch code {
	case 1:
		return "illegal function"
	case 2:
		return "illegal data address"
	case 3:
		return "illegal data value"
	case 4:
		return "server device failure"
	case 5:
		return "acknowledge"
	case 6:
		return "server device busy"
	case 7:
		return "negative acknowledge"
	case 8:
		return "memory parity error"
	case 10:
		return "gateway path unavailable"
	case 11:
		return "gateway target device failed to respond"
	default:
		return "unknown exception"
	}
}

// PortLostError says that the port is gone or unusable: it must be closed and
// opened again.
type PortLostError struct {
	_ [0]func() // nobody compares them: saves the code for it

	Op  string // "read", "write" or "open"
	Err error
	// Connection means that the port is a network connection.
	Connection bool
}

func (e *PortLostError) Error() string {
	switch {
	case !e.Connection:
		return fmt.Sprintf("serial port lost on %s: %v", e.Op, e.Err)
	case errors.Is(e.Err, io.EOF):
		return "connection lost: the far end closed it"
	case e.Op == "open":
		return fmt.Sprintf("cannot connect: %v", e.Err)
	}
	return fmt.Sprintf("connection lost on %s: %v", e.Op, e.Err)
}

func (e *PortLostError) Unwrap() error { return e.Err }
