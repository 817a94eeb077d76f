package dbc

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fieldferry/bus/can"
)

// TestReserved: which raw values are no measurement, by length, limits, labels,
// and what the file or the configuration says.
func TestReserved(t *testing.T) {
	const na, indicator, out = `"signals":{"S":null},"errors":{"S":"not available"}`, `"signals":{"S":null},"errors":{"S":"error indicator"}`, `"signals":{"S":%s},"out_of_range":["S"]`
	const id = "BO_ 2566844926 M: 8 N\n"
	outside := func(v string) string { return fmt.Sprintf(out, v) }
	within := func(v string) string { return fmt.Sprintf(`"signals":{"S":%s}`, v) }
	for _, c := range []struct{ signal, more, data, want string }{
		{"0|2@1+ (1,0) [0|1]", isJ, "03", na},
		{"0|2@1+ (1,0) [0|1]", isJ, "02", indicator},
		{"0|2@1+ (1,0) [0|1]", isJ, "FD", within("1")},
		{"0|2@1+ (1,0) [0|3]", isJ, "03", within("3")},
		{"0|2@1+ (1,0) [0|2]", isJ, "02", within("2")},
		{"0|2@1+ (1,0) [0|2]", isJ, "03", na},
		{"0|8@1+ (1,0) [0|250]", isJ, "FF", na},
		{"0|8@1+ (1,0) [0|250]", isJ, "FE", indicator},
		{"0|8@1+ (1,0) [0|250]", isJ, "FD", outside("253")},
		{"0|8@1+ (1,0) [0|250]", isJ, "FA", within("250")},
		{"0|8@1+ (1,-125) [-125|125]", isJ, "FF", na},
		{"0|8@1+ (1,0) [0|254]", isJ, "FE", within("254")},
		{"0|8@1+ (1,0) [0|0]", isJ, "FF", within("255")},
		{"0|8@1+ (1,0) [x|y]", isJ, "FF", within("255")},
		{"0|8@1+ (1,0) [nan|nan]", isJ, "FF", within("255")},
		{"0|8@1+ (1,0) [9|1]", isJ, "FF", within("255")},
		{"0|8@1+ (1,0) [0|250]", isJ + `VAL_ 2566844926 S 255 "full" ;`, "FF", outside(`{"value":255,"label":"full"}`)},
		{"0|16@1+ (0.125,0) [0|8031.875]", isJ, "00FF", na},
		{"0|16@1+ (0.125,0) [0|8031.875]", isJ, "12FF", na},
		{"0|16@1+ (0.125,0) [0|8031.875]", isJ, "00FE", indicator},
		{"0|16@1+ (0.125,0) [0|8031.875]", isJ, "FFFD", outside("8127.875")},
		{"7|16@0+ (0.125,0) [0|8031.875]", isJ, "FF12", na},
		{"0|32@1+ (1,0) [0|4211081215]", isJ, "000000FF", na},
		{"0|32@1+ (1,0) [0|4211081215]", isJ, "FFFFFFFE", indicator},
		{"0|32@1+ (1,0) [0|4211081215]", isJ, "FFFFFFFD", outside("4261412863")},
		{"0|8@1- (1,0) [0|125]", isJ, "FF", outside("-1")},
		{"0|4@1+ (1,0) [0|12]", isJ, "0F", outside("15")},
		{"0|24@1+ (1,0) [0|12]", isJ, "FFFFFF", outside("16777215")},
		{"0|32@1- (1,0) [0|9]", isJ + "SIG_VALTYPE_ 2566844926 S : 1;", "FFFFFFFF", `"signals":{"S":null},"errors":{"S":"not a number"}`},
		{"0|32@1- (1,0) [0|9]", isJ + "SIG_VALTYPE_ 2566844926 S : 1;", "0000807F", `"signals":{"S":null},"errors":{"S":"infinity"}`},
		{"0|32@1- (1,0) [0|9]", isJ + "SIG_VALTYPE_ 2566844926 S : 1;", "00002041", outside("10")},
		{"0|8@1+ (1,0) [0|250]", "", "FF", outside("255")},
		{"0|8@1+ (1,0) [0|250]", isJ + "BA_ \"VFrameFormat\" BO_ 2566844926 1;\n", "FF", outside("255")},
	} {
		file, _ := Parse("r.dbc", []byte(id+" SG_ S : "+c.signal+" \"\" N\n"+c.more), Options{})
		var data []byte
		fmt.Sscanf(c.data, "%X", &data)
		db, _ := NewDatabase(MatchAuto, file)
		m := db.Messages()[0]
		if got := string(AppendSignals(nil, m.Decode(data, nil))); got != c.want {
			t.Errorf("%s %q %s:\n got  %s\n want %s", c.signal, c.more, c.data, got, c.want)
		}
		if v := m.Decode(data, nil)[0]; (v.Missing() != "") != strings.Contains(c.want, "null") || (string(v.AppendJSON(nil)) == "null") != strings.Contains(c.want, "null") {
			t.Errorf("%s %s: by itself it is %s, missing %q", c.signal, c.data, v.AppendJSON(nil), v.Missing())
		}
		m.KeepReserved("S")
		if got := string(AppendSignals(nil, m.Decode(data, nil))); strings.Contains(got, "not available") || strings.Contains(got, "indicator") {
			t.Errorf("%s %s: kept, yet %s", c.signal, c.data, got)
		}
	}
}

