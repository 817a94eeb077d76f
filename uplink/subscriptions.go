package uplink

import (
	"errors"
	"time"

	"fieldferry/uplink/mqtt"
)

var errSubscribeEnds = errors.New("connections end with the subscription")

// later does something in the goroutine of run. It may be called from any.
func (s *session) later(f func()) {
	s.mu.Lock()
	s.told = append(s.told, f)
	s.mu.Unlock()
	s.call()
}

// call lets run look at what others have left for it.
func (s *session) call() {
	s.pending.Add(1)
	signal(s.signal)
	s.rouse()
}

func (s *session) doLater() {
	if s.pending.Swap(0) == 0 {
		return
	}
	s.mu.Lock()
	told := s.told
	s.told = nil
	s.mu.Unlock()
	for _, f := range told {
		f()
	}
}

// wantAll notes what is to be subscribed to on this connection.
func (s *session) wantAll() {
	for i := range s.u.cfg.Subscriptions {
		s.want(&s.u.cfg.Subscriptions[i], s.u.unwelcome.until.Sub(s.u.now()))
	}
}

func (s *session) want(sub *Subscription, after time.Duration) {
	if after <= 0 {
		s.wants = append(s.wants, sub)
		return
	}
	s.again = append(s.again, time.AfterFunc(after, func() {
		s.later(func() { s.wants = append(s.wants, sub) })
	}))
}

// subscribe asks for the next subscription; await has returned true before.
func (s *session) subscribe() {
	sub := s.wants[0]
	s.wants = s.wants[1:]
	s.slot = false
	s.asked[sub.Filter] = s.pub.Subscribe(sub, func(why error) { s.later(func() { s.subscribed(sub, why) }) })
}

// subscribed takes account of what the broker says. What it does not grant is
// asked for again later: a rule may have changed.
func (s *session) subscribed(sub *Subscription, why error) {
	if why != mqtt.ErrSubscribeSilent { //nolint:errorlint // it is never wrapped
		s.accept = true
		s.u.unwelcome.strikes = 0
	}
	if why != nil {
		s.want(sub, s.u.time.prove)
	}
	s.u.granted(s.server, sub, why)
}

// granted reports the fate of a subscription.
func (u *Uplink) granted(server string, sub *Subscription, why error) {
	reason := ""
	switch {
	case why == nil:
		delete(u.report.refusedFilters, sub.Filter)
		u.log.Debug("subscribed", "server", server, "filter", sub.Filter)
	default:
		reason = why.Error()
		if !u.report.refusedFilters[sub.Filter] {
			u.report.refusedFilters[sub.Filter] = true
			u.log.Warn("the broker does not grant a subscription", "server", server, "filter", sub.Filter, "error", why)
		}
	}
	if sub.Granted != nil {
		sub.Granted(reason)
	}
}

// judgeSubscriptions takes account of how the session ended. Some brokers end
// the connection of who subscribes to what it may not: data goes on without.
func (s *session) judgeSubscriptions(e *Error) {
	if len(s.asked) == 0 || s.accept || !endsConnections(e.Reason) {
		return
	}
	for _, t := range s.asked {
		if mqtt.Succeeded(t) {
			return
		}
	}
	if s.u.unwelcome.strike(s.u.now(), s.u.time.rest) {
		for i := range s.u.cfg.Subscriptions {
			s.u.granted(s.server, &s.u.cfg.Subscriptions[i], errSubscribeEnds)
		}
	}
}
