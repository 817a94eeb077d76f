package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/modbus/tcp"
)

// Try is one question with the port set in another way.
type Try struct {
	BaudRate int
	Parity   byte // 'N', 'E' or 'O'
	StopBits int
	Unit     uint8
}

func (t *Try) mode() rtu.Mode {
	return rtu.Mode{BaudRate: t.BaudRate, DataBits: 8, Parity: t.Parity, StopBits: t.StopBits}
}

// Tried is what came of it.
type Tried struct {
	_ [0]func() // nobody compares them: saves the code for it

	Try
	Took time.Duration
	Err  error // nil, or a unit's refusal, *[rtu.ExceptionError]: somebody is there
}

// How much one call of [Line.Find] may take of a line.
const (
	MostTries = 128
	lendTime  = 2 * time.Minute
)

// The errors of [Line.Find] when nothing was asked.
var (
	ErrNoSettings = errors.New("a line on the network has no baud rate and no parity")
	errTries      = fmt.Errorf("give 1 to %d tries", MostTries)
)

// Find asks units for one holding register each, with the port set in other
// ways, to find out how a line is set. It calls each with what came of every try.
//
// Meanwhile the line is not polled: [Stats.Lent] says so, and the polls that are
// left out are in no record. Afterwards, also when ctx ends, after two minutes at
// most, the port is as configured again, and polling starts anew. Nothing but
// reading requests go out.
func (l *Line) Find(ctx context.Context, tries []Try, each func(Tried)) error {
	switch {
	case l.link.network:
		return ErrNoSettings
	case len(tries) == 0 || len(tries) > MostTries:
		return errTries
	}
	ctx, cancel := context.WithTimeout(ctx, lendTime)
	defer cancel()
	s := &oneShot{ctx: ctx, done: make(chan oneShotResult, 1)}
	var fault error
	s.lend = func() (lost error) { fault, lost = l.lend(ctx, tries, each); return lost }
	if err := l.enqueue(s); err != nil {
		return err
	}
	err := (<-s.done).err // the line gives it soon after ctx has ended, or dismisses it
	return errors.Join(fault, err)
}

// lend is [Line.Find] on the goroutine of Run. fault is why a try could not be
// made; lost means that the port is lost.
func (l *Line) lend(ctx context.Context, tries []Try, each func(Tried)) (fault, lost error) {
	if ctx.Err() != nil {
		return nil, nil // it waited for too long
	}
	l.count(func(s *Stats) { s.Lent = true })
	defer l.count(func(s *Stats) { s.Lent = false })
	l.log.Info("polls are paused: the settings of the line are being looked for", "port", l.cfg.Port)
	l.disconnect()
	for i := 0; i < len(tries) && ctx.Err() == nil && l.ctx.Err() == nil; {
		n := i + 1
		for n < len(tries) && tries[n].mode() == tries[i].mode() {
			n++
		}
		if fault = l.askIn(ctx, tries[i:n], each); fault != nil {
			break
		}
		i = n
	}
	if lost = l.connect(); lost == nil {
		lost = l.wire.Listen(l.ctx, l.cfg.Timeout) // a unit that is late answers into this
	}
	l.schedule(time.Now())
	l.pace.restart()
	l.log.Info("the line is polled again", "port", l.cfg.Port)
	return fault, lost
}

// askIn asks units in one mode.
func (l *Line) askIn(ctx context.Context, tries []Try, each func(Tried)) error {
	mode := tries[0].mode()
	port, err := l.openIn(ctx, mode)
	if err != nil {
		return err
	}
	defer port.Close()
	stop := context.AfterFunc(l.ctx, func() { port.Close() })
	defer stop()
	endpoint := Endpoint{Framing: Serial}
	master := endpoint.NewMaster(rtu.Config{Mode: mode, Timeout: l.cfg.Timeout, Turnaround: l.cfg.Turnaround}, tcp.Options{})
	master.Attach(port)
	for _, t := range tries {
		begin := time.Now()
		_, err := master.SendContext(ctx, rtu.AppendReadRequest(nil, t.Unit, Holding.Function(), 0, 1))
		if ctx.Err() != nil || l.ctx.Err() != nil {
			return nil
		}
		if isPortLost(err) {
			return err
		}
		each(Tried{Try: t, Took: time.Since(begin), Err: err})
	}
	return nil
}
