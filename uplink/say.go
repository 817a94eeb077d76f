package uplink

import "fieldferry/uplink/mqtt"

// maxSaid is how many messages beside the queue may wait to be sent.
const maxSaid = 64

// Say publishes a message beside the queue, before what waits in it, on the
// connection there is. It reports whether there was one, with room: nothing is
// kept for the next connection, and nothing says whether the broker took it. It
// may be called at any time from any goroutine and does not wait.
func (u *Uplink) Say(m Message) bool {
	s := u.present.Load()
	if s == nil || ValidateTopic(m.Topic) != nil {
		return false
	}
	s.mu.Lock()
	room := len(s.says) < maxSaid
	if room {
		s.says = append(s.says, m)
	}
	s.mu.Unlock()
	if room {
		s.call()
	}
	return room
}

// said sends the next of what is to be said, and reports whether there was
// something; await has returned true before.
func (s *session) said() bool {
	s.mu.Lock()
	if len(s.says) == 0 {
		s.mu.Unlock()
		return false
	}
	m := s.says[0]
	s.says[0] = Message{}
	s.says = s.says[1:]
	s.mu.Unlock()
	packet := s.pub.Limits().Packet
	if packet > 0 && size(m)+propertySize(m.Properties) > packet-mqtt.Overhead || s.u.about.isMuted(m.Topic, s.u.now()) {
		s.u.log.Debug("a message is left out: the broker does not take it", "topic", m.Topic, "bytes", len(m.Payload))
		return true
	}
	s.say(m, nil)
	return true
}

// propertySize is at most what properties take.
func propertySize(p *Properties) int {
	if p == nil {
		return 0
	}
	n := 32 + len(p.ContentType) + len(p.ResponseTopic) + len(p.Correlation)
	for _, kv := range p.User {
		n += 5 + len(kv[0]) + len(kv[1])
	}
	return n
}
