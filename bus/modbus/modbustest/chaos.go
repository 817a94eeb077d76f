package modbustest

import (
	"bytes"
	"math/rand/v2"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// Chaos answers for units on a line on which everything goes wrong at once:
// each unit has quick and slow phases of its own, replies are lost, damaged,
// cut, doubled, late, behind noise or echoes, and another master asks. A unit
// answers in order, so what is late holds up what comes after it. All of it
// is by chance, and the same for the same seed.
type Chaos struct {
	// Reply is the right reply, or the refusal, to a request.
	Reply func(request []byte) []byte
	// Faults is how many of 16 exchanges are disturbed, up to 12.
	Faults int
	// Until ends all faults and slow phases; zero means never.
	Until time.Time
	// Foreign is where another master reads, one or two registers.
	Foreign uint16

	rnd   *rand.Rand
	units map[byte]*chaosUnit
}

type chaosUnit struct {
	free   time.Time // it has sent all it owes by then
	change time.Time // the phase ends
	slow   bool
	quick  time.Duration // answers take up to this in a quick phase
	by     time.Duration // and this long at least in a slow one
}

// NewChaos returns one with three of four exchanges disturbed.
func NewChaos(seed uint64, reply func(request []byte) []byte) *Chaos {
	return &Chaos{Reply: reply, Faults: 12, Foreign: 500, rnd: rand.New(rand.NewPCG(seed, 7)), units: map[byte]*chaosUnit{}}
}

func (c *Chaos) upTo(d time.Duration) time.Duration {
	return time.Duration(c.rnd.Int64N(int64(d/time.Millisecond))) * time.Millisecond
}

func (c *Chaos) unit(id byte, now time.Time) *chaosUnit {
	u := c.units[id]
	if u == nil {
		u = &chaosUnit{quick: 5*time.Millisecond + c.upTo(150*time.Millisecond), slow: true, change: now}
		c.units[id] = u
	}
	for !now.Before(u.change) {
		u.slow = !u.slow
		u.by = 200*time.Millisecond + c.upTo(1300*time.Millisecond)
		u.change = u.change.Add(time.Second + c.upTo(9*time.Second))
	}
	return u
}

// Answer is for [Serve].
func (c *Chaos) Answer(_ int, q []byte) (steps []Step) {
	now := time.Now()
	u := c.unit(q[0], now)
	reply := c.Reply(q)
	think := 2*time.Millisecond + c.upTo(u.quick)
	send := func(p ...[]byte) {
		at := max(think, u.free.Sub(now)+2*time.Millisecond)
		u.free = now.Add(at)
		steps = append(steps, Step{At: at, Send: bytes.Join(p, nil)})
	}
	if !c.Until.IsZero() && now.After(c.Until) {
		send(reply)
		return steps
	}
	if u.slow {
		think = u.by + c.upTo(100*time.Millisecond)
	}
	fault := c.rnd.IntN(16)
	if fault >= c.Faults {
		send(reply)
		return steps
	}
	if c.rnd.IntN(8) == 0 {
		think = c.upTo(2200 * time.Millisecond)
	}
	c.disturb(c.rnd.IntN(12), q, reply, &think, send)
	return steps
}

func (c *Chaos) disturb(fault int, q, reply []byte, think *time.Duration, send func(...[]byte)) {
	switch fault {
	case 0: // no reply
	case 1:
		send(Damaged(reply))
	case 2:
		send(reply[:1+c.rnd.IntN(len(reply)-1)])
	case 3:
		send(q)
		send(reply)
	case 4:
		send(Damaged(q), reply)
	case 5:
		send(c.noise(), reply)
	case 6:
		send(reply, reply)
	case 7: // a copy, soon
		send(reply)
		*think += c.upTo(45 * time.Millisecond)
		send(reply)
	case 8: // busy, or works on it, or has failed
		send(Exception(q, 4+byte(c.rnd.IntN(3))))
	case 9:
		other := bytes.Clone(reply)
		other[0] = 9
		send(rtu.AppendCRC(other[:len(other)-2]))
		*think += 5 * time.Millisecond
		send(reply)
	case 10: // byte by byte
		for i := range reply {
			send(reply[i : i+1])
			*think += c.upTo(30 * time.Millisecond)
		}
	case 11: // another master asks, and is answered
		send(reply)
		*think += c.upTo(20 * time.Millisecond)
		other := rtu.AppendReadRequest(nil, q[0], q[1], c.Foreign+uint16(c.rnd.IntN(100)), uint16(1+c.rnd.IntN(2)))
		send(other)
		*think += 5*time.Millisecond + c.upTo(200*time.Millisecond)
		send(c.Reply(other))
	}
}

func (c *Chaos) noise() []byte {
	p := make([]byte, c.rnd.IntN(12))
	for i := range p {
		p[i] = byte(c.rnd.Uint32())
	}
	return p
}

// Damaged is a copy of a frame with a bit of it wrong.
func Damaged(frame []byte) []byte {
	p := bytes.Clone(frame)
	p[len(p)-3] ^= 0x10
	return p
}
