// Package tcp speaks Modbus TCP (Messaging on TCP/IP Implementation Guide
// V1.0b): the exchange of one request for one reply on one connection, with
// several units behind it.
//
// # Nouns
//
// A [Transporter] has the methods of [rtu.Transporter] and takes the same
// requests, in RTU framing; it carries them in MBAP framing and hands the
// replies back in RTU framing.
//
// # Caveats
//
// The transaction id ties a reply to its request, so a late reply is known as
// one and dropped, and no request ever waits for another's reply. A stream
// that is no MBAP cannot be found again: the connection is lost then.
package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"fieldferry/bus/modbus/rtu"
)

const (
	headerLen    = 7   // MBAP: transaction, protocol, length, unit
	maxFrame     = 260 // MBAP and PDU
	exceptionBit = 0x80
	writeStall   = 2 * time.Second
)

// Transporter sends one request at a time. It is not safe for concurrent use.
type Transporter struct {
	cfg     rtu.Config
	timeout time.Duration
	port    rtu.Port
	stats   rtu.Stats
	slowest [256]time.Duration

	last   uint16 // transaction id
	sent   map[uint16]pending
	out    [maxFrame]byte
	in     [4 * maxFrame]byte
	n      int
	answer [rtu.MaxADU]byte
}

// pending is a request without a reply.
type pending struct {
	unit byte
	at   time.Time
}

// mostPending bounds what is remembered of requests without a reply.
const mostPending = 64

// NewTransporter returns a transporter without a connection. Mode and
// Turnaround of cfg mean nothing here.
func NewTransporter(cfg rtu.Config) *Transporter {
	return &Transporter{cfg: cfg, timeout: cfg.Timeout, sent: map[uint16]pending{}}
}

// Attach makes port the connection, or with nil takes it away.
func (t *Transporter) Attach(port rtu.Port) {
	t.port, t.n = port, 0
	clear(t.sent)
}

// SetTimeout changes the timeout of the requests that follow.
func (t *Transporter) SetTimeout(d time.Duration) { t.timeout = d }

// Stats returns the counters.
func (t *Transporter) Stats() rtu.Stats { return t.stats }

// Slowest is the longest answer known of a unit, late ones included.
func (t *Transporter) Slowest(unit byte) time.Duration { return t.slowest[unit] }

// Hold is always 0: no reply can be taken for another's.
func (t *Transporter) Hold(byte, byte, uint16, uint16) time.Duration { return 0 }

// Owes is always false, likewise.
func (t *Transporter) Owes(byte) bool { return false }

