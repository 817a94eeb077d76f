package modbustest

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"slices"
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
	// Most is how many registers the unit gives at once; 0 means 125. More are
	// answered with exception 3.
	Most   int
	Faults Faults
	// Refuses are the functions it does not know: they are answered with
	// exception 1.
	Refuses []byte
	// Forgetful makes it confirm what is written, and keep what it had.
	Forgetful bool
	// WriteDelay is how much longer it thinks before it confirms a write, which
	// has happened by then.
	WriteDelay time.Duration
}

// Write is a request that writes, as it came, whatever was answered.
type Write struct {
	At       time.Time
	Unit     byte
	Function byte
	Address  uint16
	Words    []uint16 // of coils: 0 or 1
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
	writes   []Write
	rnd      *rand.Rand

	// OnWrite, if set, hears of each request that writes. Set it before Run.
	OnWrite func(Write)

	// Pace is the line whose character times and silences replies keep to: a
	// reply is there when its last character would be. The zero Mode takes no
	// time. Set it before Run.
	Pace rtu.Mode
}

// NewSlave makes a slave for units by their unit ids.
// Its faults are the same in every run.
func NewSlave(units map[byte]*Unit) *Slave {
	return &Slave{units: units, rnd: rand.New(rand.NewPCG(1, 2))}
}

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

// Writes are the requests that write so far, as they came.
func (s *Slave) Writes() []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

// noteWrite keeps a request if it writes.
func (s *Slave) noteWrite(request []byte) (writes bool) {
	w := Write{At: time.Now(), Unit: request[0], Function: request[1], Address: binary.BigEndian.Uint16(request[2:])}
	value := binary.BigEndian.Uint16(request[4:])
	data := request[min(7, len(request)-2) : len(request)-2]
	switch w.Function {
	case rtu.WriteSingleCoil:
		w.Words = []uint16{value >> 8 & 1}
	case rtu.WriteSingleRegister:
		w.Words = []uint16{value}
	case rtu.WriteCoils:
		for i := range min(int(value), 8*len(data)) {
			w.Words = append(w.Words, uint16(data[i/8]>>(i%8)&1))
		}
	case rtu.WriteRegisters:
		for i := range min(int(value), len(data)/2) {
			w.Words = append(w.Words, binary.BigEndian.Uint16(data[2*i:]))
		}
	default:
		return false
	}
	if len(s.writes) < mostWrites {
		s.writes = append(s.writes, w)
	}
	if s.OnWrite != nil {
		s.OnWrite(w)
	}
	return true
}

// mostWrites bounds what [Slave.Writes] remembers.
const mostWrites = 1 << 16

// Run answers on line until it or ctx ends.
func (s *Slave) Run(ctx context.Context, line io.ReadWriteCloser) {
	start := time.Now()
	Serve(ctx, line, func(_ int, request []byte) []Step {
		reply, delay := s.answer(request, time.Since(start))
		if reply == nil {
			return nil
		}
		delay += s.wireTime(len(request) + len(reply))
		return s.faulty(request, reply, delay)
	})
}

// wireTime is how long both frames and the silence between them take.
func (s *Slave) wireTime(chars int) time.Duration {
	if s.Pace.BaudRate == 0 {
		return 0
	}
	return time.Duration(chars)*s.Pace.CharTime() + s.Pace.Silence()
}

func (s *Slave) faulty(request, reply []byte, delay time.Duration) []Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := Faults{}
	if u := s.units[request[0]]; u != nil {
		f = u.Faults
	}
	return f.steps(request, reply, delay, s.rnd)
}

func (s *Slave) answer(request []byte, elapsed time.Duration) ([]byte, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	u := s.units[request[0]]
	writes := s.noteWrite(request)
	if u == nil || u.Silent {
		return nil, 0
	}
	if u.Update != nil {
		u.Update(u, elapsed)
	}
	delay := u.Delay
	if writes {
		delay += u.WriteDelay
	}
	return u.reply(request), delay
}

// reply answers one request (Application Protocol V1.1b3, 6).
func (u *Unit) reply(request []byte) []byte {
	function := request[1]
	address := binary.BigEndian.Uint16(request[2:])
	count := binary.BigEndian.Uint16(request[4:])
	if bytes.IndexByte(u.Refuses, function) >= 0 {
		return Exception(request, 1)
	}
	switch function {
	case rtu.ReadHoldingRegisters, rtu.ReadInputRegisters:
		table := u.Holding
		if function == rtu.ReadInputRegisters {
			table = u.Input
		}
		most := u.Most
		if most == 0 {
			most = rtu.MaxRegisters
		}
		words, code := lookup(table, address, count, most)
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
	case rtu.WriteSingleCoil:
		if _, ok := u.Coils[address]; !ok {
			return Exception(request, 2)
		}
		if !u.Forgetful {
			u.Coils[address] = count != 0
		}
		return request
	case rtu.WriteCoils, rtu.WriteRegisters:
		return u.writeMany(request)
	case rtu.WriteSingleRegister:
		if _, ok := u.Holding[address]; !ok {
			return Exception(request, 2)
		}
		if !u.Forgetful {
			u.Holding[address] = count
		}
		return request
	default:
		return Exception(request, 1)
	}
}

// writeMany takes functions 15 and 16.
func (u *Unit) writeMany(request []byte) []byte {
	address, count := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
	data := request[7 : len(request)-2]
	bits := request[1] == rtu.WriteCoils
	if want := 2 * int(count); count == 0 || !bits && len(data) != want || bits && len(data) != (int(count)+7)/8 {
		return Exception(request, 3)
	}
	for i := range count {
		_, isRegister := u.Holding[address+i]
		_, isCoil := u.Coils[address+i]
		if bits && !isCoil || !bits && !isRegister {
			return Exception(request, 2)
		}
	}
	for i := range count {
		if u.Forgetful {
			break
		}
		if bits {
			u.Coils[address+i] = data[i/8]>>(i%8)&1 != 0
		} else {
			u.Holding[address+i] = binary.BigEndian.Uint16(data[2*i:])
		}
	}
	return rtu.AppendCRC(append([]byte(nil), request[:6]...))
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
