package config

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// nearest returns the candidate that word is most likely a mistyping of, or "".
func nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", 3
	for _, c := range candidates {
		if len(word) > len(c)+2 || len(c) > len(word)+2 {
			continue
		}
		// A short word is near to everything; ask for more of it to agree.
		if d := distance(strings.ToLower(word), c); d < least && (d == 0 || d*2 < len(c)+1) {
			best, least = c, d
		}
	}
	if best != "" {
		return best
	}
	for _, c := range candidates {
		if len(word) >= 4 && (strings.HasPrefix(c, word) || strings.HasPrefix(word, c) && len(c) >= 4) {
			return c
		}
	}
	return ""
}

// nearestName is nearest for names whose letters may be of either case.
func nearestName(word string, names []string) string {
	lower := make([]string, len(names))
	for i, name := range names {
		lower[i] = strings.ToLower(name)
	}
	near := nearest(strings.ToLower(word), lower)
	if i := slices.Index(lower, near); i >= 0 {
		return names[i]
	}
	return ""
}

// distance counts insertions, deletions, replacements and swaps of neighbours
// between a and b (optimal string alignment).
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row := make([]int, len(t)+1)
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(row[j]+1, last[j+1]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(t)]
}

// shown quotes a value of the file for a message: on one line, without control
// characters, and not at any length.
func shown(text string) string {
	const most = 60
	if utf8.RuneCountInString(text) > most {
		return strconv.Quote(string([]rune(text)[:most])) + "..."
	}
	return strconv.Quote(text)
}

// printable is text as it stands where it can stand in a line, else quoted.
func printable(text string) string {
	if text == "" || len(text) > 64 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }) {
		return shown(text)
	}
	return text
}