// Listen lets d pass.
func (t *Transporter) Listen(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Resend is SendContext.
func (t *Transporter) Resend(ctx context.Context, request []byte) ([]byte, error) {
	return t.SendContext(ctx, request)
}

// SendContext sends request, a whole RTU frame with CRC, and returns the reply
// as one, valid until the next call. Its errors are those of
// [rtu.Transporter.SendContext].
func (t *Transporter) SendContext(ctx context.Context, request []byte) ([]byte, error) {
	switch {
	case t.port == nil:
		return nil, &rtu.PortLostError{Op: "write", Err: os.ErrClosed}
	case len(request) < 8 || len(request) > rtu.MaxADU:
		return nil, fmt.Errorf("%w: %d bytes", rtu.ErrRequest, len(request))
	case request[1] > rtu.ReadInputRegisters && !t.cfg.AllowWrites:
		return nil, fmt.Errorf("%w: function %d writes", rtu.ErrRequest, request[1])
	}
	if ctx.Done() != nil {
		port := t.port
		stop := context.AfterFunc(ctx, func() { _ = port.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	if err := t.write(request); err != nil {
		return nil, err
	}
	reply, err := t.receive(ctx, request)
	t.note(err)
	return reply, err
}

func (t *Transporter) write(request []byte) error {
	t.last++
	pdu := request[1 : len(request)-2]
	p := binary.BigEndian.AppendUint16(t.out[:0], t.last)
	p = binary.BigEndian.AppendUint16(p, 0)
	p = binary.BigEndian.AppendUint16(p, uint16(len(pdu)+1))
	p = append(append(p, request[0]), pdu...)
	now := time.Now()
	err := t.port.SetWriteDeadline(now.Add(writeStall))
	if err == nil {
		_, err = t.port.Write(p)
	}
	if err != nil {
		return &rtu.PortLostError{Op: "write", Err: err}
	}
	if len(t.sent) >= mostPending {
		clear(t.sent)
	}
	t.sent[t.last] = pending{request[0], now}
	t.stats.Requests++
	return nil
}

// receive reads until the reply to the last request or the deadline.
func (t *Transporter) receive(ctx context.Context, request []byte) ([]byte, error) {
	deadline := time.Now().Add(t.timeout)
	for {
		frame, err := t.frame()
		if err != nil {
			return nil, &rtu.PortLostError{Op: "read", Err: err}
		}
		if frame != nil {
			id := binary.BigEndian.Uint16(frame)
			p, known := t.sent[id]
			if !known {
				t.stats.StrayBytes += uint64(len(frame))
				continue
			}
			delete(t.sent, id)
			t.slowest[p.unit] = max(t.slowest[p.unit], time.Since(p.at))
			if id != t.last {
				t.stats.LateReplies++
				continue
			}
			return t.judge(request, frame[headerLen-1:])
		}
		if err := t.port.SetReadDeadline(deadline); err != nil {
			return nil, &rtu.PortLostError{Op: "read", Err: err}
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("modbus request: %w", err)
		}
		n, err := t.port.Read(t.in[t.n:])
		t.n += n
		switch {
		case n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			return nil, fmt.Errorf("modbus request: %w", ctx.Err())
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, &rtu.TimeoutError{Unit: request[0], Timeout: t.timeout}
		case err == nil:
			return nil, &rtu.PortLostError{Op: "read", Err: io.ErrUnexpectedEOF}
		default:
			return nil, &rtu.PortLostError{Op: "read", Err: err}
		}
	}
}

// frame takes the first whole frame out of what has come; nil means that it
// is not there yet. The frame is valid until the next call.
func (t *Transporter) frame() ([]byte, error) {
	if t.n < headerLen {
		return nil, nil
	}
	length := int(binary.BigEndian.Uint16(t.in[4:]))
	if protocol := binary.BigEndian.Uint16(t.in[2:]); protocol != 0 || length < 3 || length > maxFrame-6 {
		return nil, fmt.Errorf("the far end does not speak Modbus TCP: protocol %d, length %d", protocol, length)
	}
	if t.n < 6+length {
		return nil, nil
	}
	copy(t.out[:], t.in[:6+length])
	t.n = copy(t.in[:], t.in[6+length:t.n])
	return t.out[:6+length], nil
}

// judge checks a reply, unit and PDU, against its request.
func (t *Transporter) judge(request, reply []byte) ([]byte, error) {
	unit, function := request[0], request[1]
	wrong := func(format string, args ...any) error {
		return &rtu.MismatchError{Unit: unit, Bytes: len(reply), Reason: fmt.Sprintf(format, args...)}
	}
	count := rtu.ByteCount(function, int(binary.BigEndian.Uint16(request[4:])))
	switch {
	case reply[0] != unit:
		return nil, wrong("unit %d answered instead of unit %d", reply[0], unit)
	case reply[1] == function|exceptionBit && len(reply) == 3:
		return nil, &rtu.ExceptionError{Unit: unit, Function: function, Code: reply[2]}
	case reply[1] != function:
		return nil, wrong("function %d instead of function %d", reply[1], function)
	case count >= 0 && (int(reply[2]) != count || len(reply) != 3+count):
		return nil, wrong("%d bytes of data instead of %d", len(reply)-3, count)
	case count < 0 && string(reply[:min(6, len(reply))]) != string(request[:6]):
		return nil, wrong("another write was confirmed")
	}
	p := append(t.answer[:0], reply...)
	return rtu.AppendCRC(p), nil
}

func (t *Transporter) note(err error) {
	var (
		timeout   *rtu.TimeoutError
		mismatch  *rtu.MismatchError
		exception *rtu.ExceptionError
	)
	switch {
	case err == nil:
		t.stats.Replies++
	case errors.As(err, &timeout):
		t.stats.Timeouts++
	case errors.As(err, &mismatch):
		t.stats.Mismatches++
	case errors.As(err, &exception):
		t.stats.Exceptions++
	}
}
