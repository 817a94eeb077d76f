package dbc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fieldferry/bus/scalar"
)

const encodeDBC = `VERSION ""
BO_ 256 Fan: 8 X
 SG_ Enable : 0|1@1+ (1,0) [0|1] "" X
 SG_ Speed : 8|16@1+ (0.5,-40) [0|100] "rpm" X
 SG_ Torque : 31|12@0- (0.1,0) [-100|100] "" X
 SG_ Mode : 48|3@1+ (1,0) [0|7] "" X
 SG_ Free : 52|4@1+ (1,0) [0|0] "" X

BO_ 512 Mux: 8 X
 SG_ Which M : 0|8@1+ (1,0) [0|3] "" X
 SG_ A m1 : 8|16@1+ (1,0) [0|1000] "" X
 SG_ B m2 : 8|16@1- (1,0) [-1000|1000] "" X
 SG_ C m2 : 24|8@1+ (1,0) [0|200] "" X

BO_ 768 Wide: 8 X
 SG_ Big : 0|64@1+ (1,0) [0|18446744073709551615] "" X

BO_ 769 Real: 8 X
 SG_ F : 0|32@1- (1,0) [-1000|1000] "" X

SIG_VALTYPE_ 769 F : 1;
VAL_ 256 Mode 0 "off" 2 "auto" 3 "auto2" ;
`

func encodeFile(t *testing.T) map[string]*Message {
	t.Helper()
	f, diagnostics := Parse("encode.dbc", []byte(encodeDBC), Options{})
	for _, d := range diagnostics {
		if d.Severity == Error {
			t.Fatal(d)
		}
	}
	d, _ := NewDatabase(MatchAuto, f)
	m := map[string]*Message{}
	for _, message := range d.Messages() {
		m[message.Name] = message
	}
	return m
}

func TestEncode(t *testing.T) {
	messages := encodeFile(t)
	for _, c := range []struct {
		message, signals, value string
		want                    string // data in hex, or a code with a !
	}{
		{"Fan", "Enable", "true", "0100000000000000"},
		{"Fan", "Enable", "0", "0000000000000000"},
		{"Fan", "Enable", "2", "!range"},
		{"Fan", "Speed", "0", "0050000000000000"},
		{"Fan", "Speed", "62.5", "00cd000000000000"},
		{"Fan", "Speed", "62.3", "!type"},
		{"Fan", "Speed", "100.5", "!range"},
		{"Fan", "Speed", `"62.5"`, "!type"},
		{"Fan", "Speed", "NaN", "!type"},
		{"Fan", "Speed", "null", "!type"},
		{"Fan", "Speed", "1e400", "!type"},
		{"Fan", "Torque", "-0.1", "000000fff0000000"},
		{"Fan", "Torque", "100", "0000003e80000000"},
		{"Fan", "Mode", `"auto"`, "0000000000000200"},
		{"Fan", "Mode", `"none"`, "!type"},
		{"Fan", "Enable,Speed", `{"Enable":1,"Speed":62.5}`, "01cd000000000000"},
		{"Fan", "Enable,Speed", `{"Enable":1}`, "!type"},
		{"Fan", "Enable,Speed", `{"Enable":1,"Speed":62.5,"Mode":1}`, "!type"},
		{"Fan", "Enable,Speed", `{"Enable":1,"Speed":101}`, "!range"},
		{"Fan", "Enable,Speed", `1`, "!type"},
		{"Mux", "A", "1000", "01e8030000000000"},
		{"Mux", "B,C", `{"B":-1,"C":7}`, "02ffff0700000000"},
		{"Mux", "Which,A", `{"Which":1,"A":5}`, "0105000000000000"},
		{"Mux", "Which,A", `{"Which":2,"A":5}`, "!type"},
		{"Wide", "Big", `"9007199254740993"`, "0100000000002000"},
		{"Wide", "Big", "9007199254740993", "!type"},
		{"Real", "F", "62.3", "3333794200000000"},
		{"Real", "F", "62.30000001", "!type"},
	} {
		limits := map[string]scalar.Limits{}
		if c.message == "Wide" {
			limits["Big"], _ = scalar.NewLimits("0", "18446744073709551615", "")
		}
		e, err := NewEncoder(messages[c.message], strings.Split(c.signals, ","), limits, nil)
		if err != nil {
			t.Errorf("%s %s: %v", c.message, c.signals, err)
			continue
		}
		data, err := e.Encode(c.value)
		got := fmt.Sprintf("%x", data)
		var no *scalar.Refusal
		if errors.As(err, &no) {
			got = "!" + no.Code
		} else if err == nil && e.Within(data) != nil {
			t.Errorf("%s: %v", c.value, e.Within(data))
		}
		if got != c.want {
			t.Errorf("%s %s, %s: got %s (%v), want %s", c.message, c.signals, c.value, got, err, c.want)
		}
	}
}

