package dbc

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var homonymRuns = flag.Int("homonyms", 1000, "random DBC files of TestHomonymsAgainstModel")

// TestTooManyMultiplexers: what depends on a multiplexer that is one too many is
// left out, also where it stands before it; it does not depend on another then.
func TestTooManyMultiplexers(t *testing.T) {
	var b strings.Builder
	b.WriteString("BO_ 100 A: 8 N\n SG_ Root M : 0|1@1+ (1,0) [0|0] \"\" N\n SG_ Early m0 : 1|1@1+ (1,0) [0|0] \"\" N\n")
	var refs strings.Builder
	refs.WriteString("SG_MUL_VAL_ 100 Early Last 0-0;\nSG_MUL_VAL_ 100 Last Deep 0-0;\n")
	for i := range maxMultiplexers - 2 {
		fmt.Fprintf(&b, " SG_ M%d m0M : 2|1@1+ (1,0) [0|0] \"\" N\n SG_ V%d m0 : 3|1@1+ (1,0) [0|0] \"\" N\n", i, i)
		fmt.Fprintf(&refs, "SG_MUL_VAL_ 100 M%d Root 0-0;\nSG_MUL_VAL_ 100 V%d M%d 0-0;\n", i, i, i)
	}
	b.WriteString(" SG_ Deep m0M : 4|1@1+ (1,0) [0|0] \"\" N\n SG_ Last m0M : 5|1@1+ (1,0) [0|0] \"\" N\n")
	refs.WriteString("SG_MUL_VAL_ 100 Deep Root 0-0;\n")
	file, _ := Parse("many.dbc", []byte(b.String()+refs.String()), Options{})
	for i := range file.Messages[0].Signals {
		s := &file.Messages[0].Signals[i]
		switch {
		case s.Name == "Early" && (s.Multiplexer == nil || s.Multiplexer.Name != "Last"):
			t.Errorf("Early depends on %+v", s.Multiplexer)
		case s.Name == "Last" && (s.Multiplexer == nil || s.Multiplexer.Name != "Deep"):
			t.Errorf("Last depends on %+v", s.Multiplexer)
		}
	}
}

// TestHomonymsAgainstModel decodes by random files: signals of one name on
// several pages and on one, nested multiplexers, statements about them in any
// order, some of which cannot be read. What comes out is what the model says,
// and no object has a member twice.
func TestHomonymsAgainstModel(t *testing.T) {
	faults, shown := 0, 0
	for seed := range *homonymRuns {
		r := rand.New(rand.NewPCG(uint64(seed), 20))
		f := randomModel(r)
		source := f.String()
		f.resolve()
		file, _ := Parse("random.dbc", []byte(source), Options{})
		db, _ := NewDatabase(MatchAuto, file)
		var log, out bytes.Buffer
		var frames [][]byte
		for range 20 {
			data := randomBytes(r, 8)
			if f.chance(10) {
				data = data[:r.IntN(8)]
			}
			frames = append(frames, data)
			fmt.Fprintf(&log, "(1.0) can0 064#%X\n", data)
		}
		if err := NewDecoder(db).Decode(&log, &out); err != nil {
			t.Fatal(err)
		}
		for i, line := range slices.Collect(bytes.Lines(out.Bytes())) {
			if err := f.check(frames[i], line); err != nil {
				faults++
				if shown++; shown <= 3 {
					t.Errorf("seed %d: %v\n%s%X: %s", seed, err, source, frames[i], line)
				}
				break
			}
		}
	}
	if faults > 0 {
		t.Errorf("%d of %d files are decoded wrongly", faults, *homonymRuns)
	}
}