// TestReservedByMatch: with match: pgn every extended message is one of J1939.
func TestReservedByMatch(t *testing.T) {
	const source = "BO_ 2566844926 M: 8 N\n SG_ S : 0|8@1+ (1,0) [0|250] \"\" N\nBO_ 2566844927 L: 12 N\n SG_ S : 0|8@1+ (1,0) [0|250] \"\" N\nBO_ 1 K: 8 N\n SG_ S : 0|8@1+ (1,0) [0|250] \"\" N\n"
	for match, want := range map[Match]string{
		MatchAuto: `"name":"M","signals":{"S":255},"out_of_range":["S"] "name":"L","signals":{"S":255},"out_of_range":["S"] "name":"K","signals":{"S":255},"out_of_range":["S"]`,
		MatchPGN:  `"name":"M","pgn":65265,"sa":254,"signals":{"S":null},"errors":{"S":"not available"} "data":"FF" "name":"K","signals":{"S":255},"out_of_range":["S"]`,
	} {
		lines, _ := decodeText(t, match, "18FEF1FE#FF 18FEF1FF#FF 001#FF", source)
		if got := strings.Join(lines, " "); got != want {
			t.Errorf("match %d:\n got  %s\n want %s", match, got, want)
		}
	}
}

// TestKeepReserved: signals by either name, and all.
func TestKeepReserved(t *testing.T) {
	const source = isJ + "BO_ 2566844926 M: 8 N\n SG_ A : 0|8@1+ (1,0) [0|250] \"\" N\n SG_ B : 8|8@1+ (1,0) [0|250] \"\" N\nBA_ \"SystemSignalLongSymbol\" SG_ 2566844926 A \"Alpha\";\n"
	for signal, want := range map[string]string{
		"none":  `"signals":{"Alpha":null,"B":null},"errors":{"Alpha":"not available","B":"error indicator"}`,
		"A":     `"signals":{"Alpha":255,"B":null},"errors":{"B":"error indicator"},"out_of_range":["Alpha"]`,
		"Alpha": `"signals":{"Alpha":255,"B":null},"errors":{"B":"error indicator"},"out_of_range":["Alpha"]`,
		"":      `"signals":{"Alpha":255,"B":254},"out_of_range":["Alpha","B"]`,
	} {
		db, _ := NewDatabase(MatchAuto, parse(t, "k.dbc", source))
		m := db.Messages()[0]
		if found := m.KeepReserved(signal); found != (signal != "none") {
			t.Errorf("%q: found %v", signal, found)
		}
		if got := string(AppendSignals(nil, m.Decode([]byte{0xFF, 0xFE}, nil))); got != want {
			t.Errorf("%q:\n got  %s\n want %s", signal, got, want)
		}
	}
}

