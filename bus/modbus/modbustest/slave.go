package modbustest

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"sync"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// Unit is one well-behaved slave: what it holds, and how it moves. An address
// that is not in a table is answered with exception 2.
type Unit struct {
	Holding, Input  map[uint16]uint16
	Coils, Discrete map[uint16]bool
	// Delay is how long the unit thinks before it answers.
	Delay time.Duration
	// Update, if set, is called before each answer with the time since the
	// slave began, and may change the tables.
	Update func(u *Unit, elapsed time.Duration)
	// Silent makes the unit not answer, as when it has no power.
	Silent bool
}

// SetFloat32 puts v into table from address on, high word first.
func SetFloat32(table map[uint16]uint16, address uint16, v float32) {
	SetUint32(table, address, math.Float32bits(v))
}

// SetUint32 puts v into table from address on, high word first.
func SetUint32(table map[uint16]uint16, address uint16, v uint32) {
	table[address], table[address+1] = uint16(v>>16), uint16(v)
}

// Slave answers on one line for several units. Its methods may be called from
// any goroutine.
type Slave struct {
	mu       sync.Mutex
	units    map[byte]*Unit
	requests uint64
}

// NewSlave makes a slave for units by their unit ids.
func NewSlave(units map[byte]*Unit) *Slave { return &Slave{units: units} }

// Do calls f while no request is being answered, so that it may change a unit.
func (s *Slave) Do(f func(units map[byte]*Unit)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.units)
}

// Requests is the number of requests to any unit so far.
func (s *Slave) Requests() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Run answers on line until it or ctx ends.
func (s *Slave) Run(ctx context.Context, line io.ReadWriteCloser) {
	start := time.Now()
	Serve(ctx, line, func(_ int, request []byte) []Step {
		reply, delay := s.answer(request, time.Since(start))
		if reply == nil {
			return nil
		}
		return []Step{{At: delay, Send: reply}}
	})
}

func (s *Slave) answer(request []byte, elapsed time.Duration) ([]byte, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	u := s.units[request[0]]
	if u == nil || u.Silent {
		return nil, 0
	}
	if u.Update != nil {
		u.Update(u, elapsed)
	}
	return u.reply(request), u.Delay
}

// reply answers one request (Application Protocol V1.1b3, 6).
func (u *Unit) reply(request []byte) []byte {
	function := request[1]
	address := binary.BigEndian.Uint16(request[2:])
	count := binary.BigEndian.Uint16(request[4:])
	switch function {
	case rtu.ReadHoldingRegisters, rtu.ReadInputRegisters:
		table := u.Holding
		if function == rtu.ReadInputRegisters {
			table = u.Input
		}
		words, code := lookup(table, address, count, rtu.MaxRegisters)
		if code != 0 {
			return Exception(request, code)
		}
		return Reply(request, words...)
	case rtu.ReadCoils, rtu.ReadDiscreteInputs:
		table := u.Coils
		if function == rtu.ReadDiscreteInputs {
			table = u.Discrete
		}
		bits, code := lookup(table, address, count, rtu.MaxBits)
		if code != 0 {
			return Exception(request, code)
		}
		return BitReply(request, bits...)
	case rtu.WriteSingleRegister:
		if _, ok := u.Holding[address]; !ok {
			return Exception(request, 2)
		}
		u.Holding[address] = count
		return request
	default:
		return Exception(request, 1)
	}
}

func lookup[T any](table map[uint16]T, address, count uint16, limit int) (values []T, code byte) {
	if count < 1 || int(count) > limit {
		return nil, 3
	}
	if int(address)+int(count) > 1<<16 {
		return nil, 2
	}
	for i := range count {
		v, ok := table[address+i]
		if !ok {
			return nil, 2
		}
		values = append(values, v)
	}
	return values, 0
}

// Reply is the right reply to a read of registers.
func Reply(request []byte, words ...uint16) []byte {
	p := []byte{request[0], request[1], byte(2 * len(words))}
	for _, w := range words {
		p = binary.BigEndian.AppendUint16(p, w)
	}
	return rtu.AppendCRC(p)
}

// BitReply is the right reply to a read of bits.
func BitReply(request []byte, bits ...bool) []byte {
	p := make([]byte, 3+(len(bits)+7)/8, 5+(len(bits)+7)/8)
	p[0], p[1], p[2] = request[0], request[1], byte((len(bits)+7)/8)
	for i, b := range bits {
		if b {
			p[3+i/8] |= 1 << (i % 8)
		}
	}
	return rtu.AppendCRC(p)
}

// Exception is the refusal of a request.
func Exception(request []byte, code byte) []byte {
	return rtu.AppendCRC([]byte{request[0], request[1] | 0x80, code})
}
