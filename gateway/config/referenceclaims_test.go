package config

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// claims are values that a row says are taken, and that are not.
type claims struct{ taken, refused []string }

var (
	aRow     = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\| (.*) \\|$")
	aRange   = regexp.MustCompile(`([0-9][^ ]*) to ([0-9][^ ,;]*)(?:, or ([^ ,;]+))?`)
	examples = regexp.MustCompile(`such as ([^ ,;]+)(?: or ([^ ,;]+))?`)
	aChoice  = regexp.MustCompile(`^(?:one of )?[\w.-]+(?:(?:, | or |, or )[\w.-]+)+$`)
)

// notHere are keys whose values depend on names in a file, which a probe does not know.
var notHere = []string{"can[].messages.NAME.signals.NAME.not_available"}

// claimed reads a row of the reference.
func claimed(takes, usual string) (c claims) {
	for _, m := range aRange.FindAllStringSubmatch(takes, -1) {
		c.taken = append(c.taken, m[1], m[2])
		c.refused = append(c.refused, beside(m[1], -1), beside(m[2], 1))
		if m[3] != "" {
			c.taken = append(c.taken, m[3])
			c.refused = slices.DeleteFunc(c.refused, func(s string) bool { return strings.TrimRight(s, "sn") == m[3] })
		}
	}
	for _, m := range examples.FindAllStringSubmatch(takes, -1) {
		c.taken = append(c.taken, m[1:]...)
		if strings.HasSuffix(takes, "or a list of these") {
			c.taken = append(c.taken, "["+m[1]+", "+m[2]+"]")
		}
	}
	if strings.HasSuffix(takes, "or none") {
		c.taken = append(c.taken, "none")
	}
	if aChoice.MatchString(takes) {
		c.taken = append(c.taken, strings.FieldsFunc(strings.NewReplacer("one of ", "", ", or ", ",", " or ", ",", ", ", ",").Replace(takes), func(r rune) bool { return r == ',' })...)
		c.refused = append(c.refused, "zzqqxxzz")
	}
	if strings.Contains(takes, "NaN") {
		c.taken = append(c.taken, "NaN")
	}
	if takes == "number" {
		c.taken = append(c.taken, "-1", "0.5", "1e9")
		c.refused = append(c.refused, "5%", ".inf")
	}
	if _, err := strconv.Atoi(takes); err == nil {
		c.taken = append(c.taken, takes)
		c.refused = append(c.refused, beside(takes, -1), beside(takes, 1))
	}
	c.taken = append(c.taken, strings.Split(usual, " or ")...)
	empty := func(s string) bool { return s == "" }
	return claims{slices.DeleteFunc(c.taken, empty), slices.DeleteFunc(c.refused, empty)}
}

// beside is the value next to a bound, on the side of step.
func beside(bound string, step int) string {
	if n, err := strconv.Atoi(bound); err == nil {
		return strconv.Itoa(n + step)
	}
	if x, err := strconv.ParseFloat(bound, 64); err == nil {
		return strconv.FormatFloat(math.Nextafter(x, x+float64(step)), 'g', -1, 64)
	}
	if d, err := time.ParseDuration(bound); err == nil {
		return (d + time.Duration(step)).String()
	}
	size, suffix := strings.CutSuffix(bound, "/s")
	m := aSize.FindStringSubmatch(size)
	if m == nil {
		panic("what is " + bound)
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	text := fmt.Sprintf("%.0fB", n*unitSize(m[2])+float64(step))
	if suffix {
		text += "/s"
	}
	return text
}

// Every value that a row of the reference names is taken in a configuration that
// has the key, every one beside it is not, and no row leaves a number without bounds.
func TestReferenceHolds(t *testing.T) {
	p := newProbe(t)
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range notHere {
		delete(p.keys, name)
	}
	rows, values := 0, 0
	for _, m := range aRow.FindAllStringSubmatch(string(text), -1) {
		key, takes, usual := m[1], m[2], m[3]
		facts := p.keys[key]
		if facts == nil {
			continue // of another table
		}
		rows++
		if takes == "whole number" || takes == "duration" || takes == "size" {
			t.Errorf("%s: %q says no bounds", key, takes)
		}
		c := claimed(takes, usual)
		values += len(c.taken) + len(c.refused)
		p.judge(key, facts, c)
	}
	t.Logf("%d rows, %d values", rows, values)
	if rows != len(p.keys) || values < 2*rows {
		t.Errorf("%d of %d rows read, %d values tried", rows, len(p.order), values)
	}
}

// judge tries the values of a row where the key is: each one that is taken is so
// somewhere, and each other one is refused where others are taken.
func (p *probe) judge(key string, facts *keyFacts, c claims) {
	wrong := func(q question, value string) string {
		for _, s := range p.ask(q.context, q.path, value) {
			if !s.Warning {
				return s.What
			}
		}
		return ""
	}
	var live []question // where the key is read
	for _, q := range facts.asked {
		if len(c.refused) > 0 && slices.ContainsFunc(c.taken, func(s string) bool { return wrong(q, s) == "" }) && wrong(q, "§§§§") != "" {
			live = append(live, q)
		}
	}
	for _, value := range c.taken {
		what := ""
		if !slices.ContainsFunc(facts.asked, func(q question) bool { what = wrong(q, value); return what == "" }) {
			p.t.Errorf("%s: %q is said to be taken, but: %s", key, value, what)
		}
	}
	for _, value := range c.refused {
		if !slices.ContainsFunc(live, func(q question) bool { return wrong(q, value) != "" }) {
			p.t.Errorf("%s: %q is said not to be taken, but is, at %d places", key, value, len(live))
		}
	}
}
