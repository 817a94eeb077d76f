package config

import (
	"fmt"
	"strings"
	"unicode"
)

// topicVariables are what a topic template may contain in braces.
var topicVariables = []string{"gateway", "source", "device", "id", "name"}

func (v value) topic() string {
	text := v.text("")
	if text == "" {
		return defaultTopic
	}
	if what, fix := topicTrouble(text); what != "" {
		v.fail(what, fix)
		return defaultTopic
	}
	return text
}

// topicTrouble says why text is no topic template (MQTT 3.1.1, 4.7), or
// returns "".
func topicTrouble(text string) (what, fix string) {
	const such = "write such as " + defaultTopic
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "the topic contains a NUL, control or unprintable character", such
	case strings.ContainsAny(text, "+#"):
		return "the topic contains + or #, which only subscriptions may", such
	case text[0] == '$':
		return "the topic begins with $, which brokers reserve", such
	}
	longest := 0
	for level := range strings.SplitSeq(text, "/") {
		if level == "" {
			return "the topic has an empty level: a / at its begin or end, or two in a row", "remove the /"
		}
		n, what, fix := levelLength(level)
		if what != "" {
			return what, fix
		}
		longest += n + 1
	}
	if longest-1 > maxString {
		return fmt.Sprintf("the topic can be longer than the %d bytes MQTT can carry", maxString), "shorten it"
	}
	return "", ""
}

// levelLength returns how long a level of a template can become.
func levelLength(level string) (n int, what, fix string) {
	for {
		before, rest, found := strings.Cut(level, "{")
		if strings.Contains(before, "}") {
			return 0, "the topic has a } without {", "write variables as {gateway}"
		}
		n += len(before)
		if !found {
			return n, "", ""
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return 0, "the topic has a { without }", "write variables as {gateway}"
		}
		if !contains(topicVariables, name) {
			fix = "the variables are {" + strings.Join(topicVariables, "} {") + "}"
			if near := nearest(name, topicVariables); near != "" {
				fix = "did you mean {" + near + "}?"
			}
			return 0, fmt.Sprintf("the topic has an unknown variable {%s}", printable(name)), fix
		}
		n += maxName
		level = after
	}
}
