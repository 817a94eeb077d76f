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
// one and dropped. Ids are drawn at random: nobody can answer a request that
// has not been sent. What came before a request is never its reply. A stream
// that is not MBAP cannot be found again, but for a few bytes between two
// frames: the connection is lost then.
package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/permit"
)

const (
	headerLen    = 7   // MBAP: transaction, protocol, length, unit
	maxFrame     = 260 // MBAP and PDU
	exceptionBit = 0x80
	writeStall   = 2 * time.Second
	mostUnasked  = 64 << 10 // bytes between two exchanges: some hundred late replies
)

// Options are what is let pass of a far end that does not keep to the rules.
type Options struct {
	// AnyUnit takes a reply with the right transaction id whatever unit it
	// names. Without it 0 and 255 are taken, which mean the far end itself.
	AnyUnit bool
	// AnyTransaction takes a reply with any transaction id. Then only one
	// request may be on its way: see [Transporter.Stale].
	AnyTransaction bool
	// Notice, if set, is called once for each rule that is not kept.
	Notice func(text string)
}

// Transporter sends one request at a time. It is not safe for concurrent use.
type Transporter struct {
	cfg     rtu.Config
	opts    Options
	timeout time.Duration
	port    rtu.Port
	stats   rtu.Stats
	slowest [256]time.Duration

	permitted bool // the request in progress writes by a permit

	last    uint16   // transaction id
	tries   []uint16 // ids of the earlier tries of the request in progress
	asked   [rtu.MaxADU]byte
	askedN  int
	sent    pendings
	ended   time.Time // of the last exchange
	vain    int       // waits for a busy far end in a row that brought nothing
	noticed struct{ unit, transaction bool }

	out    [maxFrame]byte
	in     [4 * maxFrame]byte
	n      int
	answer [rtu.MaxADU]byte
}

// NewTransporter returns a transporter without a connection. Mode of cfg means
// nothing here.
func NewTransporter(cfg rtu.Config, opts Options) *Transporter {
	if opts.Notice == nil {
		opts.Notice = func(string) {}
	}
	return &Transporter{cfg: cfg, opts: opts, timeout: cfg.Timeout}
}

