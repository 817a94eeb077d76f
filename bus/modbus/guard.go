package modbus

import (
	"errors"
	"fmt"
	"time"

	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/permit"
)

// Guard is what has to hold so that an order writes. It is read on the line just
// before; what cannot be read does not hold.
type Guard struct {
	Query Query // of the same unit
	Holds func(words []uint16) error
}

func tableOf(s *permit.RegisterScope) Table {
	if s.Coil {
		return Coil
	}
	return Holding
}

// registers are those of the order, as one asks for them.
func (o *order) registers() Query {
	s := &o.scope
	return Query{Unit: s.Unit, Table: tableOf(s), Address: s.Address, Count: s.Count}
}

// holdOf is how long an order's next request must wait for late replies that
// could be taken for its own.
func (l *Line) holdOf(o *order) (wait time.Duration) {
	s := &o.scope
	read := func(q Query) time.Duration {
		return l.wire.Hold(s.Unit, q.Table.Function(), q.Address, uint16(q.Count))
	}
	if o.stage < checking {
		wait = l.wire.Hold(s.Unit, l.functionFor(s), s.Address, uint16(s.Count))
	}
	if o.stage <= guarding && o.Guard != nil && o.tries == 0 {
		wait = max(wait, read(o.Guard.Query))
	}
	if (o.stage == checking || o.stage < writing && o.Before) && o.tries == 0 {
		wait = max(wait, read(o.registers()))
	}
	return wait
}

// readHeld reads what has to hold, or what the registers hold before the write.
func (l *Line) readHeld(o *order) (next bool, fatal error) {
	if k := l.deviceOf(o.scope.Unit); k >= 0 && l.devices[k].offline {
		o.end(ErrOffline)
		return false, nil
	}
	words, wait, again, err := l.look(o, l.cfg.Retries)
	switch {
	case again:
		l.putBack(o, wait)
		return false, nil
	case err != nil:
		o.end(fmt.Errorf("not written, since reading before failed: %w", err))
		return false, ifLost(err)
	}
	if o.stage == guarding {
		if err := o.Guard.Holds(words); err != nil {
			o.end(err)
			return false, nil
		}
		o.held()
		return true, nil
	}
	o.got.Held, o.stage, o.tries, o.patience = words, writing, 0, 0
	return true, nil
}

// held goes to what comes behind the guard.
func (o *order) held() {
	if o.stage, o.tries, o.patience = writing, 0, 0; o.Before {
		o.stage = reading
	}
}

// look asks for the registers of an order once. again says that it is worth
// another try, after wait.
func (l *Line) look(o *order, retries int) (words []uint16, wait time.Duration, again bool, err error) {
	q := o.registers()
	if o.stage == guarding {
		q = o.Guard.Query
	}
	words, err = l.ask(q, o.tries > 0)
	var exception *rtu.ExceptionError
	refused := errors.As(err, &exception)
	switch {
	case err == nil, isPortLost(err):
	case refused && exception.Code == 5 && o.patience < mostPatience:
		o.patience++
		return nil, acknowledged, true, err
	case (!refused || exception.Doubtful) && o.tries < retries:
		o.tries++
		return nil, 0, true, err
	}
	return words, 0, false, err
}
