package rtu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Port is what the transporter needs of a serial port; [SerialPort] is one.
// Read returns at least one byte or an error, os.ErrDeadlineExceeded at the
// deadline; any other error means that the port is lost. ReadAvailable does
// not wait. Setting a deadline wakes a read in progress.
type Port interface {
	io.ReadWriteCloser
	ReadAvailable(p []byte) (int, error)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Config sets the timing of a [Transporter].
type Config struct {
	_ [0]func() // nobody compares them: saves the code for it

	Mode       Mode
	Timeout    time.Duration // from the end of a request to the end of its reply
	Turnaround time.Duration // silence before each request beyond t3.5
	// LateWait is the least time for which a missing reply counts as possibly
	// still to come; 0 means 2.5 s. Longer answers are learned.
	LateWait time.Duration
	// Careful reckons with copies of replies and with other masters although
	// none has been heard. It costs time where many registers are equal, and
	// after damaged replies.
	Careful bool
	// AllowWrites lets writing functions pass without a permit. Without it a
	// Transporter changes what a [permit.Register] names, and nothing else.
	AllowWrites bool
}

const (
	defaultLateWait = 2500 * time.Millisecond
	// faultQuiet is the silence asked for after a fault. USB adapters hand
	// bytes over every 16 ms, so less would not show that a frame has ended.
	faultQuiet = 20 * time.Millisecond
	// secondReply is how long, beyond twice the unit's slowest answer, a second
	// reply is listened for when the first could be a copy of an earlier one.
	secondReply = 50 * time.Millisecond
	// gapGrace is the pause within a reply after which it counts as broken off
	// even though its deadline has passed; graceLimit bounds them all together.
	gapGrace   = 200 * time.Millisecond
	graceLimit = 2 * time.Second
	// otherMasters is how much longer a request waits for the replies to other
	// masters' requests that come up meanwhile.
	otherMasters = 3 * time.Second
	// busyLimit is how long a line that is never quiet is waited for.
	busyLimit = 600 * time.Millisecond
	// copyTrials is how often a reply equal to an earlier one is doubted on a
	// line where no copy has been heard yet.
	copyTrials = 8
	// reckonFor is for how long a line on which copies or another master were
	// heard is taken for one that has them.
	reckonFor = time.Hour
	// broadcastDelay lets the units act on a broadcast (Serial Line V1.02,
	// 2.4.1: 100 to 200 ms).
	broadcastDelay = 100 * time.Millisecond
	writeStall     = time.Second
)

// Stats are the counters of a [Transporter] since it was made.
type Stats struct {
	Requests, Replies, Exceptions             uint64
	Timeouts, CRCErrors, Mismatches, LineBusy uint64
	Echoes                                    uint64 // own requests that came back
	LateReplies                               uint64 // replies that came after their deadline
	StrayBytes                                uint64 // bytes that came when nothing was asked
}

// Transporter sends one request at a time and returns its reply. It is not
// safe for concurrent use. What it learns about the units outlives the port.
type Transporter struct {
	cfg     Config
	timeout time.Duration
	char    time.Duration
	port    Port
	stats   Stats

	reader Reader
	chunk  [MaxADU]byte
	recent recent
	tap    tap

	last    time.Time // last activity on the line
	fault   bool      // the last exchange went wrong: wait for a quiet line
	echoing bool      // the line returns what we send
	// permitted: the request in progress writes by a permit
	permitted bool
	// confirming: the request in progress is asked again, see errMayBeCopy
	confirming bool
	doubted    []byte
	trials     int // see copyTrials
	debts      debts
	// until when copies of replies and other masters are reckoned with
	copies, masters time.Time
}

// NewTransporter returns a transporter without a port.
func NewTransporter(cfg Config) *Transporter {
	if cfg.LateWait <= 0 {
		cfg.LateWait = defaultLateWait
	}
	t := &Transporter{cfg: cfg, char: cfg.Mode.CharTime(), trials: copyTrials}
	t.debts.careful = cfg.Careful
	t.SetTimeout(cfg.Timeout)
	return t
}

// SetTimeout changes the timeout of the requests that follow.
func (t *Transporter) SetTimeout(d time.Duration) {
	t.timeout = d
	t.debts.least = max(t.cfg.LateWait, min(3*d, d+2*time.Second))
}

// Attach makes port the line, or with nil takes it away. What is owed by the
// units stays owed: a reply may survive the port's reopening.
func (t *Transporter) Attach(port Port) {
	t.port = port
	t.fault = true
	t.echoing = false
	t.last = time.Now()
}

// Stats returns the counters.
func (t *Transporter) Stats() Stats { return t.stats }

// Slowest is the longest answer known of a unit, late ones included.
func (t *Transporter) Slowest(unit byte) time.Duration { return t.debts.slowest[unit] }

// Hold is how long a read would have to wait because the same unit still owes
// a reply that would look like its own. It is 0 for a request of another
// shape (function and byte count).
func (t *Transporter) Hold(unit, function byte, address, count uint16) time.Duration {
	var p [requestLen]byte
	return t.debts.hold(AppendReadRequest(p[:0], unit, function, address, count), false, time.Now())
}

// Owes reports whether a unit has left a request unanswered whose reply may
// still come.
func (t *Transporter) Owes(unit byte) bool { return t.debts.owes(unit, time.Now()) }

// Send sends request, a whole frame with CRC, and returns the reply, which is
// valid until the next call. It implements goburrow's modbus.Transporter.
func (t *Transporter) Send(request []byte) ([]byte, error) {
	return t.SendContext(context.Background(), request)
}

// Bound is a transporter whose requests end with a context.
type Bound struct {
	ctx context.Context
	t   *Transporter
}

// Bind returns t as a goburrow modbus.Transporter whose requests end with ctx.
func (t *Transporter) Bind(ctx context.Context) Bound { return Bound{ctx, t} }

// Send implements modbus.Transporter.
func (b Bound) Send(request []byte) ([]byte, error) { return b.t.SendContext(b.ctx, request) }

// SendContext is Send that ends early with ctx's error. A broadcast (unit 0)
// has no reply and returns an empty one after the turnaround delay.
//
// The error is a *TimeoutError, *CRCError, *MismatchError, *BusyError or
// *ExceptionError, after which the next request may be sent; a *PortLostError,
// after which the port must be replaced; ErrRequest; or the context's.
func (t *Transporter) SendContext(ctx context.Context, request []byte) ([]byte, error) {
	return t.exchange(ctx, request, false)
}

// Resend is SendContext for the request that has just failed: it is not held
// back for its own late reply, which would answer it as well.
func (t *Transporter) Resend(ctx context.Context, request []byte) ([]byte, error) {
	return t.exchange(ctx, request, true)
}

// exchange sends a request and, in careful mode, sends it again when the reply
// may be a copy of an earlier one and nothing else has come. What writes is
// sent once.
func (t *Transporter) exchange(ctx context.Context, request []byte, again bool) ([]byte, error) {
	reply, err := t.once(ctx, request, again)
	switch {
	case errors.Is(err, errMayBeCopy) && Writes(request[1]):
		return nil, t.failed(&MismatchError{Unit: request[0], Bytes: len(t.doubted), Reason: "the reply equals one to an earlier write and may be its copy"})
	case errors.Is(err, errMayBeCopy):
		t.confirming = true
		defer func() { t.confirming = false }()
		return t.once(ctx, request, true)
	}
	return reply, err
}

func (t *Transporter) once(ctx context.Context, request []byte, again bool) ([]byte, error) {
	if t.port == nil {
		return nil, &PortLostError{Op: "write", Err: os.ErrClosed}
	}
	t.reader.Echoing = t.echoing
	t.debts.copies = t.reckons(t.copies)
	if err := t.reader.Reset(request); err != nil {
		return nil, err
	}
	if Writes(request[1]) && !t.cfg.AllowWrites && !t.permitted {
		return nil, fmt.Errorf("%w: function %d writes", ErrRequest, request[1])
	}
	if ctx.Done() != nil {
		port := t.port
		stop := context.AfterFunc(ctx, func() { _ = port.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	if err := t.settle(ctx, request, again); err != nil {
		return nil, t.failed(err)
	}
	if err := t.write(request); err != nil {
		return nil, t.failed(err)
	}
	t.stats.Requests++
	t.tap.begin(request)
	if request[0] == 0 {
		return nil, t.failed(t.listen(ctx, t.last.Add(max(broadcastDelay, t.cfg.Turnaround))))
	}
	return t.receive(ctx, request)
}

// reckons reports whether something heard until then must be reckoned with.
func (t *Transporter) reckons(until time.Time) bool {
	return t.cfg.Careful || time.Now().Before(until)
}

// settle waits until the line is quiet and nothing is owed that could be
// taken for the reply to request.
func (t *Transporter) settle(ctx context.Context, request []byte, again bool) error {
	start := time.Now()
	limit := start.Add(t.debts.hold(request, again, start) + otherMasters)
	for {
		if err := t.awaitOwed(ctx, request, again, start, limit); err != nil {
			return err
		}
		if err := t.awaitQuiet(ctx); err != nil {
			return err
		}
		// Another master's request may have been heard meanwhile.
		if t.debts.hold(request, again, time.Now()) <= 0 {
			return nil
		}
	}
}

// awaitQuiet waits until nothing has come for as long as must be silent
// before a request.
func (t *Transporter) awaitQuiet(ctx context.Context) error {
	quiet := t.cfg.Mode.Silence() + t.cfg.Turnaround
	if t.fault {
		quiet = max(quiet, faultQuiet)
	}
	start, stray := time.Now(), t.stats.StrayBytes
	limit := start.Add(max(t.timeout, busyLimit, 5*quiet))
	for {
		n, err := t.port.ReadAvailable(t.chunk[:])
		if err != nil {
			return &PortLostError{Op: "read", Err: err}
		}
		now := time.Now()
		if n > 0 {
			t.stray(t.chunk[:n], false, now)
		} else if now.Sub(t.last) >= quiet {
			t.fault = false
			return ctx.Err()
		}
		if !now.Before(limit) {
			busy := &BusyError{Waited: now.Sub(start), Bytes: int(t.stats.StrayBytes - stray)}
			plain := t.cfg.Mode.Silence() + t.cfg.Turnaround
			if sparse := 10*time.Duration(busy.Bytes)*t.char < busy.Waited; !sparse || t.char == 0 || quiet == plain {
				return busy
			}
			// Single noise bytes leave pauses that separate frames well enough.
			quiet, limit = plain, limit.Add(faultQuiet)
			continue
		}
		rest := t.last.Add(quiet).Sub(now)
		if p, ok := t.port.(preciseWaiter); ok && rest > 0 && rest <= preciseWait && ctx.Err() == nil {
			p.WaitReadable(rest)
			continue
		}
		if err := t.heard(ctx, now.Add(rest)); err != nil {
			return err
		}
	}
}

// preciseWaiter is a port that can wait shorter than Go's poller.
type preciseWaiter interface{ WaitReadable(d time.Duration) }

// preciseWait bounds what is waited without regard to the context.
const preciseWait = 5 * time.Millisecond

// awaitOwed waits until no reply is owed that could be taken for the reply to
// request. Another master that keeps asking the same does not make it wait on.
func (t *Transporter) awaitOwed(ctx context.Context, request []byte, again bool, start, limit time.Time) error {
	for {
		now := time.Now()
		d := t.debts.hold(request, again, now)
		if d <= 0 {
			return nil
		}
		if now.After(limit) {
			return &BusyError{Waited: now.Sub(start), OtherMaster: true}
		}
		if err := t.heard(ctx, now.Add(d)); err != nil {
			return err
		}
	}
}

// Listen notes what comes on the line for d, such as late replies and the
// requests of another master. It returns early with the context's error or a
// *PortLostError.
func (t *Transporter) Listen(ctx context.Context, d time.Duration) error {
	if t.port == nil {
		return &PortLostError{Op: "read", Err: os.ErrClosed}
	}
	if ctx.Done() != nil {
		port := t.port
		stop := context.AfterFunc(ctx, func() { _ = port.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	return t.listen(ctx, time.Now().Add(d))
}

// heard waits until the given time or until something comes, which it notes.
func (t *Transporter) heard(ctx context.Context, until time.Time) error {
	n, err := t.read(ctx, until)
	if n > 0 {
		t.stray(t.chunk[:n], true, time.Now())
	}
	return err
}

// listen notes whatever comes until the given time.
func (t *Transporter) listen(ctx context.Context, until time.Time) error {
	for time.Now().Before(until) {
		if err := t.heard(ctx, until); err != nil {
			return err
		}
	}
	return nil
}

// read waits for bytes until the given time; 0 bytes without an error means
// that none came.
func (t *Transporter) read(ctx context.Context, until time.Time) (int, error) {
	for {
		if err := t.port.SetReadDeadline(until); err != nil {
			return 0, &PortLostError{Op: "read", Err: err}
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := t.port.Read(t.chunk[:])
		switch {
		case n > 0:
			return n, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			if !time.Now().Before(until) {
				return 0, nil
			}
		case err == nil:
			return 0, &PortLostError{Op: "read", Err: io.ErrUnexpectedEOF}
		default:
			return 0, &PortLostError{Op: "read", Err: err}
		}
	}
}

func (t *Transporter) stray(p []byte, fresh bool, now time.Time) {
	t.stats.StrayBytes += uint64(len(p))
	t.last = now
	t.listenIn(p, nil, fresh, false, now)
}

// write sends all of request. The time it takes on the wire is reckoned, not
// waited for: the kernel's own waiting (tcdrain) knows no deadline.
func (t *Transporter) write(request []byte) error {
	wire := time.Duration(len(request)) * t.char
	now := time.Now()
	if err := t.port.SetWriteDeadline(now.Add(wire + writeStall)); err != nil {
		return &PortLostError{Op: "write", Err: err}
	}
	for sent := 0; sent < len(request); {
		n, err := t.port.Write(request[sent:])
		if err == nil && n <= 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return &PortLostError{Op: "write", Err: err}
		}
		sent += n
	}
	t.last = now.Add(wire)
	if end := time.Now(); end.After(t.last) { // the port has waited for the last bit
		t.last = end
	}
	return nil
}

func (t *Transporter) noteEcho() {
	if n := t.reader.Echoes(); n > 0 {
		t.stats.Echoes++
		t.echoing = true
	}
}

// failed marks the line as not to be trusted and counts err.
func (t *Transporter) failed(err error) error {
	if err == nil {
		return nil
	}
	t.fault = true
	var (
		timeout  *TimeoutError
		crc      *CRCError
		mismatch *MismatchError
		busy     *BusyError
	)
	switch {
	case errors.As(err, &timeout):
		t.stats.Timeouts++
	case errors.As(err, &crc):
		t.stats.CRCErrors++
	case errors.As(err, &busy):
		t.stats.LineBusy++
	case errors.As(err, &mismatch):
		t.stats.Mismatches++
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("modbus request: %w", err)
	}
	return err
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
