package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]+$`)
	wholeNumber = regexp.MustCompile(`^[-+]?([0-9]+|0x[0-9a-fA-F]+)$`)
	aNumber     = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

// words is a small table of words. A map of them would be filled by code, with a
// hundred bytes for each (docs/decisions/binary-size.md).
type words [][2]string

// of returns the word for key, "" if there is none.
func (w words) of(key string) string {
	for _, pair := range w {
		if pair[0] == key {
			return pair[1]
		}
	}
	return ""
}

// words of YAML that are no text unless quoted.
var yamlWords = words{
	{"true", "true or false"}, {"false", "true or false"}, {"True", "true or false"}, {"False", "true or false"},
	{"TRUE", "true or false"}, {"FALSE", "true or false"}, {".nan", "not a number"}, {".NaN", "not a number"},
	{".NAN", "not a number"}, {".inf", "infinite"}, {".Inf", "infinite"}, {"-.inf", "infinite"}, {"+.inf", "infinite"},
}

// text returns a non-empty text, def when there is none.
func (v value) text(def string) string {
	if v.usual() && def != "" {
		v.l.usual[v.path] = def
	}
	if !v.is(scalar) {
		return def
	}
	if v.n.text == "" {
		v.fail("is empty", "give it a value or remove the key")
		return def
	}
	if v.n.quoted || v.n.expanded {
		return v.n.text
	}
	if leadingZero.MatchString(v.n.text) {
		v.fail(fmt.Sprintf("%s could be octal", v.n.text), `remove the leading zero, or put it in quotes if it is a name`)
		return def
	}
	if is := yamlWords.of(v.n.text); is != "" {
		v.fail(fmt.Sprintf("a text is wanted, %s means %s", v.n.text, is), "put it in quotes if it is a name")
		return def
	}
	return v.n.text
}

// plain returns the text of a scalar that is to be no quoted text.
func (v value) plain(want, example string) (string, bool) {
	if !v.is(scalar) {
		return "", false
	}
	if v.n.quoted && !v.n.expanded {
		if text := v.n.text; wholeNumber.MatchString(text) && !leadingZero.MatchString(text) || aNumber.MatchString(text) && want == "a number" {
			example = text
		}
		v.fail(fmt.Sprintf("%s is wanted, not the text %s", want, shown(v.n.text)), "remove the quotes: write "+example)
		return "", false
	}
	return v.n.text, true
}

// integer returns a whole number from low to high, def when there is none.
func (v value) integer(low, high, def int64) int64 {
	v.boundedInteger(low, high)
	return v.whole(low, high, def)
}

// whole is integer for a value that has said its bounds.
func (v value) whole(low, high, def int64) int64 {
	return v.wholeSuch(low, high, def, fmt.Sprintf("write a number from %d to %d", low, high))
}

// wholeSuch is whole with words of one's own on what is taken.
func (v value) wholeSuch(low, high, def int64, such string) int64 {
	if v.usual() {
		v.l.usual[v.path] = strconv.FormatInt(def, 10)
	}
	example := strconv.FormatInt(max(low, def), 10)
	text, ok := v.plain("a whole number", example)
	if !ok {
		return def
	}
	switch {
	case leadingZero.MatchString(text):
		v.fail(text+" begins with zero and could be octal", "write "+trimZeros(text))
		return def
	case !wholeNumber.MatchString(text):
		v.fail(shown(text)+" is not a whole number", such)
		return def
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil || n < low || n > high {
		v.fail(fmt.Sprintf("%s is out of range", text), such)
		return def
	}
	return n
}

func trimZeros(text string) string {
	if t := strings.TrimLeft(strings.TrimLeft(text, "+-"), "0_"); t != "" {
		return t
	}
	return "0"
}

// number returns a finite number, def when there is none.
func (v value) number(def float64) float64 { return v.numberSuch(def, "write a number such as 0.1") }

// numberSuch is number with words of one's own on what is taken.
func (v value) numberSuch(def float64, such string) float64 {
	if v.usual() {
		v.l.usual[v.path] = strconv.FormatFloat(def, 'g', -1, 64)
	}
	text, ok := v.plain("a number", "0.1")
	if !ok {
		return def
	}
	switch {
	case leadingZero.MatchString(text):
		v.fail(text+" begins with zero and could be octal", "write "+trimZeros(text))
		return def
	case strings.Contains(text, ","):
		v.fail(shown(text)+" is not a number", "write "+strings.ReplaceAll(text, ",", ".")+", with a decimal point")
		return def
	case !aNumber.MatchString(text):
		v.fail(shown(text)+" is not a finite number", such)
		return def
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) {
		v.fail(text+" is out of range", such)
		return def
	}
	return n
}

// share returns a part of the whole from low to high, which reads 5% or 0.05;
// def when there is none.
func (v value) share(low, high, def float64) float64 {
	v.boundedShare(low, high)
	if v.usual() {
		v.l.usual[v.path] = strconv.FormatFloat(def*100, 'g', -1, 64) + "%"
	}
	if !v.is(scalar) {
		return def
	}
	n, unit := v, 1.0
	if text, ok := strings.CutSuffix(v.n.text, "%"); ok {
		copied := *v.n
		copied.text = strings.TrimSpace(text)
		n.n, unit = &copied, 100
	}
	share := n.number(def*unit) / unit
	if share < low || share > high {
		v.fail(v.n.text+" is not a share that makes sense here", fmt.Sprintf("write %g%% to %g%%", low*100, high*100))
		return def
	}
	return share
}

// boolean returns true or false, def when there is neither.
func (v value) boolean(def bool) bool {
	if v.usual() {
		v.l.usual[v.path] = strconv.FormatBool(def)
	}
	text, ok := v.plain("true or false", "true")
	if !ok {
		return def
	}
	switch text {
	case "true":
		return true
	case "false":
		return false
	}
	v.fail(shown(text)+" is neither true nor false", "write true or false")
	return def
}

// choice returns one of the words, the first when there is none.
func (v value) choice(words ...string) string {
	if v.usual() && words[0] != "" {
		v.l.usual[v.path] = words[0]
	}
	if !v.is(scalar) {
		return words[0]
	}
	if contains(words, v.n.text) {
		return v.n.text
	}
	fix := "write " + strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	if near := nearest(v.n.text, words); near != "" {
		fix = "write " + near
	}
	v.fail(shown(v.n.text)+" is not known", fix)
	return words[0]
}

// span is what a duration may be.
type span struct {
	low, high time.Duration
	zero      bool          // 0 is allowed besides, also without a unit
	step      time.Duration // the duration is a multiple of it; 0: any
	example   string
}

// oneDuration is a number with a unit; several may follow each other.
var oneDuration = regexp.MustCompile(`^-?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`)

var bareNumber = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]+)?$`)

