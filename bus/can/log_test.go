package can_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"fieldferry/bus/can"
)

func TestParseLogLine(t *testing.T) {
	for line, want := range map[string]struct {
		time  int64
		iface string
		frame string
	}{
		"(1436509052.249713) vcan0 044#2A366C2BBA":          {1436509052249713000, "vcan0", "044#2A366C2BBA"},
		"(1436509052.249713) vcan0 044#2A366C2BBA\n":        {1436509052249713000, "vcan0", "044#2A366C2BBA"},
		"(1436509052.249713)  vcan0\t044#2A366C2BBA \r\n":   {1436509052249713000, "vcan0", "044#2A366C2BBA"},
		"(0000000000.000001) can0 123#R8":                   {1000, "can0", "123#R8"},
		"(1.000000001) can0 123##1DEAD":                     {1000000001, "can0", "123##1DEAD"},
		"(0) can0 1fffffff#":                                {0, "can0", "1FFFFFFF#"},
		"(1436509052.2) slcan0 20000080#0000000000000000":   {1436509052200000000, "slcan0", "20000080#0000000000000000"},
		"(4102444800.000000) can0 123#00 R":                 {4102444800000000000, "can0", "123#00"}, // the year 2100
		"(1436509052.249713) can0 123#1122334455667788_C T": {1436509052249713000, "can0", "123#1122334455667788"},
	} {
		f, iface, err := can.ParseLogLine([]byte(line))
		if err != nil || f.Time != want.time || string(iface) != want.iface || f.String() != want.frame {
			t.Errorf("%q: %d %q %v, %v", line, f.Time, iface, f, err)
		}
	}
	for line, want := range map[string]error{
		"": can.ErrLogTime, "\x00": can.ErrLogTime, "1436509052.249713 vcan0 044#": can.ErrLogTime, "(": can.ErrLogTime, "()": can.ErrLogTime,
		"(1": can.ErrLogTime, "(1.": can.ErrLogTime, "(1.5": can.ErrLogTime, "(.5) can0 123#": can.ErrLogTime, "(-1.5) can0 123#": can.ErrLogTime,
		"(9300000000.0) can0 123#": can.ErrLogTime, "(99999999999999999999.0) can0 123#": can.ErrLogTime,
		"(1.0000000001) can0 123#": can.ErrLogTime, "(2015-07-10 08:17:32.249713) can0 123#": can.ErrLogTime,
		"(1.5)": can.ErrLogInterface, "(1.5)  ": can.ErrLogInterface, "(1.5) can0": can.ErrLogID, "(1.5) can0 ": can.ErrLogID,
		"(1.5) can0 12#": can.ErrLogID, "(1.5) can0 zzz": can.ErrLogID, "(1.5) can0 FFF#": can.ErrLogIDRange, "(1.5) can0 123#1": can.ErrLogData,
		"(1.5) can0 123#112233445566778899": can.ErrLogLength, "(1.5) can0 123#R9": can.ErrLogTrailing,
		"(1.5) can0 123#11 X": can.ErrLogTrailing, "(1.5) can0 123#11 R T": can.ErrLogTrailing,
		"(1.5) can0 123#11(1.6) can0 123#22":                     can.ErrLogData,
		"(1.5) " + strings.Repeat("x", can.MaxLogLine) + " 123#": can.ErrLogLineLong,
	} {
		f, iface, err := can.ParseLogLine([]byte(line))
		if !errors.Is(err, want) || iface != nil || f != (can.Frame{}) {
			t.Errorf("%.60q: %v %q, %v, want %v", line, f, iface, err, want)
		}
	}
}

func TestAppendLog(t *testing.T) {
	for _, s := range validFrames {
		f := frame(t, s)
		f.Time = 1436509052249713999
		line := can.AppendLog(nil, f, "can0")
		if want := "(1436509052.249713) can0 " + s + "\n"; string(line) != want {
			t.Errorf("wrote %q, want %q", line, want)
		}
		g, iface, err := can.ParseLogLine(line)
		f.Time -= 999
		if err != nil || g != f || string(iface) != "can0" {
			t.Errorf("%q reads as %v %q, %v", line, g, iface, err)
		}
	}
	for at, want := range map[int64]string{0: "(0000000000.000000)", -5: "(0000000000.000000)", 1e18: "(1000000000.000000)", 1<<63 - 1: "(9223372036.854775)"} {
		if got := string(can.AppendLog(nil, can.Frame{Time: at}, "c")); !strings.HasPrefix(got, want+" c 000#") {
			t.Errorf("time %d is written %q", at, got)
		}
	}
}