// Attach makes port the connection, or with nil takes it away.
func (t *Transporter) Attach(port rtu.Port) {
	t.port, t.n, t.askedN, t.vain = port, 0, 0, 0
	t.sent, t.tries = t.sent[:0], t.tries[:0]
	t.ended = time.Time{}
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

// Stale reports whether the connection must be replaced before another
// request: a reply that is still owed could not be told from the next one.
func (t *Transporter) Stale() bool { return t.opts.AnyTransaction && len(t.sent) > 0 }

// Overdue reports whether a late reply may come soon.
func (t *Transporter) Overdue() bool {
	return t.port != nil && slices.ContainsFunc(t.sent, func(p pending) bool { return !p.passed && time.Since(p.at) < busyWait })
}

// Listen notes late replies for d. It returns early with the context's error
// or a *[rtu.PortLostError].
func (t *Transporter) Listen(ctx context.Context, d time.Duration) error {
	if t.port == nil {
		return lost("read", os.ErrClosed)
	}
	port, end := t.port, time.Now().Add(d)
	stop := context.AfterFunc(ctx, func() { _ = port.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for all := 0; ; {
		for frame, _ := t.frame(); frame != nil; frame, _ = t.frame() {
			t.overdue(frame, true)
		}
		if all > mostUnasked {
			return lost("read", errFlood)
		}
		if t.n == len(t.in) {
			t.stats.StrayBytes += uint64(t.n)
			t.n = 0
		}
		if err := t.port.SetReadDeadline(end); err != nil {
			return lost("read", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := t.port.Read(t.in[t.n:])
		t.n += n
		all += n
		switch {
		case n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if ctx.Err() != nil || !time.Now().Before(end) {
				return ctx.Err()
			}
		case err == nil:
			return lost("read", io.ErrUnexpectedEOF)
		default:
			return lost("read", err)
		}
	}
}

// SendContext sends request, a whole RTU frame with CRC, and returns the reply
// as one, valid until the next call. Its errors are those of
// [rtu.Transporter.SendContext].
func (t *Transporter) SendContext(ctx context.Context, request []byte) ([]byte, error) {
	t.tries = t.tries[:0]
	return t.exchange(ctx, request)
}

// Resend is SendContext for the request that has just failed: the reply to an
// earlier try answers it as well.
func (t *Transporter) Resend(ctx context.Context, request []byte) ([]byte, error) {
	if string(request) != string(t.asked[:t.askedN]) {
		return t.SendContext(ctx, request)
	}
	t.tries = append(t.tries, t.last)
	return t.exchange(ctx, request)
}

// Write sends a request that writes what p permits, once; see
// [rtu.Transporter.Write].
func (t *Transporter) Write(ctx context.Context, p permit.Register, request []byte) ([]byte, error) {
	if err := rtu.CheckWrite(p, request); err != nil {
		return nil, err
	}
	t.permitted = true
	defer func() { t.permitted = false }()
	return t.SendContext(ctx, request)
}

func (t *Transporter) exchange(ctx context.Context, request []byte) ([]byte, error) {
	switch {
	case t.port == nil:
		return nil, lost("write", os.ErrClosed)
	case len(request) < 8 || len(request) > rtu.MaxADU:
		return nil, fmt.Errorf("%w: %d bytes", rtu.ErrRequest, len(request))
	case rtu.Writes(request[1]) && !t.cfg.AllowWrites && !t.permitted:
		return nil, fmt.Errorf("%w: function %d writes", rtu.ErrRequest, request[1])
	}
	if ctx.Done() != nil {
		port := t.port
		stop := context.AfterFunc(ctx, func() { _ = port.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	if err := t.settle(ctx); err != nil {
		return nil, err
	}
	if err := t.write(request); err != nil {
		return nil, err
	}
	reply, err := t.receive(ctx, request)
	t.ended = time.Now()
	t.note(err)
	return reply, err
}

// settle keeps the turnaround and puts aside what has come since the last
// exchange: none of it answers what is asked next.
func (t *Transporter) settle(ctx context.Context) error {
	if rest := time.Until(t.ended.Add(t.cfg.Turnaround)); rest > 0 {
		if err := t.Listen(ctx, rest); err != nil {
			return err
		}
	}
	for all := 0; ; {
		for frame, _ := t.frame(); frame != nil; frame, _ = t.frame() {
			t.overdue(frame, false)
		}
		n, err := t.port.ReadAvailable(t.in[t.n:])
		if err != nil {
			return lost("read", err)
		}
		if n == 0 {
			break
		}
		t.n += n
		if all += n; all > mostUnasked {
			return lost("read", errFlood)
		}
	}
	if !t.begins(0) { // else the rest of a late reply is on its way
		t.stats.StrayBytes += uint64(t.n)
		t.n = 0
	}
	return ctx.Err()
}

func (t *Transporter) write(request []byte) error {
	for t.last = newID(); t.sent.index(t.last) >= 0; t.last = newID() {
	}
	t.askedN = copy(t.asked[:], request)
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
		return lost("write", err)
	}
	t.sent.add(pending{id: t.last, unit: request[0], at: now})
	t.stats.Requests++
	return nil
}

// newID is a transaction id nobody can foresee. It is not 0, which some
// devices put into every reply.
func newID() uint16 { return uint16(1 + rand.N(uint32(0xFFFF))) }

var errFlood = fmt.Errorf("the far end has sent more than %d bytes nobody asked for", mostUnasked)

func lost(op string, err error) error {
	return &rtu.PortLostError{Op: op, Err: err, Connection: true}
}

// receive reads until the reply to the last request or the deadline.
func (t *Transporter) receive(ctx context.Context, request []byte) ([]byte, error) {
	start := time.Now()
	deadline, extended := t.deadline(request[0], start)
	strange := -1 // the transaction id of what would be the reply otherwise
	for {
		frame, err := t.frame()
		if err != nil {
			return nil, lost("read", err)
		}
		if frame != nil {
			id := binary.BigEndian.Uint16(frame)
			switch {
			case t.answers(id):
				t.settled(frame)
				return t.judge(request, frame[headerLen-1:])
			case t.overdue(frame, true): // it is free for this one now
				deadline, extended = t.deadline(request[0], time.Now())
			case frame[headerLen-1] == request[0] && frame[headerLen]&^exceptionBit == request[1]:
				strange = int(id)
			}
			continue
		}
		if err := t.port.SetReadDeadline(deadline); err != nil {
			return nil, lost("read", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("modbus request: %w", err)
		}
		n, err := t.port.Read(t.in[t.n:])
		t.n += n
		switch {
		case n > 0:
			t.vain = 0
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			return nil, fmt.Errorf("modbus request: %w", ctx.Err())
		case errors.Is(err, os.ErrDeadlineExceeded):
			if extended {
				t.vain++
			}
			return nil, t.silence(request[0], strange, start, extended)
		case err == nil:
			return nil, lost("read", io.ErrUnexpectedEOF)
		default:
			return nil, lost("read", err)
		}
	}
}

// silence is the error of a request without a reply.
func (t *Transporter) silence(unit byte, strange int, start time.Time, extended bool) error {
	if strange >= 0 {
		// No id that changes: the same cause is the same error.
		named := "transaction id 0"
		if strange != 0 {
			named = "a transaction id that was not sent"
		}
		return &rtu.MismatchError{Unit: unit, Reason: "reply with " + named +
			"; if the device answers so always, set any_transaction_id: true"}
	}
	if extended {
		return &rtu.TimeoutError{Unit: unit, Timeout: time.Since(start).Round(time.Millisecond)}
	}
	return &rtu.TimeoutError{Unit: unit, Timeout: t.timeout}
}

// judge checks a reply, unit and PDU, against its request.
func (t *Transporter) judge(request, reply []byte) ([]byte, error) {
	unit, function := request[0], request[1]
	wrong := func(format string, args ...any) error {
		return &rtu.MismatchError{Unit: unit, Bytes: len(reply), Reason: fmt.Sprintf(format, args...)}
	}
	count := rtu.ByteCount(function, int(binary.BigEndian.Uint16(request[4:])))
	switch {
	case !t.fits(unit, reply[0]):
		return nil, wrong("unit %d answered instead of unit %d; if the device answers so always, set any_reply_unit: true", reply[0], unit)
	case reply[1] == function|exceptionBit && len(reply) == 3:
		return nil, &rtu.ExceptionError{Unit: unit, Function: function, Code: reply[2]}
	case reply[1] != function:
		return nil, wrong("function %d instead of function %d", reply[1], function)
	case count >= 0 && (int(reply[2]) != count || len(reply) != 3+count):
		return nil, wrong("%d bytes of data instead of %d", len(reply)-3, count)
	case count < 0 && string(reply[1:min(6, len(reply))]) != string(request[1:6]):
		return nil, wrong("another write was confirmed")
	}
	p := append(t.answer[:0], reply...)
	p[0] = unit
	return rtu.AppendCRC(p), nil
}

// fits reports whether a reply in the name of a unit is taken for that of the
// unit asked: the transaction id has named the request already.
func (t *Transporter) fits(asked, named byte) bool {
	if named == asked {
		return true
	}
	if named != 0 && named != 255 && !t.opts.AnyUnit {
		return false
	}
	if !t.noticed.unit {
		t.noticed.unit = true
		t.opts.Notice(fmt.Sprintf("replies to requests for unit %d name unit %d; they are taken by their transaction id", asked, named))
	}
	return true
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
