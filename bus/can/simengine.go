package can

import (
	"encoding/binary"
	"math"
	"time"
)

// engineTrack is sim:engine: what a diesel engine with a J1939 network says
// while it drives a cycle of 60 s over and over: idle, accelerate, cruise,
// slow down. All frames come from source address 0, 150 in a second. Ids and
// scaling are those of SAE J1939-71 and -73; a byte FF is "not available".
//
//	0CF00400 EEC1   10 ms  engine speed (SPN 190), torque (513, 512)
//	0CF00300 EEC2   50 ms  accelerator pedal (91), load (92)
//	18FEF100 CCVS  100 ms  vehicle speed (84)
//	18FEF200 LFE   100 ms  fuel rate (183), economy (184)
//	18FEEF00 EFL/P1 500 ms oil level (98), oil pressure (100), coolant level (111)
//	18FEF600 IC1   500 ms  boost (102), intake temperature (105), exhaust temperature (173)
//	18FEEE00 ET1      1 s  coolant (110), fuel (174) and oil (175) temperature
//	18FEF500 AMB      1 s  barometer (108), ambient temperature (171)
//	18FEF700 VEP1     1 s  battery (168)
//	18FEFC00 DD       1 s  fuel level (96)
//	18FEE500 HOURS    1 s  engine hours (247)
//	18FECA00 DM1      1 s  no active trouble code
type engineTrack struct {
	due []time.Duration // of each message of engineMessages
}

// engineState is the engine at one moment.
type engineState struct {
	t        float64 // seconds since the start
	rpm      float64
	demand   float64 // percent of torque the driver asks for
	torque   float64 // percent of torque the engine gives
	load     float64 // percent at this speed
	speed    float64 // km/h
	fuelRate float64 // l/h
	warm     float64 // 0 cold to 1 warm
}

type engineMessage struct {
	id     uint32
	period time.Duration
	fill   func(s *engineState, d []byte)
}

var engineMessages = [...]engineMessage{
	{0x0CF00400, 10 * time.Millisecond, fillEEC1},
	{0x0CF00300, 50 * time.Millisecond, fillEEC2},
	{0x18FEF100, 100 * time.Millisecond, func(s *engineState, d []byte) { put16(d[1:], s.speed*256) }},
	{0x18FEF200, 100 * time.Millisecond, fillLFE},
	{0x18FEEF00, 500 * time.Millisecond, fillEFL},
	{0x18FEF600, 500 * time.Millisecond, fillIC1},
	{0x18FEEE00, time.Second, fillET1},
	{0x18FEF500, time.Second, func(s *engineState, d []byte) {
		put8(&d[0], 101.3/0.5)
		put16(d[3:], (14+2*math.Sin(s.t/600)+273)/0.03125)
	}},
	{0x18FEF700, time.Second, func(s *engineState, d []byte) { put16(d[4:], (27.6+0.2*math.Sin(s.t/7))/0.05) }},
	{0x18FEFC00, time.Second, func(s *engineState, d []byte) { put8(&d[1], (80-math.Mod(s.t/120, 60))/0.4) }},
	{0x18FEE500, time.Second, func(s *engineState, d []byte) {
		binary.LittleEndian.PutUint32(d, uint32((1234.5+s.t/3600)/0.05))
	}},
	{0x18FECA00, time.Second, func(_ *engineState, d []byte) { copy(d, []byte{0, 0xff, 0, 0, 0, 0}) }},
}

func newEngineTrack() *engineTrack {
	t := &engineTrack{due: make([]time.Duration, len(engineMessages))}
	for i := range t.due {
		// Controllers start their timers one after the other.
		t.due[i] = time.Duration(i) * 700 * time.Microsecond
	}
	return t
}

func (t *engineTrack) next(f *Frame) (time.Duration, error) {
	first := 0
	for i, due := range t.due {
		if due < t.due[first] {
			first = i
		}
	}
	due, m := t.due[first], &engineMessages[first]
	t.due[first] += m.period
	*f = Frame{ID: m.id, Flags: Extended, Len: 8}
	data := f.Data[:8]
	for i := range data {
		data[i] = 0xff
	}
	s := engineAt(due)
	m.fill(&s, data)
	return due, nil
}

// engineAt drives the cycle. It is a function of the time alone.
func engineAt(at time.Duration) engineState {
	const cycle = 60.0
	s := engineState{t: at.Seconds()}
	phase := math.Mod(s.t, cycle)
	pull := ramp(phase, 8, 23) - ramp(phase, 45, 55) // 0 standing, 1 cruising
	accelerating := ramp(phase, 8, 10) - ramp(phase, 21, 23)
	ripple := math.Sin(2*math.Pi*s.t*1.3) + 0.5*math.Sin(2*math.Pi*s.t*3.1)

	s.rpm = 700 + 850*pull + 300*accelerating + 4*ripple
	s.speed = 86 * pull
	s.demand = 12 + 25*pull + 50*accelerating
	s.torque = s.demand + ripple
	s.load = 15 + 30*pull + 45*accelerating + ripple
	s.fuelRate = s.rpm * max(s.torque, 5) * 0.0004
	s.warm = 1 - math.Exp(-s.t/240)
	return s
}

// ramp goes smoothly from 0 at from to 1 at to.
func ramp(t, from, to float64) float64 {
	x := min(max((t-from)/(to-from), 0), 1)
	return x * x * (3 - 2*x)
}

func fillEEC1(s *engineState, d []byte) {
	d[0] = 0xf0 | 1 // torque mode: accelerator pedal
	put8(&d[1], s.demand+125)
	put8(&d[2], s.torque+125)
	put16(d[3:], s.rpm/0.125)
	d[5] = 0 // the controller at address 0
}

func fillEEC2(s *engineState, d []byte) {
	put8(&d[1], (s.demand-12)/0.4)
	put8(&d[2], s.load)
}

func fillLFE(s *engineState, d []byte) {
	put16(d, s.fuelRate/0.05)
	if s.speed > 1 {
		put16(d[2:], s.speed/s.fuelRate*512)
	} else {
		put16(d[2:], 0)
	}
}

func fillEFL(s *engineState, d []byte) {
	put8(&d[2], 88/0.4)
	put8(&d[3], (180+0.16*s.rpm)/4)
	put8(&d[7], 96/0.4)
}

func fillIC1(s *engineState, d []byte) {
	put8(&d[1], 1.6*s.load/2)
	put8(&d[2], 35+10*s.warm+40)
	put16(d[5:], (180+3.5*s.load+273)/0.03125)
}

func fillET1(s *engineState, d []byte) {
	put8(&d[0], 18+68*s.warm+40)
	put8(&d[1], 18+17*s.warm+40)
	put16(d[2:], (18+78*s.warm+273)/0.03125)
}

// put8 and put16 store a raw value, held within the valid range of J1939: the
// values above FA (FAFF) are error indicators.
func put8(d *byte, raw float64) { *d = byte(min(max(math.Round(raw), 0), 0xfa)) }

func put16(d []byte, raw float64) {
	binary.LittleEndian.PutUint16(d, uint16(min(max(math.Round(raw), 0), 0xfaff)))
}
