package dbc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// decodeText decodes frames "ID#DATA" by a file, and returns what is printed
// behind the id, and what is wrong with the file.
func decodeText(t *testing.T, match Match, frames string, sources ...string) (lines, problems []string) {
	t.Helper()
	var files []*File
	note := func(list []Diagnostic) {
		for _, d := range list {
			problems = append(problems, d.String())
		}
	}
	for i, s := range sources {
		f, diagnostics := Parse(fmt.Sprintf("%c.dbc", 'a'+i), []byte(s), Options{})
		note(diagnostics)
		files = append(files, f)
	}
	db, conflicts := NewDatabase(match, files...)
	note(conflicts)
	var log strings.Builder
	for _, f := range strings.Fields(frames) {
		fmt.Fprintf(&log, "(1.0) can0 %s\n", f)
	}
	var out bytes.Buffer
	d := NewDecoder(db)
	d.Part = func(m *Message) { problems = append(problems, "part of "+m.Name) }
	if err := d.Decode(strings.NewReader(log.String()), &out); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(out.Bytes()) {
		_, behind, _ := strings.Cut(string(line), `"id":"`)
		_, behind, _ = strings.Cut(behind, `",`)
		lines = append(lines, strings.TrimSuffix(behind, "}\n"))
	}
	return lines, problems
}

const (
	sg     = " SG_ %s [0|0] \"\" N\n"
	isJ    = "BA_ \"ProtocolType\" \"J1939\";\n"
	pageM  = "BO_ 100 A: 8 N\n SG_ Page M : 0|8@1+ (1,0) [0|0] \"\" N\n"
	pressM = pageM + " SG_ Press m0 : 8|8@1+ (1,0) [0|0] \"\" N\n"
	frames = "BA_DEF_ BO_ \"VFrameFormat\" ENUM \"StandardCAN\",\"ExtendedCAN\",\"r\",\"J1939PG\",\"r\",\"r\",\"r\",\"r\",\"r\",\"r\",\"r\",\"r\",\"r\",\"r\",\"StandardCAN_FD\",\"ExtendedCAN_FD\";\n"
	fd64   = "BO_ 2566849534 F: 64 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\n SG_ T : 8|8@1+ (1,0) [0|0] \"\" N\nBA_ \"VFrameFormat\" BO_ 2566849534 15;\n"
	voltM  = pageM + " SG_ Volt m0 : 8|8@1+ (1,0) [0|0] \"\" N\n SG_ Volt m1 : 16|8@1+ (1,0) [0|0] \"\" N\n"
)

