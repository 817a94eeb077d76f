package modbustest

import (
	"math/rand/v2"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// Faults are what a unit does wrong, each with its probability from 0 to 1.
type Faults struct {
	_ [0]func() // nobody compares them: saves the code for it

	Silent        float64 // no reply
	Late          float64 // the reply comes LateBy later
	LateBy        time.Duration
	BadCRC        float64 // a bit is wrong
	Truncate      float64 // the reply breaks off
	WrongUnit     float64 // another unit seems to answer
	Duplicate     float64 // the reply comes twice
	Noise         float64 // some bytes before the reply
	Exception     float64 // refused with ExceptionCode
	ExceptionCode byte
	ByteGap       time.Duration // between all characters
	Echo          bool          // the request comes back first, as on two wires
}

// duplicateAfter is how much later a duplicate comes.
const duplicateAfter = 20 * time.Millisecond

// steps are what a unit with the faults does in place of sending reply.
func (f *Faults) steps(request, reply []byte, delay time.Duration, rnd *rand.Rand) (steps []Step) {
	if f.Echo {
		steps = append(steps, Step{Send: request})
	}
	hit := func(p float64) bool { return p > 0 && rnd.Float64() < p }
	if hit(f.Exception) {
		reply = Exception(request, f.ExceptionCode)
	}
	if hit(f.Silent) {
		return steps
	}
	reply = append([]byte(nil), reply...)
	if hit(f.WrongUnit) {
		reply[0] ^= 1
		reply = rtu.AppendCRC(reply[:len(reply)-2])
	}
	if hit(f.BadCRC) {
		reply[rnd.IntN(len(reply))] ^= 1 << rnd.IntN(8)
	}
	if hit(f.Truncate) {
		reply = reply[:1+rnd.IntN(len(reply)-1)]
	}
	if hit(f.Late) {
		delay += f.LateBy
	}
	duplicate := hit(f.Duplicate)
	whole := reply
	if hit(f.Noise) {
		whole = make([]byte, 1+rnd.IntN(8), 8+len(reply))
		for i := range whole {
			whole[i] = byte(rnd.Uint32())
		}
		whole = append(whole, reply...)
	}
	if f.ByteGap > 0 {
		for i := range whole {
			steps = append(steps, Step{At: delay + time.Duration(i)*f.ByteGap, Send: whole[i : i+1]})
		}
		delay += time.Duration(len(whole)) * f.ByteGap
	} else {
		steps = append(steps, Step{At: delay, Send: whole})
	}
	if duplicate {
		steps = append(steps, Step{At: delay + duplicateAfter, Send: reply})
	}
	return steps
}