func TestNewEncoderRefuses(t *testing.T) {
	messages := encodeFile(t)
	limits := func(low, high string) map[string]scalar.Limits {
		l, err := scalar.NewLimits(low, high, "")
		if err != nil {
			t.Fatal(err)
		}
		return map[string]scalar.Limits{"Speed": l, "Torque": l}
	}
	for name, c := range map[string]struct {
		message, signals string
		limits           map[string]scalar.Limits
		base             []byte
		want             string
	}{
		"no limits":          {"Fan", "Free", nil, nil, "min and max"},
		"no such signal":     {"Fan", "Nothing", nil, nil, "no signal"},
		"none":               {"Fan", "", nil, nil, "no signal"},
		"twice":              {"Fan", "Speed,Speed", nil, nil, "twice"},
		"two branches":       {"Mux", "A,B", nil, nil, "share bits"},
		"a short base":       {"Fan", "Speed", nil, []byte{1}, "bytes"},
		"beyond the bits":    {"Fan", "Torque", limits("0", "300"), nil, "12 bits"},
		"between the steps":  {"Fan", "Speed", limits("0.2", "10"), nil, "whole number"},
		"below what it does": {"Fan", "Speed", limits("-41", "10"), nil, "bits cannot hold"},
	} {
		_, err := NewEncoder(messages[c.message], strings.Split(c.signals, ","), c.limits, c.base)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewEncoder(messages["Fan"], []string{"Speed"}, limits("-40", "32727.5"), nil); err != nil {
		t.Error(err)
	}
}

// What stands around the signals is the base, and a permit sees if it is not.
func TestWithin(t *testing.T) {
	base := []byte{0xF0, 0, 0, 0x0F, 0xA5, 0xA5, 0xA5, 0xA5}
	e, err := NewEncoder(encodeFile(t)["Fan"], []string{"Enable", "Speed"}, nil, base)
	if err != nil {
		t.Fatal(err)
	}
	data, err := e.Encode(`{"Enable":1,"Speed":0}`)
	if want := []byte{0xF1, 0x50, 0, 0x0F, 0xA5, 0xA5, 0xA5, 0xA5}; err != nil || !slices.Equal(data, want) {
		t.Fatalf("%x, %v", data, err)
	}
	if text, err := e.Decode(data); err != nil || text != `{"Enable":1,"Speed":0}` {
		t.Errorf("%s, %v", text, err)
	}
	for bit := range 64 {
		changed := slices.Clone(data)
		changed[bit/8] ^= 1 << (bit % 8)
		named := bit == 0 || bit >= 8 && bit < 24
		if err := e.Within(changed); err == nil && !named {
			t.Errorf("bit %d changed and passed", bit)
		}
	}
	for _, data := range [][]byte{nil, data[:7], append(slices.Clone(data), 0)} {
		if e.Within(data) == nil {
			t.Errorf("%d bytes passed", len(data))
		}
	}
	if data[1], data[2] = 0xFF, 0xFF; e.Within(data) == nil {
		t.Error("a speed out of range passed")
	}
}

// Whatever the data of a frame, what it is decoded to is encoded to it again.
func TestDecodedIsEncodedAgain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(14, 2))
	kept := 0
	for range 4000 {
		length := 1 + rnd.IntN(40)
		order, start := rnd.IntN(2), rnd.IntN(64-length+1)
		if order == 0 { // big endian: start is the most significant bit
			start = start&^7 | 7 - start&7
		}
		factor := []string{"1", "0.1", "0.5", "2", "0.01", "-1", "0.125", "100"}[rnd.IntN(8)]
		offset := []string{"0", "-40", "0.5", "1000"}[rnd.IntN(4)]
		text := fmt.Sprintf("BO_ 256 M: 8 X\n SG_ S : %d|%d@%d%s (%s,%s) [0|0] \"\" X\n", start, length, order, string("+-"[rnd.IntN(2)]), factor, offset)
		f, diagnostics := Parse("m.dbc", []byte(text), Options{})
		if len(f.Messages) != 1 || len(f.Messages[0].Signals) != 1 {
			t.Fatalf("%s: %v", text, diagnostics)
		}
		wide, _ := scalar.NewLimits("-1e300", "1e300", "")
		e := &Encoder{message: f.Messages[0], base: make([]byte, 8)}
		for i := range e.base {
			e.base[i] = byte(rnd.Uint32())
		}
		n, err := newEncodedSignal(&f.Messages[0].Signals[0], scalar.Limits{}, true)
		if n.factor == nil {
			t.Fatal(err)
		}
		n.limits = wide
		e.named = []encodedSignal{n}
		value, err := e.Decode(e.base)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		data := e.base
		e.base = slices.Clone(data)
		n.signal.put(e.base, rnd.Uint64())
		again, err := e.Encode(value)
		if err != nil || !slices.Equal(data, again) {
			t.Fatalf("%s: %x is %s, which is encoded as %x: %v", text, data, value, again, err)
		}
		kept++
	}
	t.Log(kept, "frames")
}