// TestCases are faulty and unusual files of the field: what is printed, and
// what a line of the diagnostics begins or ends with.
func TestCases(t *testing.T) {
	const part = ` is left out`
	for _, c := range []struct {
		name, source, frames string
		want                 []string
		problems             []string // each is within one of the diagnostics; nil: there are none
	}{
		{"type and labels of both pages", "BO_ 256 B: 8 N\n SG_ Page M : 0|8@1+ (1,0) [0|0] \"\" N\n" +
			fmt.Sprintf(strings.Repeat(sg, 4), "State m0 : 8|8@1+ (1,0)", "State m1 : 16|8@1+ (1,0)", "Temp m0 : 32|32@1- (1,0)", "Temp m1 : 32|32@1- (1,0)") +
			"VAL_ 256 State 0 \"Off\" 1 \"On\" ;\nSIG_VALTYPE_ 256 Temp : 1;\nBA_ \"SystemSignalLongSymbol\" SG_ 256 Temp \"Temperature\";\n",
			"100#0001000000002842 100#0100010000002842",
			[]string{`"name":"B","signals":{"Page":0,"State":{"value":1,"label":"On"},"Temperature":42}`,
				`"name":"B","signals":{"Page":1,"State":{"value":1,"label":"On"},"Temperature":42}`},
			[]string{"B.State: there are several", "B.Temp: there are several"}},
		{"pages of several by one statement", voltM + "SG_MUL_VAL_ 100 Volt Page 0-0, 1-1;\n", "064#000A14 064#010A14 064#020A14",
			[]string{`"name":"A","signals":{"Page":0,"Volt":10}`, `"name":"A","signals":{"Page":1,"Volt":20}`, `"name":"A","signals":{"Page":2}`},
			[]string{"there are several"}},
		{"pages by a statement each", voltM + "SG_MUL_VAL_ 100 Volt Page 0-0, 6-7;\nSG_MUL_VAL_ 100 Volt Page 1-1, 4-5;\n", "064#060A14 064#040A14",
			[]string{`"name":"A","signals":{"Page":6,"Volt":10}`, `"name":"A","signals":{"Page":4,"Volt":20}`}, []string{"there are several"}},
		{"a page of nobody", voltM + "SG_MUL_VAL_ 100 Volt Page 0-1, 5-6;\n", "064#000A14 064#010A14 064#050A14",
			[]string{`"name":"A","signals":{"Page":0,"Volt":10}`, `"name":"A","signals":{"Page":1,"Volt":20}`, `"name":"A","signals":{"Page":5}`},
			[]string{"the other pages of 5-6 is unknown: none has them"}},
		{"two of one page", pressM + " SG_ Press m0 : 16|8@1+ (1,0) [0|0] \"\" N\nSG_MUL_VAL_ 100 Press Page 0-0, 1-1;\n", "064#000A14 064#010A14",
			[]string{`"name":"A","signals":{"Page":0,"Press":10}`, `"name":"A","signals":{"Page":1}`}, []string{"another signal of this name", "the other pages of 1-1"}},
		{"the other one cannot be read", pageM + " SG_ Volt m0 : 8|8@2+ (1,0) [0|0] \"\" N\n SG_ Volt m1 : 16|8@1+ (1,0) [0|0] \"\" N\nSG_MUL_VAL_ 100 Volt Page 0-0, 1-1;\n",
			"064#000A14 064#010A14", []string{`"name":"A","signals":{"Page":0}`, `"name":"A","signals":{"Page":1,"Volt":20}`}, []string{"byte order"}},
		{"a multiplexer that cannot be read", pageM + " SG_ Other M : 8|8@2+ (1,0) [0|0] \"\" N\n SG_ V m1 : 16|8@1+ (1,0) [0|0] \"\" N\n", "064#01FF05",
			[]string{`"name":"A","signals":{"Page":1}`}, []string{"byte order", "several multiplexers"}},
		{"a multiplexer whose mark cannot be read", pageM + " SG_ Other Mux : 8|8@1+ (1,0) [0|0] \"\" N\n SG_ V m1 : 16|8@1+ (1,0) [0|0] \"\" N\n", "064#01FF05",
			[]string{`"name":"A","signals":{"Page":1}`}, []string{`multiplexing "Mux"`, "several multiplexers"}},
		{"several multiplexers of a name", pageM + fmt.Sprintf(strings.Repeat(sg, 3), "Sub m0M : 8|8@1+ (1,0)", "Sub m1M : 8|8@1+ (1,0)", "V m0 : 16|8@1+ (1,0)") +
			"SG_MUL_VAL_ 100 V Sub 0-0;\n", "064#000001", []string{`"name":"A","signals":{"Page":0,"Sub":0}`}, []string{"there are several", "several multiplexers Sub"}},
		{"a long name that is a short one", "BO_ 105 E: 8 N\n SG_ X : 16|8@1+ (1,0) [0|0] \"\" N\n SG_ Y : 24|8@1+ (1,0) [0|0] \"\" N\n" +
			"BA_ \"SystemSignalLongSymbol\" SG_ 105 X \"Y\";\n", "069#00010203",
			[]string{`"name":"E","signals":{"X":2,"Y":3}`}, []string{"its long name Y is another signal's"}},
		{"a chain of long names", "BO_ 105 E: 8 N\n" + fmt.Sprintf(strings.Repeat(sg, 3), "X : 0|8@1+ (1,0)", "Y : 8|8@1+ (1,0)", "Z : 16|8@1+ (1,0)") +
			"BA_ \"SystemSignalLongSymbol\" SG_ 105 Z \"X\";\nBA_ \"SystemSignalLongSymbol\" SG_ 105 X \"Y\";\nBA_ \"SystemSignalLongSymbol\" SG_ 105 Y \"Long\";\n", "069#010203",
			[]string{`"name":"E","signals":{"Y":1,"Long":2,"X":3}`}, nil},
		{"a long name given up is another's", "BO_ 105 E: 8 N\n" + fmt.Sprintf(strings.Repeat(sg, 3), "X : 0|8@1+ (1,0)", "Y : 8|8@1+ (1,0)", "Z : 16|8@1+ (1,0)") +
			"BA_ \"SystemSignalLongSymbol\" SG_ 105 Y \"Z\";\nBA_ \"SystemSignalLongSymbol\" SG_ 105 X \"Y\";\n", "069#010203",
			[]string{`"name":"E","signals":{"X":1,"Y":2,"Z":3}`}, []string{"E.Y: its long name Z", "E.X: its long name Y"}},
		{"one long name on two pages", voltM + "BA_ \"SystemSignalLongSymbol\" SG_ 100 Volt \"Voltage\";\n", "064#010A14",
			[]string{`"name":"A","signals":{"Page":1,"Voltage":20}`}, []string{"there are several"}},
		{"one range that is none", pressM + "SG_MUL_VAL_ 100 Press Page 1-1, 2-1, 5-7;\n", "064#0001 064#0101 064#0601",
			[]string{`"name":"A","signals":{"Page":0}`, `"name":"A","signals":{"Page":1,"Press":1}`, `"name":"A","signals":{"Page":6,"Press":1}`},
			[]string{"2-1 is not a range"}},
		{"no range at all", pressM + "SG_MUL_VAL_ 100 Press Page ;\n", "064#0001", []string{`"name":"A","signals":{"Page":0}`}, []string{"on which pages it is is unknown"}},
		{"no multiplexer", pressM + "SG_MUL_VAL_ 100 Press : 1-1;\n", "064#0001", []string{`"name":"A","signals":{"Page":0}`}, []string{"on which pages it is is unknown"}},
		{"ranges and then something else", pressM + "SG_MUL_VAL_ 100 Press Page 1-1 (2-2);\n", "064#0001 064#0101 064#0201",
			[]string{`"name":"A","signals":{"Page":0}`, `"name":"A","signals":{"Page":1,"Press":1}`, `"name":"A","signals":{"Page":2}`}, []string{"the rest of the list is left out"}},
		{"a type that cannot be read", "BO_ 1 M: 4 N\n SG_ F : 0|32@1- (1,0) [0|0] \"\" N\nSIG_VALTYPE_ 1 F : float;\n", "001#00002842",
			[]string{`"data":"00002842","name":"M","signals":{}`}, []string{"expected 0 (integer)", "whether it is an integer is not known"}},
		{"a type and then something else", "BO_ 1 M: 4 N\n SG_ F : 0|32@1- (1,0) [0|0] \"\" N\nSIG_VALTYPE_ 1 F : 1 (2);\n", "001#00002842",
			[]string{`"data":"00002842","name":"M","signals":{}`}, []string{"SIG_VALTYPE_: expected ';'", "whether it is an integer is not known"}},
		{"a table and then something else", "BO_ 1 M: 1 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\nVAL_TABLE_ T 0 \"x\";\nVAL_ 1 S T (1);\n", "001#00",
			[]string{`"name":"M","signals":{"S":0}`}, []string{"VAL_: expected ';': the statement" + part}},
		{"labels and then something else", "BO_ 1 M: 1 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\nVAL_ 1 S 0 \"x\" (1) ;\n", "001#00",
			[]string{`"name":"M","signals":{"S":{"value":0,"label":"x"}}`}, []string{"VAL_: expected ';': the rest of the list" + part}},
		{"an attribute and then something else", "BO_ 2566844926 P: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\nBA_ \"ProtocolType\" \"J1939\" (1);\n", "18FEF100#01",
			[]string{`"data":"01"`}, []string{"BA_: expected ';': the statement" + part}},
		{"a default and then something else", "BO_ 2566844926 P: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\nBA_DEF_DEF_ \"VFrameFormat\" \"J1939PG\" (1);\n", "18FEF100#01",
			[]string{`"data":"01"`}, []string{"BA_DEF_DEF_: expected ';': the statement" + part}},
		{"an enumeration cut short", "BO_ 2566844926 P: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\nBA_DEF_ BO_ \"VFrameFormat\" ENUM \"J1939PG\",;\nBA_ \"VFrameFormat\" BO_ 2566844926 0;\n", "18FEF100#01",
			[]string{`"data":"01"`}, []string{`the values of "VFrameFormat" cannot be read`}},
		{"a value the enumeration lacks", isJ + "BO_ 2566844926 P: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\nBA_ \"VFrameFormat\" BO_ 2566844926 17;\n", "18FEF100#01",
			[]string{`"name":"P","pgn":65265,"sa":0,"signals":{"S":1}`}, []string{`VFrameFormat has no value "17"`}},
		{"a message that cannot be read keeps its id from none", "BO_ 1 M: N\nBO_ 1 M: 1 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\n", "001#05",
			[]string{`"name":"M","signals":{"S":5}`}, []string{"expected its size"}},
		{"limits that cannot be read", "BO_ 1 M: 4 N\n" + " SG_ T : 0|8@1+ (0.1,0) [0|25,5] \"\" N\n SG_ U : 8|8@1+ (0.1,0) [|] \"\" N\n" +
			" SG_ V : 16|8@1+ (0.1,0) [] \"V\" N\n SG_ W : 24|8@1+ (0.1,0) \"\" N\n", "001#02030405",
			[]string{`"name":"M","signals":{"T":0.2,"U":0.3,"V":0.4,"W":0.5}`}, []string{"signal T: its limits cannot", "signal U: its limits cannot", "signal V: its limits cannot"}},
		{"limits the wrong way round", "BO_ 1 M: 1 N\n SG_ S : 0|8@1+ (1,0) [9|1] \"\" N\n", "001#05",
			[]string{`"name":"M","signals":{"S":5}`}, []string{"its lower limit is above the upper one"}},
		{"a mark whose number SG_MUL_VAL_ says", pageM + " SG_ V m : 8|8@1+ (1,0) [0|0] \"\" N\n SG_ S mM : 16|8@1+ (1,0) [0|0] \"\" N\n" +
			"SG_MUL_VAL_ 100 V Page 2-3;\nSG_MUL_VAL_ 100 S Page 4-4;\n", "064#020506 064#040506",
			[]string{`"name":"A","signals":{"Page":2,"V":5}`, `"name":"A","signals":{"Page":4,"S":6}`}, []string{`A.V: multiplexing "m" has no number`, `A.S: multiplexing "mM" has no number`}},
		{"a mark whose number nobody says", pageM + " SG_ V m : 8|8@1+ (1,0) [0|0] \"\" N\n", "064#0005",
			[]string{`"name":"A","signals":{"Page":0}`}, []string{`signal V: multiplexing "m": it is left out`}},
		{"decimal factors of floating-point signals", "BO_ 1 M: 12 N\n SG_ F : 0|32@1- (0.1,0) [0|0] \"\" N\n SG_ G : 32|64@1- (0.1,-0.3) [0|0] \"\" N\n" +
			"SIG_VALTYPE_ 1 F : 1;\nSIG_VALTYPE_ 1 G : 2;\n", "001##000D00F450000000000001040",
			[]string{`"name":"M","signals":{"F":230.1,"G":0.1},"fd":true`}, nil},
		{"a label of few bits for a great number", "BO_ 1 M: 4 N\n SG_ F : 0|32@1- (1,0) [0|0] \"\" N\nSIG_VALTYPE_ 1 F : 1;\nVAL_ 1 F 0 \"zero\" -1 \"all\" ;\n",
			"001#00008050 001#00000000 001#000080BF",
			[]string{`"name":"M","signals":{"F":17179870000}`, `"name":"M","signals":{"F":{"value":0,"label":"zero"}}`, `"name":"M","signals":{"F":{"value":-1,"label":"all"}}`}, nil},
		{"a message without signals", "BO_ 1 M: 1 N\n", "001#05 001#R", []string{`"data":"05","name":"M","signals":{}`, `"data":"","rtr":true`}, nil},
		{"fast packets", isJ + "BO_ 2566848510 Fast: 43 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\n", "18FEFF07#002B0102030405 18FEFF08#01060708 18FEFF07##02B01",
			[]string{`"data":"002B0102030405"`, `"data":"01060708"`, `"name":"Fast","pgn":65279,"sa":7,"signals":{"S":43},"fd":true`}, []string{"part of Fast"}},
		{"CAN FD of any sender in J1939", isJ + frames + fd64, "18FF0307##102FF 18FF0308#0203 18FF03FE##102 1CEBFF07#01",
			[]string{`"name":"F","pgn":65283,"sa":7,"signals":{"S":2,"T":255},"fd":true,"brs":true`, `"name":"F","pgn":65283,"sa":8,"signals":{"S":2,"T":3}`,
				`"name":"F","pgn":65283,"sa":254,"signals":{"S":2},"fd":true,"brs":true`, `"data":"01"`}, nil},
		{"CAN FD by numbers without names", isJ + "BA_DEF_ BO_ \"VFrameFormat\" INT 0 15;\n" + fd64, "18FF0307##102", []string{`"name":"F","pgn":65283,"sa":7,"signals":{"S":2},"fd":true,"brs":true`}, nil},
		{"CAN FD of one sender in J1939", isJ + frames + strings.ReplaceAll(fd64, "2566849534", "2566849031"), "18FF0207##102 18FF0208##102", []string{`"name":"F","signals":{"S":2},"fd":true,"brs":true`, `"data":"02","fd":true,"brs":true`}, nil},
		{"CAN FD of any sender, but not in J1939", frames + fd64, "18FF0307##102 18FF03FE##102", []string{`"data":"02","fd":true,"brs":true`, `"name":"F","signals":{"S":2},"fd":true,"brs":true`}, nil},
		{"an exact id that no node of J1939 has", isJ + frames + strings.ReplaceAll(fd64, " 15", " 1"), "18FF0307#02", []string{`"data":"02"`},
			[]string{"a.dbc:3:5: message F: VFrameFormat ExtendedCAN says that it is found by its exact id 18FF03FE, which no node sends in J1939; set VFrameFormat to J1939PG"}},
		{"a long message that is not of J1939", "BO_ 2566848510 Long: 43 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\n", "18FEFFFE#2B",
			[]string{`"name":"Long","signals":{"S":43}`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, problems := decodeText(t, MatchAuto, c.frames, c.source)
			if got, want := strings.Join(lines, "\n"), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			all := strings.Join(problems, "\n")
			for _, want := range c.problems {
				if !strings.Contains(all, want) {
					t.Errorf("%q is not reported:\n%s", want, all)
				}
			}
			if c.problems == nil && len(problems) > 0 {
				t.Errorf("unexpected:\n%s", all)
			}
		})
	}
}
