package uplink

import (
	"cmp"
	"context"
	"errors"
	"time"

	"fieldferry/uplink/mqtt"
)

// limit is how large topic and payload of a message may be together; 0: any.
func (s *session) limit() int {
	limit := s.u.suspect.limit
	if packet := s.pub.Limits().Packet; packet > 0 {
		if most := max(packet-mqtt.Overhead, 1); limit == 0 || most < limit {
			limit = most
		}
	}
	if s.u.cfg.Compress != CompressNone && limit > 0 {
		limit = max(limit-slack, 1)
	}
	return limit
}

// judge takes account of how the session ended, and hands back the message
// that is found to be the cause.
func (s *session) judge(e *Error) {
	t := trace{trial: s.trial, births: s.u.cfg.Birth != nil}
	for i := range s.count {
		if f := s.ring[(s.head+i)%len(s.ring)]; f.queue && !s.topics.has(f.msg.Topic) {
			t.sent, t.head, t.size = true, f.msg, size(f.msg)
			t.after = s.u.now().Sub(f.at)
			break
		}
	}
	s.judgeAbout(e)
	before := s.u.suspect.limit
	condemned := s.u.suspect.ended(e, t)
	if after := s.u.suspect.limit; after != before {
		s.u.log.Warn("uplink makes messages smaller, as they do not get through", "bytes", after)
	}
	if condemned {
		s.reject(t.head, Verdict{Reason: "connections end with it: " + e.Reason.String(), Ended: true})
	}
}

// deliver returns nil when ctx has ended.
func (s *session) deliver(ctx context.Context, fits bool) error {
	births, err := s.tellOfItself(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if len(births) == 0 && !fits {
		return mqtt.NewError(ReasonDenied, errNothingFits)
	}
	s.u.accepts(s.server, s.verified)
	if control := s.u.suspect.control; control > 0 {
		if ok, err := s.try(ctx, control, births); !ok {
			return err
		}
	}
	s.wantAll()
	for {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return err
		}
		if len(s.wants) > 0 {
			s.subscribe()
			continue
		}
		if news := s.u.news.Swap(nil); news != nil {
			s.announce(*news)
			continue
		}
		if s.said() {
			continue
		}
		if _, err := s.one(ctx); err != nil && !errors.Is(err, errWanted) {
			return err
		}
	}
}

// one takes a message from the queue and sends it.
func (s *session) one(ctx context.Context) (Message, error) {
	m, err := s.next(ctx)
	if err != nil {
		return m, err
	}
	if packet := s.pub.Limits().Packet; packet > 0 && s.packedSize(m) > packet-mqtt.Overhead {
		// It would cost the connection. Refused in order: all before it first.
		for s.count > 0 {
			if ok, err := s.waitSettled(ctx); !ok {
				return m, err
			}
		}
		s.reject(m, Verdict{Reason: ReasonTooLarge.String(), Final: true})
		return m, nil
	}
	p := s.u.encode(m)
	pr, ok, err := s.prove(ctx, p)
	if !ok {
		return m, cmp.Or(err, errWanted)
	}
	s.publish(m, p, pr, true)
	return m, nil
}

// packedSize is size as it goes out.
func (s *session) packedSize(m Message) int {
	if s.largest == 0 || size(m) <= s.largest || s.u.cfg.Compress == CompressNone {
		return size(m)
	}
	p := s.u.encode(m)
	return len(p.Topic) + len(p.Payload)
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

var errNothingFits = errors.New("its largest packet is smaller than anything there is to say")

// try is a trial, see suspect: the births alone for a while, then one message
// alone. It returns true when the message was settled.
func (s *session) try(ctx context.Context, control time.Duration, births []Message) (bool, error) {
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
	for _, m := range births[:min(1, len(births))] { // once more, to see that the connection lives
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return false, err
		}
		s.say(m, nil)
	}
	for s.count > 0 {
		if ok, err := s.waitSettled(ctx); !ok {
			return false, clean(err)
		}
	}
	s.trial = inTest
	for range trialMessages {
		m, ok, err := s.alone(ctx)
		if !ok {
			return false, err
		}
		if topic := s.u.suspect.topic; topic == "" || m.Topic == topic {
			break
		}
	}
	s.u.suspect.acquit()
	s.trial = noTrial
	return true, nil
}

// alone sends one message of the queue and waits until it is settled. It
// returns false at the end of the session.
func (s *session) alone(ctx context.Context) (Message, bool, error) {
	settled := s.taken
	var m Message
	for s.count == 0 && s.taken == settled {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return m, false, err
		}
		var err error
		if m, err = s.one(ctx); err != nil && !errors.Is(err, errWanted) {
			return m, false, err
		}
		if m.Topic != "" {
			break
		}
	}
	for s.count > 0 {
		if ok, err := s.waitSettled(ctx); !ok {
			return m, false, clean(err)
		}
	}
	return m, true, nil
}

// clean is nil for the end of the context.
func clean(err error) error {
	if errors.Is(err, errWanted) {
		return nil
	}
	return err
}
