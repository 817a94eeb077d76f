package dbc

import (
	"testing"

	"fieldferry/bus/can"
)

const deadbandDBC = `VERSION ""
BO_ 256 Engine: 8 ECU
 SG_ Speed : 0|16@1+ (0.1,0) [0|0] "rpm" ECU
 SG_ Torque : 16|8@1- (1,0) [0|0] "Nm" ECU
 SG_ State : 24|4@1+ (1,0) [0|0] "" ECU
BO_ 257 Wide: 8 ECU
 SG_ Total : 0|64@1+ (1,0) [0|0] "" ECU
BO_ 258 Signed: 8 ECU
 SG_ Balance : 0|64@1- (1,0) [0|0] "" ECU
BO_ 259 Real: 8 ECU
 SG_ Flow : 0|32@1- (1,0) [0|0] "" ECU
BO_ 260 Pages: 8 ECU
 SG_ Page M : 0|8@1+ (1,0) [0|0] "" ECU
 SG_ A m0 : 8|8@1+ (1,0) [0|0] "" ECU
 SG_ B m1 : 8|8@1+ (1,0) [0|0] "" ECU
BO_ 2147483904 Extended: 8 ECU
 SG_ Speed : 0|8@1+ (1,0) [0|0] "" ECU
SIG_VALTYPE_ 259 Flow : 1;
VAL_ 256 State 1 "Off" 2 "On" ;
`

func deadbandDatabase(t testing.TB) *Database {
	t.Helper()
	file, diagnostics := Parse("deadband.dbc", []byte(deadbandDBC), Options{})
	for _, d := range diagnostics {
		t.Error(d)
	}
	db, _ := NewDatabase(MatchAuto, file)
	return db
}

