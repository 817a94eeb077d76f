package can_test

import (
	"strings"
	"testing"

	einride "go.einride.tech/can"
	"go.einride.tech/can/pkg/socketcan"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

var validFrames = []string{
	"000#", "7FF#0011223344556677", "123#DEADBEEF", "123#R", "123#R8",
	"00000000#", "00000123#01", "1FFFFFFF#R1", "18FEF100#0123456789ABCDEF",
	"123##0", "123##1DEAD", "123##2DEAD", "00000123##3" + strings.Repeat("5A", 64),
	"20000040#0000000000000000", "20000204#0020000000008000",
}

func TestFrameNotation(t *testing.T) {
	for _, s := range validFrames {
		f, err := can.ParseFrame(s)
		must(t, err)
		must(t, f.Validate())
		if got := f.String(); got != s {
			t.Errorf("%s becomes %s", s, got)
		}
		lower, err := can.ParseFrame(strings.ReplaceAll(strings.ToLower(s), "r", "R"))
		if err != nil || lower != f {
			t.Errorf("%s in lower case: %v, %v", s, lower, err)
		}
		// What the kernel hands over is the same frame.
		var g can.Frame
		if !can.DecodeWire(&g, cantest.Wire(f)) || g != f {
			t.Errorf("%s decoded from the wire is %v", s, g)
		}
	}
}

func TestFrameFromTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		sent can.Frame
		want string
	}{
		"raw length code 15 is 8 bytes": {can.Frame{ID: 1, Len: 15, Data: [64]byte{7: 9}}, "001#0000000000000009"},
		"FD length over 64":             {can.Frame{ID: 1, Len: 255, Flags: can.FD}, "001##0" + strings.Repeat("00", 64)},
		"bytes behind the data":         {can.Frame{ID: 1, Len: 1, Data: [64]byte{1, 2, 3}}, "001#01"},
		"remote with data":              {can.Frame{ID: 1, Len: 4, Flags: can.Remote, Data: [64]byte{1, 2}}, "001#R4"},
		"remote with length 15":         {can.Frame{ID: 1, Len: 15, Flags: can.Remote}, "001#R8"},
		"standard id with high bits":    {can.Frame{ID: 0x1801}, "001#"},
	} {
		var f can.Frame
		if !can.DecodeWire(&f, cantest.Wire(c.sent)) || f.String() != c.want {
			t.Errorf("%s: %v, want %s", name, f, c.want)
		}
		if g, err := can.ParseFrame(c.want); err != nil || g != f {
			t.Errorf("%s: bytes that do not count are not zero: %+v", name, f)
		}
	}
}

func TestParseFrameRefuses(t *testing.T) {
	for _, s := range []string{
		"", "#", "123", "12#00", "1234#00", "12345678", "123456789#00", "G23#00", "800#", "FFF#",
		"40000000#", "80000000#", "FFFFFFFF#", "60000001#", "123#0", "123#0G", "123#001122334455667788",
		"123#R9", "123#R10", "123#RR", "123#r", "123#DE.AD", "123##", "123##G", "123##1D", "123##1" + strings.Repeat("00", 65),
		"20000040#R", "20000040##1", "123# 00", " 123#00", "123#00 ", "123#1122334455667788_8", "123#11_9", "123#R8_8", "123#R7_9",
	} {
		if f, err := can.ParseFrame(s); err == nil {
			t.Errorf("%q is taken for %v", s, f)
		} else if f != (can.Frame{}) {
			t.Errorf("%q: an error and %v", s, f)
		}
	}
	for _, s := range []string{"123#1122334455667788_9", "123#1122334455667788_F", "123#R8_C"} {
		if f, err := can.ParseFrame(s); err != nil || f.Len != 8 {
			t.Errorf("%q, with a raw length code: %v, %v", s, f, err)
		}
	}
}

func TestFrameValidate(t *testing.T) {
	for _, f := range []can.Frame{
		{ID: 0x800}, {ID: 1 << 29, Flags: can.Extended}, {Len: 9}, {Len: 65, Flags: can.FD},
		{Flags: can.FD | can.Remote}, {Flags: can.BitRateSwitch}, {Flags: can.ErrorState}, {Flags: can.ErrorFrame | can.Extended},
	} {
		if f.Validate() == nil {
			t.Errorf("%+v is called valid", f)
		}
		_, _, _ = f.String(), f.Payload(), cantest.Wire(f) // none may panic
		_, _ = f.Einride()
	}
	f := can.Frame{ID: 0xffffffff, Flags: 0xff, Len: 255}
	_, _ = f.String(), f.Payload()
}

func TestEinride(t *testing.T) {
	for _, s := range validFrames {
		f := frame(t, s)
		e, ok := f.Einride()
		if special := f.Flags&(can.FD|can.ErrorFrame) != 0; ok == special {
			t.Errorf("%s: convertible %v", s, ok)
		}
		if !ok {
			continue
		}
		if e.String() != s {
			t.Errorf("%s becomes einride's %s", s, e)
		}
		if g := can.FromEinride(e); g != f {
			t.Errorf("%s comes back as %v", s, g)
		}
		// einride reads the wire as we do.
		var w socketcan.Frame
		w.UnmarshalBinary(cantest.Wire(f))
		if d := w.DecodeFrame(); d != e {
			t.Errorf("%s: einride reads %v from the wire", s, d)
		}
	}
	if f := can.FromEinride(einride.Frame{Length: 200}); f.Len != 8 {
		t.Errorf("a length of 200 becomes %d", f.Len)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	f := frame(t, "00000123##3"+strings.Repeat("5A", 64))
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = f.Append(buf[:0]); buf = can.AppendLog(buf[:0], f, "can0") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
