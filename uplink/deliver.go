package uplink

import (
	"context"
	"errors"
	"time"
)

// limit is how large topic and payload of a message may be together; 0: any.
func (s *session) limit() int {
	limit := s.u.suspect.limit
	if packet := s.pub.limits().packet; packet > 0 {
		if most := max(packet-overhead, 1); limit == 0 || most < limit {
			limit = most
		}
	}
	if s.u.cfg.Compress != CompressNone && limit > 0 {
		limit = max(limit-slack, 1)
	}
	return limit
}

// judge takes account of how the session ended, and parks the message that is
// found to be the cause.
func (s *session) judge(e *Error) error {
	t := trace{proved: s.proved, trial: s.trial, births: s.u.cfg.Birth != nil}
	for i := range s.count {
		if f := s.ring[(s.head+i)%len(s.ring)]; f.queue {
			t.sent, t.head, t.size = true, f.msg, size(f.msg)
			t.after = s.u.now().Sub(f.at)
			break
		}
	}
	before := s.u.suspect.limit
	verdict := s.u.suspect.ended(e, t)
	if after := s.u.suspect.limit; after != before {
		s.u.log.Warn("uplink makes messages smaller, as they do not get through", "bytes", after)
	}
	switch verdict {
	case condemn:
		s.park(t.head, e.Reason.String())
	case forbidden:
		return reasonError(ReasonDenied, e)
	}
	return e
}

// park gives a message up.
func (s *session) park(m Message, reason string) {
	s.u.refused.Add(1)
	s.u.log.Error("the broker will never take a message; it is given up", "server", s.server,
		"topic", m.Topic, "bytes", len(m.Payload), "reason", reason)
	s.u.queue.Refused(m, reason)
}

// deliver returns nil when ctx has ended.
func (s *session) deliver(ctx context.Context) error {
	births, err := s.births(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	s.u.accepts(s.server, s.u.cfg.Verify && len(births) > 0)
	if control := s.u.suspect.control; control > 0 {
		if ok, err := s.try(ctx, control, births); !ok {
			return err
		}
	}
	for {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return err
		}
		if r := s.u.news.Swap(nil); r != nil {
			s.send(Message{Topic: r.Topic, Payload: r.Payload}, true, false)
			continue
		}
		if err := s.one(ctx); err != nil && !errors.Is(err, errWanted) {
			return err
		}
	}
}

// one takes a message from the queue and sends it.
func (s *session) one(ctx context.Context) error {
	m, err := s.next(ctx)
	if err != nil {
		return err
	}
	if packet := s.pub.limits().packet; packet > 0 && s.packedSize(m) > packet-overhead {
		// It would cost the connection. Refused in order: all before it first.
		for s.count > 0 {
			if ok, err := s.waitSettled(ctx); !ok {
				return err
			}
		}
		s.park(m, ReasonTooLarge.String())
		return nil
	}
	s.send(m, false, true)
	return nil
}

// packedSize is size as it goes out.
func (s *session) packedSize(m Message) int {
	if s.largest == 0 || size(m) <= s.largest || s.u.cfg.Compress == CompressNone {
		return size(m)
	}
	p := s.u.encode(m)
	return len(p.topic) + len(p.payload)
}

// waitSettled waits for something to be settled.
func (s *session) waitSettled(ctx context.Context) (bool, error) {
	s.collect()
	if s.count == 0 {
		return true, nil
	}
	select {
	case <-s.signal:
		s.collect()
		return true, nil
	case <-s.failed:
		return false, s.failure
	case <-ctx.Done():
		return false, errWanted
	}
}

var errNotSeen = errors.New("its own message did not come back; the broker's access rules do not allow it to be published, or not to be read")

// births publishes the births, and waits for the first of them to be let
// through if that is to be verified.
func (s *session) births(ctx context.Context) ([]Retained, error) {
	if s.u.cfg.Birth == nil {
		return nil, nil
	}
	s.u.news.Store(nil)
	births := s.u.cfg.Birth()
	var back <-chan error
	for i, r := range births {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return births, err
		}
		if i == 0 && s.u.cfg.Verify {
			back = s.pub.confirm(packet{topic: r.Topic, payload: r.Payload, retained: true})
		}
		s.send(Message{Topic: r.Topic, Payload: r.Payload}, true, false)
	}
	if !s.u.cfg.Verify || len(births) == 0 {
		return births, nil
	}
	limit := time.NewTimer(s.u.time.confirm)
	defer limit.Stop()
	for {
		s.collect()
		if back == nil && s.taken > 0 {
			return births, nil
		}
		select {
		case err := <-back:
			if err != nil {
				s.u.report.unverified(s.server, err)
			}
			return births, nil
		case <-s.signal:
		case <-s.failed:
			return births, s.unconfirmed()
		case <-ctx.Done():
			return births, nil
		case <-limit.C:
			return births, reasonError(ReasonDenied, errNotSeen)
		}
	}
}

// unconfirmed is why the connection ended before the first birth was
// confirmed. Some brokers (mosquitto 2.0.11 for one) acknowledge what access
// rules forbid, and then hang up.
func (s *session) unconfirmed() error {
	s.collect()
	var e *Error
	if s.taken > 0 && errors.As(s.failure, &e) && e.Reason == ReasonLost {
		return reasonError(ReasonDenied, e)
	}
	return s.failure
}

// try is a trial, see suspect: the births alone for a while, then one message
// alone. It returns true when the message was settled.
func (s *session) try(ctx context.Context, control time.Duration, births []Retained) (bool, error) {
	s.trial = inControl
	pause := time.NewTimer(control)
	defer pause.Stop()
	for waiting := true; waiting; {
		s.collect()
		select {
		case <-pause.C:
			waiting = false
		case <-s.signal:
		case <-s.failed:
			return false, s.failure
		case <-ctx.Done():
			return false, nil
		}
	}
	for _, r := range births[:min(1, len(births))] { // once more, to see that the connection lives
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return false, err
		}
		s.send(Message{Topic: r.Topic, Payload: r.Payload}, true, false)
	}
	for s.count > 0 {
		if ok, err := s.waitSettled(ctx); !ok {
			return false, clean(err)
		}
	}
	s.trial = inTest
	for s.count == 0 && !s.proved {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return false, err
		}
		if err := s.one(ctx); err != nil && !errors.Is(err, errWanted) {
			return false, err
		}
	}
	for s.count > 0 {
		if ok, err := s.waitSettled(ctx); !ok {
			return false, clean(err)
		}
	}
	s.trial = noTrial
	return true, nil
}

// clean is nil for the end of the context.
func clean(err error) error {
	if errors.Is(err, errWanted) {
		return nil
	}
	return err
}
