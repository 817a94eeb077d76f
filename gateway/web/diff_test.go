package web

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func told(list []Change) string {
	var s strings.Builder
	for _, c := range list {
		fmt.Fprintf(&s, "%s%d,%d:%s|", c.Sign, c.Old, c.New, c.Text)
	}
	return s.String()
}

func TestDiff(t *testing.T) {
	for _, c := range []struct{ before, after, want string }{
		{"", "", ""}, {"a\n", "a", ""}, {"a\r\nb\n", "a\nb\n", ""},
		{"", "a\n", "+0,1:a|"}, {"a\n", "", "-1,0:a|"},
		{"a\nb\nc\n", "a\nx\nc\n", " 1,1:a|-2,0:b|+0,2:x| 3,3:c|"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n", " 6,6:6| 7,7:7| 8,8:8|-9,0:9|"},
		{"a\nb\nc\nd\n", "b\nc\nd\na\n", "-1,0:a| 2,1:b| 3,2:c| 4,3:d|+0,4:a|"},
	} {
		if got := told(Diff(c.before, c.after)); got != c.want {
			t.Errorf("%q to %q: %s", c.before, c.after, got)
		}
	}
}

// Whatever the texts are, what is taken out and put in leads from one to the
// other, also where they are too long to be compared.
func TestDiffLeadsFromOneToTheOther(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(n, kinds int) string {
		var s strings.Builder
		for range n {
			fmt.Fprintf(&s, "line %d\n", random.IntN(kinds))
		}
		return s.String()
	}
	for i := range 200 {
		n, m := random.IntN(40), random.IntN(40)
		if i == 0 {
			n, m = 3000, 3000
		}
		before, after := draw(n, 5+random.IntN(50)), draw(m, 5+random.IntN(50))
		a, b := textLines(before), textLines(after)
		out := []string{}
		at := 0 // lines of before that are dealt with
		for _, c := range Diff(before, after) {
			switch c.Sign {
			case "-":
				out = append(out, a[at:c.Old-1]...)
				at = c.Old
			case "+":
				for len(out) < c.New-1 {
					out = append(out, a[at])
					at++
				}
				out = append(out, c.Text)
			}
		}
		out = append(out, a[at:]...)
		if strings.Join(out, "\n") != strings.Join(b, "\n") {
			t.Fatalf("%q to %q gives %q", before, after, out)
		}
	}
}
