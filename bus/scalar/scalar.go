// Package scalar holds values exactly: what the text of a JSON scalar says, and
// the limits a value must keep to, without rounding.
//
// # Nouns
//
// A [Value] is a bool, a number or a text. [Limits] are what a number may be.
// A [Refusal] says why a value cannot be taken.
//
// # Caveats
//
// A JSON number is taken only if a float64 carries all of it: most writers of
// JSON have no other numbers, so that 9007199254740993 may be what became of
// another one. Such a number is a string, as in the records: "9007199254740993".
package scalar

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The codes of a [Refusal].
const (
	CodeType  = "type"
	CodeRange = "range"
	CodeStep  = "step"
)

// Refusal says why a value cannot be taken.
type Refusal struct {
	_ [0]func() // nobody compares them: saves the code for it

	Code string // CodeType, CodeRange or CodeStep
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// Refuse makes a *[Refusal].
func Refuse(code, format string, args ...any) error {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Kind is the sort of a [Value].
type Kind uint8

// The kinds.
const (
	Bool Kind = iota
	Number
	Text
)

// Value is a JSON scalar. Kind says which field counts.
type Value struct {
	_ [0]func() // nobody compares them: saves the code for it

	Kind   Kind
	Bool   bool
	Number *big.Rat
	Text   string
}

const (
	maxText  = 1024 // bytes of JSON: more than any string of registers
	maxExact = 1 << 53
)

// Parse reads the text of a JSON scalar. Its error is a *[Refusal].
func Parse(text string) (Value, error) {
	var v Value
	switch {
	case len(text) > maxText:
		return v, Refuse(CodeType, "the value has %d bytes, more than %d", len(text), maxText)
	case !utf8.ValidString(text) || !json.Valid([]byte(text)):
		return v, Refuse(CodeType, "%.40q is not a JSON value", text)
	}
	text = strings.Trim(text, " \t\r\n")
	switch {
	case text == "true" || text == "false":
		return Value{Kind: Bool, Bool: text == "true"}, nil
	case text[0] == '"':
		v.Kind = Text
		if err := json.Unmarshal([]byte(text), &v.Text); err != nil {
			return v, Refuse(CodeType, "%.40q is not a JSON string", text)
		}
		return v, nil
	case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
		n, ok := ParseNumber(text)
		if !ok || !carried(n) {
			return v, Refuse(CodeType, "%.40s is not a number that a float64 carries; write an integer beyond 2^53 as a string", text)
		}
		return Value{Kind: Number, Number: n}, nil
	}
	return v, Refuse(CodeType, "%.40s is not a number, a string, true or false", text)
}

// ParseNumber reads a decimal number exactly, with sign, fraction and exponent;
// ok is false for anything else and for numbers beyond those of a float64.
func ParseNumber(text string) (n *big.Rat, ok bool) {
	// Ten characters can mean a billion digits.
	if text == "" || len(text) > 400 || strings.Trim(text, "0123456789+-.eE") != "" {
		return nil, false
	}
	if f, err := strconv.ParseFloat(text, 64); err != nil || math.IsInf(f, 0) {
		return nil, false
	}
	if _, exponent, ok := strings.Cut(strings.ToLower(text), "e"); ok && len(strings.Trim(exponent, "+-")) > 3 {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// carried reports whether a float64 stands for just this number: its shortest
// decimal is the number itself.
func carried(n *big.Rat) bool {
	f, _ := n.Float64()
	return !math.IsInf(f, 0) && OfFloat(f, 64).Cmp(n) == 0
}

// OfFloat is the shortest decimal that reads back as f, a finite float64 or, if
// size is 32, a float32.
func OfFloat(f float64, size int) *big.Rat {
	n, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', -1, size))
	return n
}

// Wide returns the number in a text, if it is one that no JSON number carries
// and is written so.
func (v Value) Wide() (*big.Rat, bool) {
	digits, _ := strings.CutPrefix(v.Text, "-")
	if v.Kind != Text || len(digits) > 64 || digits == "" || strings.Trim(digits, "0123456789.") != "" || digits[0] == '.' ||
		len(digits) > 1 && digits[0] == '0' && digits[1] != '.' {
		return nil, false
	}
	n, ok := new(big.Rat).SetString(v.Text)
	return n, ok && (beyond(n) || !carried(n))
}

// beyond reports whether n is an integer beyond 2^53.
func beyond(n *big.Rat) bool {
	return n.IsInt() && n.Num().CmpAbs(big.NewInt(maxExact)) > 0
}

// Format is the JSON text of a number, as [Parse] reads it. An integer beyond
// 2^53 becomes a string unless it is of a float type, and so does what no
// float64 carries.
func Format(n *big.Rat, float bool) string {
	if carried(n) && (float || !beyond(n)) {
		f, _ := n.Float64()
		format := byte('f')
		if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
			format = 'e'
		}
		return strconv.FormatFloat(f+0, format, -1, 64)
	}
	return `"` + Decimal(n) + `"`
}

// Quote is the JSON text of a string.
func Quote(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

// Decimal is all digits of a number, or as many as are of use if they do not end.
func Decimal(n *big.Rat) string {
	digits, exact := n.FloatPrec()
	if !exact {
		digits = 20
	}
	return n.FloatString(digits)
}

// Limits are what a number may be. Min is the first of the steps.
type Limits struct {
	Min, Max, Step *big.Rat
	// Round says that of a number within the limits the nearest may be written
	// that the bus has, if that is within Min and Max too.
	Round bool
}

// NewLimits reads limits as decimal numbers; an empty step is none.
func NewLimits(low, high, step string) (l Limits, err error) {
	for _, p := range []struct {
		name, text string
		to         **big.Rat
	}{{"min", low, &l.Min}, {"max", high, &l.Max}, {"step", step, &l.Step}} {
		n, ok := ParseNumber(p.text)
		if ok {
			*p.to = n
		} else if p.text != "" || p.name != "step" {
			return l, fmt.Errorf("%s %q: use a number", p.name, p.text)
		}
	}
	return l, l.Validate()
}

// Fault says which of the limits is wrong.
type Fault struct {
	_ [0]func() // nobody compares them: saves the code for it

	Key, What, Fix string
}

func (f *Fault) Error() string { return f.Key + ": " + f.What + "; " + f.Fix }

// Validate says what is wrong with limits, in a *[Fault].
func (l Limits) Validate() error {
	switch {
	case l.Min == nil:
		return Missing("min")
	case l.Max == nil:
		return Missing("max")
	case l.Min.Cmp(l.Max) > 0:
		return &Fault{Key: "min", What: Decimal(l.Min) + " is more than max, " + Decimal(l.Max), Fix: "exchange them"}
	case l.Step == nil:
		return nil
	case l.Step.Sign() <= 0:
		return &Fault{Key: "step", What: "must be more than 0", Fix: "write a number such as 0.5"}
	case l.onStep(l.Max) != nil:
		return &Fault{Key: "step", What: "max, " + Decimal(l.Max) + ", is not a whole number of steps of " + Decimal(l.Step) + " above min, " + Decimal(l.Min), Fix: "correct one of them"}
	}
	return nil
}

// Missing is the fault of a limit that is not there.
func Missing(key string) error {
	return &Fault{Key: key, What: "is missing: nobody could say which numbers are safe", Fix: "write min and max, in the unit of the value"}
}

// Check says why a number is not within the limits, in a *[Refusal].
func (l Limits) Check(n *big.Rat) error {
	if l.Min == nil || l.Max == nil {
		return Refuse(CodeRange, "nothing is within limits that are not given")
	}
	if n.Cmp(l.Min) < 0 || n.Cmp(l.Max) > 0 {
		return Refuse(CodeRange, "%s is not within %s to %s", Decimal(n), Decimal(l.Min), Decimal(l.Max))
	}
	return l.onStep(n)
}

func (l Limits) onStep(n *big.Rat) error {
	if l.Step == nil {
		return nil
	}
	steps := new(big.Rat).Sub(n, l.Min)
	if !steps.Quo(steps, l.Step).IsInt() {
		return Refuse(CodeStep, "%s is not a whole number of steps of %s above %s", Decimal(n), Decimal(l.Step), Decimal(l.Min))
	}
	return nil
}
