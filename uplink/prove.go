package uplink

import (
	"context"
	"errors"
	"time"

	"fieldferry/uplink/mqtt"
)

// proofs is what is known of the topics that Config.VerifyTopics looks at. It
// belongs to the goroutine of Run and outlives connections.
type proofs struct {
	next     map[string]time.Time // by topic, when a proof is of use again; at most maxTopics
	cut      map[string]int       // how often in a row the connection ended between acknowledgement and echo
	unproved map[string]bool      // named as such; the empty one stands for all others
	rest     rest
}

// rest keeps from subscribing again and again with a broker that ends the
// connection of who does.
type rest struct {
	strikes int       // connections in a row that ended and had answered no subscription
	until   time.Time // no subscriptions before that
}

const (
	maxProofs   = 16 // at a time: brokers have limits for subscriptions
	enoughCuts  = 2
	longestRest = 24 * time.Hour
)

func newProofs() proofs {
	return proofs{next: map[string]time.Time{}, cut: map[string]int{}, unproved: map[string]bool{}}
}

// due says whether a topic may be looked at now.
func (x *proofs) due(topic string, now time.Time) bool {
	return !now.Before(x.rest.until) && !now.Before(x.next[topic])
}

// room says whether one more topic can be remembered, and makes room for it.
func (x *proofs) room(topic string, now time.Time) bool {
	if _, known := x.next[topic]; known || len(x.next) < maxTopics {
		return true
	}
	for t, at := range x.next {
		if !now.Before(at) && !x.unproved[t] {
			delete(x.next, t)
		}
	}
	return len(x.next) < maxTopics
}

// strike is called for such a connection: the first costs a pause, as the broker
// may have been stopped just then, further ones sixty times as much and more. It
// says whether that is what this broker does.
func (r *rest) strike(now time.Time, pause time.Duration) bool {
	r.strikes++
	if r.strikes > 1 {
		pause = min(60*pause<<min(r.strikes-2, 8), longestRest)
	}
	r.until = now.Add(pause)
	return r.strikes > 1
}

// proving is a proof under way.
type proving struct {
	*mqtt.Proof
	message mqtt.Token
}

// wantsProof says whether a topic is to be proved now.
func (s *session) wantsProof(topic string) bool {
	if !s.u.cfg.VerifyTopics || s.trial != noTrial || s.u.about.careful || s.examined[topic] || len(s.proving) >= maxProofs {
		return false
	}
	now := s.u.now()
	if _, is := s.proving[topic]; is || !s.u.proofs.due(topic, now) {
		return false
	}
	if len(s.examined) >= maxTopics || !s.u.proofs.room(topic, now) {
		s.u.named("", errProofMany)
		return false
	}
	return true
}

// prove subscribes to the topic of p, if it is to be proved now. It returns
// false when the session has ended meanwhile.
func (s *session) prove(ctx context.Context, p mqtt.Packet) (*mqtt.Proof, bool, error) {
	if !s.wantsProof(p.Topic) {
		return nil, true, nil
	}
	pr := s.pub.Prove(p, func(why error) { s.later(func() { s.proofEnds(p.Topic, why) }) })
	if pr == nil { // the acknowledgement says it
		return nil, true, nil
	}
	s.slot = false
	s.proving[p.Topic] = &proving{Proof: pr}
	ok, err := s.await(ctx.Done(), nil)
	return pr, ok, err
}

// proofEnds takes account of a proof that has ended.
func (s *session) proofEnds(topic string, why error) {
	delete(s.proving, topic)
	if why != mqtt.ErrProofSilent { //nolint:errorlint // it is never wrapped
		s.answered = true
		s.u.subscribed()
	}
	s.judgeProof(topic, why)
}

func (s *session) judgeProof(topic string, why error) {
	x := &s.u.proofs
	x.next[topic] = s.u.now().Add(s.u.time.prove)
	delete(x.cut, topic)
	switch {
	case why == mqtt.ErrProofOpen: //nolint:errorlint // it is never wrapped
		return
	case why == nil:
		s.examined[topic] = true
	}
	s.u.named(topic, why)
}

// subscribed notes that the broker has answered a subscription.
func (u *Uplink) subscribed() {
	if u.proofs.rest.strikes > 1 {
		u.named("", nil)
	}
	u.proofs.rest.strikes = 0
}

// named reports a topic that is not proved, or is now.
func (u *Uplink) named(topic string, why error) {
	x := &u.proofs
	switch {
	case why == nil && x.unproved[topic]:
		delete(x.unproved, topic)
		u.log.Info("messages to the topic get through", "topic", topic)
		u.obs.Unproved(topic, "")
	case why != nil && !x.unproved[topic]:
		x.unproved[topic] = true
		u.log.Warn("it is not proved that messages to the topic get through; they are sent all the same", "topic", topic, "error", why)
		u.obs.Unproved(topic, why.Error())
	}
}

// judgeCutProofs takes account of the proofs that were under way when the
// session ended with e.
func (s *session) judgeCutProofs(e *Error) {
	if len(s.proving) == 0 || !endsConnections(e.Reason) {
		return
	}
	x, now := &s.u.proofs, s.u.now()
	for topic, p := range s.proving {
		switch {
		case !mqtt.Succeeded(p.Asked):
			x.next[topic] = now.Add(s.u.time.prove)
		case p.message != nil && mqtt.Succeeded(p.message):
			s.answered = true
			// mosquitto 2.0.11 often hangs up on who sent what it denies.
			if x.cut[topic]++; x.cut[topic] >= enoughCuts || len(x.cut) > maxTopics {
				s.judgeProof(topic, errProofCut)
			}
		default:
			s.answered = true
		}
	}
	if !s.answered && x.rest.strike(now, s.u.time.rest) {
		s.u.named("", errProofEnds)
	}
}

var (
	errProofCut  = errors.New("the first message was acknowledged, and the connection ended before it came back, twice in a row")
	errProofMany = errors.New("there are more topics than are looked at")
	errProofEnds = errors.New("connections end with the subscription that would show it")
)
