package rtu

import (
	"bytes"
	"encoding/binary"
	"time"
)

// maxDebts bounds what is remembered. Debts arise one per timeout and last
// seconds, so a line does not reach it.
const maxDebts = 64

// longestAnswer caps what is learned, so that one freak does not stop a unit.
const longestAnswer = 30 * time.Second

// shape is what a reply looks like: function and byte count.
type shape uint16

func shapeOf(request []byte) shape {
	function := request[1]
	count := ByteCount(function, int(binary.BigEndian.Uint16(request[4:])))
	return shape(function)<<8 | shape(uint8(count))
}

// debt is a request whose reply may still come.
type debt struct {
	request [requestLen]byte
	shape   shape
	sent    time.Time
	until   time.Time // no other request of this shape is sent before
	over    bool      // until has passed; it is still listened for
	reader  Reader
}

func (d *debt) unit() byte { return d.request[0] }

// debts are the replies the units still owe. A unit answers in order, so a
// right reply to a later request of another shape settles its earlier debts.
// A refusal names no address, so it pays nothing, whoever it is meant for.
type debts struct {
	// copies are reckoned with: a frame like one that has just come pays nothing.
	copies bool
	// careful does not take it for granted that a unit answers in order.
	careful bool
	least   time.Duration // least term of a debt
	slowest [256]time.Duration
	list    []*debt
}

// longestTerm bounds the term of a debt, and with it how long a request waits.
const longestTerm = 10 * time.Second

func (d *debts) term(unit byte) time.Duration {
	return max(d.least, min(d.slowest[unit]*3/2, longestTerm))
}

func (d *debts) learn(unit byte, took time.Duration) {
	d.slowest[unit] = min(max(d.slowest[unit], took), longestAnswer)
}

// add notes a request without a reply, and returns nil for one without debt.
func (d *debts) add(request []byte, sent, now time.Time) *debt {
	if request[0] == 0 || len(request) < requestLen {
		return nil
	}
	d.expire(now)
	if len(d.list) == maxDebts {
		d.drop(0)
	}
	n := &debt{shape: shapeOf(request), sent: sent, until: sent.Add(d.term(request[0]))}
	copy(n.request[:], request)
	n.reader.ValuesOnly = true
	if n.reader.Reset(request) != nil {
		return nil
	}
	d.list = append(d.list, n)
	return n
}

// forgive takes back the debt of a request that was answered after all.
func (d *debts) forgive(request []byte) {
	for i := len(d.list) - 1; i >= 0; i-- {
		if bytes.Equal(d.list[i].request[:], request) {
			d.drop(i)
			return
		}
	}
}

func (d *debts) drop(i int) { d.list = append(d.list[:i], d.list[i+1:]...) }

// expire marks the debts whose term is over. They stay for a while, so that
// the next reply of that shape is looked at twice.
func (d *debts) expire(now time.Time) {
	for i := 0; i < len(d.list); {
		o := d.list[i]
		if now.Before(o.until) {
			i++
			continue
		}
		o.over = true
		if now.Sub(o.until) > longestAnswer {
			d.drop(i)
		} else {
			i++
		}
	}
}

func (d *debts) owes(unit byte, now time.Time) bool {
	d.expire(now)
	for _, o := range d.list {
		if o.unit() == unit && !o.over {
			return true
		}
	}
	return false
}

// sameShape counts the debts whose reply would look like that to request.
func (d *debts) sameShape(request []byte, now time.Time) (n int) {
	d.expire(now)
	for _, o := range d.list {
		if o.unit() == request[0] && o.shape == shapeOf(request) {
			n++
		}
	}
	return n
}

// another reports whether the unit owes the reply to another request of the
// shape of request.
func (d *debts) another(request []byte) bool {
	for _, o := range d.list {
		if o.unit() == request[0] && o.shape == shapeOf(request) && !bytes.Equal(o.request[:], request) {
			return true
		}
	}
	return false
}

// sameFunction counts the debts whose exception would look like one to request.
func (d *debts) sameFunction(request []byte) (n int) {
	for _, o := range d.list {
		if o.unit() == request[0] && o.request[1] == request[1] {
			n++
		}
	}
	return n
}

// hold is how long request must wait for late replies of its shape. Asking the
// same again at once need not wait for the reply to the first try.
func (d *debts) hold(request []byte, again bool, now time.Time) (wait time.Duration) {
	if len(d.list) == 0 || len(request) < requestLen {
		return 0
	}
	d.expire(now)
	for _, o := range d.list {
		if !o.over && o.unit() == request[0] && o.shape == shapeOf(request) && !(again && bytes.Equal(o.request[:], request)) {
			wait = max(wait, o.until.Sub(now))
		}
	}
	return wait
}

// observe looks in p for a late reply that cannot be the reply to the request
// in progress (nil if there is none), and returns how many it found. The
// oldest debt of a shape is paid first.
// fresh says that p has just arrived, so that it tells how slow the unit is.
func (d *debts) observe(p, request []byte, fresh bool, now time.Time, recent *recent) (paid int) {
	for i := 0; i < len(d.list); i++ {
		o := d.list[i]
		if d.olderAlike(i) || request != nil && o.unit() == request[0] && o.shape == shapeOf(request) {
			continue
		}
		if !o.reader.Push(p) {
			continue
		}
		// What equals a reply to another request may be that one's, asked twice,
		// and what equals the one to the same, just now, a copy of it.
		if first := o.reader.First(); d.copies && recent.has(first, now) || recent.copyOf(first, o.request[:], now) || recent.again(first, o.request[:], now) {
			_ = o.reader.Reset(o.request[:])
			continue
		}
		if fresh {
			d.learn(o.unit(), now.Sub(o.sent))
		}
		recent.keep(o.request[:], o.reader.First(), now) // a copy of it may follow
		d.drop(i)
		// What a slow answer says of this unit holds for its other debts.
		d.extend(now)
		return 1
	}
	return 0
}

func (d *debts) extend(now time.Time) {
	for _, o := range d.list {
		if until := o.sent.Add(d.term(o.unit())); until.After(o.until) && until.After(now) {
			o.until, o.over = until, false
		}
	}
}

func (d *debts) olderAlike(i int) bool {
	for _, o := range d.list[:i] {
		if o.unit() == d.list[i].unit() && o.shape == d.list[i].shape {
			return true
		}
	}
	return false
}

// settle notes a right reply to request. If nothing alike was owed, all that
// the unit owed is paid, but for confirmations of writes: there is no value to
// see that one was another's, and a second write can wait. Otherwise the reply may be the owed one, and what is
// then still to come is the reply to this request: the debts stay for
// its term.
func (d *debts) settle(request []byte, sent time.Time, matches int, differ bool) {
	unit, alike := request[0], 0
	if !differ { // one may be a copy of the other
		matches = 1
	}
	for _, o := range d.list {
		if o.unit() == unit && o.shape == shapeOf(request) && !o.over {
			alike++
		}
	}
	for i := 0; i < len(d.list); i++ {
		o := d.list[i]
		if o.unit() != unit {
			continue
		}
		switch {
		case o.sent.After(sent): // another master's, asked since
		case alike == 0 && (o.over || !d.careful && !Writes(o.request[1]) || o.shape == shapeOf(request)), o.shape == shapeOf(request) && matches > 1:
			d.drop(i)
			i--
			matches--
		case o.shape == shapeOf(request):
			o.until = sent.Add(d.term(unit))
		}
	}
}
