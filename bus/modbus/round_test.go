package modbus

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"fieldferry/bus/scalar"
)

// What is written of any value within the limits is the nearest one within them
// that the register has. Without the rounding the value is written as it is, or
// the refusal names both neighbours and the key.
func TestRounding(t *testing.T) {
	rnd := rand.New(rand.NewPCG(20, 90))
	scales := []float64{0.006103515625, 0.1, 0.017, 3, 0.333333333333, -0.1, 100.0 / 16383, 1}
	between := 0
	for range 5000 {
		r := Register{Name: "r", Type: []Type{Int16, Uint16, Int32, Uint32, BCD16, SignMagnitude16}[rnd.IntN(6)],
			Scale: scales[rnd.IntN(len(scales))], Offset: []float64{0, -40, 0.5}[rnd.IntN(3)]}
		if r.Scale < 0 && (r.Type == Uint16 || r.Type == Uint32 || r.Type == BCD16) {
			r.Scale = -r.Scale
		}
		// Limits are two values of the register apart at least, and anywhere between them.
		at := func(raw, tenths int64) *big.Rat {
			n := big.NewRat(10*raw+tenths, 10)
			n.Mul(n, scalar.OfFloat(math.Abs(r.Scale), 64))
			n, _ = new(big.Rat).SetString(n.Add(n, scalar.OfFloat(r.Offset, 64)).FloatString(5))
			return n
		}
		from := 1 + rnd.Int64N(500)
		low, high := at(from, rnd.Int64N(10)), at(from+3+rnd.Int64N(5000), rnd.Int64N(10))
		c, err := NewCodec(r, scalar.Limits{Min: low, Max: high, Round: true})
		if err != nil {
			t.Fatalf("%+v %v to %v: %v", r, low, high, err)
		}
		n := new(big.Rat).Add(low, new(big.Rat).Mul(new(big.Rat).Sub(high, low), big.NewRat(rnd.Int64N(11), 10)))
		n, _ = new(big.Rat).SetString(n.FloatString(5))
		words, err := c.Encode(n.FloatString(5), nil)
		if err != nil {
			t.Fatalf("%+v %s: %v", r, scalar.Decimal(n), err)
		}
		if err := c.Within(words); err != nil {
			t.Fatalf("%+v %s: the permit refuses it: %v", r, scalar.Decimal(n), err)
		}
		got, _ := c.decode(words)
		away := func(v *big.Rat) *big.Rat { d := new(big.Rat).Sub(v, n); return d.Abs(d) }
		for _, steps := range []int64{-1, 1} {
			other := new(big.Rat).Mul(c.scale, new(big.Rat).SetInt64(steps))
			other.Add(other, got.Number)
			if other.Cmp(low) >= 0 && other.Cmp(high) <= 0 && away(other).Cmp(away(got.Number)) < 0 {
				t.Errorf("%+v %s: written is %s, and %s is nearer", r, scalar.Decimal(n), scalar.Decimal(got.Number), scalar.Decimal(other))
			}
		}
		exact := NewDecoder(r) // any limits
		exact.limits = scalar.Limits{Min: low, Max: high}
		under, over := exact.around(n)
		switch words, err := exact.Encode(n.FloatString(5), nil); {
		case err == nil:
			if v, _ := exact.decode(words); v.Number.Cmp(n) != 0 {
				t.Errorf("%+v %s: written is %s without rounding", r, scalar.Decimal(n), scalar.Decimal(v.Number))
			}
		case !strings.Contains(err.Error(), scalar.Decimal(under)+" and "+scalar.Decimal(over)+"; write one of them, or add rounding: nearest"):
			t.Errorf("%+v %s: %v", r, scalar.Decimal(n), err)
		default:
			between++
		}
	}
	if between < 1000 {
		t.Errorf("only %d values were between two of the register", between)
	}
}

// A drive counts 16384 for 100 %.
func TestRoundingOfADrive(t *testing.T) {
	r := Register{Name: "speed", Type: Int16, Scale: 0.006103515625}
	for value, want := range map[string]string{
		"55": "54.998779296875", "20": "20.001220703125", "90": "89.996337890625", "50": "50", "0.25": "!", "19.9999": "!", "90.0001": "!",
	} {
		l := limits(t, "20", "90", "1")
		l.Round = true
		if value == "0.25" {
			l.Min, l.Max = scalar.OfFloat(0, 64), scalar.OfFloat(1, 64)
		}
		c, err := NewCodec(r, l)
		if err != nil {
			t.Fatal(err)
		}
		got := "!"
		if words, err := c.Encode(value, nil); err == nil {
			got, _ = c.Decode(words)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
	for _, l := range [][3]string{{"20.002", "20.003", ""}, {"0", "250", ""}, {"-250", "0", ""}} {
		with := limits(t, l[0], l[1], l[2])
		with.Round = true
		if _, err := NewCodec(r, with); err == nil {
			t.Errorf("%v: the register has no such value, and it is taken", l)
		}
	}
	f, err := NewCodec(Register{Name: "f", Type: Float32}, scalar.Limits{Min: scalar.OfFloat(0, 64), Max: scalar.OfFloat(1, 64), Round: true})
	if err != nil {
		t.Fatal(err)
	}
	if words, err := f.Encode("0.123456789", nil); err != nil {
		t.Error(err)
	} else if got, _ := f.Decode(words); got != "0.12345679" {
		t.Errorf("float32: %s", got)
	}
}
