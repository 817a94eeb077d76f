package uplink

import "time"

// bucket limits a rate: it gives when its level is not negative, may then fall
// below, and has to fill up again. So one message may be larger than what
// flows in a second.
type bucket struct {
	rate  float64 // a second; 0: no limit
	level float64
	last  time.Time
}

// wait is how long it takes until the bucket gives; 0: it does now.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	if !b.last.IsZero() {
		b.level = min(b.level+now.Sub(b.last).Seconds()*b.rate, b.rate) // what flows in a second may come at once
	}
	b.last = now
	if b.level >= 0 {
		return 0
	}
	return time.Duration(-b.level/b.rate*float64(time.Second)) + time.Millisecond
}

func (b *bucket) take(n int) { b.level -= float64(n) }

// pace keeps to the rates of the configuration. It outlives connections and
// belongs to the goroutine of Run.
type pace struct {
	bytes    bucket
	messages bucket
}

// perMessage is what a message costs on the line beside topic and payload:
// the headers of MQTT, and of TCP and IP for it and its acknowledgement.
const perMessage = 9 + 4 + 2*40

func newPace(cfg *Config) pace {
	return pace{
		bytes:    bucket{rate: float64(cfg.MaxRate)},
		messages: bucket{rate: float64(cfg.MaxMessages)},
	}
}

func (p *pace) wait(now time.Time) time.Duration {
	return max(p.bytes.wait(now), p.messages.wait(now))
}

func (p *pace) took(topic string, payload []byte) {
	if p.bytes.rate > 0 {
		p.bytes.take(len(topic) + len(payload) + perMessage)
	}
	if p.messages.rate > 0 {
		p.messages.take(1)
	}
}
