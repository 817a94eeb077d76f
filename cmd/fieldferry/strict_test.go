package main

import (
	"fmt"
	"strings"
	"testing"
)

// A fault of DBC files is named by check and by decode, and both refuse it with
// --strict; what is only odd is named, and refused by neither.
func TestStrict(t *testing.T) {
	const head = "VERSION \"\"\nBO_ 291 M: 8 E\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" E\n"
	log := write(t, "a.log", "(1.0) vcan0 123#00\n")
	for name, c := range map[string]struct {
		dbc    []string
		says   string
		faulty bool
	}{
		"good":                          {[]string{head}, "", false},
		"a statement":                   {[]string{head + " SG_ T : x|8@1+ (1,0) [0|0] \"\" E\n"}, "0.dbc:4:10: signal T", true},
		"signals side by side":          {[]string{head + " SG_ T : 15|8@0+ (1,0) [0|0] \"\" E\n"}, "", false},
		"signals that share bits":       {[]string{head + " SG_ T : 3|8@0+ (1,0) [0|0] \"\" E\n"}, "0.dbc:4:6: signal M.T: bits 3|8 overlap those of S, 0|8: ", true},
		"under values of a multiplexer": {[]string{"BO_ 1 M: 8 E\n SG_ P M : 0|8@1+ (1,0) [0|0] \"\" E\n SG_ A m0 : 8|8@1+ (1,0) [0|0] \"\" E\n SG_ B m1 : 8|8@1+ (1,0) [0|0] \"\" E\n"}, "", false},
		"messages of one name":          {[]string{head + "BO_ 292 M: 8 E\n"}, "0.dbc:4:5: message M: message 123 has this name too", true},
		"two files of one id":           {[]string{head, strings.Replace(head, "0|8", "0|9", 1)}, "1.dbc:2:1: message M (123) is described differently", true},
		"odd":                           {[]string{head + "FUTURE_ 1;\n"}, "0.dbc:4:1: unknown statement", false},
	} {
		var files, decode []string
		for i, text := range c.dbc {
			files = append(files, write(t, fmt.Sprint(i, ".dbc"), text))
			decode = append(decode, "--dbc", files[i])
		}
		yaml := write(t, "f.yaml", fmt.Sprintf("can: [{interface: can0, dbc: [%s]}]\nuplink: {servers: [\"mqtt://h\"]}\n", strings.Join(files, ", ")))
		for verb, args := range map[string][]string{"check": {"check", "-c", yaml}, "decode": append([]string{"decode", log}, decode...)} {
			for _, strict := range []bool{false, true} {
				want := 0
				if strict {
					args = append(args, "--strict")
					if c.faulty {
						want = 2
					}
				}
				if r := fieldferry(t.Context(), nil, args...); r.code != want || !strings.Contains(strings.ReplaceAll(r.stderr, ": warning: ", ": "), c.says) || c.says == "" && r.stderr != "" {
					t.Errorf("%s: %s, strict %v: code %d, want %d\n%s", name, verb, strict, r.code, want, r.stderr)
				}
			}
		}
	}
}
