package web

import "strings"

// Change is one line of a difference, in the order in which both texts have them.
type Change struct {
	_ [0]func() // nobody compares them: saves the code for it

	Sign string `json:"sign"` // "-" only before, "+" only after, " " in both
	Old  int    `json:"old"`  // number of the line before, 0: none
	New  int    `json:"new"`
	Text string `json:"text"`
}

const (
	diffContext = 3       // lines around a change
	diffCells   = 4 << 20 // more than that are not compared: all of one goes, all of the other comes
)

// Diff says what changes from one text to another, with a few lines around each
// change; nothing if they are equal.
func Diff(before, after string) []Change {
	a, b := textLines(before), textLines(after)
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	all := make([]Change, 0, len(a)+len(b))
	for i := range head {
		all = append(all, Change{Sign: " ", Old: i + 1, New: i + 1, Text: a[i]})
	}
	all = middle(all, a[head:len(a)-tail], b[head:len(b)-tail], head)
	for i := range tail {
		o, n := len(a)-tail+i, len(b)-tail+i
		all = append(all, Change{Sign: " ", Old: o + 1, New: n + 1, Text: a[o]})
	}
	return near(all)
}

func textLines(s string) []string {
	s = strings.TrimSuffix(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// middle appends the difference of what two texts do not have in common at both
// ends, by their longest common subsequence. base lines stand before.
func middle(all []Change, a, b []string, base int) []Change {
	same := longest(a, b)
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case same != nil && i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, Change{Sign: " ", Old: base + i + 1, New: base + j + 1, Text: a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || same == nil || same[i+1][j] >= same[i][j+1]):
			all = append(all, Change{Sign: "-", Old: base + i + 1, New: 0, Text: a[i]})
			i++
		default:
			all = append(all, Change{Sign: "+", Old: 0, New: base + j + 1, Text: b[j]})
			j++
		}
	}
	return all
}

// longest has, for each pair of places, how many lines of what follows are in
// both, in order; nil if that would be too much to compare.
func longest(a, b []string) [][]uint16 {
	if (len(a)+1)*(len(b)+1) > diffCells {
		return nil
	}
	same := make([][]uint16, len(a)+1)
	for i := range same {
		same[i] = make([]uint16, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				same[i][j] = same[i+1][j+1] + 1
			} else {
				same[i][j] = max(same[i+1][j], same[i][j+1])
			}
		}
	}
	return same
}

// near keeps the changes and a few lines around each.
func near(all []Change) []Change {
	out := []Change{}
	last := -1 // the newest line that is kept
	for i := range all {
		if all[i].Sign == " " {
			continue
		}
		for k := max(last+1, i-diffContext); k < min(len(all), i+diffContext+1); k++ {
			out = append(out, all[k])
			last = k
		}
	}
	return out
}
