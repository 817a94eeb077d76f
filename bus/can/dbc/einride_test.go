package dbc

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	einridecan "go.einride.tech/can"
	einride "go.einride.tech/can/pkg/dbc"
)

// TestAgainstEinride compares what another parser reads from well-formed files
// and what its bit extraction gives.
func TestAgainstEinride(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 23))
	for range 100 {
		source := randomFile(r)
		ours, diagnostics := Parse("random.dbc", []byte(source), Options{})
		if diagnostics = withoutOverlaps(diagnostics); len(diagnostics) > 0 {
			t.Fatalf("%v\n%s", diagnostics, source)
		}
		p := einride.NewParser("random.dbc", []byte(source))
		if err := p.Parse(); err != nil {
			t.Fatalf("%v\n%s", err, source)
		}
		n := 0
		for _, def := range p.Defs() {
			theirs, ok := def.(*einride.MessageDef)
			if !ok {
				continue
			}
			compareMessage(t, r, ours.Messages[n], theirs)
			n++
		}
		if n != len(ours.Messages) {
			t.Fatalf("%d messages, want %d", len(ours.Messages), n)
		}
	}
}

func randomFile(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("VERSION \"\"\nNS_ :\n\tCM_\n\tBA_\nBS_:\nBU_: N Other\n")
	for i := range 1 + r.IntN(20) {
		id := r.Uint32N(0x800)
		if r.IntN(2) == 0 {
			id = 1<<31 | r.Uint32N(1<<29)
		}
		fmt.Fprintf(&b, "BO_ %d Message%d: 8 N\n", id, i)
		for j := range r.IntN(8) {
			l := randomLayout(r, j, 8)
			l.offset = "0"
			b.WriteString(l.statement())
		}
		fmt.Fprintf(&b, "CM_ BO_ %d \"about message %d\";\n", id, i)
	}
	return b.String()
}

func compareMessage(t *testing.T, r *rand.Rand, ours *Message, theirs *einride.MessageDef) {
	t.Helper()
	if ours.Name != string(theirs.Name) || ours.ID != theirs.MessageID.ToCAN() || ours.Extended != theirs.MessageID.IsExtended() ||
		ours.Size != int(theirs.Size) || len(ours.Signals) != len(theirs.Signals) {
		t.Fatalf("%+v, want %+v", ours, theirs)
	}
	var data einridecan.Data
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	values := ours.Decode(data[:], nil)
	for i := range theirs.Signals {
		s, want := &ours.Signals[i], &theirs.Signals[i]
		if s.Name != string(want.Name) || s.Start != int(want.StartBit) || s.Length != int(want.Size) || s.BigEndian != want.IsBigEndian ||
			s.Signed != want.IsSigned || s.Factor != want.Factor || s.Offset != want.Offset {
			t.Fatalf("%+v, want %+v", s, want)
		}
		bits := data.UnsignedBitsLittleEndian
		if want.IsBigEndian {
			bits = data.UnsignedBitsBigEndian
		}
		if raw := bits(uint8(want.StartBit), uint8(want.Size)); values[i].Raw != raw {
			t.Fatalf("%s of %X: raw %X, want %X", s.Name, data, values[i].Raw, raw)
		}
	}
}
