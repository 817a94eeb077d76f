package dbc

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"unicode/utf8"
)

// Severity says what a [Diagnostic] means for the use of the file.
type Severity uint8

// The severities.
const (
	Warning Severity = iota // odd, and understood
	Error                   // a statement was left out, its meaning was guessed, or it contradicts another
	Fatal                   // the file is of no use
)

// String returns "warning", "error" or "fatal".
func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	default:
		return "fatal"
	}
}

// Diagnostic is one thing wrong with a file.
type Diagnostic struct {
	File     string
	Line     int // from 1; 0 if it concerns the whole file
	Col      int // from 1, in characters
	Severity Severity
	What     string // what is wrong, and what became of it
	Fix      string // what to do about it; may be empty
}

// String returns "FILE:LINE:COL: what; fix".
func (d Diagnostic) String() string {
	s := d.File
	if d.Line > 0 {
		s += ":" + strconv.Itoa(d.Line) + ":" + strconv.Itoa(d.Col)
	}
	s += ": " + d.What
	if d.Fix != "" {
		s += "; " + d.Fix
	}
	return s
}

// Err returns an error naming the first diagnostic that forbids using the
// file: a fatal one, or if strict an [Error] too. It returns nil if there is none.
func Err(diagnostics []Diagnostic, strict bool) error {
	limit := Fatal
	if strict {
		limit = Error
	}
	var first *Diagnostic
	n := 0
	for i := range diagnostics {
		if diagnostics[i].Severity < limit {
			continue
		}
		if n++; first == nil {
			first = &diagnostics[i]
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return errors.New(first.String())
	default:
		return fmt.Errorf("%s (and %d more errors)", first, n-1)
	}
}

// report is a diagnostic before its offset has become a line and a column.
type report struct {
	pos       int
	severity  Severity
	what, fix string
}

// reports gathers what is wrong with one file.
type reports struct {
	list    []report
	max     int
	dropped int
}

// add notes a problem at a byte offset. Beyond the limit it only counts.
func (r *reports) add(pos int, s Severity, fix, format string, args ...any) {
	if len(r.list) >= r.max && s != Fatal {
		r.dropped++
		return
	}
	r.list = append(r.list, report{pos, s, fmt.Sprintf(format, args...), fix})
}

// diagnostics sorts the reports and finds their lines in one pass over data.
func (r *reports) diagnostics(file string, data []byte) []Diagnostic {
	sort.SliceStable(r.list, func(i, j int) bool {
		a, b := &r.list[i], &r.list[j]
		return a.pos-b.pos < 0
	})
	out := make([]Diagnostic, 0, len(r.list)+1)
	at, line, lineStart, col, colAt := 0, 1, 0, 1, 0
	for _, rep := range r.list {
		if rep.pos < 0 {
			out = append(out, Diagnostic{file, 0, 0, rep.severity, rep.what, rep.fix})
			continue
		}
		for ; at < rep.pos && at < len(data); at++ {
			if data[at] == '\n' || data[at] == '\r' && (at+1 == len(data) || data[at+1] != '\n') {
				line, lineStart = line+1, at+1
			}
		}
		if colAt < lineStart {
			col, colAt = 1, lineStart
		}
		col += utf8.RuneCount(data[colAt:at])
		colAt = at
		out = append(out, Diagnostic{file, line, col, rep.severity, rep.what, rep.fix})
	}
	if r.dropped > 0 {
		out = append(out, Diagnostic{File: file, Severity: Error,
			What: fmt.Sprintf("%d more problems are not listed", r.dropped)})
	}
	return out
}