// duration returns a duration within s, def when there is none.
func (v value) duration(s span, def time.Duration) time.Duration {
	v.boundedDuration(s)
	if v.usual() {
		v.l.usual[v.path] = DurationText(def)
	}
	if !v.is(scalar) {
		return def
	}
	text := v.n.text
	such := "write a duration such as " + s.example
	switch {
	case text == "0" && s.zero:
		return 0
	case text == "0":
		v.fail("zero makes no sense here", such)
		return def
	}
	if bareNumber.MatchString(text) {
		v.fail(shown(text)+" has no unit", fmt.Sprintf("write ms, s, m or h after the number, such as %s", s.example))
		return def
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || !oneDuration.MatchString(text):
		v.fail(shown(text)+" is not a duration", such)
	case d < 0:
		v.fail(text+" is negative", such)
	case d == 0 && s.zero:
		return 0
	case d == 0:
		v.fail("zero makes no sense here", such)
	case d < s.low:
		v.fail(fmt.Sprintf("%s is shorter than %s", text, DurationText(s.low)), such)
	case d > s.high:
		v.fail(fmt.Sprintf("%s is longer than %s", text, DurationText(s.high)), such)
	case s.step > 0 && d%s.step != 0:
		v.fail(fmt.Sprintf("%s is not a multiple of %s", text, DurationText(s.step)), such)
	default:
		return d
	}
	return def
}

// DurationText is d as people write it: 168h, not 168h0m0s.
func DurationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

var aSize = regexp.MustCompile(`^(-?[0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)$`)

var sizeUnits = []struct {
	name string
	size float64
}{
	{"B", 1}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
}

// unitSize is how many bytes a unit is, 0 of one that is not known.
func unitSize(name string) float64 {
	for _, u := range sizeUnits {
		if u.name == name {
			return u.size
		}
	}
	return 0
}

// size returns a number of bytes from low to high, def when there is none.
func (v value) size(low, high, def int64) int64 {
	v.boundedSize(low, high, "")
	return v.bytes(low, high, def)
}

// bytes is size for a value that has said its bounds.
func (v value) bytes(low, high, def int64) int64 {
	if v.usual() {
		v.l.usual[v.path] = bytesText(def)
	}
	if !v.is(scalar) {
		return def
	}
	text, such := v.n.text, "write a size such as "+bytesText(def)
	m := aSize.FindStringSubmatch(text)
	if m == nil {
		v.fail(shown(text)+" is not a size", such)
		return def
	}
	n, err := strconv.ParseFloat(m[1], 64)
	unit := unitSize(m[2])
	known := unit > 0
	n *= unit
	switch {
	case m[1] == "0" || known && n == 0:
		v.fail("zero makes no sense here", such)
	case strings.HasPrefix(m[1], "-"):
		v.fail(shown(text)+" is negative", such)
	case m[2] == "":
		v.fail(shown(text)+" has no unit", "write KiB, MiB or GiB after the number, such as "+bytesText(def))
	case err != nil || !known:
		v.fail(fmt.Sprintf("%s is not a size: the unit %s is not known", shown(text), m[2]), such)
	case n < float64(low):
		v.fail(fmt.Sprintf("%s is less than %s", text, bytesText(low)), such)
	case n > float64(high):
		v.fail(fmt.Sprintf("%s is more than %s", text, bytesText(high)), such)
	default:
		return int64(n)
	}
	return def
}

// bytesText is n in the largest unit that divides it.
func bytesText(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}
