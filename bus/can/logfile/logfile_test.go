package logfile_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/logfile"
)

func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

const (
	ascText = `date Wed Nov 25 10:00:00.250 am 2026
base hex  timestamps absolute
internal events logged
// version 9.0.0
Begin Triggerblock Wed Nov 25 10:00:00.250 am 2026
   0.000000 Start of measurement
   0.010000 1  123             Rx   d 3 10 27 50
   0.020000 2  CF00400x        Tx   d 8 10 27 50 00 00 00 00 FF  Length = 228000 BitCount = 118 ID = 217056256x
   0.030000 1  1F334455x       Rx   r 4
   0.040000 CAN 1 Status:chip status error active
   0.050000 1  Statistic: D 4 R 0 XD 0 XR 0 E 0 O 0 B 0.0%
   0.060000 1  ErrorFrame
   0.070000 CANFD   1 Rx        300                                   1 0 9 12 01 02 03 04 05 06 07 08 09 0A 0B 0C   102203  133   303000 e0006659 46500250 4b140250 20011736 2001040d
   0.080000 CANFD   1 Tx      CF00400x  EEC1                          0 0 8  8 01 02 03 04 05 06 07 08   102203  133   200040 e0006659
   0.090000 1  123             Rx   d 3 10 GG 50
End TriggerBlock
`
	ascWant = `





(0.010000) can0 123#102750
(0.020000) can1 0CF00400#10275000000000FF
(0.030000) can0 1F334455#R4


(0.060000) can0 20000080#0000000000000000
(0.070000) can0 300##10102030405060708090A0B0C
(0.080000) can0 0CF00400#0102030405060708
?

`
)

// Each format becomes what candump would have written, line for line.
func TestFormats(t *testing.T) {
	start := time.Date(2026, 11, 25, 10, 0, 0, 250e6, time.Local).UnixNano()
	for name, c := range map[string]struct {
		in, want string
		kind     logfile.Kind
		start    int64
	}{
		"candump":                {"(1.5) can0 123#00\nnonsense\n", "(1.5) can0 123#00\nnonsense\n", logfile.Candump, 0},
		"candump -ta, gzip":      {packed(" (1.5)  can0  123   [1]  00\n"), " (1.5)  can0  123   [1]  00\n", logfile.Candump, 0},
		"empty":                  {"", "", logfile.Candump, 0},
		"asc":                    {ascText, ascWant, logfile.ASC, start},
		"asc of Windows":         {"\ufeff" + strings.ReplaceAll(ascText, "\n", "\r\n"), ascWant, logfile.ASC, start},
		"asc, gzip":              {packed(ascText), ascWant, logfile.ASC, start},
		"asc, relative, decimal": {"base dec timestamps relative\n0.5 1 16 Rx d 2 255 1\n0.25 1 17x Rx d 0\n", "\n(0.500000) can0 010#FF01\n(0.750000) can0 00000011#\n", logfile.ASC, 0},
		"savvycan": {"Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n166064000,0000021A,false,Rx,0,8,FE,36,12,FE,69,05,07,AD,\n166064001,0CF00400,true,Rx,1,2,01,02,,,,,,,\n166064002,123,false,Rx,0,9,1\n",
			"\n(166.064000) can0 21A#FE3612FE690507AD\n(166.064001) can1 0CF00400#0102\n?\n", logfile.SavvyCAN, 0},
		"python-can": {"timestamp,arbitration_id,extended,remote,error,dlc,data\n1483389946.197,0xdadada,1,0,0,6,WzQyLCA5XQ==\n1483389947.5,0x1a,0,1,0,3,\nx,y,1,0,0,1,AA==\n",
			"\n(1483389946.197000) can0 00DADADA#5B34322C20395D\n(1483389947.500000) can0 01A#R3\n?\n", logfile.PythonCAN, 0},
		"id out of range": {"base hex\n0.5 1 812 Rx d 0\n0.5 1 20000000x Rx d 0\n", "\n?\n?\n", logfile.ASC, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for how, in := range map[string]io.Reader{"whole": strings.NewReader(c.in), "by the byte": iotest.OneByteReader(strings.NewReader(c.in))} {
				r, kind, err := logfile.NewReader(in)
				if err != nil {
					t.Fatal(how, err)
				}
				got, err := io.ReadAll(r)
				want := shifted(t, c.want, c.start)
				if err != nil || kind != c.kind || string(got) != want {
					t.Errorf("%s: kind %d, %v\n%s\nwant\n%s", how, kind, err, got, want)
				}
			}
		})
	}
}

// shifted adds the beginning of a file to the times of lines.
func shifted(t *testing.T, lines string, start int64) string {
	t.Helper()
	if start == 0 {
		return lines
	}
	var b []byte
	for line := range strings.Lines(lines) {
		f, iface, err := can.ParseLogLine([]byte(line))
		if err != nil {
			b = append(b, line...)
			continue
		}
		f.Time += start
		b = append(b, strings.Replace(string(can.AppendLog(nil, f, string(iface))), "300##1", "300##1", 1)...)
	}
	return string(b)
}

// A file that is known and not read is named, with the tool that converts it.
func TestForeignFilesAreNamed(t *testing.T) {
	for in, want := range map[string]string{
		"LOGG\x90\x00\x00\x00":  "can_logconvert FILE.blf",
		";$FILEVERSION=1.1\n":   "can_logconvert FILE.trc",
		"MDF     4.10":          "can_logconvert FILE.mf4",
		"PK\x03\x04x":           "unzip",
		"\x1f\x8bx":             "a damaged gzip file",
		"VERSION \"\"\nNS_ :\n": "--dbc",
		packed("LOGG\x90\x00"):  "can_logconvert FILE.blf",
	} {
		if _, _, err := logfile.NewReader(strings.NewReader(in)); !errors.Is(err, logfile.ErrForeign) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", in, err, want)
		}
	}
}

// Whatever is in a file, each of its lines is one line, and one that is a frame
// for us is one for those who read candump's logs.
func FuzzNewReader(f *testing.F) {
	f.Add(ascText)
	f.Add("Time Stamp,ID,Extended,Dir,Bus,LEN,D1\n1,1,true,Rx,0,1,1\n")
	f.Add("timestamp,arbitration_id,extended,remote,error,dlc,data\n1,0x1,1,0,0,1,AA==\n")
	f.Fuzz(func(t *testing.T, in string) {
		r, kind, err := logfile.NewReader(strings.NewReader(in))
		if err != nil || kind == logfile.Candump {
			return
		}
		out, err := io.ReadAll(r)
		if err != nil && !errors.Is(err, gzip.ErrChecksum) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.HasPrefix(err.Error(), "flate") {
			t.Fatal(err)
		}
		for line := range bytes.Lines(out) {
			line = bytes.TrimSpace(line)
			if len(line) == 0 || string(line) == logfile.NotAFrame {
				continue
			}
			if _, _, err := can.ParseLogLine(line); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	})
}