func TestLogReader(t *testing.T) {
	good := "(1.5) can0 123#01\n"
	long := strings.Repeat("x", 200<<10)
	log := good + "\n  \r\nrubbish\n" + good + long + "\n" + good + strings.Repeat("y", can.MaxLogLine+1) + "\n" + "(1.5) can0 123#02"
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(log), "byte by byte": iotest.OneByteReader(strings.NewReader(log)), "data with EOF": iotest.DataErrReader(strings.NewReader(log)),
	} {
		l := can.NewLogReader(r)
		var f can.Frame
		var got []string
		var bad []int64
		var tooLong int
		for {
			_, err := l.Next(&f)
			var e *can.LineError
			if errors.Is(err, io.EOF) {
				break
			} else if errors.As(err, &e) {
				if bad = append(bad, e.Line); errors.Is(err, can.ErrLogLineLong) {
					tooLong++
				}
				continue
			}
			must(t, err)
			got = append(got, f.String())
		}
		if s := strings.Join(got, " "); s != "123#01 123#01 123#01 123#02" {
			t.Errorf("%s: read %q", name, s)
		}
		if len(bad) != 5 || bad[0] != 4 || bad[1] != 6 || bad[4] != 8 || tooLong != 4 {
			t.Errorf("%s: faulty lines %v, %d too long", name, bad, tooLong)
		}
		if _, err := l.Next(&f); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the end: %v", name, err)
		}
	}
	broken := errors.New("broken")
	var f can.Frame
	if _, err := can.NewLogReader(io.MultiReader(strings.NewReader("(1.5) ca"), iotest.ErrReader(broken))).Next(&f); !errors.Is(err, broken) {
		t.Errorf("a read error comes as %v", err)
	}
}

func TestLogReaderDoesNotAllocate(t *testing.T) {
	line := []byte("(1436509052.249713) vcan0 123##1" + strings.Repeat("5A", 64) + "\n")
	bad := []byte("(1436509052.249713) vcan0 123##1XX\n")
	src := bytes.NewReader(bytes.Repeat(line, 2000))
	l := can.NewLogReader(src)
	var f can.Frame
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := l.Next(&f); err != nil {
			t.Fatal(err)
		}
		if _, _, err := can.ParseLogLine(bad); err == nil {
			t.Fatal("no error")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a line", n)
	}
}

func FuzzParseLogLine(f *testing.F) {
	for _, s := range validFrames {
		f.Add([]byte("(1436509052.249713) vcan0 " + s + "\n"))
	}
	f.Add([]byte("(1.5) can0 123#1122334455667788_C T"))
	f.Fuzz(func(t *testing.T, line []byte) {
		frame, iface, err := can.ParseLogLine(line)
		if err != nil {
			return
		}
		if err := frame.Validate(); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if len(iface) == 0 || frame.Time < 0 {
			t.Fatalf("%q: interface %q, time %d", line, iface, frame.Time)
		}
		again, name, err := can.ParseLogLine(can.AppendLog(nil, frame, string(iface)))
		frame.Time -= frame.Time % 1000
		if err != nil && len(line) < can.MaxLogLine/2 || err == nil && (again != frame || !bytes.Equal(name, iface)) {
			t.Fatalf("%q is written and read back as %v, %v", line, again, err)
		}
	})
}

func FuzzLogReader(f *testing.F) {
	f.Add([]byte("(1.5) can0 123#01\n\nrubbish\n(1.5) can0 123#02"))
	f.Fuzz(func(t *testing.T, log []byte) {
		l := can.NewLogReader(bytes.NewReader(log))
		var fr can.Frame
		for n := 0; ; n++ {
			_, err := l.Next(&fr)
			if errors.Is(err, io.EOF) {
				break
			}
			if n > bytes.Count(log, []byte("\n"))+1+len(log)>>16 {
				t.Fatal("more frames and errors than lines")
			}
		}
	})
}
