package uplink

import (
	"context"
	"errors"
	"time"

	"fieldferry/uplink/mqtt"
)

// about is what was learned of the messages in which the client speaks of
// itself: the births, and what is announced. Nothing about them may hold up
// the queue. It belongs to the goroutine of Run and outlives connections.
//
// A connection that ends before such a message is answered makes the next one
// careful: there they go one at a time, before anything of the queue. What a
// careful connection ends with is made smaller, or left out for a while. A topic
// that was answered on the connection is not to blame for its end: a broker that
// is restarted a few times always leaves something unanswered.
type about struct {
	careful bool
	limit   int // bytes of topic and payload; 0: none
	cut     time.Time
	muted   map[string]time.Time // topics that are left out, until when
}

const (
	smallestBirth = 256              // bytes; what is smaller is not refused for its size
	muteTime      = 10 * time.Minute // how long it is left out
	cutTime       = time.Hour        // after this a larger one is tried
)

// within is how large one may be when the broker has announced a limit.
func (a *about) within(announced int, now time.Time) int {
	if a.limit > 0 && now.Sub(a.cut) >= cutTime {
		a.limit, a.cut = 2*a.limit, now
	}
	if a.limit == 0 || announced > 0 && announced < a.limit {
		return announced
	}
	return a.limit
}

// isMuted says whether messages to a topic are left out.
func (a *about) isMuted(topic string, now time.Time) bool {
	until, is := a.muted[topic]
	if is && !now.Before(until) {
		delete(a.muted, topic)
		is = false
	}
	return is
}

func (a *about) mute(topic string, now time.Time) {
	if a.muted == nil {
		a.muted = map[string]time.Time{}
	}
	a.muted[topic] = now.Add(muteTime)
}

// blame takes account of a connection that ended with a message.
func (a *about) blame(m Message, now time.Time) {
	switch {
	case !a.careful:
		a.careful = true
	case size(m)/2 < smallestBirth:
		a.mute(m.Topic, now)
	default:
		a.limit, a.cut = size(m)/2, now
	}
}

// tellOfItself publishes what births gives, and waits for the first of them to
// be let through if that is to be verified.
func (s *session) tellOfItself(ctx context.Context) (births []Message, err error) {
	if s.u.cfg.Birth == nil {
		return nil, nil
	}
	s.u.news.Store(nil)
	for _, m := range s.u.cfg.Birth(s.mostAbout()) {
		if s.u.about.isMuted(m.Topic, s.u.now()) {
			continue
		}
		if !m.Expendable {
			births = append(births, m)
		}
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return births, err
		}
		if ok, err := s.sayBirth(ctx, m, len(births) == 1); !ok {
			return births, err
		}
		for s.u.about.careful && s.count > 0 {
			if ok, err := s.waitSettled(ctx); !ok {
				return births, clean(err)
			}
		}
	}
	return births, nil
}

// sayBirth publishes one of them. What is expendable shows nothing: neither that
// a connection works, nor that a topic does.
func (s *session) sayBirth(ctx context.Context, m Message, first bool) (bool, error) {
	switch {
	case m.Expendable:
		s.say(m, nil)
		return true, nil
	case first && s.u.cfg.Verify:
		return s.sayConfirmed(ctx, m)
	}
	return s.sayProved(ctx, m)
}

// sayConfirmed publishes the first birth and waits for it to be let through.
func (s *session) sayConfirmed(ctx context.Context, m Message) (bool, error) {
	back := s.pub.Confirm(m.packet())
	if back == nil {
		s.say(m, nil)
		return true, nil
	}
	s.slot = false
	if ok, err := s.await(ctx.Done(), nil); !ok {
		return false, err
	}
	s.say(m, nil)
	err := s.confirmed(ctx, back)
	return err == nil, err
}

// sayProved publishes another one.
func (s *session) sayProved(ctx context.Context, m Message) (bool, error) {
	pr, ok, err := s.prove(ctx, m.packet())
	if ok {
		s.say(m, pr)
	}
	return ok, err
}

// mostAbout is how large a message of the client about itself may be; 0: any.
func (s *session) mostAbout() int {
	announced := 0
	if packet := s.pub.Limits().Packet; packet > 0 {
		announced = max(packet-mqtt.Overhead, 1)
	}
	return s.u.about.within(announced, s.u.now())
}

// announce publishes news.
func (s *session) announce(news func(most int) Message) {
	if m := news(s.mostAbout()); m.Topic != "" && !s.u.about.isMuted(m.Topic, s.u.now()) {
		s.say(m, nil)
	}
}

// judgeAbout takes account of how a session ended whose messages about itself
// were not all taken.
func (s *session) judgeAbout(e *Error) {
	a, now := &s.u.about, s.u.now()
	switch {
	case s.count > 0 && !s.ring[s.head].queue && endsConnections(e.Reason):
		m := s.ring[s.head].msg
		if s.topics.has(m.Topic) {
			return
		}
		if m.Expendable && a.careful {
			s.u.obs.Dropped(m.Topic, reasonEnded)
			return
		}
		a.blame(m, now)
		if a.isMuted(m.Topic, now) {
			s.u.obs.Announced(m.Topic, reasonEnded)
		}
	case s.mute != "" && !s.works: // refused, and the connection with it
		a.mute(s.mute, now)
	case s.proved:
		a.careful = false
	}
}

const reasonEnded = "the connection ends with it"

// confirmed waits for a birth to come back.
func (s *session) confirmed(ctx context.Context, back <-chan error) error {
	limit := time.NewTimer(s.u.time.Confirm)
	defer limit.Stop()
	for {
		s.collect()
		select {
		case err := <-back:
			s.verified = true
			if err != nil {
				s.u.report.unverified(s.server, err)
			}
			return nil
		case <-s.signal:
		case <-s.failed:
			return s.unconfirmed()
		case <-ctx.Done():
			return nil
		case <-limit.C:
			return mqtt.NewError(ReasonDenied, errNotSeen)
		}
	}
}

var errNotSeen = errors.New("its own message did not come back; the broker's access rules do not allow it to be published, or not to be read")

// unconfirmed is why the connection ended before the first birth was
// confirmed. Some brokers (mosquitto 2.0.11 for one) acknowledge what access
// rules forbid, and then hang up.
func (s *session) unconfirmed() error {
	s.collect()
	var e *Error
	if s.taken > 0 && errors.As(s.failure, &e) && e.Reason == ReasonLost {
		return mqtt.NewError(ReasonDenied, e)
	}
	return s.failure
}