func TestDeadband(t *testing.T) {
	db := deadbandDatabase(t)
	abs := func(width float64) Band { return Band{Width: width} }
	percent := func(width float64) Band { return Band{Width: width, Percent: true} }
	for name, c := range map[string]struct {
		every     Band
		named     map[string]Band
		last, now string
		want      bool
	}{
		"within":                       {abs(0.5), nil, "100#00 00", "100#05 00", false}, // 0.5 is no more than 0.5, in tenths as in doubles
		"beyond":                       {abs(0.5), nil, "100#00 00", "100#06 00", true},
		"downwards":                    {abs(0.5), nil, "100#06 00", "100#00 00", true},
		"a decimal fraction":           {abs(0.3), nil, "100#00 00", "100#03 00", false},
		"through zero":                 {abs(3), nil, "100#00 00 FE", "100#00 00 01", false},
		"through zero, beyond":         {abs(3), nil, "100#00 00 FE", "100#00 00 02", true},
		"any signal":                   {abs(5), nil, "100#00 00 00", "100#00 00 06", true},
		"no band is no tolerance":      {Band{}, nil, "100#00 00", "100#01 00", true},
		"a signal of its own":          {Band{}, map[string]Band{"Speed": abs(1)}, "100#00 00 00", "100#0A 00 00", false},
		"the others as all":            {Band{}, map[string]Band{"Speed": abs(1)}, "100#00 00 00", "100#0A 00 01", true},
		"the last of three":            {Band{}, map[string]Band{"State": abs(9)}, "100#00 00 00 0F", "100#00 00 00 08", false},
		"its own is narrower":          {abs(9), map[string]Band{"Torque": abs(1)}, "100#00 00 00", "100#0A 00 02", true},
		"percent, within":              {percent(2), nil, "100#E8 03", "100#FC 03", false}, // 100.0, 102.0
		"percent, beyond":              {percent(2), nil, "100#E8 03", "100#FD 03", true},
		"percent of zero":              {percent(50), nil, "100#00 00", "100#01 00", true},
		"percent of a negative":        {percent(10), nil, "100#00 00 9C", "100#00 00 A6", false}, // -100, -90
		"percent of it, beyond":        {percent(10), nil, "100#00 00 9C", "100#00 00 A7", true},
		"another label":                {abs(9), nil, "100#00 00 00 01", "100#00 00 00 02", true},
		"no label any more":            {abs(9), nil, "100#00 00 00 01", "100#00 00 00 03", true},
		"never a label":                {abs(9), nil, "100#00 00 00 03", "100#00 00 00 04", false},
		"bits of no signal":            {abs(0.5), nil, "100#00 00 00 00 01", "100#00 00 00 F0 02", false},
		"beyond 2^53":                  {abs(0.5), nil, "101#00 00 00 00 00 00 20 00", "101#01 00 00 00 00 00 20 00", true},
		"beyond 2^53, within":          {abs(1), nil, "101#00 00 00 00 00 00 20 00", "101#01 00 00 00 00 00 20 00", false},
		"beyond 2^63":                  {abs(1), nil, "101#FF FF FF FF FF FF FF FF", "101#FD FF FF FF FF FF FF FF", true},
		"beyond 2^63, upwards":         {abs(1), nil, "101#FD FF FF FF FF FF FF FF", "101#FF FF FF FF FF FF FF FF", true},
		"across 2^63":                  {abs(1e18), nil, "101#FF FF FF FF FF FF FF 7F", "101#00 00 00 00 00 00 00 80", false},
		"from least to greatest":       {abs(1e19), nil, "102#00 00 00 00 00 00 00 80", "102#FF FF FF FF FF FF FF 7F", true},
		"from greatest to least":       {abs(1e19), nil, "102#FF FF FF FF FF FF FF 7F", "102#00 00 00 00 00 00 00 80", true},
		"to NaN":                       {abs(1), nil, "103#00 00 80 3F", "103#00 00 C0 7F", true},
		"from NaN":                     {abs(1), nil, "103#00 00 C0 7F", "103#00 00 80 3F", true},
		"NaN stays NaN":                {abs(1), nil, "103#00 00 C0 7F", "103#01 00 C0 7F", false},
		"infinity to NaN":              {abs(1), nil, "103#00 00 80 7F", "103#00 00 C0 7F", true},
		"infinity to the other":        {abs(1), nil, "103#00 00 80 7F", "103#00 00 80 FF", true},
		"zero to minus zero":           {Band{}, nil, "103#00 00 00 00", "103#00 00 00 80", false},
		"floats within":                {abs(1), nil, "103#00 00 80 3F", "103#00 00 00 40", false},
		"another page":                 {abs(9), nil, "104#00 05", "104#01 05", true},
		"a page that is described not": {abs(9), nil, "104#00 05", "104#02 05", true},
		"the same page":                {abs(9), nil, "104#01 05", "104#01 06", false},
		"shorter by a signal":          {abs(9), nil, "100#00 00 00 03", "100#00 00 00", true},
		"longer by a signal":           {abs(9), nil, "100#00 00 00", "100#00 00 00 03", true},
		"shorter by nothing":           {abs(9), nil, "100#00 00 00 03 00", "100#00 00 00 03", false},
		"empty":                        {abs(9), nil, "100#00 00", "100#", true},
		"not described":                {abs(9), nil, "7FF#00", "7FF#01", true},
		"not described, longer":        {abs(9), nil, "7FF#00", "7FF#00 00", true},
		"extended":                     {Band{}, map[string]Band{"Speed": abs(2)}, "00000100#00", "00000100#02", false},
		"extended, beyond":             {Band{}, map[string]Band{"Speed": abs(2)}, "00000100#00", "00000100#03", true},
	} {
		d := NewDeadband(db, c.every, c.named, db.Messages())
		last, now := deadbandFrame(t, c.last), deadbandFrame(t, c.now)
		for range 2 { // what it keeps does not matter
			if got := d.Changed(&last, &now); got != c.want {
				t.Errorf("%s: %s to %s: changed is %v", name, c.last, c.now, got)
			}
		}
	}
}

func deadbandFrame(t testing.TB, text string) can.Frame {
	t.Helper()
	var compact []byte
	for _, c := range []byte(text) {
		if c != ' ' {
			compact = append(compact, c)
		}
	}
	f, err := can.ParseFrame(string(compact))
	if err != nil {
		t.Fatal(text, err)
	}
	return f
}

func TestDeadbandDoesNotAllocate(t *testing.T) {
	d := benchDeadband(t)
	last, now := benchPair()
	d.Changed(&last, &now)
	if n := testing.AllocsPerRun(100, func() { d.Changed(&last, &now) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func benchDeadband(t testing.TB) *Deadband {
	db := benchDatabase(t)
	return NewDeadband(db, Band{Width: 0.5}, map[string]Band{"Torque": {Width: 2, Percent: true}}, db.Messages())
}

// benchPair are frames of one message, within a deadband of 0.5.
func benchPair() (last, now can.Frame) {
	last = can.Frame{ID: 256, Len: 8, Data: [can.MaxDataLen]byte{0x40, 0x19, 0x55, 0x02, 0x66, 0x70, 0xF5, 0xFF}}
	now = last
	now.Data[0]++
	return last, now
}

func BenchmarkDeadband(b *testing.B) {
	d := benchDeadband(b)
	last, now := benchPair()
	b.ReportAllocs()
	for b.Loop() {
		if d.Changed(&last, &now) {
			b.Fatal("changed")
		}
	}
}
