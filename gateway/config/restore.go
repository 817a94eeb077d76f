package config

import (
	"slices"
	"strings"
)

// Restore puts the secrets back into a text that somebody has edited without
// seeing them: a line as [Redact] shows it becomes the line of the original that
// it was made of. What is still hidden then is a problem: which secret is meant
// is not clear.
func Restore(name string, text []byte, originals ...[]byte) ([]byte, []Problem) {
	if !strings.Contains(string(text), hidden) {
		return text, nil
	}
	lines := strings.SplitAfter(string(text), "\n")
	for _, original := range originals {
		restoreFrom(lines, original)
	}
	var problems []Problem
	for i, line := range lines {
		if at := strings.Index(line, hidden); at >= 0 {
			problems = append(problems, Problem{File: name, Line: i + 1, Col: at + 1, What: "the secret on this line is hidden, and the line was changed",
				Fix: "write the secret itself, ${VARIABLE}, or the name of a file (..._file)"})
		}
	}
	return []byte(strings.Join(lines, "")), problems
}

// restoreFrom restores the lines that an original has as often as the text: with
// one more or less, which of them is which would be a guess.
func restoreFrom(lines []string, original []byte) {
	is, shown := strings.Split(string(original), "\n"), strings.Split(string(Redact(original)), "\n")
	if len(is) != len(shown) {
		return
	}
	of := map[string][]string{}
	for i := range shown {
		if strings.Contains(shown[i], hidden) {
			key := strings.TrimRight(shown[i], "\r")
			of[key] = append(of[key], strings.TrimRight(is[i], "\r"))
		}
	}
	places := map[string][]int{}
	for i, line := range lines {
		key := strings.TrimRight(line, "\r\n")
		if of[key] != nil {
			places[key] = append(places[key], i)
		}
	}
	for key, at := range places {
		was := of[key]
		if len(at) != len(was) && len(slices.Compact(slices.Clone(was))) > 1 {
			continue
		}
		for k, i := range at {
			lines[i] = was[min(k, len(was)-1)] + lines[i][len(key):]
		}
	}
}