// TestOutOfRangeAgainstRationals compares the precomputed bounds with physical
// values in rational arithmetic, most of all next to the limits.
func TestOutOfRangeAgainstRationals(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 20))
	for range 3000 {
		l := randomLayout(r, 0, 8)
		l.factor = []string{"1", "0.1", "-1", "-0.25", "0.00390625", "3.05180437933928E-005", "1e25", "0"}[r.IntN(8)]
		l.offset = []string{"0", "-40", "0.5", "-273.15"}[r.IntN(4)]
		limit := func() string {
			data := randomBytes(r, 8)
			f, _ := l.physical(data).Float64()
			return string(appendFloat(nil, f, 64))
		}
		low, high := limit(), limit()
		lower, _ := new(big.Rat).SetString(low)
		upper, _ := new(big.Rat).SetString(high)
		if lower.Cmp(upper) > 0 {
			low, high, lower, upper = high, low, upper, lower
		}
		source := "BO_ 100 M: 8 N\n" + strings.Replace(l.statement(), "[0|0]", "["+low+"|"+high+"]", 1)
		file, _ := Parse("b.dbc", []byte(source), Options{})
		s := &file.Messages[0].Signals[0]
		raws := []uint64{r.Uint64(), 0, s.mask(), s.bounds.first ^ s.bounds.flip, (s.bounds.first + s.bounds.span) ^ s.bounds.flip,
			(s.bounds.first - 1) ^ s.bounds.flip, (s.bounds.first + s.bounds.span + 1) ^ s.bounds.flip}
		for _, raw := range raws {
			data := make([]byte, 8)
			l.encode(data, raw&s.mask())
			exact := l.physical(data)
			f, _ := exact.Float64() // limits are float64, and so are values compared with them
			nearest := new(big.Rat).SetFloat64(f)
			lo, hi := new(big.Rat).SetFloat64(s.Min), new(big.Rat).SetFloat64(s.Max)
			none := s.Min == 0 && s.Max == 0
			want := !none && (nearest.Cmp(lo) < 0 || nearest.Cmp(hi) > 0)
			v := file.Messages[0].Decode(data, nil)[0]
			if got := v.OutOfRange(); got != want {
				t.Fatalf("%s%X: %s out of range %v, want %v", source, data, v.AppendJSON(nil), got, want)
			}
		}
	}
}

// TestReservedIsAChange: a deadband lets pass when a value becomes a number,
// ceases to be one, or has another reason not to be one.
func TestReservedIsAChange(t *testing.T) {
	db, _ := NewDatabase(MatchAuto, parse(t, "d.dbc", isJ+"BO_ 2566844926 M: 8 N\n SG_ S : 0|16@1+ (1,0) [0|64255] \"\" N\n"))
	d := NewDeadband(db, Band{Width: 1e9}, nil, nil)
	for _, c := range []struct {
		last, now byte
		want      bool
	}{{0, 0xFA, false}, {0, 0xFF, true}, {0xFF, 0, true}, {0xFF, 0xFE, true}, {0xFE, 0xFB, true}, {0xFF, 0xFF, false}} {
		frame := func(high, low byte) *can.Frame {
			f := &can.Frame{ID: 0x18FEF100, Flags: can.Extended, Len: 2}
			f.Data[0], f.Data[1] = low, high
			return f
		}
		if got := d.Changed(frame(c.last, 1), frame(c.now, 2)); got != c.want {
			t.Errorf("%X to %X: %v", c.last, c.now, got)
		}
	}
}

// TestMissingDoesNotAllocate: nor do the members that name such values.
func TestMissingDoesNotAllocate(t *testing.T) {
	db, _ := NewDatabase(MatchAuto, parse(t, "m.dbc", isJ+"BO_ 2566844926 M: 8 N\n SG_ A : 0|8@1+ (1,0) [0|250] \"\" N\n SG_ B : 8|8@1+ (1,0) [0|250] \"\" N\n"))
	m := db.Messages()[0]
	values := slices.Grow([]Value(nil), 8)
	out := make([]byte, 0, 512)
	data := []byte{0xFF, 0xFC}
	if n := testing.AllocsPerRun(100, func() {
		values = m.Decode(data, values[:0])
		out = AppendSignals(out[:0], values)
	}); n != 0 {
		t.Errorf("%v allocations: %s", n, out)
	}
}
