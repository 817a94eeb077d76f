package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// defaultHealth is how often sources say how they fare.
const defaultHealth = 5 * time.Minute

// maxName bounds names, which stand in topics and in every record.
const maxName = 128

func (l *loader) gateway(v value) Gateway {
	f := v.fields("id", "clock", "health_interval")
	g := Gateway{TrustClock: f.at("clock").choice("auto", "trusted") == "trusted"}
	g.HealthInterval = f.at("health_interval").duration(span{low: 10 * time.Second, high: 24 * time.Hour, zero: true, example: "5m"}, defaultHealth)
	id := f.at("id")
	if id.has {
		g.ID = id.level("")
		return g
	}
	if what := levelTrouble(l.opts.Hostname); what != "" {
		at := value{l, "gateway.id", &node{at: place{1, 1}}, false}
		at.fail("is missing, and the host name cannot stand for it: it "+what, "add gateway: {id: NAME}")
		return g
	}
	g.ID = l.opts.Hostname
	return g
}

// level returns a text that can be one level of a topic.
func (v value) level(def string) string {
	text := v.text("")
	if text == "" {
		return def
	}
	if what := levelTrouble(text); what != "" {
		v.fail(shown(text)+" "+what, "use letters, digits, - and _")
		return def
	}
	return text
}

// levelTrouble says why text cannot be one level of a topic name (MQTT 3.1.1,
// 4.7), or returns "".
func levelTrouble(text string) string {
	switch {
	case text == "":
		return "is empty"
	case len(text) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	case strings.ContainsAny(text, "/+#"):
		return "contains /, + or #, which topics reserve"
	case text[0] == '$':
		return "begins with $, which brokers reserve"
	case strings.TrimSpace(text) != text:
		return "begins or ends with a space"
	}
	return labelTrouble(text)
}

// labelTrouble says why text cannot be printed on one line, or returns "".
func labelTrouble(text string) string {
	if len(text) > maxName {
		return fmt.Sprintf("is longer than %d bytes", maxName)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "contains characters that cannot be printed"
	}
	return ""
}

// label returns a text that can be printed on one line.
func (v value) label(def string) string {
	text := v.text("")
	if text == "" {
		return def
	}
	if what := labelTrouble(text); what != "" {
		v.fail(shown(text)+" "+what, "use letters, digits and signs")
		return def
	}
	return text
}

// sources are the source names given so far.
type sources map[string]value

// reservedSources are the levels of a topic that the gateway itself uses.
var reservedSources = []string{"gateway", "status", "meta"}

// add reports a name that another source has, or the gateway itself.
func (s sources) add(name string, v value) {
	if name == "" {
		return
	}
	if slices.Contains(reservedSources, name) {
		v.fail(fmt.Sprintf("the name %s is taken by the gateway's own messages", shown(name)), "give the source another name")
		return
	}
	if first, ok := s[name]; ok {
		v.fail(fmt.Sprintf("the source %s has the same name as %s %s", shown(name), first.path, first.where()), "give it a name of its own")
		return
	}
	s[name] = v
}
