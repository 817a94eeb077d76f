package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// maxProblems bounds what is reported of one file.
const maxProblems = 500

// Problem is one thing wrong with a configuration.
type Problem struct {
	File    string // the file as named to [Load], or "--set" for an override
	Line    int    // from 1; 0 when the place is not in the file
	Col     int    // from 1, in characters
	Path    string // key path such as modbus[0].devices[1].unit_id; empty: the file as a whole
	What    string // what is wrong
	Fix     string // what to do about it; may be empty
	Warning bool   // it does not keep the daemon from running

	textLine int // see InText; 0: it is Line
}

// String returns FILE:LINE:COL: key.path: what is wrong; what to do.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.What)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// quoted is what a problem shows of the file.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// Public returns the problem without what it quotes of the file: a value in
// the wrong place may be a secret. The quotation marks stay, so that it is a
// sentence wherever the value stood in it.
func (p Problem) Public() Problem {
	p.What = quoted.ReplaceAllStringFunc(p.What, elide)
	p.Fix = quoted.ReplaceAllStringFunc(p.Fix, elide)
	return p
}

func elide(text string) string {
	if text == `""` {
		return text
	}
	return `"..."`
}

// HasErrors says whether any of the problems keeps the daemon from running.
func HasErrors(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

// sorted brings problems into the order of the file, overrides last, and
// bounds their number. Errors are kept in preference to warnings.
func sorted(problems []Problem) []Problem {
	order := func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(min(a.Line, 1), min(b.Line, 1))*-1,
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.What, b.What),
		)
	}
	if len(problems) > maxProblems {
		sort.SliceStable(problems, func(i, j int) bool {
			if a, b := &problems[i], &problems[j]; a.Warning != b.Warning {
				return b.Warning
			}
			return order(problems[i], problems[j]) < 0
		})
		left := problems[maxProblems:]
		more := Problem{
			File: problems[0].File,
			What: fmt.Sprintf("%d more problems are not shown", len(left)),
			Fix:  "correct these first", Warning: !HasErrors(left),
		}
		problems = slices.Clone(problems[:maxProblems])
		sort.SliceStable(problems, func(i, j int) bool { return order(problems[i], problems[j]) < 0 })
		return append(problems, more)
	}
	sort.SliceStable(problems, func(i, j int) bool { return order(problems[i], problems[j]) < 0 })
	told := problems[:0]
	for i := range problems {
		if n := len(told); n == 0 || problems[i] != told[n-1] {
			told = append(told, problems[i])
		}
	}
	return told
}
